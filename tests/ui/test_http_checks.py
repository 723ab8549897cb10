"""What a request is checked for, and what is left of Gradio's routes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from vitc_inspect.ui.access import Access
from vitc_inspect.ui.http_checks import HttpChecks, app_kwargs
from vitc_inspect.ui.page import LAUNCH_SETTINGS, build_page, launch_settings
from vitc_inspect.ui.request_bodies import MOST_CALL_BYTES, MOST_OTHER_BYTES

HOME = "http://127.0.0.1:7860"
CALL = "/gradio_api/component_server/"
JSON = {"content-type": "application/json"}
BODY = b'{"session_hash": "a", "component_id": 1, "fn_name": "predict", "data": {}}'
PUBLIC = Access(allowed=frozenset({"inspect.example", "*.hf.space"}))


async def whole(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers everything, with what it was asked."""
    if scope["path"].endswith("/") and scope["method"] == "GET":
        await HTMLResponse("<script>1</script>")(scope, receive, send)
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await JSONResponse({"size": size})(scope, receive, send)


def client(access: Access | None = None, app: Any = whole, home: str = HOME) -> TestClient:
    checked = HttpChecks(app, access or Access())
    return TestClient(checked, base_url=home, follow_redirects=False)


def status(headers: Mapping[str, str], access: Access | None = None, **given: Any) -> int:
    method, path = given.get("method", "POST"), given.get("path", CALL)
    content = BODY if method == "POST" else None
    answer = client(access).request(method, path, headers={**JSON, **headers}, content=content)
    if answer.status_code != 200:
        assert_is_one_sentence(answer)
    assert "content-security-policy" in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    return answer.status_code


def assert_is_one_sentence(answer: Any) -> None:
    assert answer.text.endswith((".\n", ".</p>\n"))
    assert answer.text.count("\n") == 1
    assert answer.headers["content-type"] in (
        "text/plain; charset=utf-8",
        "text/html; charset=utf-8",
    )


# ---- hosts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "code"),
    [
        *(("127.0.0.1:7860", 200), ("localhost", 200), ("LOCALHOST.:1", 200), ("[::1]:80", 200)),
        *(("evil.example:7860", 421), ("127.0.0.1.evil.example", 421), ("192.0.2.1", 421)),
        *(("", 400), (":7860", 400), ("a b", 400), ("localhost,evil.example", 400)),
        *(("user@localhost", 400), ("localhost/", 400), ("[::1", 400), ("localhost:x", 400)),
        *(("a" * 253, 421), ("a" * 10_000, 400)),
    ],
)
@pytest.mark.parametrize("path", ["/", CALL])
def test_only_known_hosts_are_answered(host: str, code: int, path: str) -> None:
    method = "GET" if path == "/" else "POST"
    assert status({"host": host}, method=method, path=path) == code


def test_a_refused_name_is_told_how_to_allow_it() -> None:
    answer = client().get("/", headers={"host": "lab.example:80"})
    assert "--allow-host lab.example" in answer.text
    assert "VITC_ALLOWED_HOSTS=lab.example" in answer.text


@pytest.mark.parametrize(
    "headers",
    [[], [(b"host", b"localhost"), (b"host", b"localhost")], [(b"host", b"\xff")]],
    ids=["none", "two", "no text"],
)
def test_one_host_header_is_needed(headers: list[tuple[bytes, bytes]]) -> None:
    out: list[Any] = []

    async def send(message: Any) -> None:
        out.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        **{"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""},
        **{"scheme": "http", "server": ("127.0.0.1", 7860), "root_path": ""},
    }
    asyncio.run(HttpChecks(whole, Access())(scope, receive, send))
    assert out[0]["status"] == 400


@pytest.mark.parametrize(
    ("forwarded", "code"),
    [
        *(("inspect.example", 200), ("inspect.example:8443, 127.0.0.1", 200), ("", 200)),
        *(("evil.example", 421), ("evil.example, inspect.example", 421), ("a b", 400)),
    ],
)
def test_a_forwarded_host_has_to_be_allowed_too(forwarded: str, code: int) -> None:
    """Gradio writes it into the page."""
    given = {"x-forwarded-host": forwarded}
    assert status(given, PUBLIC, method="GET", path="/") == code


# ---- other web pages -------------------------------------------------------------------------

