"""The app as a person starts it: `python app.py` in a process of its own."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

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
    command = [sys.executable, program, *arguments]
    with serving(command, cwd=ROOT, environment=environment, seconds=seconds) as running:
        yield running


@contextmanager
def serving(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], seconds: float = 120
) -> Iterator[Served]:
    """Run a command that starts the app, wait until it says where it is, and stop it."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
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
