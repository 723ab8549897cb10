"""The contract checks: each broken promise is named, and its sound neighbour gets no word."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Contract, Explanation, faults, faults_of
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import conv_layer

SOUND = Contract(
    image_size=(224, 224),
    patch_size=16,
    strides=(2, 2, 2, 2, 1),
    embed_dim=384,
    num_prefix_tokens=1,
    table_length=197,
    table_width=384,
    num_heads=6,
)


def changed(**values: object) -> list[Explanation]:
    return list(faults(Contract(**{**vars(SOUND), **values})))  # type: ignore[arg-type]


def test_convolutions_may_bear_the_names_that_their_author_gave_them():
    convs = tuple(conv_layer(8, 3, norm="batch", bias=True, activation="relu") for _ in range(8))
    (fault,) = faults(Contract(convs=(*convs[:2], conv_layer(8, 1)), names=("a", "b.c", "d")))
    assert fault.sentence.startswith("a, b.c have a bias before BatchNorm")
    (many,) = faults(Contract(convs=(*convs, conv_layer(8, 1))))
    assert many.sentence.startswith("conv1, conv2, conv3, conv4, conv5, conv6 and 2 more have")
    with pytest.raises(SpecError, match="there are 2 convolutions"):
        Contract(convs=convs[:2], names=("a",))


def test_what_agrees_gets_no_word() -> None:
    assert faults(SOUND) == ()
    assert faults(Contract()) == ()


@pytest.mark.parametrize(
    ("values", "kind", "says", "fix"),
    [
        (
            {"strides": (2, 2, 2, 1, 1), "table_length": None},
            "stride",
            "2·2·2·1·1 = 8, and patch_size says 16: 28×28 tokens instead of the 14×14",
            "Multiply one stride by 2, so that all multiply to 16.",
        ),
        (
            {"strides": (2, 2, 2, 2, 2), "table_length": None},
            "stride",
            "2·2·2·2·2 = 32",
            "Divide one stride by 2",
        ),
        ({"num_heads": 5}, "heads", "384 = 5·76 + 4", "Use 4 or 6 heads"),
        (
            {"table_width": 768},
            "width",
            "384 numbers and an entry of the position table 768",
            "384",
        ),
        ({"table_width": 1}, "width", "no error is raised", "Make the position table 384 wide"),
        ({"table_length": 257}, "position table", "made for 16×16 + 1", "Interpolate"),
        ({"table_length": 145}, "position table", "made for 12×12 + 1", "Interpolate"),
        ({"table_length": 1}, "position table", "no token knows its position", "(1, 197, width)"),
        (
            {"num_prefix_tokens": 0},
            "class token",
            "197 = 14×14 + 1 entries, and only the 196 image tokens are given",
            "Put the class token first",
        ),
        ({"table_length": 196}, "class token", "it has no entry", "Add the table to the image"),
    ],
)
def test_a_broken_promise_is_named_with_its_fix(
    values: dict[str, object], kind: str, says: str, fix: str
) -> None:
    (fault,) = changed(**values)
    assert (fault.kind, fault.likelihood) == (kind, "certain")
    assert says in fault.sentence
    assert any(fix in line for line in fault.fixes)


def test_a_table_too_long_is_told_apart_from_one_that_is_too_short() -> None:
    (long,), (short,) = changed(table_length=257), changed(table_length=145)
    assert "slices it to [:, :197] every shape is right" in long.sentence
    assert "197 tokens = 14×14 + 1: 52 tokens have none" in short.sentence


@pytest.mark.parametrize(
    ("length", "prefix", "sure"),
    [
        (257, 1, "certain"),  # 16·16 + 1, behind the class token as the tokens are
        (576, 0, "certain"),  # 24·24
        (5000, 0, "possible"),  # a maximum length; 50·100 is one grid of many
        (1024, 0, "possible"),  # 32·32, and a usual longest length
        (1001, 1, "possible"),  # 1000 is not a square
    ],
)
def test_a_longer_table_is_certainly_of_another_grid_only_where_its_length_is_one(
    length: int, prefix: int, sure: str
) -> None:
    (fault,) = faults(
        Contract(image_size=(64, 64), patch_size=8, table_length=length, num_prefix_tokens=prefix)
    )
    assert (fault.kind, fault.likelihood) == ("position table", sure)
    assert ("a maximum length" in fault.sentence) == (sure == "possible")
    assert "made for" not in fault.sentence or sure == "certain" or "If it was" in fault.sentence


def test_an_image_the_patch_does_not_divide() -> None:
    (fault,) = faults(Contract(image_size=(225, 224), patch_size=16))
    assert "225 = 14·16 + 1" in fault.sentence
    assert fault.fixes == ("Resize the image to 224×224 pixels.", "Or pad it to 240×224.")
    assert faults(Contract(image_size=(224, 224), patch_size=16)) == ()


def test_a_padded_stem_that_rounds_up_loses_nothing_and_gets_no_word() -> None:
    convs = PRESETS["vit_c_4gf"].stem.convs
    assert faults(Contract(image_size=(225, 225), convs=convs, num_prefix_tokens=1)) == ()
    rounded_up = Contract(image_size=(225, 225), convs=convs, num_prefix_tokens=1, table_length=197)
    (fault,) = faults(rounded_up)
    assert fault.numbers["tokens"] == 15 * 15 + 1


DESERVED = {"blog_2021": ["linear"], "vitpose_b": ["unread pixels"]}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_get_only_the_words_they_deserve(name: str) -> None:
    assert [fault.kind for fault in faults_of(PRESETS[name].stem)] == DESERVED.get(name, [])


def test_the_blogs_five_convolutions_are_one_of_31_pixels_and_stride_16() -> None:
    (fault,) = faults_of(PRESETS["blog_2021"].stem)
    assert fault.sentence.startswith("These 5 convolutions")
    assert "one convolution of kernel 31×31 and stride 16" in fault.sentence
    assert dict(fault.numbers) == {"convolutions": 5, "kernel_size": 31, "total_stride": 16}


def test_the_equivalent_kernel_is_what_one_input_reaches_in_torch() -> None:
    stem = parse_stem("3x3/2:4, 5x5/3:4, 1x1:4", image_size=61)
    (fault,) = faults_of(stem)
    layers = [
        nn.Conv2d(
            i, c.out_channels, c.kernel_size, c.stride
        )  # no padding: one window is seen whole
        for i, c in zip((3, 4, 4), stem.convs, strict=True)
    ]
    image = torch.zeros(1, 3, 61, 61, requires_grad=True)
    nn.Sequential(*layers)(image)[0, :, 2, 2].sum().backward()
    assert image.grad is not None
    reached = image.grad[0].abs().sum(dim=(0, 1)).nonzero().flatten()
    assert len(reached) == fault.numbers["kernel_size"] == 11
    assert int(reached[0]) == 2 * fault.numbers["total_stride"] == 12


@pytest.mark.parametrize(
    ("notation", "kinds"),
    [
        ("3x3/2:8 bn relu, 3x3/2:8 bn relu, 1x1:8", []),
        ("3x3/2:8 bn bias relu, 1x1:8", ["bias"]),
        ("3x3/2:8 ln bias relu, 1x1:8", []),
        ("3x3/2:8 bn relu, 1x1:8 relu", ["activation"]),
        ("3x3/2:8 bn, 3x3/2:8 bn, 1x1:8", ["linear"]),
        ("3x3/2:8 ln, 3x3/2:8 ln, 1x1:8", []),
        ("3x3/2:8 bn relu, 3x3/2:8, 1x1:8", ["linear"]),
        ("3x3/2:8 bn relu, 3x3/2:8 g8, 1x1:8", []),  # depthwise and pointwise, parted on purpose
        ("16x16/16:8", []),
        ("16x16/16p2:8", ["unread pixels"]),
    ],
)
def test_faults_that_keep_every_shape_right(notation: str, kinds: list[str]) -> None:
    assert [fault.kind for fault in faults_of(parse_stem(notation, image_size=64))] == kinds


def test_batchnorm_alone_is_affine_only_in_use() -> None:
    (fault,) = faults_of(parse_stem("3x3/2:8 bn, 1x1:8", image_size=64))
    assert "once training has ended" in fault.sentence
    module = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)).eval().double()
    )
    a, b = torch.randn(2, 1, 3, 9, 9, dtype=torch.float64)
    zero = torch.zeros_like(a)
    assert torch.allclose(module(a + b), module(a) + module(b) - module(zero))


def test_a_bias_before_batchnorm_changes_nothing() -> None:
    conv, norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
    image = torch.randn(2, 3, 9, 9)
    before = norm(conv(image))
    conv.bias.data += 5  # type: ignore[union-attr]
    assert torch.allclose(norm(conv(image)), before, atol=1e-4)


def test_unread_pixels_name_the_image_that_loses_none() -> None:
    (fault,) = faults_of(parse_stem("16x16/16:8", image_size=230))
    assert "6 of 230 rows and 6 of 230 columns" in fault.sentence
    assert fault.fixes[0] == "Resize the image to 224×224 pixels, all of which are read."


def test_an_explanation_is_plain_data() -> None:
    (fault,) = changed(num_heads=5)
    assert fault.to_dict()["numbers"] == {"embed_dim": 384, "num_heads": 5}
    assert hash(fault) == hash(changed(num_heads=5)[0])
    with pytest.raises(TypeError):
        fault.numbers["num_heads"] = 6  # type: ignore[index]
