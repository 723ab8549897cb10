"""What arithmetic says of a layer, held against the layer itself; no word without a rule."""

from __future__ import annotations

import random

import pytest
import torch
from einops.layers.torch import EinMix, Rearrange, Reduce
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests import faulty
from vitc_inspect.inspection.layer_rules import expect
from vitc_inspect.inspection.module_inspection import inspect_call, inspect_module
from vitc_inspect.model.modules import ChannelNorm, ClassToken, FirstToken, PositionTable, build_vit
from vitc_inspect.stem.spec import conv_stem
from vitc_inspect.stem.vit import ViTSpec

MAP = (2, 8, 13, 10)
TOKENS = (2, 9, 8)

KNOWN = [
    (nn.Conv2d(8, 6, 3), MAP),
    (nn.Conv2d(8, 6, 3), MAP[1:]),
    (nn.Conv2d(8, 6, (3, 5), (2, 1), (1, 0), (1, 2), 2, False), MAP),
    (nn.Conv2d(8, 6, (4, 3), padding="same"), MAP),
    (nn.Conv2d(8, 6, 3, 2, padding="valid"), MAP),
    (nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect"), MAP),
    (nn.Conv1d(9, 4, 3, 2, 1), TOKENS),
    (nn.Conv3d(8, 4, (1, 2, 3), 2), (1, 8, 5, 6, 7)),
    (nn.MaxPool2d(3, 2, 1), MAP),
    (nn.MaxPool2d((3, 2), dilation=2), MAP),
    (nn.MaxPool2d(2, ceil_mode=True), MAP),
    (nn.MaxPool2d(2, 3, 1, ceil_mode=True), MAP),
    (nn.MaxPool2d(2, return_indices=True), MAP),
    (nn.AvgPool2d((2, 3), padding=(1, 1)), MAP),
    (nn.AvgPool2d(3, 2, ceil_mode=True), MAP),
    (nn.AvgPool1d(2), TOKENS),
    (nn.AdaptiveAvgPool2d(1), MAP),
    (nn.AdaptiveAvgPool2d((None, 7)), MAP),
    (nn.AdaptiveMaxPool1d(4), TOKENS),
    (type("Pooled", (nn.AdaptiveAvgPool2d,), {})(3), MAP),
    (type("Pooled", (nn.MaxPool2d,), {})(3), MAP),
    (nn.Linear(8, 5), TOKENS),
    (nn.Linear(8, 5, bias=False), (8,)),
    (nn.BatchNorm2d(8), MAP),
    (nn.BatchNorm2d(8, affine=False), MAP),
    (nn.LayerNorm(8), TOKENS),
    (nn.LayerNorm((9, 8), bias=False), TOKENS),
    (nn.LayerNorm(8, elementwise_affine=False), TOKENS),
    (nn.RMSNorm(8), TOKENS),
    (nn.GroupNorm(2, 8), MAP),
    (nn.GroupNorm(2, 8, affine=False), MAP),
    (nn.ReLU(inplace=True), MAP),
    (nn.GELU(), TOKENS),
    (nn.SiLU(), MAP),
    (nn.PReLU(8), MAP),
    (nn.Softmax(-1), TOKENS),
    (nn.Dropout(0.5), TOKENS),
    (nn.Dropout2d(0.5), MAP),
    (nn.Identity(), MAP),
    (nn.Flatten(), MAP),
    (nn.Flatten(2), MAP),
    (nn.Flatten(-3, -2), MAP),
    (Rearrange("b d rows columns -> b (rows columns) d"), MAP),
    (Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=13, q=5), MAP),
    (Rearrange("b ... -> ... b"), MAP),
    (Rearrange("b c ... -> b (...) c"), MAP),
    (Rearrange("b n d -> b n 1 d"), TOKENS),
    (Rearrange("b (n k) d -> (b k) n d", k=3), TOKENS),
    (Reduce("b n d -> b d", "mean"), TOKENS),
    (Reduce("b c (h 1) (w k) -> b c h w", "max", k=2), MAP),
    (Reduce("b c h w -> b c () ()", "mean"), MAP),
    (nn.MultiheadAttention(8, 2), TOKENS),
    (ChannelNorm(8), MAP),
    (ClassToken(8), TOKENS),
    (PositionTable(9, 8), TOKENS),
    (FirstToken(), TOKENS),
    (faulty.Sized(), (2, 3, 32, 32)),
    (nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2), MAP),
    (nn.ConvTranspose1d(9, 4, 2, bias=False, dilation=2), TOKENS),
    (nn.ConvTranspose3d(8, 4, (1, 2, 3), 2), (1, 8, 3, 4, 5)),
    (nn.PixelShuffle(2), MAP),
    (nn.PixelUnshuffle(2), (2, 8, 12, 10)),
    (nn.ChannelShuffle(4), MAP),
    (nn.Unfold((3, 2), padding=1, stride=2), MAP),
    (nn.Unfold(2, dilation=2), MAP[1:]),
    (nn.Fold((8, 6), 2, stride=2), (2, 8, 12)),
    (nn.Unflatten(1, (2, -1)), MAP),
    (nn.Unflatten(-1, (2, 5)), MAP),
    (nn.Upsample(scale_factor=2), MAP),
    (nn.Upsample(scale_factor=(1.5, 0.7), mode="bicubic"), MAP),
    (nn.Upsample(size=5), (2, 8, 13)),
    (nn.Upsample(size=(5, 7), mode="bilinear"), MAP),
    (nn.UpsamplingNearest2d(scale_factor=3), MAP),
    (nn.UpsamplingBilinear2d(size=(4, 5)), MAP),
    (nn.ZeroPad2d((1, 2, 3, 4)), MAP),
    (nn.ZeroPad2d(-1), MAP),
    (nn.ConstantPad1d(2, 0.5), TOKENS),
    (nn.ReflectionPad2d(2), MAP),
    (nn.ReplicationPad3d((1, 0, 2, 0, 3, 0)), (1, 8, 3, 4, 5)),
    (nn.CircularPad2d(1), MAP),
    (nn.GLU(), TOKENS),
    (nn.GLU(1), MAP),
    (nn.InstanceNorm2d(8, affine=True), MAP),
    (nn.InstanceNorm1d(9), TOKENS),
    (nn.LocalResponseNorm(2), MAP),
    (nn.Softmax2d(), MAP),
    (nn.Threshold(0.1, 0.0), MAP),
    (nn.LSTM(8, 4), TOKENS),
    (nn.LSTM(8, 4, 2, batch_first=True, bidirectional=True, proj_size=3), TOKENS),
    (nn.GRU(8, 4, 3, bias=False), TOKENS),
    (nn.RNN(8, 4, bidirectional=True), TOKENS[1:]),
    (nn.LSTMCell(8, 4), TOKENS[1:]),
    (nn.GRUCell(8, 4, bias=False), TOKENS[1:]),
    (nn.RNNCell(8, 4), TOKENS[1:]),
]


