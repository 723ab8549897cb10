"""Possible grids, strides and image sizes behind a sequence and a position table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
from typing import Literal

from vitc_inspect.diagnosis.grids import (
    MAX_TOKENS,
    PREFIX_DOUBT,
    STRIDE_DOUBT,
    USUAL_SIDES,
    grids_of,
    root_of,
    sides_for,
    square_of,
)
from vitc_inspect.stem.spec import ConvLayer, StemSpec

Change = Literal["image size", "stride", "prefix", "image size and prefix"]
"""What differs between the sequence and the one a table was made for."""


MAX_READINGS = 40
"""Most readings of one pair of lengths."""


_LEAST_ROWS, _FEW_ROWS = 3, 4  # least rows of a square with registers, and of other grids


_USUAL_ASPECTS = frozenset({(3, 4), (2, 3), (1, 2), (9, 16)})


@dataclass(frozen=True)
class Layout:
    """A sequence read as a grid of image tokens with prefix tokens."""

    rows: int
    """Rows of the grid (tokens)."""
    columns: int
    """Columns of the grid (tokens)."""
    num_prefix_tokens: int
    """Tokens before the image tokens."""
    total_stride: int
    """Pixels of the image from one token to the next."""
    image_size: tuple[int, int]
    """Height and width of an image that gives this grid (pixels)."""

    @property
    def count(self) -> int:
        """Length of the sequence (tokens)."""
        return self.rows * self.columns + self.num_prefix_tokens

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns (tokens)."""
        return self.rows, self.columns

    @cached_property
    def doubt(self) -> int:
        """How unusual prefix, grid and image size are; 0 for ViT-B/16 at 224 pixels."""
        return (
            PREFIX_DOUBT.get(self.num_prefix_tokens, 4)
            + _shape_doubt(self.rows, self.columns)
            + max(map(_side_doubt, self.image_size))
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One interpretation of a sequence and a position table of different lengths."""

    tokens: Layout
    """The sequence."""
    table: Layout
    """The sequence that the table was made for."""
    change: Change
    """What differs between the two."""
    doubt: int
    """How unusual the reading is; the smallest is the most likely."""


def read_lengths(tokens: int, table: int) -> tuple[Reading, ...]:
    """Find interpretations of a sequence and a position table of different lengths.

    A reading changes one property: image size, stride or prefix tokens; or image size and prefix
    tokens together, which is less likely.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).

    Returns:
        At most MAX_READINGS readings, least doubt first; empty if the lengths are equal, not
        positive or above MAX_TOKENS.

    >>> best = read_lengths(257, 197)[0]
    >>> best.change, best.tokens.image_size, best.table.image_size, best.table.total_stride
    ('image size', (256, 256), (224, 224), 16)
    """
    if not _can_be_read(tokens, table):
        return ()
    return _best(_pairs(tuple(layouts(tokens)), tuple(layouts(table))))


def read_lengths_of(spec: StemSpec, tokens: int, table: int) -> tuple[Reading, ...]:
    """Same as `read_lengths`, for a known stem, whose own layout fits one of the lengths.

    Args:
        spec: The stem, at the image size of the input or of its position table.
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).

    Returns:
        The readings for this stem, then those for a table or tokens of another stem; if this stem
        allows none, those for any stem.
    """
    if not _can_be_read(tokens, table):
        return ()
    ours = own_layout(spec)
    came = (ours,) if tokens == ours.count else tuple(layouts_of(spec, tokens))
    made = (ours,) if table == ours.count else tuple(layouts_of(spec, table))
    known = ours.count in (tokens, table)
    best = _best(_pairs(came, made, known=known))
    # one length is that of the stem; the other may be of another stem
    if ours.count == tokens:
        best += _best(_pairs(came, tuple(layouts(table))))
    if ours.count == table:
        best += _best(_pairs(tuple(layouts(tokens)), made))
    # unusual grids of this stem come before other stems
    best = best or _best(_pairs(came, made, known=True))
    return _once(best) or read_lengths(tokens, table)


def read_layout(came: Layout, table: int) -> tuple[Reading, ...]:
    """Same as `read_lengths`, for a sequence with known grid, stride and image.

    Args:
        came: The sequence.
        table: Length of the table (tokens).

    Returns:
        The readings at the stride of the sequence, least doubt first.
    """
    if not _can_be_read(came.count, table):
        return ()
    step = came.total_stride
    upright = came.rows > came.columns
    grids = {
        ((long, short) if upright else (short, long), prefix)
        for short, long, prefix in grids_of(table, {came.num_prefix_tokens, *PREFIX_DOUBT})
    }
    places = table - came.num_prefix_tokens
    if places > 0:  # a grid with one common side may have any aspect
        if places % came.rows == 0:
            grids.add(((came.rows, places // came.rows), came.num_prefix_tokens))
        if places % came.columns == 0:
            grids.add(((places // came.columns, came.columns), came.num_prefix_tokens))
    made = tuple(_patch_layout(*grid, prefix, step) for grid, prefix in sorted(grids))
    return _best(_pairs((came,), made, known=True))


def other_grids(layout: Layout) -> bool:
    """Whether the same number of tokens fits another grid of a usual aspect."""
    count = layout.rows * layout.columns
    return len({rows for rows, _, _ in grids_of(count, (0,))}) > 1


def own_layout(spec: StemSpec) -> Layout:
    """Return the layout of a stem at its own image size."""
    return Layout(*spec.grid_size, spec.num_prefix_tokens, spec.total_stride, spec.image_size)


def layouts(count: int) -> Iterator[Layout]:
    """Return every layout of that many tokens, with usual strides and prefixes.

    Any small number fits some grid, so few rows are accepted only for a square, and registers
    only before a larger grid.
    """
    square = (square_of(count) or (0, 2))[1] < 2
    for rows, columns, prefix in grids_of(count, PREFIX_DOUBT):
        if prefix > 1 and (rows < _LEAST_ROWS or (square and rows != columns)):
            continue
        if rows != columns and rows < (_FEW_ROWS if prefix < 2 else 2 * _FEW_ROWS):
            continue
        for stride in STRIDE_DOUBT:
            yield _patch_layout(rows, columns, prefix, stride)


def _patch_layout(rows: int, columns: int, prefix: int, stride: int) -> Layout:
    """The layout of an image that the stride divides."""
    return Layout(rows, columns, prefix, stride, (rows * stride, columns * stride))


def layouts_of(spec: StemSpec, count: int) -> Iterator[Layout]:
    """Return every layout of that many tokens that a stem produces at some image size."""
    upright = spec.image_size[0] > spec.image_size[1]
    prefixes = {spec.num_prefix_tokens, *PREFIX_DOUBT}
    for short, long, prefix in grids_of(count, prefixes):
        rows, columns = (long, short) if upright else (short, long)
        height, width = (_side_for(spec.convs, side) for side in (rows, columns))
        if height is not None and width is not None:
            yield Layout(rows, columns, prefix, spec.total_stride, (height, width))


def _can_be_read(tokens: int, table: int) -> bool:
    """Whether the lengths differ and both are plausible token counts."""
    return tokens != table and all(0 < count <= MAX_TOKENS for count in (tokens, table))


def _pairs(
    came: tuple[Layout, ...], made: tuple[Layout, ...], *, known: bool = False
) -> Iterator[Reading]:
    """Every pair of layouts that differ in one property, or in image size and prefix.

    Args:
        came: Layouts of the sequence.
        made: Layouts of the table.
        known: Whether one of the two is certain; the other may then have an unusual grid.
    """
    by_stride: dict[int, list[Layout]] = {}
    for layout in made:
        by_stride.setdefault(layout.total_stride, []).append(layout)
    by_image: dict[tuple[tuple[int, int], int], list[Layout]] = {}
    for layout in made:
        by_image.setdefault((layout.image_size, layout.num_prefix_tokens), []).append(layout)
    for tokens in came:
        for table in by_stride.get(tokens.total_stride, ()):
            reading = _same_stride(tokens, table, known=known)
            if reading:
                yield reading
        for table in by_image.get((tokens.image_size, tokens.num_prefix_tokens), ()):
            if table.total_stride != tokens.total_stride:
                yield _reading(tokens, table, "stride", 1 + tokens.doubt)


def _same_stride(tokens: Layout, table: Layout, *, known: bool) -> Reading | None:
    """The reading of two layouts with one stride, if there is one."""
    same_prefix = tokens.num_prefix_tokens == table.num_prefix_tokens
    if tokens.grid_size == table.grid_size:
        if same_prefix:
            return None
        doubt = tokens.doubt + PREFIX_DOUBT.get(table.num_prefix_tokens, 4)
        return _reading(tokens, table, "prefix", doubt)
    square = tokens.rows == tokens.columns, table.rows == table.columns
    same_aspect = tokens.rows * table.columns == table.rows * tokens.columns
    if same_prefix:
        # nearly any two numbers fit two rectangles of different aspects
        # next to a square that is certain, a square number is a square
        if known and square[0] and not square[1] and _is_square(table):
            return None
        if not any(square) and not same_aspect and not known and tokens.total_stride != 16:
            return None
        doubt = tokens.doubt + table.doubt - PREFIX_DOUBT.get(tokens.num_prefix_tokens, 4)
        doubt -= 2 * (tokens.rows == table.rows or tokens.columns == table.columns)
        return _reading(tokens, table, "image size", doubt)
    if all(square):
        return _reading(tokens, table, "image size and prefix", 4 + tokens.doubt + table.doubt)
    return None


def _is_square(layout: Layout) -> bool:
    """Whether the same number of tokens fits a square."""
    return root_of(layout.rows * layout.columns) > 0


def _reading(tokens: Layout, table: Layout, change: Change, doubt: int) -> Reading:
    strides = {tokens.total_stride, table.total_stride}
    doubt += sum(STRIDE_DOUBT.get(stride, 4) for stride in strides)
    return Reading(tokens=tokens, table=table, change=change, doubt=doubt)


def _best(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Sort readings by doubt, and drop those that are equivalent."""
    return _once(sorted(readings, key=lambda r: (r.doubt, not _of_224(r), r.change != "stride")))


