"""Check position tables: which entry of a table is added to each token."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from vitc_inspect.audit.stem_finder import StemPath, find_stem_path
from vitc_inspect.audit.token_axes import same_throughout
from vitc_inspect.audit.variants import VariantRuns
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.function_kinds import SUMS
from vitc_inspect.tracing.positions import Positions, TracedTensor

_FOLLOWED = "the entries were followed from the table to the tokens"


def table_order(flow: Flow, stem_path: StemPath, others: VariantRuns) -> Iterator[Explanation]:
    """Find tables added in a different order from the tokens, and one entry added to all tokens.

    Args:
        flow: The run.
        stem_path: The way from the image to the tokens.
        others: Runs of the same module on other inputs.

    Returns:
        Faults of kind "position table".
    """
    if stem_path.tokens is None or stem_path.axes is None:
        return
    sums = list(_sums(flow, stem_path))
    yield from _one_entry(sums, stem_path)
    yield from _mixed_before_resize(flow, stem_path)
    for _, tokens, table in sums:
        rows = _numbers_along(table, tokens, stem_path)
        if rows is None:
            continue
        if same_throughout(rows):
            yield from _turned(rows[:, 0].long(), table, stem_path)
        else:
            yield from _mixed_entries(table, stem_path)
    yield from _computed(sums, stem_path, others)


def _sums(flow: Flow, stem_path: StemPath) -> Iterator[tuple[Step, TracedTensor, TracedTensor]]:
    """Every sum of the tokens and something that depends on no image."""
    for step in flow.steps:
        if step.name not in SUMS or len(step.sources) != 2:
            continue
        tokens = [each for each in step.sources if _is_sequence(each, stem_path)]
        tokens += [each for each in step.sources if _is_map(each, stem_path)]
        table = [each for each in step.sources if not each.of_image]
        if tokens and table:
            yield step, tokens[0], table[0]


def _is_sequence(known: TracedTensor, stem_path: StemPath) -> bool:
    """Whether these are the tokens, also as they are before a vector was added to each."""
    same = (
        known.positions is not None
        and stem_path.tokens
        and known.positions is stem_path.tokens.positions
    )
    return id(known) in stem_path.sequence or bool(same)


def _is_map(known: TracedTensor, stem_path: StemPath) -> bool:
    """Whether this is the map itself, before it is made into tokens."""
    positions = known.positions
    return positions is not None and positions.origin == stem_path.map.index and known.in_map_order


# ---- entries -----------------------------------------------------------------------------------


def _numbers_along(table: TracedTensor, tokens: TracedTensor, stem_path: StemPath) -> Tensor | None:
    """Which entry each number that an image token gets is of, (n, d); None where not known.

    An entry is a cell where the table is a map (1, d, rows, columns) or was resized as one.
    """
    positions = table.positions
    if positions is None or len(positions.shape) < 2:
        return None
    numbers = positions.numbers()
    if positions.shape[-1] == stem_path.width:
        numbers = numbers // stem_path.width
    elif len(positions.shape) >= 3 and positions.shape[1] == stem_path.width:
        numbers = numbers % prod(positions.shape[2:])
    else:
        return None
    return _along_tokens(numbers, tokens, stem_path)


def _along_tokens(numbers: Tensor, tokens: TracedTensor, stem_path: StemPath) -> Tensor | None:
    """What a table has for each image token, (n, d); None where it does not lie along them."""
    axes = stem_path.axes
    assert axes is not None
    cells = prod(stem_path.grid_size)
    if len(tokens.shape) == 4:
        return _along_cells(numbers, tokens, stem_path)
    axis = numbers.ndim - (len(tokens.shape) - axes.axis)
    if axis < 0 or numbers.shape[axis] not in (
        cells,
        cells + stem_path.sequence.get(id(tokens), 0),
    ):
        return None
    # the tokens before the image's come first
    return numbers.movedim(axis, 0).flatten(1)[-cells:]


def _along_cells(numbers: Tensor, tokens: TracedTensor, stem_path: StemPath) -> Tensor | None:
    """What a table has for each cell of a map, the channels first or last, (n, d)."""
    if numbers.ndim not in (3, 4):
        return None
    last = tokens.shape[1:] == (*stem_path.grid_size, stem_path.width)
    if last == _is_map(tokens, stem_path):  # neither layout, or both by chance
        return None
    numbers = numbers.movedim(-1, -3) if last else numbers
    if numbers.shape[-2:] != stem_path.grid_size:
        return None
    return numbers.flatten(-2).movedim(-1, 0).flatten(1)


def _turned(entries: Tensor, table: TracedTensor, stem_path: StemPath) -> Iterator[Explanation]:
    """Rows and columns exchanged in the table and not in the tokens."""
    assert table.positions is not None
    assert stem_path.axes is not None
    rows, columns = stem_path.grid_size
    cells = torch.tensor(stem_path.axes.order)
    entries = entries - entries.min()
    made = table.positions.shape[-2:]
    numbers = {"rows": rows, "columns": columns}
    name = table.positions.origin
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
    turned = [cells % columns * rows + cells // columns, cells % rows * columns + cells // rows]
    plain = in_turn or torch.equal(entries, cells)
    if min(rows, columns) == 1 or plain or not any(torch.equal(entries, each) for each in turned):
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


# ---- entries that are mixed ---------------------------------------------------------------------


def _mixed_entries(table: TracedTensor, stem_path: StemPath) -> Iterator[Explanation]:
    """A table that a reshape gives the shape of the tokens, so that each gets parts of several."""
    positions = table.positions
    if positions is None:
        return
    if not isinstance(positions.origin, str):
        words = "is resized as a map and then reshaped: each token"
        yield _scrambled(positions, stem_path, words, sure=True)
        return
    entries = prod(positions.shape) // stem_path.width
    if entries != prod(stem_path.grid_size) or stem_path.width in (entries, *stem_path.grid_size):
        return
    yield _scrambled(positions, stem_path, "is reshaped before it is added: each token", sure=False)


def _mixed_before_resize(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """A table (1, n, d) that is reshaped to a map (1, d, rows, columns) and resized."""
    for step in flow.steps:
        if step.name not in ("interpolate", "upsample") or step.of_image:
            continue
        known = step.sources[0]
        positions = known.positions
        if positions is None or len(known.shape) != 4 or not isinstance(positions.origin, str):
            continue
        width, rows, columns = known.shape[1:]
        table = width == positions.shape[-1] == stem_path.width and len(positions.shape) in (2, 3)
        if not table or width in (rows * columns, rows, columns):
            continue
        if not same_throughout((positions.numbers() // width).flatten(2).mT):
            words = "is reshaped to a map and resized: each place of that map"
            yield _scrambled(positions, stem_path, words, sure=True)
            return


def _scrambled(positions: Positions, stem_path: StemPath, words: str, *, sure: bool) -> Explanation:
    rows, columns = stem_path.grid_size
    learned = isinstance(positions.origin, str)
    which = f"{positions.origin}, the position table," if learned else "The position table"
    return explain(
        "position table",
        f"{which} {words} holds numbers of several entries, and every shape is right.",
        "Transpose it, and do not only reshape it: reshape(1, rows, columns, -1) and then"
        " permute(0, 3, 1, 2) make a map of (1, n, d), flatten(2).transpose(1, 2) tokens of a map.",
        because=_FOLLOWED if sure else f"{_FOLLOWED}; a table that is learned so harms nothing",
        likelihood="certain" if sure else "likely",
        numbers={"rows": rows, "columns": columns, "embed_dim": stem_path.width},
    )


# ---- one entry for all -------------------------------------------------------------------------


def _one_entry(
    sums: list[tuple[Step, TracedTensor, TracedTensor]], stem_path: StemPath
) -> Iterator[Explanation]:
    """A table of many entries of which every token gets the same."""
    cells = prod(stem_path.grid_size)
    if any(_varies(step, tokens, stem_path) for step, tokens, _ in sums):
        return  # the tokens have their places from elsewhere
    for _, tokens, table in sums:
        positions = table.positions
        if positions is None or not isinstance(positions.origin, str) or positions.shape[-1] < 2:
            continue
        count = cells + stem_path.sequence.get(id(tokens), 0)
        if positions.shape[-1] == stem_path.width:
            faults = list(one_entry(positions, cells, count))
            if faults:
                yield from faults
                return


def one_entry(positions: Positions, cells: int, count: int) -> Iterator[Explanation]:
    """Find a position table that adds the same entry to every token.

    Args:
        places: Positions in the table of the values that are added.
        cells: Tokens of the image.
        count: All tokens that something is added to.

    Returns:
        One fault of kind "position table", or nothing.
    """
    length, name = prod(positions.shape[:-1]), str(positions.origin)
    taken = (positions.numbers() // positions.shape[-1]).unique(sorted=True)  # type: ignore[no-untyped-call]
    if len(taken) != 1 or not 1 < cells <= length:
        return
    entry = int(taken[0])
    by_count = entry in (count, cells)
    if not by_count and "pos" not in own_name(name).lower():
        return
    yield explain(
        "position table",
        f"{name}, the position table, has {length} entries, and each of the {count}"
        f" tokens gets entry {entry}: no token knows its place, and every shape is right.",
        f"Take as many entries as there are tokens: a slice [:{count}] along the tokens.",
        because=f"{entry} is the number of tokens: an index stands where a slice is meant"
        if by_count
        else "the name says that it is meant for places",
        likelihood="certain" if by_count else "likely",
        numbers={"entry": entry, "table": length, "tokens": count},
    )


def own_name(parameter: str) -> str:
    """Return a parameter's name; for the weight of an nn.Embedding, the name of the embedding."""
    return parameter.removesuffix(".weight").rpartition(".")[2]


