"""A report on anybody's module: what it says, and that every way of showing it says the same."""

from __future__ import annotations

import csv
import html
import html.parser
import io
import json

import pytest
import torch
from torch import nn

import vitc_inspect
from tests import faulty
from vitc_inspect import (
    inspect_module,
    module_csv,
    module_html,
    module_markdown,
    module_table,
)
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.tracing import dataflow
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
        "agrees", "agrees", "agrees", "not predicted", "not predicted", "agrees",
    ]  # fmt: skip
    assert (report.kind, report.training, report.device) == ("Sized", False, "cpu")
    assert report.row("conv2").predicted.rule == "⌊(16 + 2·1 − 3) / 2⌋ + 1 = 8"
    with pytest.raises(KeyError):
        report.row("conv2", 2)


class Unwilling(faulty.Sized):
    """A module that refuses to change its mode."""

    def train(self, mode=True):
        raise NotImplementedError("no eval.")


def test_a_report_stands_where_faults_cannot_be_looked_for():
    report = inspect_module(Unwilling(), torch.zeros(1, 3, 32, 32))
    assert len(report.rows) == len(report_on(faulty.Sized()).rows)
    assert (report.audited, report.faults, report.failure) == (False, (), None)
    said = "looked for: the way of the numbers: the module refuses to be evaluated, NotImplementedE"
    assert said in report.notes[-1]
    assert said in str(report)
    assert "No fault found." not in str(report)


def test_a_mistake_while_numbers_are_followed_is_not_the_modules(monkeypatch):
    def broken(*args):
        raise KeyError("mistake")

    def forward(x):
        try:
            return module.conv1(x)
        except KeyError:  # the user's code must not see it either
            pytest.fail("the mistake reached the module")

    module = faulty.Sized()
    module.forward = forward
    monkeypatch.setattr(dataflow, "unmoved_positions", broken)
    monkeypatch.delenv(STRICT_RULES, raising=False)
    report = report_on(module)
    assert report.failure is None
    assert "the way of the numbers: KeyError: 'mistake'." in report.notes[-1]


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
        "0.shape: predicted (2, 5), observed (2, 4); the rule is the last axis: 8 → 5",
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
            assert layer.name in text
        if report.failure:
            assert report.failure.kind in text


def test_a_table_of_csv_has_numbers_in_full():
    rows = list(csv.DictReader(io.StringIO(module_csv(report_on(faulty.Sized())))))
    assert rows[2]["macs"] == str(16 * 8 * 8 * 72)
    assert rows[3]["source"] == "tokens = grid.reshape(n, WIDTH, rows * columns)"
    assert rows[3]["verdict"] == "not predicted"


class Inverting(nn.Module):
    def forward(self, x):
        return torch.linalg.inv(x)


def test_the_table_of_the_terminal_says_what_is_odd():
    assert "The output of norm is later written over by act; a hook" in module_table(
        report_on(faulty.Overwritten())
    )
    assert "later written over by add_ at faulty.py:" in str(report_on(faulty.AddedInPlace()))
    said = module_table(inspect_module(nn.Linear(8, 4), torch.zeros(196, 8)))
    assert "36 params; 6,272 MACs for this input." in said  # a batch, or the tokens of one image
    said = module_table(inspect_module(Inverting(), torch.eye(4)))
    assert "without linalg_inv, which cannot be counted" in said
    assert "Raised RuntimeError in head at faulty.py:" in str(report_on(faulty.Unpermuted()))


