"""Rules for linear layers and tables: Linear, Bilinear, Embedding."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.layer_rules.shapes import first_shape
from vitc_inspect.stem.arithmetic import linear_macs
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.Linear)
def _linear(layer: nn.Linear, shapes: Mapping[str, Shape]) -> Expectation:
    """A linear layer over the last axis."""
    shape = first_shape(shapes, axes=1)
    if shape[-1] != layer.in_features:
        raise SpecError(
            "in_features",
            layer.in_features,
            f"the last axis of {shape} has {shape[-1]} numbers",
            f"Use {shape[-1]}, or bring the axis of {layer.in_features} numbers to the end",
            shape[-1],
        )
    return Expectation(
        out_shape=(*shape[:-1], layer.out_features),
        params=layer.out_features * (layer.in_features + (layer.bias is not None)),
        macs=linear_macs(prod(shape[:-1]), layer.in_features, layer.out_features),
        rule=f"the last axis: {layer.in_features} → {layer.out_features}",
    )


@register_rule(nn.Bilinear)
def _bilinear(layer: nn.Bilinear, shapes: Mapping[str, Shape]) -> Expectation:
    """Each output: the first input with a matrix, then with the second input."""
    first, second, made = layer.in1_features, layer.in2_features, layer.out_features
    out_shape = (*first_shape(shapes)[:-1], made)
    return Expectation(
        out_shape=out_shape,
        params=made * (first * second + (layer.bias is not None)),
        macs=prod(out_shape) * (first + 1) * second,
        rule=f"the last axes: {first} and {second} → {made}",
    )


@register_rule(nn.Embedding)
def _embedding(layer: nn.Embedding, shapes: Mapping[str, Shape]) -> Expectation:
    """A row of the table for each number."""
    return Expectation(
        out_shape=(*first_shape(shapes), layer.embedding_dim),
        params=layer.num_embeddings * layer.embedding_dim,
        macs=0,
        rule=f"{layer.embedding_dim} numbers for each",
    )
