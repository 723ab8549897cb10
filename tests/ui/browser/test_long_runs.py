"""Runs of minutes: what they will take, how far they are, cancelling them, and leaving."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.served import Served, free_port, served
from tests.ui.browser.screen import STEM, confirmed, rows
from vitc_inspect.ui import server

LONG = "?stem=301x301:32&size=800x800"  # 5.57 T MACs
PROGRESS = "[data-slot=progress]"


@pytest.fixture(scope="module")
def busy_app() -> Iterator[Served]:
    """An app of its own, whose workers no other test waits for."""
    with served("--port", str(free_port())) as running:
        yield running


@pytest.fixture
def long(tab: Page, busy_app: Served) -> Page:
    """A page on which a run of minutes has been started."""
    tab.goto(busy_app.address + LONG)
    tab.locator("[data-run]").click(timeout=60_000)
    expect(tab.locator(PROGRESS)).to_contain_text("running for", timeout=30_000)
    return tab


def busiest(pid: int) -> int | None:
    """The process of an app that steps back behind the others and works, if there is one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            words = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            state, niceness = words[0], int(words[16])
            if (
                niceness >= server._NICENESS
                and state != "Z"
                and _is_below(int(stat.parent.name), pid)
            ):
                return int(stat.parent.name)
    return None


def _is_below(pid: int, app: int) -> bool:
    """Whether a process descends from the app."""
    while pid > 1 and pid != app:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        pid = int(stat.rpartition(")")[2].split()[1])
    return pid == app


def until(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_button_says_how_long_the_run_will_take(tab: Page, busy_app: Served) -> None:
    tab.goto(busy_app.address + LONG)
    button = tab.locator("[data-run]")
    expect(button).to_be_visible(timeout=60_000)
    assert re.fullmatch(
        r"Run: 5\.57 T MACs, about \d+ MiB, about [\d.]+ (s|min)", button.inner_text()
    )


def test_hours_are_refused_with_the_number_and_a_size_that_runs(
    tab: Page, busy_app: Served
) -> None:
    tab.goto(f"{busy_app.address}?stem=1501x1501:16&size=1500x1500")
    alert = tab.locator("[data-slot=refusal] [role=alert]")
    expect(alert).to_contain_text("the run would take about", timeout=60_000)
    assert re.search(
        r"about [\d.]+ (h|days), the most is 10 min\. Use \d+ x \d+\.", alert.inner_text()
    )
    expect(tab.locator("[data-run]")).to_be_hidden()
    assert "proj" in rows(tab)  # the prediction stays


def test_a_run_of_minutes_is_cancelled_and_the_next_small_one_is_answered(
    long: Page, busy_app: Served
) -> None:
    worker = busiest(busy_app.pid)
    assert worker is not None
    long.locator("[data-cancel-run]").click()
    expect(long.locator("[data-slot=refusal]")).to_have_text("The run was cancelled. Try again")
    expect(long.locator(PROGRESS)).to_be_hidden()
    until(lambda: busiest(busy_app.pid) != worker)
    assert "proj" in rows(long)
    long.locator(STEM).fill("16x16/16:32")
    confirmed(long)
    expect(long.locator("[data-slot=refusal]")).to_be_empty()


def test_another_choice_ends_the_run_before(long: Page, busy_app: Served) -> None:
    worker = busiest(busy_app.pid)
    long.locator(STEM).fill("16x16/16:48")
    confirmed(long)
    until(lambda: busiest(busy_app.pid) != worker)


def test_who_leaves_ends_his_run(long: Page, busy_app: Served) -> None:
    worker = busiest(busy_app.pid)
    assert worker is not None
    long.goto("about:blank")
    until(lambda: busiest(busy_app.pid) != worker)


def test_another_visitor_is_answered_meanwhile_and_a_long_one_is_told_to_wait(
    long: Page, busy_app: Served, window: BrowserContext
) -> None:
    other = window.new_page()
    other.goto(f"{busy_app.address}?stem=16x16/16:24&seed=3")
    confirmed(other)
    other.goto(f"{busy_app.address}{LONG}&seed=1")
    other.locator("[data-run]").click()
    waiting = other.locator(PROGRESS)
    expect(waiting).to_contain_text("waiting for 1 other run, about", timeout=30_000)
    other.locator("[data-cancel-run]").click()
    expect(other.locator("[data-slot=refusal]")).to_contain_text("The run was cancelled.")
    other.close()
    expect(long.locator(PROGRESS)).to_contain_text("running for")


def test_a_worker_killed_in_the_middle_is_told_and_the_next_run_works(
    long: Page, busy_app: Served
) -> None:
    worker = busiest(busy_app.pid)
    assert worker is not None
    os.kill(worker, 9)
    told = (
        "The run ended its process, signal 9 (SIGKILL). The memory may have run out: try a smaller"
    )
    expect(long.locator("[data-slot=refusal]")).to_contain_text(told)
    long.locator(STEM).fill("16x16/16:40")
    confirmed(long)


HANGING = """
from pathlib import Path
import time
from torch import nn

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 4, 4)
    def forward(self, image):
        while Path(__file__).with_name("hang").exists():
            time.sleep(0.05)
        return super().forward(image)
"""


def test_a_module_that_hangs_is_cancelled_and_read_again(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(HANGING)
    hang = tmp_path / "hang"
    options = ("--module", f"{file}:Net", "--input", "1,3,32,32", "--port", str(free_port()))
    with served(*options) as app:
        tab.goto(app.address)
        confirmed(tab)
        hang.touch()
        tab.locator("[data-reload]").click()
        expect(tab.locator(PROGRESS)).to_contain_text("running for", timeout=30_000)
        tab.locator("[data-cancel-run]").click()
        expect(tab.locator("[data-slot=fault]")).to_contain_text("The run was cancelled.")
        hang.unlink()
        tab.locator("[data-slot=fault] [data-retry]").click()
        confirmed(tab)
        expect(tab.locator("[data-slot=fault]")).to_be_hidden()


def test_a_module_that_takes_too_long_is_ended_with_the_number(tab: Page, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(HANGING)
    options = ("--module", f"{file}:Net", "--input", "1,3,32,32", "--max-seconds", "15")
    with served(*options, "--port", str(free_port())) as app:
        (tmp_path / "hang").touch()
        tab.goto(app.address)  # shows the run made at the start
        confirmed(tab)
        tab.locator("[data-reload]").click()
        told = "The run was not over after 15 s and was ended. Use a smaller image."
        expect(tab.locator("[data-slot=fault]")).to_contain_text(told, timeout=60_000)
