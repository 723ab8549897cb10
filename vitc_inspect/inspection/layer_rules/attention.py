"""Rules for attention layers: torch's MultiheadAttention and the two attentions of this package."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import first_shape
from vitc_inspect.model.modules import LinearAttention, SoftmaxAttention
from vitc_inspect.stem.arithmetic import linear_attention_macs, linear_macs, softmax_attention_macs
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.MultiheadAttention)
def _multi_head_attention(layer: nn.MultiheadAttention, shapes: Mapping[str, Shape]) -> Expectation:
    """Queries, keys and values projected, compared, mixed, and projected once more."""
    shape = first_shape(shapes, axes=2)
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
    return Expectation(
        out_shape=query,
        params=_params(layer),
        macs=batch * (projections + compared),
        rule="the shape of the queries",
    )


def _params(layer: nn.MultiheadAttention) -> int:
    """Four square matrices, or keys and values from widths of their own, with their biases."""
    width = layer.embed_dim
    biases = 3 * width * (layer.in_proj_bias is not None)
    biases += width * (layer.out_proj.bias is not None) + 2 * width * (layer.bias_k is not None)
    return int(width * (2 * width + layer.kdim + layer.vdim) + biases)


@register_rule(SoftmaxAttention)
def _softmax_attention(_: SoftmaxAttention, shapes: Mapping[str, Shape]) -> Expectation:
    """Each token compared with each, from queries, keys and values side by side."""
    batch, tokens, triple = first_shape(shapes, axes=3)
    return Expectation(
        out_shape=(batch, tokens, triple // 3),
        params=0,
        macs=batch * softmax_attention_macs(tokens, triple // 3),
        rule=f"{triple} / 3 = {triple // 3}",
    )


@register_rule(LinearAttention)
def _linear_attention(layer: LinearAttention, shapes: Mapping[str, Shape]) -> Expectation:
    """Keys and values multiplied first, then with each query."""
    batch, tokens, triple = first_shape(shapes, axes=3)
    width = triple // 3
    return Expectation(
        out_shape=(batch, tokens, width),
        params=0,
        macs=batch * linear_attention_macs(tokens, width, width // layer.num_heads),
        rule=f"{triple} / 3 = {width}",
    )
