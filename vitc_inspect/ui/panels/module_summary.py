"""The parts of a module's page as HTML: what is wrong, what came out, and the table of calls."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import is_users
from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.tracing.recording import Failure, NeverCalled, SourceLine, Value
from vitc_inspect.tracing.tracebacks import traceback_text
from vitc_inspect.ui.panels.summary import coloured_shape, explanation_html
from vitc_inspect.views import text
from vitc_inspect.views.call_labels import (
    call_name,
    name_before,
    short_place,
    tensor_shape,
    title_attribute,
    written_over,
)
from vitc_inspect.views.folding import Fold, Node, folded, row_keys
from vitc_inspect.views.strip import FAILED
from vitc_inspect.views.terminal import one_line

_MOST_EXPLANATIONS = 3
_MOST_SILENT = 40  # layers that never ran that are lines of the table
_MOST_AHEAD = 6  # layers behind a failure that are lines of their own without a fold
_COLUMNS = {
    **{"layer": "", "kind or line": ' class="made"', "input": ' class="into"'},
    **dict.fromkeys(("predicted", "observed", "verdict", "params", "MACs"), ""),
}


# ---- what is wrong ---------------------------------------------------------------------------


def alerts_html(report: ModuleReport) -> str:
    """What the eye is to meet first: how the forward failed, and faults that keep shapes right."""
    if report.failure:
        return _failure_html(report.failure, _meanings_html(report))
    if not report.faults:
        return ""
    many = text.plural(len(report.faults), "fault")
    found = "".join(map(explanation_html, report.faults))
    return f'<section class="alert" role="alert"><h2>✗ {many} found</h2>{found}</section>'


def broken_html(error: SpecError) -> str:
    """Why there is nothing to show: the sentence, and what the user's own code raised."""
    cause = error.__cause__
    return (
        '<section class="alert" role="alert"><h2>✗ Nothing to show: the module cannot be made</h2>'
        f"<p>{escape(str(error.value))}: {escape(error.reason)}. Mend it and press Reload"
        f"{_start_anew(error)}.</p>"
        f"{_traceback_html(traceback_text(cause), opened=True) if cause else ''}</section>"
    )


def _start_anew(error: SpecError) -> str:
    """What to start the program with where the name is another now; the page cannot change it."""
    if error.suggestion is None:
        return ""
    return f", or start the app with --module {escape(str(error.suggestion))}"


def _failure_html(failure: Failure, meanings: str) -> str:
    """The operation with its operands, the line, the message and what that means."""
    where = f" in {escape(one_line(failure.inside))}" if failure.inside else ""
    at = f" at {_place(failure.source)}" if failure.source else ""
    given = ""
    if failure.operation:
        operands = " and ".join(_value(value) for value in failure.operands)
        name = f"<code>{escape(failure.operation)}</code>"
        given = f"<p>{name} was given {operands or 'no tensor'}.</p>"
    code = f"<pre>{escape(failure.source.text)}</pre>" if failure.source else ""
    says = f'<p class="soft">{escape(" ".join(failure.message.split()))}</p>'
    if not meanings:
        says = f"<p><b>{escape(' '.join(failure.message.split()))}</b></p>"
    return (
        f'<section class="alert" role="alert"><h2>✗ The forward pass raised'
        f" {escape(failure.kind)}{where}{at}</h2>"
        f'<div class="alert-both"><div>{meanings or says}</div>'
        f"<div>{given}{code}{says if meanings else ''}"
        f"{_traceback_html(failure.traceback, opened=False)}</div></div></section>"
    )


def _meanings_html(report: ModuleReport) -> str:
    """What the error means: a fault that is certain, else the likeliest reading of the message.

    A fault was found in the module itself, and a reading goes by the error alone. What is less
    likely stands behind a line.
    """
    readings = list(report.explanations[:_MOST_EXPLANATIONS])
    certain = [fault for fault in report.faults if fault.likelihood == "certain"]
    first = certain or readings[:1] or list(report.faults)
    rest = list(dict.fromkeys(one for one in (*report.faults, *readings) if one not in first))
    shown = "".join(map(explanation_html, first))
    if not rest:
        return shown
    more = text.plural(len(rest), "less likely reading")
    behind = "".join(map(explanation_html, rest))
    return f'{shown}<details class="fold"><summary>{more}</summary>{behind}</details>'


def _traceback_html(words: str, *, opened: bool) -> str:
    return (
        f'<details class="fold"{" open" if opened else ""}><summary>traceback</summary>'
        f"<pre>{escape(words.rstrip())}</pre></details>"
    )


# ---- what came out ---------------------------------------------------------------------------


