"""Odd modules on the command line and in Python: each runs, or gets one sentence of its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from tests import odd_guests
from vitc_inspect import SpecError, cli, inspect_module, stem_of
from vitc_inspect.tracing import restore
from vitc_inspect.tracing.interrupts import EndOfRun, is_to_pass

FILE = Path(odd_guests.__file__)
IMAGE = torch.randn(1, 3, 16, 16)

SOUND = [
    *("exported", "traced_by_fx", "scripted", "traced", "HoldsScripted", "InsideItself"),
    *("InsideItsChild", "RaisingProperties", "AnswersToAnyName", "parallel", "quantized"),
    *("HookedToLess", "OwnForward", "OwnEval", "Threaded", "DropsItsParameters"),
    *("ThrowsSwitches", "ReturnsNone", "ReturnsText", "ReturnsGenerator", "ReturnsObject"),
    "ReturnsItself",
    *(f"{what}_{name}" for name in odd_guests.REPLACED for what in ("Raising", "None")),
]
RAISING = {
    "RaisesInterrupt": "KeyboardInterrupt: of its own",
    "RaisesOwn": "Own: of its own",
    "RaisesExit": "SystemExit: 0",
    "RaisesGeneratorExit": "GeneratorExit",
    "RaisesCancelled": "CancelledError",
    "RaisesStop": "StopIteration",
    "RaisesMemory": "MemoryError: of its own",
    "RaisesWithoutWords": "CannotSay: <exception str() failed>",
    "Endless": "RecursionError: maximum recursion depth exceeded",
    "HookRaises": "ZeroDivisionError: division by zero",
    "HookBeforeRaises": "ZeroDivisionError: division by zero",
    "NeedsMask": "missing 1 required keyword-only argument: 'mask'",
    "NoForward": 'is missing the required "forward" function',
    "ForwardIsNone": "TypeError: 'NoneType' object is not callable",
}
REFUSED = {
    "InitInterrupts": "its constructor raises KeyboardInterrupt. ",
    "InitRaisesOwn": "its constructor raises Own: of its own. ",
    "InitExits": "its constructor raises SystemExit: 0. ",
    "InitRaisesWithoutWords": "its constructor raises CannotSay: <exception str() failed>. ",
    "EvalRaisesWithoutWords": "its eval() raises CannotSay: <exception str() failed>. ",
    "RaisingEval": "its eval() raises RuntimeError: not today. ",
    "RaisingTrain": "its eval() raises RuntimeError: not today. ",
    "Needs": "its constructor needs width, depth. ",
    "NotSetUp": "__init__ of NotSetUp does not call super().__init__(). ",
    "Lazy": "conv.weight gets its shape only when it first runs. ",
    "on_meta": "conv.weight is a shape without numbers, on the meta device. ",
    "PartlyOnMeta": "head.weight is a shape without numbers, on the meta device. ",
    "ModulesAreNone": "_modules of ModulesAreNone is None. ",
    "TextAsLayer": "odd is registered as a layer and is a str. ",
    "NumberAsParameter": "odd is registered as a parameter or a buffer and is an int. ",
    "nothing": "it makes None, not a torch.nn.Module. ",
    "pair": "it makes a tuple, not a torch.nn.Module. Let it return the Patches in it alone.",
    "mapping": "it makes a dict, not a torch.nn.Module. Let it return the Patches in it alone.",
    "listing": "it makes a list, not a torch.nn.Module. Give the name of a module.",
    "a_class": "it makes a type, not a torch.nn.Module. Let it return Patches(), an instance.",
    "function": "it makes a function, not a torch.nn.Module. ",
    "coroutine": "it makes a coroutine, not a torch.nn.Module. ",
    "number": "it is an int, neither a module nor a class or function that makes one. ",
}


def run(capsys, name, *options):
    named = ["--module", f"{FILE}:{name}", "--input", "1,3,16,16", "--device", "cpu", "--strict"]
    code = cli.main([*named, *options])
    return code, *capsys.readouterr()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOUND)
def test_an_odd_module_that_is_sound_runs_and_is_accused_of_nothing(capsys, name):
    code, out, _ = run(capsys, name, "--json")
    plain = json.loads(out)
    assert (plain["failure"], plain["faults"], plain["disagreements"]) == (None, [], [])
    assert plain["audited"], plain["notes"]
    assert code == 0


@pytest.mark.parametrize("name", ["Unhashable", "HoldsUnhashable"])
def test_what_cannot_be_hashed_is_run_and_said_to_be_unchecked_where_it_is(capsys, name):
    code, out, _ = run(capsys, name, "--json")
    plain = json.loads(out)
    assert plain["failure"] is None
    assert [value["shape"] for value in plain["outputs"]] == [[1, 16, 8]]
    assert code == (0 if plain["audited"] else 1)


@pytest.mark.parametrize("name", RAISING)
def test_what_a_forward_raises_is_its_own_whatever_it_is(capsys, name):
    code, out, err = run(capsys, name)
    assert code == 3
    assert RAISING[name] in err
    assert "vitc_inspect/" not in err.replace(str(FILE), "")  # no line of ours
    assert "Raised " in out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the coroutine is never awaited
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_refused_in_a_sentence(capsys, name):
    code, out, err = run(capsys, name)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("module = ")
    assert f": {REFUSED[name]}" in last
    assert "vitc_inspect/" not in err.replace(str(FILE), "").replace(last, "")


SOURCES = {
    "import sys\nsys.exit()": "raises SystemExit. ",
    "import sys\nsys.exit('enough')": "raises SystemExit: enough. ",
    "raise KeyboardInterrupt": "raises KeyboardInterrupt. ",
    "class E(BaseException): pass\nraise E('own')": "raises E: own. ",
    "def f(:": "raises SyntaxError: invalid syntax",
    "x = '\ud800'": "raises ",
    "import no_such_thing": "raises ModuleNotFoundError: No module named 'no_such_thing'. ",
    "\0": "raises ",
    "": "there is no Stem in it. Give a name that the file defines.",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_file_that_cannot_be_run_is_refused_in_a_sentence(tmp_path, capsys, source):
    path = tmp_path / "stem.py"
    path.write_bytes(source.encode("utf-8", "surrogatepass"))
    code = cli.main(["--module", f"{path}:Stem", "--input", "1,3"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert SOURCES[source] in err.splitlines()[-1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*SOUND, *RAISING, "Unhashable"])
def test_in_python_every_module_gets_a_report(name):
    made = getattr(odd_guests, name)()
    report = inspect_module(made, IMAGE)
    assert (report.failure is not None) == (name in RAISING)
    assert str(report)
    assert report._repr_html_()


@pytest.mark.parametrize("name", ["EvalRaisesWithoutWords", "RaisingEval", "RaisingTrain"])
def test_in_python_who_cannot_be_put_in_evaluation_mode_is_said_to_be_unchecked(name):
    report = inspect_module(getattr(odd_guests, name)(), IMAGE)
    assert (report.failure, report.audited) == (None, False)
    assert report.notes[-1].startswith(
        "Faults could not all be looked for: the way of the numbers:"
    )


@pytest.mark.parametrize("name", [name for name in REFUSED if hasattr(odd_guests, name)])
def test_in_python_what_is_no_module_is_a_spec_error(name):
    made = getattr(odd_guests, name)
    if name in ("NotSetUp", "Lazy", "ModulesAreNone", "TextAsLayer", "NumberAsParameter"):
        made = made()
    elif isinstance(made, type) or name in ("on_meta", "coroutine"):
        return  # the user's own code has raised before; a shape without numbers may be asked for
    for ask in (lambda: inspect_module(made, IMAGE), lambda: stem_of(made, IMAGE)):
        with pytest.raises(SpecError) as caught:
            ask()
        assert caught.value.field == "module"


@pytest.mark.parametrize(
    ("name", "what"),
    [("ReturnsNone", "None"), ("ReturnsText", "a str"), ("ReturnsGenerator", "a generator")],
)
def test_who_returns_no_tensor_is_told_what_was_returned(name, what):
    report = inspect_module(getattr(odd_guests, name)(), IMAGE)
    assert f"The forward returned {what} and no tensor." in report.notes
    assert "no tensor" not in str(inspect_module(odd_guests.Patches(), IMAGE))


def test_a_layer_that_somebody_has_hooked_is_held_to_no_rule_that_it_breaks():
    report = inspect_module(odd_guests.HookedToLess(), IMAGE)
    assert report.row("conv").verdicts["shape"] is None
    sound = inspect_module(odd_guests.Patches(), IMAGE)
    assert sound.row("conv").verdicts["shape"] is True
    hooked = odd_guests.Patches()
    hooked.conv.register_forward_hook(lambda *_: None)
    assert inspect_module(hooked, IMAGE).row("conv").verdict == "agrees"


def test_every_switch_that_a_forward_throws_is_put_back():
    def switches():
        return [read() for read, _ in restore._SWITCHES]

    before = switches()
    report = inspect_module(odd_guests.ThrowsSwitches(), IMAGE)
    assert report.failure is None
    assert switches() == before
    assert torch.zeros(1).device.type == "cpu"
    try:
        odd_guests.ThrowsSwitches()(IMAGE)  # else the test itself would be harmless
        assert len([1 for a, b in zip(switches(), before, strict=True) if a != b]) >= 10
    finally:
        for (read, put), value in zip(restore._SWITCHES, before, strict=True):
            if read() != value:
                put(value)
    assert switches() == before


def caught_from(call):
    try:
        call()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError


def raise_interrupt():
    raise KeyboardInterrupt


def raise_it_again():
    try:
        raise_interrupt()
    except KeyboardInterrupt:
        raise


def interrupted():
    signal.raise_signal(signal.SIGINT)
    for _ in range(100):
        pass


def test_ctrl_c_is_told_apart_from_an_interrupt_that_somebody_raises():
    assert is_to_pass(caught_from(interrupted))
    assert not is_to_pass(caught_from(raise_interrupt))
    assert not is_to_pass(caught_from(raise_it_again))
    assert is_to_pass(KeyboardInterrupt())  # never raised here
    assert is_to_pass(EndOfRun())
    assert not is_to_pass(SystemExit())
    assert not is_to_pass(odd_guests.Own())
