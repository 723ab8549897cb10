"""Build the stem or model that the options describe, and write its report as text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from vitc_inspect.cli.formats import format_of, report_text
from vitc_inspect.cli.options import FILES, flag_of
from vitc_inspect.cli.output import EXIT_BAD_INPUT, EXIT_DISAGREES
from vitc_inspect.cli.runs import run_and_deliver, seconds_of
from vitc_inspect.common.child_process import ChildFailed, Outcome
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.extras import require
from vitc_inspect.common.validation import (
    MAX_CHANNELS,
    check_choice,
    nearest,
    parse_image_size,
    parse_int,
    parse_number,
)
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.pasted_text import is_code
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.run_time import COUNTED_RUNS, TIMED_RUNS, RunTimes, check_seconds
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import MAX_DEPTH, ViTSpec


def run_stem(options: argparse.Namespace, apart: bool) -> int:
    """Print the report on the stem or model that the options describe; return the exit code.

    Raises:
        SpecError: naming the field, for what can be refused before the run.
    """
    name = format_of(options)
    _refuse_beside(options, name)
    spec = spec_of(options)
    model = _vit(spec, options) or spec
    seconds = seconds_of(options)
    _check_seconds(model, options, most=seconds)
    require("torch", by="Running a stem")
    field = "stem" if options.preset is None else "preset"

    def failure(end: ChildFailed) -> SpecError:
        reason = f"the process of its run ended with {end.how} before there was a report"
        fix = "Run it again, and please report it if it ends so twice"
        if end.killed:
            fix = "Try a smaller image, since the memory may have run out"
        return SpecError(field, getattr(options, field), reason, fix)

    return run_and_deliver(
        partial(_outcome, model, name, options),
        failure,
        apart=apart,
        seconds=seconds,
        users_code=False,
        smaller="a smaller image",
    )


def _check_seconds(model: StemSpec | ViTSpec, options: argparse.Namespace, *, most: int) -> None:
    """Refuse what is predicted to take longer than it may (seconds)."""
    runs = 1 + options.witnesses * COUNTED_RUNS + options.time * TIMED_RUNS
    times = RunTimes()
    check_seconds(
        predict(model, dtype=_dtype(options)),
        lambda prediction: runs * times.seconds(prediction, options.device),
        most=most,
    )


def _dtype(options: argparse.Namespace) -> Any:
    """The dtype of the options, as it is written."""
    return "float32" if options.dtype is None else options.dtype


def _outcome(model: StemSpec | ViTSpec, name: str | None, options: argparse.Namespace) -> Outcome:
    """The report on a stem or model as it is to be printed, or why there is none."""
    try:
        text, agrees = _inspect(model, name, options)
    except SpecError as error:
        return Outcome(complaint=str(error), code=EXIT_BAD_INPUT)
    return Outcome(text=text, code=EXIT_DISAGREES if options.strict and not agrees else 0)


def _inspect(
    model: StemSpec | ViTSpec, name: str | None, options: argparse.Namespace
) -> tuple[str, bool]:
    """The text to print, and whether prediction and observation agree."""
    # torch takes a second to import, which the process that waits for a report need not do
    from vitc_inspect.inspection.stem_inspection import inspect_stem, inspect_vit
    from vitc_inspect.inspection.stem_report import Report
    from vitc_inspect.model.modules import MAX_SEED
    from vitc_inspect.probes.other_counters import count_work
    from vitc_inspect.probes.timing import time_layers, timing_dict
    from vitc_inspect.views.other_tables import time_table, witness_table

    dtype = _dtype(options)
    settings = {
        "device": options.device,
        "dtype": dtype,
        "seed": parse_int("seed", options.seed, 0, MAX_SEED),
        "init": options.init,
        "norm_statistics": options.norm_statistics,
        "fit": options.fit,
        "weights": options.weights,
    }
    report: Report
    if isinstance(model, ViTSpec):
        report = inspect_vit(model, options.image, **settings)
    else:
        report = inspect_stem(model, options.image, **settings)
    more: dict[str, Any] = {}
    behind = []
    if options.witnesses:
        counts = count_work(model, device=options.device)
        more["witnesses"] = [asdict(witness) for witness in counts]
        behind.append(f"MACs by every witness:\n{witness_table(counts)}")
    if options.time:
        *_, timing = time_layers(model, device=options.device, dtype=dtype)
        more["timing"] = timing_dict(timing)
        behind.append(time_table(timing))
    text = report_text(report, name, more=more, behind="\n\n".join(behind))
    return text, not report.disagreements


def _refuse_beside(options: argparse.Namespace, name: str | None) -> None:
    """Refuse what CSV has no rows for."""
    for flag in ("witnesses", "time"):
        if name == "csv" and getattr(options, flag):
            reason = "CSV holds the rows of the report alone"
            raise SpecError(flag, True, reason, f"Use --json --{flag}")


def spec_of(options: argparse.Namespace) -> StemSpec:
    """Return the stem that the options describe; missing values come from the preset."""
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
    beside = _said(options, _BESIDE)
    if options.preset:
        return replace(PRESETS[options.preset].stem, **beside)
    if not is_code(options.stem):
        _refuse_a_name(options.stem)
    return parse_stem(options.stem, **beside)


def _refuse_a_name(stem: str) -> None:
    """Refuse the name of a preset or of a file, which belongs behind an option."""
    preset = nearest(stem, PRESETS, alike=0.7)
    if preset:
        reason = "it is the name of a preset, not a notation"
        if stem != preset:
            reason = "it is no notation, and much like the name of a preset"
        raise SpecError("stem", stem, reason, f"Use --preset {preset}")
    for flag, ending in FILES.items():
        if re.search(ending, stem.lower()):
            reason = "it is the name of a file, not a notation"
            raise SpecError("stem", stem, reason, f"Use {flag} {stem}")


def _vit(stem: StemSpec, options: argparse.Namespace) -> ViTSpec | None:
    """The model the options describe, or None for the stem alone; what is not said is the preset's.

    Raises:
        SpecError: naming the field; "encoder" when there is no preset to take it from.
    """
    said = _said(options, _ENCODER)
    if not options.encoder and not said:
        return None
    preset = PRESETS[options.preset].vit if options.preset else None
    values = {**{name: getattr(preset, name) for name in _ENCODER if preset}, **said}
    missing = [name for name in ("depth", "num_heads", "mlp_ratio") if name not in values]
    if missing:
        flags = ", ".join(flag_of(name) for name in missing)
        whose = "no preset says"
        if options.preset:
            whose = f"the preset {options.preset} is a stem alone and does not say"
        reason = f"{whose} how deep, how many heads and how wide it is"
        raise SpecError("encoder", "on", reason, f"Give {flags}")
    return ViTSpec(stem=stem, **values)


def _said(
    options: argparse.Namespace, readers: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """The options that were given, of those that there is a reader for, as it reads them."""
    given = {name: getattr(options, name) for name in readers}
    return {name: readers[name](value) for name, value in given.items() if value is not None}


_ENCODER: Mapping[str, Callable[[str], Any]] = {
    "depth": lambda text: parse_int("depth", text, 1, MAX_DEPTH),
    "num_heads": lambda text: parse_int("num_heads", text, 1, MAX_CHANNELS),
    "mlp_ratio": lambda text: parse_number("mlp_ratio", text),
    "attention": str,
}


_BESIDE: Mapping[str, Callable[[Any], Any]] = {
    "image_size": parse_image_size,
    "in_channels": lambda text: parse_int("in_channels", text, 1, MAX_CHANNELS),
    "class_token": bool,
    "position_table": bool,
}
