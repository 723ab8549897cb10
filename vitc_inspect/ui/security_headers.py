"""Headers that tell the browser what the page may do, and the nonce of its inline scripts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from html.parser import HTMLParser

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from vitc_inspect.ui.access import Access

_POLICY: Mapping[str, str] = {
    "default-src": "'none'",
    # gr.HTML turns the page's own script into a function
    "script-src": "'self' 'unsafe-eval'",
    # Gradio writes style elements and attributes
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'self'",  # Gradio's document has <base href="./">
    "form-action": "'none'",
}
_NEVER = ("display-capture", "geolocation", "microphone", "payment", "usb")
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a link can hold the token
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(
        (
            "camera=(self)",  # for a picture of one's own; the browser asks the person
            *(f"{name}=()" for name in _NEVER),
        )
    ),
}


class SecureSend:
    """Sends an answer with these headers; an HTML document gets a nonce in its script tags."""

    def __init__(self, send: Send, access: Access) -> None:
        self._send = send
        self._access = access
        self._start: Message | None = None  # held back while a document is collected
        self._document = bytearray()

    async def __call__(self, message: Message) -> None:
        """Send a message of the answer."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            message = {**message, "headers": headers.raw}
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["Content-Security-Policy"] = policy(self._access)
            if headers.get("content-type", "").startswith("text/html"):
                headers.setdefault("Cache-Control", "no-store")  # a nonce is for one answer
                self._start = message
                return
            await self._send(message)
        elif self._start is not None:
            self._document += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_document(self._start)
        else:
            await self._send(message)

    async def _send_document(self, start: Message) -> None:
        self._start = None
        headers = MutableHeaders(raw=start["headers"])
        nonce = secrets.token_urlsafe(16)
        document = bytes(self._document)
        if document and "content-encoding" not in headers:
            document = with_nonce(document, nonce)
            headers["Content-Security-Policy"] = policy(self._access, nonce)
            headers["Content-Length"] = str(len(document))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": document})


def policy(access: Access, nonce: str = "") -> str:
    """The Content-Security-Policy of an answer."""
    rules = {**_POLICY, "frame-ancestors": " ".join(access.frame_ancestors)}
    if nonce:
        rules["script-src"] += f" 'nonce-{nonce}'"
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


def with_nonce(document: bytes, nonce: str) -> bytes:
    """Write a nonce into the tag of each inline script of an HTML document.

    >>> with_nonce(b"<p title='<script>'><script>'<script>'</script><script src='a.js'>", "n")
    b"<p title='<script>'><script nonce='n'>'<script>'</script><script src='a.js'>"
    """
    text = document.decode(errors="surrogateescape")
    tags = _InlineScripts()
    tags.feed(text)
    tags.close()
    starts = [0]  # of each line, as HTMLParser counts them
    while (end := text.find("\n", starts[-1])) >= 0:
        starts.append(end + 1)
    done, parts = 0, []
    for line, column in tags.places:
        place = starts[line - 1] + column + len("<script")
        parts += [text[done:place], f" nonce='{nonce}'"]
        done = place
    return "".join([*parts, text[done:]]).encode(errors="surrogateescape")


class _InlineScripts(HTMLParser):
    """Lines, from 1, and columns, from 0, of the tags of inline scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.places: list[tuple[int, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the place of an inline script."""
        if tag == "script" and "src" not in dict(attrs):
            self.places.append(self.getpos())
