"""Parts of the answers about a stem: the editor, the summary, the strip, the table, the panel."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict, replace
from io import BytesIO
from operator import attrgetter

from vitc_inspect.common.fitting import Fit
from vitc_inspect.common.images import Picture, image_array, to_image
from vitc_inspect.inspection.stem_report import Report, rows_before_the_run
from vitc_inspect.probes.timing import Timing
from vitc_inspect.stem.geometry import token_windows
from vitc_inspect.stem.notation import format_convs
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.ui.answers import Answer, drawn
from vitc_inspect.ui.choice import Request, editor_rows, stem_text
from vitc_inspect.ui.panels import cells, costs, editor, layers, maps, summary, tokens
from vitc_inspect.ui.panels.pixels import pixels_html
from vitc_inspect.ui.panels.tokens import first_token
from vitc_inspect.views.cause import step_label, steps
from vitc_inspect.views.html import tag
from vitc_inspect.views.strip import strip_svg

_PROBING = ("cell", "tokens")  # views for which the stem runs again
_COMPACT_BELOW = 700  # width of the strip (pixels)
_THUMBNAIL = 224  # longest side of the image in the strip (pixels)
_ALL_BUT_SIZE = attrgetter("convs", "in_channels", "class_token", "position_table")


def is_probe(request: Request) -> bool:
    """Whether the panel of a request needs another run: of one map, one cell, or a token."""
    return request.view in _PROBING or (request.view in ("", "maps") and bool(request.cell))


def layer_of(request: Request, prediction: Prediction) -> str:
    """The selected layer, or the first where the stem has none of that name."""
    names = [layer.name for layer in prediction.layers]
    return request.layer if request.layer in names else names[0]


def resolved(request: Request, prediction: Prediction) -> Request:
    """The request with a layer, a cell and a token that exist; the latter two may be empty."""
    spec = prediction.spec
    layer = prediction.layer(layer_of(request, prediction))
    stage = next((stage for stage in spec.stages if stage.name == layer.name), None)
    token = tokens.read_token(request.token, spec.grid_size)
    return replace(
        request,
        layer=layer.name,
        cell=cells.shown_cell(request.cell, layer, stage),
        token=",".join(map(str, token or ())),
    )


def panel(
    request: Request,
    prediction: Prediction,
    report: Report | None,
    timing: Timing | None,
    *,
    until_run: str = "",
) -> str:
    """The selected panel; the maps of a layer for an unknown view."""
    view, width = request.view, request.panel_width
    if view == "cost":
        return costs.cost_html(prediction, report)
    if view == "length":
        return costs.length_html(prediction, report, width=width)
    if view == "time":
        return costs.time_html(timing, width=width)
    if view == "pixels":
        return pixels_html(prediction, report.input if report else None, width=width)
    if view in _PROBING:  # nothing to show before a run
        return until_run
    return maps.maps_html(
        prediction,
        report,
        request.layer,
        aspect=request.aspect,
        width=width,
        sorting=request.sorting,
        scale=request.scale,
        until_run=until_run,
    )


def stem_parts(request: Request, spec: StemSpec) -> Answer:
    """The stem as text, as rows of the editor, and as a preset."""
    asked = request.preset
    names = (asked, *PRESETS) if asked in PRESETS else PRESETS  # two presets may have the same stem
    preset = next((name for name in names if _same_layers(PRESETS[name].stem, spec)), "")
    about = ""
    if preset:
        about = f"{PRESETS[preset].teaches} Source: {PRESETS[preset].source}."
    return {
        "stem": stem_text(request) if request.rows is None else format_convs(spec.convs),
        "editor": editor.editor_html(editor_rows(request) or ()),
        "preset": preset,
        "about": about,
    }


def _same_layers(stem: StemSpec, other: StemSpec) -> bool:
    """Whether two stems differ in nothing but the image size."""
    return _ALL_BUT_SIZE(stem) == _ALL_BUT_SIZE(other)


def parts(
    request: Request,
    prediction: Prediction,
    report: Report | None,
    panel: str,
    thumbnail: str,
) -> Answer:
    """The parts of the page that show a stem, for a resolved request."""
    layer = request.layer
    rows = report.rows if report else rows_before_the_run(prediction)
    return {
        "layer": layer,
        "cell": request.cell,
        "token": request.token,
        "totals": drawn("The summary", summary.totals_html, prediction),
        "status": drawn("The status", summary.status_html, prediction, report),
        "strip": drawn(
            "The strip",
            strip_svg,
            rows,
            keys=[row.name for row in rows],
            inputs=[(1, prediction.spec.in_channels, *prediction.spec.image_size)],
            selected=layer,
            image_uri=thumbnail,
            changes={step.name: step_label(step) for step in steps(prediction)},
            squares=_squares(prediction.spec),
            facts=_pointer_facts(prediction.spec),
            label="The stem from image to tokens",
            full=request.strip_width,
            compact=request.strip_width < _COMPACT_BELOW,
            shrink=0.6 if request.strip_width < _COMPACT_BELOW else 0.75,
            css="" if report else "unconfirmed",
        ),
        "table": drawn(
            "The table",
            layers.table_html,
            prediction,
            report,
            layer,
            unfolded=request.unfolded,
        ),
        "panel": panel,
        "batch_norm": any(conv.norm == "batch" for conv in prediction.spec.convs),
    }


def _squares(spec: StemSpec) -> tuple[float, float]:
    """Rows and columns of squares of the stride's size that the image is covered with."""
    height, width = spec.image_size
    return height / spec.total_stride, width / spec.total_stride


def _pointer_facts(spec: StemSpec) -> str:
    """What the page needs to show what a token reads in every map, as compact JSON."""
    sizes = {"image": spec.image_size, **{stage.name: stage.out_shape[1:] for stage in spec.stages}}
    facts = {
        "grid": spec.grid_size,
        "stride": spec.total_stride,
        "prefix": spec.num_prefix_tokens,
        "first": first_token(spec.grid_size),
        "maps": {
            name: {**asdict(window), "size": sizes[name]}
            for name, window in token_windows(spec).items()
        },
    }
    return json.dumps(facts, separators=(",", ":"))


def until_run(policy: Answer) -> str:
    """The remark shown in place of results until the stem is run on request."""
    if policy["auto_run"]:
        return ""
    words = "This run is too expensive to start by itself: press Run above to see it."
    if "refusal" in policy:
        words = "The run would be too large or too long, so only the prediction can be shown."
    return tag("p.remark", words, data_until_run=True)


def thumbnail(picture: Picture | str, spec: StemSpec, fit: Fit) -> str:
    """The image reduced for the strip, as a data: address."""
    shrink = min(1.0, _THUMBNAIL / max(spec.image_size))
    height, width = (max(1, round(side * shrink)) for side in spec.image_size)
    image = to_image(image_array(picture, (height, width), min(spec.in_channels, 3), fit))
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
