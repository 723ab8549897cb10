"""The cell panel: one number of a convolution's output, and the arithmetic it came from."""

from __future__ import annotations

from vitc_inspect.report import Bench, Report


def cell_html(bench: Bench, report: Report, *, layer: str, cell: str, width: int) -> str:
    """One cell of a convolution's map taken apart.

    Args:
        bench: The stem, ready to run; run it inside `bench.normalising()`.
        report: What the run found.
        layer: Name of the selected layer, of any kind.
        cell: "channel,row,column" or "channel"; whatever else stands for the middle of channel 0.
        width: Width of the panel (pixels).
    """
    return ""
