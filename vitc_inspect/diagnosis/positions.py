"""Errors of adding a position table: which image, stride and tokens its length was made for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    counted,
    explain,
    looks_like_width,
)
from vitc_inspect.diagnosis.readings import (
    Layout,
    Reading,
    in_squares,
    own_layout,
    read_lengths,
    read_lengths_of,
    sides_for,
    square_of,
)
from vitc_inspect.spec import StemSpec

Roles = tuple[bool, str]
"""Whether the first of two lengths is the sequence's, and how that is known."""

_TABLE = re.compile(r"pos|\bpe\b", re.IGNORECASE)
_SUM = re.compile(r"([\w.\[\]():, ]{1,200}?) ?\+=? ?([\w.\[(]{1,200})")


def position_readings(
    tokens: int, table: int, spec: StemSpec | None, *, roles: str = ""
) -> tuple[Explanation, ...]:
    """Explain why a sequence and a position table differ in length.

    Args:
        tokens: Length of the sequence (tokens).
        table: Length of the table (tokens).
        spec: The stem, where it is known.
        roles: How it is known which of the two is the table, for the reason.

    Returns:
        The readings as explanations, the likeliest first.
    """
    readings = readings_for(tokens, table, spec)
    return tuple(of_reading(reading, rank, spec, roles) for rank, reading in enumerate(readings))


def readings_for(tokens: int, table: int, spec: StemSpec | None) -> tuple[Reading, ...]:
    """What can lie behind two lengths, for a stem where it is known."""
    return read_lengths_of(spec, tokens, table) if spec else read_lengths(tokens, table)


def of_reading(reading: Reading, rank: int, spec: StemSpec | None, roles: str = "") -> Explanation:
    """A reading in words; `rank` is its place among the readings, 0 for the best."""
    came, made = reading.tokens, reading.table
    sentence = (
        f"{length_of(came)} tokens came and the position table has {length_of(made)}:"
        f" {_difference(reading, spec)}."
    )
    ours = own_layout(spec) if spec else None
    if came == ours or made == ours:
        which = "tokens" if came == ours else "entries"
        because = (
            f"the stem that was given makes {length_of(came if came == ours else made)} {which}"
        )
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
            "token_rows": came.rows,
            "token_columns": came.columns,
            "table_rows": made.rows,
            "table_columns": made.columns,
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


def length_of(layout: Layout) -> str:
    """A length taken apart: 197 = 14×14 + 1."""
    prefix = f" + {layout.num_prefix_tokens}" if layout.num_prefix_tokens else ""
    return f"{layout.count} = {by(layout.grid_size)}{prefix}"


def _difference(reading: Reading, spec: StemSpec | None) -> str:
    """What differs, in half a sentence."""
    came, made = reading.tokens, reading.table
    before, expected = came.num_prefix_tokens, made.num_prefix_tokens
    prefix = f"the table has places for {expected} before the image's, and {before or 'none'} come"
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
        return (
            f"at {by(came.image_size)} pixels the strides multiply to {came.total_stride}, and the"
            f" table was made for stride {made.total_stride}{turned}"
        )
    sizes_ = (
        f"at stride {came.total_stride} the image is {by(came.image_size)} pixels, and the table"
        f" was made for {by(made.image_size)}{turned}"
    )
    return sizes_ if reading.change == "image size" else f"{sizes_}; besides, {prefix}"


_TURNED = " (or height and width the other way round)"


def _position_fixes(reading: Reading, spec: StemSpec | None) -> Iterator[str]:
    """What to do about a position table of another length."""
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
    """The image that the table fits."""
    came, made = reading.tokens, reading.table
    if reading.change == "stride":
        return (
            f"Make the strides multiply to {made.total_stride} instead of {came.total_stride}, as"
            " the table expects."
        )
    between = ""
    if spec and made.rows == made.columns:
        sides = sides_for(spec.convs, made.rows)
        if sides and sides[0] < sides[1]:
            between = f"; every side from {sides[0]} to {sides[1]} gives {made.rows}"
    return f"Resize the image to {by(made.image_size)} pixels{between}."


def _other_stride(reading: Reading, spec: StemSpec | None) -> Iterator[str]:
    """The patch, or the image for a stride, that gives the grid of the table."""
    came, made = reading.tokens, reading.table
    if reading.change == "stride":
        image = tuple(side * came.total_stride for side in made.grid_size)
        yield f"Or resize the image to {by(image)} pixels, {by(made.grid_size)} at this stride."
        return
    if spec and len(spec.convs) > 1:  # of several strides no one number is to be changed
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
    """From which grid to which a table is interpolated, and what of it is kept."""
    made, came = reading.table, reading.tokens
    kept = {0: "", 1: ", and keep its first entry as it is"}.get(
        made.num_prefix_tokens, f", and keep its first {made.num_prefix_tokens} entries as they are"
    )
    return f"from {by(made.grid_size)} to {by(came.grid_size)} entries{kept}"


