"""The parts of the page as HTML, each from a prediction, a report or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.inspection.stem_report import Report, StemRow, rows_before_the_run
from vitc_inspect.stem.cost import shares
from vitc_inspect.stem.derivations import explain_layer, explain_totals
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.stem.spec import conv_names
from vitc_inspect.views import text

_NORMS = {"none": "–", "batch": "bn", "layer": "ln"}
_YES_NO = {"1": "yes", "0": "no"}
_ACTIVATIONS = {
    "none": "–",
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "hardswish": "hardswish",
}
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


_AXES = {
    "sides": slice(1, 3),
    "height": slice(1, 2),
    "width": slice(2, 3),
    "tokens": slice(0, 1),
}
"""The part of a shape that a quantity is."""


def totals_html(prediction: Prediction) -> str:
    """The sequence length, large, then what the stem costs and sees."""
    rows, columns = prediction.grid_size
    prefix = " + 1 class token" if prediction.num_prefix_tokens else ""
    without = "" if prediction.spec.position_table else " · no position table"
    params = f"{text.count(prediction.stem_params)} / {text.count(prediction.params)}"
    figures = {
        "MACs": text.count(prediction.macs),
        "FLOPs, 2 a MAC": text.count(2 * prediction.macs),
        "params, stem / all": params,
        "activations": text.count(prediction.activations),
        "width": str(prediction.embed_dim),
        "stride, px": str(prediction.total_stride),
        "field, px": str(prediction.receptive_field),
    }
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    return (
        f'<p class="length"><strong>{prediction.seq_len:,}</strong> tokens'
        f' <span class="soft">= <span class="area">{rows} × {columns}</span>'
        f"{prefix}{without}</span></p>"
        f"<dl>{shown}</dl>"
        '<details class="how"><summary>how these come about</summary>'
        f"{_totals_explained_html(prediction)}</details>"
    )


def _totals_explained_html(prediction: Prediction) -> str:
    """From the image's sides to its tokens, and what each part adds to a total."""
    formulas = explain_totals(prediction)
    lines = {
        **_sides_explained(prediction),
        "image tokens": _separated(formulas["num_patches"]),
        "tokens": _separated(formulas["seq_len"]),
        "width": f"<b>{prediction.embed_dim:,}</b> numbers in each token",
        "stride, px": f"{_separated(formulas['total_stride'])}, from one token to the next",
        "field, px": f"<b>{prediction.receptive_field:,}</b> a side: the receptive field, what one"
        " token of the stem sees, padding included",
        "MACs": f"{_added_up(prediction, 'macs')}: multiply-accumulates of convolutions, linear"
        " layers and attention's products; biases, norms, activations and softmax are not counted",
        "params": f"{_added_up(prediction, 'params')}; those of the stem are"
        f" <b>{prediction.stem_params:,}</b>",
        "activations": f"{_added_up(prediction, 'activations')}: the numbers that convolutions and"
        " matrix products put out",
    }
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{words}</td></tr>' for name, words in lines.items()
    )
    return f'<table class="totals-explained"><tbody>{rows}</tbody></table>'


def _sides_explained(prediction: Prediction) -> dict[str, str]:
    """How many rows and columns each convolution leaves, which is why there are so many tokens."""
    convs = [layer for layer in prediction.layers if layer.kind == "conv"]
    shapes = [prediction.spec.image_size, *(layer.out_shape[1:] for layer in convs)]
    rows, columns = (" → ".join(f"{n:,}" for n in ways) for ways in zip(*shapes, strict=True))
    rule = "; of n a convolution makes floor((n + 2·pad − kernel) / stride) + 1"
    if any(stage.conv.dilation > 1 for stage in prediction.spec.stages):
        rule += ", where a dilated kernel counts as dilation·(kernel − 1) + 1"
    if rows == columns:
        return {"rows, columns": rows + rule}
    return {"rows": rows + rule, "columns": columns}


