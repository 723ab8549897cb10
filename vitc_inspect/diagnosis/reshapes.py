"""Errors of view and reshape, and of splitting one axis into several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from vitc_inspect.diagnosis.explanation import (
    RUN_IT,
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    empty_tensor,
    explain,
    heads_fault,
    looks_like_width,
    only_first_likely,
    parse_sizes,
    prefix_left,
)
from vitc_inspect.diagnosis.grids import MAX_TOKENS, grid_text, square_of
from vitc_inspect.diagnosis.map_to_tokens import flattened_map, map_of_run
from vitc_inspect.diagnosis.windows import (
    cut_in_stripes,
    cut_in_windows,
    masked_windows,
    volume_windows,
)

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(r"shape '(\[[-\d, ]{1,200}\])' is invalid for input of size (\d{1,15})")
def _invalid_shape(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`x.reshape(...)`: the shape is invalid for input of size n."""
    target, size = parse_sizes(match.group(1)), int(match.group(2))
    if size == 0 or 0 in target:
        yield _empty_shape(target, size)
        return
    known = [side for side in target if side > 0]
    if not known:
        return
    found = tuple(map_of_run(target, error)) or tuple(cut_in_windows(target, size, error))
    found = found or tuple(cut_in_stripes(target, size)) or tuple(volume_windows(target, size))
    found = found or (*_tokens_to_map(target, size), *flattened_map(target, size, error))
    found = found or (*masked_windows(target, size), *_heads_split(target, size))
    found = found or tuple(_other_positions(target, size))
    yield from only_first_likely(found)
    if found:
        return
    product = prod(known)
    whole = f"{'·'.join(map(str, known))} = {product:,}"
    if -1 in target:
        sentence = (
            f"The tensor has {size:,} numbers, and the given axes multiply to {whole}, which does"
            f" not divide them: no integer fits −1."
        )
    else:
        sentence = f"The tensor has {size:,} numbers and the shape {by(target)} needs {whole}."
    yield explain(
        "reshape",
        sentence,
        "Print the shape just before this line, and take each axis from it.",
        "" if error.facts.inputs else RUN_IT,
        because="no more follows from the numbers",
        likelihood="possible",
        numbers={"size": size, "needed": product},
    )


def _empty_shape(target: tuple[int, ...], size: int) -> Explanation:
    """A reshape of an empty tensor, or to an empty one."""
    numbers = {"size": size, "axis": target.index(0) if 0 in target else -1}
    if size == 0:
        return empty_tensor(
            f"An empty tensor is reshaped to {by(target) or 'a single number'}",
            because="the message counts 0 numbers",
            numbers=numbers,
        )
    what = f"Axis {target.index(0)} of the shape {by(target)} is 0, and the tensor has"
    what += f" {size:,} numbers"
    each = prod(side for side in target if side > 0)
    whole = not size % each and len(target) > 1
    if len(target) == 5 and target[0] == 0 and target[3] == target[4]:
        per_window = prod(target[2:])
        what += (
            f": fewer windows than the {target[1]} that the mask was made for"
            + (f", {size // per_window}" if per_window and size % per_window == 0 else "")
            + ", so that windows // number of windows is 0"
        )
    elif len(target) == 6 and target[0] == 0 and target[3] == target[4]:
        what += ": fewer windows than the map has, so that the batch is computed as 0"
    elif whole:
        what += f", which fit {by((size // each, *(side for side in target if side)))}"
    return empty_tensor(what, because="one axis of the target is 0", numbers=numbers, written=True)


def _heads_split(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, tokens, 3, heads, head width) or (batch, tokens, heads, head width)."""
    if len(target) < 4 or min(target) < 1:
        return
    *before, heads, share = target
    if len(target) == 5 and before[0] == 3:  # (3, batch, tokens, heads, head width)
        before = before[1:] + before[:1]
    width, left = divmod(size, prod(before))
    if left or width == heads * share:
        yield from _heads_of_others(before, heads * share, size)
        return
    if width % heads and width // heads == share:
        yield replace(heads_fault(width, heads), likelihood="likely")
    elif looks_like_width(width) and looks_like_width(heads * share):
        fits, rest = divmod(width, share)
        yield explain(
            "heads",
            f"A token has {width} numbers, and {heads} heads of {share} need"
            f" {heads}·{share} = {heads * share}.",
            f"Use {fits} heads of {share}." if not rest else "",
            f"Use {heads} heads of {width // heads}." if width % heads == 0 else "",
            f"Or make the tokens {heads * share} wide.",
            because=f"the other axes leave {width} numbers a token",
            numbers={"embed_dim": width, "num_heads": heads, "head_dim": share},
        )


def _heads_of_others(before: Sequence[int], width: int, size: int) -> Iterator[Explanation]:
    """(batch, tokens, 3, heads, head width) with the wrong number of tokens."""
    batch, expected, *parts = before
    tokens, left = divmod(size, batch * prod(parts) * width)
    if left or not tokens or tokens == expected or not square_of(tokens):
        return
    yield explain(
        "tokens",
        f"{size:,} numbers are {grid_text(tokens)} tokens of {'·'.join(map(str, (*parts, width)))}"
        f" numbers, and the target has {grid_text(expected)}.",
        "Take the number of tokens from the tensor: x.shape[1].",
        because="all but the number of tokens would fit",
        numbers={"tokens": tokens, "expected_tokens": expected},
    )


def _tokens_to_map(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, rows, columns) of a sequence that includes its class token."""
    if len(target) == 5 and min(target) > 0:
        yield from _tokens_to_video(target, size)
    if len(target) != 4 or min(target) < 1:
        return
    for batch, channels, rows, columns in (target, (target[0], target[3], *target[1:3])):
        tokens, left = divmod(size, batch * channels)
        more = tokens - rows * columns
        if left or tokens > MAX_TOKENS:
            continue
        numbers = {"tokens": tokens, "rows": rows, "columns": columns}
        if more in (1, 2, 4, 5):
            yield prefix_left(
                f"{size:,} = {batch}·{channels}·{tokens},"
                f" and {tokens} = {rows}×{columns} + {more}:",
                more,
                because=f"the grid {rows}×{columns} is {more} short of {tokens}",
                numbers=numbers,
            )
        elif (
            more
            and square_of(tokens)
            # (batch, tokens, heads, head width) is not a map
            and (rows == columns or (columns == target[3] and looks_like_width(channels)))
        ):
            yield explain(
                "grid",
                f"{size:,} = {batch}·{channels}·{tokens}: {grid_text(tokens)} tokens are to"
                f" become a map of {rows}×{columns} = {rows * columns}.",
                "Take rows and columns from the map before it was flattened.",
                because=f"{channels} channels leave {tokens} positions",
                numbers=numbers,
            )


