"""Decompose one output value of a convolution into the products that it is the sum of."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import check_choice, check_int
from vitc_inspect.model.devices import factor_rounding
from vitc_inspect.probes.submodules import (
    DoubleArray,
    beginning,
    doubles,
    evaluating,
    named_layers,
    taps_of,
)
from vitc_inspect.tracing.hooks import hooked

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One output value of a convolution and the terms of its sum."""

    layer: str
    """Name of the convolution."""
    channel: int
    """Output channel of the value."""
    row: int
    """Row in the output map."""
    column: int
    """Column in the output map."""
    in_channels: tuple[int, ...]
    """Input channels of the output channel's group."""
    rows: tuple[int, ...]
    """Row of the input map that each row of taps reads; rows outside the map are padding."""
    columns: tuple[int, ...]
    """Column of the input map that each column of taps reads; outside the map is padding."""
    window: DoubleArray
    """(in_channels / groups, taps, taps): the input values, 0 in the padding."""
    padded: BoolArray
    """(taps, taps): whether a tap reads padding."""
    kernel: DoubleArray
    """(in_channels / groups, taps, taps): the weights of the output channel."""
    bias: float | None
    """Bias of the output channel; None if the convolution has none."""
    observed: float
    """The value that a hook observed."""
    dtype: torch.dtype
    """Number format of the run."""
    factor_rounding: float
    """Largest relative rounding of a factor before multiplication, 0 on most devices."""

    @property
    def products(self) -> DoubleArray:
        """(in_channels / groups, taps, taps): each input value times its weight.

        The product of two 24-bit significands has 48 bits, so only those of float64 are rounded.
        """
        return self.window * self.kernel

    @property
    def per_channel(self) -> DoubleArray:
        """(in_channels / groups,): sum of the products of each input channel."""
        sums: DoubleArray = self.products.sum(axis=(1, 2))
        return sums

    @property
    def total(self) -> float:
        """Sum of all products and the bias, in float64."""
        with np.errstate(invalid="ignore"):  # a map that overflowed has infinities of both signs
            return float(self.products.sum()) + (self.bias or 0.0)

    @property
    def tolerance(self) -> float:
        """Largest difference between run and total that rounding explains.

            growth * unit * (sum of |products| + |bias|)  +  2 * unit' * (|total| + |bias|)
            + 2 * factor_rounding * sum of |products|  +  underflow

        A sum of n terms in any order is off by at most n units of the sum of their magnitudes.
        Since the signs of single roundings differ, 8 * sqrt(n) units are exceeded with
        probability below 2 * n * exp(-32), one in 10^10 for 3456 products; growth is the smaller
        of the two. Sums are accumulated in float32 at least (unit), and the result is rounded to
        the format of the run (unit'), again if the bias is added afterwards. The bound holds for
        sums of products; other algorithms (Winograd, FFT) may be less accurate.

        Source:
            Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2; Higham
            and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis", section 2.
        """
        wide = torch.finfo(torch.promote_types(self.dtype, torch.float32))
        own = torch.finfo(self.dtype)
        terms = self.products.size + 1
        sizes, bias = float(np.abs(self.products).sum()), abs(self.bias or 0.0)
        growth = min(terms, 8 * sqrt(terms))
        return (
            growth * wide.eps / 2 * (sizes + bias)
            + own.eps * (abs(self.total) + bias)
            + 2 * self.factor_rounding * sizes
            + terms * wide.tiny  # products below the smallest normal number become 0
            + own.tiny * own.eps
        )

    @property
    def agrees(self) -> bool:
        """Whether the run differs from the total by no more than the tolerance."""
        rounded = float(torch.tensor(self.total, dtype=torch.float64).to(self.dtype))
        if not isfinite(rounded):  # overflow in the format of the run
            return repr(rounded) == repr(self.observed)  # inf, -inf or nan
        return abs(self.total - self.observed) <= self.tolerance