def told(layer):
    return str(layer).replace("\n", "")[:60]


@pytest.mark.parametrize(("layer", "shape"), KNOWN, ids=lambda value: told(value))
def test_arithmetic_agrees_with_what_is_seen(layer, shape):
    batch = torch.randn(shape)
    attends = isinstance(layer, nn.MultiheadAttention)
    report = (
        inspect_module(layer, batch, batch, batch)
        if attends
        else inspect_module(nn.Sequential(layer), batch)
    )
    assert report.failure is None
    assert report.disagreements == ()
    modules = [row for row in report.rows if not row.call.is_function]
    assert modules
    assert all(row.verdict == "agrees" for row in modules)
    assert all(None not in row.verdicts.values() for row in modules)


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_attention_over_other_tokens_agrees(options, batch_first, by_name):
    layer = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=batch_first, **options)
    shapes = {"query": (2, 5, 8), "key": (2, 7, 6), "value": (2, 7, 4)}
    if not batch_first:
        shapes = {name: (shape[1], shape[0], shape[2]) for name, shape in shapes.items()}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    if by_name:  # in any order
        report = inspect_module(layer, **dict(reversed(tensors.items())))
    else:
        report = inspect_module(layer, *tensors.values())
    assert report.rows[0].verdict == "agrees"
    assert report.disagreements == ()


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 7),
    padding=st.integers(0, 4),
    ceil_mode=st.booleans(),
)
def test_pools_agree_for_every_window(size, kernel, stride, padding, ceil_mode):
    if padding > kernel // 2:
        return
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)
    report = inspect_module(pool, torch.zeros(1, 1, size, size + 1))
    assert report.disagreements == ()
    assert (report.failure is None) == (report.rows[0].predicted.out_shape is not None)


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_every_layer_of_our_own_models_agrees(attention):
    stem = conv_stem(channels=(8, 8, 8, 8), embed_dim=24, image_size=64)
    vit = ViTSpec(stem=stem, depth=1, num_heads=3, mlp_ratio=2, attention=attention)
    report = inspect_module(build_vit(vit), torch.randn(2, 3, 64, 64))
    verdicts = {row.call.name: row.verdict for row in report.rows if not row.call.is_function}
    assert set(verdicts.values()) == {"agrees"}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (faulty.SamePadded(8, 8, 3, 2), MAP),
        (nn.LPPool2d(2, 2), MAP),
        (nn.FractionalMaxPool2d(2, output_size=3), MAP),
        (type("Own", (nn.LSTM,), {"forward": lambda self, x: x[..., :3]})(8, 4), TOKENS),
        (EinMix("b n d -> b n k", weight_shape="d k", d=8, k=4), TOKENS),
        (type("Own", (nn.Linear,), {"forward": lambda self, x: x[..., :3]})(8, 5), TOKENS),
    ],
    ids=lambda value: told(value),
)
def test_a_layer_without_a_rule_gets_no_tick(layer, shape):
    report = inspect_module(nn.Sequential(layer), torch.randn(shape))
    assert [row.verdict for row in report.rows] == ["not predicted"]
    assert report.disagreements == ()
    assert expect(layer, {"0": shape}) is None


