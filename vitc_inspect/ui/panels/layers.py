"""The table of a stem's layers: what changes the shape, its formula, prediction and observation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

from vitc_inspect.inspection.stem_report import Report, StemRow, rows_before_the_run
from vitc_inspect.stem.derivations import explain_layer
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.stem.spec import ConvLayer
from vitc_inspect.ui.panels.elements import button, number_or_dot, table_row
from vitc_inspect.views import text
from vitc_inspect.views.blocks import coloured_shape
from vitc_inspect.views.cause import size_formula
from vitc_inspect.views.html import Content, Markup, join, tag

_POINTWISE = ("norm", "activation")
"""Kinds of layers that change numbers and no shape; their rows are folded away."""
_FIGURES = ("params", "MACs", "field, px")
"""Columns that are shown where there is room, or on demand."""
_TIES = tag("p.ties", data_ties=True, role="status")
_MARKS = {True: ("agrees", "✓"), False: ("differs", "✗")}


def table_html(
    prediction: Prediction, report: Report | None, selected: str, *, unfolded: bool
) -> Markup:
    """Draw a row for each layer with its formula and its shape, predicted and observed.

    Norms and activations of the stem are marked "pointwise", for the style sheet to fold away. The
    transformer blocks are one line, which opens the layers of the first of them and any that does
    not agree; `unfolded` or a selected layer opens it at once.
    """
    ran = report is not None
    rows = report.rows if report else rows_before_the_run(prediction)
    blocks = [row for row in rows if row.block not in (None, "head")]
    inside = [row for row in blocks if row.block == "block1" or (ran and not row.agrees)]
    opened = unfolded or selected in [row.name for row in inside]
    before = list(takewhile(lambda row: row not in blocks, rows))
    after = [row for row in rows[len(before) :] if row not in blocks]
    line = partial(_rows_of, prediction=prediction, selected=selected, ran=ran)
    bodies = [tag("tbody", *map(line, before))]
    if blocks:
        bodies = [
            tag("tbody", *map(line, before), _fold_row(blocks, opened=opened, ran=ran)),
            tag("tbody", *map(line, inside), data_inside=True, hidden=not opened),
            tag("tbody", *map(line, after)),
        ]
    return join(
        tag("table", _head(), *bodies, class_=None if ran else "unconfirmed"),
        tag("div.table-foot", _pointwise_button(before), _figures_button(), _TIES),
    )


def _head() -> Markup:
    """The head; a column of numbers sorts the rows."""
    sortable = [
        tag("th.figure", button(title, data_sort=at, css="sort"), scope="col")
        for at, title in enumerate(_FIGURES, start=5)
    ]
    words = ("layer", "formula", "predicted", "observed", tag("span.unseen-words", "verdict"))
    return tag("thead", tag("tr", *(tag("th", word, scope="col") for word in words), *sortable))


def _pointwise_button(rows: Sequence[StemRow]) -> Content:
    """What shows the rows of norms and activations; nothing where there are none."""
    kinds = [_kind(row) for row in rows if row.predicted and row.predicted.stage]
    norms, activations = (kinds.count(kind) for kind in _POINTWISE)
    if not norms + activations:
        return ""
    what = " and ".join(
        word for word, many in (("norms", norms), ("activations", activations)) if many
    )
    words = f"{norms + activations} {what}"
    return button(words, css="fold-button", data_show="pointwise", aria_expanded=False)


def _figures_button() -> Markup:
    words = "params, MACs, receptive field"
    return button(words, css="fold-button", data_show="figures", aria_expanded=False)


def _rows_of(row: StemRow, *, prediction: Prediction, selected: str, ran: bool) -> Markup:
    """The row of a layer, and under it what differs, if anything does."""
    kind, chosen = _kind(row), row.name == selected
    differs = ran and not row.agrees
    pointwise = kind in _POINTWISE and row.block is None
    css = " ".join(
        filter(
            None,
            (kind, "pointwise" * pointwise, "differs-row" * differs, "chosen" * chosen),
        )
    )
    name = button(row.name, aria_pressed=chosen)
    cells = _cells(row, _formula(prediction, row.predicted), ran=ran)
    line = table_row(name, *cells, data_layer=row.name, class_=css)
    return join(line, _apart(row)) if differs else line


def _cells(row: StemRow, formula: Content, *, ran: bool) -> list[Markup]:
    """The cells after the layer's name."""
    predicted, observed = row.predicted, row.observed
    seen: Content = ""
    if ran:
        seen = coloured_shape(observed.out_shape[1:]) if observed else "never ran"
    said = _mark(row.verdict) if ran else ""
    cells = [tag("td.formula", formula)]
    if predicted is None:
        return [*cells, *(tag("td", cell) for cell in ("not predicted", seen, said, "", "", ""))]
    figures = (
        number_or_dot(predicted.params, f"{predicted.params:,}"),
        number_or_dot(predicted.macs, text.count(predicted.macs)),
        f"{predicted.receptive_field:,}",
    )
    values = (predicted.params, predicted.macs, predicted.receptive_field)
    return [
        *cells,
        *(tag("td", cell) for cell in (coloured_shape(predicted.out_shape), seen, said)),
        *(
            tag("td.figure", figure, data_value=value)
            for figure, value in zip(figures, values, strict=True)
        ),
    ]


