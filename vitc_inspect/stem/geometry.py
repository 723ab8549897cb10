"""Receptive fields in integer arithmetic: which pixels of the image each token reads.

Positions count from 0: rows from the top, columns from the left. Padding has positions below 0 and
beyond the last pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vitc_inspect.common.validation import check_choice, check_int
from vitc_inspect.stem.spec import ConvLayer, StemSpec

Axis = Literal["height", "width"]
"""Rows are counted along the height, columns along the width."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A half-open range of positions along one axis."""

    start: int
    """First position (pixels); negative in the padding."""
    stop: int
    """One past the last position (pixels); equal to `start` if the span is empty."""

    @property
    def length(self) -> int:
        """Number of positions (pixels)."""
        return self.stop - self.start

    @property
    def centre(self) -> float:
        """The middle (pixels), between two positions if the length is even."""
        return (self.start + self.stop - 1) / 2

    def clipped(self, size: int) -> Span:
        """The part within an axis of `size` pixels; may be empty."""
        return Span(start=min(max(self.start, 0), size), stop=min(max(self.stop, 0), size))

    def beyond(self, size: int) -> tuple[int, int]:
        """Length before and after an axis of `size` pixels (pixels)."""
        before = min(self.stop, 0) - min(self.start, 0)
        return before, self.length - before - self.clipped(size).length


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Padding on the four sides of an image."""

    top: int
    """Rows above the first (pixels)."""
    bottom: int
    """Rows below the last (pixels)."""
    left: int
    """Columns left of the first (pixels)."""
    right: int
    """Columns right of the last (pixels)."""


@dataclass(frozen=True, kw_only=True)
class TokenBox:
    """A token's receptive field: the smallest rectangle around all pixels it can read."""

    rows: Span
    """Rows, including padding (pixels)."""
    columns: Span
    """Columns, including padding (pixels)."""
    image_size: tuple[int, int]
    """Height and width of the image (pixels)."""

    @property
    def clipped_rows(self) -> Span:
        """Rows within the image (pixels)."""
        return self.rows.clipped(self.image_size[0])

    @property
    def clipped_columns(self) -> Span:
        """Columns within the image (pixels)."""
        return self.columns.clipped(self.image_size[1])

    @property
    def padding(self) -> Sides:
        """How much of the box is outside the image (pixels)."""
        top, bottom = self.rows.beyond(self.image_size[0])
        left, right = self.columns.beyond(self.image_size[1])
        return Sides(top=top, bottom=bottom, left=left, right=right)


@dataclass(frozen=True, kw_only=True)
class PixelAudit:
    """Number of tokens that read each pixel of the image.

    Windows are rectangles, so the tokens that read a pixel are those whose rows read its row
    and whose columns read its column, and two lists cover every pixel.
    """

    row_reads: tuple[int, ...]
    """For each pixel row, the number of token-grid rows that read it."""
    column_reads: tuple[int, ...]
    """For each pixel column, the number of token-grid columns that read it."""
    padding: Sides
    """How far the outermost receptive fields extend beyond the image (pixels)."""
    overlap: int
    """Pixels that the receptive fields of two neighbouring tokens share along an axis;
    negative where they leave a gap."""

    @property
    def unread_rows(self) -> tuple[int, ...]:
        """Pixel rows that no token reads."""
        return tuple(row for row, reads in enumerate(self.row_reads) if not reads)

    @property
    def unread_columns(self) -> tuple[int, ...]:
        """Pixel columns that no token reads."""
        return tuple(column for column, reads in enumerate(self.column_reads) if not reads)

    @property
    def unread_pixels(self) -> int:
        """Number of pixels that no token reads."""
        height, width = len(self.row_reads), len(self.column_reads)
        read_rows = height - len(self.unread_rows)
        return height * width - read_rows * (width - len(self.unread_columns))

    @property
    def least_reads(self) -> int:
        """Number of tokens that read the least-read pixel."""
        return min(self.row_reads) * min(self.column_reads)

    @property
    def most_reads(self) -> int:
        """Number of tokens that read the most-read pixel."""
        return max(self.row_reads) * max(self.column_reads)

    def reads(self, row: int, column: int) -> int:
        """Return the number of tokens that read one pixel."""
        return self.row_reads[row] * self.column_reads[column]


