"""An object for a worker: it works, waits, raises, dies, and starts processes of its own."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitc_inspect.common.errors import SpecError


class Busy:
    """Methods that a worker may be asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def add(self, first: int, second: int) -> int:
        self.calls += 1
        return first + second

    def count(self) -> int:
        return self.calls

    def pid(self) -> int:
        return os.getpid()

    def niceness(self) -> int:
        return os.nice(0)

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def convolve(self) -> None:
        """Minutes in one call of native code."""
        import torch  # which not every worker needs

        image = torch.zeros(1, 32, 3000, 3000)
        torch.nn.functional.conv2d(image, torch.zeros(64, 32, 301, 301))

    def stubborn(self) -> None:
        """Ignore whatever can be ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            with suppress(BaseException):  # as code does that means to go on
                time.sleep(100)

    def signal_itself(self, number: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(100)

    def leave(self, code: int) -> None:
        os._exit(code)

    def refuse(self) -> None:
        raise SpecError("side", 3, "it is odd", "Use 4", 4)

    def fail(self) -> None:
        raise ZeroDivisionError("by nothing")

    def unpicklable(self) -> Callable[[], Any]:
        return lambda: None

    def unpicklable_refusal(self) -> None:
        raise SpecError("side", lambda: None, "it is a function", "Use 4", 4)

    def fork(self) -> int:
        """Go on in two processes, both of which return."""
        return os.fork() and 1

    def answer_itself(self, content: bytes) -> None:
        """Write to the connection."""
        for number in range(3, 64):
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    os.write(number, content)
        time.sleep(100)

    def start_another(self, note: Path) -> None:
        """Start a process that holds everything open, write down its number, and end."""
        other = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(100)"], close_fds=False
        )
        note.write_text(str(other.pid))

    def fork_and_leave(self) -> None:
        """Leave a child behind that holds the connection open."""
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        os._exit(7)