def probe_cell(
    module: nn.Sequential, input: Tensor, layer: str, channel: int, row: int, column: int
) -> Cell:
    """Decompose one output value of a convolution and compare the sum with the run.

    Only the layers up to the convolution run.

    Args:
        module: A stem, as `model.build_stem` builds it.
        input: (1, c, h, w), on the module's device and in its dtype.
        layer: Name of one of its nn.Conv2d.
        channel: Output channel, counted from 0.
        row, column: Place in the output map, counted from 0.

    Returns:
        The value with its terms.

    Raises:
        SpecError: field "layer", when it is not a convolution that pads with zeros; field
            "channel", "row" or "column", when it is outside the map.

    Source:
        The definition of torch.nn.Conv2d.
    """
    conv = _convolution(module, layer)
    check_int("channel", channel, 0, conv.out_channels - 1)
    seen: list[tuple[Tensor, Tensor]] = []

    def observe(name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((inputs[0], output))

    with evaluating(module), torch.inference_mode(), hooked([(layer, conv)], observe):
        beginning(module, list(named_layers(module)).index(layer) + 1)(input)
        given, output = seen[-1]
        check_int("row", row, 0, output.shape[2] - 1)
        check_int("column", column, 0, output.shape[3] - 1)
        group = channel // (conv.out_channels // conv.groups)
        size = conv.in_channels // conv.groups
        in_channels = range(group * size, (group + 1) * size)
        rows, columns = (taps_of(conv, axis, at) for axis, at in enumerate((row, column)))
        window, padded = _window(given[0, in_channels.start : in_channels.stop], rows, columns)
        return Cell(
            layer=layer,
            channel=channel,
            row=row,
            column=column,
            in_channels=tuple(in_channels),
            rows=rows,
            columns=columns,
            window=window,
            padded=padded,
            kernel=doubles(conv.weight[channel]),
            bias=None if conv.bias is None else float(conv.bias[channel]),
            observed=float(output[0, channel, row, column]),
            dtype=output.dtype,
            factor_rounding=factor_rounding(given),
        )


def kernel_of(module: nn.Sequential, layer: str, channel: int) -> NDArray[np.float32]:
    """Get the kernel of one output channel of a convolution.

    Args:
        module: A stem, as `model.build_stem` builds it.
        layer: Name of one of its nn.Conv2d.
        channel: Output channel, counted from 0.

    Returns:
        (in_channels / groups, kernel height, kernel width).

    Raises:
        SpecError: field "layer" or "channel".
    """
    conv = _convolution(module, layer)
    check_int("channel", channel, 0, conv.out_channels - 1)
    kernel: NDArray[np.float32] = conv.weight[channel].detach().float().cpu().numpy()
    return kernel


def _convolution(module: nn.Sequential, name: str) -> nn.Conv2d:
    """Find a convolution by name; it must pad with zeros."""
    layers = named_layers(module)
    convs = {other: layer for other, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    if not convs:
        raise SpecError("layer", name, "the module has no nn.Conv2d", "Give a stem that has one")
    check_choice("layer", name, convs)
    conv = convs[name]
    if conv.padding_mode != "zeros":
        reason = f"it pads with mode {conv.padding_mode}, and only zero padding is supported"
        plain = [other for other, layer in convs.items() if layer.padding_mode == "zeros"]
        fix = f"Use {plain[0]}" if plain else 'Use padding_mode="zeros"'
        raise SpecError("layer", name, reason, fix, next(iter(plain), None))
    return conv


def _window(
    map: Tensor, rows: tuple[int, ...], columns: tuple[int, ...]
) -> tuple[DoubleArray, BoolArray]:
    """Values that the taps read of a map (c, h, w), 0 in the padding; and which are padding."""
    height, width = map.shape[1:]
    inside_rows = np.array([0 <= row < height for row in rows])
    inside_columns = np.array([0 <= column < width for column in columns])
    padded: BoolArray = ~np.outer(inside_rows, inside_columns)
    nearest_rows = np.clip(rows, 0, height - 1).tolist()
    nearest_columns = np.clip(columns, 0, width - 1).tolist()
    # selected, since multiplying by 0 would turn an infinity into nan
    window = map[:, nearest_rows][:, :, nearest_columns]  # (c, h, w) -> (c, taps, taps)
    window = window.masked_fill(torch.from_numpy(padded).to(window.device), 0)
    padded.setflags(write=False)
    return doubles(window), padded
