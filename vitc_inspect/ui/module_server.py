"""What a module's page asks the server: to show it, to read it again, whether it has changed.

A request says what is to be seen of the module, never which module: that is the command line's.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import SAMPLES, Picture, crop_of
from vitc_inspect.inspection.module_run import Module, Source, Trial, try_module, with_sizes
from vitc_inspect.stem.prediction import predict
from vitc_inspect.ui.answers import Answer, answering, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Request
from vitc_inspect.ui.panels.elements import remark
from vitc_inspect.ui.panels.module_maps import failed_html, module_maps_html, output_file
from vitc_inspect.ui.panels.module_reach import module_reach_html
from vitc_inspect.ui.panels.module_summary import (
    alerts_html,
    broken_html,
    module_table_html,
    status_html,
    summary_html,
)
from vitc_inspect.ui.panels.pixels import pixels_html
from vitc_inspect.ui.panels.summary import error_html
from vitc_inspect.ui.uploads import PictureStore
from vitc_inspect.views.folding import row_keys
from vitc_inspect.views.module_strip import FAILED, module_strip_svg
from vitc_inspect.views.pixels import photo_uri

INPUT_BYTES = 64 * 2**20
"""The most that the inputs may take whose sizes are typed into the page (bytes)."""
TRIAL_BYTES = 256 * 2**20
"""The most that cached runs may hold (bytes)."""
PICTURE_BYTES = 64 * 2**20
"""The most that opened pictures may hold (bytes)."""
RANDOM = "random"
"""Name of random numbers among the pictures."""


@dataclass(frozen=True)
class _Key:
    """What one run depends on."""

    reading: int  # how often the file had been read
    image: str
    inputs: tuple[str, ...]


class ModuleInspector:
    """Answers requests about the one module the program was started with."""

    def __init__(
        self,
        source: Source,
        inputs: Sequence[str],
        own_pictures: Mapping[str, Picture] | None = None,
        *,
        image: str = RANDOM,
    ) -> None:
        """Read the module and run it for the first time.

        Args:
            source: Where the module comes from.
            inputs: A shape each, as `--input` takes them.
            own_pictures: Pictures by name, offered beside the samples.
            image: Name of the picture that it is run on first.

        Raises:
            SpecError: field "module" or "input"; its __cause__ is what the user's code raised.
        """
        self.inputs = tuple(inputs)
        self.pictures = PictureStore(PICTURE_BYTES, own_pictures or {})
        self._source = source
        self._trials: ByteCache[_Key, Trial] = ByteCache(TRIAL_BYTES)
        # one thread: whoever wrote the module did not expect to be called by two
        self._runner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="module")
        self._reading = 1
        self._trouble: SpecError | None = None
        self._module: Module | None = source.read()
        self._tried(image, self.inputs)

    async def show(self, request: Request) -> Answer:
        """Everything on the page, or the panel alone, for the module as it was read last."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._runner, self._shown, request)

    async def reload(self, request: Request) -> Answer:
        """Read the file anew, and show what it makes now."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._runner, self._reloaded, request)

    def changed(self, request: Request) -> Answer:
        """Whether a file that was read is another now; `reading` tells of another visitor's."""
        return {"changed": self._source.changed, "reading": self._reading}

    async def save(self, request: Request) -> Answer:
        """A call's output as a file."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._runner, self._saved, request)

    def open_picture(self, request: Request) -> Answer:
        """Take in a picture."""
        return self.pictures.take_in(request)

    def _reloaded(self, request: Request) -> Answer:
        self._reading += 1
        self._trouble = None
        # the old one is let go of before the new one takes its memory
        self._trials = ByteCache(TRIAL_BYTES)
        self._module = None
        try:
            self._module = self._source.read()
        except SpecError as error:
            self._trouble = error
        return self._shown({**request, "part": ""})

    def _shown(self, request: Request) -> Answer:
        facts: Answer = {"reading": self._reading, "read_at": self._read_at()}
        if self._trouble:
            return {**facts, "broken": broken_html(self._trouble)}
        try:
            trial = self._trial(request)
        except SpecError as error:
            if error.field != "module":
                raise
            return {**facts, "broken": broken_html(error)}
        row, key = _row_of(request, trial)
        panel = drawn("The panel", _panel, request, trial, row)
        if request.get("part") == "panel" and request.get("reading") == self._reading:
            return {**facts, "panel": panel, "layer": key}
        report, array = trial.report, trial.array
        opened = [str(title) for title in _listed(request.get("opened"))]
        return {
            **facts,
            "layer": key,
            "alerts": drawn("What is wrong", alerts_html, report),
            "summary": drawn("The summary", summary_html, report),
            "status": drawn("The status", status_html, report, self._given(request, trial)),
            "strip": drawn(
                "The strip",
                module_strip_svg,
                report,
                selected=key,
                image_uri=None if array is None else photo_uri(_thin(array)),
            ),
            "table": drawn("The table", module_table_html, report, key, opened),
            "panel": panel,
            "sizes": [text.rpartition("=")[2] for text in self._inputs_of(request)],
            "stem": report.stem is not None,
            "image": trial.pictured or trial.image is not None,
        }

    def _saved(self, request: Request) -> Answer:
        trial = self._trial(request)
        row, _ = _row_of(request, trial)
        file = output_file(trial, row) if row is not None else None
        if file is None:
            raise SpecError("layer", "", "nothing of it is kept", "Choose another row")
        return {"name": file[0], "data": b64encode(file[1]).decode()}

    def _trial(self, request: Request) -> Trial:
        image = str(request.get("image", RANDOM))
        return self._tried(image, self._inputs_of(request))

    def _tried(self, image: str, inputs: tuple[str, ...]) -> Trial:
        """The run of these, from the cache if it is there."""
        key = _Key(self._reading, image, inputs)
        trial = self._trials.get(key)
        if trial is None:
            picture = None if image == RANDOM else self.pictures.find(image)
            assert self._module is not None  # else its trouble is told
            trial = try_module(self._module, inputs, picture)
            self._trials.put(key, trial)
        return trial

    def _inputs_of(self, request: Request) -> tuple[str, ...]:
        """The command line's inputs, with the sizes that were typed into the page."""
        sizes = _listed(request.get("sizes"))
        if not sizes:
            return self.inputs
        return with_sizes(self.inputs, [str(size) for size in sizes], budget=INPUT_BYTES)

    def _given(self, request: Request, trial: Trial) -> str:
        """What the input was, in words."""
        if trial.image is None:
            return "random numbers"
        if not trial.pictured:
            return "random numbers instead of an image"
        name = str(request.get("image", RANDOM))
        height, width = trial.image.shape[2:]
        picture = self.pictures.find(name)
        part, cut = crop_of(picture, (height, width)), ""
        if part and isinstance(picture, Picture):
            whole = f"{picture.image.height}×{picture.image.width}"
            cut = f", cropped to its middle {part[0]}×{part[1]} of {whole} px"
        title = SAMPLES.get(name, "a picture of yours")
        others = "" if len(trial.report.inputs) == 1 else "; random numbers for the others"
        return f"{title}{cut}, at {height}×{width} px{others}"

    def _read_at(self) -> str:
        """When the file was read last, by the clock of this machine."""
        return datetime.fromtimestamp(self._source.read_at).strftime("%H:%M:%S")


