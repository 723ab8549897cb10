"""Tensors of texts, videos and sounds are not described in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, zeros
from torch.nn import functional as F

from tests.diagnosis.errors import all_words, explain


@pytest.mark.parametrize(
    ("faulty", "kind", "says"),
    [
        (lambda: zeros(1, 1569, 8) + zeros(1, 197, 8), "frames", "1569 = 8·14×14 + 1"),
        (
            lambda: zeros(1, 1568, 8) + zeros(1, 784 * 4, 8),
            "frames",
            "8 frames, or tubelets",
        ),
        (
            lambda: zeros(1, 3137, 8) + zeros(1, 1569, 8),
            "frames",
            "16 frames, or tubelets",
        ),
        (lambda: zeros(1, 785, 8) + zeros(1, 197, 8), "position table", "785 = 28×28 + 1"),
        (lambda: zeros(1, 394, 8) + zeros(1, 197, 8), "images", "394 = 2·197 and 197 = 14×14 + 1"),
        (lambda: zeros(1, 8, 257) + zeros(1, 8, 197), "position table", "257 = 16×16 + 1"),
        (lambda: zeros(1, 3, 64, 64) - zeros(3), "channels", "mean.view(3, 1, 1)"),
        (lambda: zeros(3, 64, 64) - zeros(3), "channels", "mean.view(3, 1, 1)"),
        (lambda: zeros(64, 64, 3) - zeros(3, 1, 1), "channels last", "image.permute(2, 0, 1)"),
        (lambda: zeros(4, 64, 64) - zeros(3, 1, 1), "channels", "image[:3]"),
        (lambda: zeros(1, 64, 64).sub_(zeros(3, 1, 1)), "channels", "Normalize((0.5,), (0.5,))"),
        (lambda: zeros(1, 1, 8).add_(zeros(1, 197, 8)), "in place", "x = x + table"),
        (lambda: zeros(1, 85, 8) + zeros(1, 77, 8), "text length", "85 tokens where 77"),
        (lambda: zeros(1, 600, 8) + zeros(1, 512, 8), "text length", "600 tokens where 512"),
        (lambda: zeros(1, 7, 8) + zeros(1, 13, 8), "not known", "7 and 13 along axis 1"),
        (lambda: zeros(1, 16, 8) + zeros(1, 8, 8), "not known", "16 and 8 along axis 1"),
        (lambda: zeros(8, 3, 49, 49) + zeros(3, 64, 64), "attention", "Scores of 7×7 = 49 tokens"),
        (
            lambda: zeros(1, 4, 3, 144, 144) + zeros(4, 1, 49, 49),
            "attention",
            "relative position table for 7×7",
        ),
        (lambda: zeros(1, 12, 197, 197) + zeros(1, 1, 196, 196), "attention", "197 = 14×14 + 1"),
        (lambda: zeros(1, 8, 56, 56) + zeros(1, 8, 28, 28), "map size", "2 times as large"),
        (lambda: zeros(1, 9, 9, 768) + zeros(1, 9, 9, 512), "width", "768 and 512 channels"),
        (lambda: zeros(1, 14, 14, 8) + zeros(1, 16, 16, 8), "position table", "channels-last map"),
        (
            lambda: zeros(1, 60, 60, 96).reshape(1, 8, 7, 8, 7, 96),
            "windows",
            "60 = 8·7 + 4",
        ),
        (
            lambda: zeros(72, 7, 7, 96).view(1, 8, 8, 7, 7, 96),
            "windows",
            "72 windows of 7×7, and the target has 1·8·8 = 64",
        ),
        (
            lambda: zeros(1, 1569, 768).reshape(1, 768, 8, 14, 14),
            "class token",
            "1569 = 8×14×14 + 1",
        ),
        (
            lambda: zeros(1, 197, 2304).reshape(1, 196, 3, 12, 64),
            "tokens",
            "197 = 14×14 + 1 tokens of 3·768 numbers, and the target has 196",
        ),
        (
            lambda: torch.cat([zeros(1, 8, 15, 15), zeros(1, 8, 14, 14)], 1),
            "map size",
            "sides of 15 and 14",
        ),
        (lambda: zeros(1, 514).expand(1, 600), "text length", "longer than the 514"),
        (
            lambda: zeros(1, 197, 8).copy_(zeros(1, 257, 8)),
            "position table",
            "257 = 16×16 + 1",
        ),
        (
            lambda: F.pad(zeros(1, 1, 196, 196), (0, 0)).expand(1, 12, 197, 197),
            "attention",
            "196 = 14×14 tokens was to become 197",
        ),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(4, 197, 384)), "tokens", "(batch, tokens, width)"),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(3, 1, 64, 64)), "batch", "after the channels"),
        (lambda: nn.Conv2d(3, 8, 8)(zeros(1, 6, 64, 64)), "channels", "the image has 6"),
        (lambda: nn.GroupNorm(1, 16)(zeros(2, 64, 16)), "norm", "channels-last"),
        (lambda: torch.bmm(zeros(12, 9, 4), zeros(6, 4, 9)), "batch", "12 matrices"),
        (lambda: torch.mv(zeros(197, 384), zeros(768)), "width", "384 numbers"),
        (lambda: torch.dot(zeros(384), zeros(768)), "width", "384 numbers"),
        (
            lambda: torch.einsum("bhwc,hkc->bhwk", zeros(1, 14, 14, 64), zeros(16, 27, 64)),
            "einsum",
            "the letter h is 14 long in an operand before and 16 in operand 1",
        ),
        (lambda: zeros(1, 1, 8).expand(4, -1), "expand", "expand(4, -1, -1)"),
        (lambda: nn.BatchNorm3d(8)(zeros(1, 8, 4, 4)), "norm", "BatchNorm3d reads"),
        (lambda: nn.BatchNorm1d(8)(zeros(1, 8, 4, 4)), "norm", "BatchNorm1d reads"),
    ],
)
def test_what_is_no_image_is_not_told_in_pixels(
    faulty: Callable[[], Any], kind: str, says: str
) -> None:
    best = explain(faulty)[0]
    assert best.kind == kind
    assert says in all_words((best,))
    if says != "expand(4, -1, -1)" and kind != "einsum":
        assert best.likelihood != "certain"
