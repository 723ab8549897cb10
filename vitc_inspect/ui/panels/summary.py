"""The summary, the status, the table and the editor of a stem's page, and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import takewhile

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.inspection.stem_report import Report, StemRow, rows_before_the_run
from vitc_inspect.stem.cost import shares
from vitc_inspect.stem.derivations import explain_layer, explain_totals
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.stem.spec import conv_names
from vitc_inspect.ui.panels.elements import (
    badge,
    button,
    facts_table,
    figures,
    fold,
    number_or_dot,
    observed_mark,
    remark,
    table_row,
    verdict,
)
from vitc_inspect.views import text
from vitc_inspect.views.blocks import coloured_shape
from vitc_inspect.views.html import Content, Markup, fill, join, tag

_NORMS = {"none": "–", "batch": "bn", "layer": "ln"}
_YES_NO = {"1": "yes", "0": "no"}
_ACTIVATIONS = {"none": "–", **{name: name for name in ("relu", "gelu", "silu", "hardswish")}}
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
_COLUMNS = ("layer", "predicted", "observed", "verdict", "params", "MACs")


def totals_html(prediction: Prediction) -> Markup:
    """Draw the sequence length, then MACs, params, activations and receptive field."""
    rows, columns = prediction.grid_size
    prefix = " + 1 class token" if prediction.num_prefix_tokens else ""
    without = "" if prediction.spec.position_table else " · no position table"
    params = f"{text.count(prediction.stem_params)} / {text.count(prediction.params)}"
    values = {
        "MACs": text.count(prediction.macs),
        "FLOPs, 2 a MAC": text.count(2 * prediction.macs),
        "params, stem / all": params,
        "activations": text.count(prediction.activations),
        "width": str(prediction.embed_dim),
        "stride, px": str(prediction.total_stride),
        "field, px": str(prediction.receptive_field),
    }
    return join(
        fill(
            '<p class="length"><strong>{:,}</strong> tokens <span class="soft">='
            ' <span class="area">{} × {}</span>{}{}</span></p>',
            *(prediction.seq_len, rows, columns, prefix, without),
        ),
        figures(values),
        fold("how these come about", _totals_explained_html(prediction), css="how"),
    )


def _totals_explained_html(prediction: Prediction) -> Markup:
    """How the totals are computed: from image size to tokens, and the terms of each sum."""
    formulas = explain_totals(prediction)
    lines = {
        **_sides_explained(prediction),
        "image tokens": _separated(formulas["num_patches"]),
        "tokens": _separated(formulas["seq_len"]),
        "width": fill("<b>{:,}</b> numbers in each token", prediction.embed_dim),
        "stride, px": _separated(formulas["total_stride"]) + ", from one token to the next",
        "field, px": fill(
            "<b>{:,}</b> a side: the receptive field, what one token of the stem sees, padding"
            " included",
            prediction.receptive_field,
        ),
        "MACs": _added_up(prediction, "macs")
        + ": multiply-accumulates of convolutions, linear layers and attention's products; biases,"
        " norms, activations and softmax are not counted",
        "params": _added_up(prediction, "params")
        + fill("; those of the stem are <b>{:,}</b>", prediction.stem_params),
        "activations": _added_up(prediction, "activations")
        + ": the numbers that convolutions and matrix products put out",
    }
    return facts_table("totals-explained", lines.items())


def _sides_explained(prediction: Prediction) -> dict[str, str]:
    """Rows and columns after each convolution, with the formula."""
    convs = [layer for layer in prediction.layers if layer.kind == "conv"]
    shapes = [prediction.spec.image_size, *(layer.out_shape[1:] for layer in convs)]
    rows, columns = (" → ".join(f"{n:,}" for n in ways) for ways in zip(*shapes, strict=True))
    rule = "; of n a convolution makes floor((n + 2·pad − kernel) / stride) + 1"
    if any(stage.conv.dilation > 1 for stage in prediction.spec.stages):
        rule += ", where a dilated kernel counts as dilation·(kernel − 1) + 1"
    if rows == columns:
        return {"rows, columns": rows + rule}
    return {"rows": rows + rule, "columns": columns}


def _added_up(prediction: Prediction, quantity: str) -> Markup:
    """A total written as the sum of its named parts."""
    parts = [(part.name, getattr(part, quantity)) for part in shares(prediction)]
    terms = (
        fill('<span class="soft">{}</span> {:,}', name, number) for name, number in parts if number
    )
    total = sum(number for _, number in parts)
    return join(*terms, separator=" + ") + fill(" = <b>{:,}</b>", total)


def _separated(equation: str) -> Markup:
    """An equation with its result in bold, thousands separated."""
    left, _, right = equation.rpartition(" = ")
    return fill("{} = <b>{:,}</b>", left, int(right))


def status_html(prediction: Prediction, report: Report | None) -> Markup:
    """Draw the status: how many layers agree, on which device, and warnings."""
    lost = [f"⚠ {said}." for layer in prediction.layers if (said := text.unread(layer))]
    if report is None:
        before = tag("span.badge.predicted", f"predicted, {prediction.dtype}")
        return join(before, *(tag("span.warning", words) for words in lost))
    if report.not_finite:
        lost.append(f"⚠ {report.not_finite}.")
    agreeing = sum(row.agrees for row in report.rows)
    words = f"{agreeing} of {len(report.rows)} layers agree"
    ran = (report.device, report.device_title, prediction.dtype, report.weights)
    return join(
        badge(not report.disagreements, words),
        " ",
        tag("span.soft", " · ".join(filter(None, ran))),
        *(tag("span.warning", words) for words in lost),
        *(tag("span.soft.note", note) for note in report.run_notes),
    )


def table_html(
    prediction: Prediction, report: Report | None, selected: str, *, unfolded: bool
) -> Markup:
    """Draw a row for each layer with predicted and observed values; the name is a button.

    The transformer blocks are one line, which opens the layers of the first of them and any
    that does not agree; `unfolded` or a selected layer opens it at once.
    """
    ran = report is not None
    rows = report.rows if report else rows_before_the_run(prediction)
    blocks = [row for row in rows if row.block not in (None, "head")]
    inside = [row for row in blocks if row.block == "block1" or (ran and not row.agrees)]
    opened = unfolded or selected in [row.name for row in inside]
    before = list(takewhile(lambda row: row not in blocks, rows))
    after = [row for row in rows[len(before) :] if row not in blocks]
    line = partial(_table_row, selected=selected, ran=ran)
    bodies = [tag("tbody", *map(line, before))]
    if blocks:
        bodies = [
            tag("tbody", *map(line, before), _fold_row(blocks, opened=opened, ran=ran)),
            tag("tbody", *map(line, inside), data_inside=True, hidden=not opened),
            tag("tbody", *map(line, after)),
        ]
    titles = [tag("th", title, scope="col") for title in _COLUMNS]
    titles.append(tag("th", "field", scope="col", title="receptive field, pixels"))
    head = tag("thead", tag("tr", *titles))
    return tag("table", head, *bodies, class_=None if ran else "unconfirmed")


def editor_html(rows: Sequence[Mapping[str, str]]) -> Markup:
    """Draw a row of controls for each convolution, filled with the given texts."""
    names = conv_names(len(rows))
    lines = (
        _editor_row(name, tuple(row.items()), removable=len(rows) > 1)
        for name, row in zip(names, rows, strict=True)
    )
    return join(*lines)


def error_html(error: SpecError) -> Markup:
    """Draw an error as one sentence, with a button for the suggested value if there is one."""
    use = "" if error.suggestion is None else " " + button("Use it", data_use=True)
    return tag("p", str(error), use, role="alert")


def explanations_html(explanations: Sequence[Explanation], *, most: int = 3) -> Markup:
    """Draw the explanations of an error: the first in full, the others one line each.

    What lies behind a line opens with it; the lines beyond `most` readings are folded away.
    """
    if not explanations:
        return remark("This error is not known here.")
    first, *others = explanations
    lines = [_line_html(one) for one in others]
    shown, behind = lines[: most - 1], lines[most - 1 :]
    if behind:
        more = text.plural(len(behind), "less likely reading")
        shown.append(fold(more, tag("div", *behind), css="fold rest"))
    return join(tag("div.likeliest", explanation_html(first)), *shown)


def _line_html(one: Explanation) -> Markup:
    """An explanation on one line that opens to its reason and fixes."""
    behind = tag("article", tag("p", f"{one.because}."), _fixes(one))
    return fold(f"{one.likelihood}: {one.sentence}", behind, css="fold reading")


def _fixes(one: Explanation) -> Markup:
    return tag("ul", *(tag("li", fix) for fix in one.fixes))


def explanation_html(one: Explanation) -> Markup:
    """Draw an explanation: its sentence, its reason and its fixes."""
    why = tag("span.soft", f"{one.likelihood}: {one.because}.")
    return tag("article", tag("p", tag("b", one.sentence), " ", why), _fixes(one))


def _table_row(row: StemRow, selected: str, *, ran: bool) -> Markup:
    chosen = row.name == selected
    css = f"{_kind(row)} chosen" if chosen else _kind(row)
    name = button(row.name, aria_pressed=chosen)
    return table_row(name, *_cells(row, ran=ran), data_layer=row.name, class_=css)


def _cells(row: StemRow, *, ran: bool) -> list[Markup]:
    """The cells after the layer's name."""
    predicted, observed = row.predicted, row.observed
    seen, said = "", ""
    if ran:
        seen = coloured_shape(observed.out_shape[1:]) if observed else "never ran"
        word = row.verdict
        said = verdict(word == "agrees", word)
    cells: list[Content] = ["not predicted", seen, said, "", ""]
    if predicted is not None:
        cells = [
            *(coloured_shape(predicted.out_shape), seen, said),
            number_or_dot(predicted.params, f"{predicted.params:,}"),
            number_or_dot(predicted.macs, text.count(predicted.macs)),
            predicted.receptive_field,
        ]
    return [tag("td", cell) for cell in cells]


