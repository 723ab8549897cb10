"""What arithmetic says of one call of a known layer: its output's shape, its parameters, its MACs.

The numbers come from the layer's attributes and from the shapes that it was given. Nothing runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, prod
from typing import Any

from einops.layers.torch import Rearrange, Reduce
from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import (
    ChannelNorm,
    ClassToken,
    Conv2d,
    FirstToken,
    LinearAttention,
    PositionTable,
    SoftmaxAttention,
)
from vitc_inspect.stem.arithmetic import (
    conv_macs,
    conv_params,
    linear_attention_macs,
    linear_macs,
    norm_params,
    output_size,
    softmax_attention_macs,
)
from vitc_inspect.tracing.torch_internals import CONVOLUTION_STEP

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


def expect(
    layer: nn.Module, shapes: Mapping[str, Shape], *, arguments: int = 1
) -> Expectation | None:
    """Work out what a layer makes of inputs of these shapes.

    Args:
        layer: The layer. A subclass that runs a forward of its own is not known: timm's
            Conv2dSame is a convolution that pads in a function and shows a padding of 0.
        shapes: Shape of each tensor that the layer is given, with the batch, by its place
            among the arguments ("0", "1") or its name.
        arguments: How many arguments it is given, those that are no tensors included. A second
            one tells a transposed convolution its output's size.

    Returns:
        The expectation, or None for a layer that no rule stands for here.
    """
    rule = _rule_for(layer)
    if rule is None or not shapes or (isinstance(layer, _TRANSPOSED) and arguments > 1):
        return None
    shape = next(iter(shapes.values()))
    if isinstance(layer, nn.Unflatten) and isinstance(layer.dim, str):
        return None  # an axis by its name, of which a shape knows nothing
    try:
        out_shape, macs, words = rule(layer, shape, shapes)
    except SpecError as error:
        out_shape, macs, words = None, None, str(error)
    # as by torch.nn.utils.parametrizations, or by a hook as weight_norm's that sets the weight
    worked_out = hasattr(layer, "parametrizations") or any(
        name.startswith("weight") for name in vars(layer)
    )
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
_CHANNEL_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_PADS = (
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d),
    *(nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d),
    *(nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d),
)
_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
_CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
_PLAIN = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
    *(nn.LeakyReLU, nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU),
    *(nn.Sigmoid, nn.Softmax, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh),
    *(nn.RReLU, nn.Softmax2d, nn.Tanhshrink, nn.Threshold, nn.ChannelShuffle, nn.LocalResponseNorm),
    *(nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity),
)
_SAME_SHAPE = (
    *(*_CHANNEL_NORMS, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.PReLU, *_PLAIN),
    *(ChannelNorm, PositionTable),
)


def _conv(layer: nn.Conv2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """A convolution along each of its axes: int, tuple, "same" or "valid" padding."""
    axes, taps = len(layer.kernel_size), prod(layer.kernel_size)
    _need(shape, 1 + axes)
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


def _transposed(layer: nn.ConvTranspose2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Each place of the input spread over a window; windows overlap by what the stride leaves."""
    _need(shape, 1 + len(layer.kernel_size))
    axes, taps = len(layer.kernel_size), prod(layer.kernel_size)
    sides, words = [], []
    for axis, size in enumerate(shape[-axes:]):
        kernel, stride, padding = (
            _along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding)
        )
        window = layer.dilation[axis] * (kernel - 1) + 1
        extra = _along(layer.output_padding, axis)
        side = (size - 1) * stride + window - 2 * padding + extra
        sides.append(side)
        more = f" + {extra}" if extra else ""
        words.append(f"({size} − 1)·{stride} + {window} − 2·{padding}{more} = {side}")
    macs = prod(shape) * layer.out_channels // layer.groups * taps
    out_shape = (*shape[: -axes - 1], layer.out_channels, *sides)
    return out_shape, macs, _per_axis(words)


