"""Layers and stems: the bounds of every field, what fits together, and derived values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stem.specs import assert_builds_and_runs, rejected
from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import MAX_CHANNELS, MAX_SIDE
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import (
    MAX_CONVS,
    ConvLayer,
    Stage,
    StemSpec,
    conv_layer,
    conv_names,
    conv_stem,
    default_padding,
    patchify_stem,
)

LAYER = {"out_channels": 48, "kernel_size": 3, "stride": 2, "padding": 1, "bias": False}


BOUNDS = {
    "out_channels": (1, 65_536),
    "kernel_size": (1, 16_384),
    "stride": (1, 16_384),
    "padding": (0, 16_384),
    "dilation": (1, 16_384),
    "groups": (1, 10**9),  # what it must divide bounds it long before
}


@pytest.mark.parametrize("field", BOUNDS)
@pytest.mark.parametrize("below", [1, 7, 10**30])
def test_a_number_too_low(field: str, below: int) -> None:
    low, _ = BOUNDS[field]
    error = rejected(ConvLayer, **{**LAYER, field: low - below})
    assert error.field == field
    assert error.value == low - below
    assert str(error) == f"{field} = {low - below}: the least is {low}. Use {low} or more."
    assert error.suggestion == low
    assert getattr(ConvLayer(**{**LAYER, field: error.suggestion}), field) == low


@pytest.mark.parametrize("field", [field for field in BOUNDS if field != "groups"])
@pytest.mark.parametrize("above", [1, 10**30])
def test_a_number_too_high(field: str, above: int) -> None:
    _, high = BOUNDS[field]
    error = rejected(ConvLayer, **{**LAYER, field: high + above})
    assert error.field == field
    assert error.value == high + above
    assert error.reason == f"the most is {high:,}"
    layer = ConvLayer(**{**LAYER, field: error.suggestion})
    assert getattr(layer, field) == error.suggestion


def test_the_bounds_themselves_are_legal() -> None:
    for field, (low, high) in BOUNDS.items():
        assert getattr(ConvLayer(**{**LAYER, field: low}), field) == low
        highest = LAYER["out_channels"] if field == "groups" else high
        assert getattr(ConvLayer(**{**LAYER, field: highest}), field) == highest


@pytest.mark.parametrize("field", BOUNDS)
@pytest.mark.parametrize("value", [2.5, 2.0, True, False, "2", None, float("nan"), [2], 2j])
def test_what_is_not_a_whole_number(field: str, value: Any) -> None:
    low, _ = BOUNDS[field]
    error = rejected(ConvLayer, **{**LAYER, field: value})
    near = (
        2 if value in (2.5, 2.0, "2") else max(low, int(value)) if value in (True, False) else low
    )
    assert error.field == field
    assert error.suggestion == near
    assert str(error) == f"{field} = {value!r}: it is not a whole number. Use {near}."
    assert ConvLayer(**{**LAYER, field: error.suggestion})
    assert ConvLayer(**{**LAYER, field: 2})


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_a_bias_that_is_neither_true_nor_false(value: Any) -> None:
    error = rejected(ConvLayer, **{**LAYER, "bias": value})
    assert str(error) == (f"bias = {value!r}: it is neither True nor False. Use True or False.")
    assert ConvLayer(**{**LAYER, "bias": error.suggestion})
    assert ConvLayer(**{**LAYER, "bias": True}) != ConvLayer(**{**LAYER, "bias": False})


@pytest.mark.parametrize(
    ("field", "value", "choices"),
    [
        ("norm", "bn", "none, batch, layer"),
        ("norm", None, "none, batch, layer"),
        ("norm", "Batch", "none, batch, layer"),
        ("norm", ["batch"], "none, batch, layer"),
        ("activation", "tanh", "none, relu, gelu, silu, hardswish"),
        ("activation", True, "none, relu, gelu, silu, hardswish"),
        ("activation", "", "none, relu, gelu, silu, hardswish"),
    ],
)
def test_an_unknown_norm_or_activation(field: str, value: Any, choices: str) -> None:
    error = rejected(ConvLayer, **{**LAYER, field: value})
    assert error.field == field
    assert error.reason == f"it is not one of {choices}"
    assert error.suggestion in choices.split(", ")
    assert getattr(ConvLayer(**{**LAYER, field: error.suggestion}), field) == error.suggestion
    for choice in choices.split(", "):
        assert getattr(ConvLayer(**{**LAYER, field: choice}), field) == choice


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("norm", "Batch", "batch"),
        ("norm", "layers", "layer"),
        ("activation", "rleu", "relu"),
        ("activation", "hardswich", "hardswish"),
    ],
)
def test_a_slip_of_the_pen_is_mended(field: str, value: str, meant: str) -> None:
    error = rejected(ConvLayer, **{**LAYER, field: value})
    assert error.suggestion == meant
    assert error.fix == f"Use {meant}"


@pytest.mark.parametrize(("out_channels", "groups"), [(48, 7), (48, 49), (7, 2), (48, 10**9)])
def test_groups_that_do_not_divide_the_output(out_channels: int, groups: int) -> None:
    """One group is suggested: what divides the input as well is not known to a layer alone."""
    fields = {**LAYER, "out_channels": out_channels, "groups": groups}
    error = rejected(ConvLayer, **fields)
    assert str(error) == (
        f"groups = {groups}: it does not divide the {out_channels} output channels. Use 1."
    )
    assert ConvLayer(**{**fields, "groups": error.suggestion}).groups == 1


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [(3, 2, 1), (3, 1, 1), (3, 3, 0), (1, 1, 0), (2, 1, 0), (7, 4, 3), (16, 16, 0), (16, 8, 7)],
)
def test_unwritten_padding(kernel_size: int, stride: int, padding: int) -> None:
    assert default_padding(kernel_size, stride) == padding
    assert conv_layer(8, kernel_size, stride).padding == padding
    assert conv_layer(8, kernel_size, stride, padding=5).padding == 5


def test_unwritten_bias_is_there_exactly_without_a_norm() -> None:
    assert conv_layer(8, 3).bias is True
    assert conv_layer(8, 3, norm="batch").bias is False
    assert conv_layer(8, 3, norm="layer").bias is False
    assert conv_layer(8, 3, bias=False).bias is False
    assert conv_layer(8, 3, norm="batch", bias=True).bias is True


@pytest.mark.parametrize("field", ["kernel_size", "stride"])
@pytest.mark.parametrize("value", [0, 2.5, True, None, 16_385])
def test_conv_layer_checks_before_it_computes(field: str, value: Any) -> None:
    fields = {"out_channels": 8, "kernel_size": 3, "stride": 2, field: value}
    error = rejected(conv_layer, **fields)
    assert error.field == field
    assert conv_layer(**{**fields, field: error.suggestion})


def test_whole_numbers_of_numpy_count_as_any_others() -> None:
    plain = conv_layer(96, 16, 16)
    of_numpy = conv_layer(np.int8(96), np.int8(16), np.int8(16))
    assert of_numpy == plain
    stem = StemSpec(image_size=(224, 224), convs=(of_numpy,))
    assert predict(stem) == predict(StemSpec(image_size=(224, 224), convs=(plain,)))


STEM = {"image_size": (32, 24), "convs": (ConvLayer(**LAYER),)}


def with_suggestion(error: SpecError, **fields: Any) -> dict[str, Any]:
    """The fields of a stem with the error's suggestion put where it belongs: `conv2.stride`."""
    owner, _, name = error.field.rpartition(".")
    if not owner:
        return {**fields, name: error.suggestion}
    convs = list(fields["convs"])
    index = conv_names(len(convs)).index(owner)
    convs[index] = replace(convs[index], **{name: error.suggestion})
    return {**fields, "convs": tuple(convs)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (224, "image_size = 224: it is not a height and a width. Use (224, 224)."),
        (None, "image_size = None: it is not a height and a width. Use (224, 224)."),
        ("ab", "image_size = 'ab': it is not a height and a width. Use (224, 224)."),
        ((224,), "image_size = 224: it is not a height and a width. Use (224, 224)."),
        (
            (3, 32, 24),
            "image_size = 3 x 32 x 24: it is not a height and a width. Use (224, 224).",
        ),
        (
            (0, 24),
            "image_size = 0 x 24: a side of 0 pixels cannot be used, the least is 1. Use 224 x 24.",
        ),
        (
            (32, -1),
            "image_size = 32 x -1: a side of -1 pixels cannot be used, the least is 1. "
            "Use 32 x 224.",
        ),
        (
            (32, 2.5),
            "image_size = 32 x 2.5: a side of 2.5 pixels cannot be used, "
            "it is not a whole number. Use 32 x 224.",
        ),
        (
            (True, 24),
            "image_size = True x 24: a side of True pixels cannot be used, "
            "it is not a whole number. Use 224 x 24.",
        ),
    ],
)
def test_an_image_size_that_is_none(value: Any, message: str) -> None:
    error = rejected(StemSpec, **{**STEM, "image_size": value})
    assert str(error) == message
    assert error.field == "image_size"
    assert_builds_and_runs(StemSpec(**with_suggestion(error, **STEM)))


