"""The token and pixel panels by mouse and by keyboard, in a real Chromium."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.served import Served
from tests.ui.browser.screen import CONTRAST, PHONE, confirmed

STAGE, MAP = ".token-stage", "[data-token-map]"
VITPOSE = "stem=16x16/16p2:768&size=256x192&class_token=0"


@pytest.fixture
def page(tab: Page) -> Page:
    return tab


def show(page: Page, app: Served, query: str) -> None:
    page.goto(f"{app.address}?{query}")
    confirmed(page)


def title(page: Page) -> Locator:
    return page.locator("[data-slot=panel] h2")


def spot(page: Page, row: float, column: float) -> dict[str, float]:
    """Where in the picture a place of the image is (CSS pixels); rows and columns of pixels."""
    found: dict[str, float] = page.locator(STAGE).evaluate(
        """(stage, [y, x]) => {
          const at = new DOMPoint(x, y).matrixTransform(stage.getScreenCTM());
          const box = stage.getBoundingClientRect();
          return { x: at.x - box.left, y: at.y - box.top };
        }""",
        [row, column],
    )
    return found  # type: ignore[return-value]


def marked(page: Page) -> int:
    """Tokens marked as readers."""
    return str(page.locator(".token-readers").get_attribute("d") or "").count("M")


def test_a_click_on_a_point_chooses_the_token(page: Page, app: Served) -> None:
    show(page, app, "view=tokens")
    expect(title(page)).to_have_text("Token (5, 8), number 78")
    page.locator(STAGE).click(position=spot(page, 3 * 16 + 0.5, 5 * 16 + 0.5))
    expect(title(page)).to_have_text("Token (3, 5), number 47")
    assert parse_qs(urlsplit(page.url).query)["token"] == ["3,5"]
    page.go_back()
    expect(title(page)).to_have_text("Token (5, 8), number 78")


def test_a_click_between_the_points_marks_the_tokens_that_read_the_pixel(
    page: Page, app: Served
) -> None:
    """Pixel (8, 8) lies 8 from the centres at 0 and 16, whose fields reach 15 to each side."""
    show(page, app, "view=tokens")
    page.locator(STAGE).click(position=spot(page, 8.6, 8.8))
    said = page.locator("[data-token-output]")
    expect(said).to_have_text("pixel (8, 8): read by 2 × 2 = 4 tokens")
    assert marked(page) == 4
    expect(title(page)).to_have_text("Token (5, 8), number 78")


def test_gradient_and_similarity_change_places_without_asking(page: Page, app: Served) -> None:
    show(page, app, "view=tokens")
    heat, likeness = page.locator("#token-heat"), page.locator("#token-likeness")
    expect(heat).to_be_visible()
    expect(likeness).to_be_hidden()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Similarity").click()
    expect(likeness).to_be_visible()
    expect(heat).to_be_hidden()
    assert not [url for url in asked if not url.startswith("data:")]
    page.locator(MAP).click(position={"x": 3, "y": 3})
    expect(title(page)).to_have_text("Token (0, 0), number 0")
    expect(page.locator("#token-likeness")).to_be_visible()  # stays as it was switched


def test_tokens_by_keyboard(page: Page, app: Served) -> None:
    show(page, app, "view=tokens&token=2,2")
    page.locator(STAGE).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    said = page.locator("[data-token-output]")
    expect(said).to_have_text("token (1, 4), number 18, place 19 behind the class token")
    page.keyboard.press("Enter")
    expect(title(page)).to_have_text("Token (1, 4), number 18")
    expect(page.locator(STAGE)).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    expect(said).to_have_text("pixel (16, 65): read by 1 × 2 = 2 tokens")
    assert marked(page) == 2
    page.locator(MAP).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(title(page)).to_have_text("Token (1, 3), number 17")
    expect(page.locator(MAP)).to_be_focused()


def test_a_cell_is_followed_into_each_sequence_and_back(page: Page, app: Served) -> None:
    """A grid of 3 x 4 cells of 5 channels: cell 6, in row 1 and column 2."""
    show(page, app, "stem=8x8/8:5&size=24x32&view=tokens")
    box = page.locator(MAP).bounding_box()
    assert box
    page.locator(MAP).hover(position={"x": box["width"] * 2.5 / 4, "y": box["height"] / 2})
    said = page.locator("[data-order-output]")
    expect(said).to_contain_text("cell (1, 2)")
    expect(said).to_contain_text("rows first: place 6")
    expect(said).to_contain_text("columns first: place 7")  # 2 whole columns of 3, and 1
    # of 5 maps of 12, numbers 6, 18, 30, 42 and 54, cut into fives
    expect(said).to_contain_text("reshape alone: 5 places")
    line = page.locator('[data-way="columns first"] .token-line')
    line.scroll_into_view_if_needed()
    width = line.bounding_box()["width"]  # type: ignore[index]
    line.hover(position={"x": width * 7.5 / 12, "y": 5})
    expect(said).to_contain_text("5 numbers of cell (1, 2)")
    line = page.locator('[data-way="reshape alone"] .token-line')
    line.focus()
    page.keyboard.press("ArrowRight")
    expect(said).to_contain_text("5 numbers of 5 cells")


def test_how_often_a_pixel_is_read_is_told(page: Page, app: Served) -> None:
    show(page, app, f"{VITPOSE}&view=pixels")
    verdict = page.locator(".pixel-verdict")
    expect(verdict).to_contain_text("2 of 256 rows and 2 of 192 columns are never read")
    page.locator(".pixel-stage").focus()
    page.keyboard.press("ArrowDown")
    said = page.locator("[data-pixel-output]")
    expect(said).to_have_text("pixel (129, 96): 1 × 1 = 1 token")
    for _ in range(8):
        page.keyboard.press("Shift+ArrowDown")
    expect(said).to_have_text("pixel (255, 96): 0 × 1 = 0, never read")


def test_a_token_that_is_not_there_is_the_one_shown_first(page: Page, app: Served) -> None:
    show(page, app, "view=tokens&token=99,-1%22%3E")
    expect(title(page)).to_have_text("Token (5, 8), number 78")
    facts = json.loads(str(page.locator(".token-panel").get_attribute("data-tokens")))
    assert facts["chosen"] == [5, 8]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_and_nothing_is_wider_than_a_phone(
    app: Served, chromium: Browser, scheme: str
) -> None:
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme)
    page = context.new_page()
    for query in ("view=tokens", f"{VITPOSE}&view=pixels"):
        show(page, app, query)
        assert page.evaluate(CONTRAST) == []
        panel = page.locator("#panel")
        assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    context.close()
