"""The public functions for any module: run it, and compare prediction and observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from vitc_inspect.audit.audit import NO_AUDIT, Audit, audit_module
from vitc_inspect.common.guard import guarded
from vitc_inspect.common.validation import check_kinds
from vitc_inspect.diagnosis import FAULT_KINDS
from vitc_inspect.diagnosis.explanation import PastCall, RunFacts
from vitc_inspect.inspection.layer_rules import expect
from vitc_inspect.inspection.module_report import CHECKS, ModuleReport, ModuleRow
from vitc_inspect.tracing.module_tree import arguments_of, contents_of
from vitc_inspect.tracing.recorder import record_call
from vitc_inspect.tracing.recording import Call, Recording, Value
from vitc_inspect.tracing.torch_internals import forward_hooks, forward_pre_hooks, own_parameters


def inspect_module(module: nn.Module, *inputs: Any, **kwargs: Any) -> ModuleReport:
    """Run any module, compare predicted with observed values, and look for faults.

    The module runs once to be recorded, and a few times more to be audited, mostly its stem;
    `inspect_call(..., audit=False)` leaves that out.

    Args:
        module: The module, in the mode in which it is to run. It is left as it was.
        inputs, kwargs: What its forward is to be given.

    Returns:
        The report; also when the forward raises, with all that came before and how it failed.

    Raises:
        SpecError: field "module", if it is not a module or has parameters without a shape.
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
    """Same as `inspect_module`, with the arguments passed separately and outputs copied.

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

    It runs unknown modules on unusual inputs; a failure in it must not take the
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
    weight = dict(own_parameters(layer).items()).get("weight")  # also of a ScriptModule
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
    unchecked = tuple(dict.fromkeys((*call.unchecked, *([reason] if reason else []))))
    return ModuleRow(
        **{**vars(call), "unchecked": unchecked},
        predicted=predicted,
        verdicts=MappingProxyType(verdicts),
    )


def _is_hooked(layer: nn.Module) -> bool:
    """Whether a user's hook may change the input or output of a layer."""
    return bool(forward_hooks(layer) or forward_pre_hooks(layer))
