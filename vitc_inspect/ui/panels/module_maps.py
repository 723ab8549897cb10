"""The panel of maps of a module's page: what came out of one call, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from math import isqrt

import numpy as np

from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.inspection.module_run import ModuleRun
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.recording import Failure
from vitc_inspect.ui.panels.maps import (
    figures_html,
    map_steps_html,
    npz_bytes,
    plane_html,
    read_channel,
    wall_html,
)
from vitc_inspect.ui.panels.module_summary import batch_of, is_batchless, module_shape
from vitc_inspect.views import text
from vitc_inspect.views.call_labels import call_name, short_place, tensor_shape
from vitc_inspect.views.maps import Scale, common_scale, numbers, value_scale
from vitc_inspect.views.terminal import one_line

_LEAST_SQUARE = 4  # side of a grid of tokens that is assumed
_MOST_PREFIX = 5  # tokens that may stand before those of a grid
_SAVES = (
    '<p class="map-saves"><button type="button" data-save="wall">Save the picture (PNG)</button>'
    ' <button type="button" data-save="tensor">Save the output (NPZ)</button></p>'
)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The map that a sequence of tokens is taken for."""

    rows: int
    """Rows of tokens."""
    columns: int
    """Columns of tokens."""
    prefix: int
    """Tokens that stand before those of the grid."""
    source: str
    """Name of the layer whose map has as many places; empty where a square is assumed."""


def module_maps_html(
    trial: ModuleRun,
    row: int,
    *,
    cell: str,
    aspect: float,
    width: int,
    sorting: str,
    scale: str,
) -> str:
    """What came out of one call: its maps on a wall, or one of them large.

    Args:
        trial: The run.
        row: Place of the call in the report.
        cell: The map that is to be seen large, "7"; anything else shows all.
        aspect: Width over height of the space for the maps.
        width: Width of that space (pixels).
        sorting: Order of the maps.
        scale: "layer", "channel" or "stem": what the colours are relative to.
    """
    report = trial.report
    call = report.rows[row].call
    name = call_name(call)
    kept = trial.output(row)
    facts = _facts_html(report, report.rows[row])
    shape = module_shape(call.out_shape, batch_of(report)) if call.out_shape is not None else ""
    header = f"<header><h2>Output of {escape(name)}</h2><p>{shape}</p></header>"
    if kept is None or call.out_shape is None:
        return f"{header}{_nothing_html(report.rows[row])}{facts}"
    maps, grid = as_maps(report, row, kept)
    if maps.values.ndim == 3:
        channel = read_channel(cell, len(maps.values))
        if channel is not None:
            return _one_map_html(trial, row, maps, channel, scale) + _SAVES + facts
    one = is_batchless(report) and len(call.out_shape) < 4
    whole = call.out_shape if one else call.out_shape[1:]
    shown = (whole[-1], grid.rows, grid.columns) if grid else whole
    if len(whole) == 1:
        whole = shown = (1, *whole)
    vector = figures_html(numbers(maps)) if maps.values.ndim == 2 else ""
    drawn = wall_html(
        maps,
        shown,
        aspect=aspect,
        width=width,
        sorting=sorting,
        colours=_colours(trial, maps, scale),
    )
    remark = f'<p class="remark">{_said(grid)}</p>' if grid else ""
    return f'{header}<div class="maps">{drawn}</div>{remark}{vector}{facts}{_SAVES}'


def failed_html(failure: Failure) -> str:
    """What is known of the operation that raised: nothing came out of it."""
    facts = []
    if failure.source:
        place = escape(short_place(failure.source))
        facts.append(("line", f"{place} <code>{escape(failure.source.text)}</code>"))
    if failure.inside:
        facts.append(("in", escape(one_line(failure.inside))))
    for value in failure.operands:
        shown = f"{tensor_shape(value.shape)} {value.dtype}"
        facts.append((f"was given {escape(one_line(value.path))}", shown))
    facts.append(("raised", f"{escape(failure.kind)}: {escape(failure.message)}"))
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in facts
    )
    return (
        f"<header><h2>{escape(failure.operation or failure.kind)} raised</h2></header>"
        '<p class="remark">Nothing came out of it. The rows before it show what went in.</p>'
        f'<table class="formulas call-facts failed"><tbody>{lines}</tbody></table>'
    )


def output_file(trial: ModuleRun, row: int) -> tuple[str, bytes] | None:
    """A call's output as a file of arrays: its name and its bytes; None where nothing is kept."""
    kept = trial.output(row)
    call = trial.report.rows[row].call
    return (f"{call_name(call)}.npz", npz_bytes(kept)) if kept else None


