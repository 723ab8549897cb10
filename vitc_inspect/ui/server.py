"""Server of the stem's page: predicts and explains at once, and has runs made by workers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.probes.timing import Timing
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.run_time import (
    COUNTED_RUNS,
    DEFAULT_MAX_SECONDS,
    TIMED_RUNS,
    RunTimes,
    check_seconds,
    duration,
)
from vitc_inspect.tracing.hooks import KEEP_BYTES
from vitc_inspect.ui.answers import Answer, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Choice, Request, editor_rows, read_choice, stem_text
from vitc_inspect.ui.page_functions import (
    SHARED_FUNCTIONS,
    PageServer,
    error_fields,
    page_functions,
)
from vitc_inspect.ui.panels import costs, editor, messages
from vitc_inspect.ui.pictures import fit_parts, views_of
from vitc_inspect.ui.stem_answers import is_probe, panel, parts, resolved, stem_parts, thumbnail
from vitc_inspect.ui.stem_answers import until_run as remark_until_run
from vitc_inspect.ui.stem_runner import StemRunner
from vitc_inspect.ui.worker_queues import Overtaken, WorkerQueue
from vitc_inspect.views import text

AUTO_RUN_MACS = 4 * 10**9
"""A stem with at most this many MACs runs without being asked."""
AUTO_RUN_BYTES = 512 * 2**20
"""A run predicted to need at most this much memory starts without being asked (bytes)."""
AUTO_RUN_SECONDS = 5.0
"""A run predicted to take at most this long starts without being asked (seconds)."""
SMALL_SECONDS = 1.5
"""A run predicted to take at most this long is a small one, which no long one delays (seconds)."""
PATIENCE = 2.5
"""A small run that takes longer while others wait is moved to the long ones (seconds)."""
TIMING_BYTES = 8 * 2**20
"""Budget of the cache of finished measurements of time (bytes)."""
_PRELOAD = (StemRunner.__module__,)
_NICENESS = 5  # of long runs, so that small ones beside them get the processor
_PROBE_RUNS = 4  # runs of the stem whose work a probe is like: gradients of a token
_FIRST_TIMED_RUNS = 8  # runs of a measurement before its first answer
_LONGEST_ERROR = 20_000  # characters of a pasted message that are read


class Inspector(PageServer):
    """Answers the requests of the stem's page."""

    def __init__(
        self,
        own_pictures: Mapping[str, Picture] | None = None,
        own_weights: Mapping[str, Path] | None = None,
        *,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        in_process: bool = False,
    ) -> None:
        """Start with empty caches; the first request of each kind starts its worker.

        Args:
            own_pictures: Pictures by name, offered beside the samples.
            own_weights: Weight files by name, offered beside random weights.
            max_seconds: The longest run that is allowed (seconds).
            in_process: Whether runs are made in this process and cannot be ended, for tests.
        """
        super().__init__(own_pictures, preload=_PRELOAD, in_process=in_process)
        self._max_seconds = max_seconds
        make = partial(StemRunner, dict(own_weights or {}))
        queue = partial(
            WorkerQueue, make, deadline=max_seconds, preload=_PRELOAD, in_process=in_process
        )
        self._small, self._long = self.queues = (
            queue(patience=PATIENCE),
            queue(niceness=_NICENESS),
        )
        self._times = RunTimes()
        self._timings: ByteCache[Hashable, Timing] = ByteCache(TIMING_BYTES)

    def predict(self, request: Request) -> Answer:
        """Return everything that can be shown before a run."""
        choice = read_choice(request)
        prediction = predict(choice.model, dtype=choice.dtype)
        picture = self.pictures.find(choice.image)
        request = resolved(request, prediction)
        policy = self._run_policy(choice, prediction)
        timing = self._timings.get(_timed(choice))
        remark = remark_until_run(policy)
        drawing = drawn("The panel", panel, request, prediction, None, timing, until_run=remark)
        image_uri = thumbnail(picture, choice.spec, choice.fit)
        return {
            **stem_parts(request, choice.spec),
            **fit_parts(picture, choice.spec.image_size, choice.fit),
            **parts(request, prediction, None, drawing, image_uri),
            **policy,
            "table_first": choice.table_rows is not None and policy["auto_run"],
        }

    def picture(self, request: Request) -> Answer:
        """Return the chosen image as it was opened and as the stem gets it."""
        choice = read_choice(request)
        spec, picture = choice.spec, self.pictures.find(choice.image)
        return views_of(picture, spec.image_size, spec.in_channels, choice.fit)

    async def run(self, request: Request) -> Answer:
        """Run the model unless it is cached, and return everything shown after a run."""
        choice = read_choice(request)
        if choice.table_rows is not None:
            return await self._table_error(request, choice)
        answer = await self._of_report("run", request, choice, probes=is_probe(request))
        if request.view == "time":  # which this process keeps
            timing = self._timings.get(_timed(choice))
            html = drawn("The panel", costs.time_html, timing, width=request.panel_width)
            answer["panel"] = html
        return answer

    async def save(self, request: Request) -> Answer:
        """Return a layer's output as a file."""
        return await self._of_report("save", request, read_choice(request))

    async def witnesses(self, request: Request) -> Answer:
        """Return the MACs of the stem or the model by each counter."""
        choice = read_choice(request)
        seconds = self._seconds(choice, COUNTED_RUNS)
        return {"witnesses": await self._in_turn(seconds, request.ticket, "witnesses", choice)}

    async def time(self, request: Request) -> Answer:
        """Time the layers for a moment; the page asks again until the measurement is done.

        So closing the page ends a measurement, and other forward passes run in between.
        """
        choice = read_choice(request)
        seconds = self._seconds(choice, TIMED_RUNS) * _FIRST_TIMED_RUNS / TIMED_RUNS
        timing = await self._in_turn(seconds, request.ticket, "time", choice, request.ticket)
        if timing.done:
            self._timings.put(_timed(choice), timing)
        return {"panel": costs.time_html(timing, width=request.panel_width), "done": timing.done}

    def explain(self, request: Request) -> Answer:
        """Explain an error message, for the chosen stem if the request has a valid one."""
        try:
            spec = read_choice(request).spec
        except SpecError:  # the message may be about any other model
            spec = None
        explanations = explain_error(request.text[:_LONGEST_ERROR], spec=spec)
        return {"explained": messages.explanations_html(explanations)}

    async def _table_error(self, request: Request, choice: Choice) -> Answer:
        """What a real run raises with the position table of another image size, explained."""
        picture = self.pictures.find(choice.image)
        seconds = self._seconds(choice)
        message = await self._in_turn(seconds, request.ticket, "table_error", choice, picture)
        found = explain_error(message, spec=choice.spec)
        html = messages.table_error_html(choice.spec, request.table_of, message, found)
        return {"error": {"field": "table_of", "html": html, "suggestion": [""]}}

    async def _of_report(
        self, method: str, request: Request, choice: Choice, *, probes: bool = False
    ) -> Answer:
        """Have a worker answer from the report of a choice, which it makes where it has none.

        The report of a long run is handed over to the worker of the small ones, so that what is
        drawn from it later waits for no other long run.
        """
        seconds = self._seconds(choice, _PROBE_RUNS if probes else 1)
        args = (request, choice, self.pictures.find(choice.image))
        asked: dict[str, Any] = {"ticket": request.ticket, "seconds": seconds}
        if seconds <= SMALL_SECONDS:
            with suppress(Overtaken):
                return self._learned(choice, *await self._small.call(method, *args, **asked))
        if not probes:
            with suppress(Overtaken):
                answer = await self._of_kept_report(method, args, asked)
                if answer is not None:
                    return answer
        return self._learned(choice, *await self._long.call(method, *args, **asked))

    async def _of_kept_report(
        self, method: str, args: tuple[Request, Choice, Any], asked: Mapping[str, Any]
    ) -> Answer | None:
        """The answer of the worker for small runs, from a report that the other one makes."""
        _, choice, picture = args
        answer, _ = await self._small.call(method, *args, True, ticket=asked["ticket"])
        if answer is None:
            report, taken = await self._long.call("report", choice, picture, **asked)
            self._learned(choice, {}, taken)
            await self._small.call("keep", choice, report, ticket=asked["ticket"])
            answer, _ = await self._small.call(method, *args, True, ticket=asked["ticket"])
        found: Answer | None = answer  # None where the report is too large for the cache
        return found

    async def _in_turn(self, seconds: float, ticket: str, method: str, *args: Any) -> Any:
        """Have the worker for runs of this length call a method."""
        if seconds <= SMALL_SECONDS:
            with suppress(Overtaken):
                return await self._small.call(method, *args, ticket=ticket, seconds=seconds)
        return await self._long.call(method, *args, ticket=ticket, seconds=seconds)

    def _learned(self, choice: Choice, answer: Answer, taken: float | None) -> Answer:
        """The answer of a run, after learning from how long it took."""
        if taken is not None:
            prediction = predict(choice.model, dtype=choice.dtype)
            self._times.learn(prediction, choice.device, taken)
        return answer

    def _seconds(self, choice: Choice, runs: int = 1) -> float:
        """How long a number of runs is predicted to take (seconds).

        Raises:
            SpecError: when that is more than the longest run that is allowed.
        """
        return check_seconds(
            predict(choice.model, dtype=choice.dtype),
            lambda prediction: runs * self._times.seconds(prediction, choice.device),
            most=self._max_seconds,
        )

    def _run_policy(self, choice: Choice, prediction: Prediction) -> Answer:
        """Whether the stem can run, whether it runs without being asked, and what the run costs."""
        try:
            needed = check_memory(prediction, keep_bytes=KEEP_BYTES, budget=MEMORY_BUDGET)
            seconds = self._seconds(choice)
        except SpecError as refusal:
            return {"auto_run": False, "refusal": error_fields(refusal)}
        cheap = (
            prediction.macs <= AUTO_RUN_MACS
            and needed <= AUTO_RUN_BYTES
            and seconds <= AUTO_RUN_SECONDS
        )
        figures = (f"{text.count(prediction.macs)} MACs", text.size(needed), duration(seconds))
        return {"auto_run": cheap, "cost": "{}, about {}, about {}".format(*figures)}


def server_functions(inspector: Inspector) -> list[Callable[..., Any]]:
    """Return the functions that the stem's page can call."""
    names = ("predict", "run", "picture", "witnesses", "time", "explain", "save", *SHARED_FUNCTIONS)
    return page_functions(inspector, names, _refused)


def _refused(request: Request, error: SpecError) -> Answer:
    """The answer to a request for a stem that cannot be built or run."""
    rows = editor_rows(request)
    return {
        "stem": stem_text(request),
        "editor": editor.editor_html(rows) if rows else "",
        "error": error_fields(error),
    }


def _timed(choice: Choice) -> Hashable:
    """What the time of a run depends on."""
    return choice.model, choice.device, choice.dtype
