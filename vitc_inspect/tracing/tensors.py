"""Find the tensors in an argument or a returned value, however nested.

A value may be a tensor, or hold tensors in tuples, lists, mappings, dataclasses and other objects
with attributes. Whoever lists or copies the tensors of a value follows the rule written here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from enum import Enum
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_MAX_DEPTH = 8
"""Containers inside containers; what is nested deeper is not an argument or an output."""

_SCALARS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, slice, torch.dtype, torch.device}
)
"""Types without parts, looked up first because most arguments are of one of them."""

_WITHOUT_PARTS = (type, ModuleType, nn.Module, FunctionType, MethodType, Enum)
"""Objects whose attributes are not part of an argument or an output."""


def tensors_in(
    value: Any, path: str = "", around: tuple[int, ...] = ()
) -> list[tuple[str, Tensor]]:
    """List every tensor in a value, each with its path.

    A nested tensor is listed as the tensors it is made of, because it has no shape of its own. A
    container that holds itself is entered once, and no value is followed more than eight deep.

    Args:
        value: Any value.
        path: Path of the value itself.
        around: Ids of the containers that hold the value.

    Returns:
        Pairs of path and tensor, in order. A path joins indices, keys and attribute names with
        dots.

    >>> [path for path, _ in tensors_in({"logits": (torch.ones(1), 2, torch.ones(1))})]
    ['logits.0', 'logits.2']
    """
    if isinstance(value, Tensor) and not value.is_nested:
        return [(path, value)]
    if type(value) in _SCALARS or id(value) in around or len(around) > _MAX_DEPTH:
        return []
    dotted = f"{path}." if path else ""
    inner = (*around, id(value))
    return [
        found for key, part in _parts(value) for found in tensors_in(part, f"{dotted}{key}", inner)
    ]


def tensors_of(value: Any) -> list[Tensor]:
    """List every tensor in a value, in the order of `tensors_in`."""
    if isinstance(value, Tensor) and not value.is_nested:
        return [value]
    return [tensor for _, tensor in tensors_in(value)]


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of a container, each with its index, key or attribute name."""
    if isinstance(value, Tensor):
        return enumerate(_unbound(value))
    if isinstance(value, (tuple, list, deque)):
        return enumerate(value)
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, _WITHOUT_PARTS):
        return ()
    return _attributes(value)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that an object holds, in slots and in its dictionary; no property is run."""
    for kind in reversed(type(value).__mro__):
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            slot = vars(kind).get(name)
            if isinstance(slot, MemberDescriptorType):
                with suppress(AttributeError):  # nothing was put into it
                    yield name, slot.__get__(value)
    yield from getattr(value, "__dict__", {}).items()


def _unbound(nested: Tensor) -> Sequence[Tensor]:
    """The tensors in a nested one; none where torch cannot take it apart, as one on "meta"."""
    try:
        return nested.unbind()
    except RuntimeError:
        return ()


def copied(value: Any, copies: dict[int, Tensor]) -> Any:
    """Copy a value so that in-place writes to its tensors do not change the original.

    Args:
        value: Any value.
        copies: Copies by the id of their original. A tensor that is in it gets that copy, any
            other is added, so that one that stands in two places is copied once.

    Returns:
        The value with copies for its tensors. Lists and dicts are new ones. An object that holds
        no tensor, or that cannot be copied, is the same object.
    """

    def copy_of(tensor: Tensor) -> Tensor:
        with torch.inference_mode(False):
            return copies.setdefault(id(tensor), tensor.detach().clone())

    return _with_tensors(value, copy_of)


def tensors_copied(value: Any) -> list[Tensor]:
    """List the tensors that `copied` copies, each once, in order; nested ones are left out."""
    aliases: dict[int, Tensor] = {}
    other = _with_tensors(value, lambda each: aliases.setdefault(id(each), each.detach()))
    reached = set(map(id, tensors_of(other)))
    originals = {id(each): each for each in tensors_of(value)}
    return [each for key, each in originals.items() if id(aliases.get(key)) in reached]


def _with_tensors(
    value: Any, other: Callable[[Tensor], Tensor], around: tuple[int, ...] = ()
) -> Any:
    """A value with other tensors in the place of its own."""
    if isinstance(value, Tensor):
        return other(value)
    if type(value) in _SCALARS or id(value) in around or len(around) > _MAX_DEPTH:
        return value
    inner = (*around, id(value))
    parts = list(_parts(value))
    fresh = [(key, _with_tensors(part, other, inner)) for key, part in parts]
    same = all(new is old for (_, new), (_, old) in zip(fresh, parts, strict=True))
    if same and type(value) not in (list, dict):
        return value
    try:
        return _with_parts(value, fresh)
    except Exception:  # noqa: BLE001  # copying an object runs its own code, which may refuse
        return value


def _with_parts(value: Any, parts: Sequence[tuple[Any, Any]]) -> Any:
    """A shallow copy of a container with other parts."""
    if isinstance(value, tuple):
        items = [part for _, part in parts]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    other = copy(value)
    for key, part in parts:
        if isinstance(value, (list, deque, Mapping)):
            other[key] = part
        else:
            object.__setattr__(other, key, part)  # of a frozen dataclass too
    return other
