"""What arithmetic says of one call of a known layer: its output's shape, its parameters, its MACs.

The numbers come from the layer's attributes and from the shapes that it was given. Nothing runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from einops.layers.torch import Rearrange, Reduce
from torch import nn

from vitc_inspect.arithmetic import (
    conv_macs,
    conv_params,
    linear_attention_macs,
    linear_macs,
    norm_params,
    output_size,
    softmax_attention_macs,
)
from vitc_inspect.errors import SpecError
from vitc_inspect.model import (
    ChannelNorm,
    ClassToken,
    Conv2d,
    FirstToken,
    LinearAttention,
    PositionTable,
    SoftmaxAttention,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one call should give."""

    out_shape: Shape | None
    """Shape of the first output, with the batch; None where the layer cannot take its input."""
    params: int | None
    """Learned numbers of the layer; None where its weights are worked out from others."""
    macs: int | None
    """Multiply-accumulates of the batch; None where there is no output."""
    rule: str
    """How the shape comes about, with the numbers in it."""


def expect(layer: nn.Module, shapes: Mapping[str, Shape]) -> Expectation | None:
    """Work out what a layer makes of inputs of these shapes.

    Args:
        layer: The layer. A subclass that runs a forward of its own is not known: timm's
            Conv2dSame is a convolution that pads in a function and shows a padding of 0.
        shapes: Shape of each tensor that the layer is given, with the batch, by its place
            among the arguments ("0", "1") or its name.

    Returns:
        The expectation, or None for a layer that no rule stands for here.
    """
    rule = _rule_for(layer)
    if rule is None or not shapes:
        return None
    shape = next(iter(shapes.values()))
    try:
        out_shape, macs, words = rule(layer, shape, shapes)
    except SpecError as error:
        out_shape, macs, words = None, None, str(error)
    # as by torch.nn.utils.parametrizations, or by a hook as weight_norm's that sets the weight
    worked_out = hasattr(layer, "parametrizations") or "weight" in vars(layer)
    return Expectation(
        out_shape=out_shape,
        params=None if worked_out else _params(layer),
        macs=macs,
        rule=words,
    )


_Outcome = tuple[Shape, int, str]
_Rule = Callable[..., _Outcome]  # of the layer, its first shape and all its shapes

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2d)
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE_POOLS = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_PLAIN = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
    *(nn.LeakyReLU, nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU),
    *(nn.Sigmoid, nn.Softmax, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh),
    *(nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity),
)
_SAME_SHAPE = (
    *(*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU, *_PLAIN),
    *(ChannelNorm, PositionTable),
)


