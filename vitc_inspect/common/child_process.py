"""Run the user's code in a child process and return its result.

The child's standard output is redirected to standard error, so that nothing the code prints ends up
in the report. If the code ends the interpreter, the parent process reports it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType
from typing import IO, NoReturn

from vitc_inspect.common.guard import reason_of

EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in a shell
_PATIENCE = 2.0  # seconds that an interrupted child has to exit


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


def run_in_child(work: Callable[[], Outcome], deliver: Callable[[Outcome], None]) -> int:
    """Run a function in a child process, and return its result.

    On platforms without a safe fork the function runs in this process, with the descriptor of
    standard output redirected as well.

    Args:
        work: The function; this process must not have started a thread.
        deliver: Called with the outcome as soon as it is there.

    Returns:
        The exit code of the outcome.

    Raises:
        ChildFailed: When the child ended without an outcome.
        KeyboardInterrupt: When either process was interrupted.
    """
    _open_standard_descriptors()
    if not hasattr(os, "fork") or sys.platform == "darwin":
        with _StdoutRedirected():
            outcome = outcome_of(work)
        deliver(outcome)
        return outcome.code
    reader, writer = os.pipe()  # not inherited by programs that the child executes
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_child(work, os.fdopen(writer, "w", encoding="ascii"), parent)
    os.close(writer)
    _forward_signals(child)
    try:
        return _await(child, reader, deliver)
    except KeyboardInterrupt:
        _stop(child)
        raise


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


def _run_child(work: Callable[[], Outcome], pipe: IO[str], parent: int) -> NoReturn:
    """Run the function with standard output redirected, send its outcome, and exit."""
    _exit_with(parent)
    os.register_at_fork(after_in_child=pipe.close)  # a grandchild has nothing to send
    _StdoutRedirected().__enter__()  # never restored: code may still print at exit
    outcome = outcome_of(work)
    with suppress(OSError, ValueError):  # the code may have closed it
        pipe.write(json.dumps(asdict(outcome)) + "\n")
        pipe.close()
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


def _forward_signals(child: int) -> None:
    """Forward signals that end this process to the child."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, pass_on)


def _await(child: int, reader: int, deliver: Callable[[Outcome], None]) -> int:
    """Deliver what the child sends, and wait for it to exit."""
    with os.fdopen(reader, "rb") as pipe:
        line = pipe.readline()
    if line.endswith(b"\n"):
        outcome = Outcome(**json.loads(line))
        try:
            deliver(outcome)
        finally:
            os.waitpid(child, 0)
        return outcome.code
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in (EXIT_INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    raise ChildFailed(exit_text(code), killed=code == -signal.SIGKILL)


def exit_text(code: int) -> str:
    """Describe an exit code of a process.

    >>> exit_text(0), exit_text(-11), exit_text(-63)
    ('exit code 0', 'signal 11 (SIGSEGV)', 'signal 63')
    """
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: f" ({number.name})" for number in signal.Signals}
    return f"signal {-code}{names.get(-code, '')}"


def _stop(child: int) -> None:
    """Give an interrupted child some time to exit, then kill it."""
    until = time.monotonic() + _PATIENCE
    with suppress(ChildProcessError, ProcessLookupError, KeyboardInterrupt):
        while time.monotonic() < until:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return
            time.sleep(0.02)
    with suppress(ChildProcessError, ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
