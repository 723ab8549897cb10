"""The command line of reports: `vitc-inspect "16x16/16:768"`."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import vitc_inspect
from vitc_inspect.common.child_process import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EndedEarly,
    Outcome,
    do_apart,
    own_mistake,
)
from vitc_inspect.common.errors import SpecError, one_line, shortened
from vitc_inspect.common.extras import MissingPackage, require
from vitc_inspect.common.validation import (
    MAX_CHANNELS,
    check_choice,
    check_kinds,
    nearest,
    parse_image_size,
    parse_int,
    parse_number,
)
from vitc_inspect.diagnosis import FAULT_KINDS, explain_error
from vitc_inspect.stem.notation import ACTIVATION_WORDS, NORM_WORDS, parse_stem
from vitc_inspect.stem.paper import PRINTED, SOURCE
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import MAX_DEPTH, ViTSpec

EXIT_DISAGREES = 1
EXIT_NOT_KNOWN = 1
EXIT_BAD_INPUT = 2
EXIT_RAISED = 3
EXIT_UNREAD = 141  # as a shell names the signal
_HELP = "Use --help to see what works"


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser that complains in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with the exit code of bad input."""
        self._complain(message, _HELP)

    def _complain(self, message: str, fix: str) -> NoReturn:
        said = shortened(one_line(message), most=500)
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {said}. {fix}.\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read the command line, and of what is not known say what it was likely meant for."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            fix = self._instead_of(unknown[0], options)
            self._complain(f"unrecognized arguments: {' '.join(unknown)}", fix)
        return options

    def _instead_of(self, word: str, options: argparse.Namespace) -> str:
        """What to do about a word of the command line that has no place in it."""
        if word.startswith("-"):
            name = word.split("=")[0].strip("-")
            names = [flag.strip("-") for flag in self._option_string_actions if len(flag) > 2]
            within = [each for each in names if len(name) > 2 and (name in each or each in name)]
            likely = nearest(name, names, alike=0.7) or next(iter(within), "")
            return f"Use --{likely}, or --help to see what works" if likely else _HELP
        if getattr(options, "explain", None) is not None:
            return "Put the whole error in quotes"
        of_a_stem = ":" in word or word.rstrip(",").lower() in (*NORM_WORDS, *ACTIVATION_WORDS)
        if of_a_stem and hasattr(options, "stem"):
            return "Put the whole stem in quotes"
        return _HELP

    def print_help(self, file: Any = None) -> None:
        """Print the help as everything is printed."""
        try:
            say(self.format_help().rstrip())
        except SpecError as error:
            self.exit(EXIT_BAD_INPUT, f"{error}\n")


def ended(main: Callable[[], int]) -> int:
    """Run a program to its end; who stops it, or stops reading it, gets no traceback.

    Returns:
        Its exit code, 130 for an interrupt, 141 where nobody reads on, 2 where a package is
        missing, 70 for a mistake of this package's own.
    """
    try:
        return main()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `| head` has read enough
        _drop_output()
        return EXIT_UNREAD
    except MissingPackage as error:
        complain(error)
        return EXIT_BAD_INPUT
    except Exception as error:  # noqa: BLE001  # the last resort
        traceback.print_exc()
        complain(own_mistake(error))
        return EXIT_FAILED