def _pool(layer: nn.MaxPool2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The largest or the mean of each window; `ceil_mode` also takes a last, cut one."""
    axes = next(number for number, kind in _pools_by_axes() if isinstance(layer, kind))
    _need(shape, 1 + axes)
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
    _need(shape, axes)
    asked = [_along(layer.output_size, axis) for axis in range(axes)]
    sides = [
        size if side is None else side for size, side in zip(shape[-axes:], asked, strict=True)
    ]
    return (*shape[:-axes], *sides), 0, "the output_size that was asked for"


def _linear(layer: nn.Linear, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """A linear layer over the last axis."""
    _need(shape, 1)
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
    _need(shape, 1)
    first, last = (axis % len(shape) for axis in (layer.start_dim, layer.end_dim))
    merged = shape[first : last + 1]
    words = f"{'·'.join(map(str, merged))} = {prod(merged)}"
    return (*shape[:first], prod(merged), *shape[last + 1 :]), 0, words


def _unflatten(layer: nn.Unflatten, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """One axis as several; of one of them the length may be left open."""
    _need(shape, 1)
    axis = layer.dim % len(shape)
    sizes: tuple[int, ...] = tuple(layer.unflattened_size)
    known = prod(size for size in sizes if size != -1)
    made = [shape[axis] // known if size == -1 else size for size in sizes]
    words = f"{shape[axis]} = {'·'.join(map(str, made))}"
    return (*shape[:axis], *made, *shape[axis + 1 :]), 0, words


def _embedding(layer: nn.Embedding, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """A row of the table for each number."""
    return (*shape, layer.embedding_dim), 0, f"{layer.embedding_dim} numbers for each"


def _pixel_shuffle(layer: nn.PixelShuffle, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Channels to places: r² of them make a block of r by r."""
    _need(shape, 3)
    *lead, channels, rows, columns = shape
    r = layer.upscale_factor
    words = f"{channels} / {r}² = {channels // r**2}; times {r} on each side"
    return (*lead, channels // r**2, rows * r, columns * r), 0, words


def _pixel_unshuffle(layer: nn.PixelUnshuffle, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Places to channels: a block of r by r makes r² of them."""
    _need(shape, 3)
    *lead, channels, rows, columns = shape
    r = layer.downscale_factor
    words = f"{channels}·{r}² = {channels * r**2}; each side by {r}"
    return (*lead, channels * r**2, rows // r, columns // r), 0, words


def _unfold(layer: nn.Unfold, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The numbers of each window as a column."""
    _need(shape, 3)
    *lead, channels, rows, columns = shape
    windows = []
    for axis, size in enumerate((rows, columns)):
        kernel, stride, padding, dilation = (
            _along(value, axis)
            for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        )
        windows.append(_windows(size, kernel, stride, padding, dilation)[0])
    taps = _along(layer.kernel_size, 0) * _along(layer.kernel_size, 1)
    words = f"{channels}·{taps} = {channels * taps}; {windows[0]}·{windows[1]} windows"
    return (*lead, channels * taps, prod(windows)), 0, words


def _fold(layer: nn.Fold, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The numbers of each window back in their places."""
    _need(shape, 2)
    taps = _along(layer.kernel_size, 0) * _along(layer.kernel_size, 1)
    sides = [_along(layer.output_size, axis) for axis in (0, 1)]
    words = f"{shape[-2]} / {taps} = {shape[-2] // taps}; the output_size that was asked for"
    return (*shape[:-2], shape[-2] // taps, *sides), 0, words


def _upsample(layer: nn.Upsample, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """The size that was asked for, or each side times a factor, rounded down."""
    _need(shape, 3)
    axes = range(len(shape) - 2)
    if isinstance(asked := layer.scale_factor if layer.size is None else layer.size, tuple):
        axes = range(min(len(asked), len(axes)))
    if layer.size is not None:
        sides = [_along(layer.size, axis) for axis in axes]
        return (*shape[:2], *sides), 0, "the size that was asked for"
    sides = [floor(shape[2 + axis] * _along(layer.scale_factor, axis)) for axis in axes]
    words = [
        f"⌊{shape[2 + axis]}·{_along(layer.scale_factor, axis):g}⌋ = {sides[axis]}" for axis in axes
    ]
    return (*shape[:2], *sides), 0, _per_axis(words)


def _pad(layer: nn.ZeroPad2d, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """So many places more before and behind each axis, told from the last axis on."""
    _need(shape, len(layer.padding) // 2)
    sides, words = list(shape), list[str]()
    for back in range(len(layer.padding) // 2):
        before, behind = layer.padding[2 * back : 2 * back + 2]
        axis = len(shape) - 1 - back
        sides[axis] += before + behind
        words.insert(0, f"{shape[axis]} + {before} + {behind} = {sides[axis]}")
    return tuple(sides), 0, _per_axis(words)


def _glu(layer: nn.GLU, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Half of an axis opens and shuts the other half."""
    _need(shape, 1)
    axis = layer.dim % len(shape)
    words = f"{shape[axis]} / 2 = {shape[axis] // 2}"
    return (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]), 0, words


def _bilinear(layer: nn.Bilinear, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Each output: the first input with a matrix, then with the second input."""
    made = (*shape[:-1], layer.out_features)
    words = f"the last axes: {layer.in1_features} and {layer.in2_features} → {layer.out_features}"
    return made, prod(made) * (layer.in1_features + 1) * layer.in2_features, words


_GATES: Mapping[type[nn.Module], int] = {nn.LSTM: 4, nn.GRU: 3, nn.LSTMCell: 4, nn.GRUCell: 3}
"""Matrices of a step, where it is more than one."""


def _recurrent(layer: nn.LSTM, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """Every matrix of every layer and direction, once at each step of each sequence."""
    directions, made = 1 + layer.bidirectional, layer.proj_size or layer.hidden_size
    macs = prod(shape[:-1]) * sum(inner + outer for inner, outer in _recurrent_weights(layer))
    words = f"the last axis: {layer.input_size} → {directions * made}"
    return (*shape[:-1], directions * made), macs, words


def _recurrent_weights(layer: nn.RNNBase) -> list[tuple[int, int]]:
    """Numbers of the matrices of each layer and direction: of the gates, and of a projection."""
    directions, hidden = 1 + layer.bidirectional, layer.hidden_size
    made = layer.proj_size or hidden
    weights = []
    for number in range(layer.num_layers):
        given = directions * made if number else layer.input_size
        gates = _gates(layer) * hidden * (given + made)
        weights += [(gates, layer.proj_size * hidden)] * directions
    return weights


def _gates(layer: nn.Module) -> int:
    return next((gates for kind, gates in _GATES.items() if isinstance(layer, kind)), 1)


def _cell(layer: nn.LSTMCell, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    """One step of one layer."""
    numbers = _gates(layer) * layer.hidden_size * (layer.input_size + layer.hidden_size)
    words = f"the last axis: {layer.input_size} → {layer.hidden_size}"
    return (*shape[:-1], layer.hidden_size), prod(shape[:-1]) * numbers, words


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
    _need(shape, 2)
    query = shapes.get("0", shapes.get("query", shape))
    key = shapes.get("1", shapes.get("key", query))
    value = shapes.get("2", shapes.get("value", key))
    sequence = 1 if layer.batch_first and len(query) == 3 else 0
    width, queries, keys = layer.embed_dim, query[sequence], key[sequence]
    batch = prod(query[:sequence]) * prod(query[sequence + 1 : -1])
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
    _need(shape, 3)
    words = f"{shape[1]} + 1 class token = {shape[1] + 1}"
    return (shape[0], shape[1] + 1, shape[2]), 0, words


def _first_token(_: FirstToken, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    _need(shape, 2)
    return (shape[0], *shape[2:]), 0, "the first token alone"


def _softmax(_: SoftmaxAttention, shape: Shape, __: Mapping[str, Shape]) -> _Outcome:
    _need(shape, 3)
    batch, tokens, triple = shape
    macs = batch * softmax_attention_macs(tokens, triple // 3)
    return (batch, tokens, triple // 3), macs, f"{triple} / 3 = {triple // 3}"


def _linear_attention(layer: LinearAttention, shape: Shape, _: Mapping[str, Shape]) -> _Outcome:
    _need(shape, 3)
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
    ((nn.Unflatten,), _unflatten),
    (_TRANSPOSED, _transposed),
    ((nn.Embedding,), _embedding),
    ((nn.PixelShuffle,), _pixel_shuffle),
    ((nn.PixelUnshuffle,), _pixel_unshuffle),
    ((nn.Unfold,), _unfold),
    ((nn.Fold,), _fold),
    ((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), _upsample),
    (_PADS, _pad),
    ((nn.GLU,), _glu),
    ((nn.Bilinear,), _bilinear),
    (_RECURRENT, _recurrent),
    (_CELLS, _cell),
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
                for name in ("forward", CONVOLUTION_STEP)
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
    if isinstance(layer, _TRANSPOSED):
        weights = layer.in_channels * layer.out_channels // layer.groups * prod(layer.kernel_size)
        return weights + (layer.bias is not None) * layer.out_channels
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings * layer.embedding_dim
    if isinstance(layer, nn.Bilinear):
        weights = layer.in1_features * layer.in2_features + (layer.bias is not None)
        return layer.out_features * weights
    if isinstance(layer, _RECURRENT):
        biases = 2 * _gates(layer) * layer.hidden_size * int(layer.bias)
        return sum(inner + outer + biases for inner, outer in _recurrent_weights(layer))
    if isinstance(layer, _CELLS):
        gates = _gates(layer) * layer.hidden_size
        return gates * (layer.input_size + layer.hidden_size + 2 * bool(layer.bias))
    if isinstance(layer, nn.Linear):
        return layer.out_features * (layer.in_features + (layer.bias is not None))
    if isinstance(layer, _CHANNEL_NORMS):
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


def _need(shape: Shape, axes: int) -> None:
    """Refuse an input of fewer axes."""
    if len(shape) < axes:
        raise SpecError("input", shape, f"it has fewer than {axes} axes", "Give it all its axes")


def _along(value: Any, axis: int) -> Any:
    """What holds along one axis, where one number may stand for all."""
    return value[axis] if isinstance(value, (tuple, list)) else value
