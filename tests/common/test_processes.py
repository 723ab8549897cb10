"""Whatever runs in a child process, it ends with its parent and at its deadline."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.ended import SLACK, begun, is_gone, signalled
from vitc_inspect.common import processes

PROGRAM = '''
"""Runs what its first argument names in a child process, at most as many seconds as the second."""
import atexit, ctypes, os, signal, subprocess, sys, threading, time
from functools import partial
from vitc_inspect.cli.output import ended
from vitc_inspect.common.child_process import (
    DeadlinePassed, Outcome, interrupts_raised, run_in_child
)

def ready(*pids):
    os.write(2, (" ".join(map(str, ("ready", os.getpid(), *pids))) + "\\n").encode())

def sleeps():
    ready()
    time.sleep(600)

def native():
    """As a convolution of minutes: it does not return to Python, here not even for its lock."""
    ready()
    ctypes.PyDLL(None).sleep(600)

def catches():
    while True:
        try:
            ready()
            time.sleep(600)
        except KeyboardInterrupt:
            pass

def ignores():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready()
    time.sleep(600)

def forks(leave=False):
    """A grandchild in a session of its own, which has one too; both ignore signals."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        other = os.fork()
        os.write(writer, f"{os.getpid()} ".encode())
        os.close(writer)
        ignores_quietly()
    os.close(writer)
    pids = b""
    while part := os.read(reader, 99):
        pids += part
    ready(*pids.decode().split())
    if leave:
        os.execvp("sleep", ["sleep", "600"])
    ignores_quietly()

def ignores_quietly():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(600)

def becomes():
    forks(leave=True)

def starts():
    ready(subprocess.Popen(["sleep", "600"], stdout=2).pid)
    time.sleep(600)

def stops():
    """As by Ctrl+Z, and nobody continues it."""
    ready()
    os.kill(os.getpid(), signal.SIGSTOP)

def prints():
    ready()
    while True:
        os.write(1, b"")

def at_exit():
    atexit.register(sleeps)

def thread():
    threading.Thread(target=time.sleep, args=[600]).start()
    ready()

def closes():
    ready()
    os.closerange(3, 256)
    time.sleep(600)

def stem():
    native()

def quick():
    time.sleep(0.3)

def work():
    with interrupts_raised():
        globals()[sys.argv[1]]()
    return Outcome(text="done", code=1)

def main():
    users_code = sys.argv[1] != "stem"
    deliver = lambda outcome: os.write(1, outcome.text.encode())
    try:
        return run_in_child(work, deliver, seconds=float(sys.argv[2]), users_code=users_code)
    except DeadlinePassed:
        return 3

if len(sys.argv) > 3:  # the system's date jumps, forwards and back
    dates = iter(range(10**9, 2 * 10**9, 10**6))
    time.time = lambda: next(dates) * (1 - 2 * (int(time.monotonic() * 100) % 2))
raise SystemExit(ended(main))
'''
GUESTS = ("sleeps", "native", "catches", "ignores", "forks", "becomes", "starts", "stops")
GUESTS += ("prints", "at_exit", "thread", "closes", "stem")
DELIVERED = ("at_exit", "thread")  # and not over even so


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    # -c has this folder in its path, where the package is
    return lambda *arguments: [
        *(sys.executable, "-c", f"exec(open({str(path)!r}).read())", *arguments)
    ]


def pids_of(process):
    """The processes that say that they are ready."""
    word, *pids = process.stderr.readline().split()
    assert word == "ready"
    return [int(pid) for pid in pids]


@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize(
    ("numbers", "to_all"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGINT, signal.SIGTERM, signal.SIGINT], True),
        ([signal.SIGTERM], False),
        ([signal.SIGHUP], True),
    ],
)
def test_a_signal_ends_all_that_runs_without_a_word(program, guest, numbers, to_all):
    with begun(program(guest, "600")) as process:
        pids = pids_of(process)
        code, out, err = signalled(process, *numbers, to_all=to_all)
        assert code == (130 if numbers[0] == signal.SIGINT else -numbers[0])
        assert out in ("", "done" if guest in DELIVERED else "")
        assert [line for line in err.splitlines() if not line.startswith("ready ")] == []
        assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("guest", ["catches", "ignores", "forks", "becomes", "stem"])
def test_a_program_that_is_held_up_while_it_ends_leaves_nothing_behind(program, guest):
    """As on a machine that is busy with others, which may give it no time for seconds."""
    with begun(program(guest, "600")) as process:
        pids = pids_of(process)
        for number in (signal.SIGINT, signal.SIGSTOP):
            os.kill(process.pid, number)
            time.sleep(0.05)
        time.sleep(2)
        assert signalled(process, signal.SIGCONT)[0] == 130
        assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("guest", GUESTS)
def test_a_deadline_ends_all_that_runs(program, guest):
    start = time.monotonic()
    with begun(program(guest, "1.5")) as process:
        pids = pids_of(process)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert 1.5 <= time.monotonic() - start < 1.5 + SLACK
        assert out == ("done" if guest in DELIVERED else "")
        assert err == ""
        assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize(("guest", "code"), [("quick", 1), ("sleeps", 3)])
def test_a_date_that_jumps_does_not_matter(program, guest, code):
    start = time.monotonic()
    with begun(program(guest, "15" if code == 1 else "1", "jumps")) as process:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (code, "done" if code == 1 else "")
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_before_is_ignored(program, number):
    ignoring = f"import signal; signal.signal({int(number)}, signal.SIG_IGN); "
    python, dash_c, script, *arguments = program("sleeps", "600")
    with begun([python, dash_c, ignoring + script, *arguments]) as process:
        (pid,) = pids_of(process)
        os.killpg(process.pid, number)
        time.sleep(0.3)
        assert process.poll() is None
        assert not is_gone(pid, within=0.1)
        assert signalled(process, signal.SIGTERM)[0] == -signal.SIGTERM


def test_what_a_shell_had_started_is_not_ended(program):
    """A shell may replace itself by the program, which is then the parent of the shell's jobs."""
    line = 'sleep 60 2>/dev/null >/dev/null & echo ready $! >&2; exec "$@"'
    with begun(["bash", "-c", line, "bash", *program("forks", "600")]) as process:
        (job,) = pids_of(process)
        pids = pids_of(process)
        assert signalled(process, signal.SIGINT)[0] == 130
        assert all(is_gone(pid) for pid in pids)
        assert not is_gone(job, within=0.1)
        os.kill(job, signal.SIGKILL)


def test_the_children_of_this_process_are_known():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    child = processes.ChildProcess(pid, patience=0.0)
    assert pid in processes.children()
    assert child.wait(time.monotonic() + 0.05) is None
    child.kill()
    assert child.wait(time.monotonic() + SLACK) == -signal.SIGKILL
    assert pid not in processes.children()
