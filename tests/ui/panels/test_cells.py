"""The cell panel as HTML: what it prints is what the probe found, for every convolution."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from math import inf, isfinite, nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import stem_specs
from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect, prepare
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import Cell, probe_cell
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import Stage, StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.cells import cell_html, read_cell, strongest

SMALL = parse_stem("3x3/2:8 bn relu, 3x3/2:16 ln gelu, 1x1:12", image_size=(40, 32))


def ready(spec: StemSpec | ViTSpec, image: str = "photo", **how) -> tuple[PreparedRun, Report]:
    bench = prepare(spec, image, device="cpu", **how)
    return bench, inspect(bench)


def probed(bench: PreparedRun, stage: Stage, text: str) -> Cell:
    channel, row, column, _ = read_cell(text, stage, None)
    with bench.normalising():
        return probe_cell(bench.module, bench.batch, stage.name, channel, row, column)


def plain(html: str) -> str:
    """What a reader sees of it."""
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def said(number: float) -> str:
    return f"{number:.4g}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def ledger(html: str) -> dict[str, float]:
    """The account at the end: each line's number by its name."""
    table = html[html.index('class="cell-ledger"') :]
    lines = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', table)
    return {name: float(value.replace("−", "-")) for name, value in lines}


def assert_shown(html: str, cell: Cell) -> None:
    """The panel prints both numbers of the probe, and says that they are equal."""
    bias = "" if cell.bias is None else " + bias"
    assert (
        f"{cell.layer}, map {cell.channel} , row {cell.row}, column {cell.column}"
        f" Σ window × kernel{bias} = {said(cell.total)} ;"
        f" the hook saw {said(cell.observed)} ✓ equal"
    ) in plain(html)
    account = ledger(html)
    *_, total, observed = account.values()
    assert total == pytest.approx(cell.total, rel=1e-6, abs=1e-12)
    assert observed == pytest.approx(cell.observed, rel=1e-6, abs=1e-12)
    assert "differs" not in html


@pytest.mark.parametrize("name", PRESETS)
def test_every_convolution_of_every_preset_is_taken_apart(name: str) -> None:
    """On an image of half the preset's height and width; the page's own stem on a whole one."""
    stem = PRESETS[name].stem
    height, width = stem.image_size
    halved = replace(stem, image_size=(height // 2, width // 2))
    bench, report = ready(stem if name == "vit_c_4gf" else halved)
    for stage in report.spec.stages:
        channels, rows, columns = stage.out_shape
        for text in ("0,0,0", f"{channels - 1},{rows - 1},{columns // 2}"):
            html = cell_html(bench, report, layer=stage.name, cell=text, width=360)
            assert_shown(html, probed(bench, stage, text))
            assert len(html) < 250_000


@given(spec=stem_specs(max_side=40), where=st.tuples(*[st.floats(0, 0.999)] * 3))
@settings(max_examples=30, derandomize=True, deadline=None, database=None)
def test_any_cell_of_any_stem_is_taken_apart(spec: StemSpec, where) -> None:
    bench, report = ready(spec, "edges")
    for stage in spec.stages:
        text = ",".join(str(int(at * n)) for at, n in zip(where, stage.out_shape, strict=True))
        html = cell_html(bench, report, layer=stage.name, cell=text, width=345)
        assert_shown(html, probed(bench, stage, text))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_short_format_is_equal_within_its_rounding(dtype: str) -> None:
    bench, report = ready(SMALL, dtype=dtype)
    html = cell_html(bench, report, layer="conv2", cell="3,2,2", width=360)
    assert "✓ equal" in html
    assert f"the hook saw, in {dtype}" in html


def test_a_wrong_number_is_not_called_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    def liar(*asked) -> Cell:
        cell = probe_cell(*asked)
        return replace(cell, observed=cell.observed + 1)

    monkeypatch.setattr("vitc_inspect.ui.panels.cells.probe_cell", liar)
    bench, report = ready(SMALL)
    html = cell_html(bench, report, layer="conv1", cell="0,0,0", width=360)
    assert "✗ not equal" in html
    assert "✓ equal" not in html


# What is asked for.


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("7,0,12", (7, 0, 12, None)),
        ("7,0,12,2", (7, 0, 12, 2)),
        ("5", (5, 18, 14, None)),
        ("7,19,15", (7, 19, 15, None)),
        ("7,20,15", (2, 4, 6, None)),
        ("8", (2, 4, 6, None)),
        ("", (2, 4, 6, None)),
        ("7,0", (2, 4, 6, None)),
        ("7,0,", (2, 4, 6, None)),
        ("-1,0,0", (2, 4, 6, None)),
        ("1.5,0,0", (2, 4, 6, None)),
        ("٧", (2, 4, 6, None)),
        ("9" * 5000, (2, 4, 6, None)),
        ("1,2,3,4,5", (2, 4, 6, None)),
        ("<script>", (2, 4, 6, None)),
    ],
)
def test_a_cell_that_is_none_stands_for_the_largest_value(text: str, place) -> None:
    """The map of conv1 is 8×20×16, of which every second row and column was kept."""
    values = torch.zeros(8, 10, 8)
    values[2, 2, 3], values[5, 9, 7], values[4, 0, 0] = -3, 2, float("nan")
    kept = KeptOutput(values=values, step=2, dropped=0)
    assert read_cell(text, SMALL.stages[0], kept) == place


