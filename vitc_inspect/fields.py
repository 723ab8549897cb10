"""Whole numbers and image sizes as people type them, read or refused in one sentence."""

from __future__ import annotations

from vitc_inspect.errors import SpecError
from vitc_inspect.spec import MAX_SIDE, check_int


def parse_int(field: str, text: str, low: int, high: int) -> int:
    """Read a whole number from `low` to `high`.

    Args:
        field: Name of the field, for the error.
        text: What was typed.
        low, high: The least and the most that works.

    Returns:
        The number.

    Raises:
        SpecError: naming `field`, with the nearest value that works.

    >>> parse_int("seed", " 7 ", 0, 100)
    7
    """
    digits = text.strip().removeprefix("-")
    whole = digits.isascii() and digits.isdecimal() and len(digits) <= 20
    return check_int(field, int(text) if whole else text, low, high)


def parse_image_size(text: str) -> tuple[int, int]:
    """Read an image size (pixels): one number for a square, or height x width.

    Raises:
        SpecError: field "image_size".

    >>> parse_image_size("224"), parse_image_size("256x192")
    ((224, 224), (256, 192))
    """
    sides = [side.strip() for side in text.lower().replace("×", "x").split("x")]
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        reason = "it is neither one whole number nor height x width"
        raise SpecError("image_size", text, reason, "Use 224 or 256x192", (224, 224))
    if any(len(side) > 9 for side in sides):
        reason = f"the most is {MAX_SIDE:,} pixels a side"
        raise SpecError("image_size", text, reason, "Use 224", (224, 224))
    return int(sides[0]), int(sides[-1])
