"""Run a stem or a module in a child process until a deadline, and print what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vitc_inspect.cli.output import EXIT_NO_REPORT, complain, say
from vitc_inspect.common.child_process import (
    ChildFailed,
    DeadlinePassed,
    Outcome,
    run_in_child,
)
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import parse_int

MAX_SECONDS = 86_400
"""Longest that a run may be allowed to take (seconds): a day."""


def seconds_of(options: argparse.Namespace) -> int:
    """Return the time that a run may take (seconds).

    Raises:
        SpecError: field "max_seconds".
    """
    return parse_int("max_seconds", options.max_seconds, 1, MAX_SECONDS)


def run_and_deliver(
    work: Callable[[], Outcome],
    failure: Callable[[ChildFailed], SpecError],
    *,
    apart: bool,
    seconds: int,
    users_code: bool,
    smaller: str,
) -> int:
    """Run a function, print its outcome, and return the exit code.

    Args:
        work: The function.
        failure: Says how a child ended without an outcome.
        apart: Whether it is run in a child process; there is no deadline without one.
        seconds: Most time that the child may take (seconds).
        users_code: As for `run_in_child`.
        smaller: What to give for a shorter run: "a smaller image".

    Raises:
        SpecError: field "output".
    """
    if not apart:
        outcome = work()
        _deliver(outcome)
        return outcome.code
    try:
        return run_in_child(work, _deliver, seconds=seconds, users_code=users_code)
    except DeadlinePassed:
        fix = f"Use {smaller}"
        if seconds < MAX_SECONDS:
            fix += f" or --max-seconds {min(2 * seconds, MAX_SECONDS)}"
        reason = f"the run was not over after {seconds} s and was ended"
        complain(SpecError("max_seconds", seconds, reason, fix))
    except ChildFailed as end:
        complain(failure(end))
    return EXIT_NO_REPORT


def _deliver(outcome: Outcome) -> None:
    """Print what came of a run."""
    if outcome.text:
        say(outcome.text)
    if outcome.complaint:
        complain(outcome.complaint)
