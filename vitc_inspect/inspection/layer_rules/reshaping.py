"""Rules for layers that only rearrange values: Flatten, Unflatten, einops, the class token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from einops.layers.torch import Rearrange, Reduce
from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.layer_rules.shapes import first_shape, moved
from vitc_inspect.model.modules import ClassToken, FirstToken
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.Flatten)
def _flatten(layer: nn.Flatten, shapes: Mapping[str, Shape]) -> Expectation:
    """All axes from one to another as one."""
    shape = first_shape(shapes, axes=1)
    first, last = (axis % len(shape) for axis in (layer.start_dim, layer.end_dim))
    merged = shape[first : last + 1]
    return moved(
        (*shape[:first], prod(merged), *shape[last + 1 :]),
        f"{'·'.join(map(str, merged))} = {prod(merged)}",
    )


@register_rule(nn.Unflatten)
def _unflatten(layer: nn.Unflatten, shapes: Mapping[str, Shape]) -> Expectation | None:
    """One axis as several; of one of them the length may be left open."""
    if isinstance(layer.dim, str):
        return None  # an axis by its name, of which a shape knows nothing
    shape = first_shape(shapes, axes=1)
    axis = layer.dim % len(shape)
    sizes: tuple[int, ...] = tuple(layer.unflattened_size)
    known = prod(size for size in sizes if size != -1)
    made = [shape[axis] // known if size == -1 else size for size in sizes]
    return moved(
        (*shape[:axis], *made, *shape[axis + 1 :]), f"{shape[axis]} = {'·'.join(map(str, made))}"
    )


@register_rule(ClassToken)
def _class_token(layer: ClassToken, shapes: Mapping[str, Shape]) -> Expectation:
    """One more token, which is learned, before the others."""
    batch, tokens, width = first_shape(shapes, axes=3)[:3]
    return Expectation(
        out_shape=(batch, tokens + 1, width),
        params=int(layer.token.shape[-1]),
        macs=0,
        rule=f"{tokens} + 1 class token = {tokens + 1}",
    )


@register_rule(FirstToken)
def _first_token(_: FirstToken, shapes: Mapping[str, Shape]) -> Expectation:
    """The first token of each image."""
    batch, _tokens, *rest = first_shape(shapes, axes=2)
    return moved((batch, *rest), "the first token alone")


@register_rule(Rearrange, Reduce)
def _einops(layer: Rearrange | Reduce, shapes: Mapping[str, Shape]) -> Expectation:
    """The right side of the pattern, its axes measured on the left side."""
    shape = first_shape(shapes)
    pattern, lengths = layer.pattern, dict(layer.axes_lengths)
    left, right = (_groups(side) for side in pattern.split("->"))
    if [_DOTS] in left:
        at = left.index([_DOTS])
        many = len(shape) - len(left) + 1
        dots = [f".{number}" for number in range(many)]  # no name of a user's axis
        left = [*left[:at], *([dot] for dot in dots), *left[at + 1 :]]
        right = [
            part
            for group in right
            for part in ([[dot] for dot in dots] if group == [_DOTS] else [_spread(group, dots)])
        ]
    if len(left) != len(shape):
        raise _no_fit(pattern, shape, f"the left side has {len(left)} axes")
    for group, size in zip(left, shape, strict=True):
        unknown = [axis for axis in group if axis not in lengths and not axis.isdecimal()]
        known = prod(
            int(axis) if axis.isdecimal() else lengths[axis]
            for axis in group
            if axis not in unknown
        )
        if len(unknown) > 1 or size % known or (not unknown and size != known):
            raise _no_fit(pattern, shape, f"{size} is not {' * '.join(group)}")
        if unknown:
            lengths[unknown[0]] = size // known
    out_shape = tuple(
        prod(int(axis) if axis.isdecimal() else lengths[axis] for axis in group) for group in right
    )
    return moved(out_shape, pattern)


def _no_fit(pattern: str, shape: Shape, reason: str) -> SpecError:
    return SpecError(
        "pattern", pattern, f"{reason}, the shape is {shape}", "Fit the left side to the shape"
    )


_DOTS = "…"  # stands for several axes; "..." in brackets for all of them as one


def _groups(side: str) -> list[list[str]]:
    """The axes of one side of a pattern, each with the names it is made of."""
    tokens = re.findall(r"\([^)]*\)|\.\.\.|\w+", side.replace(_DOTS, "..."))
    return [[_DOTS] if token == "..." else re.findall(r"\.\.\.|\w+", token) for token in tokens]


def _spread(group: list[str], dots: list[str]) -> list[str]:
    """A group with the axes that its ellipsis stands for."""
    return [axis for name in group for axis in (dots if name == "..." else [name])]
