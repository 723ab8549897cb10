"""Errors of matrix products: Linear, bmm, einsum."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from einops import rearrange
from torch import nn

from tests.diagnosis.errors import all_words
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, best, cut, run, tokens
from vitc_inspect.diagnosis import explain_error


@raised("products")
def test_raised_products(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


def test_a_flattened_map_of_another_size_is_pooled() -> None:
    head = nn.Linear(WIDTH * 7 * 7, 10)
    model = Made(
        lambda m, x: m.head(m.pool(m.stem(x)).flatten(1)), stem=cut(), head=head, pool=nn.Identity()
    )
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.kind == "places"
    assert "16·7×7" in meaning.sentence
    assert "16·8×8" in meaning.sentence
    model.pool = eval(re.findall(r"nn\.\w+\(.*\)", meaning.fixes[0])[0], {"nn": nn})
    assert run(model, 1, 3, 64, 64).failure is None


@pytest.mark.parametrize("axis", [1, 2])
def test_a_flattened_image_is_cut(axis: int) -> None:
    """All of it in one row, or each channel in one."""
    model = Made(lambda m, x: m.proj(m.cut(x)), proj=nn.Linear(192, 8))
    model.cut = Made(lambda m, x: x.flatten(axis))
    meaning = best(model, 1, 3, 224, 224)
    assert meaning.kind == "cut"
    assert not any("Linear(150528" in fix or "Linear(50176" in fix for fix in meaning.fixes)
    expression = re.search(r"rearrange\(.*\)", meaning.fixes[0])
    assert expression
    names = {"rearrange": rearrange}
    model.cut = Made(lambda m, x: eval(expression[0], {**names, "image": x}))
    assert run(model, 1, 3, 224, 224).failure is None


def test_the_mean_over_the_wrong_axis() -> None:
    model = Made(lambda m, x: m.head(tokens(m.stem(x)).mean(m.axis)), stem=cut(8, 64))
    model.head, model.axis = nn.Linear(64, 10), 2
    meaning = best(model, 1, 3, 56, 56)
    assert meaning.kind == "pool"
    assert "49 = 7×7" in meaning.sentence
    model.axis = int(re.findall(r"x\.mean\((\d)\)", meaning.fixes[0])[0])
    assert run(model, 1, 3, 56, 56).failure is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "Given groups=1, weight of size [384, 3, 8, 8], expected input[1, 0, 512, 585] to have"
            " 3 channels, but got 0 channels instead",
            "in_channels=0",
        ),
        ("mat1 and mat2 shapes cannot be multiplied (1x50176 and 768x1000)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (3x50176 and 768x384)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (1x50176 and 256x10)", "Linear(50176"),
        ("mat1 and mat2 shapes cannot be multiplied (8x150528 and 768x1000)", "Linear(150528"),
        ("mat1 and mat2 shapes cannot be multiplied (4x12544 and 512x10)", "Linear(12544"),
        ("shape '[0, 16384, 48]' is invalid for input of size 4194304", "786,432"),
    ],
)
def test_no_layer_is_built_for_what_can_not_be_meant(text: str, wrong: str) -> None:
    found = explain_error(text)
    assert found
    assert wrong not in all_words(found)
    assert len(found[0].fixes) >= 2


def test_the_operand_of_a_linear_layer_says_which_of_its_axes_is_which() -> None:
    """256 = 8·32 rows of 16 = 4·4 numbers: only the shape says that there are 256 tokens."""
    text = "mat1 and mat2 shapes cannot be multiplied (256x16 and 32x8)"
    weight = (8, 32)

    def first(*operand: int) -> str:
        return explain_error(text, operation="linear", operands=(operand, weight))[0].kind

    assert explain_error(text)[0].kind == "transpose"
    assert first(1, 256, 16) == "width"
    assert first(8, 32, 16) == "transpose"
    assert first(2, 32, 4, 16) == "flatten"
