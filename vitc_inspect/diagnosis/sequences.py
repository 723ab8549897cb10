"""Errors about how many tokens there are: reshaping, joining, taking an axis apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import isqrt, prod

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    counted,
    explain,
    heads_fault,
    looks_like_width,
    sizes,
)
from vitc_inspect.diagnosis.readings import (
    MAX_TOKENS,
    grid_of,
    in_squares,
    square_of,
)
from vitc_inspect.spec import StemSpec

_NOMINAL = 16
"""The patch size to reckon with where none is known (pixels)."""


def _invalid_shape(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x.reshape(...)`: the shape is invalid for input of size n."""
    target, size = sizes(match.group(1)), int(match.group(2))
    known = [side for side in target if side > 0]
    if not known or size < 1:
        return
    found = [
        *_tokens_to_map(target, size),
        *_patches_cut(target, size),
        *_flattened_map(target, size, told.spec),
    ]
    found = found or [*_heads_split(target, size)]
    yield from found
    if found:
        return
    product = prod(known)
    whole = f"{'·'.join(map(str, known))} = {product:,}"
    if -1 in target:
        sentence = (
            f"What was to be reshaped has {size:,} numbers, and the axes that are given multiply"
            f" to {whole}, which does not divide them: nothing whole can stand at −1."
        )
    else:
        sentence = (
            f"What was to be reshaped has {size:,} numbers and the shape {by(target)} needs"
            f" {whole}."
        )
    yield explain(
        "reshape",
        sentence,
        "Print the shape just before this line, and take each axis from it.",
        because="it is all that the numbers say",
        likelihood="possible",
        numbers={"size": size, "needed": product},
    )


def _flattened_map(
    target: tuple[int, ...], size: int, spec: StemSpec | None
) -> Iterator[Explanation]:
    """(batch, width, tokens) or (batch, tokens, width) of a map that has another size."""
    if len(target) != 3 or -1 in target:
        return
    batch, second, third = target
    found = []
    for width, tokens in ((second, third), (third, second)):
        real, left = divmod(size, batch * width) if batch * width else (0, 1)
        square = square_of(tokens)
        if left or not real or real == tokens or square is None:
            continue
        fit = spec is not None and width == spec.embed_dim
        grid = square_of(real)
        doubt = 4 * (grid is None) + 2 * (not looks_like_width(width)) - 9 * fit
        found.append((doubt, width, tokens, real, square[0], grid))
    for rank, (_, width, tokens, real, side, grid) in enumerate(sorted(found, key=lambda f: f[0])):
        sure: Likelihood = "possible" if rank else "likely"
        yield replace(
            _other_grid(batch, width, (tokens, side), (real, grid), size), likelihood=sure
        )
    for width, tokens in ((second, third), (third, second)):
        real, left = divmod(size, batch * tokens) if batch * tokens else (0, 1)
        if not left and square_of(tokens) and looks_like_width(real) and looks_like_width(width):
            yield explain(
                "width",
                f"{size:,} = {batch}·{real}·{tokens}: the map has {real} channels, and {width}"
                " are expected.",
                f"Let the last convolution have {width} output channels.",
                f"Or set embed_dim to {real}.",
                because=f"the grid of {tokens} tokens would be right, and {real} a usual width",
                likelihood="possible",
                numbers={"width": real, "expected_width": width, "tokens": tokens},
            )
    real, left = divmod(size, second * third) if second * third else (0, 1)
    if not left and real and real != batch:
        yield explain(
            "batch",
            f"{size:,} = {real}·{second}·{third}: the shape is right for a batch of {real}, and"
            f" {batch} is written.",
            "Take the batch from the tensor: x.shape[0].",
            because="all but the batch would fit",
            likelihood="possible",
            numbers={"batch": real, "expected_batch": batch},
        )


