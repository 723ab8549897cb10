"""Errors of empty tensors and empty lists."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    by,
    empty_tensor,
    parse_sizes,
)

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(r"cannot reshape tensor of 0 elements into shape (\[[-\d, ]{1,200}\])")
def _reshaped(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`x.reshape(0, -1)` of an empty tensor."""
    yield empty_tensor(
        f"An empty tensor is reshaped to {by(parse_sizes(match.group(1)))}",
        because="its numbers are counted as 0",
        numbers={"size": 0},
    )


@DECODERS.matching(r"expect(?:s|ed) a non-empty (?:list of Tensors|TensorList)")
def _list(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`torch.cat([])` and `torch.stack([])`."""
    yield empty_tensor(
        "The list of tensors to be joined is empty",
        because="the message says that the list must not be empty",
        numbers={"tensors": 0},
    )


@DECODERS.matching(r"with optional 0 dim batch size for input, but got: ?(\[[\d, ]{1,99}\])")
def _pooled(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Pooling of a map without channels, rows or columns, or with too many axes."""
    given = parse_sizes(match.group(1))
    if 0 in given:
        yield empty_tensor(
            f"A pooling gets {by(given)}",
            because=f"axis {given.index(0)} is 0 long",
            numbers={"axis": given.index(0)},
        )


@DECODERS.matching(
    r"Input and output sizes should be greater than 0, but got input (\([HWD\d:, ]{1,99}\))"
    r" output (\([HWD\d:, ]{1,99}\))"
)
def _resized(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Interpolation from or to an empty map."""
    before, after = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    which = "to" if 0 in after and 0 not in before else "from"
    yield empty_tensor(
        f"A map is interpolated from {by(before)} to {by(after)}",
        because=f"the side to interpolate {which} is 0",
        numbers={"height": before[0], "width": before[-1]},
    )


@DECODERS.matching(r"Expected reduction dim (\d) to have non-zero size")
def _reduced(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A maximum over an empty axis."""
    axis = int(match.group(1))
    yield empty_tensor(
        f"The largest or smallest number along axis {axis} is taken, and the axis is 0 long",
        because="an empty axis has no maximum",
        numbers={"axis": axis},
    )
