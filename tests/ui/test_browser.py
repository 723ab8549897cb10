"""The app driven as a person drives it, in a real Chromium."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Route, expect

from tests.conftest import DESK
from tests.served import Served, free_port, served

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def page(app: Served, tab: Page) -> Page:
    """The page as it opens, in a tab that has never seen it."""
    tab.goto(app.address)
    confirmed(tab)
    return tab


def confirmed(page: Page) -> None:
    """Wait until the run of the newest choice is on the screen."""
    expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed", timeout=20_000)


def refused(page: Page) -> str:
    """Wait for a fault and return its sentence."""
    expect(page.locator(".vi")).to_have_attribute("data-state", "fault", timeout=20_000)
    return page.locator("[data-slot=fault] [role=alert]").inner_text()


def seq_len(page: Page) -> int:
    return int(page.locator(".length strong").inner_text().replace(",", ""))


def rows(page: Page) -> dict[str, list[str]]:
    """The table: cells by layer."""
    texts = page.locator(".table tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return {cells[0]: cells[1:] for cells in texts}


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
    assert page.locator(".summary").inner_text().count("16 of 16 layers agree") == 1
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


def test_a_stem_typed_as_text(page: Page) -> None:
    page.locator("[data-field=stem]").fill("16x16/16:768")
    expect(page.locator(".length")).to_contain_text("197")
    confirmed(page)
    assert list(rows(page)) == ["proj", "tokens", "class_token", "pos_embed"]
    assert rows(page)["proj"][3] == "590,592"
    assert page.locator("[data-field=preset]").input_value() == "vit_p_18gf"
    assert page.locator("[data-row]").count() == 1


def test_the_editor_and_the_text_are_in_step(page: Page) -> None:
    page.get_by_label("conv2 stride").fill("1")
    expect(page.locator("[data-field=stem]")).to_have_value(
        "3x3/2:48 bn relu, 3x3:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)
    assert seq_len(page) == 28 * 28 + 1
    page.locator("[data-field=stem]").fill("3x3/2:48 bn relu d2 g3, 1x1:7")
    expect(page.get_by_label("conv1 dilation")).to_have_value("2")
    confirmed(page)
    page.get_by_label("proj out channels").fill("9")
    expect(page.locator("[data-field=stem]")).to_have_value("3x3/2:48 bn relu g3 d2, 1x1:9")
    page.get_by_label("conv1 activation").select_option("gelu")
    expect(page.locator("[data-field=stem]")).to_have_value("3x3/2:48 bn gelu g3 d2, 1x1:9")


def test_convolutions_are_added_and_removed(page: Page) -> None:
    page.get_by_text("+ add a convolution").click()
    expect(page.locator("[data-row]")).to_have_count(6)
    confirmed(page)
    assert seq_len(page) == 7 * 7 + 1
    page.get_by_label("remove conv1").click()
    expect(page.locator("[data-row]")).to_have_count(5)
    confirmed(page)
    assert seq_len(page) == 197


@pytest.mark.parametrize(("size", "tokens"), [(225, 226), (223, 197), (32, 5)])
def test_the_slider_changes_both_sides(page: Page, size: int, tokens: int) -> None:
    """225 pixels give the padded stem 15 tokens a side, 223 pixels 14 (FACTS, section 4)."""
    page.locator("[data-slider]").fill(str(size))
    expect(page.locator(".length strong")).to_have_text(str(tokens))
    assert page.locator("[data-field=width]").input_value() == str(size)
    confirmed(page)


def test_a_click_on_a_row_a_block_or_a_key_selects_the_layer(page: Page) -> None:
    title = page.locator("[data-slot=panel] h2")
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


STEM = "[data-field=stem]"


@pytest.mark.parametrize(
    ("control", "typed", "says"),
    [
        (STEM, "3x3/2:48 bn relu, 3x3/", "column 23: expected the stride"),
        (STEM, "", "column 1: expected the kernel"),
        (STEM, "3x3/0:48 bn relu, 1x1:384", "conv1.stride = 0: the least is 1. Use 1 or more."),
        (
            STEM,
            "300x300/16p0:8",
            "proj.kernel_size = 300: the padded input is only 224 pixels long",
        ),
        (STEM, "3x3/2:48 g5, 1x1:4", "conv1.groups = 5: it does not divide the 48 output channels"),
        (STEM, "3x3/-2:4", "expected the stride, a whole number, found “-2”"),
        ('[aria-label="conv2 stride"]', "0", "conv2.stride = 0: the least is 1. Use 1 or more."),
        ('[aria-label="conv3 out channels"]', "1.5", "it is not a whole number. Use 2."),
        (
            '[aria-label="conv1 kernel size"]',
            "",
            "conv1.kernel_size = '': it is not a whole number",
        ),
        ("[data-field=height]", "0", "image_height = 0: the least is 1. Use 224."),
        ("[data-field=width]", "100000", "image_width = 100000: the most is 16,384. Use 224."),
        ("[data-field=in_channels]", "-3", "in_channels = -3: the least is 1. Use 1 or more."),
        ("[data-field=seed]", "1e99", "seed = "),
    ],
)
def test_a_bad_value_is_one_sentence_nothing_stale_stays_and_its_suggestion_works(
    page: Page, control: str, typed: str, says: str
) -> None:
    field = page.locator(control)
    if field.get_attribute("type") == "number" and not re.fullmatch(r"-?[\d.e]*", typed):
        raise AssertionError("a number field takes no such text")
    field.fill(typed)
    assert says in refused(page)
    for slot in ("totals", "strip", "table", "panel", "status"):
        assert page.locator(f"[data-slot={slot}]").inner_html() == ""
    assert page.locator("[aria-invalid=true]").count() == 1
    page.locator(".field-fault [data-use]").click()
    confirmed(page)
    assert page.locator("[aria-invalid=true]").count() == 0
    assert page.locator(".field-fault").count() == 0
    assert all(cells[2] == "✓ agrees" for cells in rows(page).values())


def test_a_stem_that_would_not_fit_is_predicted_and_not_run(page: Page) -> None:
    page.locator("[data-field=height]").fill("12000")
    page.locator("[data-field=width]").fill("12000")
    refusal = page.locator("[data-slot=refusal]")
    expect(refusal).to_contain_text("image_size = 12000 x 12000: the run would take about")
    assert seq_len(page) == 750 * 750 + 1
    assert page.locator("[data-run]").is_hidden()
    assert page.locator(".vi").get_attribute("data-state") == "predicted"
    expect(opened_view(page, "Cell")).to_have_text(re.compile("^The run would not fit in memory"))
    refusal.get_by_text("Use it").click()
    run = page.locator("[data-run]")
    expect(refusal).to_be_empty()
    expect(run).to_be_visible()  # it fits, and costs too much to start by itself
    assert "MACs" in run.inner_text()


def test_a_costly_stem_runs_when_it_is_told_to(page: Page) -> None:
    page.locator(STEM).fill("7x7:96 bn relu, 16x16/16:64")
    run = page.locator("[data-run]")
    expect(run).to_be_hidden()
    page.locator(STEM).fill("7x7:512 bn relu, 16x16/16:64")
    expect(run).to_have_text(re.compile(r"Run: 5\.42 G MACs, about "))
    assert page.locator("[data-slot=status]").inner_text() == "predicted, float32"
    assert rows(page)["conv1"][:3] == ["512×224×224", "", ""]
    for view in ("Tokens", "Cell"):
        expect(opened_view(page, view)).to_have_text(
            re.compile("^This run is too expensive to start by itself")
        )
    expect(opened_view(page, "Maps")).to_contain_text("press Run above to see it")
    run.click()
    confirmed(page)
    assert rows(page)["conv1"][:3] == ["512×224×224", "512×224×224", "✓ agrees"]


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


def test_the_encoder_is_added_folded_and_opened(page: Page) -> None:
    page.get_by_label("encoder behind the stem").check()
    confirmed(page)
    assert page.locator(".totals dl").inner_text().startswith("MACs\n3.96 G")
    assert "107 of 107 layers agree" in page.locator(".summary").inner_text()
    fold = page.locator("[data-fold]")
    expect(page.locator("[data-fold-row]")).to_contain_text("16,270,848")
    assert page.locator('tr[data-layer="block1.qkv"]').is_hidden()
    fold.click()
    assert page.locator('tr[data-layer="block1.qkv"]').is_visible()
    page.locator('tr[data-layer="block1.qkv"]').click()
    expect(page.locator(".formulas")).to_contain_text("197·384·1152 = 87,146,496")
    for _ in range(2):
        page.keyboard.press("ArrowUp")  # by block1.norm1 to the fold, which chooses nothing
    expect(page.locator("[data-slot=panel] h2")).to_have_text(re.compile("^Output of block1.norm1"))
    page.keyboard.press("ArrowLeft")
    assert page.locator('tr[data-layer="block1.qkv"]').is_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".formulas")).to_contain_text("197·384·1152 = 87,146,496")
    assert "encoder=11,6,3,softmax&layer=block1.qkv&view=maps" in page.url
    page.locator("[data-field=attention]").select_option("linear")
    confirmed(page)
    expect(page.locator('.strip [data-layer="block1.norm1"]')).to_contain_text("linear")
    page.reload()
    confirmed(page)
    assert page.locator("[data-field=attention]").input_value() == "linear"
    expect(page.locator("[data-slot=panel] h2")).to_have_text(
        "Output of block1.qkv, before block1.attend"
    )
    page.locator("[data-field=num_heads]").fill("5")
    assert "num_heads = 5: it does not divide the token width 384. Use 4." in refused(page)
    page.locator(".field-fault [data-use]").click()
    confirmed(page)
    page.get_by_label("encoder behind the stem").uncheck()
    confirmed(page)
    assert "16 of 16 layers agree" in page.locator(".summary").inner_text()
    assert "encoder=off" in page.url


def opened_view(page: Page, name: str) -> Locator:
    """The panel after a click on one of its tabs."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    return page.locator("[data-slot=panel]")


