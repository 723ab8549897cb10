"""A module from the command line: every way to name one, and one sentence for what goes wrong."""

from __future__ import annotations

import csv
import json
import os
import sys

import pytest
import torch
from torch import nn

from vitc_inspect import cli
from vitc_inspect.cli.output import EXIT_BAD_INPUT
from vitc_inspect.common.errors import SpecError
from vitc_inspect.inspection.loading import load_module, parse_shape, random_inputs

FILE = """
import sys
import torch
from torch import nn
from beside import WIDTH

print("hello from the file")

class Stem(nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
    def forward(self, image):
        print("hello from forward")
        return self.proj(image).flatten(2)

class Needy(nn.Module):
    def __init__(self, num_classes, *, depth):
        super().__init__()

class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no weights today")

class Unmade(nn.Module):
    def __init__(self):
        self.width = 8

class Raising(Stem):
    def forward(self, image):
        return self.proj(image).reshape(7, 7)

class Lying(nn.Linear):
    def __init__(self):
        super().__init__(8, 4)
        self.out_features = 5

class Holder:
    inner = Stem(5)

class Leaving(Stem):
    def forward(self, image):
        self.proj(image)
        sys.exit(7)

class Scrambled(Stem):
    def forward(self, image):
        return self.proj(image).reshape(len(image), -1, self.proj.out_channels)

stem = Stem(6)
lying = nn.Sequential(Lying())
number = 7

def make():
    return Stem(9)

def nothing():
    return 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("WIDTH = 8\n")
    (tmp_path / "broken.py").write_text("import torch\n\nraise ValueError('no such day')\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(5)\n")
    (tmp_path / "typo.py").write_text("def f(:\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "stems.py").write_text("from torch import nn\nact = nn.ReLU()\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("beside", "package", "package.stems"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("mine.py:Stem", 8),
        ("./mine.py:stem", 6),
        ("mine.py:make", 9),
        ("mine.py:Holder.inner", 5),
    ],
)
def test_a_class_a_function_and_a_module_are_loaded(folder, text, width):
    before = list(sys.path)
    assert load_module(text).proj.out_channels == width
    assert sys.path == before


def test_a_module_of_a_package_is_loaded(folder):
    assert isinstance(load_module("package.stems:act"), nn.ReLU)
    assert isinstance(load_module("torch.nn:Identity"), nn.Identity)


def test_a_file_that_was_edited_is_read_anew(folder):
    assert load_module("mine.py:stem").proj.out_channels == 6
    for width in range(1, 9):  # in one second and of one length
        (folder / "mine.py").write_text(FILE.replace("Stem(6)", f"Stem({width})"))
        assert load_module("mine.py:stem").proj.out_channels == width
    assert not list(folder.glob("__pycache__/mine*"))


BAD = [
    ("mine.py", "it is not a file or a module, a colon and a name"),
    (":Stem", "it is not a file or a module, a colon and a name"),
    ("mine.py:", "it is not a file or a module, a colon and a name"),
    ("mine.py::Stem", "it is not a file or a module, a colon and a name. Use mine.py:Stem."),
    ("::Stem", "it is not a file or a module, a colon and a name. Use stem.py:Stem."),
    ("http://example.org/a.py:Stem", "it is an address, and only files are read."),
    ("nowhere.py:Stem", "there is no such file"),
    ("no/where:Stem", "there is no such file"),
    ("package:Stem", "it is a folder"),
    ("nowhere.at.all:Stem", "there is no module nowhere.at.all to import"),
    ("no where:Stem", "there is no module no where to import"),
    ("mine.py:Stemm", "there is no Stemm in it. Use Stem."),
    ("mine.py:make()", "there is no make() in it. Use make."),
    ("package.stems:relu", "there is no relu in it. Use act."),
    ("broken.py:Stem", "broken.py raises ValueError: no such day"),
    ("leaving.py:Stem", "leaving.py raises SystemExit: 5"),
    ("typo.py:Stem", "typo.py raises SyntaxError"),
    ("mine.py:Needy", "its constructor needs num_classes, depth"),
    ("mine.py:Broken", "its constructor raises RuntimeError: no weights today"),
    ("mine.py:number", "it is an int, neither a module nor a class"),
    ("mine.py:nothing", "it makes an int, not a torch.nn.Module"),
]


@pytest.mark.parametrize(("text", "reason"), BAD)
def test_what_cannot_be_loaded_is_said_in_a_sentence(folder, run, text, reason):
    code, out, err = run("--module", text, "--input", "1,3,32,32")
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"module = {text!r}: ")
    assert reason in last
    assert ('  File "' in err) == ("raises" in reason)  # the user's own traceback
    assert "vitc_inspect/" not in err


def test_a_file_that_may_not_be_read_is_said_to_be(folder, run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may read whatever there is
    code, out, err = run("--module", "mine.py:Stem", "--input", "1,3,32,32")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "this user may not read it. Give the path of a readable Python file." in err


def test_the_line_of_a_function_is_that_of_the_file_as_it_is(folder, run):
    given = ("--module", "mine.py:Stem", "--input", "1,3,32,32", "--json")
    for pattern in ("flatten(2)", "flatten(1)"):
        (folder / "mine.py").write_text(FILE.replace("flatten(2)", pattern))
        (row,) = json.loads(run(*given)[1])["rows"][1:]
        assert row["source"]["text"].endswith(pattern)


def test_a_suggestion_can_be_loaded(folder):
    with pytest.raises(SpecError) as caught:
        load_module("mine.py:Stm")
    assert isinstance(load_module(caught.value.suggestion), nn.Module)


@pytest.mark.parametrize("text", ["", "1,3,", "1x3x4", "1,-3,4", "1,0,4", "a", "1.5,2", "²", "1 2"])
def test_an_input_that_is_no_shape_is_said_so(folder, run, text):
    code, out, err = run("--module", "mine.py:Stem", "--input", text)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"input = {text!r}: it is not a shape")
    with pytest.raises(SpecError) as caught:
        parse_shape(text)
    assert parse_shape(caught.value.suggestion)


def test_an_input_that_does_not_fit_in_memory_is_refused_before_it_is_made(folder, run):
    code, _, err = run("--module", "mine.py:Stem", "--input", "1,3,99999,99999")
    assert code == 2
    assert "do not fit" in err


def test_inputs_have_the_format_of_the_module_and_may_be_named():
    module = nn.Linear(3, 4).to(torch.bfloat16)
    by_place, by_name = random_inputs(["1,3", "mask=2,2"], module, seed=3)
    assert by_place[0].dtype == torch.bfloat16
    assert by_name["mask"].shape == (2, 2)
    again, _ = random_inputs(["1,3"], module, seed=3)
    assert torch.equal(again[0], by_place[0])
    with pytest.raises(SpecError, match="cannot be the name of an argument"):
        random_inputs(["a b=1,2"], module)


def test_the_table_is_printed_and_what_the_file_prints_stays_out_of_it(folder, run):
    code, out, err = run("--module", "mine.py:Stem", "--input", "1,3,32,32", "--strict")
    assert code == 0
    assert "flatten  function" in out
    assert "hello" not in out
    assert "hello from the file" in err
    assert "hello from forward" in err


def test_every_form_is_printed_whole(folder, run):
    given = ("--module", "mine.py:Stem", "--input", "1,3,32,32")
    plain = json.loads(run(*given, "--json")[1])
    assert [row["name"] for row in plain["rows"]] == ["proj", "flatten"]
    rows = list(csv.DictReader(run(*given, "--csv")[1].splitlines()))
    assert [row["layer"] for row in rows] == ["proj", "flatten"]
    assert "| proj | Conv2d |" in run(*given, "--markdown")[1]


@pytest.mark.parametrize(
    ("name", "shape", "code"),
    [
        ("Stem", "1,3,32,32", 0),
        ("lying", "1,8", 1),
        ("Scrambled", "1,3,32,32", 1),
        ("Raising", "1,3,32,32", 3),
        ("Leaving", "1,3,32,32", 3),
    ],
)
def test_strict_tells_how_it_went_by_its_exit_code(folder, run, name, shape, code):
    assert run("--module", f"mine.py:{name}", "--input", shape, "--strict")[0] == code
    assert run("--module", f"mine.py:{name}", "--input", shape)[0] == (code if code == 3 else 0)


def test_a_forward_that_raises_prints_the_table_and_the_users_own_traceback(folder, run):
    code, out, err = run("--module", "mine.py:Raising", "--input", "1,3,32,32")
    assert code == 3
    assert "reshape was given 1×8×8×8 float32" in out
    assert "return self.proj(image).reshape(7, 7)" in err
    assert "vitc_inspect/" not in err


def test_a_fault_is_told_in_every_form(folder, run):
    given = ("--module", "mine.py:Scrambled", "--input", "1,3,32,32")
    said = "reshape makes 64 tokens of the 8×8×8 map"
    assert said in run(*given)[1]
    assert said in run(*given, "--markdown")[1]
    (fault,) = json.loads(run(*given, "--json")[1])["faults"]
    assert fault["sentence"].startswith(said)
    _, out, err = run(*given, "--csv")
    assert said not in out  # a table of rows alone
    assert said in err


def test_who_asks_to_leave_the_program_is_reported_on(folder, run):
    code, out, err = run("--module", "mine.py:Leaving", "--input", "1,3,32,32")
    assert code == 3
    assert "Raised SystemExit at mine.py:" in out
    assert "sys.exit(7)" in err


def test_an_explanation_is_not_repeated_beside_the_fault_that_it_is(run):
    given = ("--module", "tests/faulty.py:MismatchedStrides", "--input", "1,3,32,32")
    out = run(*given)[1]
    assert out.count("multiply to") == 2  # the sentence and its first fix
    assert "What that means" not in out
    plain = json.loads(run(*given, "--json")[1])
    assert plain["explanations"] == plain["faults"]
    raising = ("--module", "tests/faulty.py:Unpermuted", "--input", "1,3,32,32")
    assert "What that means" in run(*raising)[1]


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (["16x16/16:8"], "stem = '16x16/16:8': a stem goes with --explain, not with --module"),
        (["--preset", "vit_c_4gf"], "preset = 'vit_c_4gf': --preset goes with a stem or --explain"),
        (["--dtype", "float16"], "dtype = 'float16': --dtype goes with a stem, not with --module"),
        (["--seed", "x"], "seed = 'x': it is not a whole number"),
        (["--device", "tpu"], "device = 'tpu': "),
    ],
)
def test_what_is_of_a_stem_is_refused_beside_a_module(folder, run, options, start):
    code, _, err = run("--module", "mine.py:Stem", "--input", "1,3,32,32", *options)
    assert code == 2
    assert err.splitlines()[-1].startswith(start)


@pytest.mark.parametrize("option", ["--ignore=bias", "--input=1,3"])
def test_what_is_of_a_module_is_refused_without_one(run, option):
    code, out, err = run("16x16/16:8", option)
    assert (code, out) == (2, "")
    assert f"{option.partition('=')[0]} goes with --module, not with a stem. Give --module" in err


def test_a_module_without_an_input_asks_for_one(folder, run):
    code, _, err = run("--module", "mine.py:Stem")
    assert code == 2
    assert err.splitlines()[-1].startswith("input = '': the module has to be given something")


def test_a_class_that_forgets_its_super_is_told_so(folder, capsys):
    assert cli.main(["--module", "mine.py:Unmade", "--input", "1,3,8,8"]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.splitlines()[-1] == (
        "module = 'Unmade': __init__ of Unmade does not call super().__init__()."
        " Call it before anything else."
    )
