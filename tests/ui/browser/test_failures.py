"""What a person sees where a part of the page fails: its sentence, and the rest as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.served import Served, free_port, served
from tests.ui.browser.screen import CONTRAST, confirmed, has_tokens, opened_view
from vitc_inspect.common.guard import STRICT_RULES

SENTENCE = re.compile("ZeroDivisionError: by nothing. This is a fault of vitc_inspect;")


PROGRAM = """
import os, sys
import failing_parts
from vitc_inspect.ui import launch, server

os.environ["PYTHONPATH"] += os.pathsep + sys.path[0]
launch._RUNNERS = ("failing_parts", launch._RUNNERS[1])
server._PRELOAD = ("failing_parts", *server._PRELOAD)
server.Inspector.predict = failing_parts.failing(server.Inspector.predict, "predict")
sys.exit(launch.main(sys.argv[1:]))
"""
"""The app, parts of which fail as long as there is a file of their name beside it."""

PARTS = """
from pathlib import Path
from vitc_inspect.ui.panels import costs

def failing(function, name):
    def instead(*given, **named):
        if Path(__file__).with_name(name).exists():
            raise ZeroDivisionError("by nothing.")
        return function(*given, **named)
    return instead

costs.length_html = failing(costs.length_html, "length")
"""
"""What both the server and its workers import."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failing")


@pytest.fixture(scope="module")
def failing_app(folder: Path) -> Iterator[str]:
    program = folder / "failing_app.py"
    program.write_text(PROGRAM)
    (folder / "failing_parts.py").write_text(PARTS)
    options = ("--port", str(free_port()), "--preset", "vit_p_1gf")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(STRICT_RULES, raising=False)  # as visitors have it
        with served(*options, program=str(program)) as running:
            yield running.address


def test_a_panel_that_fails_says_so_and_the_rest_of_the_page_stays(
    failing_app: str, folder: Path, tab: Page
) -> None:
    tab.goto(failing_app)
    confirmed(tab)
    (folder / "length").touch()
    panel = opened_view(tab, "Length")
    expect(panel).to_contain_text("The panel could not be drawn")
    expect(panel).to_contain_text(SENTENCE)
    has_tokens(tab, 197)
    expect(tab.locator(".summary")).to_contain_text("4 of 4 layers")
    assert tab.evaluate(CONTRAST) == []
    (folder / "length").unlink()
    opened_view(tab, "Cost")
    panel = opened_view(tab, "Length")
    expect(panel).to_contain_text("The position table has 197 rows")


def test_a_request_that_fails_is_told_and_can_be_tried_again(
    failing_app: str, folder: Path, tab: Page
) -> None:
    (folder / "predict").touch()
    tab.goto(failing_app)
    fault = tab.locator("[data-slot=fault]")
    expect(fault).to_contain_text("This could not be worked out", timeout=20_000)
    expect(fault).to_contain_text(SENTENCE)
    expect(tab.locator(".vi")).not_to_contain_text("The server does not answer")
    (folder / "predict").unlink()
    fault.get_by_role("button", name="Try again").click()
    confirmed(tab)
    expect(fault).to_be_hidden()


@pytest.mark.parametrize("view", ["length", "cost", "pixels", "maps"])
def test_a_link_to_a_thin_image_is_shown(app: Served, tab: Page, view: str) -> None:
    tab.goto(f"{app.address}?stem=7x7/2:4&size=1x16384&encoder=1,1,1,softmax&view={view}")
    expect(tab.locator(".vi")).to_have_attribute("data-state", "predicted", timeout=20_000)
    has_tokens(tab, 8193)
    expect(tab.locator("[data-slot=panel]")).not_to_be_empty()


