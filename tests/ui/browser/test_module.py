"""The app on a module of a person's own, driven as a person drives it, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from tests.served import free_port, served
from tests.ui.browser.saved_files import read_png, read_svg, saved, title_of
from tests.ui.browser.screen import CONTRAST, TABLE_FITS, TOO_SMALL
from vitc_inspect import show

OWN = """
from torch import nn
class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.act = nn.ReLU()
        self.proj = nn.Conv2d(8, 12, 4, 4)
        self.never_called = nn.MultiheadAttention(12, 2)
    def forward(self, image):
        grid = self.proj(self.act(self.conv(image)))
        return grid.flatten(2).transpose(1, 2)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own") / "own.py"


@pytest.fixture(scope="module")
def address(file: Path) -> Iterator[str]:
    file.write_text(OWN)
    with served(
        "--port", str(free_port()), "--module", f"{file}:Own", "--input", "1,3,64,64"
    ) as app:
        yield app.address


@pytest.fixture
def page(file: Path, address: str, tab: Page) -> Page:
    """The page on the file as it first was."""
    file.write_text(OWN)
    tab.goto(address)
    state(tab, "confirmed")
    tab.locator("[data-reload]").click()  # what the test before has left
    expect(tab.locator("[data-reload]")).to_have_text("Reload")
    state(tab, "confirmed")
    return tab


def state(page: Page, wanted: str) -> None:
    expect(page.locator(".vi")).to_have_attribute("data-state", wanted, timeout=20_000)


def row(page: Page, key: str):
    return page.locator(f'tr[data-layer="{key}"]')


def test_rows_are_chosen_by_mouse_and_by_keyboard_and_a_place_tells_what_it_reads(
    page: Page,
) -> None:
    title = page.locator("[data-slot=panel] h2")
    row(page, "conv:1").click()
    expect(title).to_have_text("Output of conv")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(title).to_have_text("Output of proj")
    expect(row(page, "proj:1")).to_have_class(re.compile("chosen"))
    expect(page.locator(".strip .chosen .name")).to_have_text("proj")
    wall = page.locator(".wall img")
    assert wall.get_attribute("data-count") == "12"
    expect(wall).to_have_js_property("complete", True)
    assert wall.evaluate("image => image.naturalWidth") > 8
    page.locator(".wall").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(title).to_have_text("Map 0 of proj")
    plane = page.locator(".plane")
    box = plane.bounding_box()
    assert box is not None
    plane.click(position={"x": 2.5 / 8 * box["width"], "y": 1.5 / 8 * box["height"]})
    expect(title).to_have_text("What proj reads, row 1, column 2")
    facts = page.locator(".reach-facts")
    expect(facts).to_contain_text("7 to 15")  # 1 * 8 - 1, nine pixels
    expect(facts).to_contain_text("15 to 23")
    page.reload()
    state(page, "confirmed")
    expect(title).to_have_text("What proj reads, row 1, column 2")
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".reach-stage")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(TABLE_FITS)
    assert page.evaluate(TOO_SMALL) == []


