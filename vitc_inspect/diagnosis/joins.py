"""Errors of cat, expand and in-place operations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod

from vitc_inspect.diagnosis.explanation import (
    LEAST_WIDTH,
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    empty_tensor,
    explain,
    looks_like_width,
    parse_sizes,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of
from vitc_inspect.diagnosis.positions import position_readings

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"Sizes of tensors must match except in dimension (\d)\. Expected size (\d{1,9})"
    r" but got size (\d{1,9}) for tensor number (\d{1,9})"
)
def _joined(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`torch.cat`: the sizes must match except in dimension d."""
    axis, expected, got, number = (int(part) for part in match.groups())
    numbers = {"expected": expected, "got": got, "tensor": number}
    at = _differing(axis, expected, got, number, error)
    rank = len(error.operands[0]) if at is not None else None
    near = _next(expected, got) or _pooled(expected, got)
    if 0 in (expected, got):
        yield empty_tensor(
            f"Tensors with {expected} and {got} along one axis are to be joined along axis {axis}",
            because="one of the two numbers is 0",
            numbers=numbers,
        )
    elif (rank == 4 and at) or (rank is None and (axis == 3 or (axis == 1 and near))):
        yield _joined_maps(axis, expected, got, numbers)
        if rank is None and axis == 1:
            yield replace(_other_batches(axis, expected, got, numbers), likelihood="possible")
    elif 1 in (expected, got) and expected != got and at in (None, 0):
        more = max(expected, got)
        yield explain(
            "batch",
            f"One tensor has 1 along the axis where the other has {more}: most likely a class token"
            f" for one image and the tokens of a batch of {more}.",
            f"Expand it to the batch: cls_token.expand({more}, -1, -1), or len(x) for {more}.",
            because="cat does not broadcast, not even an axis of length 1",
            numbers=numbers,
        )
    elif at == 0:
        yield _other_batches(axis, expected, got, numbers)
    elif rank == 3 and at == 1:
        yield explain(
            "grid",
            f"Sequences of {grid_text(expected)} and {grid_text(got)} tokens are to be joined"
            f" along axis {axis}, which needs equal token counts.",
            "Join them along the tokens instead: torch.cat(..., dim=1).",
            "Or bring both to one grid: F.interpolate on the maps, before they are flattened.",
            because="axis 1 of (batch, tokens, width) differs",
            numbers=numbers,
        )
    else:
        yield from _joined_tokens(axis, expected, got, at, numbers)


