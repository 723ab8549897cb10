"""The report on the module given by --module, made in a child process."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from functools import partial

from vitc_inspect.cli.formats import format_of, report_text
from vitc_inspect.cli.output import EXIT_BAD_INPUT, EXIT_DISAGREES, EXIT_RAISED
from vitc_inspect.cli.runs import run_and_deliver, seconds_of
from vitc_inspect.common.child_process import ChildFailed, Outcome, interrupts_raised
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.extras import require
from vitc_inspect.common.validation import check_kinds, parse_int
from vitc_inspect.diagnosis import FAULT_KINDS


def run_module(options: argparse.Namespace, apart: bool) -> int:
    """Print the report on the module given by --module, and return the exit code."""
    check_has_input(options.input)
    require("torch", by="--module")
    format_of(options)  # before the module is run
    seconds = seconds_of(options)
    grey = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def failure(end: ChildFailed) -> SpecError:
        reason = f"it ended Python itself, {end.how}, before there was a report"
        fix = "Look for what leaves the program, as os._exit does, or run it alone to see"
        if end.killed:
            fix = "Try a smaller input, since the memory may have run out"
        return SpecError("module", options.module, reason, fix)

    return run_and_deliver(
        partial(_module_outcome, options, grey=grey),
        failure,
        apart=apart,
        seconds=seconds,
        users_code=True,
        smaller="a smaller input",
    )


def _module_outcome(options: argparse.Namespace, *, grey: bool) -> Outcome:
    """The report on a module as it is to be printed, or why there is none."""
    try:
        return _inspect_module(options, grey=grey)
    except SpecError as error:
        # what the user's own code raised comes first
        cause = f"{user_traceback(error.__cause__)}\n" if error.__cause__ else ""
        return Outcome(complaint=f"{cause}{error}", code=EXIT_BAD_INPUT)


def _inspect_module(options: argparse.Namespace, *, grey: bool) -> Outcome:
    """Load a module, run it, and write its report."""
    from vitc_inspect.inspection.loading import load_module, made_ready, random_inputs
    from vitc_inspect.inspection.module_inspection import inspect_call
    from vitc_inspect.inspection.module_report import ignored_sentences
    from vitc_inspect.model.devices import resolve_device
    from vitc_inspect.model.modules import MAX_SEED
    from vitc_inspect.views.explanations import explanations_text, faults_text

    seed = parse_int("seed", options.seed, 0, MAX_SEED)
    check_kinds("ignore", options.ignore, FAULT_KINDS)  # before the user's code is run
    device = resolve_device(options.device)
    # what the user's code prints must not be in the report
    with interrupts_raised(), contextlib.redirect_stdout(sys.stderr):
        module = made_ready(options.module, load_module(options.module), device)
        by_place, by_name = random_inputs(options.input, module, seed=seed)
        report = inspect_call(module, by_place, by_name, ignore=options.ignore)
    complaint = ""
    name, behind = format_of(options), ""
    if report.explanations and report.explanations != (report.cause,):  # one of the faults
        behind = f"What that means:\n{explanations_text(report.explanations)}"
    text = report_text(report, name, behind=behind, grey=grey)
    if name == "csv":  # which has rows alone
        found = [faults_text(report.faults)] if report.faults else []
        complaint = "\n".join([*found, *ignored_sentences(report)])
    if report.failure:
        complaint = f"{complaint}\n{report.failure.traceback}".strip("\n")
        return Outcome(text=text, complaint=complaint, code=EXIT_RAISED)
    sound = report.audited and not (report.disagreements or report.faults or report.unchecked)
    code = EXIT_DISAGREES if options.strict and not sound else 0
    return Outcome(text=text, complaint=complaint, code=code)


def check_has_input(inputs: Sequence[str]) -> None:
    """Raise a SpecError if no input of the module is given.

    Raises:
        SpecError: field "input".
    """
    if not inputs:
        reason = "the module has to be given something"
        raise SpecError("input", "", reason, "Use --input 1,3,224,224", "1,3,224,224")


def user_traceback(error: BaseException) -> str:
    """Return the traceback, starting at the first line of the user's code."""
    from vitc_inspect.tracing.tracebacks import traceback_text

    return traceback_text(error).rstrip()
