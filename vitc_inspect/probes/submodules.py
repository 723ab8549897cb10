"""Helpers of the probes: layers of a stem, evaluation mode, taps of a convolution."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

DoubleArray = NDArray[np.float64]
"""Result type of the probes; float64 holds the values of every other format exactly."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and restore the mode of each submodule on exit."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def named_layers(module: nn.Sequential) -> dict[str, nn.Module]:
    """Get the layers of a stem by name, in order; a layer used twice is listed twice."""
    named = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if name and "." not in name}


def beginning(module: nn.Sequential, count: int) -> nn.Sequential:
    """Get the first `count` layers of a stem."""
    return nn.Sequential(OrderedDict(list(named_layers(module).items())[:count]))


def before_tokens(module: nn.Sequential) -> nn.Sequential:
    """Get the layers of a stem before "tokens", which end in the last map."""
    names = list(named_layers(module))
    return beginning(module, names.index("tokens") if "tokens" in names else len(names))


def taps_of(conv: nn.Conv2d, axis: int, index: int) -> tuple[int, ...]:
    """Find the positions that a convolution reads along one axis for one output position.

    Args:
        conv: The convolution.
        axis: 0 for rows, 1 for columns.
        index: Position in the output, from 0.

    Returns:
        Position in the input that each tap reads; positions outside it are padding.
    """
    taps, step = conv.kernel_size[axis], conv.dilation[axis]
    if conv.padding == "same":
        padding = step * (taps - 1) // 2  # an odd pixel goes to the end
    else:
        padding = 0 if isinstance(conv.padding, str) else conv.padding[axis]
    first = index * conv.stride[axis] - padding
    return tuple(range(first, first + taps * step, step))


def doubles(tensor: Tensor) -> DoubleArray:
    """Copy a tensor to a read-only float64 array on the CPU."""
    array: DoubleArray = tensor.detach().cpu().to(torch.float64, copy=True).numpy()
    array.setflags(write=False)
    return array
