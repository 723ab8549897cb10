"""Walls and single maps: order, colours, figures, what is odd, what is sent, and the kernels."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect, prepare
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import kernel_of
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.maps import channel_of, maps_html, npz_of, one_map_html
from vitc_inspect.views.maps import (
    Scale,
    common_scale,
    map_statistics,
    sorted_maps,
    value_scale,
    wall,
)

STEM = parse_stem("3x3/2:8 bn relu, 3x3/2:16 bn relu g2, 1x1:12", image_size=(64, 48))


def kept(values: Any, step: int = 1, dropped: int = 0) -> KeptOutput:
    return KeptOutput(values=torch.as_tensor(values), step=step, dropped=dropped)


@pytest.fixture(scope="module")
def bench() -> PreparedRun:
    return prepare(STEM, "photo", device="cpu")


@pytest.fixture(scope="module")
def report(bench: PreparedRun) -> Report:
    return inspect(bench)


def panel(report: Report, layer: str, **options: Any) -> str:
    options = {"aspect": 1.2, "width": 360, **options}
    return without_terms(maps_html(report.prediction, report, layer, **options))


def without_terms(html: str) -> str:
    """The words of each term in place of its button."""
    return re.sub(r'<button class="term"[^>]*>([^<]*)</button>', r"\1", html)


def test_the_figures_of_every_map_are_those_of_torch() -> None:
    values = torch.randn(6, 9, 7).relu()
    figures = map_statistics(kept(values))
    flat = values.flatten(1)
    assert figures.mean == pytest.approx(flat.mean(dim=1).numpy(), abs=1e-6)
    assert figures.std == pytest.approx(flat.std(dim=1, correction=0).numpy(), abs=1e-6)
    assert figures.low.tolist() == flat.amin(dim=1).tolist()
    assert figures.high.tolist() == flat.amax(dim=1).tolist()
    assert figures.zeros == pytest.approx((flat == 0).float().mean(dim=1).numpy())
    assert (figures.dead, figures.duplicates, figures.not_finite) == ((), (), ())


def test_dead_equal_and_broken_maps_are_found() -> None:
    values = torch.randn(8, 5, 5)
    values[2] = 0
    values[5] = 3.5
    values[6] = values[1]
    values[7] = values[1]
    values[4, 0, 0] = torch.nan
    figures = map_statistics(kept(values))
    assert figures.dead == (2, 5)
    assert figures.duplicates == ((1, 6, 7),)
    assert figures.not_finite == (4,)


def test_a_map_of_one_value_is_not_called_dead() -> None:
    figures = map_statistics(kept(torch.ones(3, 1, 1)))
    assert (figures.dead, figures.single) == ((), True)


def test_maps_are_sorted_by_each_figure_the_most_first() -> None:
    values = torch.zeros(4, 2, 2)
    values[0] = torch.tensor([[1.0, 1], [1, 0]])  # mean 0.75, one zero
    values[1] = torch.tensor([[9.0, 0], [0, 0]])  # mean 2.25, three zeros, varies most
    values[2] = torch.tensor([[5.0, 5], [5, 4]])  # mean 4.75, no zero
    figures = map_statistics(kept(values))
    assert sorted_maps(figures, "index") == (0, 1, 2, 3)
    assert sorted_maps(figures, "variance") == (1, 0, 2, 3)
    assert sorted_maps(figures, "sparsity") == (3, 1, 0, 2)
    assert sorted_maps(figures, "mean") == (2, 1, 0, 3)


def test_a_sorted_wall_shows_the_same_maps_in_that_order() -> None:
    values = torch.arange(6.0)[:, None, None].expand(6, 4, 4)
    by_index = wall(kept(values), aspect=6.0)
    turned = wall(kept(values), aspect=6.0, order=range(5, -1, -1))
    assert turned.order == (5, 4, 3, 2, 1, 0)
    first, second = (np.array(Image.open(BytesIO(w.png)))[0] for w in (by_index, turned))
    assert first[0] == second[-1] != first[-1]


def test_each_map_may_have_its_own_colours() -> None:
    values = torch.stack([torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 100.0]])])
    together = np.array(Image.open(BytesIO(wall(kept(values), aspect=9.0).png)))
    apart = wall(kept(values), aspect=9.0, scale="channel")
    pixels = np.array(Image.open(BytesIO(apart.png)))
    assert apart.scale is None
    assert pixels[0, 1] == pixels[0, -1] == 255
    assert together[0, 1] < 5 < together[0, -1]


def test_one_wild_value_does_not_take_all_the_colours_and_is_said() -> None:
    tame = np.random.default_rng(0).normal(size=(4, 60, 60)).astype(np.float32)
    assert not value_scale(tame).beyond
    tame[0, 0, 0] = 1000
    scale = value_scale(tame)
    assert scale.beyond
    assert 2 < scale.high == -scale.low < 4
    drawn = np.array(Image.open(BytesIO(wall(kept(tame), scale=scale).png)))
    assert drawn[0, 0] == 255  # the last colour, not the gap's
    tame[0, 0, 0] = -1000
    drawn = np.array(Image.open(BytesIO(wall(kept(tame)).png)))
    assert drawn[0, 0] == 1


def test_the_scale_of_a_stem_holds_every_layer() -> None:
    assert common_scale([(0.0, 2.0), (0.0, 7.0)]) == Scale(low=0.0, high=7.0)
    assert common_scale([(0.0, 2.0), (-3.0, 1.0)]) == Scale(low=-3.0, high=3.0)


def test_the_title_says_where_the_maps_were_taken(report: Report) -> None:
    html = re.sub("<[^>]+>", "", panel(report, "conv2"))
    assert html.startswith("Output of conv2, before norm2")


def test_the_wall_of_a_stems_scale_is_the_same_in_every_layer(report: Report) -> None:
    ends = {
        re.findall(r'class="ends"><span>([^<]+)</span>', panel(report, layer, scale="stem"))[0]
        for layer in ("conv1", "norm1", "conv2", "proj")
    }
    assert len(ends) == 1


def test_dead_maps_are_named_and_can_be_opened() -> None:
    stem = parse_stem("3x3/2:8, 1x1:4", image_size=32)
    dead = prepare(stem, "photo", device="cpu")
    dead.module.conv1.weight.data[3] = 0
    dead.module.conv1.weight.data[5] = dead.module.conv1.weight.data[6]
    dead.module.conv1.bias.data[5] = dead.module.conv1.bias.data[6]
    html = panel(inspect(dead), "conv1")
    # a map of zeros, and then the maps that are equal to each other, which are not dead
    link = '<button type="button" class="map-link" data-map="3">'
    assert f"dead, all values equal: 1 of 8 maps, {link}" in html
    assert "0 of 8" not in html
    assert re.search(r"equal maps: <button[^>]+>5</button> = <button[^>]+>6</button>", html)
    assert html.count('<i class="dead"') == 1
    assert html.count('<i class="equal"') == 2


def test_dead_maps_are_counted_also_where_there_is_none() -> None:
    stem = parse_stem("3x3/2:8, 1x1:4", image_size=32)
    bench = prepare(stem, "photo", device="cpu")
    html = panel(inspect(bench), "conv1")
    assert '<p class="remark">0 of 8 maps dead: none has all values equal.</p>' in html
    bench.module.conv1.weight.data[[0, 4, 7]] = 0
    html = panel(inspect(bench), "conv1")
    assert "dead, all values equal: 3 of 8 maps, " in html
    assert "0 of 8 maps" not in html


def test_of_single_values_none_can_be_seen_to_be_dead() -> None:
    stem = parse_stem("16x16/16:8", image_size=16)
    html = panel(inspect(prepare(stem, "photo", device="cpu")), "proj")
    assert "Of 8 maps none can be seen to be dead: each is a single value." in html


def test_what_batchnorm_did_is_said() -> None:
    said = {
        statistics: panel(
            inspect(prepare(STEM, "photo", device="cpu", norm_statistics=statistics)), "norm1"
        )
        for statistics in ("image", "stored")
    }
    assert "mean and spread from this image" in said["image"]
    assert "fresh, that is mean 0 and variance 1" in said["stored"]


def test_the_large_map_sends_its_values_as_they_are(bench: PreparedRun, report: Report) -> None:
    html = one_map_html(bench, report, "conv2", 5)
    (sent,) = re.findall(r'data-values="([^"]+)"', html)
    kept_map = report.trace.record("conv2").kept
    assert kept_map
    values = np.frombuffer(b64decode(sent), "<f4").reshape(16, 12)
    assert values.tolist() == kept_map.values[5].tolist()
    mean, std = float(values.mean()), float(values.std())
    assert f"<dt>mean</dt><dd>{mean:.4g}</dd>" in html
    assert f"<dt>std</dt><dd>{std:.4g}</dd>" in html
    assert ">Choose a value to take its cell apart.<" in html
    assert ">Choose a value to read it.<" in one_map_html(bench, report, "act2", 5)


def test_a_negative_number_has_a_minus_and_no_hyphen(bench: PreparedRun, report: Report) -> None:
    shown = " ".join(re.sub(r"<[^>]*>", " ", one_map_html(bench, report, "conv2", 9)).split())
    assert re.search(r"least −\d", shown)
    assert re.findall(r"[^\w]-\d", shown) == []


@pytest.mark.parametrize("layer", ["conv2", "norm2", "act2"])
def test_behind_a_map_stands_the_kernel_that_made_it(
    bench: PreparedRun, report: Report, layer: str
) -> None:
    html = without_terms(one_map_html(bench, report, layer, 9))
    assert "Kernel 9 of conv2: 4 slices of 3×3" in html  # two groups of 8 channels read 4 each
    weight = bench.module.get_submodule("conv2").weight[9]
    assert kernel_of(bench.module, "conv2", 9).tolist() == weight.tolist()


@pytest.mark.parametrize(
    ("cell", "layer", "channel"),
    [
        ("7", "conv1", 7),
        ("7,0,12", "conv1", 7),
        ("8", "conv1", None),
        ("-1", "conv1", None),
        ("x", "conv1", None),
        ("", "conv1", None),
        ("9" * 30, "conv1", None),
        ("²", "conv1", None),
        ("0", "tokens", None),
        ("0", "nothing", None),
    ],
)
def test_which_map_is_chosen(report: Report, cell: str, layer: str, channel: int | None) -> None:
    assert channel_of(cell, report, layer) == channel


def test_what_was_not_kept_is_not_offered_to_be_saved() -> None:
    whole = ViTSpec(stem=replace(STEM, image_size=(16, 16)), depth=1, num_heads=2, mlp_ratio=1.0)
    with_encoder = inspect(prepare(whole, "photo", device="cpu"))
    assert "data-save" in panel(with_encoder, "proj")
    block = panel(with_encoder, "block1.qkv")
    assert "Outputs are kept of the stem alone." in block
    assert "data-save" not in block


def test_a_layer_is_saved_as_it_was_kept(report: Report) -> None:
    file = npz_of(report, "conv1")
    assert file
    name, content = file
    arrays = np.load(BytesIO(content))
    assert name == "conv1.npz"
    kept_map = report.trace.record("conv1").kept
    assert kept_map
    assert np.array_equal(arrays["values"], kept_map.values.numpy())
    assert arrays["step"] == 1
    assert npz_of(report, "nothing") is None


@pytest.mark.parametrize(
    ("notation", "size", "in_channels"),
    [
        ("3x3/2:1, 1x1:1", 1, 1),
        ("1x1/4:4096, 1x1/8:3", 64, 3),
        ("3x3/2:8 bn relu, 1x1:2", 2048, 3),
        ("3x3/2:8 ln gelu, 1x1:2", (9, 1000), 9),
    ],
)
def test_extreme_maps_are_drawn_in_few_bytes(notation: str, size: Any, in_channels: int) -> None:
    stem = parse_stem(notation, image_size=size, in_channels=in_channels)
    extreme = prepare(stem, "photo", device="cpu")
    found = inspect(extreme)
    for layer in found.prediction.layers:
        assert len(panel(found, layer.name)) < 20_000_000
        if len(layer.out_shape) == 3:
            html = one_map_html(extreme, found, layer.name, 0)
            assert len(html) < 3_000_000


def test_values_that_are_no_numbers_are_said(bench: PreparedRun) -> None:
    broken = prepare(STEM, "photo", device="cpu")
    broken.module.conv1.weight.data[2] = torch.nan
    found = inspect(broken)
    html = panel(found, "conv1")
    assert "values that are not finite: " in html
    assert "no value of this map is a finite number" in one_map_html(broken, found, "conv1", 2)
    assert found.first_not_finite
    assert found.first_not_finite.name == "conv1"


def test_every_preset_can_be_looked_at_in_every_order_and_colour() -> None:
    """On an image of half the preset's height and width."""
    for preset in PRESETS.values():
        height, width = preset.stem.image_size
        halved = replace(preset.stem, image_size=(height // 2, width // 2))
        found = inspect(prepare(halved, "photo", device="cpu"))
        layer = found.prediction.layers[0].name
        for sorting in ("index", "variance", "sparsity", "mean", "nonsense"):
            assert "<img" in panel(found, layer, sorting=sorting, scale="channel")
