"""A child process that can be awaited until a moment, and ended with all that it has started.

Moments are those of `time.monotonic`, which no change of the system's date moves.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_POLL = 0.02  # longest pause between two looks at a process (seconds)
_PASSES = 50  # times that killing is tried; a process in a system call may take longer to vanish
_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h


class ChildProcess:
    """A child process of this one.

    Args:
        pid: Its number, as `os.fork` returned it.
        patience: Time that it has to end by itself, when it is to end (seconds).
    """

    def __init__(self, pid: int, *, patience: float) -> None:
        self.pid, self._patience = pid, patience
        self._code: int | None = None
        self._killed = False
        self._not_its: frozenset[int] | None = None

    def adopt_descendants(self) -> None:
        """Become the parent of what the child leaves behind, so that `end` finds it.

        To be called before the child starts processes; does nothing where the system is not Linux.
        """
        with suppress(ImportError, OSError, AttributeError):
            import ctypes  # not in every build of Python

            if ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
                # a shell that was replaced by this process leaves it children of its own
                self._not_its = children() - {self.pid}

    def wait(self, until: float) -> int | None:
        """Wait for the child to exit.

        Args:
            until: Latest moment.

        Returns:
            Its exit code, negative for a signal; None if it has not exited. One that was killed is
            not awaited any longer.
        """
        pause = 0.001
        while not self._has_exited():
            if self._killed or time.monotonic() >= until:
                return None
            time.sleep(pause)
            pause = min(2 * pause, _POLL)
        return self._code

    def end(self, number: int) -> None:
        """Send the child a signal, and kill it and its descendants if it does not heed it.

        Args:
            number: The signal; not sent if there is no patience.
        """
        if self._patience and not self._has_exited():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            self.wait(time.monotonic() + self._patience)
        self.kill()

    def kill(self) -> None:
        """Kill the child and its descendants.

        Until none is left, since each that dies leaves its own children to this process; the tries
        are counted and not timed, as a busy machine may give this process no time for a second.
        """
        self._killed = True
        for _ in range(_PASSES):
            left = set() if self._has_exited() else {self.pid}
            if self._not_its is not None:
                left |= children() - self._not_its
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
            for pid in left - {self.pid}:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _has_exited(self) -> bool:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # awaited by somebody else
                pid, status = self.pid, 0
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None


def children() -> frozenset[int]:
    """The numbers of the processes whose parent is this one; none where there is no /proc."""
    found, own = set(), str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it is over
            # the name before the bracket may be anything: pid (name) state ppid
            after_name = stat.read_bytes().rpartition(b")")[2].split()
            if after_name[1:2] == [own.encode()]:
                found.add(int(stat.parent.name))
    return frozenset(found)
