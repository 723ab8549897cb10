"""What the parts of anybody's module promise each other, and which of it is not kept.

Strides promise a number of tokens, a position table has room for so many, and attributes such as
`patch_size` state what convolutions are to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isqrt, prod
from typing import Any

import torch
from torch import nn

from vitc_inspect.audit.position_tables import one_entry
from vitc_inspect.audit.stem_finder import Reading
from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis.contract import Contract
from vitc_inspect.diagnosis.contract_faults import faults
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import MOVES, RECURRENT, SUMS, Flow, Known, Step
from vitc_inspect.tracing.module_tree import contents_of
from vitc_inspect.tracing.tracebacks import is_to_pass

PROMISES = frozenset({"stride", "width", "position table", "class token"})
"""Kinds of the faults between convolutions, tokens and position table."""


def broken_promises(module: nn.Module, flow: Flow, reading: Reading) -> Iterator[Explanation]:
    """Hold convolutions, tokens, position table and attributes against each other.

    Args:
        module: The module that ran.
        flow: Its run.
        reading: The way from the image to the tokens that was read out of the run.

    Returns:
        What does not fit. Faults that stop no run, as convolutions that are one affine map, are
        among it only as far as the whole way could be read.
    """
    stem = reading.stem
    says_patch = stem is not None and _makes_tokens(flow, reading)
    table = _table(module, flow, reading)
    stride = reading.image.shape[2] // max(1, reading.grid_size[0])
    known: dict[str, Any] = dict(
        image_size=reading.image.shape[2:],
        in_channels=reading.image.shape[1],
        convs=reading.layers if stem else None,
        names=tuple(link.name or "a convolution" for link in reading.links) if stem else None,
        strides=None if stem else _one_stride(reading),
        embed_dim=None if stem else reading.width,
        num_prefix_tokens=table.prefix if table else reading.prefix,
        table_length=table.length if table else None,
        table_width=table.width if table else None,
        num_patches=_stated_places(module, table.length - table.prefix, stride) if table else None,
        patch_size=_stated_patch(module, reading) if says_patch else None,
    )
    wanted = set(PROMISES)
    if stem and (reading.complete or flow.error):
        wanted |= {"unread pixels", "linear"}
        of_encoder = reading.tokens and not _are_features(flow, reading)
        wanted |= {"activation"} if of_encoder else set()
    try:
        found = faults(Contract(**known))
    except SpecError:  # larger than any stem of ours
        found = ()
    for fault in found:
        if fault.kind in wanted:
            yield _said_of(table, fault) if table else fault
    yield from _stated_width(module, flow, reading)


def _are_features(flow: Flow, reading: Reading) -> bool:
    """Whether tokens are the features of a CNN, which end with an activation on purpose.

    They are one row, as for reading text, go to a recurrent layer, or are multiplied with features.
    """
    for step in flow.steps:
        if any(id(known) in reading.sequence for known in step.sources):
            alone = len(step.of_image) == len(step.sources)
            if step.name in RECURRENT or (step.name in _PRODUCTS and alone):
                return True
    return min(reading.grid_size) == 1


_PRODUCTS = frozenset({"matmul", "bmm", "einsum", "baddbmm"})


def _makes_tokens(flow: Flow, reading: Reading) -> bool:
    """Whether the map becomes tokens, or was to become some when the run raised."""
    failed = flow.failed
    return reading.tokens is not None or (
        failed is not None and failed.name in MOVES and reading.feeds(failed)
    )


def _one_stride(reading: Reading) -> tuple[int, ...] | None:
    """The stride that gives this grid by division; None where none does."""
    (height, width), (rows, columns) = reading.image.shape[2:], reading.grid_size
    step = height // rows if rows else 0
    return (step,) if step and (height // step, width // step) == (rows, columns) else None


def _learned(module: nn.Module) -> set[str]:
    """Names of the parameters, without those of buffers."""
    contents = contents_of(module)
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
    """Tokens that stand before the image's where it is added."""


