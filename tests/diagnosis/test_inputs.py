"""Errors of what goes into a layer: its axes, its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn, zeros

from tests.diagnosis.errors import best_of, words
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import Made, best, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.inspection.module_inspection import inspect_module


@raised("inputs")
def test_raised_inputs(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "says"),
    [
        (nn.Conv2d(3, 8, 3), (8, 768), "features", "8 rows of 768 numbers"),
        (nn.Conv2d(3, 8, 3), (1, 384), "features", "1 rows of 384 numbers"),
        (nn.Conv2d(3, 8, 3), (224, 224), "batch", "no channels and no batch"),
        (nn.Conv2d(3, 8, 3), (480, 640), "batch", "no channels and no batch"),
        (nn.Conv2d(3, 8, 3), (2, 8, 3, 32, 32), "batch", "8 frames or images of 3 channels"),
        (nn.Conv2d(3, 8, 3), (2, 3, 16, 32, 32), "video", "16 frames of 3 channels"),
        (nn.Conv2d(3, 8, 3), (2, 16, 32, 32, 3), "video", "16 frames with their channels last"),
        (nn.Conv1d(3, 8, 3), (1, 3, 32, 32), "axes", "Conv1d gets 1×3×32×32: 4 axes"),
        (nn.Conv3d(3, 8, 1), (3, 32, 32), "axes", "Conv3d gets 3×32×32: 3 axes"),
        (nn.BatchNorm2d(8), (2, 8), "norm", "features (batch, width)"),
        (nn.BatchNorm1d(8), (2, 8, 4, 4), "norm", "BatchNorm1d reads 2 or 3 axes and gets 4"),
        (nn.BatchNorm3d(8), (2, 8, 4, 4), "norm", "BatchNorm3d reads 5 axes and gets 4"),
    ],
)
def test_axes_that_a_layer_does_not_read_are_named_for_what_they_are(
    layer: nn.Module, shape: tuple[int, ...], kind: str, says: str
) -> None:
    best = best_of(lambda: layer(zeros(shape)))
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("layer", "shape", "name"),
    [
        (nn.Conv2d(3, 8, 3), (1, 1, 3, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 8, 3, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 3, 16, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 16, 32, 32, 3), "image"),
        (nn.Conv1d(3, 8, 3), (1, 3, 32, 32), "x"),
        (nn.Conv3d(3, 8, 1), (3, 32, 32), "image"),
    ],
)
def test_axes_that_are_changed_as_said_are_read(
    layer: nn.Module, shape: tuple[int, ...], name: str
) -> None:
    x = zeros(shape)
    best = best_of(lambda: layer(x))
    layer(eval(best.fixes[0].partition(": ")[2].removesuffix("."), {name: x}))


class Unpacks(nn.Module):
    """A model that takes the shape of its image apart, as most do."""

    def forward(self, image: Tensor) -> Tensor:
        _, _, rows, columns = image.shape
        return image.reshape(-1, rows * columns)


@pytest.mark.parametrize(
    ("shape", "says", "axes"),
    [
        ((3, 8, 8), "the tensor has 3 axes", 3),
        ((1, 2, 3, 8, 8), "a video, or an extra batch axis", 5),
    ],
)
def test_a_shape_that_is_taken_apart_into_other_names(
    shape: tuple[int, ...], says: str, axes: int
) -> None:
    image = zeros(shape)
    (only,) = inspect_module(Unpacks(), image).explanations
    assert (only.kind, only.likelihood) == ("axes", "likely")  # the line shows .shape
    assert says in only.sentence
    code = only.fixes[0].partition(": ")[2].removesuffix(".")
    assert eval(code, {"image": image}).dim() == 4
    assert image.dim() == axes


def test_values_that_are_no_shape_are_not_taken_for_one() -> None:
    assert explain_error("ValueError: too many values to unpack (expected 2)") == ()
    assert explain_error("ValueError: too many values to unpack (expected 3)") == ()
    for text in (
        "not enough values to unpack (expected 4, got 3)",
        "too many values to unpack (expected 4)",
    ):
        alone = explain_error(f"ValueError: {text}")  # four names are mostly a shape's
        assert [each.likelihood for each in alone] == ["possible"]


def test_a_map_in_a_convolution_along_the_sequence() -> None:
    model = Made(lambda m, x: m.mix(m.turn(x)), mix=nn.Conv1d(32, 8, 3), turn=nn.Identity())
    assert "x.flatten(2)" in best(model, 1, 32, 7, 7).fixes[0]
    model.turn = nn.Flatten(2)
    assert run(model, 1, 32, 7, 7).failure is None


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        (
            "stack expects each tensor to be equal size, but got [3, 224, 224] at entry 0 and"
            " [1, 224, 224] at entry 3",
            "channels",
            "certain",
            'convert("RGB")',
        ),
        (
            "stack expects each tensor to be equal size, but got [3, 224, 224] at entry 0 and"
            " [3, 224, 299] at entry 3",
            "image size",
            "certain",
            "different sizes",
        ),
        (
            "stack expects each tensor to be equal size, but got [1, 9, 9] at entry 0 and"
            " [1, 200, 9, 9] at entry 2",
            "axes",
            "certain",
            "3 and 4 axes",
        ),
        (
            "Expected input batch_size (788) to match target batch_size (4).",
            "pool",
            "likely",
            "788 = 4·197",
        ),
        ("'tuple' object has no attribute 'shape'", "type", "likely", "output[0]"),
        (
            "'BaseModelOutputWithPooling' object has no attribute 'shape'",
            "type",
            "likely",
            "output.last_hidden_state",
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("h, w, c = img.shape", "not enough values to unpack (expected 3, got 2)", "a grey image"),
        ("x, y = image.shape", "too many values to unpack (expected 2)", "image.shape[:2]"),
        ("B, N, C = x.shape", "too many values to unpack (expected 3)", "flatten(2)"),
        ("B, N, C = x.shape", "not enough values to unpack (expected 3, got 2)", "x.unsqueeze(0)"),
        (
            "batch_size, num_channels, height, width = pixel_values.shape",
            "not enough values to unpack (expected 4, got 3)",
            "image.unsqueeze(0)",
        ),
    ],
)
def test_the_names_of_a_line_say_what_was_taken_apart(line: str, error: str, says: str) -> None:
    best = explain_error(f"    {line}\nValueError: {error}")[0]
    assert best.kind == "axes"
    assert says in words(best)