def _added_up(prediction: Prediction, quantity: str) -> str:
    """A total as the sum of its parts, each with its name."""
    parts = [(part.name, getattr(part, quantity)) for part in shares(prediction)]
    terms = " + ".join(
        f'<span class="soft">{name}</span> {number:,}' for name, number in parts if number
    )
    return f"{terms} = <b>{sum(number for _, number in parts):,}</b>"


def _separated(equation: str) -> str:
    """An equation whose result has separators of thousands."""
    left, _, right = equation.rpartition(" = ")
    return f"{left} = <b>{int(right):,}</b>"


def status_html(prediction: Prediction, report: Report | None) -> str:
    """What has been confirmed so far, and on what."""
    lost = "".join(
        f'<span class="warning">⚠ {sentence}.</span>'
        for layer in prediction.layers
        if (sentence := text.unread(layer))
    )
    if report is None:
        return f'<span class="badge predicted">predicted, {prediction.dtype}</span>{lost}'
    notes = "".join(f'<span class="soft note">{escape(note)}</span>' for note in report.run_notes)
    if report.not_finite:
        lost += f'<span class="warning">⚠ {report.not_finite}.</span>'
    weights = f" · {escape(report.weights)}" if report.weights else ""
    agreeing = sum(row.agrees for row in report.rows)
    state, mark = ("agrees", "✓") if not report.disagreements else ("differs", "✗")
    return (
        f'<span class="badge {state}">{mark} {agreeing} of {len(report.rows)} layers agree</span>'
        f' <span class="soft">{escape(report.device)} · {escape(report.device_title)} ·'
        f" {prediction.dtype}{weights}</span>{lost}{notes}"
    )


def table_html(
    prediction: Prediction, report: Report | None, selected: str, *, unfolded: bool
) -> str:
    """Predicted beside observed, a line for each layer; the layer's name is a button.

    The transformer blocks are one line, which opens the layers of the first of them and any
    that does not agree; `unfolded` or a selected layer opens it at once.
    """
    ran = report is not None
    rows = report.rows if report else rows_before_the_run(prediction)
    blocks = [row for row in rows if row.block not in (None, "head")]
    lines = ""
    for row in rows:
        if row not in blocks:
            lines += _table_row(row, selected, ran=ran)
        elif row is blocks[0]:
            shown = [r for r in blocks if r.block == "block1" or (ran and not r.agrees)]
            opened = unfolded or selected in [r.name for r in shown]
            lines += _fold_row(blocks, opened=opened, ran=ran)
            inner = "".join(_table_row(r, selected, ran=ran) for r in shown)
            lines += (
                f"</tbody><tbody data-inside{'' if opened else ' hidden'}>{inner}</tbody><tbody>"
            )
    return (
        f'<table class="{"" if ran else "unconfirmed"}"><thead><tr>'
        '<th scope="col">layer</th><th scope="col">predicted</th>'
        '<th scope="col">observed</th><th scope="col">verdict</th><th scope="col">params</th>'
        '<th scope="col">MACs</th><th scope="col" title="receptive field, pixels">field</th>'
        f"</tr></thead><tbody>{lines}</tbody></table>"
    )


def editor_html(rows: Sequence[Mapping[str, str]]) -> str:
    """A line of controls for each convolution, from the texts they are to hold."""
    names = conv_names(len(rows))
    return "".join(
        _editor_row(name, row, removable=len(rows) > 1)
        for name, row in zip(names, rows, strict=True)
    )


def error_html(error: SpecError) -> str:
    """One sentence and, where a value is known to work, a button that takes it."""
    button = ""
    if error.suggestion is not None:
        button = ' <button type="button" data-use>Use it</button>'
    return f'<p role="alert">{escape(str(error))}{button}</p>'


