"""The panels that weigh a model: where its work goes, how it grows, how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.other_counters import Witness
from vitc_inspect.probes.timing import LayerTime, Timing
from vitc_inspect.stem.cost import (
    Share,
    heights_that_fit,
    length_terms,
    shares,
    stem_cost,
    tokens_at,
)
from vitc_inspect.stem.memory import predicted_memory
from vitc_inspect.stem.paper import (
    PRINTED,
    PRINTED_CORRELATIONS,
    PrintedRow,
    printed_row,
)
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views import text
from vitc_inspect.views.plots import (
    Dot,
    image_size_plot,
    time_plot,
    tokens_plot,
    total_stride_plot,
)

_ADD_ENCODER = (
    '<button type="button" class="inline" data-add-encoder>Put the encoder behind the stem</button>'
)


def cost_html(prediction: Prediction, report: Report | None) -> str:
    """Where the work goes, what the stem is worth, what the paper prints, who else counts."""
    return (
        f"{_shares_html(shares(prediction))}"
        '<p class="remark">1 MAC is one multiply-accumulate, and FLOPs are 2 × MACs. Counted are'
        " convolutions, linear layers and attention's two products; not biases, norms,"
        " activations and softmax.</p>"
        f"<ul class='findings'>{''.join(f'<li>{line}</li>' for line in _findings(prediction))}"
        f"<li>{_memory_sentence(prediction, report)}</li></ul>"
        f"{_paper_html(prediction)}"
        '<details class="fold" data-witnesses><summary>MACs by every other way of counting'
        '</summary><div data-slot="witnesses"></div></details>'
    )


def length_html(prediction: Prediction, report: Report | None, *, width: int) -> str:
    """How tokens and cost grow with the image, and which images the position table takes."""
    spec, vit = prediction.spec, prediction.vit
    words = "There is no position table, so none refuses an image for its number of tokens."
    if spec.position_table:
        words = _table_words(prediction, report)
    parts = [
        "<h3>Tokens against image size</h3>",
        tokens_plot(spec, width=width),
        f'<p class="remark">{words}</p>',
    ]
    if vit is None:
        parts.append(
            f"<h3>Cost against length</h3><p class='remark'>{_ADD_ENCODER} to see what its"
            " attention makes of more tokens.</p>"
        )
        return "".join(parts)
    return "".join(
        (
            *parts,
            "<h3>Work against image size</h3>",
            _terms_html(vit, prediction.seq_len),
            image_size_plot(vit, width=width),
            "<h3>Work against total stride</h3>",
            total_stride_plot(vit, width=width),
            '<p class="remark">Half the stride is four times the tokens: four times the n term,'
            " sixteen times the n² term. The curves are of patchify stems, the point is this"
            " model with its own stem.</p>",
        )
    )


def time_html(timing: Timing | None, *, width: int, device: str = "") -> str:
    """How long each layer took, and what its time follows; before a measurement, the offer."""
    if timing is None:
        return (
            '<p class="remark">Warms up, then runs the model again and again, once bare and once'
            f" with a clock around each layer{f' ({escape(device)})' if device else ''}.</p>"
            '<p><button type="button" class="run" data-time>Time every layer</button></p>'
        )
    done = timing.done
    progress = "" if done else _progress_html(timing)
    of = text.plural(timing.rounds, "run") if done else f"{timing.rounds} of {timing.wanted} runs"
    cost = timing.hook_cost
    hooks = (
        f"the clocks add {text.percent(cost)}"
        if cost > 0
        else "what the clocks add is lost in the noise"
    )
    head = (
        f'<p class="figures"><strong>{text.seconds(timing.bare.median)}</strong> for the bare'
        f" forward pass <span class='soft'>(middle half {text.seconds(timing.bare.low)} to"
        f" {text.seconds(timing.bare.high)}, {of}, {escape(timing.device)}"
        f" {escape(timing.device_title)}, {timing.prediction.dtype})</span></p>"
        f'<p class="remark">With a clock at each layer {text.seconds(timing.hooked.median)}:'
        f" {hooks}. A layer that does nothing measures {text.seconds(timing.floor)}; what is not"
        " at least twice that is given no time. Weights and image are random.</p>"
    )
    again = '<p><button type="button" data-time>Time again</button></p>' if done else ""
    return f"{progress}{head}{_times_html(timing)}{_relations_html(timing, width)}{again}"


def witnesses_html(witnesses: Sequence[Witness]) -> str:
    """Every count of the work, with what it counts and leaves out, then layer by layer."""
    rows = "".join(
        f'<tr><th scope="row">{witness.name}</th>'
        f"<td>{'none' if witness.macs is None else f'{witness.macs:,}'}</td>"
        f'<td class="{"agrees" if witness.status == "complete" else "warning"}">'
        f"{'✓' if witness.status == 'complete' else '⚠'} {witness.status}</td></tr>"
        f'<tr class="soft"><td colspan="3">{escape(witness.convention)}.'
        f" {escape(witness.reason)}</td></tr>"
        for witness in witnesses
    )
    return (
        f'<table class="counts"><tbody>{rows}</tbody></table>'
        f'<details class="fold"><summary>layer by layer</summary>{_by_layer_html(witnesses)}'
        "</details>"
    )


def _by_layer_html(witnesses: Sequence[Witness]) -> str:
    """One line a layer that anybody counts, one column a witness; "=" where it counts the same."""
    first, *others = witnesses
    lines = []
    for name, macs in first.layers.items():
        counts = [witness.layers.get(name) for witness in others]
        if not macs and not any(counts):
            continue
        if _repeats_block1(name, witnesses):
            continue
        cells = "".join(
            '<td class="agrees">=</td>'
            if other == macs
            else f'<td class="warning">{"none" if other is None else f"{other:,}"}</td>'
            for other in counts
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th><td>{macs:,}</td>{cells}</tr>')
    titles = "".join(f'<th scope="col">{witness.name}</th>' for witness in witnesses)
    alike = any(_repeats_block1(name, witnesses) for name in first.layers)
    note = "<p class='remark'>Every further block counts as block1 does.</p>" if alike else ""
    return (
        '<div tabindex="0" class="scroll"><table class="layers"><thead><tr>'
        '<th scope="col">layer</th>'
        f"{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>{note}"
    )


def _repeats_block1(name: str, witnesses: Sequence[Witness]) -> bool:
    """Whether a layer of a later block is counted as the first block's, by everybody."""
    block, _, layer = name.partition(".")
    if not layer or block == "block1":
        return False
    return all(
        witness.layers.get(name) == witness.layers.get(f"block1.{layer}") for witness in witnesses
    )