def summary_html(report: ModuleReport) -> str:
    """What went in and what came out, then what the module costs."""
    batch = batch_of(report)
    given = ", ".join(_named_shape(value, batch) for value in report.inputs)
    if report.failure:
        at = report.failure.operation
        words = f"stopped at {at}" if at else f"stopped by {report.failure.kind}"
        result = f'<strong class="differs">{escape(words)}</strong>'
    elif report.outputs:
        first, *others = report.outputs
        more = "".join(f" and {_named_shape(value, batch)}" for value in others[:3])
        more += f" and {len(others) - 3} more" if len(others) > 3 else ""
        result = f"<strong>{_named_shape(first, batch)}</strong>{more}"
    else:
        result = "<strong>no tensor</strong>"
    functions = sum(row.call.is_function for row in report.rows)
    layers = sum(row.call.returned for row in report.rows) - functions
    all_of = ""
    if batch > 1:  # of fewer axes the first may be tokens or channels as well
        all_of = f", batch of {batch}" if len(report.inputs[0].shape) == 4 else " for this input"
    figures = {
        "layers run": f"{layers:,}",
        "functions": f"{functions:,}",
        "params": text.count(report.params),
        f"MACs{all_of}": text.count(report.macs),
        "FLOPs, 2 a MAC": text.count(2 * report.macs),
    }
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    before = ", given" if report.failure else " from"
    return (
        f'<p class="length">{result}<span class="soft">{before}</span> {given or "nothing"}</p>'
        f"<dl>{shown}</dl>"
    )


_BY_US = "a mistake of vitc_inspect"


def status_html(report: ModuleReport, given: str) -> str:
    """How far arithmetic and the run agree, and on what it ran.

    Args:
        report: The report.
        given: What the input was, in words.
    """
    words = [row.verdict for row in report.rows if not row.call.is_function]
    unchecked = ""
    if report.unchecked:
        reasons = escape("; ".join(report.unchecked[:5]))
        whose = "a registered rule" if all(map(is_users, report.unchecked)) else _BY_US
        unchecked = (
            f'<span class="warning" title="{reasons}">⚠ {len(report.unchecked)} not checked, by'
            f" {whose}</span>"
        )
    agreed, open_ = words.count("agrees"), words.count("not predicted")
    checked = agreed + words.count("differs")
    badge = ""
    if checked:
        state, mark = ("agrees", "✓") if agreed == checked else ("differs", "✗")
        badge = (
            f'<span class="badge {state}">{mark} {agreed:,} of {text.plural(checked, "layer")}'
            f" agree{'s' if checked == 1 else ''}</span>"
        )
    rest = f" {text.plural(open_, 'layer')} not predicted ·" if open_ else ""
    mode = "training" if report.training else "evaluation"
    uncounted = ""
    if report.uncounted:
        names = escape(", ".join(report.uncounted))
        uncounted = f'<span class="warning">⚠ MACs without {names}, which cannot be counted</span>'
    return (
        f"{badge} {_audit_html(report)}"
        f' <span class="soft">{rest} {escape(report.device)} · {mode} mode ·'
        f" {escape(given)}</span>{uncounted}{unchecked}"
    )


def _audit_html(report: ModuleReport) -> str:
    """That faults were looked for and none is there, or that they could not be looked for."""
    if not report.audited:
        return '<span class="badge warning">⚠ faults could not be looked for</span>'
    if report.failure or report.faults:  # which stands above
        return ""
    return '<span class="badge agrees">✓ no fault found</span>'


# ---- the table -------------------------------------------------------------------------------


def module_table_html(report: ModuleReport, selected: str, opened: Sequence[str]) -> str:
    """A line for each call, blocks that repeat folded, then what never ran and what is odd.

    Args:
        report: The report.
        selected: Key of the selected row, as `row_keys` names it, or FAILED.
        opened: Titles of the folds that are open.
    """
    keys = row_keys(report.rows)
    batch = batch_of(report)
    ways = _ways_to(folded(report.rows))
    lines = []
    for at, (node, inside) in enumerate(ways):
        within = ""
        if inside:
            within = f' data-within="{" ".join(inside)}" style="--depth:{len(inside)}"'
        if isinstance(node, Fold):
            lines.append(_fold_line(report, node, f"f{at}", within, batch))
        else:
            line = _row_line(report.rows[node], keys[node], selected == keys[node], within, batch)
            lines.append(line)
    head = "".join(f'<th scope="col"{css}>{name}</th>' for name, css in _COLUMNS.items())
    behind = _failed_line(report.failure, selected, batch) if report.failure else ""
    ahead = [layer for layer in report.never_called if layer.not_reached]
    silent = [layer for layer in report.never_called if not layer.not_reached]
    behind += _ahead_lines(ahead) + "".join(map(_silent_line, silent[:_MOST_SILENT]))
    return (
        f'<table class="calls"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}{behind}</tbody></table>{_notes_html(report, len(silent))}"
    )


