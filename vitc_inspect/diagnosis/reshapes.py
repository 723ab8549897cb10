"""Errors of view and reshape, and of taking one axis apart into several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isqrt, prod

from vitc_inspect.diagnosis.explanation import (
    LEAST_WIDTH,
    RUN_IT,
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    counted,
    explain,
    heads_fault,
    looks_like_width,
    nothing_in_it,
    one_first,
    sizes,
)
from vitc_inspect.diagnosis.grids import (
    MAX_TOKENS,
    USUAL_SIDES,
    grid_of,
    in_squares,
    square_of,
    stride_of,
)
from vitc_inspect.diagnosis.windows import (
    cut_in_stripes,
    cut_in_windows,
    masked_windows,
    volume_windows,
)

_NOMINAL = 16
"""The patch size to reckon with where none is known (pixels)."""


def _invalid_shape(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x.reshape(...)`: the shape is invalid for input of size n."""
    target, size = sizes(match.group(1)), int(match.group(2))
    if size == 0 or 0 in target:
        yield _empty_shape(target, size)
        return
    known = [side for side in target if side > 0]
    if not known:
        return
    found = tuple(_map_of_run(target, told)) or tuple(cut_in_windows(target, size, told))
    found = found or tuple(cut_in_stripes(target, size)) or tuple(volume_windows(target, size))
    found = found or (
        *_tokens_to_map(target, size),
        *_flattened_map(target, size, told),
    )
    found = found or (*masked_windows(target, size), *_heads_split(target, size))
    found = found or tuple(_other_places(target, size))
    yield from one_first(found)
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
        "" if told.facts.inputs else RUN_IT,
        because="it is all that the numbers say",
        likelihood="possible",
        numbers={"size": size, "needed": product},
    )


def _empty_shape(target: tuple[int, ...], size: int) -> Explanation:
    """A reshape to nothing, or of nothing."""
    numbers = {"size": size, "axis": target.index(0) if 0 in target else -1}
    if size == 0:
        return nothing_in_it(
            f"A tensor without a number was to be reshaped to {by(target) or 'a single number'}",
            because="the message counts 0 numbers",
            numbers=numbers,
        )
    what = f"Axis {target.index(0)} of the shape {by(target)} is 0, and {size:,} numbers came"
    each = prod(side for side in target if side > 0)
    whole = not size % each and len(target) > 1
    if len(target) == 5 and target[0] == 0 and target[3] == target[4]:
        per_window = prod(target[2:])
        what += (
            f": fewer windows than the {target[1]} that the mask was made for"
            + (f", {size // per_window}" if size % per_window == 0 else "")
            + ", so that windows // number of windows is 0"
        )
    elif len(target) == 6 and target[0] == 0 and target[3] == target[4]:
        what += ": fewer windows than the map has, so that the batch is reckoned as 0"
    elif whole:
        what += f", which fit {by((size // each, *(side for side in target if side)))}"
    return nothing_in_it(what, because="one axis is written as 0", numbers=numbers, written=True)


def _map_of_run(target: tuple[int, ...], told: Told) -> Iterator[Explanation]:
    """A map of the run that is made into tokens with another count than it has places."""
    operand = told.operands[0] if len(told.operands) == 1 else ()
    if len(operand) != 4 or operand not in told.facts.maps or len(target) != 3 or -1 in target:
        return
    _, width, rows, columns = operand
    if width not in target[1:]:
        return
    last = target[2] == width
    expected = target[1] if last else target[2]
    count = rows * columns
    grid = _like(expected, rows, columns)
    numbers = {"tokens": count, "expected_tokens": expected, "width": width}
    opening = f"{by((rows, columns))} = {count} places of width {width} came, and {expected}"
    opening += f" = {by(grid)} are written" if grid else " are written"
    fixes = []
    strides = _strides((rows, columns), grid, told) if grid else None
    if strides:
        true, needed = strides
        numbers |= {"total_stride": true, "patch_size": needed}
        opening += f": the strides multiply to {true}, and {needed} is needed"
        if needed % true == 0:
            fixes.append(f"Multiply one stride by {needed // true}: the product must be {needed}.")
    if last:
        opening += (
            ". Besides, the channels of the map stand first, so a reshape to (batch, tokens,"
            " width) mixes the tokens, also where the number is right"
        )
    fixes.append(
        f"{'Or take' if fixes else 'Take'} the grid from the map itself:"
        f" x.flatten(2){'.transpose(1, 2)' if last else ''}, which gives {count} tokens."
    )
    if last and strides:
        fixes.append("In both cases flatten and transpose: x.flatten(2).transpose(1, 2).")
    yield explain(
        "stride" if strides else "grid",
        f"{opening}.",
        *fixes,
        because=f"the run shows the map, {by(operand)}",
        numbers=numbers,
    )