def _varies(step: Step, tokens: TracedTensor, stem_path: StemPath) -> bool:
    """Whether a sum adds something else to each token."""
    if step.added is None or step.added.is_meta:
        return True
    axes = stem_path.axes
    assert axes is not None
    axis = step.added.ndim - (len(tokens.shape) - axes.axis)
    return axis >= 0 and not torch.equal(
        step.added, step.added.narrow(axis, 0, 1).expand_as(step.added)
    )


# ---- computed tables ---------------------------------------------------------------------------


def _computed(
    sums: list[tuple[Step, TracedTensor, TracedTensor]], stem_path: StemPath, others: VariantRuns
) -> Iterator[Explanation]:
    """A table of rows and columns, as of sines, that is worked out column after column.

    On a square grid it is one whose halves are exchanged, which harms nothing; there the module
    is run on an oblong image.
    """
    for step, tokens, _ in sums:
        table = _values(step, tokens, stem_path)
        if table is None:
            continue
        rows, columns = stem_path.grid_size
        if rows == columns and _by_sides(table.view(rows, columns, -1)):
            other = find_stem_path(others.run(stem_path.map, batch=False, size=True))
            found = _in_columns_elsewhere(other, step.index, others, stem_path) if other else None
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
                because="the table is a part for the row plus a part for the column only if it is"
                " read column after column",
                likelihood="certain",
                numbers={"rows": rows, "columns": columns},
            )
            return