def as_maps(report: ModuleReport, row: int, kept: KeptOutput) -> tuple[KeptOutput, Grid | None]:
    """Tokens that lie on a grid as maps, a channel each; anything else as it is.

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
    """The grid that the tokens of a call's output lie on, rows first, or None for no tokens.

    It is that of the nearest map before it that has as many places; else a square, where there
    is no map at all.
    """
    shape = report.rows[row].call.out_shape
    if shape is None or len(shape) != 3 or shape[1] < 2:
        return None
    tokens, maps = shape[1], False
    for each in reversed(report.rows[:row]):
        sizes = each.call.out_shape
        if sizes is None or len(sizes) != 4 or min(sizes[2:]) < 2:
            continue
        maps = True
        prefix = tokens - sizes[2] * sizes[3]
        if 0 <= prefix <= _MOST_PREFIX:
            return Grid(rows=sizes[2], columns=sizes[3], prefix=prefix, source=each.call.name)
    side = isqrt(tokens)
    if not maps and side >= _LEAST_SQUARE and tokens - side * side <= 1:
        return Grid(rows=side, columns=side, prefix=tokens - side * side, source="")
    return None


def _said(grid: Grid) -> str:
    """How tokens became maps."""
    before = f" The first {grid.prefix} stand{'s' if grid.prefix == 1 else ''} apart."
    like = f", as {escape(one_line(grid.source))} left them" if grid.source else ", as a square"
    return (
        f"Tokens are laid out by rows on {grid.rows}×{grid.columns} places{like}; a map is one of"
        f" their numbers.{before if grid.prefix else ''}"
    )


def _one_map_html(trial: ModuleRun, row: int, maps: KeptOutput, channel: int, scale: str) -> str:
    """One map large, with its figures; a click on a place asks which pixels it reads."""
    call = trial.report.rows[row].call
    name = call_name(call)
    plane = numbers(maps)[channel]
    colours = _colours(trial, maps, scale)
    colours = value_scale(plane) if isinstance(colours, str) else colours
    opens = "reach" if trial.image is not None else ""
    return (
        f"{map_steps_html(name, channel, len(maps.values))}"
        + plane_html(
            maps,
            plane,
            channel,
            colours,
            alt=f"map {channel} of {name}",
            opens=opens,
            todo="see which pixels it reads" if opens else "",
        )
        + figures_html(plane)
    )


def _colours(trial: ModuleRun, kept: KeptOutput, scale: str) -> Scale | str:
    """What `wall` takes for a choice of colours."""
    if scale == "channel":
        return "channel"
    if scale == "stem":
        outputs = [row.call.kept for row in trial.report.rows]
        ends = []
        for output in outputs:
            values = numbers(output) if output else np.zeros(0, np.float32)
            finite = values[np.isfinite(values)]
            if finite.size:
                ends.append((float(finite.min()), float(finite.max())))
        return common_scale(ends)
    return value_scale(numbers(kept))


def _nothing_html(row: ModuleRow) -> str:
    """Why there is no picture."""
    if not row.call.returned:
        words = "It raised, so nothing came out of it."
    elif row.call.out_shape is None:
        words = "It returned no tensor."
    else:
        words = f"Its {row.call.dtype} output of {len(row.call.out_shape)} axes is not drawn."
    return f'<p class="remark">{words}</p>'


def _facts_html(report: ModuleReport, row: ModuleRow) -> str:
    """All that is known of the call, predicted beside observed."""
    call, predicted, batch = row.call, row.predicted, batch_of(report)
    facts: list[tuple[str, str, str]] = []
    if call.source:
        place = escape(short_place(call.source))
        facts.append(("line", f"{place} <code>{escape(call.source.text)}</code>", ""))
    if call.inside:
        facts.append(("called in", escape(one_line(call.inside)), ""))
    for value in call.inputs:
        label = f"input {value.path}" if len(call.inputs) > 1 else "input"
        facts.append(
            (escape(one_line(label)), f"{module_shape(value.shape, batch)} {value.dtype}", "")
        )
    for value in call.outputs:
        label = f"output {value.path}".strip()
        size = f"{module_shape(value.shape, batch)} {value.dtype}, {text.size(value.bytes)}"
        facts.append((escape(one_line(label)), size, ""))
    if predicted:
        facts.append(("shape", escape(predicted.rule), _mark(row, "shape")))
        if predicted.params is not None:
            facts.append(("params", f"{predicted.params:,}", _mark(row, "params")))
        if predicted.macs is not None:
            facts.append(("MACs", f"{predicted.macs:,}", _mark(row, "macs")))
    else:
        facts.append(("shape", '<span class="soft">not predicted: no rule for it here</span>', ""))
        if call.macs:
            facts.append(("MACs", f"{call.macs:,}", '<span class="soft">observed</span>'))
    if call.overwritten_by:
        place = escape(short_place(call.overwritten_at))
        where = f" at {place}" if place else ""
        words = f"by {escape(call.overwritten_by)}{where}, later; shown is what was there before"
        facts.append(("written over", words, ""))
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td><td>{mark}</td></tr>'
        for name, value, mark in facts
    )
    return f'<table class="formulas call-facts"><tbody>{lines}</tbody></table>'


def _mark(row: ModuleRow, check: str) -> str:
    verdict = row.verdicts[check]
    if verdict is None:
        return ""
    if verdict:
        return '<span class="agrees">✓ observed</span>'
    seen = row.call.out_shape if check == "shape" else getattr(row.call, check)
    value = text.shape(seen) if isinstance(seen, tuple) else f"{seen:,}"
    return f'<span class="differs">✗ observed {value}</span>'