def _mark(verdict: str) -> Markup:
    """One mark for a row: a check mark where it agrees, a cross where it does not."""
    css, mark = _MARKS[verdict == "agrees"]
    return tag("span", mark, class_=f"mark {css}", role="img", aria_label=verdict, title=verdict)


def _apart(row: StemRow) -> Markup:
    """What of a row differs, quantity by quantity."""
    predicted, observed = row.predicted, row.observed
    if observed is None:
        words = "The run never called this layer."
    elif predicted is None:
        words = "The run called this layer, and it was not predicted."
    else:
        pairs = {
            "shape": (text.shape(predicted.out_shape), text.shape(observed.out_shape[1:])),
            "input": (text.shape(predicted.in_shape), text.shape(observed.in_shape[1:])),
            **{
                name: (f"{getattr(predicted, name):,}", f"{number:,}")
                for name in ("params", "macs", "bytes")
                if (number := getattr(observed, name)) is not None
            },
        }
        words = "; ".join(
            f"{name}: predicted {said}, observed {seen}"
            for name, (said, seen) in pairs.items()
            if said != seen
        )
    return tag("tr.apart", tag("td", words, colspan=8))


def _formula(prediction: Prediction, layer: LayerPrediction | None) -> Content:
    """What makes the height and the width, or the number of tokens, with the numbers filled in."""
    if layer is None:
        return ""
    if layer.kind == "conv":
        convs = {stage.name: stage.conv for stage in prediction.spec.stages}
        return _sides(layer, convs[layer.name])
    tokens = explain_layer(prediction, layer.name).get("tokens", "")
    return tokens.rpartition(" = ")[0]


def _sides(layer: LayerPrediction, conv: ConvLayer) -> Content:
    """The formula of both sides; a line each where they differ."""
    lines = list(dict.fromkeys(size_formula(side, conv) for side in layer.in_shape[1:]))
    return join(*lines, separator=tag("br"))


def _kind(row: StemRow) -> str:
    return row.predicted.kind if row.predicted else "unpredicted"


def _fold_row(blocks: list[StemRow], *, opened: bool, ran: bool) -> Markup:
    """The row of all transformer blocks: the last output, and the sums of their costs."""
    layers = [row.predicted for row in blocks if row.predicted]
    names = list(dict.fromkeys(layer.block for layer in layers))
    whole = StemRow(
        name=text.plural(len(names), "block"),
        predicted=replace(
            layers[-1],
            name="blocks",
            params=sum(layer.params for layer in layers),
            macs=sum(layer.macs for layer in layers),
        ),
        observed=blocks[-1].observed,
        verdicts={"all": all(row.agrees for row in blocks)},
    )
    name = button(whole.name, data_fold=True, aria_expanded=opened)
    return table_row(name, *_cells(whole, "", ran=ran), data_fold_row=True, class_=_kind(whole))
