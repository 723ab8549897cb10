"""Run a stem or the user's code in a child process and return its result.

The child's standard output is redirected to standard error, so that nothing the code prints ends up
in the report. If the code ends the interpreter, the parent process reports it. Whatever the child
does, the parent ends it at a deadline, or when a signal ends the parent.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from types import FrameType
from typing import IO, NoReturn

from vitc_inspect.common.guard import reason_of
from vitc_inspect.common.processes import ChildProcess

EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in a shell
_PATIENCE = 1.0  # seconds that the user's code has to clean up after an interrupt
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Text to print, and the exit code."""

    text: str = ""
    """Text for standard output, without its last newline; may be empty."""
    complaint: str = ""
    """Text for standard error, likewise."""
    code: int = 0
    """Exit code of the program."""


class ChildFailed(Exception):
    """The child process ended without a result.

    Attributes:
        how: How it ended: "exit code 0", "signal 11 (SIGSEGV)".
        killed: Whether it received SIGKILL, as when the system runs out of memory.
    """

    def __init__(self, how: str, killed: bool) -> None:
        super().__init__(how)
        self.how, self.killed = how, killed


class DeadlinePassed(Exception):
    """The child process was not over at its deadline, and was killed."""


def run_in_child(
    work: Callable[[], Outcome],
    deliver: Callable[[Outcome], None],
    *,
    seconds: float = math.inf,
    users_code: bool = True,
) -> int:
    """Run a function in a child process, and return its result.

    An interrupt of this process, SIGTERM or SIGHUP ends the child and all that it has started.

    On platforms without a safe fork the function runs in this process, with the descriptor of
    standard output redirected as well; there is then no deadline.

    Args:
        work: The function; this process must not have started a thread.
        deliver: Called with the outcome as soon as it is there.
        seconds: Most time that the child may take (seconds).
        users_code: Whether the function runs code of the user. If so, its child has a second to
            clean up after an interrupt, and its functions of `atexit` are called; if not, the
            child ends at once.

    Returns:
        The exit code of the outcome.

    Raises:
        ChildFailed: When the child ended without an outcome.
        DeadlinePassed: When it took longer than `seconds`; perhaps after its outcome was delivered.
        KeyboardInterrupt: When either process was interrupted.
    """
    _open_standard_descriptors()
    if not hasattr(os, "fork") or sys.platform == "darwin":
        with _StdoutRedirected():
            outcome = outcome_of(work)
        deliver(outcome)
        return outcome.code
    until = time.monotonic() + seconds
    reader, writer = os.pipe()  # not inherited by programs that the child executes
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    parent = os.getpid()
    # no signal may come between the fork and what is done about it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid == 0:
        for number in _heeded():
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(reader)
        _run_child(work, os.fdopen(writer, "w", encoding="ascii"), parent, users_code)
    os.close(writer)
    child = ChildProcess(pid, patience=_PATIENCE if users_code else 0.0)
    handlers = _end_with_signals(child)
    if users_code:
        child.adopt_descendants()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        return _await(child, reader, deliver, until)
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # as it is while this process ends
                signal.signal(number, handler)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Let the first SIGINT raise KeyboardInterrupt in the block, and ignore further ones.

    For the user's code in a child process, which may have to clean up. Outside the block SIGINT
    kills the child, since an exception in the middle of an import or at exit prints a traceback.
    Does nothing in any other process.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGINT, _raise_once)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _raise_once:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _raise_once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


def outcome_of(work: Callable[[], Outcome]) -> Outcome:
    """Run a function; an unexpected exception becomes an outcome that asks for a bug report."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # the last resort
        said = f"{''.join(traceback.format_exception(error))}\n{internal_error(error)}"
        return Outcome(complaint=said, code=EXIT_FAILED)


def internal_error(error: Exception) -> str:
    """Return the message for an unexpected exception of this package.

    >>> internal_error(KeyError("proj"))
    "vitc_inspect itself failed with KeyError: 'proj'. It is not your mistake; please report it."
    """
    return (
        f"vitc_inspect itself failed with {reason_of(error)}."
        " It is not your mistake; please report it."
    )


# ---- the child ------------------------------------------------------------------------------


def _run_child(
    work: Callable[[], Outcome], pipe: IO[str], parent: int, users_code: bool
) -> NoReturn:
    """Run the function with standard output redirected, send its outcome, and exit."""
    _exit_with(parent)
    os.register_at_fork(after_in_child=pipe.close)  # a grandchild has nothing to send
    _StdoutRedirected().__enter__()  # never restored: code may still print at exit
    outcome = outcome_of(work)
    with suppress(OSError, ValueError):  # the code may have closed it
        pipe.write(json.dumps(asdict(outcome)) + "\n")
        pipe.close()
    if not users_code:  # nothing is left to be done, and torch takes its time
        os._exit(outcome.code)
    raise SystemExit(outcome.code)


class _StdoutRedirected:
    """Context manager that redirects the descriptor of standard output to standard error."""

    def __enter__(self) -> None:
        self._kept = os.dup(1)  # not inherited by programs that the code executes
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        os.dup2(self._kept, 1)
        os.close(self._kept)


def _open_standard_descriptors() -> None:
    """Open closed standard descriptors, so that no pipe gets their numbers."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def _exit_with(parent: int) -> None:
    """Make Linux kill this process when its parent is killed."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes  # not in every build of Python

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)


# ---- the parent -----------------------------------------------------------------------------


def _heeded() -> tuple[signal.Signals, ...]:
    """The signals that end this process; `nohup` ignores one, and a job of a script another."""
    return tuple(each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN)


def _end_with_signals(
    child: ChildProcess,
) -> dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None]:
    """End the child when a signal ends this process; return the handlers there were."""
    heeded = _heeded()

    def end(number: int, frame: FrameType | None) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        child.end(number)
        if number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return {number: signal.signal(number, end) for number in heeded}


def _await(
    child: ChildProcess, reader: int, deliver: Callable[[Outcome], None], until: float
) -> int:
    """Deliver what the child sends, and wait for it to exit."""
    with os.fdopen(reader, "rb", buffering=0):
        line = _line(reader, until)
    outcome = Outcome(**json.loads(line)) if line.endswith(b"\n") else None
    code = None
    try:
        if outcome is not None:
            deliver(outcome)
    finally:
        code = child.wait(until)
        if code is None:
            child.kill()
    if code is None:
        raise DeadlinePassed
    if outcome is not None:
        return outcome.code
    if code in (EXIT_INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    raise ChildFailed(exit_text(code), killed=code == -signal.SIGKILL)


def _line(reader: int, until: float) -> bytes:
    """The line that comes from a pipe; without its end if the pipe is closed, or it is too late."""
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while not parts or not parts[-1].endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(None if math.isinf(left) else 1_000 * left):
            break
        part = os.read(reader, 1 << 20)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def exit_text(code: int) -> str:
    """Describe an exit code of a process.

    >>> exit_text(0), exit_text(-11), exit_text(-63)
    ('exit code 0', 'signal 11 (SIGSEGV)', 'signal 63')
    """
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: f" ({number.name})" for number in signal.Signals}
    return f"signal {-code}{names.get(-code, '')}"
