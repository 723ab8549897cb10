"""Somebody's own code run in a child process, and what it came to brought back.

The child's standard output is its standard error, so that nothing the code prints, at whatever
level and however late, stands in the report; and where it ends Python itself, the parent is there
to say so.
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

EXIT_FAILED = 70  # as sysexits.h names an internal error
EXIT_INTERRUPTED = 130  # as a shell names the signal
_PATIENCE = 2.0  # seconds in which a child that was interrupted may end by itself


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is to be printed, and the exit code."""

    text: str = ""
    """For standard output, without its last newline; empty for nothing."""
    complaint: str = ""
    """The same for standard error."""
    code: int = 0
    """Exit code of the program."""


class EndedEarly(Exception):
    """The child ended before it had brought anything back.

    Attributes:
        how: In words: "exit code 0", "signal 11 (SIGSEGV)".
        killed: Whether it was killed, as the system does where memory is short.
    """

    def __init__(self, how: str, killed: bool) -> None:
        super().__init__(how)
        self.how, self.killed = how, killed


def do_apart(work: Callable[[], Outcome], deliver: Callable[[Outcome], None]) -> int:
    """Do a piece of work in a child process, and deliver what came of it in this one.

    Only Linux and its like can fork safely; elsewhere the work is done in this process, and what
    is written to the descriptor of standard output is kept out of the report all the same.

    Args:
        work: What is to be done; this process must not have started any thread.
        deliver: Gets what the work returned, as soon as it has.

    Returns:
        The exit code, that of the outcome.

    Raises:
        EndedEarly: When the child ended without an outcome.
        KeyboardInterrupt: When either process was interrupted.
    """
    _open_standard_descriptors()
    if not hasattr(os, "fork") or sys.platform == "darwin":
        with _Aside():
            outcome = outcome_of(work)
        deliver(outcome)
        return outcome.code
    reader, writer = os.pipe()  # closed in whatever the child executes
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _bring_back(work, os.fdopen(writer, "w", encoding="ascii"), parent)
    os.close(writer)
    _pass_on_signals(child)
    try:
        return _await(child, reader, deliver)
    except KeyboardInterrupt:
        _end(child)
        raise


def outcome_of(work: Callable[[], Outcome]) -> Outcome:
    """Do a piece of work; a mistake of this package's own is an outcome too, and said to be one."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # the last resort
        said = f"{''.join(traceback.format_exception(error))}\n{own_mistake(error)}"
        return Outcome(complaint=said, code=EXIT_FAILED)


def own_mistake(error: Exception) -> str:
    """What is said of an exception that should not be.

    >>> own_mistake(KeyError("proj"))
    "vitc_inspect itself failed with KeyError: 'proj'. It is not your mistake; please report it."
    """
    return (
        f"vitc_inspect itself failed with {reason_of(error)}."
        " It is not your mistake; please report it."
    )


# ---- the child ------------------------------------------------------------------------------


def _bring_back(work: Callable[[], Outcome], pipe: IO[str], parent: int) -> NoReturn:
    """Do the work with standard output put aside, send what came of it, and end."""
    _end_with(parent)
    os.register_at_fork(after_in_child=pipe.close)  # a child of the child has nothing to send
    _Aside().__enter__()  # for good: code may still print when Python ends
    outcome = outcome_of(work)
    with suppress(OSError, ValueError):  # the code may have closed it
        pipe.write(json.dumps(asdict(outcome)) + "\n")
        pipe.close()
    raise SystemExit(outcome.code)


class _Aside:
    """A block in which the descriptor of standard output is that of standard error."""

    def __enter__(self) -> None:
        self._kept = os.dup(1)  # closed in whatever the code executes
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        os.dup2(self._kept, 1)
        os.close(self._kept)


def _open_standard_descriptors() -> None:
    """Open what was closed of the three, so that no pipe takes its number."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return
        os.set_inheritable(descriptor, True)


def _end_with(parent: int) -> None:
    """Have Linux end this process when its parent is killed and can pass nothing on."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes  # not every Python has it

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)


# ---- the parent -----------------------------------------------------------------------------


def _pass_on_signals(child: int) -> None:
    """Have a signal that ends this process end the child as well."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, pass_on)


def _await(child: int, reader: int, deliver: Callable[[Outcome], None]) -> int:
    """Deliver what the child sends, and wait for its end."""
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
    raise EndedEarly(_said(code), killed=code == -signal.SIGKILL)


def _said(code: int) -> str:
    """How a process ended.

    >>> _said(0), _said(-11), _said(-63)
    ('exit code 0', 'signal 11 (SIGSEGV)', 'signal 63')
    """
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: f" ({number.name})" for number in signal.Signals}
    return f"signal {-code}{names.get(-code, '')}"


def _end(child: int) -> None:
    """Wait a little for a child that was interrupted as well, and then make it end."""
    until = time.monotonic() + _PATIENCE
    with suppress(ChildProcessError, ProcessLookupError, KeyboardInterrupt):
        while time.monotonic() < until:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                return
            time.sleep(0.02)
    with suppress(ChildProcessError, ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
