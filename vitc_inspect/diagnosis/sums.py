"""Errors of broadcasting two operands, by the axis that differs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    empty_tensor,
    explain,
    only_first_likely,
    unknown_cause,
)
from vitc_inspect.diagnosis.grids import grid_of
from vitc_inspect.diagnosis.maps import fourth_axis, of_five_axes, second_of_four, third_axis
from vitc_inspect.diagnosis.operands import Shapes, axis_of, shapes_of
from vitc_inspect.diagnosis.tokens import by_roles, two_token_counts, two_widths

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


_OPTIMIZER = re.compile(r"exp_avg|momentum_buffer|max_exp_avg|square_avg|denom")


@DECODERS.matching(
    r"size of tensor a \((\d{1,9})\) must match (?:the size of tensor b|…|\.\.\.)"
    r" \((\d{1,9})\)(?: at non-singleton dimension (\d))?"
)
def _two_operands(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """The size of tensor a must match the size of tensor b."""
    first, second = int(match[1]), int(match[2])
    shapes = shapes_of(first, second, error)
    axis = axis_of(shapes) if shapes else int(match[3] or 1)  # that of the tokens, if it is missing
    ranks = sorted(map(len, error.operands))
    if 0 in (first, second):
        meanings = iter((_empty(first, second, axis),))
    elif _OPTIMIZER.search(error.source):
        meanings = iter((_optimizer(first, second, error),))
    elif shapes and ranks[0] == 1 < ranks[1]:
        meanings = iter((_vector(error),))
    else:
        meanings = _by_axis(first, second, axis, shapes, error)
    for meaning in only_first_likely(meanings):
        yield replace(meaning, sentence=meaning.sentence.replace(" of + ", f" of {error.sign} "))


def _empty(first: int, second: int, axis: int) -> Explanation:
    return empty_tensor(
        f"One operand of + is 0 long along axis {axis}, and the other {max(first, second)}",
        because="one of the two numbers is 0",
        numbers={"first": first, "second": second, "axis": axis},
    )


def _optimizer(first: int, second: int, error: ErrorContext) -> Explanation:
    """The state of an optimizer, and a gradient of another shape."""
    return explain(
        "optimizer",
        f"The optimizer's state of a parameter is {first} long along an axis and its gradient"
        f" {second} (or the other way round): the state belongs to a model of other sizes.",
        "Load the weights alone, and leave the optimizer's state_dict out.",
        "Or build the model with the sizes of the checkpoint.",
        because=f"the line “{error.source[:80]}” is an optimizer's",
        numbers={"first": first, "second": second},
    )


def _vector(error: ErrorContext) -> Explanation:
    """A vector that is not as long as the last axis of the other operand."""
    vector, other = sorted(error.operands, key=len)
    count = vector[0]
    homes = [axis for axis, size in enumerate(other[:-1]) if axis and size == count]
    fix = f"Make the vector {other[-1]} long, or 1."
    if homes:
        shape = (count, *(1 for _ in other[homes[0] + 1 :]))
        fix = f"For axis {homes[0]}, which is {count} long, give it the shape {shape}."
    return certain(
        "broadcast",
        f"{error.sign} was given {by(other)} and a vector of {count}: a vector is aligned with the"
        f" last axis, which is {other[-1]} long.",
        fix,
        because="shapes are aligned from the last axis",
        numbers={"vector": count, "last_axis": other[-1]},
    )


def _by_axis(
    first: int, second: int, axis: int, shapes: Shapes | None, error: ErrorContext
) -> Iterator[Explanation]:
    """Explain two operands by the axis that differs; PyTorch names the last one."""
    rank = len(shapes[0]) if shapes else None
    colours = _image_channels_differ(first, second, axis, rank)
    if colours:
        yield colours
        return
    # tokens are the first axis of (tokens, width)
    tokens_at = 1 if rank in (None, 3) else 0 if rank == 2 else None
    if axis == tokens_at:
        yield from two_token_counts(first, second, axis, error)
    elif axis == 0 and rank != 1:
        yield from _first_axis(first, second, error)
    elif rank in (1, 2, 3):
        yield from two_widths(first, second, axis, error)
    elif axis > 4 or (rank or 0) > 5:
        yield unknown_cause(
            f"The two operands of + have {first} and {second} along axis {axis}",
            error,
            numbers={"first": first, "second": second, "axis": axis},
        )
    elif rank == 5 or axis == 4:
        yield from of_five_axes(first, second, axis, shapes)
    elif axis == 1:
        yield from second_of_four(first, second, shapes, error)
    elif axis == 2:
        yield from third_axis(first, second, shapes, error)
    else:
        yield from fourth_axis(first, second, shapes, error)


def _image_channels_differ(
    first: int, second: int, axis: int, rank: int | None
) -> Explanation | None:
    """Channels of an image against a side of it or other channels, as in a normalisation."""
    few, many = sorted((first, second))
    numbers = {"channels": few, "other": many, "axis": axis}
    if (few, many) == (3, 4) and axis == 0 and rank in (None, 3):
        return explain(
            "channels",
            "One operand of + has 4 channels and the other 3: an image with an alpha channel, and"
            " a mean or a deviation for RGB.",
            "Drop it: image[:3], or Image.convert('RGB').",
            because="the first axis of (channels, height, width) is the channels",
            numbers=numbers,
        )
    if few != 3 or many < 32 or (rank == 3 and axis == 1):
        return None
    if axis >= 2:
        return explain(
            "channels",
            f"One operand of + has {many} along axis {axis} and the other 3: the 3 numbers are one"
            " for each channel, a mean or a deviation, aligned with the image's width.",
            "Give them the shape (3, 1, 1): mean.view(3, 1, 1).",
            "Or, where the image is to be (height, width, channels), keep its channels last.",
            because="shapes are aligned from the last axis",
            numbers=numbers,
        )
    return explain(
        "channels last",
        f"One operand of + has {many} along axis {axis} and the other 3: the image is (height,"
        " width, channels), and a mean or a deviation of 3 channels expects the channels first.",
        "Put the channels first: image.permute(2, 0, 1), with a batch image.permute(0, 3, 1, 2).",
        because=f"3 is a number of channels, and {many} a side",
        likelihood="likely" if axis == 0 or rank == 4 else "possible",
        numbers=numbers,
    )


def _first_axis(first: int, second: int, error: ErrorContext) -> Iterator[Explanation]:
    """Two batches, or (tokens, width) of a table that is copied into another (CLIP)."""
    grids = [grid_of(count, prefix=1) for count in (first, second)]
    tables = None not in grids and min(first, second) > 32 and not error.operands
    square = any(grid and grid[0] == grid[1] for grid in grids)
    batches = _batches(first, second)
    if not (tables and square):
        yield batches
    if tables:
        yield from by_roles(first, second, error)
    if tables and square:
        yield replace(batches, likelihood="possible")


def _batches(first: int, second: int) -> Explanation:
    return explain(
        "batch",
        f"Along the first axis one operand of + has {first} and the other {second}: two"
        " batches of different sizes, or tokens without a batch.",
        "Make both batches equal, or give one of them length 1, which fits any.",
        because="the first axis is the batch in (batch, tokens, width)",
        numbers={"first": first, "second": second},
    )