def test_the_other_counts_are_shown_on_demand_and_never_of_an_older_stem(page: Page) -> None:
    page.get_by_label("encoder behind the stem").check()
    confirmed(page)
    opened_view(page, "Cost").get_by_text("MACs by every other way of counting").click()
    counts = page.locator("[data-slot=witnesses]")
    expect(counts).to_contain_text("torchinfo", timeout=20_000)
    assert counts.locator(".counts").inner_text().count("3,958,940,928") == 3
    expect(counts).to_contain_text("⚠ partial")
    counts.get_by_text("layer by layer").click()
    line = counts.locator(".layers tr", has_text="block1.qkv")
    assert line.inner_text().split() == ["block1.qkv", "87,146,496", "=", "=", "443,520", "="]
    page.get_by_label("conv2 stride").fill("1")
    expect(counts).to_be_empty()


def test_the_cost_is_split_weighed_and_held_against_the_paper(page: Page) -> None:
    panel = opened_view(page, "Cost")
    expect(panel).to_contain_text("The paper's Table 3, C, prints 435 M flops")
    panel.get_by_role("button", name="Put the encoder behind the stem").click()
    expect(panel).to_contain_text("1.36 transformer blocks")
    expect(panel).to_contain_text("378 M MACs more than patchify")
    expect(panel).to_contain_text("Table 1, ViT_C-4GF, prints 4.0 G flops")
    bars = panel.locator(".shares tbody tr")
    assert bars.first.inner_text().split()[:3] == ["conv1", "16.3", "M"]
    assert "attention × 11" in panel.locator(".shares").inner_text()
    panel.get_by_text("the paper's tables beside ours").click()
    expect(panel.locator(".printed")).to_contain_text("17,563,828,224about 17.5 G")
    expect(panel.locator(".printed")).to_contain_text("with 52 it costs the 422 M printed")
    assert "view=cost" in page.url
    page.reload()
    confirmed(page)
    expect(panel).to_contain_text("1.36 transformer blocks")


