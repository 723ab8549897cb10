"""Server of the stem's page: predicts, runs, times and explains a stem on request."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture, crop_sentence, image_array, to_image
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect, prepare
from vitc_inspect.inspection.stem_report import Report, rows_before_the_run
from vitc_inspect.probes.other_counters import count_work
from vitc_inspect.probes.timing import Timing, time_layers
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory, predicted_memory
from vitc_inspect.stem.notation import format_convs
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KEEP_BYTES, packed
from vitc_inspect.ui.answers import Answer, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Choice, Request, editor_rows, read_choice, stem_text
from vitc_inspect.ui.page_functions import PageServer, error_fields, page_functions
from vitc_inspect.ui.panels import cells, costs, maps, summary, tokens
from vitc_inspect.ui.panels.pixels import pixels_html
from vitc_inspect.views import text
from vitc_inspect.views.html import tag
from vitc_inspect.views.strip import strip_svg

REPORT_BYTES = 256 * 2**20
"""Budget of the cache of reports (bytes)."""
AUTO_RUN_MACS = 4 * 10**9
"""A stem with at most this many MACs runs without being asked."""
AUTO_RUN_BYTES = 512 * 2**20
"""A run predicted to need at most this much memory starts without being asked (bytes)."""
PREPARED_BYTES = 128 * 2**20
"""Budget of the cache of prepared stems (bytes)."""
TIMING_BYTES = 8 * 2**20
"""Budget of the cache of finished measurements of time (bytes)."""
_TIMING_SECONDS = 0.4  # between two answers while a measurement runs
_LONGEST_ERROR = 20_000  # characters of a pasted message that are read
_PROBING = ("cell", "tokens")  # views for which the stem runs again
_THUMBNAIL = 112  # longest side of the image in the strip (pixels)
_ALL_BUT_SIZE = attrgetter("convs", "in_channels", "class_token", "position_table")


@dataclass(frozen=True)
class _RunningTiming:
    """A measurement of time that is not finished."""

    rounds: Iterator[Timing]
    bytes: int  # memory its model is predicted to take


class Inspector(PageServer):
    """Answers the requests of the stem's page; everything it caches can be computed again."""

    def __init__(
        self,
        own_pictures: Mapping[str, Picture] | None = None,
        own_weights: Mapping[str, Path] | None = None,
    ) -> None:
        """Start with empty caches.

        Args:
            own_pictures: Pictures by name, offered beside the samples.
            own_weights: Weight files by name, offered beside random weights.
        """
        super().__init__(own_pictures)
        self._weights = dict(own_weights or {})
        self._reports: ByteCache[Choice, Report] = ByteCache(REPORT_BYTES)
        self._prepared: ByteCache[Choice, PreparedRun] = ByteCache(PREPARED_BYTES)
        self._timings: ByteCache[Hashable, Timing] = ByteCache(TIMING_BYTES)
        self._running: ByteCache[str, _RunningTiming] = ByteCache(MEMORY_BUDGET)

    def predict(self, request: Request) -> Answer:
        """Return everything that can be shown before a run."""
        choice = read_choice(request)
        prediction = predict(choice.model, dtype=choice.dtype)
        picture = self.pictures.find(choice.image)
        request = _resolved(request, prediction)
        policy = _run_policy(prediction)
        timing = self._timings.get(_timed(choice))
        until_run = _until_run(policy)
        panel = drawn("The panel", _panel, request, prediction, None, timing, until_run=until_run)
        return {
            **_stem_parts(request, choice.spec),
            "crop": crop_sentence(picture, choice.spec.image_size),
            **_parts(request, prediction, None, panel, _thumbnail(picture, choice.spec)),
            **policy,
        }

    async def run(self, request: Request) -> Answer:
        """Run the model unless it is cached, and return everything shown after a run."""
        choice = read_choice(request)
        picture = self.pictures.find(choice.image)
        report = await self._report_of(choice, picture)
        prediction = report.prediction
        request = _resolved(request, prediction)
        draw = partial(drawn, "The panel")
        if request.view in _PROBING or (request.view in ("", "maps") and request.cell):
            panel = await self._in_turn(draw, self._probed, request, choice, picture, report)
        else:
            timing = self._timings.get(_timed(choice))
            panel = await asyncio.to_thread(draw, _panel, request, prediction, report, timing)
        if request.part == "panel":
            return {"panel": panel, "layer": request.layer}
        thumbnail = _thumbnail(picture, choice.spec)
        return await asyncio.to_thread(_parts, request, prediction, report, panel, thumbnail)

    async def _report_of(self, choice: Choice, picture: Picture | str) -> Report:
        """The report of a choice, at once if it is cached, else after a run in turn."""
        if report := self._reports.get(choice):
            return report
        return await self._in_turn(self._run, choice, picture)

    def _run(self, choice: Choice, picture: Picture | str) -> Report:
        """Run the stem or the model, unless another request has just done so."""
        report = self._reports.get(choice)
        if report is None:
            report = inspect(self._prepare(choice, choice.model, picture))
            report = replace(report, trace=packed(report.trace))
            self._reports.put(choice, report)
        return report

    def _probed(
        self, request: Request, choice: Choice, picture: Picture | str, report: Report
    ) -> str:
        """A panel for which the stem runs again: one map, one cell, or a token."""
        prepared = self._prepared.get(choice)
        if prepared is None:  # of a whole model the stem alone, which has the same weights
            prepared = self._prepare(choice, choice.spec, picture)
            self._prepared.put(choice, prepared)
        layer, width = request.layer, request.panel_width
        if request.view == "tokens":
            return tokens.tokens_html(prepared, report, token=request.token, width=width)
        if request.view == "cell":
            return cells.cell_html(prepared, report, layer=layer, cell=request.cell, width=width)
        channel = maps.channel_of(request.cell, report, layer)
        if channel is None:
            return _panel(request, report.prediction, report, None)
        return maps.one_map_html(prepared, report, layer, channel, scale=request.scale)

    def _prepare(
        self, choice: Choice, spec: StemSpec | ViTSpec, picture: Picture | str
    ) -> PreparedRun:
        return prepare(
            spec,
            picture,
            device=choice.device,
            dtype=choice.dtype,
            seed=choice.seed,
            init=choice.init,
            norm_statistics=choice.norm_statistics,
            weights=self._weight_file(choice.weights),
        )

    def _weight_file(self, name: str) -> Path | None:
        """The path of a weight file that the program was started with; None for no name."""
        if not name:
            return None
        if name not in self._weights:
            reason = "the program was not started with this file"
            raise SpecError("weights", name, reason, "Use torch", "torch")
        return self._weights[name]

    async def witnesses(self, request: Request) -> Answer:
        """Return the MACs of the stem or the model by each counter."""
        choice = read_choice(request)
        counts = await self._in_turn(partial(count_work, device=choice.device), choice.model)
        return {"witnesses": costs.witnesses_html(counts)}

    async def time(self, request: Request) -> Answer:
        """Time the layers for a moment; the page asks again until the measurement is done.

        So closing the page ends a measurement, and other forward passes run in between.
        """
        choice = read_choice(request)
        timing = await self._in_turn(self._continue_timing, choice, request.ticket)
        return {"panel": costs.time_html(timing, width=request.panel_width), "done": timing.done}

    def _continue_timing(self, choice: Choice, ticket: str) -> Timing:
        """The next rounds of the measurement with this ticket, or the first of a new one."""
        running = self._running.get(ticket)
        if running is None:
            rounds = time_layers(choice.model, device=choice.device, dtype=choice.dtype)
            needed = predicted_memory(predict(choice.model, dtype=choice.dtype), keep_bytes=0)
            running = _RunningTiming(rounds, needed)
            self._running.put(ticket, running)
        until = monotonic() + _TIMING_SECONDS
        for timing in running.rounds:
            if timing.done:
                self._running.drop(ticket)
                self._timings.put(_timed(choice), timing)
            if timing.done or monotonic() > until:
                return timing
        raise AssertionError("a finished measurement is not continued")

    def explain(self, request: Request) -> Answer:
        """Explain an error message, for the chosen stem if the request has a valid one."""
        try:
            spec = read_choice(request).spec
        except SpecError:  # the message may be about any other model
            spec = None
        explanations = explain_error(request.text[:_LONGEST_ERROR], spec=spec)
        return {"explained": summary.explanations_html(explanations)}

    async def save(self, request: Request) -> Answer:
        """Return a layer's output as a file."""
        choice = read_choice(request)
        report = await self._report_of(choice, self.pictures.find(choice.image))
        layer = _layer_of(request, report.prediction)
        file = maps.npz_of(report, layer)
        if file is None:
            reason = "its output was not kept: only the stem's are"
            raise SpecError("layer", layer, reason, "Choose a layer of the stem", "conv1")
        return {"name": file[0], "data": b64encode(file[1]).decode()}