def receptive_span(spec: StemSpec, axis: Axis, index: int, layer: str | None = None) -> Span:
    """Find the receptive field of one position of a layer along an axis.

        start = index * jump - offset,  stop = start + field

    where the jump is the product of the strides so far, and the offset is the sum of each
    padding times the jump before it.

    Args:
        spec: The stem.
        axis: "height" or "width".
        index: Position in the layer's output, counted from 0.
        layer: Name of a convolution, a norm or an activation, or "tokens" for the token grid;
            None means "tokens".

    Returns:
        The span, including padding. Not every pixel in it is read: dilation and strides longer
        than the kernel leave gaps, and padding of a later layer replaces pixels; see
        `pixels_read`.

    Raises:
        SpecError: field "axis", "layer" or "index".

    Source:
        Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural
        Networks", Distill, section "Computing receptive field region in input image".

    >>> from vitc_inspect.stem.spec import conv_stem
    >>> receptive_span(conv_stem(), "width", 13)
    Span(start=193, stop=224)
    """
    side = _side(axis)
    depth = _depth(spec, layer)
    last = spec.stages[depth - 1].out_shape[1 + side] - 1
    return _span(spec.convs[:depth], check_int("index", index, 0, last))


def token_box(spec: StemSpec, row: int, column: int) -> TokenBox:
    """Find the receptive field of the token at (row, column) of the grid.

    Args:
        spec: The stem.
        row, column: Position in the token grid, counted from 0.

    Returns:
        The box, including padding.

    Raises:
        SpecError: field "row" or "column".

    Source:
        `receptive_span`.

    >>> from vitc_inspect.stem.spec import conv_stem
    >>> token_box(conv_stem(), 0, 13).padding
    Sides(top=15, bottom=0, left=0, right=0)
    """
    _check_place(row, column, spec.grid_size)
    return TokenBox(
        rows=_span(spec.convs, row),
        columns=_span(spec.convs, column),
        image_size=spec.image_size,
    )


def token_centre(spec: StemSpec, row: int, column: int) -> tuple[float, float]:
    """Find the centre of a token's receptive field, padding included.

    Args:
        spec: The stem.
        row, column: Position in the token grid, counted from 0.

    Returns:
        Row and column (pixels); 0 is the centre of the first pixel.

    Raises:
        SpecError: field "row" or "column".

    Source:
        `receptive_span`.

    >>> from vitc_inspect.stem.spec import conv_stem, patchify_stem
    >>> token_centre(patchify_stem(), 0, 1), token_centre(conv_stem(), 0, 1)
    ((7.5, 23.5), (0.0, 16.0))
    """
    box = token_box(spec, row, column)
    return box.rows.centre, box.columns.centre


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where the tokens of a stem read a map: token i from i · jump + offset on, field positions."""

    offset: int
    """First position that the first token reads; negative in the padding."""
    jump: int
    """Positions from one token's window to the next one's."""
    field: int
    """Positions of a window along one axis."""


def token_windows(spec: StemSpec) -> dict[str, Window]:
    """Find what a token reads of the image and of the output of every convolution.

    Args:
        spec: The stem.

    Returns:
        Windows by name of the convolution, and of the image as "image"; the same along both axes.

    Source:
        torch.nn.Conv2d, applied from the last layer back to the first.

    >>> from vitc_inspect.stem.spec import conv_stem
    >>> windows = token_windows(conv_stem())
    >>> windows["image"], windows["conv3"]
    (Window(offset=-15, jump=16, field=31), Window(offset=-1, jump=2, field=3))
    """
    names = ["image", *(stage.name for stage in spec.stages)]
    window = Window(offset=0, jump=1, field=1)
    found = {names[-1]: window}
    for name, conv in zip(reversed(names[:-1]), reversed(spec.convs), strict=True):
        reach = conv.dilation * (conv.kernel_size - 1) + 1
        window = Window(
            offset=window.offset * conv.stride - conv.padding,
            jump=window.jump * conv.stride,
            field=(window.field - 1) * conv.stride + reach,
        )
        found[name] = window
    return found


def pixels_read(spec: StemSpec, axis: Axis, index: int) -> tuple[int, ...]:
    """List the pixels along an axis that one row or column of tokens actually reads.

    Args:
        spec: The stem.
        axis: "height" or "width".
        index: Row or column of the token grid, counted from 0.

    Returns:
        Positions in ascending order (pixels), without padding.

    Raises:
        SpecError: field "axis" or "index".

    Source:
        torch.nn.Conv2d, applied from the last layer back to the first.

    >>> from vitc_inspect.stem.spec import StemSpec, conv_layer
    >>> dilated = StemSpec(image_size=(9, 9), convs=(conv_layer(4, 3, 2, padding=0, dilation=2),))
    >>> pixels_read(dilated, "height", 1)
    (2, 4, 6)
    """
    last = spec.grid_size[_side(axis)] - 1
    return all_pixels_read(spec, axis)[check_int("index", index, 0, last)]


def all_pixels_read(spec: StemSpec, axis: Axis) -> tuple[tuple[int, ...], ...]:
    """List the pixels of `pixels_read` for every row or column of tokens.

    Args:
        spec: The stem.
        axis: "height" or "width".

    Returns:
        For each row or column of the token grid its pixels, in ascending order.

    Raises:
        SpecError: field "axis".

    Source:
        As `pixels_read`.
    """
    side = _side(axis)
    readers, size = _readers(spec, side), spec.image_size[side]
    first, jump = _span(spec.convs, 0), spec.total_stride
    read = []
    for index in range(spec.grid_size[side]):
        start = first.start + index * jump
        seen = Span(start=start, stop=start + first.length).clipped(size)
        read.append(tuple(p for p in range(seen.start, seen.stop) if readers[p] >> index & 1))
    return tuple(read)


def tokens_reading(spec: StemSpec, row: int, column: int) -> tuple[tuple[int, int], ...]:
    """List the tokens that read one pixel.

    Args:
        spec: The stem.
        row, column: The pixel, counted from 0.

    Returns:
        Rows and columns of the token grid, rows first; empty if no token reads the pixel.

    Raises:
        SpecError: field "row" or "column".

    Source:
        As `pixels_read`.

    >>> from vitc_inspect.stem.spec import patchify_stem
    >>> tokens_reading(patchify_stem(16), 15, 16)
    ((0, 1),)
    """
    _check_place(row, column, spec.image_size)
    rows, columns = (_bits(_readers(spec, side)[at]) for side, at in enumerate((row, column)))
    return tuple((r, c) for r in rows for c in columns)


def audit_pixels(spec: StemSpec) -> PixelAudit:
    """Count the tokens that read each pixel.

    Args:
        spec: The stem.

    Returns:
        The counts along each axis.

    Source:
        As `pixels_read`.

    >>> from vitc_inspect.stem.presets import PRESETS
    >>> audit_pixels(PRESETS["vitpose_b"].stem).unread_rows
    (254, 255)
    """
    row_reads, column_reads = (
        tuple(readers.bit_count() for readers in _readers(spec, side)) for side in (0, 1)
    )
    height, width = spec.image_size
    first, last = token_box(spec, 0, 0), token_box(spec, *(n - 1 for n in spec.grid_size))
    return PixelAudit(
        row_reads=row_reads,
        column_reads=column_reads,
        padding=Sides(
            top=max(0, -first.rows.start),
            bottom=max(0, last.rows.stop - height),
            left=max(0, -first.columns.start),
            right=max(0, last.columns.stop - width),
        ),
        overlap=first.rows.length - spec.total_stride,
    )


def _side(axis: Axis) -> int:
    """Index of the axis in (height, width)."""
    axes = get_args(Axis)
    check_choice("axis", axis, axes)
    return axes.index(axis)


def _depth(spec: StemSpec, layer: str | None) -> int:
    """Number of convolutions between the image and a layer's output."""
    depths = {"tokens": len(spec.convs)}
    for depth, stage in enumerate(spec.stages, start=1):
        depths[stage.name] = depth
        if stage.conv.norm != "none":
            depths[stage.norm_name] = depth
        if stage.conv.activation != "none":
            depths[stage.act_name] = depth
    if layer is None:
        return len(spec.convs)
    check_choice("layer", layer, depths)
    return depths[layer]


def _check_place(row: int, column: int, size: tuple[int, int]) -> None:
    check_int("row", row, 0, size[0] - 1)
    check_int("column", column, 0, size[1] - 1)


def _span(convs: tuple[ConvLayer, ...], index: int) -> Span:
    """Receptive field of one position after these convolutions."""
    field, jump, offset = 1, 1, 0
    for conv in convs:
        offset += conv.padding * jump
        field, jump = conv.seen(field, jump)
    start = index * jump - offset
    return Span(start=start, stop=start + field)


def _readers(spec: StemSpec, side: int) -> list[int]:
    """For each pixel along an axis, the tokens that read it, as a bit mask."""
    readers = [1 << token for token in range(spec.grid_size[side])]
    for stage in reversed(spec.stages):
        readers = _readers_before(readers, stage.in_shape[1 + side], stage.conv)
    return readers


def _readers_before(readers: list[int], size: int, conv: ConvLayer) -> list[int]:
    """Tokens that read each position of a convolution's input, from those of its output.

    A position is read by the windows that start 0, 1, …, kernel_size - 1 taps before it. Their
    union is built by doubling in log2(kernel_size) passes; the last pass may overlap the
    others, because a union is idempotent.
    """
    reach = conv.dilation * (conv.kernel_size - 1)
    begins = [0] * (size + reach)  # from `reach` before the first position up to the last
    for window, tokens in enumerate(readers):
        place = window * conv.stride - conv.padding + reach
        if 0 <= place < len(begins):
            begins[place] = tokens
    united, taps = begins, 1
    while taps < conv.kernel_size:
        step = min(taps, conv.kernel_size - taps)
        united = [a | b for a, b in zip(united, united[step * conv.dilation :], strict=False)]
        taps += step
    return united


def _bits(number: int) -> list[int]:
    """Indices of the set bits of an integer, lowest first."""
    return [place for place in range(number.bit_length()) if number >> place & 1]
