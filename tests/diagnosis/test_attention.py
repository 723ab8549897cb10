"""Errors of attention: token width, number of heads, scores and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.diagnosis.errors import error_of
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import Made, best, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.spec import conv_stem


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [  # worded as in torchvision 0.28, timm 1.0, transformers 4, vit-pytorch and torch on a GPU
        ("dim should be divisible by num_heads", "heads", "not divisible"),
        (
            "The hidden size (768,) is not a multiple of the number of attention heads 5.",
            "heads",
            "768 = 5·153 + 3",
        ),
    ],
)
def test_what_others_raise_is_explained(text: str, kind: str, says: str) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence


def test_the_numbers_of_heads_come_from_the_code_or_from_the_stem() -> None:
    text = '  File "vit.py", line 3\n    nn.MultiheadAttention(384, num_heads=5)\nAssertionError: '
    message = error_of(lambda: nn.MultiheadAttention(384, 5))
    assert "384 = 5·76 + 4" in explain_error(text + message)[0].sentence
    best = explain_error(message, spec=conv_stem())[0]
    assert best.fixes == ("Use a number of heads that divides 384, for example 4, 6, 8.",)


@raised("attention")
def test_raised_attention(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(("side", "made"), [(7, 8), (12, 7), (8, 4)])
def test_scores_of_windows_beside_a_table_for_others(side: int, made: int) -> None:
    scores, table = torch.zeros(6, 3, side**2, side**2), torch.zeros(1, 3, made**2, made**2)
    model = Made(lambda m, x: x + m.table, table=table)
    meaning = best(model, *scores.shape)
    assert meaning.kind == "attention"
    assert f"Scores of {side}×{side} = {side**2} tokens" in meaning.sentence
    assert f"from (2·{made}−1)² = {(2 * made - 1) ** 2} to" in meaning.fixes[2]
    assert f"(2·{side}−1)² = {(2 * side - 1) ** 2} entries" in meaning.fixes[2]


@pytest.mark.parametrize(("count", "made"), [(17, 10), (16, 9), (12, 20)])
def test_a_mask_of_pytorch_s_attention_is_never_a_map(count: int, made: int) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=m.mask)

    model = Made(forward, mask=torch.zeros(1, 1, made, made))
    kinds = {each.kind for each in run(model, 1, 2, count, 8).explanations}
    assert kinds == {"attention"}
    model.mask = nn.Parameter(torch.zeros(1, 1, count, count))
    assert run(model, 1, 2, count, 8).failure is None
