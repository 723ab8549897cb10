"""Reports as tables: for the terminal, Markdown, CSV, and HTML for notebooks."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import cast

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.tracing.recording import NeverCalled, SourceLine, Value
from vitc_inspect.views.call_labels import (
    call_name,
    short_place,
    tensor_shape,
    whole_line,
    without_batch,
)
from vitc_inspect.views.explanations import faults_text
from vitc_inspect.views.html import Markup, fill, join, tag
from vitc_inspect.views.report import Report, Row
from vitc_inspect.views.terminal import columns, one_line
from vitc_inspect.views.text import count, plural
from vitc_inspect.views.text import shape as shape_text

_HEADER = (
    *("layer", "kind", "input", "predicted", "observed", "", "params", "MACs", "field", "at"),
)
_LEFT = (0, 1, 5, 9)  # columns of words; the rest are numbers
_VERDICT = 5
_OPTIONAL = (8, 9)  # columns that are left out where no row has anything in them
_NOT_REACHED = "not reached"
_CSV_HEADER = (
    *("layer", "kind", "inside", "call", "input", "predicted", "observed", "verdict", "params"),
    *("macs", "bytes", "receptive_field", "overwritten_by", "file", "line", "source", "unchecked"),
)
Cells = tuple[str, ...]


class ReportMethods:
    """The output methods of every report."""

    def __str__(self) -> str:
        """The report as a table for the terminal."""
        return module_table(cast(Report, self))

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return module_html(cast(Report, self))


def _check(report: Report) -> None:
    """Refuse what is no report."""
    if not isinstance(report, ReportMethods):
        fix = "Use what inspect_module or inspect_stem returns"
        raise SpecError("report", report, "it is no report", fix)


def module_table(report: Report, *, grey: bool = False) -> str:
    """Draw a report for the terminal: a line for each call, the totals, anything unusual, faults.

    Args:
        report: The report on a stem or on any module.
        grey: Whether the layers that were not reached are in grey, for a terminal with colours.

    Returns:
        Lines; the blocks of an encoder are one line. Layers that a forward pass which raised did
        not reach come after what it did before.

    Raises:
        SpecError: field "report", for what is no report.
    """
    _check(report)
    rows, failed, ahead = _folded(report), _failed_cells(report), _ahead_cells(report)
    every = [*rows, *failed, *ahead]
    widths = {
        at: max(columns(line[at]) for line in (_HEADER, *every)) for at in _shown_columns(every)
    }
    start, end = ("\x1b[90m", "\x1b[0m") if grey else ("", "")
    lines = [
        report.title,
        "",
        *(_line(row, widths) for row in (_HEADER, *rows, *failed)),
        *(f"{start}{_line(row, widths)}{end}" for row in ahead),
        "",
        *report.sentences(),
    ]
    if report.faults:
        lines += ["", faults_text(report.faults)]
    return "\n".join(lines)


def module_markdown(report: Report) -> str:
    """Write a report on a stem or on any module as Markdown.

    Raises:
        SpecError: field "report", for what is no report.
    """
    _check(report)
    cells = [_cells(row, report.batch) for row in report.rows]
    rows = [
        (*map(_escaped, line[:-1]), _code(row.source))
        for line, row in zip(cells, report.rows, strict=True)
    ]
    rows += [tuple(map(_escaped, row)) for row in (*_failed_cells(report), *_ahead_cells(report))]
    rules = tuple(":--" if at in _LEFT else "--:" for at in range(len(_HEADER)))
    shown = _shown_columns(rows)
    title = f"**{_escaped(report.title)}**"
    lines = [title, "", *(_pipes(line, shown) for line in (_HEADER, rules, *rows)), ""]
    lines += [f"- {_escaped(sentence)}" for sentence in report.sentences()]
    for fault in report.faults:
        lines += ["", f"**{_escaped(fault.kind)}, {fault.likelihood}.** {_escaped(fault.sentence)}"]
        lines += ["", *(f"- {_escaped(fix)}" for fix in fault.fixes)]
    return "\n".join(lines)


class _Lines(list[str]):
    """What csv writes, line by line."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n"))


