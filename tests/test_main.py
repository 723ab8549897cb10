"""The command's verbs, and what it calls itself."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module

import pytest

from vitc_inspect import __version__
from vitc_inspect.__main__ import VERBS, main


@pytest.fixture(params=["/usr/bin/vitc-inspect", "C:/Scripts/vitc-inspect.exe", "__main__.py"])
def typed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the person typed, as the program is started in each way."""
    monkeypatch.setattr(sys, "argv", [request.param])
    return "python -m vitc_inspect" if request.param == "__main__.py" else "vitc-inspect"


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_it_calls_itself_what_was_typed(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = "unrecognized arguments: --colour. Use --help to see what works.\n"
    assert complaint(capsys, "16x16/16:8", "--colour") == f"{typed}: {said}"
    assert complaint(capsys, "app", "--colour") == f"{typed} app: {said}"


def test_the_help_names_every_verb(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith(f"usage: {typed} ")
    for verb, (_, does) in VERBS.items():
        assert f"{typed} {verb} {does}." in shown


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_a_main_that_takes_its_arguments(verb: str) -> None:
    home, _ = VERBS[verb]
    parameters = inspect.signature(import_module(home).main).parameters
    assert next(iter(parameters)) == "arguments"
    assert "prog" in parameters


def test_the_version_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vitc-inspect {__version__}\n"
    assert main(["--version", "--json"]) == 2
    assert "--json goes with" in capsys.readouterr().err


def test_what_is_no_verb_is_a_stem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apps"]) == 2
    assert capsys.readouterr().err.startswith("stem = 'apps'")
    assert main(["--paper", "--json"]) == 0
    assert capsys.readouterr().out.startswith('{"source"')
