"""The recording of one forward pass of a module: its calls, tensors, failure and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import Tensor

from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.rules import Expectation
from vitc_inspect.tracing.tensors import tensors_in

NOT_REACHED = "the forward pass ended before it"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor that is an input or output of a call."""

    path: str
    """Where it stood: "0" or "mask" among the arguments; "" for a lone output, "1" or "logits.0"
    in a tuple or a dict."""
    shape: tuple[int, ...]
    """Shape, with the batch."""
    dtype: str
    """Number format, for example "float32"."""
    bytes: int
    """Size."""


@dataclass(frozen=True, kw_only=True)
class SourceLine:
    """A line of Python source."""

    file: str
    """Path of the file."""
    line: int
    """Number of the line, from 1."""
    text: str
    """The line without its indentation; empty where the file cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a module or a function."""

    name: str
    """Name of the module, as named_modules gives it, "" for the whole; or the function's own name,
    for example "reshape" or "einops.rearrange"."""
    kind: str
    """Class of the module, or "function"."""
    inside: str
    """Name of the module whose forward made the call; "" for the whole."""
    turn: int
    """1 at the first call of this module, 2 at the second; always 1 for a function."""
    inputs: tuple[Value, ...] = ()
    """Every tensor that went in."""
    outputs: tuple[Value, ...] = ()
    """Every tensor that came out; empty where none did or the call raised."""
    returned: bool
    """Whether the call ended without an exception."""
    params: int
    """Number of parameters of the module that none of its submodules report."""
    macs: int | None
    """Multiply-accumulates of the batch that no other row counts; None where one of the functions
    that ran has no count."""
    uncounted: tuple[str, ...]
    """Names of those functions."""
    source: SourceLine | None = None
    """The line that called the function; None for a module."""
    overwritten_by: str | None = None
    """What later wrote over the output in place, None where nothing did."""
    overwritten_at: SourceLine | None = None
    """The line that did; None where a module did it or it is not known."""
    kept: KeptOutput | None = None
    """A copy of the first output as it was when the call returned, or None."""
    unchecked: tuple[str, ...] = ()
    """Why something could not be worked out of this call: what our own rules raised."""
    arguments: int = 1
    """How many arguments went in, those that are no tensors included."""
    stated: Expectation | None = None
    """What a registered rule says of a function, or of a layer in which nothing could be counted;
    `macs` are then those of the rule, where it says them."""

    @property
    def is_function(self) -> bool:
        """Whether this is a function called between modules."""
        return self.kind == "function"

    @property
    def in_shape(self) -> tuple[int, ...] | None:
        """Shape of the first input, or None if there is none."""
        return self.inputs[0].shape if self.inputs else None

    @property
    def out_shape(self) -> tuple[int, ...] | None:
        """Shape of the first output, or None if there is none."""
        return self.outputs[0].shape if self.outputs else None

    @property
    def dtype(self) -> str | None:
        """Number format of the first output, or None if there is none."""
        return self.outputs[0].dtype if self.outputs else None

    @property
    def bytes(self) -> int:
        """Size of all outputs (bytes)."""
        return sum(value.bytes for value in self.outputs)


@dataclass(frozen=True, kw_only=True)
class NeverCalled:
    """A layer of the module that was not called."""

    name: str
    """Name of the layer."""
    kind: str
    """Class of the layer."""
    reason: str
    """Why, as far as it can be known; a sentence without its full stop."""

    @property
    def not_reached(self) -> bool:
        """Whether the forward pass ended before it would have been called."""
        return self.reason == NOT_REACHED


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Where and how the forward pass raised an exception."""

    kind: str
    """Class of the exception."""
    message: str
    """What the exception says."""
    inside: str = ""
    """Name of the innermost module that was running; "" for the whole."""
    operation: str | None = None
    """Name of the function that raised, None where it was no function of torch or einops."""
    operands: tuple[Value, ...] = ()
    """The tensors it was given."""
    source: SourceLine | None = None
    """The last line outside torch and einops."""
    traceback: str
    """Python's traceback, without the lines of this package."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The record of one forward pass."""

    calls: tuple[Call, ...]
    """In the order in which they began."""
    inputs: tuple[Value, ...]
    """What the whole module was given."""
    outputs: tuple[Value, ...]
    """What it returned; empty where it raised."""
    never_called: tuple[NeverCalled, ...]
    """In the order of named_modules."""
    notes: tuple[str, ...]
    """What is odd about the module, in sentences."""
    failure: Failure | None
    """None where the forward pass returned."""
    unchecked: tuple[str, ...] = ()
    """What could not be worked out of the run as a whole, each with what our own rule raised."""

    def call(self, name: str, turn: int = 1) -> Call:
        """Return one call of the module or function called `name`; KeyError if there is none.

        Args:
            name: Name of the module or the function.
            turn: Which of its calls, counted from 1.
        """
        calls = [call for call in self.calls if call.name == name]
        if not 1 <= turn <= len(calls):
            raise KeyError(name)
        return calls[turn - 1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all calls that could be counted."""
        return sum(call.macs or 0 for call in self.calls)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of the functions that the MACs leave out, each once."""
        return tuple(dict.fromkeys(name for call in self.calls for name in call.uncounted))


# ---- tensors while they are recorded ---------------------------------------------------------

SeenTensor = tuple[str, tuple[int, ...], torch.dtype]  # path, shape and format of a tensor


def tensors_given(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[SeenTensor]:
    """List every tensor in the positional and keyword arguments."""
    seen: list[SeenTensor] = []
    for path, value in chain(enumerate(args), kwargs.items()):
        if isinstance(value, Tensor) and not value.is_nested:  # nearly every one
            seen.append((str(path), value.shape, value.dtype))
        elif value is not None:
            seen += [(at, each.shape, each.dtype) for at, each in tensors_in(value, str(path))]
    return seen


class Values:
    """Creates values for recorded tensors; equal values are the same object."""

    def __init__(self) -> None:
        self._known: dict[SeenTensor, Value] = {}

    def of(self, seen: Sequence[SeenTensor]) -> tuple[Value, ...]:
        """Return a value for each tensor."""
        if len(seen) == 1:  # of nearly every call
            each = seen[0]
            return (self._known.get(each) or self._made(each),)
        return tuple(self._known.get(each) or self._made(each) for each in seen)

    def _made(self, each: SeenTensor) -> Value:
        path, sizes, dtype = each
        # torch.jit.trace makes tensors of sizes
        shape = tuple(int(size) if isinstance(size, Tensor) else size for size in sizes)
        value = self._known[each] = Value(
            path=path,
            shape=shape,
            dtype=str(dtype).removeprefix("torch."),
            bytes=prod(shape) * dtype.itemsize,
        )
        return value


def values_of(seen: Sequence[SeenTensor]) -> tuple[Value, ...]:
    """Return a value for each tensor."""
    return Values().of(seen)


def values_given(args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[Value, ...]:
    """Return a value for each tensor in the positional and keyword arguments."""
    return values_of(tensors_given(args, kwargs))
