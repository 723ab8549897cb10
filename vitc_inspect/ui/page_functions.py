"""The shared part of both pages' servers: turn their methods into page functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture
from vitc_inspect.ui.answers import Answer, answering
from vitc_inspect.ui.choice import Request
from vitc_inspect.ui.panels.summary import error_html
from vitc_inspect.ui.pictures import PictureStore

PICTURE_BYTES = 64 * 2**20
"""The most that opened pictures may hold (bytes)."""

Result = TypeVar("Result")


class PageServer:
    """Opened pictures, and one thread in which forward passes are queued."""

    def __init__(self, own_pictures: Mapping[str, Picture] | None = None) -> None:
        """Start the server.

        Args:
            own_pictures: Pictures by name, offered beside the samples.
        """
        self.pictures = PictureStore(PICTURE_BYTES, own_pictures or {})
        # one thread, so that no two runs need memory at once, and a user's code runs alone
        self._runner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")

    def open_picture(self, request: Request) -> Answer:
        """Cache a picture: a file that was opened, or one that the browser sends back."""
        return self.pictures.take_in(request.data)

    async def _in_turn(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call a function in the thread of the forward passes."""
        return await asyncio.get_running_loop().run_in_executor(self._runner, function, *args)


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
