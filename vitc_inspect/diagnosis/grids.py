"""What a number of tokens can mean: grids, tokens before them, strides and image sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd, isqrt, prod
from typing import Literal

from vitc_inspect.stem import arithmetic
from vitc_inspect.stem.spec import ConvLayer, StemSpec

Change = Literal["image size", "stride", "prefix", "image size and prefix"]
"""What differs between the sequence that came and the one a table was made for."""

MAX_TOKENS = 2**24
"""The longest sequence that is read: 4096 × 4096 tokens."""
MAX_READINGS = 40
"""Most readings of one pair of lengths."""
_ASPECT = 4  # the longest side of a grid over its shortest; a strip of patches is no photograph

_LEAST_ROWS, _FEW_ROWS = 3, 4  # of a square behind registers, and of an oblong grid

_STRIDE_DOUBT = {16: 0, 14: 1, 8: 2, 32: 2, 4: 3, 12: 4, 28: 4, 24: 4, 7: 4, 2: 5, 64: 5}
"""Pixels from token to token in use, and how unusual each is (doubt)."""
_PREFIX_DOUBT = {1: 0, 0: 1, 2: 2, 5: 2, 4: 3}
"""Tokens before the image's: a class token, none, a distillation token too, four registers."""
USUAL_SIDES = (224, 256, 384, 448, 512, 518, 336, 320, 288, 240, 192, 160, 128, 96, 64, 32)
"""Sides of images in use (pixels), the commonest first."""
_USUAL_ASPECTS = frozenset({(3, 4), (2, 3), (1, 2), (9, 16)})


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A sequence read as a grid of image tokens behind a few others."""

    rows: int
    """Rows of the grid (tokens)."""
    columns: int
    """Columns of the grid (tokens)."""
    num_prefix_tokens: int
    """Tokens before the image's."""
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
        """How unusual the prefix, the shape and the image are; 0 for ViT-B/16 at 224 pixels."""
        return (
            _PREFIX_DOUBT.get(self.num_prefix_tokens, 4)
            + _shape_doubt(self.rows, self.columns)
            + max(map(_side_doubt, self.image_size))
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to understand that a sequence and a position table differ in length."""

    tokens: Layout
    """The sequence."""
    table: Layout
    """What the table was made for."""
    change: Change
    """In what the two differ."""
    doubt: int
    """How unusual it is; the least is the likeliest."""


def read_lengths(tokens: int, table: int) -> tuple[Reading, ...]:
    """Find what can lie behind a sequence and a position table of different lengths.

    A reading changes one thing: the image size, the stride or the tokens before the image's; or
    the image size and those tokens together, which is doubted more.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).

    Returns:
        At most MAX_READINGS readings, the one with the least doubt first; empty where the two
        are equal, not positive or above MAX_TOKENS.

    >>> best = read_lengths(257, 197)[0]
    >>> best.change, best.tokens.image_size, best.table.image_size, best.table.total_stride
    ('image size', (256, 256), (224, 224), 16)
    """
    if not _can_be_read(tokens, table):
        return ()
    return _best(_pairs(tuple(layouts(tokens)), tuple(layouts(table))))


def read_lengths_of(spec: StemSpec, tokens: int, table: int) -> tuple[Reading, ...]:
    """As `read_lengths`, for a known stem, whose own layout explains one of the lengths.

    Args:
        spec: The stem, at the image size that goes in or that its table was made for.
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).

    Returns:
        The readings that this stem allows, then those of another stem's table or tokens; those
        of any stem where this one allows none.
    """
    if not _can_be_read(tokens, table):
        return ()
    ours = own_layout(spec)
    came = (ours,) if tokens == ours.count else tuple(layouts_of(spec, tokens))
    made = (ours,) if table == ours.count else tuple(layouts_of(spec, table))
    known = ours.count in (tokens, table)
    best = _best(_pairs(came, made, known=known))
    # the stem is sure of one length, so the other may be another stem's
    if ours.count == tokens:
        best += _best(_pairs(came, tuple(layouts(table))))
    if ours.count == table:
        best += _best(_pairs(tuple(layouts(tokens)), made))
    # of a stem that is known, also grids of unlike shapes come before another stem
    best = best or _best(_pairs(came, made, known=True))
    return _once(best) or read_lengths(tokens, table)


def read_layout(came: Layout, table: int) -> tuple[Reading, ...]:
    """As `read_lengths`, for a sequence whose grid, stride and image are known.

    Args:
        came: The sequence.
        table: Length of the table (tokens).

    Returns:
        The readings at the stride of the sequence, the one with the least doubt first.
    """
    if not _can_be_read(came.count, table):
        return ()
    step = came.total_stride
    upright = came.rows > came.columns
    grids = {
        ((long, short) if upright else (short, long), prefix)
        for short, long, prefix in _grids(table, {came.num_prefix_tokens, *_PREFIX_DOUBT})
    }
    places = table - came.num_prefix_tokens
    if places > 0:  # a grid that has one side in common may be of any shape
        if places % came.rows == 0:
            grids.add(((came.rows, places // came.rows), came.num_prefix_tokens))
        if places % came.columns == 0:
            grids.add(((places // came.columns, came.columns), came.num_prefix_tokens))
    made = []
    for (rows, columns), prefix in sorted(grids):
        made.append(
            Layout(
                rows=rows,
                columns=columns,
                num_prefix_tokens=prefix,
                total_stride=step,
                image_size=(rows * step, columns * step),
            )
        )
    return _best(_pairs((came,), tuple(made), known=True))


def stride_of(side: int, positions: int) -> int | None:
    """The stride that leaves so many positions of a side, as patchify or padded convolutions do.

    >>> stride_of(602, 43), stride_of(225, 15), stride_of(225, 14), stride_of(10, 9)
    (14, 16, 16, None)
    """
    if not 0 < positions <= side:
        return None
    exact = side // positions if side % positions == 0 else None
    if exact in _STRIDE_DOUBT:
        return exact
    fits = (s for s in _STRIDE_DOUBT if positions in (side // s, -(-side // s)))
    return next(fits, exact)


def other_grids(layout: Layout) -> bool:
    """Whether as many tokens have another grid of a usual shape."""
    count = layout.rows * layout.columns
    return len({rows for rows, _, _ in _grids(count, (0,))}) > 1


def frames_of(count: int) -> Iterator[tuple[int, int, int]]:
    """Frames, side of a frame and tokens before them of every video of that many tokens.

    >>> (8, 14, 1) in frames_of(1569), list(frames_of(198))
    (True, [])
    """
    for prefix in (1, 0):
        for side in _FRAME_SIDES:
            frames, left = divmod(count - prefix, side**2)
            if not left and frames in _FRAMES:
                yield frames, side, prefix


_FRAME_SIDES = (14, 16, 7, 12, 18, 20, 24, 28, 32)
"""Tokens along a side of a square frame in use."""
_FRAMES = (1, 2, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
"""Frames, or tubelets, of a video in use."""


def own_layout(spec: StemSpec) -> Layout:
    """The layout a stem gives at its own image size."""
    rows, columns = spec.grid_size
    return Layout(
        rows=rows,
        columns=columns,
        num_prefix_tokens=spec.num_prefix_tokens,
        total_stride=spec.total_stride,
        image_size=spec.image_size,
    )


def layouts(count: int) -> Iterator[Layout]:
    """Every layout of that many tokens, with the strides and prefixes in use.

    In small numbers any grid can be read; a few rows count only where the grid is a square, and
    registers only before a grid of some size.
    """
    square = (square_of(count) or (0, 2))[1] < 2
    for rows, columns, prefix in _grids(count, _PREFIX_DOUBT):
        if prefix > 1 and (rows < _LEAST_ROWS or (square and rows != columns)):
            continue
        if rows != columns and rows < (_FEW_ROWS if prefix < 2 else 2 * _FEW_ROWS):
            continue
        for stride in _STRIDE_DOUBT:
            yield Layout(
                rows=rows,
                columns=columns,
                num_prefix_tokens=prefix,
                total_stride=stride,
                image_size=(rows * stride, columns * stride),
            )


def layouts_of(spec: StemSpec, count: int) -> Iterator[Layout]:
    """Every layout of that many tokens that a stem gives for some image."""
    height, width = spec.image_size
    prefixes = {spec.num_prefix_tokens, *_PREFIX_DOUBT}
    for short, long, prefix in _grids(count, prefixes):
        rows, columns = (long, short) if height > width else (short, long)
        image = tuple(_side_for(spec.convs, side) for side in (rows, columns))
        if None not in image:
            yield Layout(
                rows=rows,
                columns=columns,
                num_prefix_tokens=prefix,
                total_stride=spec.total_stride,
                image_size=image,  # type: ignore[arg-type]  # None was ruled out
            )


def sides_for(convs: Iterable[ConvLayer], positions: int) -> tuple[int, int] | None:
    """Find the sides of an image that give so many positions along an axis.

    Backwards through each convolution, from the sizes its output may have:

        least = (least - 1) * stride + window - 2 * padding
        most = most * stride + window - 1 - 2 * padding

    Args:
        convs: The convolutions in order.
        positions: Rows or columns behind the last of them.

    Returns:
        Shortest and longest side (pixels), every side between them included; None where no
        image gives so many.

    Source:
        `arithmetic.output_size`, solved for its input.

    >>> from vitc_inspect.stem.spec import conv_stem, patchify_stem
    >>> sides_for(patchify_stem().convs, 14), sides_for(conv_stem().convs, 14)
    ((224, 239), (209, 224))
    """
    least = most = positions
    for conv in reversed(tuple(convs)):
        window = arithmetic.window_size(kernel_size=conv.kernel_size, dilation=conv.dilation)
        least = max(1, (least - 1) * conv.stride + window - 2 * conv.padding)
        most = most * conv.stride + window - 1 - 2 * conv.padding
        if most < least:
            return None
    return least, most


def grid_of(count: int, *, prefix: int = 0) -> tuple[int, int] | None:
    """The square, or else the squarest, grid of `count` tokens behind `prefix` others.

    >>> grid_of(196), grid_of(193, prefix=1), grid_of(194, prefix=1)
    ((14, 14), (12, 16), None)
    """
    return next(((rows, columns) for rows, columns, _ in _grids(count, (prefix,))), None)


def square_of(count: int) -> tuple[int, int] | None:
    """Side of a square grid and the tokens before it, the most usual first.

    >>> square_of(197), square_of(196), square_of(201), square_of(384)
    ((14, 1), (14, 0), (14, 5), None)
    """
    for prefix in _PREFIX_DOUBT:
        side = isqrt(max(0, count - prefix))
        # with a few tokens before it, a grid of 3×3 is found in any small number
        if side > (3 if prefix > 1 else 1) and side**2 + prefix == count:
            return side, prefix
    return None


def cube_of(count: int) -> int:
    """Side of a volume of so many patches, 0 where they are no cube of a usual side.

    >>> cube_of(216), cube_of(2744), cube_of(196)
    (6, 14, 0)
    """
    return next((side for side in range(4, 33) if side**3 == count), 0)


def in_squares(count: int) -> str:
    """A number of tokens, taken apart where it is a square grid behind a few others.

    >>> in_squares(197), in_squares(196), in_squares(384)
    ('197 = 14×14 + 1', '196 = 14×14', '384')
    """
    square = square_of(count)
    if square is None:
        return f"{count}"
    side, prefix = square
    return f"{count} = {side}×{side}{f' + {prefix}' if prefix else ''}"


def _can_be_read(tokens: int, table: int) -> bool:
    """Whether there is a difference to explain, between numbers that can be tokens."""
    return tokens != table and all(0 < count <= MAX_TOKENS for count in (tokens, table))


def _grids(count: int, prefixes: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Rows, columns (not fewer) and prefix of every grid of that many tokens, squarest first."""
    if not 0 < count <= MAX_TOKENS:
        return
    for prefix in prefixes:
        patches = count - prefix
        for rows in range(isqrt(max(0, patches)), 0, -1):
            columns, left = divmod(patches, rows)
            if columns > _ASPECT * rows:
                break
            if not left:
                yield rows, columns, prefix


