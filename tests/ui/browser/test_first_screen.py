"""What the page shows at once, on a desk and on a phone, and its tabs."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.served import Served
from tests.ui.browser.screen import (
    CONTRAST,
    DESK,
    PHONE,
    STEM,
    TABLE_FITS,
    TOO_SMALL,
    confirmed,
    has_tokens,
    opened_view,
    rows,
    seq_len,
)


def strip(page: Page) -> list[str]:
    """What each block of the strip says of itself."""
    blocks = page.locator(".strip [role=button]")
    return [str(block.get_attribute("aria-label")) for block in blocks.all()]


def test_the_first_screen_shows_everything_without_a_click(page: Page) -> None:
    assert seq_len(page) == 197
    table = rows(page)
    assert list(table)[:3] == ["conv1", "norm1", "act1"]
    assert table["conv2"][:3] == ["96×56×56", "96×56×56", "✓ agrees"]
    assert table["pos_embed"][:3] == ["197×384", "197×384", "✓ agrees"]
    assert all(cells[0] == cells[1] and cells[2] == "✓ agrees" for cells in table.values())
    assert strip(page)[1] == "conv2, 96×56×56, agrees"
    assert page.locator(".summary").inner_text().count("16 of 16 layers") == 1
    wall = page.locator(".maps img")
    assert wall.evaluate("image => image.complete && image.naturalWidth") > 800
    assert wall.bounding_box()["y"] + wall.bounding_box()["height"] < DESK["height"]  # type: ignore[index]
    assert page.locator("[data-slot=panel] h2").inner_text() == "Output of conv1, before norm1"


def test_nothing_is_fetched_from_outside(app: Served, chromium: Browser) -> None:
    page = chromium.new_page()
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(app.address)
    confirmed(page)
    page.close()
    assert hosts <= {"127.0.0.1", None}


def test_a_click_on_a_row_a_block_or_a_key_selects_the_layer(page: Page) -> None:
    title = page.locator("[data-slot=panel] h2")
    page.get_by_role("button", name="8 norms and activations").click()
    page.locator('tr[data-layer="act3"]').click()
    expect(title).to_have_text("Output of act3, before conv4")
    assert page.locator(".strip .chosen").get_attribute("data-layer") == "conv3"
    page.locator('.strip [data-layer="tokens"]').click()
    expect(title).to_have_text("Output of tokens, before class_token")
    assert page.locator("tr.chosen").get_attribute("data-layer") == "tokens"
    page.locator('.strip [data-layer="tokens"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(title).to_have_text("Output of class_token, before pos_embed")
    page.locator('tr[data-layer="proj"] button').focus()
    page.keyboard.press("Enter")
    expect(title).to_have_text("Output of proj, before tokens")
    expect(page.locator(".maps figcaption")).to_contain_text("384 maps of 14×14")
    page.keyboard.press("ArrowUp")
    expect(title).to_have_text("Output of act4, before proj")
    page.keyboard.press("End")
    expect(title).to_have_text("Output of pos_embed")
    assert page.locator('.table button[tabindex="0"]').all_inner_texts() == ["pos_embed"]
    page.locator('tr[data-layer="proj"]').click()
    expect(title).to_have_text("Output of proj, before tokens")
    assert page.locator(".formulas").inner_text().count("✓ observed") == 4


def test_every_formula_of_the_panel_stands_beside_its_number(page: Page) -> None:
    page.locator('tr[data-layer="conv2"]').click()
    formulas = page.locator(".formulas")
    expect(formulas).to_contain_text("floor((112 + 2·1 − 3) / 2) + 1 = 56")
    expect(formulas).to_contain_text("96·56·56·48·3·3 = 130,056,192")
    expect(formulas).to_contain_text("3 + (3 − 1)·2 = 7")


def test_the_tabs_work_by_keyboard_and_a_layer_brings_its_maps_back(page: Page) -> None:
    page.get_by_role("tab", name="Maps", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Time", exact=True)).to_be_focused()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Cost", exact=True)).to_be_focused()
    expect(page.locator(".shares")).to_be_visible()
    page.locator('tr[data-layer="conv2"]').click()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of conv2, before norm2")
    expect(page.get_by_role("tab", name="Maps", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def test_a_browser_without_storage_still_works(app: Served, chromium: Browser) -> None:
    page = chromium.new_page(viewport=DESK)
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('blocked'); } })"
    )
    page.goto(app.address)
    confirmed(page)
    assert seq_len(page) == 197
    page.close()


def test_the_strip_stays_in_sight_of_a_long_stem(page: Page) -> None:
    stem = ", ".join(["3x3:8 bn relu"] * 24 + ["16x16/16:32"])
    page.locator(STEM).fill(stem)
    expect(page.locator(".table tbody tr")).to_have_count(24 * 3 + 4)
    confirmed(page)
    page.locator('tr[data-layer="conv22"] button').scroll_into_view_if_needed()
    page.locator('tr[data-layer="conv22"] button').click()
    block = page.locator(".strip .chosen").bounding_box()
    assert block
    assert 0 <= block["x"] <= DESK["width"] - block["width"]
    assert 0 <= block["y"] <= DESK["height"] - block["height"]
    expect(page.locator("[data-slot=panel] h2")).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_reads_totals_strip_maps_in_this_order(
    app: Served, chromium: Browser, scheme: str
) -> None:
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.goto(app.address)
    confirmed(page)
    tops = [
        page.locator(f"[data-slot={name}]").bounding_box() for name in ("totals", "strip", "panel")
    ]
    assert sorted(box["y"] for box in tops if box) == [box["y"] for box in tops if box]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("tab", name="Layers", exact=True).tap()
    assert page.evaluate(TABLE_FITS)
    page.get_by_role("tab", name="Maps", exact=True).tap()
    expect(page.locator(".wall")).to_be_visible()
    assert page.locator(".choose").is_hidden()
    page.get_by_text("Edit the stem").tap()
    page.get_by_label("conv1 stride").fill("4")
    has_tokens(page, 50)
    for part in (page.get_by_label("conv1 stride"), page.locator(".headline h2")):
        expect(part).to_be_in_viewport()  # what is changed, and what changes
    expect(page.locator(".strip")).to_be_in_viewport(ratio=1)
    page.get_by_label("conv1 stride").fill("2")
    page.get_by_role("button", name="Image", exact=True).tap()
    page.locator("[data-field=height]").fill("12000")
    has_tokens(page, 10501)
    for name in ("totals", "status", "strip", "panel"):
        box = page.locator(f"[data-slot={name}]").bounding_box()
        assert box
        assert box["x"] + box["width"] <= PHONE["width"]
    page.locator("[data-field=height]").fill("0")
    expect(page.locator("[data-field=height]")).to_have_attribute("aria-invalid", "true")
    page.locator("[data-field=height]").fill("224")
    page.get_by_role("button", name="Stem", exact=True).tap()
    page.get_by_label("conv2 stride").fill("1")
    has_tokens(page, 785)
    confirmed(page)
    assert page.evaluate(TOO_SMALL) == []
    page.get_by_role("button", name="Settings", exact=True).tap()
    page.get_by_label("encoder behind the stem").scroll_into_view_if_needed()
    page.get_by_text("Show 785 tokens").tap()  # it stays in sight
    expect(page.locator(".headline")).to_be_in_viewport()
    expect(page.locator("[data-toggle-choose]")).to_have_text("Edit the stem")
    panel = opened_view(page, "Cost")
    panel.get_by_text("the paper's tables beside ours").tap()
    tables = panel.locator(".scroll", has=page.locator(".printed"))
    expect(tables).to_be_visible()
    assert tables.evaluate("box => box.scrollWidth <= box.clientWidth")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "query",
    ["", "?stem=3x3/", "?view=cost&encoder=11,6,3,softmax", "?view=length&encoder=11,6,3,linear"],
)
def test_all_text_has_enough_contrast(
    app: Served, tab: Page, scheme: Literal["light", "dark"], query: str
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.goto(app.address + query)
    tab.wait_for_selector(".vi[data-state=confirmed], .vi[data-state=fault]")
    assert tab.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    assert tab.evaluate(CONTRAST) == []


def test_rows_that_are_never_read_are_said(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("vitpose_b")
    expect(page.locator(".warning")).to_have_text(
        "⚠ proj never reads 2 of 256 rows (254, 255) and 2 of 192 columns (190, 191)."
    )


def test_a_laptop_shows_what_is_chosen_in_every_list(app: Served, chromium: Browser) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    page.goto(app.address)
    confirmed(page)
    room = "select => select.clientWidth - 20"  # without the arrow and the edges
    assert all(page.locator(".row > select").nth(i).evaluate(room) >= 24 for i in range(2))
    page.close()
