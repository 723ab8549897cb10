"""Headers of every answer, and the nonce of inline scripts."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitc_inspect.ui.access import Access
from vitc_inspect.ui.security_headers import SecureSend, policy, with_nonce

JSON = b'<script>window.a = {"t": "\\u003cscript\\u003e", "u": "<scrip"};</script>'


def sent(*messages: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """What a server gets of an answer: headers and body."""
    out: list[Any] = []

    async def keep(message: Any) -> None:
        out.append(message)

    async def answer() -> None:
        send = SecureSend(keep, Access())
        for message in messages:
            await send(message)

    asyncio.run(answer())
    headers = {name.decode(): value.decode() for name, value in out[0]["headers"]}
    return headers, b"".join(message["body"] for message in out[1:])


def start(kind: str, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    headers = [(b"content-type", kind.encode()), *more]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def test_an_answer_gets_the_headers_in_place_of_others() -> None:
    weak = (b"content-security-policy", b"default-src *")
    body = {"type": "http.response.body", "body": b"{}"}
    headers, content = sent(start("application/json", weak), body)
    assert content == b"{}"
    assert headers["content-security-policy"] == policy(Access())
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=(self)" in headers["permissions-policy"]
    assert "microphone=()" in headers["permissions-policy"]


def test_a_document_in_parts_gets_a_nonce_of_its_own() -> None:
    page = b"<!doctype html><head>" + JSON + b"<script src='a.js'></script></head>"
    parts = [
        start("text/html; charset=utf-8", (b"content-length", str(len(page)).encode())),
        {"type": "http.response.body", "body": page[:30], "more_body": True},
        {"type": "http.response.body", "body": page[30:]},
    ]
    headers, content = sent(*parts)
    (nonce,) = re.findall(r"'nonce-([^']+)'", headers["content-security-policy"])
    assert content == page.replace(b"<script>", f"<script nonce='{nonce}'>".encode())
    assert headers["content-length"] == str(len(content))
    assert headers["cache-control"] == "no-store"
    assert f"'nonce-{nonce}'" not in sent(*parts)[0]["content-security-policy"]


def test_a_document_that_is_compressed_already_is_left_alone() -> None:
    body = {"type": "http.response.body", "body": b"<script>"}
    headers, content = sent(start("text/html", (b"content-encoding", b"br")), body)
    assert content == b"<script>"
    assert "nonce" not in headers["content-security-policy"]


def test_inline_scripts_run_with_the_nonce_alone() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy(Access(), "n1").split("; "))
    assert rules["script-src"] == "'self' 'unsafe-eval' 'nonce-n1'"
    assert rules["default-src"] == rules["object-src"] == rules["form-action"] == "'none'"
    assert rules["frame-ancestors"].startswith("'self' http://localhost:*")
    assert "frame-ancestors 'none'" in policy(Access(frame_ancestors=("'none'",)))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"<SCRIPT>a</SCRIPT>", b"<SCRIPT nonce='n'>a</SCRIPT>"),
        (
            b"\r\n<p>\r\n  <script\n data-x>a</script>",
            b"\r\n<p>\r\n  <script nonce='n'\n data-x>a</script>",
        ),
        (b"<script>'<script>'</script>", b"<script nonce='n'>'<script>'</script>"),
        (b"<!-- <script> --><style><script></style>", None),
        (b"<title>&lt;script></title><meta content='<script>'>", None),
        (b"<p title='<script>'>&lt;script></p>", None),
        (b"<script src=a.js></script><scripty></scripty>", None),
        (JSON, JSON.replace(b"<script>", b"<script nonce='n'>")),
        (b"\xff<script>\xfe</script>", b"\xff<script nonce='n'>\xfe</script>"),
        (b"", b""),
    ],
)
def test_only_tags_of_inline_scripts_get_the_nonce(document: bytes, expected: bytes | None) -> None:
    assert with_nonce(document, "n") == (document if expected is None else expected)


@given(
    st.lists(st.sampled_from(["<script>", "</script>", "<!--", "-->", "<p a='", "'>", "\n", "x"]))
)
def test_a_document_is_the_same_without_its_nonces(parts: list[str]) -> None:
    document = "".join(parts).encode()
    assert with_nonce(document, "n").replace(b" nonce='n'", b"") == document
