"""Programs that fork from one process, which has already imported torch and gradio.

Of the eight seconds of processor time that the app takes to start, its imports are five. That it
starts by itself is tested elsewhere: by its command line's tests and the package's.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

PARENT = """
import importlib, json, os, runpy, signal, socket, sys
for name in ("torch", "gradio", "vitc_inspect.common.images", "vitc_inspect.ui.page"):
    importlib.import_module(name)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the programs here
asked = socket.socket(fileno=int(sys.argv[1]))
while True:
    request, descriptors, *_ = socket.recv_fds(asked, 1 << 20, 1)
    if not request:
        break
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.close()
        sys.argv, prefix, changes = json.loads(request)
        for name in [name for name in os.environ if name.startswith(prefix)]:
            del os.environ[name]
        os.environ.update(changes)
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
        for descriptor in (1, 2):
            os.dup2(descriptors[0], descriptor)
        os.close(descriptors[0])
        runpy.run_path(sys.argv[0], run_name="__main__")
        raise SystemExit
    os.close(descriptors[0])
    asked.send(str(pid).encode())
"""
CHANGES = "VITC_"  # variables of other names may be read by an import, so they have to be the same


class Forked:
    """A program that was forked, with what is used here of `subprocess.Popen`."""

    def __init__(self, pid: int, output: int) -> None:
        self.pid, self.stdout = pid, os.fdopen(output, encoding="utf-8")
        self._process = os.pidfd_open(pid)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)

    def wait(self, timeout: float) -> None:
        if not select.select([self._process], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        os.close(self._process)


def fork(arguments: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Forked | None:
    """Run a Python program in a fork, or nothing where it has to start by itself.

    Args:
        arguments: Its file, seen from `cwd`, and its arguments.
        environment: Its whole environment.
        cwd: Its folder; the first call decides for all.
    """
    if sys.platform != "linux":
        return None
    asked, fixed = _parent(cwd)
    if _fixed(environment) != fixed:
        return None
    changes = {name: environment[name] for name in environment if name.startswith(CHANGES)}
    request = [list(arguments), CHANGES, changes]
    reader, writer = os.pipe()
    socket.send_fds(asked, [json.dumps(request).encode()], [writer])
    os.close(writer)
    return Forked(int(asked.recv(64)), reader)


@cache
def _parent(cwd: Path) -> tuple[socket.socket, dict[str, str]]:
    """The process that forks: the connection to it, and its environment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", PARENT, str(theirs.fileno())],
        cwd=cwd,
        env=environment,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    atexit.register(process.kill)
    return ours, _fixed(environment)


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that have to be the same; pytest's own names the test."""
    changing = (CHANGES, "PYTEST_")
    return {name: environment[name] for name in environment if not name.startswith(changing)}
