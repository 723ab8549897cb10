"""The stem notation: what is written reads back, and every spelling that is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import conv_layers, stem_specs
from vitc_inspect.stem.notation import (
    format_convs,
    format_stem,
    parse_convs,
    parse_stem,
)
from vitc_inspect.stem.spec import ConvLayer, StemSpec, conv_layer, conv_stem, patchify_stem


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(conv_layers(), min_size=1, max_size=6))
def test_every_layer_reads_back_as_it_was_written(convs: list[ConvLayer]) -> None:
    assert parse_convs(format_convs(convs)) == tuple(convs)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(stem_specs())
def test_every_stem_reads_back_as_it_was_written(stem: StemSpec) -> None:
    again = parse_stem(
        format_stem(stem),
        image_size=stem.image_size,
        in_channels=stem.in_channels,
        class_token=stem.class_token,
        position_table=stem.position_table,
    )
    assert again == stem
    assert format_stem(again) == format_stem(stem)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(conv_layers(), st.data())
def test_words_may_come_in_any_order_case_and_spacing(conv: ConvLayer, data: st.DataObject) -> None:
    layer, *words = format_convs([conv]).split()
    words = data.draw(st.permutations(words))
    for mark in ("x", "/", "p", ":"):
        layer = layer.replace(mark, data.draw(st.sampled_from((mark, f" {mark}", f"{mark}  "))))
    written = " ".join([layer, *words])
    written = data.draw(st.sampled_from((written, written.upper(), f"\t{written}\n")))
    assert parse_convs(written) == (conv,)


@pytest.mark.parametrize(
    ("text", "convs"),
    [
        ("16x16/16:768", patchify_stem().convs),
        ("16x16/16p0:768 bias", patchify_stem().convs),
        (
            "3x3/2:48 bn relu, 3x3/2:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384",
            conv_stem().convs,
        ),
        ("3x3:8", [conv_layer(8, 3, 1, padding=1, bias=True)]),
        ("3x3/1:8", [conv_layer(8, 3, 1)]),
        ("3x3/3:8", [conv_layer(8, 3, 3, padding=0)]),
        ("3x3/2p0:48", [conv_layer(48, 3, 2, padding=0)]),
        ("3x3p2:48", [conv_layer(48, 3, padding=2)]),
        ("3x3:48 bn", [conv_layer(48, 3, norm="batch", bias=False)]),
        ("3x3:48 ln", [conv_layer(48, 3, norm="layer", bias=False)]),
        ("3x3:48 bn bias", [conv_layer(48, 3, norm="batch", bias=True)]),
        ("3x3:48 nobias", [conv_layer(48, 3, bias=False)]),
        ("3x3:48 relu", [conv_layer(48, 3, activation="relu")]),
        ("3x3:48 gelu", [conv_layer(48, 3, activation="gelu")]),
        ("3x3:48 silu", [conv_layer(48, 3, activation="silu")]),
        ("3x3:48 hardswish", [conv_layer(48, 3, activation="hardswish")]),
        ("3x3:48 g3", [conv_layer(48, 3, groups=3)]),
        ("3x3:48 d2", [conv_layer(48, 3, dilation=2)]),
        ("3x3:48 g1 d1", [conv_layer(48, 3)]),
        ("3x3:48 bn relu", [conv_layer(48, 3, norm="batch", activation="relu")]),
        ("3x3:48 relu bn", [conv_layer(48, 3, norm="batch", activation="relu")]),
        ("3X3/2P0:48 BN ReLU G3", parse_convs("3x3/2p0:48 bn relu g3")),
        ("3×3/2:48", [conv_layer(48, 3, 2)]),
        (" 3 x 3 / 2 p 0 : 48 bn , 1 × 1 : 9 ", parse_convs("3x3/2p0:48 bn, 1x1:9")),
        ("3x3/2:48,1x1:9", parse_convs("3x3/2:48, 1x1:9")),
        ("3x3:48\n,\t1x1:9", parse_convs("3x3:48, 1x1:9")),
        ("3x3:48 g 3 d 2", parse_convs("3x3:48 g3 d2")),
        ("03x3/02:048", [conv_layer(48, 3, 2)]),
    ],
)
def test_spellings_that_are_read(text: str, convs: Any) -> None:
    assert parse_convs(text) == tuple(convs)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("3x3/1p1:48 bias", "3x3:48"),
        ("3x3/2p1:48 relu nobias bn", "3x3/2:48 bn relu"),
        ("3X3:48 G3 D2 BIAS LN", "3x3:48 ln g3 d2 bias"),
        ("16×16/16p0:768", "16x16/16:768"),
        ("3x3/2:256 bn", "3x3/2:256 bn"),  # how LeViT's stem ends
    ],
)
def test_only_what_is_not_the_default_is_written(text: str, written: str) -> None:
    assert format_convs(parse_convs(text)) == written


def test_image_channels_class_token_and_table_stand_beside_the_notation() -> None:
    beside = {
        "image_size": (32, 24),
        "in_channels": 5,
        "class_token": False,
        "position_table": False,
    }
    stem = parse_stem("4x4/4:8", **beside)
    assert stem == patchify_stem(4, 8, **beside)
    assert not stem.position_table
    assert parse_stem("4x4/4:8") == patchify_stem(4, 8)
    assert parse_stem("4x4/4:8", image_size=32).image_size == (32, 32)
