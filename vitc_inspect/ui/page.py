"""The page as a Gradio app: one component, its controls filled, its answers wired."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from vitc_inspect.common.images import SAMPLES, Picture
from vitc_inspect.model.devices import available_devices
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.prediction import Dtype
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.vit import Attention
from vitc_inspect.ui.choice import FILE
from vitc_inspect.ui.server import Inspector, server_functions
from vitc_inspect.ui.uploads import MAX_FILE_BYTES

_ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    *("common.js", "page.js", "maps.js", "cells.js", "tokens.js", "explain.js", "link.js"),
    "start.js",
)
"""The page's scripts in their order; they share one scope."""

LAUNCH_SETTINGS: Mapping[str, Any] = {
    "share": False,
    "show_error": False,
    "enable_monitoring": False,
    "run_history": False,
    "ssr_mode": False,
    "max_threads": 8,
    "max_file_size": MAX_FILE_BYTES,
    "footer_links": [],
    "state_session_capacity": 50,
}
"""What `launch` is given: nothing leaves the machine, nothing is kept, uploads are bounded."""


def build_page(
    *,
    preset: str = "vit_c_4gf",
    device: str = "auto",
    image: str = "photo",
    own_pictures: Mapping[str, Picture] | None = None,
    own_weights: Mapping[str, Path] | None = None,
) -> gr.Blocks:
    """Build the app.

    Args:
        preset: Name of the stem the page starts with.
        device: Device the page starts with.
        image: Image the page starts with: a sample, or the one of `own_pictures`.
        own_pictures: Pictures by name, offered beside the samples.
        own_weights: Files of weights by name, offered beside random ones; the page starts with
            the first.

    Returns:
        The app, ready for `launch(**LAUNCH_SETTINGS, **look())`.

    Raises:
        KeyError: when there is no such preset.
    """
    own, files = dict(own_pictures or {}), dict(own_weights or {})
    first = PRESETS[preset]
    page: gr.Blocks = gr.Blocks(
        title="vitc_inspect", analytics_enabled=False, delete_cache=(600, 600), fill_width=True
    )
    with page:
        gr.HTML(
            html_template=read_assets("page.html"),
            js_on_load=read_assets(*SCRIPTS),
            apply_default_css=False,
            server_functions=server_functions(Inspector(own, files)),
            presets={name: controls_of(preset) for name, preset in PRESETS.items()},
            options={
                "image": {**{name: f"File: {name}" for name in own}, **SAMPLES},
                "device": {name: name for name in ("auto", *available_devices())},
                "dtype": {name: name for name in get_args(Dtype)},
                "attention": {name: name for name in get_args(Attention)},
                "weights": {**{f"{FILE}{name}": f"File: {name}" for name in files}, **_INITS},
            },
            start={
                **_DEFAULT_ENCODER,
                **controls_of(first),
                "encoder": "0",
                "image": image if image in SAMPLES else next(iter(own)),
                "seed": "0",
                "device": device,
                "dtype": "float32",
                "weights": f"{FILE}{next(iter(files))}" if files else "torch",
                "norm_statistics": "image",
                "sorting": "index",
                "scale": "layer",
                "layer": "",
                "view": "maps",
                "cell": "",
                "token": "",
            },
            own_notes={name: " ".join(picture.notes) for name, picture in own.items()},
            max_file_bytes=MAX_FILE_BYTES,
        )
    return page


def look() -> dict[str, Any]:
    """Theme and style sheet, with fonts that come with Gradio: nothing is fetched."""
    theme = gr.themes.Base(
        font=[
            gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)),
            "system-ui",
            "sans-serif",
        ],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
    )
    # in the head, since `css` rewrites selectors and breaks lists inside :is()
    style = read_assets("page.css", "maps.css", "cells.css", "tokens.css", "module.css")
    return {"theme": theme, "head": f"<style>{style}</style>"}


def read_assets(*names: str) -> str:
    """The assets one after the other."""
    return "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in names)


_INITS = {"torch": "random, PyTorch's default", "trunc_normal": "random, truncated normal"}
_DEFAULT_ENCODER = {"depth": "12", "num_heads": "6", "mlp_ratio": "4", "attention": "softmax"}
"""What the controls hold until a preset says better."""


def controls_of(preset: Preset) -> dict[str, str]:
    """What a preset writes into the controls; the encoder's only where it has one."""
    spec, encoder = preset.stem, {}
    if preset.vit:
        encoder = {name: str(getattr(preset.vit, name)) for name in _DEFAULT_ENCODER}
    return {
        **encoder,
        "title": preset.title,
        "stem": format_stem(spec),
        "height": str(spec.image_size[0]),
        "width": str(spec.image_size[1]),
        "in_channels": str(spec.in_channels),
        "class_token": str(int(spec.class_token)),
        "position_table": str(int(spec.position_table)),
    }