def explanations_html(explanations: Sequence[Explanation], *, most: int = 3) -> str:
    """What a pasted error means: the first reading large, the others a line each.

    What lies behind a line opens with it; the lines beyond `most` readings are folded away.
    """
    if not explanations:
        return '<p class="remark">This error is not known here.</p>'
    first, *others = explanations
    lines = [_line_html(one) for one in others]
    shown, behind = lines[: most - 1], "".join(lines[most - 1 :])
    if behind:
        more = text.plural(len(lines) - most + 1, "less likely reading")
        behind = (
            f"<details class='fold rest'><summary>{more}</summary><div>{behind}</div></details>"
        )
    return f'<div class="likeliest">{explanation_html(first)}</div>{"".join(shown)}{behind}'


def _line_html(one: Explanation) -> str:
    """A reading on one line, its reason and its fixes behind it."""
    fixes = "".join(f"<li>{escape(fix)}</li>" for fix in one.fixes)
    return (
        f'<details class="fold reading"><summary>{one.likelihood}: {escape(one.sentence)}</summary>'
        f"<article><p>{escape(one.because)}.</p><ul>{fixes}</ul></article></details>"
    )


def explanation_html(one: Explanation) -> str:
    """One sentence, why it is thought so, and the ways out."""
    fixes = "".join(f"<li>{escape(fix)}</li>" for fix in one.fixes)
    return (
        f"<article><p><b>{escape(one.sentence)}</b>"
        f' <span class="soft">{one.likelihood}: {escape(one.because)}.</span></p>'
        f"<ul>{fixes}</ul></article>"
    )


def coloured_shape(shape: tuple[int, ...]) -> str:
    """A shape with the colours of its axes: channels and area, or tokens and channels."""
    if len(shape) == 3:
        return (
            f'<span class="channels">{shape[0]}</span>×'
            f'<span class="area">{shape[1]}×{shape[2]}</span>'
        )
    if len(shape) == 1:
        return f'<span class="channels">{shape[0]}</span>'
    return f'<span class="token">{shape[0]}</span>×<span class="channels">{shape[1]}</span>'


def _table_row(row: StemRow, selected: str, *, ran: bool) -> str:
    predicted, observed = row.predicted, row.observed
    chosen = row.name == selected
    if not ran:
        seen, verdict = "", ""
    else:
        seen = coloured_shape(observed.out_shape[1:]) if observed else "never ran"
        word = row.verdict
        mark = "✓" if word == "agrees" else "✗"
        verdict = (
            f'<span class="{"agrees" if word == "agrees" else "differs"}">{mark} {word}</span>'
        )
    if predicted is None:
        cells = "<td>not predicted</td>"
        figures = "<td></td><td></td><td></td>"
    else:
        cells = f"<td>{coloured_shape(predicted.out_shape)}</td>"
        figures = (
            f"<td>{_or_dot(predicted.params, f'{predicted.params:,}')}</td>"
            f"<td>{_or_dot(predicted.macs, text.count(predicted.macs))}</td>"
            f"<td>{predicted.receptive_field}</td>"
        )
    return (
        f'<tr data-layer="{escape(row.name)}" class="{_kind(row)}{" chosen" if chosen else ""}">'
        f'<th scope="row"><button type="button" aria-pressed="{str(chosen).lower()}">'
        f"{escape(row.name)}</button></th>{cells}<td>{seen}</td><td>{verdict}</td>{figures}</tr>"
    )


def _kind(row: StemRow) -> str:
    return row.predicted.kind if row.predicted else "unpredicted"


def _fold_row(blocks: list[StemRow], *, opened: bool, ran: bool) -> str:
    """All transformer blocks in one line: what leaves the last, and what they cost together."""
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
    line = _table_row(whole, "", ran=ran)
    button = f'<button type="button" data-fold aria-expanded="{str(opened).lower()}">'
    return line.replace('<button type="button" aria-pressed="false">', button).replace(
        f'data-layer="{whole.name}"', "data-fold-row"
    )


