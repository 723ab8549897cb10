"""The sentence that says why: it is true of any stem and any size, and PyTorch gives the sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil, floor, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import stem_specs
from vitc_inspect import PRESETS, predict
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import ConvLayer, StemSpec
from vitc_inspect.views.cause import (
    cause_sentence,
    size_formula,
    sizes_on_the_way,
    step_label,
    steps,
)

SAID = {
    ("vit_c_4gf", (225, 225)): "each stride of 2 halves both sides, rounding up",
    ("vit_p_4gf", (225, 225)): "the stride of 16 divides both sides by 16, rounding down",
    ("vit_c_4gf", (368, 272)): "each stride of 2 halves both sides",
    ("vit_c_4gf", (370, 272)): "each stride of 2 halves both sides, rounding up",
    ("table3_s2", (224, 224)): "strides of 2, 2 and 4 divide both sides by 16",
    ("table3_s1", (225, 225)): (
        "each stride of 2 halves both sides, rounding up; conv4: a 2×2 window every 2 pixels fits"
        " ⌊(29 − 2) / 2⌋ + 1 = 14 times into each side"
    ),
    ("pit_s", (368, 272)): (
        "a 16×16 window every 8 pixels fits ⌊(368 − 16) / 8⌋ + 1 = 45 times into the rows and"
        " ⌊(272 − 16) / 8⌋ + 1 = 33 into the columns"
    ),
}


@pytest.mark.parametrize(("preset", "size"), SAID)
def test_what_is_said_of_a_stem(preset: str, size: tuple[int, int]) -> None:
    prediction = predict(replace(PRESETS[preset].stem, image_size=size))
    assert cause_sentence(prediction) == SAID[preset, size]


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("3x3:8, 1x1:8", "no convolution has a stride above 1, so both sides stay"),
        ("3x3p0:8, 1x1:8", "conv1 takes 2 off both sides"),
        ("3x3p2:8, 1x1:8", "conv1 adds 2 to both sides"),
        ("3x3/2:8, 3x3p0:8, 1x1:8", "the stride of 2 halves both sides; conv2 takes 2 off both"),
    ],
)
def test_what_is_said_of_strides_of_one(notation: str, said: str) -> None:
    assert cause_sentence(predict(replace(parse_stem(notation), image_size=(32, 32)))).startswith(
        said
    )


def divided(prediction: Prediction) -> list[float]:
    """Height and width divided by what the sentence says, rounded as it says."""
    sentence = cause_sentence(prediction)
    strides = [step.conv.stride for step in steps(prediction) if step.conv.stride > 1]
    rounded = ceil if "rounding up" in sentence else floor
    if said := re.search(r"divides? both sides by (\d+)", sentence):
        whole = int(said[1])
        assert whole == prod(strides) or sentence.startswith("each")
    return [rounded(side / prod(strides)) for side in prediction.spec.image_size]


@given(stem_specs())
def test_a_sentence_without_a_window_is_a_division(spec: StemSpec) -> None:
    prediction = predict(spec)
    sentence = cause_sentence(prediction)
    if "window" in sentence or "off" in sentence or "adds" in sentence or "more as" in sentence:
        return
    assert tuple(divided(prediction)) == prediction.grid_size


@given(stem_specs())
def test_the_sizes_on_the_way_are_those_of_torch(spec: StemSpec) -> None:
    module = build_stem(spec).eval()
    seen = [spec.image_size]
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[2:])))
    with torch.no_grad():
        module(torch.zeros(1, spec.in_channels, *spec.image_size))
    ways = zip(*seen, strict=True)
    chains = []
    for way in ways:
        kept = [size for at, size in enumerate(way) if at == 0 or size != way[at - 1]]
        chains.append([f"{size:,}" for size in kept])
    said = sizes_on_the_way(predict(spec))
    halves = said.removeprefix("rows ").split(", columns ")
    for chain, half in zip(chains, halves, strict=False):
        if "…" not in half:
            assert half.split(" → ") == chain


@given(stem_specs())
def test_a_label_says_what_becomes_of_both_sides(spec: StemSpec) -> None:
    for step in steps(predict(spec)):
        label = step_label(step)
        if found := re.fullmatch(r"÷ (\d+)(, up|, down)?", label):
            rounded = {None: None, ", up": ceil, ", down": floor}[found[2]]
            for before, after in zip(step.before, step.after, strict=True):
                exact = before / int(found[1])
                assert after == (rounded(exact) if rounded else exact)
        elif found := re.fullmatch(r"([+−]) (\d+)", label):
            change = int(found[2]) * (1 if found[1] == "+" else -1)
            assert {a - b for a, b in zip(step.after, step.before, strict=True)} == {change}
        elif label:
            assert label == f"stride {step.conv.stride}"
        else:
            assert step.before == step.after


@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_the_formula_gives_what_torch_gives(side: int, kernel: int, stride: int, pad: int) -> None:
    dilation = 1 + side % 3
    span = dilation * (kernel - 1) + 1
    if side + 2 * pad < span:
        return
    conv = ConvLayer(
        kernel_size=kernel, stride=stride, padding=pad, dilation=dilation, out_channels=1, bias=True
    )
    python = size_formula(side, conv).replace("−", "-").replace("·", "*")
    python = re.sub(r"⌊(.*)/ (\d+)⌋", r"(\1// \2)", python)
    torchs = torch.nn.Conv2d(1, 1, kernel, stride, pad, dilation)
    assert eval(python) == torchs(torch.zeros(1, 1, side, span)).shape[2]
