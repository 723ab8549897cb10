"""What several files of tests share: one app for all of them, and a browser for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page

from tests.chromium import browser
from tests.served import Served, free_port, served

# Most of the stems that the tests run are tiny: of two threads one waits for the other, and on a
# machine with other work for a hundred times as long as the arithmetic takes.
torch.set_num_threads(1)

DESK = {"width": 1440, "height": 900}


@pytest.fixture(scope="session")
def app() -> Iterator[Served]:
    """The app as it starts by itself, on a free port; it keeps nothing of its visitors."""
    with served("--port", str(free_port())) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser; not of the session, since no event loop can be run beside Playwright's."""
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def window(chromium: Browser) -> BrowserContext:
    """A window that loads the page's program once; what a page stores is of its tab alone."""
    return chromium.new_context(viewport=DESK)


@pytest.fixture
def tab(window: BrowserContext) -> Iterator[Page]:
    """An empty tab; a complaint of what is opened in it fails the test."""
    page = window.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    yield page
    page.close()
    assert not complaints