def _or_dot(number: int, words: str) -> str:
    """The number in words; a dot where it is nothing, so that what costs stands out."""
    return words if number else '<span class="soft">·</span>'


def formulas_html(prediction: Prediction, report: Report | None, layer: LayerPrediction) -> str:
    """Each quantity with its formula, and beside it what was observed."""
    row = next((row for row in report.rows if row.name == layer.name), None) if report else None
    equations = explain_layer(prediction, layer.name)
    if equations.get("height") and equations.get("height") == equations.get("width"):
        equations = {"sides": equations["height"], **equations}
        del equations["height"], equations["width"]
    lines = []
    for quantity, equation in equations.items():
        left, _, right = equation.rpartition(" = ")
        lines.append(
            f'<tr><th scope="row">{_QUANTITY_TITLES[quantity]}</th>'
            f"<td>{left} = <b>{int(right):,}</b></td><td>{_seen(row, quantity)}</td></tr>"
        )
    return f'<table class="formulas"><tbody>{"".join(lines)}</tbody></table>'


def _seen(row: StemRow | None, quantity: str) -> str:
    """What the hook saw of a quantity, with a mark, or that nothing was observed."""
    if row is None or row.observed is None or row.predicted is None:
        return ""
    observed, predicted = row.observed.out_shape[1:], row.predicted.out_shape
    seen: int | tuple[int, ...] | None
    foreseen: int | tuple[int, ...]
    if quantity in _AXES:
        seen, foreseen = observed[_AXES[quantity]], predicted[_AXES[quantity]]
    elif quantity in ("params", "macs", "bytes"):
        seen, foreseen = getattr(row.observed, quantity), getattr(row.predicted, quantity)
    else:
        return '<span class="soft">predicted</span>'
    if seen is None:
        return '<span class="soft">not counted</span>'
    if seen == foreseen:
        return '<span class="agrees">✓ observed</span>'
    value = text.shape(seen) if isinstance(seen, tuple) else f"{seen:,}"
    return f'<span class="differs">✗ observed {value}</span>'


def _editor_row(name: str, row: Mapping[str, str], *, removable: bool) -> str:
    default_bias = "1" if row["norm"] == "none" else "0"
    more = (row["dilation"], row["groups"], row["bias"]) != ("1", "1", default_bias)
    remove = (
        f'<button type="button" class="remove" data-remove aria-label="remove {name}">×</button>'
        if removable
        else ""
    )
    return (
        f'<div class="row{" open" if more else ""}" data-row="{name}">'
        f'<span class="row-name">{name}</span>'
        + _number(name, row, "kernel_size", 1)
        + _number(name, row, "stride", 1)
        + _number(name, row, "padding", 0)
        + _number(name, row, "out_channels", 1)
        + _select(name, row, "norm", _NORMS)
        + _select(name, row, "activation", _ACTIVATIONS)
        + f'<button type="button" class="more" data-more aria-label="more of {name}"'
        f' aria-expanded="{str(more).lower()}">⋯</button>{remove}'
        f'<div class="extra"><label>dilation {_number(name, row, "dilation", 1)}</label>'
        f"<label>groups {_number(name, row, 'groups', 1)}</label>"
        f"<label>bias {_select(name, row, 'bias', _YES_NO)}</label></div></div>"
    )


def _number(name: str, row: Mapping[str, str], field: str, least: int) -> str:
    return (
        f'<input type="number" inputmode="numeric" min="{least}" step="1"'
        f' value="{escape(row[field])}" data-part="{field}"'
        f' aria-label="{name} {field.replace("_", " ")}">'
    )


def _select(name: str, row: Mapping[str, str], field: str, titles: Mapping[str, str]) -> str:
    options = "".join(
        f'<option value="{key}"{" selected" if key == row[field] else ""}>{title}</option>'
        for key, title in titles.items()
    )
    return f'<select data-part="{field}" aria-label="{name} {field}">{options}</select>'