def _tokens_to_video(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, frames, rows, columns) of a sequence with its class token."""
    for batch, channels, *grid in (target, (target[0], target[4], *target[1:4])):
        tokens, left = divmod(size, batch * channels)
        more = tokens - prod(grid)
        if left or more not in (1, 2, 4, 5) or not looks_like_width(channels):
            continue
        yield prefix_left(
            f"{size:,} = {batch}·{channels}·{tokens}, and {tokens} = {by(grid)} + {more}:",
            more,
            owner="video",
            because=f"{by(grid)} is {more} short of {tokens}",
            numbers={"tokens": tokens, "frames": grid[0], "rows": grid[1], "columns": grid[2]},
        )
        return


def _other_positions(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Rows and columns, or a square number of tokens, that differ from the actual ones."""
    at = next(
        (
            at
            for at in range(1, len(target) - 1)
            if target[at] > 3
            and target[at + 1] > 3
            and not looks_like_width(target[at])
            and (target[at] == target[at + 1] or (len(target) == 4 and at == 1))
        ),
        None,
    )
    alone = [n for n in range(1, len(target)) if target[n] > 15 and square_of(target[n])]
    pair = (at, at + 1) if at is not None else (alone[0],) if len(alone) == 1 else ()
    others = prod(n for axis, n in enumerate(target) if axis not in pair and n != -1)
    written = prod(target[axis] for axis in pair)
    came, left = divmod(size, others)
    if not pair or left or came in (0, written) or (-1 in target[1:]) or len(target) < 4:
        return
    if not looks_like_width(others // max(1, target[0])) or came > MAX_TOKENS:
        return
    grid = by([target[axis] for axis in pair])
    what = f"{grid} = {written}" if len(pair) > 1 else grid_text(written)
    yield explain(
        "grid",
        f"The other axes of {by(target)} leave {grid_text(came)} positions, and the target has"
        f" {what}.",
        "Take rows and columns from the map itself, before it is flattened.",
        "Or cut the map into windows first, where they are the sides of a window."
        if came > written
        else "Or give the image that the model was built for.",
        because=f"{size:,} is {came} times what the other axes hold",
        likelihood="possible",
        numbers={"tokens": came, "expected_tokens": written},
    )


@DECODERS.matching(
    r"Shape mismatch, (?P<has>\d{1,9}) != (?P<needed>\d{1,9})",
    rf"Provided sizes (?P<needed>{SHAPE}) don't multiply up to the size of dim \d"
    r" \((?P<has>\d{1,9})\)",
)
def _unequal_axis(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """einops and nn.Unflatten: an axis is not the product of the parts it is split into."""
    has, needed = int(match.group("has")), match.group("needed")
    parts = parse_sizes(needed)
    product = prod(parts)
    if not parts or has < 1 or product < 1 or has == product:
        return
    numbers = {"tokens": has, "expected_tokens": product}
    more = has - product
    square = square_of(product)
    grid = by(parts) if len(parts) > 1 else f"{square[0]}×{square[0]}" if square else f"{product}"
    if more in (1, 2, 4, 5):
        yield prefix_left(
            f"{has} tokens are to become a grid of {grid}, and {has} = {grid} + {more}:",
            more,
            when=" first",
            because=f"{product} is {more} short of {has}",
            numbers=numbers,
        )
        return
    yield explain(
        "grid",
        f"An axis of {grid_text(has)} is to be split into {grid} = {product}."
        if grid != f"{product}"
        else f"An axis of {grid_text(has)} was to be {product} long.",
        "Take rows and columns from the map before it was flattened.",
        because="the parts must multiply to the whole",
        likelihood="possible",
        numbers=numbers,
    )
