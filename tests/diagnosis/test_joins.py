"""Errors of cat, expand and writing in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, best, cut, run, tokens
from vitc_inspect.diagnosis import explain_error


@raised("joins")
def test_raised_joins(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("axis", "others", "kind"),
    [
        (2, (2, 49, WIDTH), "grid"),  # tokens differ, and the widths are joined
        (1, (2, 49, 24), "width"),
        (1, (3, 49, WIDTH), "batch"),
    ],
)
def test_the_axis_that_differs_says_why_two_cannot_be_joined(
    axis: int, others: tuple[int, ...], kind: str
) -> None:
    model = Made(lambda m, x: torch.cat([tokens(m.stem(x)), torch.zeros(others)], axis), stem=cut())
    assert [each.kind for each in run(model, 2, 3, 64, 64).explanations] == [kind]


def test_patch_merging_of_an_odd_map() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        x = m.pad(m.stem(x).permute(0, 2, 3, 1))
        return torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], -1)

    model = Made(forward, stem=cut(), pad=nn.Identity())
    meaning = best(model, 1, 3, 56, 56)
    assert meaning.kind == "patch merging"
    assert "4 and 3 of a side of 7" in meaning.sentence
    expression = re.search(r"F\.pad\(.*\)", meaning.fixes[0])
    assert expression
    model.pad = Made(lambda m, x: eval(expression[0], {"F": F, "x": x, "H": 7, "W": 7}))
    assert run(model, 1, 3, 56, 56).failure is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # torch before 1.10; where it names one dimension, that of the sizes stands first
        ("in dimension 1. Got 14 and 15 in dimension 2 (The offending index is 1)", "map size"),
        ("in dimension 4. Got 18 and 17", "map size"),
        ("in dimension 1. Expected size 14 but got size 15 for tensor number 1", "map size"),
        ("in dimension 1. Expected size 28 but got size 56 for tensor number 1", "map size"),
        ("in dimension 1. Expected size 16 but got size 8 for tensor number 1", "batch"),
        ("in dimension 1. Got 1 and 8 in dimension 0 (The offending index is 1)", "batch"),
    ],
)
def test_old_words_of_joining_are_read_as_the_new_ones(text: str, kind: str) -> None:
    assert explain_error(f"Sizes of tensors must match except {text}")[0].kind == kind
