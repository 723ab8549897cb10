"""Links to the page of stems: those written once keep their fields and their meaning."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.served import Served
from tests.ui.test_browser import confirmed, refused

START = "image=photo&seed=0&device=auto&dtype=float32&encoder=off"
LINKS = {
    "stem=16x16/16p2:768&size=256x192&channels=3&class_token=0&image=edges&seed=0&device=auto"
    "&dtype=float32&encoder=off&layer=tokens&view=maps": "192",
    f"stem=4x4/4:96+ln+bias&size=32x32&channels=3&class_token=1&{START}&layer=proj&view=cost": "65",
    f"stem=8x8/8:5&size=24x32&channels=1&class_token=0&{START}&layer=proj&view=tokens"
    "&token=1,2": "12",
    f"stem=3x3/2:8,+8x8/8:16&size=64x64&channels=3&class_token=1&{START}&layer=conv1"
    "&view=cell&cell=3,0,1,2": "17",
    f"stem=16x16/16:8&size=64x64&channels=3&class_token=1&table=0&{START}&layer=proj"
    "&view=length": "17",
    "stem=16x16/16:12&size=64x48&channels=3&class_token=1&image=ramp&seed=7&device=cpu"
    "&dtype=bfloat16&encoder=2,3,1.5,linear&layer=block1.qkv&view=maps": "13",
    f"stem=3x3/2:8+bn+relu,+8x8/8:16&size=64x64&channels=3&class_token=1&{START}&layer=norm1"
    "&view=maps&cell=5&weights=trunc_normal&norm_statistics=stored": "17",
    f"stem=16x16/16:8&size=64x64&channels=3&class_token=1&{START}&layer=proj&view=maps"
    "&sorting=variance&scale=stem": "17",
    f"stem=3x3/2p2:48+bn+relu+g3+d2,+16x16/16:64&size=64x64&channels=3&class_token=1&{START}"
    "&layer=conv1&view=pixels": "5",
}
"""Links as the page writes them, with the length of the sequence that they show."""


@pytest.mark.parametrize("link", LINKS)
def test_a_link_is_shown_as_it_was_written(app: Served, tab: Page, link: str) -> None:
    tab.goto(f"{app.address}?{link}")
    confirmed(tab)
    assert tab.locator(".length strong").inner_text() == LINKS[link]
    assert tab.url == f"{app.address}?{link}"


def test_a_link_of_a_weight_file_that_is_not_there_keeps_its_name(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?stem=16x16/16:8&size=64&weights=file:own.pt&cell=1&other=x")
    assert "weights = 'own.pt'" in refused(tab)
    assert "weights=file:own.pt" in tab.url
    assert tab.url.endswith("&other=x")
