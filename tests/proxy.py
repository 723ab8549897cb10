"""A reverse proxy, as stands in front of the app elsewhere: it rewrites Host, and cuts a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.served import free_port

_OF_A_CONNECTION = {"content-length", "content-encoding", "transfer-encoding", "connection"}


@contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    """Serve an app in a thread; its port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def proxied(address: str, *, folder: str = "", forwarded: bool = True) -> Iterator[int]:
    """Pass requests on to an address under its own name; the port of the proxy.

    With `folder`, the page is in that folder of the proxy; with `forwarded`, the proxy says
    which host it was asked for.
    """

    async def passed_on(request: Request) -> Response:
        if not request.url.path.startswith(f"{folder}/"):
            return Response(status_code=204)  # not the app's
        headers = dict(request.headers)
        if forwarded:
            headers["x-forwarded-host"] = headers["host"]
        del headers["host"]
        path = request.url.path.removeprefix(folder).lstrip("/")
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.request(
                request.method,
                address + path,
                params=request.url.query,
                headers=headers,
                content=await request.body(),
            )
        response = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in _OF_A_CONNECTION:
                response.headers.append(name, value)
        return response

    methods = ["GET", "HEAD", "POST"]
    with listening(Starlette(routes=[Route("/{path:path}", passed_on, methods=methods)])) as port:
        yield port


@contextmanager
def framing(address: str) -> Iterator[int]:
    """A page of another port that shows an address in a frame, as a notebook does; its port."""
    frame = f'<iframe src="{address}" width=900 height=700></iframe>'
    page = f'<!doctype html><link rel=icon href="data:,">{frame}'

    async def notebook(request: Request) -> Response:
        return HTMLResponse(page)

    with listening(Starlette(routes=[Route("/", notebook)])) as port:
        yield port
