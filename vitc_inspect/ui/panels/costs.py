"""The cost, length and time panels: MACs by part, growth with image size, timings."""

from __future__ import annotations

from collections.abc import Sequence

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
from vitc_inspect.stem.paper import PRINTED, PRINTED_CORRELATIONS, PrintedRow, printed_row
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.ui.panels.elements import (
    button,
    fold,
    head_row,
    remark,
    scrolling_table,
    table_row,
    verdict,
)
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.plots import Dot, image_size_plot, time_plot, tokens_plot, total_stride_plot

_ADD_ENCODER = button("Put the encoder behind the stem", css="inline", data_add_encoder=True)


def cost_html(prediction: Prediction, report: Report | None) -> Markup:
    """Draw the cost panel: shares of the parts, findings, the paper's figures, other counters."""
    findings = [*_findings(prediction), _memory_sentence(prediction, report)]
    counted = join(
        "1 MAC is one multiply-accumulate, and ",
        term("flops"),
        " are 2 × MACs. Counted are convolutions, linear layers and attention's two products; not"
        " biases, norms, activations and softmax.",
    )
    return join(
        _shares_html(shares(prediction)),
        remark(counted),
        tag("ul.findings", *(tag("li", line) for line in findings)),
        _paper_html(prediction),
        fill(
            '<details class="fold" data-witnesses><summary>MACs by every other way of counting'
            '</summary><div data-slot="witnesses"></div></details>'
        ),
    )


def length_html(prediction: Prediction, report: Report | None, *, width: int) -> Markup:
    """Draw the length panel: tokens and MACs against image size, and the position table."""
    spec, vit = prediction.spec, prediction.vit
    none = "There is no position table, so none refuses an image for its number of tokens."
    words: Content = _table_words(prediction, report) if spec.position_table else none
    plot = tokens_plot(spec, width=width)
    tokens = join(tag("h3", "Tokens against image size"), plot, remark(words))
    if vit is None:
        attention = " to see what its attention makes of more tokens."
        return join(tokens, tag("h3", "Cost against length"), remark(_ADD_ENCODER, attention))
    return join(
        tokens,
        tag("h3", "Work against image size"),
        _terms_html(vit, prediction.seq_len),
        image_size_plot(vit, width=width),
        tag("h3", "Work against total stride"),
        total_stride_plot(vit, width=width),
        remark(
            "Half the stride is four times the tokens: four times the n term, sixteen times the n²"
            " term. The curves are of patchify stems, the point is this model with its own stem."
        ),
    )


def time_html(timing: Timing | None, *, width: int, device: str = "") -> Markup:
    """Draw the time panel: the time of each layer, or a button to measure it."""
    if timing is None:
        on = f" ({device})" if device else ""
        return remark(
            "Warms up, then runs the model again and again, once bare and once with a clock around"
            f" each layer{on}."
        ) + tag("p", button("Time every layer", css="run", data_time=True))
    again = tag("p", button("Time again", data_time=True))
    return join(
        "" if timing.done else _progress_html(timing),
        *_whole_time(timing),
        _times_html(timing),
        _relations_html(timing, width),
        again if timing.done else "",
    )


def _whole_time(timing: Timing) -> tuple[Markup, Markup]:
    """The time of the whole model and the overhead of the clocks."""
    of = f"{timing.rounds} of {timing.wanted} runs"
    if timing.done:
        of = text.plural(timing.rounds, "run")
    added = text.percent(timing.hook_cost) if timing.hook_cost > 0 else ""
    hooks = f"the clocks add {added}" if added else "what the clocks add is lost in the noise"
    bare = timing.bare
    words = (
        f"With a clock at each layer {text.seconds(timing.hooked.median)}: {hooks}. A layer that"
        f" does nothing measures {text.seconds(timing.floor)}; what is not at least twice that is"
        " given no time. Weights and image are random."
    )
    whole = fill(
        '<p class="figures"><strong>{}</strong> for the bare forward pass <span class="soft">'
        "(middle half {} to {}, {}, {} {}, {})</span></p>",
        *map(text.seconds, (bare.median, bare.low, bare.high)),
        *(of, timing.device, timing.device_title, timing.prediction.dtype),
    )
    return whole, remark(words)


