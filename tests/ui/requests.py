"""Requests to the page's server as the browser makes them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.ui.module_server import ModuleServer, module_functions
from vitc_inspect.ui.page import controls_of
from vitc_inspect.ui.server import Inspector, server_functions

START = {
    **controls_of(PRESETS["vit_c_1gf"]),
    "image": "photo",
    "seed": "0",
    "device": "cpu",
    "dtype": "float32",
}


def call(name: str, request: Any, inspector: Inspector | None = None) -> dict[str, Any]:
    functions = {f.__name__: f for f in server_functions(inspector or Inspector(in_process=True))}
    answer = functions[name](request)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


FAULTY = Path(__file__).parents[1] / "faulty.py"


def module_inspector(name: str, *inputs: str, file: Path = FAULTY) -> ModuleServer:
    server = ModuleServer(f"{file}:{name}", "cpu", inputs or ["1,3,32,32"], in_process=True)
    if refusal := asyncio.run(server.first_run("random")):
        raise refusal[0]
    return server


def call_module(name: str, request: Any, of: ModuleServer) -> dict[str, Any]:
    answer = {function.__name__: function for function in module_functions(of)}[name](request)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer
