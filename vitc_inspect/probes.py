"""Experiments on a real module: one cell of a map taken apart, gradients, the order of tokens.

Every probe runs in evaluation mode, whatever mode the module is in, and leaves it as it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import isfinite, sqrt
from types import MappingProxyType

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from vitc_inspect.errors import SpecError
from vitc_inspect.fields import check_choice, check_int
from vitc_inspect.geometry import Span
from vitc_inspect.model import ACTIVATIONS, ChannelNorm
from vitc_inspect.spec import StemSpec
from vitc_inspect.tracing import hooked, image_statistics

DoubleArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

COTANGENTS = 4
"""Random directions in which a token's gradient is taken; a pixel must be missed by all of them
to look unread."""

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and variance of each channel, by the name of the BatchNorm that normalises by them."""

_SMALL_PART = 256**2  # pixels of an image of which several copies may be held
_PROOF_NUMBERS = 2**18  # of a map that is sent through to find the order of its cells
_POINTWISE = (ChannelNorm, nn.Identity, *(type(make()) for make in ACTIVATIONS.values()))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of a convolution's output, taken apart into what it was added up from."""

    layer: str
    """Name of the convolution."""
    channel: int
    """Output channel of the number."""
    row: int
    """Row of the number in the output map."""
    column: int
    """Column of the number in the output map."""
    in_channels: tuple[int, ...]
    """Input channels that the output channel reads: those of its group."""
    rows: tuple[int, ...]
    """Row of the input map that each row of taps reads; outside the map it reads padding."""
    columns: tuple[int, ...]
    """Column of the input map that each column of taps reads; outside the map, padding."""
    window: DoubleArray
    """(in_channels / groups, taps, taps): what the taps read, 0 in the padding."""
    padded: BoolArray
    """(taps, taps): whether a tap reads padding."""
    kernel: DoubleArray
    """(in_channels / groups, taps, taps): the weights of the output channel."""
    bias: float | None
    """What is added to the sum; None where the convolution has no bias."""
    observed: float
    """The number that a hook saw."""
    dtype: torch.dtype
    """Number format of the run."""
    factor_rounding: float
    """Largest relative change of a factor before it is multiplied, 0 for most devices."""

    @property
    def products(self) -> DoubleArray:
        """(in_channels / groups, taps, taps): each number times its weight.

        Two numbers of 24 bits have a product of 48, so none is rounded but those of float64.
        """
        return self.window * self.kernel

    @property
    def per_channel(self) -> DoubleArray:
        """(in_channels / groups,): the sum of the products of each input channel."""
        sums: DoubleArray = self.products.sum(axis=(1, 2))
        return sums

    @property
    def total(self) -> float:
        """The sum of all products and the bias, in float64."""
        with np.errstate(invalid="ignore"):  # a map that overflowed holds infinities of both signs
            return float(self.products.sum()) + (self.bias or 0.0)

    @property
    def tolerance(self) -> float:
        """How far the run may be from the total by rounding alone.

            growth * unit * (sum of |products| + |bias|)  +  2 * unit' * (|total| + |bias|)
            + 2 * factor_rounding * sum of |products|  +  what is too small for the formats

        Adding n numbers in any order is off by at most n units of the sum of their sizes. The
        signs of single roundings differ, so that 8 * sqrt(n) units are passed with probability
        below 2 * n * exp(-32), one in 10^10 for 3456 products; growth is the smaller of the two.
        Sums are kept in float32 at least (unit), and the result is rounded to the format of
        the run (unit'), a second time where the bias is added after that. This speaks of sums
        of products; a device that takes another way (Winograd, FFT) may be further off.

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
            + terms * wide.tiny  # products too small for the format become 0
            + own.tiny * own.eps
        )

    @property
    def agrees(self) -> bool:
        """Whether the run is as near to the total as rounding allows."""
        rounded = float(torch.tensor(self.total, dtype=torch.float64).to(self.dtype))
        if not isfinite(rounded):  # beyond the largest number of the format
            return repr(rounded) == repr(self.observed)  # inf, -inf or nan
        return abs(self.total - self.observed) <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class TokenField:
    """How strongly the pixels around a token move it, found by autograd."""

    rows: Span
    """Rows of the image that were looked at (pixels)."""
    columns: Span
    """Columns of the image that were looked at (pixels)."""
    heat: DoubleArray
    """(rows, columns): the size of the gradient, as `gradient_field` describes it."""
    vector: DoubleArray
    """(width,): the token, worked out from these pixels alone."""


@dataclass(frozen=True, kw_only=True)
class TokenOrder:
    """Where each number of each token came from, found by experiment."""

    cells: IntArray
    """(tokens, channels): the cell of the map, counted row by row."""
    channels: IntArray
    """(tokens, channels): the channel of the map."""

    @property
    def mixed(self) -> bool:
        """Whether some token holds numbers of several cells."""
        return bool((self.cells != self.cells[:, :1]).any())

    @property
    def order(self) -> IntArray | None:
        """(tokens,): the cell that became each token; None where tokens are mixed."""
        return None if self.mixed else self.cells[:, 0]

    @property
    def rows_first(self) -> bool:
        """Whether token n is cell n, all its channels in their places."""
        tokens, channels = self.cells.shape
        in_place = self.cells == np.arange(tokens)[:, None]
        return bool((in_place & (self.channels == np.arange(channels))).all())


def probe_cell(
    module: nn.Sequential, input: Tensor, layer: str, channel: int, row: int, column: int
) -> Cell:
    """Take one number of a convolution's output apart, and hold the sum against the run.

    Only the layers up to the convolution run.

    Args:
        module: A stem, as `model.build_stem` builds it.
        input: (1, c, h, w), on the module's device and in its dtype.
        layer: Name of one of its nn.Conv2d.
        channel: Output channel, counted from 0.
        row, column: Place in the output map, counted from 0.

    Returns:
        The cell.

    Raises:
        SpecError: field "layer", when it is no convolution that pads with zeros; field
            "channel", "row" or "column", when the map has no such place.

    Source:
        The sum that defines torch.nn.Conv2d.
    """
    conv = _convolution(module, layer)
    check_int("channel", channel, 0, conv.out_channels - 1)
    seen: list[tuple[Tensor, Tensor]] = []

    def observe(name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append((inputs[0], output))

    with evaluating(module), torch.inference_mode(), hooked([(layer, conv)], observe):
        _beginning(module, list(_layers(module)).index(layer) + 1)(input)
        given, output = seen[-1]
        check_int("row", row, 0, output.shape[2] - 1)
        check_int("column", column, 0, output.shape[3] - 1)
        group = channel // (conv.out_channels // conv.groups)
        size = conv.in_channels // conv.groups
        in_channels = range(group * size, (group + 1) * size)
        rows, columns = (_taps(conv, axis, at) for axis, at in enumerate((row, column)))
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
            kernel=_doubles(conv.weight[channel]),
            bias=None if conv.bias is None else float(conv.bias[channel]),
            observed=float(output[0, channel, row, column]),
            dtype=output.dtype,
            factor_rounding=_factor_rounding(given),
        )


def kernel_of(module: nn.Sequential, layer: str, channel: int) -> NDArray[np.float32]:
    """The weights that make one map of a convolution.

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


