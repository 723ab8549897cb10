"""Pictures that are uploaded, and files that are none."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.browser.screen import confirmed, seq_len


def picture(kind: str, mode: str = "L", size: tuple[int, int] = (300, 200)) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, kind)
    return file.getvalue()


def upload(page: Page, name: str, content: bytes) -> None:
    page.locator("[data-file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )


def test_an_uploaded_image_is_shown_and_its_conversion_said(page: Page) -> None:
    before = page.locator(".maps img").get_attribute("src")
    upload(page, "grey.png", picture("PNG"))
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


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("letter.png", b"a letter, not a picture", "it is no PNG, JPEG"),
        ("half.png", picture("PNG", "RGB")[:150], "cut short or damaged"),
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
    expect(page.locator(".length strong")).to_have_text("785")
    confirmed(page)


def test_a_refused_file_does_not_spoil_what_follows(page: Page) -> None:
    upload(page, "letter.png", b"a letter, not a picture")
    expect(page.locator("[data-slot=notes]")).to_contain_text("it is no PNG, JPEG")
    page.locator("[data-slider]").fill("240")
    confirmed(page)
    page.go_back()
    expect(page.locator("[data-slider]")).to_have_value("224")
    confirmed(page)
    upload(page, "grey.png", picture("PNG"))
    expect(page.locator("[data-field=image] option:checked")).to_have_text("Your picture: grey.png")
    confirmed(page)
