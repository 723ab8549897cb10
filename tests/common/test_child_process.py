"""A guest in a child process: its output stays out of the report, and its end is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitc_inspect.common import child_process
from vitc_inspect.common.child_process import EXIT_FAILED, ChildFailed, Outcome, run_in_child

ROOT = Path(__file__).parents[2]
GUESTS = '''
"""Modules that print wherever they can, and modules that end Python."""
import atexit, ctypes, os, signal, subprocess, sys, threading, time
import torch
from torch import nn

SAVED = os.dup(1)

class Loud(nn.Identity):
    def forward(self, x):
        print("LOUD print")
        sys.__stdout__.write("LOUD __stdout__\\n")
        sys.__stdout__.flush()
        os.write(1, b"LOUD os.write\\n")
        os.write(SAVED, b"LOUD saved descriptor\\n")
        ctypes.CDLL(None).puts(b"LOUD puts")
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["echo", "LOUD child"])
        if os.fork() == 0:
            print("LOUD fork", flush=True)
            os._exit(0)
        atexit.register(print, "LOUD atexit")
        threading.Timer(0.3, print, ["LOUD thread"]).start()
        return x

class Ends(nn.Identity):
    """Does what its class says when its forward runs."""
    def forward(self, x):
        self.end()
        return x

class ExitsWithZero(Ends):
    end = staticmethod(lambda: os._exit(0))

class ExitsWithSeven(Ends):
    end = staticmethod(lambda: os._exit(7))

class Crashes(Ends):
    end = staticmethod(lambda: ctypes.string_at(0))

class Aborts(Ends):
    end = staticmethod(os.abort)

class IsKilled(Ends):
    end = staticmethod(lambda: os.kill(os.getpid(), signal.SIGKILL))

class Becomes(Ends):
    end = staticmethod(lambda: os.execvp("echo", ["echo", "LOUD"]))

class Detaches(Ends):
    """Goes on as a child of itself, as a daemon does."""
    @staticmethod
    def end():
        if os.fork():
            os._exit(0)

class ClosesAll(Ends):
    end = staticmethod(lambda: os.closerange(3, 256))

class ExitsWhenMade(nn.Identity):
    def __init__(self):
        super().__init__()
        os._exit(0)

class Sleeps(Ends):
    @staticmethod
    def end():
        print("asleep", os.getpid(), file=sys.stderr, flush=True)
        time.sleep(60)

class Deaf(Ends):
    @staticmethod
    def end():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        Sleeps.end()

class Writes(Ends):
    end = staticmethod(lambda: os.write(1, b"LOUD"))

class Raises(Ends):
    @staticmethod
    def end():
        raise ValueError("a mistake of the user's own")
'''


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    path = tmp_path_factory.mktemp("guests") / "guests.py"
    path.write_text(GUESTS)
    return path


def command(path, name, *options):
    return [
        *(sys.executable, "-m", "vitc_inspect", "--module", f"{path}:{name}", "--input", "1,3"),
        *("--device", "cpu", *options),
    ]


def ran(path, name, *options, **settings):
    return subprocess.run(
        command(path, name, *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **settings,
    )


@pytest.mark.parametrize("option", ["--json", "--csv", "--markdown", "--strict"])
def test_whatever_a_guest_prints_it_is_not_in_the_report(guests, option):
    ended = ran(guests, "Loud", option)
    assert ended.returncode == 0
    if option == "--json":
        assert json.loads(ended.stdout)["kind"] == "Loud"
    if option == "--csv":
        assert ended.stdout.count("\n") == 1  # the header; it has no layers
    assert "LOUD" not in ended.stdout
    ways = ("print", "__stdout__", "os.write", "saved descriptor", "puts", "child", "fork")
    assert all(f"LOUD {way}" in ended.stderr for way in (*ways, "atexit", "thread"))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ExitsWithZero", "exit code 0"),
        ("ExitsWithSeven", "exit code 7"),
        ("ExitsWhenMade", "exit code 0"),
        ("Crashes", "signal 11 (SIGSEGV)"),
        ("Aborts", "signal 6 (SIGABRT)"),
        ("IsKilled", "signal 9 (SIGKILL)"),
        ("Becomes", "exit code 0"),
        ("Detaches", "exit code 0"),
        ("ClosesAll", "exit code 0"),
    ],
)
def test_who_ends_python_is_told_to_and_passes_nothing(guests, name, how):
    ended = ran(guests, name, "--strict")
    assert (ended.returncode, ended.stdout) == (3, "")
    text = f"{guests}:{name}"
    shown = f"'{text}'" if len(text) <= 58 else f"'{text}'"[:59] + "…"
    said = f"module = {shown}: it ended Python itself, {how}, before there was a report. "
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("module = ")]
    assert line.startswith(said)
    assert ("the memory may have run out" in line) == (name == "IsKilled")


def test_what_the_forward_raises_is_told_as_without_a_child(guests):
    ended = ran(guests, "Raises", "--json")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["failure"]["kind"] == "ValueError"
    assert ended.stderr.splitlines()[-1] == "ValueError: a mistake of the user's own"
    assert "apart.py" not in ended.stderr


def begun(path, name):
    """A program that has come to its guest's forward, and the number of the guest's process."""
    process = subprocess.Popen(
        command(path, name),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    word, number = process.stderr.readline().split()
    assert word == "asleep"
    return process, int(number)


def is_gone(process):
    for _ in range(200):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("name", ["Sleeps", "Deaf"])
@pytest.mark.parametrize("to_both", [True, False])
def test_an_interrupt_ends_both_without_a_word(guests, name, to_both):
    process, guest = begun(guests, name)
    (os.killpg if to_both else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    assert is_gone(guest)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_program_ends_the_guest(guests, number):
    process, guest = begun(guests, "Sleeps")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -number
    assert is_gone(guest)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_descriptor_may_be_closed(guests, closed):
    ended = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "bash", *command(guests, "Writes", "--json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0
    assert "1>&-" in closed or json.loads(ended.stdout)["kind"] == "Writes"


@pytest.mark.parametrize("name", ["Raises", "ExitsWithZero", "NotThere"])
def test_no_complaint_gets_into_the_report_where_standard_error_is_closed(guests, name):
    """Python's print takes None, which is then in its place, for standard output."""
    ended = subprocess.run(
        ["bash", "-c", '"$@" 2>&-', "bash", *command(guests, name, "--json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == (2 if name == "NotThere" else 3)
    if name == "Raises":
        assert json.loads(ended.stdout)["failure"]["kind"] == "ValueError"
    else:
        assert ended.stdout == ""


def test_who_stops_reading_is_told_nothing(guests):
    ended = subprocess.run(
        ["bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash", *command(guests, "Raises")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode in (141, 3)  # 3 where it was written before the reader went
    assert "BrokenPipe" not in ended.stderr


def test_a_mistake_of_ours_is_said_to_be_ours():
    def work():
        raise KeyError("proj")

    outcome = child_process.outcome_of(work)
    assert (outcome.text, outcome.code) == ("", EXIT_FAILED)
    assert outcome.complaint.splitlines()[-1] == child_process.internal_error(KeyError("proj"))


def test_without_a_child_the_work_is_done_here(monkeypatch):
    monkeypatch.delattr(os, "fork")
    delivered = []
    assert run_in_child(lambda: Outcome(text="done", code=1), delivered.append) == 1
    assert delivered == [Outcome(text="done", code=1)]


def test_the_end_of_a_child_has_words():
    error = ChildFailed("exit code 0", killed=False)
    assert (str(error), error.killed) == ("exit code 0", False)
