"""The page of a user's module as a Gradio app."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from vitc_inspect.common.fitting import FITS
from vitc_inspect.common.images import Picture
from vitc_inspect.ui.choice import VIEW_START
from vitc_inspect.ui.module_runner import GIVEN, RANDOM
from vitc_inspect.ui.module_server import ModuleServer, module_functions
from vitc_inspect.ui.page import blocks_of, image_options


def build_module_page(
    server: ModuleServer,
    *,
    title: str,
    image: str = "photo",
    own_pictures: Mapping[str, Picture] | None = None,
    live: bool = False,
) -> gr.Blocks:
    """Build the app for one module.

    Args:
        server: Answers the requests of the page.
        title: Name of the module on the command line.
        image: Name of the image at the start.
        own_pictures: Pictures by name, offered beside the samples.
        live: Whether the module lives in the program that shows it, and is in no file.

    Returns:
        The app, ready for `launch(**LAUNCH_SETTINGS, **look())`.
    """
    own = dict(own_pictures or {})
    sizes = [text.rpartition("=")[2] for text in server.inputs]
    return blocks_of(
        f"{title} · vitc_inspect",
        template="module.html",
        script="module/start.js",
        functions=module_functions(server),
        own_pictures=own,
        title=title,
        live=live,
        names=[text.rpartition("=")[0] for text in server.inputs],
        options={
            "image": {
                **({GIVEN: "As given"} if live else {}),
                **image_options(own),
                RANDOM: "Random numbers",
            },
            "fit": dict(FITS),
        },
        start={"image": image, "fit": "crop", "sizes": sizes, **VIEW_START},
    )
