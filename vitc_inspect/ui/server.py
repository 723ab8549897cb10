"""What the page asks the server: a prediction, a run, a layer, a picture."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture, crop_sentence, image_array, to_image
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.inspection.stem_report import Bench, Report, inspect, prepare
from vitc_inspect.probes.other_counters import count_work
from vitc_inspect.probes.timing import Timing, time_layers
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory, predicted_memory
from vitc_inspect.stem.notation import format_convs
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KEEP_BYTES, packed
from vitc_inspect.ui.answers import Answer, answering, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Choice, Request, editor_rows, read_choice, stem_text
from vitc_inspect.ui.panels import cells, costs, maps, summary, tokens
from vitc_inspect.ui.panels.pixels import pixels_html
from vitc_inspect.ui.uploads import PictureStore
from vitc_inspect.views import text
from vitc_inspect.views.html import tag
from vitc_inspect.views.strip import strip_svg

REPORT_BYTES = 256 * 2**20
"""The most that the cached reports of all visitors may hold (bytes)."""
PICTURE_BYTES = 64 * 2**20
"""The most that opened pictures may hold (bytes)."""
AUTO_RUN_MACS = 4 * 10**9
"""A stem with at most this many MACs runs by itself."""
AUTO_RUN_BYTES = 512 * 2**20
"""A run that is predicted to take at most this much memory starts by itself (bytes)."""
BENCH_BYTES = 128 * 2**20
"""The most that stems kept for experiments may hold (bytes)."""
TIMING_BYTES = 8 * 2**20
"""The most that finished measurements of time may hold (bytes)."""
_TIMING_SECONDS = 0.4  # what the page waits for the next figures of a measurement
_LONGEST_ERROR = 20_000  # characters of a pasted text that are read
_PROBING = ("cell", "tokens")  # views that run the stem again
_THUMBNAIL = 112  # longest side of the image in the strip (pixels)


@dataclass(frozen=True)
class _UnderWay:
    """A measurement that goes on."""

    rounds: Iterator[Timing]
    bytes: int  # what its model is predicted to take


class Inspector:
    """Answers requests. Everything it remembers can be computed again."""

    def __init__(
        self,
        own_pictures: dict[str, Picture] | None = None,
        own_weights: Mapping[str, Path] | None = None,
    ) -> None:
        """Start with empty caches.

        Args:
            own_pictures: Pictures by name, offered beside the samples.
            own_weights: Files of weights by name, offered beside random ones.
        """
        self._weights = dict(own_weights or {})
        self.pictures = PictureStore(PICTURE_BYTES, own_pictures or {})
        self._reports: ByteCache[Choice, Report] = ByteCache(REPORT_BYTES)
        self._benches: ByteCache[Choice, Bench] = ByteCache(BENCH_BYTES)
        self._timings: ByteCache[Hashable, Timing] = ByteCache(TIMING_BYTES)
        self._under_way: ByteCache[str, _UnderWay] = ByteCache(MEMORY_BUDGET)
        # one thread: forward passes wait in turn, and their memory is used again
        self._runner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")

    def predict(self, request: Request) -> Answer:
        """Everything that can be shown before a run."""
        choice = read_choice(request)
        prediction = predict(choice.vit or choice.spec, dtype=choice.dtype)
        picture = self.pictures.find(choice.image)
        request = _settled(request, prediction)
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
        """Everything that can be shown after a run, from the cache if it is there."""
        choice = read_choice(request)
        picture = self.pictures.find(choice.image)
        report = self._reports.get(choice)
        loop = asyncio.get_running_loop()
        if report is None:  # waits in turn; what is cached is drawn at once
            report = await loop.run_in_executor(self._runner, self._report, choice, picture)
        request = _settled(request, report.prediction)
        timing = self._timings.get(_timed(choice))
        one_map = request.get("view", "maps") == "maps" and request.get("cell")
        if (
            one_map or request.get("view") in _PROBING
        ):  # runs the stem again, so it waits in turn too
            panel = await loop.run_in_executor(
                self._runner, drawn, "The panel", self._probed, request, choice, picture, report
            )
        else:
            panel = await asyncio.to_thread(
                drawn, "The panel", _panel, request, report.prediction, report, timing
            )
        if request.get("part") == "panel":
            return {"panel": panel, "layer": request["layer"]}
        thumbnail = _thumbnail(picture, choice.spec)
        return await asyncio.to_thread(_parts, request, report.prediction, report, panel, thumbnail)

    def _report(self, choice: Choice, picture: Picture | str) -> Report:
        """Run the stem or the model, unless somebody else just has."""
        report = self._reports.get(choice)
        if report is None:
            report = inspect(self._prepared(choice, choice.vit or choice.spec, picture))
            report = replace(report, trace=packed(report.trace))
            self._reports.put(choice, report)
        return report

    def _probed(
        self, request: Request, choice: Choice, picture: Picture | str, report: Report
    ) -> str:
        """A panel that needs the stem itself: a cell taken apart, or a token's field."""
        bench = self._benches.get(choice)
        if bench is None:  # of a whole model too the stem alone, which has the same weights
            bench = self._prepared(choice, choice.spec, picture)
            self._benches.put(choice, bench)
        width, layer = _width_of(request), _layer_of(request, report.prediction)
        if request.get("view") == "maps":
            channel = maps.channel_of(str(request.get("cell", "")), report, layer)
            if channel is None:
                return _panel(request, report.prediction, report, None)
            scale = str(request.get("scale", ""))
            return maps.one_map_html(bench, report, layer, channel, scale=scale)
        if request.get("view") == "cell":
            return cells.cell_html(
                bench, report, layer=layer, cell=str(request.get("cell", "")), width=width
            )
        return tokens.tokens_html(bench, report, token=str(request.get("token", "")), width=width)

    def _prepared(self, choice: Choice, spec: StemSpec | ViTSpec, picture: Picture | str) -> Bench:
        return prepare(
            spec,
            picture,
            device=choice.device,
            dtype=choice.dtype,
            seed=choice.seed,
            init=choice.init,
            norm_statistics=choice.norm_statistics,
            weights=self._file_of(choice),
        )

    def _file_of(self, choice: Choice) -> Path | None:
        """The path of the file of weights that was chosen; a name of no such file is refused."""
        if not choice.weights:
            return None
        if choice.weights not in self._weights:
            raise SpecError(
                "weights",
                choice.weights,
                "the program was not started with this file",
                "Use torch",
                "torch",
            )
        return self._weights[choice.weights]

    async def witnesses(self, request: Request) -> Answer:
        """The work of the stem or the model, counted in every way there is."""
        choice = read_choice(request)
        loop = asyncio.get_running_loop()
        spec = choice.vit or choice.spec
        counts = await loop.run_in_executor(
            self._runner, lambda: count_work(spec, device=choice.device)
        )
        return {"witnesses": costs.witnesses_html(counts)}

    async def time(self, request: Request) -> Answer:
        """Time the layers for a moment, and say how far it is; the page asks until it is done.

        So a person who stops asking has stopped it, and forward passes of others go between.
        """
        choice = read_choice(request)
        loop = asyncio.get_running_loop()
        ticket = str(request.get("ticket", ""))
        timing = await loop.run_in_executor(self._runner, self._time_on, choice, ticket)
        panel = costs.time_html(timing, width=_width_of(request))
        return {"panel": panel, "done": timing.done}

    def _time_on(self, choice: Choice, ticket: str) -> Timing:
        """The next rounds of the measurement with this ticket, or the first of a new one."""
        under_way = self._under_way.get(ticket)
        if under_way is None:
            spec = choice.vit or choice.spec
            rounds = time_layers(spec, device=choice.device, dtype=choice.dtype)
            needed = predicted_memory(predict(spec, dtype=choice.dtype), keep_bytes=0)
            under_way = _UnderWay(rounds, needed)
            self._under_way.put(ticket, under_way)
        until = monotonic() + _TIMING_SECONDS
        for timing in under_way.rounds:
            if timing.done:
                self._under_way.drop(ticket)
                self._timings.put(_timed(choice), timing)
            if timing.done or monotonic() > until:
                return timing
        raise AssertionError("a measurement that is done is not asked again")

    def explain(self, request: Request) -> Answer:
        """What an error means, for the stem that was chosen where there is one."""
        try:
            spec = read_choice(request).spec
        except SpecError:  # the error may be about anything
            spec = None
        explanations = explain_error(str(request.get("text", ""))[:_LONGEST_ERROR], spec=spec)
        return {"explained": summary.explanations_html(explanations)}

    async def save(self, request: Request) -> Answer:
        """A layer's output as a file, from the run that is on the screen."""
        choice = read_choice(request)
        report = self._reports.get(choice)
        if report is None:
            loop = asyncio.get_running_loop()
            picture = self.pictures.find(choice.image)
            report = await loop.run_in_executor(self._runner, self._report, choice, picture)
        layer = _layer_of(request, report.prediction)
        file = maps.npz_of(report, layer)
        if file is None:
            reason = "its output was not kept: only the stem's are"
            raise SpecError("layer", layer, reason, "Choose a layer of the stem", "conv1")
        return {"name": file[0], "data": b64encode(file[1]).decode()}

    def open_picture(self, request: Request) -> Answer:
        """Take in a picture: a file that was uploaded, or one the browser gives back."""
        return self.pictures.take_in(request)


