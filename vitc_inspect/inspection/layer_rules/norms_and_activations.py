"""Rules for layers that keep the shape (norms, activations, dropout), and for GLU."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import first_shape, moved
from vitc_inspect.model.modules import ChannelNorm, PositionTable
from vitc_inspect.stem.arithmetic import norm_params
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


def _same(shapes: Mapping[str, Shape], params: int) -> Expectation:
    """A layer that changes numbers and no shape."""
    shape = first_shape(shapes)
    return Expectation(out_shape=shape, params=params, macs=0, rule="the shape of the input")


@register_rule(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
@register_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def _batch_norm(layer: nn.BatchNorm2d, shapes: Mapping[str, Shape]) -> Expectation:
    """A scale and a shift for each channel."""
    return _same(shapes, norm_params(layer.num_features) if layer.affine else 0)


@register_rule(nn.GroupNorm)
def _group_norm(layer: nn.GroupNorm, shapes: Mapping[str, Shape]) -> Expectation:
    """A scale and a shift for each channel, normalised by groups of them."""
    return _same(shapes, norm_params(layer.num_channels) if layer.affine else 0)


@register_rule(nn.LayerNorm, nn.RMSNorm, ChannelNorm)
def _layer_norm(layer: nn.LayerNorm, shapes: Mapping[str, Shape]) -> Expectation:
    """A scale, and of a LayerNorm a shift, for each number of the last axes."""
    shift = getattr(layer, "bias", None) is not None
    params = prod(layer.normalized_shape) * (1 + shift) if layer.elementwise_affine else 0
    return _same(shapes, params)


@register_rule(nn.PReLU)
def _prelu(layer: nn.PReLU, shapes: Mapping[str, Shape]) -> Expectation:
    """An activation with a slope that is learned, for all channels or for each."""
    return _same(shapes, int(layer.num_parameters))


@register_rule(PositionTable)
def _position_table(layer: PositionTable, shapes: Mapping[str, Shape]) -> Expectation:
    """A number added to each number of each token."""
    return _same(shapes, int(layer.table.numel()))


@register_rule(
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
    *(nn.LeakyReLU, nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU),
    *(nn.Sigmoid, nn.Softmax, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh),
    *(nn.RReLU, nn.Softmax2d, nn.Tanhshrink, nn.Threshold, nn.ChannelShuffle, nn.LocalResponseNorm),
    *(nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity),
)
def _without_params(_: nn.Module, shapes: Mapping[str, Shape]) -> Expectation:
    """A layer that learns nothing."""
    return _same(shapes, 0)


@register_rule(nn.GLU)
def _glu(layer: nn.GLU, shapes: Mapping[str, Shape]) -> Expectation:
    """Half of an axis opens and shuts the other half."""
    shape = first_shape(shapes, axes=1)
    axis = layer.dim % len(shape)
    return moved(
        (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]),
        f"{shape[axis]} / 2 = {shape[axis] // 2}",
    )
