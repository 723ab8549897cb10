"""Errors of adding two sequences: position tables, patch masks, widths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import (
    ErrorContext,
    Explanation,
    by,
    explain,
    looks_like_width,
    unknown_cause,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of
from vitc_inspect.diagnosis.length_readings import read_lengths
from vitc_inspect.diagnosis.positions import (
    interpolated_otherwise,
    position_readings,
    readings_of_run,
)
from vitc_inspect.diagnosis.videos import video_or_text

Roles = tuple[bool, str]
"""Whether the first of two lengths is that of the sequence, and the evidence for it."""
_TABLE = re.compile(r"pos|\bpe\b", re.IGNORECASE)
_MASK = re.compile(r"mask", re.IGNORECASE)
_SUM = re.compile(r"([\w.\[\]():, ]{1,200}?) ?\+=? ?([\w.\[(]{1,200})")
_ADD = re.compile(r"\b(?:torch\.add\(([\w.]{1,80}), |([\w.]{1,80})\.add_?\()([\w.]{1,80})")
_IMPLAUSIBLE = 12
"""Doubt above which two lengths alone are not read as grids."""


def two_token_counts(
    first: int, second: int, axis: int, error: ErrorContext
) -> Iterator[Explanation]:
    """`x + table` with two lengths along the token axis."""
    mask = _patch_mask(first, second, error)
    if mask:
        yield mask
        return
    squares = bool(square_of(first)) + bool(square_of(second))
    widths = looks_like_width(first) + looks_like_width(second)
    table = _TABLE.search(error.source) is not None
    far = error.spec is None and not table and not error.operands and _implausible(first, second)
    readings = () if error.facts.of_video or far else tuple(by_roles(first, second, error))
    transposed = tuple(transposed_tokens(first, second, axis))
    of_map = widths == 2 and not error.operands  # may be (batch, channels, height, width)
    channels = channels_of_sum(first, second, axis) if of_map else None
    before, after = video_or_text(first, second, error, readings)
    yield from before
    spec = error.spec
    of_stem = spec is not None and spec.seq_len in (first, second)
    if of_stem or squares == 2 or not (transposed or (channels and not table)):
        yield from readings[:1]
        yield from _possible_mask(first, second, error)
        yield from readings[1:]
        if channels and not of_stem:
            yield channels
    else:
        yield from transposed
        if channels:
            yield replace(channels, likelihood="likely")
        yield from readings
    yield from after
    if not (readings or channels or before or transposed):
        lengths = " and ".join(_as_map(count, error) for count in (first, second))
        yield unknown_cause(
            f"The two operands of + have {lengths} along axis {axis}",
            error,
            "Print both shapes before the sum: the axis must be equal, or 1 in one of them.",
            because="no usual grid and stride gives these two numbers",
            numbers={"first": first, "second": second},
        )


def _implausible(first: int, second: int) -> bool:
    """Whether even the best grids for two lengths are unusual."""
    best = next(iter(read_lengths(first, second)), None)
    if best is None:
        return False
    both = best.change == "image size and prefix"  # two changes at once
    return best.doubt > (_IMPLAUSIBLE - 4 if both else _IMPLAUSIBLE)


def _patch_mask(first: int, second: int, error: ErrorContext) -> Explanation | None:
    """Tokens and a mask of hidden patches, if the line of code names a mask."""
    line = error.marked or error.source
    if not _MASK.search(line) or _TABLE.search(line):
        return None
    left = re.split(r"[*+]", line.partition("=")[2] or line)[0]
    tokens, mask = (second, first) if _MASK.search(left) else (first, second)
    return explain(
        "mask",
        f"{grid_text(tokens)} tokens are given, and the mask is for {grid_text(mask)}.",
        f"Make the mask for the patches of this image, (batch, {tokens}): rows times columns of"
        " the map that the patch embedding gives, the class token not counted.",
        f"Or give an image of {mask} patches.",
        because=f"the line “{line[:80]}” takes a mask",
        numbers={"tokens": tokens, "mask": mask},
    )


def _possible_mask(first: int, second: int, error: ErrorContext) -> Iterator[Explanation]:
    """Patches and a mask of patches, both without a class token; the code is not known."""
    squares = square_of(first), square_of(second)
    known = error.source or error.operands or error.spec
    if known or any(square is None or square[1] for square in squares):
        return
    yield explain(
        "mask",
        f"{grid_text(first)} patches are given, and the mask of patches (bool_masked_pos) is for"
        f" {grid_text(second)}.",
        f"Make the mask (batch, {first}).",
        because="it holds where the line that failed takes a mask, which has no class token",
        likelihood="possible",
        numbers={"tokens": first, "mask": second},
    )


def _as_map(count: int, error: ErrorContext) -> str:
    """Format a length, as a grid if the run shows the map it comes from."""
    grid = error.facts.map_of(count)
    if grid is None:
        return f"{count}"
    return f"{count} = {by(grid[:2])}{f' + {grid[2]}' if grid[2] else ''}"


def transposed_tokens(first: int, second: int, axis: int) -> Iterator[Explanation]:
    """A width where tokens are expected, or the other way round."""
    for width, count in ((first, second), (second, first)):
        if looks_like_width(width) and not square_of(width) and square_of(count):
            if looks_like_width(count):
                return
            yield explain(
                "transpose",
                f"One operand of + has {width} along axis {axis}, a width, and the other"
                f" {grid_text(count)}, which are tokens: one of them is (batch, width, tokens).",
                "Transpose it after flattening: x.flatten(2).transpose(1, 2).",
                because=f"{width} is a usual width and no square grid of tokens, {count} is one",
                numbers={"width": width, "tokens": count},
            )


def channels_of_sum(first: int, second: int, axis: int) -> Explanation:
    """Explain two operands with different numbers of channels."""
    return explain(
        "width",
        f"The two operands of + have {first} and {second} channels along axis {axis}: they come"
        " from parts of different width.",
        f"Give both {first} channels.",
        f"Or both {second}.",
        because=f"{first} and {second} are usual widths",
        likelihood="possible",
        numbers={"first": first, "second": second},
    )


def by_roles(first: int, second: int, error: ErrorContext) -> Iterator[Explanation]:
    """Explanations of two lengths, and the best one with the roles swapped if that is possible."""
    order = _order(first, second, error)
    if order is not None:
        tokens_first, roles = order
        pair = (first, second) if tokens_first else (second, first)
        interpolated = interpolated_otherwise(*pair, error.facts)
        if interpolated:
            yield interpolated
            return
        readings = readings_of_run(*pair, error.facts)
        found = position_readings(*pair, error.spec, roles=roles, readings=readings)
        grid = error.facts.map_of(pair[0])
        yield from (each for each in found if grid is None or _of_grid(each) == grid)
        return
    roles = f"in x + table the sequence is the first operand, {first}"
    here = position_readings(first, second, error.spec, roles=roles)
    other = position_readings(second, first, error.spec)
    yield from here[:2]
    if other:
        best = other[0]
        because = "it holds if the code says table + x, with the sequence second"
        yield replace(best, because=because, likelihood="possible")
    yield from here[2:]


def _of_grid(meaning: Explanation) -> tuple[int, int, int]:
    """Rows, columns and prefix tokens of the sequence that an explanation assumes."""
    numbers = meaning.numbers
    return numbers["token_rows"], numbers["token_columns"], numbers["num_prefix_tokens"]


def _order(first: int, second: int, error: ErrorContext) -> Roles | None:
    """Which of two operands is the sequence, from the run, torch.compile or the code."""
    maps = error.facts.map_of(first), error.facts.map_of(second)
    for at, (found, other) in enumerate((maps, maps[::-1])):
        if found and not other:
            return at == 0, f"the last map of the run is {by(found[:2])}"
    if sorted(error.parameters) == [False, True]:
        tokens_first = error.parameters[1]
        return tokens_first, f"the {'second' if tokens_first else 'first'} operand is a parameter"
    by_code = _order_of_code(error.marked) or _order_of_code(error.source)
    if by_code is not None:
        return by_code[0], f"the line “{error.source[:80]}” adds {by_code[1]}"
    batches = [shape[0] for shape in error.operands if len(shape) == 3]
    if len(batches) == 2 and 1 in batches and max(batches) > 1:
        return batches[1] == 1, f"the sequence has a batch of {max(batches)}"
    return None


def _order_of_code(source: str) -> Roles | None:
    """Whether the code adds the table to the sequence, or the other way round."""
    sums = [(left, right) for left, right in _SUM.findall(source[:500])]
    sums += [(a or b, right) for a, b, right in _ADD.findall(source[:500])]
    for left, right in sums:
        operand = re.split(r"[(,= ]", left.strip())[-1]
        if _TABLE.search(right) and not _TABLE.search(operand):
            return True, "the table to the sequence"
        if _TABLE.search(operand) and not _TABLE.search(right):
            return False, "the sequence to the table"
    return None


def two_widths(first: int, second: int, axis: int, error: ErrorContext) -> Iterator[Explanation]:
    """Tokens of two widths, or a width and a token count."""
    transposed = tuple(transposed_tokens(first, second, axis))
    yield from transposed
    known = bool(error.operands)
    if transposed or not (known or (looks_like_width(first) and looks_like_width(second))):
        return
    yield explain(
        "width",
        f"The tokens are {first} wide and what is added to them {second} (or the other way"
        " round), most likely the position table or the class token.",
        f"Make the position table and the class token as wide as the last convolution has"
        f" output channels, {first}.",
        f"Or let the last convolution have {second} output channels.",
        because="the last axis of (batch, tokens, width) is the width",
        numbers={"first": first, "second": second, "axis": axis},
    )
