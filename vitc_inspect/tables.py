"""Position tables of any module: which entry of a table each token gets."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.flow import SUMS, Flow, Known, Step
from vitc_inspect.reading import Reading, read
from vitc_inspect.variants import OtherRuns

_FOLLOWED = "the entries were followed from the table to the tokens"


def table_order(flow: Flow, reading: Reading, others: OtherRuns) -> Iterator[Explanation]:
    """Find tables that are added in another order than the tokens, and one entry for all tokens.

    Args:
        flow: The run.
        reading: The way from the image to the tokens.
        others: Runs of the same module on other inputs.

    Returns:
        Faults of kind "position table".
    """
    if reading.tokens is None or reading.axes is None:
        return
    sums = list(_sums(flow, reading))
    yield from _one_entry(sums, reading)
    for _, tokens, table in sums:
        entries = _entries(table, tokens, reading)
        if entries is not None:
            yield from _turned(entries, table, reading)
    yield from _computed(sums, reading, others)


def _sums(flow: Flow, reading: Reading) -> Iterator[tuple[Step, Known, Known]]:
    """Every sum of the tokens and something that depends on no image."""
    for step in flow.steps:
        if step.name not in SUMS or len(step.sources) != 2:
            continue
        tokens = [each for each in step.sources if _is_sequence(each, reading)]
        table = [each for each in step.sources if not each.of_image]
        if tokens and table:
            yield step, tokens[0], table[0]


def _is_sequence(known: Known, reading: Reading) -> bool:
    """Whether these are the tokens, also as they are before a vector was added to each."""
    same = known.places is not None and reading.tokens and known.places is reading.tokens.places
    return id(known) in reading.sequence or bool(same)


# ---- entries -----------------------------------------------------------------------------------


def _entries(table: Known, tokens: Known, reading: Reading) -> Tensor | None:
    """Which entry each image token gets, (n,); None where that is not known.

    An entry is a cell where the table is a map (1, d, rows, columns) or was resized as one.
    """
    places = table.places
    if places is None or len(places.shape) < 2:
        return None
    numbers = places.numbers()
    if places.shape[-1] == reading.width:
        numbers = numbers // reading.width
    elif len(places.shape) >= 3 and places.shape[1] == reading.width:
        numbers = numbers % prod(places.shape[2:])
    else:
        return None
    rows = _along_tokens(numbers, tokens, reading)
    if rows is None or not torch.equal(rows, rows[:, :1].expand_as(rows)):
        return None
    return rows[:, 0].long()


def _along_tokens(numbers: Tensor, tokens: Known, reading: Reading) -> Tensor | None:
    """What a table has for each image token, (n, d); None where it does not lie along them."""
    axes = reading.axes
    assert axes is not None
    axis = numbers.ndim - (len(tokens.shape) - axes.axis)
    cells = prod(reading.grid_size)
    if axis < 0 or numbers.shape[axis] not in (cells, cells + reading.sequence.get(id(tokens), 0)):
        return None
    # the tokens before the image's come first
    return numbers.movedim(axis, 0).flatten(1)[-cells:]


def _turned(entries: Tensor, table: Known, reading: Reading) -> Iterator[Explanation]:
    """Rows and columns exchanged in the table and not in the tokens."""
    assert table.places is not None
    assert reading.axes is not None
    rows, columns = reading.grid_size
    cells = torch.tensor(reading.axes.order)
    entries = entries - entries.min()
    made = table.places.shape[-2:]
    numbers = {"rows": rows, "columns": columns}
    name = table.places.origin
    which = name if isinstance(name, str) else "The position table"
    in_turn = torch.equal(entries, torch.arange(len(entries)))
    if not isinstance(name, str) and in_turn and rows != columns and made == (columns, rows):
        yield explain(
            "position table",
            f"The position table is resized to {columns} rows and {rows} columns, and the tokens"
            f" have {rows} rows and {columns} columns: the entries of its rows run on over the"
            " ends of theirs, and every shape is right.",
            f"Resize it to ({rows}, {columns}): rows first.",
            because=_FOLLOWED,
            likelihood="certain",
            numbers=numbers,
        )
        return
    turned = cells % columns * rows + cells // columns
    plain = in_turn or torch.equal(entries, cells)
    if min(rows, columns) == 1 or plain or not torch.equal(entries, turned):
        return
    yield explain(
        "position table",
        f"{which} is turned before it is added: the token in row 1, column 0 gets the entry of"
        " row 0, column 1, and every shape is right.",
        f"Keep rows before columns: reshape(1, {rows}, {columns}, -1) without a transpose of them.",
        because=_FOLLOWED,
        likelihood="likely",
        numbers=numbers,
    )


# ---- one entry for all -------------------------------------------------------------------------


def _one_entry(sums: list[tuple[Step, Known, Known]], reading: Reading) -> Iterator[Explanation]:
    """A table of many entries of which every token gets the same."""
    cells = prod(reading.grid_size)
    if any(_varies(step, tokens, reading) for step, tokens, _ in sums):
        return  # the tokens have their places from elsewhere
    for _, tokens, table in sums:
        places = table.places
        if places is None or not isinstance(places.origin, str) or places.shape[-1] < 2:
            continue
        length = prod(places.shape[:-1])
        taken = (places.numbers() // places.shape[-1]).unique(sorted=True)  # type: ignore[no-untyped-call]
        if places.shape[-1] != reading.width or len(taken) != 1 or length < cells:
            continue
        entry, count = int(taken[0]), cells + reading.sequence.get(id(tokens), 0)
        by_count = entry in (count, cells)
        if not by_count and "pos" not in places.origin.rpartition(".")[2].lower():
            continue
        yield explain(
            "position table",
            f"{places.origin}, the position table, has {length} entries, and each of the {count}"
            f" tokens gets entry {entry}: no token knows its place, and every shape is right.",
            f"Take as many entries as there are tokens: a slice [:{count}] along the tokens.",
            because=f"{entry} is the number of tokens: an index stands where a slice is meant"
            if by_count
            else "the name says that it is meant for places",
            likelihood="certain" if by_count else "likely",
            numbers={"entry": entry, "table": length, "tokens": count},
        )
        return


def _varies(step: Step, tokens: Known, reading: Reading) -> bool:
    """Whether a sum adds something else to each token."""
    if step.added is None or step.added.is_meta:
        return True
    axes = reading.axes
    assert axes is not None
    axis = step.added.ndim - (len(tokens.shape) - axes.axis)
    return axis >= 0 and not torch.equal(
        step.added, step.added.narrow(axis, 0, 1).expand_as(step.added)
    )


# ---- computed tables ---------------------------------------------------------------------------


def _computed(
    sums: list[tuple[Step, Known, Known]], reading: Reading, others: OtherRuns
) -> Iterator[Explanation]:
    """A table of rows and columns, as of sines, that is worked out column after column.

    On a square grid it is one whose halves are exchanged, which harms nothing; there the module
    is run on an oblong image.
    """
    for step, tokens, _ in sums:
        table = _values(step, tokens, reading)
        if table is None:
            continue
        rows, columns = reading.grid_size
        if rows == columns and _by_sides(table.view(rows, columns, -1)):
            other = read(others.run(reading.map, batch=False, size=True))
            found = _in_columns_elsewhere(other, step.index, others, reading) if other else None
        else:
            found = _in_columns(table, rows, columns)
        if found:
            yield explain(
                "position table",
                "The position table is worked out column after column, and the tokens follow row"
                " after row: on an image that is not square the token in row 1, column 0 gets"
                " another place than its own, and every shape is right.",
                "Let the column change fastest: torch.meshgrid(rows, columns, indexing='ij'), then"
                " flatten.",
                because="each number of the table depends on the row or on the column alone, if"
                " it is read column after column",
                likelihood="certain",
                numbers={"rows": rows, "columns": columns},
            )
            return


def _in_columns_elsewhere(other: Reading, step: int, others: OtherRuns, reading: Reading) -> bool:
    """The same of a run on an image of other sides."""
    there = others.same_step(step, reading.map, batch=False, size=True)
    if there is None or other.tokens is None or other.axes is None:
        return False
    for tokens in there.of_image:
        cells = prod(other.grid_size)
        axis = other.axes.axis
        if there.added is None or len(tokens.shape) <= axis:
            continue
        prefix = tokens.shape[axis] - cells
        if prefix not in (0, reading.prefix):
            continue
        rows = there.added.movedim(there.added.ndim - (len(tokens.shape) - axis), 0)
        table = rows.flatten(1)[-cells:].double()
        return len(table) == cells and _in_columns(table, *other.grid_size)
    return False


def _values(step: Step, tokens: Known, reading: Reading) -> Tensor | None:
    """What a sum adds to each image token, (n, d), where that is not learned."""
    table = step.added
    if table is None or table.is_meta or not table.is_floating_point():
        return None
    known = next((each for each in step.sources if not each.of_image), None)
    if known is None or (known.places and not isinstance(known.places.origin, str)):
        return None
    rows = _along_tokens(table, tokens, reading)
    return None if rows is None or not reading.axes_in_rows else rows.double()


def _in_columns(table: Tensor, rows: int, columns: int) -> bool:
    """Whether a table is one of rows and columns only if it is read column after column."""
    if min(rows, columns) == 1 or rows == columns:
        return False
    return _by_sides(table.view(columns, rows, -1)) and not _by_sides(table.view(rows, columns, -1))


def _by_sides(table: Tensor) -> bool:
    """Whether each number of (first, second, d) depends on the first or on the second alone."""
    rounding = 1e-5 * float(table.abs().max())
    of_first = (table - table[:, :1]).abs().amax((0, 1)) <= rounding
    of_second = (table - table[:1]).abs().amax((0, 1)) <= rounding
    return bool((of_first | of_second).all() and (of_first != of_second).any()) and bool(
        (of_first & ~of_second).any() and (of_second & ~of_first).any()
    )
