"""Explain sizes that are not divisible: an image by its patches, a feature map by windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitc_inspect.diagnosis.explanation import Explanation, Likelihood, by, explain


def division_text(side: int, piece: int) -> str:
    """Format a division with remainder: 225 = 14·16 + 1."""
    rest = side % piece
    return f"{side} = {side // piece}·{piece}{f' + {rest}' if rest else ''}"


def divisions_text(sides: Iterable[int], pieces: Iterable[int]) -> str:
    """Format each division with remainder once: 225 = 14·16 + 1 and 230 = 14·16 + 6."""
    pairs = dict.fromkeys(zip(sides, pieces, strict=True))
    return " and ".join(division_text(side, piece) for side, piece in pairs if side % piece)


def round_up(side: int, piece: int) -> int:
    """Return the smallest multiple of a piece that is not below a side.

    >>> round_up(225, 16)
    240
    """
    return -(-side // piece) * piece


def multiples_near(number: int, piece: int) -> list[int]:
    """Return the multiples of a piece below and above a number, without 0.

    >>> multiples_near(225, 16), multiples_near(7, 16)
    ([224, 240], [16])
    """
    below = number - number % piece
    return [multiple for multiple in (below, below + piece) if multiple]


def padding_of(
    sides: Sequence[int], pieces: Sequence[int], *, channels_last: bool
) -> tuple[list[int], str]:
    """Return the padded sides of a map, and the padding as F.pad takes it.

    >>> padding_of((13, 14), (7, 7), channels_last=False)
    ([14, 14], '(0, 0, 0, 1)')
    """
    padded = [round_up(side, piece) for side, piece in zip(sides, pieces, strict=True)]
    below, right = (new - side for side, new in zip(sides, padded, strict=True))
    return padded, f"({'0, 0, ' if channels_last else ''}0, {right}, 0, {below})"


def indivisible_image(
    sides: Sequence[int],
    patches: Sequence[int],
    *,
    channels_last: bool = False,
    because: str = "patches are cut in whole pixels",
    likelihood: Likelihood = "certain",
) -> Explanation:
    """Explain an image that is not divisible by the patch size.

    Args:
        sides: Height and width (pixels).
        patches: Height and width of a patch (pixels); 1 if a side is not split.
        channels_last: Whether the image is (batch, height, width, channels).
        because: The evidence.
        likelihood: How likely it is.
    """
    pairs = list(zip(sides, patches, strict=True))
    short = [side - side % patch for side, patch in pairs]
    long = [round_up(side, patch) for side, patch in pairs]
    first = next((pair for pair in pairs if pair[0] % pair[1]), pairs[0])
    fits = [by(size) for size in (short, long) if all(size)]
    crop = ", ".join(f":{side}" for side in short)
    return explain(
        "image size",
        f"A side of {first[0]} pixels is not divisible by the patch:"
        f" {divisions_text(sides, patches)}.",
        f"Resize the image to {' or '.join(fits)} pixels.",
        f"Or crop what patchify would drop: image[..., {crop}{', :' if channels_last else ''}]."
        if all(short)
        else "",
        because=because,
        likelihood=likelihood,
        numbers={"side": first[0], "patch_size": first[1], "rest": first[0] % first[1]},
    )


def indivisible_map(
    sides: Sequence[int],
    pieces: Sequence[int],
    *,
    channels_last: bool,
    because: str = "the channels are those of a map, not of an image",
    likelihood: Likelihood = "certain",
) -> Explanation:
    """Explain a feature map that is not divisible by the window size.

    Args:
        sides: Rows and columns of the map.
        pieces: Rows and columns of a window.
        channels_last: Whether the map is (batch, rows, columns, channels).
        because: The evidence.
        likelihood: How likely it is.
    """
    pairs = list(zip(sides, pieces, strict=True))
    first = next((pair for pair in pairs if pair[0] % pair[1]), pairs[0])
    long, pad = padding_of(sides, pieces, channels_last=channels_last)
    windows = by(pieces) if len(set(pieces)) > 1 else f"{pieces[0]}"
    return explain(
        "window",
        f"A map of {by(sides)} positions is not divisible into windows of {windows}:"
        f" {divisions_text(sides, pieces)}.",
        f"Pad the map to {by(long)} first, F.pad(x, {pad}), and cut the padding off after the"
        " windows are joined.",
        f"Or use an image whose map has sides that {windows} divides here, {by(long)} for example.",
        f"Or use windows of {by(sides)}, the whole map." if max(sides) <= min(pieces) else "",
        because=because,
        likelihood=likelihood,
        numbers={"side": first[0], "window": first[1], "rest": first[0] % first[1]},
    )