def witnesses_html(witnesses: Sequence[Witness]) -> Markup:
    """Show the MACs that each counter finds, with its convention, then layer by layer."""
    table = tag("table.counts", tag("tbody", *map(_witness_rows, witnesses)))
    return table + fold("layer by layer", _by_layer_html(witnesses))


def _witness_rows(witness: Witness) -> Markup:
    mark, css = ("✓", "agrees") if witness.status == "complete" else ("⚠", "warning")
    return fill(
        '<tr><th scope="row">{}</th><td>{}</td><td class="{}">{} {}</td></tr>'
        '<tr class="soft"><td colspan="3">{}. {}</td></tr>',
        *(witness.name, _macs(witness.macs), css, mark, witness.status),
        *(witness.convention, witness.reason),
    )


def _macs(number: int | None) -> str:
    return "none" if number is None else f"{number:,}"


def _by_layer_html(witnesses: Sequence[Witness]) -> Markup:
    """A row for each layer with MACs and a column for each counter; "=" where it agrees."""
    first, *others = witnesses
    lines = []
    for name, macs in first.layers.items():
        counts = [witness.layers.get(name) for witness in others]
        if not (macs or any(counts)) or _repeats_block1(name, witnesses):
            continue
        cells = [
            tag("td.agrees", "=") if other == macs else tag("td.warning", _macs(other))
            for other in counts
        ]
        lines.append(table_row(name, tag("td", f"{macs:,}"), *cells))
    titles = ("layer", *(witness.name for witness in witnesses))
    alike = any(_repeats_block1(name, witnesses) for name in first.layers)
    note = remark("Every further block counts as block1 does.") if alike else ""
    return scrolling_table("layers", titles, lines) + note


def _repeats_block1(name: str, witnesses: Sequence[Witness]) -> bool:
    """Whether every counter finds the same for this layer as for that of block 1."""
    block, _, layer = name.partition(".")
    if not layer or block == "block1":
        return False
    return all(
        witness.layers.get(name) == witness.layers.get(f"block1.{layer}") for witness in witnesses
    )


def _shares_html(parts: Sequence[Share]) -> Markup:
    """A row for each part with its MACs, params and activations as shares of the total."""
    totals = {
        quantity: sum(getattr(part, quantity) for part in parts) or 1
        for quantity in ("macs", "params", "activations")
    }
    lines = []
    for part in parts:
        times = fill(' <span class="soft">× {}</span>', part.parts) if part.parts > 1 else ""
        bars = (_bar(getattr(part, name), total) for name, total in totals.items())
        lines.append(table_row(join(part.name, times), *bars))
    head = head_row(
        "part", term("macs"), term("params", "params"), term("activations", "activations")
    )
    return tag("table.shares", head, tag("tbody", *lines))


def _bar(number: int, total: int) -> Markup:
    """A table cell with a bar as long as the share."""
    share = number / total
    words = fill("{} <span>{}</span>", text.brief(number), text.percent(share)) if number else "·"
    return tag("td", words, style=f"--share:{100 * share:.2f}%", class_=None if number else "soft")


