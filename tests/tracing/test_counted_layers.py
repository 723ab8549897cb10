"""The products counted inside layers of torch, held against torch's counter on random shapes."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.tracing.counters import counter, some, tensor
from vitc_inspect.tracing.recorder import record_module

SHAPES = 100  # a module has to be made for each


def attended(draw):
    heads, head_dim = some(draw, 2, 2, 1, 3)
    width, kdim, vdim = heads * head_dim, *some(draw, 2, 2)
    options = draw.choice(({}, {"add_bias_kv": True}, {"add_zero_attn": True}))
    first = draw.random() < 0.5
    layer = nn.MultiheadAttention(width, heads, kdim=kdim, vdim=vdim, batch_first=first, **options)
    if draw.random() < 0.3:
        layer, kdim, vdim = nn.MultiheadAttention(width, heads, batch_first=first), width, width
    batch, queries, keys = some(draw, 3, 3)
    shapes = [(batch, queries, width), (batch, keys, kdim), (batch, keys, vdim)]
    given = [tensor(*shape) if first else tensor(*shape).transpose(0, 1) for shape in shapes]
    if not options and draw.random() < 0.3:
        given = [tensor(*shape[1:]) for shape in shapes]
    return layer, given, {"need_weights": draw.random() < 0.5}


def recurrent(draw):
    kind = draw.choice((nn.LSTM, nn.GRU, nn.RNN))
    width, hidden, batch, steps = some(draw, 4, 4, 2)
    options = {
        "num_layers": draw.randint(1, 3), "bidirectional": draw.random() < 0.5,
        "batch_first": draw.random() < 0.5, "bias": draw.random() < 0.5,
    }  # fmt: skip
    if kind is nn.LSTM and draw.random() < 0.5:
        options["proj_size"] = draw.randint(1, hidden - 1)
    if kind is nn.RNN:
        options["nonlinearity"] = draw.choice(("tanh", "relu"))
    layer = kind(width, hidden, **options)
    x = tensor(batch, steps, width)
    if draw.random() < 0.2:
        return layer, [x[0]], {}
    if draw.random() < 0.3:
        lengths = torch.tensor([draw.randint(1, steps) for _ in range(batch)])
        sides = x if options["batch_first"] else x.transpose(0, 1)
        return (
            layer,
            [
                nn.utils.rnn.pack_padded_sequence(
                    sides, lengths, options["batch_first"], enforce_sorted=False
                )
            ],
            {},
        )
    return layer, [x], {}


def cell(draw):
    kind = draw.choice((nn.LSTMCell, nn.GRUCell, nn.RNNCell))
    width, hidden, batch = some(draw, 3, 3, 2)
    return kind(width, hidden, bias=draw.random() < 0.5), [tensor(batch, width)], {}


def convolving(draw):
    axes = draw.randint(1, 3)
    kind = getattr(nn, draw.choice((f"Conv{axes}d", f"ConvTranspose{axes}d")))
    groups = draw.randint(1, 2)
    sides = {"stride": draw.randint(1, 2), "groups": groups, "bias": draw.random() < 0.5}
    layer = kind(2 * groups, 3 * groups, draw.randint(1, 3), **sides)
    return layer, [tensor(2, 2 * groups, *some(draw, axes, axes, 4, 6))], {}


def moving(draw):
    layer, shape = draw.choice(
        (
            (nn.Embedding(9, 4), None),
            (nn.EmbeddingBag(9, 4), None),
            (nn.PixelShuffle(2), (1, 8, 3, 3)),
            (nn.PixelUnshuffle(2), (1, 2, 4, 6)),
            (nn.Unfold(2), (1, 2, 4, 6)),
            (nn.Fold((4, 4), 2, stride=2), (1, 8, 4)),
            (nn.Upsample(scale_factor=2), (1, 2, 3, 3)),
            (nn.Upsample(size=(5, 7), mode="bicubic"), (1, 2, 3, 3)),
            (nn.UpsamplingBilinear2d(scale_factor=2), (1, 2, 3, 3)),
            (nn.ZeroPad2d(1), (1, 2, 3, 3)),
            (nn.ReflectionPad2d(1), (1, 2, 3, 3)),
            (nn.LocalResponseNorm(2), (1, 2, 3, 3)),
            (nn.InstanceNorm2d(2, affine=True), (1, 2, 3, 3)),
            (nn.CosineSimilarity(), (2, 3, 4)),
            (nn.ChannelShuffle(2), (1, 4, 3, 3)),
            (nn.Softmax2d(), (1, 4, 3, 3)),
            (nn.LPPool2d(2, 2), (1, 4, 4, 4)),
            (nn.MaxUnpool2d(2), "indices"),
        )
    )
    if shape is None:
        return layer, [torch.randint(0, 9, (2, 5))], {}
    if shape == "indices":
        return layer, list(functional.max_pool2d(tensor(1, 2, 4, 4), 2, return_indices=True)), {}
    return layer, [tensor(*shape)] * (2 if isinstance(layer, nn.CosineSimilarity) else 1), {}


@pytest.mark.parametrize("case", [attended, recurrent, cell, convolving, moving])
def test_a_layer_counts_as_torchs_dispatcher_does(case):
    draw = random.Random(case.__name__)
    for _ in range(SHAPES):
        layer, given, named = case(draw)
        layer.eval()
        recording = record_module(layer, *given, **named)
        assert (recording.failure, recording.uncounted) == (None, ())
        # one kernel for all of a recurrent layer is one that torch's counter has no formula for
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), counter() as theirs:
            layer(*given, **named)
        assert recording.macs == theirs.get_total_flops() // 2, (
            layer,
            [x.shape for x in given if isinstance(x, torch.Tensor)],
        )