def test_the_length_panel_follows_the_model(page: Page) -> None:
    panel = opened_view(page, "Length")
    expect(panel).to_contain_text("197 rows; 197 tokens arrived (✓ observed)")
    expect(panel).to_contain_text("It takes images of 209 to 224 px")
    expect(panel).to_contain_text("size of tensor a (226) must match the size of tensor b (197)")
    panel.get_by_role("button", name="Put the encoder behind the stem").click()
    expect(panel.locator("svg.plot")).to_have_count(3)
    expect(panel).to_contain_text("8,448·n² (328 M)")
    page.locator("[data-field=attention]").select_option("linear")
    expect(panel).to_contain_text("Linear attention has no n² term")
    page.locator("[data-slider]").fill("208")
    expect(panel).to_contain_text("170 rows; 170 tokens arrived")
    assert panel.locator("svg.plot").first.get_attribute("aria-label") == (
        "Tokens against image size; 170 at 208 pixels"
    )


def test_every_layer_is_timed_with_progress_and_the_result_stays(page: Page) -> None:
    panel = opened_view(page, "Time")
    panel.get_by_role("button", name="Time every layer").click()
    expect(panel.get_by_role("button", name="Time again")).to_be_visible(timeout=60_000)
    expect(panel).to_contain_text("20 runs")
    assert panel.locator(".times tbody tr").count() == 16 + 1
    expect(panel).to_contain_text("0.75 for MACs and 0.93 for activations")
    assert panel.locator("svg.plot title").all_inner_texts() is not None
    figure = panel.locator(".figures strong").inner_text()
    opened_view(page, "Cost")
    expect(opened_view(page, "Time").locator(".figures strong")).to_have_text(figure)
    page.get_by_label("conv2 stride").fill("1")  # another stem, of which nothing is known
    expect(panel.get_by_role("button", name="Time every layer")).to_be_visible()