def server_functions(inspector: Inspector) -> list[Callable[..., Any]]:
    """Return the functions that the stem's page can call."""
    names = ("predict", "run", "witnesses", "time", "explain", "save", "open_picture")
    return page_functions(inspector, names, _refused)


def _refused(request: Request, error: SpecError) -> Answer:
    """The answer to a request for a stem that cannot be built or run."""
    rows = editor_rows(request)
    return {
        "stem": stem_text(request),
        "editor": summary.editor_html(rows) if rows else "",
        "error": error_fields(error),
    }


def _layer_of(request: Request, prediction: Prediction) -> str:
    """The selected layer, or the first where the stem has none of that name."""
    names = [layer.name for layer in prediction.layers]
    return request.layer if request.layer in names else names[0]


def _resolved(request: Request, prediction: Prediction) -> Request:
    """The request with a layer, a cell and a token that exist; the latter two may be empty."""
    spec = prediction.spec
    layer = prediction.layer(_layer_of(request, prediction))
    stage = next((stage for stage in spec.stages if stage.name == layer.name), None)
    token = tokens.read_token(request.token, spec.grid_size)
    return replace(
        request,
        layer=layer.name,
        cell=cells.shown_cell(request.cell, layer, stage),
        token=",".join(map(str, token or ())),
    )


