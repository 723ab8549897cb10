"""Errors of reshaping a map to tokens: another grid, width or batch than expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isqrt

from vitc_inspect.diagnosis.explanation import (
    LEAST_WIDTH,
    ErrorContext,
    Explanation,
    Likelihood,
    by,
    counted,
    explain,
    looks_like_width,
)
from vitc_inspect.diagnosis.grids import (
    MAX_TOKENS,
    USUAL_SIDES,
    grid_of,
    grid_text,
    square_of,
    stride_of,
)

_NOMINAL = 16
"""The patch size that is assumed if none is known (pixels)."""


def map_of_run(target: tuple[int, ...], error: ErrorContext) -> Iterator[Explanation]:
    """A map of the run reshaped to tokens with the wrong token count."""
    operand = error.operands[0] if len(error.operands) == 1 else ()
    if len(operand) != 4 or operand not in error.facts.maps or len(target) != 3 or -1 in target:
        return
    _, width, rows, columns = operand
    if width not in target[1:]:
        return
    last = target[2] == width
    expected = target[1] if last else target[2]
    count = rows * columns
    grid = _like(expected, rows, columns)
    numbers = {"tokens": count, "expected_tokens": expected, "width": width}
    opening = f"The map has {by((rows, columns))} = {count} positions of width {width}, and the"
    opening += f" target has {expected}{f' = {by(grid)}' if grid else ''}"
    fixes = []
    strides = _strides((rows, columns), grid, error) if grid else None
    if strides:
        true, needed = strides
        numbers |= {"total_stride": true, "patch_size": needed}
        opening += f": the strides multiply to {true}, and {needed} is needed"
        if needed % true == 0:
            fixes.append(f"Multiply one stride by {needed // true}: the product must be {needed}.")
    if last:
        opening += (
            ". In addition, the channels of the map are first, so a reshape to (batch, tokens,"
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
    """The grid of that many tokens with the aspect of another, else a square one."""
    if count > MAX_TOKENS:
        return None
    for high in range(1, isqrt(count) + rows + 1):
        if count % high == 0 and high * columns == (count // high) * rows:
            return high, count // high
    side = isqrt(count)
    return (side, side) if side > 1 and side**2 == count else None


def _strides(
    came: tuple[int, int], expected: tuple[int, int], error: ErrorContext
) -> tuple[int, int] | None:
    """The product of the strides and what it should be, if the image is known."""
    spec, image = error.spec, error.facts.image
    if image is None and spec is not None and spec.grid_size == came:
        image = spec.image_size
    if image is None:
        return None
    true = {stride_of(side, n) for side, n in zip(image, came, strict=True)}
    needed = {stride_of(side, n) for side, n in zip(image, expected, strict=True)}
    if len(true) != 1 or len(needed) != 1 or None in true | needed:
        return None
    return true.pop() or 1, needed.pop() or 1


def flattened_map(target: tuple[int, ...], size: int, error: ErrorContext) -> Iterator[Explanation]:
    """(batch, width, tokens) or (batch, tokens, width) of a map of another size."""
    if len(target) != 3 or -1 in target:
        return
    batch, second, third = target
    spec = error.spec
    widths = {shape[1] for shape in error.facts.maps[:1]}  # token width, if the run shows it
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
    if found and found[0][0] < 0:  # one is the token width of the given stem
        found = [each for each in found if each[0] < 0]
    for rank, (_, width, tokens, real, side, grid) in enumerate(found):
        narrow = len(found) > 1 and width < LEAST_WIDTH and not widths
        sure: Likelihood = "possible" if rank or narrow else "likely"
        meaning = _other_grid(batch, width, (tokens, side), (real, grid), size, error)
        yield replace(meaning, likelihood=sure)
    if error.facts.batch == batch and found:  # width and batch are right
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
            f"{size:,} = {real}·{second}·{third}: the shape fits a batch of {real}, not {batch}.",
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
    error: ErrorContext,
) -> Explanation:
    """A map with another grid than the target shape."""
    (tokens, side), (count, square) = expected, real
    numbers = {"tokens": count, "expected_tokens": tokens, "width": width}
    opening = f"{size:,} = {batch}·{width}·{count}"
    if square and not square[1]:
        return _other_square(opening, square[0], expected, numbers, error)
    if square and square[0] == side:
        more = square[1]
        return explain(
            "class token",
            f"{opening}: there are {grid_text(count)} tokens, and {tokens} = {side}×{side} are"
            f" expected: {counted(more)} before the image's {'was' if more == 1 else 'were'} not"
            " counted.",
            f"Write {count} instead of {tokens}.",
            f"Or leave {'it' if more == 1 else 'them'} out first: x[:, {more}:].",
            because=f"{tokens} is {more} short of {count}",
            numbers=numbers,
        )
    grid = grid_of(count)
    return explain(
        "grid",
        f"{opening}: there are {count}{f' = {by(grid)}' if grid else ''} tokens, and {tokens} ="
        f" {side}×{side} are expected.",
        "Take the grid from the map itself: x.flatten(2).transpose(1, 2).",
        because=f"{width} numbers a token leave {count} tokens",
        numbers=numbers,
    )


def _other_square(
    opening: str, real: int, expected: tuple[int, int], numbers: dict[str, int], error: ErrorContext
) -> Explanation:
    """A square map of side `real` where (tokens, side) are expected: strides or image size."""
    side = expected[1]
    count, nominal = numbers["tokens"], _NOMINAL * side
    reason = f"the map is {real}×{real}, and {side}×{side} are expected"
    strides = _strides((real, real), (side, side), error)
    known = error.facts.image or error.spec
    if strides:
        reason += f": the strides multiply to {strides[0]}, and {strides[1]} is needed"
    elif known is None and nominal in USUAL_SIDES and nominal % real == 0:
        strides = nominal // real, _NOMINAL
        reason += (
            f". At {nominal} pixels the strides multiply to {strides[0]}, not to the patch size"
            f" {_NOMINAL}"
        )
    fixes = [f"Resize the image: {side}/{real} of its sides give {side}×{side} tokens."]
    if strides:
        numbers = {**numbers, "total_stride": strides[0], "patch_size": strides[1]}
        fixes = _other_strides(*strides, count)
    return explain(
        "stride",
        f"{opening}, and {count} = {real}×{real}: {reason}.",
        *fixes,
        "Take the grid from the map itself: x.flatten(2).transpose(1, 2).",
        because=f"{numbers['width']} channels leave {count} = {real}×{real} positions",
        numbers=numbers,
    )


def _other_strides(true: int, needed: int, count: int) -> list[str]:
    """Fixes for strides with the wrong product."""
    fixes = [f"Multiply one stride by {needed // true}: the product must be {needed}."]
    fixes = fixes if needed % true == 0 else []
    return [*fixes, f"Or set patch_size to {true}, and make a table for {count} tokens."]