def _pairs(
    came: tuple[Layout, ...], made: tuple[Layout, ...], *, known: bool = False
) -> Iterator[Reading]:
    """Every two layouts that differ in one thing, or in image size and prefix.

    Args:
        came: Layouts of the sequence.
        made: Layouts of the table.
        known: Whether one of the two is sure, so that any shape of the other is worth a thought.
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
    """The reading of two layouts of one stride, where there is one."""
    same_prefix = tokens.num_prefix_tokens == table.num_prefix_tokens
    if tokens.grid_size == table.grid_size:
        if same_prefix:
            return None
        doubt = tokens.doubt + _PREFIX_DOUBT.get(table.num_prefix_tokens, 4)
        return _reading(tokens, table, "prefix", doubt)
    square = tokens.rows == tokens.columns, table.rows == table.columns
    same_aspect = tokens.rows * table.columns == table.rows * tokens.columns
    if same_prefix:
        # two rectangles of unlike shape can be made of nearly any two numbers
        # beside a square that is sure, a length that can be a square is one
        if known and square[0] and not square[1] and _is_square(table):
            return None
        if not any(square) and not same_aspect and not known and tokens.total_stride != 16:
            return None
        doubt = tokens.doubt + table.doubt - _PREFIX_DOUBT.get(tokens.num_prefix_tokens, 4)
        doubt -= 2 * (tokens.rows == table.rows or tokens.columns == table.columns)
        return _reading(tokens, table, "image size", doubt)
    if all(square):
        return _reading(tokens, table, "image size and prefix", 4 + tokens.doubt + table.doubt)
    return None


def _is_square(layout: Layout) -> bool:
    """Whether as many tokens can stand in a square."""
    count = layout.rows * layout.columns
    return isqrt(count) ** 2 == count


def _reading(tokens: Layout, table: Layout, change: Change, doubt: int) -> Reading:
    strides = {tokens.total_stride, table.total_stride}
    doubt += sum(_STRIDE_DOUBT.get(stride, 4) for stride in strides)
    return Reading(tokens=tokens, table=table, change=change, doubt=doubt)


def _best(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """The readings in order of doubt, each once; where only a prefix differs, no stride matters."""
    return _once(sorted(readings, key=lambda r: (r.doubt, not _of_224(r), r.change != "stride")))


def _of_224(reading: Reading) -> bool:
    """Whether one of the two images has 224 pixels, as most models are trained with.

    So 577 and 257 are 336 and 224 pixels at stride 14 (CLIP) before 384 and 256 at stride 16.
    """
    return (224, 224) in (reading.tokens.image_size, reading.table.image_size)


def _once(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """The first of those that say the same, MAX_READINGS at most."""
    seen: dict[object, Reading] = {}
    for reading in readings:
        seen.setdefault(_key(reading), reading)
    return tuple(seen.values())[:MAX_READINGS]


def _key(reading: Reading) -> object:
    """What tells one reading from another."""
    if reading.change != "prefix":
        return reading.tokens, reading.table
    grid = tuple(sorted(reading.tokens.grid_size))
    return grid, reading.tokens.num_prefix_tokens, reading.table.num_prefix_tokens


def _side_for(convs: tuple[ConvLayer, ...], positions: int) -> int | None:
    """The most usual side that gives so many positions (pixels)."""
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
