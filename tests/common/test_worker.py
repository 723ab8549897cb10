"""Workers: what a method returns or raises, and a process that ends or is ended in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest

from tests.busy import Busy
from tests.served import ROOT, serving
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.worker import Worker, WorkerDied, WorkerFailed


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(Busy, answers=(SpecError,), preload=["tests.busy"])
    yield made
    made.kill()


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    return False


def until_ended(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


def test_the_object_lives_from_call_to_call_in_a_process_of_its_own(worker: Worker) -> None:
    assert worker.pid is None
    assert worker.call("add", 1, 2) == 3
    assert worker.call("add", 3, 4) == 7
    assert worker.call("count") == 2
    assert worker.call("pid") == worker.pid != os.getpid()


def test_an_answer_is_raised_as_it_was_and_the_object_lives_on(worker: Worker) -> None:
    worker.call("add", 1, 2)
    with pytest.raises(SpecError) as raised:
        worker.call("refuse")
    assert str(raised.value) == "side = 3: it is odd. Use 4."
    assert (raised.value.field, raised.value.suggestion) == ("side", 4)
    assert worker.call("count") == 1


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("fail", "ZeroDivisionError: by nothing"),
        ("unpicklable", "<lambda>"),
        ("unpicklable_refusal", "<lambda>"),
        ("no_such_method", "AttributeError"),
    ],
)
def test_a_failure_is_told_with_its_traceback_and_the_object_lives_on(
    worker: Worker, method: str, says: str
) -> None:
    worker.call("add", 1, 2)
    with pytest.raises(WorkerFailed, match=says) as raised:
        worker.call(method)
    assert "Traceback" in raised.value.__notes__[0]
    assert "\n" not in str(raised.value)
    assert worker.call("count") == 1


@pytest.mark.parametrize("method", ["sleep", "convolve", "stubborn"])
def test_whatever_it_does_it_can_be_killed_and_the_next_call_works(
    worker: Worker, method: str
) -> None:
    first = worker.call("pid")
    threading.Timer(1.0, worker.kill).start()
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="ended by this program"):
        worker.call(method, *([100] if method == "sleep" else []))
    assert time.monotonic() - began < 20
    assert worker.call("add", 1, 2) == 3
    assert worker.call("pid") != first
    assert until_ended(first)


@pytest.mark.parametrize(
    ("method", "argument", "how", "killed"),
    [
        ("signal_itself", signal.SIGKILL, "signal 9 (SIGKILL)", True),
        ("signal_itself", signal.SIGSEGV, "signal 11 (SIGSEGV)", False),
        ("signal_itself", signal.SIGABRT, "signal 6 (SIGABRT)", False),
        ("leave", 0, "exit code 0", False),
        ("leave", 3, "exit code 3", False),
    ],
)
def test_how_a_process_ended_is_told_and_the_next_call_starts_another(
    worker: Worker, method: str, argument: int, how: str, killed: bool
) -> None:
    with pytest.raises(WorkerDied) as raised:
        worker.call(method, argument)
    assert (raised.value.how, raised.value.killed) == (how, killed)
    assert worker.call("add", 1, 2) == 3


def test_a_worker_killed_from_outside_between_two_calls_is_replaced_unnoticed(
    worker: Worker,
) -> None:
    first = worker.call("pid")
    os.kill(first, signal.SIGKILL)
    assert until_ended(first)
    time.sleep(0.5)  # its threads end after it
    assert worker.call("pid") != first


def test_a_process_left_behind_with_the_connection_open_does_not_hold_the_call(
    worker: Worker,
) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="exit code 7"):
        worker.call("fork_and_leave")
    assert time.monotonic() - began < 15


def test_what_a_worker_has_started_is_killed_with_it(worker: Worker, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    worker.call("start_another", note)
    other = int(note.read_text())
    assert is_running(other)
    worker.kill()
    assert until_ended(other)


def test_a_process_that_forks_workers_and_has_ended_is_started_again(worker: Worker) -> None:
    worker.call("add", 1, 2)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    worker.kill()
    assert worker.call("add", 3, 4) == 7


def test_what_is_imported_ahead_is_of_the_process_that_workers_are_forked_from() -> None:
    program = """
from multiprocessing import forkserver
from vitc_inspect.common.worker import Worker, import_ahead
import_ahead(["colorsys"])
first = forkserver._forkserver._forkserver_pid
worker = Worker(dict, preload=["colorsys"])
worker.start()
found = worker.call("__len__")
print(first == forkserver._forkserver._forkserver_pid, found)
worker.kill()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (ran.stdout, ran.stderr) == ("True 0\n", "")


def test_an_object_that_forks_answers_once(worker: Worker) -> None:
    assert worker.call("fork") == 1
    assert worker.call("add", 1, 2) == 3
    assert worker.call("add", 3, 4) == 7


@pytest.mark.parametrize("content", [b"\0\0\0\x04abcd" * 9, b"\0\0\0\0" * 9, b"\0\0\0\2N." * 9])
def test_an_answer_that_cannot_be_read_ends_the_process(worker: Worker, content: bytes) -> None:
    with pytest.raises(WorkerDied, match="after an answer that cannot be read"):
        worker.call("answer_itself", content)
    assert worker.call("add", 1, 2) == 3


def test_a_large_result_crosses_whole(worker: Worker) -> None:
    text = "é" * 5_000_000
    assert worker.call("add", text, "!") == f"{text}!"


def test_a_low_priority_is_set_where_it_is_asked_for() -> None:
    nice = Worker(Busy, niceness=7)
    assert nice.call("niceness") == os.nice(0) + 7
    nice.kill()


PROGRAM = """
import threading, time
from tests.busy import Busy
from vitc_inspect.common.worker import Worker

busy, idle = Worker(Busy), Worker(Busy)
busy.start()
threading.Thread(target=busy.call, args=("convolve",), daemon=True).start()
print(f"is at http://{busy.pid}.{idle.call('pid')}", flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_program_that_is_killed_and_never_run_its_file(
    tmp_path: Path, number: int
) -> None:
    """The program's file has no guard, so running it again would start workers for ever."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, str(file)]
    with serving(command, cwd=tmp_path, environment=environment) as program:
        _, _, pids = program.address.partition("http://")
        workers = list(map(int, pids.split(".")))
        assert all(map(is_running, workers))
        os.kill(program.pid, number)
        assert all(map(until_ended, workers))
