"""A position table that is kept while the image size is changed: the error that everybody meets."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.ui.browser.screen import confirmed, has_tokens, seq_len, steps_back


def test_the_table_of_224_is_kept_and_the_run_raises_what_it_means(page: Page) -> None:
    page.get_by_label("keep the position table of this size").check()
    confirmed(page)
    expect(page.get_by_label("keep the position table of 224 × 224")).to_be_checked()
    assert "table_of=224x224" in page.url
    assert seq_len(page) == 197
    page.locator("[data-field=height]").fill("256")
    page.locator("[data-field=width]").fill("256")
    fault = page.locator("[data-slot=fault]")
    expect(fault).to_contain_text("size of tensor a (257) must match the size of tensor b (197)")
    expect(fault.locator("[role=alert]")).to_contain_text(
        "256 × 256 with the position table of 224"
    )
    expect(fault.locator("article")).to_contain_text("the table was made for 224×224")
    expect(fault.locator("li")).to_have_count(2)
    expect(fault.locator("li").last).to_contain_text("interpolate the table from 14×14 to 16×16")
    expect(page.locator(".vi")).to_have_attribute("data-state", "fault")
    assert seq_len(page) == 197  # the last valid result
    steps_back(page)
    page.reload()
    expect(fault).to_contain_text("size of tensor a (257)")
    expect(page.get_by_label("keep the position table of 224 × 224")).to_be_checked()
    fault.get_by_role("button", name="Use a table for 256 × 256").click()
    has_tokens(page, 257)
    confirmed(page)
    assert "table_of" not in page.url
    expect(page.get_by_label("keep the position table of this size")).not_to_be_checked()


def test_a_size_with_as_many_tokens_and_a_stem_without_a_table_run(page: Page) -> None:
    page.get_by_label("keep the position table of this size").check()
    page.locator("[data-field=height]").fill("210")
    page.locator("[data-field=width]").fill("224")
    has_tokens(page, 197)
    confirmed(page)
    page.locator("[data-field=height]").fill("64")
    expect(page.locator(".vi")).to_have_attribute("data-state", "fault")
    page.locator("[data-field=position_table]").uncheck()
    has_tokens(page, 57)
    confirmed(page)
    expect(page.locator(".kept-table")).to_be_hidden()
