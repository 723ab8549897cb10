"""The contents of a module, collected in one walk: submodules, parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vitc_inspect.common.errors import SpecError, with_article
from vitc_inspect.common.validation import check_type
from vitc_inspect.tracing.torch_internals import (
    REGISTRIES,
    own_buffers,
    own_modules,
    own_parameters,
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The submodules, parameters and buffers of a module.

    To ask torch for each of these by itself walks through all modules again each time.
    """

    layers: Mapping[str, nn.Module]
    """Every module by its name, the whole as "", in the order of named_modules; one that stands
    in several places by the first."""
    repeats: tuple[tuple[str, str], ...]
    """Each further name of a module that stands in several places, beside its first; the modules
    inside it are not listed again."""
    owned: tuple[tuple[str, Tensor], ...]
    """Each parameter beside the name of the module that owns it; one that several own, for each."""
    named: tuple[tuple[str, Tensor], ...]
    """Each parameter and then each buffer once, beside its whole name."""
    parameters: tuple[Tensor, ...]
    """Each parameter once."""
    buffers: tuple[Tensor, ...]
    """Each buffer once."""

    @property
    def weights(self) -> dict[str, int]:
        """Number of parameters directly in each module, by its name; only modules that have any."""
        weights: dict[str, int] = {}
        for owner, parameter in self.owned:
            weights[owner] = weights.get(owner, 0) + parameter.numel()
        return weights


def arguments_of(
    inputs: Any, kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Split inputs into positional and keyword arguments; a single tensor is one argument.

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
    """Collect the contents of a module in one walk.

    Raises:
        SpecError: field "module", for what is no module, was not made into one by
            `super().__init__()`, or has parameters without a shape.
    """
    kind = type(module).__name__
    if not isinstance(module, nn.Module):
        raise SpecError("module", kind, "it is not a torch.nn.Module", "Give an instance of one")
    layers: dict[str, nn.Module] = {}
    owned: list[tuple[str, Tensor]] = []
    names_of_parameters: dict[int, tuple[str, Tensor]] = {}
    buffers: dict[int, tuple[str, Tensor]] = {}
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
        _check_layer(kind, name, layer)
        dotted = f"{name}." if name else ""
        # these three are what torch's own named_parameters and its like look into
        for own, parameter in own_parameters(layer).items():
            if parameter is not None:
                if type(parameter) not in _SHAPED:
                    _check_tensor(kind, dotted + own, parameter)
                owned.append((name, parameter))
                names_of_parameters.setdefault(id(parameter), (dotted + own, parameter))
        for own, buffer in own_buffers(layer).items():
            if buffer is not None:
                if type(buffer) not in _SHAPED:
                    _check_tensor(kind, dotted + own, buffer)
                buffers.setdefault(id(buffer), (dotted + own, buffer))
        inside = own_modules(layer)
        if inside:
            children = [(dotted + own, child) for own, child in inside.items() if child is not None]
            waiting.extend(reversed(children))
    return Contents(
        layers=layers,
        repeats=tuple(repeats),
        owned=tuple(owned),
        named=(*names_of_parameters.values(), *buffers.values()),
        parameters=tuple(parameter for _, parameter in names_of_parameters.values()),
        buffers=tuple(buffer for _, buffer in buffers.values()),
    )


def _check_layer(kind: str, name: str, layer: Any) -> None:
    """Raise a SpecError for a registered module that is not a module or not set up as one."""
    if not isinstance(layer, nn.Module):
        reason = f"{name} is registered as a layer and is {with_article(type(layer).__name__)}"
        raise SpecError("module", kind, reason, "Register instances of torch.nn.Module alone")
    held = vars(layer) if not isinstance(layer, torch.jit.ScriptModule) else {}
    if not all(hasattr(layer, own) for own in REGISTRIES):
        reason = f"__init__ of {type(layer).__name__} does not call super().__init__()"
        raise SpecError("module", kind, reason, "Call it before anything else")
    for own in REGISTRIES:
        if own in held and not isinstance(held[own], Mapping):
            reason = f"{own} of {name or kind} is {with_article(type(held[own]).__name__)}"
            raise SpecError("module", kind, reason, "Leave to torch what torch keeps in it")


def evaluate(module: nn.Module, contents: Contents) -> None:
    """Put a module in evaluation mode, as its `eval` does.

    torch's own eval cannot walk through modules that are unhashable or inside themselves, and that
    of torch.export raises NotImplementedError, since its program has only the mode it was made in.
    """
    layers = contents.layers.values()
    if any(map(_has_own_mode, layers)):
        module.eval()
        return
    for layer in layers:
        layer.training = False


def _has_own_mode(layer: nn.Module) -> bool:
    """Whether its class overrides train or eval."""
    for name in ("train", "eval"):
        does = vars(layer).get(name, getattr(type(layer), name))
        exported = str(getattr(does, "__module__", "")).startswith("torch.export.")
        if does is not getattr(nn.Module, name) and not exported:
            return True
    return False


def bring_to(module: nn.Module, contents: Contents, device: torch.device) -> nn.Module:
    """Move a module to a device with its `to`, unless it is already there.

    Raises:
        SpecError: field "module", for parameters without numbers.
    """
    tensors = contents.named
    for name, tensor in tensors:
        if tensor.is_meta:
            reason = f"{name} is a shape without numbers, on the meta device"
            fix = "Make it outside torch.device('meta'), or call to_empty and load its weights"
            raise SpecError("module", type(module).__name__, reason, fix)
    if all(tensor.device == device for _, tensor in tensors) or not tensors:
        return module
    moved: Any = module.to(device)
    return moved if isinstance(moved, nn.Module) else module


def _check_tensor(kind: str, name: str, tensor: Any) -> None:
    """Raise a SpecError for a registered tensor that is not a tensor, or has no shape yet."""
    if not isinstance(tensor, Tensor):
        what = with_article(type(tensor).__name__)
        reason = f"{name} is registered as a parameter or a buffer and is {what}"
        raise SpecError("module", kind, reason, "Register tensors alone")
    if is_lazy(tensor):
        reason = f"{name} gets its shape only when it first runs"
        raise SpecError("module", kind, reason, "Run the module once before it is inspected")


_SHAPED = frozenset((Tensor, nn.Parameter, nn.Buffer))  # to ask the others takes longer
