"""Check and parse values of fields: integers, sizes, choices and file paths."""

from __future__ import annotations

import difflib
import operator
import os
import re
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from vitc_inspect.common.errors import SpecError, shown, with_article

MAX_SIDE = 16_384
"""Longest side of an image (pixels); also bounds kernel, stride, padding and dilation."""
MAX_CHANNELS = 65_536
"""Most channels of an image or a convolution."""
_LARGEST = 10**15  # largest number that need not be an integer
_LONGEST_CHOICE = 100  # longest text that is compared with the choices (characters)
MAX_BYTES = 2**62
"""Largest memory budget (bytes)."""
A_STEM = 'Use parse_stem("16x16/16:768")'
A_MODEL = f'{A_STEM}, or PRESETS["vit_c_4gf"].vit for a whole model'
"""Fixes for a value that is not a stem, or neither a stem nor a model."""


def plain(value: Any) -> Any:
    """Convert a NumPy or torch scalar to a Python number; return anything else as it is.

    Fields accept such scalars: np.int64(3) is 3 and np.True_ is True.

    >>> plain(3), plain("x"), plain([3])
    (3, 'x', [3])
    """
    try:
        return value.item() if value.shape == () else value
    except Exception:  # noqa: BLE001  # whatever is no such scalar, and one without memory
        return value


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Expand one number to a square (height, width); other values are left to the field check."""
    side = _whole(size)
    return size if side is None else (side, side)  # type: ignore[return-value]


def check_type(field: str, value: Any, kind: type | tuple[type, ...], fix: str) -> None:
    """Raise a SpecError unless `value` is an instance of a class.

    Args:
        field: Name of the argument.
        value: The given value.
        kind: The class, or a tuple of classes.
        fix: A working example, in the imperative.

    >>> check_type("spec", None, int, "Use 4")
    Traceback (most recent call last):
        ...
    vitc_inspect.common.errors.SpecError: spec = None: it is no int. Use 4.
    """
    if isinstance(value, kind):
        return
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = " or ".join(each.__name__ for each in kinds)
    reason = f"it is {with_article(type(value).__name__)}, no {wanted}"
    if value is None or isinstance(value, type):  # the value shows its type
        reason = f"it is no {wanted}"
    raise SpecError(field, value, reason, fix)


def check_all(field: str, values: Any, kind: type | tuple[type, ...], fix: str) -> tuple[Any, ...]:
    """Return a tuple or list as a tuple if all its elements are instances of a class.

    Raises:
        SpecError: naming `field`.
    """
    if not isinstance(values, (tuple, list)):
        check_type(field, values, (tuple, list), fix)
    for value in values:
        check_type(field, value, kind, fix)
    return tuple(values)


def check_int(field: str, value: Any, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`.

    Raises:
        SpecError: naming `field`, with the nearest valid value.
    """
    number = _whole(value)
    if number is None:
        near = _nearest(value, low, high)
        raise SpecError(field, value, "it is not a whole number", f"Use {near}", near)
    if number < low:
        raise SpecError(field, number, f"the least is {low}", f"Use {low} or more", low)
    if number > high:
        raise SpecError(field, number, f"the most is {high:,}", f"Use {high} or less", high)
    return number


def _whole(value: Any) -> int | None:
    """Return a value as an integer, or None; True, 3.0 and arrays are not integers."""
    value = plain(value)
    if isinstance(value, bool) or hasattr(type(value), "shape"):
        return None
    try:
        return operator.index(value)
    except Exception:  # noqa: BLE001  # it may be the user's code
        return None


def _nearest(value: Any, low: int, high: int) -> int:
    """Return the nearest integer within the bounds, or `low` if the value is not a number."""
    try:
        return min(high, max(low, round(float(value))))
    except Exception:  # noqa: BLE001  # it may be the user's code
        return low


def check_bool(field: str, value: Any) -> bool:
    """Return `value` if it is True or False.

    Raises:
        SpecError: naming `field`.
    """
    flag = plain(value)
    if not isinstance(flag, bool):
        raise SpecError(field, value, "it is neither True nor False", "Use True or False", True)
    return flag


def check_number(field: str, value: Any, example: float) -> int | float:
    """Return `value` if it is finite and not too large for a float.

    Raises:
        SpecError: naming `field`, with the example.
    """
    number = plain(value)
    use = f"Use {example:g}"
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise SpecError(field, value, "it is not a number", use, example)
    if isinstance(number, int):
        if abs(number) > _LARGEST:
            raise SpecError(field, number, f"the most is {_LARGEST:,}", use, example)
    elif not isfinite(number):
        raise SpecError(field, number, "it is not a finite number", use, example)
    return number


