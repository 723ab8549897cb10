"""Picture files that browser tests open."""

from __future__ import annotations

from io import BytesIO

from PIL import Image
from playwright.sync_api import Page


def picture(kind: str, mode: str = "L", size: tuple[int, int] = (300, 200)) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(file, kind)
    return file.getvalue()


def opens(page: Page, name: str, content: bytes) -> None:
    page.locator("[data-file]").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": content}
    )
