"""The gradient of a token stands at the pixels it reads by formula, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from tests.probes.stems import SMALL, corners_and_middle, gradient_field, noise
from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.geometry import pixels_read, token_box
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import patchify_stem


def all_open(spec, seed=0):
    """The stem with positive weights and no bias, so that a positive image goes through whole.

    No activation switches a cell off then and no two paths cancel. A layer normalisation
    would: it takes the mean away.
    """
    convs = tuple(
        replace(conv, norm="batch" if conv.norm == "layer" else conv.norm) for conv in spec.convs
    )
    module = build_stem(replace(spec, convs=convs), seed=seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.abs_()
            if layer.bias is not None:
                layer.bias.data.zero_()
    return module, noise(spec).abs() + 0.1


def pixels_of(spec, row, column):
    """(h, w): whether the token reads the pixel."""
    read = np.zeros(spec.image_size, dtype=bool)
    read[np.ix_(pixels_read(spec, "height", row), pixels_read(spec, "width", column))] = True
    return read


@given(spec=stem_specs(max_side=48))
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
def test_a_token_has_a_gradient_at_the_pixels_it_reads_and_nowhere_else(spec):
    module, image = all_open(spec)
    for row, column in corners_and_middle(spec.grid_size):
        field = gradient_field(module, image, row, column)
        assert np.array_equal(field > 0, pixels_of(spec, row, column))


@pytest.mark.parametrize(
    "notation",
    [
        "3x3/2:4 d2 relu",
        "3x3/5p0:4 gelu",
        "2x2/3p0:4 d4 bn relu, 3x3p4:4",
        "3x3/2p0:4, 1x1p1:4",
        "2x2/2:4, 3x3:4 bn silu",
        "3x3/2:6, 3x3/2:6 g6 hardswish, 1x1:4",
    ],
)
def test_so_it_has_in_stems_with_holes(notation):
    spec = replace(parse_stem(notation), image_size=(37, 30))
    module, image = all_open(spec)
    for row, column in corners_and_middle(spec.grid_size):
        field = gradient_field(module, image, row, column)
        assert np.array_equal(field > 0, pixels_of(spec, row, column))


@pytest.mark.parametrize("name", ["vit_c_4gf", "vit_c_18gf", "vit_p_4gf", "vitpose_b", "table3_s2"])
def test_presets_with_weights_as_they_are_stay_inside_the_box_and_fill_it(name):
    """A ReLU may be off on a whole edge for one seed; over three seeds it is not."""
    height, width = PRESETS[name].stem.image_size
    spec = replace(PRESETS[name].stem, image_size=(height // 2, width // 2))
    modules = [build_stem(spec, seed=seed) for seed in range(3)]
    for row, column in ((0, 0), (3, 4), (spec.grid_size[0] - 1, spec.grid_size[1] - 1)):
        box = token_box(spec, row, column)
        found = np.zeros(spec.image_size, dtype=bool)
        for module in modules:
            found |= gradient_field(module, noise(spec), row, column) > 0
        assert not (found & ~pixels_of(spec, row, column)).any()
        for axis, span in enumerate((box.clipped_rows, box.clipped_columns)):
            seen = np.flatnonzero(found.any(axis=1 - axis))
            assert (seen[0], seen[-1]) == (span.start, span.stop - 1)


def test_a_linear_stem_has_a_gradient_at_every_pixel_of_its_field():
    spec = PRESETS["blog_2021"].stem
    field = gradient_field(build_stem(spec), noise(spec), 6, 7)
    assert np.array_equal(field > 0, pixels_of(spec, 6, 7))
    assert (field > 0).sum() == 31 * 31


def test_the_gradient_of_patchify_is_its_kernel():
    spec = patchify_stem(4, 6, image_size=(8, 12))
    module = build_stem(spec)
    draw = torch.Generator().manual_seed(0)
    directions = torch.stack([torch.randn(6, generator=draw) for _ in range(4)])
    kernels = torch.einsum("md,dcyx->mcyx", directions, module.proj.weight)
    expected = kernels.abs().sum(dim=1).mean(dim=0).detach().numpy()
    field = gradient_field(module, noise(spec), 1, 2)
    assert np.allclose(field[4:, 8:], expected, rtol=1e-5)
    assert not field[:4].any()
    assert not field[:, :8].any()


def test_the_field_is_the_same_every_time_and_in_every_mode():
    """In training mode, batch statistics would connect every pixel with every other."""
    module, image = build_stem(SMALL), noise(SMALL)
    nn.init.uniform_(module.norm1.running_var, 0.5, 2)
    first = gradient_field(module, image, 3, 4)
    assert np.array_equal(gradient_field(module.train(), image, 3, 4), first)
    with torch.inference_mode():
        assert np.array_equal(gradient_field(module, image.clone(), 3, 4), first)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_half_a_float_is_widened_before_it_underflows(dtype):
    module, image = build_stem(SMALL), noise(SMALL)
    exact = gradient_field(module, image, 3, 4)
    field = gradient_field(module.to(dtype), image.to(dtype), 3, 4)
    assert np.abs(field - exact).sum() < 0.05 * exact.sum()
    assert not ((field > 0) & ~pixels_of(SMALL, 3, 4)).any()


@pytest.mark.parametrize(("place", "field"), [((8, 0), "row"), ((0, 10), "column")])
def test_a_token_that_does_not_exist_has_no_gradient(place, field):
    with pytest.raises(SpecError) as caught:
        gradient_field(build_stem(SMALL), noise(SMALL), *place)
    assert (caught.value.field, caught.value.suggestion) == (field, max(place) - 1)