def _two_operands(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Two operands that do not fit: the size of tensor a must match the size of tensor b."""
    ranks = sorted(map(len, told.operands))
    if len(ranks) == 2 and ranks[0] == 1 < ranks[1]:
        yield _vector(told)
        return
    for meaning in _sum_of_two(match, told):
        yield replace(meaning, sentence=meaning.sentence.replace(" of + ", f" of {told.sign} "))


def _vector(told: Told) -> Explanation:
    """A vector that meets the last axis of the other operand, and is not as long."""
    vector, other = sorted(told.operands, key=len)
    count = vector[0]
    homes = [axis for axis, size in enumerate(other[:-1]) if axis and size == count]
    fix = f"Make the vector {other[-1]} long, or 1."
    if homes:
        shape = (count, *(1 for _ in other[homes[0] + 1 :]))
        fix = f"For axis {homes[0]}, which is {count} long, give it the shape {shape}."
    return explain(
        "broadcast",
        f"{told.sign} was given {by(other)} and a vector of {count}: a vector lies along the last"
        f" axis, which is {other[-1]} long.",
        fix,
        because="shapes are laid side by side from their last axis",
        likelihood="certain",
        numbers={"vector": count, "last_axis": other[-1]},
    )


def _sum_of_two(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`x + table`: the size of tensor a must match the size of tensor b."""
    first, second = int(match[1]), int(match[2])
    axis = int(match[3] or 1)  # of the tokens, where the end of the message is missing
    if axis >= 2:
        yield from _sum_behind_tokens(first, second, axis)
        return
    first_square, second_square = square_of(first), square_of(second)
    squares = bool(first_square) + bool(second_square)
    widths = looks_like_width(first) + looks_like_width(second)
    table = _TABLE.search(told.source) is not None
    if axis == 0 and (squares < 2 or min(first, second) < 16):
        yield explain(
            "batch",
            f"Along the first axis one operand of + has {first} and the other {second}: two"
            " batches of different sizes, or tokens without a batch.",
            "Make both batches equal, or give one of them length 1, which fits any.",
            because="the first axis is the batch in (batch, tokens, width)",
            numbers={"first": first, "second": second},
        )
        return
    readings = tuple(_by_roles(first, second, told))
    transposed = tuple(_transposed(first, second, axis))
    channels = _channels_of_sum(first, second, axis) if widths == 2 else None
    spec = told.spec
    if (spec and spec.seq_len in (first, second)) or squares == 2:
        yield from readings
    elif transposed or (channels and not table):
        yield from transposed
        if channels:
            yield replace(channels, likelihood="likely")
        yield from readings
        return
    else:
        yield from readings
    if channels:
        yield channels
    if not readings:
        yield explain(
            "position table",
            f"The two operands of + have {first} and {second} along axis {axis}; neither length"
            " says by itself what it was made for.",
            "Print both shapes before the sum: the axis must be equal, or 1 in one of them.",
            because="no usual grid and stride gives these two numbers",
            likelihood="possible",
            numbers={"first": first, "second": second},
        )


def _transposed(first: int, second: int, axis: int) -> Iterator[Explanation]:
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


def _channels_of_sum(first: int, second: int, axis: int) -> Explanation:
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


def _by_roles(first: int, second: int, told: Told) -> Iterator[Explanation]:
    """The readings of two lengths, and the best one with the roles exchanged where it may be."""
    order = _order(told.source)
    if order is not None:
        tokens_first, roles = order
        pair = (first, second) if tokens_first else (second, first)
        yield from position_readings(*pair, told.spec, roles=roles)
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


def _order(source: str) -> Roles | None:
    """Whether the line of code adds the table to the sequence, or the other way round."""
    for left, right in _SUM.findall(source[:500]):
        operand = re.split(r"[(,= ]", left.strip())[-1]
        if _TABLE.search(right) and not _TABLE.search(operand):
            return True, f"the line “{source[:80]}” adds the table to the sequence"
        if _TABLE.search(operand) and not _TABLE.search(right):
            return False, f"the line “{source[:80]}” adds the sequence to the table"
    return None


def _sum_behind_tokens(first: int, second: int, axis: int) -> Iterator[Explanation]:
    """A sum of two that differ in the third axis or a later one."""
    whole = f"The two operands of + differ along axis {axis}: {first} and {second}."
    numbers = {"first": first, "second": second, "axis": axis}
    transposed = tuple(_transposed(first, second, axis)) if axis == 2 else ()
    yield from transposed
    if transposed:
        return
    if axis == 2 and looks_like_width(first) and looks_like_width(second):
        yield explain(
            "width",
            f"The tokens are {first} wide and what is added to them {second} (or the other way"
            " round), most likely the position table or the class token.",
            f"Make the position table and the class token as wide as the last convolution has"
            f" output channels, {first}.",
            f"Or let the last convolution have {second} output channels.",
            because="the third axis of (batch, tokens, width) is the width",
            numbers=numbers,
        )
    counts = square_of(first), square_of(second)
    if axis == 3 and all(counts) and {n for _, n in counts if n} == {1}:  # type: ignore[misc]
        yield explain(
            "attention",
            f"{whole} {in_squares(first)} against {in_squares(second)}:"
            " a mask or a table of relative positions was made for another number of tokens.",
            f"Make it {by((first, first))}, or interpolate it.",
            because="the last axes of (batch, heads, tokens, tokens) are tokens",
            numbers=numbers,
        )
        return
    step = ""
    if abs(first - second) == 1:
        step = " One convolution pads and the other does not, or the two round differently."
    elif min(first, second) and max(first, second) % min(first, second) == 0:
        ratio = max(first, second) // min(first, second)
        step = f" One path has strides {ratio} times as large in all."
    yield explain(
        "map size",
        f"{whole} In (batch, channels, height, width) that is the size of two maps.{step}",
        "Give both paths the same strides, and each 3×3 convolution padding 1.",
        "Or resize one of the maps to the other.",
        because="the third and the fourth axis of a map are its height and width",
        likelihood="likely" if axis == 3 or not looks_like_width(first) else "possible",
        numbers=numbers,
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            r"size of tensor a \((\d{1,9})\) must match (?:the size of tensor b|…|\.\.\.)"
            r" \((\d{1,9})\)(?: at non-singleton dimension (\d))?"
        ),
        _two_operands,
    ),
)
"""What each error is known by, and who explains it."""
