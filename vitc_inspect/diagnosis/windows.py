"""Errors of window partition and patch merging (Swin, MaxViT, CSWin)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isqrt, prod

from vitc_inspect.diagnosis.divisibility import (
    division_text,
    divisions_text,
    indivisible_image,
    indivisible_map,
    padding_of,
    round_up,
)
from vitc_inspect.diagnosis.explanation import (
    NUMBER,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    explain,
    looks_like_width,
    parse_sizes,
    sides_by_name,
)
from vitc_inspect.diagnosis.grids import grid_of, grid_text, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


_LONGEST_SIDE = 2**14
"""Longest side of an image or map that is partitioned (pixels or positions)."""


def cut_in_windows(
    target: tuple[int, ...], size: int, error: ErrorContext
) -> Iterator[Explanation]:
    """Explain a partition into patches or windows that do not divide the map, and its inverse.

    Args:
        target: The target shape.
        size: Number of elements.
        error: The error.
    """
    if len(target) != 6 or target[0] < 1 or min(target[1:5]) < 1 or max(target) > _LONGEST_SIDE:
        return
    batch, *rest = target
    if rest[2] == rest[3] and rest[0] * rest[1] > 1 and rest[1] != rest[3]:
        yield from _windows_back(batch, rest, size)
        return
    first, rows, side, columns, last = rest  # (channels, rows, side, columns, side)
    if side == last and not (rows == columns and looks_like_width(last)):
        channels, channels_first = first, True
    else:
        (rows, side, columns, also, channels), channels_first = rest, False
        if side != also or channels < 1:
            return
    places, left = divmod(size, batch * channels)
    sides = None
    if not left:
        sides = _sides_of_operand(channels, channels_first, error)
        sides = sides or _sides_cut(places, rows, columns, side, error)
    if sides is None or not any(s % side for s in sides):  # divisible, so not the cause
        return
    # the mask of Swin is a channels-last map with one channel
    if channels in (3, 4) or (channels == 1 and channels_first):
        yield indivisible_image(
            sides,
            (side, side),
            because=f"the shape has {rows}×{columns} patches of {side}",
            likelihood="likely",
        )
        return
    padded, pad = padding_of(sides, (side, side), channels_last=not channels_first)
    yield explain(
        "windows",
        f"A map of {by(sides)} positions and {channels} channels is split into windows of"
        f" {side}×{side}, which do not divide it: {divisions_text(sides, (side, side))}.",
        f"Pad the map first, to {by(padded)}: F.pad(x, {pad}).",
        f"Or give an image whose map has sides that are multiples of {side}.",
        because=f"{size:,} = {batch}·{channels}·{places} and {places} = {by(sides)}",
        numbers={**sides_by_name(map=sides), "window": side, **sides_by_name(padded=padded)},
    )


def cut_in_stripes(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Partition into stripes (CSWin): (batch, channels, n, high, m, wide)."""
    if len(target) != 6 or min(target) < 1 or max(target) > _LONGEST_SIDE:
        return
    batch, channels, rows, high, columns, wide = target
    channels_last = looks_like_width(target[5]) and not looks_like_width(channels)
    if channels_last:
        _, rows, high, columns, wide, channels = target
    places, left = divmod(size, batch * channels)
    fits = [
        (height, places // height)
        for height in range(rows * high, (rows + 1) * high)
        if places % height == 0 and columns == places // height // wide
    ]
    fits.sort(key=lambda f: f[0] != f[1])
    if left or high == wide or not fits or not (fits[0][0] % high or fits[0][1] % wide):
        return
    yield indivisible_map(
        fits[0],
        (high, wide),
        channels_last=channels_last,
        because=f"{size:,} = {batch}·{channels}·{places} and {places} = {by(fits[0])}",
        likelihood="likely",
    )


def volume_windows(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Partition of a volume: (batch, n, w, m, w, k, w, channels)."""
    if len(target) != 8 or min(target) < 1:
        return
    batch, *axes, channels = target
    windows = axes[1::2]
    written = [n * window for n, window in zip(axes[::2], windows, strict=True)]
    places, left = divmod(size, batch * channels)
    most = prod(side + window - 1 for side, window in zip(written, windows, strict=True))
    if left or not prod(written) < places <= most:
        return
    yield explain(
        "windows",
        f"A volume of {places:,} positions and {channels} channels is split into windows of"
        f" {by(windows)}, and the whole windows hold {by(written)} = {prod(written):,}: a side is"
        " not a multiple of its window.",
        f"Pad each side to a multiple of its window first, of {by(windows)}.",
        "Or give a volume whose map has such sides at this stage.",
        because=f"{size:,} = {batch}·{channels}·{places}",
        numbers={"places": places, "written": prod(written)},
    )


def masked_windows(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Scores (windows, heads, tokens, tokens) split by the windows of a mask."""
    if len(target) != 5 or target[3] != target[4] or min(target[1:]) < 1:
        return
    _, expected, heads, tokens, _ = target
    windows, left = divmod(size, heads * tokens**2)
    side = isqrt(tokens)
    if left or side**2 != tokens or windows % expected == 0:
        return
    grids = (f"{n} = {by(g)}" if (g := grid_of(n)) else f"{n}" for n in (windows, expected))
    yield explain(
        "windows",
        f"{' windows of scores are given, and the mask is for '.join(grids)} windows of"
        f" {side}×{side} tokens: the map does not have the size of the mask.",
        "Make the mask for the padded map at hand in forward, not once in the constructor.",
        "Or give an image of the size that the model was built for.",
        because=f"{size:,} = {windows}·{heads}·{tokens}·{tokens}",
        numbers={"windows": windows, "expected_windows": expected, "window": side},
    )


def _sides_of_operand(
    channels: int, channels_first: bool, error: ErrorContext
) -> tuple[int, int] | None:
    """Sides of the tensor that was partitioned, if the run shows it."""
    operand = error.operands[0] if len(error.operands) == 1 else ()
    if len(operand) != 4:
        return None
    sides = operand[2:] if channels_first else operand[1:3]
    return (sides[0], sides[1]) if operand[1 if channels_first else 3] == channels else None


def _sides_cut(
    places: int, rows: int, columns: int, side: int, error: ErrorContext
) -> tuple[int, int] | None:
    """Sides that give the target number of windows and a remainder; else a square."""
    fits = [
        (height, places // height)
        for height in range(rows * side, (rows + 1) * side)
        if places % height == 0 and columns == places // height // side
    ]
    square = isqrt(places)
    fits.sort(key=lambda f: (f != error.facts.image, f[0] != f[1]))
    if fits:
        return fits[0]
    return (square, square) if square > 1 and square**2 == places else None


def _windows_back(batch: int, rest: Sequence[int], size: int) -> Iterator[Explanation]:
    """Windows merged back to a map: (batch, rows, columns, side, side, channels)."""
    rows, columns, side, _, channels = rest
    if channels < 1:
        return
    windows, left = divmod(size, side * side * channels)
    if left or windows == batch * rows * columns:
        return
    yield explain(
        "windows",
        f"There are {windows} windows of {side}×{side}, and the target has {batch}·{rows}·{columns}"
        f" = {batch * rows * columns}.",
        "Count rows and columns of windows on the padded map: rows = padded height // window.",
        because=f"{size:,} = {windows}·{side}·{side}·{channels}",
        numbers={"windows": windows, "expected_windows": batch * rows * columns},
    )


@DECODERS.matching(rf"x size \(({NUMBER})[*x×]({NUMBER})\) are not even")
def _odd_map(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Patch merging of a map with an odd side."""
    rows, columns = int(match[1]), int(match[2])
    if min(rows, columns) < 1 or not (rows % 2 or columns % 2):
        return
    odd = " and ".join(
        f"{side} = 2·{side // 2} + 1" for side in dict.fromkeys((rows, columns)) if side % 2
    )
    padded = rows + rows % 2, columns + columns % 2
    stages = "; ".join(
        f"at stride {stride} it came from {by((rows * stride, columns * stride))} and"
        f" {by((padded[0] * stride, padded[1] * stride))} gives {by(padded)}"
        for stride in (4, 8, 16)
    )
    yield certain(
        "merging",
        f"Patch merging joins 2×2 positions to one and needs even sides, and the map is"
        f" {by((rows, columns))}: {odd}.",
        "Use an image whose sides are multiples of 32 = 4·2·2·2, which Swin's patches of 4 and"
        f" three mergings divide ({stages}).",
        f"Or pad the map to {by(padded)} before it is merged:"
        f" F.pad(x, (0, 0, 0, {columns % 2}, 0, {rows % 2})) on (batch, rows, columns, channels).",
        because="the assertion names the map",
        numbers={"rows": rows, "columns": columns},
    )


@DECODERS.matching(rf"x (?P<which>height|width) \(?(?P<side>{NUMBER})\)? is not even")
def _odd_side(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Patch merging of a map with an odd side, with only that side in the message (timm)."""
    which, side = match["which"], int(match["side"])
    if side % 2:
        pad = f"(0, 0, 0, {int(which == 'width')}, 0, {int(which == 'height')})"
        yield certain(
            "merging",
            f"Patch merging joins 2×2 positions to one and needs even sides, and the map has a"
            f" {which} of {side} = 2·{side // 2} + 1.",
            "Use an image whose sides are multiples of 32 = 4·2·2·2, which Swin's patches of 4 and"
            " three mergings divide.",
            f"Or pad the map before it is merged: F.pad(x, {pad}) on (batch, rows, columns,"
            " channels).",
            because="the assertion names the side",
            numbers={"side": side},
        )


@DECODERS.matching(r"requires even input spatial dims")
def _odd_map_unspecified(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Patch merging of a map with an odd side, without a number in the message (NesT)."""
    yield certain(
        "merging",
        "Blocks of the map are joined 2×2, and the map has an odd side.",
        "Use an image whose sides are multiples of the total stride: 32 for patches of 4 and three"
        " mergings.",
        because="the assertion says that the sides must be even",
    )


@DECODERS.matching(r"shift_size must in 0-window_size")
def _no_window(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A window shift of at least the window size, on an empty map (Swin)."""
    yield explain(
        "window",
        "The window shift is at least the window size. Swin uses the whole map as its window if"
        " the map is smaller, and here the map is empty: the image is too"
        " small for the patches and the mergings.",
        "Use a larger img_size or a smaller patch_size: img_size / patch_size must be at least"
        " 8·window_size for four stages of full windows, 8 for any.",
        "Or use fewer stages, depths=(2, 2).",
        because="the assertion compares shift_size with window_size",
    )


@DECODERS.matching(r"input feature has wrong size")
def _wrong_features(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A Swin block whose input length L is not H·W."""
    count = next((shape[1] for shape in error.operands if len(shape) == 3), 0)
    came = f" {grid_text(count)} tokens" if count else " another number of tokens"
    square = square_of(count)
    numbers = {"tokens": count} if count else {}
    yield explain(
        "image size",
        f"The block was built for a map of H×W positions and gets{came}: Swin fixes H and W at each"
        " stage from the image size it is built for, so the image has another size.",
        "Resize the image to the size that the model was built for, img_size (224 by default).",
        "Or build the model for this image: img_size=(height, width), multiples of 32 where its"
        " patches are 4 pixels and three mergings follow.",
        because=f"{count} tokens are a map of {by((square[0],) * 2)} here"
        if square and not square[1]
        else "the assertion holds L against H·W",
        numbers=numbers,
    )


@DECODERS.matching(
    rf"(?P<which>height|width) \(?(?P<side>{NUMBER})\)? must be divisible by"
    rf" (?P<kind>window|grid) \(?(?P<piece>{NUMBER})\)?"
)
def _map_side(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A side that windows or a grid of windows do not divide (MaxViT in timm)."""
    which, side, piece = match["which"].lower(), int(match["side"]), int(match["piece"])
    if min(side, piece) < 1 or side % piece == 0:
        return
    up = round_up(side, piece)
    yield certain(
        "window",
        f"The map has a {which} of {side} positions, which is not divisible into {match['kind']}s"
        f" of {piece}: {division_text(side, piece)}.",
        f"Use an image whose map has a {which} that {piece} divides at each stage, {up} instead of"
        f" {side} here: multiples of {32 * piece} = 32·{piece} work if the total stride is 32.",
        "Or build the model for this image: MaxViT's windows follow from img_size.",
        because="the assertion names the map's side and the window's",
        numbers={"side": side, "window": piece, "rest": side % piece},
    )


@DECODERS.matching(
    rf"Got grid size of (?P<sides>[(\[]{NUMBER}, ?{NUMBER}[)\]]) and"
    rf" partition size of (?P<piece>{NUMBER})",
    rf"Input size (?P<sides>[(\[]{NUMBER}, ?{NUMBER}[)\]]) of block {NUMBER} is not divisible by"
    rf" partition size (?P<piece>{NUMBER})",
)
def _map_sides(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Both sides of a map that partitions do not divide (MaxVit in torchvision)."""
    sides, piece = parse_sizes(match["sides"]), int(match["piece"])
    if len(sides) != 2 or min(*sides, piece) < 1 or not any(side % piece for side in sides):
        return
    made = indivisible_map(
        sides, (piece, piece), channels_last=False, because="the message names map and partition"
    )
    fixes = [
        f"Build the model for an input size whose maps {piece} divides at every stage:"
        f" {32 * piece} = 32·{piece} for a total stride of 32, which gives {piece} at the last.",
    ]
    if _common(sides) > 1:
        fixes.append(f"Or build it with partition_size={_common(sides)}, which divides this map.")
    numbers = {**made.numbers, "expected_side": round_up(max(sides), piece)}
    yield replace(made, fixes=tuple(fixes), numbers=numbers)


def _common(sides: tuple[int, ...]) -> int:
    """The largest divisor of both sides up to 16."""
    return max(d for d in range(1, 17) if all(side % d == 0 for side in sides))
