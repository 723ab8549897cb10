"""The panel of maps: all of a layer's on one wall, or one of them large, with its figures."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from math import ceil
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import kernel_of
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.summary import coloured_shape, formulas_html
from vitc_inspect.views import text
from vitc_inspect.views.maps import (
    FloatArray,
    MapStatistics,
    Scale,
    Sorting,
    Wall,
    common_scale,
    css_gradient,
    data_uri,
    map_statistics,
    numbers,
    plane_png,
    sorted_maps,
    value_scale,
    wall,
)

_LABEL_SIDE = 30  # pixels a map must be wide on the screen to carry its index
_MOST_MARKED = 24  # maps named in a sentence
_SAVES = (
    '<p class="map-saves"><button type="button" data-save="wall">Save the wall (PNG)</button>'
    ' <button type="button" data-save="tensor">Save the layer (NPZ)</button></p>'
)
_SENT_SIDE = 256  # rows and columns of one map whose values are sent to the page


def maps_html(
    prediction: Prediction,
    report: Report | None,
    selected: str,
    *,
    aspect: float,
    width: int,
    sorting: str = "index",
    scale: str = "layer",
    until_run: str = "",
) -> str:
    """One layer: all maps that came out of it, and its numbers with their formulas.

    Args:
        prediction: The prediction.
        report: The run, or None before it.
        selected: Name of the layer.
        aspect: Width over height of the space for its maps.
        width: Width of that space (pixels).
        sorting: Order of the maps, one of `Sorting`; anything else is by index.
        scale: "layer", "channel" or "stem": what the colours are relative to.
        until_run: What stands in the place of the maps before the run, as HTML.
    """
    layer = prediction.layer(selected)
    drawn = _wall_of(report, layer, aspect, width, sorting, scale) if report else until_run
    kept = report is not None and report.trace.record(selected).kept is not None
    return (
        f"<header><h2>{_title(prediction, layer)}</h2>"
        f"<p>{coloured_shape(layer.out_shape)}</p></header>"
        f'<div class="maps">{drawn}</div>'
        f"{_remark_html(prediction, report, layer)}"
        f"{formulas_html(prediction, report, layer)}{_SAVES if kept else ''}"
    )


def one_map_html(
    bench: PreparedRun, report: Report, selected: str, channel: int, *, scale: str = "layer"
) -> str:
    """One map large, with its figures, and the kernel that made it.

    Args:
        bench: The stem, for its kernels.
        report: The run.
        selected: Name of the layer, whose output is a map that was kept.
        channel: Index of the map.
        scale: As in `maps_html`.
    """
    prediction = report.prediction
    layer = prediction.layer(selected)
    kept = report.trace.record(selected).kept
    assert kept is not None
    plane = numbers(kept)[channel]
    colours = _colours(report, kept, scale)
    colours = value_scale(plane) if colours == "channel" else colours
    assert isinstance(colours, Scale)
    alt = f"map {channel} of {layer.name}, {layer.out_shape[1]}×{layer.out_shape[2]}"
    opens, todo = ("cell", "take its cell apart") if layer.kind == "conv" else ("", "")
    return (
        f"{map_steps_html(selected, channel, layer.out_shape[0])}"
        f"{plane_html(kept, plane, channel, colours, alt=alt, opens=opens, todo=todo)}"
        f"{figures_html(plane)}"
        f"{_kernel_html(bench, layer, channel)}"
        '<p class="map-saves"><button type="button" data-save="map">Save this map (PNG)</button>'
        ' <button type="button" data-save="tensor">Save the layer (NPZ)</button></p>'
    )


def channel_of(cell: str, report: Report, selected: str) -> int | None:
    """The map that was chosen, "7" or "7,0,12"; None where the layer has no such map."""
    record = next((call for call in report.trace.records if call.name == selected), None)
    if record is None or record.kept is None or record.kept.values.ndim != 3:
        return None
    return read_channel(cell, len(record.kept.values))


def read_channel(cell: str, count: int) -> int | None:
    """The map that a text asks for, "7" or "7,0,12"; None where there is no such of `count`."""
    first = cell.split(",")[0]
    channel = int(first) if first.isascii() and first.isdigit() and len(first) < 7 else -1
    return channel if 0 <= channel < count else None


def npz_of(report: Report, selected: str) -> tuple[str, bytes] | None:
    """A layer's output as it was kept, as a file of arrays: its name and its bytes.

    Returns:
        "values", and "step" (every step-th row and column is there); None where nothing was kept.
    """
    record = next((call for call in report.trace.records if call.name == selected), None)
    if record is None or record.kept is None:
        return None
    return f"{selected}.npz", npz_bytes(record.kept)


def npz_bytes(kept: KeptOutput) -> bytes:
    """A kept output as a file of arrays: "values" and "step"."""
    file = BytesIO()
    np.savez(file, values=numbers(kept), step=np.int64(kept.step))
    return file.getvalue()


def map_steps_html(name: str, channel: int, count: int) -> str:
    """The head over one map: its number, the ways to its neighbours and to all."""
    return (
        f"<header><h2>Map {channel} of {escape(name)}</h2>"
        '<p class="map-steps">'
        f'<button type="button" data-map="{(channel - 1) % count}" aria-label="map before">‹'
        f'</button> <button type="button" data-map="{(channel + 1) % count}"'
        ' aria-label="map after">›</button>'
        f' <button type="button" data-map="">all {count}</button></p></header>'
    )


def _title(prediction: Prediction, layer: LayerPrediction) -> str:
    """Says where in the stem the maps were taken: "output of conv2, before norm2"."""
    names = [row.name for row in prediction.layers]
    after = names[names.index(layer.name) + 1 :]
    before = f'<span class="soft">, before {after[0]}</span>' if after else ""
    return f"Output of {layer.name}{before}"


def _remark_html(prediction: Prediction, report: Report | None, layer: LayerPrediction) -> str:
    """What BatchNorm did to the maps behind it."""
    stages = {stage.name: stage for stage in prediction.spec.stages}
    if layer.kind not in ("norm", "activation") or not layer.stage or report is None:
        return ""
    if stages[layer.stage].conv.norm != "batch":
        return ""
    if report.norm_statistics == "image":
        words = (
            "BatchNorm took each map's mean and spread from this image, as in training;"
            " what the module stores stays as it was."
        )
    elif report.weights:
        words = f"BatchNorm used the mean and variance stored in {escape(report.weights)}."
    else:
        words = (
            "BatchNorm used what it stores; fresh, that is mean 0 and variance 1, so it only"
            " divides by √(1 + 1e-5)."
        )
    return f'<p class="remark">{words}</p>'


def _colours(report: Report, kept: KeptOutput, scale: str) -> Scale | str:
    """What `wall` takes for a choice of colours."""
    if scale == "stem":
        return common_scale(
            (call.low, call.high)
            for call in report.trace.records
            if call.low is not None and call.high is not None and call.finite
        )
    return "channel" if scale == "channel" else value_scale(numbers(kept))


def _wall_of(
    report: Report, layer: LayerPrediction, aspect: float, width: int, sorting: str, scale: str
) -> str:
    """The wall of a layer's maps, where they were kept."""
    kept = report.trace.record(layer.name).kept
    if kept is None:
        return '<p class="remark">Outputs are kept of the stem alone.</p>'
    colours = _colours(report, kept, scale)
    return wall_html(
        kept, layer.out_shape, aspect=aspect, width=width, sorting=sorting, colours=colours
    )