def gradient_field(module: nn.Sequential, input: Tensor, row: int, column: int) -> DoubleArray:
    """Measure how strongly each pixel of the image moves one token.

    Autograd finds the receptive field: a pixel with a gradient is read. The reverse does not
    hold: behind a ReLU that is off, a pixel is read and has none.

    Args:
        module: A stem; what comes before its layer "tokens" runs, or all of it without one.
        input: (1, c, h, w), on the module's device.
        row, column: The token's place in the grid, counted from 0.

    Returns:
        (h, w): the size of the gradient of a random combination of the token's numbers, added
        up over the image's channels; mean over `COTANGENTS` combinations, the same each time.
        Sums run in float32 at least, whatever the module's dtype.

    Raises:
        SpecError: field "row" or "column".

    Source:
        Luo et al. 2016, arXiv:1701.04128, section 3: the effective receptive field.
    """
    field = token_field(module, input, row, column)
    whole: DoubleArray = np.zeros(tuple(input.shape[2:]))
    whole[field.rows.start : field.rows.stop, field.columns.start : field.columns.stop] = field.heat
    whole.setflags(write=False)
    return whole


def token_field(
    module: nn.Sequential,
    input: Tensor,
    row: int,
    column: int,
    *,
    statistics: Statistics = MappingProxyType({}),
) -> TokenField:
    """Measure what `gradient_field` measures, on the pixels that the tokens around can read.

    The token and its eight neighbours are worked out from the part of the image that their
    windows reach, and the gradient is looked for in all of that part: so it can show itself
    where the token should not read. That nothing further away counts is shown by the vector,
    which comes out as in a run on the whole image, up to rounding. A stem with a layer that is
    none of ours is run on the whole image.

    Args:
        module, input, row, column: As in `gradient_field`.
        statistics: What a BatchNorm normalises by instead of what it stores, as
            `batch_statistics` finds it; it is held still, so that pixels do not reach a token
            by way of the mean.

    Returns:
        The field.

    Raises:
        SpecError: field "row" or "column".

    Source:
        As `gradient_field`.
    """
    maps = _before_tokens(module)
    # not an inference tensor, whoever calls
    with torch.inference_mode(False), torch.enable_grad(), evaluating(module):
        weights = _widened_weights(maps, statistics)
        wide = _widened(input).detach()
        size = (wide.shape[2], wide.shape[3])
        paths = _paths(maps, size, (row, column))
        rows, columns = (
            (Span(start=0, stop=side) for side in size)
            if paths is None
            else (path[0].has for path in paths)
        )
        part = wide[:, :, rows.start : rows.stop, columns.start : columns.stop]
        heat = torch.zeros(part.shape[2:], dtype=part.dtype, device=part.device)
        # all directions at once are faster, one after the other takes less memory
        small = paths is not None and rows.length * columns.length <= _SMALL_PART
        copies = COTANGENTS if small else 1
        for first in range(0, COTANGENTS, copies):
            images = part.repeat(copies, 1, 1, 1).requires_grad_()
            if paths is None:
                grid: Tensor = functional_call(maps, weights, (images,))  # (b, d, rows, columns)
                at = (row, column)
            else:
                grid = _run_along(maps, weights, images, paths)
                at = (row - paths[0][-1].has.start, column - paths[1][-1].has.start)
            check_int("row", at[0], 0, grid.shape[2] - 1)
            check_int("column", at[1], 0, grid.shape[3] - 1)
            tokens = grid[:, :, at[0], at[1]]  # (b, d)
            directions = _directions(tokens.shape[1])[first : first + copies].to(tokens)
            (gradients,) = torch.autograd.grad(tokens, images, directions)
            heat += gradients.abs().sum(dim=(0, 1))  # (b, c, h, w) -> (h, w)
    return TokenField(
        rows=rows, columns=columns, heat=_doubles(heat / COTANGENTS), vector=_doubles(tokens[0])
    )


