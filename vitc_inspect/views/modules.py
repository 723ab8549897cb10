"""A report on anybody's module as a table: for the terminal, Markdown, CSV and a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from vitc_inspect.guests import Failure, SourceLine, Value
from vitc_inspect.inspection import ModuleReport, ModuleRow
from vitc_inspect.views.text import count, plural
from vitc_inspect.views.text import shape as shape_text

_HEADER = ("layer", "kind", "input", "predicted", "observed", "", "params", "MACs")
_LEFT = (0, 1, 5)  # columns of words; the rest are numbers
_WHERE = "at"
_COLUMNS = (
    *("layer", "kind", "inside", "call", "input", "predicted", "observed", "verdict"),
    *("params", "macs", "bytes", "overwritten_by", "file", "line", "source"),
)


def module_table(report: ModuleReport) -> str:
    """Draw a report for the terminal: a line for each call, the totals, what is odd."""
    rows = [(*_cells(row), _short_place(row.call.source)) for row in report.rows]
    header = (*_HEADER, _WHERE)
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = [_title(report), "", _line(header, widths), *(_line(row, widths) for row in rows), ""]
    return "\n".join((*lines, *_sentences(report)))


def module_markdown(report: ModuleReport) -> str:
    """Write a report as Markdown."""
    header = (*_HEADER, _WHERE)
    rules = [":--" if at in (*_LEFT, len(_HEADER)) else "--:" for at in range(len(header))]
    rows = [(*_cells(row), _code(row.call.source)) for row in report.rows]
    lines = [f"**{_title(report)}**", "", _pipes(header), _pipes(rules), *map(_pipes, rows), ""]
    return "\n".join((*lines, *(f"- {_escaped(sentence)}" for sentence in _sentences(report))))


def module_csv(report: ModuleReport) -> str:
    """Write the rows of a report as CSV, numbers in full."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
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
            ]
        )
    return text.getvalue().rstrip("\n")


def module_html(report: ModuleReport) -> str:
    """Draw a report for a notebook: one table that brings its own style, light and dark."""
    head = "".join(f"<th{_side(at)}>{escape(cell)}</th>" for at, cell in enumerate(_HEADER))
    body = "".join(_html_row(row) for row in report.rows)
    grey = "".join(
        f'<tr class="grey"><td>{escape(layer.name)}</td><td>{escape(layer.kind)}</td>'
        f'<td colspan="{len(_HEADER) - 2}" class="word">never called: {escape(layer.reason)}</td>'
        "</tr>"
        for layer in report.never_called
    )
    sentences = "".join(
        f"<li>{escape(sentence)}</li>" for sentence in _sentences(report, never_called=False)
    )
    return (
        f'<div class="vitc-module"><style>{_STYLE}</style>'
        f"<p><b>{escape(_title(report))}</b></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}{grey}</tbody></table>"
        f"<ul>{sentences}</ul></div>"
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
.vitc-module .differs,.vitc-module .raised{color:var(--bad)}
@media (prefers-color-scheme:dark){.vitc-module{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--good:#3fb950;--bad:#f85149}}
""".replace("\n", "")


def _html_row(row: ModuleRow) -> str:
    """A row of the table; a function has its line beneath its name when it is pointed at."""
    cells = _cells(row)
    source = row.call.source
    title = f' title="{escape(f"{source.file}:{source.line}  {source.text}")}"' if source else ""
    marks = {0: "", 3: "soft", 5: row.verdict.replace(" ", "-")}
    parts = []
    for at, cell in enumerate(cells):
        names = " ".join(filter(None, ["word" if at in _LEFT else "", marks.get(at, "")]))
        parts.append(f'<td class="{names}"{title if at == 0 else ""}>{escape(cell)}</td>')
    return f"<tr>{''.join(parts)}</tr>"


def _side(column: int) -> str:
    return ' class="word"' if column in _LEFT else ""


def _title(report: ModuleReport) -> str:
    given = ", ".join(_value(value) for value in report.inputs) or "nothing"
    mode = "training" if report.training else "evaluation"
    return f"{report.kind} of {given}; {report.device}, {mode} mode"


def _value(value: Value) -> str:
    """A tensor in words, by its name where it has one."""
    name = "" if value.path.isdecimal() or not value.path else f"{value.path} "
    return f"{name}{shape_text(value.shape) or 'a number'} {value.dtype}"


def _cells(row: ModuleRow) -> tuple[str, ...]:
    call, predicted = row.call, row.predicted
    turn = f" ({call.turn})" if call.turn > 1 else ""
    shape = predicted.out_shape if predicted else None
    return (
        f"{call.name or call.kind}{turn}",
        call.kind,
        _shape(call.in_shape),
        _shape(shape),
        _shape(call.out_shape) or ("" if call.returned else "raised"),
        "" if call.is_function else row.verdict if row.verdict != "raised" else "",
        "" if call.is_function else f"{call.params:,}",
        "not counted" if call.macs is None else count(call.macs),
    )


def _shape(sizes: Sequence[int] | None) -> str:
    return "" if sizes is None else shape_text(sizes) or "a number"


def _short_place(source: SourceLine | None) -> str:
    return f"{Path(source.file).name}:{source.line}" if source else ""


def _sentences(report: ModuleReport, *, never_called: bool = True) -> list[str]:
    """Totals, then all that is odd, then how it ended."""
    whole = f"{count(report.params)} params; {count(report.macs)} MACs of the batch"
    if report.uncounted:
        whole += f" without {', '.join(report.uncounted)}, which nobody here can count"
    silent = [
        f"{layer.name} ({layer.kind}) was never called: {layer.reason}."
        for layer in report.never_called
        if never_called
    ]
    written = [_overwritten(row) for row in report.overwritten]
    return [
        f"{whole}.",
        *report.notes,
        *silent,
        *written,
        *report.disagreements,
        *([_failed(report.failure)] if report.failure else [_verdict(report)]),
    ]


def _verdict(report: ModuleReport) -> str:
    """How many rows arithmetic confirms."""
    words = [row.verdict for row in report.rows if not row.call.is_function]
    agreed, open_ = words.count("agrees"), words.count("not predicted")
    rest = f"; {open_} not predicted" if open_ else ""
    return f"{plural(agreed, 'layer')} of {len(words)} as arithmetic says{rest}."


def _overwritten(row: ModuleRow) -> str:
    call = row.call
    at = f" at {_short_place(call.overwritten_at)}" if call.overwritten_at else ""
    name = call.name or call.kind
    return f"The output of {name} is later written over by {call.overwritten_by}{at}."


def _failed(failure: Failure) -> str:
    """How the forward pass ended, in a sentence or two."""
    where = f" in {failure.inside}" if failure.inside else ""
    source = f" at {_short_place(failure.source)}, {failure.source.text}" if failure.source else ""
    doing = ""
    if failure.operation:
        operands = " and ".join(_value(value) for value in failure.operands)
        doing = f"; {failure.operation} was given {operands or 'no tensor'}"
    message = " ".join(failure.message.split())
    return f"Raised {failure.kind}{where}{source}{doing}: {message}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line: words to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if at in (*_LEFT, len(_HEADER)) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) if cell[:1] != '`' else cell for cell in cells)} |"


def _code(source: SourceLine | None) -> str:
    """A line of code as Markdown shows it in a table."""
    if source is None:
        return ""
    text = source.text.replace("|", "\\|").replace("`", "'")
    return f"`{_short_place(source)}: {text}`"


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for sign in "\\`*_|<":
        text = text.replace(sign, f"\\{sign}")
    return text
