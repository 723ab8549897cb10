"""A report on anybody's module as a table: for the terminal, Markdown, CSV and a notebook."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from html import escape

from vitc_inspect.common.guard import is_users
from vitc_inspect.common.validation import check_type
from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.tracing.recording import Call, Failure, NeverCalled, SourceLine, Value
from vitc_inspect.views.call_labels import (
    call_name,
    name_before,
    short_place,
    tensor_shape,
    title_attribute,
    written_over,
)
from vitc_inspect.views.explanations import faults_text
from vitc_inspect.views.terminal import columns, one_line
from vitc_inspect.views.text import count, plural
from vitc_inspect.views.text import shape as shape_text

_HEADER = ("layer", "kind", "input", "predicted", "observed", "", "params", "MACs")
_LEFT = (0, 1, 5)  # columns of words; the rest are numbers
_WHERE = "at"
_NOT_REACHED = "not reached"
_COLUMNS = (
    *("layer", "kind", "inside", "call", "input", "predicted", "observed", "verdict"),
    *("params", "macs", "bytes", "overwritten_by", "file", "line", "source", "unchecked"),
)


def module_table(report: ModuleReport, *, grey: bool = False) -> str:
    """Draw a report for the terminal: a line for each call, the totals, what is odd, the faults.

    Args:
        report: The report.
        grey: Whether the layers that were not reached are in grey, for a terminal with colours.

    Returns:
        Lines; those of layers that a forward pass which raised did not reach come after what it
        did before.
    """
    _check(report)
    rows = [(*_cells(row), short_place(row.call.source)) for row in report.rows]
    failed, ahead = _failed_cells(report), _ahead_cells(report)
    header = (*_HEADER, _WHERE)
    every = [header, *rows, *failed, *ahead]
    widths = [max(columns(line[at]) for line in every) for at in range(len(header))]
    start, end = ("\x1b[90m", "\x1b[0m") if grey else ("", "")
    lines = [
        _title(report),
        "",
        *(_line(row, widths) for row in (header, *rows, *failed)),
        *(f"{start}{_line(row, widths)}{end}" for row in ahead),
        "",
        *_sentences(report),
    ]
    if report.faults:
        lines += ["", faults_text(report.faults)]
    return "\n".join(lines)


def module_markdown(report: ModuleReport) -> str:
    """Write a report as Markdown."""
    _check(report)
    header = (*_HEADER, _WHERE)
    rules = [":--" if at in (*_LEFT, len(_HEADER)) else "--:" for at in range(len(header))]
    rows = [(*map(_escaped, _cells(row)), _code(row.call.source)) for row in report.rows]
    rows += [tuple(map(_escaped, row)) for row in (*_failed_cells(report), *_ahead_cells(report))]
    title = f"**{_escaped(_title(report))}**"
    lines = [title, "", _pipes(header), _pipes(rules), *map(_pipes, rows), ""]
    lines += [f"- {_escaped(sentence)}" for sentence in _sentences(report)]
    for fault in report.faults:
        lines += ["", f"**{_escaped(fault.kind)}, {fault.likelihood}.** {_escaped(fault.sentence)}"]
        lines += ["", *(f"- {_escaped(fix)}" for fix in fault.fixes)]
    return "\n".join(lines)


def _check(report: ModuleReport) -> None:
    """Refuse what is no report."""
    check_type("report", report, ModuleReport, "Use what inspect_module gives")


class _Lines(list[str]):
    """What csv writes, line by line."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n"))


def module_csv(report: ModuleReport) -> str:
    """Write the rows of a report as CSV, numbers in full."""
    _check(report)
    lines = _Lines()
    table = csv.writer(lines, lineterminator="\r\n")  # a name with either sign is quoted
    table.writerow(_COLUMNS)
    for row in report.rows:
        call, source = row.call, row.call.source
        predicted = row.predicted.out_shape if row.predicted else None
        table.writerow(
            [
                call.name,
                call.kind,
                call.inside,
                call.turn,
                shape_text(call.in_shape or ()),
                shape_text(predicted or ()),
                shape_text(call.out_shape or ()),
                row.verdict,
                call.params,
                "" if call.macs is None else call.macs,
                call.bytes,
                call.overwritten_by or "",
                *((source.file, source.line, source.text) if source else ("", "", "")),
                "; ".join(row.unchecked),
            ]
        )
    failure = report.failure
    if _failed_cells(report) and failure and failure.operation:
        shape = _shapes(failure.operands)
        source = failure.source
        place = (source.file, source.line, source.text) if source else ("", "", "")
        table.writerow(
            [
                *(failure.operation, "function", failure.inside, 1, shape, "", "", "raised"),
                *("", "", "", "", *place, ""),
            ]
        )
    for layer in _ahead(report):
        nothing = [""] * (len(_COLUMNS) - 3)
        line = [layer.name, layer.kind, layer.name.rpartition(".")[0], *nothing]
        line[_COLUMNS.index("verdict")] = _NOT_REACHED
        table.writerow(line)
    return "\n".join(lines)


