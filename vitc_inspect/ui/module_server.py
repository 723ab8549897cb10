"""Server of a module's page: has a worker run the module, and tells when its file has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture
from vitc_inspect.inspection.loading import parse_shape
from vitc_inspect.inspection.module_run import LiveModule, have_changed
from vitc_inspect.stem.run_time import DEFAULT_MAX_SECONDS
from vitc_inspect.ui.answers import Answer
from vitc_inspect.ui.choice import Request, read_fit
from vitc_inspect.ui.module_runner import GIVEN, RANDOM, ModuleRunner, Reading
from vitc_inspect.ui.page_functions import (
    SHARED_FUNCTIONS,
    PageServer,
    error_fields,
    page_functions,
)
from vitc_inspect.ui.pictures import views_of
from vitc_inspect.ui.worker_queues import WorkerQueue

_PRELOAD = (ModuleRunner.__module__,)


class ModuleServer(PageServer):
    """Answers requests about the module that the program was started with."""

    def __init__(
        self,
        module: str | LiveModule,
        device: str,
        inputs: Sequence[str],
        own_pictures: Mapping[str, Picture] | None = None,
        *,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        in_process: bool = False,
    ) -> None:
        """Name the module without reading it.

        Args:
            module: `path/to/file.py:name` or `package.module:name`; or a live one, which runs in
                this process and cannot be ended.
            device: Device for the module, for example "auto".
            inputs: Shapes of the inputs, as `--input` takes them.
            own_pictures: Pictures by name, offered beside the samples.
            max_seconds: The longest that reading and running the module may take (seconds).
            in_process: Whether the module runs in this process and cannot be ended, for tests.
        """
        super().__init__(own_pictures, preload=_PRELOAD, in_process=in_process)
        self.inputs = tuple(inputs)
        in_process = in_process or isinstance(module, LiveModule)
        make = partial(ModuleRunner, module, device, self.inputs)
        self._queue = WorkerQueue(
            make, deadline=max_seconds, preload=_PRELOAD, in_process=in_process
        )
        self.queues = (self._queue,)
        self._reading = Reading(0, {})

    async def first_run(self, image: str) -> tuple[SpecError, str] | None:
        """Read the module and run it for the first time; result as of `ModuleRunner.first_run`."""
        refusal: tuple[SpecError, str] | None
        refusal = await self._queue.call("first_run", image, self._picture(image))
        return refusal

    async def show(self, request: Request) -> Answer:
        """Return the whole page, or only the panel, for the module as last read."""
        return await self._answered("show", request)

    async def reload(self, request: Request) -> Answer:
        """Read the file again, and show the new module."""
        return await self._answered("reload", request, anew=True)  # it may have changed anything

    async def save(self, request: Request) -> Answer:
        """Return the output of a call as a file."""
        picture = self._picture(request.image)
        answer: Answer = await self._queue.call("save", request, picture, ticket=request.ticket)
        return answer

    def picture(self, request: Request) -> Answer:
        """Return the chosen image as it was opened and as the module gets it.

        Raises:
            SpecError: field "image", where the module gets no picture.
        """
        inputs = request.sizes or self.inputs
        shape = parse_shape(inputs[0].rpartition("=")[2]) if inputs else ()
        picture = self._picture(request.image)
        if picture is None or len(shape) != 4 or shape[1] not in (1, 3):
            reason = "the module gets random numbers, which are no picture"
            raise SpecError("image", request.image, reason, "Use photo", "photo")
        return views_of(picture, shape[2:], shape[1], read_fit(request))

    def changed(self, request: Request) -> Answer:
        """Whether a source file has changed; `reading` shows that another visitor reloaded it."""
        number, files = self._reading
        return {"changed": have_changed(files), "reading": number}

    async def _answered(self, method: str, request: Request, *, anew: bool = False) -> Answer:
        answer: Answer
        answer, self._reading = await self._queue.call(
            method, request, self._picture(request.image), ticket=request.ticket, anew=anew
        )
        return answer

    def _picture(self, image: str) -> Picture | str | None:
        """The picture of a name; None for random numbers and for inputs as given."""
        return self.pictures.find(image) if image not in ("", RANDOM, GIVEN) else None


def module_functions(server: ModuleServer) -> list[Callable[..., Any]]:
    """Return the functions that the module's page can call."""
    names = ("show", "reload", "changed", "save", "picture", *SHARED_FUNCTIONS)
    return page_functions(server, names, lambda _, error: {"error": error_fields(error)})
