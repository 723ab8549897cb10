"""The report on any module: every call, predicted and observed, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitc_inspect.common.guard import guarded, is_users
from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.diagnosis.explanation import RunFacts
from vitc_inspect.inspection.report_dict import report_dict
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.tracing.recording import Call, Failure, NeverCalled, Value
from vitc_inspect.tracing.rules import Expectation
from vitc_inspect.views.call_labels import name_before, short_place, tensor_shape, written_over
from vitc_inspect.views.report import Shape
from vitc_inspect.views.report_table import ReportMethods
from vitc_inspect.views.terminal import one_line
from vitc_inspect.views.text import count, plural

CHECKS = ("shape", "params", "macs")
"""What is compared in each row; "shape" is that of the first output."""


@dataclass(frozen=True, kw_only=True)
class ModuleRow(Call):
    """One call, its prediction, and whether the two agree."""

    predicted: Expectation | None
    """What arithmetic says; None where no rule is known for it, and for every function but those
    that a user registered a rule for."""
    verdicts: Mapping[str, bool | None]
    """For each of CHECKS True or False; None where one side is missing."""

    receptive_field = stage = block = None
    """Not worked out of a module that is not a stem of ours."""
    extremes = (None, None)
    """Not looked for."""

    @property
    def call(self) -> Call:
        """The observed call."""
        return self

    @property
    def predicted_shape(self) -> Shape | None:
        """Predicted shape of the first output, or None without a prediction."""
        return self.predicted.out_shape if self.predicted else None

    @property
    def made_by(self) -> tuple[str, str]:
        """The class of a layer, or the line that called a function."""
        if self.is_function:
            return "", f"line {self.source.line}" if self.source else ""
        return self.kind, ""

    def predicted_dict(self) -> dict[str, Any] | None:
        """The prediction as plain values, or None."""
        if self.predicted is None:
            return None
        said = self.predicted
        shape = None if said.out_shape is None else list(said.out_shape)
        return {"out_shape": shape, "params": said.params, "macs": said.macs, "rule": said.rule}

    @property
    def verdict(self) -> str:
        """ "raised", "differs", "not checked", "agrees" or "not predicted"."""
        if not self.returned:
            return "raised"
        known = [verdict for verdict in self.verdicts.values() if verdict is not None]
        if not all(known):
            return "differs"
        if self.unchecked:
            return "not checked"
        return "agrees" if known else "not predicted"


@dataclass(frozen=True, kw_only=True)
class ModuleReport(ReportMethods):
    """The result of one forward pass of a module; all views are drawn from it."""

    kind: str
    """Class of the module."""
    inputs: tuple[Value, ...]
    """What it was given."""
    outputs: tuple[Value, ...]
    """What it returned; empty where it raised."""
    rows: tuple[ModuleRow, ...]
    """Modules and functions, in the order in which they began."""
    params: int
    """Number of parameters of the whole module; shared ones count once."""
    never_called: tuple[NeverCalled, ...]
    """Layers that were never called, with the reason."""
    notes: tuple[str, ...]
    """What is odd about the module, in sentences."""
    faults: tuple[Explanation, ...]
    """Faults that keep every shape right, and promises that its parts break; each with its fix."""
    ignored: Mapping[str, int]
    """How many faults of each kind that was to be ignored were left out of `faults`."""
    audited: bool
    """Whether faults were looked for."""
    stem: StemSpec | None
    """The stem, where the module is a plain chain of convolutions from an image to its tokens."""
    stem_layers: tuple[str, ...]
    """Names of the stem's convolutions in order; empty without a stem."""
    failure: Failure | None
    """How the forward pass raised, or None."""
    cause: Explanation | None
    """The fault that made it raise, where it is one of the faults."""
    facts: RunFacts
    """What the run shows of its failure; nothing where it did not raise."""
    training: bool
    """Whether the module was in training mode."""
    device: str
    """Device of its parameters, or "cpu" for a module without any."""
    unchecked_whole: tuple[str, ...] = ()
    """What could not be worked out of the run as a whole, each with what our own rule raised."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates for the whole input, of all calls that could be counted."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of functions that the MACs leave out."""
        names = (name for row in self.rows for name in row.uncounted)
        return tuple(dict.fromkeys(names))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be checked because a rule failed, each with the exception."""
        of_rows = (
            f"{row.name or row.kind}: {reason}" for row in self.rows for reason in row.unchecked
        )
        return tuple(dict.fromkeys((*self.unchecked_whole, *of_rows)))

    @property
    def overwritten(self) -> tuple[ModuleRow, ...]:
        """Rows whose output was later overwritten in place."""
        return tuple(row for row in self.rows if row.overwritten_by is not None)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """A sentence for each observed number that differs from the predicted one."""
        return tuple(
            _say(row, check)
            for row in self.rows
            for check in CHECKS
            if row.verdicts[check] is False
        )

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Explanations of the failure, likeliest first; only that of the cause if it is known."""
        if self.failure is None:
            return ()
        # the lines of code in the traceback say who is who
        traceback = self.failure.traceback
        found, _ = guarded(explain_error, traceback, spec=self.stem, facts=self.facts)
        meanings = found or ()
        if self.cause is None:
            return meanings
        # the text tells more of the same where the stem is known, and else might guess another
        same = meanings[:1] if self.stem and meanings[:1] else ()
        return same if same and same[0].kind == self.cause.kind else (self.cause,)

    def row(self, name: str, turn: int = 1) -> ModuleRow:
        """Return one row of the module or function called `name`; KeyError if there is none.

        Args:
            name: Name of the module or the function.
            turn: Which of its calls, counted from 1.
        """
        rows = [row for row in self.rows if row.name == name]
        if not 1 <= turn <= len(rows):
            raise KeyError(name)
        return rows[turn - 1]

    @property
    def batch(self) -> int:
        """Always 0: shapes are shown with the batch."""
        return 0

    @property
    def title(self) -> str:
        """The module, its inputs, the device and the mode, on one line."""
        given = ", ".join(map(_value, self.inputs)) or "nothing"
        mode = "training" if self.training else "evaluation"
        return one_line(f"{self.kind} of {given}; {self.device}, {mode} mode")

    def sentences(self, *, never_called: bool = True) -> list[str]:
        """The totals, then anything unusual, then how the run ended."""
        whole = f"{count(self.params)} params; {count(self.macs)} MACs for this input"
        if self.uncounted:
            whole += f" without {', '.join(self.uncounted)}, which cannot be counted"
        sentences = [
            f"{whole}.",
            *_unchecked(self),
            *self.notes,
            *(_never_called(self) if never_called else []),
            *(
                f"{written_over(row)}; a hook that keeps it has to copy it."
                for row in self.overwritten
            ),
            *self.disagreements,
            *([_failed(self.failure)] if self.failure else [_verdict(self)]),
            *(_none_found(self) if self.audited and not self.faults else []),
            *(ignored_sentences(self) if self.audited else []),
        ]
        return [one_line(sentence) for sentence in sentences]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, as `--json` prints it; see docs/report.md."""
        return report_dict(
            self, target="module", prediction=None if self.stem is None else predict(self.stem)
        )


def _say(row: ModuleRow, check: str) -> str:
    """What arithmetic says, what was seen, and the rule."""
    call, predicted = row, row.predicted
    assert predicted is not None  # else there is no verdict
    turn = f" (call {call.turn})" if call.turn > 1 else ""
    name = f"{call.name or call.kind}{turn}"
    if check == "shape":
        return (
            f"{name}.shape: predicted {predicted.out_shape}, observed {call.out_shape};"
            f" the rule is {predicted.rule}"
        )
    foreseen, seen = getattr(predicted, check), getattr(call, check)
    return f"{name}.{check}: predicted {foreseen:,}, observed {seen:,}"


def _value(value: Value) -> str:
    """A tensor in words, by its name where it has one."""
    return f"{name_before(value)}{tensor_shape(value.shape)} {value.dtype}"


def _never_called(report: ModuleReport) -> list[str]:
    """Each layer that was never called, and how many were not reached."""
    said = [
        f"{layer.name} ({layer.kind}) was never called: {layer.reason}."
        for layer in report.never_called
        if not layer.not_reached
    ]
    ahead = [layer for layer in report.never_called if layer.not_reached]
    if ahead:
        were = "was" if len(ahead) == 1 else "were"
        said.append(f"{plural(len(ahead), 'layer')} {were} not reached: {ahead[0].reason}.")
    return said


def _unchecked(report: ModuleReport) -> list[str]:
    """What rules failed on, the first few."""
    most = 5
    said = [
        f"Not checked{'' if is_users(each) else ', by a mistake of vitc_inspect'}: {each}."
        for each in report.unchecked
    ]
    more = [f"Not checked: {len(said) - most} more."] if len(said) > most else []
    return said[:most] + more


def _none_found(report: ModuleReport) -> list[str]:
    """That the audit found nothing, which of a run that raised is not all there is to say."""
    known = report.failure or any(report.ignored.values())
    return ["No other fault found." if known else "No fault found."]


def ignored_sentences(report: ModuleReport) -> list[str]:
    """Say how many faults of each ignored kind were found, including none."""
    return [
        f"{plural(count, 'fault')} of the kind “{kind}”"
        f" {'was' if count == 1 else 'were'} ignored, as asked."
        for kind, count in report.ignored.items()
    ]


def _verdict(report: ModuleReport) -> str:
    """How many rows arithmetic confirms."""
    rows = [row for row in report.rows if not row.is_function]
    agreed = sum(row.verdict == "agrees" for row in rows)
    open_ = dict.fromkeys(_named(row) for row in rows if row.verdict == "not predicted")
    most = 4
    names = ", ".join(list(open_)[:most])
    more = f" and {len(open_) - most} more" if len(open_) > most else ""
    rest = f"; no rule is known here for {names}{more}" if open_ else ""
    verb = "agrees" if len(rows) == 1 else "agree"
    return f"{agreed:,} of {plural(len(rows), 'layer')} {verb} with arithmetic{rest}."


def _named(row: ModuleRow) -> str:
    return f"{row.name} ({row.kind})" if row.name else row.kind


def _failed(failure: Failure) -> str:
    """How the forward pass ended, in a sentence or two."""
    where = f" in {failure.inside}" if failure.inside else ""
    source = f" at {short_place(failure.source)}, {failure.source.text}" if failure.source else ""
    doing = ""
    if failure.operation:
        operands = " and ".join(_value(value) for value in failure.operands)
        doing = f"; {failure.operation} was given {operands or 'no tensor'}"
    message = " ".join(failure.message.split())
    return f"Raised {failure.kind}{where}{source}{doing}{f': {message}' if message else '.'}"
