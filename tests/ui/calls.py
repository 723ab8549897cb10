"""Calls of a running app's functions over HTTP, as its page makes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

from tests.served import Served


def calls_of(app: Served, *, seconds: float = 60) -> Callable[[str, Any], dict[str, Any]]:
    """A function that calls one of the page's functions by its name and returns the answer."""
    with urlopen(f"{app.address}config") as answer:
        [page] = [part for part in json.load(answer)["components"] if part["type"] == "html"]

    def call(name: str, request: Any) -> dict[str, Any]:
        body = {"session_hash": "a", "component_id": page["id"], "fn_name": name, "data": request}
        message = Request(
            f"{app.address}gradio_api/component_server",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(message, timeout=seconds) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    return call
