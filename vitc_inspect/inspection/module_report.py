"""One inspection of anybody's module: every call, and what arithmetic says of it, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import nn

import vitc_inspect
from vitc_inspect.audit.audit import NO_AUDIT, Audit, audit_module
from vitc_inspect.common.guard import guarded
from vitc_inspect.common.validation import check_kinds
from vitc_inspect.diagnosis import FAULT_KINDS, Explanation, explain_error
from vitc_inspect.diagnosis.explanation import PastCall, RunFacts
from vitc_inspect.inspection.layer_rules import expect
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.tracing.module_tree import arguments_of, contents_of
from vitc_inspect.tracing.recorder import record_call
from vitc_inspect.tracing.recording import Call, Failure, NeverCalled, Recording, SourceLine, Value
from vitc_inspect.tracing.rules import Expectation

CHECKS = ("shape", "params", "macs")
"""What is compared in each row; "shape" is that of the first output."""


@dataclass(frozen=True, kw_only=True)
class ModuleRow:
    """One call, what was predicted of it, and whether the two agree."""

    call: Call
    """What was seen."""
    predicted: Expectation | None
    """What arithmetic says; None where no rule is known for it, and for every function but those
    that a user registered a rule for."""
    verdicts: Mapping[str, bool | None]
    """For each of CHECKS True or False; None where one side is missing."""
    unchecked: tuple[str, ...] = ()
    """Why something could not be worked out here: what our own rules or a user's raised."""

    @property
    def verdict(self) -> str:
        """ "raised", "differs", "not checked", "agrees" or "not predicted"."""
        if not self.call.returned:
            return "raised"
        known = [verdict for verdict in self.verdicts.values() if verdict is not None]
        if not all(known):
            return "differs"
        if self.unchecked:
            return "not checked"
        return "agrees" if known else "not predicted"


@dataclass(frozen=True, kw_only=True)
class ModuleReport:
    """Everything that one forward pass of a module showed; every view is drawn from it."""

    kind: str
    """Class of the module."""
    inputs: tuple[Value, ...]
    """What it was given."""
    outputs: tuple[Value, ...]
    """What it returned; empty where it raised."""
    rows: tuple[ModuleRow, ...]
    """Modules and functions, in the order in which they began."""
    params: int
    """Learned numbers of the whole module, those that several layers share once."""
    never_called: tuple[NeverCalled, ...]
    """Layers that no hook heard of, with the reason."""
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
        """Multiply-accumulates for the whole input, as far as they can be counted."""
        return sum(row.call.macs or 0 for row in self.rows)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of functions that the MACs leave out."""
        names = (name for row in self.rows for name in row.call.uncounted)
        return tuple(dict.fromkeys(names))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What a rule failed on, each with what it raised: no all-clear is given there."""
        of_rows = (
            f"{row.call.name or row.call.kind}: {reason}"
            for row in self.rows
            for reason in row.unchecked
        )
        return tuple(dict.fromkeys((*self.unchecked_whole, *of_rows)))

    @property
    def overwritten(self) -> tuple[ModuleRow, ...]:
        """Rows whose output was later written over in place."""
        return tuple(row for row in self.rows if row.call.overwritten_by is not None)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Each number that is not what arithmetic says, in a sentence; empty when all agree."""
        return tuple(
            _say(row, check)
            for row in self.rows
            for check in CHECKS
            if row.verdicts[check] is False
        )

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """What the failure means, the likeliest first; where its cause is known, that alone."""
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
        """One row of the module or function called `name`; KeyError if there is none.

        Args:
            name: Name of the module or the function.
            turn: Which of its calls, counted from 1.
        """
        rows = [row for row in self.rows if row.call.name == name]
        if not 1 <= turn <= len(rows):
            raise KeyError(name)
        return rows[turn - 1]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the object that `--json` prints.

        Shapes and MACs are of the whole input, with its batch if it has one; sizes are in bytes.
        """
        return {
            "kind": self.kind,
            "device": self.device,
            "training": self.training,
            "inputs": _plain_values(self.inputs),
            "outputs": _plain_values(self.outputs),
            "params": self.params,
            "macs": self.macs,
            "flops": 2 * self.macs,
            "uncounted": list(self.uncounted),
            "unchecked": list(self.unchecked),
            "rows": [_plain_row(row) for row in self.rows],
            "never_called": [
                {**asdict(layer), "not_reached": layer.not_reached} for layer in self.never_called
            ],
            "notes": list(self.notes),
            "disagreements": list(self.disagreements),
            "audited": self.audited,
            "faults": [fault.to_dict() for fault in self.faults],
            "ignored": dict(self.ignored),
            "stem": None if self.stem is None else format_stem(self.stem),
            "failure": _plain_failure(self.failure),
            "explanations": [meaning.to_dict() for meaning in self.explanations],
        }

    def __str__(self) -> str:
        """The report as a table for the terminal."""
        # the views stand below this file; the front door loads them when they are asked for
        return str(vitc_inspect.module_table(self))

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return str(vitc_inspect.module_html(self))


