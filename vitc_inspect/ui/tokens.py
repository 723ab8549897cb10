"""The token and pixel panels: from cells to tokens, and which pixels each token reads."""

from __future__ import annotations

from vitc_inspect.prediction import Prediction
from vitc_inspect.report import Bench, Report


def tokens_html(bench: Bench, report: Report, *, token: str, width: int) -> str:
    """The token grid over the image, one token's field by formula and by gradient, its likeness.

    Args:
        bench: The stem, ready to run; run it inside `bench.normalising()`.
        report: What the run found.
        token: "row,column" in the grid; whatever else stands for the middle one.
        width: Width of the panel (pixels).
    """
    return ""


def pixels_html(prediction: Prediction, report: Report | None, *, width: int) -> str:
    """How many tokens read each pixel, and which pixels nobody reads.

    Args:
        prediction: The prediction.
        report: The run, or None before it.
        width: Width of the panel (pixels).
    """
    return ""
