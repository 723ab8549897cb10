"""The top of a module's page: failures and faults, the summary, and the table of calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import is_users
from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.tracing.recording import Failure, NeverCalled, SourceLine, Value
from vitc_inspect.tracing.tracebacks import traceback_text
from vitc_inspect.ui.panels.elements import (
    badge,
    button,
    figures,
    fold,
    number_or_dot,
    table_row,
    verdict,
)
from vitc_inspect.ui.panels.messages import explanation_html
from vitc_inspect.views import text
from vitc_inspect.views.blocks import coloured_shape
from vitc_inspect.views.call_labels import (
    call_name,
    name_before,
    overwriter,
    short_place,
    tensor_shape,
    written_over,
)
from vitc_inspect.views.folding import Fold, Node, folded, row_keys
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.strip import FAILED
from vitc_inspect.views.terminal import one_line

_MOST_EXPLANATIONS = 3
_MOST_SILENT = 40  # layers that never ran that are lines of the table
_MOST_AHEAD = 6  # layers behind a failure that are lines of their own without a fold
_CSS = {"kind or line": "made", "input": "into"}  # of columns that a small screen leaves out
_TERMS = {
    "predicted": term("predicted", "predicted"),
    "observed": term("observed", "observed"),
    "params": term("params", "params"),
    "MACs": term("macs"),
}
_HEAD = [
    tag("th", _TERMS.get(title, title), scope="col", class_=_CSS.get(title))
    for title in (
        *("layer", "kind or line", "input", "predicted", "observed", "verdict", "params", "MACs"),
    )
]


# ---- what is wrong ---------------------------------------------------------------------------


def alerts_html(report: ModuleReport) -> str:
    """Draw the alert at the top: how the forward pass failed, or the faults that were found."""
    if report.failure:
        return _failure_html(report.failure, _meanings_html(report))
    if not report.faults:
        return ""
    many = text.plural(len(report.faults), "fault")
    return _alert(f"✗ {many} found", *map(explanation_html, report.faults))


def _alert(title: str, *inside: Content) -> Markup:
    return tag("section.alert", tag("h2", title), *inside, role="alert")


def broken_html(error: SpecError) -> Markup:
    """Say why the module could not be created, with the traceback of the user's code."""
    cause, other = error.__cause__, ""
    if error.suggestion is not None:  # the name is another now, which the page cannot change
        other = f", or start the app with --module {error.suggestion}"
    return _alert(
        "✗ Nothing to show: the module cannot be made",
        tag("p", f"{error.value}: {error.reason}. Mend it and press Reload{other}."),
        _traceback_html(traceback_text(cause), opened=True) if cause else "",
    )


def _failure_html(failure: Failure, meanings: Content) -> Markup:
    """The operation that raised with its operands, its line, its message and explanations."""
    where = f" in {one_line(failure.inside)}" if failure.inside else ""
    at = f" at {short_place(failure.source)}" if failure.source else ""
    given = ""
    if failure.operation:
        operands = join(*map(_value, failure.operands), separator=" and ") or "no tensor"
        given = fill("<p><code>{}</code> was given {}.</p>", failure.operation, operands)
    message = " ".join(failure.message.split())
    says = tag("p.soft", message) if meanings else tag("p", tag("b", message))
    both = fill(
        '<div class="alert-both"><div>{}</div><div>{}{}{}{}</div></div>',
        *(meanings or says, given, tag("pre", failure.source.text) if failure.source else ""),
        *(says if meanings else "", _traceback_html(failure.traceback, opened=False)),
    )
    return _alert(f"✗ The forward pass raised {failure.kind}{where}{at}", both)


def _meanings_html(report: ModuleReport) -> str:
    """Explanations of the error: a certain fault, else the likeliest reading of the message.

    A fault was found in the module itself, and a reading goes by the error alone. What is less
    likely stands behind a line.
    """
    readings = list(report.explanations[:_MOST_EXPLANATIONS])
    certain = [fault for fault in report.faults if fault.likelihood == "certain"]
    first = certain or readings[:1] or list(report.faults)
    rest = list(dict.fromkeys(one for one in (*report.faults, *readings) if one not in first))
    shown = join(*map(explanation_html, first))
    if not rest:
        return shown
    more = text.plural(len(rest), "less likely reading")
    return shown + fold(more, *map(explanation_html, rest))


def _traceback_html(words: str, *, opened: bool) -> Markup:
    return fold("traceback", tag("pre", words.rstrip()), open=opened)


