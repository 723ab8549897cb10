"""The program in a terminal: pipes that close, disks that are full, other encodings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.stems import SMALL
from vitc_inspect import cli
from vitc_inspect.cli import output

ROOT = Path(__file__).parents[2]


def program(*arguments, encoding="utf-8"):
    """Runs the program as a user does, at a terminal of that encoding."""
    return subprocess.run(
        [sys.executable, "-m", "vitc_inspect", *arguments],
        capture_output=True,
        cwd=ROOT,
        encoding=encoding,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


def test_the_program_runs_end_to_end():
    ended = program(*SMALL, "--strict")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "conv1" in ended.stdout
    assert "321 tokens = 16 × 20 + 1 class token" in ended.stdout


def test_the_program_complains_in_one_line():
    ended = program("3x3/2:48 bn relu, 3x")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def shell(command, program=("-m", "vitc_inspect"), unbuffered=""):
    """Runs a line of the shell in which "$@" is the program."""
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, *program],
        capture_output=True,
        cwd=ROOT,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONUNBUFFERED": unbuffered},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", ["--paper", "--paper --json", "--help"])
def test_who_stops_reading_gets_no_traceback(options, unbuffered):
    ended = shell(f'"$@" {options} | true; exit ${{PIPESTATUS[0]}}', unbuffered=unbuffered)
    assert (ended.returncode, ended.stderr) == (141, "")


NO_ROOM = (
    "output = 'standard output': it cannot be written, no space left on device."
    " Send it elsewhere.\n"
)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("program", [("-m", "vitc_inspect"), ("app.py",)])
def test_what_cannot_be_printed_ends_the_program_in_one_sentence(program, unbuffered):
    ended = shell('"$@" --help >/dev/full', program=program, unbuffered=unbuffered)
    assert (ended.returncode, ended.stderr) == (2, NO_ROOM)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--paper"],
        ["--paper", "--json"],
        ["--explain", "no error"],
        SMALL,
        [*SMALL, "--json"],
        ["--module", "torch.nn:Identity", "--input", "2"],
        ["--module", "torch.nn:Identity", "--input", "2", "--json"],
        ["--module", "torch.nn:Identity", "--input", "2", "--csv"],
        ["--module", "torch.nn:Identity", "--input", "2", "--markdown"],
    ],
)
def test_every_form_of_output_may_find_no_room(arguments, monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(arguments) == output.EXIT_BAD_INPUT
        assert capsys.readouterr().err == NO_ROOM


def test_what_comes_by_standard_input_need_not_be_text():
    ended = shell("printf '\\xff embed_dim must be divisible by num_heads' | \"$@\" --explain -")
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = shell('"$@" --explain - <&-')
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "explain = '-': standard input is closed. Give the error itself.\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_the_program_prints_to_a_terminal_without_its_signs(encoding):
    ended = program(*SMALL, encoding=encoding)
    assert (ended.returncode, ended.stderr) == (0, "")


RUN = (*SMALL, "--max-seconds", "60")
MODULE = ("--module", "torch.nn:Identity", "--input", "2", "--device", "cpu")
WRITTEN = (
    *(["--paper"], ["--paper", "--json"], ["--explain", "no error"], ["--version"]),
    *([*RUN], [*RUN, "--json"], [*RUN, "--csv"], [*RUN, "--markdown"], [*RUN, "--html"]),
    *([*MODULE], [*MODULE, "--json"], [*MODULE, "--html"]),
)
SLOW = (RUN, [*RUN, "--html"], [*MODULE, "--json"], ["--paper"])


@pytest.mark.parametrize("arguments", WRITTEN, ids=" ".join)
def test_an_output_that_is_full_is_told_by_the_program(arguments):
    ended = shell('"$@" >/dev/full', program=("-m", "vitc_inspect", *arguments))
    assert (ended.returncode, ended.stderr) == (2, NO_ROOM)


@pytest.mark.parametrize("arguments", SLOW, ids=" ".join)
def test_a_reader_that_leaves_and_a_closed_output_are_no_mistake(arguments):
    whole = ("-m", "vitc_inspect", *arguments)
    ended = shell('"$@" | true; exit ${PIPESTATUS[0]}', program=whole)
    assert (ended.returncode, ended.stderr) == (141, "")
    ended = shell('"$@" >&-', program=whole)
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = shell('"$@" >&- 2>&-', program=whole)
    assert ended.returncode == 0


@pytest.mark.parametrize("closed", ["2>/dev/full", "2>&-", "2>&1 | true; exit ${PIPESTATUS[0]}"])
@pytest.mark.parametrize(
    "arguments",
    [["3x"], ["--explain", "x", "--in-channels", "5"], ["--module", "no.py:x", "--input", "2"]],
    ids=" ".join,
)
def test_a_complaint_that_nobody_gets_keeps_its_exit_code(arguments, closed):
    ended = shell(f'"$@" {closed}', program=("-m", "vitc_inspect", *arguments))
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")


def test_where_neither_can_be_written_the_exit_code_says_so():
    for arguments in (RUN, ["--paper"]):
        ended = shell('"$@" >/dev/full 2>&1', program=("-m", "vitc_inspect", *arguments))
        assert ended.returncode == 2