def _timed(choice: Choice) -> Hashable:
    """What the time of a run depends on."""
    return choice.model, choice.device, choice.dtype


def _panel(
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


def _stem_parts(request: Request, spec: StemSpec) -> Answer:
    """The stem as text, as rows of the editor, and as a preset."""
    asked = request.preset
    names = (asked, *PRESETS) if asked in PRESETS else PRESETS  # two presets may have the same stem
    preset = next((name for name in names if _same_layers(PRESETS[name].stem, spec)), "")
    about = ""
    if preset:
        about = f"{PRESETS[preset].teaches} Source: {PRESETS[preset].source}."
    return {
        "stem": stem_text(request) if request.rows is None else format_convs(spec.convs),
        "editor": summary.editor_html(editor_rows(request) or ()),
        "preset": preset,
        "about": about,
    }


def _same_layers(stem: StemSpec, other: StemSpec) -> bool:
    """Whether two stems differ in nothing but the image size."""
    return _ALL_BUT_SIZE(stem) == _ALL_BUT_SIZE(other)


def _parts(
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
            label="The stem from image to tokens",
            css="" if report else "unconfirmed",
        ),
        "table": drawn(
            "The table",
            summary.table_html,
            prediction,
            report,
            layer,
            unfolded=request.unfolded,
        ),
        "panel": panel,
        "batch_norm": any(conv.norm == "batch" for conv in prediction.spec.convs),
    }


def _run_policy(prediction: Prediction) -> Answer:
    """Whether the stem can run, whether it runs without being asked, and what the run costs."""
    try:
        needed = check_memory(prediction, keep_bytes=KEEP_BYTES, budget=MEMORY_BUDGET)
    except SpecError as refusal:
        return {"auto_run": False, "refusal": error_fields(refusal)}
    cheap = prediction.macs <= AUTO_RUN_MACS and needed <= AUTO_RUN_BYTES
    cost = f"{text.count(prediction.macs)} MACs, about {text.size(needed)}"
    return {"auto_run": cheap, "cost": cost}


def _until_run(policy: Answer) -> str:
    """The remark shown in place of results until the stem is run on request."""
    if policy["auto_run"]:
        return ""
    words = "This run is too expensive to start by itself: press Run above to see it."
    if "refusal" in policy:
        words = "The run would not fit in memory, so only the prediction can be shown."
    return tag("p.remark", words, data_until_run=True)


def _thumbnail(picture: Picture | str, spec: StemSpec) -> str:
    """The image reduced for the strip, as a data: address."""
    shrink = min(1.0, _THUMBNAIL / max(spec.image_size))
    height, width = (max(1, round(side * shrink)) for side in spec.image_size)
    image = to_image(image_array(picture, (height, width), min(spec.in_channels, 3)))
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
