"""The shared part of both pages' servers: pictures, cancelling, and methods as page functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture, decode_alone
from vitc_inspect.stem.run_time import duration
from vitc_inspect.ui.answers import Answer, answering
from vitc_inspect.ui.choice import Request
from vitc_inspect.ui.panels.messages import error_html
from vitc_inspect.ui.pictures import PictureStore, content_of, opened
from vitc_inspect.ui.worker_queues import Progress, WorkerQueue

PICTURE_BYTES = 64 * 2**20
"""The most that opened pictures may hold (bytes)."""
_DECODING_SECONDS = 30.0  # the most that decoding one picture may take
SHARED_FUNCTIONS = ("open_picture", "cancel", "progress")
"""Names of the methods that both pages can call."""


class Decoder:
    """Decodes pictures one at a time, to be called in a worker process."""

    def decode(self, content: bytes) -> Picture:
        """Make a small picture of the content of a file."""
        return decode_alone(content)


class PageServer:
    """Opened pictures, and the queues in which workers run what cannot be interrupted."""

    queues: Sequence[WorkerQueue] = ()
    """The queues for runs."""

    def __init__(
        self,
        own_pictures: Mapping[str, Picture] | None = None,
        *,
        preload: Sequence[str],
        in_process: bool,
    ) -> None:
        """Start the server.

        Args:
            own_pictures: Pictures by name, offered beside the samples.
            preload, in_process: As `WorkerQueue` takes them.
        """
        self.pictures = PictureStore(PICTURE_BYTES, own_pictures or {})
        self._decoding = WorkerQueue(
            Decoder,
            deadline=_DECODING_SECONDS,
            subject="Decoding the picture",
            preload=preload,
            in_process=in_process,
        )

    def start(self) -> None:
        """Start the worker of the first queue, ahead of the first request."""
        for queue in self.queues[:1]:
            queue.start()

    def close(self) -> None:
        """End the processes of all workers."""
        for queue in (*self.queues, self._decoding):
            queue.close()

    async def open_picture(self, request: Request) -> Answer:
        """Cache a picture: a file that was opened, or one that the browser sends back."""
        content = content_of(request.data)
        picture = await self._decoding.call("decode", content, ticket=request.ticket)
        return opened(self.pictures.keep(picture), picture)

    async def cancel(self, request: Request) -> Answer:
        """End the call with this ticket, or take it out of the queue."""
        return {"cancelled": any([queue.cancel(request.ticket) for queue in self.queues])}

    async def progress(self, request: Request) -> Answer:
        """Say what the call with this ticket waits for, and for about how long."""
        found = (queue.progress(request.ticket) for queue in self.queues)
        return {"progress": next((_words(each) for each in found if each), "")}


def _words(progress: Progress) -> str:
    """How far a call is, in words.

    >>> _words(Progress(ahead=1, wait=12.0, left=3.0, taken=0.0))
    'waiting for 1 other run, about 12 s'
    >>> _words(Progress(ahead=0, wait=0.0, left=8.2, taken=4.0))
    'running for 4 s, about 8 s left'
    """
    if progress.ahead:
        others = "1 other run" if progress.ahead == 1 else f"{progress.ahead} other runs"
        about = "" if progress.wait is None else f", about {duration(progress.wait)}"
        return f"waiting for {others}{about}"
    ran = f"running for {duration(progress.taken)}"
    return ran if not progress.left else f"{ran}, about {duration(progress.left)} left"


def page_functions(
    server: PageServer, names: Iterable[str], refused: Callable[[Request, SpecError], Answer]
) -> list[Callable[..., Any]]:
    """Turn methods of a server into functions that its page can call.

    Args:
        server: The server.
        names: Names of its methods, each from Request to Answer; one that is not a coroutine
            runs in a thread.
        refused: Answers a request that cannot be used.

    Returns:
        Coroutine functions from what the browser sends to an answer; they raise nothing.
    """

    def function_of(name: str) -> Callable[..., Any]:
        async def function(message: Any) -> Answer:
            request = Request()
            with answering(lambda error: refused(request, error)) as answer:
                request = Request.read(message)
                method = getattr(server, name)
                if iscoroutinefunction(method):
                    answer.update(await method(request))
                else:
                    answer.update(await asyncio.to_thread(method, request))
            return answer

        function.__name__ = name
        return function

    return [function_of(name) for name in names]


def error_fields(error: SpecError) -> Answer:
    """Return an error as the page shows it, with values for the controls of its field."""
    value = () if error.suggestion is None else error.suggestion
    # as text, since JavaScript rounds large numbers
    parts = [str(part) for part in (value if isinstance(value, tuple) else (value,))]
    return {"field": error.field, "html": error_html(error), "suggestion": parts}