def _findings(prediction: Prediction) -> list[Content]:
    """Sentences that compare the stem's MACs with a transformer block and with patchify."""
    cost = stem_cost(prediction)
    lines: list[Content] = []
    if cost.blocks is not None and cost.block_macs:
        lines.append(
            fill(
                "The stem costs <b>{:.2f} transformer blocks</b> of this model: {} MACs, and a"
                " block {}.",
                *(cost.blocks, text.count(cost.macs), text.count(cost.block_macs)),
            )
        )
    if cost.patchify_macs is not None and cost.extra_macs:
        more = cost.extra_macs > 0
        blocks = f", {cost.extra_macs / cost.block_macs:.2f} blocks" if cost.block_macs else ""
        lines.append(
            f"{'It' if lines else 'The stem'} costs {text.count(abs(cost.extra_macs))} MACs"
            f" {'more' if more else 'less'} than patchify of the same stride and width"
            f" ({text.count(cost.patchify_macs)}): {cost.macs / cost.patchify_macs:.3g} times as"
            f" many{blocks if more else ''}."
        )
    if len(prediction.spec.convs) > 1:
        lines.append(f"{text.most_work(prediction)}.")
    if prediction.vit is None:
        lines.append(_ADD_ENCODER + " to weigh the stem in blocks of its model.")
    return lines


def _memory_sentence(prediction: Prediction, report: Report | None) -> str:
    """Memory of all outputs, and the predicted and the measured peak of a run."""
    needed = predicted_memory(prediction, keep_bytes=0)
    peak = report.trace.peak_bytes if report else None
    seen = "its peak is measured on CUDA alone" if peak is None else f"measured {text.size(peak)}"
    return (
        f"All outputs together are {text.size(prediction.bytes)} in {prediction.dtype}; a run is"
        f" predicted to hold at most {text.size(needed)} at a time, {seen}."
    )


def _paper_html(prediction: Prediction) -> Markup:
    """The paper's figures for this stem or model, if printed, and its tables in a fold."""
    here = printed_row(prediction)
    said = ""
    if here:
        misprint = f"; {here.misprint}" if here.misprint else ""
        said = fill(
            "<p>The paper's {}, {}, prints {} flops (its word for MACs), {} params, {} acts{}.</p>",
            *(here.table, here.row, here.macs, here.params, here.activations, misprint),
        )
    lines = [_paper_line(row, chosen=row is here) for row in PRINTED]
    beneath = fill('<br><span class="soft">printed</span>')
    names = {"macs": "MACs", "params": "params", "activations": "acts"}
    titles = (term(key, name) + beneath for key, name in names.items())
    table = scrolling_table("printed", ("row", *titles), lines)
    return join(said, fold("the paper's tables beside ours", table))


_SAID = {"rounds to it": "", "about": "about ", "misprint": "✗ "}


def _paper_line(row: PrintedRow, *, chosen: bool) -> Markup:
    verdicts = row.verdicts()
    cells = [
        fill(
            '<td>{:,}<br><span class="{}">{}{}</span></td>',
            *(ours, "warning" if verdicts[name] == "misprint" else "soft"),
            *(_SAID[verdicts[name]], getattr(row, name)),
        )
        for name, ours in row.numbers().items()
    ]
    note = ""
    if row.misprint:
        note = tag("tr.soft", tag("td", f"{row.row}: {row.misprint}.", colspan=4))
    name = row.row if row.table == "Table 1" else f"stem {row.row}"
    return table_row(name, *cells, class_="chosen" if chosen else None) + note


def _table_words(prediction: Prediction, report: Report | None) -> Markup:
    """Length of the position table, the image sizes it fits, and the error for a larger image."""
    spec = prediction.spec
    low, high = heights_that_fit(spec)
    side = "px" if spec.image_size[0] == spec.image_size[1] else "px in height"
    sizes = f"{low} to {high} {side}" if low < high else f"{low} {side} alone"
    return join(
        _table_sentence(prediction, report),
        f" It takes images of {sizes}. ",
        _mismatch_sentence(prediction, high),
    )


def _table_sentence(prediction: Prediction, report: Report | None) -> Markup:
    """The rows of the position table beside the predicted or observed number of tokens."""
    rows = fill(
        "The {} has <b>{:,} rows</b>",
        *(term("position_table", "position table"), prediction.seq_len),
    )
    if report is None:
        return rows + f"; {prediction.seq_len:,} tokens are predicted."
    record = report.trace.record("pos_embed")
    arrived, observed_rows = record.in_shape[1], record.params // record.in_shape[2]
    mark = verdict(False, f"the table has {observed_rows:,}")
    if arrived == observed_rows == prediction.seq_len:
        mark = verdict(True, "observed")
    return rows + fill("; <b>{:,} tokens</b> arrived ({}).", arrived, mark)


