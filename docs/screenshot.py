"""Take the README's pictures anew: python -m docs.screenshot."""

from pathlib import Path

from playwright.sync_api import Page

from tests.chromium import browser
from tests.served import served

_HERE = Path(__file__).parent


def main() -> None:
    """Write screenshot.png, the first screen, cell.png, one panel, and module.png, both light."""
    with served("--port", "7977") as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        _open(page, app.address)
        page.screenshot(path=_HERE / "screenshot.png")
        page.set_viewport_size({"width": 1440, "height": 1400})
        _open(page, f"{app.address}?view=cell&layer=conv2&cell=7,0,12")
        page.wait_for_selector(".cell-equation")
        page.locator(".panel").screenshot(path=_HERE / "cell.png")
    module = ("--module", "tests/faulty.py:Scrambled", "--input", "1,3,64,64")
    with served("--port", "7978", *module) as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        _open(page, f"{app.address}?layer=/reshape:1&view=reach&token=4,9")
        page.wait_for_selector(".reach-facts")
        page.screenshot(path=_HERE / "module.png")


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".vi[data-state=confirmed]")
    page.wait_for_timeout(400)  # the fade of the results


if __name__ == "__main__":
    main()
