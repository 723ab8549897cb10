"""Errors of adding two sequences of tokens: masks of patches, widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.diagnosis.errors import SUM
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, best, cut, run, tokens
from vitc_inspect.diagnosis import explain_error


@raised("tokens")
def test_raised_tokens(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


def test_a_mask_for_the_patches_of_another_image() -> None:
    """64·64 pixels are 8·8 patches of 8, and the mask has 6·6 = 36."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = tokens(self.stem(x))
        mask = self.mask[..., None]
        return x * (1 - mask) + self.mask_token * mask

    model = Made(forward, stem=cut(), mask=torch.zeros(1, 36), mask_token=torch.zeros(1, 1, WIDTH))
    first = best(model, 1, 3, 64, 64)
    assert (first.kind, first.numbers["tokens"], first.numbers["mask"]) == ("mask", 64, 36)
    model.mask = nn.Parameter(torch.zeros(1, first.numbers["tokens"]))
    assert run(model, 1, 3, 64, 64).failure is None


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (
            "embeddings = embeddings * (1.0 - mask) + mask_tokens * mask",
            "mask",
            "256 = 16×16 tokens are given, and the mask is for 196 = 14×14",
        ),
        ("x = mask * x", "mask", "196 = 14×14 tokens are given, and the mask is for 256"),
        ("x = x + self.pos_embed", "position table", "a position table of 196"),
        ("x = x + self.pos_embed[mask]", "position table", "a position table of 196"),
    ],
)
@pytest.mark.parametrize("frame", ['  File "model.py", line 9, in forward\n', ""])
def test_a_mask_of_patches_is_no_position_table(
    line: str, kind: str, says: str, frame: str
) -> None:
    """Also where the line alone was pasted above the error."""
    text = f"{frame}    {line}\nRuntimeError: {SUM.format(256, 196, 1)}"
    best = explain_error(text)[0]
    assert best.kind == kind
    assert says in best.sentence


def test_patches_without_a_class_token_may_be_masked() -> None:
    """Where no line of code is known, the mask is the second reading."""
    kinds = [each.kind for each in explain_error(SUM.format(196, 100, 1))]
    assert kinds[:2] == ["position table", "mask"]
    for first, second in ((197, 101), (197, 196)):  # a mask has no class token
        assert "mask" not in [each.kind for each in explain_error(SUM.format(first, second, 1))]
