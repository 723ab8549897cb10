"""A report on anybody's module: what it says, and that every way of showing it says the same."""

from __future__ import annotations

import csv
import html.parser
import io
import json

import pytest
import torch
from torch import nn

import vitc_inspect
from tests import faulty
from vitc_inspect import inspect_module, module_csv, module_html, module_markdown, module_table
from vitc_inspect.inspection import inspect_call
from vitc_inspect.views.text import shape as shape_text

FAULTY = [
    faulty.MismatchedStrides, faulty.Scrambled, faulty.ColumnsFirst, faulty.SlicedTable,
    faulty.BroadcastTable, faulty.ShortTable, faulty.Overwritten, faulty.AddedInPlace,
    faulty.Encoded, faulty.Shared, faulty.Padded, faulty.Raising, faulty.Unpermuted,
    faulty.WrongPattern, faulty.Recovering, faulty.Remembering, faulty.Sidestepped,
]  # fmt: skip


def report_on(module, **kwargs):
    return inspect_module(module.eval(), torch.zeros(1, 3, 32, 32), **kwargs)


class Lying(nn.Linear):
    """A linear layer whose attribute is changed after its weights were made."""

    def __init__(self):
        super().__init__(8, 4)
        self.out_features = 5


def test_totals_and_rows_of_a_sound_stem():
    report = report_on(faulty.Sized())
    assert report.params == sum(p.numel() for p in faulty.Sized().parameters())
    assert report.macs == 8 * 16 * 16 * 27 + 16 * 8 * 8 * 72
    assert report.disagreements == ()
    assert [row.verdict for row in report.rows] == [
        "agrees", "agrees", "not predicted", "not predicted", "agrees",
    ]  # fmt: skip
    assert (report.kind, report.training, report.device) == ("Sized", False, "cpu")
    assert report.row("conv2").predicted.rule == "⌊(16 + 2·1 − 3) / 2⌋ + 1 = 8"
    with pytest.raises(KeyError):
        report.row("conv2", 2)


@pytest.mark.parametrize("module", FAULTY)
def test_no_layer_of_a_fault_is_said_to_disagree(module):
    """These faults keep arithmetic right; others have to find them."""
    report = report_on(module())
    assert report.disagreements == ()
    assert (report.failure is not None) == any(row.verdict == "raised" for row in report.rows) or (
        module in (faulty.MismatchedStrides, faulty.ShortTable, faulty.Raising, faulty.Recovering)
        or module is faulty.WrongPattern
    )


def test_what_differs_is_said_with_both_numbers():
    report = inspect_module(nn.Sequential(Lying()), torch.zeros(2, 8))
    assert report.row("0").verdict == "differs"
    assert report.disagreements == (
        "0.shape: predicted (2, 5), observed (2, 4); the rule is the last axis: 8 -> 5",
        "0.params: predicted 45, observed 36",
        "0.macs: predicted 80, observed 64",
    )


def test_shared_weights_agree_in_each_row_and_count_once():
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    module[1].weight = module[0].weight
    report = inspect_module(module, torch.zeros(2, 8))
    assert [row.call.params for row in report.rows] == [72, 72]
    assert report.params == 80
    assert report.disagreements == ()


@pytest.mark.parametrize("module", [faulty.Sized, *FAULTY])
def test_the_report_is_plain_values_for_json(module):
    report = report_on(module())
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert [row["name"] for row in plain["rows"]] == [row.call.name for row in report.rows]
    assert plain["flops"] == 2 * report.macs
    assert (plain["failure"] is None) == (report.failure is None)


@pytest.mark.parametrize("draw", [module_table, module_markdown, module_csv, module_html])
@pytest.mark.parametrize("module", [faulty.Sized, *FAULTY])
def test_every_view_shows_every_row(draw, module):
    report = report_on(module())
    text = draw(report).replace("\\_", "_")
    for row in report.rows:
        assert row.call.name in text
        assert shape_text(row.call.out_shape or ()) in text
    if draw is not module_csv:
        for layer in report.never_called:
            assert layer.reason in text
        if report.failure:
            assert report.failure.kind in text


def test_a_table_of_csv_has_numbers_in_full():
    rows = list(csv.DictReader(io.StringIO(module_csv(report_on(faulty.Sized())))))
    assert rows[1]["macs"] == str(16 * 8 * 8 * 72)
    assert rows[2]["source"] == "tokens = grid.reshape(n, WIDTH, rows * columns)"
    assert rows[2]["verdict"] == "not predicted"


def test_the_table_of_the_terminal_says_what_is_odd():
    assert "The output of norm is later written over by act." in module_table(
        report_on(faulty.Overwritten())
    )
    assert "later written over by add_ at faulty.py:" in str(report_on(faulty.AddedInPlace()))
    said = module_table(inspect_module(nn.LSTM(4, 4), torch.zeros(2, 4)))
    assert "without lstm, which nobody here can count" in said
    assert "Raised RuntimeError in head at faulty.py:" in str(report_on(faulty.Unpermuted()))


class Tags(html.parser.HTMLParser):
    """Checks that every tag is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_notebook_gets_one_table_that_needs_nothing_else():
    class Odd(nn.Module):
        def forward(self, x):
            return x.reshape(-1) if "<script>" else x

    page = report_on(Odd())._repr_html_()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("table") == 1
    assert "script" not in tags.seen
    assert "prefers-color-scheme:dark" in page
    assert "http" not in page


def test_copies_are_made_where_they_are_asked_for():
    report = inspect_call(faulty.Sized(), (torch.zeros(1, 3, 32, 32),), keep_bytes=10**6)
    assert report.row("conv1").call.kept.values.shape == (8, 16, 16)
    assert report_on(faulty.Sized()).row("conv1").call.kept is None


def test_the_front_door_has_what_this_page_is_about():
    assert {"inspect_module", "ModuleReport"} <= set(vitc_inspect.__all__)
