"""What is predicted for one layer, how the layers hang together, and what they add up to."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
from hypothesis import given, settings

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import ITEM_BYTES, Prediction, predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_layer, conv_stem, patchify_stem

random_stems = given(stem_specs())


def assert_hangs_together(prediction: Prediction) -> None:
    """Each row takes what the one before gives, and the totals are the rows' sums."""
    spec, layers = prediction.spec, prediction.layers
    assert layers[0].in_shape == (spec.in_channels, *spec.image_size)
    for before, after in pairwise(layers):
        assert after.in_shape == before.out_shape
    assert layers[-1].out_shape == (spec.seq_len, spec.embed_dim)
    for layer in layers:
        assert layer.bytes == prod(layer.out_shape) * ITEM_BYTES[prediction.dtype]
        assert layer.activations == (prod(layer.out_shape) if layer.kind == "conv" else 0)
        if layer.kind != "conv":
            assert layer.macs == 0
            assert layer.unread_rows == layer.unread_columns == ()
    for total in ("params", "macs", "activations", "bytes"):
        assert getattr(prediction, total) == sum(getattr(layer, total) for layer in layers)
    assert prediction.params - prediction.stem_params == sum(
        prediction.layer(name).params
        for name in ("class_token", "pos_embed")
        if name in {layer.name for layer in layers}
    )


@settings(deadline=None, derandomize=True, max_examples=150)
@random_stems
def test_the_rows_of_any_stem_hang_together(spec: StemSpec) -> None:
    assert_hangs_together(predict(spec))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_the_rows_of_every_preset_hang_together(name: str, dtype: str) -> None:
    assert_hangs_together(predict(PRESETS[name].stem, dtype=dtype))


@settings(deadline=None, derandomize=True, max_examples=100)
@random_stems
def test_totals_agree_with_the_spec_where_both_derive_them(spec: StemSpec) -> None:
    prediction = predict(spec)
    for derived in (
        "embed_dim",
        "grid_size",
        "num_patches",
        "num_prefix_tokens",
        "seq_len",
        "total_stride",
    ):
        assert getattr(prediction, derived) == getattr(spec, derived)
    assert prediction.num_patches == prod(prediction.grid_size)


@settings(deadline=None, derandomize=True, max_examples=100)
@random_stems
def test_there_is_a_row_for_every_module_and_no_other(spec: StemSpec) -> None:
    rows = []
    for stage in spec.stages:
        rows.append((stage.name, "conv", stage.name))
        if stage.conv.norm != "none":
            rows.append((stage.norm_name, "norm", stage.name))
        if stage.conv.activation != "none":
            rows.append((stage.act_name, "activation", stage.name))
    rows.append(("tokens", "tokens", None))
    if spec.class_token:
        rows.append(("class_token", "class_token", None))
    if spec.position_table:
        rows.append(("pos_embed", "pos_embed", None))
    prediction = predict(spec)
    assert [(layer.name, layer.kind, layer.stage) for layer in prediction.layers] == rows
    assert [prediction.layer(name).name for name, _, _ in rows] == [name for name, _, _ in rows]


def test_the_rows_of_a_small_stem_by_hand() -> None:
    spec = parse_stem("3x3/2:4 bn relu, 2x2/2:6 g2 ln", image_size=(9, 6))
    rows = {
        # name: (in, out, params, macs, activations, field, jump)
        "conv1": ((3, 9, 6), (4, 5, 3), 4 * 3 * 9, 4 * 5 * 3 * 27, 4 * 5 * 3, 3, 2),
        "norm1": ((4, 5, 3), (4, 5, 3), 2 * 4, 0, 0, 3, 2),
        "act1": ((4, 5, 3), (4, 5, 3), 0, 0, 0, 3, 2),
        "proj": ((4, 5, 3), (6, 2, 1), 6 * 2 * 4, 6 * 2 * 1 * 8, 6 * 2 * 1, 5, 4),
        "proj_norm": ((6, 2, 1), (6, 2, 1), 2 * 6, 0, 0, 5, 4),
        "tokens": ((6, 2, 1), (2, 6), 0, 0, 0, 5, 4),
        "class_token": ((2, 6), (3, 6), 6, 0, 0, 5, 4),
        "pos_embed": ((3, 6), (3, 6), 3 * 6, 0, 0, 5, 4),
    }
    layers = predict(spec).layers
    assert [layer.name for layer in layers] == list(rows)
    for layer in layers:
        assert (
            layer.in_shape,
            layer.out_shape,
            layer.params,
            layer.macs,
            layer.activations,
            layer.receptive_field,
            layer.jump,
        ) == rows[layer.name]
    proj = predict(spec).layer("proj")
    assert (proj.unread_rows, proj.unread_columns) == ((4,), (2,))


