"""Pictures that are pasted, taken by a camera, fitted to the input, and shown larger."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import launched
from tests.served import Served
from tests.ui.browser.conftest import new_tab, watched
from tests.ui.browser.picture_files import opens, picture
from tests.ui.browser.screen import PHONE, TOO_SMALL, confirmed

PASTE = """
([selector, kind, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const clipboardData = new DataTransfer();
  if (name) clipboardData.items.add(new File([bytes], name, { type: kind }));
  else clipboardData.setData('text/plain', 'a text');
  const event = new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true });
  document.querySelector(selector).dispatchEvent(event);
  return event.defaultPrevented;
}
"""
"""What a browser does when something is pasted; whether the page has taken it."""

CHOSEN = "[data-field=image] option:checked"
SAID = "[data-slot=crop]"
FIT = "[data-field=fit]"
DIALOG = "dialog[open]"


def pastes(page: Page, selector: str, kind: str = "image/png", name: str = "image.png") -> bool:
    content = b64encode(picture("PNG", "RGB")).decode()
    return bool(page.evaluate(PASTE, [selector, kind, name, content]))


@pytest.mark.parametrize("where", ["body", "[data-field=image]", "[data-slider]"])
def test_a_picture_is_pasted_anywhere_outside_of_text(page: Page, where: str) -> None:
    assert pastes(page, where)
    expect(page.locator(CHOSEN)).to_have_text("Your picture: image.png")
    confirmed(page)
    expect(page.locator(SAID)).to_contain_text("to its middle 200×200 of 200×300 pixels")


def test_what_is_no_picture_and_what_is_pasted_into_text_is_left_alone(page: Page) -> None:
    assert not pastes(page, "body", name="")
    assert not pastes(page, "body", "text/plain", "letter.txt")
    assert not pastes(page, "[data-field=stem]")
    assert not pastes(page, "[data-field=height]")
    expect(page.locator(CHOSEN)).to_have_text("Photograph: Grace Hopper")
    expect(page.locator("[data-slot=notes]")).to_be_empty()


def test_each_way_to_fit_is_said_drawn_and_in_the_link(page: Page) -> None:
    said, seen = page.locator(SAID), set()
    for fit, words in {
        "crop": "cropped to its middle 512×512 of 600×512 pixels, then resized to 224×224",
        "pad": "resized from 600×512 to 224×191 pixels, then padded to 224×224",
        "stretch": "stretched from 600×512 to 224×224 pixels, which changes its proportions",
    }.items():
        page.locator(FIT).select_option(fit)
        expect(said).to_contain_text(words)
        confirmed(page)
        seen.add(page.locator(".block.input image").get_attribute("href"))
        assert ("fit=" in page.url) == (fit != "crop")
    assert len(seen) == 3
    page.reload()
    confirmed(page)
    expect(page.locator(FIT)).to_have_value("stretch")
    page.locator("[data-field=image]").select_option("ramp")
    expect(said).to_have_text(
        "A test pattern is drawn at the image size, so there is nothing to fit."
    )
    page.go_back()
    page.go_back()
    expect(page.locator("[data-slot=undone]")).to_contain_text("how the picture is fitted")


def test_a_fit_that_is_none_is_refused_and_mended(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?preset=vit_p_1gf&fit=fill")
    fault = tab.locator(".field-fault")
    expect(fault).to_contain_text("fit = 'fill': it is not one of crop, pad, stretch")
    fault.get_by_role("button", name="Use it").click()
    confirmed(tab)
    expect(tab.locator(FIT)).to_have_value("crop")


def test_the_size_takes_the_proportions_of_the_picture_and_back(page: Page) -> None:
    opens(page, "wide.png", picture("PNG", "RGB", (300, 200)))
    keep = page.get_by_role("button", name="Keep proportions: 224 × 336")  # 224 · 300 / 200
    keep.click()
    confirmed(page)
    expect(page.locator("[data-field=height]")).to_have_value("224")
    expect(page.locator("[data-field=width]")).to_have_value("336")
    expect(page.locator(SAID)).to_contain_text("resized from 200×300 to 224×336 pixels")
    expect(page.locator("[data-proportions]")).to_be_hidden()
    page.go_back()
    confirmed(page)
    expect(page.locator("[data-field=width]")).to_have_value("224")
    expect(keep).to_be_visible()


def test_the_image_is_shown_larger_and_escape_closes_it(page: Page) -> None:
    page.locator(FIT).select_option("pad")
    confirmed(page)
    larger = page.get_by_role("button", name="Show the image larger")
    larger.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="The image")
    fed = dialog.get_by_role("img", name="As the input: 3×224×224")
    whole = dialog.get_by_role("img", name="As it was opened: 600×512 pixels")
    expect(fed).to_be_visible()
    size = "image => [image.naturalHeight, image.naturalWidth]"
    assert fed.evaluate(size) == [224, 224]
    assert whole.evaluate(size) == [600, 512]
    expect(dialog).to_contain_text("padded to 224×224 with its mean colour")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(larger).to_be_focused()
    page.locator("[data-field=image]").select_option("impulse")
    confirmed(page)
    larger.click()
    expect(dialog.get_by_role("img", name="As the input")).to_be_visible()
    expect(dialog.get_by_role("img")).to_have_count(1)
    page.mouse.click(3, 3)  # beside it
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("NotAllowedError", "the browser may not use it. Allow the camera for this page"),
        ("NotFoundError", "there is none. Connect one, or open a file."),
        ("NotReadableError", "another program uses it. Close that program"),
        ("AbortError", "it does not work. Open a file."),
    ],
)
def test_why_there_is_no_camera_is_said_in_a_sentence(page: Page, error: str, says: str) -> None:
    page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => {"
        " throw new DOMException('', name); }; }",
        error,
    )
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("[data-slot=notes] [role=alert]")).to_contain_text(f"camera: {says}")
    expect(page.locator(DIALOG)).to_have_count(0)
    expect(page.locator(CHOSEN)).to_have_text("Photograph: Grace Hopper")


def test_a_browser_without_a_camera_shows_no_button(app: Served, tab: Page) -> None:
    tab.add_init_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    tab.goto(app.address)
    confirmed(tab)
    expect(tab.locator("[data-camera]")).to_be_hidden()
    assert pastes(tab, "body")


@pytest.fixture(scope="module")
def filming(chromium: Browser) -> Iterator[Browser]:
    """A browser whose camera shows a test picture, and which asks nobody."""
    fakes = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with launched(chromium.browser_type, *fakes) as running:
        yield running


@pytest.fixture
def filmed(app: Served, filming: Browser) -> Iterator[Page]:
    """The page in that browser; every stream that it gets is kept in `streams`."""
    window = filming.new_context(viewport=PHONE)
    with watched(new_tab(window)) as page:
        page.add_init_script(
            """
            window.streams = [];
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (what) => {
              const stream = await ask(what);
              window.streams.push(stream);
              await window.held;
              return stream;
            };
            """
        )
        page.goto(app.address)
        confirmed(page)
        page.get_by_role("button", name="Edit the stem").click()
        page.get_by_role("button", name="Image", exact=True).click()
        yield page
    window.close()


LIVE = "() => streams.flatMap((s) => s.getTracks()).filter((t) => t.readyState === 'live').length"


def test_a_picture_is_taken_and_the_camera_stops(filmed: Page) -> None:
    filmed.get_by_role("button", name="Camera").click()
    dialog = filmed.get_by_role("dialog", name="Take a picture")
    take = dialog.get_by_role("button", name="Take the picture")
    expect(take).to_be_enabled()
    assert filmed.evaluate(LIVE) == 1
    assert filmed.evaluate(TOO_SMALL) == []
    take.click()
    expect(dialog).to_be_hidden()
    filmed.wait_for_function(f"({LIVE})() === 0")
    expect(filmed.locator(CHOSEN)).to_have_text("Your picture: camera.jpg")
    confirmed(filmed)
    expect(filmed.locator(SAID)).to_contain_text("cropped to its middle")


@pytest.mark.parametrize("way", ["Cancel", "Escape"])
def test_a_camera_that_is_not_wanted_stops(filmed: Page, way: str) -> None:
    filmed.get_by_role("button", name="Camera").click()
    dialog = filmed.get_by_role("dialog", name="Take a picture")
    expect(dialog.get_by_role("button", name="Take the picture")).to_be_enabled()
    if way == "Escape":
        filmed.keyboard.press("Escape")
    else:
        dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    filmed.wait_for_function(f"({LIVE})() === 0")
    expect(filmed.locator(CHOSEN)).to_have_text("Photograph: Grace Hopper")


def test_a_camera_that_is_allowed_too_late_is_stopped_at_once(filmed: Page) -> None:
    filmed.evaluate("() => { window.held = new Promise((go) => { window.allow = go; }); }")
    filmed.get_by_role("button", name="Camera").click()
    filmed.wait_for_function("streams.length === 1")
    filmed.keyboard.press("Escape")
    expect(filmed.locator(DIALOG)).to_have_count(0)
    assert filmed.evaluate(LIVE) == 1
    filmed.evaluate("allow()")
    filmed.wait_for_function(f"({LIVE})() === 0")
