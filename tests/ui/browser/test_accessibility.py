"""What axe finds on the pages in each of their states, and what forced colours leave to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.served import Served, free_port, served
from tests.ui.browser.conftest import Tab, watched
from tests.ui.browser.screen import DESK, PHONE, STEM, confirmed, refused

LAPTOP = {"width": 1280, "height": 720}
SCREENS = pytest.mark.parametrize(
    ("scheme", "size"),
    [("light", DESK), ("dark", LAPTOP), ("light", PHONE)],
    ids=["light desk", "dark laptop", "light phone"],
)
GRAVE = ("moderate", "serious", "critical")
AXE = Axe()

BROKEN = """
import torch
from torch import nn
class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 24, 16, 16)
        self.positions = nn.Parameter(torch.zeros(1, 17, 24))
    def forward(self, image):
        tokens = self.proj(image).flatten(2).transpose(1, 2)
        return tokens + self.positions
class Sound(Broken):
    def forward(self, image):
        return self.proj(image).relu().flatten(2).transpose(1, 2)
"""


@contextmanager
def opened(chromium: Browser, scheme: str, size: dict[str, int]) -> Iterator[Page]:
    """A tab of a screen of this size in this scheme."""
    window = chromium.new_context(viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    with watched(Tab(window.new_page(), [])) as page:
        yield page
    window.close()


def found(page: Page) -> list[str]:
    """What axe holds against the page as it is now, with the first element of each."""
    violations = AXE.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}"
        for each in violations
        if each["impact"] in GRAVE
    ]


def look_at_tabs(page: Page) -> dict[str, list[str]]:
    """What axe finds at each tab that this width offers."""
    complaints = {}
    for name in page.locator("[role=tab]").evaluate_all(
        "all => all.filter(tab => tab.checkVisibility()).map(tab => tab.dataset.view)"
    ):
        page.locator(f"[data-view={name}]").click()
        expect(page.locator("#panel")).not_to_have_attribute("aria-busy", "true", timeout=20_000)
        complaints[name] = found(page)
    return complaints


@SCREENS
def test_axe_finds_nothing_at_any_tab_of_a_stem(
    app: Served, chromium: Browser, scheme: str, size: dict[str, int]
) -> None:
    with opened(chromium, scheme, size) as page:
        page.goto(app.address)
        confirmed(page)
        complaints = look_at_tabs(page)
        page.locator("[data-view=maps]").click()
        page.get_by_role("button", name="Explain an error").click()
        page.locator("[data-error]").fill("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")
        expect(page.locator("[data-slot=explained] article")).to_be_visible()
        complaints["explained"] = found(page)
        page.locator("[data-term]").locator("visible=true").first.focus()
        page.keyboard.press("Enter")
        complaints["a card"] = found(page)
        page.keyboard.press("Escape")
        if size == PHONE:
            page.locator("[data-toggle-choose]").click()
        page.locator(".row .more").nth(1).click()
        complaints["editor"] = found(page)
        if size == PHONE:
            page.get_by_role("button", name="Settings").click()
        page.locator("[data-field=encoder]").check()
        confirmed(page)
        complaints["settings"] = found(page)
        if size == PHONE:
            page.get_by_role("button", name="Stem", exact=True).click()
        page.locator(STEM).fill("3x3/0:8")
        page.locator(STEM).blur()
        refused(page)
        complaints["refused"] = found(page)
    assert not {state: said for state, said in complaints.items() if said}


@pytest.fixture(scope="module", params=["Sound", "Broken"])
def module_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    file = tmp_path_factory.mktemp("own") / "own.py"
    file.write_text(BROKEN)
    given = ("--module", f"{file}:{request.param}", "--input", "1,3,64,64")
    with served("--port", str(free_port()), *given) as app:
        yield app.address


@SCREENS
def test_axe_finds_nothing_at_any_tab_of_a_module(
    module_address: str, chromium: Browser, scheme: str, size: dict[str, int]
) -> None:
    with opened(chromium, scheme, size) as page:
        page.goto(module_address)
        confirmed(page)
        complaints = look_at_tabs(page)
    assert not {state: said for state, said in complaints.items() if said}


def test_forced_colours_keep_what_is_chosen_bars_and_legends(
    app: Served, chromium: Browser
) -> None:
    window = chromium.new_context(viewport=DESK, forced_colors="active")
    with watched(Tab(window.new_page(), [])) as page:
        page.goto(app.address)
        confirmed(page)

        def differ(chosen: str, other: str, property: str) -> bool:
            styles = "part => getComputedStyle(part)[property]".replace(
                "[property]", f".{property}"
            )
            one, two = (page.locator(part).first.evaluate(styles) for part in (chosen, other))
            return bool(one != two)

        assert differ(".tabs [aria-selected=true]", ".tabs [aria-selected=false]", "borderColor")
        assert differ("tr.chosen > td", "tr.conv:not(.chosen) > td", "backgroundColor")
        assert differ(".strip .chosen .room", ".strip .block:not(.chosen) .room", "stroke")
        painted = "part => getComputedStyle(part, pseudo).backgroundImage"
        legend = page.locator(".legend .bar").first
        assert legend.evaluate(painted.replace("pseudo", "null")) != "none"
        page.get_by_role("tab", name="Cost", exact=True).click()
        share = page.locator(".shares td[style]").first
        assert share.evaluate(painted.replace("pseudo", "'::before'")) != "none"
    window.close()


# Contrast of the borders of what is filled in against what is behind them; WCAG 2.2, 1.4.11.
EDGES = """
() => {
  const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const shown = [...document.querySelectorAll('.vi :is(select, textarea, input)')]
    .filter((part) => part.checkVisibility() && !['range', 'checkbox'].includes(part.type));
  return shown.map((part) => {
    const { borderTopColor, backgroundColor } = getComputedStyle(part);
    const [a, b] = [borderTopColor, backgroundColor].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_filled_in_has_a_border_that_can_be_seen(
    app: Served, tab: Page, scheme: Literal["light", "dark"]
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(app.address)
    confirmed(tab)
    ratios = tab.evaluate(EDGES)
    assert len(ratios) > 10
    assert min(ratios) >= 3


def test_the_number_of_tokens_is_read_out_and_the_panel_has_the_name_of_its_tab(
    page: Page,
) -> None:
    page.locator(STEM).fill("16x16/8p0:32")
    expect(page.locator(".status[role=status]")).to_contain_text("730 tokens")
    for name in ("Maps", "Cost"):
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    expect(page.get_by_role("region", name="Layers")).to_be_visible()


def test_the_maps_are_few_presses_of_a_key_away(page: Page) -> None:
    presses = 0
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skips the controls
    while not page.evaluate("document.activeElement.matches('.wall')"):
        page.keyboard.press("Tab")
        presses += 1
        assert presses < 25
