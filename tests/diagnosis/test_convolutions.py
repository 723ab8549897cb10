"""Errors of convolutions and poolings: channels, axes, kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, zeros

from tests.diagnosis.errors import explain, words
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import Made, best, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.notation import parse_stem


def test_the_stem_names_the_convolution_that_gets_other_channels() -> None:
    spec = parse_stem("3x3/2:48 bn relu, 3x3/2:96 bn relu, 1x1:384")
    best = explain(lambda: nn.Conv2d(48, 96, 3, 2, 1)(zeros(1, 64, 8, 8)), spec)[0]
    assert best.sentence.startswith("conv2 reads 48 channels and gets 64")


def test_the_stem_says_how_large_an_image_must_be() -> None:
    spec = parse_stem("3x3/2p0:8, 3x3/2p0:8, 3x3/2p0:8", image_size=64)
    best = explain(lambda: nn.Conv2d(8, 8, 3)(zeros(1, 8, 2, 2)), spec)[0]
    assert best.fixes[0] == "Use an image of at least 15×15 pixels, which gives one token."


@raised("convolutions")
def test_raised_convolutions(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize("shape", [(1, 4, 3, 16, 16), (1, 4, 16, 16, 3)])
def test_a_video_whose_channels_are_not_second(shape: tuple[int, ...]) -> None:
    model = Made(
        lambda m, x: m.stem(m.turn(x)),
        stem=nn.Conv3d(3, 8, (2, 8, 8), (2, 8, 8)),
        turn=nn.Identity(),
    )
    meaning = best(model, *shape)
    order = re.findall(r"permute\(([\d, ]+)\)", meaning.fixes[0])[0]
    model.turn = Made(lambda m, x: x.permute(*map(int, order.split(", "))))
    report = run(model, *shape)
    assert report.failure is None
    assert report.outputs[0].shape == (1, 8, 2, 2, 2)


def test_tokens_in_a_convolution_along_the_sequence() -> None:
    model = Made(lambda m, x: m.mix(m.turn(x)), mix=nn.Conv1d(32, 8, 3), turn=nn.Identity())
    assert best(model, 1, 49, 32).kind == "transpose"
    model.turn = Made(lambda m, x: x.transpose(1, 2))
    assert run(model, 1, 49, 32).failure is None


def test_a_depthwise_convolution_gets_its_groups_too() -> None:
    """Its fix is built, and takes the map."""
    best = explain(lambda: nn.Conv2d(8, 8, 3, groups=8)(zeros(1, 16, 9, 9)))[0]
    numbers = dict(re.findall(r"(\w+)=(\d+)", best.fixes[0]))
    built = nn.Conv2d(kernel_size=3, **{name: int(number) for name, number in numbers.items()})
    assert built(zeros(1, 16, 9, 9)).shape == (1, 16, 7, 7)


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(
    image=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    padding=st.integers(0, 2),
)
def test_a_kernel_and_a_padding_that_are_named_fit(
    image: tuple[int, int], kernel: tuple[int, int], padding: int
) -> None:
    conv = nn.Conv2d(1, 1, kernel, padding=padding)
    if all(side + 2 * padding >= k for side, k in zip(image, kernel, strict=True)):
        assert conv(zeros(1, 1, *image)).numel() > 0
        return
    best = explain(lambda: conv(zeros(1, 1, *image)))[0]
    assert best.likelihood == "certain"
    smaller = int(re.findall(r"kernel of (\d+)", best.fixes[1])[0])
    more = int(re.findall(r"pad by (\d+) more", best.fixes[2])[0])
    longer = int(re.findall(r"must be (\d+) longer", best.fixes[0])[0])
    assert nn.Conv2d(1, 1, smaller, padding=padding)(zeros(1, 1, *image)).numel() > 0
    assert nn.Conv2d(1, 1, kernel, padding=padding + more)(zeros(1, 1, *image)).numel() > 0
    assert conv(zeros(1, 1, image[0] + longer, image[1] + longer)).numel() > 0


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        (
            "Given groups=1, weight of size [32, 3, 4, 4], expected input[1, 224, 224, 4] to have"
            " 3 channels, but got 224 channels instead",
            "channels last",
            "likely",
            "permute(0, 3, 1, 2)[:, :3]",
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)