def module_html(report: ModuleReport) -> str:
    """Draw a report for a notebook: one table that brings its own style, light and dark."""
    _check(report)
    head = "".join(f"<th{_side(at)}>{cell}</th>" for at, cell in enumerate(_HEADER))
    body = "".join(_html_row(row) for row in report.rows)
    body += "".join(
        '<tr class="failed">'
        + "".join(f"<td{_side(at)}>{escape(cell)}</td>" for at, cell in enumerate(cells[:-1]))
        + "</tr>"
        for cells in _failed_cells(report)
    )
    # those that would have followed come first, as they would have
    silent = sorted(report.never_called, key=lambda layer: not layer.not_reached)
    grey = "".join(
        f'<tr class="grey{" ahead" if layer.not_reached else ""}"><td>{_html(layer.name)}</td>'
        f"<td>{_html(layer.kind)}</td>"
        f'<td colspan="{len(_HEADER) - 2}" class="word">'
        f"{_NOT_REACHED if layer.not_reached else 'never called'}: {_html(layer.reason)}</td></tr>"
        for layer in silent
    )
    faults = "".join(
        f"<li><b>{_html(fault.kind)}, {fault.likelihood}.</b> {_html(fault.sentence)}"
        f"<ul>{''.join(f'<li>{_html(fix)}</li>' for fix in fault.fixes)}</ul></li>"
        for fault in report.faults
    )
    found = f'<p>{plural(len(report.faults), "fault")} found</p><ul class="faults">{faults}</ul>'
    sentences = "".join(
        f"<li>{escape(sentence)}</li>" for sentence in _sentences(report, never_called=False)
    )
    return (
        f'<div class="vitc-module"><style>{_STYLE}</style>'
        f"<p><b>{escape(_title(report))}</b></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}{grey}</tbody></table>"
        f"<ul>{sentences}</ul>{found if faults else ''}</div>"
    )


_STYLE = """
.vitc-module{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--good:#1a7f37;
--bad:#cf222e;font:14px/1.4 system-ui,sans-serif;color:var(--ink);overflow-x:auto}
.vitc-module table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.vitc-module th,.vitc-module td{padding:2px 10px;text-align:right;white-space:nowrap;
border:0;border-bottom:1px solid var(--line);background:none;color:inherit}
.vitc-module .word{text-align:left}
.vitc-module .grey,.vitc-module .soft{color:var(--soft)}
.vitc-module .grey td:nth-child(-n+2){text-align:left}
.vitc-module .agrees{color:var(--good)}
.vitc-module .differs,.vitc-module .not-checked,
.vitc-module .raised,.vitc-module .failed,.vitc-module .faults b{
color:var(--bad)}
@media (prefers-color-scheme:dark){.vitc-module{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--good:#3fb950;--bad:#f85149}}
""".replace("\n", "")


def _html_row(row: ModuleRow) -> str:
    """A row of the table; a function has its line beneath its name when it is pointed at."""
    cells = _cells(row)
    title = title_attribute(row.call.source)
    marks = {0: "", 3: "soft", 5: row.verdict.replace(" ", "-")}
    parts = []
    for at, cell in enumerate(cells):
        names = " ".join(filter(None, ["word" if at in _LEFT else "", marks.get(at, "")]))
        parts.append(f'<td class="{names}"{title if at == 0 else ""}>{escape(cell)}</td>')
    return f"<tr>{''.join(parts)}</tr>"


def _html(text: str) -> str:
    return escape(one_line(text))


def _side(column: int) -> str:
    return ' class="word"' if column in _LEFT else ""


def _title(report: ModuleReport) -> str:
    given = ", ".join(_value(value) for value in report.inputs) or "nothing"
    mode = "training" if report.training else "evaluation"
    return one_line(f"{report.kind} of {given}; {report.device}, {mode} mode")


def _value(value: Value) -> str:
    """A tensor in words, by its name where it has one."""
    return f"{name_before(value)}{tensor_shape(value.shape)} {value.dtype}"


def _cells(row: ModuleRow) -> tuple[str, ...]:
    call, predicted = row.call, row.predicted
    turn = f" ({call.turn})" if call.turn > 1 else ""
    shape = predicted.out_shape if predicted else None
    return (
        f"{call_name(call)}{turn}",
        one_line(call.kind),
        tensor_shape(call.in_shape),
        tensor_shape(shape),
        tensor_shape(call.out_shape) or ("" if call.returned else "raised"),
        _verdict_word(row),
        "" if call.is_function else f"{call.params:,}",
        "not counted" if call.macs is None else count(call.macs),
    )


def _verdict_word(row: ModuleRow) -> str:
    """The verdict of a layer; of a function only where a rule was registered or failed."""
    if row.call.is_function:
        return row.verdict if row.verdict == "not checked" or row.predicted else ""
    return "" if row.verdict == "raised" else row.verdict


