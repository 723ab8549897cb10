"""Explain channels-first maps given to a layer that reads the last axis."""

from __future__ import annotations

from math import prod

from vitc_inspect.diagnosis.explanation import (
    ErrorContext,
    Explanation,
    by,
    explain,
    looks_like_width,
)
from vitc_inspect.diagnosis.grids import square_of


def channels_second(given: tuple[int, ...], error: ErrorContext) -> bool:
    """Whether the second axis is the channels, from the run or from its size."""
    if given in error.facts.maps:
        return True
    if (
        len(given) == 3
        and given[1] != given[2]
        and any(
            shape[:2] == given[:2] and prod(shape[2:]) == given[2] for shape in error.facts.maps
        )
    ):
        return True
    if len(given) not in (3, 4) or looks_like_width(given[-1]) or not looks_like_width(given[1]):
        return False
    return len(given) == 4 or (square_of(given[2]) is not None and square_of(given[1]) is None)


def channels_first_fault(
    layer: str, built: str, given: tuple[int, ...], numbers: dict[str, int]
) -> Explanation:
    """Explain a channels-first map whose channel count differs too."""
    flat = len(given) == 3
    turn = "x.transpose(1, 2)" if flat else "x.flatten(2).transpose(1, 2)"
    return explain(
        "transpose" if flat else "flatten",
        f"{layer} reads the last axis, and {by(given)} has its {given[1]} channels on the second:"
        f" a map went in {'flattened and not transposed' if flat else 'as it is'}, and its channels"
        " are others too.",
        f"Bring the channels to the end, {turn}, and build the layer as {built}.",
        because=f"{given[1]} is the width, and {given[-1]} are positions",
        numbers=numbers,
    )