def wall_html(
    kept: KeptOutput,
    shape: tuple[int, ...],
    *,
    aspect: float,
    width: int,
    sorting: str,
    colours: Scale | str,
) -> str:
    """The wall of maps with its legend, and what is odd about some of them.

    Args:
        kept: The output, as far as it was kept.
        shape: Its whole shape: (c, h, w) or (n, d).
        aspect, width: Of the space for it, as in `maps_html`.
        sorting: Order of the maps, one of `Sorting`; anything else is by index.
        colours: What `wall` takes; "channel" holds for maps alone.
    """
    sequence = kept.values.ndim == 2
    figures = None if sequence else map_statistics(kept)
    order = None
    if figures and sorting in get_args(Sorting) and sorting != "index":
        order = sorted_maps(figures, sorting)  # type: ignore[arg-type]  # one of get_args
    if sequence and colours == "channel":
        colours = value_scale(numbers(kept))
    picture = wall(kept, aspect=aspect, order=order, scale=colours)  # type: ignore[arg-type]
    step = kept.step * picture.step
    thinned = []
    if step > 1:
        thinned.append(f"every {_ordinal(step)} {'token' if sequence else 'row and column'}")
    if kept.dropped:
        thinned.append(f"without the last {kept.dropped:,} channels")
    sample = f" Shown: {', '.join(thinned)}." if thinned else ""
    shown = min(width, width / aspect * picture.width / picture.height)  # pixels on the screen
    marks, size = "", f"width:min(100%, var(--maps-height) * {picture.width / picture.height:.4f})"
    if sequence:
        marks = f' data-sequence data-step="{step}"'
        size = f"width:100%;height:max(18px, min(var(--maps-height), {2 * picture.height}px))"
    elif order:
        marks = f' data-order="{",".join(map(str, picture.order))}"'
    over = "" if figures is None else _marks_html(picture, figures, shown / picture.columns)
    focus = "" if sequence else ' tabindex="0" role="group" aria-label="maps: arrow keys, Enter"'
    return (
        f'<figure><div class="wall" style="{size}"{focus}>'
        f'<img src="{data_uri(picture.png)}" width="{picture.width}"'
        f' height="{picture.height}" data-columns="{picture.columns}" data-gap="{picture.gap}"'
        f' class="{"signed" if picture.signed else ""}"'
        f' data-count="{picture.count}"{marks}'
        f' alt="{_alt(picture, shape)}">{over}</div>'
        f"<figcaption>{legend_html(picture.scale)}"
        f'<span class="soft">{_alt(picture, shape)}.{sample}</span>'
        '<output class="hover"></output>'
        f"</figcaption>{_oddities_html(figures)}"
        "</figure>"
    )


