"""The cell panel as a person uses it, by mouse and by keyboard, in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.served import Served
from tests.ui.browser.screen import CONTRAST, PHONE, confirmed

CONV2 = "?view=cell&layer=conv2&cell=7,0,12"
PATCHIFY = "?view=cell&stem=16x16/16:768&layer=proj&cell=5,3,4"
VITPOSE = "?view=cell&stem=16x16/16p2:768&size=256x192&layer=proj&cell=3,15,11"
DILATED = "?view=cell&stem=3x3/2p2:48+bn+relu+g3+d2,+1x1:64&layer=conv1&cell=20,0,0"


@pytest.fixture
def page(tab: Page) -> Page:
    return tab


def open_at(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".cell-equation, .cell-none")).to_be_visible(timeout=20_000)


def title(page: Page) -> Locator:
    return page.locator("[data-slot=panel] h2")


def plane(page: Page, side: str = "out") -> Locator:
    return page.locator(f".cell-plane[data-cell-plane={side}]")


def here(page: Page) -> tuple[int, int]:
    """The cell whose window is drawn."""
    found = re.match(
        r"row (\d+), column (\d+) reads", page.locator("[data-cell-here]").inner_text()
    )
    assert found
    return int(found[1]), int(found[2])


def over(where: Locator, row: float, column: float, rows: int, columns: int) -> dict[str, float]:
    """The middle of a cell of a plane, from the plane's corner."""
    box = where.bounding_box()
    assert box
    return {
        "x": box["width"] * (column + 0.5) / columns,
        "y": box["height"] * (row + 0.5) / rows,
    }


def middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_pointer_moves_the_window_and_a_click_takes_the_cell_apart(
    app: Served, page: Page
) -> None:
    """The map of conv2 is 56×56; its cell (10, 20) reads rows 19 to 21, columns 39 to 41."""
    open_at(page, app.address + CONV2)
    expect(page.locator(".cell-equation")).to_have_text(
        re.compile(r"Σ window × kernel = −?[\d.]+;\s*the hook saw −?[\d.]+ ✓ equal")
    )
    assert here(page) == (0, 12)
    assert page.locator("[data-cell-read]").inner_text() == "rows −1…1, columns 23…25"
    assert page.locator("[data-cell-padded]").inner_text() == "3 of 9 taps padded"
    before = page.locator(".cell-equation").inner_text()
    plane(page).hover(position=over(plane(page), 10, 20, 56, 56))
    assert here(page) == (10, 20)
    assert page.locator("[data-cell-read]").inner_text() == "rows 19…21, columns 39…41"
    assert page.locator("[data-cell-padded]").inner_text() == ""
    window = page.locator(".cell-plane [data-cell-at=in] .cell-edge")
    x, y = middle(page, ".cell-plane [data-cell-at=in] .cell-edge")
    box = plane(page, "in").bounding_box()
    assert box
    assert window.count() == 1  # over row 20, column 40 of 112, in a plane with padding around
    assert x == pytest.approx(box["x"] + box["width"] * 41.5 / 114, abs=1)
    assert y == pytest.approx(box["y"] + box["height"] * 21.5 / 114, abs=1)
    assert page.locator(".cell-equation").inner_text() == before  # nothing was asked
    title(page).hover()
    assert here(page) == (0, 12)
    plane(page).click(position=over(plane(page), 10, 20, 56, 56))
    expect(title(page)).to_have_text("conv2, map 7, row 10, column 20")
    assert "cell=7,10,20" in page.url
    assert page.locator(".cell-equation").inner_text() != before
    plane(page, "in").click(position=over(plane(page, "in"), 21, 41, 114, 114))
    expect(title(page)).to_have_text("conv2, map 7, row 10, column 20")
    page.go_back()
    expect(title(page)).to_have_text("conv2, map 7, row 0, column 12")


def test_the_planes_are_used_by_keyboard_alone(app: Served, page: Page) -> None:
    open_at(page, app.address + CONV2)
    plane(page).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    assert here(page) == (1, 13)
    assert title(page).inner_text() == "conv2, map 7, row 0, column 12"
    page.keyboard.press("Enter")
    expect(title(page)).to_have_text("conv2, map 7, row 1, column 13")
    page.keyboard.press("ArrowLeft")  # the focus is where it was
    assert here(page) == (1, 12)
    page.keyboard.press(" ")
    expect(page.get_by_label("pause", exact=True)).to_be_visible()
    expect(page.locator("[data-cell-here]")).to_have_text(re.compile("column 1[4-9]"))
    page.keyboard.press(" ")
    expect(page.get_by_label("play", exact=True)).to_be_visible()
    stopped = here(page)
    page.wait_for_timeout(300)
    assert here(page) == stopped
    for _ in range(60):
        page.keyboard.press("ArrowUp")
    assert here(page) == (0, stopped[1])


