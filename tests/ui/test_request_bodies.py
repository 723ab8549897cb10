"""Bodies of requests: limits, clients that leave, and what the app raises."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from threading import Event
from typing import Any
from urllib.request import urlopen

import pytest

from tests.proxy import listening
from vitc_inspect.ui.access import Access
from vitc_inspect.ui.http_checks import HttpChecks
from vitc_inspect.ui.request_bodies import (
    DRAINED_BYTES,
    Bodies,
    Gone,
    NoRoom,
    TooLarge,
    answer_while_connected,
    drain,
    fault_of_call,
    limited,
)

GONE = {"type": "http.disconnect"}
CALL = {"session_hash": "a", "component_id": 1, "fn_name": "predict", "data": {"stem": "4x4/4:8"}}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def client(messages: Iterable[Any]) -> Any:
    """A `receive` with these messages; after them the client waits for the answer."""
    left = iter(messages)

    async def receive() -> Any:
        for message in left:
            return message
        await asyncio.Event().wait()

    return receive


def read(bodies: Bodies, *messages: Any, most: int = 10, seconds: float = 5) -> bytes:
    with bodies.holding() as body:
        return asyncio.run(body.read(client(messages), most, seconds))


def test_a_body_is_read_to_its_end_and_counted_until_it_is_answered() -> None:
    bodies = Bodies()
    with bodies.holding() as body:
        given = client([part(b"12345", more=True), part(b"67890")])
        assert asyncio.run(body.read(given, 10)) == b"1234567890"
        assert bodies.held == 10
    assert bodies.held == 0
    assert read(bodies, {"type": "http.request"}) == b""


def test_a_larger_one_is_refused_after_its_end_and_not_kept() -> None:
    bodies = Bodies()
    left = [part(b"123456", more=True), part(b"78901", more=True), part(b"x" * 99)]
    with bodies.holding() as body, pytest.raises(TooLarge):
        asyncio.run(body.read(client(left), 10))
    assert bodies.held == 0


def test_one_without_an_end_is_not_read_for_ever() -> None:
    def endless() -> Iterable[Any]:
        while True:
            yield part(b"x" * 2**20, more=True)

    with Bodies().holding() as body, pytest.raises(TooLarge):
        asyncio.run(body.read(client(endless()), 10))
    pieces = endless()
    asyncio.run(drain(client(pieces)))
    assert DRAINED_BYTES < 2**30


def test_all_bodies_together_have_a_limit() -> None:
    bodies = Bodies(most=15)
    with bodies.holding() as first:
        asyncio.run(first.read(client([part(b"1234567890")]), 10))
        with pytest.raises(NoRoom):
            read(bodies, part(b"123456"))
        assert read(bodies, part(b"12345")) == b"12345"
        assert bodies.held == 10
    assert bodies.held == 0
    assert read(bodies, part(b"123456")) == b"123456"


def test_who_leaves_or_is_too_slow_leaves_nothing_behind() -> None:
    bodies = Bodies()
    with pytest.raises(Gone):
        read(bodies, part(b"123", more=True), GONE)
    with pytest.raises(TimeoutError):
        read(bodies, part(b"123", more=True), seconds=0.01)
    assert bodies.held == 0


def test_a_body_that_is_read_by_the_app_has_its_limit_too() -> None:
    async def whole() -> None:
        receive = limited(client([part(b"123", more=True), part(b"4567")]), 6)
        assert (await receive())["body"] == b"123"
        await receive()

    with pytest.raises(TooLarge):
        asyncio.run(whole())


# ---- answers ---------------------------------------------------------------------------------


async def answered(app: Any, *messages: Any) -> list[Any]:
    """Let an app answer; what it sends."""
    out: list[Any] = []

    async def send(message: Any) -> None:
        out.append(message)

    await answer_while_connected(app, {"type": "http"}, b"body", client(messages), send)
    return out


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def test_the_app_reads_the_body_and_answers() -> None:
    assert asyncio.run(answered(echo))[1]["body"] == b"body"


def test_an_answer_is_cancelled_when_the_client_leaves() -> None:
    told: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            told.append((await receive())["type"])
            raise

    assert asyncio.run(answered(slow, GONE)) == []
    assert told == ["cancelled", "http.disconnect"]


def test_an_app_that_watches_for_itself_is_told_as_well() -> None:
    told: list[str] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            told.append((await receive())["type"])
        except asyncio.CancelledError:
            told.append((await receive())["type"])

    asyncio.run(answered(watching, GONE))
    assert told == ["http.disconnect"]


def test_what_the_app_does_after_its_answer_is_not_cancelled() -> None:
    """A server says "disconnect" to whoever asks after the end of an answer."""
    done: list[str] = []

    async def whole() -> None:
        ended = asyncio.Event()

        async def receive() -> Any:
            await ended.wait()
            return GONE

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                ended.set()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await echo(scope, receive, send)
            for _ in range(10):
                await asyncio.sleep(0)
            done.append("after")

        await answer_while_connected(app, {"type": "http"}, b"", receive, send)

    asyncio.run(whole())
    assert done == ["after"]


def test_what_the_app_raises_is_raised() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def failing_at_the_end(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    for app, messages in ((failing, ()), (failing_at_the_end, (GONE,))):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(answered(app, *messages))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(answered(cancelled))


def test_a_server_that_ends_cancels_the_answer_and_hears_of_it() -> None:
    told: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    async def whole() -> None:
        task = asyncio.create_task(answered(slow))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    assert told == ["cancelled"]


def test_over_http_a_client_that_leaves_cancels_its_call_and_no_other() -> None:
    begun, cancelled = Event(), Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/":
            await echo(scope, receive, send)
            return
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    content = json.dumps(CALL).encode()
    head = (
        b"POST /gradio_api/component_server/ HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: %d\r\n" % len(content)
    )
    with listening(HttpChecks(slow, Access())) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + b"Content-Type: application/json\r\n\r\n" + content)
            assert begun.wait(20)
            assert not cancelled.is_set()
        assert cancelled.wait(20)
        with urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200


# ---- calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"session_hash": "", "component_id": 0},
        {"data": {"text": "[{," * 10**6}},
        {"data": {"rows": [{"bias": "1"}] * 1_000}},
        {"event": None},
    ],
)
def test_a_call_of_the_page_is_passed_on(changes: dict[str, Any]) -> None:
    for encoding in ("utf-8", "utf-16", "utf-8-sig"):
        assert fault_of_call(json.dumps({**CALL, **changes}).encode(encoding)) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, '"data"'),
        ({"data": [1]}, '"data"'),
        ({"session_hash": 3}, '"session_hash"'),
        ({"session_hash": "x" * 101}, "at most 100 characters"),
        ({"fn_name": None}, '"fn_name"'),
        ({"component_id": True}, '"component_id"'),
        ({"component_id": "1"}, '"component_id"'),
        ({"component_id": 1.0}, '"component_id"'),
        ({"component_id": -1}, '"component_id"'),
        ({"component_id": 10**300}, '"component_id"'),
        ({"data": {"x": [[]] * 5_001}}, "more than 5,000 values"),
        ({"x": {str(number): 0 for number in range(5_001)}}, "more than 5,000 values"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(changes: dict[str, Any], said: str) -> None:
    assert said in fault_of_call(json.dumps({**CALL, **changes}).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff", b'"a"', b"[" * 10**6, b'{"a":' * 10**6, b"9" * 5000],
)
def test_what_is_no_call_is_said_to_be_none(content: bytes) -> None:
    assert fault_of_call(content).startswith("The body of the call is no JSON")
