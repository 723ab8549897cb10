"""A browser for all tests of this folder, one window, and an empty tab for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.chromium import browser
from tests.served import Served
from tests.ui.browser.screen import DESK, confirmed


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser; not of the session, since no event loop can be run beside Playwright's."""
    with browser() as running:
        yield running


@pytest.fixture(scope="package")
def window(chromium: Browser) -> BrowserContext:
    """A window that loads the page's program once; what a page stores is of its tab alone."""
    return chromium.new_context(viewport=DESK)


class Tab(NamedTuple):
    """A tab, and the complaints of what is opened in it."""

    page: Page
    complaints: list[str]


def new_tab(window: BrowserContext) -> Tab:
    page = window.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    return Tab(page, complaints)


@contextmanager
def watched(tab: Tab) -> Iterator[Page]:
    """A tab for one test; a complaint of what is opened in it fails the test."""
    yield tab.page
    tab.page.close()
    assert not tab.complaints


@pytest.fixture
def tab(window: BrowserContext) -> Iterator[Page]:
    """An empty tab."""
    with watched(new_tab(window)) as page:
        yield page


@pytest.fixture(scope="package")
def next_tabs(window: BrowserContext) -> Iterator[list[Tab]]:
    """The tab that loads the page while a test runs in another, for the next one to have."""
    tabs: list[Tab] = []
    yield tabs
    for tab in tabs:
        tab.page.close()


@pytest.fixture
def page(app: Served, window: BrowserContext, next_tabs: list[Tab]) -> Iterator[Page]:
    """The page as it opens, in a tab that has never seen it."""
    for _ in range(2 - len(next_tabs)):
        next_tabs.append(new_tab(window))
        next_tabs[-1].page.goto(app.address, wait_until="commit")
    with watched(next_tabs.pop(0)) as page:
        page.bring_to_front()
        confirmed(page)
        yield page
