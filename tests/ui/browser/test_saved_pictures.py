"""Pictures saved as SVG and PNG: what is in the files, and what they are called."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.served import Served
from tests.ui.browser.saved_files import SVG, read_png, read_svg, saved, title_of
from tests.ui.browser.screen import confirmed, opened_view, rows

STEM = "3x3/2:48 bn relu, 3x3/2:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"


def test_the_strip_is_saved_with_the_stem_its_layers_and_their_sizes(page: Page) -> None:
    name, content = saved(page, "Strip", "svg")
    assert name == "vit_c_4gf-strip.svg"
    root, words = read_svg(content)
    assert "224 × 224 pixels become 14 × 14 = 196 tokens" in title_of(root)
    assert STEM in title_of(root)
    observed = {name: cells[1] for name, cells in rows(page).items()}
    for name in page.locator(".strip .name").all_text_contents()[1:]:
        assert name in words
        assert all(part in words for part in observed[name].split(" ")[0].split("×", 1))
    assert len(root.findall(f".//{SVG}image")) == 9  # the photograph, and each block's own


def test_a_wall_and_one_map_are_saved_with_their_colour_scale(page: Page) -> None:
    page.locator('tr[data-layer="conv2"]').click()
    expect(page.locator("#panel h2")).to_contain_text("conv2")
    name, content = saved(page, "Maps", "svg")
    assert name == "vit_c_4gf-conv2-maps.svg"
    root, words = read_svg(content)
    assert title_of(root).startswith("Output of conv2, before norm2, 96×56×56: ")
    for end in page.locator(".maps .ends span").all_inner_texts():
        assert end in words
    assert "96 maps of 56×56." in words
    assert len(root.findall(f".//{SVG}image")) == 1
    assert len(root.findall(f".//{SVG}linearGradient")) == 1
    page.locator(".wall").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_contain_text("Map 0 of conv2")
    name, content = saved(page, "Map", "svg")
    assert name == "vit_c_4gf-conv2-map-0.svg"
    root, _ = read_svg(content)
    assert title_of(root).startswith("Map 0 of conv2: ")


def test_a_cell_and_a_token_are_saved_with_their_numbers(page: Page) -> None:
    panel = opened_view(page, "Cell")
    expect(panel.locator(".cell-equation b")).to_have_count(2)
    row, column = panel.locator("h2 .area").inner_text().replace(",", "").split()[1::2]
    channel = panel.locator("h2 .channels").inner_text().split()[1]
    name, content = saved(page, "Cell", "svg")
    assert name == f"vit_c_4gf-conv1-cell-{channel}-{row}-{column}.svg"
    _, words = read_svg(content)
    for number in panel.locator(".cell-equation b, .cell-table td").all_inner_texts():
        assert number in words
    panel = opened_view(page, "Tokens")
    expect(panel.locator(".token-stage")).to_be_visible()
    name, content = saved(page, "Token", "svg")
    place = panel.locator("h2 .token").inner_text().strip("()").replace(", ", "-")
    assert name == f"vit_c_4gf-token-{place}.svg"
    _, words = read_svg(content)
    for number in panel.locator(".token-formulas b, .token-figures dd").all_inner_texts():
        assert number in words
    name, content = saved(page, "Grid to sequence", "svg")
    assert name == "vit_c_4gf-order.svg"
    assert "rows first" in read_svg(content)[1]


def test_coverage_costs_and_plots_are_saved(page: Page) -> None:
    opened_view(page, "Pixels")
    expect(page.locator(".pixel-stage")).to_be_visible()
    name, content = saved(page, "Coverage", "svg")
    assert name == "vit_c_4gf-coverage.svg"
    root, words = read_svg(content)
    assert root.find(f".//{SVG}mask") is not None
    assert "Every pixel is read" in words
    panel = opened_view(page, "Cost")
    expect(panel.locator(".shares")).to_be_visible()
    name, content = saved(page, "Cost", "svg")
    assert name == "vit_c_4gf-cost.svg"
    _, words = read_svg(content)
    for number in panel.locator(".shares td").all_inner_texts():
        assert all(part in words for part in number.split())
    opened_view(page, "Length")
    expect(page.locator(".plot")).to_have_count(1)
    name, content = saved(page, "Tokens against image size", "svg")
    assert name == "vit_c_4gf-tokens_against_image_size.svg"
    assert "position table: 197 rows" in read_svg(content)[1]


def test_a_png_is_as_wide_as_a_slide(page: Page) -> None:
    for view, called in {"Maps": "Maps", "Cell": "Cell", "Pixels": "Coverage"}.items():
        opened_view(page, view)
        expect(page.locator(".keeping option").first).to_have_text(called)
        name, content = saved(page, called, "png")
        assert name.endswith(".png")
        read_png(content)


def test_a_file_is_the_same_from_a_dark_page(page: Page, tab: Page, app: Served) -> None:
    tab.goto(f"{app.address}?__theme=dark")
    confirmed(tab)
    assert tab.evaluate("document.body.classList.contains('dark')")
    files = {}
    for each in (page, tab):
        files[each] = [saved(each, "Strip", "svg"), saved(each, "Maps", "svg")]
        opened_view(each, "Pixels")
        expect(each.locator(".pixel-stage")).to_be_visible()
        files[each].append(saved(each, "Coverage", "svg"))
    assert files[page] == files[tab]
    assert tab.evaluate("document.body.classList.contains('dark')")
    assert not tab.locator(".drawing").count()


def test_a_stem_of_ones_own_is_in_the_name_and_in_the_picture(page: Page) -> None:
    page.locator("[data-field=stem]").fill("5x5/4:32 relu, 3x3/2:64")
    confirmed(page)
    expect(page.locator("[data-field=preset]")).to_have_value("")
    name, content = saved(page, "Strip", "svg")
    assert name == "stem-strip.svg"
    root, words = read_svg(content)
    assert "5x5/4:32 relu, 3x3/2:64" in title_of(root)
    assert "5x5/4:32 relu, 3x3/2:64" in words


def test_the_keyboard_reaches_the_buttons_and_the_choice_changes_nothing_else(page: Page) -> None:
    address = page.url
    select = page.get_by_role("combobox", name="picture")
    select.focus()
    page.keyboard.press("ArrowDown")
    expect(select).to_have_value("strip")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="SVG: save the picture")).to_be_focused()
    page.keyboard.press("Tab")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "vit_c_4gf-strip.png"
    assert page.url == address
    expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed")
