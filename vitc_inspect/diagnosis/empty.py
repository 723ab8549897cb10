"""Errors of tensors that hold nothing: an axis of length 0, an empty list."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import Decoder, Explanation, Told, by, nothing_in_it, sizes


def _reshaped(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x.reshape(0, -1)` of a tensor without a number."""
    yield nothing_in_it(
        f"A tensor without a number was to be reshaped to {by(sizes(match.group(1)))}",
        because="its numbers are counted as 0",
        numbers={"size": 0},
    )


def _list(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`torch.cat([])` and `torch.stack([])`."""
    yield nothing_in_it(
        "The list of tensors to be joined is empty",
        because="the message says that the list must not be empty",
        numbers={"tensors": 0},
    )


def _pooled(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A pooling of a map without channels, rows or columns; also one of too many axes."""
    given = sizes(match.group(1))
    if 0 in given:
        yield nothing_in_it(
            f"A pooling gets {by(given)}",
            because=f"axis {given.index(0)} is 0 long",
            numbers={"axis": given.index(0)},
        )


def _resized(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An interpolation from nothing or to nothing."""
    before, after = sizes(match.group(1)), sizes(match.group(2))
    which = "to" if 0 in after and 0 not in before else "from"
    yield nothing_in_it(
        f"A map was to be interpolated from {by(before)} to {by(after)}",
        because=f"the side to interpolate {which} is 0",
        numbers={"height": before[0], "width": before[-1]},
    )


def _reduced(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A maximum over nothing."""
    axis = int(match.group(1))
    yield nothing_in_it(
        f"The largest or smallest number along axis {axis} was asked for, and the axis is 0 long",
        because="nothing has no largest number",
        numbers={"axis": axis},
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(r"cannot reshape tensor of 0 elements into shape (\[[-\d, ]{1,200}\])"),
        _reshaped,
    ),
    (re.compile(r"expect(?:s|ed) a non-empty (?:list of Tensors|TensorList)"), _list),
    (
        re.compile(r"with optional 0 dim batch size for input, but got: ?(\[[\d, ]{1,99}\])"),
        _pooled,
    ),
    (
        re.compile(
            r"Input and output sizes should be greater than 0, but got input (\([HWD\d:, ]{1,99}\))"
            r" output (\([HWD\d:, ]{1,99}\))"
        ),
        _resized,
    ),
    (re.compile(r"Expected reduction dim (\d) to have non-zero size"), _reduced),
)
"""What each error is known by, and who explains it."""