def server_functions(inspector: Inspector) -> list[Callable[..., Any]]:
    """The functions the page can call; each answers a fault with one sentence."""

    def predict(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(inspector.predict(_fields(request)))
        return answer

    async def run(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(await inspector.run(_fields(request)))
        return answer

    async def witnesses(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(await inspector.witnesses(_fields(request)))
        return answer

    async def time(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(await inspector.time(_fields(request)))
        return answer

    def explain(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(inspector.explain(_fields(request)))
        return answer

    async def save(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(await inspector.save(_fields(request)))
        return answer

    def open_picture(request: Any) -> Answer:
        with _answering(request) as answer:
            answer.update(inspector.open_picture(_fields(request)))
        return answer

    return [predict, run, witnesses, time, explain, save, open_picture]


def _fields(request: Any) -> Request:
    """The request, or an empty one for what is none."""
    return request if isinstance(request, dict) else {}


def _answering(request: Any) -> AbstractContextManager[Answer]:
    """An answer to be filled in; a fault inside becomes the answer, with what stands at it."""

    def refused(error: SpecError) -> Answer:
        rows = editor_rows(_fields(request))
        return {
            "stem": stem_text(_fields(request)),
            "editor": summary.editor_html(rows) if rows else "",
            "error": {
                "field": error.field,
                "html": summary.error_html(error),
                "suggestion": _suggestion(error),
            },
        }

    return answering(refused)


def _suggestion(error: SpecError) -> list[str]:
    """What to write into the error's controls; as text, since JavaScript rounds large numbers."""
    value = () if error.suggestion is None else error.suggestion
    return [str(part) for part in (value if isinstance(value, tuple) else (value,))]


def _layer_of(request: Request, prediction: Prediction) -> str:
    """The layer that was chosen, or where the stem has none of that name, its first."""
    names = [layer.name for layer in prediction.layers]
    chosen = str(request.get("layer", ""))
    return chosen if chosen in names else names[0]


def _settled(request: Request, prediction: Prediction) -> Request:
    """The request with the layer that is shown; a cell and a token that it has not are empty."""
    spec = prediction.spec
    layer = prediction.layer(_layer_of(request, prediction))
    stage = next((stage for stage in spec.stages if stage.name == layer.name), None)
    token = tokens.read_token(str(request.get("token", "")), spec.grid_size)
    return {
        **request,
        "layer": layer.name,
        "cell": cells.shown_cell(str(request.get("cell", "")), layer, stage),
        "token": ",".join(map(str, token or ())),
    }


def _aspect_of(request: Request) -> float:
    """Width over height of the space the page has for maps."""
    aspect = request.get("aspect")
    return min(4.0, max(0.5, aspect)) if isinstance(aspect, (int, float)) else 1.3


def _width_of(request: Request) -> int:
    """Width of the panel (pixels)."""
    width = request.get("panel_width")
    return round(min(1200, max(240, width))) if isinstance(width, (int, float)) else 400


def _timed(choice: Choice) -> Hashable:
    """The part of a choice that its time depends on."""
    return choice.vit or choice.spec, choice.device, choice.dtype


def _panel(
    request: Request,
    prediction: Prediction,
    report: Report | None,
    timing: Timing | None,
    *,
    until_run: str = "",
) -> str:
    """The panel that was chosen; the maps of a layer where none of that name is."""
    view, width = request.get("view"), _width_of(request)
    if view == "cost":
        return costs.cost_html(prediction, report)
    if view == "length":
        return costs.length_html(prediction, report, width=width)
    if view == "time":
        return costs.time_html(timing, width=width)
    if view == "pixels":
        return pixels_html(prediction, report.input if report else None, width=width)
    if view in _PROBING:  # drawn from the run
        return until_run
    return maps.maps_html(
        prediction,
        report,
        _layer_of(request, prediction),
        aspect=_aspect_of(request),
        width=width,
        sorting=str(request.get("sorting", "")),
        scale=str(request.get("scale", "")),
        until_run=until_run,
    )


def _stem_parts(request: Request, spec: StemSpec) -> Answer:
    """The stem in its three forms: text, editor, preset."""
    asked = str(request.get("preset", ""))
    names = (asked, *PRESETS) if asked in PRESETS else PRESETS  # two presets may be one stem
    preset = next((name for name in names if _same_layers(PRESETS[name].stem, spec)), "")
    about = ""
    if preset:
        about = f"{PRESETS[preset].teaches} Source: {PRESETS[preset].source}."
    return {
        "stem": format_convs(spec.convs) if "rows" in request else stem_text(request),
        "editor": summary.editor_html(editor_rows(request) or ()),
        "preset": preset,
        "about": about,
    }


def _same_layers(stem: StemSpec, other: StemSpec) -> bool:
    """Whether two stems have the same layers, whatever the size of the image."""
    sides = (
        (each.convs, each.in_channels, each.class_token, each.position_table)
        for each in (stem, other)
    )
    return next(sides) == next(sides)


def _parts(
    request: Request,
    prediction: Prediction,
    report: Report | None,
    panel: str,
    thumbnail: str,
) -> Answer:
    """The parts of the page that show a stem, for a settled request."""
    layer = request["layer"]
    return {
        "layer": layer,
        "cell": request["cell"],
        "token": request["token"],
        "totals": drawn("The summary", summary.totals_html, prediction),
        "status": drawn("The status", summary.status_html, prediction, report),
        "strip": drawn(
            "The strip", strip_svg, prediction, report, image_uri=thumbnail, selected=layer
        ),
        "table": drawn(
            "The table",
            summary.table_html,
            prediction,
            report,
            layer,
            unfolded=request.get("unfolded") is True,
        ),
        "panel": panel,
        "batch_norm": any(conv.norm == "batch" for conv in prediction.spec.convs),
    }


def _run_policy(prediction: Prediction) -> Answer:
    """Whether the stem may run, whether by itself, and what the run will cost."""
    try:
        needed = check_memory(prediction, keep_bytes=KEEP_BYTES, budget=MEMORY_BUDGET)
    except SpecError as refusal:
        return {
            "auto_run": False,
            "refusal": {
                "field": refusal.field,
                "html": summary.error_html(refusal),
                "suggestion": _suggestion(refusal),
            },
        }
    cheap = prediction.macs <= AUTO_RUN_MACS and needed <= AUTO_RUN_BYTES
    cost = f"{text.count(prediction.macs)} MACs, about {text.size(needed)}"
    return {"auto_run": cheap, "cost": cost}


def _until_run(policy: Answer) -> str:
    """What stands where a run would be seen, as long as none starts by itself."""
    if policy["auto_run"]:
        return ""
    words = "It costs too much to run by itself: press Run, above, to see it."
    if "refusal" in policy:
        words = "It would not fit in memory and cannot be run: what is predicted is all there is."
    return tag("p.remark", words, data_until_run=True)


def _thumbnail(picture: Picture | str, spec: StemSpec) -> str:
    """The image as the strip shows it, drawn small, as a data: address."""
    shrink = min(1.0, _THUMBNAIL / max(spec.image_size))
    height, width = (max(1, round(side * shrink)) for side in spec.image_size)
    image = to_image(image_array(picture, (height, width), min(spec.in_channels, 3)))
    file = BytesIO()
    image.save(file, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
