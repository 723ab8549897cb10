"""The command line of the app: parse it, check it, and serve the page."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import errno
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

from vitc_inspect.cli.modules import check_has_input
from vitc_inspect.cli.options import OneSentenceParser, add_module_options
from vitc_inspect.cli.output import EXIT_BAD_INPUT, say
from vitc_inspect.cli.runs import seconds_of
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.extras import require
from vitc_inspect.common.validation import check_choice, parse_int
from vitc_inspect.common.worker import import_ahead
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.run_time import DEFAULT_MAX_SECONDS
from vitc_inspect.ui.access import LOOPBACK, Access, access_of, in_space, is_loopback, new_token

if TYPE_CHECKING:
    import gradio as gr

    from vitc_inspect.ui.page_functions import PageServer

# Parameters of glibc's mallopt, from malloc.h, with the values they are set to.
_MALLOC_SETTINGS = {
    -8: 2,  # M_ARENA_MAX: two arenas instead of one for each thread
    -1: 64 * 2**20,  # M_TRIM_THRESHOLD: bytes that may lie free at the top of the heap
    -3: 4 * 2**20,  # M_MMAP_THRESHOLD: larger blocks go back to the system when freed
}
_MAX_PORT = 65_535
_CLOSING = 0.5  # seconds that the HTTP server has to close its connections
_PRESET = "vit_c_4gf"
_RUNNERS = ("vitc_inspect.ui.stem_runner", "vitc_inspect.ui.module_runner")
"""What workers import for the page of stems, and for that of a module."""
_PORT_ERRORS = {
    errno.EADDRINUSE: "another program is listening on it",
    errno.EACCES: "the system does not let this user open it",
}


def main(arguments: Sequence[str] | None = None, *, prog: str = "python app.py") -> int:
    """Serve the page until interrupted.

    Args:
        arguments: The command line without the program; None means sys.argv.
        prog: What the person typed to start the program.

    Returns:
        Exit code: 0 after an interrupt, 2 for bad input or an output that cannot be written.

    Raises:
        MissingPackage: when a package of the extra "app" is not installed.
    """
    options = _parser(prog).parse_args(arguments)
    try:
        options.max_seconds = seconds_of(options)
        _check(options)
        require("app", by="The page")
        port = _free_port(options.host, options.port)
        access = _access(options)
        _serve(port, options, access)
    except SpecError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _check(options: argparse.Namespace) -> None:
    """Check the options as far as that needs no slow import.

    Raises:
        SpecError: naming the option.
    """
    if options.module is None:
        if options.input:
            reason = "only a module takes inputs"
            raise SpecError("input", options.input[0], reason, "Give --module file.py:name as well")
        check_choice("preset", _PRESET if options.preset is None else options.preset, PRESETS)
        return
    for name in ("preset", "weights"):
        value = getattr(options, name)
        if value is not None:
            reason = f"--{name} is for stems, not for a module"
            raise SpecError(name, value, reason, "Leave one of the two out")
    check_has_input(options.input)


def _serve(port: int | None, options: argparse.Namespace, access: Access) -> None:
    _keep_memory_flat()
    import_ahead([_RUNNERS[options.module is not None]])
    # torch and gradio take seconds to import, mostly waiting for files, so they overlap
    torch_import = Thread(target=import_module, args=("torch",))
    torch_import.start()
    import_module("gradio")
    torch_import.join()
    from vitc_inspect.common.images import SAMPLES, read_picture
    from vitc_inspect.ui.http_checks import QUERY_TOKEN
    from vitc_inspect.ui.page import launch_settings, look

    own = {}
    image = "photo" if options.image is None else options.image
    if image not in SAMPLES:
        picture = read_picture(image)
        image = Path(image).name
        own[image] = picture
    server_of = _stem_server if options.module is None else _module_server
    server, page = server_of(options, image, own)
    _, address, _ = page.launch(
        server_name=options.host,
        server_port=port,
        quiet=True,
        prevent_thread_lock=True,
        **launch_settings(access),
        **look(),
    )
    token = f"?{QUERY_TOKEN}={access.token}" if access.token else ""
    say(f"vitc_inspect is at {address}{token} (Ctrl+C stops it)")
    if not is_loopback(options.host):
        say(_exposure(options, access, page.server_port))
    _wait_for_interrupt()
    server.close()  # first, since a request waits for its worker
    page.server.should_exit = True
    page.server.thread.join(timeout=_CLOSING)  # open pages hold connections, which need not end
    sys.stdout.flush()
    os._exit(0)  # taking torch and gradio apart would take another second or two


def _wait_for_interrupt() -> None:
    """Wait until this program is interrupted, and ignore a second interrupt while it ends."""
    with suppress(KeyboardInterrupt):
        while True:
            sleep(3600)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _access(options: argparse.Namespace) -> Access:
    """Who may reach the page.

    Raises:
        SpecError: field "host", where others could reach it and nobody asked for that; or the
            name of an option.
    """
    token = options.token
    if token is None:
        token = os.environ.get("VITC_TOKEN", "")
        if not token and options.module is not None:
            token = new_token()
    access = access_of(
        options.host,
        allowed=options.allow_host,
        frame_ancestors=options.frame_ancestors,
        token=token,
    )
    if not (options.public or in_space() or is_loopback(options.host)):
        what = "use this machine's processor and memory"
        if options.module is not None:
            what = "have this module's code run again" + (", with the token" if token else "")
        reason = f"everyone who can reach that address could open the page and {what}"
        raise SpecError("host", options.host, reason, "Add --public, or use 127.0.0.1", LOOPBACK[0])
    return access


def _exposure(options: argparse.Namespace, access: Access, port: int) -> str:
    """Who can reach a page that not only this machine can reach, and what they can do."""
    who = f"Public: everyone who can reach port {port} of this machine"
    if access.token:
        who += " and has the token"
    if options.module is None:
        return f"{who} can have stems run, which takes its processor and memory."
    return f"{who} can have the code of {options.module} run again, with your rights."


def _stem_server(
    options: argparse.Namespace, image: str, own: dict[str, Any]
) -> tuple[PageServer, gr.Blocks]:
    """Build the page of stems from the options."""
    from vitc_inspect.model.checkpoints import load_weights
    from vitc_inspect.model.devices import resolve_device
    from vitc_inspect.ui.page import build_page
    from vitc_inspect.ui.server import Inspector

    resolve_device(options.device)
    files = {}
    if options.weights is not None:
        load_weights(options.weights)  # refuses an unreadable file before the page opens
        files[Path(options.weights).name] = Path(options.weights)
    server = Inspector(own, files, max_seconds=options.max_seconds)
    server.start()
    page = build_page(
        server,
        preset=_PRESET if options.preset is None else options.preset,
        device=options.device,
        image=image,
        own_pictures=own,
        own_weights=files,
    )
    return server, page


def _module_server(
    options: argparse.Namespace, image: str, own: dict[str, Any]
) -> tuple[PageServer, gr.Blocks]:
    """Build the page of a module; this runs the module's code for the first time."""
    from vitc_inspect.model.devices import resolve_device
    from vitc_inspect.ui.module_page import build_module_page
    from vitc_inspect.ui.module_server import ModuleServer

    resolve_device(options.device)  # refuses one that there is not
    server = ModuleServer(
        options.module,
        options.device,
        options.input,
        own,
        max_seconds=options.max_seconds,
    )
    refusal = asyncio.run(server.first_run(image))
    if refusal:
        error, traceback = refusal
        if traceback:  # of what the user's own code raised
            print(traceback, file=sys.stderr)
        raise error
    page = build_module_page(server, title=options.module, image=image, own_pictures=own)
    return server, page


