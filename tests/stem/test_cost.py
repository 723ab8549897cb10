"""Where the work goes and how it grows: sums, polynomials and fitting sizes, against `predict`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stem.specs import model, random_vit
from tests.strategies import stem_specs
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.cost import (
    at_image_sizes,
    at_total_strides,
    heights_that_fit,
    length_terms,
    shares,
    stem_cost,
    tokens_at,
)
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem

# Xiao et al. 2021, section 4: the stem over one block, measured on the authors' models.
STEM_IN_BLOCKS = {"vit_c_1gf": 1.29, "vit_c_4gf": 1.36, "vit_c_18gf": 1.18, "vit_c_36gf": 0.68}


@pytest.mark.parametrize(("name", "blocks"), STEM_IN_BLOCKS.items())
def test_what_a_stem_costs_in_blocks(name: str, blocks: float) -> None:
    cost = stem_cost(predict(model(name)))
    assert cost.blocks is not None
    assert round(cost.blocks, 2) == blocks


def test_a_patchify_stem_costs_what_patchify_costs() -> None:
    cost = stem_cost(predict(patchify_stem(16, 768)))
    assert (cost.extra_macs, cost.block_macs, cost.blocks) == (0, None, None)


def test_the_extra_over_patchify_is_that_of_the_papers_table_3() -> None:
    """435 M for C and 58 M for P, both at 384 channels."""
    cost = stem_cost(predict(conv_stem()))
    assert (cost.macs, cost.patchify_macs) == (435_326_976, 384 * 14 * 14 * 3 * 16 * 16)


def test_no_patchify_is_named_where_none_fits() -> None:
    stem = conv_stem((8, 8), (2, 2), 8, image_size=3)  # stride 4, an image of 3 pixels
    assert stem_cost(predict(stem)).patchify_macs is None


@pytest.mark.parametrize("seed", range(30))
def test_shares_add_up_to_the_totals(seed: int) -> None:
    prediction = predict(random_vit(seed))
    parts = shares(prediction)
    assert sum(part.macs for part in parts) == prediction.macs
    assert sum(part.params for part in parts) == prediction.params
    assert sum(part.activations for part in parts) == prediction.activations


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_the_polynomial_of_the_length_is_the_prediction(seed: int, attention: str) -> None:
    vit = random_vit(seed)
    other = replace(vit, attention=attention)  # type: ignore[arg-type]
    terms = length_terms(vit, attention=other.attention)
    whole = predict(other)
    assert whole.stem_macs + terms.macs(whole.seq_len) == whole.macs
    assert (terms.quadratic > 0) == (attention == "softmax")


def test_the_crossover_is_where_the_square_term_overtakes() -> None:
    terms = length_terms(model("vit_c_4gf"))
    n = terms.crossover
    assert n == 1920
    assert terms.quadratic * n**2 >= terms.linear * n
    assert terms.quadratic * (n - 1) ** 2 < terms.linear * (n - 1)
    assert length_terms(model("vit_c_4gf"), attention="linear").crossover is None


def test_points_of_the_curves_are_predictions_of_real_models() -> None:
    vit = model("vit_c_4gf")
    for point in at_image_sizes(vit, range(64, 400, 48)):
        other = replace(vit, stem=replace(vit.stem, image_size=(point.at, point.at)))
        assert point.tokens == other.stem.seq_len
        assert point.softmax_macs == predict(other).macs
        assert point.linear_macs == predict(replace(other, attention="linear")).macs
    for point in at_total_strides(vit, range(4, 64, 7)):
        other = replace(vit, stem=patchify_stem(point.at, 384))
        assert (point.tokens, point.softmax_macs) == (other.stem.seq_len, predict(other).macs)


def test_sizes_and_strides_that_cannot_be_have_no_point() -> None:
    vit = replace(model("vit_p_4gf"), stem=patchify_stem(16, 384, image_size=(48, 32)))
    assert [point.at for point in at_image_sizes(vit, range(8, 40, 8))] == [24, 32]
    assert [point.at for point in at_total_strides(vit, range(30, 35))] == [30, 31, 32]


def test_a_stride_and_not_the_image_decides_how_fast_cost_grows() -> None:
    """Half the stride: four times the tokens, sixteen times the products of attention."""
    vit = model("vit_p_4gf")
    square = length_terms(vit).quadratic
    at_16, at_8 = (next(iter(at_total_strides(vit, range(s, s + 1)))) for s in (16, 8))
    assert (at_8.tokens - 1) == 4 * (at_16.tokens - 1)
    assert square * (at_8.tokens - 1) ** 2 == 16 * square * (at_16.tokens - 1) ** 2


def test_images_the_position_table_takes() -> None:
    """FACTS, section 4: 223 and 224 px give a padded stem 14 tokens a side, 225 gives 15."""
    assert heights_that_fit(conv_stem()) == (209, 224)
    assert heights_that_fit(patchify_stem(16, 8)) == (224, 239)


@given(stem=stem_specs())
@settings(max_examples=60, deadline=None)
def test_the_range_that_fits_is_whole_and_ends_where_it_says(stem: StemSpec) -> None:
    low, high = heights_that_fit(stem)
    assert low <= stem.image_size[0] <= high
    assert {tokens_at(stem, height) for height in (low, high)} == {stem.seq_len}
    assert tokens_at(stem, low - 1) != stem.seq_len
    assert tokens_at(stem, high + 1) != stem.seq_len


@given(side=st.integers(200, 250))
@settings(max_examples=12, deadline=None)
def test_pytorch_takes_what_fits_and_refuses_the_rest(side: int) -> None:
    stem = conv_stem((4, 4, 4, 4), (2, 2, 2, 2), 4)
    module, image = build_stem(stem), torch.zeros(1, 3, side, side)
    low, high = heights_that_fit(stem)
    if low <= side <= high:
        module(image)
        return
    tokens = tokens_at(stem, side)
    said = rf"size of tensor a \({tokens}\) must match the size of tensor b \({stem.seq_len}\)"
    with pytest.raises(RuntimeError, match=said):
        module(image)


def test_every_preset_can_be_weighed() -> None:
    for preset in PRESETS.values():
        prediction = predict(preset.vit or preset.stem)
        assert shares(prediction)
        assert stem_cost(prediction).macs == prediction.stem_macs
