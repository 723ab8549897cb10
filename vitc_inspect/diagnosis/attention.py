"""Errors of attention: token width, number of heads, scores and masks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    by,
    divisors_near,
    empty_tensor,
    explain,
    heads_fault,
    looks_like_width,
)
from vitc_inspect.diagnosis.grids import grid_of, grid_text, square_of
from vitc_inspect.diagnosis.positions import WIDEST_MAP

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


_WIDEST_WINDOW = 12
"""Largest usual window side (tokens), apart from the 16 and 24 of Swin-V2."""


def mask_fault(first: int, second: int) -> Explanation:
    """Explain a mask for another number of keys than the scores have."""
    return explain(
        "attention",
        f"The scores are those of {first} keys, and the mask was made for {second}.",
        f"Make the mask (queries, {first}), or give it an axis of length 1.",
        because="the last axes of a mask are queries and keys",
        numbers={"first": first, "second": second},
    )


def scores_fault(first: int, second: int, axis: int) -> Explanation | None:
    """Explain scores and a mask or relative position table of different lengths."""
    whole = f"The two operands of + differ along axis {axis}: {first} and {second}."
    numbers = {"first": first, "second": second, "axis": axis}
    squares = square_of(first), square_of(second)
    if not all(squares):
        return _oblong_scores(first, second, axis)
    (side, prefix), (made, before) = squares  # type: ignore[misc]
    if prefix == before == 0 and max(side, made) <= 64:
        windows = f"For windows, build the model with window_size={made}, as the table."
        maps = (
            f"For whole maps, give an image whose map is {made}×{made} there: {made}/{side} of"
            " these sides."
        )
        small = max(side, made) <= _WIDEST_WINDOW
        return explain(
            "attention",
            f"{whole} Scores of {side}×{side} = {first} tokens, a window or a whole map, are added"
            f" to a mask or a relative position table for {made}×{made} = {second}.",
            *((windows, maps) if small else (maps, windows)),
            f"Or interpolate the table from (2·{made}−1)² = {(2 * made - 1) ** 2} to (2·{side}−1)²"
            f" = {(2 * side - 1) ** 2} entries, and make the mask for {side}×{side}.",
            because="the last axes of (windows, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    if prefix or before:
        return explain(
            "attention",
            f"{whole} {grid_text(first)} against {grid_text(second)}:"
            " a mask or a relative position table was made for another number of tokens.",
            f"Make it {by((first, first))}, or interpolate it.",
            because="the last axes of (batch, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    return None


def _oblong_scores(first: int, second: int, axis: int) -> Explanation | None:
    """Scores with a class token of a non-square image, and a table for a square one (BEiT)."""
    grids = grid_of(first, prefix=1), grid_of(second, prefix=1)
    square = [grid is not None and grid[0] == grid[1] for grid in grids]
    if None in grids or square.count(True) != 1 or min(first, second) < WIDEST_MAP:
        return None
    came, made = (
        f"{n} = {by(grid or ())} + 1" for n, grid in zip((first, second), grids, strict=True)
    )
    return explain(
        "attention",
        f"The two operands of + differ along axis {axis}: {came} against {made}: a mask or a"
        f" relative position table was made for another number of tokens.",
        "Give an image of the size and shape that the table was made for.",
        f"Or make the table for {by((first, first))}, the class token counted.",
        because="the last axes of (batch, heads, tokens, tokens) are tokens",
        numbers={"first": first, "second": second, "axis": axis},
    )


@DECODERS.matching(r"was expecting embedding dimension of (\d{1,9}), but got (\d{1,9})")
def _attention_width(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Attention whose input tokens have the wrong width."""
    expected, got = int(match.group(1)), int(match.group(2))
    square = square_of(got)
    numbers = {"expected_width": expected, "width": got}
    if 0 in (expected, got):
        yield empty_tensor(
            f"The attention takes tokens {expected} wide and gets tokens {got} wide",
            because="one of the two is 0",
            numbers=numbers,
        )
        return
    if square and not looks_like_width(got):
        yield explain(
            "transpose",
            f"The attention takes tokens {expected} wide and gets {grid_text(got)}:"
            " a grid of tokens on the last axis, so the map was flattened and not transposed.",
            "Transpose it: x.flatten(2).transpose(1, 2).",
            because=f"{got} is a grid and not a usual width",
            numbers=numbers,
        )
        return
    yield explain(
        "width",
        f"The attention takes tokens {expected} wide and gets tokens {got} wide.",
        f"Build it with embed_dim={got}.",
        f"Or let the last convolution have {expected} output channels.",
        because="the last convolution gives the tokens their width",
        numbers=numbers,
    )


@DECODERS.matching(r"query should be unbatched 2D or batched 3D tensor but received (\d)-D")
def _attention_axes(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Attention whose input is a map."""
    axes = int(match.group(1))
    yield explain(
        "flatten",
        f"The attention takes (batch, tokens, width) and gets {axes} axes"
        + (": a map that is not flattened." if axes == 4 else "."),
        "Flatten and transpose it first: x.flatten(2).transpose(1, 2).",
        because="attention reads a sequence",
        numbers={"axes": axes},
    )


_HEADS_CALL = re.compile(
    r"(?:MultiheadAttention|TransformerEncoderLayer|Attention)\(\s*(?:embed_dim=|d_model=|dim=)?"
    r"(\d{1,6})\s*,\s*(?:num_heads=|nhead=)?(\d{1,6})"
)


@DECODERS.matching(
    r"embed_dim must be divisible by num_heads|dim should be divisible by num_heads"
    r"|hidden size \(?(\d{1,9}),?\)? is not a multiple of the number of attention heads"
    r" \(?(\d{1,9})"
)
def _heads(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A token width that is not divisible by the heads; the message may lack the numbers."""
    pair = [int(number) for number in match.groups() if number]
    call = _HEADS_CALL.search(error.text)
    if len(pair) != 2 and call:
        pair = [int(number) for number in call.groups()]
    if len(pair) == 2 and min(pair) > 0 and pair[0] % pair[1]:
        yield heads_fault(*pair)
        return
    width = error.spec.embed_dim if error.spec else None
    usual = divisors_near(width, width // 64, most=3) if width else ()
    yield explain(
        "heads",
        f"The token width {width} is not divisible by the number of heads."
        if width
        else "The token width is not divisible by the number of heads.",
        f"Use a number of heads that divides {width}, for example {', '.join(map(str, usual))}."
        if width
        else "Use a number of heads that divides embed_dim: for 384, 6; for 768, 12.",
        because="each head takes an equal share of the token"
        + (f", and the given stem makes tokens {width} wide" if width else ""),
        likelihood="likely" if width else "certain",  # the attention may have another width
        numbers={"embed_dim": width} if width else {},
    )
