"""Errors of adding two sequences of tokens: position tables, masks of patches, widths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import (
    Explanation,
    Told,
    by,
    explain,
    looks_like_width,
    not_known,
)
from vitc_inspect.diagnosis.grids import in_squares, read_lengths, square_of
from vitc_inspect.diagnosis.positions import (
    interpolated_otherwise,
    position_readings,
    readings_of_run,
)
from vitc_inspect.diagnosis.videos import of_time

Roles = tuple[bool, str]
"""Whether the first of two lengths is the sequence's, and how that is known."""
_TABLE = re.compile(r"pos|\bpe\b", re.IGNORECASE)
_MASK = re.compile(r"mask", re.IGNORECASE)
_SUM = re.compile(r"([\w.\[\]():, ]{1,200}?) ?\+=? ?([\w.\[(]{1,200})")
_ADD = re.compile(r"\b(?:torch\.add\(([\w.]{1,80}), |([\w.]{1,80})\.add_?\()([\w.]{1,80})")
_FAR_FETCHED = 12
"""Doubt above which two lengths alone are not read as grids: neither is one of a usual shape."""


def tokens_of_two(first: int, second: int, axis: int, told: Told) -> Iterator[Explanation]:
    """`x + table` of two lengths, the first axis that is no batch."""
    mask = _patch_mask(first, second, told)
    if mask:
        yield mask
        return
    squares = bool(square_of(first)) + bool(square_of(second))
    widths = looks_like_width(first) + looks_like_width(second)
    table = _TABLE.search(told.source) is not None
    far = told.spec is None and not table and not told.operands and _far_fetched(first, second)
    readings = () if told.facts.of_video or far else tuple(by_roles(first, second, told))
    transposed = tuple(transposed_tokens(first, second, axis))
    of_map = widths == 2 and not told.operands  # (batch, channels, height, width), perhaps
    channels = channels_of_sum(first, second, axis) if of_map else None
    before, after = of_time(first, second, told, readings)
    yield from before
    spec = told.spec
    of_stem = spec is not None and spec.seq_len in (first, second)
    if of_stem or squares == 2 or not (transposed or (channels and not table)):
        yield from readings[:1]
        yield from _perhaps_a_mask(first, second, told)
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
        lengths = " and ".join(_as_map(count, told) for count in (first, second))
        yield not_known(
            f"The two operands of + have {lengths} along axis {axis}",
            told,
            "Print both shapes before the sum: the axis must be equal, or 1 in one of them.",
            because="no usual grid and stride gives these two numbers",
            numbers={"first": first, "second": second},
        )


def _far_fetched(first: int, second: int) -> bool:
    """Whether the best grids of two lengths are of such shapes that any numbers have some."""
    best = next(iter(read_lengths(first, second)), None)
    if best is None:
        return False
    both = best.change == "image size and prefix"  # two things at once, of tokens that few have
    return best.doubt > (_FAR_FETCHED - 4 if both else _FAR_FETCHED)


def _patch_mask(first: int, second: int, told: Told) -> Explanation | None:
    """Tokens and a mask that says which patches are hidden, where the line of code names one."""
    line = told.marked or told.source
    if not _MASK.search(line) or _TABLE.search(line):
        return None
    left = re.split(r"[*+]", line.partition("=")[2] or line)[0]
    tokens, mask = (second, first) if _MASK.search(left) else (first, second)
    return explain(
        "mask",
        f"{in_squares(tokens)} tokens came, and the mask was made for {in_squares(mask)}.",
        f"Make the mask for the patches of this image, (batch, {tokens}): rows times columns of"
        " the map that the patch embedding gives, the class token not counted.",
        f"Or give an image of {mask} patches.",
        because=f"the line “{line[:80]}” takes a mask",
        numbers={"tokens": tokens, "mask": mask},
    )