def test_half_a_character_in_a_link_is_answered(app: Served, tab: Page) -> None:
    """A browser sends U+FFFD for it; a request of its own can hold the half itself."""
    tab.goto(app.address)
    confirmed(tab)
    answers = tab.evaluate(
        r"""async () => {
          const config = await (await fetch('config')).json();
          const page = config.components.find((part) => part.type === 'html').id;
          const ask = (data) => fetch('gradio_api/component_server/', {
            method: 'POST', headers: {'Content-Type': 'application/json'},
            body: `{"data": ${data}, "component_id": ${page}, "session_hash": "x",`
              + `"fn_name": "predict"}`,
          }).then(async (answer) => [answer.status, (await answer.json()).error.field]);
          const beside = '"height": "8", "width": "8", "in_channels": "3", "dtype": "float32"';
          return [await ask(`{"stem": "\\ud800", ${beside}}`),
            await ask(`{"stem": "1x1:4", "seed": "\\udfff", ${beside}}`)];
        }"""
    )
    assert answers == [[200, "stem"], [200, "seed"]]


def test_a_position_table_is_put_in_and_taken_out_and_the_link_says_so(
    app: Served, tab: Page
) -> None:
    tab.goto(f"{app.address}?preset=swin_t")
    confirmed(tab)
    table, totals = tab.locator("[data-field=position_table]"), tab.locator(".totals")
    expect(table).not_to_be_checked()
    expect(totals).to_contain_text("no position table")
    expect(tab.locator("[data-field=preset]")).to_have_value("swin_t")
    assert "&class_token=0&table=0&" in tab.url
    tab.reload()
    confirmed(tab)
    expect(table).not_to_be_checked()
    table.check()
    expect(totals).not_to_contain_text("no position table")
    confirmed(tab)
    expect(tab.locator('tr[data-layer="pos_embed"]')).to_contain_text("301,056")  # 56·56·96
    assert "table=" not in tab.url
    expect(tab.locator("[data-field=preset]")).to_have_value("")
    tab.reload()
    confirmed(tab)
    expect(table).to_be_checked()


def test_what_is_cut_off_the_picture_is_said_for_each_size(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?preset=vit_p_1gf")
    confirmed(tab)
    crop = tab.locator("[data-slot=crop]")
    expect(crop).to_contain_text("cropped to its middle 512×512 of 600×512 pixels")
    tab.locator("[data-field=height]").fill("300")
    tab.locator("[data-field=width]").fill("256")
    confirmed(tab)
    expect(crop).to_contain_text("resized from 600×512 to 300×256 pixels")  # as 300 / 256
    tab.locator("[data-field=image]").select_option("ramp")
    tab.locator("[data-field=width]").fill("16")
    confirmed(tab)
    expect(crop).to_be_empty()


def test_a_fault_that_was_mended_is_told_to_be_gone(tab: Page, tmp_path: Path) -> None:
    stem = (
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.proj = nn.Conv2d(3, 16, 4, 4)\n"
        "    def forward(self, image):\n"
        "        maps = self.proj(image)\n"
        "        return maps.{}\n"
    )
    file = tmp_path / "own.py"
    file.write_text(stem.format("reshape(len(maps), 64, 16)"))
    options = ("--module", f"{file}:Own", "--input", "1,3,32,32")
    with served("--port", str(free_port()), *options) as running:
        tab.goto(running.address)
        status = tab.locator("[data-slot=status]")
        expect(tab.locator(".alert")).to_contain_text("1 fault found", timeout=20_000)
        expect(status).not_to_contain_text("no fault found")
        file.write_text(stem.format("flatten(2).transpose(1, 2)"))
        tab.locator("[data-reload]").click()
        expect(status).to_contain_text("✓ no fault found", timeout=20_000)
        expect(tab.locator(".alert")).to_have_count(0)
        assert tab.evaluate(CONTRAST) == []


def test_a_server_that_runs_and_answers_nothing_is_not_said_to_be_gone(
    app: Served, window: BrowserContext
) -> None:
    page = window.new_page()
    page.route(
        "**/component_server/**", lambda route: route.fulfill(status=500, body="Internal error")
    )
    page.goto(app.address)
    fault = page.locator("[data-slot=fault]")
    expect(fault).to_contain_text("The server could not answer this", timeout=20_000)
    page.unroute("**/component_server/**")
    fault.get_by_role("button", name="Try again").click()
    confirmed(page)
    page.close()
