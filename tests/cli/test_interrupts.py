"""Runs ended from outside: by Ctrl+C, at their deadline, or by the death of their process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.ended import SLACK, begun, children_of, is_gone, signalled
from vitc_inspect.cli import main

MINUTES = ("301x301:32", "--image-size", "900", "--device", "cpu")
"""A convolution of minutes, which does not return to Python before it is over."""

GUEST = '''
import ctypes, os, signal, sys, time
import torch
from torch import nn

def ready(*pids):
    print("ready", os.getpid(), *pids, file=sys.stderr, flush=True)

if os.environ.get("AT_IMPORT"):
    ready()
    time.sleep(600)

class Stubborn(nn.Identity):
    """Ignores signals, has a child of a session of its own, and does not return to Python."""
    def forward(self, x):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            os.setsid()
        else:
            ready(pid)
        ctypes.PyDLL(None).sleep(600)

class Cleans(nn.Identity):
    def forward(self, x):
        try:
            ready()
            time.sleep(600)
        finally:
            open(os.environ["CLEANED"], "w").close()

class Prints(nn.Identity):
    def forward(self, x):
        ready()
        while True:
            print("hello " * 50)
'''


def program(*arguments):
    return [sys.executable, "-m", "vitc_inspect", *arguments]


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    path = tmp_path_factory.mktemp("guest") / "guest.py"
    path.write_text(GUEST)
    return lambda name: program("--module", f"{path}:{name}", "--input", "2", "--device", "cpu")


def the_child_of(process):
    """The process in which the program runs a stem."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if children := children_of(process.pid):
            return children[0]
        time.sleep(0.01)
    raise AssertionError("it started no process")


@pytest.mark.parametrize("after", [0.0, 1.0, 6.0])  # begun, while torch is imported, and in it
@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGINT] * 3, 130), ([signal.SIGTERM], -signal.SIGTERM)]
)
def test_a_stem_of_minutes_ends_with_the_program(numbers, code, after):
    with begun(program(*MINUTES)) as process:
        child = the_child_of(process)
        time.sleep(after)
        assert signalled(process, *numbers, to_all=True, pause=0.01) == (code, "", "")
        assert is_gone(child)


@pytest.mark.parametrize("name", ["Stubborn", "Cleans", "Prints", "AT_IMPORT"])
def test_a_module_ends_with_the_program(guest, tmp_path, monkeypatch, name):
    monkeypatch.setenv("CLEANED", str(tmp_path / "cleaned"))
    monkeypatch.setenv("AT_IMPORT", "1" if name == "AT_IMPORT" else "")
    with begun(guest("Cleans" if name == "AT_IMPORT" else name)) as process:
        word, *pids = process.stderr.readline().split()
        assert word == "ready"
        code, out, err = signalled(process, signal.SIGINT)
        assert (code, out) == (130, "")
        assert "Traceback" not in err
        assert name == "Prints" or err == ""
        assert all(is_gone(int(pid)) for pid in pids)
    assert (tmp_path / "cleaned").exists() == (name == "Cleans")


LONG = """
from vitc_inspect.cli.output import ended, say
from vitc_inspect.common.child_process import Outcome, run_in_child

def main():
    return run_in_child(lambda: Outcome(text="x" * 2**22), lambda outcome: say(outcome.text))

raise SystemExit(ended(main))
"""


def test_a_reader_that_does_not_read_is_not_waited_for():
    """The report is larger than a pipe, and is being written when Ctrl+C comes."""
    with begun([sys.executable, "-c", LONG]) as process:
        assert is_gone(the_child_of(process), within=60)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SLACK) == 130
        assert process.stderr.read() == ""


@pytest.mark.parametrize("more", [[], ["--json"], ["--witnesses"], ["--time"]])
def test_a_run_that_is_predicted_to_take_longer_is_refused(more, capsys):
    assert main(["1501x1501:16", "--image-size", "1500", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    said = r"image_size = 1500 x 1500: the run would take about .*, the most is 10 min\. Use \d+ x"
    assert re.match(said, err)
    assert main([*MINUTES, "--max-seconds", "5"]) == 2
    assert "the most is 5 s. Use" in capsys.readouterr().err


def test_a_run_that_takes_longer_is_ended():
    """To import torch alone takes that long."""
    command = program("--preset", "vit_c_36gf", "--device", "cpu", "--max-seconds", "1")
    done = subprocess.run(command, capture_output=True, text=True)
    said = "max_seconds = 1: the run was not over after 1 s and was ended."
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"{said} Use a smaller image or --max-seconds 2.\n"


def test_a_module_that_takes_longer_is_ended(guest):
    done = subprocess.run(
        [*guest("Stubborn"), "--max-seconds", "8"], capture_output=True, text=True, timeout=60
    )
    said = "max_seconds = 8: the run was not over after 8 s and was ended."
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == f"{said} Use a smaller input or --max-seconds 16."


@pytest.mark.parametrize(
    ("number", "how", "fix"),
    [
        (signal.SIGKILL, "SIGKILL", "Try a smaller image, since the memory may have run out"),
        (signal.SIGSEGV, "SIGSEGV", "Run it again, and please report it if it ends so twice"),
    ],
)
@pytest.mark.parametrize("stem", [["16x16/16:8"], ["--preset", "vit_p_1gf"]])
def test_the_death_of_the_process_is_told(number, how, fix, stem):
    with begun(program(*stem, "--device", "cpu")) as process:
        child = the_child_of(process)
        time.sleep(0.5)
        os.kill(child, number)
        out, err = process.communicate(timeout=60)
    field, value = ("preset", stem[1]) if len(stem) > 1 else ("stem", stem[0])
    reason = f"the process of its run ended with signal {int(number)} ({how}) before there was"
    assert (process.returncode, out) == (3, "")
    assert err.splitlines()[-1] == f"{field} = '{value}': {reason} a report. {fix}."


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0", "max_seconds = 0: the least is 1. Use 1 or more."),
        ("86401", "max_seconds = 86401: the most is 86,400. Use 86400 or less."),
        ("1.5", "max_seconds = '1.5': it is not a whole number. Use 2."),
        ("", "max_seconds = '': it is not a whole number. Use 1."),
        ("nan", "max_seconds = 'nan': it is not a whole number. Use 1."),
    ],
)
@pytest.mark.parametrize(
    "what", [["16x16/16:8"], ["--module", "torch.nn:Identity", "--input", "2"]]
)
def test_a_time_limit_is_a_number_of_seconds(run, what, value, said):
    code, out, err = run(*what, "--max-seconds", value)
    assert (code, out) == (2, "")
    assert err == said + "\n"
