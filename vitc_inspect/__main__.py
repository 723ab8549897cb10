"""The command `vitc-inspect`, also run by `python -m vitc_inspect`: a verb, or a report."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType, MappingProxyType

VERBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"app": ("vitc_inspect.ui.launch", "opens the page in the browser")}
)
"""By verb, the module whose `main(arguments, prog=...)` runs it, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command to its end.

    Args:
        arguments: The command line without the program; None means sys.argv.

    Returns:
        Exit code of the verb or, where the first word is none, of `cli.main`.
    """
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)  # even while this package is imported
    from vitc_inspect import cli

    return cli.ended(partial(_run, sys.argv[1:] if arguments is None else arguments))


def _exit(number: int, frame: FrameType | None) -> None:
    """End this process at once, since it has nothing to clean up and an exception is printed."""
    os._exit(128 + number)


def _run(words: Sequence[str]) -> int:
    from vitc_inspect import cli

    typed = Path(sys.argv[0]).stem  # without the .exe of Windows
    prog = typed if typed == "vitc-inspect" else "python -m vitc_inspect"
    if words and words[0] in VERBS:
        home, _ = VERBS[words[0]]
        if signal.getsignal(signal.SIGINT) is _exit:  # a verb cleans up
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code: int = import_module(home).main(words[1:], prog=f"{prog} {words[0]}")
        return code
    verbs = " ".join(f"{prog} {verb} {does}." for verb, (_, does) in VERBS.items())
    return cli.main(words, apart=True, prog=prog, verbs=verbs)


if __name__ == "__main__":
    raise SystemExit(main())
