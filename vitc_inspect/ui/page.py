"""The page for stems as a Gradio app: one HTML component and the functions it can call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from vitc_inspect.common.fitting import FITS
from vitc_inspect.common.images import SAMPLES, Picture
from vitc_inspect.model.devices import available_devices
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.prediction import Dtype
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.vit import Attention
from vitc_inspect.ui.access import Access, notebook_access
from vitc_inspect.ui.choice import ENCODER_START, FILE, LINK_FIELDS, VIEW_START
from vitc_inspect.ui.http_checks import app_kwargs
from vitc_inspect.ui.pictures import MAX_FILE_BYTES
from vitc_inspect.ui.scripts import bundle
from vitc_inspect.ui.server import Inspector, server_functions
from vitc_inspect.views.glossary import cards

ASSETS = Path(__file__).parent / "assets"
"""The folder of the page's HTML, style sheets and JavaScript modules."""
STYLES = (
    *("page.css", "maps.css", "cells.css", "tokens.css", "module.css", "glossary.css"),
    *("pictures.css", "keep.css", "forced-colors.css"),
)
"""Style sheets of both pages in order."""

_SETTINGS: Mapping[str, Any] = {
    "share": False,
    "show_error": False,
    "enable_monitoring": False,
    "run_history": False,
    "ssr_mode": False,
    "max_threads": 8,
    "max_file_size": 1,  # nothing is uploaded through Gradio, which would write it to a file
    "footer_links": [],
    "state_session_capacity": 50,
}


class LaunchSettings(Mapping[str, Any]):
    """Arguments of `launch`: no data leaves the machine, no history is kept, requests are checked.

    `mount_gradio_app(..., app_kwargs=LAUNCH_SETTINGS["app_kwargs"])` checks them in another app.
    """

    def __init__(self, access: Access | None = None) -> None:
        """Choose who may reach the page.

        Args:
            access: Who; None for what is safe in a notebook, read from the environment each time.
        """
        self._access = access

    def __getitem__(self, name: str) -> Any:
        """One argument; "app_kwargs" is made anew each time, since Gradio changes it."""
        if name == "app_kwargs":
            return app_kwargs(self._access or notebook_access())
        return _SETTINGS[name]

    def __iter__(self) -> Iterator[str]:
        """Names of the arguments."""
        return iter((*_SETTINGS, "app_kwargs"))

    def __len__(self) -> int:
        """How many arguments there are."""
        return len(_SETTINGS) + 1


LAUNCH_SETTINGS: Mapping[str, Any] = LaunchSettings()
"""Arguments of `launch` that are safe in a notebook: the page answers to this machine alone."""


def launch_settings(access: Access) -> Mapping[str, Any]:
    """Arguments of `launch` for those who may reach the page."""
    return LaunchSettings(access)


def build_page(
    server: Inspector | None = None,
    *,
    preset: str = "vit_c_4gf",
    device: str = "auto",
    image: str = "photo",
    own_pictures: Mapping[str, Picture] | None = None,
    own_weights: Mapping[str, Path] | None = None,
) -> gr.Blocks:
    """Build the app.

    Args:
        server: Answers the requests of the page; None for one with the pictures and weights below.
        preset: Name of the preset at the start.
        device: Device at the start.
        image: Image at the start, a sample or a name in `own_pictures`.
        own_pictures: Pictures by name, offered beside the samples.
        own_weights: Weight files by name, offered beside random weights; the first is chosen at
            the start.

    Returns:
        The app, ready for `launch(**LAUNCH_SETTINGS, **look())`.

    Raises:
        KeyError: when there is no preset of that name.
    """
    own, files = dict(own_pictures or {}), dict(own_weights or {})
    weights = {**{f"{FILE}{name}": f"File: {name}" for name in files}, **_INITS}
    return blocks_of(
        "vitc_inspect",
        template="page.html",
        script="stem/start.js",
        functions=server_functions(server or Inspector(own, files)),
        own_pictures=own,
        presets={name: controls_of(preset) for name, preset in PRESETS.items()},
        options={
            "image": image_options(own),
            "fit": dict(FITS),
            "device": {name: name for name in ("auto", *available_devices())},
            "dtype": {name: name for name in get_args(Dtype)},
            "attention": {name: name for name in get_args(Attention)},
            "weights": weights,
        },
        link=dict(LINK_FIELDS),
        start={
            **ENCODER_START,
            **controls_of(PRESETS[preset]),
            "encoder": "0",
            "image": image,
            "seed": "0",
            "device": device,
            "dtype": "float32",
            "weights": next(iter(weights)),
            "norm_statistics": "image",
            "fit": "crop",
            "table_of": "",
            **VIEW_START,
        },
    )


def blocks_of(
    page_title: str,
    *,
    template: str,
    script: str,
    functions: list[Callable[..., Any]],
    own_pictures: Mapping[str, Picture],
    **props: Any,
) -> gr.Blocks:
    """Build an app of one HTML component.

    Args:
        page_title: Title of the browser's tab.
        template: Name of the asset with the page's HTML.
        script: Name of the asset that starts the page.
        functions: Functions of the server that the script can call.
        own_pictures: Pictures by name, offered beside the samples.
        props: Values for the script.
    """
    page: gr.Blocks = gr.Blocks(
        title=page_title, analytics_enabled=False, delete_cache=(600, 600), fill_width=True
    )
    with page:
        gr.HTML(
            html_template=read_assets(template),
            js_on_load=bundle(ASSETS / script),
            apply_default_css=False,
            server_functions=functions,
            own_notes={name: " ".join(picture.notes) for name, picture in own_pictures.items()},
            max_file_bytes=MAX_FILE_BYTES,
            glossary=cards(),
            **props,
        )
    return page


def image_options(own: Iterable[str]) -> dict[str, str]:
    """Titles of the images to choose from, by name: the files given at the start, the samples."""
    return {**{name: f"File: {name}" for name in own}, **SAMPLES}


def look() -> dict[str, Any]:
    """Theme and style sheet, with the fonts that Gradio serves itself."""
    theme = gr.themes.Base(
        font=[
            gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)),
            "system-ui",
            "sans-serif",
        ],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
    )
    # in the head, since `css` rewrites selectors and breaks lists inside :is()
    style = read_assets(*STYLES)
    return {"theme": theme, "head": f"<style>{style}</style>"}


def read_assets(*names: str) -> str:
    """Read asset files and join them."""
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)


_INITS = {"torch": "random, PyTorch's default", "trunc_normal": "random, truncated normal"}


def controls_of(preset: Preset) -> dict[str, str]:
    """Values of the controls for a preset; the encoder's only if it has one."""
    spec, encoder = preset.stem, {}
    if preset.vit:
        encoder = {name: str(getattr(preset.vit, name)) for name in ENCODER_START}
    return {
        **encoder,
        "title": preset.title,
        "group": preset.group,
        "stem": format_stem(spec),
        "height": str(spec.image_size[0]),
        "width": str(spec.image_size[1]),
        "in_channels": str(spec.in_channels),
        "class_token": str(int(spec.class_token)),
        "position_table": str(int(spec.position_table)),
    }