def test_a_file_that_breaks_is_told_and_a_mended_one_is_back_where_it_was(
    page: Page, file: Path
) -> None:
    row(page, "proj:1").click()
    file.write_text(OWN.replace("def forward", "def forward(:"))
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(page.locator("[data-slot=changed]")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("r")
    state(page, "broken")
    alert = page.locator(".alert")
    expect(alert).to_contain_text("raises SyntaxError")
    expect(alert.locator("pre")).to_contain_text("def forward(:(self, image)")
    assert not page.locator(".results").is_visible()
    file.write_text(OWN.replace("self.act(self", "self.act(self.act(self").replace("))\n", ")))\n"))
    page.locator("[data-reload]").click()
    state(page, "confirmed")
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj")
    expect(row(page, "act:2")).to_be_visible()
    assert not page.locator(".alert").is_visible()
    file.write_text(OWN.replace("flatten(2)", "reshape(7)"))
    page.locator("[data-reload]").click()
    expect(alert).to_contain_text("The forward pass raised RuntimeError")
    expect(row(page, "failed")).to_contain_text("reshape")
    expect(page.locator(".strip .failed .name")).to_have_text("reshape")
    row(page, "failed").click()
    expect(page.locator(".map-tools")).to_be_hidden()
    assert page.evaluate(CONTRAST) == []


def test_a_size_that_cannot_be_is_refused_at_its_field_and_the_rest_stays(page: Page) -> None:
    size = page.locator("[data-size]")
    size.fill("1,3,x")
    size.press("Enter")
    state(page, "refused")
    expect(page.locator("[data-slot=fault]")).to_contain_text("it is not a shape")
    expect(size).to_have_attribute("aria-invalid", "true")
    expect(row(page, "proj:1")).to_be_visible()
    for before in ("alerts", "totals", "status", "strip-box", "detail"):  # of the run before
        expect(page.locator(f".vi .{before}")).to_have_css("opacity", "0.45")
    for now in ("summary", "given", "field-fault"):
        expect(page.locator(f".vi .{now}")).to_have_css("opacity", "1")
    size.fill("2,3,32,32")
    size.press("Enter")
    state(page, "confirmed")
    expect(row(page, "proj:1")).to_contain_text("2×12×4×4")
    expect(page.locator(".totals")).to_contain_text("MACs, batch of 2")


def test_the_terms_of_the_table_open_their_cards(page: Page) -> None:
    page.locator("thead [data-term=predicted]").click()
    expect(page.get_by_role("dialog", name="Predicted")).to_contain_text(
        "before any model is built"
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("thead [data-term=predicted]")).to_be_focused()


def test_a_live_module_is_run_again_as_it_is_now(tab: Page) -> None:
    module = torch.nn.Conv2d(3, 8, 8, 8)
    with show(module, torch.zeros(1, 3, 32, 32)) as shown:
        tab.goto(shown.address)
        state(tab, "confirmed")
        button = tab.get_by_role("button", name="Run again")
        expect(tab.locator("[data-field=image]")).to_have_value("given")
        expect(tab.locator("[data-slot=status]")).to_contain_text("the inputs as given")
        module.padding = (4, 4)
        button.click()
        expect(tab.locator("[data-slot=table]")).to_contain_text("8×5×5")
        expect(button).to_be_enabled()
        tab.locator("[data-field=image]").select_option("photo")
        expect(tab.locator("[data-slot=status]")).to_contain_text("then resized to 32×32")


def test_pictures_are_saved_under_names_that_every_system_takes(page: Page, file: Path) -> None:
    odd = 'x.add_module("a/b: <c>", nn.Sequential(nn.Conv2d(8, 12, 4, 4)))'
    own = OWN.replace("self.proj = ", f"self.proj = x = nn.Sequential(); {odd}; self.other = ")
    file.write_text(own)
    page.locator("[data-reload]").click()
    row(page, "proj.a/b:_<c>.0:1").click()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj.a/b: <c>.0")
    name, content = saved(page, "Maps", "svg")
    assert name == "own_own-proj_a_b_c_0_1-maps.svg"
    root, words = read_svg(content)
    assert title_of(root) == "Output of proj.a/b: <c>.0, 1×12×8×8: own.py:Own"
    assert "12 maps of 8×8." in words
    assert "1×64×12 from 1×3×64×64" in words
    page.get_by_role("tab", name="What it reads").click()
    expect(page.locator(".reach-stage")).to_be_visible()
    name, content = saved(page, "What it reads", "svg")
    assert name.startswith("own_own-proj_a_b_c_0_1-reads-")
    _, words = read_svg(content)
    for number in page.locator(".reach-facts b").all_inner_texts():
        assert number in words
    name, content = saved(page, "Strip", "png")
    assert name == "own_own-strip.png"
    read_png(content)
