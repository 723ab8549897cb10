"""Axes that einops cannot take apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from einops import rearrange
from torch import zeros

from tests.diagnosis.errors import best_of
from tests.diagnosis.raised import assert_explained, raised


@raised("einops_errors")
def test_raised_einops_errors(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("shape", "pattern", "lengths", "kind", "says"),
    [
        # a video in tubelets
        (
            (1, 3, 15, 32, 32),
            "b c (f pf) (h p) (w q) -> b f (h w) (p q pf c)",
            {"pf": 2, "p": 16, "q": 16},
            "frames",
            "15 = 7·2 [+] 1",
        ),
        # tokens in heads, and in rows
        ((1, 197, 384), "b n (h d) -> b h n d", {"h": 5}, "heads", "384 = 5·76 [+] 4"),
        ((1, 197, 400), "b n (h d) -> b h n d", {"d": 64}, "heads", "400 = 6·64 [+] 16"),
        ((1, 197, 1152), "b n (qkv h d) -> qkv b h n d", {"qkv": 3, "h": 5}, "heads", "384 = 5·76"),
        ((1, 100, 8, 8), "b (h d) x y -> b h (x y) d", {"h": 8}, "heads", "100 = 8·12 [+] 4"),
        ((1, 2, 197, 100), "... (h d) -> ... h d", {"h": 3}, "heads", "100 = 3·33 [+] 1"),
        ((1, 197, 8), "b (h w) c -> b c h w", {"h": 14}, "class token", "197 = 14·14 [+] 1"),
        ((1, 210, 8), "b (h w) c -> b c h w", {"h": 16}, "grid", "210 = 13·16 [+] 2"),
        # of what nothing is known, no more is said
        ((5, 49, 96), "(b n) l c -> b n l c", {"n": 4}, "axes", "Axis 0, .* 5 = 1·4 [+] 1"),
    ],
)
def test_what_an_axis_is_follows_from_the_pattern_and_the_shape(
    shape: tuple[int, ...], pattern: str, lengths: dict[str, int], kind: str, says: str
) -> None:
    best = best_of(lambda: rearrange(zeros(shape), pattern, **lengths))
    assert best.kind == kind
    assert re.search(says, best.sentence)
    assert "7×7 pixels" not in " ".join(best.fixes)  # a map is never resized as an image