def _other_grid(
    batch: int,
    width: int,
    expected: tuple[int, int],
    real: tuple[int, tuple[int, int] | None],
    size: int,
) -> Explanation:
    """A map with another grid than the shape it is to take."""
    (tokens, side), (count, square) = expected, real
    numbers = {"tokens": count, "expected_tokens": tokens, "width": width}
    opening = f"{size:,} = {batch}·{width}·{count}"
    if square and square[1] and square[0] == side:
        more = square[1]
        return explain(
            "class token",
            f"{opening}: there are {in_squares(count)} tokens, and {tokens} = {side}×{side} are"
            f" expected: {counted(more)} before the image's {'was' if more == 1 else 'were'} not"
            " reckoned with.",
            f"Write {count} instead of {tokens}.",
            f"Or leave {'it' if more == 1 else 'them'} out first: x[:, {more}:].",
            because=f"{tokens} is {more} short of {count}",
            numbers=numbers,
        )
    if square is None or square[1]:
        grid = grid_of(count)
        shape = f" = {by(grid)}" if grid else ""
        return explain(
            "grid",
            f"{opening}: there are {count}{shape} tokens, and {tokens} = {side}×{side} are"
            " expected.",
            "Take the grid from the map itself: x.flatten(2).transpose(1, 2).",
            because=f"{width} numbers a token leave {count} tokens",
            numbers=numbers,
        )
    is_side = square[0]
    fixes = ["Take the grid from the map itself: x.flatten(2).transpose(1, 2)."]
    reason = f"the map is {is_side}×{is_side}, and {side}×{side} are expected"
    if (_NOMINAL * side) % is_side == 0:
        true = _NOMINAL * side // is_side
        numbers |= {"total_stride": true, "patch_size": _NOMINAL}
        reason += (
            f". At {_NOMINAL * side} pixels the strides multiply to {true}, not to the patch size"
            f" {_NOMINAL}"
        )
        if _NOMINAL % true == 0:
            fixes.insert(
                0, f"Multiply one stride by {_NOMINAL // true}: the product must be {_NOMINAL}."
            )
        fixes.insert(1, f"Or set patch_size to {true}, and make a table for {count} tokens.")
    else:
        fixes.insert(
            0, f"Resize the image: {side}/{is_side} of its sides give {side}×{side} tokens."
        )
    return explain(
        "stride",
        f"{opening}, and {count} = {is_side}×{is_side}: {reason}.",
        *fixes,
        because=f"{width} channels leave {count} = {is_side}×{is_side} places",
        numbers=numbers,
    )


def _heads_split(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, tokens, 3, heads, head width) or (batch, tokens, heads, head width)."""
    if len(target) < 4 or min(target) < 1:
        return
    *before, heads, share = target
    if len(target) == 5 and before[0] == 3:  # (3, batch, tokens, heads, head width)
        before = before[1:] + before[:1]
    width, left = divmod(size, prod(before))
    if left or width == heads * share:
        return
    if width % heads and width // heads == share:
        yield heads_fault(width, heads)
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


def _tokens_to_map(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, rows, columns) of a sequence that still has its class token."""
    if len(target) != 4 or min(target) < 1:
        return
    for batch, channels, rows, columns in (target, (target[0], target[3], *target[1:3])):
        tokens, left = divmod(size, batch * channels)
        more = tokens - rows * columns
        if left or tokens > MAX_TOKENS:
            continue
        numbers = {"tokens": tokens, "rows": rows, "columns": columns}
        if more in (1, 2, 4, 5):
            yield explain(
                "class token",
                f"{size:,} = {batch}·{channels}·{tokens}, and {tokens} = {rows}×{columns} + {more}:"
                f" {counted(more)} before the image's {'is' if more == 1 else 'are'} still there.",
                f"Leave {'it' if more == 1 else 'them'} out before reshaping: x[:, {more}:].",
                because=f"the grid {rows}×{columns} is {more} short of {tokens}",
                numbers=numbers,
            )
        elif more and square_of(tokens) and (rows == columns or columns == target[3]):
            yield explain(
                "grid",
                f"{size:,} = {batch}·{channels}·{tokens}: {in_squares(tokens)} tokens are to"
                f" become a map of {rows}×{columns} = {rows * columns}.",
                "Take rows and columns from the map before it was flattened.",
                because=f"{channels} channels leave {tokens} places",
                numbers=numbers,
            )