def _conv(layer: nn.Conv2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """A convolution along each of its axes: int, tuple, "same" or "valid" padding."""
    axes, taps = len(layer.kernel_size), prod(layer.kernel_size)
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride = layer.kernel_size[axis], layer.stride[axis]
        if layer.padding == "same":
            side, word = size, f'{size} (padding "same")'
        else:
            padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
            side, word = _windows(size, kernel, stride, padding, layer.dilation[axis])
        sides.append(side)
        words.append(word)
    # a kernel of several taps costs what as many kernels of one tap cost
    one_tap = conv_macs(
        layer.in_channels,
        (layer.out_channels, prod(sides), 1),
        kernel_size=1,
        groups=layer.groups,
    )
    lead = shape[: -axes - 1]
    out_shape = (*lead, layer.out_channels, *sides)
    return out_shape, prod(lead) * taps * one_tap, _per_axis(words)


def _pool(layer: nn.MaxPool2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The largest or the mean of each window; `ceil_mode` also takes a last, cut one."""
    axes = next(number for number, kind in _pools_by_axes() if isinstance(layer, kind))
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride, padding = (
            _along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding)
        )
        dilation = _along(getattr(layer, "dilation", 1), axis)
        extra = stride - 1 if layer.ceil_mode else 0
        side, word = _windows(size + extra, kernel, stride, padding, dilation)
        if layer.ceil_mode and (side - 1) * stride >= size + padding:
            side -= 1  # a window must not begin in the padding behind the map
        if layer.ceil_mode:
            word = f"{side} (the last window may be cut)"
        sides.append(side)
        words.append(word)
    return (*shape[:-axes], *sides), 0, _per_axis(words)


def _pools_by_axes() -> list[tuple[int, tuple[type[nn.Module], type[nn.Module]]]]:
    pairs = zip(_MAX_POOLS, _AVERAGE_POOLS, strict=True)
    return [(axes, pair) for axes, pair in enumerate(pairs, start=1)]


def _adaptive_pool(layer: nn.AdaptiveAvgPool2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """As many windows as were asked for; where none were, as many as the input has positions."""
    axes = int(type(layer).__name__[-2])  # the class names its axes: AdaptiveAvgPool2d
    asked = [_along(layer.output_size, axis) for axis in range(axes)]
    sides = [
        size if side is None else side for size, side in zip(shape[-axes:], asked, strict=True)
    ]
    return (*shape[:-axes], *sides), 0, "the output_size that was asked for"


def _linear(layer: nn.Linear, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """A linear layer over the last axis."""
    if shape[-1] != layer.in_features:
        raise SpecError(
            "in_features",
            layer.in_features,
            f"the last axis of {shape} has {shape[-1]} numbers",
            f"Use {shape[-1]}, or bring the axis of {layer.in_features} numbers to the end",
            shape[-1],
        )
    macs = linear_macs(prod(shape[:-1]), layer.in_features, layer.out_features)
    words = f"the last axis: {layer.in_features} → {layer.out_features}"
    return (*shape[:-1], layer.out_features), macs, words


def _same(_: nn.Module, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    """A layer that changes numbers and no shape."""
    return shape, 0, "the shape of the input"


def _flatten(layer: nn.Flatten, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """All axes from one to another as one."""
    first, last = (axis % len(shape) for axis in (layer.start_dim, layer.end_dim))
    merged = shape[first : last + 1]
    words = f"{'·'.join(map(str, merged))} = {prod(merged)}"
    return (*shape[:first], prod(merged), *shape[last + 1 :]), 0, words


def _einops(layer: Rearrange | Reduce, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The right side of the pattern, its axes measured on the left side."""
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
    return out_shape, 0, pattern


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


def _attention(layer: nn.MultiheadAttention, shape: Shape, shapes: Mapping[str, Shape]) -> _Outcome:
    """Queries, keys and values projected, compared, mixed, and projected once more."""
    query = shapes.get("0", shapes.get("query", shape))
    key = shapes.get("1", shapes.get("key", query))
    value = shapes.get("2", shapes.get("value", key))
    sequence = 1 if layer.batch_first and len(query) == 3 else 0
    width, queries, keys = layer.embed_dim, query[sequence], key[sequence]
    batch = prod(query) // (queries * query[-1])
    seen = keys + (layer.bias_k is not None) + bool(layer.add_zero_attn)
    projections = (
        2 * linear_macs(queries, width, width)
        + linear_macs(keys, key[-1], width)
        + linear_macs(keys, value[-1], width)
    )
    # linear_macs of every query with every key, then with every value
    compared = 2 * linear_macs(queries, seen, width)
    return query, batch * (projections + compared), "the shape of the queries"


def _class_token(_: ClassToken, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    words = f"{shape[1]} + 1 class token = {shape[1] + 1}"
    return (shape[0], shape[1] + 1, shape[2]), 0, words


def _first_token(_: FirstToken, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    return (shape[0], *shape[2:]), 0, "the first token alone"


def _softmax(_: SoftmaxAttention, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    batch, tokens, triple = shape
    macs = batch * softmax_attention_macs(tokens, triple // 3)
    return (batch, tokens, triple // 3), macs, f"{triple} / 3 = {triple // 3}"


def _linear_attention(layer: LinearAttention, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    batch, tokens, triple = shape
    width = triple // 3
    macs = batch * linear_attention_macs(tokens, width, width // layer.num_heads)
    return (batch, tokens, width), macs, f"{triple} / 3 = {width}"


_RULES: tuple[tuple[tuple[type[nn.Module], ...], _Rule], ...] = (
    (_CONVOLUTIONS, _conv),
    ((*_MAX_POOLS, *_AVERAGE_POOLS), _pool),
    (_ADAPTIVE_POOLS, _adaptive_pool),
    ((nn.Linear,), _linear),
    (_SAME_SHAPE, _same),
    ((nn.Flatten,), _flatten),
    ((Rearrange, Reduce), _einops),
    ((nn.MultiheadAttention,), _attention),
    ((ClassToken,), _class_token),
    ((FirstToken,), _first_token),
    ((SoftmaxAttention,), _softmax),
    ((LinearAttention,), _linear_attention),
)


def _rule_for(layer: nn.Module) -> _Rule | None:
    """The rule of the first class in the layer's line whose forward the layer really runs."""
    kind = type(layer)
    if "forward" in vars(layer):
        return None
    for ancestor in kind.__mro__:
        for kinds, rule in _RULES:
            # the same forward, and the same helper that a convolution's forward calls
            if ancestor in kinds and all(
                getattr(kind, name, None) is getattr(ancestor, name, None)
                for name in ("forward", "_conv_forward")
            ):
                return rule
    return None


def _params(layer: nn.Module) -> int:
    """Learned numbers, from the attributes that say how many there are to be."""
    if isinstance(layer, _CONVOLUTIONS):
        weights = conv_params(
            layer.in_channels, layer.out_channels, kernel_size=1, groups=layer.groups, bias=False
        )
        return weights * prod(layer.kernel_size) + (layer.bias is not None) * layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features * (layer.in_features + (layer.bias is not None))
    if isinstance(layer, _BATCH_NORMS):
        return norm_params(layer.num_features) if layer.affine else 0
    if isinstance(layer, nn.GroupNorm):
        return norm_params(layer.num_channels) if layer.affine else 0
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        shift = getattr(layer, "bias", None) is not None
        return prod(layer.normalized_shape) * (1 + shift) if layer.elementwise_affine else 0
    if isinstance(layer, nn.PReLU):
        return int(layer.num_parameters)
    if isinstance(layer, nn.MultiheadAttention):
        return _attention_params(layer)
    if isinstance(layer, ClassToken):
        return int(layer.token.shape[-1])
    if isinstance(layer, PositionTable):
        return int(layer.table.numel())
    return 0


def _attention_params(layer: nn.MultiheadAttention) -> int:
    """Four square matrices, or keys and values from widths of their own, with their biases."""
    width = layer.embed_dim
    biases = 3 * width * (layer.in_proj_bias is not None)
    biases += width * (layer.out_proj.bias is not None) + 2 * width * (layer.bias_k is not None)
    return int(width * (2 * width + layer.kdim + layer.vdim) + biases)


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, str]:
    """The windows along one axis, and the formula with its numbers."""
    side = output_size(size, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
    window = dilation * (kernel - 1) + 1
    return side, f"⌊({size} + 2·{padding} − {window}) / {stride}⌋ + 1 = {side}"


def _per_axis(words: list[str]) -> str:
    """The formula of each axis, written once where all are equal."""
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def _along(value: Any, axis: int) -> Any:
    """What holds along one axis, where one number may stand for all."""
    return value[axis] if isinstance(value, (tuple, list)) else value