def legend_html(scale: Scale | None) -> str:
    """The colours with their values; without values where each map has its own scale."""
    if scale is None:
        return '<span class="soft">Colours: each map from its own least to its own largest.</span>'
    zero = "<span>0</span>" if scale.signed else ""
    css = "bar signed" if scale.signed else "bar"
    low, high = text.number(scale.low, 3), text.number(scale.high, 3)
    return (
        f'<span class="legend" title="value of the activation, which has no unit"><span'
        f' class="{css}" style="background:{css_gradient(scale.colour_map)}"></span>'
        f'<span class="ends"><span>{"≤ " if scale.beyond and scale.signed else ""}{low}</span>'
        f"{zero}<span>{'≥ ' if scale.beyond else ''}{high}</span></span></span>"
    )


def _marks_html(picture: Wall, figures: MapStatistics, side: float) -> str:
    """Indexes where there is room for them, and frames around dead and equal maps."""
    states = {index: "dead" for index in figures.dead}
    states |= {index: "equal" for group in figures.duplicates for index in group}
    states |= {index: "broken" for index in figures.not_finite}
    rows = ceil(picture.count / picture.columns)
    across = (picture.width + picture.gap) / picture.columns
    down = (picture.height + picture.gap) / rows
    marks = []
    for place, index in enumerate(picture.order):
        state = states.get(index, "")
        if side < _LABEL_SIDE and not state:
            continue
        left = 100 * (place % picture.columns) * across / picture.width
        top = 100 * (place // picture.columns) * down / picture.height
        box = (
            f"left:{left:.2f}%;top:{top:.2f}%;"
            f"width:{100 * (across - picture.gap) / picture.width:.2f}%;"
            f"height:{100 * (down - picture.gap) / picture.height:.2f}%"
        )
        label = index if side >= _LABEL_SIDE else ""
        marks.append(f'<i class="{state}" style="{box}">{label}</i>')
    return f'<span class="marks" aria-hidden="true">{"".join(marks)}</span>' if marks else ""


def _oddities_html(figures: MapStatistics | None) -> str:
    """Dead, equal and broken maps in a sentence each; dead ones are counted, also when none is."""
    if figures is None:
        return ""
    lines = []
    count = len(figures.mean)
    if figures.dead:
        many = f"{len(figures.dead):,} of {text.plural(count, 'map')}"
        lines.append(f"⚠ dead, all values equal: {many}, {_links(figures.dead)}")
    groups = figures.duplicates[:_MOST_MARKED]
    if groups:
        equal = "; ".join(" = ".join(_link(index) for index in group) for group in groups)
        more = len(figures.duplicates) - len(groups)
        lines.append(f"⚠ equal maps: {equal}{f' and {more} more groups' if more else ''}")
    if figures.not_finite:
        lines.append(f"⚠ values that are not finite: {_links(figures.not_finite)}")
    none = "" if figures.dead else f'<p class="remark">{_none_dead(figures)}</p>'
    return none + "".join(f'<p class="warning">{line}</p>' for line in lines)


def _none_dead(figures: MapStatistics) -> str:
    """That no map is dead, or that a single value cannot show it."""
    maps = text.plural(len(figures.mean), "map")
    if figures.single:
        return f"Of {maps} none can be seen to be dead: each is a single value."
    return f"0 of {maps} dead: none has all values equal."


def _links(indexes: tuple[int, ...]) -> str:
    shown = ", ".join(_link(index) for index in indexes[:_MOST_MARKED])
    more = len(indexes) - _MOST_MARKED
    return f"{shown} and {more:,} more" if more > 0 else shown


def _link(index: int) -> str:
    return f'<button type="button" class="map-link" data-map="{index}">{index}</button>'


def plane_html(
    kept: KeptOutput,
    plane: FloatArray,
    channel: int,
    colours: Scale,
    *,
    alt: str,
    opens: str = "",
    todo: str = "",
) -> str:
    """One map large, with the values under the pointer.

    Args:
        kept: The output it is of.
        plane: Its values: (h, w).
        channel: Its number.
        colours: Its scale.
        alt: What it is, in words.
        opens: Name of the panel that a cell which is chosen opens; empty for none.
        todo: What a cell is chosen for, "take its cell apart"; empty for its value alone.
    """
    thin = max(1, ceil(max(plane.shape) / _SENT_SIDE))
    sent = np.ascontiguousarray(plane[::thin, ::thin], dtype="<f4")
    step = kept.step * thin
    height, width = plane.shape
    taken = f" Shown: every {_ordinal(step)} row and column." if step > 1 else ""
    opening = f' data-opens="{opens}"' if opens else ""
    key = f", Enter to {todo}" if opens else ""
    return (
        f'<figure class="maps"><div class="plane" tabindex="0" role="group" data-plane="{channel}"'
        f' data-step="{step}"{opening} data-rows="{sent.shape[0]}" data-columns="{sent.shape[1]}"'
        f' aria-label="map {channel}: arrow keys move{key}"'
        f' style="width:min(100%, var(--maps-height) * {width / height:.4f})">'
        f'<img src="{data_uri(plane_png(plane, colours))}" width="{width}" height="{height}"'
        f' class="{"signed" if colours.signed else ""}"'
        f' alt="{escape(alt)}">'
        '<i class="cursor" hidden></i></div>'
        f'<span hidden data-values="{b64encode(sent.tobytes()).decode()}"></span>'
        f"<figcaption>{legend_html(colours)}"
        f'<output class="hover">Choose a value to {todo or "read it"}.</output></figcaption>'
        f"{f'<p class=remark>{taken}</p>' if taken else ''}</figure>"
    )


def figures_html(plane: FloatArray) -> str:
    """Histogram and figures of one map."""
    finite = plane[np.isfinite(plane)].astype(np.float64)
    broken = plane.size - finite.size
    if not finite.size:
        return '<p class="warning">⚠ no value of this map is a finite number</p>'
    figures = {
        "mean": text.number(finite.mean()),
        "std": text.number(finite.std()),
        "least": text.number(finite.min()),
        "largest": text.number(finite.max()),
        "zeros": text.percent(float((finite == 0).mean())),
    }
    if broken:
        figures["not finite"] = f"{broken:,} of {plane.size:,}"
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    return f'<div class="map-figures">{_histogram_svg(finite)}<dl>{rows}</dl></div>'


def _histogram_svg(values: NDArray[np.float64], bins: int = 36) -> str:
    """How often each value occurs, the zero marked."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f'<p class="soft">every value is {text.number(low)}</p>'
    counts, _ = np.histogram(values, bins=bins, range=(low, high))
    most = counts.max()
    bars = "".join(
        f'<rect x="{5 * i}" y="{60 - 60 * n / most:.1f}" width="4.4" height="{60 * n / most:.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    least, largest = text.number(low, 3), text.number(high, 3)
    zero = ""
    if low < 0 < high:
        x = 5 * bins * -low / (high - low)
        zero = f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="62"/>'
    return (
        f'<svg class="histogram" viewBox="0 0 {5 * bins} 76" role="img"'
        f' aria-label="histogram of {values.size:,} values from {least} to {largest}">'
        f'{bars}{zero}<text x="0" y="74">{least}</text>'
        f'<text x="{5 * bins}" y="74" text-anchor="end">{largest}</text></svg>'
    )


def _kernel_html(bench: PreparedRun, layer: LayerPrediction, channel: int) -> str:
    """The kernel behind a map: a slice for each channel that it reads."""
    if not layer.stage:
        return ""
    kernel = kernel_of(bench.module, layer.stage, channel)
    picture = wall(kernel, aspect=3.0)
    slices, side = kernel.shape[0], kernel.shape[1]
    name = (
        text.plural(slices, f"slice of {side}×{side}")
        if slices == 1
        else (f"{slices:,} slices of {side}×{side}")
    )
    across = min(100.0, 100 * picture.width * (24 if side == 1 else 12) / 360)
    return (
        f"<h3>Kernel {channel} of {layer.stage}: {name}</h3>"
        f'<figure class="maps"><img class="{"signed" if picture.signed else ""}"'
        f' src="{data_uri(picture.png)}" width="{picture.width}" height="{picture.height}"'
        f' style="width:{across:.0f}%" alt="kernel {channel}: {name}">'
        f'<figcaption>{legend_html(picture.scale)}<span class="soft">'
        f"{'one slice for each channel it reads' if slices > 1 else 'one channel is read'}"
        "</span></figcaption></figure>"
    )


def _alt(picture: Wall, shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and shape[0] == 1:
        return f"{shape[1]:,} numbers in a line"
    if len(shape) == 2:
        return f"{shape[0]} tokens down, {shape[1]} channels across"
    noun = "map" if picture.count == 1 else "maps"
    return f"{picture.count:,} {noun} of {shape[1]}×{shape[2]}"


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{suffix or 'th'}"
