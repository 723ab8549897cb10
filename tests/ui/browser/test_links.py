"""Links that people keep: parameters have the names and the meaning they have always had."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.served import Served
from tests.ui.browser.screen import confirmed, refused, rows, seq_len

SMALL = "&image=photo&seed=0&device=cpu&dtype=float32"
PATCHES = "stem=16x16/16:64&size=64x64&channels=3&class_token=1"

LINKS = [
    (  # 48·32 places of conv1 with 9·1·8 products, 24·16 of conv2 with 9·8·16, and of proj 16·32
        "stem=3x3/2:8+bn+relu,+3x3/2:16+bn+relu,+1x1:32&size=96x64&channels=1&class_token=0"
        "&image=ramp&seed=7&device=cpu&dtype=float32&encoder=off&layer=conv2&view=cell&cell=3,4,5",
        "384 tokens = 24 × 16",
        48 * 32 * 9 * 8 + 24 * 16 * (9 * 8 * 16 + 16 * 32),
        ("Cell", "conv2, map 3, row 4, column 5"),
        {"height": "96", "width": "64", "in_channels": "1", "class_token": False, "seed": "7"},
    ),
    (
        f"{PATCHES}&table=0&image=photo&seed=0&device=cpu&dtype=bfloat16&encoder=off&layer=proj"
        "&view=maps",
        "17 tokens = 4 × 4 + 1 class token · no position table",
        16 * 16 * 16 * 3 * 64,
        ("Maps", "Output of proj, before tokens"),
        {"position_table": False, "class_token": True, "dtype": "bfloat16", "encoder": False},
    ),
    (
        f"stem=3x3/2:8+bn+relu,+8x8/8:32&size=64x64&channels=3&class_token=1{SMALL}&encoder=off"
        "&layer=conv1&view=tokens&token=1,2",
        "17 tokens = 4 × 4 + 1 class token",
        32 * 32 * 9 * 3 * 8 + 4 * 4 * 64 * 8 * 32,
        ("Tokens", "Token (1, 2), number 6"),  # 1·4 + 2, counted from 0
        {"stem": "3x3/2:8 bn relu, 8x8/8:32", "image": "photo", "position_table": True},
    ),
    (  # 2 blocks on 17 tokens of 64: qkv and projection 4·64², MLP 2·4·64², and 2·17²·64 products
        f"{PATCHES}{SMALL}&encoder=2,4,4,softmax&layer=proj&view=cost",
        "17 tokens = 4 × 4 + 1 class token",
        16 * 768 * 64 + 2 * (17 * 12 * 64**2 + 2 * 17**2 * 64) + 64 * 1000,
        ("Cost", None),
        {"encoder": True, "depth": "2", "num_heads": "4", "mlp_ratio": "4", "attention": "softmax"},
    ),
    (  # linear attention: 17 tokens make a 16×16 matrix in each head, and a sum
        f"{PATCHES}{SMALL}&encoder=2,4,2.5,linear&layer=proj&view=maps",
        "17 tokens = 4 × 4 + 1 class token",
        16 * 768 * 64 + 2 * (17 * 9 * 64**2 + 2 * 17 * 4 * 16**2 + 17 * 64) + 64 * 1000,
        ("Maps", "Output of proj, before tokens"),
        {"encoder": True, "mlp_ratio": "2.5", "attention": "linear"},
    ),
    (
        f"{PATCHES}{SMALL}&encoder=off&layer=proj&view=maps&weights=trunc_normal"
        "&norm_statistics=stored&sorting=mean&scale=stem",
        "17 tokens = 4 × 4 + 1 class token",
        16 * 768 * 64,
        ("Maps", "Output of proj, before tokens"),
        {
            "weights": "trunc_normal",
            "norm_statistics": "stored",
            "sorting": "mean",
            "scale": "stem",
        },
    ),
    (
        f"{PATCHES}{SMALL}&encoder=off&layer=proj&view=maps&cell=12",
        "17 tokens = 4 × 4 + 1 class token",
        16 * 768 * 64,
        ("Maps", "Map 12 of proj"),
        {},
    ),
    (
        "stem=16x16/16p2:768&size=256x192&channels=3&class_token=0&image=edges&seed=0&device=cpu"
        "&dtype=float32&encoder=off&layer=tokens&view=maps",
        "192 tokens = 16 × 12",
        None,
        ("Maps", "Output of tokens, before pos_embed"),
        {"preset": "vitpose_b", "image": "edges"},
    ),
    (
        f"stem=14x14/14:384&size=224x224&channels=3&class_token=1{SMALL}&encoder=off&layer=proj"
        "&view=length",
        "257 tokens = 16 × 16 + 1 class token",
        None,
        ("Length", None),
        {"preset": "dinov2_s14"},
    ),
    (
        f"{PATCHES}{SMALL}&encoder=off&layer=proj&view=time&utm_source=blog",  # another's stays
        "17 tokens = 4 × 4 + 1 class token",
        16 * 768 * 64,
        ("Time", None),
        {},
    ),
]
"""What a link asks for; its tokens, MACs, tab and heading; and what the controls hold."""


@pytest.fixture(scope="module")
def opened(app: Served, window: BrowserContext) -> Iterator[Page]:
    """One page for many links; it reads an address as at its start when Back leads there."""
    page = window.new_page()
    page.goto(app.address)
    confirmed(page)
    yield page
    page.close()


def follow(page: Page, query: str) -> None:
    page.evaluate(
        "address => { history.pushState(null, '', address);"
        " dispatchEvent(new PopStateEvent('popstate')); }",
        f"?{query}",
    )


@pytest.mark.parametrize(("query", "tokens", "macs", "shown", "controls"), LINKS)
def test_a_link_gives_what_it_gave(
    app: Served,
    tab: Page,
    query: str,
    tokens: str,
    macs: int | None,
    shown: tuple[str, str | None],
    controls: dict[str, str | bool],
) -> None:
    tab.goto(f"{app.address}?{query}")
    confirmed(tab)
    totals = tab.locator("[data-slot=totals]").inner_text().splitlines()
    length, grid = re.findall(r"^([\d,]+) tokens = (\d+ × \d+)", tokens)[0]
    assert seq_len(tab) == int(length.replace(",", ""))
    assert f"{grid} = " in tab.locator(".headline h2").inner_text()
    untabled = "There is no position table." in tab.locator(".cause").inner_text()
    assert untabled == ("no position table" in tokens)
    if macs is not None:
        said = totals[totals.index("MACs") + 1]
        assert said == (f"{macs:,}" if macs < 10**6 else f"{macs / 10**6:.2f} M")
    assert all(cells[2] == "✓ agrees" for cells in rows(tab).values())
    view, heading = shown
    selected = tab.locator(".tabs [role=tab][aria-selected=true]")
    expect(selected).to_have_text(view)
    if heading:
        expect(tab.locator("[data-slot=panel] h2")).to_have_text(heading)
    for name, value in controls.items():
        control = tab.locator(f"[data-field={name}]")
        found = control.is_checked() if isinstance(value, bool) else control.input_value()
        assert (name, found) == (name, value)
    assert tab.url == f"{app.address}?{query}"  # and is written as it was


def test_a_short_link_means_what_is_as_at_the_start(app: Served, tab: Page) -> None:
    """`size` may be one side, `preset` stands for the stem, and a stem alone has a table."""
    tab.goto(f"{app.address}?stem=3x3/2:8+ln+gelu,+16x16/16:32&size=64")
    confirmed(tab)
    assert "size=64x64&channels=3&class_token=1&image=photo&seed=0&device=auto" in tab.url
    assert seq_len(tab) == 5
    expect(tab.locator("[data-field=position_table]")).to_be_checked()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("norm_statistics=running", "norm_statistics = 'running': it is not one of image, stored"),
        ("weights=zeros", "weights = 'zeros': it is not one of torch, trunc_normal"),
        ("encoder=2,0,4,softmax", "num_heads = 0: the least is 1"),
        ("encoder=2,4,4,cosine", "attention = 'cosine': it is not one of softmax, linear"),
        ("encoder=two,4,4,softmax", "depth = 'two': it is not a whole number"),
        ("stem=%E0%A4%A", "column 1: expected the kernel"),  # half a character
    ],
)
def test_a_broken_parameter_is_told_in_a_sentence(opened: Page, query: str, says: str) -> None:
    follow(opened, f"size=64x64&{query}")
    assert says in refused(opened)


@pytest.mark.parametrize(
    ("query", "lost"),
    [
        ("view=nonsense", "view “nonsense”, Maps instead"),
        ("layer=nowhere", "layer “nowhere”, proj instead"),
        ("cell=x&token=y", "cell “x”, none instead; token “y”, none instead"),
        (
            "sorting=best&scale=none",
            "sorting “best”, by index instead; scale “none”, of the layer instead",
        ),
        ("encoder=2,4", "encoder “2,4”, no encoder instead"),
        ("encoder=on", "encoder “on”, no encoder instead"),
        (
            "foo=bar&__proto__=x&constructor=y",
            "“foo”, which is no part of a link; “constructor”, which is no part of a link",
        ),
        ("lay", "“lay”, which is no part of a link"),  # cut
        ("table=maybe", "table “maybe”, a position table instead"),
        (
            "a=1&b=1&c=1&d=1&e=1&f=1&layer=g",
            "; ".join(f"“{name}”, which is no part of a link" for name in "abcde") + "; and 2 more",
        ),
        ("utm_source=blog&&&=&", ""),
        ("size=64x64&size=9x9", ""),  # the first counts
    ],
)
def test_an_unknown_value_of_what_is_only_looked_at_gives_the_start_and_is_told(
    opened: Page, query: str, lost: str
) -> None:
    follow(opened, f"{PATCHES}{SMALL}&{query}")
    confirmed(opened)
    expect(opened.locator(".tabs [role=tab][aria-selected=true]")).to_have_text("Maps")
    expect(opened.locator("[data-slot=panel] h2")).to_have_text("Output of proj, before tokens")
    expect(opened.locator("[data-field=encoder]")).not_to_be_checked()
    assert seq_len(opened) == 17
    assert re.search(r"[?&]size=64x64&", opened.url)
    said = opened.locator("[data-slot=undone]")
    if not lost:
        expect(said).not_to_contain_text("Not restored")
        return
    expect(said).to_have_text(f"Not restored from the link: {lost}.")
    opened.locator("[data-field=seed]").fill("5")
    expect(said).to_have_text("")
    confirmed(opened)


START = "image=photo&seed=0&device=auto&dtype=float32&encoder=off"
WRITTEN = {
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


@pytest.mark.parametrize("link", WRITTEN)
def test_a_link_is_shown_as_it_was_written(app: Served, opened: Page, link: str) -> None:
    follow(opened, link)
    confirmed(opened)
    assert seq_len(opened) == int(WRITTEN[link])
    assert opened.url == f"{app.address}?{link}"


def test_a_link_of_a_weight_file_that_is_not_there_keeps_its_name(app: Served, tab: Page) -> None:
    tab.goto(f"{app.address}?stem=16x16/16:8&size=64&weights=file:own.pt&cell=1&other=x")
    assert "weights = 'own.pt'" in refused(tab)
    assert "weights=file:own.pt" in tab.url
    assert tab.url.endswith("&other=x")
