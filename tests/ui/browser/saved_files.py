"""Pictures that a page saves: downloaded, and read as a program beside the browser reads them."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from playwright.sync_api import Page, expect

SVG = "{http://www.w3.org/2000/svg}"
SLIDE = 1920  # pixels across


def saved(page: Page, picture: str, kind: str) -> tuple[str, bytes]:
    """Save a picture as "svg" or "png": the file's name and its content."""
    page.locator(".keeping select").select_option(label=picture)
    with page.expect_download() as download:
        page.locator(f"[data-keep={kind}]").click()
    name = download.value.suggested_filename
    expect(page.locator(".keeping [role=status]")).to_have_text(f"Saved as {name}")
    return name, Path(download.value.path()).read_bytes()


def read_svg(content: bytes) -> tuple[ElementTree.Element, str]:
    """Parse an SVG that stands alone: its root, and all words of it."""
    root = ElementTree.fromstring(content)
    assert root.tag == f"{SVG}svg"
    text = re.sub(r"base64,[\w+/=]+", "base64,", content.decode())
    assert "var(" not in text
    assert "NaN" not in text
    assert " class=" not in text
    assert "foreignObject" not in text
    references = [
        value for each in root.iter() for name, value in each.items() if name.endswith("href")
    ]
    assert all(re.match("#|data:image/", each) for each in references)
    addresses = re.findall(r"url\(([^)]{1,80})", text)
    assert all(re.match("#|data:font", each) for each in addresses)
    known = {each.get("id") for each in root.iter()}
    used = {each[1:] for each in (*references, *addresses) if each.startswith("#")}
    assert used <= known
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert ground.get("fill") == "#fff"
    words = (each.text or "" for each in root.iter() if each.tag in {f"{SVG}text", f"{SVG}tspan"})
    return root, " ".join(words)


def title_of(root: ElementTree.Element) -> str:
    return root.findtext(f"{SVG}title") or ""


def read_png(content: bytes) -> Image.Image:
    """Read a PNG of a slide's width, with more on it than one colour on white."""
    with Image.open(BytesIO(content)) as image:
        image.load()
        picture = image.convert("RGB")
    assert picture.width == SLIDE
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    colours = picture.resize((200, 200)).getcolors(40_000)
    assert colours is not None
    assert len(colours) > 20
    return picture