def test_an_image_size_beyond_the_bound() -> None:
    error = rejected(StemSpec, **{**STEM, "image_size": (24, 16_385)})
    assert error.field == "image_size"
    assert error.reason == "a side of 16385 pixels cannot be used, the most is 16,384"
    assert StemSpec(**with_suggestion(error, **STEM)).image_size[0] == 24
    assert StemSpec(**{**STEM, "image_size": (24, 16_384)}).grid_size == (12, 8192)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "in_channels = 0: the least is 1. Use 1 or more."),
        (-3, "in_channels = -3: the least is 1. Use 1 or more."),
        (1.5, "in_channels = 1.5: it is not a whole number. Use 2."),
        (True, "in_channels = True: it is not a whole number. Use 1."),
        (65_537, "in_channels = 65537: the most is 65,536. Use 65536 or less."),
    ],
)
def test_in_channels_out_of_bounds(value: Any, message: str) -> None:
    error = rejected(StemSpec, **{**STEM, "in_channels": value})
    assert str(error) == message
    assert error.field == "in_channels"
    assert StemSpec(**with_suggestion(error, **STEM)).in_channels == error.suggestion


@pytest.mark.parametrize("field", ["class_token", "position_table"])
@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_a_token_or_a_table_that_is_neither_there_nor_not(field: str, value: Any) -> None:
    error = rejected(StemSpec, **{**STEM, field: value})
    assert str(error) == f"{field} = {value!r}: it is neither True nor False. Use True or False."
    assert_builds_and_runs(StemSpec(**with_suggestion(error, **STEM)))


