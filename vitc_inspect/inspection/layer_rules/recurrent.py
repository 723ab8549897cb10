"""Rules for recurrent layers: LSTM, GRU, RNN and their cells."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from torch import nn

from vitc_inspect.inspection.layer_rules.shapes import first_shape
from vitc_inspect.tracing.rules import Expectation, Shape, register_rule


@register_rule(nn.LSTM, nn.GRU, nn.RNN)
def _recurrent(layer: nn.LSTM, shapes: Mapping[str, Shape]) -> Expectation:
    """Every matrix of every layer and direction, once at each step of each sequence."""
    shape = first_shape(shapes)
    directions, made = 1 + layer.bidirectional, layer.proj_size or layer.hidden_size
    weights = biases = 0
    for number in range(layer.num_layers):
        given = directions * made if number else layer.input_size
        gates = _gates(layer) * layer.hidden_size
        weights += directions * (gates * (given + made) + layer.proj_size * layer.hidden_size)
        biases += directions * 2 * gates * bool(layer.bias)
    return Expectation(
        out_shape=(*shape[:-1], directions * made),
        params=weights + biases,
        macs=prod(shape[:-1]) * weights,
        rule=f"the last axis: {layer.input_size} → {directions * made}",
    )


@register_rule(nn.LSTMCell, nn.GRUCell, nn.RNNCell)
def _cell(layer: nn.LSTMCell, shapes: Mapping[str, Shape]) -> Expectation:
    """One step of one layer."""
    shape = first_shape(shapes)
    gates = _gates(layer) * layer.hidden_size
    weights = gates * (layer.input_size + layer.hidden_size)
    return Expectation(
        out_shape=(*shape[:-1], layer.hidden_size),
        params=weights + 2 * gates * bool(layer.bias),
        macs=prod(shape[:-1]) * weights,
        rule=f"the last axis: {layer.input_size} → {layer.hidden_size}",
    )


def _gates(layer: nn.Module) -> int:
    """Matrices of a step."""
    if isinstance(layer, (nn.LSTM, nn.LSTMCell)):
        return 4
    return 3 if isinstance(layer, (nn.GRU, nn.GRUCell)) else 1