def _kind(row: StemRow) -> str:
    return row.predicted.kind if row.predicted else "unpredicted"


def _fold_row(blocks: list[StemRow], *, opened: bool, ran: bool) -> Markup:
    """The row of all transformer blocks: the last output, and the sums of their costs."""
    layers = [row.predicted for row in blocks if row.predicted]
    names = list(dict.fromkeys(layer.block for layer in layers))
    whole = StemRow(
        name=f"{len(names)} block{'' if len(names) == 1 else 's'}",
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
    return table_row(name, *_cells(whole, ran=ran), data_fold_row=True, class_=_kind(whole))


def formulas_html(prediction: Prediction, report: Report | None, layer: LayerPrediction) -> Markup:
    """Draw a table of a layer's quantities with their formulas and whether they were observed."""
    row = next((row for row in report.rows if row.name == layer.name), None) if report else None
    equations = explain_layer(prediction, layer.name)
    if equations.get("height") and equations.get("height") == equations.get("width"):
        equations = {"sides": equations["height"], **equations}
        del equations["height"], equations["width"]
    lines = [
        (_QUANTITY_TITLES[quantity], _separated(equation), _seen(row, quantity))
        for quantity, equation in equations.items()
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


@lru_cache(maxsize=256)  # most rows stay as they are while a person changes one
def _editor_row(name: str, fields: tuple[tuple[str, str], ...], *, removable: bool) -> Markup:
    row = dict(fields)
    default_bias = "1" if row["norm"] == "none" else "0"
    more = (row["dilation"], row["groups"], row["bias"]) != ("1", "1", default_bias)
    remove = button("×", css="remove", data_remove=True, aria_label=f"remove {name}")
    number = partial(_number, name, row)
    return fill(
        '<div class="{}" data-row="{name}"><span class="row-name">{name}</span>{}{}{}{}{}{}{}{}'
        '<div class="extra"><label>dilation {}</label><label>groups {}</label>'
        "<label>bias {}</label></div></div>",
        "row open" if more else "row",
        *map(number, ("kernel_size", "stride", "padding", "out_channels")),
        *(_select(name, row, "norm", _NORMS), _select(name, row, "activation", _ACTIVATIONS)),
        button("⋯", css="more", data_more=True, aria_label=f"more of {name}", aria_expanded=more),
        remove if removable else "",
        *(number("dilation"), number("groups"), _select(name, row, "bias", _YES_NO)),
        name=name,
    )


def _number(name: str, row: Mapping[str, str], field: str) -> Markup:
    return fill(
        '<input type="number" inputmode="numeric" min="{}" step="1" value="{}" data-part="{}"'
        ' aria-label="{} {}"/>',
        *(0 if field == "padding" else 1, row[field], field, name, field.replace("_", " ")),
    )


def _select(name: str, row: Mapping[str, str], field: str, titles: Mapping[str, str]) -> Markup:
    options = [
        tag("option", title, value=key, selected=key == row[field]) for key, title in titles.items()
    ]
    return tag("select", *options, data_part=field, aria_label=f"{name} {field}")
