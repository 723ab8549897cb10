"""The page as Gradio is given it: what it offers, what it starts with, and what stays private."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr
import pytest
from PIL import Image

from vitc_inspect.common.images import SAMPLES, Picture
from vitc_inspect.stem.prediction import Dtype
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.vit import Attention
from vitc_inspect.ui.choice import Request, read_choice
from vitc_inspect.ui.page import LAUNCH_SETTINGS, build_page, look, read_assets


def props_of(page: gr.Blocks) -> dict[str, Any]:
    """What the page's one component is given."""
    (component,) = (each for each in page.blocks.values() if isinstance(each, gr.HTML))
    return component.props


@pytest.mark.parametrize("preset", ["vit_c_4gf", "vitpose_b", "dinov2_s14"])
def test_the_start_is_a_choice_of_the_preset(preset: str) -> None:
    start = props_of(build_page(preset=preset, device="cpu"))["start"]
    choice = read_choice(Request.read(start))
    assert choice.spec == PRESETS[preset].stem
    assert (choice.vit, choice.image, choice.device, choice.seed) == (None, "photo", "cpu", 0)


def test_an_unknown_preset_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="vit_c_5gf"):
        build_page(preset="vit_c_5gf")


def test_everything_that_is_offered_can_be_chosen() -> None:
    props = props_of(build_page())
    start, options = props["start"], props["options"]
    assert set(options["dtype"]) == set(get_args(Dtype))
    assert set(options["attention"]) == set(get_args(Attention))
    assert set(options["image"]) == set(SAMPLES)
    assert {"auto", "cpu"} <= set(options["device"])
    assert set(props["presets"]) == set(PRESETS)
    assert [one["group"] for one in props["presets"].values()] == [
        preset.group for preset in PRESETS.values()
    ]
    for field in ("dtype", "attention", "weights", "image", "device"):
        assert start[field] in options[field]
        for value in options[field]:
            read_choice(Request.read({**start, "encoder": "1", field: value}))


def test_files_of_the_start_are_offered_first_and_chosen(tmp_path: Any) -> None:
    own = {"cat.png": Picture(Image.new("RGB", (4, 4)), ("It was turned.",))}
    weights = {"own.pt": tmp_path / "own.pt"}
    page = build_page(image="cat.png", own_pictures=own, own_weights=weights)
    props = props_of(page)
    assert props["start"]["image"] == "cat.png"
    assert props["start"]["weights"] == "file:own.pt"
    assert next(iter(props["options"]["image"])) == "cat.png"
    assert next(iter(props["options"]["weights"])) == "file:own.pt"
    assert props["own_notes"] == {"cat.png": "It was turned."}
    assert str(tmp_path) not in str(props)  # a path is nobody's business


def test_nothing_leaves_the_machine_and_no_file_is_taken() -> None:
    assert LAUNCH_SETTINGS["share"] is False
    assert LAUNCH_SETTINGS["enable_monitoring"] is False
    assert LAUNCH_SETTINGS["max_file_size"] == 1
    assert build_page().analytics_enabled is False
    (component,) = (each for each in build_page().blocks.values() if isinstance(each, gr.HTML))
    for text in (look()["head"], component.html_template, component.js_on_load):
        addresses = {word for word in ("http://", "https://", "//cdn", "@import") if word in text}
        assert addresses <= {"http://", "https://"}  # of names of SVG alone
        for line in text.splitlines():
            if "http" in line and "://" in line:
                assert "www.w3.org" in line or "location" in line


def test_assets_are_joined_in_order() -> None:
    first, second = (read_assets(name) for name in ("page.css", "maps.css"))
    assert read_assets("page.css", "maps.css") == f"{first}\n{second}"
    with pytest.raises(FileNotFoundError):
        read_assets("none.css")
