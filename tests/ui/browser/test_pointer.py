"""One pointer: a token pointed at anywhere is lit in every map, and a layer in strip and table."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.ui.browser.screen import STEM, confirmed, opened_view
from vitc_inspect import conv_stem
from vitc_inspect.stem.geometry import token_box, token_windows

FACE = ".strip .input .frame"


def place(mark: Locator) -> list[float]:
    """Left, top, width and height of a mark, as shares of its block's face."""
    shares: list[float] = mark.evaluate(
        """mark => {
          const frame = mark.closest('.block').querySelector('.frame');
          const of = (part, name) => Number(part.getAttribute(name));
          return [
            (of(mark, 'x') - of(frame, 'x')) / of(frame, 'width'),
            (of(mark, 'y') - of(frame, 'y')) / of(frame, 'height'),
            of(mark, 'width') / of(frame, 'width'), of(mark, 'height') / of(frame, 'height'),
          ];
        }"""
    )
    return shares


def point_at(page: Page, share: float, across: float) -> None:
    """Point at a place of the photograph: shares of its height and its width."""
    box = page.locator(FACE).bounding_box()
    assert box
    page.mouse.move(box["x"] + across * box["width"], box["y"] + share * box["height"])


def near(seen: list[float], wanted: list[float]) -> bool:
    return all(abs(one - other) < 0.02 for one, other in zip(seen, wanted, strict=True))


def test_a_square_of_the_photograph_lights_what_its_token_reads(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    point_at(page, 9.5 / 14, 3.5 / 14)
    spec = conv_stem()
    box = token_box(spec, 9, 3)
    field = page.locator(".strip .input .pointed-field")
    shares = [box.columns.start, box.rows.start, box.columns.length, box.rows.length]
    assert near(place(field), [each / 224 for each in shares])
    cell = place(page.locator(".strip .input .pointed-cell"))
    assert near(cell, [3 / 14, 9 / 14, 1 / 14, 1 / 14])
    windows = token_windows(spec)
    for name, side in (("conv1", 112), ("conv2", 56), ("conv3", 28)):
        window = windows[name]
        left, top = (at * window.jump + window.offset for at in (3, 9))
        mark = page.locator(f'.strip [data-layer="{name}"] .pointed-field')
        assert near(place(mark), [each / side for each in (left, top, window.field, window.field)])
    row = page.locator('.strip [data-layer="tokens"] .pointed-row')
    assert abs(place(row)[1] - (9 * 14 + 3) / 196) < 0.02
    assert not [url for url in asked if not url.startswith("data:")]


def test_where_nothing_is_pointed_at_the_chosen_token_is_lit(page: Page) -> None:
    field = page.locator(".strip .input .pointed-field")
    start = place(field)
    point_at(page, 0.1, 0.1)
    expect(page.locator(".strip .input .pointed-cell")).to_have_count(1)
    assert place(field) != start
    page.mouse.move(5, 5)
    assert place(field) == start


def test_a_token_of_the_panel_is_lit_in_the_strip(page: Page) -> None:
    opened_view(page, "Tokens")
    token_map = page.locator("[data-token-map]")
    expect(token_map).to_be_visible()
    box = token_map.bounding_box()
    assert box
    token_map.hover(position={"x": 1.5 / 14 * box["width"], "y": 12.5 / 14 * box["height"]})
    cell = place(page.locator(".strip .input .pointed-cell"))
    assert near(cell, [1 / 14, 12 / 14, 1 / 14, 1 / 14])


def test_a_layer_is_lit_in_the_strip_the_table_and_the_editor(page: Page) -> None:
    page.locator('tr[data-layer="conv3"]').hover()
    expect(page.locator(".strip .pointed")).to_have_attribute("data-layer", "conv3")
    expect(page.locator('[data-row="conv3"]')).to_have_class("row pointed")
    page.locator('[data-row="conv2"] .row-name').hover()
    expect(page.locator("tr.pointed")).to_have_attribute("data-layer", "conv2")


def test_it_follows_whatever_stem_is_chosen(page: Page) -> None:
    page.locator(STEM).fill("16x16/8p0:32")
    confirmed(page)
    point_at(page, 0.5, 0.01)
    expect(page.locator(".strip .pointed-field")).to_have_count(2)
    cell = place(page.locator(".strip .input .pointed-cell"))
    assert near(cell[2:], [8 / 224, 8 / 224])


def test_a_place_of_a_map_lights_the_token_that_reads_it(page: Page) -> None:
    cell = page.locator(".strip .input .pointed-cell")
    wall = page.locator(".wall img")
    box = wall.bounding_box()
    assert box
    columns = int(wall.get_attribute("data-columns") or 0)
    side = box["width"] / columns  # of the third map of the first line
    wall.hover(position={"x": (2 + 4.5 / 14) * side, "y": 8.5 / 14 * side})
    expect(page.locator(".maps .hover")).to_have_text("map 2")
    assert near(place(cell), [4 / 14, 8 / 14, 1 / 14, 1 / 14])
    page.locator('tr[data-layer="proj"]').click()
    expect(page.locator("[data-slot=panel] h2")).to_contain_text("proj")
    page.keyboard.press("Tab")
    wall.click(position={"x": 10, "y": 10})
    plane = page.locator("[data-plane]")
    box = plane.bounding_box()
    assert box
    plane.hover(position={"x": 12.5 / 14 * box["width"], "y": 1.5 / 14 * box["height"]})
    assert near(place(cell), [12 / 14, 1 / 14, 1 / 14, 1 / 14])
    page.mouse.move(5, 5)
    assert not near(place(cell), [12 / 14, 1 / 14, 1 / 14, 1 / 14])
