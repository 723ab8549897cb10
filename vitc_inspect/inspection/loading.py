"""A module from the command line: `path/to/file.py:name` or `package.module:name`, and its input.

Whoever starts the program names the file, so its code is run; nothing else may name one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError, message_of, with_article
from vitc_inspect.stem.memory import MEMORY_BUDGET
from vitc_inspect.tracing.module_tree import bring_to, contents_of, evaluate
from vitc_inspect.tracing.rules import forget_rules
from vitc_inspect.tracing.tracebacks import is_to_pass

_EXAMPLE = "stem.py:Stem"
_LOADED_AS = "vitc_inspect_loaded"  # the name of a file's module while it is in use
_NUMBER_BYTES = 4
_MOST_AXES = 64


def load_module(text: str) -> nn.Module:
    """Load a module, or make one with the class or function of that name.

    Args:
        text: `path/to/file.py:name` or `package.module:name`; the name may have dots.

    Returns:
        The module, as the file leaves it. The file is run anew each time.

    Raises:
        SpecError: field "module"; its __cause__ is what the user's code raised, if it did.
    """
    place, colon, name = text.rpartition(":")
    if not (place and colon and name) or place.endswith(":"):
        reason = "it is not a file or a module, a colon and a name"
        use = re.sub(":+", ":", text) if place.strip(":") and name else _EXAMPLE
        raise SpecError("module", text, reason, f"Use {use}", use)
    path = Path(place)
    is_file = path.suffix == ".py" or path.exists() or "/" in place
    with _first_on_path(path.resolve().parent if is_file else Path.cwd()):
        home = _run_file(text, path) if is_file else _import(text, place)
        module = _made(text, _named(text, home, name))
    contents_of(module)  # refuses what could not even be brought to a device
    return module


def made_ready(text: str, module: nn.Module, device: torch.device) -> nn.Module:
    """Bring a module to a device and put it in evaluation mode.

    Args:
        text: How it was named, for the error.
        module: What `load_module` gave for it.
        device: Where it is to run.

    Returns:
        The module, or what its own `to` gives for it.

    Raises:
        SpecError: field "module", for what its `to` or `eval` raises, or parameters without
            numbers.
    """
    to, contents = f"its to({str(device)!r}) raises", contents_of(module)
    moved: nn.Module = _attempt(text, to, lambda: bring_to(module, contents, device))
    contents = contents_of(moved)
    _attempt(text, "its eval() raises", lambda: evaluate(moved, contents))
    return moved


def random_inputs(
    texts: Sequence[str], module: nn.Module, *, seed: int = 0, budget: int = MEMORY_BUDGET
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Draw the inputs that the command line describes.

    Args:
        texts: A shape each, `1,3,224,224`, or a named one, `pixel_values=1,3,224,224`.
        module: Whom they are for: they get its device and number format.
        seed: Start of the random numbers, which are normally distributed.
        budget: The most that they may take together (bytes).

    Returns:
        Arguments by place and by name.

    Raises:
        SpecError: field "input".
    """
    parameters = contents_of(module).parameters
    floats = (tensor for tensor in parameters if tensor.is_floating_point())
    like = next(floats, torch.empty(0))
    generator = torch.Generator().manual_seed(seed)
    by_place: list[Tensor] = []
    by_name: dict[str, Tensor] = {}
    left = budget
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        shape = parse_shape(sizes)
        left -= prod(shape) * _NUMBER_BYTES
        if left < 0:
            numbers = f"{prod(shape):,}" if prod(shape) < 10**18 else "more than 10^18"
            reason = f"its {numbers} numbers do not fit in {budget / 2**30:.1f} GiB"
            raise SpecError("input", text, reason, "Use a smaller shape", "1,3,224,224")
        if equals and not name.isidentifier():
            reason = f"{name!r} is no name of an argument"
            raise SpecError("input", text, reason, "Use pixel_values=1,3,224,224")
        tensor = torch.randn(shape, generator=generator).to(like.device, like.dtype)
        if equals:
            by_name[name] = tensor
        else:
            by_place.append(tensor)
    return tuple(by_place), by_name


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape: whole numbers with commas between.

    Raises:
        SpecError: field "input".

    >>> parse_shape("1,3,224,224")
    (1, 3, 224, 224)
    """
    sizes = [size.strip() for size in text.split(",")]
    if len(sizes) > _MOST_AXES:
        reason = f"it has {len(sizes):,} axes, and the most is {_MOST_AXES}"
        raise SpecError("input", text, reason, "Use 1,3,224,224", "1,3,224,224")
    whole = all(size.isascii() and size.isdecimal() and len(size) <= 9 for size in sizes)
    if not whole or not all(map(int, sizes)):
        reason = "it is not a shape, whole numbers from 1 with commas between"
        raise SpecError("input", text, reason, "Use 1,3,224,224", "1,3,224,224")
    return tuple(map(int, sizes))


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Let imports find what lies beside the file, as when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _run_file(text: str, path: Path) -> ModuleType:
    """The namespace of a file that was just run."""
    if not path.is_file():
        place = text.rpartition(":")[0]
        reason = f"{path} is a folder" if path.is_dir() else f"there is no file {place}"
        raise SpecError("module", text, reason, "Give the path of a Python file")
    if not os.access(path, os.R_OK):
        reason = f"this user may not read {path}"
        raise SpecError("module", text, reason, "Give the path of a file that may be read")
    file = str(path.resolve())
    home = ModuleType(_LOADED_AS)
    home.__file__ = file
    sys.modules[_LOADED_AS] = home  # where dataclasses and pickle look a class's module up
    linecache.checkcache(file)
    forget_rules({_LOADED_AS})  # those of the file as it was before

    def run() -> None:
        # compiled here, since Python's cache takes an edit within a second for no edit
        exec(compile(path.read_bytes(), file, "exec"), vars(home))

    _attempt(text, f"{path} raises", run)
    return home


def _import(text: str, place: str) -> ModuleType:
    """An importable module."""
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):  # its package is not there, or it is no name at all
        found = None
    except BaseException as error:  # importing the package runs the user's code
        if is_to_pass(error):
            raise
        raise _raised(text, f"the package of {place} raises", error) from error
    if found is None:
        reason = f"there is no module {place} to import, nor a file of that name"
        raise SpecError("module", text, reason, f"Use {_EXAMPLE}", _EXAMPLE)
    module: ModuleType = _attempt(text, f"{place} raises", lambda: importlib.import_module(place))
    return module


def _named(text: str, home: ModuleType, name: str) -> Any:
    """What stands under a dotted name."""
    found: Any = home
    for part in name.split("."):
        if not hasattr(found, part):
            offered = [each for each in dir(found) if not each.startswith("_")]
            modules = [each for each in offered if _may_be_module(getattr(found, each))]
            makers = [each for each in offered if _is_own_function(getattr(found, each))]
            near = difflib.get_close_matches(part, [*modules, *makers], n=1) or modules[:1]
            fix = f"Use {near[0]}" if near else "Give a name that the file defines"
            suggestion = f"{text.rpartition(':')[0]}:{near[0]}" if near else None
            raise SpecError("module", text, f"there is no {part} in it", fix, suggestion)
        found = getattr(found, part)
    return found


def _may_be_module(value: Any) -> bool:
    return isinstance(value, nn.Module) or (
        isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == _LOADED_AS
    )


def _is_own_function(value: Any) -> bool:
    return isinstance(value, FunctionType) and value.__module__ == _LOADED_AS


def _made(text: str, found: Any) -> nn.Module:
    """The module itself, or what the class or function makes."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        kind = type(found).__name__
        reason = (
            f"it is {with_article(kind)}, neither a module nor a class or function that makes one"
        )
        raise SpecError("module", text, reason, "Give the name of a module")
    needed = _needed(found)
    what = "its constructor" if isinstance(found, type) else "the function"
    if needed:
        reason = f"{what} needs {', '.join(needed)}"
        raise SpecError("module", text, reason, "Name a function without arguments that makes it")
    made = _attempt(text, f"{what} raises", found)
    if not isinstance(made, nn.Module):
        reason = f"it makes {with_article(type(made).__name__)}, not a torch.nn.Module"
        raise SpecError("module", text, reason, _instead_of(made))
    return made


