"""The app's command line: what it refuses, in one sentence, and what it listens on."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.served import ROOT, Served, free_port, served
from vitc_inspect.ui import launch, module_server, server

GIVEN = ["--module", "tests/faulty.py:Sized", "--input", "1,3,32,32"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


BEFORE_TORCH = [
    (["--port", "0"], "port = 0: the least is 1. Use 7860."),
    (["--port", "http"], "port = 'http': it is not a whole number. Use 7860."),
    (["--port", "70000"], "port = 70000: the most is 65,535. Use 7860."),
    (["--host", "no.such.host.invalid", "--port", "7903"], "no IPv4 address of that name is known"),
    (["--host", "no.such.host.invalid"], "no IPv4 address of that name is known"),
    (["--host", "::1"], "host = '::1': no IPv4 address of that name is known. Use 127.0.0.1."),
    (["--host", "a" * 300], "…: no IPv4 address of that name is known. Use 127.0.0.1."),
    (["--host", "."], "host = '.': no IPv4 address of that name is known"),
    (["--host", "192.0.2.1"], "host = '192.0.2.1': it is not an address of this machine"),
    (["--preset", "vit_c_4g"], "Use vit_c_4gf."),
    (["--preset", "ViT_C-4GF"], "Use vit_c_4gf."),
    (["--colour", "red"], "unrecognized arguments: --colour red"),
    (["--host", "0.0.0.0"], "host = '0.0.0.0': everyone who can reach that address could open"),
    (["--allow-host", "http://a.example/"], "it is not the name of a host alone, without https://"),
    (["--frame-ancestors", "a;b"], "frame-ancestors = 'a;b': it is no source"),
    (["--token", "a b"], "token = '…': a token is made of letters"),
    (["16x16/16:8"], "unrecognized arguments: 16x16/16:8. Use --help to see what works."),
]
WITH_TORCH = [
    (["--device", "cuda:77"], "device = 'cuda:77': PyTorch finds only"),
    (["--image", ""], "there is no such file. Use photo."),
    (["--weights", ""], "weights = '': there is no such file"),
    (["--image", "missing.png"], "image = 'missing.png': there is no such file. Use photo."),
    (["--image", "app.py"], "image = 'app.py': it is no PNG, JPEG"),
    (["--weights", "missing.pt"], "weights = 'missing.pt': there is no such file"),
    (["--weights", "app.py"], "weights = 'app.py': "),
]


@pytest.mark.parametrize(("arguments", "says"), [*BEFORE_TORCH, WITH_TORCH[-1]])
def test_what_cannot_work_is_one_sentence_and_exit_code_2(arguments: list[str], says: str) -> None:
    ended = start(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize(("arguments", "says"), WITH_TORCH)
def test_so_is_what_only_torch_and_the_files_can_tell(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, where torch and gradio are loaded already."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "_keep_memory_flat", lambda: None)
    assert launch.main(arguments) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input", "1,3"], "input = '1,3': only a module takes inputs"),
        (["--module", "tests/faulty.py:Sized"], "input = '': the module has to be given something"),
        ([*GIVEN, "--preset", "swin_t"], "preset = 'swin_t': --preset is for stems"),
        ([*GIVEN, "--weights", "x.pt"], "weights = 'x.pt': --weights is for stems"),
        (["--module", "missing.py:Own", *GIVEN[2:]], "there is no such file"),
        (["--module", "tests/faulty.py:Sizd", *GIVEN[2:]], "there is no Sizd in it. Use Sized."),
        (["--module", "tests/faulty.py:Ordered.x", *GIVEN[2:]], "there is no x in it"),
        (["--module", "tests/faulty.py:SamePadded", *GIVEN[2:]], "its constructor needs"),
        ([*GIVEN[:3], "1,3,a"], "input = '1,3,a': it is not a shape"),
        ([*GIVEN, "--image", "missing.png"], "image = 'missing.png': there is no such file"),
    ],
)
def test_a_module_that_cannot_be_opened_is_one_sentence(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "_keep_memory_flat", lambda: None)
    assert launch.main(arguments) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_users_own_code_that_raises_is_shown_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "_keep_memory_flat", lambda: None)
    (tmp_path / "own.py").write_text("width = 0\nside = 8 // width\n")
    assert launch.main(["--module", f"{tmp_path}/own.py:Own", "--input", "1,3"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert 'own.py", line 2, in <module>' in said
    assert "vitc_inspect/" not in said
    assert said.splitlines()[-1].endswith(
        "raises ZeroDivisionError: integer division or modulo by zero. Fix it, or name another."
    )


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_port_in_use_is_refused_with_a_free_one(taken_port: int, given: str) -> None:
    if given == "option":
        ended = start("--port", str(taken_port))
    else:
        ended = start(GRADIO_SERVER_PORT=str(taken_port))
    assert ended.returncode == 2
    prefix = f"port = {taken_port}: another program is listening on it. Use "
    assert ended.stderr.startswith(prefix)
    free = int(ended.stderr.removeprefix(prefix).strip(" .\n"))
    with socket.create_server(("127.0.0.1", free)):
        pass


def test_a_host_on_which_nothing_can_be_opened_is_to_blame_and_not_the_port(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(address: tuple[str, int]) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family for hostname not supported")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert launch.main(["--host", "localhost"]) == 2
    said = "host = 'localhost': no port can be opened on it. Use 127.0.0.1.\n"
    assert capsys.readouterr().err == said


def test_help_says_every_option_without_starting_anything() -> None:
    ended = start("--help")
    assert ended.returncode == 0
    options = ("--host", "--port", "--device", "--preset", "--image", "--weights", "--module")
    access = ("--public", "--allow-host", "--frame-ancestors", "--token")
    for option in (*options, "--input", *access):
        assert option in ended.stdout


def test_the_platform_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Hugging Face Spaces, which set host and port in the environment."""
    port = free_port()
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    with (
        served("--image", "checkerboard", "--preset", "swin_t", "--public") as app,
        urlopen(f"http://127.0.0.1:{port}/config") as answer,
    ):
        assert app.address.endswith(f":{port}/")
        config = json.load(answer)
    [page] = config["components"]
    begins = page["props"]["props"]["start"]
    assert (begins["image"], begins["stem"]) == ("checkerboard", "4x4/4:96 ln bias")


