"""Helpers of the layer rules: the input's shape, windows along an axis, formulas as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.arithmetic import output_size
from vitc_inspect.tracing.rules import Expectation, Shape


def first_shape(shapes: Mapping[str, Shape], *, axes: int = 0) -> Shape:
    """Shape of the first input.

    Raises:
        SpecError: field "input", when it has fewer axes than the layer needs.
    """
    shape = next(iter(shapes.values()))
    if len(shape) < axes:
        raise SpecError("input", shape, f"it has fewer than {axes} axes", "Give it all its axes")
    return shape


def axes_of(layer: nn.Module) -> int:
    """Return the number of spatial axes, from the name of torch's class: 2 for MaxPool2d."""
    names = (kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("torch."))
    return next(int(name[-2]) for name in names if name[-2:] in ("1d", "2d", "3d"))


def moved(out_shape: Shape, rule: str) -> Expectation:
    """Return the expectation for a layer without parameters and MACs."""
    return Expectation(out_shape=out_shape, params=0, macs=0, rule=rule)


def along(value: Any, axis: int) -> Any:
    """Return the value for one axis; a single number applies to all axes."""
    return value[axis] if isinstance(value, (tuple, list)) else value


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, str]:
    """Count the windows along one axis, and format the formula with its numbers."""
    side = output_size(size, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
    window = dilation * (kernel - 1) + 1
    return side, f"⌊({size} + 2·{padding} − {window}) / {stride}⌋ + 1 = {side}"


def per_axis(words: list[str]) -> str:
    """Join the formulas of all axes, or write one if all are equal."""
    return words[0] if len(set(words)) == 1 else ", ".join(words)