def module_csv(report: Report) -> str:
    """Write the rows of a report on a stem or any module as CSV, with unrounded numbers.

    Shapes have the batch in front.

    Raises:
        SpecError: field "report", for what is no report.
    """
    _check(report)
    lines = _Lines()
    table = csv.DictWriter(lines, _CSV_HEADER, restval="")  # quotes a name with a line break
    table.writeheader()
    table.writerows(map(_csv_row, report.rows))
    failure = report.failure
    if failure and _failed_cells(report):
        line = {"layer": failure.operation, "kind": "function", "inside": failure.inside, "call": 1}
        ended = {"input": _shapes(failure.operands), "verdict": "raised"}
        table.writerow({**line, **ended, **_csv_source(failure.source)})
    for layer in _ahead(report):
        line = {"layer": layer.name, "kind": layer.kind, "inside": layer.name.rpartition(".")[0]}
        table.writerow({**line, "verdict": _NOT_REACHED})
    return "\n".join(lines)


def _csv_row(row: Row) -> dict[str, object]:
    return {
        "layer": row.name,
        "kind": row.kind,
        "inside": row.inside,
        "call": row.turn,
        "input": shape_text(row.in_shape or ()),
        "predicted": shape_text(row.predicted_shape or ()),
        "observed": shape_text(row.out_shape or ()),
        "verdict": row.verdict,
        "params": row.params,
        "macs": row.macs,
        "bytes": row.bytes,
        "receptive_field": row.receptive_field,
        "overwritten_by": row.overwritten_by,
        **_csv_source(row.source),
        "unchecked": "; ".join(row.unchecked),
    }


def _csv_source(source: SourceLine | None) -> dict[str, object]:
    return {"file": source.file, "line": source.line, "source": source.text} if source else {}


def module_html(report: Report) -> Markup:
    """Draw a report as one self-contained HTML table, as a notebook shows it.

    Raises:
        SpecError: field "report", for what is no report.
    """
    _check(report)
    rows, failed = [_cells(row, report.batch) for row in report.rows], _failed_cells(report)
    # a pointer over a function's name shows where it was called
    shown = [at for at in _shown_columns([*rows, *failed]) if _HEADER[at] != "at"]
    head = join(*(tag("th", _HEADER[at], class_=_side(at)) for at in shown))
    # those that would have followed come first, as they would have
    silent = sorted(report.never_called, key=lambda layer: not layer.not_reached)
    body = join(
        *(_html_row(cells, shown, row) for row, cells in zip(report.rows, rows, strict=True)),
        *(_html_row(cells, shown) for cells in failed),
        *(_silent_row(layer, len(shown) - 2) for layer in silent),
    )
    return tag(
        "div.vitc-module",
        tag("style", _STYLE),
        tag("p", tag("b", report.title)),
        tag("table", tag("thead", tag("tr", head)), tag("tbody", body)),
        tag("ul", *(tag("li", said) for said in report.sentences(never_called=False))),
        _faults_html(report.faults),
    )


def _silent_row(layer: NeverCalled, columns_left: int) -> Markup:
    """A layer that was never called, and why."""
    css, how = ("grey ahead", _NOT_REACHED) if layer.not_reached else ("grey", "never called")
    return fill(
        '<tr class="{}"><td>{}</td><td>{}</td><td class="word" colspan="{}">{}: {}</td></tr>',
        *(css, one_line(layer.name), one_line(layer.kind), columns_left),
        *(how, one_line(layer.reason)),
    )


def _faults_html(faults: Sequence[Explanation]) -> Markup:
    """Every fault with its fixes; nothing where there is none."""
    if not faults:
        return join()
    items = (
        fill(
            "<li><b>{}, {}.</b> {}<ul>{}</ul></li>",
            *(one_line(fault.kind), fault.likelihood, one_line(fault.sentence)),
            join(*(tag("li", one_line(fix)) for fix in fault.fixes)),
        )
        for fault in faults
    )
    return join(tag("p", f"{plural(len(faults), 'fault')} found"), tag("ul.faults", *items))


