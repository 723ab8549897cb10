"""How far what is on the screen moves by itself while the page opens and after every action."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.served import Served
from tests.ui.browser.conftest import Tab, watched
from tests.ui.browser.screen import DESK, PHONE, STEM, confirmed, refused

MOST = 0.05
"""The largest sum of scores of one action; those right after an input are counted as well."""

# Scores of Layout Instability, which a page of a score above 0.1 is told to mend; see web.dev/cls.
WATCH = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const moved = entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80) ?? String(node));
    window.shifts.push([entry.value, moved]);
  }
}).observe({ type: 'layout-shift', buffered: true });
"""


def shifted(page: Page) -> float:
    """The sum of all scores since it was asked for, once nothing moves any more."""
    page.wait_for_timeout(600)
    shifts = page.evaluate("window.shifts.splice(0)")
    return sum(value for value, _ in shifts) if shifts else 0.0


def choose(selector: str, value: str) -> Callable[[Page], None]:
    def action(page: Page) -> None:
        page.locator(selector).fill(value)
        confirmed(page)

    return action


def click(selector: str) -> Callable[[Page], None]:
    def action(page: Page) -> None:
        page.locator(selector).first.click()
        expect(page.locator("#panel")).not_to_have_attribute("aria-busy", "true", timeout=20_000)
        confirmed(page)

    return action


def refuse(page: Page) -> None:
    page.locator(STEM).fill("3x3/0:8")
    refused(page)


ACTIONS: dict[str, Callable[[Page], None]] = {
    "another stem": choose(STEM, "16x16/16:64"),
    "a stem that is refused": refuse,
    "a stem again": choose(STEM, "3x3/2:48 bn relu, 3x3/2:96 bn relu, 1x1:64"),
    "the sheet is closed": click("[data-toggle-choose]"),
    "a layer": click('.strip [data-layer="conv2"]'),
    "a tab": click("[data-view=cost]"),
    "tokens": click("[data-view=tokens]"),
    "maps": click("[data-view=maps]"),
    "the sheet again": click("[data-toggle-choose]"),
    "the image": click("[data-edit=image]"),
    "height": choose("[data-field=height]", "225"),
}


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_little_moves_by_itself(app: Served, chromium: Browser, size: dict[str, int]) -> None:
    window = chromium.new_context(viewport=size)  # type: ignore[arg-type]
    moved: dict[str, float] = {}
    with watched(Tab(window.new_page(), [])) as page:
        page.add_init_script(WATCH)
        page.goto(app.address)
        confirmed(page)
        moved["opening"] = shifted(page)
        if size == PHONE:
            click("[data-toggle-choose]")(page)
            moved["the sheet"] = shifted(page)
        for name, action in ACTIONS.items():
            if size == DESK and name.startswith("the "):
                continue  # all choices are in sight there
            action(page)
            moved[name] = shifted(page)
    window.close()
    assert not {name: round(score, 3) for name, score in moved.items() if score >= MOST}
