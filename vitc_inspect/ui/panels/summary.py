"""The headline and the status of a stem's page: how many tokens, why, and whether a run agrees."""

from __future__ import annotations

from dataclasses import replace

from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.stem.cost import shares
from vitc_inspect.stem.derivations import explain_totals
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.spec import StemSpec, patchify_stem
from vitc_inspect.ui.panels.elements import badge, equation, facts_table, figures, fold
from vitc_inspect.views import text
from vitc_inspect.views.cause import cause_sentence, sizes_on_the_way
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag

_MOST_NAMES = 3  # layers that a sentence names


def totals_html(prediction: Prediction) -> Markup:
    """Draw the headline with its cause, then MACs, params and receptive field."""
    values: dict[Markup, Content] = {
        term("macs", "MACs"): join(text.count(prediction.macs), _beside_patchify(prediction)),
        term("params", "params"): text.count(prediction.params),
        term("receptive_field", "receptive field"): f"{prediction.receptive_field:,} px",
    }
    return join(
        tag("div.headline", _headline(prediction), _cause(prediction)),
        figures(values),
        fold("How is this computed?", _totals_explained_html(prediction), css="how"),
    )


def _headline(prediction: Prediction) -> Markup:
    """How many tokens come out of how many pixels."""
    height, width = prediction.spec.image_size
    rows, columns = prediction.grid_size
    tokens = text.plural(prediction.num_patches, "token")
    return fill(
        '<h2 data-seq-len="{}"><span class="area">{:,} × {:,}</span> pixels become'
        ' <span class="area">{:,} × {:,}</span> = <strong class="token">{}</strong></h2>',
        *(prediction.seq_len, height, width, rows, columns, tokens),
    )


def _cause(prediction: Prediction) -> Markup:
    """The sizes on the way and what divides them, then what is added to the sequence."""
    added = []
    if prediction.num_prefix_tokens:
        made = fill('<strong class="token">{:,}</strong>', prediction.seq_len)
        added.append(join(" A class token makes it ", made, "."))
    if not prediction.spec.position_table:
        added.append(join(" There is no position table."))
    return tag(
        "p.cause",
        tag("span.area", sizes_on_the_way(prediction)),
        f": {cause_sentence(prediction)}.",
        *added,
    )


def _beside_patchify(prediction: Prediction) -> str:
    """The work of the stem beside that of one convolution with its stride as kernel."""
    spec = prediction.spec
    patchify = _patchify_of(spec)
    if patchify is None or len(spec.convs) == 1:
        return ""
    ratio = prediction.stem_macs / patchify.stem_macs
    stem = "" if prediction.vit is None else "stem "
    words = f"a patchify stem of {spec.total_stride}×{spec.total_stride} pixels and"
    words += f" {spec.embed_dim} channels takes {text.count(patchify.stem_macs)} MACs"
    return tag("small", f"{stem}{text.number(ratio, 2)} × patchify", title=words)


def _patchify_of(spec: StemSpec) -> Prediction | None:
    """The prediction of a patchify stem with the same stride and width; None if none fits."""
    try:
        other = patchify_stem(spec.total_stride, spec.embed_dim)
        return predict(replace(other, image_size=spec.image_size, in_channels=spec.in_channels))
    except SpecError:
        return None


def _totals_explained_html(prediction: Prediction) -> Markup:
    """How the totals are computed: from image size to tokens, and the terms of each sum."""
    formulas = explain_totals(prediction)
    lines = {
        **_sides_explained(prediction),
        "image tokens": equation(formulas["num_patches"]),
        "tokens": equation(formulas["seq_len"]),
        "width": fill("<b>{:,}</b> numbers in each token", prediction.embed_dim),
        "stride, px": equation(formulas["total_stride"]) + ", from one token to the next",
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


def status_html(prediction: Prediction, report: Report | None) -> Markup:
    """Draw the status: whether the layers agree with the run, on which device, and warnings."""
    lost = [f"⚠ {said}." for layer in prediction.layers if (said := text.unread(layer))]
    if report is None:
        before = tag("span.badge.predicted", f"predicted, {prediction.dtype}")
        return join(before, *(tag("span.warning", words) for words in lost))
    if report.not_finite:
        lost.append(f"⚠ {report.not_finite}.")
    ran = (report.device, report.device_title, prediction.dtype, report.weights)
    return join(
        _badge(report),
        " ",
        tag("span.soft", " · ".join(filter(None, ran))),
        *(tag("span.warning", words) for words in lost),
        *(tag("span.soft.note", note) for note in report.run_notes),
    )


def _badge(report: Report) -> Markup:
    """That the prediction was checked against a run, and the layers that differ."""
    apart = [row.name for row in report.rows if not row.agrees]
    whole = len(report.rows)
    if not apart:
        return badge(True, f"checked against a real run, {whole} of {whole} layers")
    named = ", ".join(apart[:_MOST_NAMES])
    more = f" and {len(apart) - _MOST_NAMES} more" if len(apart) > _MOST_NAMES else ""
    return badge(
        False, f"{whole - len(apart)} of {whole} layers agree with the run, not {named}{more}"
    )