def _joined_tokens(
    axis: int, expected: int, got: int, at: int | None, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """Sequences joined along some axis, explained by whether the sizes are widths or grids."""
    squares = square_of(expected), square_of(got)
    for width, count in ((expected, got), (got, expected)):
        if looks_like_width(width) and square_of(count) and not looks_like_width(count):
            yield explain(
                "transpose",
                f"One tensor has {width} where the other has {grid_text(count)}: a width against"
                " tokens, so one of them is (batch, width, tokens).",
                "Transpose it after flattening: x.flatten(2).transpose(1, 2).",
                because=f"{width} is a usual width and {count} is a grid",
                numbers=numbers,
            )
            return
    if at == 2 or (looks_like_width(expected) and looks_like_width(got)):
        yield explain(
            "width",
            f"One tensor is {expected} wide and the other {got}: class token and image tokens have"
            " different widths.",
            f"Make the class token as wide as the last convolution has output channels:"
            f" {expected} or {got} in both.",
            because="axis 2 of (batch, tokens, width) differs"
            if at == 2
            else f"both numbers are usual widths, and the axis joined is {axis}",
            likelihood="possible" if all(squares) and at is None else "likely",
            numbers=numbers,
        )
        if axis != 0 or at == 2:
            return
    if axis == 0 and all(squares):
        yield explain(
            "image size",
            f"Sequences of {grid_text(expected)} and {grid_text(got)} tokens cannot be put in one"
            " batch.",
            "Resize all images to one size before they are put in a batch.",
            because="the axis joined is the batch",
            numbers=numbers,
        )
    yield replace(_other_batches(axis, expected, got, numbers), likelihood="possible")


def _differing(axis: int, expected: int, got: int, number: int, error: ErrorContext) -> int | None:
    """The axis in which two tensors differ, other than the one they are joined along."""
    if len(error.operands) <= number or len(error.operands[0]) != len(error.operands[number]):
        return None
    pairs = enumerate(zip(error.operands[0], error.operands[number], strict=True))
    return next((at for at, pair in pairs if at != axis and pair == (expected, got)), None)


def _pooled(first: int, second: int) -> bool:
    """Whether one side is the other after one to three poolings by 2, as in a U-Net."""
    least, most = sorted((first, second))
    return 14 <= least < LEAST_WIDTH and most in (2 * least, 4 * least, 8 * least)


def _next(first: int, second: int) -> bool:
    """Whether two sides differ by one, as after different rounding."""
    return abs(first - second) == 1 and min(first, second) > 1


def _other_batches(axis: int, expected: int, got: int, numbers: dict[str, int]) -> Explanation:
    return explain(
        "batch",
        f"One tensor has {expected} along an axis where the other has {got}; only axis {axis} may"
        " differ. A class token expanded to a fixed batch does not fit the last, smaller batch.",
        "Expand the class token by the batch at hand: cls_token.expand(len(x), -1, -1).",
        because="the two differ in no width and no grid that can be identified",
        numbers=numbers,
    )


def _joined_maps(axis: int, expected: int, got: int, numbers: dict[str, int]) -> Explanation:
    """Two maps of different sizes, joined along their channels."""
    if axis == 3 and _next(expected, got):
        odd = expected + got
        return explain(
            "patch merging",
            f"Every second row and column of a channels-last map were taken, {expected} and {got}"
            f" of a side of {odd}: patch merging needs even sides.",
            "Pad the map to even sides first: F.pad(x, (0, 0, 0, W % 2, 0, H % 2)).",
            "Or give an image whose map has even sides at this stage, a multiple of 32 pixels for"
            " Swin's four stages.",
            because="the axis joined is the last of (batch, rows, columns, channels)",
            numbers={**numbers, "side": odd},
        )
    return explain(
        "map size",
        f"Maps with sides of {expected} and {got} are to be joined along their channels, axis"
        f" {axis}.",
        "Resize one of them to the other: F.interpolate(x, size=other.shape[2:])."
        if axis == 1
        else "Give both paths the same strides and paddings.",
        "Or give an image whose sides are divisible by all strides together, 32 for five of 2.",
        because="two paths round a side differently where a stride does not divide it",
        numbers=numbers,
    )


@DECODERS.matching(r"Tensors must have same number of dimensions: got (\d{1,3}) and (\d{1,3})")
def _joined_map(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`torch.cat` of a sequence and a map."""
    first, second = (int(part) for part in match.groups())
    flat = {first, second} == {3, 4}
    yield explain(
        "flatten",
        f"One tensor has {first} axes and the other {second}"
        + (": a sequence (batch, tokens, width) and a map that is not flattened." if flat else "."),
        "Flatten the map to tokens first: x.flatten(2).transpose(1, 2)."
        if flat
        else "Add the missing axis with unsqueeze.",
        because="cat joins tensors of equal rank",
        likelihood="likely" if flat else "possible",
        numbers={"first": first, "second": second},
    )


@DECODERS.matching(
    r"expanded size of the tensor \((\d{1,9})\) must match the existing size \((\d{1,9})\)"
    r" at non-singleton dimension (\d)"
    rf"(?:\. Target sizes: ({SHAPE})\. Tensor sizes: ({SHAPE}))?"
)
def _expanded(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`expand`, or assignment into a tensor, with another length."""
    wanted, has, axis = (int(part) for part in match.groups()[:3])
    target, tensor = (parse_sizes(part or "") for part in match.groups()[3:])
    numbers = {"wanted": wanted, "has": has, "axis": axis}
    if 0 in (wanted, has):
        yield empty_tensor(
            f"A tensor of {has} along axis {axis} is expanded to {wanted}",
            because="one of the two numbers is 0",
            numbers=numbers,
        )
    elif len(target) == 2 and len(tensor) in (1, 2) and axis == 1:
        yield explain(
            "text length",
            f"Positions or ids of {has} entries were to become {wanted}: a text of {wanted} tokens"
            f" is longer than the {has} positions of the model."
            if wanted > has
            else f"{has} entries along axis 1 were to become {wanted}.",
            f"Cut the text to {min(wanted, has)} tokens:"
            f" tokenizer(text, max_length={min(wanted, has)}, truncation=True).",
            because="two axes are (batch, tokens) of ids",
            likelihood="likely" if wanted > has else "possible",
            numbers=numbers,
        )
    elif len(target) == 4 and axis >= 2 and target[2:] == (target[3],) * 2:
        yield explain(
            "attention",
            f"A mask or a relative position table for {grid_text(has)} tokens was to become"
            f" {grid_text(wanted)}.",
            f"Make it for {wanted} tokens, the class token and padding counted.",
            because="the last two axes of (batch, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    elif len(target) == 3 and axis == 1 and square_of(wanted) and square_of(has):
        yield from position_readings(wanted, has, error.spec)
    else:
        holds = " The class token holds a batch already." if axis == 0 else ""
        yield explain(
            "batch" if axis == 0 else "expand",
            f"{wanted} were to be made of {has} along axis {axis}; only an axis of length 1 can be"
            f" expanded.{holds}",
            "Keep the class token as a parameter of shape (1, 1, width), and expand that."
            if axis == 0
            else "Give both the same length, or length 1 to what is expanded or written.",
            because="expand repeats without copying, so it can repeat one thing only",
            likelihood="likely" if axis == 0 else "possible",
            numbers=numbers,
        )


@DECODERS.matching(
    rf"expand\(torch\.[\w.]{{1,60}}\{{({SHAPE})\}}, size=(\[[-\d, ]{{1,200}}\])\):"
    r" the number of sizes provided"
)
def _expanded_shorter(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`expand` with fewer sizes than the tensor has axes."""
    given, wanted = parse_sizes(match.group(1)), match.group(2)
    missing = ", ".join(["-1"] * (len(given) - len(parse_sizes(wanted))))
    yield certain(
        "expand",
        f"{by(given)} has {len(given)} axes, and expand was given {len(parse_sizes(wanted))},"
        f" {wanted}.",
        f"Give one size for each axis, −1 for those that stay: expand({wanted[1:-1]}, {missing}).",
        because="expand takes a size for every axis",
        numbers={"axes": len(given), "sizes": len(parse_sizes(wanted))},
    )


@DECODERS.matching(
    rf"output with shape ({SHAPE}) doesn't match the broadcast shape"
    rf" ({SHAPE})"
)
def _added_in_place(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`x += table` where the result is larger than x."""
    has, result = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if not has or not result:
        return
    if len(has) == len(result) >= 3 and (has[-3], result[-3]) == (1, 3):
        yield explain(
            "channels",
            f"An image of 1 channel, {by(has)}, is normalised with 3 means or deviations: it is"
            f" grey, and treated as RGB.",
            "Give one number each: transforms.Normalize((0.5,), (0.5,)).",
            "Or give the image three channels first: image.convert('RGB'), or"
            f" image.expand({'3' if len(has) == 3 else '-1, 3'}, -1, -1).clone().",
            because="only the channels differ, 1 and 3",
            numbers={"channels": 1, "expected_channels": 3},
        )
        return
    yield explain(
        "in place",
        f"The sum has the shape {by(result)} and cannot be written into {by(has)}.",
        "Write x = x + table instead of x += table.",
        f"Or give the left side the shape {by(result)} first.",
        because="an in-place operation cannot enlarge its tensor",
        numbers={"size": prod(has), "needed": prod(result)},
    )