def _patches_cut(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, rows, patch, columns, patch) of an image that patches do not divide."""
    if len(target) != 6 or min(target) < 1:
        return
    batch, channels, rows, patch, columns, _ = target
    pixels, left = divmod(size, batch * channels)
    side = isqrt(pixels)
    if left or side**2 != pixels:
        return
    yield indivisible(side, patch, because=f"the shape has {rows}×{columns} patches of {patch}")


def indivisible(side: int, patch: int, *, because: str) -> Explanation:
    """The explanation of an image that patches do not divide."""
    count, rest = divmod(side, patch)
    fits = [n for n in (count * patch, (count + 1) * patch) if n]
    return explain(
        "image size",
        f"A side of {side} pixels is not divisible by the patch: {side} = {count}·{patch} + {rest}."
        if rest
        else f"A side of {side} pixels is {count} patches of {patch}.",
        f"Resize the image to {' or '.join(f'{n}×{n}' for n in fits)} pixels.",
        f"Or crop what patchify would drop: image[..., :{count * patch}] along that side."
        if rest and count
        else "",
        because=because,
        likelihood="certain" if rest else "likely",
        numbers={"side": side, "patch_size": patch, "rest": rest},
    )


def _joined(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`torch.cat`: the sizes must match except in one dimension."""
    axis, expected, got, number = (int(part) for part in match.groups())
    numbers = {"expected": expected, "got": got, "tensor": number}
    squares = square_of(expected), square_of(got)
    if 1 in (expected, got) and expected != got:
        more = max(expected, got)
        yield explain(
            "batch",
            f"One tensor has 1 along the axis where the other has {more}: most likely a class token"
            f" for one image beside the tokens of a batch of {more}.",
            f"Expand it to the batch: cls_token.expand({more}, -1, -1), or len(x) for {more}.",
            because="cat stretches nothing, also not an axis of length 1",
            numbers=numbers,
        )
        return
    for width, count in ((expected, got), (got, expected)):
        if looks_like_width(width) and square_of(count) and not looks_like_width(count):
            yield explain(
                "transpose",
                f"One tensor has {width} where the other has {in_squares(count)}: a width against"
                " tokens, so one of them is (batch, width, tokens).",
                "Transpose it after flattening: x.flatten(2).transpose(1, 2).",
                because=f"{width} is a usual width and {count} is a grid",
                numbers=numbers,
            )
            return
    if looks_like_width(expected) and looks_like_width(got):
        yield explain(
            "width",
            f"One tensor is {expected} wide and the other {got}: class token and image tokens are"
            " of different width.",
            f"Make the class token as wide as the last convolution has output channels:"
            f" {expected} or {got} in both.",
            because=f"both numbers are usual widths, and the axis joined is {axis}",
            likelihood="possible" if all(squares) else "likely",
            numbers=numbers,
        )
        if axis != 0:
            return
    if axis == 0 and all(squares):
        yield explain(
            "image size",
            f"Sequences of {in_squares(expected)} and {in_squares(got)} tokens cannot be put in one"
            " batch.",
            "Resize all images to one size before they are put in a batch.",
            because="the axis joined is the batch",
            numbers=numbers,
        )
    yield explain(
        "batch",
        f"One tensor has {expected} along an axis where the other has {got}; only axis {axis} may"
        " differ. A class token expanded to a fixed batch does not fit the last, smaller batch.",
        "Expand the class token by the batch at hand: cls_token.expand(len(x), -1, -1).",
        because="the two differ in no width and no grid that can be told",
        likelihood="possible",
        numbers=numbers,
    )