# ---- what came out ---------------------------------------------------------------------------


def summary_html(report: ModuleReport) -> Markup:
    """Draw the summary: shapes of inputs and outputs, then params and MACs."""
    batch = batch_of(report)
    given = join(*(_named_shape(value, batch) for value in report.inputs), separator=", ")
    result = tag("strong", "no tensor")
    if report.failure:
        at = report.failure.operation
        words = f"stopped at {at}" if at else f"stopped by {report.failure.kind}"
        result = tag("strong.differs", words)
    elif report.outputs:
        first, *others = report.outputs
        outputs = [tag("strong", _named_shape(first, batch))]
        outputs += [_named_shape(value, batch) for value in others[:3]]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        result = join(*outputs, separator=" and ") + more
    functions = sum(row.is_function for row in report.rows)
    layers = sum(row.returned for row in report.rows) - functions
    all_of = ""
    if batch > 1:  # of fewer axes the first may be tokens or channels as well
        all_of = f", batch of {batch}" if len(report.inputs[0].shape) == 4 else " for this input"
    values = {
        "layers run": f"{layers:,}",
        "functions": f"{functions:,}",
        _TERMS["params"]: text.count(report.params),
        term("macs", f"MACs{all_of}"): text.count(report.macs),
        term("flops", "FLOPs, 2 a MAC"): text.count(2 * report.macs),
    }
    before = ", given" if report.failure else " from"
    length = tag("p.length", result, tag("span.soft", before), " ", given or "nothing")
    return length + figures(values)


def status_html(report: ModuleReport, given: str) -> Markup:
    """Draw the status: how many layers agree with the prediction, and how the module was run.

    Args:
        report: The report.
        given: What the input was, in words.
    """
    words = [row.verdict for row in report.rows if not row.is_function]
    agreed, open_ = words.count("agrees"), words.count("not predicted")
    checked = agreed + words.count("differs")
    agree = "agrees" if checked == 1 else "agree"
    said = f"{agreed:,} of {text.plural(checked, 'layer')} {agree}"
    rest = f" {text.plural(open_, 'layer')} not predicted ·" if open_ else ""
    mode = "training" if report.training else "evaluation"
    warnings = []
    if report.uncounted:
        names = ", ".join(report.uncounted)
        warnings = [tag("span.warning", f"⚠ MACs without {names}, which cannot be counted")]
    if report.unchecked:
        users = all(map(is_users, report.unchecked))
        whose = "a registered rule" if users else "a mistake of vitc_inspect"
        mistakes = f"⚠ {len(report.unchecked)} not checked, by {whose}"
        warnings.append(tag("span.warning", mistakes, title="; ".join(report.unchecked[:5])))
    return fill(
        '{} {} <span class="soft">{} {} · {} mode · {}</span>{}',
        *(badge(agreed == checked, said) if checked else "", _audit_html(report)),
        *(rest, report.device, mode, given, join(*warnings)),
    )


def _audit_html(report: ModuleReport) -> str:
    """Whether the audit ran and found nothing; empty if its faults are shown above."""
    if not report.audited:
        return tag("span.badge.warning", "⚠ faults could not be looked for")
    if report.failure or report.faults:  # which are shown above
        return ""
    return tag("span.badge.agrees", "✓ no fault found")


# ---- the table -------------------------------------------------------------------------------


def module_table_html(report: ModuleReport, selected: str) -> Markup:
    """Draw a row for each call, repeated blocks folded, then layers that never ran, and notes.

    Args:
        report: The report.
        selected: Key of the selected row, as `row_keys` names it, or FAILED.
    """
    keys = row_keys(report.rows)
    batch = batch_of(report)
    ways = _ways_to(folded(report.rows))
    lines = []
    for at, (node, inside) in enumerate(ways):
        within = _within(*inside)
        if isinstance(node, Fold):
            lines.append(_fold_line(report, node, f"f{at}", within, batch))
        else:
            line = _row_line(report.rows[node], keys[node], selected == keys[node], within, batch)
            lines.append(line)
    if report.failure:
        lines.append(_failed_line(report.failure, selected, batch))
    ahead = [layer for layer in report.never_called if layer.not_reached]
    silent = [layer for layer in report.never_called if not layer.not_reached]
    lines += [*_ahead_lines(ahead), *map(_silent_line, silent[:_MOST_SILENT])]
    table = tag("table.calls", tag("thead", tag("tr", *_HEAD)), tag("tbody", *lines))
    return table + _notes_html(report, len(silent))


