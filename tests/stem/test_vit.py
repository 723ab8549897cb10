"""Whole Vision Transformers: the paper's table, random models, attention, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.stem.specs import model
from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.stem_inspection import inspect_vit
from vitc_inspect.model.modules import (
    Block,
    LinearAttention,
    SoftmaxAttention,
    build_stem,
    build_vit,
)
from vitc_inspect.stem.memory import predicted_memory
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.vit import ViTSpec

# Xiao et al. 2021, Table 1: depth, heads, MLP ratio; then flops (G), params (M) and acts (M) as
# printed; then parameters as the authors' code gives them.
TABLE_1 = {
    "vit_p_1gf": (12, 3, 3, 1.1, 4.8, 5.5, 4.830e6),
    "vit_p_4gf": (12, 6, 3, 3.9, 18.5, 11.1, 18.507e6),
    "vit_p_18gf": (12, 12, 4, 17.5, 86.7, 24.0, 86_567_656),
    "vit_p_36gf": (14, 16, 4, 35.9, 178.4, 37.3, 178.364e6),
    "vit_c_1gf": (11, 3, 3, 1.1, 4.6, 5.7, 4.568e6),
    "vit_c_4gf": (11, 6, 3, 4.0, 17.8, 11.3, 17_754_136),
    "vit_c_18gf": (11, 12, 4, 17.7, 81.6, 24.1, 81_573_160),
    "vit_c_36gf": (13, 16, 4, 35.0, 167.8, 36.7, 167.796e6),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_the_papers_table_1(name: str) -> None:
    depth, heads, ratio, flops, params, acts, exact = TABLE_1[name]
    vit = model(name)
    prediction = predict(vit)
    assert (vit.depth, vit.num_heads, vit.mlp_ratio) == (depth, heads, ratio)
    assert prediction.params == pytest.approx(exact, abs=500 if exact % 1000 == 0 else 0)
    assert prediction.macs / 1e9 == pytest.approx(flops, abs=0.1)  # 17.56 is printed 17.5
    assert prediction.params / 1e6 == pytest.approx(params, abs=0.14)  # 86.57 is printed 86.7
    assert prediction.activations / 1e6 == pytest.approx(acts, rel=0.015)


def test_the_exact_work_of_vit_c_4gf() -> None:
    """FACTS, section 1: without bias additions, and what the stem's convolutions have of it."""
    prediction = predict(model("vit_c_4gf"))
    assert prediction.macs == 3_958_940_928
    assert prediction.stem_macs == 435_326_976


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("vit_c_1gf", 1.29), ("vit_c_4gf", 1.36), ("vit_c_18gf", 1.18), ("vit_c_36gf", 0.68)],
)
def test_a_convolutional_stem_costs_about_one_block(name: str, blocks: float) -> None:
    prediction = predict(model(name))
    block = sum(layer.macs for layer in prediction.layers if layer.block == "block1")
    assert round(prediction.stem_macs / block, 2) == blocks


def test_softmax_attention_is_the_textbook_formula() -> None:
    qkv = torch.randn(2, 7, 3 * 12, dtype=torch.float64)
    q, k, v = qkv.view(2, 7, 3, 4, 3).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(2, 3) / 3**0.5).softmax(dim=-1)
    expected = (weights @ v).transpose(1, 2).reshape(2, 7, 12)
    torch.testing.assert_close(SoftmaxAttention(4)(qkv), expected)


def test_linear_attention_is_the_same_sum_in_another_order() -> None:
    """Weights φ(q)·φ(k), normalised over the keys: n² of them, or none, for the same result."""
    qkv = torch.randn(2, 7, 3 * 12, dtype=torch.float64)
    q, k, v = qkv.view(2, 7, 3, 4, 3).permute(2, 0, 3, 1, 4)
    weights = (nn.functional.elu(q) + 1) @ (nn.functional.elu(k) + 1).transpose(2, 3)
    expected = (weights / weights.sum(dim=-1, keepdim=True)) @ v
    torch.testing.assert_close(LinearAttention(4)(qkv), expected.transpose(1, 2).reshape(2, 7, 12))


