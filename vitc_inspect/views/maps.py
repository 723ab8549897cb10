"""Feature maps as pictures: every value is one pixel of a palette image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from math import ceil
from typing import Any, Literal
from zlib import Z_HUFFMAN_ONLY

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.views.html import Markup, in_base64

_GAP = 0  # palette index of the gaps between maps, which is transparent
_ROOM = 1.3  # how far beyond a scale's end the largest value may lie for the scale to reach it
_SAMPLE = 20_000  # values that the usual size is taken from
_MOST_TOKENS = 800  # rows of a picture of tokens
FloatArray = NDArray[np.float32]
SIGNED_MAP, UNSIGNED_MAP = "RdBu_r", "magma"
"""Colour maps of values on both sides of zero and of values that are never negative."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How values are mapped to colours, the same for every map of a layer."""

    low: float
    """Value of the first colour."""
    high: float
    """Value of the last colour."""
    beyond: bool = False
    """Whether a few values lie beyond the ends and have the colour of the end."""

    @property
    def signed(self) -> bool:
        """Whether zero is the middle of the scale."""
        return self.low < 0

    @property
    def colour_map(self) -> str:
        """Name of matplotlib's colour map."""
        return SIGNED_MAP if self.signed else UNSIGNED_MAP


@dataclass(frozen=True, kw_only=True)
class Wall:
    """All maps of a layer in one picture."""

    png: bytes
    """The picture, one pixel a value."""
    width: int
    """Width of the picture (pixels)."""
    height: int
    """Height of the picture (pixels)."""
    columns: int
    """Maps in a row; 1 for a sequence of tokens, whose rows are tokens."""
    gap: int
    """Pixels between two maps."""
    count: int
    """Maps drawn."""
    step: int
    """Every step-th token is drawn; 1 for maps."""
    scale: Scale | None
    """Colours of the values; None where each map has its own scale."""
    signed: bool
    """Whether the colours have zero in the middle."""
    order: tuple[int, ...]
    """Index of the map at each place."""


@dataclass(frozen=True, kw_only=True)
class MapStatistics:
    """Statistics of every map of a layer, by index."""

    mean: FloatArray
    """Means."""
    std: FloatArray
    """Standard deviations."""
    low: FloatArray
    """Smallest values."""
    high: FloatArray
    """Largest values."""
    zeros: FloatArray
    """Share of the values that are exactly 0."""
    single: bool
    """Whether each map is a single value, which is equal to itself and shows nothing."""
    dead: tuple[int, ...]
    """Maps of several values that are all equal."""
    duplicates: tuple[tuple[int, ...], ...]
    """Groups of maps that are equal in every value and not dead."""
    not_finite: tuple[int, ...]
    """Maps with a value that is infinite or no number."""


Sorting = Literal["index", "variance", "sparsity", "mean"]


