"""The app as a person starts it: `python app.py` in a process of its own."""

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import NamedTuple

from tests.forks import Forked, fork

ROOT = Path(__file__).parent.parent


class Served(NamedTuple):
    """A running app."""

    address: str  # for example "http://127.0.0.1:7860/", without the token
    pid: int
    token: str = ""


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def served(*arguments: str, seconds: float = 120, program: str = "app.py") -> Iterator[Served]:
    """Start the app, or another program that does, wait until it says where it is, and stop it.

    A module's page needs no token unless `--token` or VITC_TOKEN is given.
    """
    if "--module" in arguments and "--token" not in arguments and "VITC_TOKEN" not in os.environ:
        arguments = (*arguments, "--token", "")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = fork([program, *arguments], environment, ROOT)
    if process is None:
        process = _begun([sys.executable, program, *arguments], ROOT, environment)
    with _until_ended(process, seconds) as running:
        yield running


@contextmanager
def serving(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], seconds: float = 120
) -> Iterator[Served]:
    """Run a command that starts the app, wait until it says where it is, and stop it."""
    with _until_ended(_begun(command, cwd, environment), seconds) as running:
        yield running


def _begun(command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Popen[str]:
    return Popen(
        command,
        cwd=cwd,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=PIPE,
        stderr=STDOUT,
        text=True,
    )


@contextmanager
def _until_ended(process: Popen[str] | Forked, seconds: float) -> Iterator[Served]:
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"is at (http[^\s?]+)(?:\?access_token=(\S+))?", line):
                watchdog.cancel()
                drain = threading.Thread(target=process.stdout.read, daemon=True)
                drain.start()
                yield Served(found[1], process.pid, found[2] or "")
                return
        raise AssertionError(f"The app ended before it was up: {''.join(said)}")
    finally:
        watchdog.cancel()
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close() if process.stdout and not process.stdout.closed else None