def _instead_of(made: Any) -> str:
    """What to do about what is made in a module's place."""
    if isinstance(made, type) and issubclass(made, nn.Module):
        return f"Let it return {made.__name__}(), an instance"
    parts = made.values() if isinstance(made, dict) else made
    parts = parts if isinstance(made, (dict, list, tuple)) else ()
    inside = [type(part).__name__ for part in parts if isinstance(part, nn.Module)]
    return f"Let it return the {inside[0]} in it alone" if inside else "Give the name of a module"


def _needed(maker: Callable[..., Any]) -> list[str]:
    """Names of the arguments that a class or function cannot do without."""
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(maker).parameters
    except (TypeError, ValueError):  # some written in C have none
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in several
    ]


def _attempt(text: str, trouble: str, step: Callable[[], Any]) -> Any:
    """Run a step of the user's code; whatever it raises becomes the cause of one sentence."""
    try:
        return step()
    except SpecError:
        raise
    except BaseException as error:
        if is_to_pass(error):
            raise
        raise _raised(text, trouble, error) from error


def _raised(text: str, trouble: str, error: BaseException) -> SpecError:
    message = " ".join(message_of(error).split())
    says = f": {message}" if message else ""
    reason = f"{trouble} {type(error).__name__}{says}"
    return SpecError("module", text, reason.rstrip("."), "Mend it, or give another")
