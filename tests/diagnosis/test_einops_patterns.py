"""einops patterns that do not fit the tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import einops
import pytest
from einops import rearrange, reduce, repeat
from torch import zeros

from tests.diagnosis.errors import best_of, code_in
from tests.diagnosis.raised import assert_explained, raised


@raised("einops_patterns")
def test_raised_einops_patterns(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("faulty", "kind", "says", "fix"),
    [
        (
            lambda: rearrange(zeros(2, 196, 384), "b c h w -> b (h w) c"),
            "flatten",
            "196 = 14×14 tokens, which are flattened already",
            "Leave the second flattening out.",
        ),
        (
            lambda: rearrange(zeros(3, 32, 40), "b c h w -> b (h w) c"),
            "batch",
            "an image without a batch.",
            "image.unsqueeze(0)",
        ),
        (
            lambda: rearrange(zeros(1, 3, 8, 8), "b n d -> n b d"),
            "flatten",
            "a map where tokens are expected",
            "rearrange(x, 'b c h w -> b (h w) c')",
        ),
        (
            lambda: rearrange(zeros(1, 8, 3, 8, 8), "b c h w -> b (h w) c"),
            "video",
            "the tensor 5, 1×8×3×8×8",
            "x.flatten(0, 1)",
        ),
        (lambda: rearrange(zeros(4), "... h w -> ... (h w)"), "axes", "at least 2 axes", "as many"),
        (
            lambda: rearrange(zeros(1, 3, 4, 4), "b c h w -> b (h w)"),
            "pattern",
            "c is on the left side of the pattern only",
            "reduce(x, 'b c h w -> b (h w)', 'mean')",
        ),
        (
            lambda: rearrange(zeros(1, 3, 4), "b c h -> b c h w"),
            "pattern",
            "w is on the right side of the pattern only",
            "w=…",
        ),
        (
            lambda: repeat(zeros(1, 3), "b c -> b"),
            "pattern",
            "c is on the left",
            "reduce first",
        ),
        (lambda: repeat(zeros(1, 3), "() d -> b d"), "pattern", "how long the new axes", "each: b"),
        (lambda: reduce(zeros(1, 3), "b d -> b d x", "mean"), "pattern", "makes no axes", "repeat"),
        (lambda: rearrange(zeros(1, 16), "b (h w) -> b h w"), "pattern", "no length", "but one"),
        (lambda: rearrange(zeros(1, 16), "b n -> n b", p=4), "pattern", "given for p", "Write p"),
        (lambda: rearrange(zeros(4, 4), "n n -> n"), "pattern", "n occurs twice", "n and n2"),
        (
            lambda: rearrange(zeros(4, 4), "n d -> ... n d"),
            "pattern",
            "ellipsis on its right",
            "...",
        ),
        (
            lambda: rearrange(zeros(4, 4), "n d -> n 4 d"),
            "pattern",
            "a number other than 1",
            "letter",
        ),
        (
            lambda: rearrange(zeros(4, 4), "(n d -> n d"),
            "pattern",
            "are not balanced",
            "Close each",
        ),
        (lambda: rearrange(zeros(4, 4), "((n) d) e -> n"), "pattern", "are nested", "Close"),
    ],
)
def test_a_pattern_that_does_not_fit_is_mended_where_it_is_wrong(
    faulty: Callable[[], Any], kind: str, says: str, fix: str
) -> None:
    best = best_of(faulty)
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


def test_what_is_dropped_by_reduce_as_said_runs() -> None:
    x = zeros(1, 3, 4, 4)
    best = best_of(lambda: rearrange(x, "b c h w -> b (h w)"))
    assert eval(code_in(best, "Or drop"), {"einops": einops, "x": x}).shape == (1, 16)