def _mismatch_sentence(prediction: Prediction, high: int) -> str:
    """The error that PyTorch raises for the next larger image."""
    spec = prediction.spec
    other = tokens_at(spec, high + 1)
    if other is None:
        return ""
    return fill(
        "At {} there are {:,} tokens, and PyTorch stops with <q>The size of tensor a ({}) must"
        " match the size of tensor b ({})</q>: resize the image, or interpolate the table.",
        *(high + 1, other, other, prediction.seq_len),
    )


def _terms_html(vit: ViTSpec, tokens: int) -> Markup:
    """The encoder's MACs as a polynomial in the number of tokens n."""
    terms = length_terms(vit)
    linear, quadratic = terms.linear * tokens, terms.quadratic * tokens**2
    square = ""
    if terms.quadratic:
        square = fill(" + <b>{:,}·n²</b> ({})", terms.quadratic, text.count(quadratic))
    last = "Linear attention has no n² term."
    if terms.crossover:
        last = f"From {terms.crossover:,} tokens on the n² term is at least as large."
    return remark(
        fill(
            "Behind the stem, in the {}, <b>{:,}·n</b> ({})",
            *(term("encoder", "encoder"), terms.linear, text.count(linear)),
        ),
        square,
        f" + {terms.constant:,} MACs, with n = {tokens:,}. {last}",
    )


def _progress_html(timing: Timing) -> Markup:
    return fill(
        '<p class="progress"><progress max="{0}" value="{1}"></progress> {1} of {0}'
        ' <button type="button" data-cancel>Stop</button></p>',
        *(timing.wanted, timing.rounds),
    )


def _times_html(timing: Timing) -> Markup:
    """A row for each layer; bars compare the medians."""
    longest = max((layer.spread.median for layer in timing.layers), default=1.0)
    whole = sum(layer.spread.median for layer in timing.layers if layer.resolved)
    rest = text.seconds(max(0.0, timing.hooked.median - whole))
    lines = [_time_line(layer, longest) for layer in timing.layers]
    lines.append(table_row("between layers", tag("td", rest), tag("td"), class_="soft"))
    titles = ("layer", term("median", "median"), term("middle_half", "middle half"))
    return scrolling_table("shares times", titles, lines, css="scroll times-box")


def _time_line(layer: LayerTime, longest: float) -> Markup:
    name, spread = layer.name, layer.spread
    if not layer.resolved:
        return table_row(name, tag("td", "too short to measure", colspan=2), class_="soft")
    return fill(
        '<tr><th scope="row">{}</th><td style="--share:{:.1f}%">{}</td>'
        '<td class="soft">{} to {}</td></tr>',
        *(name, 100 * spread.median / longest),
        *map(text.seconds, (spread.median, spread.low, spread.high)),
    )


def _relations_html(timing: Timing, width: int) -> Markup:
    """Plots of time against MACs and against activations, with their correlations."""
    plots = []
    for quantity, title in (("macs", "MACs"), ("activations", "activations")):
        r = timing.correlation(quantity)
        if r is None:
            plots.append(remark(f"Too few layers with {title} to compare."))
            continue
        dots = [Dot(name=name, x=x, y=y) for name, x, y in timing.pairs(quantity)]
        plots.append(tag("h3", f"Time against {title}: r = {r:z.2f}"))
        plots.append(time_plot(dots, x_title=title, width=width))
    return join(
        *plots,
        remark(
            term("correlation"),
            " over the layers of this model on this device. The paper's appendix D has"
            f" {PRINTED_CORRELATIONS['macs']} for MACs and"
            f" {PRINTED_CORRELATIONS['activations']} for activations, over whole models on a GPU.",
        ),
    )