def inspect_module(module: nn.Module, *inputs: Any, **kwargs: Any) -> ModuleReport:
    """Run any module, lay what arithmetic says beside what was seen, and look for faults.

    The module runs once to be recorded, and a few times more to be audited, mostly its stem;
    `inspect_call(..., audit=False)` leaves that out.

    Args:
        module: The module, in the mode in which it is to run. It is left as it was.
        inputs, kwargs: What its forward is to be given.

    Returns:
        The report; also when the forward raises, with all that came before and how it failed.

    Raises:
        SpecError: field "module", for what is no module or has parameters without a shape.
    """
    return inspect_call(module, inputs, kwargs)


def inspect_call(
    module: nn.Module,
    inputs: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    keep_bytes: int = 0,
    keep_each: int | None = None,
    audit: bool = True,
    ignore: Sequence[str] = (),
) -> ModuleReport:
    """The same as `inspect_module`, with the arguments apart and copies of outputs.

    Args:
        module: The module.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.
        keep_bytes, keep_each: Budget for copies of outputs (bytes), as in `record_call`.
        audit: Whether to look for faults, which runs the module a few times more.
        ignore: Kinds of faults that are left out, of diagnosis.FAULT_KINDS; the report says how
            many there were.

    Returns:
        The report.

    Raises:
        SpecError: As `inspect_module`; field "ignore" for what is no kind of fault.
    """
    kinds = check_kinds("ignore", ignore, FAULT_KINDS)
    inputs, kwargs = arguments_of(inputs, kwargs)
    recording = record_call(module, inputs, kwargs, keep_bytes=keep_bytes, keep_each=keep_each)
    found = NO_AUDIT
    if audit:
        found, audit = _audited(module, inputs, kwargs)
    faults = tuple(fault for fault in found.faults if fault.kind not in kinds)
    seen = [fault.kind for fault in found.faults]
    cause = found.cause if recording.failure and found.cause in faults else None
    contents = contents_of(module)  # as it was recorded; torch's own walks may be overridden
    first = next(iter(contents.parameters), None)
    return ModuleReport(
        kind=type(module).__name__,
        inputs=recording.inputs,
        outputs=recording.outputs,
        rows=tuple(_row(call, contents.layers) for call in recording.calls),
        params=sum(parameter.numel() for parameter in contents.parameters),
        never_called=recording.never_called,
        notes=(*recording.notes, *found.notes),
        faults=faults,
        ignored={kind: seen.count(kind) for kind in kinds},
        audited=audit,
        stem=found.stem,
        stem_layers=found.stem_layers,
        failure=recording.failure,
        cause=cause,
        facts=guarded(_facts_of, recording, contents.layers)[0] or RunFacts(),
        training=module.training,
        device="cpu" if first is None else str(first.device),
        unchecked_whole=recording.unchecked,
    )


