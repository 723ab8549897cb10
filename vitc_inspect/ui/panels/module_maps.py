"""The map panel of a module: the output of one call and the facts about the call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt

import numpy as np

from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.inspection.module_run import ModuleRun
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.recording import Call, Failure, SourceLine
from vitc_inspect.ui.panels.elements import facts_table, observed_mark, remark
from vitc_inspect.ui.panels.map_pictures import (
    colours_of,
    figures_html,
    large_map_html,
    output_header,
    read_channel,
    save_buttons,
    wall_html,
)
from vitc_inspect.ui.panels.maps import npz_file
from vitc_inspect.ui.panels.module_summary import batch_of, is_batchless, module_shape
from vitc_inspect.views import text
from vitc_inspect.views.call_labels import call_name, overwriter, short_place, tensor_shape
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.maps import Scale, numbers
from vitc_inspect.views.terminal import one_line

_LEAST_SQUARE = 4  # side of a grid of tokens that is assumed
_MOST_PREFIX = 5  # most prefix tokens of a grid


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grid on which a sequence of tokens is laid out."""

    rows: int
    """Rows of tokens."""
    columns: int
    """Columns of tokens."""
    prefix: int
    """Number of tokens before those of the grid."""
    source: str
    """Name of the layer whose map has as many positions; empty if a square is assumed."""

    def place(self, token: int) -> tuple[int, ...]:
        """Row and column of a token; () for one before those of the grid."""
        return divmod(token - self.prefix, self.columns) if token >= self.prefix else ()


def module_maps_html(
    run: ModuleRun, row: int, *, cell: str, aspect: float, width: int, sorting: str, scale: str
) -> Markup:
    """Show the output of one call: all of its maps, or one of them enlarged.

    Args:
        run: The run.
        row: Place of the call in the report.
        cell: The map that is to be seen large, "7"; anything else shows all.
        aspect: Width over height of the space for the maps.
        width: Width of that space (pixels).
        sorting: Order of the maps.
        scale: "layer", "channel" or "stem": what the colours are relative to.
    """
    report = run.report
    call = report.rows[row]
    kept = run.output(row)
    facts = _facts_html(report, call)
    saves = save_buttons(wall="Save the picture (PNG)", tensor="Save the output (NPZ)")
    header = output_header(call_name(call), module_shape(call.out_shape, batch_of(report)))
    if kept is None or call.out_shape is None:
        return join(header, remark(_no_picture(call)), facts)
    maps, grid = as_maps(report, row, kept)
    if maps.values.ndim == 3:
        channel = read_channel(cell, len(maps.values))
        if channel is not None:
            return join(_one_map_html(run, row, maps, channel, scale), saves, facts)
    one = is_batchless(report) and len(call.out_shape) < 4
    whole = call.out_shape if one else call.out_shape[1:]
    if len(whole) == 1:
        whole = (1, *whole)
    shape = (whole[-1], grid.rows, grid.columns) if grid else whole
    colours = _colours(run, maps, scale)
    drawn = wall_html(maps, shape, aspect=aspect, width=width, sorting=sorting, colours=colours)
    vector = figures_html(numbers(maps)) if maps.values.ndim == 2 else ""
    return join(header, drawn, remark(_grid_sentence(grid)) if grid else "", vector, facts, saves)


def _one_map_html(run: ModuleRun, row: int, maps: KeptOutput, channel: int, scale: str) -> Markup:
    """One map enlarged; a click on a place shows which pixels it depends on."""
    name = call_name(run.report.rows[row])
    opens = {"opens": "reach", "todo": "see which pixels it reads"} if run.image is not None else {}
    colours = _colours(run, maps, scale)
    return large_map_html(maps, channel, name, count=len(maps.values), colours=colours, **opens)


def failed_html(failure: Failure) -> Markup:
    """Show the facts about the operation that raised."""
    facts: list[tuple[Content, Content]] = []
    if failure.source:
        facts.append(("line", _code(failure.source)))
    if failure.inside:
        facts.append(("in", one_line(failure.inside)))
    for value in failure.operands:
        shown = f"{tensor_shape(value.shape)} {value.dtype}"
        facts.append((f"was given {one_line(value.path)}", shown))
    facts.append(("raised", f"{failure.kind}: {failure.message}"))
    return join(
        tag("header", tag("h2", f"{failure.operation or failure.kind} raised")),
        remark("Nothing came out of it. The rows before it show what went in."),
        facts_table("formulas call-facts failed", facts),
    )


def output_file(run: ModuleRun, row: int) -> tuple[str, bytes] | None:
    """The kept output of a call as an NPZ file: name and bytes; None if nothing was kept."""
    return npz_file(call_name(run.report.rows[row]), run.output(row))