@pytest.mark.parametrize(("dtype", "item"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_bytes_follow_the_dtype_and_nothing_else_does(dtype: str, item: int) -> None:
    prediction, single = predict(conv_stem(), dtype=dtype), predict(conv_stem())
    assert prediction.layer("conv1").bytes == 48 * 112 * 112 * item
    assert prediction.layer("pos_embed").bytes == 197 * 384 * item
    assert prediction.bytes * 4 == single.bytes * item
    assert (prediction.params, prediction.macs) == (single.params, single.macs)
    assert prediction.dtype == dtype


@pytest.mark.parametrize("dtype", ["float64", "int8", None, 32])
def test_an_unknown_dtype(dtype: object) -> None:
    with pytest.raises(SpecError) as caught:
        predict(conv_stem(), dtype=dtype)  # type: ignore[arg-type]
    error = caught.value
    assert error.field == "dtype"
    assert error.reason == "it is not one of float32, bfloat16, float16"
    assert predict(conv_stem(), dtype=error.suggestion).dtype == error.suggestion


def unpadded(side: int) -> StemSpec:
    convs = (*(conv_layer(8, 3, 2, padding=0) for _ in range(4)), conv_layer(8, 1))
    return StemSpec(image_size=(side, side), convs=convs)


@pytest.mark.parametrize(
    ("side", "patchify", "padded", "without_padding"),
    [(224, 14, 14, 13), (225, 14, 15, 13), (223, 13, 14, 13), (230, 14, 15, 13)],  # FACTS 4.10
)
def test_three_stems_of_stride_16_round_differently(
    side: int, patchify: int, padded: int, without_padding: int
) -> None:
    for spec, tokens in (
        (patchify_stem(16, 8, image_size=side), patchify),
        (conv_stem((8, 8, 8, 8), embed_dim=8, image_size=side), padded),
        (unpadded(side), without_padding),
    ):
        assert predict(spec).total_stride == 16
        assert predict(spec).grid_size == (tokens, tokens)
        assert predict(spec).seq_len == tokens * tokens + 1


def test_patchify_silently_drops_six_pixels_of_230() -> None:
    proj = predict(patchify_stem(16, 8, image_size=(230, 224))).layer("proj")
    assert proj.unread_rows == (224, 225, 226, 227, 228, 229)  # FACTS 4.10
    assert proj.unread_columns == ()


def test_vitpose_never_reads_its_last_two_rows_and_columns() -> None:
    proj = predict(PRESETS["vitpose_b"].stem).layer("proj")
    # FACTS 4.10: 16 tokens for 256 px, and the last window ends at 15 * 16 + 15 - 2 = 253.
    assert proj.out_shape == (768, 16, 12)
    assert (proj.unread_rows, proj.unread_columns) == ((254, 255), (190, 191))


@pytest.mark.parametrize(
    ("strides", "field"),
    [
        ((1, 1, 2, 2, 2, 2), 35),
        ((2, 1, 2, 1, 2, 2), 43),
        ((2, 2, 1, 2, 1, 2), 55),
        ((2, 2, 2, 2, 1, 1), 95),
    ],
)
def test_the_order_of_strides_changes_the_field_and_no_token(
    strides: tuple[int, ...], field: int
) -> None:
    prediction = predict(conv_stem((8,) * 6, strides, 8))
    assert prediction.receptive_field == field
    assert (prediction.total_stride, prediction.seq_len) == (16, 197)


def test_field_and_jump_grow_along_the_stem_of_vit_c_4gf() -> None:
    prediction = predict(conv_stem())
    seen = [(row.receptive_field, row.jump) for row in prediction.layers if row.kind == "conv"]
    # Each 3×3 adds 2 jumps to the field, each stride doubles the jump; a 1×1 adds nothing.
    assert seen == [(3, 2), (7, 4), (15, 8), (31, 16), (31, 16)]


def test_one_slider_from_2_to_1() -> None:
    """The example of the design: conv2.stride 2 -> 1 gives 785 tokens for 197."""
    before, after = predict(conv_stem()), predict(conv_stem(strides=(2, 1, 2, 2)))
    assert (before.seq_len, after.seq_len) == (197, 28 * 28 + 1)
    assert after.macs > before.macs
    assert after.receptive_field < before.receptive_field
    assert after.stem_params == before.stem_params


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="norm1"):
        predict(patchify_stem()).layer("norm1")


def test_without_a_position_table_nothing_is_added_to_the_tokens() -> None:
    with_table, without = predict(conv_stem()), predict(conv_stem(position_table=False))
    assert [layer.name for layer in without.layers][-1] == "class_token"
    assert with_table.layers[:-1] == without.layers
    for figure in ("seq_len", "num_prefix_tokens", "embed_dim", "total_stride", "receptive_field"):
        assert getattr(with_table, figure) == getattr(without, figure)
    assert with_table.params - without.params == 197 * 384
    assert with_table.bytes - without.bytes == 197 * 384 * 4


def test_without_a_class_token_nothing_is_put_before_the_patches() -> None:
    with_token, without = predict(conv_stem()), predict(conv_stem(class_token=False))
    assert (with_token.num_prefix_tokens, without.num_prefix_tokens) == (1, 0)
    assert (with_token.seq_len, without.seq_len) == (197, 196)
    # The token itself, and its row in the position table.
    assert with_token.params - without.params == 384 + 384
    assert with_token.stem_params == without.stem_params