def test_a_measurement_can_be_stopped(page: Page) -> None:
    """It is stopped between the first figures and the next, which come and are not shown."""
    page.get_by_label("encoder behind the stem").check()  # 4 G MACs: seconds for all runs
    confirmed(page)
    panel = opened_view(page, "Time")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()

    def of_time(request: Request) -> bool:
        return '"fn_name":"time"' in (request.post_data or "")

    page.route("**/component_server/**", hold)
    panel.get_by_role("button", name="Time every layer").click()
    expect(panel.locator("progress")).to_be_visible(timeout=30_000)
    panel.get_by_role("button", name="Stop").click()
    expect(panel).to_contain_text("Stopped.")
    runs = panel.locator(".figures").inner_text()
    assert len(asked) == 2
    with page.expect_event("requestfinished", of_time):
        asked[1].continue_()
    page.wait_for_timeout(100)
    assert len(asked) == 2
    assert panel.locator(".figures").inner_text() == runs
    assert "of 20 runs" in runs
    expect(panel.get_by_role("button", name="Time again")).to_be_visible()


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


def test_statistics_and_weights_are_part_of_the_choice(page: Page) -> None:
    page.locator('tr[data-layer="norm1"]').click()
    panel = page.locator("[data-slot=panel]")
    expect(panel).to_contain_text("from this image, as in training")
    page.locator("[data-field=norm_statistics]").select_option("stored")
    confirmed(page)
    expect(panel).to_contain_text("it only divides by √(1 + 1e-5)")
    before = panel.locator(".wall img").get_attribute("src")
    expect(page.locator("[data-slot=from_file]")).to_contain_text("python app.py --weights PATH")
    page.locator("[data-field=weights]").select_option("trunc_normal")
    confirmed(page)
    assert panel.locator(".wall img").get_attribute("src") == before  # it draws proj alone anew
    assert "norm_statistics=stored" in page.url
    assert "weights=trunc_normal" in page.url
    page.locator("[data-field=stem]").fill("16x16/16:768")
    confirmed(page)
    expect(page.locator(".norm-choice")).to_be_hidden()


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


