"""The list of keys."""

from __future__ import annotations

from playwright.sync_api import Page, expect


def test_a_question_mark_shows_the_keys_and_escape_gives_the_focus_back(page: Page) -> None:
    dialog = page.get_by_role("dialog", name="Keys")
    page.locator("[data-field=stem]").focus()
    page.keyboard.press("?")
    expect(dialog).to_have_count(0)
    page.keyboard.press("Control+z")
    tab = page.get_by_role("tab", name="Maps")
    tab.focus()
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    heads = [text for text in dialog.locator("th").all_inner_texts() if text]
    assert heads[0] == "Page"
    assert {"Strip", "Tabs", "Table", "Wall of maps", "Map", "Cell", "Tokens", "Pixels"} <= {*heads}
    expect(dialog).to_contain_text("take the last change back")
    assert all(dialog.locator("td").all_inner_texts())
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(tab).to_be_focused()
    page.get_by_role("button", name="Keys").click()
    expect(dialog).to_be_visible()
