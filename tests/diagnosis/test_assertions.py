"""Models' own assertions about channels, masks, heads and position tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.diagnosis.errors import words
from tests.diagnosis.runs import Made, asserts, run
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize(
    ("text", "kind", "says", "fix"),
    [
        (
            "Expected (batch_size, seq_length, hidden_dim) got torch.Size([1, 768, 14, 14])",
            "flatten",
            "1×768×14×14",
            "flatten(2)",
        ),
        ("feat_dim: 100 must be divisible by head_dim: 32", "heads", "100 = 3·32 + 4", "20 or 25"),
        (
            "seq_length is not a perfect square! Instead got seq_length_1d * seq_length_1d ="
            " 169 and seq_length = 195",
            "position table",
            "195 entries",
            "rows and columns",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration. Expected 3 but got 1.",
            "channels",
            "the image is grey",
            "image.expand(-1, 3, -1, -1)",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration. Expected 3 but got 224.",
            "channels last",
            "224",
            "permute",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration.",
            "channels",
            "num_channels",
            "config.num_channels",
        ),
        (
            "Unable to infer channel dimension format",
            "channels",
            "neither 1 nor 3 channels",
            'convert("RGB")',
        ),
        (
            "mean must have 1 elements if it is an iterable, got 3",
            "channels",
            "1 channel and is normalised with 3",
            'convert("RGB")',
        ),
        ("One must provided a boolean mask ", "mask", "bool_masked_pos", "of bool"),
        ("`embed_dim` must be divisible by 4, got 90", "width", "width 90", "88 or 92"),
    ],
)
def test_what_models_assert_of_themselves_is_known(
    text: str, kind: str, says: str, fix: str
) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


@pytest.mark.parametrize(
    "text",
    [
        "Input height (224) doesn't match model (224).",
        "Input image height (224) must be divisible by patch size (16).",
        "x size (8*8) are not even.",
        "height (21) must be divisible by window (7)",
        "hidden size 768 must be divisible by 12 heads",
    ],
)
def test_an_assertion_that_its_own_numbers_refute_is_not_explained(text: str) -> None:
    assert explain_error(text) == ()


PIXELS = (
    "Make sure that the channel dimension of the pixel values match with the one set in the"
    " configuration. Expected {1} but got {0}."
)


@pytest.mark.parametrize(
    ("shape", "kind", "fix"),
    [
        ((3, 24, 24), "batch", "image.unsqueeze(0)"),
        ((24, 20, 3), "batch", "image.permute(2, 0, 1).unsqueeze(0)"),
        ((1, 24, 24, 3), "channels last", "image.permute(0, 3, 1, 2)"),
        ((2, 8, 3, 24, 24), "channels", "video.flatten(0, 1)"),
        ((1, 1, 24, 24), "channels", "image.expand(-1, 3, -1, -1)"),
        ((1, 4, 24, 24), "channels", "image[:, :3]"),
    ],
)
def test_channels_that_a_model_refuses_are_told_by_the_axes_of_the_image(
    shape: tuple[int, ...], kind: str, fix: str
) -> None:
    model = Made(asserts(PIXELS, 1, 3), first=nn.Identity())
    image = torch.zeros(shape)
    first = run(model, *shape).explanations[0]
    assert first.kind == kind
    assert fix in first.fixes[0]
    mended = eval(fix, {"image": image, "video": image})
    assert model(mended).shape[1] == 3


CHANNELS = (
    "Make sure that the channel dimension of the pixel values match with the one set in the"
    " configuration."
)


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        (
            "Sequence length must be less than max_position_embeddings (got `sequence length`:"
            " 100 and max_position_embeddings: 77",
            "text length",
            "certain",
            "The text is 100 tokens, and the model has positions for 77",
        ),
        ("Input a dog is too long for context length 77", "text length", "certain", "for 77"),
        (
            "Token indices sequence length is longer than the specified maximum sequence length"
            " for this model (263 > 77).",
            "text length",
            "certain",
            "263 tokens",
        ),
        (CHANNELS, "channels", "likely", "image.unsqueeze(0)"),  # LevitModel, of one image
        (f"{CHANNELS} Expected 3 but got 224.", "channels last", "likely", "permute(0, 3, 1, 2)"),
        (f"{CHANNELS} Expected 3 but got 16.", "channels", "likely", "16 frames of a video"),
        (f"{CHANNELS} Expected 3 but got 1.", "channels", "certain", "the image is grey"),
        (
            "Image features and image tokens do not match: tokens: 1991, features 2990",
            "image tokens",
            "likely",
            "999 more: the text was truncated",  # 2990 − 1991
        ),
        (
            "Image features and image tokens do not match, tokens: 720, features: 360",
            "image tokens",
            "likely",
            "360 fewer",
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
    "text",
    [
        "Sequence length must be less than max_position_embeddings (got `sequence length`: 77 and"
        " max_position_embeddings: 77",
        "Dinov2 requires input shape to be divisible by 14, but got torch.Size([4, 3, 28, 14])",
        "x height (8) is not even.",
        "The shape of the mask [8, 9] at index 1 does not match the shape of the indexed tensor"
        " [8, 9] at index 1",
        "'Tensor' object has no attribute 'shape'",
        "Image features and image tokens do not match: tokens: 256, features 256",
        "Expected input batch_size (4) to match target batch_size (1).",
    ],
)
def test_what_its_own_numbers_refute_is_not_explained(text: str) -> None:
    assert explain_error(text) == ()
