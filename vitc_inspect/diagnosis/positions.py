"""Errors of adding a position table of the wrong length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from vitc_inspect.diagnosis.explanation import (
    Explanation,
    Likelihood,
    RunFacts,
    by,
    counted,
    explain,
    sides_by_name,
)
from vitc_inspect.diagnosis.grids import sides_for, stride_of
from vitc_inspect.diagnosis.length_readings import (
    Layout,
    Reading,
    other_grids,
    own_layout,
    read_layout,
    read_lengths,
    read_lengths_of,
)
from vitc_inspect.stem.spec import StemSpec

WIDEST_MAP = 128
"""Most columns of a feature map that a position table is made for."""


def position_readings(
    tokens: int,
    table: int,
    spec: StemSpec | None,
    *,
    roles: str = "",
    readings: tuple[Reading, ...] = (),
) -> tuple[Explanation, ...]:
    """Explain why a sequence and a position table differ in length.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).
        spec: The stem, if it is known.
        roles: The evidence for which of the two is the table.
        readings: The readings that agree with the run, if there is one.

    Returns:
        Explanations, most likely first.
    """
    found = readings or readings_for(tokens, table, spec)
    meanings = tuple(
        explain_reading(reading, rank, spec, roles) for rank, reading in enumerate(found)
    )
    if readings and readings[0].table.rows == readings[0].table.columns:  # from the run, and usual
        return (replace(meanings[0], likelihood="likely"), *meanings[1:])
    return meanings


def readings_for(tokens: int, table: int, spec: StemSpec | None) -> tuple[Reading, ...]:
    """Possible grids behind two lengths, using the stem if it is known."""
    return read_lengths_of(spec, tokens, table) if spec else read_lengths(tokens, table)


def explain_reading(
    reading: Reading, rank: int, spec: StemSpec | None, roles: str = ""
) -> Explanation:
    """Explain one reading; `rank` is its place among the readings, 0 for the best."""
    came, made = reading.tokens, reading.table
    sentence = (
        f"{length_text(came)} tokens for a position table of {length_text(made)}:"
        f" {_difference(reading, spec)}{_or_another_grid(reading)}."
    )
    ours = own_layout(spec) if spec else None
    if reading.change == "stride" and spec and (came == ours or made == ours):
        other = "table" if came == ours else "sequence"
        because = f"the given stem has stride {spec.total_stride}, so it holds only if"
        because += f" the {other} belongs to another stem"
    elif came == ours or made == ours:
        which = "tokens" if came == ours else "entries"
        because = f"the given stem makes {length_text(came if came == ours else made)} {which}"
    elif rank == 0:
        because = f"of all readings of {came.count} and {made.count} it assumes the least"
    else:
        because = "the numbers allow it, and what it assumes is less usual"
    sure: Likelihood = "likely" if rank == 0 and reading.doubt <= 4 else "possible"
    return explain(
        "class token" if reading.change == "prefix" else "position table",
        sentence,
        *_position_fixes(reading, spec),
        because=f"{because}; {roles}" if roles else because,
        likelihood=sure,
        numbers={
            "tokens": came.count,
            "table": made.count,
            **sides_by_name(token=came.grid_size, table=made.grid_size),
            "num_prefix_tokens": came.num_prefix_tokens,
            "table_prefix_tokens": made.num_prefix_tokens,
            "total_stride": came.total_stride,
            "table_stride": made.total_stride,
            "image_height": came.image_size[0],
            "image_width": came.image_size[1],
            "table_image_height": made.image_size[0],
            "table_image_width": made.image_size[1],
        },
    )


def length_text(layout: Layout) -> str:
    """Format a length as grid and prefix: 197 = 14×14 + 1."""
    prefix = f" + {layout.num_prefix_tokens}" if layout.num_prefix_tokens else ""
    return f"{layout.count} = {by(layout.grid_size)}{prefix}"


def _difference(reading: Reading, spec: StemSpec | None) -> str:
    """What differs, as a clause."""
    came, made = reading.tokens, reading.table
    before, expected = came.num_prefix_tokens, made.num_prefix_tokens
    prefix = f"the table is for {expected} prefix tokens, and there are {before or 'none'}"
    if (before, expected) == (0, 1):
        prefix = "the class token is missing"
    elif (before, expected) == (1, 0):
        prefix = "the table has no entry for the class token"
    elif expected == 0:
        prefix = f"the table has no entries for the {before} tokens before the image's"
    elif (before, expected) == (5, 1):
        prefix = "the table has no entries for the 4 registers"
    elif (before, expected) == (2, 1):
        prefix = "the table has no entry for the distillation token"
    turned = "" if spec or (came.rows == came.columns and made.rows == made.columns) else _TURNED
    if reading.change == "prefix":
        return f"the grids are the same, and {prefix}{turned}"
    if reading.change == "stride":
        other = ""
        if spec:
            owned = "table" if came == own_layout(spec) else "image"
            other = f", so the {owned} belongs to another stem"
        return (
            f"at {by(came.image_size)} pixels the strides multiply to {came.total_stride}, and the"
            f" table was made for stride {made.total_stride}{other}{turned}"
        )
    sizes_ = (
        f"at stride {came.total_stride} the image is {by(came.image_size)} pixels, and the table"
        f" was made for {by(made.image_size)}{turned}"
    )
    return sizes_ if reading.change == "image size" else f"{sizes_}; in addition, {prefix}"


def _or_another_grid(reading: Reading) -> str:
    """A clause for a non-square table with other grids of as many entries."""
    made = reading.table
    if reading.change == "prefix" or made.rows == made.columns:
        return ""
    others = other_grids(made)
    return f", or for another grid of {made.rows * made.columns}" if others else ""


_TURNED = " (or height and width the other way round)"


def _position_fixes(reading: Reading, spec: StemSpec | None) -> Iterator[str]:
    """Fixes for a position table of the wrong length."""
    came, made = reading.tokens, reading.table
    before, expected = came.num_prefix_tokens, made.num_prefix_tokens
    if reading.change == "prefix":
        if before < expected:
            yield (
                f"Put {counted(expected - before)} before the image's:"
                " torch.cat((cls.expand(len(x), -1, -1), x), dim=1), before the table is added."
            )
            yield f"Or leave the table's first {counted(expected - before, 'entry')} out:" + (
                f" pos_embed[:, {expected - before}:]."
            )
        else:
            yield (
                f"Add the table first, and put {counted(before - expected)} before the others"
                " afterwards."
            )
            yield f"Or make the table {came.count} entries long."
        return
    yield _resize(reading, spec)
    yield f"Or interpolate the table {interpolation(reading)}."
    yield from _other_stride(reading, spec)
    if before < expected:
        yield f"Besides, put {counted(expected - before)} before the image's."
    elif before > expected:
        yield f"Besides, put {counted(before - expected, 'entry')} before the table's."


def _resize(reading: Reading, spec: StemSpec | None) -> str:
    """The image size that fits the table."""
    came, made = reading.tokens, reading.table
    if reading.change == "stride":
        return (
            f"Make the strides multiply to {made.total_stride} instead of {came.total_stride}, as"
            " the table expects."
        )
    between = ""
    if spec and made.rows == made.columns:
        sides = sides_for(spec.convs, made.rows)
        which = ""
        if made.total_stride != spec.total_stride:  # the range is that of another stem
            sides = made.rows * made.total_stride, (made.rows + 1) * made.total_stride - 1
            which = " with patchify"
        if sides and sides[0] < sides[1]:
            between = f"; every side from {sides[0]} to {sides[1]} gives {made.rows}{which}"
    return f"Resize the image to {by(made.image_size)} pixels{between}."


def _other_stride(reading: Reading, spec: StemSpec | None) -> Iterator[str]:
    """The patch size, or the image size at this stride, that gives the grid of the table."""
    came, made = reading.tokens, reading.table
    if reading.change == "stride":
        image = tuple(side * came.total_stride for side in made.grid_size)
        yield f"Or resize the image to {by(image)} pixels, {by(made.grid_size)} at this stride."
        return
    if spec and len(spec.convs) > 1:  # with several strides there is no single value to change
        return
    steps = {side // n for side, n in zip(came.image_size, made.grid_size, strict=True)}
    step = steps.pop()
    grid = tuple(side // step for side in came.image_size) if step else ()
    if not steps and grid == made.grid_size and step != came.total_stride:
        lost = came.image_size[0] - made.rows * step
        rest = f", which leaves {lost} pixels a side unread" if lost else ""
        yield (
            f"Or change the patch, kernel and stride, to {step}:"
            f" {came.image_size[0]} // {step} = {made.rows}{rest}."
        )


def interpolation(reading: Reading) -> str:
    """Describe the interpolation of a table: from which grid to which, and what is kept."""
    made, came = reading.table, reading.tokens
    kept = {0: "", 1: ", and keep its first entry as it is"}.get(
        made.num_prefix_tokens, f", and keep its first {made.num_prefix_tokens} entries as they are"
    )
    return f"from {by(made.grid_size)} to {by(came.grid_size)} entries{kept}"


# ---- what the run says -----------------------------------------------------------------------


def readings_of_run(tokens: int, table: int, facts: RunFacts) -> tuple[Reading, ...]:
    """Readings of two lengths, where the run shows the map that the tokens come from.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).
        facts: What was recorded about the run.

    Returns:
        The readings, most likely first; empty if the map or the image is not known.
    """
    grid, image = facts.map_of(tokens), facts.image
    if grid is None or image is None:
        return ()
    rows, columns, prefix = grid
    strides = {stride_of(*pair) for pair in zip(image, grid[:2], strict=True)}
    if len(strides) != 1 or None in strides:
        return ()
    return read_layout(Layout(rows, columns, prefix, strides.pop() or 1, image), table)


def interpolated_otherwise(tokens: int, table: int, facts: RunFacts) -> Explanation | None:
    """Explain a table that the run interpolated to a grid other than that of the tokens.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the interpolated table (tokens).
        facts: What was recorded about the run.

    Returns:
        The explanation; None if no interpolation in the run returned such a table.
    """
    grid = facts.map_of(tokens)
    if grid is None:
        return None
    rows, columns, prefix = grid
    for call in reversed(facts.calls):
        before, after = call.before[2:], call.after[2:]
        if call.name not in _INTERPOLATIONS or len(before) != 2 or len(after) != 2:
            continue
        if prod(after) + prefix != table:
            continue
        # scale_factor gives floor(side * factor), which may lose a row
        short = all(0 <= side - got <= 1 for side, got in zip(grid[:2], after, strict=True))
        factor = short or "scale_factor" in call.line
        numbers = {
            "tokens": tokens,
            "table": table,
            **sides_by_name(token=(rows, columns), table=after, built=before),
            "num_prefix_tokens": prefix,
        }
        size = f"F.interpolate(..., size=({rows}, {columns}))"
        return explain(
            "position table",
            f"The table is {by(before)}, {call.name} made {by(after)} of it, and"
            f" {by((rows, columns))} tokens are"
            f" given{f', with {prefix} before them' if prefix else ''}"
            + (": with scale_factor the sides are rounded down." if factor else "."),
            f"Pass the size and not a factor: {size}."
            if factor
            else f"Interpolate to the map's own sides: {size}.",
            because="the run shows all three grids",
            numbers=numbers,
        )
    return None


_INTERPOLATIONS = ("interpolate", "upsample", "upsample_bicubic2d", "upsample_bilinear2d")