def _like(count: int, rows: int, columns: int) -> tuple[int, int] | None:
    """The grid of so many tokens with the shape of another, else a square one."""
    if count > MAX_TOKENS:
        return None
    for high in range(1, isqrt(count) + rows + 1):
        if count % high == 0 and high * columns == (count // high) * rows:
            return high, count // high
    side = isqrt(count)
    return (side, side) if side > 1 and side**2 == count else None


def _strides(
    came: tuple[int, int], expected: tuple[int, int], told: Told
) -> tuple[int, int] | None:
    """What the strides multiply to and what they should, where the image is known."""
    spec, image = told.spec, told.facts.image
    if image is None and spec is not None and spec.grid_size == came:
        image = spec.image_size
    if image is None:
        return None
    true = {stride_of(side, n) for side, n in zip(image, came, strict=True)}
    needed = {stride_of(side, n) for side, n in zip(image, expected, strict=True)}
    if len(true) != 1 or len(needed) != 1 or None in true | needed:
        return None
    return true.pop() or 1, needed.pop() or 1


def _flattened_map(target: tuple[int, ...], size: int, told: Told) -> Iterator[Explanation]:
    """(batch, width, tokens) or (batch, tokens, width) of a map that has another size."""
    if len(target) != 3 or -1 in target:
        return
    batch, second, third = target
    spec = told.spec
    widths = {shape[1] for shape in told.facts.maps[:1]}  # of the tokens, where the run says so
    found = []
    for width, tokens in ((second, third), (third, second)):
        real, left = divmod(size, batch * width) if batch * width else (0, 1)
        square = square_of(tokens)
        if left or not real or real == tokens or square is None or (widths - {width}):
            continue
        fit = spec is not None and width == spec.embed_dim
        grid = square_of(real)
        doubt = 4 * (grid is None) + 2 * (not looks_like_width(width)) - 9 * fit
        found.append((doubt, width, tokens, real, square[0], grid))
    found.sort(key=lambda f: f[0])
    if found and found[0][0] < 0:  # one of them is the width of the stem that was given
        found = [each for each in found if each[0] < 0]
    for rank, (_, width, tokens, real, side, grid) in enumerate(found):
        narrow = len(found) > 1 and width < LEAST_WIDTH and not widths
        sure: Likelihood = "possible" if rank or narrow else "likely"
        meaning = _other_grid(batch, width, (tokens, side), (real, grid), size, told)
        yield replace(meaning, likelihood=sure)
    if told.facts.batch == batch and found:  # neither the width nor the batch is another
        return
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
    told: Told,
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
    strides = _strides((is_side, is_side), (side, side), told)
    nominal = _NOMINAL * side
    if strides:
        true, needed = strides
        numbers |= {"total_stride": true, "patch_size": needed}
        reason += f": the strides multiply to {true}, and {needed} is needed"
        fixes[:0] = _other_strides(true, needed, count)
    elif (
        told.facts.image is None
        and told.spec is None
        and nominal in USUAL_SIDES
        and (nominal % is_side == 0)
    ):
        true = nominal // is_side
        numbers |= {"total_stride": true, "patch_size": _NOMINAL}
        reason += (
            f". At {nominal} pixels the strides multiply to {true}, not to the patch size"
            f" {_NOMINAL}"
        )
        fixes[:0] = _other_strides(true, _NOMINAL, count)
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


def _other_strides(true: int, needed: int, count: int) -> list[str]:
    """What to do about strides with another product."""
    fixes = [f"Multiply one stride by {needed // true}: the product must be {needed}."]
    fixes = fixes if needed % true == 0 else []
    return [*fixes, f"Or set patch_size to {true}, and make a table for {count} tokens."]


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
    """(batch, tokens, 3, heads, head width) with another number of tokens than came."""
    batch, expected, *parts = before
    tokens, left = divmod(size, batch * prod(parts) * width)
    if left or not tokens or tokens == expected or not square_of(tokens):
        return
    yield explain(
        "tokens",
        f"{size:,} numbers are {in_squares(tokens)} tokens of"
        f" {'·'.join(map(str, (*parts, width)))} numbers, and {in_squares(expected)} are written.",
        "Take the number of tokens from the tensor: x.shape[1].",
        because="all but the number of tokens would fit",
        numbers={"tokens": tokens, "expected_tokens": expected},
    )


def _tokens_to_map(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, rows, columns) of a sequence that still has its class token."""
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
            yield explain(
                "class token",
                f"{size:,} = {batch}·{channels}·{tokens}, and {tokens} = {rows}×{columns} + {more}:"
                f" {counted(more)} before the image's {'is' if more == 1 else 'are'} still there.",
                f"Leave {'it' if more == 1 else 'them'} out before reshaping: x[:, {more}:].",
                because=f"the grid {rows}×{columns} is {more} short of {tokens}",
                numbers=numbers,
            )
        elif (
            more
            and square_of(tokens)
            # (batch, tokens, heads, head width) is no map
            and (rows == columns or (columns == target[3] and looks_like_width(channels)))
        ):
            yield explain(
                "grid",
                f"{size:,} = {batch}·{channels}·{tokens}: {in_squares(tokens)} tokens are to"
                f" become a map of {rows}×{columns} = {rows * columns}.",
                "Take rows and columns from the map before it was flattened.",
                because=f"{channels} channels leave {tokens} places",
                numbers=numbers,
            )


def _tokens_to_video(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """(batch, channels, frames, rows, columns) of a sequence that has its class token still."""
    for batch, channels, *grid in (target, (target[0], target[4], *target[1:4])):
        tokens, left = divmod(size, batch * channels)
        more = tokens - prod(grid)
        if left or more not in (1, 2, 4, 5) or not looks_like_width(channels):
            continue
        yield explain(
            "class token",
            f"{size:,} = {batch}·{channels}·{tokens}, and {tokens} = {by(grid)} + {more}:"
            f" {counted(more)} before the video's {'is' if more == 1 else 'are'} still there.",
            f"Leave {'it' if more == 1 else 'them'} out before reshaping: x[:, {more}:].",
            because=f"{by(grid)} is {more} short of {tokens}",
            numbers={"tokens": tokens, "frames": grid[0], "rows": grid[1], "columns": grid[2]},
        )
        return


def _other_places(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Rows and columns, or a square number of tokens, that are others than those that came."""
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
    what = f"{grid} = {written}" if len(pair) > 1 else in_squares(written)
    yield explain(
        "grid",
        f"The other axes of {by(target)} leave {in_squares(came)} places, and {what} are written.",
        "Take rows and columns from the map itself, before it is flattened.",
        "Or cut the map into windows first, where they are the sides of a window."
        if came > written
        else "Or give the image that the model was built for.",
        because=f"{size:,} is {came} times what the other axes hold",
        likelihood="possible",
        numbers={"tokens": came, "expected_tokens": written},
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
