"""Print to the terminal, and end a program: exit codes, interrupts, closed pipes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from vitc_inspect.common.child_process import EXIT_FAILED, EXIT_INTERRUPTED, internal_error
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.extras import MissingPackage

EXIT_DISAGREES = 1
EXIT_NOT_KNOWN = 1
EXIT_BAD_INPUT = 2
EXIT_RAISED = 3
EXIT_NO_REPORT = 3
EXIT_UNREAD = 141  # as a shell names the signal


def ended(main: Callable[[], int]) -> int:
    """Run a program and return its exit code; an interrupt or a closed pipe prints no traceback.

    Returns:
        Its exit code, 130 for an interrupt, 141 for a closed pipe, 2 where a package is
        missing, 70 for a mistake of this package's own.
    """
    try:
        return main()
    except KeyboardInterrupt:
        _drop(sys.stdout)  # a reader that does not read must not be waited for
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough
        _drop(sys.stdout)
        return EXIT_UNREAD
    except MissingPackage as error:
        complain(error)
        return EXIT_BAD_INPUT
    except Exception as error:  # noqa: BLE001  # the last resort
        complain(f"{traceback.format_exc()}{internal_error(error)}")
        return EXIT_FAILED


def say(text: str) -> None:
    """Print a text completely and flush it.

    Raises:
        SpecError: field "output", when it cannot be written, as where a disk is full.
        BrokenPipeError: when the reader has closed the pipe.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop(sys.stdout)
        reason = f"it cannot be written, {str(error.strerror).lower()}"
        raise SpecError("output", "standard output", reason, "Send it elsewhere") from None


def complain(what: object) -> None:
    """Print to standard error as far as it can be written; the exit code says the rest."""
    if sys.stderr is None:  # it is closed, and `print` takes None for standard output
        return
    try:
        print(what, file=sys.stderr, flush=True)
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO | None) -> None:
    """Send what is left of the output nowhere, since Python writes it out at its end."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
