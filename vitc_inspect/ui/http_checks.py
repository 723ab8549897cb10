"""What every request is checked for before Gradio sees it: route, host, token, origin, body."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitc_inspect.ui.access import Access, host_of
from vitc_inspect.ui.request_bodies import (
    MOST_CALL_BYTES,
    MOST_OTHER_BYTES,
    Bodies,
    Gone,
    NoRoom,
    TooLarge,
    answer_while_connected,
    drain,
    fault_of_call,
    limited,
)
from vitc_inspect.ui.security_headers import SecureSend
from vitc_inspect.views.html import fill

_LOG = logging.getLogger(__name__)
QUERY_TOKEN = "access_token"
"""The token's name in an address; `token` is a field of the page's links."""
_PAGE = ("/", "")
_API = "/gradio_api"
_SELF_CHECK = f"{_API}/startup-events"  # `launch` asks for it, and knows no token
_FILES = ("/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", _SELF_CHECK)
_FOLDERS = ("/assets/", "/static/", "/pwa_icon/")
_CALL = (f"{_API}/component_server", f"{_API}/component_server/")


class Refusal(NamedTuple):
    """An answer to a request that is not passed on."""

    status: int
    sentence: str


def app_kwargs(access: Access) -> dict[str, Any]:
    """Arguments of Gradio's app that check each request; made anew, since Gradio changes them."""
    return {
        "middleware": [Middleware(HttpChecks, access=access)],
        "lifespan": _without_other_origins,
    }


@asynccontextmanager
async def _without_other_origins(app: Starlette) -> AsyncIterator[None]:
    """Take out Gradio's CORS middleware, which answers before ours and lets origins read."""
    app.user_middleware[:] = [each for each in app.user_middleware if "CORS" not in str(each.cls)]
    app.middleware_stack = None  # made anew for the next request
    yield


class HttpChecks:
    """ASGI middleware that passes on only what the page needs."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Wrap an app.

        Args:
            app: The app.
            access: Who may reach it.
        """
        self.app = app
        self.access = access
        self.bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the app do so."""
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = SecureSend(send, self.access)
        refusal = refusal_of(scope, self.access)
        if refusal:
            if _has_body(scope):
                await drain(receive)
            await _answered(refusal)(scope, receive, send)
        elif _route(scope) in _PAGE and scope["method"] == "GET" and self._is_sign_in(scope):
            await _signed_in(scope, self.access.token)(scope, receive, send)
        elif _route(scope) in _CALL:
            await self._call(scope, receive, send)
        else:
            await self._other(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer a call of the page; its body is read first."""
        with self.bodies.holding() as body:
            try:
                content = await body.read(receive, MOST_CALL_BYTES)
            except Gone:
                return
            except TooLarge:
                refusal = _too_large(MOST_CALL_BYTES)
            except NoRoom:
                refusal = Refusal(503, "The server is full of other requests; try again.")
            except TimeoutError:
                refusal = Refusal(408, "The body of the request came too slowly; try again.")
            else:
                fault = fault_of_call(content)
                if not fault:
                    await self._passed_on(scope, content, receive, send)
                    return
                refusal = Refusal(400, fault)
        await _answered(refusal)(scope, receive, send)

    async def _passed_on(self, scope: Scope, content: bytes, receive: Receive, send: Send) -> None:
        """Let the app answer a call; where it raises, as for a part that is not there, say so."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await answer_while_connected(self.app, scope, content, receive, noting)
        except Exception:
            if begun:
                raise
            _LOG.exception("A call could not be answered.")
            sentence = "The call could not be answered; reload the page."
            await _answered(Refusal(500, sentence))(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = _most_bytes(scope)
        try:
            await self.app(scope, limited(receive, most), send)
        except TooLarge:
            await _answered(_too_large(most))(scope, receive, send)

    def _is_sign_in(self, scope: Scope) -> bool:
        return bool(self.access.token) and QUERY_TOKEN in Request(scope).query_params


def refusal_of(scope: Scope, access: Access) -> Refusal | None:
    """Why a request is not passed on, as far as its first lines tell; None for no reason."""
    headers = Headers(scope=scope)
    return (
        _wrong_host(headers, access)
        or _wrong_origin(scope, headers, access)
        or _without_token(scope, headers, access)
        or _wrong_route(scope, headers)
        or _wrong_length(scope, headers)
    )


def _wrong_host(headers: Headers, access: Access) -> Refusal | None:
    """Refuse a name that the page was not started for: one that DNS may have rebound to us.

    A proxy that rewrites Host names the visitor's host in X-Forwarded-Host, and Gradio believes
    it; so that one has to be allowed as well.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or host_of(hosts[0]) is None:
        return Refusal(400, "The request needs one valid Host header.")
    forwarded = [text.split(",")[0].strip() for text in headers.getlist("x-forwarded-host")]
    for netloc in (*hosts, *(text for text in forwarded if text)):
        host = host_of(netloc)
        if host is None:
            return Refusal(400, "The request needs a valid X-Forwarded-Host header, or none.")
        if not access.answers_to(host):
            return Refusal(
                421,
                f"This page does not answer to the name {host}; "
                f"start it with --allow-host {host}, or set VITC_ALLOWED_HOSTS={host}.",
            )
    return None