def test_a_forward_put_on_the_layer_itself_is_not_known():
    layer = nn.Linear(8, 5)
    layer.forward = lambda x: x
    assert expect(layer, {"0": TOKENS}) is None


def test_weights_worked_out_from_others_are_not_counted_by_rule():
    report = inspect_module(nn.Sequential(weight_norm(nn.Conv2d(8, 6, 3))), torch.randn(MAP))
    (row,) = (row for row in report.rows if row.call.name == "0")
    assert row.verdicts == {"shape": True, "params": None, "macs": True}


@pytest.mark.parametrize(
    ("layer", "shape", "rule"),
    [
        (
            nn.Conv2d(8, 6, 7),
            (2, 8, 3, 3),
            "kernel_size = 7: the padded input is only 3 pixels long. Use 3 or less.",
        ),
        (nn.Linear(8, 5), MAP, "in_features = 8: the last axis of (2, 8, 13, 10) has 10 numbers."),
        (Rearrange("b (n k) d -> b n k d", k=4), TOKENS, "9 is not n * k"),
        (Rearrange("b c h w -> b (c h w)"), TOKENS, "the left side has 4 axes"),
    ],
    ids=lambda value: told(value),
)
def test_what_a_layer_cannot_take_is_said_by_its_rule(layer, shape, rule):
    expectation = expect(layer, {"0": shape})
    assert (expectation.out_shape, expectation.macs) == (None, None)
    assert rule in expectation.rule


def test_the_rule_has_the_numbers_in_it():
    assert expect(nn.Conv2d(3, 8, 3, 2, 1), {"0": (1, 3, 224, 224)}).rule == (
        "⌊(224 + 2·1 − 3) / 2⌋ + 1 = 112"
    )
    assert expect(nn.Flatten(2), {"0": (1, 8, 14, 14)}).rule == "14·14 = 196"
    assert expect(ClassToken(8), {"0": (1, 196, 8)}).rule == "196 + 1 class token = 197"


class Calling(nn.Module):
    """Calls a layer with more than a tensor."""

    def __init__(self, layer, *more, **named):
        super().__init__()
        self.layer, self.more, self.named = layer, more, named

    def forward(self, x):
        return self.layer(x, *self.more, **self.named)


@pytest.mark.parametrize("how", [([11, 12],), {"output_size": [11, 12]}])
def test_a_size_that_the_call_asks_for_is_no_disagreement(how):
    named = how if isinstance(how, dict) else {}
    calling = Calling(nn.ConvTranspose2d(3, 4, 3, 2), *(how if not named else ()), **named)
    report = inspect_module(calling, torch.zeros(1, 3, 5, 5))
    row = report.row("layer")
    assert row.call.out_shape == (1, 4, 11, 12)
    assert (row.verdict, report.unchecked) == ("not predicted", ())
    row = inspect_module(Calling(calling.layer), torch.zeros(1, 3, 5, 5)).row("layer")
    assert (row.verdict, row.predicted.out_shape) == ("agrees", (1, 4, 11, 11))


