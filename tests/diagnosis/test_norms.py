"""Errors of LayerNorm, BatchNorm and GroupNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn, zeros

from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, cut, run, tokens
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.inspection.module_inspection import inspect_module


@raised("norms")
def test_raised_norms(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


class Stem(nn.Module):
    """A convolution and a BatchNorm2d, which gets the map or, in error, the tokens."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.flat, self.proj, self.norm = flat, nn.Conv2d(3, 16, 8, 8), nn.BatchNorm2d(16)

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image)
        if self.flat:
            x = x.flatten(2).transpose(1, 2)
        return self.norm(x)


def test_a_batch_norm_over_tokens_is_told_from_an_image_without_a_batch_by_what_it_got() -> None:
    tokens = inspect_module(Stem(flat=True), zeros(2, 3, 64, 64)).explanations
    assert [each.kind for each in tokens] == ["norm"]  # the batch is 2, so it is there
    assert "2×64×16" in tokens[0].sentence
    assert any("LayerNorm(16)" in fix for fix in tokens[0].fixes)
    image = inspect_module(Stem(flat=False), zeros(3, 64, 64)).explanations
    assert [each.kind for each in image] == ["batch"]
    assert inspect_module(Stem(flat=False), zeros(2, 3, 64, 64)).failure is None


def test_the_message_of_a_batch_norm_alone_says_neither() -> None:
    alone = explain_error("ValueError: expected 4D input (got 3D input)")
    assert {each.kind for each in alone} == {"batch", "norm"}
    assert {each.likelihood for each in alone} == {"possible"}
    traced = explain_error(
        '  File "vit.py", line 9, in forward\n    x = self.norm(x.flatten(2).transpose(1, 2))\n'
        "ValueError: expected 4D input (got 3D input)"
    )
    assert [each.kind for each in traced] == ["norm"]


def normed(norm: nn.Module, how: Callable[[Tensor], Tensor]) -> nn.Module:
    return Made(lambda m, x: m.norm(how(m.stem(x))), stem=cut(), norm=norm)


def test_batch_norm_over_tokens_is_no_missing_batch() -> None:
    model = normed(nn.BatchNorm2d(WIDTH), tokens)
    (meaning,) = run(model, 2, 3, 64, 64).explanations
    assert (meaning.kind, meaning.likelihood) == ("norm", "certain")
    assert "2×64×16, which is (batch, tokens, width) for a batch of 2" in meaning.sentence
    assert f"LayerNorm({WIDTH})" in meaning.fixes[1]
    assert run(normed(nn.LayerNorm(WIDTH), tokens), 2, 3, 64, 64).failure is None
    assert run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 2, 3, 64, 64).failure is None


def test_batch_norm_over_what_is_flattened_and_not_transposed() -> None:
    (meaning,) = run(
        normed(nn.BatchNorm2d(WIDTH), lambda m: m.flatten(2)), 2, 3, 64, 64
    ).explanations
    assert "(batch, width, tokens)" in meaning.sentence
    assert f"BatchNorm1d({WIDTH})" in meaning.fixes[1]
    assert run(normed(nn.BatchNorm1d(WIDTH), lambda m: m.flatten(2)), 2, 3, 64, 64).failure is None


def test_an_image_without_a_batch_is_still_found() -> None:
    (meaning,) = run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 3, 64, 64).explanations
    assert meaning.kind == "batch"
    assert "image.unsqueeze(0)" in meaning.fixes[0]
    assert run(normed(nn.BatchNorm2d(WIDTH), lambda m: m), 1, 3, 64, 64).failure is None


def test_batch_norm_1d_over_tokens_with_the_width_last() -> None:
    (meaning,) = run(normed(nn.BatchNorm1d(WIDTH), tokens), 2, 3, 64, 64).explanations
    assert meaning.kind == "norm"
    assert "the last axis is the 16 that is missing" in meaning.because
    assert run(normed(nn.LayerNorm(WIDTH), tokens), 2, 3, 64, 64).failure is None