def test_it_plays_pauses_steps_and_stops_when_something_else_is_shown(
    app: Served, page: Page
) -> None:
    open_at(page, app.address + PATCHIFY)
    page.wait_for_timeout(400)
    assert here(page) == (3, 4)  # it never starts by itself
    page.get_by_label("one cell forward").click()
    assert here(page) == (3, 5)
    take = page.get_by_text("take it apart")
    take.click()
    expect(title(page)).to_have_text("proj, map 5, row 3, column 5")
    expect(take).to_be_hidden()
    for _ in range(6):
        page.get_by_label("one cell back").click()
    assert here(page) == (2, 13)  # the end of the row before
    page.get_by_text("fast", exact=True).click()
    page.get_by_label("play", exact=True).click()
    expect(page.locator("[data-cell-here]")).to_have_text(re.compile("row 4"))
    page.locator("[data-view=maps]").click()
    expect(page.locator(".cell-slide")).to_have_count(0)
    page.locator("[data-view=cell]").click()
    expect(page.get_by_label("play", exact=True)).to_be_visible()
    expect(page.get_by_text("fast", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_label("play", exact=True).click()
    page.locator("[data-field=stem]").fill("16x16/")  # a fault empties the panel
    expect(page.locator(".vi")).to_have_attribute("data-state", "fault")
    page.wait_for_timeout(100)


def test_steps_are_without_transitions_where_motion_is_to_be_reduced(
    app: Served, page: Page
) -> None:
    gliding = "getComputedStyle(document.querySelector('[data-cell-at]')).transitionDuration"
    open_at(page, app.address + CONV2)
    page.get_by_label("play", exact=True).click()
    assert page.evaluate(gliding) != "0s"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(gliding) == "0s"
    before = here(page)
    expect(page.locator("[data-cell-here]")).not_to_have_text(
        f"row {before[0]}, column {before[1]} reads"
    )


def test_input_channels_are_sorted_and_chosen(app: Served, page: Page) -> None:
    open_at(page, app.address + CONV2)
    listed = page.locator("[data-cell-given]")
    expect(listed).to_have_count(48)
    sums = [abs(float(row.inner_text().split()[-1].replace("−", "-"))) for row in listed.all()[:10]]
    assert sums == sorted(sums, reverse=True)
    assert listed.first.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="by index").click()
    assert [row.get_attribute("data-cell-given") for row in listed.all()] == [
        str(channel) for channel in range(48)
    ]
    page.locator('[data-cell-given="31"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator(".cell-block p")).to_contain_text("input channel 31")
    expect(page.locator('[data-cell-given="31"]')).to_be_focused()
    expect(page.locator(".cell-planes")).to_contain_text("map 31 of act1")
    assert "cell=7,0,12,31" in page.url
    plane(page).click(position=over(plane(page), 10, 20, 56, 56))
    expect(title(page)).to_have_text("conv2, map 7, row 10, column 20")
    expect(page.locator(".cell-block p")).to_contain_text("input channel 31")


def test_every_tap_tells_its_numbers(app: Served, page: Page) -> None:
    open_at(page, app.address + CONV2)
    told = page.locator("[data-cell-said]")
    page.locator(".cell-table").first.locator("td").nth(4).hover()
    expect(told).to_have_text(re.compile(r"^row 0, column 24: −?[\de.−]+ × −?[\de.−]+ = "))
    assert page.locator(".cell-pointed").count() == 3
    page.locator("[data-cell-block]").focus()
    page.keyboard.press("ArrowUp")
    expect(told).to_have_text(re.compile("^in the padding: 0 × .* = 0$"))
    open_at(page, app.address + PATCHIFY)  # squares too small for numbers
    page.locator(".cell-tile").nth(4).hover(position={"x": 2, "y": 2})
    expect(told).to_have_text(re.compile(r"^row 48, column 64: (.+) × (.+) = (.+)$"))
    read, weight, product = (
        float(part.replace("−", "-")) for part in re.findall(r"−?\d[\d.e−]*", told.inner_text())[2:]
    )
    assert read * weight == pytest.approx(product, rel=2e-3)


def test_what_nobody_reads_is_marked_and_dilated_taps_stand_apart(app: Served, page: Page) -> None:
    open_at(page, app.address + VITPOSE)
    legend = page.locator(".cell-legend")
    expect(legend).to_contain_text("proj never reads 2 of 256 rows (254, 255)")
    expect(legend).to_contain_text("padding, 2")
    path = page.locator(".cell-plane .cell-unread").get_attribute("d")
    assert path == "M0 254h192v2h-192zM190 0h2v256h-2z"
    open_at(page, app.address + DILATED)
    expect(legend).to_contain_text("tap, dilation 2")
    assert page.locator("[data-cell-read]").inner_text() == "rows −2, 0, 2, columns −2, 0, 2"
    assert page.locator("[data-cell-padded]").inner_text() == "5 of 9 taps padded"
    assert page.locator(".cell-taps").count() == 2  # on the plane and under the lens


def test_a_layer_that_is_no_convolution_leads_to_one(app: Served, page: Page) -> None:
    open_at(page, app.address + "?view=cell&layer=act3")
    expect(page.locator(".cell-none")).to_contain_text("act3 is no convolution")
    page.get_by_text("Go to conv3").click()
    expect(title(page)).to_have_text(re.compile(r"conv3, map \d+, row \d+, column \d+"))
    assert "view=cell" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_and_all_text_can_be_read(
    app: Served, chromium: Browser, scheme: str
) -> None:
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    for query in (CONV2, PATCHIFY):
        open_at(page, app.address + query)
        confirmed(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        inside = page.evaluate(
            "[...document.querySelectorAll('.cell-slide, .cell-grids, .cell-ledger')]"
            ".every((part) => part.scrollWidth <= part.clientWidth)"
        )
        assert inside
        assert page.evaluate(CONTRAST) == []
    plane(page).tap(position=over(plane(page), 2, 9, 14, 14))
    expect(title(page)).to_have_text("proj, map 5, row 2, column 9")
    context.close()