def _ways_to(
    nodes: Sequence[Node], inside: tuple[str, ...] = (), start: int = 0
) -> list[tuple[Node, tuple[str, ...]]]:
    """Every line in order, with the folds around it; a fold's name is f and its place."""
    found: list[tuple[Node, tuple[str, ...]]] = []
    for node in nodes:
        at = start + len(found)
        found.append((node, inside))
        if isinstance(node, Fold):
            found += _ways_to(node.children, (*inside, f"f{at}"), at + 1)
    return found


def _row_line(row: ModuleRow, key: str, chosen: bool, within: str, batch: int) -> str:
    call = row.call
    turn = f' <span class="soft">call {call.turn}</span>' if call.turn > 1 else ""
    css = "function" if call.is_function else "module"
    css += " raised" if not call.returned else ""
    css += " step" if _is_step(row) else ""
    shape = row.predicted.out_shape if row.predicted else None
    foreseen = module_shape(shape, batch) if shape else '<span class="soft">–</span>'
    if row.predicted and not row.predicted.fits:
        foreseen = '<span class="differs">does not fit</span>'
    seen = module_shape(call.out_shape, batch) if call.out_shape is not None else ""
    written = ""
    if call.overwritten_by:
        at = f" at {_place(call.overwritten_at)}" if call.overwritten_at else ""
        words = f"later written over by {escape(call.overwritten_by)}{at}; shown as it was before"
        written = f' <span class="written" title="{words}" aria-label="{words}">✎</span>'
    made = escape(call.kind)
    if call.source:
        made = (
            f'<span class="at">{_place(call.source)}</span> <code>{escape(call.source.text)}</code>'
        )
    inputs = module_shape(call.in_shape, batch) if call.in_shape is not None else ""
    macs = "not counted" if call.macs is None else _or_dot(call.macs, text.count(call.macs))
    return (
        f'<tr data-layer="{escape(key)}" class="{css}{" chosen" if chosen else ""}"{within}>'
        f'<th scope="row"><button type="button" aria-pressed="{str(chosen).lower()}">'
        f"{escape(call_name(call))}</button>"
        f"{turn}{written}</th>"
        f'<td class="made"{title_attribute(call.source)}>{made}</td><td class="into">{inputs}</td>'
        f"<td>{foreseen}</td><td>{seen}</td><td>{_verdict_html(row)}</td>"
        f"<td>{_or_dot(call.params, f'{call.params:,}')}</td><td>{macs}</td></tr>"
    )


def _is_step(row: ModuleRow) -> bool:
    """Whether a layer changes the shape, or is of the kind that could have."""
    call = row.call
    return call.in_shape != call.out_shape or "Conv" in call.kind or call.kind == "Linear"


def _verdict_html(row: ModuleRow) -> str:
    word = row.verdict
    if word == "agrees":
        return '<span class="agrees">✓<span class="word"> agrees</span></span>'
    if word == "not predicted":
        return '<span class="soft open">not predicted</span>'
    if word == "not checked":
        reasons = escape("; ".join(row.unchecked))
        return f'<span class="warning" title="{reasons}">not checked</span>'
    return f'<span class="differs">✗ {word}</span>'


def _fold_line(report: ModuleReport, fold: Fold, name: str, within: str, batch: int) -> str:
    """A fold's line: from which shape to which, and what its rows cost together."""
    rows = [report.rows[row] for row in fold.rows]
    first, last = rows[0].call, rows[-1].call
    words = [row.verdict for row in rows]
    bad = next((word for word in ("raised", "differs") if word in words), None)
    agreed = words.count("agrees")
    verdict = (
        f'<span class="agrees">✓ {agreed}<span class="word"> agree</span></span>' if agreed else ""
    )
    if bad:
        verdict = f'<span class="differs">✗ {words.count(bad)} {bad}</span>'
    what = f"{fold.count} × {len(rows) // fold.count} rows" if fold.count > 1 else ""
    what = what or text.plural(len(rows), "row")
    into = module_shape(first.in_shape, batch) if first.in_shape is not None else ""
    out = module_shape(last.out_shape, batch) if last.out_shape is not None else ""
    params, macs = sum(r.call.params for r in rows), sum(r.call.macs or 0 for r in rows)
    return (
        f'<tr data-fold-row="{name}" data-title="{escape(fold.title)}"{within}>'
        f'<th scope="row"><button type="button" data-fold aria-expanded="false">'
        f"{escape(fold.title)}</button></th>"
        f'<td class="made">{what}</td><td class="into">{into}</td><td></td><td>{out}</td>'
        f"<td>{verdict}</td><td>{_or_dot(params, f'{params:,}')}</td>"
        f"<td>{_or_dot(macs, text.count(macs))}</td></tr>"
    )


