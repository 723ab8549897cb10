"""One cell of a map, worked by hand, held against the run, and against cells that are wrong."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.probes.stems import SMALL, Refuses, corners_and_middle, noise
from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.cells import probe_cell
from vitc_inspect.stem.presets import PRESETS


def test_a_cell_of_four_products_worked_by_hand():
    conv = nn.Conv2d(1, 1, kernel_size=2, stride=2, padding=1)
    conv.weight.data = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    conv.bias.data = torch.tensor([0.5])
    image = torch.tensor([[[[5.0, 6.0, 7.0], [8.0, 9.0, 10.0], [11.0, 12.0, 13.0]]]])
    cell = probe_cell(nn.Sequential(conv), image, "0", 0, 0, 1)
    assert (cell.rows, cell.columns) == ((-1, 0), (1, 2))
    assert cell.padded.tolist() == [[True, True], [False, False]]
    assert cell.window.tolist() == [[[0, 0], [6, 7]]]
    assert cell.kernel.tolist() == [[[1, 2], [3, 4]]]
    assert cell.products.tolist() == [[[0, 0], [18, 28]]]
    assert cell.per_channel.tolist() == [46]
    assert (cell.bias, cell.total, cell.observed, cell.agrees) == (0.5, 46.5, 46.5, True)


def test_a_group_reads_its_own_channels_alone():
    conv = nn.Conv2d(6, 4, kernel_size=1, groups=2, bias=False)
    image = torch.arange(6.0).view(1, 6, 1, 1)
    cell = probe_cell(nn.Sequential(conv), image, "0", 2, 0, 0)
    assert cell.in_channels == (3, 4, 5)
    assert cell.window.flatten().tolist() == [3, 4, 5]
    assert cell.bias is None
    assert cell.agrees


def cells(spec, dtype=torch.float32, seed=0):
    """Five cells of every convolution, in the first and the last channel."""
    module, image = build_stem(spec, seed=seed).to(dtype), noise(spec, dtype)
    for stage in spec.stages:
        for number, (row, column) in enumerate(sorted(corners_and_middle(stage.out_shape[1:]))):
            channel = number % 2 * (stage.out_shape[0] - 1)
            yield probe_cell(module, image, stage.name, channel, row, column)


@given(spec=stem_specs(max_side=40), seed=st.integers(0, 3))
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
def test_the_products_of_any_cell_add_up_to_what_the_hook_saw(spec, seed):
    assert all(cell.agrees for cell in cells(spec, seed=seed))


@given(spec=stem_specs(max_side=24, max_convs=3))
@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_they_add_up_in_other_formats(dtype, spec):
    assert all(cell.agrees for cell in cells(spec, dtype))


@pytest.mark.parametrize("name", ["vit_c_4gf", "vit_p_18gf", "pit_s", "pvt_v2_b2", "vitpose_b"])
def test_they_add_up_in_stems_of_the_field(name):
    assert all(cell.agrees for cell in cells(PRESETS[name].stem))


def test_the_first_convolution_reads_the_image_itself():
    spec = SMALL
    image = noise(spec)
    cell = probe_cell(build_stem(spec), image, "conv1", 7, 0, 5)
    assert (cell.rows, cell.columns) == ((-1, 0, 1), (9, 10, 11))
    assert cell.padded.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    assert np.array_equal(cell.window[:, 1:], image[0, :, 0:2, 9:12].double().numpy())


def test_a_product_left_out_or_taken_twice_does_not_pass():
    """The fourth convolution of ViT_C-4GF adds 1728 products; each of them counts."""
    spec = PRESETS["vit_c_4gf"].stem
    cell = probe_cell(build_stem(spec), noise(spec), "conv4", 5, 7, 7)
    assert cell.agrees
    sizes = np.abs(cell.products)
    assert cell.tolerance < sizes[sizes > 0].mean() / 50
    for place in np.argwhere(sizes > np.median(sizes[sizes > 0]))[::40]:
        for factor in (0, 2):
            window = cell.window.copy()
            window[tuple(place)] *= factor
            assert not replace(cell, window=window).agrees


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.rot90])
def test_a_kernel_laid_the_wrong_way_round_does_not_pass(turn):
    cell = probe_cell(build_stem(SMALL), noise(SMALL), "conv2", 3, 4, 4)
    turned = np.stack([turn(plane) for plane in cell.kernel])
    assert cell.agrees
    assert not replace(cell, kernel=turned).agrees


def test_a_cell_of_the_wrong_place_does_not_pass():
    module, image = build_stem(SMALL), noise(SMALL)
    here = probe_cell(module, image, "conv2", 3, 4, 4)
    for there in ((2, 4, 4), (3, 5, 4), (3, 4, 5)):
        assert not replace(
            here, observed=probe_cell(module, image, "conv2", *there).observed
        ).agrees


def test_the_tolerance_is_a_few_roundings_and_not_more():
    """Two products of 1 and a bias of 1: 3 roundings of sums of size 3, and 2 of the result."""
    conv = nn.Conv2d(2, 1, kernel_size=1)
    nn.init.ones_(conv.weight)
    nn.init.ones_(conv.bias)
    cell = probe_cell(nn.Sequential(conv), torch.ones(1, 2, 1, 1), "0", 0, 0, 0)
    unit = 2.0**-24
    assert cell.tolerance == pytest.approx(3 * unit * 3 + 2 * unit * (3 + 1))
    assert replace(cell, observed=3 + 16 * unit).agrees
    assert not replace(cell, observed=3 + 18 * unit).agrees


@pytest.mark.parametrize(
    ("observed", "agrees"), [(inf, True), (-inf, False), (nan, False), (65504, False)]
)
def test_a_sum_beyond_the_format_must_become_infinite(observed, agrees):
    conv = nn.Conv2d(1, 1, kernel_size=1, bias=False).half()
    nn.init.constant_(conv.weight, 1000)
    cell = probe_cell(nn.Sequential(conv), torch.full((1, 1, 1, 1), 1000.0).half(), "0", 0, 0, 0)
    assert (cell.total, cell.observed, cell.agrees) == (1e6, inf, True)
    assert replace(cell, observed=observed).agrees is agrees


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 4, (2, 5), padding="same", dilation=(3, 1)),
        nn.Conv2d(2, 4, 4, padding="same"),
        nn.Conv2d(2, 4, 3, padding="valid", stride=2),
        nn.Conv2d(2, 4, (1, 3), stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=2),
    ],
    ids=["same", "same, even", "valid", "rectangular"],
)
def test_convolutions_that_no_stem_of_ours_has(conv):
    module, image = nn.Sequential(conv), torch.randn(1, 2, 9, 11)
    for row, column in corners_and_middle(module(image).shape[2:]):
        assert probe_cell(module, image, "0", 3, row, column).agrees


def test_nothing_runs_behind_the_layer():
    module = build_stem(SMALL)
    module.norm2 = Refuses()
    assert probe_cell(module, noise(SMALL), "conv2", 0, 0, 0).agrees
    with pytest.raises(RuntimeError, match="on purpose"):
        probe_cell(module, noise(SMALL), "proj", 0, 0, 0)


def test_a_layer_that_stands_in_two_places_runs_in_both():
    relu = nn.ReLU(inplace=True)
    module = nn.Sequential(nn.Conv2d(1, 2, 1), relu, nn.Conv2d(2, 2, 1), relu, nn.Conv2d(2, 2, 1))
    cell = probe_cell(module, torch.randn(1, 1, 4, 4), "4", 1, 2, 2)
    assert cell.agrees
    assert cell.window.min() >= 0  # both activations have run


@pytest.mark.parametrize(
    ("place", "says", "suggestion"),
    [
        (("norm1", 0, 0, 0), "layer = 'norm1': it is not one of conv1, conv2, proj. ", "conv1"),
        (("conv9", 0, 0, 0), "layer = 'conv9': it is not one of conv1, conv2, proj. ", "conv2"),
        (("conv2", 16, 0, 0), "channel = 16: the most is 15. ", 15),
        (("conv2", -1, 0, 0), "channel = -1: the least is 0. ", 0),
        (("conv2", 0, 8, 0), "row = 8: the most is 7. ", 7),
        (("conv2", 0, 0, 10), "column = 10: the most is 9. ", 9),
        (("conv2", 0, 0, 1.5), "column = 1.5: it is not a whole number. ", 2),
    ],
)
def test_a_cell_that_does_not_exist_is_named_with_one_that_does(place, says, suggestion):
    with pytest.raises(SpecError) as caught:
        probe_cell(build_stem(SMALL), noise(SMALL), *place)
    assert str(caught.value).startswith(says)
    assert caught.value.suggestion == suggestion


def test_padding_that_is_not_zero_is_refused():
    module = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(SpecError, match="it pads with mode reflect"):
        probe_cell(module, torch.randn(1, 1, 4, 4), "0", 0, 0, 0)
    with pytest.raises(SpecError, match=r"no nn\.Conv2d"):
        probe_cell(nn.Sequential(nn.ReLU()), torch.randn(1, 1, 4, 4), "0", 0, 0, 0)
