"""Rules for convolutions and transposed convolutions, and for fold and unfold."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import along, first_shape, moved, per_axis, windows
from vitc_inspect.model.modules import Conv2d
from vitc_inspect.stem.arithmetic import conv_macs, conv_params
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@register_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2d)
def _convolution(layer: nn.Conv2d, shapes: Mapping[str, Shape]) -> Expectation:
    """A convolution along each of its axes: int, tuple, "same" or "valid" padding."""
    axes, taps = len(layer.kernel_size), prod(layer.kernel_size)
    shape = first_shape(shapes, axes=1 + axes)
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride = layer.kernel_size[axis], layer.stride[axis]
        if layer.padding == "same":
            side, word = size, f'{size} (padding "same")'
        else:
            padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
            side, word = windows(size, kernel, stride, padding, layer.dilation[axis])
        sides.append(side)
        words.append(word)
    # a kernel of several taps costs, and holds, what as many kernels of one tap do
    one_tap = conv_macs(
        layer.in_channels,
        (layer.out_channels, prod(sides), 1),
        kernel_size=1,
        groups=layer.groups,
    )
    weights = conv_params(
        layer.in_channels, layer.out_channels, kernel_size=1, groups=layer.groups, bias=False
    )
    lead = shape[: -axes - 1]
    return Expectation(
        out_shape=(*lead, layer.out_channels, *sides),
        params=weights * taps + (layer.bias is not None) * layer.out_channels,
        macs=prod(lead) * taps * one_tap,
        rule=per_axis(words),
    )


@register_rule(*TRANSPOSED)
def _transposed_convolution(layer: nn.ConvTranspose2d, shapes: Mapping[str, Shape]) -> Expectation:
    """Each place of the input spread over a window; windows overlap by what the stride leaves."""
    axes, taps = len(layer.kernel_size), prod(layer.kernel_size)
    shape = first_shape(shapes, axes=1 + axes)
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride, padding = (
            along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding)
        )
        window = layer.dilation[axis] * (kernel - 1) + 1
        extra = along(layer.output_padding, axis)
        side = (size - 1) * stride + window - 2 * padding + extra
        sides.append(side)
        more = f" + {extra}" if extra else ""
        words.append(f"({size} − 1)·{stride} + {window} − 2·{padding}{more} = {side}")
    weights = layer.in_channels * layer.out_channels // layer.groups * taps
    return Expectation(
        out_shape=(*shape[: -axes - 1], layer.out_channels, *sides),
        params=weights + (layer.bias is not None) * layer.out_channels,
        macs=prod(shape) * layer.out_channels // layer.groups * taps,
        rule=per_axis(words),
    )


@register_rule(nn.Unfold)
def _unfold(layer: nn.Unfold, shapes: Mapping[str, Shape]) -> Expectation:
    """The numbers of each window as a column."""
    *lead, channels, rows, columns = first_shape(shapes, axes=3)
    counts = []
    for axis, size in enumerate((rows, columns)):
        kernel, stride, padding, dilation = (
            along(value, axis)
            for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        counts.append(windows(size, kernel, stride, padding, dilation)[0])
    taps = along(layer.kernel_size, 0) * along(layer.kernel_size, 1)
    return moved(
        (*lead, channels * taps, prod(counts)),
        f"{channels}·{taps} = {channels * taps}; {counts[0]}·{counts[1]} windows",
    )


@register_rule(nn.Fold)
def _fold(layer: nn.Fold, shapes: Mapping[str, Shape]) -> Expectation:
    """The numbers of each window back in their places."""
    *lead, height, _ = first_shape(shapes, axes=2)
    taps = along(layer.kernel_size, 0) * along(layer.kernel_size, 1)
    sides = [along(layer.output_size, axis) for axis in (0, 1)]
    return moved(
        (*lead, height // taps, *sides),
        f"{height} / {taps} = {height // taps}; the output_size that was asked for",
    )