def _within(*folds: str) -> dict[str, str]:
    """The attributes of a row inside folds."""
    return {"data_within": " ".join(folds), "style": f"--depth:{len(folds)}"} if folds else {}


def _ways_to(
    nodes: Sequence[Node], inside: tuple[str, ...] = (), start: int = 0
) -> list[tuple[Node, tuple[str, ...]]]:
    """Every row in order with the folds around it; a fold is named "f" and its position."""
    found: list[tuple[Node, tuple[str, ...]]] = []
    for node in nodes:
        at = start + len(found)
        found.append((node, inside))
        if isinstance(node, Fold):
            found += _ways_to(node.children, (*inside, f"f{at}"), at + 1)
    return found


def _row_line(row: ModuleRow, key: str, chosen: bool, within: dict[str, str], batch: int) -> Markup:
    css = "function" if row.is_function else "module"
    css += " raised" if not row.returned else ""
    css += " step" if _is_step(row) else ""
    css += " chosen" if chosen else ""
    turn = fill(' <span class="soft">call {}</span>', row.turn) if row.turn > 1 else ""
    macs = "not counted" if row.macs is None else number_or_dot(row.macs, text.count(row.macs))
    cells = fill(
        '{}<td class="into">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>',
        *(_made(row.source, row.kind), module_shape(row.in_shape, batch)),
        *(_foreseen_html(row, batch), module_shape(row.out_shape, batch), _verdict_html(row)),
        *(number_or_dot(row.params, f"{row.params:,}"), macs),
    )
    name = join(button(call_name(row), aria_pressed=chosen), turn, _written_over_html(row))
    return table_row(name, cells, data_layer=key, class_=css, **within)


def _foreseen_html(row: ModuleRow, batch: int) -> str:
    """The predicted shape."""
    predicted = row.predicted
    if predicted is None:
        return _SAID["unknown"]
    if not predicted.fits:
        return _SAID["misfit"]
    return module_shape(predicted.out_shape, batch) or _SAID["unknown"]


def _written_over_html(row: ModuleRow) -> str:
    """A mark for an output that was later overwritten in place."""
    if not row.overwritten_by:
        return ""
    words = f"later written over by {overwriter(row)}; shown as it was before"
    return " " + tag("span.written", "✎", title=words, aria_label=words)


def _made(source: SourceLine | None, kind: str) -> Markup:
    """The cell with the line of code of a call or, without one, the layer's class."""
    if source is None:
        return fill('<td class="made">{}</td>', kind)
    return fill(
        '<td class="made" title="{}:{}  {}"><span class="at">{}</span> <code>{}</code></td>',
        *(source.file, source.line, source.text, short_place(source), source.text),
    )


def _is_step(row: ModuleRow) -> bool:
    """Whether a layer changes the shape, or is a convolution or a linear layer."""
    return row.in_shape != row.out_shape or "Conv" in row.kind or row.kind == "Linear"


_SAID = {
    "agrees": fill('<span class="agrees">✓<span class="word"> agrees</span></span>'),
    "unknown": fill('<span class="soft">–</span>'),
    "misfit": fill('<span class="differs">does not fit</span>'),
    "not predicted": fill('<span class="soft open">not predicted</span>'),
}


def _verdict_html(row: ModuleRow) -> Markup:
    word = row.verdict
    if word in _SAID:
        return _SAID[word]
    if word == "not checked":
        return tag("span.warning", word, title="; ".join(row.unchecked))
    return verdict(False, word)


def _fold_line(
    report: ModuleReport, folded_: Fold, name: str, within: dict[str, str], batch: int
) -> Markup:
    """The row of a fold: first and last shape, and the sums of its rows."""
    rows = [report.rows[row] for row in folded_.rows]
    words = [row.verdict for row in rows]
    bad = next((word for word in ("raised", "differs") if word in words), None)
    agreed = words.count("agrees")
    said = ""
    if bad:
        said = verdict(False, f"{words.count(bad)} {bad}")
    elif agreed:
        said = fill('<span class="agrees">✓ {}<span class="word"> agree</span></span>', agreed)
    what = f"{folded_.count} × {len(rows) // folded_.count} rows" if folded_.count > 1 else ""
    params, macs = sum(row.params for row in rows), sum(row.macs or 0 for row in rows)
    cells = fill(
        '<td class="made">{}</td><td class="into">{}</td><td></td><td>{}</td><td>{}</td><td>{}</td>'
        "<td>{}</td>",
        *(what or text.plural(len(rows), "row"), module_shape(rows[0].in_shape, batch)),
        *(module_shape(rows[-1].out_shape, batch), said),
        *(number_or_dot(params, f"{params:,}"), number_or_dot(macs, text.count(macs))),
    )
    opener = button(folded_.title, data_fold=True, aria_expanded=False)
    return table_row(opener, cells, data_fold_row=name, data_title=folded_.title, **within)


