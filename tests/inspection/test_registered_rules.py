"""Rules that users register for layers: whose applies, and what it is held against."""

from __future__ import annotations

import sys
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn

from tests.inspection.taught_layers import (
    MAP,
    TOKENS,
    Attention,
    Hidden,
    Named,
    Scaled,
    Separable,
    Strided,
    Unheard,
    attention_rule,
    row_of,
    separable_rule,
    stating,
    strided_rule,
)
from vitc_inspect import (
    Expectation,
    cli,
    inspect_module,
    register_rule,
    temporary_rules,
)
from vitc_inspect.inspection.layer_rules import expect
from vitc_inspect.inspection.module_run import Source
from vitc_inspect.tracing.recorder import record_module
from vitc_inspect.tracing.rules import REGISTRY
from vitc_inspect.ui.panels.module_summary import module_table_html


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("layer", "rule", "given", "checked"),
    [
        (Attention(8), attention_rule, TOKENS, 3),
        (Separable(4, 6), separable_rule, MAP, 3),
        (Strided(4, 6, 3), strided_rule, MAP, 1),
        (Scaled(8, 3), stating(out_shape=(2, 5, 3), params=27, macs=240), TOKENS, 3),
        (Named(8, 3), stating(out_shape=[2, np.int64(5), 3], params=np.int64(27)), TOKENS, 2),
        (nn.Linear(8, 3), stating(out_shape=torch.Size((2, 5, 3))), TOKENS, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_right_rule_agrees(layer, rule, given, checked, training):
    register_rule(type(layer))(rule)
    report = inspect_module(nn.Sequential(layer).train(training), given)
    (row,) = report.rows
    assert row.verdict == "agrees"
    assert sum(verdict is True for verdict in row.verdicts.values()) == checked
    assert report.macs == report.rows[0].call.macs
    assert row.call.params == report.params


@pytest.mark.parametrize("check", ["out_shape", "params", "macs"])
@pytest.mark.parametrize(
    ("layer", "rule", "given"),
    [(Attention(8), attention_rule, TOKENS), (Separable(4, 6), separable_rule, MAP)],
    ids=lambda value: type(value).__name__,
)
def test_a_wrong_rule_differs(layer, rule, given, check):
    right = vars(rule(layer, {"0": tuple(given.shape)}))
    wrong = (*right["out_shape"], 1) if check == "out_shape" else right[check] + 1
    register_rule(type(layer))(stating(**{**right, check: wrong}))
    report = inspect_module(nn.Sequential(layer), given)
    (row,) = report.rows
    assert row.verdict == "differs"
    assert [name for name, said in row.verdicts.items() if said is False] == [
        "shape" if check == "out_shape" else check
    ]
    assert len(report.disagreements) == 1


def test_a_rule_is_given_shapes_by_place_and_by_name():
    seen = []

    @register_rule(Attention)
    def rule(layer, shapes):
        seen.append((layer, shapes))
        return None

    layer, mask = Attention(8), torch.zeros(5, 5)
    inspect_module(layer, TOKENS, mask)
    inspect_module(layer, TOKENS, mask=mask)
    inspect_module(layer, x=TOKENS)
    assert [shapes for _, shapes in seen] == [
        {"0": (2, 5, 8), "1": (5, 5)},
        {"0": (2, 5, 8), "mask": (5, 5)},
        {"x": (2, 5, 8)},
    ]
    assert all(given is layer for given, _ in seen)
    assert all(type(shape) is tuple for _, shapes in seen for shape in shapes.values())


class Joined(nn.Module):
    def forward(self, parts):
        return torch.cat(parts, -1)


def test_a_rule_is_given_tensors_in_a_list_each_by_its_place():
    register_rule(Joined)(
        lambda layer, shapes: Expectation(
            out_shape=(*shapes["0.0"][:-1], shapes["0.0"][-1] + shapes["0.1"][-1])
        )
    )
    assert row_of(Joined(), [torch.zeros(2, 3), torch.zeros(2, 4)]).verdict == "agrees"


def test_what_a_rule_does_not_say_is_not_checked():
    register_rule(Attention)(stating(params=288))
    row = row_of(Attention(8), TOKENS)
    assert (row.verdict, row.verdicts) == ("agrees", {"shape": None, "params": True, "macs": None})
    assert "does not fit" not in module_table_html(inspect_module(Attention(8), TOKENS), "")
    register_rule(Attention)(stating())
    assert row_of(Attention(8), TOKENS).verdict == "not predicted"
    register_rule(Attention)(stating(macs=0))
    assert row_of(Attention(8), TOKENS).verdict == "differs"


# ---- whose rule applies


def test_the_nearest_class_whose_forward_runs_is_asked():
    class Again(Attention):
        pass

    class Other(Attention):
        def forward(self, x):
            return x

    class OfLinear(Named):
        pass

    register_rule(Attention)(attention_rule)
    assert row_of(Again(8), TOKENS).verdict == "agrees"
    assert expect(Other(8), {"0": (2, 5, 8)}) is None
    register_rule(Again)(stating(rule="nearer"))
    assert expect(Again(8), {"0": (2, 5, 8)}).rule == "nearer"
    assert expect(Attention(8), {"0": (2, 5, 8)}).rule == "the tokens as they came"
    assert expect(OfLinear(8, 3), {"0": (8,)}).rule == "the last axis: 8 → 3"
    register_rule(Named)(stating(rule="of Named"))
    assert expect(OfLinear(8, 3), {"0": (8,)}).rule == "of Named"
    assert expect(nn.Linear(8, 3), {"0": (8,)}).rule == "the last axis: 8 → 3"


def test_a_forward_on_the_layer_itself_has_no_rule():
    register_rule(Attention)(attention_rule)
    layer = Attention(8)
    layer.forward = lambda x: x
    assert expect(layer, {"0": (2, 5, 8)}) is None


def test_a_users_rule_goes_before_ours_until_it_is_gone():
    layer, shapes = nn.Linear(8, 3), {"0": (8,)}
    ours = expect(layer, shapes)
    with temporary_rules():
        for words in ("first", "second"):
            register_rule(nn.Linear)(stating(rule=words))
        assert expect(layer, shapes) == Expectation(rule="second")
        with temporary_rules():
            register_rule(nn.Linear)(stating(rule="inner"))
        assert expect(layer, shapes).rule == "second"
    assert expect(layer, shapes) == ours


def test_a_layer_without_inputs_or_of_a_foreign_kind_may_have_a_rule():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3, 4))

        def forward(self):
            return self.table * 1

    register_rule(Table)(lambda layer, shapes: Expectation(out_shape=(3, 4 + len(shapes))))
    assert inspect_module(Table()).rows[0].verdict == "agrees"