def module_functions(inspector: ModuleInspector) -> list[Callable[..., Any]]:
    """The functions the page can call; each answers a fault with one sentence."""

    async def show(request: Any) -> Answer:
        with answering(_refused) as answer:
            answer.update(await inspector.show(_fields(request)))
        return answer

    async def reload(request: Any) -> Answer:
        with answering(_refused) as answer:
            answer.update(await inspector.reload(_fields(request)))
        return answer

    def changed(request: Any) -> Answer:
        with answering(_refused) as answer:
            answer.update(inspector.changed(_fields(request)))
        return answer

    async def save(request: Any) -> Answer:
        with answering(_refused) as answer:
            answer.update(await inspector.save(_fields(request)))
        return answer

    def open_picture(request: Any) -> Answer:
        with answering(_refused) as answer:
            answer.update(inspector.open_picture(_fields(request)))
        return answer

    return [show, reload, changed, save, open_picture]


def _refused(error: SpecError) -> Answer:
    """What is answered where a choice cannot be used."""
    suggestion = [] if error.suggestion is None else [str(error.suggestion)]
    return {
        "error": {"field": error.field, "html": error_html(error), "suggestion": suggestion},
    }


def _fields(request: Any) -> Request:
    return request if isinstance(request, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value[:100] if isinstance(value, list) else []


def _row_of(request: Request, trial: Trial) -> tuple[int | None, str]:
    """The row that was chosen, where it still is; else what failed, else the first.

    Returns:
        Its place in the report, None for the operation that failed, and its key.
    """
    keys = row_keys([row.call for row in trial.report.rows])
    chosen = str(request.get("layer", ""))
    if chosen in keys:
        return keys.index(chosen), chosen
    if trial.report.failure:
        return None, FAILED
    return (0, keys[0]) if keys else (None, "")


def _panel(request: Request, trial: Trial, row: int | None) -> str:
    """The panel that was chosen, of a row."""
    cell, width = str(request.get("cell", "")), _bounded(request.get("panel_width"), 240, 1200, 400)
    stem = trial.report.stem
    if request.get("view") == "pixels" and stem:
        return pixels_html(predict(stem), trial.array, width=round(width))
    if row is None:
        return _failed_panel(trial)
    if request.get("view") == "reach":
        place = str(request.get("token", ""))
        return module_reach_html(trial, row, place=place, width=round(width))
    return module_maps_html(
        trial,
        row,
        cell=cell,
        aspect=_bounded(request.get("aspect"), 0.5, 4.0, 1.3),
        width=round(width),
        sorting=str(request.get("sorting", "")),
        scale=str(request.get("scale", "")),
    )


def _failed_panel(trial: Trial) -> str:
    """What there is to see where no row is chosen."""
    failure = trial.report.failure
    return failed_html(failure) if failure else remark("No layer or function ran.")


def _bounded(value: Any, low: float, high: float, usual: float) -> float:
    return min(high, max(low, value)) if isinstance(value, (int, float)) else usual


def _thin(array: Any) -> Any:
    """The input small, for the strip."""
    step = max(1, max(array.shape[1:]) // 160)
    return array[:, ::step, ::step]