def _table(module: nn.Module, flow: Flow, reading: Reading) -> _Table | None:
    """The learned table that does not fit the tokens, or is cut or stretched to fit; else None.

    A table that is reckoned and not learned, as one of sines, may be cut: the place of a token in
    it is that of its number.
    """
    learned = _learned(module)
    steps = [*flow.steps, *([flow.failed] if flow.failed else [])]
    whole = {
        known.places.origin
        for known in _tables_added(steps, reading)
        if known.places and prod(known.shape) == prod(known.places.shape)
    }
    for step in steps:
        if step.name not in SUMS:
            continue
        tokens = next((each for each in step.sources if id(each) in reading.sequence), None)
        for known in step.sources:
            places = known.places
            if tokens is None or known.of_image or places is None:
                continue
            if not isinstance(places.origin, str):  # it was resized on its way
                continue
            width = places.shape[-1]
            length = prod(places.shape[:-1])
            prefix = reading.sequence[id(tokens)]
            name = str(places.origin)
            if length == 1 and (whole - {name} or _is_no_place(name)):
                continue
            fails = step is flow.failed
            if not fails and (name not in learned or (length > 1 and not _cut(known, steps))):
                continue
            if not fails and 1 < length < prod(reading.grid_size):
                continue  # tokens share its entries, as those of one row do
            return _Table(name=name, length=length, width=width, prefix=prefix)
    return None


def _tables_added(steps: Sequence[Step], reading: Reading) -> Iterator[Known]:
    """Every learned table of several entries that is added to the tokens."""
    for step in steps:
        if step.name in SUMS and any(id(each) in reading.sequence for each in step.sources):
            for known in step.sources:
                if known.places and not known.of_image and prod(known.places.shape[:-1]) > 1:
                    yield known


def _is_no_place(name: str) -> bool:
    """Whether a learned vector is, by its name, one that every token is to get."""
    words = ("type", "mask", "bias", "scale", "gamma", "beta", "cls", "class", "token", "seg")
    return any(word in name.rpartition(".")[2].lower() for word in words)


def _cut(table: Known, steps: Sequence[Step]) -> bool:
    """Whether the first entries of a table are used, and never those behind them."""
    assert table.places is not None
    origin, width = table.places.origin, table.places.shape[-1]
    length = prod(table.places.shape[:-1])
    uses = torch.zeros(length, dtype=torch.int64)
    for step in steps:
        if step.name in MOVES:
            continue
        for known in step.sources:
            if known.places and known.places.origin == origin:
                numbers = known.places.numbers().flatten()
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


