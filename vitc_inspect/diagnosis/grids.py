"""Arithmetic of token counts: square grids, prefix tokens, strides, image sizes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from math import isqrt

from vitc_inspect.stem import arithmetic
from vitc_inspect.stem.spec import ConvLayer

MAX_TOKENS = 2**24
"""Longest sequence that is considered: 4096 × 4096 tokens."""
_ASPECT = 4  # largest aspect of a grid; longer strips are not photographs


STRIDE_DOUBT = {16: 0, 14: 1, 8: 2, 32: 2, 4: 3, 12: 4, 28: 4, 24: 4, 7: 4, 2: 5, 64: 5}
"""Usual strides (pixels), and how unusual each is."""
PREFIX_DOUBT = {1: 0, 0: 1, 2: 2, 5: 2, 4: 3}
"""Usual prefix tokens: class token, none, distillation token too, four registers."""
USUAL_SIDES = (224, 256, 384, 448, 512, 518, 336, 320, 288, 240, 192, 160, 128, 96, 64, 32)
"""Usual image sides (pixels), most common first."""


def stride_of(side: int, positions: int) -> int | None:
    """Return the stride that turns a size into that many positions, with or without padding.

    >>> stride_of(602, 43), stride_of(225, 15), stride_of(225, 14), stride_of(10, 9)
    (14, 16, 16, None)
    """
    if not 0 < positions <= side:
        return None
    exact = side // positions if side % positions == 0 else None
    if exact in STRIDE_DOUBT:
        return exact
    fits = (s for s in STRIDE_DOUBT if positions in (side // s, -(-side // s)))
    return next(fits, exact)


def frames_of(count: int) -> Iterator[tuple[int, int, int]]:
    """Return frames, grid side and prefix tokens of every video with that many tokens.

    >>> (8, 14, 1) in frames_of(1569), list(frames_of(198))
    (True, [])
    """
    for prefix in (1, 0):
        for side in _FRAME_SIDES:
            frames, left = divmod(count - prefix, side**2)
            if not left and frames in _FRAMES:
                yield frames, side, prefix


_FRAME_SIDES = (14, 16, 7, 12, 18, 20, 24, 28, 32)
"""Usual sides of a square frame (tokens)."""
_FRAMES = (1, 2, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)
"""Usual numbers of frames or tubelets of a video."""


def sides_for(convs: Iterable[ConvLayer], positions: int) -> tuple[int, int] | None:
    """Find the image sides that give that many positions along an axis.

    Computed backwards through each convolution, from the range of its output sizes:

        least = (least - 1) * stride + window - 2 * padding
        most = most * stride + window - 1 - 2 * padding

    Args:
        convs: The convolutions in order.
        positions: Rows or columns after the last one.

    Returns:
        Shortest and longest side (pixels), all sides between them are valid too; None if there
        is none.

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
    """Return the grid nearest to square of `count` tokens, `prefix` of them prefix tokens.

    >>> grid_of(196), grid_of(193, prefix=1), grid_of(194, prefix=1)
    ((14, 14), (12, 16), None)
    """
    return next(((rows, columns) for rows, columns, _ in grids_of(count, (prefix,))), None)


def square_of(count: int) -> tuple[int, int] | None:
    """Return side and prefix tokens of a square grid, most usual first; None if there is none.

    >>> square_of(197), square_of(196), square_of(201), square_of(384)
    ((14, 1), (14, 0), (14, 5), None)
    """
    for prefix in PREFIX_DOUBT:
        side = isqrt(max(0, count - prefix))
        # with prefix tokens, any small number fits a grid of 3×3
        if side > (3 if prefix > 1 else 1) and side**2 + prefix == count:
            return side, prefix
    return None


def root_of(count: int) -> int:
    """Return the square root of a square number, 0 of any other number.

    >>> root_of(196), root_of(197)
    (14, 0)
    """
    side = isqrt(count)
    return side if side**2 == count else 0


def patch_of(count: int, sides: Container[int]) -> tuple[int, int] | None:
    """Return side and channels of a square patch with that many numbers, RGB before grey.

    >>> patch_of(768, range(2, 64)), patch_of(100, range(2, 64)), patch_of(384, range(2, 64))
    ((16, 3), (10, 1), None)
    """
    for channels in (3, 1, 4):
        side = root_of(count // channels)
        if side in sides and side**2 * channels == count:
            return side, channels
    return None


def cube_of(count: int) -> int:
    """Return the side of a cube of that many patches, 0 if it is not one of a usual side.

    >>> cube_of(216), cube_of(2744), cube_of(196)
    (6, 14, 0)
    """
    return next((side for side in range(4, 33) if side**3 == count), 0)


def grid_text(count: int) -> str:
    """Format a token count, as grid and prefix if it is a square grid.

    >>> grid_text(197), grid_text(196), grid_text(384)
    ('197 = 14×14 + 1', '196 = 14×14', '384')
    """
    square = square_of(count)
    if square is None:
        return f"{count}"
    side, prefix = square
    return f"{count} = {side}×{side}{f' + {prefix}' if prefix else ''}"


def grids_of(count: int, prefixes: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Return rows, columns (not fewer) and prefix of every grid of that many tokens."""
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
