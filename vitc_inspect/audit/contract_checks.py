"""Check that a module's convolutions, tokens and position table are consistent.

The strides give a number of tokens, a position table has a number of entries, and attributes such
as `patch_size` state what the convolutions are to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt, prod
from typing import Any

import torch

from vitc_inspect.audit.position_tables import one_entry
from vitc_inspect.audit.stated_attributes import stated_cells, stated_patch, stated_width_faults
from vitc_inspect.audit.stem_finder import StemPath
from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis.contract import Contract
from vitc_inspect.diagnosis.contract_faults import faults
from vitc_inspect.diagnosis.explanation import Explanation
from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.function_kinds import MOVES, RECURRENT, SUMS
from vitc_inspect.tracing.module_tree import contents_of
from vitc_inspect.tracing.positions import TracedTensor

CONTRACT_KINDS = frozenset({"stride", "width", "position table", "class token"})
"""Kinds of the faults between convolutions, tokens and position table."""


def contract_faults(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """Check convolutions, tokens, position table and attributes against each other.

    Args:
        flow: The run of a module.
        stem_path: The way from the image to the tokens that was read out of the run.

    Returns:
        What does not fit. Faults that stop no run, as convolutions that are one affine map, are
        among it only as far as the whole way could be read.
    """
    stem = stem_path.stem
    says_patch = stem is not None and _makes_tokens(flow, stem_path)
    table = _table(flow, stem_path)
    stride = stem_path.image.shape[2] // max(1, stem_path.grid_size[0])
    known: dict[str, Any] = dict(
        image_size=stem_path.image.shape[2:],
        in_channels=stem_path.image.shape[1],
        convs=stem_path.layers if stem else None,
        names=tuple(conv.name or "a convolution" for conv in stem_path.convs) if stem else None,
        strides=None if stem else _one_stride(stem_path),
        embed_dim=None if stem else stem_path.width,
        num_prefix_tokens=table.prefix if table else stem_path.prefix,
        table_length=table.length if table else None,
        table_width=table.width if table else None,
        num_patches=stated_cells(flow, table.length - table.prefix, stride) if table else None,
        patch_size=stated_patch(flow, stem_path) if says_patch else None,
    )
    wanted = set(CONTRACT_KINDS)
    if stem and (stem_path.complete or flow.error):
        wanted |= {"unread pixels", "linear"}
        of_encoder = stem_path.tokens and not _are_features(flow, stem_path)
        wanted |= {"activation"} if of_encoder else set()
    try:
        found = faults(Contract(**known))
    except SpecError:  # larger than any stem of ours
        found = ()
    for fault in found:
        if fault.kind in wanted:
            yield _said_of(table, fault) if table else fault
    yield from stated_width_faults(flow, stem_path)


def _are_features(flow: Flow, stem_path: StemPath) -> bool:
    """Whether tokens are the features of a CNN, which end with an activation on purpose.

    They are one row, as for reading text, go to a recurrent layer, or are multiplied with features.
    """
    for step in flow.steps:
        if any(id(known) in stem_path.sequence for known in step.sources):
            alone = len(step.of_image) == len(step.sources)
            if step.name in RECURRENT or (step.name in _PRODUCTS and alone):
                return True
    return min(stem_path.grid_size) == 1


_PRODUCTS = frozenset({"matmul", "bmm", "einsum", "baddbmm"})


def _makes_tokens(flow: Flow, stem_path: StemPath) -> bool:
    """Whether the map becomes tokens, or was to become some when the run raised."""
    failed = flow.failed
    return stem_path.tokens is not None or (
        failed is not None and failed.name in MOVES and stem_path.feeds(failed)
    )


def _one_stride(stem_path: StemPath) -> tuple[int, ...] | None:
    """The stride that gives this grid by division; None where none does."""
    (height, width), (rows, columns) = stem_path.image.shape[2:], stem_path.grid_size
    step = height // rows if rows else 0
    return (step,) if step and (height // step, width // step) == (rows, columns) else None


def _learned(flow: Flow) -> set[str]:
    """Names of the parameters, without those of buffers."""
    contents = contents_of(flow.module)
    parameters = {id(parameter) for parameter in contents.parameters}
    return {name for name, tensor in contents.named if id(tensor) in parameters}


# ---- position tables ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A learned table that is added to the tokens."""

    name: str
    """Name of the parameter, or of a buffer that does not fit."""
    length: int
    """Entries."""
    width: int
    """Numbers of an entry."""
    prefix: int
    """Number of tokens before the image tokens where the table is added."""


def _table(flow: Flow, stem_path: StemPath) -> _Table | None:
    """The learned table that does not fit the tokens, or is cut or stretched to fit; else None.

    A computed table that is not learned, such as sines, may be cut: the place of a token in
    it is that of its number.
    """
    learned, steps = _learned(flow), flow.all_steps
    whole = {
        known.positions.origin
        for known in _tables_added(steps, stem_path)
        if known.positions and prod(known.shape) == prod(known.positions.shape)
    }
    for step in steps:
        if step.name not in SUMS:
            continue
        tokens = next((each for each in step.sources if id(each) in stem_path.sequence), None)
        for known in step.sources:
            positions = known.positions
            if tokens is None or known.of_image or positions is None:
                continue
            if not isinstance(positions.origin, str):  # it was resized on its way
                continue
            width = positions.shape[-1]
            length = prod(positions.shape[:-1])
            prefix = stem_path.sequence[id(tokens)]
            name = str(positions.origin)
            if length == 1 and (whole - {name} or _is_no_place(name)):
                continue
            fails = step is flow.failed
            if not fails and (name not in learned or (length > 1 and not _cut(known, steps))):
                continue
            if not fails and 1 < length < prod(stem_path.grid_size):
                continue  # tokens share its entries, as those of one row do
            return _Table(name=name, length=length, width=width, prefix=prefix)
    return None