def _in_columns_elsewhere(
    other: StemPath, step: int, others: VariantRuns, stem_path: StemPath
) -> bool:
    """The same of a run on an image of other sides."""
    there = others.same_step(step, stem_path.map, batch=False, size=True)
    if there is None or other.tokens is None or other.axes is None:
        return False
    for tokens in there.of_image:
        cells = prod(other.grid_size)
        axis = other.axes.axis
        if there.added is None or len(tokens.shape) <= axis:
            continue
        prefix = tokens.shape[axis] - cells
        if prefix not in (0, stem_path.prefix):
            continue
        rows = there.added.movedim(there.added.ndim - (len(tokens.shape) - axis), 0)
        table = rows.flatten(1)[-cells:].double()
        return len(table) == cells and _in_columns(table, *other.grid_size)
    return False


def _values(step: Step, tokens: TracedTensor, stem_path: StemPath) -> Tensor | None:
    """What a sum adds to each image token, (n, d), where that is not learned."""
    table = step.added
    if table is None or table.is_meta or not table.is_floating_point():
        return None
    known = next((each for each in step.sources if not each.of_image), None)
    if known is None or (known.positions and not isinstance(known.positions.origin, str)):
        return None
    rows = _along_tokens(table, tokens, stem_path)
    return None if rows is None or not stem_path.axes_in_rows else rows.double()


def _in_columns(table: Tensor, rows: int, columns: int) -> bool:
    """Whether a table is one of rows and columns only if it is read column after column."""
    if min(rows, columns) == 1 or rows == columns:
        return False
    return _by_sides(table.view(columns, rows, -1)) and not _by_sides(table.view(rows, columns, -1))


def _by_sides(table: Tensor) -> bool:
    """Whether (first, second, d) is a part by the first plus a part by the second, and has both."""
    rounding = 1e-5 * float(table.abs().max())
    of_first, of_second = (table.mean(axis, keepdim=True) for axis in (1, 0))
    both = of_first + of_second - table.mean((0, 1), keepdim=True)
    if bool(((table - both).abs() > rounding).any()):
        return False
    return all(
        bool(((each - each.mean((0, 1))).abs() > rounding).any()) for each in (of_first, of_second)
    )
