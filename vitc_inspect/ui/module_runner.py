"""Everything on a module's page that runs the user's code, to be called in a worker process.

A request chooses what is shown of the module; only the command line chooses the module.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.fitting import Fit, fit_words
from vitc_inspect.common.images import SAMPLES, FloatArray, Picture
from vitc_inspect.inspection.module_run import (
    FileStamps,
    LiveModule,
    Module,
    ModuleRun,
    Source,
    run_module,
    with_sizes,
)
from vitc_inspect.model.devices import resolve_device
from vitc_inspect.stem.prediction import predict
from vitc_inspect.tracing.tracebacks import traceback_text
from vitc_inspect.ui.answers import Answer, drawn
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.choice import Request, read_fit
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
from vitc_inspect.ui.pictures import fit_parts
from vitc_inspect.views.folding import row_keys
from vitc_inspect.views.pixels import photo_uri
from vitc_inspect.views.strip import FAILED, strip_svg

INPUT_BYTES = 64 * 2**20
"""Most memory for inputs whose sizes are typed into the page (bytes)."""
RUN_BYTES = 256 * 2**20
"""Budget of the cache of runs (bytes)."""
RANDOM = "random"
"""Name that selects random numbers instead of a picture."""
GIVEN = "given"
"""Name that selects the inputs that a live module was given."""
_STRIP_WIDTH = 1340  # pixels: this page has no controls beside the strip


class Reading(NamedTuple):
    """One reading of the module's file."""

    number: int
    """When it was (milliseconds since the epoch), by which it is told from others."""
    files: FileStamps
    """The files that were read."""


@dataclass(frozen=True)
class _Key:
    """What a run of the module as it was last read depends on."""

    image: str
    inputs: tuple[str, ...]
    fit: Fit


class ModuleRunner:
    """Reads and runs the module that the program was started with, and draws its page."""

    def __init__(self, module: str | LiveModule, device: str, inputs: Sequence[str]) -> None:
        """Name the module without reading it.

        Args:
            module: `path/to/file.py:name` or `package.module:name`; or one of this process.
            device: Device for the module, for example "auto"; a live one stays where it is.
            inputs: Shapes of the inputs, as `--input` takes them.
        """
        self.inputs = tuple(inputs)
        self._source: Source | LiveModule = (
            Source(module, resolve_device(device)) if isinstance(module, str) else module
        )
        self._runs: ByteCache[_Key, ModuleRun] = ByteCache(RUN_BYTES)
        self._error: SpecError | None = None
        self._module: Module | None = None

    def first_run(self, image: str, picture: Picture | str | None) -> tuple[SpecError, str] | None:
        """Read the module and run it for the first time.

        Args:
            image: Name of the picture.
            picture: The picture, or None for random numbers.

        Returns:
            None; or why the module or its inputs cannot be used, and the traceback of what the
            user's code raised, which is empty where it raised nothing.
        """
        try:
            self._module = self._source.read()
            self._run(_Key(image, self.inputs, "crop"), picture)
        except SpecError as error:
            return error, traceback_text(error.__cause__).rstrip() if error.__cause__ else ""
        return None

    def show(self, request: Request, picture: Picture | str | None) -> tuple[Answer, Reading]:
        """Return the whole page, or only the panel, for the module as last read."""
        self._read_once()
        return self._shown(request, picture), self._reading

    def reload(self, request: Request, picture: Picture | str | None) -> tuple[Answer, Reading]:
        """Read the file again, and show the new module."""
        self._read()
        return self._shown(replace(request, part=""), picture), self._reading

    def save(self, request: Request, picture: Picture | str | None) -> Answer:
        """Return the output of a call as a file."""
        self._read_once()
        if self._error:
            raise self._error
        run = self._run_of(request, picture)
        row, _ = _row_of(request, run)
        file = output_file(run, row) if row is not None else None
        if file is None:
            raise SpecError("layer", "", "its output was not kept", "Choose another row")
        return {"name": file[0], "data": b64encode(file[1]).decode()}

    def _read_once(self) -> None:
        """Read the file, unless this process has done so."""
        if self._module is None and self._error is None:
            self._read()

    def _read(self) -> None:
        """Read the file; why it cannot be read is shown until it is read again."""
        self._error = None
        # freed before the new module takes its memory
        self._runs = ByteCache(RUN_BYTES)
        self._module = None
        try:
            self._module = self._source.read()
        except SpecError as error:
            self._error = error

    @property
    def _reading(self) -> Reading:
        """The last reading, and the files read."""
        return Reading(round(self._source.read_at * 1000), self._source.files)

    def _shown(self, request: Request, picture: Picture | str | None) -> Answer:
        read_at = datetime.fromtimestamp(self._source.read_at).strftime("%H:%M:%S")
        number = self._reading.number
        facts: Answer = {"reading": number, "read_at": read_at}
        if self._error:
            return {**facts, "broken": broken_html(self._error)}
        try:
            run = self._run_of(request, picture)
        except SpecError as error:
            if error.field != "module":
                raise
            return {**facts, "broken": broken_html(error)}
        row, key = _row_of(request, run)
        panel = drawn("The panel", _panel, request, run, row)
        if request.part == "panel" and request.reading == number:
            return {**facts, "panel": panel, "layer": key}
        report, array = run.report, run.array
        image_uri = None if array is None else photo_uri(_reduced(array))
        given = request.image == GIVEN and self._inputs_of(request) == self.inputs
        words = "the inputs as given" if given else _input_words(request, run, picture)
        return {
            **facts,
            "layer": key,
            "alerts": drawn("What is wrong", alerts_html, report),
            "summary": drawn("The summary", summary_html, report),
            "status": drawn("The status", status_html, report, words),
            "strip": drawn(
                "The strip",
                strip_svg,
                report.rows,
                keys=row_keys(report.rows),
                inputs=[value.shape for value in report.inputs],
                selected=key,
                failure=report.failure,
                never_called=report.never_called,
                label="The module from its input to its output",
                css="of-module",
                full=_STRIP_WIDTH,
                image_uri=image_uri,
            ),
            "table": drawn("The table", module_table_html, report, key),
            "panel": panel,
            "sizes": [text.rpartition("=")[2] for text in self._inputs_of(request)],
            "stem": report.stem is not None,
            "image": run.pictured or run.image is not None,
            "proportions": _proportions(run, picture),
        }

    def _run_of(self, request: Request, picture: Picture | str | None) -> ModuleRun:
        key = _Key(request.image or RANDOM, self._inputs_of(request), read_fit(request))
        return self._run(key, picture)

    def _run(self, key: _Key, picture: Picture | str | None) -> ModuleRun:
        """The run on an image with inputs of these shapes, from the cache if it is there."""
        run = self._runs.get(key)
        if run is None:
            assert self._module is not None  # else `_shown` has shown why
            own = key.image == GIVEN and key.inputs == self.inputs
            if own and isinstance(self._source, LiveModule):
                run = self._source.run()
            else:
                run = run_module(self._module, key.inputs, picture, fit=key.fit)
            self._runs.put(key, run)
        return run

    def _inputs_of(self, request: Request) -> tuple[str, ...]:
        """The inputs of the command line, with the sizes typed into the page."""
        if not request.sizes:
            return self.inputs
        return with_sizes(self.inputs, request.sizes, budget=INPUT_BYTES)