# ---- counts


def test_nothing_inside_a_layer_with_a_rule_is_counted_twice():
    register_rule(Attention)(attention_rule)
    model = nn.Sequential(nn.Linear(8, 8), Attention(8), nn.Linear(8, 2))
    for mode in (True, False):
        report = inspect_module(model.train(mode), TOKENS)
        assert [row.kind for row in report.rows] == ["Linear", "Attention", "Linear"]
        assert {row.verdict for row in report.rows} == {"agrees"}
        assert report.macs == 10 * 8 * 8 + 10 * (4 * 8 * 8 + 2 * 5 * 8) + 10 * 8 * 2
        assert report.never_called == ()
        assert sum(row.params for row in report.rows) == report.params


@pytest.mark.parametrize("layer", [Hidden(), Unheard()], ids=lambda value: type(value).__name__)
def test_where_nothing_can_be_counted_the_rule_is_the_count(layer):
    given = torch.zeros(3, 6)
    before = inspect_module(nn.Sequential(layer), given)
    register_rule(type(layer))(lambda layer, shapes: Expectation(macs=72))
    recording = record_module(nn.Sequential(layer), given)
    assert (recording.macs, recording.uncounted) == (72, ())
    report = inspect_module(nn.Sequential(layer), given)
    assert (report.macs, report.uncounted) == (72, ())
    assert report.rows[0].verdicts["macs"] is None  # there is no count to hold it against
    assert report.rows[0].verdict == "not predicted"
    assert report.outputs == before.outputs
    register_rule(type(layer))(stating(out_shape=(9, 9), macs=72))
    assert row_of(layer, given).verdict == "differs"


def test_a_rule_that_states_no_macs_leaves_the_layer_uncounted():
    register_rule(Hidden)(stating(out_shape=(3, 4, 4)))
    row = row_of(Hidden(), torch.zeros(3, 6))
    assert (row.verdict, row.call.uncounted) == ("agrees", ("linalg_inv",))


# ---- files


FILE = """
import torch
from torch import nn
from vitc_inspect import Expectation, register_rule

class Tripled(nn.Module):
    def forward(self, x):
        return torch.cat([x] * 3, -1)

@register_rule(Tripled)
def rule(layer, shapes):
    return Expectation(out_shape=(*shapes["0"][:-1], FACTOR * shapes["0"][-1]))
"""
MAKE = """
def make():
    return nn.Sequential(Tripled())
"""


@pytest.mark.parametrize(("factor", "code"), [("3", 0), ("2", 1), ("'x'", 1), ("1 / 0", 1)])
def test_the_terminal_knows_the_rules_of_the_file(factor, code, tmp_path, capsys):
    path = tmp_path / "tripled.py"
    path.write_text(FILE.replace("FACTOR", factor) + MAKE)
    command = ["--module", f"{path}:make", "--input", "1,4", "--strict"]
    assert cli.main(command) == code
    word = {"3": "agrees", "2": "differs"}.get(factor, "not checked")
    printed = capsys.readouterr().out
    assert word in printed
    assert "mistake of vitc_inspect" not in printed


def test_a_file_that_is_read_anew_leaves_no_rule_of_before(tmp_path):
    helper, path = tmp_path / "helper_of_rules.py", tmp_path / "tripled.py"
    helper.write_text(FILE.replace("FACTOR", "3"))
    path.write_text(
        "from helper_of_rules import *\nregister_rule('linalg_inv')(lambda call: 5)\n" + MAKE
    )
    source = Source(f"{path}:make", torch.device("cpu"))
    try:
        for _ in range(3):
            module = source.read()
            assert row_of(module[0], torch.zeros(1, 4)).verdict == "agrees"
            assert len(REGISTRY.users) == 2
        path.write_text("from helper_of_rules import *\n" + MAKE)
        source.read()
        assert [kind.__name__ for kind in REGISTRY.users] == ["Tripled"]
    finally:
        sys.modules.pop("helper_of_rules", None)


def test_threads_see_each_rule_whole():
    layer, wrong = nn.Linear(8, 3), []
    ours = expect(layer, {"0": (8,)})

    def look():
        for _ in range(500):
            said = expect(layer, {"0": (8,)})
            if said not in (ours, Expectation(rule="theirs")):
                wrong.append(said)

    threads = [Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        with temporary_rules():
            register_rule(nn.Linear)(stating(rule="theirs"))
    for thread in threads:
        thread.join()
    assert wrong == []
