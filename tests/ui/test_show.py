"""Opening the page from Python: on a live module, on a stem, in a notebook, and in a script."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import torch
from torch import Tensor, nn

from tests.served import ROOT, Served
from tests.ui.hostile.client import CALL, Client
from vitc_inspect import PRESETS, SpecError, format_stem, inspect_stem, patchify_stem, show
from vitc_inspect.ui.show import Page


class Own(nn.Module):
    """A stem with a norm, whose buffers a careless run would change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.proj = nn.Conv2d(3, 12, 8, 8)

    def forward(self, image: Tensor, scale: Tensor | None = None) -> Tensor:
        tokens: Tensor = self.proj(self.norm(image)).flatten(2).transpose(1, 2)
        return tokens if scale is None else tokens * scale


class Visitor(Client):
    """A visitor of a page that was opened from Python."""

    def __init__(self, page: Page) -> None:
        token = parse_qs(urlsplit(page.address).query).get("access_token", [""])[0]
        super().__init__(Served(page.address.partition("?")[0], os.getpid(), token))

    def see(self, function: str, **message: str) -> dict[str, Any]:
        """What a function of the page answers; the lines of this file may be in it."""
        answer = self.http.post(CALL, json=self.body(function, message)).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def own() -> Iterator[tuple[Own, Page]]:
    module = Own()
    with show(module, torch.randn(2, 3, 32, 32), scale=torch.ones(12)) as page:
        yield module, page


def test_a_live_module_is_shown_on_its_own_inputs_and_left_as_it_was(
    own: tuple[Own, Page],
) -> None:
    module, page = own
    before = {name: value.clone() for name, value in module.state_dict().items()}
    noise = torch.get_rng_state()
    client = Visitor(page)
    for image in ("given", "photo", "random"):
        answer = client.see("show", image=image, view="maps")
        assert "error" not in answer
        assert '<span class="token">16</span>' in answer["summary"]
    assert "the inputs as given" in client.see("show", image="given")["status"]
    assert module.training
    assert torch.equal(torch.get_rng_state(), noise)
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(each._forward_hooks for each in module.modules())


def test_run_again_shows_the_module_as_it_is_now(own: tuple[Own, Page]) -> None:
    module, page = own
    client = Visitor(page)
    first = client.see("show", image="given", layer="proj:1")
    with torch.no_grad():
        module.proj.weight.zero_()
    module.proj.bias = None
    kept = client.see("show", image="given", layer="proj:1")
    again = client.see("reload", image="given", layer="proj:1")
    assert kept["panel"] == first["panel"] != again["panel"]
    assert again["reading"] > first["reading"]
    module.proj = nn.Linear(3, 4)  # type: ignore[assignment]
    assert "The forward pass raised" in client.see("reload", image="given")["alerts"]


def test_nobody_gets_in_without_the_token_and_a_page_that_is_closed_is_gone() -> None:
    page = show(nn.ReLU(), torch.zeros(1, 4))
    place = page.address.partition("?")[0]
    assert httpx.get(place).status_code in (401, 403)
    page.close()
    page.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(place)


@pytest.mark.parametrize(
    "subject",
    [
        "vit_p_1gf",
        PRESETS["vit_p_1gf"],
        "16x16/16:192",
        "nn.Conv2d(3, 192, 16, stride=16)",
        patchify_stem(embed_dim=192),
        inspect_stem(patchify_stem(embed_dim=192)),
    ],
    ids=lambda subject: subject if isinstance(subject, str) else type(subject).__name__,
)
def test_a_stem_is_chosen_by_the_address(subject: Any) -> None:
    with show(subject) as page:
        asked = parse_qs(urlsplit(page.address).query)
        assert asked["stem"] == [format_stem(patchify_stem(embed_dim=192))]
        assert asked["size"] == ["224x224"]
        assert httpx.get(page.address).status_code == 200


def test_it_opens_where_an_event_loop_runs_and_a_notebook_shows_it_in_a_frame() -> None:
    async def cell() -> Page:
        return show(nn.ReLU(), torch.zeros(1, 4))

    with asyncio.run(cell()) as page:
        assert page.address in page._repr_html_()
        assert repr(page) == f"vitc_inspect is at {page.address}"
        frames = Visitor(page).http.get("/").headers["content-security-policy"]
        assert "http://localhost:*" in frames.partition("frame-ancestors")[2]


@pytest.mark.parametrize(
    ("arguments", "named", "field"),
    [
        ((3,), {}, "input"),
        ((3, torch.zeros(1)), {}, "module"),
        ((nn.ReLU(),), {}, "input"),
        ((nn.ReLU(), [1, 2]), {}, "input"),
        ((nn.ReLU(), torch.zeros(1)), {"scale": 2.0}, "input"),
        (("16x16/16:8", torch.zeros(1)), {}, "input"),
        (("3x3/0:8",), {}, "proj.stride"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    arguments: tuple[Any, ...], named: dict[str, Any], field: str
) -> None:
    with pytest.raises(SpecError) as raised:
        show(*arguments, **named)
    assert raised.value.field == field


def test_a_port_that_is_taken_is_said() -> None:
    with show("16x16/16:8") as page:
        port = urlsplit(page.address).port
        with pytest.raises(SpecError, match=f"port = {port}: another program is listening"):
            show("16x16/16:8", port=int(port or 0))


def test_a_script_ends_though_its_page_is_open() -> None:
    script = "import vitc_inspect; print(vitc_inspect.show('16x16/16:8', browser=False))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vitc_inspect is at http://127.0.0.1:")
