"""Which hosts the page answers to, which pages may frame it, and which tokens there are."""

from __future__ import annotations

from typing import Any

import pytest

from vitc_inspect.common.errors import SpecError
from vitc_inspect.ui.access import (
    Access,
    access_of,
    host_of,
    in_space,
    is_loopback,
    new_token,
    notebook_access,
    read_frames,
    read_host,
    read_token,
)

SPACE = {"SPACE_ID": "me/vitc", "SPACE_HOST": "me-vitc.hf.space,vitc.example.org"}


def access(host: str = "127.0.0.1", **given: Any) -> Access:
    return access_of(host, **{"environment": {}, **given})


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:7860", "127.0.0.1"),
        ("LOCALHOST", "localhost"),
        ("localhost.:80", "localhost"),
        ("[::1]:7860", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
    ],
)
def test_a_host_header_is_read(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    "header",
    [
        *("", ".", ":7860", "a b", "a:b", "a:123456", "a:1:2", "::1", "[::1", "[zz]", "[1.2]"),
        *("http://localhost", "localhost/", "user@localhost", "localhost\x00", "bücher.example"),
        *("localhost,evil.example", "localhost evil.example", "a?b", "a#b", "%6cocalhost"),
    ],
)
def test_a_malformed_host_header_is_none(header: str) -> None:
    assert host_of(header) is None


def test_by_default_it_answers_to_this_machine_alone() -> None:
    for chosen in (Access(), access()):
        for host in ("127.0.0.1", "localhost", "::1"):
            assert chosen.answers_to(host)
        # the last are addresses of this machine to some, and can be rebound by none; not asked for
        for host in ("evil.example", "localhost.evil.example", "192.0.2.1", "::ffff:7f00:1"):
            assert not chosen.answers_to(host)


def test_on_a_public_address_every_ip_address_is_valid_and_no_name() -> None:
    chosen = access("0.0.0.0")
    assert chosen.answers_to("192.0.2.1")
    assert chosen.answers_to("2001:db8::1")
    assert not chosen.answers_to("evil.example")
    assert access("192.0.2.1").answers_to("192.0.2.1")
    assert access("My.Host.invalid").answers_to("my.host.invalid")


def test_a_name_is_allowed_by_option_or_environment_and_with_all_below_it() -> None:
    environment = {"VITC_ALLOWED_HOSTS": "one.example, *.two.example,"}
    chosen = access(allowed=["Three.Example"], environment=environment)
    for host in ("one.example", "a.two.example", "a.b.two.example", "three.example"):
        assert chosen.answers_to(host)
        assert chosen.is_allowed(host)
    for host in ("two.example", "eviltwo.example", "a.one.example", "example"):
        assert not chosen.answers_to(host)
    assert not chosen.is_allowed("localhost")
    assert access(allowed=["*"]).answers_to("evil.example")


def test_a_space_answers_to_its_names_and_the_hub_may_frame_it() -> None:
    chosen = access("0.0.0.0", environment=SPACE)
    for host in ("me-vitc.hf.space", "vitc.example.org", "10.0.0.7", "localhost"):
        assert chosen.answers_to(host)
    assert not chosen.answers_to("evil.example")
    assert chosen.frame_ancestors == ("'self'", "https://huggingface.co", "https://*.hf.space")
    assert in_space(SPACE)
    assert not in_space({"SPACE_ID": ""})


def test_notebooks_of_this_machine_may_frame_it_and_nothing_else_may_frame_a_public_one() -> None:
    assert "http://localhost:*" in access().frame_ancestors
    assert access("0.0.0.0").frame_ancestors == ("'self'",)
    chosen = access(frame_ancestors="https://example.org https://*.example.org:8443")
    assert chosen.frame_ancestors == ("https://example.org", "https://*.example.org:8443")
    assert read_frames("'none'") == ("'none'",)


def test_a_notebook_takes_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_SERVER_NAME", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VITC_ALLOWED_HOSTS", "hub.example")
    assert notebook_access() == Access(allowed=frozenset({"hub.example"}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://a.example/x", "Use a.example."),
        ("a.example:7860", "Use a.example."),
        ("a b", "Use inspect.example.org."),
        ("", "allow-host = '': it is not the name of a host alone"),
        ("*.*.example", "it is not the name"),
        ("a*.example", "it is not the name"),
        (".example", "it is not the name"),
        ("a..b", "it is not the name"),
        ("ü" * 80, "it is not the name"),
        ("a\nb", "it is not the name"),
    ],
)
def test_what_is_no_name_is_refused_with_one_that_works(text: str, says: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_host(text)
    assert says in str(raised.value)
    assert read_host(raised.value.suggestion) == raised.value.suggestion


def test_names_are_allowed_as_browsers_send_them() -> None:
    assert read_host(" Bücher.Example. ") == "xn--bcher-kva.example"
    assert read_host("[0::1]") == "::1"
    assert read_host("2001:DB8::1") == "2001:db8::1"


@pytest.mark.parametrize(
    "text", ["", " ", "a;b", "'unsafe-inline'", "https://a.example/x,", "'none' 'self'", "a\u00e9"]
)
def test_what_is_no_source_of_frames_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="frame-ancestors = ") as raised:
        read_frames(text)
    assert read_frames(raised.value.suggestion) == (raised.value.suggestion,)


def test_a_token_is_random_and_never_shown() -> None:
    assert new_token() != new_token()
    assert read_token(new_token())
    assert read_token("") == ""
    with pytest.raises(SpecError, match="token = '…': ") as raised:
        read_token("secret word")
    assert "secret" not in str(raised.value)
    assert "hush" not in repr(Access(token="hush"))


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        *(("127.0.0.1", True), ("127.0.0.2", True), ("127.1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("0", False), ("192.0.2.1", False), ("::", False), ("", False)),
        *(("no.such.host.invalid", False), ("a" * 300, False), (".", False)),
    ],
)
def test_loopback_is_told_from_what_others_can_reach(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone
