"""Opening the page from Python: on a module as it is in memory, or on a stem."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import sleep
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import parse_int
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.inspection.module_run import LiveModule
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.stem.notation import format_stem, parse_stem
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.ui.access import access_of, new_token
from vitc_inspect.ui.choice import ENCODER_START
from vitc_inspect.ui.http_checks import QUERY_TOKEN
from vitc_inspect.ui.module_page import build_module_page
from vitc_inspect.ui.module_runner import GIVEN
from vitc_inspect.ui.module_server import ModuleServer
from vitc_inspect.ui.page import build_page, launch_settings, look
from vitc_inspect.ui.page_functions import PageServer
from vitc_inspect.ui.server import Inspector
from vitc_inspect.views.html import tag

_HOST = "127.0.0.1"
_MAX_PORT = 65_535
_HEIGHT = 900  # of the frame in a notebook (pixels)


class Page:
    """A page that is being served; it ends with the program, or when it is closed."""

    def __init__(self, server: PageServer, blocks: gr.Blocks, address: str) -> None:
        """Keep what serves the page."""
        self._server, self._blocks = server, blocks
        self.address = address
        """Where the page is, with the token that it asks for."""

    def close(self) -> None:
        """Stop serving the page; once it is closed, nothing happens."""
        self._server.close()
        with suppress(AttributeError):  # it was closed before
            self._blocks.close(verbose=False)

    def wait(self) -> None:
        """Wait until Ctrl+C, as at the end of a script, and close the page."""
        with suppress(KeyboardInterrupt):
            while True:
                sleep(3600)
        self.close()

    def __enter__(self) -> Page:
        """The page itself, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the page."""
        self.close()

    def __repr__(self) -> str:
        """Where the page is."""
        return f"vitc_inspect is at {self.address}"

    def _repr_html_(self) -> str:
        """The page in a frame, which a notebook shows."""
        frame = tag(
            "iframe",
            src=self.address,
            title="vitc_inspect",
            width="100%",
            height=_HEIGHT,
            style="border:0;border-radius:8px",
        )
        return str(frame)


def show(
    subject: Any, *inputs: Any, port: int = 0, browser: bool | None = None, **named: Any
) -> Page:
    """Open the page on a module of this program or on a stem, and return at once.

    A module runs in this process, in a thread of its own, as it is at that moment; "Run again" on
    the page shows it after its weights or its code have changed. Its mode, weights, buffers and
    hooks are left as they were. A run cannot be ended there; interrupt the program. Do not train
    the module while it runs.

    The page listens on this machine alone. A module's asks for a token, which is in the address.
    In a notebook, the value of a cell is the page in a frame; on a remote machine, forward the
    port first.

    Args:
        subject: A torch.nn.Module; or a stem: a StemSpec, a ViTSpec, a preset or its name, a
            stem's notation or PyTorch code, or the Report of a stem.
        inputs: Tensors for the module's forward.
        port: Port to listen on; 0 for a free one.
        browser: Whether to open a browser; None for opening one from an interactive interpreter
            that is no notebook.
        named: Tensors for the module's forward by name.

    Returns:
        The page: its `address`, `close()`, and `wait()` for the end of a script. It ends with a
        `with` block, and with the program.

    Raises:
        SpecError: field "subject", "module", "input" or "port".
        MissingPackage: when a package of the extra "app" is not installed.
    """
    page = _served(subject, inputs, named, port)
    if browser or (browser is None and hasattr(sys, "ps1") and "IPython" not in sys.modules):
        webbrowser.open(page.address)
    return page


def _served(subject: Any, inputs: Sequence[Any], named: Mapping[str, Any], port: int) -> Page:
    port = parse_int("port", str(port), 0, _MAX_PORT)
    if isinstance(subject, ModuleReport):
        reason = "a report does not hold the module, which the page runs"
        raise SpecError("subject", "ModuleReport", reason, "Pass the module and its inputs")
    stem = _stem_of(subject)
    if stem is None and not (inputs or named):
        reason = "the module's forward is given nothing"
        raise SpecError("input", "", reason, "Pass a tensor, such as torch.randn(1, 3, 224, 224)")
    if stem is None:
        return _module_page(LiveModule(subject, inputs, named), port)
    if inputs or named:
        given = len(inputs) + len(named)
        raise SpecError("input", given, "a stem is given no tensors", "Leave them out")
    return _stem_page(stem, port)


def _stem_of(subject: Any) -> StemSpec | ViTSpec | None:
    """The stem that is to be shown, or the whole model; None for what may be a module."""
    if isinstance(subject, str):
        subject = PRESETS.get(subject) or parse_stem(subject)
    if isinstance(subject, Preset):
        return subject.vit or subject.stem
    if isinstance(subject, Report):
        return subject.prediction.vit or subject.prediction.spec
    return subject if isinstance(subject, (StemSpec, ViTSpec)) else None


def _module_page(module: LiveModule, port: int) -> Page:
    server = ModuleServer(module, "auto", module.inputs)
    title = f"{module.text} of this program"
    blocks = build_module_page(server, title=title, image=GIVEN, live=True)
    return _launched(server, blocks, port, token=new_token())


def _stem_page(model: StemSpec | ViTSpec, port: int) -> Page:
    server = Inspector()
    server.start()
    return _launched(server, build_page(server), port, query=_link_of(model))


def _link_of(model: StemSpec | ViTSpec) -> dict[str, str]:
    """The fields of a link to a stem or a whole model."""
    stem = model.stem if isinstance(model, ViTSpec) else model
    height, width = stem.image_size
    encoder = "off"
    if isinstance(model, ViTSpec):
        encoder = ",".join(str(getattr(model, name)) for name in ENCODER_START)
    return {
        "stem": format_stem(stem),
        "size": f"{height}x{width}",
        "channels": str(stem.in_channels),
        "class_token": str(int(stem.class_token)),
        "table": str(int(stem.position_table)),
        "encoder": encoder,
    }


def _launched(
    server: PageServer,
    blocks: gr.Blocks,
    port: int,
    *,
    token: str = "",
    query: Mapping[str, str] | None = None,
) -> Page:
    """Serve a page in a thread, also where an event loop runs already, as in a notebook."""
    settings = dict(launch_settings(access_of(_HOST, token=token)))

    def launch() -> str:
        _, address, _ = blocks.launch(
            server_name=_HOST,
            server_port=port or None,
            quiet=True,
            inline=False,
            prevent_thread_lock=True,
            **settings,
            **look(),
        )
        return str(address)

    try:
        with ThreadPoolExecutor(1) as thread:
            address = thread.submit(launch).result()
    except BaseException as error:
        server.close()  # else its workers would live as long as the program
        if not isinstance(error, OSError):
            raise
        reason = "another program is listening on it, or the system does not let this user open it"
        raise SpecError("port", port, reason, "Use 0 for a free one", 0) from None
    fields = {**(query or {}), **({QUERY_TOKEN: token} if token else {})}
    return Page(server, blocks, f"{address}?{urlencode(fields)}" if fields else address)
