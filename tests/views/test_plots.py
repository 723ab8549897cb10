"""The plots: elements of the page, in its colours, that show what they are given."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import pytest

from tests.stem.specs import model
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views.plots import (
    Dot,
    image_size_plot,
    time_plot,
    tokens_plot,
    total_stride_plot,
)

DOTS = [Dot(name="conv1", x=1e6, y=1e-3), Dot(name="block1.qkv", x=3e7, y=2e-3)]

PLOTS = {
    "tokens": lambda width: tokens_plot(conv_stem(), width=width),
    "image size": lambda width: image_size_plot(model("vit_c_4gf"), width=width),
    "total stride": lambda width: total_stride_plot(model("vit_c_4gf"), width=width),
    "time": lambda width: time_plot(DOTS, x_title="MACs", width=width),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_one_element_that_names_itself(name: str) -> None:
    svg = PLOTS[name](380)
    declared = str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    root = ElementTree.fromstring(declared)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox", "").startswith("0 0 380 ")


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_takes_the_pages_colours_and_font_and_styles_nothing_else(name: str) -> None:
    svg = PLOTS[name](380)
    colours = set(re.findall(r"#[0-9a-fA-F]{6}", svg))
    assert colours <= {"#ffffff"}  # the legend's ground, which is not drawn
    assert "var(--soft)" in svg
    assert "<style" not in svg
    assert "font-family" not in svg
    assert "<text" in svg


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_the_present_size_is_a_tick_and_the_table_is_named() -> None:
    assert "224" in words(tokens_plot(conv_stem(), width=380))
    assert "position table: 197 rows" in words(tokens_plot(conv_stem(), width=380))
    assert "image height, px (width in proportion)" in words(
        tokens_plot(patchify_stem(16, 8, image_size=(256, 192)), width=380)
    )


def test_both_attentions_are_named() -> None:
    for svg in (PLOTS["image size"](380), PLOTS["total stride"](380)):
        assert {"softmax attention", "linear attention", "MACs"} <= set(words(svg))


def test_each_dot_says_which_layer_it_is() -> None:
    assert re.findall(r"<title>([^<]+)</title>", PLOTS["time"](380)) == ["conv1", "block1.qkv"]


def test_a_table_is_drawn_where_there_is_one() -> None:
    stem = conv_stem()
    assert "position table: 197 rows" in words(tokens_plot(stem, width=380))
    without = words(tokens_plot(replace(stem, position_table=False), width=380))
    assert not any("position table" in word for word in without)


@pytest.mark.parametrize(
    ("notation", "image_size"),
    [("7x7/2:4", (1, 16_384)), ("1x1/4:4", (1, 9)), ("1x1/64:4", (2, 65)), ("1x1/3:4", (3, 1))],
)
def test_a_model_of_a_thin_image_can_be_plotted(notation: str, image_size: tuple[int, int]) -> None:
    """No patch is larger than the short side, so the curve may be a single point."""
    stem = parse_stem(notation, image_size=image_size)
    vit = ViTSpec(stem=stem, depth=1, num_heads=1, mlp_ratio=1)
    assert "<svg" in total_stride_plot(vit, width=300)
    assert "<svg" in image_size_plot(vit, width=300)


def test_any_stem_can_be_plotted() -> None:
    for stem in (
        patchify_stem(1, 1, image_size=1, class_token=False),
        patchify_stem(300, 8, image_size=(300, 4000)),
        conv_stem((4,), (2,), 4, image_size=(7, 5)),
    ):
        assert "<svg" in tokens_plot(stem, width=300)


def test_threads_draw_the_same_and_leave_the_settings_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    alone = [time_plot(DOTS, x_title="MACs", width=width) for width in range(300, 308)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda width: time_plot(DOTS, x_title="MACs", width=width), range(300, 308))
        )
    assert together == alone
    assert dict(matplotlib.rcParams) == before