def test_a_cell_of_a_map_that_was_not_kept_is_its_first() -> None:
    kept = KeptOutput(values=torch.ones(3, 20, 16), step=1, dropped=5)
    assert read_cell("6", SMALL.stages[0], kept) == (6, 0, 0, None)
    assert read_cell("6", SMALL.stages[0], None) == (6, 0, 0, None)


@pytest.mark.parametrize("text", ["", "nonsense", "99,0,0", "0,0,0,99", "0,0,0,<b>"])
def test_whatever_is_asked_the_panel_is_drawn_and_nothing_of_it_repeated(text: str) -> None:
    bench, report = ready(SMALL)
    html = cell_html(bench, report, layer="conv1", cell=text, width=360)
    assert "✓ equal" in html
    assert "nonsense" not in html
    assert "99" not in re.findall(r"<h2>.*?</h2>", html)[0]


@pytest.mark.parametrize(
    ("layer", "target"),
    [
        ("norm1", "conv1"),
        ("act2", "conv2"),
        ("tokens", "proj"),
        ("class_token", "proj"),
        ("pos_embed", "proj"),
        ("block1.norm1", "proj"),
        ("block1.qkv", "proj"),
        ("block1.attend", "proj"),
        ("block1.act", "proj"),
        ("pool", "proj"),
        ("head", "proj"),
    ],
)
def test_what_is_no_convolution_says_so_and_shows_the_way(layer: str, target: str) -> None:
    vit = ViTSpec(stem=SMALL, depth=1, num_heads=2, mlp_ratio=2)
    report = inspect(prepare(vit, device="cpu"))
    html = cell_html(prepare(SMALL, device="cpu"), report, layer=layer, cell="0,0,0", width=360)
    assert f"{layer} is no convolution" in plain(html)
    assert f'<button type="button" class="run" data-layer="{target}">' in html


# What is shown of it.