def as_maps(report: ModuleReport, row: int, kept: KeptOutput) -> tuple[KeptOutput, Grid | None]:
    """Rearrange tokens that lie on a grid as maps, one for each channel.

    Args:
        report: The report.
        row: Place of the call.
        kept: Its output.

    Returns:
        (d, rows, columns) with the grid, or what was given and None.
    """
    if kept.values.ndim != 2 or kept.step > 1:
        return kept, None
    grid = grid_of(report, row)
    if grid is None:
        return kept, None
    tokens = kept.values[grid.prefix :]  # (rows columns, d)
    maps = tokens.T.reshape(-1, grid.rows, grid.columns)  # (d, rows, columns)
    return replace(kept, values=maps), grid


def grid_of(report: ModuleReport, row: int) -> Grid | None:
    """Find the grid, rows first, on which the tokens of a call's output lie; None for no tokens.

    It is that of the nearest map before it that has as many places; else a square, where there
    is no map at all.
    """
    shape = report.rows[row].out_shape
    if shape is None or len(shape) != 3 or shape[1] < 2:
        return None
    tokens, maps = shape[1], False
    for each in reversed(report.rows[:row]):
        sizes = each.out_shape
        if sizes is None or len(sizes) != 4 or min(sizes[2:]) < 2:
            continue
        maps = True
        prefix = tokens - sizes[2] * sizes[3]
        if 0 <= prefix <= _MOST_PREFIX:
            return Grid(rows=sizes[2], columns=sizes[3], prefix=prefix, source=each.name)
    side = isqrt(tokens)
    if not maps and side >= _LEAST_SQUARE and tokens - side * side <= 1:
        return Grid(rows=side, columns=side, prefix=tokens - side * side, source="")
    return None


def _grid_sentence(grid: Grid) -> str:
    """How the tokens are laid out as maps."""
    like = f", as {one_line(grid.source)} left them" if grid.source else ", as a square"
    stand = "stands" if grid.prefix == 1 else "stand"
    before = f" The first {grid.prefix} {stand} apart." if grid.prefix else ""
    return (
        f"Tokens are laid out by rows on {grid.rows}×{grid.columns} places{like}; a map is one of"
        f" their numbers.{before}"
    )


def _colours(run: ModuleRun, kept: KeptOutput, scale: str) -> Scale | str:
    return colours_of(kept, scale, _ends(run.report))


def _ends(report: ModuleReport) -> Iterator[tuple[float, float]]:
    """Least and largest finite value of every output that was kept."""
    for row in report.rows:
        values = numbers(row.kept) if row.kept else np.zeros(0, np.float32)
        finite = values[np.isfinite(values)]
        if finite.size:
            yield float(finite.min()), float(finite.max())


def _no_picture(call: Call) -> str:
    """Why the output is not drawn."""
    if not call.returned:
        return "It raised, so nothing came out of it."
    if call.out_shape is None:
        return "It returned no tensor."
    return f"Its {call.dtype} output of {len(call.out_shape)} axes is not drawn."


def _facts_html(report: ModuleReport, row: ModuleRow) -> Markup:
    """A table of the facts about the call, predicted beside observed."""
    batch = batch_of(report)
    facts: list[tuple[Content, Content, Content]] = []
    if row.source:
        facts.append(("line", _code(row.source), ""))
    if row.inside:
        facts.append(("called in", one_line(row.inside), ""))
    for value in row.inputs:
        label = f"input {value.path}" if len(row.inputs) > 1 else "input"
        shape = join(module_shape(value.shape, batch), f" {value.dtype}")
        facts.append((one_line(label), shape, ""))
    for value in row.outputs:
        label = f"output {value.path}".strip()
        shape = join(module_shape(value.shape, batch), f" {value.dtype}, {text.size(value.bytes)}")
        facts.append((one_line(label), shape, ""))
    facts += _predicted_facts(row)
    if row.overwritten_by:
        words = f"by {overwriter(row)}, later; shown is what was there before"
        facts.append(("written over", words, ""))
    return facts_table("formulas call-facts", facts)


def _predicted_facts(row: ModuleRow) -> list[tuple[Content, Content, Content]]:
    """The predicted facts about the call, and whether they were observed."""
    predicted = row.predicted
    if predicted is None:
        none = tag("span.soft", "not predicted: no rule for it here")
        counted = (term("macs"), f"{row.macs:,}", tag("span.soft", "observed"))
        return [(term("shape", "shape"), none, ""), *([counted] if row.macs else [])]
    facts: list[tuple[Content, Content, Content]]
    facts = [(term("shape", "shape"), predicted.rule, _mark(row, "shape"))]
    if predicted.params is not None:
        facts.append((term("params", "params"), f"{predicted.params:,}", _mark(row, "params")))
    if predicted.macs is not None:
        facts.append((term("macs"), f"{predicted.macs:,}", _mark(row, "macs")))
    return facts


def _code(source: SourceLine) -> Markup:
    """A line of code with its file and line number."""
    return fill("{} <code>{}</code>", short_place(source), source.text)


def _mark(row: ModuleRow, check: str) -> str:
    holds = row.verdicts[check]
    if holds is None:
        return ""
    return observed_mark(holds, getattr(row, "out_shape" if check == "shape" else check))
