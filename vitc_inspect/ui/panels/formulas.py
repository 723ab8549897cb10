"""The formulas of one layer, each beside what the run saw."""

from __future__ import annotations

from vitc_inspect.inspection.stem_report import Report, StemRow
from vitc_inspect.stem.derivations import explain_layer
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.ui.panels.elements import equation, facts_table, observed_mark
from vitc_inspect.views.html import Markup, tag

_QUANTITY_TITLES = {
    "sides": "side, px",
    "height": "height, px",
    "width": "width, px",
    "tokens": "tokens",
    "params": "params",
    "macs": "MACs",
    "activations": "acts",
    "bytes": "bytes",
    "receptive_field": "field, px",
    "jump": "jump, px",
    "last_row_read": "last row read",
    "last_column_read": "last column read",
}
_AXES = {"sides": slice(1, 3), "height": slice(1, 2), "width": slice(2, 3), "tokens": slice(0, 1)}
"""The part of a shape that is a quantity."""


def formulas_html(prediction: Prediction, report: Report | None, layer: LayerPrediction) -> Markup:
    """Draw a table of a layer's quantities with their formulas and whether they were observed."""
    row = next((row for row in report.rows if row.name == layer.name), None) if report else None
    equations = explain_layer(prediction, layer.name)
    if equations.get("height") and equations.get("height") == equations.get("width"):
        equations = {"sides": equations["height"], **equations}
        del equations["height"], equations["width"]
    lines = [
        (_QUANTITY_TITLES[quantity], equation(formula), _seen(row, quantity))
        for quantity, formula in equations.items()
    ]
    return facts_table("formulas", lines)


def _seen(row: StemRow | None, quantity: str) -> str:
    """Whether the observed quantity agrees with the prediction."""
    if row is None or row.observed is None or row.predicted is None:
        return ""
    if quantity in _AXES:
        seen = row.observed.out_shape[1:][_AXES[quantity]]
        return observed_mark(seen == row.predicted.out_shape[_AXES[quantity]], seen)
    if quantity not in ("params", "macs", "bytes"):
        return tag("span.soft", "predicted")
    number = getattr(row.observed, quantity)
    if number is None:
        return tag("span.soft", "not counted")
    return observed_mark(number == getattr(row.predicted, quantity), number)