def test_a_table_is_as_wide_as_it_says():
    (row,) = inspect_module(nn.Sequential(nn.Embedding(9, 4)), torch.zeros(2, 5).long()).rows
    assert (row.verdict, row.predicted.out_shape, row.predicted.params) == ("agrees", (2, 5, 4), 36)


def test_two_inputs_are_multiplied_through_a_matrix_each():
    layer = nn.Bilinear(3, 4, 6)
    row = inspect_module(layer, torch.zeros(2, 5, 3), torch.zeros(2, 5, 4)).rows[0]
    assert row.verdict == "agrees"
    assert row.predicted.macs == 2 * 5 * 6 * (3 * 4 + 4)


def test_weights_of_a_recurrent_layer_that_are_worked_out_are_not_counted_by_rule():
    layer = nn.utils.weight_norm(nn.LSTM(8, 4), "weight_hh_l0")
    row = inspect_module(nn.Sequential(layer), torch.randn(TOKENS)).row("0")
    assert row.verdicts == {"shape": True, "params": None, "macs": True}


def test_a_packed_sequence_has_no_rule_and_its_products_are_counted():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 8), torch.ones(2, 8)])
    (row,) = inspect_module(nn.Sequential(nn.GRU(8, 4)), packed).rows
    assert row.verdict == "not predicted"
    assert row.call.macs == (3 + 2) * 3 * 4 * (8 + 4)


@pytest.mark.parametrize("layer", [layer for layer, _ in KNOWN], ids=told)
def test_a_rule_says_something_of_every_shape(layer):
    """An input that does not fit is the user's mistake, and no rule's to fail on."""
    draw = random.Random(0)
    for axes in range(6):
        for _ in range(10):
            shape = tuple(draw.choice((0, 1, 2, 3, 8)) for _ in range(axes))
            expectation = expect(layer, {"0": shape})
            assert expectation is None or expectation.rule


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_rules_of_windows_agree_on_random_shapes(axes):
    draw = random.Random(axes)

    def one(low, high):
        return draw.choice(
            (draw.randint(low, high), tuple(draw.choices(range(low, high + 1), k=axes)))
        )

    kinds = ("Conv{}d", "ConvTranspose{}d", "ZeroPad{}d", "ReflectionPad{}d", "MaxPool{}d")
    for _ in range(100):
        name = draw.choice(kinds).format(axes)
        kind, groups = getattr(nn, name), draw.randint(1, 2)
        if "Pad" in name:
            layer = kind(tuple(draw.choices(range(3), k=2 * axes)))
        elif "Pool" in name:
            layer = kind(one(1, 3), one(1, 3), ceil_mode=draw.random() < 0.5)
        else:
            options = {"stride": one(1, 3), "padding": one(0, 2), "dilation": one(1, 2)}
            options["bias"] = draw.random() < 0.5
            layer = kind(2 * groups, 4 * groups, one(1, 3), groups=groups, **options)
        sides = [draw.randint(5, 8) for _ in range(axes)]
        batch = draw.choice(((1,), (2,), ()))
        report = inspect_call(layer, (torch.zeros(*batch, 2 * groups, *sides),), audit=False)
        (row,) = report.rows
        assert (report.unchecked, report.disagreements) == ((), ()), layer
        assert row.verdict == ("agrees" if report.failure is None else "raised")


def test_rules_of_recurrent_layers_agree_on_random_shapes():
    draw = random.Random(0)
    for _ in range(100):
        kind = draw.choice((nn.LSTM, nn.GRU, nn.RNN))
        width, hidden = draw.randint(1, 5), draw.randint(2, 5)
        options = {"num_layers": draw.randint(1, 3), "bias": draw.random() < 0.5}
        options |= {"bidirectional": draw.random() < 0.5, "batch_first": draw.random() < 0.5}
        if kind is nn.LSTM:
            options["proj_size"] = draw.randint(0, hidden - 1)
        layer = kind(width, hidden, **options)
        given = torch.zeros(*[draw.randint(1, 4) for _ in range(draw.randint(1, 2))], width)
        (row,) = inspect_call(layer, (given,), audit=False).rows
        assert row.verdict == "agrees"
        assert None not in row.verdicts.values()


def test_nothing_is_said_of_a_layer_that_was_given_nothing():
    assert expect(nn.Identity(), {}) is None