def test_a_block_is_torchs_pre_norm_encoder_layer() -> None:
    vit = model("vit_p_1gf")
    block = Block(vit).eval()
    theirs = nn.TransformerEncoderLayer(
        192, 3, vit.hidden_dim, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    ours = {
        "self_attn.in_proj_": block.qkv,
        "self_attn.out_proj.": block.out,
        "linear1.": block.fc1,
        "linear2.": block.fc2,
        "norm1.": block.norm1,
        "norm2.": block.norm2,
    }
    state = {
        f"{key}{kind}": getattr(layer, kind)
        for key, layer in ours.items()
        for kind in ("weight", "bias")
    }
    theirs.load_state_dict(state)
    tokens = torch.randn(2, 9, 192)
    torch.testing.assert_close(block(tokens), theirs(tokens), rtol=1e-4, atol=1e-5)


def test_the_stem_of_a_model_has_the_stems_own_weights() -> None:
    vit = model("vit_c_1gf")
    alone, whole = build_stem(vit.stem, seed=5), build_vit(replace(vit, depth=1), seed=5)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name])


def test_without_a_class_token_the_classifier_gets_the_mean() -> None:
    vit = model("vit_p_1gf")
    bare = replace(vit, depth=1, stem=replace(vit.stem, class_token=False))
    module = build_vit(bare)
    tokens = torch.randn(2, 196, 192)
    torch.testing.assert_close(module.pool(tokens), tokens.mean(dim=1))
    assert build_vit(replace(vit, depth=1)).pool(tokens).equal(tokens[:, 0])


VIT = {"stem": PRESETS["vit_p_1gf"].stem, "depth": 1, "num_heads": 3, "mlp_ratio": 3}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depth", 0, "depth = 0: the least is 1. Use 1 or more."),
        ("depth", 10**9, "depth = 1000000000: the most is 256. Use 256 or less."),
        ("depth", 1.5, "depth = 1.5: it is not a whole number. Use 2."),
        ("num_heads", 5, "num_heads = 5: it does not divide the token width 192. Use 4."),
        ("num_heads", 500, "num_heads = 500: it does not divide the token width 192. Use 192."),
        ("num_heads", 0, "num_heads = 0: the least is 1. Use 1 or more."),
        (
            "mlp_ratio",
            0.3,
            "mlp_ratio = 0.3: 0.3 times the token width 192 is 57.6, not a whole number. Use 1.",
        ),
        (
            "mlp_ratio",
            1e9,
            "mlp_ratio = 1000000000.0: the hidden layer would have 192,000,000,000 numbers,"
            " not 1 to 65,536. Use 1.",
        ),
        ("mlp_ratio", float("nan"), None),
        ("mlp_ratio", -1, None),
        ("mlp_ratio", "4", "mlp_ratio = '4': it is not a number. Use 4."),
        (
            "attention",
            "sofmax",
            "attention = 'sofmax': it is not one of softmax, linear. Use softmax.",
        ),
        ("num_classes", 0, "num_classes = 0: the least is 1. Use 1 or more."),
    ],
)
def test_what_cannot_be_built_is_one_sentence_and_its_suggestion_works(
    field: str, value: Any, message: str | None
) -> None:
    with pytest.raises(SpecError) as caught:
        ViTSpec(**{**VIT, field: value})
    assert caught.value.field == field
    assert message is None or str(caught.value) == message
    build_vit(ViTSpec(**{**VIT, field: caught.value.suggestion}))


def test_an_attention_matrix_that_would_not_fit_is_refused_before_it_is_made() -> None:
    """One map of weights over 65,537 tokens has 17 GB, and there are three."""
    vit = model("vit_p_1gf")
    large = replace(vit, stem=replace(vit.stem, image_size=(4096, 4096)))
    with pytest.raises(SpecError, match="the run would take about") as caught:
        inspect_vit(large)
    smaller = replace(vit.stem, image_size=caught.value.suggestion)
    assert inspect_vit(replace(vit, depth=1, stem=smaller), device="cpu").disagreements == ()
    linear = replace(large, attention="linear", depth=1)
    needed = [predicted_memory(predict(v), keep_bytes=0) for v in (large, linear)]
    assert needed[0] > 100 * 2**30 > 20 * needed[1]