def test_a_pasted_error_is_explained_for_the_stem_on_the_screen(page: Page) -> None:
    page.get_by_role("button", name="Explain an error").click()
    box = page.locator("[data-error]")
    expect(box).to_be_focused()
    box.fill("The size of tensor a (257) must match the size of tensor b (197)")
    explained = page.locator("[data-slot=explained]")
    expect(explained).to_contain_text("257 = 16×16 + 1")
    expect(explained).to_contain_text("Resize the image")
    # the first reading large, each of the others on one line that opens
    articles = explained.locator("article")
    expect(explained.locator(".likeliest article")).to_be_visible()
    lines, shown = explained.locator(".reading > summary"), 2
    rest = explained.get_by_text("less likely reading")
    assert lines.count() == articles.count() - 1 == shown + int(rest.inner_text().split()[0])
    line = lines.first.bounding_box()
    assert line is not None
    assert line["height"] < 40  # however long its sentence is
    expect(articles.nth(1)).to_be_hidden()
    lines.first.click()
    expect(articles.nth(1)).to_be_visible()
    expect(lines.last).to_be_hidden()
    rest.click()
    expect(lines.last).to_be_visible()
    page.locator("[data-field=preset]").select_option("dinov2_s14")
    expect(explained).to_contain_text("strides multiply to 14")  # of the stem that is now shown
    expect(lines.last).to_be_visible()  # and stays open
    confirmed(page)
    box.fill("<b>no error at all</b>")
    expect(explained).to_have_text("This error is not known here.")
    assert page.locator(".vi").get_attribute("data-state") == "confirmed"  # the stem is as it was
    box.fill("")
    expect(explained).to_be_empty()


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


