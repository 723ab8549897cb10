"""Find where a forward pass raised, and which package a source file belongs to."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import einops
import torch
from torch import nn

from vitc_inspect.tracing.recording import (
    Failure,
    SeenTensor,
    SourceLine,
    Value,
    values_given,
    values_of,
)
from vitc_inspect.tracing.torch_internals import INPUT_CHECK


def module_file(name: str) -> str:
    """Find the file of a module without importing it; `listener` imports this file."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return spec.origin


_TORCH = str(Path(torch.__file__).parent / "_")[:-1]  # with the separator: torchvision is another
_EINOPS = str(Path(einops.__file__).parent / "_")[:-1]
_OURS = str(Path(__file__).parents[1] / "_")[:-1]
_TRACING = str(Path(__file__).parent / "_")[:-1]
_HERE = module_file(f"{__package__}.listener")  # where a module is called, and its calls recorded
_LAYERS = str(Path(nn.__file__).parent / "modules" / "_")[:-1]
_CALLING = str(Path(_LAYERS) / "module.py")  # where a module's forward is called from


CodeLine = tuple[str, int]  # file and number of a line


def owner_of(file: str) -> str:
    """Return the owner of a source file.

    Returns:
        "here" for `listener`, "calling" for the file in which torch calls a module's forward,
        "einops", "layer" for a layer of torch, "torch", or "user" for all other files.
    """
    if file in (_HERE, _CALLING):
        return "here" if file == _HERE else "calling"
    if file.startswith(_EINOPS):
        return "einops"
    if file.startswith(_LAYERS):
        return "layer"
    # a call that is announced goes through this wing
    return "torch" if file.startswith((_TORCH, _TRACING)) else "user"


def source_line(place: CodeLine | None) -> SourceLine | None:
    """Return a source line with its text; None if there is none."""
    if place is None:
        return None
    file, line = place
    return SourceLine(file=file, line=line, text=linecache.getline(file, line).strip())


def failure_of(
    error: BaseException,
    failed: tuple[BaseException, str, Sequence[SeenTensor]] | None,
    failed_in: tuple[BaseException | None, str] | None,
) -> Failure:
    """Describe where an exception was raised: the function, its operands, the module, the line.

    Args:
        error: What the forward raised.
        failed: The function that last raised: the exception, its name, the tensors it was given.
        failed_in: The module that was first left by an exception: the exception, its name.
    """
    operation: str | None = None
    operands: tuple[Value, ...] = ()
    chain = list(_chain(error))
    if failed and any(link is failed[0] for link in chain):
        _, operation, seen = failed
        operands = values_of(seen)
    steps = list(traceback.walk_tb(error.__traceback__))
    places = [owner_of(frame.f_code.co_filename) for frame, _ in steps]
    own = [at for at, place in enumerate(places) if place == "user"]
    at = own[-1] if own else None
    # einops names the whole pattern, where torch would name the step that did not work
    if "einops" in places[at:]:
        frame, _ = steps[places.index("einops", at or 0)]
        given = [
            frame.f_locals[name]
            for name in frame.f_code.co_varnames
            if name in frame.f_locals and name != "self"  # of a layer of einops
        ]
        layer = frame.f_locals.get("self")
        operation = f"einops.{frame.f_code.co_name if layer is None else type(layer).__name__}"
        operands = values_given(given[:1], {})
    # a norm looks at the axes of its input before it calls anything
    elif not operands and steps and steps[-1][0].f_code.co_name == INPUT_CHECK:
        operands = values_given([steps[-1][0].f_locals.get("input")], {})
    inside = failed_in[1] if failed_in and failed_in[0] in chain else ""
    source = (steps[at][0].f_code.co_filename, steps[at][1]) if at is not None else None
    return Failure(
        kind=type(error).__name__,
        message=_message_of(error),
        inside=inside,
        operation=operation,
        operands=operands,
        source=source_line(source),
        traceback=traceback_text(error),
    )


def bare_failure(error: BaseException) -> Failure:
    """Describe an exception of which only the class and message are known."""
    kind, message = type(error).__name__, _message_of(error)
    return Failure(kind=kind, message=message, traceback=f"{kind}: {message}\n")


def _message_of(error: BaseException) -> str:
    """What an exception says; where that raises another, what Python shows in its place."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # it is the user's code
        return "<exception str() failed>"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def traceback_text(error: BaseException) -> str:
    """Format a traceback as Python does, without the frames of this package and of torch's calls.

    Args:
        error: The exception, with those that it was raised from.

    Returns:
        Lines that end in a newline each.
    """
    report = traceback.TracebackException.from_exception(error)
    link: traceback.TracebackException | None = report
    while link is not None:
        kept = [step for step in link.stack if _is_of_interest(step.filename)]
        link.stack = traceback.StackSummary.from_list(kept)
        link = link.__cause__ or link.__context__
    return "".join(report.format())


def _is_of_interest(file: str) -> bool:
    """Whether a step of a traceback is neither ours nor the way to a module's forward."""
    ways = (_OURS, _CALLING, "<frozen importlib")
    return not file.startswith(ways)
