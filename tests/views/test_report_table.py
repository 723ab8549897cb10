"""One table for both reports: in the terminal, as Markdown, as CSV and as HTML."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from tests import faulty
from vitc_inspect import (
    SpecError,
    ViTSpec,
    build_stem,
    inspect_module,
    inspect_stem,
    inspect_vit,
    module_csv,
    module_html,
    module_markdown,
    module_table,
    parse_stem,
)
from vitc_inspect.views.report_table import report_page

STEM = parse_stem("3x3/2:8 bn relu, 1x1:12", image_size=(16, 24))
DRAW = [module_table, module_markdown, module_csv, module_html, report_page]


@pytest.fixture(scope="module")
def of_stem():
    return inspect_stem(STEM, "ramp", device="cpu")


@pytest.fixture(scope="module")
def of_module():
    return inspect_module(build_stem(STEM), torch.zeros(1, 3, 16, 24))


@pytest.mark.parametrize("draw", DRAW)
def test_every_row_of_either_report_is_written(draw, of_stem, of_module):
    for report in (of_stem, of_module):
        text = draw(report).replace("\\_", "_")
        for row in report.rows:
            assert row.name in text
            assert row.kind in text


def test_a_report_prints_itself(of_stem, of_module):
    for report in (of_stem, of_module):
        assert str(report) == module_table(report)
        assert report._repr_html_() == module_html(report)


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("wrong", [None, "report", 3, STEM])
def test_what_is_no_report_is_refused(draw, wrong):
    with pytest.raises(SpecError, match=r"report = .*: it is no report\. Use what inspect"):
        draw(wrong)


def csv_rows(report):
    return list(csv.DictReader(io.StringIO(module_csv(report))))


def test_the_rows_of_both_are_the_same_where_both_have_them(of_stem, of_module):
    layers = {row["layer"]: row for row in csv_rows(of_module) if row["kind"] != "function"}
    rows = csv_rows(of_stem)
    assert [row["layer"] for row in rows] == [row.name for row in of_stem.rows]
    for row in rows:
        same = layers[row["layer"]]
        assert {key for key in row if row[key] != same[key]} <= {"receptive_field", "inside"}
    assert rows[0]["observed"] == "1×8×8×12"
    assert rows[0]["receptive_field"] == "3"
    assert rows[0]["macs"] == str(8 * 8 * 12 * 27)


def test_a_column_that_nothing_stands_in_is_left_out(of_stem):
    def header(report):
        return module_table(report).split("\n\n")[1].splitlines()[0].split()

    with_functions = inspect_module(faulty.SlicedTable().eval(), torch.zeros(1, 3, 32, 32))
    shared = ["layer", "kind", "input", "predicted", "observed", "params", "MACs"]
    assert header(of_stem) == [*shared, "field"]
    assert header(with_functions) == [*shared, "at"]


def test_shapes_of_a_stem_are_shown_without_the_batch(of_stem, of_module):
    assert re.search(r"conv1 +Conv2d +3×16×24 +8×8×12 +8×8×12 +agrees", module_table(of_stem))
    assert re.search(r"conv1 +Conv2d +1×3×16×24 +1×8×8×12 +1×8×8×12", module_table(of_module))


def test_the_blocks_of_an_encoder_are_one_line_with_what_they_cost_together():
    vit = ViTSpec(stem=STEM, depth=3, num_heads=2, mlp_ratio=2.0)
    report = inspect_vit(vit, "ramp", device="cpu")
    (line,) = [line for line in str(report).splitlines() if line.startswith("block")]
    params = sum(row.params for row in report.rows if (row.block or "").startswith("block"))
    assert line.split("  ")[0] == "block1 … block3"
    assert f"  {params:,}  " in line
    assert "3 blocks" in line
    # CSV leaves nothing out
    assert sum(row["layer"].startswith("block2.") for row in csv_rows(report)) > 5


class Checked(HTMLParser):
    """Tags that are open, and the text of every cell."""

    def __init__(self):
        super().__init__()
        self.open, self.lines = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "tr":
            self.lines.append(0)
        if tag in ("td", "th"):
            self.lines[-1] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_whole_and_every_line_has_every_cell(of_stem, of_module):
    for report in (of_stem, of_module):
        page = report_page(report, behind="<i>more</i>")
        assert page.startswith("<!doctype html>")
        assert "&lt;i&gt;more&lt;/i&gt;" in page
        parser = Checked()
        parser.feed(page)
        assert parser.open == []
        assert len(set(parser.lines)) == 1
        assert len(parser.lines) == 1 + len(report.rows)


def test_every_verdict_that_is_bad_has_a_colour_of_its_own(of_stem):
    records = of_stem.trace.records
    lost = replace(of_stem, trace=replace(of_stem.trace, records=records[1:]))
    page = module_html(lost)
    assert 'class="word never-ran"' in page
    style = page[page.index("<style>") : page.index("</style>")]
    for css in ("differs", "not-checked", "never-ran", "raised"):
        assert f".{css}" in style