def blocks(html: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The numbers that are sent of each input channel that is shown: window and kernel."""
    found = re.findall(
        r'data-cell-block="(\d+)"[^>]*? data-window="(.*?)" data-kernel="(.*?)"', html
    )
    return {
        int(channel): tuple(np.frombuffer(b64decode(part), "<f4") for part in parts)
        for channel, *parts in found
    }


def test_few_input_channels_are_all_shown_and_their_padding_marked() -> None:
    bench, report = ready(SMALL)
    html = cell_html(bench, report, layer="conv1", cell="7,0,0", width=360)
    cell = probed(bench, SMALL.stages[0], "7,0,0")
    assert list(blocks(html)) == [0, 1, 2]
    for channel, (window, kernel) in blocks(html).items():
        assert np.array_equal(window, cell.window[channel].ravel())
        assert np.array_equal(kernel, cell.kernel[channel].ravel())
    # the first row and the first column: five of nine taps, in window and products of each
    assert html.count('<td class="cell-padding"') == 3 * 2 * 5
    assert html.count('<table class="cell-table"') == 9
    assert "data-cell-sums" not in html
    for channel, colour in enumerate(("red", "green", "blue")):
        sum_of_it = said(float(cell.per_channel[channel]))
        assert f"input channel {channel} , {colour} Σ = {sum_of_it}" in plain(html)


def test_of_many_input_channels_the_strongest_or_the_chosen_one_is_shown() -> None:
    bench, report = ready(SMALL)
    cell = probed(bench, SMALL.stages[1], "3,2,2")
    html = cell_html(bench, report, layer="conv2", cell="3,2,2", width=360)
    best = int(np.argmax(np.abs(cell.per_channel)))
    assert strongest(cell) == best
    assert list(blocks(html)) == [best]
    sums = re.findall(r'data-cell-sums="(.*?)"', html)
    assert np.frombuffer(b64decode(sums[0]), "<f4") == pytest.approx(cell.per_channel, rel=1e-6)
    other = (best + 1) % 8
    chosen = cell_html(bench, report, layer="conv2", cell=f"3,2,2,{other}", width=360)
    assert list(blocks(chosen)) == [other]
    assert f'map <span class="channels">{other}</span> of act1' in chosen


def test_a_group_shows_its_own_input_channels() -> None:
    spec = parse_stem("3x3/2:8 g2 bias, 1x1:12 g4", in_channels=4, image_size=16)
    bench, report = ready(spec, "edges")
    html = cell_html(bench, report, layer="conv1", cell="6,1,1", width=360)
    assert list(blocks(html)) == [2, 3]
    assert "red" not in plain(html)
    assert list(blocks(cell_html(bench, report, layer="proj", cell="11", width=360))) == [6, 7]
    elsewhere = cell_html(bench, report, layer="conv1", cell="6,1,1,0", width=360)
    assert list(blocks(elsewhere)) == [2, 3]
    assert '"given": null' in unescape(elsewhere)


@pytest.mark.parametrize(
    ("stem", "tables", "tiles"),
    [("1x1:4", 9, 0), ("4x4/4:4", 9, 0), ("7x7/4:4", 0, 9), ("16x16/16:4", 0, 9)],
)
def test_large_kernels_are_colours(stem: str, tables: int, tiles: int) -> None:
    bench, report = ready(parse_stem(stem, image_size=64))
    html = cell_html(bench, report, layer="proj", cell="", width=360)
    assert html.count('class="cell-table"') == tables
    assert html.count('class="cell-tile"') == tiles
    assert len(blocks(html)) == 3


def test_a_kernel_too_large_for_single_numbers_says_so() -> None:
    bench, report = ready(parse_stem("128x128/128:2", image_size=128))
    html = cell_html(bench, report, layer="proj", cell="", width=360)
    assert "16,384 taps are too many" in html
    assert not blocks(html)
    assert len(html) < 150_000


def test_thousands_of_input_channels_make_a_small_panel() -> None:
    bench, report = ready(parse_stem("1x1/4:4000, 1x1:8", image_size=16))
    html = cell_html(bench, report, layer="proj", cell="", width=360)
    assert "4,000 input channels" in plain(html)
    assert len(html) < 40_000


def slide(html: str) -> dict:
    return json.loads(unescape(re.findall(r'data-cell-slide="(.*?)"', html)[0]))


def test_the_page_is_told_where_the_window_goes() -> None:
    spec = parse_stem("3x3/2p2:8 d2 nobias, 1x1:4", image_size=(20, 30))
    bench, report = ready(spec)
    html = cell_html(bench, report, layer="conv1", cell="3,1,4,0", width=360)
    assert slide(html) == {
        "layer": "conv1", "channel": 3, "chosen": [1, 4], "given": 0, "size": [20, 30],
        "cells": [10, 15], "taps": 3, "stride": 2, "padding": 2, "dilation": 2,
    }  # fmt: skip
    assert 'viewBox="-2 -2 34 24"' in html
    assert 'viewBox="0 0 15 10"' in html
    # windows begin at even places, and their taps are two apart: no odd place is read
    assert "conv1 never reads 10 of 20 rows (1, 3, 5, … 19)" in plain(html)
    assert 'class="cell-unread" d="M0 1h30v1h-30zM0 3h30v1h-30z' in html


def test_every_pixel_read_leaves_no_legend_of_unread_ones() -> None:
    bench, report = ready(SMALL)
    html = cell_html(bench, report, layer="conv1", cell="", width=360)
    assert "never reads" not in html
    assert 'class="cell-unread" d=""' in html
    assert "padding , 1" in plain(html)


def test_maps_that_were_thinned_or_not_kept_leave_the_arithmetic_as_it_is() -> None:
    bench = prepare(SMALL, device="cpu")
    whole = cell_html(bench, inspect(bench), layer="conv2", cell="15,9,7", width=360)
    for budget in (0, 500, 5_000):
        html = cell_html(
            bench, inspect(bench, keep_bytes=budget), layer="conv2", cell="15,9,7", width=360
        )
        assert ledger(html) == ledger(whole)
        assert ("cell-blank" in html) == (budget < 5_000)
    assert 'class="cell-blank"' not in whole


# Numbers that are none.


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize(("stem", "square"), [("3x3/2:4 bias", True), ("9x9/8:4", False)])
def test_weights_that_are_no_finite_numbers_are_shown_as_what_they_are(
    value: float, stem: str, square: bool
) -> None:
    bench, report = ready(parse_stem(stem, image_size=32), "edges")
    conv = bench.module.get_submodule("proj")
    with torch.no_grad():
        conv.weight[1, 2, 1, 1] = value
    report = inspect(bench)
    html = cell_html(bench, report, layer="proj", cell="1,1,1", width=360)
    cell = probed(bench, report.spec.stages[0], "1,1,1")
    assert not isfinite(cell.total)
    assert f"= {said(cell.total)} ; the hook saw {said(cell.observed)} ✓ equal" in plain(html)
    if square:
        assert f'<td class="cell-odd">{said(value)}</td>' in html
    else:
        assert '<path class="cell-bad" d="M1 1h1v1h-1z"/>' in html


def test_a_map_of_infinities_is_drawn() -> None:
    bench, report = ready(SMALL)
    with torch.no_grad():
        bench.module.get_submodule("conv1").weight.fill_(inf)
    report = inspect(bench)
    for layer in ("conv1", "conv2", "proj"):
        html = cell_html(bench, report, layer=layer, cell="0,0,0", width=360)
        assert "✓ equal" in html