def check_choice(field: str, value: Any, choices: Iterable[str]) -> None:
    """Raise a SpecError unless `value` is one of `choices`."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        near = nearest(value[:_LONGEST_CHOICE], choices) if isinstance(value, str) else ""
        use = near or choices[0]
        raise SpecError(field, value, f"it is not one of {', '.join(choices)}", f"Use {use}", use)


def check_kinds(field: str, values: Any, kinds: Iterable[str]) -> tuple[str, ...]:
    """Return each name once if all are in `kinds`; a hyphen can replace a space.

    Raises:
        SpecError: naming `field`, with the valid names.

    >>> check_kinds("ignore", ["Token-order", "token order"], ("stride", "token order"))
    ('token order',)
    """
    kinds = tuple(kinds)
    found = []
    for value in check_all(field, values, str, f'Use ("{kinds[0]}",)'):
        name = re.sub("[-_ ]+", " ", value).strip().lower()
        if name not in kinds:
            near = nearest(name[:_LONGEST_CHOICE], kinds) or kinds[0]
            reason = f"it is not one of {', '.join(kinds)}"
            raise SpecError(field, value, reason, f'Use "{near}"', near)
        found.append(name)
    return tuple(dict.fromkeys(found))


def nearest(text: str, choices: Iterable[str], *, alike: float = 0.5) -> str:
    """Return the choice that most resembles a text.

    Args:
        text: The input.
        choices: The valid names.
        alike: Smallest similarity of a choice to the text, from 0 to 1.

    Returns:
        One of the choices, or empty if none is similar enough.

    >>> nearest("ViT_C-4GF", ["vit_c_1gf", "vit_c_4gf"]), nearest("fp16", ["float32", "float16"])
    ('vit_c_4gf', 'float16')
    """
    name = text.lower().replace("-", "_")  # as the paper spells ViT_C-4GF
    named = {choice.lower(): choice for choice in choices}
    return next((named[key] for key in difflib.get_close_matches(name, named, 1, alike)), "")


def unreadable_reason(path: str | Path) -> str:
    """Return why a path is not a readable file; empty if it is.

    >>> unreadable_reason("https://example.org/cat.png")
    'it is an address, and only files are read'
    """
    if "://" in str(path):
        return "it is an address, and only files are read"
    file = Path(path)
    try:
        if not file.is_file():
            folder = file.is_dir() and str(path)  # Path("") is the current folder
            other = "it is no plain file" if file.exists() and str(path) else ""
            return "it is a folder" if folder else other or "there is no such file"
    except (OSError, ValueError):  # such as a name with a null byte
        return "there is no such file"
    return "" if os.access(file, os.R_OK) else "this user may not read it"


def check_pair(field: str, value: Any) -> tuple[int, int]:
    """Return `value` if it is a valid (height, width).

    Raises:
        SpecError: naming `field`, with a valid pair.
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
            f"a side of {shown(error.value, bare=True)} pixels cannot be used, {error.reason}",
            f"Use {pair[0]} x {pair[1]}",
            pair,
        ) from None


def _usable_side(side: Any) -> int:
    """Return the side if it is valid, else 224 pixels."""
    whole = _whole(side)
    return whole if whole is not None and 1 <= whole <= MAX_SIDE else 224


def parse_int(field: str, text: str, low: int, high: int) -> int:
    """Parse an integer from `low` to `high`.

    Args:
        field: Name of the field, for the error.
        text: The input.
        low, high: Smallest and largest valid value.

    Returns:
        The number.

    Raises:
        SpecError: naming `field`, with the nearest valid value.

    >>> parse_int("seed", " 7 ", 0, 100)
    7
    """
    digits = text.strip().removeprefix("-")
    whole = digits.isascii() and digits.isdecimal() and len(digits) <= 20
    return check_int(field, int(text) if whole else text, low, high)


def parse_number(field: str, text: str) -> float:
    """Parse a number.

    Raises:
        SpecError: naming `field`.

    >>> parse_number("mlp_ratio", "2.5"), parse_number("mlp_ratio", "4")
    (2.5, 4)
    """
    try:
        number = float(text.replace("_", "no number"))  # Python would read 1_0 as 10
    except ValueError:
        raise SpecError(field, text, "it is not a number", "Use 4", 4) from None
    number = check_number(field, number, 4)
    return int(number) if float(number).is_integer() and abs(number) <= _LARGEST else number


def parse_image_size(text: str) -> tuple[int, int]:
    """Parse an image size (pixels): one number for a square, or height x width.

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