def _wrong_origin(scope: Scope, headers: Headers, access: Access) -> Refusal | None:
    """Refuse what another web page has sent, but for opening this one, as a link does."""
    refusal = Refusal(
        403,
        "The request comes from another web page; behind a proxy that changes the Host header, "
        "start the page with --allow-host and its public name.",
    )
    opens = (
        scope["method"] in ("GET", "HEAD")
        and _route(scope) in _PAGE
        and headers.get("sec-fetch-mode") == "navigate"
    )
    site = headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none") and not opens:
        return refusal
    origins = headers.getlist("origin")
    if not origins:
        return None
    return refusal if len(origins) > 1 or not _is_own(origins[0], headers, access) else None


def _is_own(origin: str, headers: Headers, access: Access) -> bool:
    parts = origin.lower().split("://")
    if len(parts) != 2 or parts[0] not in ("http", "https"):  # such as "null"
        return False
    forwarded = headers.get("x-forwarded-host", "").split(",")[0].strip()
    if parts[1] in (headers["host"].lower(), forwarded.lower()):
        return True
    # A proxy may drop the port or the name. Another port of an allowed name is another origin,
    # which browsers tell by Sec-Fetch-Site.
    host = host_of(parts[1])
    return host is not None and access.is_allowed(host)


def _without_token(scope: Scope, headers: Headers, access: Access) -> Refusal | None:
    if not access.token or _route(scope) == _SELF_CHECK:
        return None
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    request = Request(scope)
    given += request.query_params.getlist(QUERY_TOKEN)
    given.append(request.cookies.get(_cookie_name(scope), ""))
    wanted = access.token.encode()
    if any([hmac.compare_digest(each.encode(errors="replace"), wanted) for each in given]):
        return None
    return Refusal(
        401,
        "This page needs a token: open the whole address that was printed when it was started, "
        f"with ?{QUERY_TOKEN}= at its end.",
    )


def _wrong_route(scope: Scope, headers: Headers) -> Refusal | None:
    route, method = _route(scope), scope["method"]
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and route in _CALL:
        if kind == "application/json" and len(headers.getlist("content-type")) == 1:
            return None
        return Refusal(415, "A call of the page has the content type application/json.")
    known = route in _PAGE or route in _FILES or route.startswith(_FOLDERS)
    if known and method in ("GET", "HEAD"):
        return None
    if known or route in _CALL:
        return Refusal(405, f"The method {method[:20]} is not for this address.")
    return Refusal(404, "The page has nothing at this address.")


def _wrong_length(scope: Scope, headers: Headers) -> Refusal | None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return Refusal(400, "The request's Content-Length is not a number.")
    most = _most_bytes(scope)
    too_large = len(length) > 18 or int(length) > most  # int() refuses thousands of digits
    return _too_large(most) if too_large else None


def _most_bytes(scope: Scope) -> int:
    large = _route(scope) in _CALL
    return MOST_CALL_BYTES if large else MOST_OTHER_BYTES


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"The request is larger than {most:,} bytes, the most for this address.")


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    waits = headers.get("expect", "").lower() == "100-continue"  # for a yes before it sends
    return not waits and (
        headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    )


def _answered(refusal: Refusal) -> Response:
    status, sentence = refusal
    if status != 401:
        return PlainTextResponse(f"{sentence}\n", status)
    page = fill("<!doctype html><title>vitc_inspect</title><p>{}</p>\n", sentence)
    return HTMLResponse(page, status, {"WWW-Authenticate": "Bearer"})


def _signed_in(scope: Scope, token: str) -> Response:
    """Keep the token in a cookie, and open the same address without it."""
    pairs = scope["query_string"].decode("latin-1").split("&")
    kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0]) != QUERY_TOKEN]
    # a relative address, since a proxy may show the page under another path
    response = RedirectResponse("./" + (f"?{query}" if (query := "&".join(kept)) else ""), 303)
    response.headers["Cache-Control"] = "no-store"
    forwarded = Headers(scope=scope).get("x-forwarded-proto", "").split(",")[0].strip()
    response.set_cookie(
        _cookie_name(scope),
        token,
        path=urlsplit(scope.get("root_path", "")).path.rstrip("/") + "/",
        secure="https" in (scope["scheme"], forwarded),
        httponly=True,
        # "strict" would not send it after the redirect where the link stands on another page,
        # such as Jupyter's terminal
        samesite="lax",
    )
    return response


def _cookie_name(scope: Scope) -> str:
    """A cookie is of all ports of a host, so its name has the port this server listens on."""
    return f"vitc_inspect_{(scope.get('server') or ('', 0))[1]}"


def _route(scope: Scope) -> str:
    """The path below the folder in which the app is mounted, as Starlette finds its routes."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path