def _tables_added(steps: Sequence[Step], stem_path: StemPath) -> Iterator[TracedTensor]:
    """Every learned table of several entries that is added to the tokens."""
    for step in steps:
        if step.name in SUMS and any(id(each) in stem_path.sequence for each in step.sources):
            for known in step.sources:
                if known.positions and not known.of_image and prod(known.positions.shape[:-1]) > 1:
                    yield known


def _is_no_place(name: str) -> bool:
    """Whether a learned vector is, by its name, one that every token is to get."""
    words = ("type", "mask", "bias", "scale", "gamma", "beta", "cls", "class", "token", "seg")
    return any(word in name.rpartition(".")[2].lower() for word in words)


def _cut(table: TracedTensor, steps: Sequence[Step]) -> bool:
    """Whether the first entries of a table are used, and never those behind them."""
    assert table.positions is not None
    origin, width = table.positions.origin, table.positions.shape[-1]
    length = prod(table.positions.shape[:-1])
    uses = torch.zeros(length, dtype=torch.int64)
    for step in steps:
        if step.name in MOVES:
            continue
        for known in step.sources:
            if known.positions and known.positions.origin == origin:
                numbers = known.positions.numbers().flatten()
                entries = numbers[numbers >= 0] // width
                uses += torch.bincount(entries, minlength=length)
    used = int((uses > 0).sum())
    # one entry for all is another fault
    return 1 < used < length and bool((uses[:used] > 0).all())


def _said_of(table: _Table, fault: Explanation) -> Explanation:
    """A fault with the name of the table in it, and as a guess where that may be none of places."""
    if fault.kind not in ("position table", "class token"):
        return fault
    fault = _named(fault, table.name)
    if table.length != 1 or "pos" in table.name.rpartition(".")[2].lower():
        return fault
    guess = "; that it is meant for places is a guess"
    return replace(fault, likelihood="likely", because=fault.because + guess)


def _named(fault: Explanation, table: str) -> Explanation:
    """A fault of the position table with its name in the sentence."""
    named = f"{table}, the position table, has"
    return replace(fault, sentence=fault.sentence.replace("The position table has", named))


def cut_table_of_patches(flow: Flow) -> Iterator[Explanation]:
    """Find a position table truncated to the tokens of a linear patch embedding.

    Args:
        flow: The run of a module.

    Returns:
        The first fault of kind "position table", or nothing.
    """
    linear = (step for step in flow.steps if step.name == "linear")
    patch, image = next(filter(None, map(_patch_of, linear)), (0, ()))
    learned = _learned(flow)
    for step in flow.steps if patch else ():
        tokens = next((each.shape for each in step.of_image if len(each.shape) == 3), None)
        if step.name not in SUMS or tokens is None:
            continue
        cells = prod(side // patch for side in image[2:])
        for known in step.sources:
            positions = known.positions
            if known.of_image or positions is None or positions.origin not in learned:
                continue
            length = prod(positions.shape[:-1])
            if length > 1 and positions.shape[-1] == tokens[2]:
                yield from one_entry(positions, cells, tokens[1])
            if prod(known.shape[:-1]) != tokens[1] or not _cut(known, flow.steps):
                continue
            try:
                found = faults(
                    Contract(
                        image_size=image[2:],  # type: ignore[arg-type]  # the image is 4-d
                        in_channels=image[1],
                        strides=(patch,),
                        embed_dim=tokens[2],
                        num_prefix_tokens=tokens[1] - cells,
                        table_length=length,
                        table_width=tokens[2],
                        num_patches=stated_cells(flow, length - tokens[1] + cells, patch),
                    )
                )
            except SpecError:  # larger than any stem of ours, or fewer tokens than cells
                return
            for fault in found:
                if fault.kind == "position table":
                    yield _named(fault, str(positions.origin))
            return


def _patch_of(step: Step) -> tuple[int, tuple[int, ...]] | None:
    """Side of the square patches of an image that a step is given as (b, n, d), and its shape.

    None where it is given anything else; the first patch has to be the image's first corner.
    """
    known = step.sources[0]
    positions = known.positions
    if positions is None or positions.origin != -1 or positions.indices is None:
        return None
    if (
        len(positions.shape) != 4
        or len(known.shape) != 3
        or prod(known.shape) != prod(positions.shape)
    ):
        return None
    _, channels, height, width = positions.shape
    numbers = known.shape[2] // channels
    side = isqrt(numbers)
    if side < 1 or side * side * channels != known.shape[2] or height % side or width % side:
        return None
    pixels = set((positions.indices[0, 0] % (height * width)).tolist())
    corner = [row * width + column for row in range(side) for column in range(side)]
    return (side, positions.shape) if pixels == set(corner) else None
