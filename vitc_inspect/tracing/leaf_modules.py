"""Choose the modules that get a row in a recording, and whether to record functions in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import nn

from vitc_inspect.tracing.rules import REGISTRY, is_users_layer
from vitc_inspect.tracing.torch_internals import forward_hooks, own_modules

Role = Literal["opaque", "library", "leaf", "open"]
"""How a module is recorded.

"library" is a layer of torch or einops, or one that a user registered a rule for, and "leaf" any
other of the user's without modules inside: each is one row, whatever happens in it. "open" is any
other module with parameters of its own: it gets a row, and so does what happens in it. "opaque" is
a layer of torch whose functions are known and not recorded, because recording a function may take
longer than computing it.
"""

WITH_PRODUCTS = (nn.Conv2d, nn.Linear)

OPAQUE: frozenset[type[nn.Module]] = frozenset(
    {
        *WITH_PRODUCTS,
        *(nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm),
        *(nn.GELU, nn.Hardswish, nn.ReLU, nn.Sigmoid, nn.SiLU),
        *(nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Dropout, nn.MaxPool2d),
    }
)
"""Layers that, when evaluated, use all their parameters, write to nothing and call no functions
but known ones."""


def rows_of(
    layers: Mapping[str, nn.Module], weights: Mapping[str, int]
) -> Iterator[tuple[str, Role]]:
    """Return the modules that get a row, by name, with the role of each.

    The whole is a row only as a layer of torch or einops, or of a class that a user registered a
    rule for: what happens in any other class of the user's own is what is to be seen.
    """
    kinds = set(map(type, layers.values()))
    library = {kind for kind in kinds if _is_library_layer(kind) or is_users_layer(kind)}
    has_function_rules = any(isinstance(kind, str) for kind in REGISTRY.users)
    callable_kinds = set(filter(can_be_called, kinds))
    for name, layer in layers.items():
        if type(layer) in library:
            opaque = name and not has_function_rules and _is_opaque(layer)
            yield name, "opaque" if opaque else "library"
        elif name and type(layer) in callable_kinds:
            childless = is_childless(layer)
            if childless or name in weights:
                yield name, "leaf" if childless else "open"


def _is_library_layer(kind: type[nn.Module]) -> bool:
    """Whether torch or einops wrote the layer's forward, and it does more than call others."""
    if issubclass(kind, torch.jit.ScriptModule) or not can_be_called(kind):
        return False
    home = str(getattr(kind.forward, "__module__", ""))
    if home.startswith("einops."):
        return True
    return home.startswith("torch.nn.modules.") and not home.endswith(
        (".container", ".transformer")
    )


def _is_opaque(layer: nn.Module) -> bool:
    """Whether its class tells all that it will do."""
    attributes = vars(layer)
    return (
        type(layer) in OPAQUE
        and not layer.training
        and not attributes.get("inplace")
        and "forward" not in attributes
        and not forward_hooks(layer)  # functions of these are part of the layer's row
    )


def can_be_called(kind: type[nn.Module]) -> bool:
    """Whether a module has a forward; a ModuleList does not."""
    return issubclass(kind, torch.jit.ScriptModule) or kind.forward is not nn.Module.forward


def is_childless(layer: nn.Module) -> bool:
    """Whether a module has no submodules."""
    # its own children() may say anything
    return all(child is None for child in own_modules(layer).values())
