"""Audit a module: find faults that leave every shape correct, such as tokens in the wrong order.

The data flow of one more run shows most of them; some checks run the module again on other images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import nn

from vitc_inspect.audit.contract_checks import CONTRACT_KINDS, contract_faults, cut_table_of_patches
from vitc_inspect.audit.dependence import dependence
from vitc_inspect.audit.experiments import MapRunner, affine_convolutions, measured, unread_pixels
from vitc_inspect.audit.padding import padding_notes
from vitc_inspect.audit.patches import scrambled_patches
from vitc_inspect.audit.position_tables import table_order
from vitc_inspect.audit.stated_attributes import stated_stride_faults
from vitc_inspect.audit.stem_finder import StemPath, find_stem_path
from vitc_inspect.audit.token_axes import last_axis
from vitc_inspect.audit.token_order_faults import token_order
from vitc_inspect.audit.token_shapes import maps_of_tokens, other_widths
from vitc_inspect.audit.variants import VariantRuns
from vitc_inspect.common.guard import guarded
from vitc_inspect.diagnosis.contract_faults import bias_fault
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.tracing.dataflow import Flow, FollowError, Step, follow
from vitc_inspect.tracing.function_kinds import MOVES, RECURRENT, SUMS


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result of an audit."""

    faults: tuple[Explanation, ...]
    """Faults, those that stop a run before those that keep every shape right."""
    notes: tuple[str, ...]
    """What is odd and no fault, in sentences."""
    unchecked: tuple[str, ...]
    """What could not be looked for, each with the reason; a mistake of this package's."""
    stem: StemSpec | None
    """The stem, where the module is a chain of convolutions that one can be read out of."""
    stem_layers: tuple[str, ...]
    """Names of the stem's convolutions in the module, in order; empty without a stem."""
    cause: Explanation | None
    """The fault that made the run raise, where it is one of them."""


NO_AUDIT = Audit(faults=(), notes=(), unchecked=(), stem=None, stem_layers=(), cause=None)
"""What is known where nothing was looked for."""