LINK = conv_layer(4, 1)


@pytest.mark.parametrize(
    ("convs", "fix"),
    [
        ((), "Give at least one"),
        ([], "Give at least one"),
        ((LINK,) * (MAX_CONVS + 1), f"Give at most {MAX_CONVS}"),
    ],
)
def test_too_few_or_too_many_layers(convs: Any, fix: str) -> None:
    error = rejected(StemSpec, image_size=(8, 8), convs=convs)
    assert str(error) == (
        f"convs = '{len(convs)} layers': a stem has 1 to 64 layers, each a ConvLayer. {fix}."
    )
    assert error.field == "convs"
    for count in (1, MAX_CONVS):
        assert len(StemSpec(image_size=(8, 8), convs=(LINK,) * count).stages) == count


@pytest.mark.parametrize(
    ("convs", "reason"),
    [
        (("3x3:48",), "it is a str, no ConvLayer"),
        ((LINK, None), "it is no ConvLayer"),
        ("3x3:48", "it is a str, no tuple or list"),
    ],
)
def test_layers_that_are_none(convs: Any, reason: str) -> None:
    error = rejected(StemSpec, image_size=(8, 8), convs=convs)
    assert (error.field, error.reason) == ("convs", reason)


@pytest.mark.parametrize("convs", [LINK, None, 4])
def test_layers_that_are_not_even_a_sequence(convs: Any) -> None:
    assert rejected(StemSpec, image_size=(8, 8), convs=convs).field == "convs"