def test_a_layer_in_a_loop_says_in_which_turn_it_was_written_over():
    class Looped(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            x = self.c(x) + 1
            return self.c(x).relu_()

    assert "The output of c, call 2, is later written over by relu_" in str(report_on(Looped()))


def test_an_exception_without_a_message_ends_in_a_full_stop():
    class Silent(nn.Module):
        def forward(self, x):
            raise ValueError()

    (line,) = [each for each in str(report_on(Silent())).splitlines() if "Raised" in each]
    assert line.startswith("Raised ValueError at test_module_report.py:")
    assert line.endswith("raise ValueError().")


# ---- layers that were not reached


def test_layers_that_would_have_followed_stand_behind_what_ran_and_in_grey():
    report = report_on(faulty.Raising())
    plain, coloured = (
        module_table(report).splitlines(),
        module_table(report, grey=True).splitlines(),
    )
    rows = [line.split()[0] for line in plain[3:8]]
    assert rows == ["conv1", "act", "conv2", "zeros", "add"]
    assert plain[8].split() == ["head", "Linear", "not", "reached"]
    assert coloured[8] == f"\x1b[90m{plain[8]}\x1b[0m"
    assert coloured[:8] == plain[:8]
    assert "1 layer was not reached: the forward pass ended before it." in plain
    assert "was never called" not in "".join(plain)
    (add,) = [line for line in plain if line.startswith("add")]
    assert "1×8×8×8 and 7" in add
    assert "raised" in add


def test_layers_that_were_not_reached_are_told_from_those_that_are_never_used():
    class Both(faulty.Sidestepped):
        def __init__(self):
            super().__init__()
            self.later = nn.Linear(8, 8)

        def forward(self, image):
            super().forward(image).reshape(7)
            return self.later(image)

    report = report_on(Both())
    flags = {layer.name: layer.not_reached for layer in report.never_called}
    assert flags == {"direct": False, "read": False, "spare": True, "branch.0": True, "later": True}
    page, plain = module_html(report), report.to_dict()
    assert page.count('class="grey ahead"') == 3
    assert page.count('class="grey"') == 2
    assert page.index("later</td>") < page.index("direct</td>")
    assert [layer["not_reached"] for layer in plain["never_called"]] == list(flags.values())
    assert "| later | Linear |  |  | not reached |" in module_markdown(report)
    assert "direct (Conv2d) was never called: its .forward()" in module_markdown(report)
    lines = list(csv.DictReader(io.StringIO(module_csv(report))))
    assert [line["layer"] for line in lines if line["verdict"] == "not reached"] == [
        "spare", "branch.0", "later",
    ]  # fmt: skip
    (raised,) = [line for line in lines if line["verdict"] == "raised"]
    assert (raised["layer"], raised["input"], raised["observed"]) == ("reshape", "1×256×8", "")


def test_nothing_is_not_reached_where_all_went_well():
    report = report_on(faulty.Sidestepped())
    assert not any(layer.not_reached for layer in report.never_called)
    for draw in (module_table, module_markdown, module_html, module_csv):
        assert "not reached" not in draw(report)


# ---- faults


@pytest.mark.parametrize("draw", [module_table, module_markdown, module_html])
@pytest.mark.parametrize("module", [faulty.Scrambled, faulty.SlicedTable, faulty.MismatchedStrides])
def test_every_view_shows_every_fault_with_its_fixes(draw, module):
    report = report_on(module())
    text = html.unescape(draw(report)).replace("\\", "")
    words = " ".join(text.split())
    for fault in report.faults:
        assert fault.kind in words
        for sentence in (fault.sentence, *fault.fixes):
            assert sentence in words
    assert "No fault found" not in words


def test_that_no_fault_was_found_is_said_where_it_was_looked_for():
    assert "No fault found." in str(report_on(faulty.Sized()))
    left_out = inspect_call(faulty.Sized(), (torch.zeros(1, 3, 32, 32),), audit=False)
    assert "No fault found." not in str(left_out)
    assert (left_out.audited, left_out.to_dict()["audited"]) == (False, False)


def test_the_object_for_json_has_the_faults_and_the_stem():
    plain = report_on(faulty.Scrambled()).to_dict()
    assert [fault["kind"] for fault in plain["faults"]] == ["token order"]
    assert plain["stem"]["notation"] == "4x4/4:16"
    assert plain["stem"]["seq_len"] == 64
    assert report_on(faulty.Padded()).to_dict()["stem"] is None


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


class HidesWhatItHolds(nn.Sequential):
    def named_modules(self, *_, **__):
        return iter(())

    def parameters(self, *_, **__):
        return iter(())


def test_a_module_that_tells_of_nothing_inside_is_reported_whole():
    report = inspect_module(HidesWhatItHolds(nn.Linear(3, 2)).eval(), torch.ones(1, 3))
    assert [row.call.name for row in report.rows] == ["0"]
    assert report.params == 3 * 2 + 2
