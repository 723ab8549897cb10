"""A browser for all tests of this folder, one window, and an empty tab for each test."""

from __future__ import annotations

from collections.abc import Iterator

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


@pytest.fixture
def page(app: Served, tab: Page) -> Page:
    """The page as it opens, in a tab that has never seen it."""
    tab.goto(app.address)
    confirmed(tab)
    return tab
