"""Take the README's picture anew: python -m docs.screenshot."""

from pathlib import Path

from tests.chromium import browser
from tests.served import served


def main() -> None:
    """Write docs/screenshot.png: the first screen, 1440 x 900, light."""
    with served("--port", "7977") as app, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(app.address)
        page.wait_for_selector(".vi[data-state=confirmed]")
        page.screenshot(path=Path(__file__).with_name("screenshot.png"))


if __name__ == "__main__":
    main()
