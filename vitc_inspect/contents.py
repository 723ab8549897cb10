"""What a module holds, found in one walk: the modules inside, their parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vitc_inspect.errors import SpecError
from vitc_inspect.fields import check_type


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Everything that a module holds.

    To ask torch for each of these by itself walks through all modules again each time.
    """

    layers: Mapping[str, nn.Module]
    """Every module by its name, the whole as "", in the order of named_modules; one that stands
    in several places by the first."""
    repeats: tuple[tuple[str, str], ...]
    """Each further name of a module that stands in several places, beside its first; the modules
    inside it are not told of again."""
    owned: tuple[tuple[str, Tensor], ...]
    """Each parameter beside the name of the module that owns it; one that several own, for each."""
    parameters: tuple[Tensor, ...]
    """Each parameter once."""
    buffers: tuple[Tensor, ...]
    """Each buffer once."""

    @property
    def weights(self) -> dict[str, int]:
        """Learned numbers of each module itself, by its name, for those that have any."""
        weights: dict[str, int] = {}
        for owner, parameter in self.owned:
            weights[owner] = weights.get(owner, 0) + parameter.numel()
        return weights


def arguments_of(
    inputs: Any, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What a forward is to be given, by place and by name; a tensor alone is one argument.

    Raises:
        SpecError: field "inputs" or "kwargs".
    """
    if isinstance(inputs, Tensor):  # else it would be taken row by row
        inputs = (inputs,)
    check_type("inputs", inputs, (tuple, list), "Use (torch.randn(1, 3, 224, 224),)")
    kwargs = {} if kwargs is None else kwargs
    check_type("kwargs", kwargs, Mapping, 'Use {"pixel_values": torch.randn(1, 3, 224, 224)}')
    for name in kwargs:
        check_type("kwargs", name, str, 'Use {"pixel_values": torch.randn(1, 3, 224, 224)}')
    return tuple(inputs), kwargs


def contents_of(module: Any) -> Contents:
    """Walk once through a module.

    Raises:
        SpecError: field "module", for what is no module, was not made into one by
            `super().__init__()`, or has parameters without a shape.
    """
    kind = type(module).__name__
    if not isinstance(module, nn.Module):
        raise SpecError("module", kind, "it is not a torch.nn.Module", "Give an instance of one")
    layers: dict[str, nn.Module] = {}
    owned: list[tuple[str, Tensor]] = []
    buffers: dict[int, Tensor] = {}
    repeats: list[tuple[str, str]] = []
    names: dict[int, str] = {}
    waiting: list[tuple[str, nn.Module]] = [("", module)]
    while waiting:
        name, layer = waiting.pop()
        first = names.setdefault(id(layer), name)
        if first != name:
            repeats.append((name, first))
            continue
        layers[name] = layer
        if not hasattr(layer, "_modules"):
            reason = f"__init__ of {type(layer).__name__} does not call super().__init__()"
            raise SpecError("module", kind, reason, "Call it before anything else")
        # these three are what torch's own named_parameters and its like look into
        for own, parameter in layer._parameters.items():
            if parameter is not None:
                if type(parameter) not in _SHAPED:
                    _check_shaped(kind, name, own, parameter)
                owned.append((name, parameter))
        for own, buffer in layer._buffers.items():
            if buffer is not None:
                if type(buffer) not in _SHAPED:
                    _check_shaped(kind, name, own, buffer)
                buffers[id(buffer)] = buffer
        inside = layer._modules
        if inside:
            dotted = f"{name}." if name else ""
            children = [(dotted + own, child) for own, child in inside.items() if child is not None]
            waiting.extend(reversed(children))
    return Contents(
        layers=layers,
        repeats=tuple(repeats),
        owned=tuple(owned),
        parameters=tuple({id(parameter): parameter for _, parameter in owned}.values()),
        buffers=tuple(buffers.values()),
    )


def _check_shaped(kind: str, name: str, own: str, tensor: Tensor) -> None:
    """Refuse a parameter that has no shape yet."""
    if is_lazy(tensor):
        whole = f"{name}.{own}" if name else own
        reason = f"{whole} gets its shape only when it first runs"
        raise SpecError("module", kind, reason, "Run the module once before it is inspected")


_SHAPED = frozenset((Tensor, nn.Parameter, nn.Buffer))  # to ask the others takes longer
