"""The table of layers: formulas, what is folded away, one mark a row, and what differs."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from vitc_inspect import PRESETS, inspect_stem, predict
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.ui.panels.layers import table_html


@pytest.fixture(scope="module")
def report() -> Report:
    return inspect_stem(replace(PRESETS["vit_c_1gf"].stem, image_size=(32, 48)))


def lines(html: str) -> dict[str, list[str]]:
    """Class names and cells of each row, by its layer."""
    found = {}
    for layer, css, inside in re.findall(
        r'<tr data-layer="([^"]+)" class="([^"]*)">(.*?)</tr>', html, re.DOTALL
    ):
        cells = re.findall("<td.*?</td>", inside)
        found[layer] = [css, *(unescape(re.sub("<[^>]+>", "", cell)) for cell in cells)]
    return found


def test_a_row_has_its_formula_both_shapes_and_one_mark(report: Report) -> None:
    table = lines(table_html(report.prediction, report, "conv1", unfolded=False))
    conv1 = ["conv chosen", "⌊(32 + 2·1 − 3) / 2⌋ + 1⌊(48 + 2·1 − 3) / 2⌋ + 1"]
    assert table["conv1"] == [*conv1, "24×16×24", "24×16×24", "✓", "648", "248,832", "3"]
    assert table["tokens"][1:5] == ["2·3", "6×192", "6×192", "✓"]
    assert table["class_token"][1:5] == ["6 + 1", "7×192", "7×192", "✓"]


def test_norms_and_activations_are_counted_and_folded(report: Report) -> None:
    html = table_html(report.prediction, report, "conv1", unfolded=False)
    assert ">8 norms and activations<" in html
    pointwise = [name for name, (css, *_) in lines(html).items() if "pointwise" in css]
    assert pointwise == [f"{kind}{i}" for i in range(1, 5) for kind in ("norm", "act")]
    patchify = predict(PRESETS["vit_p_1gf"].stem)
    assert "norms and" not in table_html(patchify, None, "proj", unfolded=False)


def test_before_the_run_nothing_is_observed() -> None:
    prediction = predict(PRESETS["vit_c_1gf"].stem)
    table = lines(table_html(prediction, None, "conv1", unfolded=False))
    assert all(row[3:5] == ["", ""] for row in table.values())


def test_what_differs_is_said_under_its_row(report: Report) -> None:
    layers = tuple(
        replace(layer, out_shape=(24, 16, 23), params=7) if layer.name == "conv1" else layer
        for layer in report.prediction.layers
    )
    wrong = replace(report, prediction=replace(report.prediction, layers=layers))
    html = table_html(wrong.prediction, wrong, "proj", unfolded=False)
    assert lines(html)["conv1"][0] == "conv differs-row"
    assert lines(html)["conv1"][4] == "✗"
    told = re.findall(r'<tr class="apart">(.*?)</tr>', html)
    assert [re.sub("<[^>]+>", "", line) for line in told] == [
        "shape: predicted 24×16×23, observed 24×16×24; params: predicted 7, observed 648"
    ]
