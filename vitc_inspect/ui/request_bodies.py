"""Bodies of requests: read within a limit, and answered for as long as the client is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_CALL_BYTES = 12 * 2**20
"""Largest body of a call of the page's functions: an image file of 8 MiB as base64, and more."""
MOST_OTHER_BYTES = 64 * 2**10
"""Largest body of any other request."""
MOST_HELD_BYTES = 16 * MOST_CALL_BYTES
"""Most that the bodies of all requests may hold at once."""
BODY_SECONDS = 120
"""How long a client may take to send a body."""
DRAINED_BYTES = 16 * 2**20
"""Most that is read of a body that was refused."""
_DRAIN_SECONDS = 10
_MOST_VALUES = 5_000  # a stem of the most layers has a tenth of them
_LONGEST_NAME = 100  # characters of a session or a function


class TooLarge(Exception):
    """The body is larger than the limit."""


class NoRoom(Exception):
    """The bodies of all requests together are larger than the limit."""


class Gone(Exception):
    """The client has left."""


class Bodies:
    """The bodies of all requests that are answered now."""

    def __init__(self, most: int = MOST_HELD_BYTES) -> None:
        """Start with none.

        Args:
            most: Most that they may hold together (bytes).
        """
        self._most = most
        self.held = 0

    @contextmanager
    def holding(self) -> Iterator[Body]:
        """A body to be read; its bytes count until the end of the block."""
        body = Body(self)
        try:
            yield body
        finally:
            self.held -= body.counted

    def count(self, size: int) -> None:
        """Count bytes that have come.

        Raises:
            NoRoom: when all bodies are too large together.
        """
        if self.held + size > self._most:
            raise NoRoom
        self.held += size


class Body:
    """The body of one request."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.counted = 0

    async def read(self, receive: Receive, most: int, seconds: float = BODY_SECONDS) -> bytes:
        """Read the whole body.

        Args:
            receive: Of the request.
            most: The limit (bytes).
            seconds: How long it may take.

        Raises:
            TooLarge, NoRoom: when the rest was read too, or much of it, since a client that still
                sends reads no answer; none of it is kept.
            Gone: when the client leaves before the end.
            TimeoutError: when the client is too slow.
        """
        content, size = bytearray(), 0
        fault: Exception | None = None
        async with asyncio.timeout(seconds):
            while size <= most + DRAINED_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                part = message.get("body", b"")
                size += len(part)
                if fault is None:
                    try:
                        self._take(content, part, most)
                    except (TooLarge, NoRoom) as error:
                        fault = error
                        content.clear()
                        self._bodies.held -= self.counted
                        self.counted = 0
                if not message.get("more_body", False):
                    break
        if fault:
            raise fault
        return bytes(content)

    def _take(self, content: bytearray, part: bytes, most: int) -> None:
        if len(content) + len(part) > most:
            raise TooLarge
        self._bodies.count(len(part))
        self.counted += len(part)
        content += part


def fault_of_call(content: bytes) -> str:
    """What is wrong with the body of a call; empty for nothing.

    Gradio answers such a body without a sentence, or keeps its session for long.
    """
    try:
        call = json.loads(content)
    except (ValueError, RecursionError):  # the former for bytes that are no text, too
        return "The body of the call is no JSON, or one that is nested too deep."
    if not isinstance(call, dict) or not isinstance(call.get("data"), dict):
        return 'The body of the call is no JSON object with another one as its "data".'
    if not _is_name(call.get("session_hash")) or not _is_name(call.get("fn_name")):
        return f'"session_hash" and "fn_name" are texts of at most {_LONGEST_NAME} characters.'
    number = call.get("component_id")
    if type(number) is not int or not 0 <= number < 2**31:
        return '"component_id" is the number of a part of the page.'
    if not _has_few_values(call):
        return f"The call has more than {_MOST_VALUES:,} values."
    return ""


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME


def _has_few_values(call: Any) -> bool:
    """Whether a call is small once it is read; each empty list takes 20 times its two bytes."""
    rest, count = [call], 0
    while rest and count <= _MOST_VALUES:
        value = rest.pop()
        if isinstance(value, (dict, list)):
            count += len(value)
            rest += value.values() if isinstance(value, dict) else value
    return count <= _MOST_VALUES


async def answer_while_connected(
    app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send
) -> None:
    """Let an app answer a request whose body was read; cancel it when the client leaves.

    What the app raises is raised here.
    """
    sent, gone, complete = False, asyncio.Event(), False

    async def replay() -> Message:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def noticing(message: Message) -> None:
        nonlocal complete
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            complete = True  # a server says "disconnect" after this too
        await send(message)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        if not complete:
            answer.cancel()

    async def whole() -> None:
        await app(scope, replay, noticing)

    answer = asyncio.create_task(whole())
    watcher = asyncio.create_task(watch())
    try:
        await answer
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not gone.is_set() or (task and task.cancelling()):
            raise  # the server itself ends
    finally:
        watcher.cancel()


def limited(receive: Receive, most: int) -> Receive:
    """A `receive` that raises TooLarge where a body is larger than a limit (bytes)."""
    size = 0

    async def count() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise TooLarge
        return message

    return count


async def drain(receive: Receive) -> None:
    """Read on for a while and keep nothing, so that a client that still sends reads the answer."""
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < DRAINED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
