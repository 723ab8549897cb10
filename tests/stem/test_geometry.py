"""Which pixels a token reads: quoted numbers, and a matrix of ones that finds them by itself."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import pytest
import torch
from hypothesis import given, settings

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.arithmetic import unread_positions
from vitc_inspect.stem.geometry import (
    Sides,
    Span,
    all_pixels_read,
    audit_pixels,
    pixels_read,
    receptive_span,
    token_box,
    token_centre,
    token_windows,
    tokens_reading,
)
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_layer, conv_stem, patchify_stem

PADDED = conv_stem()
HOLES = (
    "3x3/2:4 d2",  # every second pixel
    "3x3/5p0:4",  # 2 of 5 pixels between two windows
    "2x2/3p0:4 d4, 3x3p4:4",  # both, then padding wider than the kernel
    "3x3/2p0:4, 1x1p1:4",  # tokens on the border that read nothing
    "2x2/2:4, 3x3:4",  # at an odd size the second pads where the first has no window
)


def stem(notation, size=(37, 50)):
    return replace(parse_stem(notation), image_size=size)


def connected(spec, side):
    """Whether token i reads pixel x, as (tokens, pixels): from torch, by counting paths.

    Each pixel of one axis in turn is lit alone, and goes through kernels of ones.
    """
    maps = torch.eye(spec.image_size[side], dtype=torch.float64).unsqueeze(1)
    for conv in spec.convs:
        ones = torch.ones(1, 1, conv.kernel_size, dtype=torch.float64)
        maps = torch.conv1d(
            maps, ones, stride=conv.stride, padding=conv.padding, dilation=conv.dilation
        )
    return maps.squeeze(1).T > 0


def listed(matrix):
    return tuple(tuple(row.nonzero().flatten().tolist()) for row in matrix)


# Numbers that others printed or measured.


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("vit_p_4gf", 16),
        ("table3_s4", 22),
        ("table3_s1", 23),
        ("table3_s3", 25),
        ("table3_s2", 27),
        ("vit_c_4gf", 31),
        ("vit_c_18gf", 55),
    ],
)
def test_receptive_fields_of_the_paper(name, field):
    spec = PRESETS[name].stem
    assert {receptive_span(spec, "height", row).length for row in range(14)} == {field}


@pytest.mark.parametrize(
    ("strides", "field"),
    [
        ((1, 1, 2, 2, 2, 2), 35),
        ((2, 1, 2, 1, 2, 2), 43),
        ((2, 2, 1, 2, 1, 2), 55),
        ((2, 2, 2, 2, 1, 1), 95),
    ],
)
def test_the_order_of_the_strides_alone_moves_the_receptive_field(strides, field):
    spec = conv_stem((8,) * 6, strides, 8)
    assert spec.grid_size == (14, 14)
    assert receptive_span(spec, "width", 0).length == field


def test_the_first_token_of_a_padded_stem_reads_fifteen_pixels_of_padding_and_the_last_none():
    assert receptive_span(PADDED, "height", 0) == Span(start=-15, stop=16)
    assert receptive_span(PADDED, "height", 13) == Span(start=193, stop=224)
    assert pixels_read(PADDED, "height", 0) == tuple(range(16))
    assert pixels_read(PADDED, "height", 13) == tuple(range(193, 224))
    corner = token_box(PADDED, 0, 13)
    assert corner.padding == Sides(top=15, bottom=0, left=0, right=0)
    assert (corner.clipped_rows, corner.clipped_columns) == (
        Span(start=0, stop=16),
        Span(start=193, stop=224),
    )
    assert audit_pixels(PADDED).padding == Sides(top=15, bottom=0, left=15, right=0)


@pytest.mark.parametrize(
    ("spec", "centres"),
    [
        (patchify_stem(), [7.5, 23.5, 39.5]),
        (conv_stem(), [0, 16, 32]),
        (PRESETS["vit_c_18gf"].stem, [0, 16, 32]),
    ],
    ids=["patchify", "convolutions", "six convolutions"],
)
def test_centres_of_tokens(spec, centres):
    assert [token_centre(spec, i, 2 - i) for i in range(3)] == list(
        zip(centres, reversed(centres), strict=True)
    )


def test_vitpose_never_reads_its_last_two_rows_and_columns():
    audit = audit_pixels(PRESETS["vitpose_b"].stem)
    assert (audit.unread_rows, audit.unread_columns) == ((254, 255), (190, 191))
    assert audit.unread_pixels == 256 * 192 - 254 * 190
    assert (audit.least_reads, audit.most_reads, audit.overlap) == (0, 1, 0)
    assert audit.padding == Sides(top=2, bottom=0, left=2, right=0)


def test_patchify_reads_each_pixel_once_and_drops_what_is_left_over():
    audit = audit_pixels(patchify_stem(16, 8, image_size=(230, 224)))
    assert audit.row_reads == (1,) * 224 + (0,) * 6
    assert audit.column_reads == (1,) * 224
    assert audit.unread_pixels == 6 * 224
    assert (audit.overlap, audit.padding) == (0, Sides(top=0, bottom=0, left=0, right=0))


def test_overlapping_patches_read_most_pixels_four_times():
    audit = audit_pixels(PRESETS["pit_s"].stem)
    assert (audit.overlap, audit.most_reads, audit.least_reads) == (8, 4, 1)
    assert audit.reads(0, 0) == 1
    assert audit.reads(0, 100) == 2
    assert tokens_reading(PRESETS["pit_s"].stem, 0, 100) == ((0, 11), (0, 12))


def test_a_stride_longer_than_the_kernel_leaves_a_gap():
    spec = StemSpec(image_size=(12, 11), convs=(conv_layer(4, 2, 5, padding=0),))
    audit = audit_pixels(spec)
    assert audit.overlap == -3
    assert audit.row_reads == (1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1)
    assert audit.column_reads == (1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0)
    assert audit.unread_pixels == 12 * 11 - 6 * 4
    assert tokens_reading(spec, 6, 5) == ((1, 1),)
    assert tokens_reading(spec, 2, 5) == ()


def test_dilation_leaves_holes_inside_the_span():
    spec = StemSpec(image_size=(9, 9), convs=(conv_layer(4, 3, 1, padding=2, dilation=2),))
    assert receptive_span(spec, "height", 0) == Span(start=-2, stop=3)
    assert pixels_read(spec, "height", 0) == (0, 2)
    assert pixels_read(spec, "height", 4) == (2, 4, 6)


def test_groups_change_no_pixel():
    apart = stem("3x3/2:8, 3x3/2:8 g8, 1x1:8")
    together = stem("3x3/2:8, 3x3/2:8, 1x1:8")
    assert audit_pixels(apart) == audit_pixels(together)


def test_padding_between_two_layers_hides_pixels_of_the_span():
    """37 pixels, windows of 2: nobody reads the last one, though the last span covers it."""
    spec = stem("2x2/2:4, 3x3:4")
    assert receptive_span(spec, "height", 17).clipped(37) == Span(start=32, stop=37)
    assert pixels_read(spec, "height", 17) == (32, 33, 34, 35)
    assert audit_pixels(spec).unread_rows == (36,)


def test_a_token_wholly_in_the_padding_reads_nothing():
    spec = StemSpec(image_size=(4, 4), convs=(conv_layer(4, 2, 2, padding=4),))
    box = token_box(spec, 0, 5)
    assert (box.clipped_rows.length, box.clipped_columns.length) == (0, 0)
    assert box.padding == Sides(top=2, bottom=0, left=0, right=2)
    assert pixels_read(spec, "height", 0) == ()
    assert audit_pixels(spec).padding == Sides(top=4, bottom=4, left=4, right=4)


# The same from torch, which knows nothing of the formulas.


def agrees_with_paths(spec):
    matrices = [connected(spec, side) for side in (0, 1)]
    for axis, matrix in zip(("height", "width"), matrices, strict=True):
        assert all_pixels_read(spec, axis) == listed(matrix)
        for index, pixels in enumerate(all_pixels_read(spec, axis)):
            inside = receptive_span(spec, axis, index).clipped(matrix.shape[1])
            assert set(pixels) <= set(range(inside.start, inside.stop))
    audit = audit_pixels(spec)
    # how many tokens read each pixel, over the whole image
    reads = torch.einsum("rh,cw->hw", *(matrix.double() for matrix in matrices))
    assert (reads.min(), reads.max()) == (audit.least_reads, audit.most_reads)
    assert int((reads == 0).sum()) == audit.unread_pixels
    height, width = spec.image_size
    for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
        assert reads[row, column] == audit.reads(row, column)
        assert len(tokens_reading(spec, row, column)) == audit.reads(row, column)


@given(spec=stem_specs())
@settings(max_examples=90, derandomize=True, deadline=None, database=None)
def test_any_stem_reads_what_the_paths_say(spec):
    agrees_with_paths(spec)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_what_the_paths_say(name):
    agrees_with_paths(PRESETS[name].stem)


@pytest.mark.parametrize("notation", HOLES)
def test_stems_with_holes_read_what_the_paths_say(notation):
    agrees_with_paths(stem(notation))


@given(spec=stem_specs())
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
def test_spans_have_the_length_and_the_step_of_the_prediction(spec):
    for layer in predict(spec).layers:
        if layer.stage or layer.name == "tokens":
            first = receptive_span(spec, "height", 0, layer.name)
            assert first.length == layer.receptive_field
            if layer.stage and layer.out_shape[1] > 1:
                second = receptive_span(spec, "height", 1, layer.name)
                assert second.start - first.start == layer.jump


@given(spec=stem_specs(max_convs=1))
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
def test_one_convolution_never_reads_what_the_arithmetic_lists(spec):
    (conv,) = spec.convs
    numbers = {
        name: getattr(conv, name) for name in ("kernel_size", "stride", "padding", "dilation")
    }
    audit = audit_pixels(spec)
    assert audit.unread_rows == unread_positions(spec.image_size[0], **numbers)
    assert audit.unread_columns == unread_positions(spec.image_size[1], **numbers)


# The edges.


@pytest.mark.parametrize("layer", ["conv2", "norm2", "act2"])
def test_a_layer_before_the_tokens_has_a_span_of_its_own(layer):
    assert receptive_span(PADDED, "width", 55, layer) == Span(start=217, stop=224)


@pytest.mark.parametrize(
    ("call", "says", "suggestion"),
    [
        (lambda: receptive_span(PADDED, "height", 14), "index = 14: the most is 13. ", 13),
        (
            lambda: receptive_span(PADDED, "height", 112, "act1"),
            "index = 112: the most is 111",
            111,
        ),
        (lambda: receptive_span(PADDED, "depth", 0), "axis = 'depth': it is not ", "width"),
        (lambda: receptive_span(PADDED, "width", 0, "conv9"), "layer = 'conv9': it is ", "conv4"),
        (lambda: receptive_span(PADDED, "width", 0, "norm5"), "layer = 'norm5': it is ", "norm4"),
        (lambda: token_box(PADDED, -1, 0), "row = -1: the least is 0. ", 0),
        (lambda: token_centre(PADDED, 0, 14), "column = 14: the most is 13. ", 13),
        (lambda: pixels_read(PADDED, "width", 14), "index = 14: the most is 13. ", 13),
        (lambda: tokens_reading(PADDED, 224, 0), "row = 224: the most is 223. ", 223),
    ],
)
def test_what_does_not_exist_is_named_with_a_value_that_works(call, says, suggestion):
    with pytest.raises(SpecError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert caught.value.suggestion == suggestion


@pytest.mark.parametrize("name", ["vit_c_4gf", "vit_c_18gf", "swin_t", "vit_p_18gf"])
def test_all_tokens_of_a_long_axis_take_little_time(name):
    spec = replace(PRESETS[name].stem, image_size=(2048, 2048))
    best = min(seconds_for(spec) for _ in range(3))
    assert best < 0.030


def seconds_for(spec):
    start = perf_counter()
    all_pixels_read(spec, "height")
    return perf_counter() - start


@given(spec=stem_specs())
@settings(deadline=None)
def test_a_tokens_window_on_a_map_reads_what_the_token_reads_of_the_image(spec):
    """The fields of the window's first and last position span the token's own field."""
    windows = token_windows(spec)
    assert list(windows)[::-1] == ["image", *(stage.name for stage in spec.stages)]
    for axis, side in (("height", 0), ("width", 1)):
        for index in (0, spec.grid_size[side] - 1):
            own = receptive_span(spec, axis, index)
            image = windows["image"]
            start = index * image.jump + image.offset
            assert (start, start + image.field) == (own.start, own.stop)
            for stage in spec.stages:
                window = windows[stage.name]
                first = index * window.jump + window.offset
                last = first + window.field - 1
                if first >= 0 and last < stage.out_shape[1 + side]:
                    begin = receptive_span(spec, axis, first, stage.name)
                    end = receptive_span(spec, axis, last, stage.name)
                    assert (begin.start, end.stop) == (own.start, own.stop)