def _directions(width: int) -> Tensor:
    """Random directions of a token, the same each time: (COTANGENTS, width)."""
    draw = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(width, generator=draw) for _ in range(COTANGENTS)])


def batch_statistics(module: nn.Sequential, input: Tensor) -> Statistics:
    """Find the mean and variance by which each BatchNorm normalises this very image.

    Args:
        module: A stem, in evaluation mode.
        input: (1, c, h, w), on the module's device and in its dtype.

    Returns:
        By name, in float32 at least; without those that get one value a channel, which use
        what they store.
    """
    maps = _before_tokens(module)
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def observe(name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        given = inputs[0]
        if given.numel() > given.shape[1]:
            var, mean = torch.var_mean(_widened(given), dim=(0, 2, 3), correction=0)
            found[name] = mean, var

    norms = [(name, layer) for name, layer in maps.named_modules() if _is_batch_norm(layer)]
    # not under inference_mode, whose tensors autograd would refuse
    with torch.no_grad(), image_statistics(module), hooked(norms, observe):
        maps(input)
    return MappingProxyType(found)


def token_vectors(module: nn.Sequential, input: Tensor) -> DoubleArray:
    """Run a stem up to its layer "tokens": before class token and position table.

    Args:
        module: A stem, as `model.build_stem` builds it.
        input: (1, c, h, w), on the module's device and in its dtype.

    Returns:
        (rows, columns, width): the image tokens, in the places the model takes them for.
    """
    with evaluating(module), torch.inference_mode():
        grid = _before_tokens(module)(input)  # (1, d, rows, columns)
        tokens = module.get_submodule("tokens")(grid)[0]  # (n, d)
        places = "(rows columns) d -> rows columns d"
        return _doubles(rearrange(tokens, places, columns=grid.shape[3]))


def token_norms(vectors: DoubleArray) -> DoubleArray:
    """Measure the length of every token.

    Args:
        vectors: (rows, columns, width), as `token_vectors` returns them.

    Returns:
        (rows, columns): the square root of the sum of the squares.
    """
    norms: DoubleArray = np.linalg.norm(vectors, axis=2)
    return norms


def cosine_to_all(vectors: DoubleArray, token: tuple[int, int]) -> DoubleArray:
    """Compare one token with every token, itself included.

    Args:
        vectors: (rows, columns, width), as `token_vectors` returns them.
        token: Row and column of the one.

    Returns:
        (rows, columns): the cosine of the angle between the two, from -1 to 1; 0 with a token
        of length 0, which has no direction.

    Raises:
        SpecError: field "row" or "column".
    """
    row = check_int("row", token[0], 0, vectors.shape[0] - 1)
    column = check_int("column", token[1], 0, vectors.shape[1] - 1)
    return cosines(vectors, vectors[row, column])


def cosines(vectors: DoubleArray, vector: DoubleArray) -> DoubleArray:
    """Compare every token with one vector.

    Args:
        vectors: (rows, columns, width).
        vector: (width,).

    Returns:
        (rows, columns): as `cosine_to_all`.
    """
    lengths = token_norms(vectors) * np.linalg.norm(vector)
    products = vectors @ vector  # (rows, columns)
    known = lengths > 0
    found = np.divide(products, lengths, out=np.zeros_like(products), where=known)
    clipped: DoubleArray = np.clip(found, -1, 1)
    return clipped


def _flatten_rows_first(map: Tensor) -> Tensor:
    tokens: Tensor = rearrange(map, "b c h w -> b (h w) c")
    return tokens


def _flatten_columns_first(map: Tensor) -> Tensor:
    tokens: Tensor = rearrange(map, "b c h w -> b (w h) c")
    return tokens


def _flatten_scrambled(map: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h w, c), the numbers left in the order they have in memory."""
    batch, channels, height, width = map.shape
    return map.reshape(batch, height * width, channels)


FLATTENINGS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "rows first": _flatten_rows_first,
        "columns first": _flatten_columns_first,
        "reshape alone": _flatten_scrambled,
    }
)
"""Ways to make tokens of a map: the right one, and two that give every shape right."""


def flattenings(map: Tensor) -> dict[str, Tensor]:
    """Flatten a map in each of the `FLATTENINGS`.

    Args:
        map: (b, c, h, w).

    Returns:
        (b, h w, c) by name.
    """
    return {name: flatten(map) for name, flatten in FLATTENINGS.items()}


def order_of(
    flatten: Callable[[Tensor], Tensor], grid_size: tuple[int, int], channels: int
) -> TokenOrder:
    """Find out which cell of a map becomes which token, by sending a map through.

    Every number of the map says where it stands, so that each can be found again.

    Args:
        flatten: The function, (1, c, h, w) -> (1, h w, c); it is called once.
        grid_size: Rows and columns of the map.
        channels: Channels of the map.

    Returns:
        Where each number of each token came from.

    Raises:
        SpecError: field "flatten", when what comes out is not what went in, in another order.
    """
    rows, columns = grid_size
    shape = (rows * columns, channels)
    positions = torch.arange(channels * rows * columns, dtype=torch.float64)
    with torch.inference_mode():
        tokens = flatten(positions.view(1, channels, rows, columns)).cpu()
    if tuple(tokens.shape) != (1, *shape):
        given = f"the tokens of {channels} x {rows} x {columns} numbers have the shape"
        raise SpecError("flatten", flatten, f"{given} {tuple(tokens.shape)}", f"Give (1, *{shape})")
    if not torch.equal(tokens.flatten().sort().values, positions):
        raise SpecError(
            "flatten", flatten, "it changes numbers", "Give a function that only moves them"
        )
    found: IntArray = tokens[0].to(torch.int64).numpy()
    return TokenOrder(cells=found % shape[0], channels=found // shape[0])


def proof_channels(grid_size: tuple[int, int], channels: int) -> int:
    """How many channels a map needs to have to show an order without growing large.

    No flattening asks for the number of channels, so those of a large grid need not be all.

    Args:
        grid_size: Rows and columns of the map.
        channels: Channels of the stem's own map.

    >>> proof_channels((14, 14), 384), proof_channels((128, 128), 768)
    (384, 16)
    """
    rows, columns = grid_size
    return min(channels, max(2, _PROOF_NUMBERS // (rows * columns)))


def keeps_order(module: nn.Sequential, spec: StemSpec) -> bool:
    """Whether a stem's own layer "tokens" puts the rows of the map one after the other.

    Args:
        module: The stem.
        spec: Its description.

    Returns:
        True when token n is cell n of the map, rows first, all its channels in their places;
        found with a map of `proof_channels` channels.

    Raises:
        SpecError: field "flatten", as `order_of`.
    """
    channels = proof_channels(spec.grid_size, spec.embed_dim)
    with evaluating(module):
        return order_of(module.get_submodule("tokens"), spec.grid_size, channels).rows_first


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


def _convolution(module: nn.Sequential, name: str) -> nn.Conv2d:
    """The convolution of this name, if its cells can be taken apart."""
    layers = _layers(module)
    convs = {other: layer for other, layer in layers.items() if isinstance(layer, nn.Conv2d)}
    if not convs:
        raise SpecError("layer", name, "the module has no nn.Conv2d", "Give a stem that has one")
    check_choice("layer", name, convs)
    conv = convs[name]
    if conv.padding_mode != "zeros":
        reason = f"it pads with mode {conv.padding_mode}, and only zeros are taken apart"
        plain = [other for other, layer in convs.items() if layer.padding_mode == "zeros"]
        fix = f"Use {plain[0]}" if plain else 'Use padding_mode="zeros"'
        raise SpecError("layer", name, reason, fix, next(iter(plain), None))
    return conv


def _taps(conv: nn.Conv2d, axis: int, index: int) -> tuple[int, ...]:
    """Position of the input that each tap reads for one position of the output, along an axis."""
    taps, step = conv.kernel_size[axis], conv.dilation[axis]
    if conv.padding == "same":
        padding = step * (taps - 1) // 2  # the odd pixel goes behind
    else:
        padding = 0 if isinstance(conv.padding, str) else conv.padding[axis]
    first = index * conv.stride[axis] - padding
    return tuple(range(first, first + taps * step, step))


def _window(
    map: Tensor, rows: tuple[int, ...], columns: tuple[int, ...]
) -> tuple[DoubleArray, BoolArray]:
    """What the taps read of a map (c, h, w), with zeros for padding; and which read padding."""
    height, width = map.shape[1:]
    inside_rows = np.array([0 <= row < height for row in rows])
    inside_columns = np.array([0 <= column < width for column in columns])
    padded: BoolArray = ~np.outer(inside_rows, inside_columns)
    nearest_rows = np.clip(rows, 0, height - 1).tolist()
    nearest_columns = np.clip(columns, 0, width - 1).tolist()
    # by place and not as zeros times numbers, which would keep an infinity
    window = map[:, nearest_rows][:, :, nearest_columns]  # (c, h, w) -> (c, taps, taps)
    window = window.masked_fill(torch.from_numpy(padded).to(window.device), 0)
    padded.setflags(write=False)
    return _doubles(window), padded


def _factor_rounding(given: Tensor) -> float:
    """By how much a GPU may round numbers of float32 before it multiplies them.

    TensorFloat-32 keeps 11 bits of the 24: torch.backends.cudnn.allow_tf32.
    """
    short = given.is_cuda and given.dtype == torch.float32 and torch.backends.cudnn.allow_tf32
    return 2.0**-11 if short else 0.0


def _layers(module: nn.Sequential) -> dict[str, nn.Module]:
    """The layers of a stem by name, one that stands in two places twice."""
    named = module.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in named if name and "." not in name}


def _beginning(module: nn.Sequential, count: int) -> nn.Sequential:
    """The first layers of a stem."""
    return nn.Sequential(OrderedDict(list(_layers(module).items())[:count]))


def _before_tokens(module: nn.Sequential) -> nn.Sequential:
    """The part of a stem that ends in the last map."""
    names = list(_layers(module))
    return _beginning(module, names.index("tokens") if "tokens" in names else len(names))


@dataclass(frozen=True)
class _Window:
    """Neighbouring places along one axis of the map that goes into a layer."""

    reads: Span  # what the layer reads, padding included
    has: Span  # what is there of it, at least one place


def _paths(
    maps: nn.Sequential, size: tuple[int, int], place: tuple[int, int]
) -> tuple[list[_Window], list[_Window]] | None:
    """What each layer reads for a token and its neighbours, along both axes.

    The last window of each is that of the tokens themselves. None with a layer that is none
    of ours.
    """
    layers = list(_layers(maps).values())
    if not all(map(_can_be_cut, layers)):
        return None
    rows, columns = (
        _path(layers, axis, size[axis], place[axis], field)
        for axis, field in enumerate(("row", "column"))
    )
    return rows, columns


def _can_be_cut(layer: nn.Module) -> bool:
    """Whether a part of a layer's output follows from a part of its input."""
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, _POINTWISE) or (
        _is_batch_norm(layer) and layer.running_mean is not None
    )


