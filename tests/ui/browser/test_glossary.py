"""Cards of terms: opened by mouse, finger and keys, one at a time, inside the window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.served import Served
from tests.ui.browser.screen import CONTRAST, DESK, PHONE, TOO_SMALL, confirmed, opened_view
from vitc_inspect.views.glossary import GLOSSARY

CARD = ".term-card"
OUTSIDE = """
card => {
  const box = card.getBoundingClientRect();
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  return box.left < 0 || box.top < 0 || box.right > width || box.bottom > height
    || card.scrollWidth > card.clientWidth;
}
"""
"""Whether some of the card is out of sight."""


@pytest.fixture
def cost(page: Page) -> Page:
    """The tab Cost, whose table has terms as its heads."""
    expect(opened_view(page, "Cost").locator(".shares")).to_be_visible()
    return page


@pytest.fixture(params=["light", "dark"])
def phone(app: Served, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page on a phone with a touch screen."""
    context = chromium.new_context(viewport=PHONE, has_touch=True, color_scheme=request.param)
    page = context.new_page()
    page.goto(f"{app.address}?__theme={request.param}")
    confirmed(page)
    yield page
    context.close()


def a_term(page: Page, key: str) -> Locator:
    return page.locator(f'[data-slot=panel] [data-term="{key}"]').first


def shown(page: Page, key: str) -> None:
    """The card of this term is the one that is open, and all of it is in sight."""
    card, term = page.locator(CARD), GLOSSARY[key]
    expect(card).to_have_count(1)
    expect(card).to_be_visible()
    expect(card.get_by_role("heading")).to_have_text(term.title)
    expect(card).to_contain_text(term.text)
    expect(card).to_contain_text(term.formula)
    assert not card.evaluate(OUTSIDE)
    expect(page.locator("[data-term][aria-expanded=true]")).to_have_count(1)
    expect(a_term(page, key)).to_have_attribute("aria-expanded", "true")


def closed(page: Page) -> None:
    expect(page.locator(CARD)).to_be_hidden()
    expect(page.locator("[data-term][aria-expanded]")).to_have_count(0)


def test_a_click_opens_a_card_another_click_closes_it_and_one_is_open_at_most(cost: Page) -> None:
    a_term(cost, "macs").click()
    shown(cost, "macs")
    a_term(cost, "params").click()
    shown(cost, "params")
    a_term(cost, "params").click()
    closed(cost)
    a_term(cost, "flops").click()
    cost.locator("h1").click()
    closed(cost)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_open_a_card_and_escape_gives_the_focus_back(cost: Page, key: str) -> None:
    term = a_term(cost, "activations")
    term.focus()
    cost.keyboard.press(key)
    shown(cost, "activations")
    expect(cost.get_by_role("dialog", name="Activations")).to_be_focused()
    cost.keyboard.press("Escape")
    closed(cost)
    expect(term).to_be_focused()
    term.press(key)
    cost.get_by_role("button", name="Close").click()
    closed(cost)
    expect(term).to_be_focused()


def test_escape_closes_the_card_and_nothing_behind_it(page: Page) -> None:
    page.locator('[data-slot=panel] [data-map="3"]').first.or_(
        page.locator("[data-slot=panel] .wall")
    ).first.click(position={"x": 20, "y": 20})
    header = page.locator("[data-slot=panel] h2")
    expect(header).to_contain_text("Map")
    title = header.inner_text()
    a_term(page, "feature_map").click()
    shown(page, "feature_map")
    page.keyboard.press("Escape")
    closed(page)
    assert header.inner_text() == title
    page.keyboard.press("Escape")
    expect(header).to_contain_text("Output")


def test_a_card_follows_its_term_and_goes_with_it(cost: Page) -> None:
    a_term(cost, "macs").click()
    before = cost.locator(CARD).bounding_box()
    cost.set_viewport_size({"width": 900, "height": 600})
    shown(cost, "macs")
    assert cost.locator(CARD).bounding_box() != before
    cost.get_by_role("tab", name="Cost", exact=True).focus()
    cost.evaluate("document.querySelector('[data-slot=panel]').replaceChildren()")
    cost.set_viewport_size(DESK)
    closed(cost)


VIEWS = {
    "Maps": ".wall",
    "Cell": ".cell-slide",
    "Tokens": ".token-panel",
    "Pixels": ".pixel-panel",
    "Cost": ".shares",
    "Length": ".plot",
}
"""The tabs with terms, and what is in each."""


def test_every_term_of_every_tab_opens_its_card_by_touch_inside_the_window(phone: Page) -> None:
    for view, content in VIEWS.items():
        panel = opened_view(phone, view)
        expect(panel.locator(content).first).to_be_visible()
        terms = panel.locator("[data-term]:visible")
        assert terms.count()
        for number in range(terms.count()):
            every_word_of_its_card_is_seen(phone, terms.nth(number))
        expect(phone.locator(":is(button, a, label, summary) [data-term]")).to_have_count(0)
        small = phone.evaluate(TOO_SMALL)
        assert [button for button in small if "data-term" in button] == []


def every_word_of_its_card_is_seen(page: Page, one: Locator) -> None:
    """Open the card of a term by touch, and close it."""
    term = GLOSSARY[str(one.get_attribute("data-term"))]
    one.tap()
    card = page.locator(CARD)
    expect(card.get_by_role("heading")).to_have_text(term.title)
    assert not card.evaluate(OUTSIDE)
    assert [line for line in page.evaluate(CONTRAST) if line.split(": ")[0] in term.text] == []
    card.get_by_role("button", name="Close").tap()
    closed(page)


def test_terms_cost_no_height_and_are_large_enough_to_hit(cost: Page) -> None:
    small = """
    terms => terms.filter((term) => term.checkVisibility())
      .filter((term) => term.offsetHeight < 24 || term.offsetWidth < 24)
      .map((term) => term.textContent)
    """
    assert cost.locator("[data-slot=panel] [data-term]").evaluate_all(small) == []
    line = cost.locator(".remark", has=cost.locator('[data-term="flops"]'))
    taller = """
    line => {
      const tall = line.offsetHeight;
      for (const term of line.querySelectorAll('.term')) term.replaceWith(term.textContent);
      return tall - line.offsetHeight;
    }
    """
    assert line.evaluate(taller) == 0
