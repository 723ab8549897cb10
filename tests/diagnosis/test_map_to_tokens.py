"""Errors of making tokens of a map, or a map of tokens: strides, class tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, zeros

from tests.diagnosis.errors import ConvStem, explain
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, best, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import conv_stem


def test_strides_that_do_not_multiply_to_the_patch_size() -> None:
    best = explain(lambda: ConvStem((2, 2, 2))(zeros(2, 3, 224, 224)))[0]
    assert best.kind == "stride"
    assert "100,352 = 2·64·784, and 784 = 28×28" in best.sentence
    assert "the strides multiply to 8, not to the patch size 16" in best.sentence
    assert best.fixes[:2] == (
        "Multiply one stride by 2: the product must be 16.",
        "Or set patch_size to 8, and make a table for 784 tokens.",
    )
    assert ConvStem()(zeros(2, 3, 224, 224)).shape == (2, 196, 64)


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(
    strides=st.lists(st.sampled_from((1, 2)), min_size=1, max_size=4),
    tokens=st.sampled_from((4, 6, 14)),
    width=st.sampled_from((64, 96, 384)),
    batch=st.integers(1, 3),
)
def test_any_wrong_product_of_strides_is_found(
    strides: list[int], tokens: int, width: int, batch: int
) -> None:
    total = 2 ** strides.count(2)
    if total == 16:
        return
    side = tokens * 16 // total
    size, target = batch * width * side * side, [batch, width, tokens**2]
    spec = conv_stem((8,) * len(strides), strides, width, image_size=tokens * 16)
    text = f"shape '{target}' is invalid for input of size {size}"
    best = explain_error(text, spec=spec)[0]
    assert {"total_stride": total, "tokens": side**2}.items() <= best.numbers.items()
    assert any(
        e.numbers.get("total_stride") == total and e.numbers["tokens"] == side**2
        for e in explain_error(text)
    )


@raised("map_to_tokens")
def test_raised_map_to_tokens(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


def strided(strides: tuple[int, ...], shape: tuple[int, ...]) -> nn.Module:
    layers = [
        nn.Conv2d(3 if n == 0 else WIDTH, WIDTH, 3, stride, 1) for n, stride in enumerate(strides)
    ]
    return Made(lambda m, x: m.stem(x).reshape(len(x), *shape), stem=nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("strides", "shape", "image", "true", "needed"),
    [
        ((2, 1), (64, WIDTH), (32, 32), 2, 4),  # 16·16 places came, 8·8 are written
        ((2, 1), (WIDTH, 64), (32, 32), 2, 4),
        ((2, 1), (32, WIDTH), (16, 32), 2, 4),  # 8·16 came, 4·8 are written
        ((2, 1, 1), (WIDTH, 16), (32, 32), 2, 8),
        ((2, 2), (WIDTH, 256), (32, 32), 4, 2),
    ],
)
def test_a_missing_stride_is_told_by_the_map_of_the_run(
    strides: tuple[int, ...],
    shape: tuple[int, ...],
    image: tuple[int, int],
    true: int,
    needed: int,
) -> None:
    meaning = best(strided(strides, shape), 1, 3, *image)
    assert meaning.kind == "stride"
    assert f"the strides multiply to {true}, and {needed} is needed" in meaning.sentence
    assert (meaning.numbers["total_stride"], meaning.numbers["patch_size"]) == (true, needed)
    assert ("mixes the tokens" in meaning.sentence) == (shape[1] == WIDTH)
    if needed % true:
        assert "Multiply" not in meaning.fixes[0]
        return
    factor = int(re.findall(r"Multiply one stride by (\d+)", meaning.fixes[0])[0])
    mended = (*strides[:-1], strides[-1] * factor)
    assert run(strided(mended, shape), 1, 3, *image).failure is None


@pytest.mark.parametrize("stem", ["4x4/4:96", "3x3/2:48, 3x3/2:96"])
def test_the_strides_of_a_reshape_are_those_of_the_stem(stem: str) -> None:
    """64 pixels at stride 4 are 16·16 places; 8·8 need a stride of 8."""
    spec = parse_stem(stem, image_size=64)
    best = explain(lambda: zeros(2, 96, 16, 16).reshape(2, 96, 64), spec)[0]
    assert "the strides multiply to 4, and 8 is needed" in best.sentence
    assert best.fixes[0] == "Multiply one stride by 2: the product must be 8."
