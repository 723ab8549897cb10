"""Programs that are ended from outside: processes that must be gone, and the time that it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMISED = 2.0
"""Within this time an interrupt ends everything (seconds)."""
SLACK = 8.0
"""What the tests allow, since their machine may be busy with others (seconds)."""


def is_gone(pid: int, *, within: float = SLACK) -> bool:
    """Whether a process ends in that time (seconds); a zombie has ended."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return True
        if stat.rpartition(b")")[2].split()[0] == b"Z":
            return True
        time.sleep(0.02)
    return False


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == pid:
            found.append(int(path.parent.name))
    return found


@contextmanager
def begun(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a session of its own; nothing of it is left behind."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for pid in children_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):  # which what it left behind may hold open
            if pipe is not None:
                pipe.close()


def signalled(
    process: subprocess.Popen[str],
    *numbers: signal.Signals,
    to_all: bool = False,
    pause: float = 0.1,
) -> tuple[int, str, str]:
    """Send signals one after another; the exit code, the output and the complaints.

    Args:
        process: The program.
        numbers: The signals.
        to_all: Whether the whole group gets them, as from the keyboard of a terminal.
        pause: Between one signal and the next (seconds).
    """
    start = time.monotonic()
    for number in numbers:
        if process.poll() is None:
            (os.killpg if to_all else os.kill)(process.pid, number)
            time.sleep(pause)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - start < SLACK
    return process.returncode, out, err
