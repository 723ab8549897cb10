"""Other tables for the terminal: counts of MACs, times, the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitc_inspect.stem.paper import PRINTED, PRINTED_CORRELATIONS
from vitc_inspect.views.text import plural, seconds

if TYPE_CHECKING:  # the paper's table is printed without torch
    from vitc_inspect.probes.other_counters import Witness
    from vitc_inspect.probes.timing import Timing


def witness_table(witnesses: Sequence[Witness]) -> str:
    """Draw every count of one model for the terminal, with its convention and what it omits."""
    lines = []
    for witness in witnesses:
        macs = "none" if witness.macs is None else f"{witness.macs:,}"
        lines.append(f"{witness.name:<27} {macs:>18}  {witness.status}: {witness.convention}")
        if witness.reason:
            lines.append(f"{'':<27} {'':>18}  {witness.reason}")
    return "\n".join(lines)


def time_table(timing: Timing) -> str:
    """Draw the time of every layer for the terminal, with its spread and correlations."""
    bare, names = timing.bare, [layer.name for layer in timing.layers]
    width = max(map(len, ["layer", *names]))
    lines = [
        f"{seconds(bare.median)} for the bare forward pass, middle half {seconds(bare.low)} to"
        f" {seconds(bare.high)}, {plural(timing.rounds, 'run')} on {timing.device}"
        f" ({timing.device_title}), {timing.prediction.dtype};"
        f" {seconds(timing.hooked.median)} with a clock at each layer",
        "",
        f"{'layer':<{width}}  {'median':>8}  middle half",
    ]
    for layer in timing.layers:
        spread = layer.spread
        if layer.resolved:
            half = f"{seconds(spread.low)} to {seconds(spread.high)}"
            lines.append(f"{layer.name:<{width}}  {seconds(spread.median):>8}  {half}")
        else:
            lines.append(f"{layer.name:<{width}}  {'':>8}  too short to measure")
    lines.append("")
    for quantity, title in (("macs", "MACs"), ("activations", "activations")):
        r = timing.correlation(quantity)
        found = "too few layers to tell" if r is None else f"r = {r:.2f} over the layers"
        lines.append(
            f"time against {title}: {found}; the paper has {PRINTED_CORRELATIONS[quantity]} over"
            " whole models on a GPU"
        )
    lines.append(f"a layer that does nothing measures {seconds(timing.floor)}")
    return "\n".join(lines)


def paper_table() -> str:
    """Draw the paper's Tables 1 and 3 beside our exact numbers, with misprints marked."""
    titles = ("", "", "MACs", "printed", "params", "printed", "acts", "printed")
    rows: list[tuple[str, ...]] = [titles]
    notes = []
    for row in PRINTED:
        verdicts = row.verdicts()
        cells = [row.table, row.row]
        for quantity, number in row.numbers().items():
            word = {"rounds to it": "", "about": "about ", "misprint": "not "}[verdicts[quantity]]
            cells += [f"{number:,}", f"{word}{getattr(row, quantity)}"]
        rows.append(tuple(cells))
        if row.misprint:
            notes.append(f"{row.table}, {row.row}: {row.misprint}.")
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(titles))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in rows
    ]
    return "\n".join((*lines, "", *notes))
