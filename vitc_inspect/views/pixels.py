"""The image with its padding, and overlays on it: heat map, similarity, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitc_inspect.common.images import FloatArray, to_image
from vitc_inspect.stem.geometry import Sides, audit_pixels, token_centre
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.views.html import Markup, join, tag
from vitc_inspect.views.maps import UNSIGNED_MAP, data_uri, palette

MOST_SIDE = 512
"""Longest side of a picture that is sent (pixels); larger ones are thinned."""
_MOST_HEIGHT = 400  # of a picture in the panel (CSS pixels)
_EDGE = 7  # CSS pixels around all that is drawn, for points on the border
_MOST_PADDING = 0.5  # as much of the image's side as is drawn of the padding


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The rectangle in which an image and its padding are drawn (pixels of the image)."""

    left: float
    """First column drawn, below 0 in the padding (pixels)."""
    top: float
    """First row drawn (pixels)."""
    width: float
    """Columns drawn (pixels)."""
    height: float
    """Rows drawn (pixels)."""
    padding: Sides
    """Padding drawn on each side (pixels), which may be less than is read."""
    cut: bool
    """Whether more padding is read than is drawn."""
    shown: int
    """Width on the screen (CSS pixels)."""

    @property
    def unit(self) -> float:
        """Pixels of the image in one CSS pixel."""
        return self.width / self.shown

    @property
    def view_box(self) -> str:
        """The frame as an SVG's viewBox."""
        return f"{self.left:.4g} {self.top:.4g} {self.width:.6g} {self.height:.6g}"


def frame_of(spec: StemSpec, *, width: int) -> Frame:
    """Compute the frame for the image and for the padding that its tokens read.

    Args:
        spec: The stem.
        width: The most there is (CSS pixels).

    Returns:
        The frame; a tall image is drawn narrower.
    """
    height, columns = spec.image_size
    read = audit_pixels(spec).padding
    most_rows, most_columns = (max(1, round(_MOST_PADDING * side)) for side in (height, columns))
    padding = Sides(
        top=min(read.top, most_rows),
        bottom=min(read.bottom, most_rows),
        left=min(read.left, most_columns),
        right=min(read.right, most_columns),
    )
    inner = (height + padding.top + padding.bottom, columns + padding.left + padding.right)
    # the edge is as wide on the screen whatever the image's size
    scale = min((width - 2 * _EDGE) / inner[1], (_MOST_HEIGHT - 2 * _EDGE) / inner[0])
    edge = _EDGE / scale
    return Frame(
        left=-padding.left - edge,
        top=-padding.top - edge,
        width=inner[1] + 2 * edge,
        height=inner[0] + 2 * edge,
        padding=padding,
        cut=padding != read,
        # whole pixels, never more than there are: a tall image would grow beyond its height
        shown=max(1, floor(inner[1] * scale + 2 * _EDGE + 1e-6)),
    )


def thinning(size: Sequence[int]) -> int:
    """Return the step at which rows and columns of a picture are sent.

    >>> thinning((224, 224)), thinning((2048, 512))
    (1, 4)
    """
    return ceil(max(size) / MOST_SIDE)


def photo_uri(array: FloatArray) -> str:
    """Encode the stem's input as the data: URI of a JPEG.

    Args:
        array: (channels, height, width), from -1 to 1.
    """
    step = thinning(array.shape[1:])
    return jpeg_uri(array[:3, ::step, ::step], quality=82)


def jpeg_uri(array: FloatArray, **settings: int) -> str:
    """Encode an image as the data: URI of a JPEG: (channels, height, width), from -1 to 1."""
    file = BytesIO()
    to_image(array).save(file, "JPEG", **settings)
    return data_uri(file.getvalue(), "jpeg")


def heat_uri(values: NDArray[np.float64], most: float) -> str:
    """Draw values from 0 to `most` as a picture that is transparent at 0: (rows, columns).

    A map of more than MOST_SIDE rows or columns is thinned to the largest value of each block.
    """
    step = thinning(values.shape)
    if step > 1:
        rows, columns = (range(0, side, step) for side in values.shape)
        values = np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1)
    shares = values / most if most > 0 else np.zeros_like(values)
    # 0 is for pixels without any gradient, so what is small is not lost among them
    indexes = np.where(values > 0, 1 + np.round(254 * np.clip(shares, 0, 1)), 0)
    ramp = np.arange(255) / 254
    alphas = np.round(255 * np.minimum(1, 0.35 + 2.2 * ramp)).astype(np.uint8)
    return _palette_uri(indexes.astype(np.uint8), palette(UNSIGNED_MAP), bytes(1) + bytes(alphas))


