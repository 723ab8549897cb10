"""Trace the values of a tensor back to their positions in a feature map or a table.

Wherever a function only moves numbers, it moves a tensor of indices along, each of which says where
a number stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vitc_inspect.tracing.function_kinds import (
    ACTIVATIONS,
    COPIES,
    JOINS,
    MOVES,
    NORMS,
    SCALINGS,
    SUMS,
)
from vitc_inspect.tracing.tensors import tensors_of

_IN_PLACE_OF_NUMBERS = COPIES | ACTIVATIONS | NORMS | SUMS | SCALINGS  # each stays where it was

_MAPPERS = frozenset(
    {
        *("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
        *("adaptive_max_pool2d", "pad", "interpolate", "upsample", "lp_pool2d", "pixel_shuffle"),
        *("pixel_unshuffle",),
    }
)  # functions that make a map of a map

MAX_NUMBERS = 2**24
"""Size of the largest tensor whose positions are traced (elements)."""


def _range(numbers: int) -> Tensor:
    return torch.arange(numbers, dtype=torch.int32)


@dataclass(frozen=True, eq=False, slots=True)
class Positions:
    """The positions of a tensor's values in the map or table that they come from."""

    origin: int | str
    """Number of the step that made the map, or name of the parameter; -1 for an input."""
    shape: tuple[int, ...]
    """Shape of the map or the table."""
    indices: Tensor | None = None
    """Position of each number, counted row by row from 0; None where none has moved."""

    def numbers(self) -> Tensor:
        """Return the position of each value, in the shape of the tensor."""
        if self.indices is not None:
            return self.indices
        return _range(prod(self.shape)).view(self.shape)


@dataclass(frozen=True, eq=False, slots=True)
class TracedTensor:
    """What is known about one tensor."""

    shape: tuple[int, ...]
    """Its shape, with the batch."""
    step: int | None = None
    """Number of the step that made it; None for an input, a parameter and what is not followed."""
    image: int | None = None
    """Which of the module's inputs it is, counted from 0."""
    name: str = ""
    """Name of the parameter or buffer that it is."""
    of_image: bool = False
    """Whether it depends on an input."""
    positions: Positions | None = None
    """Where its numbers come from, as long as they are only moved."""

    @property
    def in_map_order(self) -> bool:
        """Whether all values are at their original positions in the map."""
        if self.positions is None or self.shape != self.positions.shape:
            return False
        moved = self.positions.indices
        return moved is None or torch.equal(moved.flatten(), _range(moved.numel()))


def unmoved_positions(
    name: str,
    index: int,
    shape: tuple[int, ...],
    sources: Sequence[TracedTensor],
    given: Mapping[str, Any],
) -> Positions | None:
    """Return the positions of an output that is a new map, or whose values were not moved."""
    of_image = any(each.of_image for each in sources)
    if name == "pad" and not sources[0].in_map_order:
        return None  # which of its sides are padded is not known
    if name in JOINS:
        return Positions(index, shape) if of_image and _joins_channels(sources, given) else None
    if name in _MAPPERS:
        # a table that is resized is a map as well
        followed = of_image or sources[0].positions is not None
        return Positions(index, shape) if followed and len(shape) == 4 else None
    if name not in _IN_PLACE_OF_NUMBERS:
        return None
    same = [each for each in sources if each.positions and each.shape == shape]
    if not of_image:
        return same[0].positions if len(same) == 1 else None
    kept = [each for each in same if each.of_image]
    others = [each for each in sources if each.of_image and each not in kept]
    if len(kept) == 1 and not others:
        return kept[0].positions
    # several maps make a new one; what is mixed with anything else has no position any more
    in_map_order = kept and all(each.positions and each.positions.indices is None for each in kept)
    return Positions(index, shape) if in_map_order else None


