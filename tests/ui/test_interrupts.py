"""Ctrl+C and signals end the app and its workers, whatever runs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.served import Served, free_port, served
from tests.ui.calls import calls_of

SECONDS = 15  # two are promised, on a machine that does nothing else


def is_running(pid: int) -> bool:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[0] != "Z"
    return False


def below(pid: int) -> set[int]:
    """The processes that descend from one."""
    found = {pid}
    grew = True
    while grew:
        grew = False
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, IndexError):
                words = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2]
                if int(words.split()[1]) in found and int(stat.parent.name) not in found:
                    found.add(int(stat.parent.name))
                    grew = True
    return found - {pid}


def ends(app: Served, number: int) -> None:
    """Send a signal, and wait until the app and all that it started have ended."""
    others = below(app.pid)
    assert others
    os.kill(app.pid, number)
    end = time.monotonic() + SECONDS
    while any(map(is_running, {app.pid, *others})):
        assert time.monotonic() < end, f"{others} still run"
        time.sleep(0.05)


def in_background(call: Callable[[], object]) -> None:
    def run() -> None:
        with suppress(OSError, ValueError):
            call()

    threading.Thread(target=run, daemon=True).start()


LONG = {"stem": "301x301:32", "height": "800", "width": "800", "in_channels": "3", "image": "ramp"}
LONG |= {"seed": "0", "device": "cpu", "dtype": "float32", "class_token": "1", "ticket": "long"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_app_ends_in_the_middle_of_a_run_of_minutes(number: int) -> None:
    with served("--port", str(free_port())) as app:
        call = calls_of(app)
        in_background(lambda: call("run", LONG))
        while not call("progress", {"ticket": "long"})["progress"].startswith("running"):
            time.sleep(0.1)
        ends(app, number)


STUBBORN = """
from pathlib import Path
import signal, time
from torch import nn

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 4, 4)
    def forward(self, image):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while Path(__file__).with_name("hang").exists():
            try:
                time.sleep(100)
            except BaseException:
                pass
        return super().forward(image)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_of_a_module_that_ignores_signals_ends(tmp_path: Path, number: int) -> None:
    file = tmp_path / "net.py"
    file.write_text(STUBBORN)
    options = ("--module", f"{file}:Net", "--input", "1,3,32,32", "--port", str(free_port()))
    with served(*options) as app:
        call = calls_of(app)
        (tmp_path / "hang").touch()
        in_background(lambda: call("reload", {"ticket": "long"}))
        while not call("progress", {"ticket": "long"})["progress"].startswith("running"):
            time.sleep(0.1)
        ends(app, number)