def _audited(
    module: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> tuple[Audit, bool]:
    """What the audit found, and whether it came to its end.

    It asks odd things of modules that nobody has seen; what it fails on must not take the
    recording away, which is there already.
    """
    found, reason = guarded(audit_module, module, inputs, kwargs)
    if found is None:
        note = f"Faults could not be looked for: the audit ended with {reason}."
        return replace(NO_AUDIT, notes=(note,)), False
    if found.unchecked:
        note = f"Faults could not all be looked for: {'; '.join(found.unchecked)}."
        return replace(found, notes=(*found.notes, note)), False
    return found, True


_ATTRIBUTES = (
    "num_features", "normalized_shape", "in_features", "out_features", "in_channels",
    "out_channels", "kernel_size", "stride", "padding", "groups", "num_heads", "embed_dim",
)  # fmt: skip
"""Plain numbers of layers that explain their errors."""
_MOST_CALLS = 5000


def _facts_of(recording: Recording, layers: Mapping[str, nn.Module]) -> RunFacts:
    """What a run shows of its failure; nothing where it did not raise."""
    failure = recording.failure
    if failure is None:
        return RunFacts()
    layer = layers.get(failure.inside)
    running = [c for c in recording.calls if not c.returned and c.name == failure.inside]
    return RunFacts(
        operation=failure.operation or "",
        operands=_shapes(failure.operands),
        inputs=_shapes(recording.inputs),
        module="" if layer is None else _kind_of(layer),
        given=_shapes(running[-1].inputs) if running and not running[-1].is_function else (),
        attributes={} if layer is None else _plain_numbers(layer),
        calls=tuple(map(_past, [c for c in recording.calls if c.returned][-_MOST_CALLS:])),
    )


def _shapes(values: Sequence[Value]) -> tuple[tuple[int, ...], ...]:
    return tuple(value.shape for value in values)


def _past(call: Call) -> PastCall:
    return PastCall(
        name=call.name,
        kind=call.kind,
        before=call.in_shape or (),
        after=call.out_shape or (),
        line=call.source.text if call.source else "",
    )


def _kind_of(layer: nn.Module) -> str:
    """Class of a layer; of what is derived from torch's, torch's own class."""
    classes = type(layer).__mro__
    return next((c.__name__ for c in classes if c.__module__.startswith("torch.nn")), "Module")


def _plain_numbers(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Numbers that a layer states, and the shape of its weight."""
    found: dict[str, tuple[int, ...]] = {}
    for name in _ATTRIBUTES:
        value = vars(layer).get(name)  # a guest's own attribute may be a property that raises
        numbers = value if isinstance(value, tuple) else (value,)
        if all(type(number) is int for number in numbers):
            found[name] = numbers
    weight = vars(layer).get("_parameters", {}).get("weight")
    if weight is not None and hasattr(weight, "shape"):
        found["weight"] = tuple(weight.shape)
    return found


def _row(call: Call, layers: Mapping[str, nn.Module]) -> ModuleRow:
    predicted, reason = call.stated, None
    if predicted is None and not call.is_function:
        given = {value.path: value.shape for value in call.inputs}
        predicted, reason = guarded(expect, layers[call.name], given, arguments=call.arguments)
    verdicts: dict[str, bool | None] = dict.fromkeys(CHECKS)
    if predicted and call.returned:
        sides = {
            "shape": (predicted.out_shape, call.out_shape),
            "params": (predicted.params, call.params),
            "macs": (predicted.macs, call.macs),
        }
        verdicts = {
            check: None if None in pair else pair[0] == pair[1] for check, pair in sides.items()
        }
        if call.stated is not None:  # no count to hold the rule's against
            verdicts["macs"] = None
        if call.is_function:
            verdicts["params"] = None
        elif _is_hooked(layers[call.name]):  # what a hook of the user's own returns is no rule's
            verdicts = {check: said or None for check, said in verdicts.items()}
    return ModuleRow(
        call=call,
        predicted=predicted,
        verdicts=MappingProxyType(verdicts),
        unchecked=tuple(dict.fromkeys((*call.unchecked, *([reason] if reason else [])))),
    )


def _is_hooked(layer: nn.Module) -> bool:
    """Whether somebody's own hook may change what goes in or comes out of a layer."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _say(row: ModuleRow, check: str) -> str:
    """What arithmetic says, what was seen, and the rule."""
    call, predicted = row.call, row.predicted
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


def _plain_row(row: ModuleRow) -> dict[str, Any]:
    call, predicted = row.call, row.predicted
    return {
        "name": call.name,
        "kind": call.kind,
        "inside": call.inside,
        "turn": call.turn,
        "inputs": _plain_values(call.inputs),
        "outputs": _plain_values(call.outputs),
        "returned": call.returned,
        "params": call.params,
        "macs": call.macs,
        "uncounted": list(call.uncounted),
        "unchecked": list(row.unchecked),
        "bytes": call.bytes,
        "source": _plain_line(call.source),
        "overwritten_by": call.overwritten_by,
        "overwritten_at": _plain_line(call.overwritten_at),
        "predicted": predicted
        and {
            "out_shape": None if predicted.out_shape is None else list(predicted.out_shape),
            "params": predicted.params,
            "macs": predicted.macs,
            "rule": predicted.rule,
        },
        "verdicts": dict(row.verdicts),
        "verdict": row.verdict,
    }


def _plain_values(values: Sequence[Value]) -> list[dict[str, Any]]:
    return [{**asdict(value), "shape": list(value.shape)} for value in values]


def _plain_line(source: SourceLine | None) -> dict[str, Any] | None:
    return asdict(source) if source else None


def _plain_failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {**asdict(failure), "operands": _plain_values(failure.operands)}