def _failed_line(failure: Failure, selected: str, batch: int) -> Markup:
    """The row of the operation that raised, with the shapes of its operands."""
    chosen = selected == FAILED
    operands = join(
        *(module_shape(value.shape, batch) for value in failure.operands), separator=" and "
    )
    cells = fill(  # the narrow one stands in where a small screen leaves the column of inputs out
        '<td class="wide" colspan="3">{0}</td><td class="narrow" colspan="2">{0}</td>'
        "<td>{1}</td><td></td><td></td>",
        *(operands, verdict(False, "raised")),
    )
    name = button(failure.operation or failure.kind, aria_pressed=chosen)
    css = "raised chosen" if chosen else "raised"
    return table_row(name, _made(failure.source, ""), cells, data_layer=FAILED, class_=css)


def _ahead_lines(layers: Sequence[NeverCalled]) -> list[Markup]:
    """Rows of the layers that were not reached because of a failure, folded if there are many."""
    if len(layers) <= _MOST_AHEAD:
        return list(map(_silent_line, layers))
    first = fill(
        '<tr class="silent" data-fold-row="ahead" data-title="not reached"><th scope="row"'
        ' colspan="8"><button type="button" data-fold aria-expanded="false">{:,} layers were not'
        " reached</button></th></tr>",
        len(layers),
    )
    lines = (
        fill(
            '<tr class="silent" data-within="ahead" style="--depth:1"><th scope="row">{}</th>'
            '<td class="made">{}</td></tr>',
            *(one_line(layer.name), layer.kind),
        )
        for layer in layers
    )
    return [first, *lines]


def _silent_line(layer: NeverCalled) -> Markup:
    """The row of a layer that never ran, in grey, with the reason."""
    return fill(
        '<tr class="silent"><th scope="row">{}</th><td class="made">{}</td>'
        '<td colspan="6">never ran: {}</td></tr>',
        *(one_line(layer.name), layer.kind, layer.reason),
    )


def _notes_html(report: ModuleReport, silent: int) -> str:
    """Notes on the module in sentences; `silent` is the number of layers that never ran."""
    more = [f"{silent - _MOST_SILENT} more layers never ran."] if silent > _MOST_SILENT else []
    written = [f"{written_over(row)}; it is shown as it was before." for row in report.overwritten]
    notes = [*report.notes, *written, *report.disagreements, *more]
    return tag("ul.notes", *(tag("li", one_line(note)) for note in notes)) if notes else ""


# ---- shapes and places -----------------------------------------------------------------------


def is_batchless(report: ModuleReport) -> bool:
    """Whether the module was given a single image without a batch."""
    maps = [row.out_shape for row in report.rows if row.kind == "Conv2d"]
    return any(shape is not None and len(shape) == 3 for shape in maps)


def batch_of(report: ModuleReport) -> int:
    """The batch size, which is the first size of the first input; 0 without a batch."""
    if is_batchless(report):
        return 0
    shape = report.inputs[0].shape if report.inputs else ()
    return shape[0] if len(shape) > 1 else 0


@lru_cache(maxsize=1024)
def module_shape(shape: tuple[int, ...] | None, batch: int) -> str:
    """A shape with the colours of its axes, the batch size in grey; empty if there is none."""
    if shape is None:
        return ""
    if not shape:
        return tag("span.soft", "a number")
    if len(shape) in (2, 3, 4) and shape[0] == batch:
        return fill('<span class="batch soft">{}×</span>{}', batch, coloured_shape(shape[1:]))
    return text.shape(shape)


def _named_shape(value: Value, batch: int) -> Markup:
    return join(one_line(name_before(value)), module_shape(value.shape, batch))


def _value(value: Value) -> Markup:
    return tag("b", one_line(name_before(value)), tensor_shape(value.shape))
