"""The map panel of a stem: all maps of a layer, or one map with its statistics and kernel."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import kernel_of
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.elements import remark
from vitc_inspect.ui.panels.formulas import formulas_html
from vitc_inspect.ui.panels.map_pictures import (
    colours_of,
    large_map_html,
    legend_html,
    output_header,
    picture_html,
    read_channel,
    save_buttons,
    wall_html,
)
from vitc_inspect.views import text
from vitc_inspect.views.blocks import coloured_shape
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Markup, join, tag
from vitc_inspect.views.maps import Scale, numbers, wall


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
) -> Markup:
    """Show the output maps of a layer, and its sizes and costs with their formulas.

    Args:
        prediction: The prediction.
        report: The run, or None before it.
        selected: Name of the layer.
        aspect: Width over height of the space for its maps.
        width: Width of that space (pixels).
        sorting: Order of the maps, one of `Sorting`; anything else is by index.
        scale: "layer", "channel" or "stem": what the colours are relative to.
        until_run: What is shown instead of the maps before the run.
    """
    layer = prediction.layer(selected)
    kept = report.trace.record(selected).kept if report else None
    drawn = tag("div.maps", until_run)
    if report and kept:
        colours = _colours(report, kept, scale)
        drawn = wall_html(
            kept, layer.out_shape, aspect=aspect, width=width, sorting=sorting, colours=colours
        )
    elif report:
        drawn = tag("div.maps", remark("Outputs are kept of the stem alone."))
    saves = save_buttons(wall="Save the wall (PNG)", tensor="Save the layer (NPZ)")
    return join(
        _header(prediction, layer),
        drawn,
        _norm_remark(prediction, report, layer),
        formulas_html(prediction, report, layer),
        saves if kept else "",
    )


def one_map_html(
    prepared: PreparedRun, report: Report, selected: str, channel: int, *, scale: str = "layer"
) -> Markup:
    """Show one map enlarged, with its statistics and the kernel that produced it.

    Args:
        prepared: The stem, for its kernels.
        report: The run.
        selected: Name of the layer, whose output is a map that was kept.
        channel: Index of the map.
        scale: As in `maps_html`.
    """
    layer = report.prediction.layer(selected)
    kept = report.trace.record(selected).kept
    assert kept is not None
    opens = {"opens": "cell", "todo": "take its cell apart"} if layer.kind == "conv" else {}
    colours, size = _colours(report, kept, scale), f", {text.shape(layer.out_shape[1:])}"
    drawn = large_map_html(
        kept, channel, selected, count=layer.out_shape[0], colours=colours, size=size, **opens
    )
    kernel = _kernel_html(prepared, layer.stage, channel) if layer.stage else ""
    saves = save_buttons(map="Save this map (PNG)", tensor="Save the layer (NPZ)")
    return join(drawn, kernel, saves)


def channel_of(cell: str, report: Report, selected: str) -> int | None:
    """The selected map, "7" or "7,0,12"; None if the layer has no such map."""
    kept = _kept_of(report, selected)
    if kept is None or kept.values.ndim != 3:
        return None
    return read_channel(cell, len(kept.values))


def npz_of(report: Report, selected: str) -> tuple[str, bytes] | None:
    """Write the kept output of a layer as an NPZ file: its name and its bytes.

    Returns:
        "values", and "step" (every step-th row and column is there); None where nothing was kept.
    """
    return npz_file(selected, _kept_of(report, selected))


def npz_file(name: str, kept: KeptOutput | None) -> tuple[str, bytes] | None:
    """An output as `npz_of` returns it; `name` is that of the file without its ending."""
    if kept is None:
        return None
    file = BytesIO()
    np.savez(file, values=numbers(kept), step=np.int64(kept.step))
    return f"{name}.npz", file.getvalue()


def _kept_of(report: Report, selected: str) -> KeptOutput | None:
    """The kept output of a layer; None if nothing was kept or no such layer ran."""
    return next((call.kept for call in report.trace.records if call.name == selected), None)


def _header(prediction: Prediction, layer: LayerPrediction) -> Markup:
    """The layer and its place in the stem: "Output of conv2, before norm2"."""
    names = [row.name for row in prediction.layers]
    after = names[names.index(layer.name) + 1 :]
    before = tag("span.soft", f", before {after[0]}") if after else ""
    return output_header(join(layer.name, before), coloured_shape(layer.out_shape))


def _norm_remark(prediction: Prediction, report: Report | None, layer: LayerPrediction) -> str:
    """Which statistics BatchNorm used for these maps."""
    stages = {stage.name: stage for stage in prediction.spec.stages}
    if layer.kind not in ("norm", "activation") or not layer.stage or report is None:
        return ""
    if stages[layer.stage].conv.norm != "batch":
        return ""
    if report.norm_statistics == "image":
        return remark(
            term("batch_norm"),
            " took each map's mean and spread from this image, as in training;"
            " what the module stores stays as it was.",
        )
    if report.weights:
        return remark(
            term("batch_norm"), f" used the mean and variance stored in {report.weights}."
        )
    return remark(
        term("batch_norm"),
        " used what it stores; fresh, that is mean 0 and variance 1, so it only"
        " divides by √(1 + 1e-5).",
    )


def _colours(report: Report, kept: KeptOutput, scale: str) -> Scale | str:
    ends = (
        (call.low, call.high)
        for call in report.trace.records
        if call.low is not None and call.high is not None and call.finite
    )
    return colours_of(kept, scale, ends)


def _kernel_html(prepared: PreparedRun, stage: str, channel: int) -> Markup:
    """The kernel behind a map: a slice for each channel that it reads."""
    kernel = kernel_of(prepared.module, stage, channel)
    picture = wall(kernel, aspect=3.0)
    slices, side = kernel.shape[0], kernel.shape[1]
    name = f"{text.plural(slices, 'slice')} of {side}×{side}"
    across = min(100.0, 100 * picture.width * (24 if side == 1 else 12) / 360)
    image = picture_html(
        (picture.png, picture.width, picture.height),
        signed=picture.signed,
        alt=f"kernel {channel}: {name}",
        style=f"width:{across:.0f}%",
    )
    words = "one slice for each channel it reads" if slices > 1 else "one channel is read"
    caption = tag("figcaption", legend_html(picture.scale), tag("span.soft", words))
    title = tag("h3", term("kernel"), f" {channel} of {stage}: {name}")
    return title + tag("figure.maps", image, caption)