def _perhaps_a_mask(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """Patches and a mask of them, both without a class token; the line of code is not known."""
    squares = square_of(first), square_of(second)
    known = told.source or told.operands or told.spec
    if known or any(square is None or square[1] for square in squares):
        return
    yield explain(
        "mask",
        f"{in_squares(first)} patches came, and a mask of patches (bool_masked_pos) was made for"
        f" {in_squares(second)}.",
        f"Make the mask (batch, {first}).",
        because="it holds where the line that failed takes a mask, which has no class token",
        likelihood="possible",
        numbers={"tokens": first, "mask": second},
    )


def _as_map(count: int, told: Told) -> str:
    """A length, taken apart where the run shows the map it comes from."""
    grid = told.facts.map_of(count)
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
                f" {in_squares(count)}, which are tokens: one of them is (batch, width, tokens).",
                "Transpose it after flattening: x.flatten(2).transpose(1, 2).",
                because=f"{width} is a usual width and no square grid of tokens, {count} is one",
                numbers={"width": width, "tokens": count},
            )


def channels_of_sum(first: int, second: int, axis: int) -> Explanation:
    """The explanation of two operands with different numbers of channels."""
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


def by_roles(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """The readings of two lengths, and the best one with the roles exchanged where it may be."""
    order = _order(first, second, told)
    if order is not None:
        tokens_first, roles = order
        pair = (first, second) if tokens_first else (second, first)
        interpolated = interpolated_otherwise(*pair, told.facts)
        if interpolated:
            yield interpolated
            return
        readings = readings_of_run(*pair, told.facts)
        found = position_readings(*pair, told.spec, roles=roles, readings=readings)
        grid = told.facts.map_of(pair[0])
        yield from (each for each in found if grid is None or _of_grid(each) == grid)
        return
    roles = f"in x + table the sequence is the first operand, {first}"
    here = position_readings(first, second, told.spec, roles=roles)
    other = position_readings(second, first, told.spec)
    yield from here[:2]
    if other:
        best = other[0]
        because = "it holds if the code says table + x, with the sequence second"
        yield replace(best, because=because, likelihood="possible")
    yield from here[2:]


def _of_grid(meaning: Explanation) -> tuple[int, int, int]:
    """Rows, columns and tokens before them of the sequence that a reading speaks of."""
    numbers = meaning.numbers
    return numbers["token_rows"], numbers["token_columns"], numbers["num_prefix_tokens"]


def _order(first: int, second: int, told: Told) -> Roles | None:
    """Which of two operands is the sequence: the run says, or torch.compile, or the code."""
    maps = told.facts.map_of(first), told.facts.map_of(second)
    for at, (found, other) in enumerate((maps, maps[::-1])):
        if found and not other:
            return at == 0, f"the last map of the run is {by(found[:2])}"
    if sorted(told.parameters) == [False, True]:
        tokens_first = told.parameters[1]
        return tokens_first, f"the {'second' if tokens_first else 'first'} operand is a parameter"
    by_code = _order_of_code(told.marked) or _order_of_code(told.source)
    if by_code is not None:
        return by_code[0], f"the line “{told.source[:80]}” adds {by_code[1]}"
    batches = [shape[0] for shape in told.operands if len(shape) == 3]
    if len(batches) == 2 and 1 in batches and max(batches) > 1:
        return batches[1] == 1, f"the sequence has a batch of {max(batches)}"
    return None


def _order_of_code(source: str) -> Roles | None:
    """Whether the line of code adds the table to the sequence, or the other way round."""
    sums = [(left, right) for left, right in _SUM.findall(source[:500])]
    sums += [(a or b, right) for a, b, right in _ADD.findall(source[:500])]
    for left, right in sums:
        operand = re.split(r"[(,= ]", left.strip())[-1]
        if _TABLE.search(right) and not _TABLE.search(operand):
            return True, "the table to the sequence"
        if _TABLE.search(operand) and not _TABLE.search(right):
            return False, "the sequence to the table"
    return None


def two_widths(first: int, second: int, axis: int, told: Told) -> Iterator[Explanation]:
    """Tokens of two widths, or a width against tokens."""
    transposed = tuple(transposed_tokens(first, second, axis))
    yield from transposed
    known = bool(told.operands)
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
