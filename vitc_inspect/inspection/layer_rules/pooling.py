"""Rules for pooling layers: the maximum or mean of each window."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import (
    along,
    axes_of,
    first_shape,
    moved,
    per_axis,
    windows,
)
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
@register_rule(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def _pool(layer: nn.MaxPool2d, shapes: Mapping[str, Shape]) -> Expectation:
    """A pool with windows of a fixed size; `ceil_mode` also takes a last, cut one."""
    axes = axes_of(layer)
    shape = first_shape(shapes, axes=1 + axes)
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride, padding = (
            along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding)
        )
        dilation = along(getattr(layer, "dilation", 1), axis)
        extra = stride - 1 if layer.ceil_mode else 0
        side, word = windows(size + extra, kernel, stride, padding, dilation)
        if layer.ceil_mode and (side - 1) * stride >= size + padding:
            side -= 1  # a window must not begin in the padding behind the map
        if layer.ceil_mode:
            word = f"{side} (the last window may be cut)"
        sides.append(side)
        words.append(word)
    return moved((*shape[:-axes], *sides), per_axis(words))


@register_rule(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
@register_rule(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
def _adaptive_pool(layer: nn.AdaptiveAvgPool2d, shapes: Mapping[str, Shape]) -> Expectation:
    """As many windows as were asked for; where none were, as many as the input has positions."""
    axes = axes_of(layer)
    shape = first_shape(shapes, axes=axes)
    asked = [along(layer.output_size, axis) for axis in range(axes)]
    sides = [
        size if side is None else side for size, side in zip(shape[-axes:], asked, strict=True)
    ]
    return moved((*shape[:-axes], *sides), "the output_size that was asked for")
