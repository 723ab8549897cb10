"""Check attributes of a module, such as `patch_size`, against its convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

from torch import nn

from vitc_inspect.audit.stem_finder import StemPath
from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis.contract import Contract
from vitc_inspect.diagnosis.contract_faults import faults
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow
from vitc_inspect.tracing.interrupts import is_to_pass
from vitc_inspect.tracing.module_tree import contents_of


def stated_stride_faults(flow: Flow) -> Iterator[Explanation]:
    """Check the `patch_size` attributes of a module against the strides of its convolutions.

    Only where the convolutions of a module with a patch_size feed each other by their channels,
    and the first reads the image as it is: patches that are cut before have a stride of their own.

    Args:
        flow: The run of a module, which ended before the image had become tokens.

    Returns:
        The first fault of kind "stride", or nothing.
    """
    contents = contents_of(flow.module)
    names = {id(parameter): name for name, parameter in contents.named}
    for owner in contents.layers.values():
        patch = _whole(stated(owner, "patch_size"))
        convs = [
            layer for layer in contents_of(owner).layers.values() if isinstance(layer, nn.Conv2d)
        ]
        strides = [_whole(conv.stride) for conv in convs]
        feeds = all(a.out_channels == b.in_channels for a, b in pairwise(convs))
        if patch is None or not convs or not feeds or None in strides:
            continue
        if patch in (prod(filter(None, strides)), *(conv.kernel_size[0] for conv in convs)):
            continue
        reads = _reads_image(names.get(id(convs[0].weight), ""), convs[0].in_channels, flow)
        if reads is None:
            continue
        sizes = ("image_size", "img_size")
        image = next((size for name in sizes if (size := _pair(stated(owner, name)))), None)
        try:
            found = faults(
                Contract(image_size=image, patch_size=patch, strides=tuple(filter(None, strides)))
            )
        except SpecError:  # larger than any stem of ours
            continue
        for fault in found:
            if fault.kind == "stride":
                yield fault if reads else replace(fault, likelihood="likely")
        return


def _reads_image(weight: str, channels: int, flow: Flow) -> bool | None:
    """Whether a convolution was seen to read the image as it is; None where it does not.

    False where it did not run, and could by its channels.
    """
    runs = [
        step
        for step in flow.all_steps
        if step.name == "conv2d" and len(step.sources) > 1 and step.sources[1].name == weight
    ]
    if runs:
        positions = runs[0].sources[0].positions
        whole = runs[0].sources[0].in_map_order and positions is not None and positions.origin == -1
        return True if whole else None
    return False if channels in (1, 3, 4) else None


def stated_cells(flow: Flow, cells: int, stride: int) -> int | None:
    """Return `cells` if an attribute of the module states a grid of that many cells, else None."""
    for owner in contents_of(flow.module).layers.values():
        counts = [_whole(stated(owner, name)) for name in ("num_patches", "n_patches")]
        grids = [_pair(stated(owner, name)) for name in ("grid_size", "patches_resolution")]
        images = [_pair(stated(owner, name)) for name in ("image_size", "img_size", "input_size")]
        counts += [prod(grid) for grid in grids if grid]
        counts += [prod(side // stride for side in image) for image in images if image and stride]
        if cells > 0 and cells in counts:
            return cells
    return None


def stated_patch(flow: Flow, stem_path: StemPath) -> int | None:
    """Return the `patch_size` stated around the last convolution, if it means the total stride.

    One that is the kernel of a first convolution whose windows overlap is the side of these; one
    that is right for the convolutions beside it says nothing of those elsewhere.
    """
    for name, owner in _owners(flow, stem_path):
        patch = _whole(stated(owner, "patch_size"))
        if patch is None:
            continue
        start = f"{name}." if name else ""
        pairs = list(zip(stem_path.convs, stem_path.layers, strict=True))
        beside = [layer for conv, layer in pairs if conv.name.startswith(start)]
        direct = [
            layer
            for conv, layer in pairs
            if conv.name.startswith(start) and "." not in conv.name.removeprefix(start)
        ]
        fits = any(prod(layer.stride for layer in layers) == patch for layers in (beside, direct))
        first = pairs[0][1]
        if fits or (first.kernel_size == patch and first.stride < patch):
            return None
        return patch
    return None


def stated_width_faults(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """Check the token width that a module states against the channels of its last convolution.

    A width that some other layer has may be that of a later stage, unless the run raised where
    the tokens met it.
    """
    met: set[int] = set()
    if flow.failed and stem_path.feeds(flow.failed):
        met = {size for known in flow.failed.sources for size in known.shape}
    widths = {size for parameter in contents_of(flow.module).parameters for size in parameter.shape}
    for name, owner in _owners(flow, stem_path)[:1]:
        for attribute in ("embed_dim", "hidden_dim", "hidden_size"):
            says, width = _whole(stated(owner, attribute)), stem_path.width
            if says is None or says == width or says in widths - met:
                continue
            field = f"{name}.{attribute}" if name else attribute
            last = stem_path.convs[-1].name
            yield explain(
                "width",
                f"{last} gives tokens of {width} numbers, and {field} says {says}.",
                f"Let {last} have {says} output channels.",
                f"Or set {attribute} to {width}.",
                because="the channels of the last convolution are the numbers of a token",
                likelihood="certain",
                numbers={"embed_dim": says, "out_channels": width},
            )


def _owners(flow: Flow, stem_path: StemPath) -> list[tuple[str, nn.Module]]:
    """The modules around the last convolution, the innermost first, containers left out."""
    if not stem_path.convs or not stem_path.convs[-1].name:
        return []
    layers = contents_of(flow.module).layers
    owners = []
    name = stem_path.convs[-1].name
    while name:
        name = name.rpartition(".")[0]
        owner = layers.get(name)
        if owner is not None and not isinstance(owner, (nn.Sequential, nn.ModuleList)):
            owners.append((name, owner))
    return owners


def stated(owner: nn.Module, attribute: str) -> Any:
    """Return what an attribute says; None where there is none, or where its property raises."""
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
