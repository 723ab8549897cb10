"""Modules named on the command line, `path/to/file.py:name` or `package.module:name`.

Loading runs the code of the file, so only the command line may name one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import linecache
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
from vitc_inspect.common.validation import unreadable_reason
from vitc_inspect.stem.memory import MEMORY_BUDGET
from vitc_inspect.tracing.interrupts import is_to_pass
from vitc_inspect.tracing.module_tree import bring_to, contents_of, evaluate
from vitc_inspect.tracing.rules import forget_rules

_EXAMPLE = "stem.py:Stem"
_LOADED_AS = "vitc_inspect_loaded"  # name in sys.modules of the file that was loaded last
_NUMBER_BYTES = 4
_MOST_AXES = 64


def load_module(text: str) -> nn.Module:
    """Load a module, or create one by calling the class or function of that name.

    Args:
        text: `path/to/file.py:name` or `package.module:name`; the name may have dots.

    Returns:
        The module as the file makes it. The file runs again each time.

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
    contents_of(module)  # refuses a module that cannot be moved to a device
    return module


def made_ready(text: str, module: nn.Module, device: torch.device) -> nn.Module:
    """Move a module to a device and put it in evaluation mode.

    Args:
        text: Its name on the command line, for the error.
        module: From `load_module`.
        device: Device to run on.

    Returns:
        What the module's `to` returns.

    Raises:
        SpecError: field "module", when its `to` or `eval` raises, or parameters have no values.
    """
    to, contents = f"its to({str(device)!r}) raises", contents_of(module)
    moved: nn.Module = _attempt(text, to, lambda: bring_to(module, contents, device))
    contents = contents_of(moved)
    _attempt(text, "its eval() raises", lambda: evaluate(moved, contents))
    return moved


def random_inputs(
    texts: Sequence[str], module: nn.Module, *, seed: int = 0, budget: int = MEMORY_BUDGET
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Draw inputs from a normal distribution, of the shapes given on the command line.

    Args:
        texts: Shapes, `1,3,224,224`, or with a name, `pixel_values=1,3,224,224`.
        module: The module they are for; they get its device and number format.
        seed: Seed of the random numbers.
        budget: Most memory for all of them (bytes).

    Returns:
        Positional and keyword arguments.

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
            reason = f"{name!r} cannot be the name of an argument"
            raise SpecError("input", text, reason, "Use pixel_values=1,3,224,224")
        tensor = torch.randn(shape, generator=generator).to(like.device, like.dtype)
        if equals:
            by_name[name] = tensor
        else:
            by_place.append(tensor)
    return tuple(by_place), by_name


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse a shape: integers separated by commas.

    Raises:
        SpecError: field "input".

    >>> parse_shape("1,3,224,224")
    (1, 3, 224, 224)
    """
    sizes = [size.strip() for size in text.split(",")]
    whole = all(size.isascii() and size.isdecimal() and len(size) <= 9 for size in sizes)
    if len(sizes) > _MOST_AXES:
        reason = f"it has {len(sizes):,} axes, and the most is {_MOST_AXES}"
    elif not whole or not all(map(int, sizes)):
        reason = "it is not a shape, whole numbers from 1 separated by commas"
    else:
        return tuple(map(int, sizes))
    raise SpecError("input", text, reason, "Use 1,3,224,224", "1,3,224,224")


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Put the folder first on the import path, as when Python runs a file in it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _run_file(text: str, path: Path) -> ModuleType:
    """Run a file, and return it as a module."""
    if reason := unreadable_reason(text.rpartition(":")[0]):
        raise SpecError("module", text, reason, "Give the path of a readable Python file")
    file = str(path.resolve())
    home = ModuleType(_LOADED_AS)
    home.__file__ = file
    sys.modules[_LOADED_AS] = home  # where dataclasses and pickle look up the module of a class
    linecache.checkcache(file)
    forget_rules({_LOADED_AS})  # those of the file as it was before

    def run() -> None:
        # compiled here, since Python's bytecode cache misses an edit within the same second
        exec(compile(path.read_bytes(), file, "exec"), vars(home))

    _attempt(text, f"{path} raises", run)
    return home


def _import(text: str, place: str) -> ModuleType:
    """Import a module."""
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):  # no such package, or not a valid name
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
    """Look up a dotted name."""
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
    """The module itself, or the one that the class or function makes."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        kind = with_article(type(found).__name__)
        reason = f"it is {kind}, neither a module nor a class or function that makes one"
        raise SpecError("module", text, reason, "Give the name of a module")
    what = "its constructor" if isinstance(found, type) else "the function"
    if needed := _needed(found):
        reason = f"{what} needs {', '.join(needed)}"
        raise SpecError("module", text, reason, "Name a function without arguments that makes it")
    made = _attempt(text, f"{what} raises", found)
    if not isinstance(made, nn.Module):
        reason = f"it makes {with_article(type(made).__name__)}, not a torch.nn.Module"
        raise SpecError("module", text, reason, _instead_of(made))
    return made


def _instead_of(made: Any) -> str:
    """The fix for a function that returns something other than a module."""
    if isinstance(made, type) and issubclass(made, nn.Module):
        return f"Let it return {made.__name__}(), an instance"
    parts = made.values() if isinstance(made, dict) else made
    parts = parts if isinstance(made, (dict, list, tuple)) else ()
    inside = [type(part).__name__ for part in parts if isinstance(part, nn.Module)]
    return f"Let it return the {inside[0]} in it alone" if inside else "Give the name of a module"


def _needed(maker: Callable[..., Any]) -> list[str]:
    """Names of the required arguments of a class or function."""
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(maker).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in several
    ]


def _attempt(text: str, trouble: str, step: Callable[[], Any]) -> Any:
    """Run user code; an exception in it becomes the cause of a SpecError."""
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
    return SpecError("module", text, reason.rstrip("."), "Fix it, or name another")
