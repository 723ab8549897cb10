"""Everything on the page of stems that runs a model, to be called in a worker process."""

from __future__ import annotations

import pickle
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture
from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect, prepare
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.kept_table import error_with_table
from vitc_inspect.probes.other_counters import count_work
from vitc_inspect.probes.timing import Timing, time_layers
from vitc_inspect.stem.memory import MEMORY_BUDGET, predicted_memory
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import packed
from vitc_inspect.ui.answers import Answer, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Choice, Request
from vitc_inspect.ui.panels import cells, costs, maps, tokens
from vitc_inspect.ui.stem_answers import is_probe, layer_of, panel, parts, resolved, thumbnail

REPORT_BYTES = 256 * 2**20
"""Budget of the cache of reports (bytes)."""
PREPARED_BYTES = 128 * 2**20
"""Budget of the cache of prepared stems (bytes)."""
TIMING_SECONDS = 0.4
"""How long a measurement of time goes on for one call (seconds)."""


@dataclass(frozen=True)
class _RunningTiming:
    """A measurement of time that is not finished."""

    rounds: Iterator[Timing]
    bytes: int  # memory its model is predicted to take


class StemRunner:
    """Runs, probes and times stems; everything it caches can be computed again."""

    def __init__(self, own_weights: Mapping[str, Path]) -> None:
        """Start with empty caches.

        Args:
            own_weights: Weight files by name, offered beside random weights.
        """
        self._weights = own_weights
        self._reports: ByteCache[Choice, Report] = ByteCache(REPORT_BYTES)
        self._prepared: ByteCache[Choice, PreparedRun] = ByteCache(PREPARED_BYTES)
        self._running: ByteCache[str, _RunningTiming] = ByteCache(MEMORY_BUDGET)

    def run(
        self, request: Request, choice: Choice, picture: Picture | str, cached: bool = False
    ) -> tuple[Answer | None, float | None]:
        """Run the model unless it is cached, and return everything shown after a run.

        Args:
            request: The request.
            choice: Its stem, image and settings.
            picture: The picture of that choice.
            cached: Whether to return None rather than to run the model.

        Returns:
            The answer, and how long the run took (seconds); None for a cached one.
        """
        report, seconds = self._report_of(choice, picture, cached)
        if report is None:
            return None, None
        prediction = report.prediction
        request = resolved(request, prediction)
        draw = partial(drawn, "The panel")
        if is_probe(request):
            html = draw(self._probed, request, choice, picture, report)
        else:
            html = draw(panel, request, prediction, report, None)
        if request.part == "panel":
            return {"panel": html, "layer": request.layer}, seconds
        image_uri = thumbnail(picture, choice.spec, choice.fit)
        return parts(request, prediction, report, html, image_uri), seconds

    def save(
        self, request: Request, choice: Choice, picture: Picture | str, cached: bool = False
    ) -> tuple[Answer | None, float | None]:
        """Return a layer's output as a file; arguments and result as of `run`."""
        report, seconds = self._report_of(choice, picture, cached)
        if report is None:
            return None, None
        layer = layer_of(request, report.prediction)
        file = maps.npz_of(report, layer)
        if file is None:
            reason = "its output was not kept: only the stem's are"
            raise SpecError("layer", layer, reason, "Choose a layer of the stem", "conv1")
        return {"name": file[0], "data": b64encode(file[1]).decode()}, seconds

    def table_error(self, choice: Choice, picture: Picture | str) -> str | None:
        """Run the stem with the position table that is kept, and return what PyTorch raises."""
        assert choice.table_rows is not None
        prepared = self._prepare(choice, choice.spec, picture)
        return error_with_table(prepared.module, prepared.batch, choice.table_rows)

    def report(self, choice: Choice, picture: Picture | str) -> tuple[bytes, float | None]:
        """Run the model unless it is cached, and return its report for `keep`."""
        report, seconds = self._report_of(choice, picture, False)
        return pickle.dumps(report, pickle.HIGHEST_PROTOCOL), seconds

    def keep(self, choice: Choice, report: bytes) -> None:
        """Cache the report of another worker."""
        self._reports.put(choice, pickle.loads(report))  # of our own process

    def witnesses(self, choice: Choice) -> str:
        """Return the MACs of the stem or the model by each counter."""
        return costs.witnesses_html(count_work(choice.model, device=choice.device))

    def time(self, choice: Choice, ticket: str) -> Timing:
        """Time the layers for a moment.

        Args:
            choice: The stem and its settings.
            ticket: Which measurement to continue; a new one starts another.
        """
        running = self._running.get(ticket)
        if running is None:
            rounds = time_layers(choice.model, device=choice.device, dtype=choice.dtype)
            needed = predicted_memory(predict(choice.model, dtype=choice.dtype), keep_bytes=0)
            running = _RunningTiming(rounds, needed)
            self._running.put(ticket, running)
        until = monotonic() + TIMING_SECONDS
        for timing in running.rounds:
            if timing.done:
                self._running.drop(ticket)
            if timing.done or monotonic() > until:
                return timing
        raise AssertionError("a finished measurement is not continued")

    def _report_of(
        self, choice: Choice, picture: Picture | str, cached: bool
    ) -> tuple[Report | None, float | None]:
        """The report of a choice, and how long it took where it was made now (seconds)."""
        report, seconds = self._reports.get(choice), None
        if report is None and not cached:
            began = monotonic()
            report = inspect(self._prepare(choice, choice.model, picture))
            seconds = monotonic() - began
            report = replace(report, trace=packed(report.trace))
            self._reports.put(choice, report)
        return report, seconds

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
            return panel(request, report.prediction, report, None)
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
            fit=choice.fit,
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
