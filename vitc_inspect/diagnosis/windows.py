"""Maps that windows do not divide or that cannot be merged 2×2: Swin, MaxViT, NesT."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import Decoder, Explanation, Told, by, explain, sizes
from vitc_inspect.diagnosis.pieces import map_in_pieces, taken_apart
from vitc_inspect.diagnosis.readings import in_squares, square_of


def _odd_map(match: re.Match[str], told: Told) -> Iterator[Explanation]:
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
    yield explain(
        "merging",
        f"Patch merging joins 2×2 places to one and needs even sides, and the map is"
        f" {by((rows, columns))}: {odd}.",
        "Use an image whose sides are multiples of 32 = 4·2·2·2, which Swin's patches of 4 and"
        f" three mergings divide ({stages}).",
        f"Or pad the map to {by(padded)} before it is merged:"
        f" F.pad(x, (0, 0, 0, {columns % 2}, 0, {rows % 2})) on (batch, rows, columns, channels).",
        because="the assertion names the map",
        likelihood="certain",
        numbers={"rows": rows, "columns": columns},
    )


def _odd_side(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Patch merging of a map of which one side is odd, and is named alone (timm)."""
    which, side = match["which"], int(match["side"])
    if side % 2:
        pad = f"(0, 0, 0, {int(which == 'width')}, 0, {int(which == 'height')})"
        yield explain(
            "merging",
            f"Patch merging joins 2×2 places to one and needs even sides, and the map has a"
            f" {which} of {side} = 2·{side // 2} + 1.",
            "Use an image whose sides are multiples of 32 = 4·2·2·2, which Swin's patches of 4 and"
            " three mergings divide.",
            f"Or pad the map before it is merged: F.pad(x, {pad}) on (batch, rows, columns,"
            " channels).",
            because="the assertion names the side",
            likelihood="certain",
            numbers={"side": side},
        )


def _odd_map_unsaid(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """The same without a number (NesT)."""
    yield explain(
        "merging",
        "Blocks of the map are joined 2×2, and the map has an odd side.",
        "Use an image whose sides are multiples of the whole stride: of 32 where patches of 4 are"
        " followed by three joinings.",
        because="the assertion says that the sides must be even",
        likelihood="certain",
        numbers={},
    )


def _no_window(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Swin's windows shifted by more than their side, of a map that ran out."""
    yield explain(
        "window",
        "The windows are to be shifted by their whole side or more. Swin takes the whole map as"
        " its window where the map is smaller, and here it came down to nothing: the image is too"
        " small for the patches and the mergings.",
        "Use a larger img_size or a smaller patch_size: img_size / patch_size must be at least"
        " 8·window_size for four stages of full windows, 8 for any.",
        "Or use fewer stages, depths=(2, 2).",
        because="the assertion compares shift_size with window_size",
        likelihood="likely",
        numbers={},
    )


def _wrong_features(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A Swin block that gets other tokens than its resolution: L is not H·W."""
    count = next((shape[1] for shape in told.operands if len(shape) == 3), 0)
    came = f" {in_squares(count)} tokens" if count else " another number of tokens"
    square = square_of(count)
    numbers = {"tokens": count} if count else {}
    yield explain(
        "image size",
        f"The block was built for a map of H×W places and gets{came}: Swin fixes H and W at each"
        " stage from the image size it is built for, so another image came.",
        "Resize the image to the size that the model was built for, img_size (224 by default).",
        "Or build the model for this image: img_size=(height, width), multiples of 32 where its"
        " patches are 4 pixels and three mergings follow.",
        because=f"{count} tokens are a map of {by((square[0],) * 2)} here"
        if square and not square[1]
        else "the assertion holds L against H·W",
        numbers=numbers,
    )


def _map_side(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """One side of a map that windows or a grid of windows do not divide (timm's MaxViT)."""
    which, side, piece = match["which"].lower(), int(match["side"]), int(match["piece"])
    if min(side, piece) < 1 or side % piece == 0:
        return
    up = -(-side // piece) * piece
    yield explain(
        "window",
        f"The map has a {which} of {side} places, which does not divide into {match['kind']}s of"
        f" {piece}: {taken_apart(side, piece)}.",
        f"Use an image whose map has a {which} that {piece} divides at each stage, {up} instead of"
        f" {side} here: sides that are multiples of {32 * piece} = 32·{piece} do where the whole"
        " stride is 32.",
        "Or build the model for this image: MaxViT's windows follow from img_size.",
        because="the assertion names the map's side and the window's",
        likelihood="certain",
        numbers={"side": side, "window": piece, "rest": side % piece},
    )


def _map_sides(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Both sides of a map that partitions do not divide (torchvision's MaxVit)."""
    sides, piece = sizes(match["sides"]), int(match["piece"])
    if len(sides) != 2 or min(*sides, piece) < 1 or not any(side % piece for side in sides):
        return
    made = map_in_pieces(
        sides, (piece, piece), channels_last=False, because="the message names map and partition"
    )
    up = -(-max(sides) // piece) * piece
    yield explain(
        made.kind,
        made.sentence,
        f"Build the model for an input size whose maps {piece} divides at every stage:"
        f" {32 * piece} = 32·{piece} for a whole stride of 32, which gives {piece} at the last.",
        f"Or build it with partition_size={_common(sides)}, which divides this map."
        if _common(sides) > 1
        else "",
        because=made.because,
        likelihood="certain",
        numbers={**made.numbers, "expected_side": up},
    )


def _common(sides: tuple[int, ...]) -> int:
    """The largest divisor of both sides up to 16."""
    return max(d for d in range(1, 17) if all(side % d == 0 for side in sides))


_N = r"\d{1,6}"

DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (re.compile(rf"x size \(({_N})[*x×]({_N})\) are not even"), _odd_map),
    (re.compile(rf"x (?P<which>height|width) \(?(?P<side>{_N})\)? is not even"), _odd_side),
    (re.compile(r"requires even input spatial dims"), _odd_map_unsaid),
    (re.compile(r"input feature has wrong size"), _wrong_features),
    (re.compile(r"shift_size must in 0-window_size"), _no_window),
    (
        re.compile(
            rf"(?P<which>height|width) \(?(?P<side>{_N})\)? must be divisible by"
            rf" (?P<kind>window|grid) \(?(?P<piece>{_N})\)?"
        ),
        _map_side,
    ),
    (
        re.compile(
            rf"Got grid size of (?P<sides>[(\[]{_N}, ?{_N}[)\]]) and"
            rf" partition size of (?P<piece>{_N})"
        ),
        _map_sides,
    ),
    (
        re.compile(
            rf"Input size (?P<sides>[(\[]{_N}, ?{_N}[)\]]) of block {_N} is not divisible by"
            rf" partition size (?P<piece>{_N})"
        ),
        _map_sides,
    ),
)
"""What each error is known by, and who explains it."""
