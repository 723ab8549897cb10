"""The page of one module of somebody's own as a Gradio app."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from vitc_inspect.common.images import SAMPLES, Picture
from vitc_inspect.ui.module_server import RANDOM, ModuleInspector, module_functions
from vitc_inspect.ui.page import read_assets
from vitc_inspect.ui.uploads import MAX_FILE_BYTES

MODULE_SCRIPTS = ("common.js", "module.js", "maps.js", "tokens.js", "module-start.js")
"""The page's scripts in their order; they share one scope."""


def build_module_page(
    inspector: ModuleInspector,
    *,
    title: str,
    image: str = "photo",
    own_pictures: Mapping[str, Picture] | None = None,
) -> gr.Blocks:
    """Build the app for one module.

    Args:
        inspector: Who answers; it has read the module.
        title: What the command line called the module.
        image: Name of the image the page starts with.
        own_pictures: Pictures by name, offered beside the samples.

    Returns:
        The app, ready for `launch(**LAUNCH_SETTINGS, **look())`.
    """
    own = dict(own_pictures or {})
    page: gr.Blocks = gr.Blocks(
        title=f"{title} · vitc_inspect",
        analytics_enabled=False,
        delete_cache=(600, 600),
        fill_width=True,
    )
    with page:
        gr.HTML(
            html_template=read_assets("module.html"),
            js_on_load=read_assets(*MODULE_SCRIPTS),
            apply_default_css=False,
            server_functions=module_functions(inspector),
            title=title,
            names=[text.rpartition("=")[0] for text in inspector.inputs],
            options={
                "image": {
                    **{name: f"File: {name}" for name in own},
                    **SAMPLES,
                    RANDOM: "Random numbers",
                }
            },
            start={
                "image": image,
                "sizes": [text.rpartition("=")[2] for text in inspector.inputs],
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
