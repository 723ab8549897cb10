"""What is read off the page, and steps that several browser tests take."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, Route, expect

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


def confirmed(page: Page) -> None:
    """Wait until the run of the newest choice is on the screen."""
    expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed", timeout=60_000)


def refused(page: Page) -> str:
    """Wait for a fault and return its sentence."""
    expect(page.locator(".vi")).to_have_attribute("data-state", "fault", timeout=20_000)
    return page.locator("[data-slot=fault] [role=alert]").inner_text()


def seq_len(page: Page) -> int:
    return int(page.locator("[data-seq-len]").get_attribute("data-seq-len") or 0)


def has_tokens(page: Page, number: int) -> None:
    """Wait until the headline is of a sequence of this length."""
    expect(page.locator("[data-seq-len]")).to_have_attribute("data-seq-len", str(number))


def rows(page: Page) -> dict[str, list[str]]:
    """The table: predicted, observed, verdict, params, MACs and receptive field by layer."""
    texts = page.locator(".table tbody tr:not(.apart)").evaluate_all(
        """
        rows => rows.map(row => [...row.querySelectorAll(':scope > :not(.formula)')].map(cell => {
          const mark = cell.querySelector('.mark');
          return cell.innerText.trim() + (mark ? ` ${mark.ariaLabel}` : '');
        }))
        """
    )
    return {cells[0]: cells[1:] for cells in texts}


STEM = "[data-field=stem]"


def steps_back(page: Page) -> None:
    """The results on the screen, if any, are dimmed and cannot be used."""
    parts = page.locator(".results > :not(.fault)")
    assert parts.evaluate_all("all => all.every(part => part.inert)")
    shown = "all => all.filter(part => part.checkVisibility()).map(part => part.style.opacity || "
    shown += "getComputedStyle(part).opacity).every(opacity => Number(opacity) < 0.5)"
    assert parts.evaluate_all(shown)


def opened_view(page: Page, name: str) -> Locator:
    """The panel after a click on one of its tabs."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    return page.locator("[data-slot=panel]")


def hold_the_first_answer(page: Page) -> list[Route]:
    """Let no answer through until the returned route is continued."""
    held: list[Route] = []
    page.route(
        "**/component_server/**",
        lambda route: route.continue_() if held else held.append(route),
    )
    return held


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
