"""The command line: `vitc-inspect "16x16/16:768"`."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence

import vitc_inspect
from vitc_inspect.cli.modules import run_module
from vitc_inspect.cli.options import BESIDE, parser, refuse_what_has_no_use
from vitc_inspect.cli.output import (
    EXIT_BAD_INPUT,
    EXIT_NOT_KNOWN,
    complain,
    ended,
    say,
)
from vitc_inspect.cli.stems import run_stem, spec_of
from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.paper import PRINTED, SOURCE

__all__ = ["ended", "main"]


def main(
    arguments: Sequence[str] | None = None,
    *,
    apart: bool = False,
    prog: str = "python -m vitc_inspect",
    verbs: str = "",
) -> int:
    """Inspect a stem or a user's module and print the report, or explain an error.

    Args:
        arguments: The command line without the program; None means sys.argv.
        apart: Whether a stem or a module is run in a child process, as `run_in_child` does. It can
            then be ended at any moment, and what a module prints cannot get into the report.
        prog: What the person typed to start the program.
        verbs: What else the program does, in sentences for the help.

    Returns:
        Exit code: 0 for a report or an explanation, 1 for an error that is not known and with
        --strict for any disagreement or fault, also where one could not be looked for, 2 for
        bad input or an output that cannot be written, 3 for a run that did not come to its end: a
        module raised or ended Python itself, the process was killed, or it took too long.
    """
    options_parser = parser(prog, verbs)
    options = options_parser.parse_args(arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal has no ×
    try:
        refuse_what_has_no_use(options, options_parser)
        if options.version:
            say(f"vitc-inspect {vitc_inspect.__version__}")
            return 0
        if options.explain is not None:
            text, known = _explain(options)
            say(text)
            return 0 if known else EXIT_NOT_KNOWN
        if options.module is not None:
            return run_module(options, apart)
        if options.paper:
            say(_paper(options))
            return 0
        return run_stem(options, apart)
    except SpecError as error:
        complain(error)
        return EXIT_BAD_INPUT


def _paper(options: argparse.Namespace) -> str:
    """The paper's tables beside our exact numbers; they need no torch."""
    if options.json:
        return json.dumps({"source": SOURCE, "rows": [row.to_dict() for row in PRINTED]})
    from vitc_inspect.views.other_tables import paper_table

    return paper_table()


def _explain(options: argparse.Namespace) -> tuple[str, bool]:
    """The explanations of an error as text, and whether there are any; torch is not needed."""
    from vitc_inspect.views.explanations import explanations_text

    spec = None
    if options.stem is not None or options.preset is not None:
        spec = spec_of(options)
    for name in BESIDE:
        if spec is None and getattr(options, name) is not None:
            reason = "neither a stem nor --preset says what takes the image"
            raise SpecError(name, getattr(options, name), reason, "Give --preset vit_p_18gf too")
    explanations = explain_error(_error_text(options.explain), spec=spec)
    if options.json:
        plain = {"explanations": [explanation.to_dict() for explanation in explanations]}
        return json.dumps(plain), bool(explanations)
    return explanations_text(explanations), bool(explanations)


def _error_text(text: str) -> str:
    """The text of an error, from standard input where "-" was given."""
    if text != "-":
        return text
    if sys.stdin is None:
        raise SpecError("explain", text, "standard input is closed", "Give the error itself")
    return sys.stdin.read()