def test_the_tabs_work_by_keyboard_and_a_layer_brings_its_maps_back(page: Page) -> None:
    page.get_by_role("tab", name="Maps", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab").last).to_be_focused()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Cost", exact=True)).to_be_focused()
    expect(page.locator(".shares")).to_be_visible()
    page.locator('tr[data-layer="conv2"]').click()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of conv2, before norm2")
    expect(page.get_by_role("tab", name="Maps", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )


def test_back_forward_and_reload_restore_the_choice(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("dinov2_s14")
    expect(page.locator(".length strong")).to_have_text("257")
    confirmed(page)
    page.locator('tr[data-layer="pos_embed"]').click()
    page.locator("[data-field=preset]").select_option("pit_s")
    expect(page.locator(".length strong")).to_have_text("730")
    confirmed(page)
    page.go_back()
    expect(page.locator(".length strong")).to_have_text("257")
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of pos_embed")
    page.go_back()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj, before tokens")
    page.go_back()
    expect(page.locator(".length strong")).to_have_text("197")
    page.go_forward()
    expect(page.locator(".length strong")).to_have_text("257")
    page.reload()
    expect(page.locator(".length strong")).to_have_text("257")
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
        ("?preset=vit_c_5gf&size=64x64", "pvt_v2_b2, dinov2_s14, vitpose_b. Use vit_c_4gf."),
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
    assert "preset = 'constructor': it is not one of vit_c_1gf" in refused(tab)
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


def test_an_answer_that_comes_late_never_replaces_a_newer_one(page: Page) -> None:
    """The first of two predictions is held back until the second choice has been made."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", hold)
    page.locator("[data-slider]").fill("32")
    assert page.locator(".vi").get_attribute("data-state") == "stale"
    page.locator("[data-slider]").fill("448")
    held[0].continue_()
    expect(page.locator(".length strong")).to_have_text("785")
    confirmed(page)
    assert seq_len(page) == 785
    assert "size=448x448" in page.url


def test_a_panel_from_before_the_run_never_replaces_the_runs(page: Page) -> None:
    """A layer is clicked between prediction and run, and its panel comes after the run's answer.

    A run asks for the layer that is chosen when it starts. The run of the seed before is held
    until the click, so the next one asks for the clicked layer itself, and nothing is left to
    be asked for once its answer is on the screen.
    """
    runs: list[Route] = []
    early: list[Route] = []
    later: list[Route] = []

    def of_run(request: Request) -> bool:
        return '"fn_name":"run"' in (request.post_data or "")

    def of_panel(request: Request) -> bool:
        return '"part":"panel"' in (request.post_data or "")

    def hold(route: Route) -> None:
        if of_panel(route.request):
            (later if of_run(route.request) else early).append(route)
        elif of_run(route.request) and not runs:
            runs.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", hold)
    with page.expect_request(of_run):
        page.locator("[data-field=seed]").fill("5")
    page.locator("[data-field=seed]").fill("6")
    expect(page.locator(".vi")).to_have_attribute("data-state", "predicted")
    with page.expect_request(of_panel):
        page.locator('tr[data-layer="conv2"]').click()
    with page.expect_request(of_run) as second:
        runs[0].continue_()
    assert '"layer":"conv2"' in str(second.value.post_data)
    confirmed(page)
    # a second click asks once more, but not until the held panel has come and been dealt with
    page.locator('tr[data-layer="conv2"]').click()
    with page.expect_request(of_panel):
        early[0].continue_()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of conv2, before norm2")
    assert page.locator(".wall img").is_visible()
    later[0].continue_()


def hold_the_first_answer(page: Page) -> list[Route]:
    """Let no answer through until the returned route is continued."""
    held: list[Route] = []
    page.route(
        "**/component_server/**",
        lambda route: route.continue_() if held else held.append(route),
    )
    return held


def test_changes_made_while_an_answer_is_on_its_way_all_count(page: Page) -> None:
    held = hold_the_first_answer(page)
    page.get_by_label("conv2 stride").fill("1")
    page.locator("[data-slider]").fill("256")
    page.get_by_text("+ add a convolution").click()
    page.get_by_text("+ add a convolution").click()
    page.locator('tr[data-layer="proj"]').click()
    held[0].continue_()
    expect(page.locator(STEM)).to_have_value(
        "3x3/2:48 bn relu, 3x3:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu,"
        " 3x3/2:384 bn relu, 3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)
    assert seq_len(page) == 8 * 8 + 1
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj, before tokens")
    assert page.locator("tr.chosen").get_attribute("data-layer") == "proj"
    assert "size=256x256" in page.url
    assert "layer=proj" in page.url


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


def test_a_faulty_text_is_shown_in_the_editor_and_mended_there(page: Page) -> None:
    page.locator(STEM).fill("3x3/0:8 bn relu, 1x1:16")
    assert "conv1.stride = 0: the least is 1." in refused(page)
    assert page.locator("[data-row]").count() == 2
    assert page.locator("[aria-invalid=true]").get_attribute("aria-label") == "conv1 stride"
    page.locator(".field-fault [data-use]").click()
    expect(page.locator(STEM)).to_have_value("3x3:8 bn relu, 1x1:16")
    confirmed(page)
    page.locator(STEM).fill("3x3/2:8 bn relu, 1x")
    refused(page)
    assert page.locator("[data-row]").count() == 0


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


def test_many_changes_at_once_end_on_the_last(page: Page) -> None:
    page.evaluate(
        """async () => {
          const slider = document.querySelector('[data-slider]');
          for (let size = 100; size <= 300; size += 5) {
            slider.value = size;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            await new Promise((done) => setTimeout(done, 15));
          }
        }"""
    )
    expect(page.locator(".length strong")).to_have_text(str(19 * 19 + 1))
    confirmed(page)
    assert rows(page)["proj"][:3] == ["384×19×19", "384×19×19", "✓ agrees"]


def test_a_server_that_is_gone_is_said_and_nothing_stale_stays(
    app: Served, window: BrowserContext
) -> None:
    """The app of the other tests, which has never seen this page, is the server started again."""
    page = window.new_page()
    with served("--port", str(free_port()), "--preset", "pit_s") as first:
        page.goto(first.address)
        confirmed(page)
        assert seq_len(page) == 730
    page.locator("[data-slider]").fill("100")
    assert "The server does not answer" in refused(page)
    assert page.locator(".length").count() == 0
    page.route(
        f"{first.address}**",
        lambda route: route.continue_(url=route.request.url.replace(first.address, app.address, 1)),
    )
    page.locator("[data-retry]").first.click()
    confirmed(page)
    assert seq_len(page) == 11 * 11 + 1
    page.close()


# Whether no cell of the table lies out of sight, and a finger finds every row that can be chosen.
TABLE_FITS = """
() => {
  const table = document.querySelector('[data-slot=table]');
  const rows = [...table.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility());
  const tapped = rows.filter((row) => row.querySelector('button'));
  const ends = [...table.querySelectorAll('td')].map((cell) => cell.getBoundingClientRect().right);
  return table.scrollWidth <= table.clientWidth && Math.max(...ends) <= innerWidth
    && tapped.length > 3 && tapped.every((row) => row.offsetHeight >= 40);
}
"""


# What a finger could miss; what stands in a sentence may be small, and of a table the row is hit.
TOO_SMALL = """
() => [...document.querySelectorAll('.vi :is(button, summary, select, textarea, input)')]
  .filter((part) => part.checkVisibility() && !part.matches('.inline, .map-link, th *'))
  .map((part) => part.closest('label.check') ?? part)
  .filter((part) => part.offsetHeight < 40 || part.offsetWidth < 40)
  .map((part) => part.outerHTML)
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_reads_totals_strip_table_maps_in_this_order(
    app: Served, chromium: Browser, scheme: str
) -> None:
    context = chromium.new_context(viewport=PHONE, color_scheme=scheme, has_touch=True)
    page = context.new_page()
    page.goto(app.address)
    confirmed(page)
    tops = [
        page.locator(f"[data-slot={name}]").bounding_box()
        for name in ("totals", "strip", "table", "panel")
    ]
    assert sorted(box["y"] for box in tops if box) == [box["y"] for box in tops if box]
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(TABLE_FITS)
    assert page.locator(".choose").is_hidden()
    page.get_by_text("Choose a stem").tap()
    page.locator("[data-field=height]").fill("12000")
    expect(page.locator(".length strong")).to_have_text("10,501")
    for name in ("totals", "status", "strip", "table", "panel"):
        box = page.locator(f"[data-slot={name}]").bounding_box()
        assert box
        assert box["x"] + box["width"] <= PHONE["width"]
    page.locator("[data-field=height]").fill("224")
    page.get_by_label("conv2 stride").fill("1")
    expect(page.locator(".length strong")).to_have_text("785")
    confirmed(page)
    assert page.evaluate(TOO_SMALL) == []
    page.get_by_label("encoder behind the stem").scroll_into_view_if_needed()
    page.get_by_text("Show 785 tokens").tap()  # it stays in sight
    expect(page.locator(".length")).to_be_in_viewport()
    expect(page.locator("[data-toggle-choose]")).to_have_text("Choose a stem")
    panel = opened_view(page, "Cost")
    panel.get_by_text("the paper's tables beside ours").tap()
    tables = panel.locator(".scroll", has=page.locator(".printed"))
    expect(tables).to_be_visible()
    assert tables.evaluate("box => box.scrollWidth <= box.clientWidth")
    context.close()


# Contrast of text against what is behind it, by the formula of WCAG 2.2, section 1.4.3.
CONTRAST = """
() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const room = e.matches('.chosen') && e.querySelector(':scope > .room');
      const colour = rgb(room ? getComputedStyle(room).fill : getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.querySelector('.vi'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || text === '·' || !element.checkVisibility()) continue;
    if (element.closest('.marks')) continue; // on a picture, with an outline of their own
    const style = getComputedStyle(element);
    const front = rgb(element.closest('svg') ? style.fill : style.color);
    const back = behind(element);
    let share = 1; // of the front where the element, or what it stands in, lets the back through
    for (let e = element; e; e = e.parentElement) share *= getComputedStyle(e).opacity;
    const mixed = back.slice(0, 3).map((v, i) => share * front[i] + (1 - share) * v);
    const [a, b] = [light(mixed), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


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


def test_rows_that_are_never_read_are_said(page: Page) -> None:
    page.locator("[data-field=preset]").select_option("vitpose_b")
    expect(page.locator(".warning")).to_have_text(
        "⚠ proj never reads 2 of 256 rows (254, 255) and 2 of 192 columns (190, 191)."
    )
