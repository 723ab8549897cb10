"""Errors of indexing: an index out of range, a mask of the wrong length."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    explain,
    parse_sizes,
    unknown_cause,
)

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"index (?P<index>\d{1,12}) is out of bounds for dimension \d with size"
    r" (?P<size>\d{1,12})"
    r"|index out of range in self"
)
def _index(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An index out of range, of a parameter or of nn.Embedding."""
    groups = match.groupdict()
    weight = error.facts.attributes.get("weight", ()) if groups["size"] is None else ()
    size = int(groups["size"]) if groups["size"] else weight[0] if len(weight) == 2 else None
    if size is None:
        yield unknown_cause(
            "An index reaches beyond the end of a table, nn.Embedding's weight for example",
            error,
            "Give the table as many entries as there are tokens, or cut the ids.",
            numbers={},
        )
        return
    at = f" at index {groups['index']}" if groups["index"] else ""
    relative = ""
    if size % 2:
        side = (size + 1) // 2
        relative = (
            f" If its entries are relative positions, {size} = 2·{side} − 1: a side of {side}."
        )
    yield explain(
        "table length",
        f"A table of {size} entries is read{at}, out of range: there are more tokens, words or"
        f" positions than entries.{relative}",
        "Give an image or a text of the size that the table was made for.",
        "Or interpolate the table along that axis to the size at hand.",
        because=f"the entries are counted from 0 to {size - 1}",
        numbers={"table": size},
    )


@DECODERS.matching(
    rf"shape of the mask (?P<mask>{SHAPE}) at index (?P<axis>\d) does not match"
    rf" the shape of the indexed tensor (?P<shape>{SHAPE})"
)
def _boolean_mask(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A boolean mask of the wrong length."""
    mask, shape = parse_sizes(match["mask"]), parse_sizes(match["shape"])
    axis = int(match["axis"])
    if axis >= min(len(mask), len(shape)) or mask[axis] == shape[axis]:
        return
    yield explain(
        "mask",
        f"A tensor of {by(shape)} is indexed by a mask of {by(mask)}: along axis {axis} it has"
        f" {shape[axis]}, and the mask {mask[axis]}. In a model of images and text, each image"
        f" takes as many tokens as it has patches, which the mask does not include.",
        f"Make the mask {shape[axis]} long: put False where the {shape[axis] - mask[axis]} others"
        f" are."
        if shape[axis] > mask[axis]
        else f"Make the mask {shape[axis]} long, as the tensor is cut or pooled.",
        because="the message names both shapes",
        numbers={"axis": axis, "size": shape[axis], "mask": mask[axis]},
    )