@pytest.mark.parametrize(
    ("image_size", "convs", "message"),
    [
        (
            (8, 8),
            (conv_layer(4, 9, padding=0),),
            "proj.kernel_size = 9: the padded input is only 8 pixels long. Use 8 or less.",
        ),
        (
            (32, 32),
            (conv_layer(4, 3, 2), conv_layer(4, 3, 2), conv_layer(4, 9, 2, padding=0), LINK),
            "conv3.kernel_size = 9: the padded input is only 8 pixels long. Use 8 or less.",
        ),
        (
            (8, 8),
            (conv_layer(4, 3, dilation=5, padding=0), LINK),
            "conv1.kernel_size = 3: the window spans 11 pixels and the padded input is only "
            "8 pixels long. Use 2 or less.",
        ),
        (
            (32, 32),
            (conv_layer(8, 3, 2, groups=2), LINK),
            "conv1.groups = 2: it does not divide the 3 input channels. Use 1.",
        ),
        (
            (32, 32),
            (conv_layer(12, 3, 2, groups=3), conv_layer(8, 3, groups=8), LINK),
            "conv2.groups = 8: it does not divide the 12 input channels. Use 4.",
        ),
        (
            (32, 32),
            (conv_layer(9, 3, 2), conv_layer(16, 1, groups=4)),
            "proj.groups = 4: it does not divide the 9 input channels. Use 1.",
        ),
    ],
)
def test_layers_that_do_not_fit_what_they_are_given(
    image_size: tuple[int, int], convs: tuple[ConvLayer, ...], message: str
) -> None:
    error = rejected(StemSpec, image_size=image_size, convs=convs)
    assert str(error) == message
    assert_builds_and_runs(StemSpec(**with_suggestion(error, image_size=image_size, convs=convs)))


@pytest.mark.parametrize("image_size", [(4, 8), (8, 4)])
def test_a_window_too_long_for_the_shorter_side(image_size: tuple[int, int]) -> None:
    convs = (conv_layer(4, 9, padding=0),)
    error = rejected(StemSpec, image_size=image_size, convs=convs)
    assert error.field == "proj.kernel_size"
    assert error.suggestion == 4
    assert_builds_and_runs(StemSpec(**with_suggestion(error, image_size=image_size, convs=convs)))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(stem=stem_specs(max_side=16), index=st.integers(0, 4), data=st.data())
def test_a_suggestion_settles_its_field(stem: StemSpec, index: int, data: st.DataObject) -> None:
    """One layer of a good stem is spoilt, the advice taken: nothing more is wrong."""
    index %= len(stem.convs)
    spoilt = replace(
        stem.convs[index], kernel_size=data.draw(st.integers(1, 30)), out_channels=24, groups=1
    )
    spoilt = replace(spoilt, groups=data.draw(st.sampled_from((1, 2, 3, 4, 6, 8, 12, 24))))
    fields = {
        "image_size": stem.image_size,
        "in_channels": stem.in_channels,
        "convs": (*stem.convs[:index], spoilt),
    }
    complaints: list[str] = []
    while len(set(complaints)) == len(complaints):
        try:
            stem = StemSpec(**fields)
        except SpecError as error:
            complaints.append(error.field)
            fields = with_suggestion(error, **fields)
        else:
            assert stem.num_patches >= 1
            return
    pytest.fail(f"the same field twice, although its suggestion was taken: {complaints}")


