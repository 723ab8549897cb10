"""conv_stem and patchify_stem: every parameter counts, and errors name the layer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stem.specs import assert_builds_and_runs, rejected
from vitc_inspect.stem.spec import (
    ConvLayer,
    conv_stem,
    patchify_stem,
)


def test_conv_stem_without_arguments_is_that_of_vit_c_4gf() -> None:
    stem = conv_stem()  # FACTS 1
    assert [conv.out_channels for conv in stem.convs] == [48, 96, 192, 384, 384]
    assert [conv.stride for conv in stem.convs] == [2, 2, 2, 2, 1]
    assert [conv.kernel_size for conv in stem.convs] == [3, 3, 3, 3, 1]
    assert [conv.padding for conv in stem.convs] == [1, 1, 1, 1, 0]
    assert [conv.bias for conv in stem.convs] == [False, False, False, False, True]
    assert [conv.norm for conv in stem.convs] == ["batch"] * 4 + ["none"]
    assert [conv.activation for conv in stem.convs] == ["relu"] * 4 + ["none"]
    assert stem.image_size == (224, 224)
    assert stem.in_channels == 3
    assert stem.seq_len == 197


@pytest.mark.parametrize(
    "changed",
    [
        {"channels": (24, 96, 192, 384)},
        {"strides": (1, 2, 2, 2)},
        {"embed_dim": 192},
        {"image_size": 256},
        {"in_channels": 1},
        {"class_token": False},
        {"position_table": False},
        {"kernel_size": 5},
        {"norm": "layer"},
        {"activation": "gelu"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_no_parameter_of_conv_stem_is_idle(changed: dict[str, Any]) -> None:
    assert conv_stem(**changed) != conv_stem()


@pytest.mark.parametrize(
    "changed",
    [
        {"patch_size": 14},
        {"embed_dim": 384},
        {"image_size": (224, 192)},
        {"in_channels": 1},
        {"class_token": False},
        {"position_table": False},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_no_parameter_of_patchify_stem_is_idle(changed: dict[str, Any]) -> None:
    assert patchify_stem(**changed) != patchify_stem()


def test_patchify_is_one_convolution_whose_windows_tile_the_image() -> None:
    assert patchify_stem(14, 384).convs == (
        ConvLayer(out_channels=384, kernel_size=14, stride=14, padding=0, bias=True),
    )


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        (
            {"strides": (2, 2, 2)},
            "strides",
            "strides = 2 x 2 x 2: there are 3 strides for 4 convolutions. Give 4 strides.",
        ),
        (
            {"channels": (48, 0), "strides": (2, 2)},
            "conv2.out_channels",
            "conv2.out_channels = 0: the least is 1. Use 1 or more.",
        ),
        (
            {"strides": (2, 2, 0, 2)},
            "conv3.stride",
            "conv3.stride = 0: the least is 1. Use 1 or more.",
        ),
        (
            {"kernel_size": 0},
            "conv1.kernel_size",
            "conv1.kernel_size = 0: the least is 1. Use 1 or more.",
        ),
        (
            {"embed_dim": -1},
            "proj.out_channels",
            "proj.out_channels = -1: the least is 1. Use 1 or more.",
        ),
        (
            {"norm": "bn"},
            "conv1.norm",
            "conv1.norm = 'bn': it is not one of none, batch, layer. Use none.",
        ),
        (
            {"image_size": 0},
            "image_size",
            "image_size = 0 x 0: a side of 0 pixels cannot be used, the least is 1. Use 224 x 224.",
        ),
    ],
)
def test_conv_stem_names_the_layer_at_fault(
    fields: dict[str, Any], field: str, message: str
) -> None:
    error = rejected(conv_stem, **fields)
    assert error.field == field
    assert str(error) == message


def test_the_suggested_strides_work() -> None:
    error = rejected(conv_stem, strides=(2, 2, 2))
    assert conv_stem(strides=error.suggestion) == conv_stem()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"patch_size": 0},
            "proj.kernel_size = 0: the least is 1. Use 1 or more.",
        ),
        (
            {"patch_size": 16.0},
            "proj.kernel_size = 16.0: it is not a whole number. Use 16.",
        ),
        (
            {"image_size": (32, 8)},
            "proj.kernel_size = 16: the padded input is only 8 pixels long. Use 8 or less.",
        ),
    ],
)
def test_a_patch_size_that_is_none(fields: dict[str, Any], message: str) -> None:
    error = rejected(patchify_stem, embed_dim=8, **fields)
    assert str(error) == message
    stem = patchify_stem(**{"image_size": 32, **fields, "patch_size": error.suggestion})
    assert_builds_and_runs(stem)
