"""Pictures that are opened, and files that are none."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.served import free_port, served
from tests.ui.browser.picture_files import opens, picture
from tests.ui.browser.screen import confirmed, has_tokens, seq_len

DROP = """
([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.querySelector('.vi').dispatchEvent(new DragEvent('drop', {
    dataTransfer, bubbles: true, cancelable: true,
  }));
}
"""
"""What a browser does when a file is dropped on the page."""


def test_an_opened_image_is_shown_and_its_conversion_said(page: Page) -> None:
    before = page.locator(".maps img").get_attribute("src")
    opens(page, "grey.png", picture("PNG"))
    expect(page.locator("[data-slot=notes]")).to_have_text("Greyscale was converted to RGB.")
    expect(page.locator("[data-field=image] option:checked")).to_have_text("Your picture: grey.png")
    confirmed(page)
    assert page.locator(".maps img").get_attribute("src") != before
    page.reload()
    confirmed(page)
    expect(page.locator("[data-field=image] option:checked")).to_have_text("Your picture: grey.png")
    page.locator("[data-field=image]").select_option("photo")
    confirmed(page)
    assert page.locator(".maps img").get_attribute("src") == before


def test_a_dropped_file_is_opened(page: Page) -> None:
    page.evaluate(DROP, ["dropped.webp", b64encode(picture("WEBP", "RGB")).decode()])
    expect(page.locator("[data-field=image] option:checked")).to_have_text(
        "Your picture: dropped.webp"
    )
    confirmed(page)
    page.evaluate(DROP, ["letter.txt", b64encode(b"a letter, not a picture").decode()])
    expect(page.locator("[data-slot=notes]")).to_contain_text("it is no PNG, JPEG")
    expect(page.locator("[data-field=image] option:checked")).to_have_text(
        "Your picture: dropped.webp"
    )


def test_a_file_as_large_as_allowed_is_sent_whole(page: Page) -> None:
    content = picture("PNG")
    opens(page, "padded.png", content + bytes(8 * 2**20 - len(content)))
    expect(page.locator("[data-field=image] option:checked")).to_have_text(
        "Your picture: padded.png", timeout=20_000
    )
    confirmed(page)


def test_a_picture_comes_back_after_the_server_was_started_again(window: BrowserContext) -> None:
    options = ("--port", str(free_port()), "--preset", "vit_p_1gf")
    tab = window.new_page()
    with served(*options) as running:
        tab.goto(running.address)
        confirmed(tab)
        opens(tab, "grey.gif", picture("GIF", size=(1500, 1200)))
        expect(tab.locator("[data-field=image] option:checked")).to_have_text(
            "Your picture: grey.gif"
        )
        confirmed(tab)
    with served(*options):
        tab.locator("[data-slider]").fill("240")
        confirmed(tab)
        expect(tab.locator("[data-field=image] option:checked")).to_have_text(
            "Your picture: grey.gif"
        )
        expect(tab.locator(".vi [role=alert]")).to_have_count(0)
    tab.close()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("letter.png", b"a letter, not a picture", "it is no PNG, JPEG"),
        ("half.png", picture("PNG", "RGB")[:150], "cut short or damaged"),
        ("empty.png", b"", "the file is empty"),
        ("bomb.webp", picture("WEBP", "RGB", (7000, 7000)), "Save it as a PNG or JPEG file"),
        ("huge.png", b"\0" * (9 * 2**20), "9 MiB are more than 8 MiB"),
    ],
)
def test_a_file_that_is_no_image_is_refused_and_the_screen_stays(
    page: Page, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    page.locator("[data-file]").set_input_files(path)
    expect(page.locator("[data-slot=notes]")).to_contain_text(says)
    assert seq_len(page) == 197
    assert page.locator("[data-field=image]").input_value() == "photo"
    page.get_by_label("conv2 stride").fill("1")
    has_tokens(page, 785)
    confirmed(page)


def test_a_refused_file_does_not_spoil_what_follows(page: Page) -> None:
    opens(page, "letter.png", b"a letter, not a picture")
    expect(page.locator("[data-slot=notes]")).to_contain_text("it is no PNG, JPEG")
    page.locator("[data-slider]").fill("240")
    confirmed(page)
    page.go_back()
    expect(page.locator("[data-slider]")).to_have_value("224")
    confirmed(page)
    opens(page, "grey.png", picture("PNG"))
    expect(page.locator("[data-field=image] option:checked")).to_have_text("Your picture: grey.png")
    confirmed(page)
