"""Command-line options, valid combinations of them, and errors in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from vitc_inspect.cli.formats import FORMATS
from vitc_inspect.cli.output import EXIT_BAD_INPUT, say
from vitc_inspect.common.errors import SpecError, one_line, shortened
from vitc_inspect.common.validation import nearest
from vitc_inspect.diagnosis import FAULT_KINDS
from vitc_inspect.stem.notation import ACTIVATION_WORDS, NORM_WORDS
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.run_time import DEFAULT_MAX_SECONDS

_HELP = "Use --help to see what works"
_A_STEM = "a stem"
_EXAMPLE_MODULE = "--module path/to/file.py:name"
BESIDE = ("image_size", "in_channels", "class_token", "position_table")
_DESCRIBED = ("stem", "preset", *BESIDE)
_TAKES: Mapping[str, tuple[str, ...]] = {
    _A_STEM: (
        *_DESCRIBED,
        *("encoder", "depth", "num_heads", "mlp_ratio", "attention"),
        *("image", "device", "dtype", "seed", "init", "weights", "norm_statistics", "fit"),
        "max_seconds",
        *(*FORMATS, "witnesses", "time", "strict"),
    ),
    "--module": (
        *("module", "input", "device", "seed", "max_seconds"),
        *(*FORMATS, "strict", "ignore"),
    ),
    "--explain": ("explain", *_DESCRIBED, "json"),
    "--paper": ("paper", "json"),
    "--version": ("version",),
}
_FLAGS = {"stem": _A_STEM, "num_heads": "--heads"}
FILES = {
    "--module": r"\.py(:.*)?$",
    "--image": r"\.(png|jpe?g|gif|webp)$",
    "--weights": r"\.(pth?|safetensors)$",
}


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with the code for bad input."""
        self._complain(message, _HELP)

    def _complain(self, message: str, fix: str) -> NoReturn:
        said = shortened(one_line(message), most=500)
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {said}. {fix}.\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the command line, and suggest the nearest option for an unknown one."""
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
        """Print the help with `say`, as all other output."""
        try:
            say(self.format_help().rstrip())
        except SpecError as error:
            self.exit(EXIT_BAD_INPUT, f"{error}\n")


def refuse_what_has_no_use(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raise a SpecError for an option that would be ignored; _TAKES lists valid combinations."""
    asked = ("--explain", "--module", "--paper", "--version")
    given = [flag for flag in asked if getattr(options, flag[2:]) not in (None, False)]
    what = given[0] if given else _A_STEM
    for name, value in vars(options).items():
        if name in _TAKES[what] or value == parser.get_default(name):
            continue
        flag = flag_of(name)
        others = [other for other, names in _TAKES.items() if name in names and other != flag]
        goes = f"goes with {' or '.join(others)}, not with" if others else "does not go with"
        fix = "Leave one of the two out" if given else f"Give {_EXAMPLE_MODULE} instead of a stem"
        raise SpecError(name, value, f"{flag} {goes} {what}", fix)


def flag_of(name: str) -> str:
    """Return the flag of an option as typed on the command line."""
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def parser(prog: str = "python -m vitc_inspect", verbs: str = "") -> argparse.ArgumentParser:
    """Build the command-line parser; `verbs` are sentences for its help."""
    made = OneSentenceParser(
        prog=prog,
        description="Predict the shapes of a Vision Transformer's stem, run it, and compare.",
        epilog=f"{verbs} Presets: {', '.join(PRESETS)}.".strip(),
    )
    _add_stem_options(made)
    _add_run_options(made)
    _add_format_options(made)
    add_module_options(made)
    _add_other_options(made)
    return made


def _add_stem_options(parser: argparse.ArgumentParser) -> None:
    """The stem, or the model."""
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


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    """How it is built and run."""
    parser.add_argument(
        "--image", metavar="PATH", help="an image file, photo, impulse, checkerboard, edges or ramp"
    )
    parser.add_argument(
        "--fit",
        default="crop",
        metavar="KIND",
        help="how a picture gets the image size: crop, pad or stretch (default: crop)",
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
    parser.add_argument(
        "--max-seconds",
        default=str(DEFAULT_MAX_SECONDS),
        metavar="N",
        help=f"refuse and end a run that takes longer (default: {DEFAULT_MAX_SECONDS})",
    )


def _add_format_options(parser: argparse.ArgumentParser) -> None:
    """What the report is printed as."""
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--csv", action="store_true", help="print the rows as CSV")
    parser.add_argument("--markdown", action="store_true", help="print the report as Markdown")
    parser.add_argument("--html", action="store_true", help="print the report as a page of HTML")


def _add_other_options(parser: argparse.ArgumentParser) -> None:
    """Faults, other counts, times, the paper, an error, the exit code and the version."""
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
    parser.add_argument("--version", action="store_true", help="print the version")


def add_module_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for a user's module and its input."""
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
