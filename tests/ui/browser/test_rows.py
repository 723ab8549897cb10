"""Rows of the editor: inserted and moved."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.ui.browser.screen import confirmed

STEM = "[data-field=stem]"


def test_an_inserted_row_is_a_copy_with_what_was_chosen_in_its_lists(page: Page) -> None:
    page.get_by_label("more of conv2").click()
    page.get_by_label("conv2 activation").select_option("gelu")
    page.get_by_label("insert before conv2").click()
    expect(page.locator(STEM)).to_have_value(
        "3x3/2:48 bn relu, 3x3/2:96 bn gelu, 3x3/2:96 bn gelu, 3x3/2:192 bn relu, "
        "3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)


def test_a_row_is_moved_by_its_button_and_by_keys(page: Page) -> None:
    page.get_by_label("more of conv2").click()
    page.get_by_label("move conv2 up").click()
    expect(page.locator(STEM)).to_have_value(
        "3x3/2:96 bn relu, 3x3/2:48 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)
    page.get_by_label("conv1 stride", exact=True).press("Alt+ArrowDown")
    expect(page.locator(STEM)).to_have_value(
        "3x3/2:48 bn relu, 3x3/2:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)
