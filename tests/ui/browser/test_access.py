"""The page behind its checks: its policy, a token, a proxy, a folder, a notebook, a Space."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.proxy import framing, proxied
from tests.served import Served, free_port, served
from tests.ui.browser.conftest import new_tab, watched

MODULE = ("--module", "tests/faulty.py:Sized", "--input", "1,3,32,32")
VIOLATIONS = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="module")
def module_app() -> Iterator[Served]:
    with served("--port", str(free_port()), *MODULE, "--token", "to-ken") as running:
        yield running


@pytest.fixture(params=["light", "dark"])
def coloured(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    window = chromium.new_context(color_scheme=request.param)
    window.add_init_script(VIOLATIONS)
    yield window
    window.close()


def works(page: Page) -> None:
    expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed", timeout=60_000)
    for tab in page.locator("[role=tab]").all():
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        page.wait_for_load_state("networkidle")


def test_the_page_of_stems_keeps_to_its_policy(app: Served, coloured: BrowserContext) -> None:
    with watched(new_tab(coloured)) as page:
        page.goto(app.address)
        works(page)
        page.locator("input[type=file]").first.set_input_files("docs/cell.png")
        expect(page.locator("[data-field=image]")).to_have_value(
            re.compile("^upload"), timeout=20_000
        )
        expect(page.locator(".vi")).to_have_attribute("data-state", "confirmed", timeout=20_000)
        assert page.evaluate("violations") == []


def test_a_modules_page_asks_for_its_token_and_keeps_to_its_policy(
    module_app: Served, coloured: BrowserContext
) -> None:
    with watched(new_tab(coloured)) as page:
        page.goto(f"{module_app.address}?layer=act:1&access_token=to-ken")
        works(page)
        assert "to-ken" not in page.url
        assert "layer=act" in page.url
        assert page.evaluate("document.cookie") == ""  # scripts do not see it
        page.reload()
        works(page)
        assert page.evaluate("violations") == []


def test_without_the_token_a_sentence_says_where_it_is(
    module_app: Served, chromium: Browser
) -> None:
    page = chromium.new_page()
    answer = page.goto(module_app.address)
    assert answer is not None
    assert answer.status == 401
    expect(page.locator("body")).to_contain_text("open the whole address that was printed")
    page.close()


def test_a_script_that_got_into_the_page_does_not_run(
    app: Served, coloured: BrowserContext
) -> None:
    page = coloured.new_page()
    page.goto(app.address)
    page.evaluate("""() => {
      document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.got = 1">');
      const script = document.createElement('script');
      script.textContent = 'window.got = 2';
      document.body.append(script);
      document.body.insertAdjacentHTML('beforeend', '<iframe src="https://evil.example/"></iframe>');
      fetch('https://evil.example/').catch(() => {});
    }""")
    page.wait_for_function("violations.length >= 4")
    assert page.evaluate("window.got") is None
    page.close()


@pytest.mark.parametrize("forwarded", [True, False])
def test_behind_a_proxy_that_rewrites_the_host(chromium: Browser, forwarded: bool) -> None:
    """Without X-Forwarded-Host, Gradio has to be told where it is seen."""
    port = free_port()
    name = "inspect.localhost"  # browsers know that it is this machine
    with pytest.MonkeyPatch.context() as environment:
        options = ["--port", str(port), "--preset", "swin_t", "--allow-host", name]
        with proxied(f"http://127.0.0.1:{port}/", forwarded=forwarded) as outside:
            if not forwarded:
                environment.setenv("GRADIO_ROOT_PATH", f"http://{name}:{outside}")
            window = chromium.new_context()
            with served(*options), watched(new_tab(window)) as page:
                page.goto(f"http://{name}:{outside}/")
                works(page)
            window.close()


def test_in_a_folder_of_a_proxy_with_a_token(chromium: Browser) -> None:
    port = free_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADIO_ROOT_PATH", "/vitc")
        options = ["--port", str(port), *MODULE, "--token", "to-ken"]
        window = chromium.new_context()
        with (
            proxied(f"http://127.0.0.1:{port}/", folder="/vitc") as outside,
            served(*options),
            watched(new_tab(window)) as page,
        ):
            page.goto(f"http://localhost:{outside}/vitc/?access_token=to-ken")
            works(page)
            (cookie,) = window.cookies()
            assert (cookie["path"], cookie["name"]) == ("/vitc/", f"vitc_inspect_{port}")
        window.close()


def test_a_notebook_of_this_machine_shows_the_page(app: Served, chromium: Browser) -> None:
    window = chromium.new_context()
    with framing(app.address) as port, watched(new_tab(window)) as page:
        page.goto(f"http://localhost:{port}/")
        inside = page.frame_locator("iframe").locator(".vi")
        expect(inside).to_have_attribute("data-state", "confirmed", timeout=60_000)
    window.close()


def test_any_other_page_does_not(app: Served, chromium: Browser) -> None:
    page = chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    with framing(app.address) as port:
        page.goto(f"http://evil.localhost:{port}/")
        page.wait_for_load_state("networkidle")
        assert any("frame-ancestors" in text for text in said)
        assert page.frame_locator("iframe").locator(".vi").count() == 0
    page.close()


def test_a_space_opens_without_being_asked_and_loads_nothing_from_elsewhere(
    chromium: Browser,
) -> None:
    port = free_port()
    window = chromium.new_context()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            **{"SPACE_ID": "me/vitc", "SYSTEM": "spaces", "SPACE_HOST": "me-vitc.hf.space"},
            **{"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port)},
        }.items():
            environment.setenv(name, value)
        tab = new_tab(window)
        answered: list[str] = []
        tab.page.on("response", lambda response: answered.append(response.url))
        with served("--preset", "swin_t"):
            answer = tab.page.goto(f"http://localhost:{port}/")
            assert answer is not None
            works(tab.page)
            tab.page.close()
        frames = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
        assert frames in answer.headers["content-security-policy"]
        hosts = {url.split("/")[2] for url in answered if url.startswith("http")}
        assert hosts == {f"localhost:{port}"}
        # in a Space, Gradio asks for fonts that the page does not use, and for the Space's state
        asked = r"fonts\.googleapis\.com|huggingface\.co/api/spaces|Space not found"
        assert [said for said in tab.complaints if not re.search(asked, said)] == []
    window.close()
