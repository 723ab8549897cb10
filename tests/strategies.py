"""Random stems for the property tests; every one that is drawn can be built and run."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import get_args

from hypothesis import strategies as st

from vitc_inspect.stem.spec import Activation, ConvLayer, Norm, StemSpec

_CHANNELS = (1, 2, 3, 4, 6, 8, 12)
"""Small widths with many common divisors, so that groups other than 1 are often possible."""


@st.composite
def conv_layers(draw: st.DrawFn, *, in_channels: int | None = None) -> ConvLayer:
    """Any convolution: kernel 1-7, stride 1-4, padding 0-3, dilation 1-3, groups and the rest.

    Args:
        draw: Given by hypothesis.
        in_channels: Channels that `groups` must divide beside the output's; None for any.
    """
    out_channels = draw(st.sampled_from(_CHANNELS))
    common = out_channels if in_channels is None else gcd(in_channels, out_channels)
    return ConvLayer(
        out_channels=out_channels,
        kernel_size=draw(st.integers(1, 7)),
        stride=draw(st.integers(1, 4)),
        padding=draw(st.integers(0, 3)),
        dilation=draw(st.integers(1, 3)),
        groups=draw(st.sampled_from([d for d in range(1, common + 1) if common % d == 0])),
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(get_args(Norm))),
        activation=draw(st.sampled_from(get_args(Activation))),
    )


@st.composite
def stem_specs(draw: st.DrawFn, max_side: int = 64, max_convs: int = 5) -> StemSpec:
    """Any stem of 1 to `max_convs` such convolutions on an image that they can take.

    Args:
        draw: Given by hypothesis.
        max_side: Longest side of the image (pixels).
        max_convs: Most convolutions.
    """
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    in_channels = channels = draw(st.sampled_from((1, 2, 3, 4, 6)))
    shorter = min(height, width)
    convs = []
    for _ in range(draw(st.integers(1, max_convs))):
        conv = _made_to_fit(draw(conv_layers(in_channels=channels)), shorter)
        convs.append(conv)
        channels = conv.out_channels
        window = conv.dilation * (conv.kernel_size - 1) + 1
        shorter = (shorter + 2 * conv.padding - window) // conv.stride + 1
    return StemSpec(
        image_size=(height, width),
        in_channels=in_channels,
        convs=tuple(convs),
        class_token=draw(st.booleans()),
        position_table=draw(st.booleans()),
    )


def _made_to_fit(conv: ConvLayer, side: int) -> ConvLayer:
    """The same convolution, with fewer taps if its window is longer than the padded side."""
    most = (side + 2 * conv.padding - 1) // conv.dilation + 1
    return replace(conv, kernel_size=min(conv.kernel_size, most))