def _input_words(request: Request, run: ModuleRun, picture: Picture | str | None) -> str:
    """What the input was, in words."""
    if run.image is None:
        return "random numbers"
    if not run.pictured:
        return "random numbers instead of an image"
    height, width = run.image.shape[2:]
    said = ""
    if isinstance(picture, Picture):
        said = fit_words(picture.size, (height, width), read_fit(request))
    title = SAMPLES.get(request.image, "an opened picture")
    others = "" if len(run.report.inputs) == 1 else "; random numbers for the others"
    return f"{title}, {said or f'at {height}×{width} pixels'}{others}"


def _proportions(run: ModuleRun, picture: Picture | str | None) -> list[int]:
    """Height and width near the input's with the picture's proportions; nothing if it has them."""
    if not run.pictured or run.image is None or not isinstance(picture, Picture):
        return []
    height, width = run.image.shape[2:]
    found: list[int] = fit_parts(picture, (height, width), "crop")["proportions"]
    return found


def _row_of(request: Request, run: ModuleRun) -> tuple[int | None, str]:
    """The selected row if there is one of its key; else what failed, else the first.

    Returns:
        Its index in the report, None for the operation that failed, and its key.
    """
    keys = row_keys(run.report.rows)
    if request.layer in keys:
        return keys.index(request.layer), request.layer
    if run.report.failure:
        return None, FAILED
    return (0, keys[0]) if keys else (None, "")


def _panel(request: Request, run: ModuleRun, row: int | None) -> str:
    """The selected panel of a row."""
    width, stem, failure = request.panel_width, run.report.stem, run.report.failure
    if request.view == "pixels" and stem:
        return pixels_html(predict(stem), run.array, width=width)
    if row is None:
        ran_nothing = remark("No layer or function ran.")
        return failed_html(failure) if failure else ran_nothing
    if request.view == "reach":
        return module_reach_html(run, row, place=request.token, width=width)
    return module_maps_html(
        run,
        row,
        cell=request.cell,
        aspect=request.aspect,
        width=width,
        sorting=request.sorting,
        scale=request.scale,
    )


def _reduced(array: FloatArray) -> FloatArray:
    """The input at a size for the strip, every nth pixel."""
    step = max(1, max(array.shape[1:]) // 160)
    return array[:, ::step, ::step]
