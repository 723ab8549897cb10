"""Maps opened, pointed at, saved and left."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect


def test_a_map_is_opened_pointed_at_and_left_by_mouse(page: Page) -> None:
    page.locator('tr[data-layer="conv2"]').click()
    panel = page.locator("[data-slot=panel]")
    expect(panel.locator("h2")).to_have_text("Output of conv2, before norm2")
    page.locator("[data-field=sorting]").select_option("variance")
    expect(panel.locator(".wall img")).to_have_attribute("data-order", re.compile(r"^\d+,\d+"))
    order = str(panel.locator(".wall img").get_attribute("data-order")).split(",")
    panel.locator(".wall img").click(position={"x": 5, "y": 5})
    expect(panel.locator("h2")).to_have_text(f"Map {order[0]} of conv2")
    expect(panel).to_contain_text(f"Kernel {order[0]} of conv2: 48 slices of 3×3")
    assert f"cell={order[0]}" in page.url
    panel.locator("[data-plane]").hover(position={"x": 2, "y": 2})
    expect(panel.locator(".hover")).to_have_text(re.compile(r"^row 0, column 0: −?\d"))
    panel.get_by_role("button", name="map after").click()
    expect(panel.locator("h2")).to_have_text(f"Map {(int(order[0]) + 1) % 96} of conv2")
    panel.get_by_role("button", name="all 96").click()
    expect(panel.locator("h2")).to_have_text("Output of conv2, before norm2")
    page.go_back()
    expect(panel.locator("h2")).to_have_text(f"Map {(int(order[0]) + 1) % 96} of conv2")


def test_a_map_is_found_opened_and_left_by_keyboard(page: Page) -> None:
    panel = page.locator("[data-slot=panel]")
    page.locator("[data-find]").fill("99")
    expect(page.locator("[data-find]")).to_have_attribute("aria-invalid", "true")
    page.locator("[data-find]").fill("17")
    expect(panel.locator(".hover")).to_have_text("map 17")
    page.locator("[data-find]").press("Enter")
    expect(panel.locator("h2")).to_have_text("Map 17 of conv1")
    panel.locator("[data-plane]").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    expect(panel.locator(".hover")).to_have_text(re.compile(r"^row 2, column 1: "))
    page.keyboard.press("Escape")
    expect(panel.locator("h2")).to_have_text("Output of conv1, before norm1")
    panel.locator(".wall").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(panel.locator("h2")).to_have_text("Map 2 of conv1")
    page.keyboard.press("Escape")  # the map that was opened has the focus
    expect(panel.locator("h2")).to_have_text("Output of conv1, before norm1")
    page.keyboard.press("Enter")  # and the wall has it again
    expect(panel.locator("h2")).to_have_text("Map 0 of conv1")
    panel.get_by_role("button", name="map after").focus()
    for index in (1, 2):
        page.keyboard.press("Enter")
        expect(panel.locator("h2")).to_have_text(f"Map {index} of conv1")


def test_pictures_and_numbers_are_saved(page: Page) -> None:
    with page.expect_download() as wall:
        page.get_by_role("button", name="Save the wall (PNG)").click()
    assert wall.value.suggested_filename == "conv1.png"
    with Image.open(wall.value.path()) as picture:
        assert picture.size[0] > 800
    with page.expect_download() as tensor:
        page.get_by_role("button", name="Save the layer (NPZ)").click()
    assert tensor.value.suggested_filename == "conv1.npz"
    with np.load(tensor.value.path()) as arrays:
        assert arrays["values"].shape == (48, 112, 112)


def test_the_pointer_tells_which_map_it_is_on(page: Page) -> None:
    """The last map of the second row has the index 2 * columns - 1."""
    wall = page.locator(".maps img")
    columns = int(str(wall.get_attribute("data-columns")))
    box = wall.bounding_box()
    assert box
    rows_of_maps = -(-48 // columns)
    x, y = box["width"] * (columns - 0.5) / columns, box["height"] * 1.5 / rows_of_maps
    wall.hover(position={"x": x, "y": y})
    expect(page.locator(".hover")).to_have_text(f"map {2 * columns - 1}")
    page.locator('tr[data-layer="tokens"]').click()
    expect(page.locator(".maps figcaption")).to_contain_text("196 tokens down, 384 channels across")
    wall.hover(position={"x": 1, "y": 1})
    expect(page.locator(".hover")).to_have_text(re.compile(r"token [0-9], channel [0-9]$"))
