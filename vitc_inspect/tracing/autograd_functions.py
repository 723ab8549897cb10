"""Announce autograd functions to torch's function modes, which torch itself does not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.autograd import Function
from torch.overrides import handle_torch_function, has_torch_function

from vitc_inspect.tracing.rules import REGISTRY, kind_of
from vitc_inspect.tracing.torch_internals import BaseFunction


@contextmanager
def announced() -> Iterator[None]:
    """Announce calls of the autograd functions for which users registered rules.

    `Function.apply` calls its base class's method of that name. There, also a bound
    `MyFunction.apply` is met that was stored before.
    """
    if not REGISTRY.users:
        yield
        return

    def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
        original = super(BaseFunction, cls).apply
        # only a thread whose functions are recorded has a mode
        if has_torch_function((cls,)) and cls is not Function and kind_of(cls) in REGISTRY.users:
            return handle_torch_function(_Applied(cls, original), (), *args, **kwargs)
        return original(*args, **kwargs)

    BaseFunction.apply = classmethod(apply)
    try:
        yield
    finally:
        del BaseFunction.apply


class _Applied:
    """An autograd function as what is called; one class is one function."""

    def __init__(self, function: type[Function], apply: Callable[..., Any]) -> None:
        self.__name__, self.__qualname__ = function.__name__, function.__qualname__
        self.__module__ = function.__module__
        self._function, self._apply = function, apply

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._apply(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Applied) and other._function is self._function

    def __hash__(self) -> int:
        return hash(self._function)