def _joins_channels(sources: Sequence[TracedTensor], given: Mapping[str, Any]) -> bool:
    """Whether maps are joined along their channels."""
    maps = all(each.of_image and len(each.shape) == 4 and each.in_map_order for each in sources)
    return maps and given.get("dim", 0) in (1, -3)


def moved_positions(
    func: Any,
    name: str,
    args: Any,
    kwargs: Any,
    tensors: Sequence[Tensor],
    sources: Sequence[TracedTensor],
    produced: Sequence[Tensor],
) -> Callable[[int], Positions | None] | None:
    """Return the positions of each output of a function that moves values; None for any other."""
    if name == "embedding" and len(tensors) > 1:
        table = sources[1].positions
        if table is None or prod(produced[0].shape) > MAX_NUMBERS:
            return lambda at: None
        taken = table.numbers()[tensors[0].cpu()]
        return lambda at: Positions(table.origin, table.shape, taken)
    tables = name in JOINS and not any(each.of_image for each in sources)
    if tables or (name in JOINS | {"stack"} and _are_pixels(sources)):
        joined = _joined(func, args, kwargs, tensors, sources)
        return lambda at: joined
    if name not in MOVES or not tensors:
        return None
    positions = sources[0].positions
    if positions is None or prod(sources[0].shape) > MAX_NUMBERS:
        return lambda at: None
    numbers = positions.numbers().detach()  # another tensor, for what turns its argument in place
    if func is functional.unfold:
        others = {key: each for key, each in kwargs.items() if key != "input"}
        func, args, kwargs = _unfolded_positions, (numbers, *args[1:]), others
    if name in ("view", "reshape"):
        if any(isinstance(each, torch.dtype) for each in (*args, *kwargs.values())):
            return lambda at: None
        func = torch.Tensor.reshape  # a view may not fit the order in memory of these numbers
    try:
        found = tensors_of(
            func(
                *(numbers if each is tensors[0] else each for each in args),
                **{key: numbers if each is tensors[0] else each for key, each in kwargs.items()},
            )
        )
    except (RuntimeError, TypeError, IndexError):  # indices that lie on another device
        return lambda at: None
    if [tuple(each.shape) for each in found] != [tuple(each.shape) for each in produced]:
        return lambda at: None
    return lambda at: Positions(positions.origin, positions.shape, found[at])


def _are_pixels(sources: Sequence[TracedTensor]) -> bool:
    """Whether these are parts of one image, as patches that are cut one by one."""
    positions = [each.positions for each in sources if each.of_image]
    whole = any(each.image is not None for each in sources)  # joined to itself, as for a batch
    return (
        not whole
        and len(positions) == len(sources)
        and all(each is not None and each.origin == -1 for each in positions)
    )


def _joined(
    func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor], sources: Sequence[TracedTensor]
) -> Positions | None:
    """Positions in parts of a table that are joined, -1 for others, as a class token's entry.

    None where parts of several tables are joined, unless the longest was resized.
    """
    longest = max(sources, key=lambda each: prod(each.shape)).positions
    if longest is None or sum(prod(each.shape) for each in sources) > MAX_NUMBERS:
        return None
    numbers = []
    for tensor, known in zip(tensors, sources, strict=True):
        same = known.positions is not None and known.positions.origin == longest.origin
        if not same and isinstance(longest.origin, str):
            return None
        nowhere = torch.full(tuple(tensor.shape), -1, dtype=torch.int32)
        numbers.append(known.positions.numbers() if same and known.positions else nowhere)
    try:
        if args:
            joined = func(numbers, *args[1:], **kwargs)
        else:
            joined = func(**{**kwargs, "tensors": numbers})
    except (RuntimeError, TypeError, IndexError):
        return None
    return Positions(longest.origin, longest.shape, joined)


def _unfolded_positions(numbers: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Positions in windows; -1 where a window lies on the padding, which torch fills with 0."""
    windows = functional.unfold((numbers + 1).double(), *args, **kwargs)
    return windows.round().to(torch.int32) - 1