def map_statistics(kept: KeptOutput) -> MapStatistics:
    """Compute statistics of every map of a layer's output.

    Args:
        kept: The output: (c, h, w), as far as it was kept.

    Returns:
        Figures by index; maps are duplicates when they are equal to the last bit.
    """
    flat = numbers(kept).reshape(len(kept.values), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    single = flat.shape[1] == 1
    dead = (low == high) & (not single)
    same: dict[bytes, list[int]] = {}
    for index, plane in enumerate(flat):
        if not dead[index]:
            same.setdefault(plane.tobytes(), []).append(index)
    return MapStatistics(
        mean=flat.mean(axis=1),
        std=flat.std(axis=1),
        low=low,
        high=high,
        zeros=(flat == 0).mean(axis=1, dtype=np.float32),
        single=single,
        dead=tuple(np.flatnonzero(dead).tolist()),
        duplicates=tuple(tuple(group) for group in same.values() if len(group) > 1),
        not_finite=tuple(np.flatnonzero(~np.isfinite(flat).all(axis=1)).tolist()),
    )


def sorted_maps(statistics: MapStatistics, sorting: Sorting) -> tuple[int, ...]:
    """Return the indices of a layer's maps, by index or in descending order of a statistic.

    Args:
        statistics: The figures.
        sorting: "index", "variance", "sparsity" (the share of zeros) or "mean".

    Returns:
        Every index once; maps that are equal in the figure stay in the order of their index.
    """
    figures = {
        "variance": statistics.std,
        "sparsity": statistics.zeros,
        "mean": statistics.mean,
    }
    if sorting == "index":
        return tuple(range(len(statistics.mean)))
    figure = np.nan_to_num(figures[sorting], nan=-np.inf)
    return tuple(np.argsort(-figure, kind="stable").tolist())


def wall(
    output: KeptOutput | FloatArray,
    *,
    aspect: float = 1.0,
    order: Sequence[int] | None = None,
    scale: Scale | Literal["layer", "channel"] = "layer",
) -> Wall:
    """Draw all maps of a layer side by side, or a sequence of tokens as a table of values.

    Args:
        output: The layer's output: (c, h, w), or (n, d), of which a row becomes a row.
        aspect: Width over height of the space the wall is meant for.
        order: Index of the map for each place; None is by index.
        scale: One scale that holds all of the layer's values, one for each map, or this one.

    Returns:
        The wall; maps run left to right, then down.
    """
    values = numbers(output) if isinstance(output, KeptOutput) else output
    shown: Scale | None
    if scale == "channel" and values.ndim == 3:
        scales = [value_scale(plane) for plane in values]
        signed = any(one.signed for one in scales)  # one palette, so one kind of scale for all
        scales = [_as_signed(one) if signed else one for one in scales]
        indexes = np.stack(
            [colour_indexes(plane, one) for plane, one in zip(values, scales, strict=True)]
        )
        painted, shown = scales[0], None
    else:
        painted = scale if isinstance(scale, Scale) else value_scale(values)
        shown = painted
        indexes = colour_indexes(values, painted)
    places = tuple(order) if order is not None else tuple(range(len(values)))
    if values.ndim == 3 and order is not None:
        indexes = indexes[list(places)]
    step = 1
    if values.ndim == 2:
        step = ceil(len(values) / _MOST_TOKENS)
        canvas, columns, gap, count = indexes[::step], 1, 0, 1
    else:
        columns, gap, count = _columns(values.shape, aspect), _gap(values.shape), len(values)
        canvas = _tile(indexes, columns, gap)
    height, width = canvas.shape
    return Wall(
        png=_png(canvas, painted),
        width=width,
        height=height,
        columns=columns,
        gap=gap,
        step=step,
        count=count,
        scale=shown,
        signed=painted.signed,
        order=places,
    )


def plane_png(plane: FloatArray, scale: Scale) -> bytes:
    """Encode one map (h, w) as a PNG, one pixel for each value."""
    return _png(colour_indexes(plane, scale), scale)


def common_scale(ranges: Iterable[tuple[float, float]]) -> Scale:
    """Return one scale that covers several ranges (low, high)."""
    ends = list(ranges)
    least = min((low for low, _ in ends), default=0.0)
    return _scale_of(least, max((high for _, high in ends), default=0.0))


def _scale_of(low: float, high: float) -> Scale:
    """Symmetric if any value is negative, else from zero."""
    limit = max(-low, high)
    return Scale(low=-limit, high=limit) if low < 0 else Scale(low=0.0, high=high)


def _as_signed(scale: Scale) -> Scale:
    return Scale(low=-scale.high, high=scale.high)


def face(kept: KeptOutput, *, side: int = 64) -> tuple[bytes, Scale]:
    """Draw a map, or the first tokens, as a small PNG for the strip.

    It is the map that varies most, of those whose colours do not reach the end of the scale.

    Args:
        kept: The layer's output: (c, h, w) or (n, d).
        side: The longest side (pixels); larger maps are thinned to it.

    Returns:
        A PNG and the scale of its colours, which is that of the wall of all maps.
    """
    values = numbers(kept)
    scale = value_scale(values)
    if values.ndim == 3:
        thin = values[:, :: ceil(values.shape[1] / side), :: ceil(values.shape[2] / side)]
        flat = np.nan_to_num(thin.reshape(len(thin), -1))
        # by mean deviation, since a variance may be that of one pixel
        deviations = np.abs(flat - flat.mean(axis=1, keepdims=True)).mean(axis=1)
        within = np.quantile(np.abs(flat), 0.99, axis=1) <= scale.high
        deviations = np.where(within | ~within.any(), deviations, -1)
        plane = thin[int(np.argmax(deviations))]
    else:
        plane = values[:: ceil(len(values) / side), :side]
    return _png(colour_indexes(plane, scale), scale), scale


def value_scale(values: FloatArray) -> Scale:
    """Return the scale of some values: symmetric if any is negative, else from zero.

    A few values far beyond all others would leave one colour for the rest. So the scale of maps
    ends where half of them fill half of it or more, and any other where all but 1 in 200 values
    are, if the largest is twice as large; and it says so.
    """
    finite = values if np.isfinite(values.sum()) else values[np.isfinite(values)]
    if not finite.size:
        return _scale_of(0, 0)
    low, high = float(finite.min()), float(finite.max())
    most = max(-low, high)
    usual = _usual_of_maps(values) if values.ndim == 3 else _usual(finite)
    if 0 < _ROOM * usual < most:
        return replace(_scale_of(-usual if low < 0 else 0, usual), beyond=True)
    return _scale_of(low, high)


def _usual(values: FloatArray) -> float:
    """Where all but 1 in 200 values are, if that is less than half of the largest; else 0."""
    sizes = np.abs(values.ravel()[:: 1 + values.size // _SAMPLE])
    usual = float(np.quantile(sizes, 0.995))
    return usual if 2 * usual < np.abs(values).max() else 0.0


def _usual_of_maps(maps: FloatArray) -> float:
    """One and a half times what the middle one of the maps reaches, leaving out those all zero."""
    thin = maps.reshape(len(maps), -1)
    thin = np.abs(thin[:, :: 1 + thin.shape[1] * len(maps) // _SAMPLE])
    reached = np.nan_to_num(np.quantile(thin, 0.99, axis=1), nan=0.0, posinf=0.0)
    seen = reached[reached > 0]
    return 1.5 * float(np.median(seen)) if seen.size else 0.0


def colour_indexes(values: FloatArray, scale: Scale) -> NDArray[np.uint8]:
    """Convert values to palette indices 1 to 255 on a scale; 0 is left for gaps."""
    span = scale.high - scale.low
    factor = 254 / span if span > 0 else 0.0
    shifted = np.multiply(values, factor, dtype=np.float32)
    shifted += 1.5 - scale.low * factor  # 1, plus a half that rounds
    shifted.clip(1, 255, out=shifted)
    if np.isnan(shifted.sum()):
        shifted = np.nan_to_num(shifted, nan=_GAP)
    return shifted.astype(np.uint8)


@cache
def palette(colour_map: str) -> bytes:
    """Return 256 RGB triples: index 0 unused, 1 to 255 from the first colour to the last."""
    colours = colormaps[colour_map](np.linspace(0, 1, 255))[:, :3]
    return bytes(3) + (colours * 255).round().astype(np.uint8).tobytes()


@cache
def css_gradient(colour_map: str) -> str:
    """Return the colours of a map from low to high, as a CSS background."""
    colours = colormaps[colour_map](np.linspace(0, 1, 13))[:, :3]
    stops = (f"rgb({r} {g} {b})" for r, g, b in (colours * 255).round().astype(int))
    return f"linear-gradient(90deg, {', '.join(stops)})"


def data_uri(file: bytes, kind: str = "png") -> Markup:
    """Encode a picture as a data: URI.

    Args:
        file: The bytes of the file.
        kind: "png" or "jpeg".
    """
    return in_base64(file, f"data:image/{kind};base64,")


def numbers(kept: KeptOutput) -> FloatArray:
    """Convert a kept output to a float32 array."""
    array: FloatArray = kept.values.float().numpy()
    return array


def _columns(shape: tuple[int, ...], aspect: float) -> int:
    """How many maps in a row make the maps largest in a space of the aspect given."""
    count, height, width = shape
    best, best_scale = 1, 0.0
    for columns in range(1, count + 1):
        rows = ceil(count / columns)
        scale = min(aspect / (columns * (width + 1)), 1 / (rows * (height + 1)))
        if scale > best_scale:
            best, best_scale = columns, scale
    return best


def _gap(shape: tuple[int, ...]) -> int:
    """Pixels between maps: enough to be seen when the wall is shown smaller than it is."""
    return max(1, max(shape[1:]) // 40)


def _tile(maps: NDArray[np.uint8], columns: int, gap: int) -> NDArray[np.uint8]:
    """Lay maps out with a gap: (c, h, w) -> (rows (h + gap) - gap, columns (w + gap) - gap)."""
    count, height, width = maps.shape
    rows = ceil(count / columns)
    grid = np.full((rows * columns, height + gap, width + gap), _GAP, np.uint8)
    grid[:count, :height, :width] = maps
    grid = grid.reshape(rows, columns, height + gap, width + gap).transpose(0, 2, 1, 3)
    tiled: NDArray[np.uint8] = grid.reshape(rows * (height + gap), columns * (width + gap))
    return tiled[:-gap, :-gap]


def _png(indexes: NDArray[Any], scale: Scale) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(indexes))
    image.putpalette(palette(scale.colour_map))
    file = BytesIO()
    # entropy coding alone: a third of the time of level 1 for a sixth more bytes
    image.save(file, "PNG", compress_level=1, compress_type=Z_HUFFMAN_ONLY, transparency=_GAP)
    return file.getvalue()
