"""The page of a user's module as a Gradio app."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from vitc_inspect.common.images import Picture
from vitc_inspect.ui.choice import VIEW_START
from vitc_inspect.ui.module_runner import RANDOM
from vitc_inspect.ui.module_server import ModuleServer, module_functions
from vitc_inspect.ui.page import blocks_of, image_options

MODULE_SCRIPTS = (
    "common.js",
    "module.js",
    "maps.js",
    "tokens.js",
    "module-start.js",
    "glossary.js",
)
"""The page's scripts in order; they share one scope."""


def build_module_page(
    server: ModuleServer,
    *,
    title: str,
    image: str = "photo",
    own_pictures: Mapping[str, Picture] | None = None,
) -> gr.Blocks:
    """Build the app for one module.

    Args:
        server: Answers the requests of the page.
        title: Name of the module on the command line.
        image: Name of the image at the start.
        own_pictures: Pictures by name, offered beside the samples.

    Returns:
        The app, ready for `launch(**LAUNCH_SETTINGS, **look())`.
    """
    own = dict(own_pictures or {})
    sizes = [text.rpartition("=")[2] for text in server.inputs]
    return blocks_of(
        f"{title} · vitc_inspect",
        template="module.html",
        scripts=MODULE_SCRIPTS,
        functions=module_functions(server),
        own_pictures=own,
        title=title,
        names=[text.rpartition("=")[0] for text in server.inputs],
        options={"image": {**image_options(own), RANDOM: "Random numbers"}},
        start={"image": image, "sizes": sizes, **VIEW_START},
    )