OWN = {"origin": HOME}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        (OWN, 200),
        ({**OWN, "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://127.0.0.1:7861"}, 403),
        ({"origin": "http://localhost:7860"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "127.0.0.1:7860"}, 403),
        ({"origin": "file://127.0.0.1:7860"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": f"{HOME}.evil.example"}, 403),
        ({"origin": f"http://evil.example@{HOME[7:]}"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({**OWN, "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "anything"}, 403),
    ],
)
def test_a_call_comes_from_the_page_itself(headers: dict[str, str], code: int) -> None:
    assert status(headers) == code


def test_two_origins_are_none() -> None:
    pairs = [("origin", HOME), ("origin", HOME), ("content-type", "application/json")]
    assert client().post(CALL, headers=pairs).status_code == 403


@pytest.mark.parametrize("path", ["/", "/config", "/assets/a.js", "/gradio_api/startup-events"])
def test_other_pages_read_nothing(path: str) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert status(headers, method="GET", path=path) == 403


def test_a_link_on_another_page_opens_this_one_and_nothing_else() -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert status(link, method="GET", path="/") == 200
    assert status(link, method="GET", path="/config") == 403


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "inspect.example", "origin": "https://inspect.example"}, 200),
        # a proxy that drops the port, or the name
        ({"host": "inspect.example", "origin": "https://inspect.example:8443"}, 200),
        ({"host": "127.0.0.1:7860", "origin": "https://inspect.example"}, 200),
        ({"host": "127.0.0.1:7860", "origin": "https://me-vitc.hf.space"}, 200),
        ({"host": "127.0.0.1:7860", "origin": "https://evil.example"}, 403),
        ({"x-forwarded-host": "inspect.example:81", "origin": "http://inspect.example:81"}, 200),
        ({"x-forwarded-host": "inspect.example:81", "origin": "http://evil.example:81"}, 403),
    ],
)
def test_behind_a_proxy_the_page_is_known_by_its_allowed_name(
    headers: dict[str, str], code: int
) -> None:
    assert status(headers, PUBLIC) == code


def test_a_preflight_of_another_page_is_refused() -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    assert status(asked, method="OPTIONS") == 403


# ---- routes, methods, kinds ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        *(("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/config", 200), ("POST", CALL, 200)),
        *(("GET", "/assets/a.js", 200), ("GET", "/static/fonts/a.woff2", 200)),
        *(("POST", CALL.rstrip("/"), 200), ("GET", "/theme.css", 200)),
        *(("GET", CALL, 405), ("PUT", CALL, 405), ("POST", "/", 405), ("DELETE", "/config", 405)),
        *(("OPTIONS", "/", 405), ("TRACE", "/", 405), ("POST", "/assets/a.js", 405)),
        *(("GET", "/docs", 404), ("GET", "/assets", 404), ("GET", "/x", 404)),
        *(("POST", "/gradio_api/queue/join", 404), ("GET", "/gradio_api/file=/etc/passwd", 404)),
        *(("POST", f"/{CALL}", 404), ("POST", f"{CALL}x", 404), ("POST", CALL.upper(), 404)),
        *(("GET", "/monitoring/summary", 404), ("GET", "/gradio_api/heartbeat/x", 404)),
    ],
)
def test_only_what_the_page_needs_is_there(method: str, path: str, code: int) -> None:
    assert status({}, method=method, path=path) == code


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        *(("application/json", 200), ("Application/JSON; charset=utf-8", 200)),
        *(("text/plain", 415), ("", 415), ("application/x-www-form-urlencoded", 415)),
        *(("multipart/form-data; boundary=x", 415), ("text/plain; application/json", 415)),
        *(("application/jsonp", 415), ("application/json, text/plain", 415)),
    ],
)
def test_a_call_is_json(kind: str, code: int) -> None:
    """A page of another origin can send the others without being asked."""
    assert status({"content-type": kind}) == code


def test_a_websocket_is_closed() -> None:
    with pytest.raises(WebSocketDisconnect) as raised, client().websocket_connect("/"):
        pass
    assert raised.value.code == 1008


# ---- sizes -----------------------------------------------------------------------------------


def test_a_body_has_a_limit_by_its_header_and_by_its_bytes() -> None:
    def chunks(size: int) -> Any:
        yield b" " * (size - len(BODY))
        yield BODY

    for content in (b"".join(chunks(MOST_CALL_BYTES)), chunks(MOST_CALL_BYTES)):
        answer = client().post(CALL, headers=JSON, content=content)
        assert answer.json() == {"size": MOST_CALL_BYTES}
    for content in (b"x" * (MOST_CALL_BYTES + 1), chunks(MOST_CALL_BYTES + 1)):
        answer = client().post(CALL, headers=JSON, content=content)
        assert answer.status_code == 413
        assert_is_one_sentence(answer)
        assert "12,582,912 bytes" in answer.text
    for content in (b"x" * (MOST_OTHER_BYTES + 1), chunks(MOST_OTHER_BYTES + 1)):
        assert client().request("GET", "/config", content=content).status_code == 413


