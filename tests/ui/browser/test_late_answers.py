"""Answers that come late, or never."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from tests.served import Served, free_port, served
from tests.ui.browser.screen import (
    STEM,
    confirmed,
    has_tokens,
    hold_the_first_answer,
    refused,
    rows,
    seq_len,
    steps_back,
)


def test_an_answer_that_comes_late_never_replaces_a_newer_one(page: Page) -> None:
    """The first of two predictions is held back until the second choice has been made."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if not held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", hold)
    page.locator("[data-slider]").fill("32")
    assert page.locator(".vi").get_attribute("data-state") == "stale"
    page.locator("[data-slider]").fill("448")
    held[0].continue_()
    has_tokens(page, 785)
    confirmed(page)
    assert seq_len(page) == 785
    assert "size=448x448" in page.url


def test_a_panel_from_before_the_run_never_replaces_the_runs(page: Page) -> None:
    """A layer is clicked between prediction and run, and its panel comes after the run's answer.

    A run asks for the layer that is chosen when it starts. The run of the seed before is held
    until the click, so the next one asks for the clicked layer itself, and nothing is left to
    be asked for once its answer is on the screen.
    """
    runs: list[Route] = []
    early: list[Route] = []
    later: list[Route] = []

    def of_run(request: Request) -> bool:
        return '"fn_name":"run"' in (request.post_data or "")

    def of_panel(request: Request) -> bool:
        return '"part":"panel"' in (request.post_data or "")

    def hold(route: Route) -> None:
        if of_panel(route.request):
            (later if of_run(route.request) else early).append(route)
        elif of_run(route.request) and not runs:
            runs.append(route)
        else:
            route.continue_()

    page.route("**/component_server/**", hold)
    with page.expect_request(of_run):
        page.locator("[data-field=seed]").fill("5")
    page.locator("[data-field=seed]").fill("6")
    expect(page.locator(".vi")).to_have_attribute("data-state", "predicted")
    with page.expect_request(of_panel):
        page.locator('tr[data-layer="conv2"]').click()
    with page.expect_request(of_run) as second:
        runs[0].continue_()
    assert '"layer":"conv2"' in str(second.value.post_data)
    confirmed(page)
    # a second click asks once more, but not until the held panel has come and been dealt with
    page.locator('tr[data-layer="conv2"]').click()
    with page.expect_request(of_panel):
        early[0].continue_()
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of conv2, before norm2")
    assert page.locator(".wall img").is_visible()
    later[0].continue_()


def test_changes_made_while_an_answer_is_on_its_way_all_count(page: Page) -> None:
    held = hold_the_first_answer(page)
    page.get_by_label("conv2 stride").fill("1")
    page.locator("[data-slider]").fill("256")
    page.get_by_text("+ convolution").click()
    page.get_by_text("+ convolution").click()
    page.locator('tr[data-layer="proj"]').click()
    held[0].continue_()
    expect(page.locator(STEM)).to_have_value(
        "3x3/2:48 bn relu, 3x3:96 bn relu, 3x3/2:192 bn relu, 3x3/2:384 bn relu,"
        " 3x3/2:384 bn relu, 3x3/2:384 bn relu, 1x1:384"
    )
    confirmed(page)
    assert seq_len(page) == 8 * 8 + 1
    expect(page.locator("[data-slot=panel] h2")).to_have_text("Output of proj, before tokens")
    assert page.locator("tr.chosen").get_attribute("data-layer") == "proj"
    assert "size=256x256" in page.url
    assert "layer=proj" in page.url


def test_many_changes_at_once_end_on_the_last(page: Page) -> None:
    page.evaluate(
        """async () => {
          const slider = document.querySelector('[data-slider]');
          for (let size = 100; size <= 300; size += 5) {
            slider.value = size;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            await new Promise((done) => setTimeout(done, 15));
          }
        }"""
    )
    has_tokens(page, 19 * 19 + 1)
    confirmed(page)
    assert rows(page)["proj"][:3] == ["384×19×19", "384×19×19", "✓ agrees"]


def test_a_server_that_is_gone_is_said_and_the_last_result_steps_back(
    window: BrowserContext,
) -> None:
    """The server that is started again has never seen this page."""
    page = window.new_page()
    port = str(free_port())
    with served("--port", port, "--preset", "pit_s") as first:
        page.goto(first.address)
        confirmed(page)
        assert seq_len(page) == 730
    page.locator("[data-slider]").fill("100")
    assert "The server does not answer" in refused(page)
    steps_back(page)
    with served("--port", port):
        page.locator("[data-retry]").first.click()
        confirmed(page)
        assert seq_len(page) == 11 * 11 + 1
    page.close()


def test_a_token_that_is_no_longer_valid_is_said(window: BrowserContext) -> None:
    """The server that is started again has another token."""
    page = window.new_page()
    port = str(free_port())
    with served("--port", port, "--token", "first") as app:
        page.goto(f"{app.address}?access_token=first")
        confirmed(page)
    with served("--port", port, "--token", "second") as app:
        page.locator("[data-slider]").fill("100")
        told = "The server was started again with another token. Open the address that it printed"
        assert told in refused(page)
    page.close()


@pytest.mark.parametrize(
    ("status", "told"),
    [(408, "too slowly"), (413, "larger than the server takes"), (503, "full of other requests")],
)
def test_a_call_that_the_server_refuses_is_said(
    app: Served, window: BrowserContext, status: int, told: str
) -> None:
    """The next one that it takes is answered."""
    page = window.new_page()
    page.goto(app.address)
    confirmed(page)
    page.route("**/component_server/**", lambda route: route.fulfill(status=status), times=1)
    page.locator("[data-slider]").fill("100")
    assert told in refused(page)
    page.locator("[data-retry]").first.click()
    confirmed(page)
    page.close()
