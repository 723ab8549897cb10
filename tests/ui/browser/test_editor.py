"""The controls: the stem as text and as rows, the image size, the encoder, the weights."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.ui.browser.screen import (
    STEM,
    confirmed,
    has_tokens,
    opened_view,
    refused,
    rows,
    seq_len,
    steps_back,
)


def test_a_stem_typed_as_text(page: Page) -> None:
    page.locator("[data-field=stem]").fill("16x16/16:768")
    has_tokens(page, 197)
    confirmed(page)
    assert list(rows(page)) == ["proj", "tokens", "class_token", "pos_embed"]
    assert rows(page)["proj"][3] == "590,592"
    assert page.locator("[data-field=preset]").input_value() == "vit_p_18gf"
    assert page.locator("[data-row]").count() == 1


PASTED = """
self.stem = nn.Sequential(
    nn.Conv2d(3, 24, kernel_size=3, stride=2, padding=1, bias=False),
    nn.BatchNorm2d(24), nn.ReLU(inplace=True),
    nn.Conv2d(24, 64, 8, 8),  # to tokens
)
"""


def test_pytorch_code_that_is_pasted_is_read_as_a_stem(page: Page) -> None:
    page.locator(STEM).fill(PASTED)
    expect(page.locator(STEM)).to_have_value("3x3/2:24 bn relu, 8x8/8:64")
    confirmed(page)
    assert seq_len(page) == 197
    assert "stem=3x3/2:24+bn+relu,+8x8/8:64&" in page.url
    page.locator(STEM).fill("nn.Conv2d(3, dim, 16, 16)")
    assert "line 1" in refused(page)
    steps_back(page)


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
    page.get_by_text("+ convolution").click()
    expect(page.locator("[data-row]")).to_have_count(6)
    confirmed(page)
    assert seq_len(page) == 7 * 7 + 1
    page.get_by_label("more of conv1").click()
    page.get_by_label("remove conv1").click()
    expect(page.locator("[data-row]")).to_have_count(5)
    confirmed(page)
    assert seq_len(page) == 197


@pytest.mark.parametrize(("size", "tokens"), [(225, 226), (223, 197), (32, 5)])
def test_the_slider_changes_both_sides(page: Page, size: int, tokens: int) -> None:
    """225 pixels give the padded stem 15 tokens a side, 223 pixels 14 (FACTS, section 4)."""
    page.locator("[data-slider]").fill(str(size))
    has_tokens(page, tokens)
    assert page.locator("[data-field=width]").input_value() == str(size)
    confirmed(page)


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
def test_a_bad_value_is_one_sentence_the_last_result_steps_back_and_its_suggestion_works(
    page: Page, control: str, typed: str, says: str
) -> None:
    field = page.locator(control)
    if field.get_attribute("type") == "number" and not re.fullmatch(r"-?[\d.e]*", typed):
        raise AssertionError("a number field takes no such text")
    field.fill(typed)
    assert says in refused(page)
    assert seq_len(page) == 197  # of the stem before
    steps_back(page)
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
    expect(opened_view(page, "Cell")).to_have_text(re.compile("^The run would be too large"))
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


def test_the_encoder_is_added_folded_and_opened(page: Page) -> None:
    page.get_by_label("encoder behind the stem").check()
    confirmed(page)
    assert page.locator(".totals dl").inner_text().startswith("MACs\n3.96 G")
    assert "107 of 107 layers" in page.locator(".summary").inner_text()
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
    expect(page.locator('.strip [data-layers~="block1.norm1"]')).to_contain_text("linear")
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
    assert "16 of 16 layers" in page.locator(".summary").inner_text()
    assert "encoder=off" in page.url


def test_statistics_and_weights_are_part_of_the_choice(page: Page) -> None:
    page.get_by_role("button", name="8 norms and activations").click()
    page.locator('tr[data-layer="norm1"]').click()
    panel = page.locator("[data-slot=panel]")
    expect(panel).to_contain_text("from this image, as in training")
    page.locator("[data-field=norm_statistics]").select_option("stored")
    confirmed(page)
    expect(panel).to_contain_text("it only divides by √(1 + 1e-5)")
    before = panel.locator(".wall img").get_attribute("src")
    expect(page.locator("[data-slot=from_file]")).to_contain_text("start with --weights PATH")
    page.locator("[data-field=weights]").select_option("trunc_normal")
    confirmed(page)
    assert panel.locator(".wall img").get_attribute("src") == before  # it draws proj alone anew
    assert "norm_statistics=stored" in page.url
    assert "weights=trunc_normal" in page.url
    page.locator("[data-field=stem]").fill("16x16/16:768")
    confirmed(page)
    expect(page.locator(".norm-choice")).to_be_hidden()


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