def _stated_places(module: nn.Module, cells: int, stride: int) -> int | None:
    """So many places, if an attribute of the module speaks of a grid of them; else None."""
    for owner in contents_of(module).layers.values():
        counts = [_whole(_stated(owner, name)) for name in ("num_patches", "n_patches")]
        grids = [_pair(_stated(owner, name)) for name in ("grid_size", "patches_resolution")]
        images = [_pair(_stated(owner, name)) for name in ("image_size", "img_size", "input_size")]
        counts += [prod(grid) for grid in grids if grid]
        counts += [prod(side // stride for side in image) for image in images if image and stride]
        if cells > 0 and cells in counts:
            return cells
    return None


def _named(fault: Explanation, table: str) -> Explanation:
    """A fault of the position table with its name in the sentence."""
    named = f"{table}, the position table, has"
    return replace(fault, sentence=fault.sentence.replace("The position table has", named))


def cut_table_of_patches(module: nn.Module, flow: Flow) -> Iterator[Explanation]:
    """Find a table that is cut for patches that nn.Linear makes of pixels, and no convolution.

    Args:
        module: The module that ran.
        flow: Its run.

    Returns:
        The first fault of kind "position table", or nothing.
    """
    linear = (step for step in flow.steps if step.name == "linear")
    patch, image = next(filter(None, map(_patch_of, linear)), (0, ()))
    learned = _learned(module)
    for step in flow.steps if patch else ():
        tokens = next((each.shape for each in step.of_image if len(each.shape) == 3), None)
        if step.name not in SUMS or tokens is None:
            continue
        cells = prod(side // patch for side in image[2:])
        for known in step.sources:
            places = known.places
            if known.of_image or places is None or places.origin not in learned:
                continue
            length = prod(places.shape[:-1])
            if length > 1 and places.shape[-1] == tokens[2]:
                yield from one_entry(places, cells, tokens[1])
            if prod(known.shape[:-1]) != tokens[1] or not _cut(known, flow.steps):
                continue
            try:
                told = faults(
                    Contract(
                        image_size=image[2:],  # type: ignore[arg-type]  # the image is 4-d
                        in_channels=image[1],
                        strides=(patch,),
                        embed_dim=tokens[2],
                        num_prefix_tokens=tokens[1] - cells,
                        table_length=length,
                        table_width=tokens[2],
                        num_patches=_stated_places(module, length - tokens[1] + cells, patch),
                    )
                )
            except SpecError:  # larger than any stem of ours, or fewer tokens than cells
                return
            for fault in told:
                if fault.kind == "position table":
                    yield _named(fault, str(places.origin))
            return


def _patch_of(step: Step) -> tuple[int, tuple[int, ...]] | None:
    """Side of the square patches of an image that a step is given as (b, n, d), and its shape.

    None where it is given anything else; the first patch has to be the image's first corner.
    """
    known = step.sources[0]
    places = known.places
    if places is None or places.origin != -1 or places.moved is None:
        return None
    if len(places.shape) != 4 or len(known.shape) != 3 or prod(known.shape) != prod(places.shape):
        return None
    _, channels, height, width = places.shape
    numbers = known.shape[2] // channels
    side = isqrt(numbers)
    if side < 1 or side * side * channels != known.shape[2] or height % side or width % side:
        return None
    pixels = set((places.moved[0, 0] % (height * width)).tolist())
    corner = [row * width + column for row in range(side) for column in range(side)]
    return (side, places.shape) if pixels == set(corner) else None


# ---- what attributes state ------------------------------------------------------------------


def stated_promises(module: nn.Module, flow: Flow) -> Iterator[Explanation]:
    """Hold a patch_size against the strides, by what modules say of themselves.

    Only where the convolutions of a module with a patch_size feed each other by their channels,
    and the first reads the image as it is: patches that are cut before have a stride of their own.

    Args:
        module: The module that ran.
        flow: Its run, which ended before the image had become tokens.

    Returns:
        The first fault of kind "stride", or nothing.
    """
    names = {id(parameter): name for name, parameter in contents_of(module).named}
    for owner in contents_of(module).layers.values():
        patch = _whole(_stated(owner, "patch_size"))
        convs = [
            layer for layer in contents_of(owner).layers.values() if isinstance(layer, nn.Conv2d)
        ]
        strides = [_whole(conv.stride) for conv in convs]
        feeds = all(a.out_channels == b.in_channels for a, b in pairwise(convs))
        if patch is None or not convs or not feeds or None in strides:
            continue
        if patch in (prod(filter(None, strides)), *(conv.kernel_size[0] for conv in convs)):
            continue
        read = _reads_image(names.get(id(convs[0].weight), ""), convs[0].in_channels, flow)
        if read is None:
            continue
        sizes = ("image_size", "img_size")
        image = next((size for name in sizes if (size := _pair(_stated(owner, name)))), None)
        try:
            found = faults(
                Contract(image_size=image, patch_size=patch, strides=tuple(filter(None, strides)))
            )
        except SpecError:  # larger than any stem of ours
            continue
        for fault in found:
            if fault.kind == "stride":
                yield fault if read else replace(fault, likelihood="likely")
        return


def _reads_image(weight: str, channels: int, flow: Flow) -> bool | None:
    """Whether a convolution was seen to read the image as it is; None where it does not.

    False where it did not run, and could by its channels.
    """
    steps = [*flow.steps, *([flow.failed] if flow.failed else [])]
    runs = [
        step
        for step in steps
        if step.name == "conv2d" and len(step.sources) > 1 and step.sources[1].name == weight
    ]
    if runs:
        places = runs[0].sources[0].places
        whole = runs[0].sources[0].at_home and places is not None and places.origin == -1
        return True if whole else None
    return False if channels in (1, 3, 4) else None


def _stated_patch(module: nn.Module, reading: Reading) -> int | None:
    """What `patch_size` around the last convolution says, where it speaks of all the strides.

    One that is the kernel of a first convolution whose windows overlap is the side of these; one
    that is right for the convolutions beside it says nothing of those elsewhere.
    """
    for name, owner in _owners(module, reading):
        patch = _whole(_stated(owner, "patch_size"))
        if patch is None:
            continue
        start = f"{name}." if name else ""
        pairs = list(zip(reading.links, reading.layers, strict=True))
        beside = [conv for link, conv in pairs if link.name.startswith(start)]
        direct = [
            conv
            for link, conv in pairs
            if link.name.startswith(start) and "." not in link.name.removeprefix(start)
        ]
        fits = any(prod(conv.stride for conv in convs) == patch for convs in (beside, direct))
        first = pairs[0][1]
        if fits or (first.kernel_size == patch and first.stride < patch):
            return None
        return patch
    return None


def _stated_width(module: nn.Module, flow: Flow, reading: Reading) -> Iterator[Explanation]:
    """What the module beside the last convolution says of the width, against its channels.

    A width that some other layer has may be that of a later stage, unless the run raised where
    the tokens met it.
    """
    met: set[int] = set()
    if flow.failed and reading.feeds(flow.failed):
        met = {size for known in flow.failed.sources for size in known.shape}
    widths = {size for parameter in contents_of(module).parameters for size in parameter.shape}
    for name, owner in _owners(module, reading)[:1]:
        for attribute in ("embed_dim", "hidden_dim", "hidden_size"):
            stated, width = _whole(_stated(owner, attribute)), reading.width
            if stated is None or stated == width or (stated in widths - met):
                continue
            field = f"{name}.{attribute}" if name else attribute
            last = reading.links[-1].name
            yield explain(
                "width",
                f"{last} gives tokens of {width} numbers, and {field} says {stated}.",
                f"Let {last} have {stated} output channels.",
                f"Or set {attribute} to {width}.",
                because="the channels of the last convolution are the numbers of a token",
                likelihood="certain",
                numbers={"embed_dim": stated, "out_channels": width},
            )


def _owners(module: nn.Module, reading: Reading) -> list[tuple[str, nn.Module]]:
    """The modules around the last convolution, the innermost first, containers left out."""
    if not reading.links or not reading.links[-1].name:
        return []
    layers = contents_of(module).layers
    owners = []
    name = reading.links[-1].name
    while name:
        name = name.rpartition(".")[0]
        owner = layers.get(name)
        if owner is not None and not isinstance(owner, (nn.Sequential, nn.ModuleList)):
            owners.append((name, owner))
    return owners


def _stated(owner: nn.Module, attribute: str) -> Any:
    """What an attribute says; None where there is none, or where the user's property raises."""
    try:
        return getattr(owner, attribute, None)
    except BaseException as error:
        if is_to_pass(error):
            raise
        return None  # it is the user's code


def _whole(value: Any) -> int | None:
    """A whole number, or the one that a pair says twice."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _pair(value: Any) -> tuple[int, int] | None:
    """A height and a width, where a value can be them."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = len(pair) == 2 and all(_whole(side) for side in pair)
    return (pair[0], pair[1]) if whole else None