def _failed_cells(report: ModuleReport) -> list[tuple[str, ...]]:
    """The line of the function that raised, where no module's line says so."""
    failure = report.failure
    if failure is None or failure.operation is None:
        return []
    if report.rows and not report.rows[-1].call.returned:
        return []
    given = _shapes(failure.operands)
    place = short_place(failure.source)
    return [(failure.operation, "function", given, "", "raised", "", "", "", place)]


def _ahead(report: ModuleReport) -> list[NeverCalled]:
    """The layers that would have followed, had the forward pass not raised."""
    return [layer for layer in report.never_called if layer.not_reached]


def _ahead_cells(report: ModuleReport) -> list[tuple[str, ...]]:
    return [
        (one_line(layer.name), one_line(layer.kind), "", "", _NOT_REACHED, *[""] * 4)
        for layer in _ahead(report)
    ]


def _shapes(values: Sequence[Value]) -> str:
    """The shapes of several tensors."""
    return " and ".join(tensor_shape(value.shape) for value in values)


def _sentences(report: ModuleReport, *, never_called: bool = True) -> list[str]:
    """Totals, then all that is odd, then how it ended."""
    whole = f"{count(report.params)} params; {count(report.macs)} MACs for this input"
    if report.uncounted:
        whole += f" without {', '.join(report.uncounted)}, which nobody here can count"
    silent = [
        f"{layer.name} ({layer.kind}) was never called: {layer.reason}."
        for layer in report.never_called
        if never_called and not layer.not_reached
    ]
    ahead = _ahead(report)
    if ahead and never_called:
        were = "was" if len(ahead) == 1 else "were"
        silent.append(f"{plural(len(ahead), 'layer')} {were} not reached: {ahead[0].reason}.")
    written = [
        f"{written_over(row)}; a hook that keeps it has to copy it." for row in report.overwritten
    ]
    sentences = [
        f"{whole}.",
        *_unchecked(report),
        *report.notes,
        *silent,
        *written,
        *report.disagreements,
        *([_failed(report.failure)] if report.failure else [_verdict(report)]),
        *(_none_found(report) if report.audited and not report.faults else []),
        *(ignored_sentences(report) if report.audited else []),
    ]
    return [one_line(sentence) for sentence in sentences]


def _unchecked(report: ModuleReport) -> list[str]:
    """What rules failed on, the first few."""
    most = 5
    said = [
        f"Not checked{'' if is_users(each) else ', by a mistake of vitc_inspect'}: {each}."
        for each in report.unchecked
    ]
    more = [f"Not checked: {len(said) - most} more."] if len(said) > most else []
    return said[:most] + more


def _none_found(report: ModuleReport) -> list[str]:
    """That the audit found nothing, which of a run that raised is not all there is to say."""
    known = report.failure or any(report.ignored.values())
    return ["No other fault found." if known else "No fault found."]


def ignored_sentences(report: ModuleReport) -> list[str]:
    """How many faults of each kind were left out, as asked; also where there was none."""
    return [
        f"{plural(count, 'fault')} of the kind “{kind}”"
        f" {'was' if count == 1 else 'were'} ignored, as asked."
        for kind, count in report.ignored.items()
    ]


def _verdict(report: ModuleReport) -> str:
    """How many rows arithmetic confirms."""
    rows = [row for row in report.rows if not row.call.is_function]
    agreed = sum(row.verdict == "agrees" for row in rows)
    open_ = dict.fromkeys(_named(row.call) for row in rows if row.verdict == "not predicted")
    most = 4
    names = ", ".join(list(open_)[:most])
    more = f" and {len(open_) - most} more" if len(open_) > most else ""
    rest = f"; no rule is known here for {names}{more}" if open_ else ""
    verb = "agrees" if len(rows) == 1 else "agree"
    return f"{agreed:,} of {plural(len(rows), 'layer')} {verb} with arithmetic{rest}."


def _named(call: Call) -> str:
    return f"{call.name} ({call.kind})" if call.name else call.kind


def _failed(failure: Failure) -> str:
    """How the forward pass ended, in a sentence or two."""
    where = f" in {failure.inside}" if failure.inside else ""
    source = f" at {short_place(failure.source)}, {failure.source.text}" if failure.source else ""
    doing = ""
    if failure.operation:
        operands = " and ".join(_value(value) for value in failure.operands)
        doing = f"; {failure.operation} was given {operands or 'no tensor'}"
    message = " ".join(failure.message.split())
    return f"Raised {failure.kind}{where}{source}{doing}{f': {message}' if message else '.'}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line: words to the left, numbers to the right."""
    padded = []
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        room = " " * (width - columns(cell))
        padded.append(f"{cell}{room}" if at in (*_LEFT, len(_HEADER)) else f"{room}{cell}")
    return "  ".join(padded).rstrip()


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(source: SourceLine | None) -> str:
    """A line of code as Markdown shows it in a table."""
    if source is None:
        return ""
    code = one_line(f"{short_place(source)}: {source.text}")
    code = code.replace("|", "\\|").replace("`", "'")
    return f"`{code}`"


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    text = one_line(text)
    for sign in "\\`*_|<":
        text = text.replace(sign, f"\\{sign}")
    return text
