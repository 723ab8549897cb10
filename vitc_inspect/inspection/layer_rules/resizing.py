"""Rules for layers that pad, upsample or shuffle a map."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import along, first_shape, moved, per_axis
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d)
def _upsample(layer: nn.Upsample, shapes: Mapping[str, Shape]) -> Expectation:
    """The size that was asked for, or each side times a factor, rounded down."""
    shape = first_shape(shapes, axes=3)
    axes = range(len(shape) - 2)
    if isinstance(asked := layer.scale_factor if layer.size is None else layer.size, tuple):
        axes = range(min(len(asked), len(axes)))
    if layer.size is not None:
        sides, words = [along(layer.size, axis) for axis in axes], "the size that was asked for"
    else:
        factors = [along(layer.scale_factor, axis) for axis in axes]
        sides = [floor(shape[2 + axis] * factors[axis]) for axis in axes]
        words = per_axis(
            [f"⌊{shape[2 + axis]}·{factors[axis]:g}⌋ = {sides[axis]}" for axis in axes]
        )
    return moved((*shape[:2], *sides), words)


@register_rule(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
@register_rule(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
@register_rule(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d)
@register_rule(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d)
@register_rule(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
def _pad(layer: nn.ZeroPad2d, shapes: Mapping[str, Shape]) -> Expectation:
    """Padding before and after each axis, listed from the last axis on."""
    shape = first_shape(shapes, axes=len(layer.padding) // 2)
    sides, words = list(shape), list[str]()
    for back in range(len(layer.padding) // 2):
        before, behind = layer.padding[2 * back : 2 * back + 2]
        axis = len(shape) - 1 - back
        sides[axis] += before + behind
        words.insert(0, f"{shape[axis]} + {before} + {behind} = {sides[axis]}")
    return moved(tuple(sides), per_axis(words))


@register_rule(nn.PixelShuffle)
def _pixel_shuffle(layer: nn.PixelShuffle, shapes: Mapping[str, Shape]) -> Expectation:
    """Channels to places: r² of them make a block of r by r."""
    *lead, channels, rows, columns = first_shape(shapes, axes=3)
    r = layer.upscale_factor
    return moved(
        (*lead, channels // r**2, rows * r, columns * r),
        f"{channels} / {r}² = {channels // r**2}; times {r} on each side",
    )


@register_rule(nn.PixelUnshuffle)
def _pixel_unshuffle(layer: nn.PixelUnshuffle, shapes: Mapping[str, Shape]) -> Expectation:
    """Places to channels: a block of r by r makes r² of them."""
    *lead, channels, rows, columns = first_shape(shapes, axes=3)
    r = layer.downscale_factor
    return moved(
        (*lead, channels * r**2, rows // r, columns // r),
        f"{channels}·{r}² = {channels * r**2}; each side by {r}",
    )
