"""Errors about how many tokens there are: reshaping, joining, taking an axis apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isqrt, prod

from vitc_inspect.diagnosis.explanation import (
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
from vitc_inspect.diagnosis.pieces import map_in_pieces
from vitc_inspect.diagnosis.positions import position_readings
from vitc_inspect.diagnosis.readings import (
    MAX_TOKENS,
    USUAL_SIDES,
    grid_of,
    in_squares,
    square_of,
    stride_of,
)

_LONGEST_SIDE = 2**14
"""Longest side of what is cut into patches or windows (pixels or places)."""
_LEAST_WIDTH = 96
"""The narrowest tokens of models in use."""
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
    found = found or tuple(_stripes(target, size)) or tuple(_volume_windows(target, size))
    found = found or (
        *_tokens_to_map(target, size),
        *_flattened_map(target, size, told),
    )
    found = found or (*_masked_windows(target, size), *_heads_split(target, size))
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
        narrow = len(found) > 1 and width < _LEAST_WIDTH and not widths
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


def cut_in_windows(target: tuple[int, ...], size: int, told: Told) -> Iterator[Explanation]:
    """An image cut into patches or a map into windows that do not divide it, and the way back.

    Args:
        target: The shape that was asked for.
        size: Numbers that came.
        told: What was told.
    """
    if len(target) != 6 or target[0] < 1 or min(target[1:5]) < 1 or max(target) > _LONGEST_SIDE:
        return
    batch, *rest = target
    if rest[2] == rest[3] and rest[0] * rest[1] > 1 and rest[1] != rest[3]:
        yield from _windows_back(batch, rest, size)
        return
    first, rows, side, columns, last = rest  # (channels, rows, side, columns, side)
    if side == last and not (rows == columns and looks_like_width(last)):
        channels, channels_first = first, True
    else:
        (rows, side, columns, also, channels), channels_first = rest, False
        if side != also or channels < 1:
            return
    places, left = divmod(size, batch * channels)
    sides = None
    if not left:
        sides = _sides_of_operand(channels, channels_first, told)
        sides = sides or _sides_cut(places, rows, columns, side, told)
    if sides is None or not any(s % side for s in sides):  # windows that divide are no cause
        return
    # Swin numbers the windows of its mask in a map of one channel, which stands last
    if channels in (3, 4) or (channels == 1 and channels_first):
        wrong = next((s for s in sides if s % side), sides[0])
        meaning = indivisible(
            wrong, side, because=f"the shape has {rows}×{columns} patches of {side}", image=sides
        )
        yield replace(meaning, likelihood="likely")
        return
    padded = [-(-s // side) * side for s in sides]
    below, right = (new - old for new, old in zip(padded, sides, strict=True))
    pad = f"(0, {right}, 0, {below})" if channels_first else f"(0, 0, 0, {right}, 0, {below})"
    parts = " and ".join(
        f"{s} = {s // side}·{side} + {s % side}" for s in dict.fromkeys(sides) if s % side
    )
    yield explain(
        "windows",
        f"A map of {by(sides)} places and {channels} channels is cut into windows of"
        f" {side}×{side}, which do not divide it: {parts or f'{rows}×{columns} are written'}.",
        f"Pad the map first, to {by(padded)}: F.pad(x, {pad}).",
        f"Or give an image whose map has sides that are multiples of {side}.",
        because=f"{size:,} = {batch}·{channels}·{places} and {places} = {by(sides)}",
        numbers={
            "map_rows": sides[0],
            "map_columns": sides[1],
            "window": side,
            "padded_rows": padded[0],
            "padded_columns": padded[1],
        },
    )


def _stripes(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """A map cut into oblong windows or stripes (CSWin): (batch, channels, n, high, m, wide)."""
    if len(target) != 6 or min(target) < 1 or max(target) > _LONGEST_SIDE:
        return
    batch, channels, rows, high, columns, wide = target
    channels_last = looks_like_width(target[5]) and not looks_like_width(channels)
    if channels_last:
        _, rows, high, columns, wide, channels = target
    places, left = divmod(size, batch * channels)
    fits = [
        (height, places // height)
        for height in range(rows * high, (rows + 1) * high)
        if places % height == 0 and columns == places // height // wide
    ]
    fits.sort(key=lambda f: f[0] != f[1])
    if left or high == wide or not fits or not (fits[0][0] % high or fits[0][1] % wide):
        return
    yield map_in_pieces(
        fits[0],
        (high, wide),
        channels_last=channels_last,
        because=f"{size:,} = {batch}·{channels}·{places} and {places} = {by(fits[0])}",
        likelihood="likely",
    )


def _volume_windows(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """A volume cut into windows that do not divide it: (batch, n, w, m, w, k, w, channels)."""
    if len(target) != 8 or min(target) < 1:
        return
    batch, *axes, channels = target
    windows = axes[1::2]
    written = [n * window for n, window in zip(axes[::2], windows, strict=True)]
    places, left = divmod(size, batch * channels)
    most = prod(side + window - 1 for side, window in zip(written, windows, strict=True))
    if left or not prod(written) < places <= most:
        return
    yield explain(
        "windows",
        f"A volume of {places:,} places and {channels} channels is cut into windows of"
        f" {by(windows)}, and the whole windows hold {by(written)} = {prod(written):,}: a side is"
        " not a multiple of its window.",
        f"Pad each side to a multiple of its window first, of {by(windows)}.",
        "Or give a volume whose map has such sides at this stage.",
        because=f"{size:,} = {batch}·{channels}·{places}",
        numbers={"places": places, "written": prod(written)},
    )


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


def _masked_windows(target: tuple[int, ...], size: int) -> Iterator[Explanation]:
    """Scores (windows, heads, tokens, tokens) that are shared out to the windows of a mask."""
    if len(target) != 5 or target[3] != target[4] or min(target[1:]) < 1:
        return
    _, expected, heads, tokens, _ = target
    windows, left = divmod(size, heads * tokens**2)
    side = isqrt(tokens)
    if left or side**2 != tokens or windows % expected == 0:
        return
    grids = (f"{n} = {by(g)}" if (g := grid_of(n)) else f"{n}" for n in (windows, expected))
    yield explain(
        "windows",
        f"{' windows of scores came, and the mask was made for '.join(grids)} windows of"
        f" {side}×{side} tokens: the map is not of the size that the mask was made for.",
        "Make the mask for the padded map at hand in forward, not once in the constructor.",
        "Or give an image of the size that the model was built for.",
        because=f"{size:,} = {windows}·{heads}·{tokens}·{tokens}",
        numbers={"windows": windows, "expected_windows": expected, "window": side},
    )


def _sides_of_operand(channels: int, channels_first: bool, told: Told) -> tuple[int, int] | None:
    """Sides of what the run shows to have been cut."""
    operand = told.operands[0] if len(told.operands) == 1 else ()
    if len(operand) != 4:
        return None
    sides = operand[2:] if channels_first else operand[1:3]
    return (sides[0], sides[1]) if operand[1 if channels_first else 3] == channels else None


def _sides_cut(
    places: int, rows: int, columns: int, side: int, told: Told
) -> tuple[int, int] | None:
    """Sides of what is cut: as many pieces as written, and a rest; else a square."""
    fits = [
        (height, places // height)
        for height in range(rows * side, (rows + 1) * side)
        if places % height == 0 and columns == places // height // side
    ]
    square = isqrt(places)
    fits.sort(key=lambda f: (f != told.facts.image, f[0] != f[1]))
    if fits:
        return fits[0]
    return (square, square) if square > 1 and square**2 == places else None


def _windows_back(batch: int, rest: Sequence[int], size: int) -> Iterator[Explanation]:
    """Windows that are put back to a map: (batch, rows, columns, side, side, channels)."""
    rows, columns, side, _, channels = rest
    if channels < 1:
        return
    windows, left = divmod(size, side * side * channels)
    if left or windows == batch * rows * columns:
        return
    yield explain(
        "windows",
        f"{windows} windows of {side}×{side} came, and {batch}·{rows}·{columns} ="
        f" {batch * rows * columns} are written.",
        "Count rows and columns of windows on the padded map: rows = padded height // window.",
        because=f"{size:,} = {windows}·{side}·{side}·{channels}",
        numbers={"windows": windows, "expected_windows": batch * rows * columns},
    )


def indivisible(
    side: int, patch: int, *, because: str, image: tuple[int, int] | None = None
) -> Explanation:
    """The explanation of an image that patches do not divide.

    Args:
        side: The side that they do not divide (pixels).
        patch: Side of a patch (pixels).
        because: How it is known.
        image: Height and width of the image, where they are known (pixels).
    """
    count, rest = divmod(side, patch)
    sides = image or (side, side)
    down = [s // patch * patch for s in sides]
    up = [-(-s // patch) * patch if rest else (s // patch + 1) * patch for s in sides]
    fits = [by(size) for size in (down, up) if min(size)]
    return explain(
        "image size",
        f"A side of {side} pixels is not divisible by the patch: {side} = {count}·{patch} + {rest}."
        if rest
        else f"A side of {side} pixels is {count} patches of {patch}.",
        f"Resize the image to {' or '.join(fits)} pixels.",
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
    at = _differing(axis, expected, got, number, told)
    rank = len(told.operands[0]) if at is not None else None
    if 0 in (expected, got):
        yield nothing_in_it(
            f"Tensors with {expected} and {got} along one axis are to be joined along axis {axis}",
            because="one of the two numbers is 0",
            numbers=numbers,
        )
        return
    if (rank == 4 and at) or (rank is None and (axis == 3 or (axis == 1 and _next(expected, got)))):
        yield _joined_maps(axis, expected, got, numbers)
        if rank is None and axis == 1:
            yield replace(_other_batches(axis, expected, got, numbers), likelihood="possible")
        return
    if rank is None and axis == 1 and _pooled(expected, got):
        yield _joined_maps(axis, expected, got, numbers)
        yield replace(_other_batches(axis, expected, got, numbers), likelihood="possible")
        return
    squares = square_of(expected), square_of(got)
    if 1 in (expected, got) and expected != got and at in (None, 0):
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
    if at == 0:
        yield _other_batches(axis, expected, got, numbers)
        return
    if rank == 3 and at == 1:
        yield explain(
            "grid",
            f"Sequences of {in_squares(expected)} and {in_squares(got)} tokens are to be joined"
            f" along axis {axis}, which needs as many tokens in both.",
            "Join them along the tokens instead: torch.cat(..., dim=1).",
            "Or bring both to one grid: F.interpolate on the maps, before they are flattened.",
            because="axis 1 of (batch, tokens, width) differs",
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
    if at == 2 or (looks_like_width(expected) and looks_like_width(got)):
        yield explain(
            "width",
            f"One tensor is {expected} wide and the other {got}: class token and image tokens are"
            " of different width.",
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
            f"Sequences of {in_squares(expected)} and {in_squares(got)} tokens cannot be put in one"
            " batch.",
            "Resize all images to one size before they are put in a batch.",
            because="the axis joined is the batch",
            numbers=numbers,
        )
    yield replace(_other_batches(axis, expected, got, numbers), likelihood="possible")


def _differing(axis: int, expected: int, got: int, number: int, told: Told) -> int | None:
    """The axis in which two tensors differ that are to be joined along another."""
    if len(told.operands) <= number or len(told.operands[0]) != len(told.operands[number]):
        return None
    pairs = enumerate(zip(told.operands[0], told.operands[number], strict=True))
    return next((at for at, pair in pairs if at != axis and pair == (expected, got)), None)


def _pooled(first: int, second: int) -> bool:
    """Whether one side is the other after one to three poolings by 2, as in a U-Net."""
    least, most = sorted((first, second))
    return 14 <= least < _LEAST_WIDTH and most in (2 * least, 4 * least, 8 * least)


def _next(first: int, second: int) -> bool:
    """Whether two sides differ by a row, as maps do that were rounded differently."""
    return abs(first - second) == 1 and min(first, second) > 1


def _other_batches(axis: int, expected: int, got: int, numbers: dict[str, int]) -> Explanation:
    return explain(
        "batch",
        f"One tensor has {expected} along an axis where the other has {got}; only axis {axis} may"
        " differ. A class token expanded to a fixed batch does not fit the last, smaller batch.",
        "Expand the class token by the batch at hand: cls_token.expand(len(x), -1, -1).",
        because="the two differ in no width and no grid that can be told",
        numbers=numbers,
    )


def _joined_maps(axis: int, expected: int, got: int, numbers: dict[str, int]) -> Explanation:
    """Two maps of different sides that are joined along their channels."""
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
    """`expand`, or a tensor that is written into another, of another length."""
    wanted, has, axis = (int(part) for part in match.groups()[:3])
    target, tensor = (sizes(part or "") for part in match.groups()[3:])
    numbers = {"wanted": wanted, "has": has, "axis": axis}
    if 0 in (wanted, has):
        yield nothing_in_it(
            f"A tensor of {has} along axis {axis} was to be expanded to {wanted}",
            because="one of the two numbers is 0",
            numbers=numbers,
        )
    elif len(target) == 2 and len(tensor) in (1, 2) and axis == 1:
        yield explain(
            "text length",
            f"Positions or ids of {has} entries were to become {wanted}: a text of {wanted} tokens"
            f" is longer than the {has} that the model keeps places for."
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
            f"A mask or a table of relative positions for {in_squares(has)} tokens was to become"
            f" {in_squares(wanted)}.",
            f"Make it for {wanted} tokens, the class token and padding counted.",
            because="the last two axes of (batch, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
    elif len(target) == 3 and axis == 1 and square_of(wanted) and square_of(has):
        yield from position_readings(wanted, has, told.spec)
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


def _expanded_shorter(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`expand` with fewer sizes than the tensor has axes."""
    given, wanted = sizes(match.group(1)), match.group(2)
    missing = ", ".join(["-1"] * (len(given) - len(sizes(wanted))))
    yield explain(
        "expand",
        f"{by(given)} has {len(given)} axes, and expand was given {len(sizes(wanted))}, {wanted}.",
        f"Give one size for each axis, −1 for those that stay: expand({wanted[1:-1]}, {missing}).",
        because="expand takes a size for every axis",
        likelihood="certain",
        numbers={"axes": len(given), "sizes": len(sizes(wanted))},
    )


def _added_in_place(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x += table` where the result is larger than x."""
    has, result = sizes(match.group(1)), sizes(match.group(2))
    if not has or not result:
        return
    if len(has) == len(result) >= 3 and (has[-3], result[-3]) == (1, 3):
        yield explain(
            "channels",
            f"An image of 1 channel, {by(has)}, meets a mean or a deviation of 3: it is grey, and"
            " is normalised as RGB.",
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
            r"(?:\. Target sizes: (\[[\d, ]{1,200}\])\. Tensor sizes: (\[[\d, ]{1,200}\]))?"
        ),
        _expanded,
    ),
    (
        re.compile(
            r"expand\(torch\.[\w.]{1,60}\{(\[[\d, ]{1,200}\])\}, size=(\[[-\d, ]{1,200}\])\):"
            r" the number of sizes provided"
        ),
        _expanded_shorter,
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