def say(text: str) -> None:
    """Print a text at once, and all of it.

    Raises:
        SpecError: field "output", when it cannot be written, as where a disk is full.
        BrokenPipeError: when nobody reads on.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        reason = f"it cannot be written, {str(error.strerror).lower()}"
        raise SpecError("output", "standard output", reason, "Send it elsewhere") from None


def complain(what: object) -> None:
    """Print something to standard error, if it is open; print takes None for standard output."""
    if sys.stderr is not None:
        print(what, file=sys.stderr)


def _drop_output() -> None:
    """Send what is left of the output nowhere, since Python writes it out at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(
    arguments: Sequence[str] | None = None,
    *,
    apart: bool = False,
    prog: str = "python -m vitc_inspect",
    verbs: str = "",
) -> int:
    """Inspect a stem or anybody's module and print its report, or explain an error.

    Args:
        arguments: The command line without the program; None means sys.argv.
        apart: Whether a module is run in a child process, as `do_apart` does. What it prints by
            itself can then not get into the report, and it cannot end the program.
        prog: What the person typed to start the program.
        verbs: What else the program does, in sentences for the help.

    Returns:
        Exit code: 0 for a report or an explanation, 1 for an error that is not known and with
        --strict for any disagreement or fault, also where one could not be looked for, 2 for
        bad input or an output that cannot be written, 3 for a module whose forward raised or that
        ended Python itself.
    """
    parser = _parser(prog, verbs)
    options = parser.parse_args(arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal has no ×
    try:
        _refuse_what_has_no_use(options, parser)
        if options.version:
            say(f"vitc-inspect {vitc_inspect.__version__}")
            return 0
        if options.explain is not None:
            text, known = _explain(options)
            say(text)
            return 0 if known else EXIT_NOT_KNOWN
        if options.module is not None:
            return _run_module(options, apart)
        text, agrees = (_paper(options), True) if options.paper else _inspect(options)
        say(text)
    except SpecError as error:
        complain(error)
        return EXIT_BAD_INPUT
    return EXIT_DISAGREES if options.strict and not agrees else 0


def _refuse_what_has_no_use(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse an option that was given and would be ignored; _TAKES says which go together."""
    asked = ("--explain", "--module", "--paper", "--version")
    given = [flag for flag in asked if getattr(options, flag[2:]) not in (None, False)]
    what = given[0] if given else _A_STEM
    for name, value in vars(options).items():
        if name in _TAKES[what] or value == parser.get_default(name):
            continue
        flag = _flag(name)
        others = [other for other, names in _TAKES.items() if name in names and other != flag]
        goes = f"goes with {' or '.join(others)}, not with" if others else "does not go with"
        fix = "Leave one of the two out" if given else f"Give {_EXAMPLE_MODULE} instead of a stem"
        raise SpecError(name, value, f"{flag} {goes} {what}", fix)


def _flag(name: str) -> str:
    """What a person types for an option."""
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _inspect(options: argparse.Namespace) -> tuple[str, bool]:
    """The text to print and whether prediction and observation agree."""
    spec = _spec(options)
    vit = _vit(spec, options)
    require("torch", by="Running a stem")
    # torch takes a second to import, which a misspelt stem need not wait for
    from vitc_inspect.inspection.stem_report import Report, inspect_stem, inspect_vit
    from vitc_inspect.model.modules import MAX_SEED
    from vitc_inspect.probes.other_counters import count_work
    from vitc_inspect.probes.timing import time_layers, timing_dict
    from vitc_inspect.views.text import terminal_table, time_table, witness_table

    dtype: Any = "float32" if options.dtype is None else options.dtype
    settings = {
        "device": options.device,
        "dtype": dtype,
        "seed": parse_int("seed", options.seed, 0, MAX_SEED),
        "init": options.init,
        "norm_statistics": options.norm_statistics,
        "weights": options.weights,
    }
    report: Report
    if vit:
        report = inspect_vit(vit, options.image, **settings)
    else:
        report = inspect_stem(spec, options.image, **settings)
    plain, drawn = report.to_dict(), [terminal_table(report)]
    if options.witnesses:
        counts = count_work(vit or spec, device=options.device)
        plain["witnesses"] = [asdict(witness) for witness in counts]
        drawn.append(f"MACs by every witness:\n{witness_table(counts)}")
    if options.time:
        *_, timing = time_layers(vit or spec, device=options.device, dtype=dtype)
        plain["timing"] = timing_dict(timing)
        drawn.append(time_table(timing))
    text = json.dumps(plain) if options.json else "\n\n".join(drawn)
    return text, not report.disagreements


def _paper(options: argparse.Namespace) -> str:
    """The paper's tables beside our exact numbers; they need no torch."""
    if options.json:
        return json.dumps({"source": SOURCE, "rows": [row.to_dict() for row in PRINTED]})
    from vitc_inspect.views.text import paper_table

    return paper_table()


def _explain(options: argparse.Namespace) -> tuple[str, bool]:
    """The explanations of an error as text, and whether there are any; torch is not needed."""
    from vitc_inspect.views.explanations import explanations_text

    spec = None
    if options.stem is not None or options.preset is not None:
        spec = _spec(options)
    for name in _BESIDE:
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


def _run_module(options: argparse.Namespace, apart: bool) -> int:
    """Print the report on the module that --module names, and return the exit code."""
    check_has_input(options.input)
    require("torch", by="--module")
    grey = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def work() -> Outcome:
        return _module_outcome(options, grey=grey)

    if not apart:
        outcome = work()
        _deliver(outcome)
        return outcome.code
    try:
        return do_apart(work, _deliver)
    except EndedEarly as end:
        reason = f"it ended Python itself, {end.how}, before there was a report"
        fix = "Look for what leaves the program, as os._exit does, or run it alone to see"
        if end.killed:
            fix = "Try a smaller input, since the memory may have run out"
        complain(SpecError("module", options.module, reason, fix))
        return EXIT_RAISED


def _deliver(outcome: Outcome) -> None:
    """Print what came of a module."""
    if outcome.text:
        say(outcome.text)
    if outcome.complaint:
        complain(outcome.complaint)


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
    from vitc_inspect.inspection.module_report import inspect_call
    from vitc_inspect.model.devices import resolve_device
    from vitc_inspect.model.modules import MAX_SEED
    from vitc_inspect.views.explanations import explanations_text, faults_text
    from vitc_inspect.views.module_table import (
        ignored_sentences,
        module_csv,
        module_markdown,
        module_table,
    )

    seed = parse_int("seed", options.seed, 0, MAX_SEED)
    check_kinds("ignore", options.ignore, FAULT_KINDS)  # before somebody's code is run
    device = resolve_device(options.device)
    # what the user's code prints must not stand in the report
    with contextlib.redirect_stdout(sys.stderr):
        module = made_ready(options.module, load_module(options.module), device)
        by_place, by_name = random_inputs(options.input, module, seed=seed)
        report = inspect_call(module, by_place, by_name, ignore=options.ignore)
    complaint = ""
    if options.json:
        text = json.dumps(report.to_dict())
    elif options.csv:
        text = module_csv(report)
        # no rows of a table
        found = [faults_text(report.faults)] if report.faults else []
        found += ignored_sentences(report)
        complaint = "\n".join(found)
    else:
        text = module_markdown(report) if options.markdown else module_table(report, grey=grey)
        if report.explanations and report.explanations != (report.cause,):  # one of the faults
            text += f"\n\nWhat that means:\n{explanations_text(report.explanations)}"
    if report.failure:
        complaint = f"{complaint}\n{report.failure.traceback}".strip("\n")
        return Outcome(text=text, complaint=complaint, code=EXIT_RAISED)
    sound = report.audited and not (report.disagreements or report.faults or report.unchecked)
    code = EXIT_DISAGREES if options.strict and not sound else 0
    return Outcome(text=text, complaint=complaint, code=code)


def check_has_input(inputs: Sequence[str]) -> None:
    """Refuse a module without an input.

    Raises:
        SpecError: field "input".
    """
    if not inputs:
        reason = "the module has to be given something"
        raise SpecError("input", "", reason, "Use --input 1,3,224,224", "1,3,224,224")


def user_traceback(error: BaseException) -> str:
    """The traceback of the user's code, from its first line on."""
    from vitc_inspect.tracing.tracebacks import traceback_text

    return traceback_text(error).rstrip()


def _spec(options: argparse.Namespace) -> StemSpec:
    """The stem the options describe; what is not said is the preset's."""
    if options.preset is not None:
        check_choice("preset", options.preset, PRESETS)
    if options.stem is not None and options.preset is not None:
        raise SpecError("preset", options.preset, "a stem was given as well", "Give one of the two")
    if options.stem is None and options.preset is None:
        raise SpecError(
            "stem",
            "",
            "neither a stem nor --preset was given",
            'Use "16x16/16:768"',
            "16x16/16:768",
        )
    if options.stem is not None:
        _refuse_a_name(options.stem)
    spec = PRESETS[options.preset].stem if options.preset else parse_stem(options.stem)
    return _beside(spec, options)


def _refuse_a_name(stem: str) -> None:
    """Refuse the name of a preset or of a file, which belongs behind an option."""
    preset = nearest(stem, PRESETS, alike=0.7)
    if preset:
        reason = "it is the name of a preset, not a notation"
        if stem != preset:
            reason = "it is no notation, and much like the name of a preset"
        raise SpecError("stem", stem, reason, f"Use --preset {preset}")
    for flag, ending in _FILES.items():
        if re.search(ending, stem.lower()):
            reason = "it is the name of a file, not a notation"
            raise SpecError("stem", stem, reason, f"Use {flag} {stem}")


def _vit(stem: StemSpec, options: argparse.Namespace) -> ViTSpec | None:
    """The model the options describe, or None for the stem alone; what is not said is the preset's.

    Raises:
        SpecError: naming the field; "encoder" when there is no preset to take it from.
    """
    said = {name: getattr(options, name) for name in _ENCODER if getattr(options, name) is not None}
    if not options.encoder and not said:
        return None
    preset = PRESETS[options.preset].vit if options.preset else None
    values: dict[str, Any] = {name: getattr(preset, name) for name in _ENCODER if preset}
    for name, text in said.items():
        values[name] = _ENCODER[name](text)
    missing = [name for name in ("depth", "num_heads", "mlp_ratio") if name not in values]
    if missing:
        flags = ", ".join(_flag(name) for name in missing)
        whose = "no preset says"
        if options.preset:
            whose = f"the preset {options.preset} is a stem alone and does not say"
        reason = f"{whose} how deep, how many heads and how wide it is"
        raise SpecError("encoder", "on", reason, f"Give {flags}")
    return ViTSpec(stem=stem, **values)


_ENCODER: Mapping[str, Callable[[str], Any]] = {
    "depth": lambda text: parse_int("depth", text, 1, MAX_DEPTH),
    "num_heads": lambda text: parse_int("num_heads", text, 1, MAX_CHANNELS),
    "mlp_ratio": lambda text: parse_number("mlp_ratio", text),
    "attention": str,
}
_A_STEM = "a stem"
_EXAMPLE_MODULE = "--module path/to/file.py:name"
_BESIDE = ("image_size", "in_channels", "class_token", "position_table")
_DESCRIBED = ("stem", "preset", *_BESIDE)
_TAKES: Mapping[str, tuple[str, ...]] = {
    _A_STEM: (
        *_DESCRIBED,
        *("encoder", *_ENCODER),
        *("image", "device", "dtype", "seed", "init", "weights", "norm_statistics"),
        *("json", "witnesses", "time", "strict"),
    ),
    "--module": (
        *("module", "input", "device", "seed", "json", "csv", "markdown", "strict", "ignore"),
    ),
    "--explain": ("explain", *_DESCRIBED, "json"),
    "--paper": ("paper", "json"),
    "--version": ("version",),
}
_FLAGS = {"stem": _A_STEM, "num_heads": "--heads"}
_FILES = {
    "--module": r"\.py(:.*)?$",
    "--image": r"\.(png|jpe?g|gif|webp)$",
    "--weights": r"\.(pth?|safetensors)$",
}


def _beside(spec: StemSpec, options: argparse.Namespace) -> StemSpec:
    """The stem with the image size, channels, class token and table the options give."""
    return StemSpec(
        image_size=parse_image_size(options.image_size)
        if options.image_size is not None
        else spec.image_size,
        in_channels=parse_int("in_channels", options.in_channels, 1, MAX_CHANNELS)
        if options.in_channels is not None
        else spec.in_channels,
        convs=spec.convs,
        class_token=spec.class_token if options.class_token is None else options.class_token,
        position_table=spec.position_table
        if options.position_table is None
        else options.position_table,
    )


def _parser(prog: str, verbs: str) -> argparse.ArgumentParser:
    parser = OneSentenceParser(
        prog=prog,
        description="Predict the shapes of a Vision Transformer's stem, run it, and compare.",
        epilog=f"{verbs} Presets: {', '.join(PRESETS)}.".strip(),
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("stem", nargs="?", help='notation, for example "3x3/2:48 bn relu, 1x1:384"')
    parser.add_argument("--preset", metavar="NAME", help="a named stem instead of a notation")
    parser.add_argument(
        "--image-size", metavar="SIZE", help="pixels: 224, or height x width: 256x192"
    )
    parser.add_argument("--in-channels", metavar="N", help="channels of the image (default: 3)")
    parser.add_argument(
        "--class-token", action=argparse.BooleanOptionalAction, help="put a class token first"
    )
    parser.add_argument(
        "--position-table",
        action=argparse.BooleanOptionalAction,
        help="add a position table to the tokens",
    )
    parser.add_argument(
        "--encoder", action="store_true", help="add the preset's encoder to its stem"
    )
    parser.add_argument("--depth", metavar="N", help="blocks of the encoder")
    parser.add_argument("--heads", metavar="N", dest="num_heads", help="attention heads of a block")
    parser.add_argument("--mlp-ratio", metavar="X", help="hidden width of a block over its width")
    parser.add_argument("--attention", metavar="KIND", help="softmax or linear")
    parser.add_argument(
        "--image", metavar="PATH", help="an image file, photo, impulse, checkerboard, edges or ramp"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: float32)")
    parser.add_argument("--seed", default="0", help="start of the random weights (default: 0)")
    parser.add_argument(
        "--init",
        default="torch",
        metavar="KIND",
        help="how they are drawn: torch or trunc_normal (default: torch)",
    )
    parser.add_argument(
        "--weights", metavar="PATH", help="a .safetensors or .pt file instead of random weights"
    )
    parser.add_argument(
        "--norm-statistics",
        default="image",
        metavar="KIND",
        help="BatchNorm's mean and variance: image or stored (default: image)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--csv", action="store_true", help="print the rows as CSV (--module)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown (--module)")
    add_module_options(parser)
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="KIND",
        help="leave out the faults of a kind (--module); may be repeated:"
        f" {', '.join(FAULT_KINDS)}",
    )
    parser.add_argument(
        "--witnesses", action="store_true", help="also count the MACs in every other way there is"
    )
    parser.add_argument("--time", action="store_true", help="also time every layer")
    parser.add_argument(
        "--paper", action="store_true", help="print the paper's tables beside our exact numbers"
    )
    parser.add_argument(
        "--explain",
        metavar="ERROR",
        help="explain the text of an error, - for standard input; a stem beside it helps",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit 1 on any disagreement, and on any fault of a module of your own or a search for"
        " faults that could not end",
    )
    return parser


def add_module_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a module of somebody's own and its input."""
    parser.add_argument(
        "--module",
        metavar="FILE:NAME",
        help="a module of your own, its class or a function that makes it:"
        " path/to/file.py:name or package.module:name; its code is run",
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="SHAPE",
        help="what the module gets, 1,3,224,224 or pixel_values=1,3,224,224; may be repeated",
    )