def _joined_map(match: re.Match[str], told: Told) -> Iterator[Explanation]:
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
        because="cat joins tensors of as many axes",
        likelihood="likely" if flat else "possible",
        numbers={"first": first, "second": second},
    )


def _expanded(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`expand` of a class token that already has another batch."""
    wanted, has, axis = (int(part) for part in match.groups())
    yield explain(
        "batch" if axis == 0 else "expand",
        f"The call of expand was to make {wanted} of {has} along axis {axis}; only an axis of"
        " length 1 can be expanded."
        + (" The class token holds a batch already." if axis == 0 else ""),
        "Keep the class token as a parameter of shape (1, 1, width), and expand that.",
        because="expand repeats without copying, so it can repeat one thing only",
        numbers={"wanted": wanted, "has": has, "axis": axis},
    )


def _added_in_place(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x += table` where the result is larger than x."""
    has, result = sizes(match.group(1)), sizes(match.group(2))
    if not has or not result:
        return
    yield explain(
        "in place",
        f"The sum has the shape {by(result)} and cannot be written into {by(has)}.",
        "Write x = x + table instead of x += table.",
        f"Or give the left side the shape {by(result)} first.",
        because="an operation in place cannot make its own tensor larger",
        numbers={"size": prod(has), "needed": prod(result)},
    )


def _unequal_axis(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """einops and nn.Unflatten: an axis is not the product of the parts it is taken apart into."""
    has, needed = int(match.group("has")), match.group("needed")
    parts = sizes(needed)
    product = prod(parts)
    if not parts or has < 1 or product < 1 or has == product:
        return
    numbers = {"tokens": has, "expected_tokens": product}
    more = has - product
    square = square_of(product)
    grid = by(parts) if len(parts) > 1 else f"{square[0]}×{square[0]}" if square else f"{product}"
    if more in (1, 2, 4, 5):
        yield explain(
            "class token",
            f"{has} tokens are to become a grid of {grid}, and {has} = {grid} + {more}:"
            f" {counted(more)} before the image's {'is' if more == 1 else 'are'} still there.",
            f"Leave {'it' if more == 1 else 'them'} out first: x[:, {more}:].",
            because=f"{product} is {more} short of {has}",
            numbers=numbers,
        )
        return
    yield explain(
        "grid",
        f"An axis of {in_squares(has)} was to be taken apart into {grid} = {product}."
        if grid != f"{product}"
        else f"An axis of {in_squares(has)} was to be {product} long.",
        "Take rows and columns from the map before it was flattened.",
        because="the parts must multiply to the whole",
        likelihood="possible",
        numbers=numbers,
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(r"shape '(\[[-\d, ]{1,200}\])' is invalid for input of size (\d{1,15})"),
        _invalid_shape,
    ),
    (
        re.compile(
            r"Sizes of tensors must match except in dimension (\d)\. Expected size (\d{1,9})"
            r" but got size (\d{1,9}) for tensor number (\d{1,9})"
        ),
        _joined,
    ),
    (
        re.compile(r"Tensors must have same number of dimensions: got (\d{1,3}) and (\d{1,3})"),
        _joined_map,
    ),
    (
        re.compile(
            r"expanded size of the tensor \((\d{1,9})\) must match the existing size \((\d{1,9})\)"
            r" at non-singleton dimension (\d)"
        ),
        _expanded,
    ),
    (
        re.compile(
            r"output with shape (\[[\d, ]{1,200}\]) doesn't match the broadcast shape"
            r" (\[[\d, ]{1,200}\])"
        ),
        _added_in_place,
    ),
    (
        re.compile(r"Shape mismatch, (?P<has>\d{1,9}) != (?P<needed>\d{1,9})"),
        _unequal_axis,
    ),
    (
        re.compile(
            r"Provided sizes (?P<needed>\[[\d, ]{1,200}\]) don't multiply up to the size of dim \d"
            r" \((?P<has>\d{1,9})\)"
        ),
        _unequal_axis,
    ),
)
"""What each error is known by, and who explains it."""