def test_a_body_that_is_no_call_is_refused_before_the_app_sees_it() -> None:
    answer = client().post(CALL, headers=JSON, content=b"[]")
    assert answer.status_code == 400
    assert_is_one_sentence(answer)


def test_an_app_that_fails_is_told_in_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(scope["path"])

    answer = client(app=failing).post(CALL, headers=JSON, content=BODY)
    assert answer.status_code == 500
    assert_is_one_sentence(answer)
    assert "reload the page" in answer.text
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("length", ["-1", "1e3", "x", "", "٣", "9" * 5000])
def test_an_absurd_length_is_refused(length: str) -> None:
    answer = client().post(CALL, headers={**JSON, "content-length": length.encode()})
    assert answer.status_code in (400, 413)


# ---- the token -------------------------------------------------------------------------------

SECRET = Access(token="to-ken")


def test_without_the_token_nothing_is_there_but_the_servers_check_of_itself() -> None:
    visitor = client(SECRET)
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", CALL), ("GET", "/x")):
        answer = visitor.request(method, path, headers=JSON)
        assert answer.status_code == 401
        assert_is_one_sentence(answer)
        assert "?access_token=" in answer.text
        assert "to-ken" not in answer.text
    assert visitor.get("/gradio_api/startup-events").status_code == 200


def test_the_token_in_the_address_signs_in_and_leaves_the_address() -> None:
    visitor = client(SECRET)
    answer = visitor.get("/?token=4,9&access_token=to-ken&layer=%2Freshape%3A1&x")
    assert answer.status_code == 303
    assert answer.headers["location"] == "./?token=4,9&layer=%2Freshape%3A1&x"
    assert answer.headers["referrer-policy"] == "no-referrer"
    cookie = answer.headers["set-cookie"].lower()
    for part in ("vitc_inspect_7860=to-ken", "httponly", "samesite=lax", "path=/"):
        assert part in cookie.split("; ")
    assert "secure" not in cookie
    assert visitor.get("/").status_code == 200
    assert visitor.post(CALL, headers=JSON, content=BODY).status_code == 200
    assert visitor.get("/?access_token=to-ken").headers["location"] == "./"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"authorization": "Bearer to-ken"}, 200),
        ({"authorization": "bearer  to-ken "}, 200),
        ({"authorization": "Bearer to-ken2"}, 401),
        ({"authorization": "Basic to-ken"}, 401),
        ({"authorization": "to-ken"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"cookie": "vitc_inspect_7860=to-ken"}, 200),
        ({"cookie": 'a={"x": [1]}; vitc_inspect_7860=to-ken; b'}, 200),
        ({"cookie": "vitc_inspect_7861=to-ken"}, 401),
        ({"cookie": "vitc_inspect_7860="}, 401),
        ({"cookie": "vitc_inspect_7860=to-ke\u00f1"}, 401),
    ],
)
def test_each_request_shows_the_token(given: dict[str, str], code: int) -> None:
    sent = {**JSON, **{name: value.encode("latin-1") for name, value in given.items()}}
    assert client(SECRET).post(CALL, headers=sent, content=BODY).status_code == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        *(("access_token=to-ken", 200), ("access%5Ftoken=to%2Dken", 200), ("token=to-ken", 401)),
        *(("access_token=", 401), ("access_token", 401), ("access_token=TO-KEN", 401)),
        *(("access_token=x&access_token=to-ken", 200), ("access_token=%ff", 401), ("", 401)),
    ],
)
def test_so_does_a_call_in_its_query(query: str, code: int) -> None:
    assert client(SECRET).post(f"{CALL}?{query}", headers=JSON, content=BODY).status_code == code


def test_a_token_does_not_open_the_page_to_other_pages() -> None:
    given = {"cookie": "vitc_inspect_7860=to-ken", "origin": "http://evil.example"}
    assert client(SECRET).post(CALL, headers={**JSON, **given}).status_code == 403


@pytest.mark.parametrize(
    ("home", "headers"), [("https://localhost", {}), (HOME, {"x-forwarded-proto": "https"})]
)
def test_behind_tls_the_cookie_is_sent_over_tls_alone(home: str, headers: dict[str, str]) -> None:
    answer = client(SECRET, home=home).get("/?access_token=to-ken", headers=headers)
    assert "secure" in answer.headers["set-cookie"].lower()


