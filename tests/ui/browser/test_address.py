"""The address bar: what a link holds, and what Back, Forward and Reload restore."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.served import Served
from tests.ui.browser.screen import (
    DESK,
    STEM,
    confirmed,
    has_tokens,
    hold_the_first_answer,
    refused,
    rows,
    seq_len,
)


def test_the_address_holds_the_whole_choice(page: Page, chromium: Browser) -> None:
    page.locator("[data-field=preset]").select_option("vitpose_b")
    confirmed(page)
    page.locator("[data-field=image]").select_option("edges")
    page.locator('tr[data-layer="tokens"]').click()
    confirmed(page)
    assert "stem=16x16/16p2:768&size=256x192&channels=3&class_token=0&image=edges" in page.url
    query = {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
    assert query["layer"] == "tokens"
    other = chromium.new_context(viewport=DESK).new_page()
    other.goto(page.url)
    confirmed(other)
    assert other.url == page.url
    assert rows(other) == rows(page)
    shown = [where.locator(".maps img").get_attribute("src") for where in (page, other)]
    assert shown[0] == shown[1]
    assert (
        other.locator("[data-slot=panel] h2").inner_text() == "Output of tokens, before pos_embed"
    )
    other.context.close()


def test_the_link_of_the_view_is_copied_or_said_to_be_in_the_address_bar(page: Page) -> None:
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => {"
        " if (window.refused) throw new Error(); window.copied = text; }}})"
    )
    page.get_by_role("tab", name="Cost").click()
    button, said = page.locator("[data-copy]"), page.locator("[data-slot=copied]")
    assert "this machine only" in str(button.get_attribute("title"))
    button.click()
    expect(said).to_have_text("Link copied")
    assert page.evaluate("window.copied") == page.url
    assert parse_qs(urlsplit(page.url).query)["view"] == ["cost"]
    page.evaluate(  # as on a page without https
        "window.refused = true;"
        " document.execCommand = () => { window.field = document.activeElement.value; return true }"
    )
    button.click()
    page.wait_for_function("window.field === location.href")
    expect(button).to_be_focused()
    assert page.locator(".top textarea").count() == 0
    page.evaluate("document.execCommand = () => false")
    button.click()
    expect(button).to_have_text("Copy it from the address bar")


def test_back_forward_and_reload_restore_the_choice(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("dinov2_s14")
    has_tokens(page, 257)
    confirmed(page)
    page.locator('tr[data-layer="pos_embed"]').click()
    page.locator("[data-field=preset]").select_option("pit_s")
    has_tokens(page, 730)
    confirmed(page)
    page.go_back()
    has_tokens(page, 257)
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of pos_embed")
    page.go_back()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj, before tokens")
    page.go_back()
    has_tokens(page, 197)
    page.go_forward()
    has_tokens(page, 257)
    page.reload()
    has_tokens(page, 257)
    confirmed(page)
    assert page.locator("[data-field=preset]").input_value() == "dinov2_s14"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?stem=3x3/2:4", None),
        ("?stem=3x3/", "column 5: expected the stride"),
        ("?size=100000x100000", "image_size = 100000 x 100000: the most is 16,384. Use 224 x 224."),
        ("?size=300x0", "image_width = 0: the least is 1. Use 224."),
        ("?size=big", "image_size = 'big': it is not a whole number. Use 224 x 224."),
        ("?size=64xbig", "image_width = 'big': it is not a whole number. Use 224."),
        ("?preset=vit_c_5gf&size=64x64", "vitpose_b, pit_s, pvt_v2_b2. Use vit_c_4gf."),
        ("?device=tpu", "device = 'tpu': it is not one of auto, cpu, cuda, mps. Use auto."),
        ("?dtype=int3", "dtype = 'int3': it is not one of float32, bfloat16, float16"),
        ("?seed=-1", "seed = -1: the least is 0"),
        ("?image=/etc/passwd", "image = '/etc/passwd': it is not one of photo, impulse"),
        ("?image=upload-0123", "the picture of this link is in another browser"),
        ("?stem=<img src=x onerror=alert(1)>", "column 1: expected the kernel"),
    ],
)
def test_a_link_with_a_bad_value_says_so_and_recovers(
    app: Served, window: BrowserContext, query: str, says: str | None
) -> None:
    page = window.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"the link ran a script: {dialog.message}"))
    page.goto(app.address + query)
    if says:
        assert says in refused(page)
        page.locator(".field-fault [data-use]").click()
    confirmed(page)
    assert all(cells[2] == "✓ agrees" for cells in rows(page).values())
    page.close()


def test_a_link_may_name_a_preset_and_what_is_other_than_there(app: Served, tab: Page) -> None:
    """Two presets have the layers of moco_v3_s; its address is that of the stem alone."""
    tab.goto(f"{app.address}?preset=moco_v3_s")
    confirmed(tab)
    assert tab.locator("[data-field=preset]").input_value() == "moco_v3_s"
    assert "preset" not in tab.url
    tab.reload()
    confirmed(tab)
    assert seq_len(tab) == 197
    tab.goto(f"{app.address}?size=100×90&preset=pit_s&view=cost")
    confirmed(tab)
    assert seq_len(tab) == 11 * 10 + 1
    assert tab.locator("[data-field=preset]").input_value() == "pit_s"
    expect(tab.locator(".shares")).to_be_visible()


def test_a_preset_that_there_is_not_leaves_the_page_on_its_default(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?preset=constructor&seed=3")
    assert "preset = 'constructor': it is not one of vit_p_4gf" in refused(tab)
    expect(tab.locator(STEM)).to_have_value(re.compile("^3x3/2:48 bn relu, 3x3/2:96"))
    assert tab.locator("[data-field=preset] option[value=constructor]").count() == 0
    tab.locator("[data-field=seed]").fill("4")
    confirmed(tab)
    assert tab.locator("[data-field=preset]").input_value() == "vit_c_4gf"


def test_what_a_link_wrote_for_a_number_goes_when_the_field_is_typed_in(
    app: Served, tab: Page
) -> None:
    tab.goto(f"{app.address}?channels=three")
    assert "in_channels = 'three': it is not a whole number" in refused(tab)
    assert "channels=three" in tab.url
    tab.locator("[data-field=in_channels]").fill("5")
    confirmed(tab)
    tab.locator("[data-field=in_channels]").fill("")
    assert "in_channels = '': it is not a whole number" in refused(tab)


def test_escape_leaves_the_map_of_a_link_at_once(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?layer=conv2&cell=17")
    heading = tab.locator("[data-slot=panel] h2")
    expect(heading).to_have_text("Map 17 of conv2")
    tab.keyboard.press("Escape")
    expect(heading).to_have_text("Output of conv2, before norm2")
    assert "cell=" not in tab.url


def test_a_cell_or_a_token_that_is_not_there_is_not_in_the_address(app: Served, page: Page) -> None:
    """conv2 makes 96 maps of 56×56 from 48; the grid is 14×14, and of 100 pixels 7×7."""
    page.goto(f"{app.address}?layer=conv2&view=cell&cell=999,0,0&token=13,99")
    confirmed(page)
    assert "view=cell" in page.url
    assert "cell=9" not in page.url
    assert "&token=" not in page.url
    page.goto(f"{app.address}?layer=conv2&view=cell&cell=95,55,0,48&token=13,12")
    confirmed(page)
    assert page.url.endswith("&cell=95,55,0&token=13,12")
    page.locator("[data-slider]").fill("100")
    confirmed(page)
    assert page.url.endswith("&view=cell")
    page.locator("[data-slider]").fill("224")
    confirmed(page)
    assert page.url.endswith("&cell=95,55,0&token=13,12")


def test_back_reaches_the_stem_before_a_fast_edit_of_a_row(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("pit_s")
    confirmed(page)
    held = hold_the_first_answer(page)
    channels = page.get_by_label("proj out channels")
    for typed in ("1", "12", "128"):
        channels.fill(typed)
    held[0].continue_()
    expect(page.locator(STEM)).to_have_value("16x16/8p0:128")
    confirmed(page)
    page.go_back()
    expect(page.locator(STEM)).to_have_value("16x16/8p0:144")


def test_undo_says_what_it_took_back_and_stays_on_the_page(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("pit_s")
    confirmed(page)
    page.locator("[data-slider]").fill("256")
    confirmed(page)
    page.locator("h1").click()
    page.keyboard.press("Control+z")
    confirmed(page)
    assert page.locator("[data-field=height]").input_value() == "224"
    said = page.locator("[data-slot=undone]")
    expect(said).to_have_text("Restored: the image size.")
    page.keyboard.press("Control+z")
    confirmed(page)
    has_tokens(page, 197)
    expect(said).to_contain_text("the stem")
    address = page.url
    page.keyboard.press("Control+z")  # nothing before it is of this page
    page.wait_for_timeout(300)
    assert page.url == address
    page.locator("[data-slider]").fill("128")
    expect(said).to_have_text("")