def _failed_line(failure: Failure, selected: str, batch: int) -> str:
    """The operation that raised, with the shapes of its operands."""
    chosen = selected == FAILED
    operands = " and ".join(module_shape(value.shape, batch) for value in failure.operands)
    at = f'<span class="at">{_place(failure.source)}</span> ' if failure.source else ""
    code = f"<code>{escape(failure.source.text)}</code>" if failure.source else ""
    return (
        f'<tr data-layer="{FAILED}" class="raised{" chosen" if chosen else ""}">'
        f'<th scope="row"><button type="button" aria-pressed="{str(chosen).lower()}">'
        f"{escape(failure.operation or failure.kind)}</button>"
        f'</th><td class="made"{title_attribute(failure.source)}>{at}{code}</td>'
        # the narrow one stands in where a small screen leaves the column of inputs out
        f'<td colspan="3" class="wide">{operands}</td>'
        f'<td colspan="2" class="narrow">{operands}</td>'
        f'<td><span class="differs">✗ raised</span></td>'
        "<td></td><td></td></tr>"
    )


def _ahead_lines(layers: Sequence[NeverCalled]) -> str:
    """The layers that a failure kept from running; more than a few are folded into one line."""
    if len(layers) <= _MOST_AHEAD:
        return "".join(map(_silent_line, layers))
    fold = (
        '<tr class="silent" data-fold-row="ahead" data-title="not reached">'
        '<th scope="row" colspan="8"><button type="button" data-fold aria-expanded="false">'
        f"{len(layers):,} layers were not reached</button></th></tr>"
    )
    lines = [
        '<tr class="silent" data-within="ahead" style="--depth:1">'
        f'<th scope="row">{escape(one_line(layer.name))}</th>'
        f'<td class="made">{escape(layer.kind)}</td></tr>'
        for layer in layers
    ]
    return fold + "".join(lines)


def _silent_line(layer: NeverCalled) -> str:
    """A layer that never ran, in grey, and why."""
    return (
        f'<tr class="silent"><th scope="row">{escape(one_line(layer.name))}</th>'
        f'<td class="made">{escape(layer.kind)}</td>'
        f'<td colspan="6">never ran: {escape(layer.reason)}</td></tr>'
    )


def _notes_html(report: ModuleReport, silent: int) -> str:
    """What is odd about the module, in sentences; `silent` layers never ran, failure or not."""
    more = [f"{silent - _MOST_SILENT} more layers never ran."] if silent > _MOST_SILENT else []
    written = [f"{written_over(row)}; it is shown as it was before." for row in report.overwritten]
    notes = [*report.notes, *written, *report.disagreements, *more]
    if not notes:
        return ""
    return (
        f'<ul class="notes">{"".join(f"<li>{escape(one_line(note))}</li>" for note in notes)}</ul>'
    )


# ---- shapes and places -----------------------------------------------------------------------


def is_batchless(report: ModuleReport) -> bool:
    """Whether the module was given one image without a batch, as its convolutions tell."""
    maps = [row.call.out_shape for row in report.rows if row.call.kind == "Conv2d"]
    return any(shape is not None and len(shape) == 3 for shape in maps)


def batch_of(report: ModuleReport) -> int:
    """The first size of the first input, which most shapes of the report begin with; 0 without."""
    if is_batchless(report):
        return 0
    shape = report.inputs[0].shape if report.inputs else ()
    return shape[0] if len(shape) > 1 else 0


def module_shape(shape: tuple[int, ...], batch: int) -> str:
    """A shape in the colours of its axes behind the batch, which stands back."""
    if not shape:
        return '<span class="soft">a number</span>'
    if len(shape) in (2, 3, 4) and shape[0] == batch:
        return f'<span class="batch soft">{batch}×</span>{coloured_shape(shape[1:])}'
    return text.shape(shape)


def _named_shape(value: Value, batch: int) -> str:
    return f"{escape(one_line(name_before(value)))}{module_shape(value.shape, batch)}"


def _value(value: Value) -> str:
    return f"<b>{escape(one_line(name_before(value)))}{tensor_shape(value.shape)}</b>"


def _place(source: SourceLine | None) -> str:
    return escape(short_place(source))


def _or_dot(number: int, words: str) -> str:
    return words if number else '<span class="soft">·</span>'
