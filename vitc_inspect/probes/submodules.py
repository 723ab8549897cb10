"""What experiments take of a stem's module: its layers, those before the tokens, its numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

DoubleArray = NDArray[np.float64]
"""Numbers as experiments hand them out: wide enough to hold those of every other format."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and all inside it into evaluation mode, and each back when the block is left."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def named_layers(module: nn.Sequential) -> dict[str, nn.Module]:
    """Find the layers of a stem by name, in order; one that stands in two places twice."""
    named = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if name and "." not in name}


def beginning(module: nn.Sequential, count: int) -> nn.Sequential:
    """Take the first layers of a stem, so many as `count` says."""
    return nn.Sequential(OrderedDict(list(named_layers(module).items())[:count]))


def before_tokens(module: nn.Sequential) -> nn.Sequential:
    """Take the part of a stem that ends in the last map: all before its layer "tokens"."""
    names = list(named_layers(module))
    return beginning(module, names.index("tokens") if "tokens" in names else len(names))


def taps_of(conv: nn.Conv2d, axis: int, index: int) -> tuple[int, ...]:
    """Find what a convolution reads along one axis for one position of its output.

    Args:
        conv: The convolution.
        axis: 0 for rows, 1 for columns.
        index: The position in the output, counted from 0.

    Returns:
        The position in the input that each tap reads; one outside it lies in the padding.
    """
    taps, step = conv.kernel_size[axis], conv.dilation[axis]
    if conv.padding == "same":
        padding = step * (taps - 1) // 2  # the odd pixel goes behind
    else:
        padding = 0 if isinstance(conv.padding, str) else conv.padding[axis]
    first = index * conv.stride[axis] - padding
    return tuple(range(first, first + taps * step, step))


def doubles(tensor: Tensor) -> DoubleArray:
    """Copy numbers to the CPU, in float64 and for reading only."""
    array: DoubleArray = tensor.detach().cpu().to(torch.float64, copy=True).numpy()
    array.setflags(write=False)
    return array
