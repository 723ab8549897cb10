"""Rules of users that fail on a layer: its row says so, and nothing else changes."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.inspection.taught_layers import (
    TOKENS,
    Attention,
    Hidden,
    attention_rule,
    row_of,
)
from vitc_inspect import (
    Expectation,
    SpecError,
    inspect_module,
    module_csv,
    module_html,
    module_markdown,
    register_rule,
    temporary_rules,
)
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.ui.panels.module_summary import module_table_html, status_html


class Hostile:
    """Fails whatever is done with it."""

    def _fail(self, *args):
        raise ValueError("hostile")

    __repr__ = __str__ = __len__ = __iter__ = __eq__ = __index__ = __int__ = _fail
    __hash__ = object.__hash__


class Lying(Expectation):
    """Fails when it is read."""

    def __getattribute__(self, name):
        if name == "macs":
            raise ValueError("lying")
        return super().__getattribute__(name)


HUGE = 10**5_000
NOT_COUNTS = st.one_of(
    st.integers(max_value=-1),
    st.integers(min_value=2**63 + 1),
    st.floats(),
    st.booleans(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.builds(Hostile),
    st.builds(object),
    st.sampled_from([HUGE, -HUGE, nn.Linear, torch.zeros(2, 2), torch.tensor(2.5), np.ones(3)]),
)
NOT_SHAPES = st.one_of(
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(NOT_COUNTS, min_size=1, max_size=4),
    st.lists(NOT_COUNTS, min_size=1, max_size=4).map(tuple),
    st.tuples(st.integers(0, 9), st.none()),
    st.lists(st.integers(0, 9), min_size=65, max_size=70),
    st.sets(st.integers(0, 9)),
    st.dictionaries(st.integers(), st.integers()),
    st.builds(Hostile),
    st.builds(itertools.count),
    st.sampled_from([torch.zeros(2, 2), range(3), (1, 1, HUGE)]),
)
NOT_WORDS = st.one_of(
    st.integers(), st.binary(), st.none(), st.builds(Hostile), st.lists(st.text())
)
NOT_EXPECTATIONS = st.one_of(
    st.integers(),
    st.floats(),
    st.text(),
    st.tuples(st.integers(), st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.builds(Hostile),
    st.just(Expectation),
    st.builds(Lying),
    st.just(torch.zeros(3)),
)
NONSENSE = st.one_of(
    NOT_EXPECTATIONS,
    st.builds(lambda value: Expectation(params=value), NOT_COUNTS),
    st.builds(lambda value: Expectation(macs=value), NOT_COUNTS),
    st.builds(lambda value: Expectation(out_shape=value), NOT_SHAPES),
    st.builds(lambda value: Expectation(rule=value), NOT_WORDS),
)
MODEL = nn.Sequential(nn.Linear(8, 8), Attention(8), nn.GELU()).eval()


@settings(max_examples=300, deadline=None)
@given(nonsense=NONSENSE)
def test_nonsense_leaves_its_row_unchecked_and_nothing_else_changes(nonsense):
    with temporary_rules():
        register_rule(Attention)(attention_rule)
        right = inspect_module(MODEL, TOKENS)
        register_rule(Attention)(lambda layer, shapes: nonsense)
        report = inspect_module(MODEL, TOKENS)
    before, row, after = report.rows
    assert (before, after) == (right.rows[0], right.rows[2])
    assert (row.verdict, row.predicted) == ("not checked", None)
    same = ("name", "kind", "inputs", "outputs", "params", "source", "kept")
    assert [getattr(row, name) for name in same] == [getattr(right.rows[1], name) for name in same]
    (reason,) = row.unchecked
    assert reason.startswith("the registered rule <lambda> of Attention returned ")
    assert len(reason) <= 200
    assert reason.isprintable()
    assert (report.outputs, report.macs, report.params) == (right.outputs, right.macs, right.params)
    assert (report.disagreements, report.faults) == ((), right.faults)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_rule_that_raises_is_named_in_every_view(strict, monkeypatch):
    monkeypatch.setenv(STRICT_RULES, strict)

    @register_rule(Attention)
    def halves(layer, shapes):
        return 1 // 0

    report = inspect_module(MODEL, TOKENS)
    reason = (
        "the registered rule halves of Attention raised ZeroDivisionError: integer"
        " division or modulo by zero"
    )
    assert report.unchecked == (f"1: {reason}",)
    assert [row.verdict for row in report.rows] == ["agrees", "not checked", "agrees"]
    for view in (str, module_html, module_markdown, module_csv, status_html_of):
        assert "mistake of vitc_inspect" not in view(report)
    for view in (str, module_html, module_markdown):
        assert f"Not checked: 1: {reason}." in view(report)
    assert reason in module_csv(report)
    assert "1 not checked, by a registered rule" in status_html_of(report)
    assert json.dumps(report.to_dict()["unchecked"])


def status_html_of(report):
    return status_html(report, "a picture")


def test_a_rule_that_raises_where_nothing_could_be_counted_is_told_once():
    register_rule(Hidden)(lambda layer, shapes: 1 // 0)
    row = row_of(Hidden(), torch.zeros(3, 6))
    assert (row.verdict, len(row.unchecked), row.call.macs) == ("not checked", 1, None)


def test_a_rule_may_say_that_the_input_does_not_fit():
    @register_rule(Attention)
    def rule(layer, shapes):
        width = shapes["0"][-1]
        if width != layer.width:
            raise SpecError("width", layer.width, f"the tokens are {width} wide", f"Use {width}")
        return attention_rule(layer, shapes)

    report = inspect_module(nn.Sequential(Attention(8)), torch.zeros(2, 5, 6))
    (row,) = report.rows
    assert row.verdict == "raised"
    assert row.predicted.rule == "width = 8: the tokens are 6 wide. Use 6."
    assert "does not fit" in module_table_html(report, "")
    assert report.unchecked == ()
