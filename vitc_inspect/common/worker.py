"""A worker: a process of its own that calls the methods of one object, and that can be killed.

Work that cannot be interrupted, such as a convolution of minutes or a user's module, is done in a
worker. Ending it takes nothing else down, and the next call starts a new process.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock, Thread
from types import ModuleType
from typing import Any

from vitc_inspect.common.child_process import exit_text
from vitc_inspect.common.guard import reason_of

_KILLED_FIRST = 1000  # oom_score_adj: where memory runs out, Linux ends workers before the server


_ENDED = "ended by this program"
_UNREADABLE = "after an answer that cannot be read"
_ENDING_SECONDS = 2.0  # that a process takes to end after it closed the connection


class WorkerDied(Exception):
    """The worker's process ended before it returned a result.

    Attributes:
        how: How it ended: "exit code 0", "signal 11 (SIGSEGV)".
        killed: Whether it received SIGKILL, as when the system runs out of memory.
    """

    def __init__(self, how: str, killed: bool) -> None:
        super().__init__(how, killed)
        self.how, self.killed = how, killed


class WorkerFailed(Exception):
    """A method raised an exception that is not one of its answers; a note has its traceback."""


class Worker:
    """A process that makes an object and calls its methods, started by the first call."""

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        answers: tuple[type[Exception], ...] = (),
        preload: Sequence[str] = (),
        niceness: int = 0,
    ) -> None:
        """Say what the process makes, without starting it.

        Args:
            make: Makes the object, in the process; has to be picklable, and not of `__main__`.
            answers: Exceptions of the methods that are raised here as they are; have to be
                picklable.
            preload: Modules imported once for all workers, where the platform can fork.
            niceness: How far it steps back behind other processes, 0 to 19, where the platform
                knows that.
        """
        self._given = make, answers, niceness
        self._process: Any = None
        self._connection: Connection | None = None
        self._lock = Lock()  # held while a process starts or is killed
        self._context = _context(preload)

    @property
    def pid(self) -> int | None:
        """Number of the process, or None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process, unless it runs; not during a call."""
        with self._lock:
            if self._process is not None and self._process.is_alive() and not self._is_closed():
                return
            try:
                self._start()
            except (EOFError, OSError):
                _end_forkserver()  # which a worker can damage; it is started again
                self._start()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._given), daemon=True)
        # closed here, so that the end of the process ends the connection
        with theirs, _without_main(), _importable():
            process.start()
        self._process, self._connection = process, ours

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the object and wait for its result; one call at a time.

        Args:
            method: Name of the method.
            args: Its arguments, picklable as its result is.

        Raises:
            WorkerDied: when the process ended; the next call starts another.
            WorkerFailed: when the method raised something that is not among `answers`; its text is
                that exception's on one line.
        """
        process, connection = self._started()
        try:
            connection.send((method, args))
            # a process that the object has started may hold the connection open
            if connection not in wait([connection, process.sentinel]):
                raise EOFError
            outcome, value = connection.recv()
        except (EOFError, OSError):
            raise self._death_of(process) from None
        except Exception:  # noqa: BLE001  # the object wrote to the connection; pickle raises anything
            self.kill()
            raise WorkerDied(_UNREADABLE, killed=False) from None
        if outcome == "raised":
            raise value
        if outcome == "failed":
            reason, lines = value
            failed = WorkerFailed(reason)
            failed.add_note(lines)
            raise failed
        return value

    def kill(self) -> None:
        """End the process at once, whatever it does; a call under way raises WorkerDied."""
        with self._lock:
            if self._process is not None:
                _kill(self._process)
            self._process = None

    def _is_closed(self) -> bool:
        """Whether the other end of the connection is closed, which is known before the exit is."""
        return self._connection is not None and self._connection.poll()

    def _started(self) -> tuple[Any, Connection]:
        """The process, and the connection to it."""
        self.start()
        with self._lock:
            if self._process is None or self._connection is None:
                raise WorkerDied(_ENDED, killed=False)
            return self._process, self._connection

    def _death_of(self, process: Any) -> WorkerDied:
        """How a process ended."""
        with self._lock:
            own = process is not self._process
            if not own:
                self._process = None
        process.join(_ENDING_SECONDS)
        lives = process.exitcode is None  # it has closed the connection, or written to it
        if lives:
            _kill(process)
            process.join()
        if own:
            return WorkerDied(_ENDED, killed=False)
        if lives:
            return WorkerDied(_UNREADABLE, killed=False)
        code = process.exitcode
        return WorkerDied(exit_text(code), killed=code == -signal.SIGKILL)


def _context(preload: Sequence[str]) -> Any:
    """How processes are started: forked from a process without threads, or else anew.

    Forking is unsafe on macOS once system libraries are loaded.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def import_ahead(modules: Sequence[str]) -> None:
    """Start the process that forks workers, which imports modules while this one goes on.

    Args:
        modules: What `Worker` takes as `preload`.
    """
    context = _context(modules)
    if context.get_start_method() == "forkserver":
        with _without_main(), _importable():
            forkserver.ensure_running()


def _end_forkserver() -> None:
    """Kill the process that forks workers; multiprocessing starts another where it has ended."""
    pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # left for multiprocessing to find


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program's own file, which a new process would run again, guarded or not."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _importable() -> Iterator[None]:
    """Let the process that is forked find this package, which Python 3.11 does not see to."""
    before = os.environ.get("PYTHONPATH")
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([before, root] if before else [root])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _kill(process: Any) -> None:
    """Kill a process and those that it has started, which are in its group."""
    with suppress(AttributeError, ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where there are no groups, or its own is not made yet


# ---- in the process --------------------------------------------------------------------------


def _serve(
    connection: Connection,
    make: Callable[[], Any],
    answers: tuple[type[Exception], ...],
    niceness: int,
) -> None:
    """Make the object, and call its methods until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the server, which ends this
    with suppress(AttributeError, OSError):
        os.setpgid(0, 0)
        os.nice(niceness)
    _end_with_the_server()
    made: Any = None
    own = os.getpid()
    while True:
        try:
            method, args = connection.recv()
        except EOFError:
            return
        try:
            made = make() if made is None else made
            outcome = _pickled("returned", getattr(made, method)(*args))
        except answers as error:
            error.__cause__ = error.__context__ = None
            outcome = _pickled("raised", error)
        except Exception as error:  # noqa: BLE001  # told to the server, which logs it
            outcome = _pickled("failed", (reason_of(error), traceback.format_exc()))
        if os.getpid() != own:  # the object has forked, and one answer is enough
            os._exit(0)
        connection.send_bytes(outcome)


def _pickled(outcome: str, value: Any) -> bytes:
    """An outcome as the connection sends it; that it cannot be pickled is one as well."""
    try:
        return pickle.dumps((outcome, value), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  # pickle raises whatever an object's methods raise
        return pickle.dumps(("failed", (reason_of(error), traceback.format_exc())))


def _end_with_the_server() -> None:
    """End this process when the server ends, even while it is in native code."""
    with suppress(OSError):  # other systems have no such file
        Path("/proc/self/oom_score_adj").write_text(str(_KILLED_FIRST), encoding="ascii")
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(0)

    Thread(target=watch, daemon=True).start()
