"""The app's command line: what it refuses, in one sentence, and what it listens on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.served import ROOT, served


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "0"], "port = 0: the least is 1. Use 7860."),
        (["--port", "http"], "port = 'http': it is not a whole number. Use 7860."),
        (["--port", "70000"], "port = 70000: the most is 65,535. Use 7860."),
        (["--host", "no.such.host.invalid", "--port", "7903"], "no address of that name is known"),
        (["--host", "no.such.host.invalid"], "no address of that name is known"),
        (["--host", "192.0.2.1"], "host = '192.0.2.1': it is not an address of this machine"),
        (["--preset", "vit_c_4g"], "Use vit_c_4gf."),
        (["--device", "cuda:77"], "device = 'cuda:77': PyTorch finds only"),
        (["--image", "missing.png"], "image = 'missing.png': there is no such file. Use photo."),
        (["--image", "app.py"], "image = 'app.py': it is no PNG, JPEG"),
        (["--weights", "missing.pt"], "weights = 'missing.pt': there is no such file"),
        (["--weights", "app.py"], "weights = 'app.py': "),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_code_2(arguments: list[str], says: str) -> None:
    ended = start(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


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


def test_help_says_every_option_without_starting_anything() -> None:
    ended = start("--help")
    assert ended.returncode == 0
    for option in ("--host", "--port", "--device", "--preset", "--image", "--weights"):
        assert option in ended.stdout


def test_the_platform_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Hugging Face Spaces, which set host and port in the environment."""
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "7904")
    with served() as app, urlopen("http://127.0.0.1:7904/") as answer:
        assert app.address.endswith(":7904/")
        assert answer.status == 200


def test_the_app_listens_on_this_machine_alone_and_keeps_no_history() -> None:
    with served("--port", "7905", "--image", "checkerboard", "--preset", "swin_t") as app:
        assert app.address == "http://127.0.0.1:7905/"
        sockets = Path(f"/proc/{app.pid}/net/tcp").read_text(encoding="ascii")
        lines = [line.split() for line in sockets.splitlines()]
        listening = {words[1] for words in lines if words[3] == "0A"}
        port = f"{7905:04X}"
        assert {address for address in listening if address.endswith(port)} == {f"0100007F:{port}"}
        with urlopen(f"{app.address}config") as answer:
            config = json.load(answer)
    kept_out = ("run_history", "analytics_enabled", "show_error", "connect_heartbeat")
    assert {name: config[name] for name in kept_out} == dict.fromkeys(kept_out, False)
    assert config["max_file_size"] == 8 * 2**20
