"""The mutable row of a recording in progress, and its conversion to a `Call`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from vitc_inspect.common.guard import guarded
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.leaf_modules import Role, is_childless
from vitc_inspect.tracing.recording import Call, SeenTensor, Values
from vitc_inspect.tracing.rules import Expectation, is_users_layer, layer_rule
from vitc_inspect.tracing.tracebacks import CodeLine, source_line


class Row:
    """A call that is being recorded; its fields are those of `recording.Call`."""

    __slots__ = (
        "arguments", "inputs", "inside", "kept", "layer", "macs", "name", "outputs", "overwritten",
        "returned", "source", "stated", "turn", "unchecked", "uncounted",
    )  # fmt: skip

    def __init__(
        self, name: str, inside: str, layer: nn.Module | None, inputs: list[SeenTensor]
    ) -> None:
        self.name, self.inside, self.inputs = name, inside, inputs
        self.layer = layer  # the module; None for a function
        self.outputs: list[SeenTensor] = []
        self.arguments = 1
        self.returned = False
        self.turn = 1
        self.macs = 0
        self.uncounted: tuple[str, ...] = ()
        self.unchecked: tuple[str, ...] = ()  # what rules of ours raised
        self.stated: Expectation | None = None  # what a user's rule says
        self.source: CodeLine | None = None
        self.overwritten: tuple[str, CodeLine | None] | None = None  # by what, and where
        self.kept: KeptOutput | None = None

    @property
    def kind(self) -> str:
        """Class of the module, or "function"."""
        return "function" if self.layer is None else type(self.layer).__name__


def calls_of(
    rows: Iterable[Row], roles: Mapping[str, Role], weights: Mapping[str, int]
) -> tuple[Call, ...]:
    """Convert rows to calls, once the module has run.

    Args:
        rows: In the order in which they began.
        roles: Of each module that is a row, by its name.
        weights: Number of parameters of each module itself, by name, for those that have any.
    """
    values = Values()
    calls = []
    for row in rows:
        call, reason = guarded(_call, row, values, roles, weights)
        calls.append(call or _name_alone(row, reason or ""))
    return tuple(calls)


def _name_alone(row: Row, reason: str) -> Call:
    """A call of which only the name is known."""
    return Call(
        name=row.name,
        kind=row.kind,
        inside=row.inside,
        turn=row.turn,
        returned=row.returned,
        params=0,
        macs=None,
        uncounted=(row.name or row.kind,),
        unchecked=(*row.unchecked, reason),
    )


def _call(row: Row, values: Values, roles: Mapping[str, Role], weights: Mapping[str, int]) -> Call:
    by, at = row.overwritten or (None, None)
    _ask_rule(row)
    return Call(
        name=row.name,
        kind=row.kind,
        inside=row.inside,
        turn=row.turn,
        inputs=values.of(row.inputs),
        outputs=values.of(row.outputs),
        returned=row.returned,
        params=_params(row, roles, weights),
        macs=None if row.uncounted else int(row.macs),  # a tensor in torch.jit.trace
        uncounted=tuple(dict.fromkeys(row.uncounted)),
        source=source_line(row.source),
        overwritten_by=by,
        overwritten_at=source_line(at),
        # fetched only now: a GPU would have to finish its work each time
        kept=row.kept and replace(row.kept, values=row.kept.values.cpu()),
        unchecked=tuple(dict.fromkeys(row.unchecked)),
        arguments=row.arguments,
        stated=row.stated,
    )


def _ask_rule(row: Row) -> None:
    """Let a user's rule state the MACs of a layer in which nothing could be counted."""
    layer = row.layer
    if layer is None or not (row.returned and (row.uncounted or not row.macs)):
        return
    rule = layer_rule(layer) if is_users_layer(type(layer)) else None
    if rule is None:
        return
    shapes = {path: tuple(shape) for path, shape, _ in row.inputs}
    stated, reason = guarded(rule.of_layer, layer, shapes)
    if reason:
        row.unchecked += (reason,)
    elif stated and stated.macs:
        row.stated, row.macs, row.uncounted = stated, stated.macs, ()


def _params(row: Row, roles: Mapping[str, Role], weights: Mapping[str, int]) -> int:
    """Number of parameters of a row; a layer that is one row includes all its submodules."""
    if row.layer is None:
        return 0
    own = weights.get(row.name, 0)
    if roles[row.name] != "library" or is_childless(row.layer):
        return own
    inside = f"{row.name}." if row.name else ""
    return sum(
        number for owner, number in weights.items() if owner == row.name or owner.startswith(inside)
    )
