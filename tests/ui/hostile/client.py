"""A client that sends hostile inputs over HTTP, and what has to hold after each of them."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.hostile_html import Read
from tests.served import ROOT, Served
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.ui.choice import ENCODER_START, LINK_FIELDS, VIEW_START
from vitc_inspect.ui.page import controls_of

CALL = "/gradio_api/component_server/"
MARK = "<vitc-hostile onhostile=1>"
"""HTML that no answer may have unescaped; anything that is typed may contain it."""
MOST_SECONDS = 60
"""The longest that any answer may take (seconds), on a machine with other work."""
ALLOWED_GROWTH = 1500
"""The most that the server and its workers may grow (MiB): their caches, and one run."""
SMALL = {
    **controls_of(PRESETS["vit_c_1gf"]),
    "stem": "4x4/4:8",
    "height": "32",
    "width": "32",
    "image": "ramp",
    "seed": "0",
    "device": "cpu",
    "dtype": "float32",
}
"""An ordinary request: 8 × 8 + 1 = 65 tokens."""
_OURS = ("vitc_inspect/", str(ROOT))
_OF_LIBRARIES = ("Traceback (most", "site-packages", sys.prefix)
_OF_MODULES = {"alerts", "broken", "panel"}
"""Parts of a module's page that may show the traceback of the module's own code."""
_NO_HTML = {
    "stem",
    "layer",
    "suggestion",
    "field",
    "name",
    "crop",
    "cost",
    "key",
    "notes",
    "progress",
}
"""Parts of an answer that the page shows as text."""
_FAULT = "fault of vitc_inspect"


class Client:
    """A visitor of a running app."""

    def __init__(self, app: Served) -> None:
        self.app = app
        headers = {"authorization": f"Bearer {app.token}"} if app.token else {}
        self.http = httpx.Client(base_url=app.address, headers=headers, timeout=MOST_SECONDS)
        parts = self.http.get("/config").raise_for_status().json()["components"]
        (self.page,) = (part["id"] for part in parts if part["type"] == "html")

    def body(self, function: str, message: Any) -> dict[str, Any]:
        """The call of a function as the page's script makes it."""
        return {
            "session_hash": "visitor",
            "component_id": self.page,
            "fn_name": function,
            "data": message,
        }

    def call(self, function: str, message: Any, *, damaged: bool = False) -> dict[str, Any]:
        """What a function of the page answers; what is sent may have NaN and halves of pairs.

        Args:
            function: Its name.
            message: What it is given.
            damaged: Whether a module has damaged the process that answers.
        """
        content = json.dumps(self.body(function, message)).encode()
        answer = self.post(content)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        check_words(found, damaged=damaged)
        return found

    def post(self, content: Any, **headers: str) -> httpx.Response:
        """Send any body to the address for calls."""
        headers = {"content-type": "application/json", **headers}
        return self.http.post(CALL, content=content, headers=headers)

    def raw(self, *parts: bytes, until_closed: bool = True) -> bytes:
        """Send bytes as they are, and return the answer; empty where there is none."""
        place = urlsplit(self.app.address)
        with socket.create_connection((place.hostname, place.port), timeout=MOST_SECONDS) as line:
            try:
                for part in parts:
                    line.sendall(part)
                if not until_closed:
                    return b""
                received = b""
                while more := line.recv(65536):
                    received += more
            except (ConnectionResetError, BrokenPipeError):
                return b""
            return received


def sentence_of(answer: dict[str, Any]) -> str:
    """The sentence of an answer that refuses a request."""
    html = Read(answer["error"]["html"])
    allowed = {"p", "button", "code", "b"}
    assert {name for name, _ in html.elements} <= allowed
    words = " ".join(re.sub(r"\s*(Use it|Try again)$", "", html.text).split())
    assert re.match(r"[\w.\[\]-]+ = .+: .+\. .+\.$|[A-Z].+\.$", words), words
    assert len(words) < 4000
    return words


def check_words(answer: Any, *, damaged: bool = False) -> None:
    """Check that no text of an answer has our tracebacks or paths, or unescaped HTML."""
    for name, text in _texts(answer):
        forbidden = (
            *_OURS,
            *(() if damaged else (_FAULT,)),
            *(() if name in _OF_MODULES else _OF_LIBRARIES),
        )
        # the libraries may lie within the checkout, where `.venv` is
        seen = text.replace(sys.prefix, "") if name in _OF_MODULES else text
        assert not (found := [each for each in forbidden if each in seen]), (found, text)
        if "vitc-hostile" in text and name not in _NO_HTML:
            elements = Read(text).elements
            assert not [name for name, _ in elements if name.startswith("vitc-")], text
            assert not [given for _, given in elements if "onhostile" in given], text


def _texts(answer: Any, name: str = "") -> list[tuple[str, str]]:
    """All texts within an answer, each with the name of the part it stands in."""
    if isinstance(answer, dict):
        return [found for key, part in answer.items() for found in _texts(part, key)]
    if isinstance(answer, list):
        return [found for part in answer for found in _texts(part, name)]
    return [(name, answer)] if isinstance(answer, str) else []


def request_of(query: str) -> dict[str, Any]:
    """The request that the page makes of a link, as its script reads one."""
    given = dict(reversed(parse_qsl(query, keep_blank_values=True, errors="replace")))
    preset = PRESETS.get(given.get("preset", ""))
    choice: dict[str, Any] = {**SMALL, **ENCODER_START, **VIEW_START}
    choice |= controls_of(preset) if preset else {}
    known = (*LINK_FIELDS["always"], *LINK_FIELDS["changed"])
    choice |= {name: value for name, value in given.items() if name in (*known, "preset")}
    if "size" in given:
        height, *width = re.split(
            r"(?<=\d)\s*[x×]\s*|\s*[x×]\s*(?=-?\d)", given["size"], flags=re.I
        )
        choice |= {"height": height, "width": "x".join(width) if width else height}
    choice["in_channels"] = given.get("channels", choice["in_channels"])
    choice["position_table"] = given.get("table", "1")
    parts = given.get("encoder", "").split(",")
    if len(parts) == len(ENCODER_START):
        choice |= {"encoder": "1", **dict(zip(ENCODER_START, parts, strict=True))}
    return choice


def resident(pid: int) -> float:
    """Memory of a process and of all that it has started (MiB)."""
    total, parents = 0.0, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it has ended
            continue
        parents[int(facts["Pid"])] = int(facts["PPid"]), facts.get("VmRSS", "0 kB")
    for each, (_, size) in parents.items():
        ancestor = each
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor][0]
        if ancestor == pid:
            total += int(size.split()[0]) / 1024
    return total


def within(seconds: float, holds: Any) -> bool:
    """Whether something holds before some seconds are over."""
    until = monotonic() + seconds
    while monotonic() < until:
        if holds():
            return True
        sleep(0.1)
    return bool(holds())