def _of_224(reading: Reading) -> bool:
    """Whether one of the two images has 224 pixels, the usual size in training.

    Ranks 577 and 257 as 336 and 224 pixels at stride 14 (CLIP) before 384 and 256 at stride 16.
    """
    return (224, 224) in (reading.tokens.image_size, reading.table.image_size)


def _once(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Drop equivalent readings, and keep at most MAX_READINGS."""
    seen: dict[object, Reading] = {}
    for reading in readings:
        seen.setdefault(_key(reading), reading)
    return tuple(seen.values())[:MAX_READINGS]


def _key(reading: Reading) -> object:
    """Key by which two readings are equivalent."""
    if reading.change != "prefix":
        return reading.tokens, reading.table
    grid = tuple(sorted(reading.tokens.grid_size))
    return grid, reading.tokens.num_prefix_tokens, reading.table.num_prefix_tokens


def _side_for(convs: tuple[ConvLayer, ...], positions: int) -> int | None:
    """The most usual side that gives that many positions (pixels)."""
    between = sides_for(convs, positions)
    if between is None:
        return None
    least, most = between
    usual = [side for side in USUAL_SIDES if least <= side <= most]
    whole = most - most % prod(conv.stride for conv in convs)
    return usual[0] if usual else whole if whole >= least else least


def _side_doubt(side: int) -> int:
    if side == 224:
        return 0
    if side in USUAL_SIDES:
        return 1
    return 2 if side % 32 == 0 else 3


def _shape_doubt(rows: int, columns: int) -> int:
    if rows == columns:
        return 0
    common = gcd(rows, columns)
    short, long = sorted((rows // common, columns // common))
    return 3 if (short, long) in _USUAL_ASPECTS else 6
