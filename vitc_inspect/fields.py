"""What may stand in a field: whole numbers, sizes, choices and files, checked or read from text."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitc_inspect.errors import SpecError

MAX_SIDE = 16_384
"""Longest side of an image (pixels); also bounds kernel, stride, padding and dilation."""
MAX_CHANNELS = 65_536
"""Most channels of an image or a convolution."""


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width, where one number stands for a square."""
    try:
        side = operator.index(size)  # type: ignore[arg-type]  # a pair has none
    except TypeError:
        return size  # type: ignore[return-value]  # whoever builds the stem checks it
    return side, side


def check_int(field: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is a whole number from `low` to `high`.

    Raises:
        SpecError: naming `field`, with the nearest value that works.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        near = _nearest(value, low, high)
        raise SpecError(field, value, "it is not a whole number", f"Use {near}", near)
    if number < low:
        raise SpecError(field, value, f"the least is {low}", f"Use {low} or more", low)
    if number > high:
        raise SpecError(field, value, f"the most is {high:,}", f"Use {high} or less", high)
    return number


def _nearest(value: Any, low: int, high: int) -> int:
    """The whole number nearest to what was given, within bounds; the least for what is none."""
    try:
        return min(high, max(low, round(float(value))))
    except (TypeError, ValueError, OverflowError):
        return low


def check_bool(field: str, value: Any) -> None:
    """Raise a SpecError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise SpecError(field, value, "it is neither True nor False", "Use True or False", True)


def check_choice(field: str, value: Any, choices: Iterable[str]) -> None:
    """Raise a SpecError unless `value` is one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        use = nearest(str(value), choices) or choices[0]
        raise SpecError(field, value, f"it is not one of {', '.join(choices)}", f"Use {use}", use)


def nearest(text: str, choices: Iterable[str], *, alike: float = 0.5) -> str:
    """The choice that a text was most likely meant for.

    Args:
        text: What was typed.
        choices: The names that there are.
        alike: How much a choice has to have in common with the text, from 0 to 1.

    Returns:
        One of the choices; empty where none is near enough.

    >>> nearest("ViT_C-4GF", ["vit_c_1gf", "vit_c_4gf"]), nearest("fp16", ["float32", "float16"])
    ('vit_c_4gf', 'float16')
    """
    name = text.lower().replace("-", "_")  # ViT_C-4GF, as the paper writes it
    named = {choice.lower(): choice for choice in choices}
    return next((named[key] for key in difflib.get_close_matches(name, named, 1, alike)), "")


def why_unreadable(path: str | Path) -> str:
    """Say why a path is not one of a file that can be read; empty for one that is.

    >>> why_unreadable("https://example.org/cat.png")
    'it is an address, and only files are read'
    """
    if "://" in str(path):
        return "it is an address, and only files are read"
    file = Path(path)
    try:
        if not file.is_file():
            folder = file.is_dir() and str(path)  # for nothing Python has the folder it is in
            return "it is a folder" if folder else "there is no such file"
    except (OSError, ValueError):  # no name is too odd to be asked
        return "there is no such file"
    return "" if os.access(file, os.R_OK) else "this user may not read it"


def check_pair(field: str, value: Any) -> tuple[int, int]:
    """Return `value` if it is a height and a width within bounds.

    Raises:
        SpecError: naming `field`, with a pair that works.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise SpecError(
            field, value, "it is not a height and a width", "Use (224, 224)", (224, 224)
        )
    try:
        return (check_int(field, value[0], 1, MAX_SIDE), check_int(field, value[1], 1, MAX_SIDE))
    except SpecError as error:
        pair = tuple(_usable_side(side) for side in value)
        raise SpecError(
            field,
            tuple(value),
            f"a side of {error.value} pixels cannot be used, {error.reason}",
            f"Use {pair[0]} x {pair[1]}",
            pair,
        ) from None


def _usable_side(side: Any) -> int:
    """The side itself if it can be used, else 224 pixels."""
    whole = isinstance(side, int) and not isinstance(side, bool)
    return side if whole and 1 <= side <= MAX_SIDE else 224


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


def parse_number(field: str, text: str) -> float:
    """Read a number, whole or not.

    Raises:
        SpecError: naming `field`.

    >>> parse_number("mlp_ratio", "2.5"), parse_number("mlp_ratio", "4")
    (2.5, 4)
    """
    try:
        number = float(text.replace("_", "no number"))  # Python would read 1_0 as 10
    except ValueError:
        raise SpecError(field, text, "it is not a number", "Use 4", 4) from None
    return int(number) if number.is_integer() else number


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