def audit_module(
    module: nn.Module, inputs: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Audit:
    """Audit any module that takes an image.

    The module runs once in evaluation mode, and then a few times more: on other images, on a
    batch of one image more, and where a fault is suspected on an image of other sides. A check
    that fails takes no other away. The module is left as it was.

    Args:
        module: Any module.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.

    Returns:
        The faults that were found; none is a guess from names alone.

    Raises:
        SpecError: field "module", if it is not a module.
    """
    kwargs = kwargs or {}
    try:
        flow = follow(module, inputs, kwargs)
    except FollowError as error:
        return replace(NO_AUDIT, unchecked=(f"the way of the numbers: {error}",))
    stem_path, reason = guarded(find_stem_path, flow)
    found: list[Explanation] = []
    unchecked = [f"the stem: {reason}"] if reason else []
    for name, check in _checks(flow, stem_path):
        faults, reason = guarded(_faults_of, check, tuple(found))
        found += faults or ()
        unchecked += [f"{name}: {reason}"] if reason else []
    if flow.error:
        # a run that raised speaks for itself; its faults must not say that all went well
        words = ", and every shape is right"
        found = [replace(each, sentence=each.sentence.replace(words, "")) for each in found]
    stem = stem_path.stem if stem_path and stem_path.complete else None
    notes, reason = guarded(_notes, flow)
    unchecked += [f"what is odd: {reason}"] if reason else []
    return Audit(
        faults=tuple(found),
        notes=notes or (),
        unchecked=tuple(unchecked),
        stem=stem,
        stem_layers=tuple(conv.name for conv in stem_path.convs) if stem_path and stem else (),
        cause=_cause(found, flow, stem_path),
    )


_Check = Callable[[Sequence[Explanation]], Iterable[Explanation]]  # given what was found before


def _faults_of(check: _Check, found: Sequence[Explanation]) -> list[Explanation]:
    """What a check finds, all of it at once."""
    return list(check(found))


def _checks(flow: Flow, stem_path: StemPath | None) -> Iterator[tuple[str, _Check]]:
    """Every search for a fault, with its name, in the order in which they are reported."""
    if stem_path:
        make_map = MapRunner(flow, stem_path.image, stem_path.map)
        others = VariantRuns(flow, stem_path.image)
        yield "what the parts promise", lambda found: _promised(flow, stem_path, make_map)
        yield "the order of the tokens", lambda found: token_order(flow, others)
        yield "maps of tokens", lambda found: maps_of_tokens(flow, stem_path, others)
        yield "the width of the tokens", lambda found: _other_widths(found, flow, stem_path)
        yield "the position table", lambda found: table_order(flow, stem_path, others)
        yield "affine convolutions", lambda found: affine_convolutions(flow, stem_path, make_map)
        yield "the first token", lambda found: _first_without_class_token(flow, stem_path)
        yield "biases", lambda found: _bias(flow, stem_path)
    elif flow.error is None:
        yield "the position table", lambda found: cut_table_of_patches(flow)
    yield "unread pixels", lambda found: unread_pixels(flow, stem_path)
    yield "patches", lambda found: scrambled_patches(flow)
    yield "norms", lambda found: _width_normed(flow)
    yield "the image and the batch", lambda found: _dependence(found, flow)
    yield "what attributes state", lambda found: _stated(found, flow)


def _promised(flow: Flow, stem_path: StemPath, make_map: MapRunner) -> Iterator[Explanation]:
    """Promises that the parts break, without those that a measurement contradicts."""
    for fault in contract_faults(flow, stem_path):
        confirmed = measured(fault, flow, stem_path, make_map)
        if confirmed:
            yield confirmed


def _other_widths(
    found: Sequence[Explanation], flow: Flow, stem_path: StemPath
) -> Iterable[Explanation]:
    """Tokens of another width than the map's, unless their width or order is a fault already."""
    if any(fault.kind in ("token order", "width") for fault in found):
        return ()
    return other_widths(flow, stem_path)


def _dependence(found: Sequence[Explanation], flow: Flow) -> Iterable[Explanation]:
    """Whether the output depends on the image alone, unless the images are known to be mixed."""
    if any(fault.kind in ("token order", "patches") for fault in found):
        return ()
    return dependence(flow)


def _stated(found: Sequence[Explanation], flow: Flow) -> Iterable[Explanation]:
    """What attributes promise, where nothing better explains why the run raised."""
    if any(fault.kind in CONTRACT_KINDS for fault in found) or not _may_have_counted_wrong(flow):
        return ()
    return stated_stride_faults(flow)


def _may_have_counted_wrong(flow: Flow) -> bool:
    """Whether the run raised where a wrong number of tokens would have made it raise.

    Layers of channels do not ask how many there are, unless they mix tokens; then the error's own
    text has the number.
    """
    raised = flow.failed.name if flow.failed else ""
    return flow.error is not None and raised not in ("linear", "conv2d", "layer_norm")


def _cause(
    found: Sequence[Explanation], flow: Flow, stem_path: StemPath | None
) -> Explanation | None:
    """The fault that the function which raised ran into."""
    if stem_path is None or flow.failed is None or not stem_path.feeds(flow.failed):
        return None
    kinds = {"stride"} if flow.failed.name in MOVES else {"width"}
    if flow.failed.name in SUMS:
        kinds = {"position table", "class token", "width"}
    return next((fault for fault in found if fault.kind in kinds), None)


def _first_without_class_token(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """A classifier that takes the first token where no class token was put first."""
    if stem_path.tokens is None or stem_path.axes is None or stem_path.prefix != 0:
        return
    cells = prod(stem_path.grid_size)
    tokens = {id(stem_path.tokens)}
    parts: list[bool] = []
    for step in flow.steps:
        mine = [
            known
            for known in step.sources
            # the tokens as they are before a norm go on beside the block
            if id(known) in tokens or known.positions is stem_path.tokens.positions
        ]
        if not mine:
            continue
        made = step.outputs[0]
        if step.name in ("getitem", "select") and len(made.shape) < len(mine[0].shape):
            parts.append(_is_first(step) and prod(mine[0].shape) == cells * prod(made.shape))
        elif step.name in RECURRENT:  # the first position may have read all others
            continue
        elif len(made.shape) == 3 and made.shape[stem_path.axes.axis] == cells:
            tokens.add(id(made))
    if parts == [True]:
        yield explain(
            "class token",
            f"The first of the {cells} image tokens is handed on alone, and no class token was put"
            " before them: the classifier gets the token of the image's corner.",
            "Put the class token first: torch.cat((cls.expand(len(x), -1, -1), x), dim=1).",
            "Or take the mean of the tokens: x.mean(dim=1).",
            because="the tokens are as many as the cells of the map",
            likelihood="likely",
            numbers={"tokens": cells},
        )


def _is_first(step: Step) -> bool:
    """Whether a function selects the first position along one axis."""
    index = step.given["index"]
    positions = index if isinstance(index, tuple) else (index,)
    return [place for place in positions if type(place) is int] == [0]


# ---- single layers --------------------------------------------------------------------------


def _bias(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """Convolutions of the stem whose bias goes to a BatchNorm and nowhere else.

    The stem ends where the path to the tokens branches: layers in the blocks are not part of it.
    """
    readers: dict[int, list[Step]] = {}
    for step in flow.steps:
        for known in step.sources:
            readers.setdefault(id(known), []).append(step)
    names: dict[str, int] = {}
    if not stem_path.complete and flow.error is None:
        return
    for step in stem_path.before:
        after = readers.get(id(step.outputs[0]), [])
        biased = step.name == "conv2d" and step.given.get("bias") is not None
        if biased and [each.name for each in after] == ["batch_norm"]:
            name = step.sources[1].name.rpartition(".")[0] or "a convolution"
            names[name] = step.given["bias"][0]
        if len(after) > 1 or len(step.of_image) > 1:
            break
    if names:
        yield bias_fault(list(names), sum(names.values()))


def _width_normed(flow: Flow) -> Iterator[Explanation]:
    """A LayerNorm that was meant for channels and gets a map as it is."""
    for step in flow.steps:
        if step.name != "layer_norm" or len(step.given["normalized_shape"]) != 1:
            continue
        known = step.of_image[0] if step.of_image else step.sources[0]
        of_map = (
            known.positions is not None and known.positions.origin != -1 and len(known.shape) == 4
        )
        if known.positions is None or not of_map or last_axis(known) != "columns":
            continue
        _, channels, rows, columns = known.positions.shape
        yield explain(
            "norm",
            f"{step.layer or step.name} normalises the last axis of a map of"
            f" {channels}×{rows}×{columns}, which is the width of the image: {columns} neighbours"
            f" in a row, and not the {channels} channels.",
            f"Use nn.GroupNorm(1, {channels}), or bring the channels to the end for the norm:"
            " x.permute(0, 2, 3, 1).",
            because="nn.LayerNorm normalises the last axis, whatever it holds",
            likelihood="certain",
            numbers={"channels": channels, "columns": columns},
        )
        return


def _notes(flow: Flow) -> tuple[str, ...]:
    """What is odd about the run and may be meant."""
    notes = padding_notes(flow)
    if not flow.changed:
        return notes
    return (
        *notes,
        f"The forward writes to {', '.join(flow.changed)} in evaluation mode too, so that two runs"
        " on one image may differ; here it was put back. Write to it only while self.training.",
    )