def test_in_a_folder_of_another_app_the_cookie_is_of_that_folder() -> None:
    outer = Starlette(routes=[Mount("/vitc", HttpChecks(whole, SECRET))])
    with TestClient(outer, base_url=HOME, follow_redirects=False) as visitor:
        assert visitor.get("/vitc/").status_code == 401
        answer = visitor.get("/vitc/?access_token=to-ken&a=1")
        assert answer.headers["location"] == "./?a=1"
        assert "path=/vitc/" in answer.headers["set-cookie"].lower()
        assert visitor.get("/vitc/config").status_code == 200
        assert visitor.get("/vitc/docs").status_code == 404


# ---- Gradio's own app ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mounted() -> Any:
    """The page in a folder of another app, as its documentation says."""

    async def mount() -> FastAPI:  # Gradio leaves an event loop behind where none runs
        settings = {"show_error": False, "run_history": False, "ssr_mode": False}
        kwargs = LAUNCH_SETTINGS["app_kwargs"]
        page = build_page(device="cpu")
        return gr.mount_gradio_app(FastAPI(), page, path="/vitc", app_kwargs=kwargs, **settings)

    with TestClient(asyncio.run(mount()), base_url=HOME) as visitor:
        yield visitor


def routes_of(visitor: TestClient) -> set[tuple[str, str]]:
    """Methods and paths that Gradio has, with something in the place of each parameter."""
    (inner,) = (route.app for route in visitor.app.routes if isinstance(route, Mount))
    found: list[Any] = []
    for route in inner.routes:
        within = getattr(route, "original_router", None)
        found += within.routes if within else [route]
    return {
        (method, re.sub(r"\{[^}]*\}", "a", route.path))
        for route in found
        for method in getattr(route, "methods", None) or ()
    }


OPEN = {
    *(("GET", "/"), ("HEAD", "/"), ("GET", "/config"), ("GET", "/theme.css")),
    *(("GET", "/favicon.ico"), ("GET", "/manifest.json"), ("GET", "/robots.txt")),
    *(("GET", "/assets/a"), ("GET", "/static/a"), ("GET", "/pwa_icon/a")),
    *(("GET", "/gradio_api/startup-events"), ("POST", CALL), ("POST", CALL.rstrip("/"))),
}


def test_every_other_route_of_gradio_is_closed(mounted: TestClient) -> None:
    routes = routes_of(mounted)
    assert routes > OPEN
    closed = routes - OPEN
    assert len(closed) > 60
    for method, path in closed:
        answer = mounted.request(method, f"/vitc{path}", headers=JSON)
        assert answer.status_code in (404, 405), path
        if method != "HEAD":
            assert_is_one_sentence(answer)


def test_another_apps_own_routes_are_its_own(mounted: TestClient) -> None:
    assert mounted.get("/openapi.json").status_code == 200


def test_gradios_own_rule_for_other_origins_is_gone(mounted: TestClient) -> None:
    for origin in ("http://evil.example", "http://localhost:1", "null"):
        asked = {"origin": origin, "access-control-request-method": "POST"}
        for method, path in (("OPTIONS", CALL), ("GET", "/config"), ("GET", "/")):
            answer = mounted.request(method, f"/vitc{path}", headers=asked)
            assert answer.status_code == 403
            assert not {name for name in answer.headers if name.startswith("access-control")}


def test_the_mounted_page_answers_and_its_scripts_have_a_nonce(mounted: TestClient) -> None:
    answer = mounted.get("/vitc/")
    nonce = answer.headers["content-security-policy"].split("'nonce-")[1].split("'")[0]
    inline = answer.text.count("<script>") + answer.text.count("<script data-gradio-mode>")
    assert inline == 0
    assert answer.text.count(f"<script nonce='{nonce}'") >= 4
    config = mounted.get("/vitc/config").json()
    (part,) = (each for each in config["components"] if each["type"] == "html")
    asked = {
        "data": part["props"]["props"]["start"],
        "component_id": part["id"],
        "session_hash": "a",
    }
    answer = mounted.post(f"/vitc{CALL}", json={**asked, "fn_name": "predict"})
    assert answer.status_code == 200
    assert "error" not in answer.json()


def test_each_launch_has_settings_of_its_own() -> None:
    """Gradio writes into them."""
    first, second = dict(LAUNCH_SETTINGS), dict(LAUNCH_SETTINGS)
    assert first["app_kwargs"] is not second["app_kwargs"]
    assert list(first) == list(LAUNCH_SETTINGS)
    assert len(LAUNCH_SETTINGS) == len(first)
    (middleware,) = launch_settings(SECRET)["app_kwargs"]["middleware"]
    assert middleware.kwargs == {"access": SECRET}
    assert app_kwargs(SECRET)["middleware"][0].cls is HttpChecks