def _is_batch_norm(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm2d)


def _path(layers: list[nn.Module], axis: int, size: int, place: int, field: str) -> list[_Window]:
    sizes = [size]
    for layer in layers:
        sizes.append(_output_size(layer, axis, sizes[-1]))
    check_int(field, place, 0, sizes[-1] - 1)
    span = Span(start=place - 1, stop=place + 2).clipped(sizes[-1])
    path = [_Window(span, span)]
    for layer, length in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        reads = _reach(layer, axis, span)
        start = min(max(reads.start, 0), length - 1)  # windows may lie in the padding alone
        span = Span(start=start, stop=max(start + 1, min(reads.stop, length)))
        path.append(_Window(reads, span))
    return path[::-1]


def _reach(layer: nn.Module, axis: int, span: Span) -> Span:
    """What a layer reads along an axis for neighbouring places of its output."""
    if not isinstance(layer, nn.Conv2d):
        return span
    return Span(
        start=_taps(layer, axis, span.start)[0], stop=_taps(layer, axis, span.stop - 1)[-1] + 1
    )


def _output_size(layer: nn.Module, axis: int, size: int) -> int:
    """Length of a layer's output along an axis."""
    if not isinstance(layer, nn.Conv2d):
        return size
    taps = _taps(layer, axis, 0)  # the first of them lies in the padding
    window = taps[-1] - taps[0] + 1
    return (size - 2 * taps[0] - window) // layer.stride[axis] + 1