def _free_port(host: str, text: str | None) -> int | None:
    """Check that a port is free; None if none was given, for Gradio to choose from 7860 on.

    Raises:
        SpecError: field "port" or "host".
    """
    port = _port_number(text) if text is not None else 0
    try:
        socket.getaddrinfo(host, port, family=socket.AF_INET)
    except (socket.gaierror, UnicodeError):  # the latter for an invalid name
        reason = "no IPv4 address of that name is known"
        raise SpecError("host", host, reason, "Use 127.0.0.1", "127.0.0.1") from None
    try:
        with socket.create_server((host, port)):
            return port or None
    except OSError as error:
        if error.errno not in _PORT_ERRORS:
            reason = "no port can be opened on it"
            if error.errno == errno.EADDRNOTAVAIL:
                reason = "it is not an address of this machine"
            raise SpecError("host", host, reason, "Use 127.0.0.1", "127.0.0.1") from None
        with socket.create_server(("", 0)) as other:
            free = other.getsockname()[1]
        reason = _PORT_ERRORS[error.errno]
        raise SpecError("port", port, reason, f"Use {free}", free) from None


def _port_number(text: str) -> int:
    try:
        return parse_int("port", text, 1, _MAX_PORT)
    except SpecError as error:
        raise SpecError("port", error.value, error.reason, "Use 7860", 7860) from None


def _keep_memory_flat() -> None:
    """Limit the memory that libraries keep between runs; benchmarks/memory.py shows the effect.

    Call it before torch is imported. By default oneDNN caches a plan for each of the last 1024
    shapes, and glibc returns little memory to the system.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        for parameter, value in _MALLOC_SETTINGS.items():
            if mallopt:  # other C libraries do not have it
                mallopt(parameter, value)


def _parser(prog: str) -> OneSentenceParser:
    parser = OneSentenceParser(
        prog=prog, description="Inspect the stem of a Vision Transformer in the browser."
    )
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1",
        help="address to listen on (default: GRADIO_SERVER_NAME or 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--port",
        default=os.environ.get("GRADIO_SERVER_PORT"),
        help="port to listen on (default: GRADIO_SERVER_PORT or the first free one from 7860)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--preset", help=f"stem to start with: {', '.join(PRESETS)} (default: {_PRESET})"
    )
    parser.add_argument(
        "--image", help="image file to start with; or photo, impulse, checkerboard, edges, ramp"
    )
    parser.add_argument(
        "--weights", help="weight file: safetensors, or a .pt that holds tensors only"
    )
    parser.add_argument(
        "--max-seconds",
        default=str(DEFAULT_MAX_SECONDS),
        metavar="N",
        help=f"refuse and end a run that takes longer (default: {DEFAULT_MAX_SECONDS})",
    )
    add_module_options(parser)
    _add_access_options(parser)
    return parser


def _add_access_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--public", action="store_true", help="listen on a --host that other machines can reach"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also answer to this name, as behind a proxy; VITC_ALLOWED_HOSTS holds several with "
        "commas; may be repeated",
    )
    parser.add_argument(
        "--frame-ancestors",
        metavar="SOURCES",
        help="pages that may show this one in a frame, such as \"'self' https://example.org\"",
    )
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help="what a visitor has to know (default: VITC_TOKEN; a random one with --module); "
        "'' for nothing",
    )