def test_the_app_listens_on_this_machine_alone_and_keeps_no_history(app: Served) -> None:
    port = urlsplit(app.address).port
    assert app.address == f"http://127.0.0.1:{port}/"
    sockets = Path(f"/proc/{app.pid}/net/tcp").read_text(encoding="ascii")
    lines = [line.split() for line in sockets.splitlines()]
    listening = {words[1] for words in lines if words[3] == "0A"}
    own = {address for address in listening if address.endswith(f":{port:04X}")}
    assert own == {f"0100007F:{port:04X}"}
    with urlopen(f"{app.address}config") as answer:
        config = json.load(answer)
    kept_out = ("run_history", "analytics_enabled", "show_error", "connect_heartbeat")
    assert {name: config[name] for name in kept_out} == dict.fromkeys(kept_out, False)
    assert config["max_file_size"] == 1


# ---- who may reach it ------------------------------------------------------------------------


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert launch.main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    return said.err


@pytest.mark.parametrize("host", ["0.0.0.0", "0"])
def test_what_others_can_reach_has_to_be_asked_for(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("SPACE_ID", raising=False)
    told = "could open the page and use this machine's processor and memory. Add --public, or use"
    assert told in refused(["--host", host], capsys)
    told = "could open the page and have this module's code run again, with the token. Add"
    assert told in refused(["--host", host, *GIVEN], capsys)
    assert "run again. Add" in refused(["--host", host, *GIVEN, "--token", ""], capsys)
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    assert f"host = '{host}': everyone" in refused([], capsys)


def options_of(*arguments: str) -> argparse.Namespace:
    return launch._parser("app").parse_args(arguments)


def test_a_public_page_says_who_can_reach_it_and_what_they_can_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    stems, module = options_of("--public"), options_of("--public", *GIVEN)
    said = launch._exposure(stems, launch._access(stems), 7860)
    assert said == (
        "Public: everyone who can reach port 7860 of this machine can have stems run, which takes "
        "its processor and memory."
    )
    said = launch._exposure(module, launch._access(module), 7860)
    assert said == (
        "Public: everyone who can reach port 7860 of this machine and has the token can have the "
        "code of tests/faulty.py:Sized run again, with your rights."
    )


def test_a_module_has_a_random_token_and_stems_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITC_TOKEN", raising=False)
    first, second = (launch._access(options_of(*GIVEN)).token for _ in range(2))
    assert len(first) == 32
    assert first != second
    assert launch._access(options_of()).token == ""
    assert launch._access(options_of(*GIVEN, "--token", "")).token == ""
    assert launch._access(options_of("--token", "own")).token == "own"
    monkeypatch.setenv("VITC_TOKEN", "theirs")
    assert launch._access(options_of()).token == "theirs"
    assert launch._access(options_of("--token", "")).token == ""


def test_the_token_is_in_the_address_that_is_printed() -> None:
    with served("--port", str(free_port()), *GIVEN, "--token", "to-ken") as app:
        assert app.token == "to-ken"
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{app.address}config")
        with urlopen(f"{app.address}config?access_token=to-ken") as answer:
            assert answer.status == 200


# ---- odd requests over a socket --------------------------------------------------------------


def asked(app: Served, request: bytes) -> bytes:
    """What the app answers to these bytes."""
    url = urlsplit(app.address)
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
CALL = b"POST /gradio_api/component_server/ HTTP/1.1\r\n" + HOST
MALFORMED = {
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "no host, 1.0": (b"GET / HTTP/1.0\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + HOST + b"\r\n", 400),
    "another host": (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
    "a rebound name as address": (b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "a long header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 200_000 + b"\r\n\r\n", 400),
    "a long address": (b"GET /?" + b"a" * 200_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
    "text": (CALL + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
    "a negative length": (CALL + b"Content-Length: -1\r\n\r\n", 400),
    "two lengths": (CALL + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "too large": (
        CALL
        + b"Content-Type: application/json\r\nContent-Length: 13000000\r\n\r\n"
        + b" " * 13_000_000,
        413,
    ),
    "too large, in parts": (
        CALL
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nC65D40\r\n"
        + b" " * 13_000_000
        + b"\r\n0\r\n\r\n",
        413,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_request_that_cannot_be_is_answered_and_so_is_the_next(app: Served, name: str) -> None:
    request, code = MALFORMED[name]
    try:
        answer = asked(app, request)
    except ConnectionError:  # the server has closed while the client still sent
        assert b"a" * 200_000 in request
    else:
        assert answer.startswith(f"HTTP/1.1 {code} ".encode()), answer[:200]
    with urlopen(app.address) as page:
        assert page.status == 200


def test_who_leaves_while_sending_disturbs_nobody(app: Served) -> None:
    url = urlsplit(app.address)
    for _ in range(5):
        with socket.create_connection((url.hostname, url.port)) as connection:
            kind = b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
            connection.sendall(CALL + kind + b" " * 1000)
    with urlopen(app.address) as page:
        assert page.status == 200


def test_what_is_imported_ahead_is_what_the_workers_import() -> None:
    assert [*server._PRELOAD, *module_server._PRELOAD] == list(launch._RUNNERS)