def _run_along(
    maps: nn.Sequential,
    weights: Mapping[str, Tensor],
    image: Tensor,
    paths: tuple[list[_Window], list[_Window]],
) -> Tensor:
    """Run the layers on a part of the image, each padded as far as its windows leave its map."""
    part = image
    for (name, layer), row, column in zip(
        _layers(maps).items(), *(p[:-1] for p in paths), strict=True
    ):
        own = {key: weights[f"{name}.{key}"] for key in layer.state_dict()}
        if not isinstance(layer, nn.Conv2d):
            part = functional_call(layer, own, (part,))
            continue
        sides = [
            side
            for window in (column, row)  # torch.nn.functional.pad begins with the last axis
            for side in (
                window.has.start - window.reads.start,
                window.reads.stop - window.has.stop,
            )
        ]
        padded = nn.functional.pad(part, [max(0, side) for side in sides])
        part = nn.functional.conv2d(
            nn.functional.pad(padded, [min(0, side) for side in sides]),  # cuts what is not read
            own["weight"],
            own.get("bias"),
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    return part


def _widened_weights(maps: nn.Sequential, statistics: Statistics) -> dict[str, Tensor]:
    """All a stem has learned, in float32 at least, and the statistics in their places."""
    named = chain(
        maps.named_parameters(remove_duplicate=False), maps.named_buffers(remove_duplicate=False)
    )
    weights: dict[str, Tensor] = {name: _widened(value.detach()) for name, value in named}
    for name, (mean, var) in statistics.items():
        weights[f"{name}.running_mean"], weights[f"{name}.running_var"] = mean, var
    return weights


def _widened(tensor: Tensor) -> Tensor:
    """The tensor in float32 at least; whole numbers stay."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _doubles(tensor: Tensor) -> DoubleArray:
    """A copy of the numbers on the CPU in float64, for reading only."""
    array: DoubleArray = tensor.detach().to("cpu", torch.float64, copy=True).numpy()
    array.setflags(write=False)
    return array