def report_page(report: Report, *, behind: str = "") -> Markup:
    """Draw a report as a complete HTML page.

    Args:
        report: The report on a stem or on any module.
        behind: Text that follows the report.
    """
    table = module_html(report)  # refuses what is no report
    return fill(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{}</title></head>'
        '<body style="color-scheme:light dark">{}{}</body></html>',
        *(report.title, table, tag("pre", behind) if behind else ""),
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
.vitc-module .differs,.vitc-module .not-checked,.vitc-module .never-ran,
.vitc-module .raised,.vitc-module .failed,.vitc-module .faults b{
color:var(--bad)}
@media (prefers-color-scheme:dark){.vitc-module{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--good:#3fb950;--bad:#f85149}}
""".replace("\n", "")


def _html_row(cells: Cells, shown: Sequence[int], row: Row | None = None) -> Markup:
    """A row of the table; without `row` it is what raised.

    A function has its line beneath its name when it is pointed at.
    """
    marks = {3: "soft", _VERDICT: row.verdict.replace(" ", "-")} if row else {}
    titles = {0: whole_line(row.source)} if row else {}
    line = []
    for at in shown:
        css = " ".join(filter(None, (_side(at), marks.get(at)))) or None
        line.append(tag("td", cells[at], class_=css, title=titles.get(at)))
    return tag("tr", *line, class_=None if row else "failed")


def _side(column: int) -> str | None:
    """Class of a cell of words."""
    return "word" if column in _LEFT else None


# ---- the cells of a line ---------------------------------------------------------------------


def _cells(row: Row, batch: int) -> Cells:
    turn = f" ({row.turn})" if row.turn > 1 else ""
    observed = tensor_shape(without_batch(row.out_shape, batch))
    return (
        f"{call_name(row)}{turn}",
        one_line(row.kind),
        tensor_shape(without_batch(row.in_shape, batch)),
        tensor_shape(without_batch(row.predicted_shape, batch)),
        observed or ("" if row.returned else "raised"),
        _verdict_word(row),
        "" if row.is_function else f"{row.params:,}",
        "not counted" if row.macs is None else count(row.macs),
        "" if row.receptive_field is None else str(row.receptive_field),
        short_place(row.source),
    )


def _verdict_word(row: Row) -> str:
    """The verdict, but of a function nothing where no rule is registered for it."""
    if row.is_function and row.verdict == "not predicted":
        return ""
    return "" if row.verdict == "raised" else row.verdict


def _folded(report: Report) -> list[Cells]:
    """The cells of every row, those of an encoder's blocks in one line: "block1 … block11"."""
    lines: list[Cells] = []
    for repeats, group in groupby(report.rows, lambda row: row.block not in (None, "head")):
        rows = list(group)
        if repeats:
            lines.append(_block_line(rows, report.batch))
        else:
            lines += (_cells(row, report.batch) for row in rows)
    return lines


def _block_line(rows: Sequence[Row], batch: int) -> Cells:
    """All blocks in one line: what comes out of the last, and what they cost together."""
    names = list(dict.fromkeys(row.block or "" for row in rows))
    name = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    first, last = _cells(rows[0], batch), _cells(rows[-1], batch)
    word = next((row.verdict for row in rows if row.verdict != "agrees"), "agrees")
    params, macs = sum(row.params for row in rows), sum(row.macs or 0 for row in rows)
    figures = (f"{params:,}", count(macs))
    return (name, plural(len(names), "block"), first[2], *last[3:5], word, *figures, *last[8:])


def _failed_cells(report: Report) -> list[Cells]:
    """The line of the function that raised, where no module's line says so."""
    failure = report.failure
    if failure is None or failure.operation is None:
        return []
    if report.rows and not report.rows[-1].returned:
        return []
    given, nothing = _shapes(failure.operands), [""] * 4
    place = short_place(failure.source)
    return [(failure.operation, "function", given, "", "raised", *nothing, place)]


def _ahead(report: Report) -> list[NeverCalled]:
    """The layers that would have followed, had the forward pass not raised."""
    return [layer for layer in report.never_called if layer.not_reached]


def _ahead_cells(report: Report) -> list[Cells]:
    return [
        (one_line(layer.name), one_line(layer.kind), "", "", _NOT_REACHED, *[""] * 5)
        for layer in _ahead(report)
    ]


def _shapes(values: Sequence[Value]) -> str:
    """The shapes of several tensors."""
    return " and ".join(tensor_shape(value.shape) for value in values)


# ---- lines -----------------------------------------------------------------------------------


def _shown_columns(lines: Sequence[Cells]) -> list[int]:
    """The columns that are shown: not those of `_OPTIONAL` that nothing stands in."""
    every = range(len(_HEADER))
    return [at for at in every if at not in _OPTIONAL or any(line[at] for line in lines)]


def _line(cells: Cells, widths: Mapping[int, int]) -> str:
    """One line of the columns that have a width: words to the left, numbers to the right."""
    padded = []
    for at, width in widths.items():
        room = " " * (width - columns(cells[at]))
        padded.append(f"{cells[at]}{room}" if at in _LEFT else f"{room}{cells[at]}")
    return "  ".join(padded).rstrip()


def _pipes(cells: Cells, shown: Sequence[int]) -> str:
    return f"| {' | '.join(cells[at] for at in shown)} |"


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