def _shares_html(parts: Sequence[Share]) -> str:
    """A line for each part: its MACs, params and activations, each as a share of the whole."""
    totals = {
        quantity: sum(getattr(part, quantity) for part in parts) or 1
        for quantity in ("macs", "params", "activations")
    }
    lines = "".join(
        f'<tr><th scope="row">{part.name}'
        f"{f' <span class=soft>× {part.parts}</span>' if part.parts > 1 else ''}</th>"
        + "".join(_bar(getattr(part, name), total) for name, total in totals.items())
        + "</tr>"
        for part in parts
    )
    return (
        '<table class="shares"><thead><tr><th scope="col">part</th><th scope="col">MACs</th>'
        '<th scope="col">params</th><th scope="col">activations</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def _bar(number: int, total: int) -> str:
    """A cell with a bar as long as the share."""
    share = number / total
    words = f"{text.brief(number)} <span>{text.percent(share)}</span>" if number else "·"
    return f'<td style="--share:{100 * share:.2f}%"{"" if number else " class=soft"}>{words}</td>'


def _findings(prediction: Prediction) -> list[str]:
    """What the stem's work is worth, in sentences."""
    cost = stem_cost(prediction)
    lines = []
    if cost.blocks is not None and cost.block_macs:
        lines.append(
            f"The stem costs <b>{cost.blocks:.2f} transformer blocks</b> of this model:"
            f" {text.count(cost.macs)} MACs, and a block {text.count(cost.block_macs)}."
        )
    if cost.patchify_macs is not None and cost.extra_macs:
        times = cost.macs / cost.patchify_macs
        than = "more" if cost.extra_macs > 0 else "less"
        blocks = f", {cost.extra_macs / cost.block_macs:.2f} blocks" if cost.block_macs else ""
        lines.append(
            f"{'It' if lines else 'The stem'} costs {text.count(abs(cost.extra_macs))} MACs {than}"
            f" than patchify of the same stride and width ({text.count(cost.patchify_macs)}):"
            f" {times:.3g} times as"
            f" many{blocks if cost.extra_macs > 0 else ''}."
        )
    if len(prediction.spec.convs) > 1:
        lines.append(f"{text.most_work(prediction)}.")
    if prediction.vit is None:
        lines.append(f"{_ADD_ENCODER} to weigh the stem in blocks of its model.")
    return lines


def _memory_sentence(prediction: Prediction, report: Report | None) -> str:
    """What the outputs take, what a run is predicted to take, and what it took."""
    needed = predicted_memory(prediction, keep_bytes=0)
    peak = report.trace.peak_bytes if report else None
    measured = (
        "its peak is measured on CUDA alone" if peak is None else f"measured {text.size(peak)}"
    )
    return (
        f"All outputs together are {text.size(prediction.bytes)} in {prediction.dtype}; a run is"
        f" predicted to hold at most {text.size(needed)} at a time, {measured}."
    )


def _paper_html(prediction: Prediction) -> str:
    """The paper's own figures: of this very stem or model, and all of them in a fold."""
    here = printed_row(prediction)
    said = ""
    if here:
        said = (
            f"<p>The paper's {here.table}, {here.row}, prints {here.macs} flops (its word for"
            f" MACs), {here.params} params, {here.activations} acts"
            f"{f'; {escape(here.misprint)}' if here.misprint else ''}.</p>"
        )
    lines = "".join(_paper_line(row, chosen=row is here) for row in PRINTED)
    titles = "".join(
        f'<th scope="col">{title}<br><span class="soft">printed</span></th>'
        for title in ("MACs", "params", "acts")
    )
    return (
        f'{said}<details class="fold"><summary>the paper\'s tables beside ours</summary>'
        '<div tabindex="0" class="scroll"><table class="printed"><thead><tr>'
        f'<th scope="col">row</th>{titles}</tr>'
        f"</thead><tbody>{lines}</tbody></table></div></details>"
    )


_SAID = {"rounds to it": "", "about": "about ", "misprint": "✗ "}


def _paper_line(row: PrintedRow, *, chosen: bool) -> str:
    verdicts = row.verdicts()
    cells = "".join(
        f"<td>{ours:,}<br>"
        f'<span class="{"warning" if verdicts[name] == "misprint" else "soft"}">'
        f"{_SAID[verdicts[name]]}{getattr(row, name)}</span></td>"
        for name, ours in row.numbers().items()
    )
    note = ""
    if row.misprint:
        note = f'<tr class="soft"><td colspan="4">{row.row}: {escape(row.misprint)}.</td></tr>'
    name = row.row if row.table == "Table 1" else f"stem {row.row}"
    return f'<tr{" class=chosen" if chosen else ""}><th scope="row">{name}</th>{cells}</tr>{note}'


def _table_words(prediction: Prediction, report: Report | None) -> str:
    """How long the position table is, which images it takes, and what is said of a larger one."""
    spec = prediction.spec
    low, high = heights_that_fit(spec)
    side = "px" if spec.image_size[0] == spec.image_size[1] else "px in height"
    sizes = f"{low} to {high} {side}" if low < high else f"{low} {side} alone"
    return (
        f"{_table_sentence(prediction, report)} It takes images of {sizes}."
        f" {_mismatch_sentence(prediction, high)}"
    )


def _table_sentence(prediction: Prediction, report: Report | None) -> str:
    """The length of the position table beside what is predicted and what really arrived."""
    rows = f"The position table has <b>{prediction.seq_len:,} rows</b>"
    if report is None:
        return f"{rows}; {prediction.seq_len:,} tokens are predicted."
    record = report.trace.record("pos_embed")
    arrived, observed_rows = record.in_shape[1], record.params // record.in_shape[2]
    mark = (
        '<span class="agrees">✓ observed</span>'
        if arrived == observed_rows == prediction.seq_len
        else f'<span class="differs">✗ the table has {observed_rows:,}</span>'
    )
    return f"{rows}; <b>{arrived:,} tokens</b> arrived ({mark})."


def _mismatch_sentence(prediction: Prediction, high: int) -> str:
    """What PyTorch says of the first larger image."""
    spec = prediction.spec
    other = tokens_at(spec, high + 1)
    if other is None:
        return ""
    return (
        f"At {high + 1} there are {other:,} tokens, and PyTorch stops with <q>The size of tensor a"
        f" ({other}) must match the size of tensor b ({prediction.seq_len})</q>: resize the image,"
        " or interpolate the table."
    )


def _terms_html(vit: ViTSpec, tokens: int) -> str:
    """The encoder's work as terms of n, with what each is now."""
    terms = length_terms(vit)
    linear, quadratic = terms.linear * tokens, terms.quadratic * tokens**2
    square = (
        f" + <b>{terms.quadratic:,}·n²</b> ({text.count(quadratic)})" if terms.quadratic else ""
    )
    line = (
        '<p class="remark">Behind the stem,'
        f" <b>{terms.linear:,}·n</b> ({text.count(linear)}){square}"
        f" + {terms.constant:,} MACs, with n = {tokens:,}."
    )
    if terms.crossover:
        return f"{line} From {terms.crossover:,} tokens on the n² term is at least as large.</p>"
    return f"{line} Linear attention has no n² term.</p>"


def _progress_html(timing: Timing) -> str:
    return (
        f'<p class="progress"><progress max="{timing.wanted}" value="{timing.rounds}"></progress>'
        f" {timing.rounds} of {timing.wanted}"
        ' <button type="button" data-cancel>Stop</button></p>'
    )


def _times_html(timing: Timing) -> str:
    """A line a layer; the bars compare medians."""
    longest = max((layer.spread.median for layer in timing.layers), default=1.0)
    whole = sum(layer.spread.median for layer in timing.layers if layer.resolved)
    lines = "".join(_time_line(layer, longest) for layer in timing.layers)
    rest = timing.hooked.median - whole
    return (
        '<div tabindex="0" class="scroll times-box"><table class="shares times"><thead><tr>'
        '<th scope="col">layer</th><th scope="col">median</th><th scope="col">middle half</th>'
        f"</tr></thead><tbody>{lines}<tr class='soft'><th scope='row'>between layers</th>"
        f"<td>{text.seconds(max(0.0, rest))}</td><td></td></tr></tbody></table></div>"
    )


def _time_line(layer: LayerTime, longest: float) -> str:
    spread = layer.spread
    name = f'<th scope="row">{escape(layer.name)}</th>'
    if not layer.resolved:
        return f'<tr class="soft">{name}<td colspan="2">too short to be told</td></tr>'
    return (
        f'<tr>{name}<td style="--share:{100 * spread.median / longest:.1f}%">'
        f"{text.seconds(spread.median)}</td>"
        f'<td class="soft">{text.seconds(spread.low)} to {text.seconds(spread.high)}</td></tr>'
    )


def _relations_html(timing: Timing, width: int) -> str:
    """Time against MACs and against activations, each with its correlation."""
    titles = {"macs": "MACs", "activations": "activations"}
    plots = []
    for quantity, title in titles.items():
        pairs = timing.pairs(quantity)
        r = timing.correlation(quantity)
        if r is None:
            plots.append(f"<p class='remark'>Too few layers with {title} to compare.</p>")
            continue
        dots = [Dot(name=name, x=x, y=y) for name, x, y in pairs]
        plots.append(
            f"<h3>Time against {title}: r = {r:z.2f}</h3>"
            f"{time_plot(dots, x_title=title, width=width)}"
        )
    return (
        f"{''.join(plots)}<p class='remark'>Pearson's r over the layers of this model on this"
        f" device. The paper's appendix D has {PRINTED_CORRELATIONS['macs']} for MACs and"
        f" {PRINTED_CORRELATIONS['activations']} for activations, over whole models on a GPU.</p>"
    )