def reads_uri(row_reads: Sequence[int], column_reads: Sequence[int]) -> str:
    """Draw how many tokens read each pixel as a mask: the more, the more opaque.

    Args:
        row_reads: Rows of tokens that read each row of pixels.
        column_reads: Columns of tokens that read each column of pixels.

    Returns:
        A data: address.
    """
    step = thinning((len(row_reads), len(column_reads)))
    reads = np.outer(np.array(row_reads[::step]), np.array(column_reads[::step]))
    counts, indexes = np.unique(reads, return_inverse=True)
    most = max(row_reads) * max(column_reads)
    if len(counts) > 256:  # more than a palette has
        indexes = np.round(reads * (255 / most)).astype(np.int64)
        counts = np.arange(256) * (most / 255)
    alphas = bytes(round(255 * opacity(float(count), most)) for count in counts)
    plain = bytes((0, 0, 0)) * len(counts)
    return _palette_uri(indexes.reshape(reads.shape).astype(np.uint8), plain, alphas)


def opacity(reads: float, most: int) -> float:
    """Return the opacity of a pixel that `reads` tokens read, where `most` is the maximum."""
    return 0.0 if not reads else 0.08 + 0.62 * (reads / most) ** 0.8


def mosaic(array: FloatArray, spec: StemSpec, *, step: int) -> NDArray[np.uint8]:
    """Compute the mean colour of the pixels around the centre of each token.

    Args:
        array: (channels, height, width), from -1 to 1: what the stem was fed.
        spec: The stem.
        step: Every step-th row and column of the grid is worked out.

    Returns:
        (rows, columns, 3).
    """
    thin = thinning(array.shape[1:])
    planes = array[:3, ::thin, ::thin]
    pixels = np.asarray(to_image(planes), dtype=np.float32)  # (h, w, 3)
    first, stride = token_centre(spec, 0, 0), spec.total_stride
    for axis in (0, 1):
        sums = np.cumsum(pixels, axis=axis, dtype=np.float64)
        sums = np.insert(sums, 0, 0, axis=axis)
        size = pixels.shape[axis]
        centres = (first[axis] + 0.5 + stride * np.arange(0, spec.grid_size[axis], step)) / thin
        starts = np.clip(np.floor(centres - stride / thin / 2), 0, size - 1).astype(np.int64)
        stops = np.clip(np.ceil(centres + stride / thin / 2), starts + 1, size).astype(np.int64)
        lengths = (stops - starts).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        pixels = (np.take(sums, stops, axis) - np.take(sums, starts, axis)) / lengths
    colours: NDArray[np.uint8] = pixels.round().astype(np.uint8)
    return colours


def colours_uri(colours: NDArray[np.uint8]) -> str:
    """Encode colours as a PNG, one pixel each: (rows, columns, 3)."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "PNG", compress_level=6)
    return data_uri(file.getvalue())


def runs(values: Sequence[int]) -> list[tuple[int, int, int]]:
    """Group equal neighbours into runs: start, stop, value.

    >>> runs((1, 1, 2, 0))
    [(0, 2, 1), (2, 3, 2), (3, 4, 0)]
    """
    starts = [i for i in range(len(values)) if i == 0 or values[i] != values[i - 1]]
    return [(a, b, values[a]) for a, b in pairwise([*starts, len(values)])]


def stretches(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Group neighbouring positions, in ascending order: start and stop of each stretch.

    >>> stretches((3, 4, 7))
    [(3, 5), (7, 8)]
    """
    marked = set(positions)
    flags = [place in marked for place in range(max(positions, default=-1) + 1)]
    return [(start, stop) for start, stop, flag in runs(flags) if flag]


def hatch_svg(name: str, unit: float) -> Markup:
    """Define hatch patterns: NAME-hatch for padding, NAME-dense for a box's part of it.

    Args:
        name: First part of their names.
        unit: Units of the drawing in one CSS pixel, so that lines are as far apart everywhere.
    """
    patterns = (
        tag(
            "pattern",
            tag("path", d=f"M0 0V{gap * unit:.4g}", stroke_width=f"{width * unit:.4g}"),
            id=f"{name}-{kind}",
            patternUnits="userSpaceOnUse",
            width=f"{gap * unit:.4g}",
            height=f"{gap * unit:.4g}",
            patternTransform="rotate(45)",
        )
        for kind, gap, width in (("hatch", 5.0, 1.1), ("dense", 4.0, 2.6))
    )
    return join(*patterns)


def rect(x: float, y: float, width: float, height: float) -> dict[str, str]:
    """Format position and size of a rectangle as attributes."""
    return {"x": f"{x:g}", "y": f"{y:g}", "width": f"{width:g}", "height": f"{height:g}"}


def box_path(left: float, top: float, right: float, bottom: float) -> str:
    """Format a rectangle as an SVG path."""
    return f"M{left:g} {top:g}H{right:g}V{bottom:g}H{left:g}z"


def _palette_uri(indexes: NDArray[np.uint8], colours: bytes, alphas: bytes) -> str:
    image = Image.fromarray(np.ascontiguousarray(indexes))
    image.putpalette(colours)
    file = BytesIO()
    image.save(file, "PNG", compress_level=3, transparency=alphas)
    return data_uri(file.getvalue())
