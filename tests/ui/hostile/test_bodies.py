"""Calls that are no calls, and requests that another page, name or program sends."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.ui.hostile.client import CALL, MARK, SMALL, Client
from tests.ui.hostile.conftest import TOKEN
from tests.ui.hostile.ordinary import still_right

NO_JSON = "The body of the call is no JSON"
NO_OBJECT = "no JSON object"


def text_of(answer: httpx.Response) -> str:
    """The sentence of an answer that refuses a request."""
    said = answer.text
    if answer.headers["content-type"] == "application/json":  # Gradio's own
        said = answer.json()["detail"]
    said = re.sub("<[^>]*>", "", said.replace("<title>vitc_inspect</title>", "")).strip()
    assert re.fullmatch(r'[A-Z"].{10,300}\.', said), said
    assert "Traceback" not in answer.text
    assert "vitc-hostile" not in answer.text
    return said


# ---- bodies ----------------------------------------------------------------------------------


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda call: json.dumps({key: call[key] for key in call if key != name}).encode()


def having(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda call: json.dumps({**call, **changes}).encode()


def replaced(old: bytes, new: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda call: json.dumps(call).encode().replace(old, new)


def raw(content: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda call: content


BODIES: dict[str, tuple[Callable[[dict[str, Any]], bytes], int, str]] = {
    "nothing": (raw(b""), 400, NO_JSON),
    "blanks": (raw(b" " * 10**6), 400, NO_JSON),
    "null": (raw(b"null"), 400, NO_OBJECT),
    "a list": (raw(b"[]"), 400, NO_OBJECT),
    "a text": (raw(b'"predict"'), 400, NO_OBJECT),
    "a number": (raw(b"1e999"), 400, NO_OBJECT),
    "NaN": (raw(b"NaN"), 400, NO_OBJECT),
    "a form": (raw(b"fn_name=predict&data=1"), 400, NO_JSON),
    "XML": (raw(b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a/>'), 400, NO_JSON),
    "a pickle": (raw(b"\x80\x04\x95\x00.cposix\nsystem\n"), 400, NO_JSON),
    "NUL bytes": (raw(bytes(10**6)), 400, NO_JSON),
    "open brackets": (raw(b"[" * 100_000), 400, NO_JSON),
    "open braces": (raw(b'{"a":' * 100_000), 400, NO_JSON),
    "12 MiB of brackets": (raw(b"[" * 12 * 2**20), 400, NO_JSON),
    "closed brackets": (raw(b"[" * 100_000 + b"]" * 100_000), 400, NO_JSON),
    "half of a call": (lambda call: json.dumps(call).encode()[:-9], 400, NO_JSON),
    "two calls": (lambda call: json.dumps(call).encode() * 2, 400, NO_JSON),
    "a comma too many": (replaced(b'"session_hash"', b',"session_hash"'), 400, NO_JSON),
    "quotes of Python": (lambda call: repr(call).encode(), 400, NO_JSON),
    "bytes that are no text": (replaced(b"ramp", b"\xff\xfe"), 400, NO_JSON),
    "an integer of 5,000 digits": (replaced(b'"ramp"', b"9" * 5000), 400, NO_JSON),
    "an exponent": (replaced(b'"ramp"', b"1e99999"), 200, ""),
    "UTF-16": (lambda call: json.dumps(call).encode("utf-16"), 200, ""),
    "a byte order mark": (lambda call: b"\xef\xbb\xbf" + json.dumps(call).encode(), 200, ""),
    "keys twice": (replaced(b'"fn_name"', b'"fn_name": "run", "fn_name"'), 200, ""),
    "no function": (without("fn_name"), 400, '"fn_name"'),
    "no component": (without("component_id"), 400, '"component_id"'),
    "no session": (without("session_hash"), 400, '"session_hash"'),
    "no data": (without("data"), 400, '"data"'),
    "data of null": (having(data=None), 400, '"data"'),
    "a list as data": (having(data=[SMALL]), 400, '"data"'),
    "a text as data": (having(data=MARK), 400, '"data"'),
    "NaN as data": (having(data=float("nan")), 400, '"data"'),
    "another function": (having(fn_name="shutdown"), 404, "not found"),
    "a constructor": (having(fn_name="__init__"), 404, "not found"),
    "a class": (having(fn_name="__class__"), 404, "not found"),
    "Gradio's own": (having(fn_name="preprocess"), 404, "not found"),
    "HTML as a function": (having(fn_name=MARK), 404, "not found"),
    "half of a character": (having(fn_name="\ud800"), 404, "not found"),
    "null as a function": (having(fn_name=None), 400, '"fn_name"'),
    "a long function": (having(fn_name="x" * 10**6), 400, "at most 100 characters"),
    "a function of the other page": (having(fn_name="reload"), 404, "not found"),
    "another component": (having(component_id=999), 500, "reload the page"),
    "the page's root": (having(component_id=0), 500, "reload the page"),
    "component -1": (having(component_id=-1), 400, '"component_id"'),
    "component 1.5": (having(component_id=1.5), 400, '"component_id"'),
    "a text as a component": (having(component_id="1"), 400, '"component_id"'),
    "true as a component": (having(component_id=True), 400, '"component_id"'),
    "NaN as a component": (having(component_id=float("nan")), 400, '"component_id"'),
    "component 10^300": (having(component_id=10**300), 400, '"component_id"'),
    "a number as a session": (having(session_hash=1), 400, '"session_hash"'),
    "a session of a megabyte": (having(session_hash="x" * 2**20), 400, "at most 100 characters"),
    "a session of HTML": (having(session_hash=MARK), 200, ""),
    "a session with a NUL": (having(session_hash="\0\ud800"), 200, ""),
    "files beside it": (having(files=[["a", "b"]]), 200, ""),
    "a million lists": (having(x=[[]] * 10**6), 400, "more than 5,000 values"),
    "many keys": (having(data={str(key): 0 for key in range(10**5)}), 400, "5,000 values"),
}
"""By what they are, bodies, and the status and a part of the sentence about each."""


@pytest.mark.parametrize(("make", "status", "said"), BODIES.values(), ids=BODIES)
def test_a_body(
    stems: Client, make: Callable[[dict[str, Any]], bytes], status: int, said: str
) -> None:
    answer = stems.post(make(stems.body("predict", SMALL)))
    assert answer.status_code == status, answer.text
    assert status == 200 or said in text_of(answer)
    still_right(stems)


# ---- how a body is sent ----------------------------------------------------------------------


def in_parts(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 40):
        yield content[start : start + 40]


def test_a_body_in_many_parts_is_a_body(stems: Client) -> None:
    content = json.dumps(stems.body("predict", SMALL)).encode()
    assert stems.post(in_parts(content)).status_code == 200
    still_right(stems)


def test_a_compressed_body_is_no_json(stems: Client) -> None:
    content = gzip.compress(json.dumps(stems.body("predict", SMALL)).encode())
    for headers in ({"content-encoding": "gzip"}, {}):
        answer = stems.post(content, **headers)
        assert (answer.status_code, NO_JSON in text_of(answer)) == (400, True)
    still_right(stems)


HEAD = (
    f"POST {CALL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\nConnection: close\r\n"
).encode()
GET = f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
RAW: dict[str, tuple[bytes, str]] = {
    "a body longer than it says": (HEAD + b"Content-Length: 2\r\n\r\n{}{}{}", "400"),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "400"),
    "a length and parts": (
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "400",
    ),
    "a part of no size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", "400|"),
    "a part of all sizes": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
        "400|",
    ),
    "a length of minus one": (HEAD + b"Content-Length: -1\r\n\r\n", "400"),
    "a length of 12 MiB and one": (
        HEAD + b"Expect: 100-continue\r\nContent-Length: 12582913\r\n\r\n",
        "413",
    ),
    "a length of a thousand digits": (
        HEAD + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n",
        "4..",
    ),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n", "400"),
    "HTTP 9": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", "4..|505|"),
    "a head of a megabyte": (b"GET / HTTP/1.1\r\nX: " + b"x" * 2**20 + b"\r\n\r\n", "4..|"),
    "ten thousand headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "4..|"),
    "a NUL in a header": (GET + b"X: a\0b\r\n\r\n", "400"),
    "no Host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
    "two Hosts": (GET + b"Host: evil.example\r\nConnection: close\r\n\r\n", "400"),
    "another machine's address": (
        GET.replace(b"GET /", b"GET http://evil.example/") + b"Connection: close\r\n\r\n",
        "4..|200",
    ),
    "a tunnel": (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "40.|"),
    "a path above": (GET.replace(b" / ", b" /../../../../etc/passwd ") + b"\r\n", "404"),
    "a path in code": (
        GET.replace(b" / ", b" /static/%2e%2e/%2e%2e/%2e%2e/etc/passwd ") + b"\r\n",
        "40.",
    ),
    "a path with a NUL": (GET.replace(b" / ", b" /assets/%00.js ") + b"\r\n", "40."),
    "a file by Gradio": (GET.replace(b" / ", b" /gradio_api/file=/etc/passwd ") + b"\r\n", "404"),
    "bytes as a path": (GET.replace(b" / ", b" /\xff\xfe ") + b"\r\n", "40.|"),
}
"""By what they are, requests as bytes, and the statuses that answer them; empty for none."""


@pytest.mark.parametrize(("content", "statuses"), RAW.values(), ids=RAW)
def test_bytes(stems: Client, content: bytes, statuses: str) -> None:
    if b"Connection: close" not in content:
        content = content.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    answer = stems.raw(content)
    status = re.match(rb"HTTP/1.1 (\d+)", answer)
    assert re.fullmatch(statuses, status[1].decode() if status else "")
    assert b"Traceback" not in answer
    assert b"root:" not in answer
    still_right(stems)


def test_clients_that_leave_in_the_middle_take_nothing_with_them(stems: Client) -> None:
    content = json.dumps(stems.body("run", {**SMALL, "seed": "7"})).encode()
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(content)
    for sent in (head[:20], head, head + content[:-5], head + content):
        stems.raw(sent, until_closed=False)
    still_right(stems)


# ---- who asks --------------------------------------------------------------------------------

DOORS: dict[str, tuple[dict[str, str], int]] = {
    "another name": ({"host": "evil.example"}, 421),
    "a name that begins like ours": ({"host": "localhost.evil.example"}, 421),
    "a name that ends like ours": ({"host": "evil-localhost"}, 421),
    "an address of the network": ({"host": "192.168.0.1"}, 421),
    "no address": ({"host": "0.0.0.0"}, 421),
    "an address as a number": ({"host": "2130706433"}, 421),
    "a name with a user": ({"host": "localhost@evil.example"}, 400),
    "a name of HTML": ({"host": MARK}, 400),
    "two names": ({"host": "localhost, evil.example"}, 400),
    "a name of 10,000 letters": ({"host": "a" * 10_000}, 400),
    "another name behind a proxy": ({"x-forwarded-host": "evil.example"}, 421),
    "no name behind a proxy": ({"x-forwarded-host": MARK}, 400),
    "another origin": ({"origin": "http://evil.example"}, 403),
    "an origin of a file": ({"origin": "null"}, 403),
    "an origin like ours": ({"origin": "http://localhost.evil.example"}, 403),
    "another port": ({"origin": "http://127.0.0.1:1"}, 403),
    "another scheme": ({"origin": "ftp://127.0.0.1"}, 403),
    "an origin of HTML": ({"origin": MARK}, 403),
    "an extension": ({"origin": "chrome-extension://abcdef"}, 403),
    "another site": ({"sec-fetch-site": "cross-site"}, 403),
    "the same site": ({"sec-fetch-site": "same-site"}, 403),
    "a site of no kind": ({"sec-fetch-site": MARK}, 403),
    "another site that opens it": (
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        403,
    ),
    "text": ({"content-type": "text/plain"}, 415),
    "a form": ({"content-type": "application/x-www-form-urlencoded"}, 415),
    "a form with files": ({"content-type": "multipart/form-data; boundary=x"}, 415),
    "JSON as text": ({"content-type": "text/json"}, 415),
    "JSON of no kind": ({"content-type": "application/jsonp"}, 415),
    "no type": ({"content-type": ""}, 415),
    "two types": ({"content-type": "text/plain, application/json"}, 415),
    "a type behind another": ({"content-type": "text/plain; application/json"}, 415),
    "JSON with a charset": ({"content-type": "application/json; charset=utf-8"}, 200),
    "no token": ({"authorization": ""}, 401),
    "another token": ({"authorization": "Bearer token"}, 401),
    "a longer token": ({"authorization": f"Bearer {TOKEN}x"}, 401),
    "a shorter token": ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
    "a token in capitals": ({"authorization": f"Bearer {TOKEN.upper()}"}, 401),
    "a token as a password": ({"authorization": f"Basic {TOKEN}"}, 401),
    "a token of a megabyte's kind": ({"authorization": "Bearer " + "x" * 30_000}, 401),
    "a token in another header": ({"authorization": "", "x-token": TOKEN}, 401),
    "a token in another cookie": ({"authorization": "", "cookie": f"token={TOKEN}"}, 401),
    "a token beside another origin": ({"origin": "http://evil.example"}, 403),
    "the right token in small letters": ({"authorization": f"bearer {TOKEN}"}, 200),
}
"""By what they are, headers that are changed, and the status of the answer."""


@pytest.mark.parametrize(("headers", "status"), DOORS.values(), ids=DOORS)
def test_headers(stems: Client, headers: dict[str, str], status: int) -> None:
    content = json.dumps(stems.body("predict", SMALL)).encode()
    answer = stems.post(content, **headers)
    assert answer.status_code == status, answer.text
    assert status == 200 or text_of(answer)
    assert TOKEN not in answer.text
    assert not [name for name in answer.headers if name.startswith("access-control")]
    still_right(stems)


ROUTES: dict[str, tuple[str, str, int]] = {
    "an upload": ("POST", "/gradio_api/upload", 404),
    "the queue": ("POST", "/gradio_api/queue/join", 404),
    "the run of a function": ("POST", "/gradio_api/run/predict", 404),
    "a file": ("GET", "/gradio_api/file=/etc/passwd", 404),
    "a stream": ("GET", "/gradio_api/stream/a/1/2/playlist.m3u8", 404),
    "the schema": ("GET", "/openapi.json", 404),
    "the documentation": ("GET", "/docs", 404),
    "a proxy": ("GET", "/gradio_api/proxy=http://169.254.169.254/", 404),
    "monitoring": ("GET", "/monitoring", 404),
    "a login": ("POST", "/login", 404),
    "a call by GET": ("GET", CALL, 405),
    "a call by PUT": ("PUT", CALL, 405),
    "a call by DELETE": ("DELETE", CALL, 405),
    "a question before a call": ("OPTIONS", CALL, 405),
    "a method of HTML": ("PATCH", "/", 405),
    "a page that is not there": ("GET", f"/{MARK}", 404),
    "a long path": ("GET", "/" + "a" * 20_000, 404),
}
"""By what they are, methods and paths, and the status of the answer."""


@pytest.mark.parametrize(("method", "path", "status"), ROUTES.values(), ids=ROUTES)
def test_a_route(stems: Client, method: str, path: str, status: int) -> None:
    headers = {"content-type": "application/json"}
    answer = stems.http.request(method, path, content=b"{}", headers=headers)
    assert answer.status_code == status
    assert text_of(answer)
    still_right(stems)