@pytest.mark.parametrize("notation", ["3x3:48 g7", "3x3:48 g70000"])
def test_groups_are_suggested_that_divide_input_and_output(notation: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_stem(notation, image_size=8)
    assert caught.value.field == "proj.groups"
    settled = notation.split(" g")[0] + f" g{caught.value.suggestion}"
    assert_builds_and_runs(parse_stem(settled, image_size=8))


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ("proj",)), (2, ("conv1", "proj")), (4, ("conv1", "conv2", "conv3", "proj"))],
)
def test_names_of_the_convolutions(count: int, names: tuple[str, ...]) -> None:
    assert conv_names(count) == names


def test_names_and_shapes_of_the_stages() -> None:
    stages = conv_stem((24, 48), (2, 2), 192, image_size=(32, 24)).stages
    assert [(s.name, s.norm_name, s.act_name) for s in stages] == [
        ("conv1", "norm1", "act1"),
        ("conv2", "norm2", "act2"),
        ("proj", "proj_norm", "proj_act"),
    ]
    assert [(s.in_shape, s.out_shape) for s in stages] == [
        ((3, 32, 24), (24, 16, 12)),
        ((24, 16, 12), (48, 8, 6)),
        ((48, 8, 6), (192, 8, 6)),
    ]
    assert all(isinstance(s, Stage) for s in stages)


@pytest.mark.parametrize(
    ("stem", "total_stride", "grid", "seq_len"),
    [
        (conv_stem(), 2 * 2 * 2 * 2 * 1, (14, 14), 14 * 14 + 1),
        (conv_stem(class_token=False), 16, (14, 14), 14 * 14),
        (conv_stem(image_size=256), 16, (16, 16), 257),  # FACTS 4.11: 257 = 16² + 1
        (conv_stem(image_size=(256, 192)), 16, (16, 12), 16 * 12 + 1),
        (conv_stem(image_size=(192, 256)), 16, (12, 16), 12 * 16 + 1),
        (patchify_stem(14, 384), 14, (16, 16), 257),
        (patchify_stem(16, 768, image_size=(230, 223)), 16, (14, 13), 14 * 13 + 1),
        (conv_stem((8,), (2,), 8, image_size=(1, 1)), 2, (1, 1), 2),
    ],
)
def test_derived_values(
    stem: StemSpec, total_stride: int, grid: tuple[int, int], seq_len: int
) -> None:
    assert stem.total_stride == total_stride
    assert stem.grid_size == grid
    assert stem.num_patches == grid[0] * grid[1]
    assert stem.num_prefix_tokens == seq_len - grid[0] * grid[1]
    assert stem.seq_len == seq_len
    assert stem.embed_dim == stem.convs[-1].out_channels


def test_stems_stand_still() -> None:
    stem = conv_stem()
    with pytest.raises(FrozenInstanceError):
        stem.image_size = (8, 8)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        stem.convs[0].stride = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ConvLayer(48, 3, 2, 1, bias=False)  # type: ignore[misc]


def test_stems_that_are_equal_are_one_key() -> None:
    from_lists = StemSpec(image_size=[224, 224], convs=list(conv_stem().convs))  # type: ignore[arg-type]
    assert from_lists.image_size == (224, 224)
    assert isinstance(from_lists.convs, tuple)
    assert {from_lists: "cached"}[conv_stem()] == "cached"


@settings(deadline=None, derandomize=True, max_examples=60)
@given(stem_specs(max_side=32))
def test_a_stem_that_exists_can_be_built_and_run(stem: StemSpec) -> None:
    assert_builds_and_runs(stem)


def test_the_bounds_are_those_that_the_messages_state() -> None:
    assert (MAX_SIDE, MAX_CHANNELS, MAX_CONVS) == (16_384, 65_536, 64)
