"""Kinds of faults that are left out as asked, and said to be."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from vitc_inspect import SpecError, cli, module_csv, module_html, module_markdown, module_table
from vitc_inspect.diagnosis import FAULT_KINDS
from vitc_inspect.inspection.module_inspection import inspect_call

PACKAGE = Path(__file__).parents[2] / "vitc_inspect"
FAULTS = {"contract_faults"}
"""Files of the diagnosis that look for faults; the others explain errors."""


class Scrambled(nn.Module):
    """Scrambles its tokens, and has a bias before a BatchNorm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.proj = nn.Conv2d(8, 16, 2, 2)

    def forward(self, x):
        x = self.proj(self.norm(self.conv(x)).relu())
        return x.reshape(x.shape[0], -1, 16)


IMAGE = torch.randn(2, 3, 32, 32)
ONE = "1 fault of the kind “token order” was ignored, as asked."
NONE = "0 faults of the kind “stride” were ignored, as asked."


def kinds(**ignore):
    report = inspect_call(Scrambled().eval(), (IMAGE,), **ignore)
    return [fault.kind for fault in report.faults], report


def test_what_is_to_be_ignored_is_left_out_and_counted():
    assert sorted(kinds()[0]) == ["bias", "token order"]
    found, report = kinds(ignore=("token order", "stride"))
    assert found == ["bias"]
    assert report.ignored == {"token order": 1, "stride": 0}
    assert json.loads(json.dumps(report.to_dict()))["ignored"] == {"token order": 1, "stride": 0}
    for draw in (module_table, module_markdown, module_html):
        assert ONE in draw(report)
        assert NONE in draw(report)
    assert "ignored" not in module_csv(report)


def test_where_all_are_ignored_no_other_is_found():
    found, report = kinds(ignore=("token-order", "Bias"))  # as one may type them
    assert found == []
    assert report.ignored == {"token order": 1, "bias": 1}
    assert "No other fault found." in module_table(report)
    assert "No fault found." not in module_table(report)
    sound = inspect_call(nn.Conv2d(3, 8, 4, 4).eval(), (IMAGE,), ignore=("stride",))
    assert "No fault found." in module_table(sound)


def test_without_the_option_nothing_is_said():
    report = kinds()[1]
    assert report.ignored == {}
    assert "ignored" not in module_table(report)


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (["token ordr"], "it is not one of activation, batch, .*Use \"token order\""),
        ([""], "it is not one of "),
        ("stride", "it is a str, no tuple or list"),
        ([3], "it is an int, no str"),
    ],
)  # fmt: skip
def test_what_is_no_kind_is_refused_with_all_there_are(ignore, message):
    with pytest.raises(SpecError, match=message):
        kinds(ignore=ignore)


def run(capsys, *options):
    named = ["--module", f"{__file__}:Scrambled", "--input", "2,3,32,32", "--strict"]
    return cli.main([*named, *options]), *capsys.readouterr()


def test_the_command_line_passes_what_is_ignored(capsys):
    both = ("--ignore", "token order", "--ignore", "bias")
    assert run(capsys)[0] == 1
    assert run(capsys, *both[:2])[0] == 1
    code, out, err = run(capsys, *both)
    assert (code, err) == (0, "")
    assert ONE in out
    code, out, err = run(capsys, *both, "--csv")
    assert code == 0
    assert ONE in err
    assert "ignored" not in out
    code, _, err = run(capsys, "--ignore", "orders")
    assert code == 2
    assert err.startswith("ignore = 'orders': it is not one of activation, batch, ")
    code = cli.main(["16x16/16:8", "--ignore", "bias"])
    assert code == 2
    assert "--ignore goes with --module, not with a stem" in capsys.readouterr().err


def made_kinds(source):
    """The kinds of all explanations that a source makes, as far as they are written out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "explain",
            "certain",
            "Explanation",
        ):
            given = [word.value for word in node.keywords if word.arg == "kind"] or node.args[:1]
            for value in ast.walk(given[0]) if given else ():
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def test_every_fault_that_is_made_is_of_a_kind_that_can_be_ignored():
    files = [
        path
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "diagnosis" or path.stem in FAULTS
    ]
    made = {kind for path in files for kind in made_kinds(path.read_text(encoding="utf-8"))}
    assert {"token order", "batch", "stride", "unread pixels"} <= made
    assert made <= set(FAULT_KINDS)


def test_a_kind_is_seen_however_it_is_given():
    source = 'explain("a", "s", because="b"); Explanation(kind="c" if x else "d", sentence="s")'
    assert sorted(made_kinds(source)) == ["a", "c", "d"]
