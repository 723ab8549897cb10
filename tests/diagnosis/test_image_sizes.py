"""Models' own assertions about the size of the image."""

from __future__ import annotations

import pytest
from torch import nn

from tests.diagnosis.errors import words
from tests.diagnosis.runs import Made, asserts, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import patchify_stem


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [  # worded as in torchvision 0.28, timm 1.0, transformers 4, vit-pytorch and torch on a GPU
        ("Wrong image height! Expected 224 but got 256!", "image size", "16×16 = 256 tokens where"),
        ("Input height (225) doesn't match model (224).", "image size", "a height of 225 pixels"),
        ("Input width (225) should be divisible by patch size (16).", "image size", "225 = 14·16"),
        ("Input image size (256*256) doesn't match model (224*224).", "image size", "256 pixels"),
        ("Input shape indivisible by patch size!", "image size", "not divisible"),
        ("Image dimensions must be divisible by the patch size.", "image size", "not divisible"),
    ],
)
def test_what_others_raise_is_explained(text: str, kind: str, says: str) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("text", "kind", "says", "fix"),
    [
        # timm over the years: vision_transformer.py of 2020, 2021, patch_embed.py of 2023
        (
            "Input image size (512*512) doesn't match model (224*224).",
            "image size",
            "512×512 pixels and the model expects 224×224",
            "224×224",
        ),
        (
            "Input image height (512) doesn't match model (224).",
            "image size",
            "a height of 512",
            "a height of 224 pixels",
        ),
        (
            "Input height (512) doesn't match model (224).",
            "image size",
            "a height of 512",
            "a height of 224 pixels",
        ),
        (
            "Input width (300) doesn't match model (224).",
            "image size",
            "a width of 300",
            "a width of 224 pixels",
        ),
        (
            "Input img_size (512, 384) doesn't match model (224, 224).",
            "image size",
            "512×384 pixels",
            "224×224",
        ),
        (
            "Input image width (225) must be divisible by patch size (16).",
            "image size",
            "225 = 14·16 + 1",
            "224 = 14·16 or 240 = 15·16",
        ),
        (
            "`patch_size` should divide image dimensions evenly",
            "image size",
            "not divisible",
            "224 = 14·16",
        ),
        # channels last where the model reads height and width
        (
            "Input width (3) doesn't match model (224).",
            "channels last",
            "3 is a number of channels",
            "permute(0, 3, 1, 2)",
        ),
        # torchvision
        ("Wrong image width! Expected 224 but got 256!", "image size", "a width of 256", "224×224"),
        # transformers
        (
            "Input image size (512*384) doesn't match model (224*224).",
            "image size",
            "32×24 = 768 tokens",
            "224×224",
        ),
        # DINOv2
        (
            "Input image height 225 is not a multiple of patch height 14",
            "image size",
            "225 = 16·14 + 1",
            "224 = 16·14 or 238 = 17·14",
        ),
        (
            "Input image width 225 is not a multiple of patch width: 14",
            "image size",
            "A width of 225",
            "image[..., :224]",
        ),
    ],
)
def test_what_models_assert_of_themselves_is_known(
    text: str, kind: str, says: str, fix: str
) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


def test_a_stem_that_is_given_names_the_patch_of_an_assertion() -> None:
    spec = patchify_stem(patch_size=32, image_size=224)
    best = explain_error("Input height (512) doesn't match model (224).", spec=spec)[0]
    assert "At patch size 32 that is 16 rows of tokens instead of 7." in best.sentence


HEIGHT = "Input height ({}) doesn't match model ({})."


def test_a_stage_that_calls_its_map_an_image_is_told_from_the_image() -> None:
    """2·112 = 224 and 2·128 = 256: the run shows that 128 is the map."""
    stage = Made(asserts(HEIGHT, 2, 112), first=nn.Conv2d(3, 8, 7, 2, 3))
    (only,) = run(stage, 1, 3, 256, 256).explanations
    assert "A map inside the model has a height of 128 positions" in only.sentence
    assert only.fixes[0] == "Resize the image to 224×224 pixels."
    assert run(stage, 1, 3, 224, 224).failure is None
    whole = Made(asserts(HEIGHT, 2, 112), first=nn.Identity())
    (image,) = run(whole, 1, 3, 128, 128).explanations
    assert (image.likelihood, image.numbers["side"]) == ("certain", 128)


def test_tokens_are_counted_at_a_patch_that_is_known_or_said_to_be_supposed() -> None:
    text = "Input image size (256*256) doesn't match model (224*224)."
    assert "If a patch is 16 pixels, it would give 16×16" in explain_error(text)[0].sentence
    of_stem = explain_error(text, spec=parse_stem("32x32/32:768"))[0].sentence
    assert "At patch size 32 it would give 8×8 = 64 tokens" in of_stem


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        # Visformer embeds maps by PatchEmbed: 2·112 = 224, 2·128 = 256
        ("Input height (128) doesn't match model (112).", "image size", "likely", "128 pixels"),
        ("Input height (256) doesn't match model (224).", "image size", "certain", "256 pixels"),
        ("Input height (3) doesn't match model (224).", "channels", "likely", "the third axis"),
        ("Input width (3) doesn't match model (224).", "channels last", "likely", "0, 3, 1, 2"),
        ("Input size must be divisible by 32", "image size", "certain", "224 = 7·32"),
        (
            "When `bool_masked_pos` is provided, `patch_size` must be equal to `encoder_stride`"
            " to ensure that the reconstructed image has the same dimensions as the input. Got"
            " `patch_size` = 16 and `encoder_stride` = 8.",
            "stride",
            "certain",
            "encoder_stride=16",
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)


def test_a_map_between_stages_is_the_other_reading_of_a_small_model() -> None:
    of_image, of_map = explain_error("Input height (128) doesn't match model (112).")
    assert "A map inside the model has a height of 128 positions" in of_map.sentence
    assert (of_map.numbers["side"], of_map.numbers["expected_side"]) == (256, 224)
    assert of_image.likelihood == "likely"
    assert len(explain_error("Input height (192) doesn't match model (224).")) == 1
