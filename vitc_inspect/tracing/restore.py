"""Restore a module, torch's settings and the random state after a forward pass."""

from __future__ import annotations

import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from operator import is_
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitc_inspect.tracing.module_tree import Contents
from vitc_inspect.tracing.torch_internals import (
    compiler_is_loaded,
    count_function_modes,
    default_device,
    pop_function_mode,
    push_function_mode,
    version_counter,
)

ONE_AT_A_TIME = RLock()
"""Held while a module runs: the fast path of attention is a switch of the whole program."""


def version_of(tensor: Tensor | None) -> int:
    """Return how often a tensor was written to in place; inference tensors keep no count."""
    return 0 if tensor is None or tensor.is_inference() else version_counter(tensor)


def memory_of(tensor: Tensor) -> int:
    """Return the address of a tensor's data; 0 if it has none of its own, such as a sparse one."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return 0


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Make attention and compiled modules call their layers, so that forward hooks run."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # asking for a stance loads the compiler, which takes a second
    try:
        with torch.compiler.set_stance("force_eager") if compiler_is_loaded() else nullcontext():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def leave_mode(mode: TorchFunctionMode) -> None:
    """Remove a mode from the stack, even below one that the user's code entered and never left."""
    above = []
    while count_function_modes():
        top = pop_function_mode()
        if top is mode:
            break
        above.append(top)
    for other in reversed(above):
        push_function_mode(other)


class Parameters:
    """The parameters of a module, restored if its forward changes them."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._facts = [(each, each.data, each.requires_grad, each.grad) for each in parameters]
        self._copies: list[tuple[Tensor, Tensor]] = []

    @cached_property
    def _homes(self) -> dict[int, Tensor]:
        """The parameters by their memory; most forwards write to none and never ask."""
        return {
            data.untyped_storage().data_ptr(): each
            for each, data, *_ in self._facts
            if data.layout == torch.strided and data.numel()
        }

    @property
    def devices(self) -> set[torch.device]:
        """The devices of the parameters."""
        return {each.device for each, *_ in self._facts}

    def lend_gradients(self) -> None:
        """Replace gradients by copies, since a backward in the forward adds to them."""
        for parameter, _, _, grad in self._facts:
            # torch lets no other be put there, although one may stand there
            if grad is not None and (grad.dtype, grad.device) == (
                parameter.dtype,
                parameter.device,
            ):
                parameter.grad = grad.detach().clone()

    def save(self, written: Tensor) -> None:
        """Copy a parameter that is about to be written to; copying all would take too long."""
        if written.is_meta or written.layout != torch.strided:
            return
        try:
            home = written.untyped_storage().data_ptr()
        except RuntimeError:  # a wrapper of torch.func has no memory, and nested tensors hide it
            return
        parameter = self._homes.pop(home, None)
        if parameter is not None:
            self._copies.append((parameter, parameter.detach().clone()))

    def restore(self) -> None:
        """Restore values, memory, number format, device, gradients and requires_grad."""
        for parameter, data, requires_grad, grad in self._facts:
            if parameter.dtype != data.dtype or memory_of(parameter) != memory_of(data):
                parameter.data = data
            if parameter.requires_grad != requires_grad:
                with _writable(parameter):
                    parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad
        for parameter, value in self._copies:
            with _writable(parameter):
                parameter.copy_(value)


def _writable(tensor: Tensor) -> AbstractContextManager[None]:
    """Where a tensor may be written to; for one that was made in inference mode, only in it."""
    return torch.inference_mode() if tensor.is_inference() else nullcontext()


@contextmanager
def as_it_was(contents: Contents) -> Iterator[Parameters]:
    """Restore what the forward pass may change: attributes, mode, buffers, random state."""
    parameters = Parameters(contents.parameters)
    filled, empty = _containers(contents.layers.values())
    tensors = (*contents.buffers, *_plain_tensors(contents.layers.values()))
    buffers = [(each, version_of(each), each.detach().clone()) for each in tensors]
    devices = parameters.devices | {each.device for each, *_ in buffers}
    with _random_numbers(devices), _switches():
        try:
            parameters.lend_gradients()
            yield parameters
        finally:
            with torch.inference_mode(False), torch.no_grad():
                for held, content in filled:
                    if not _same(held, content):
                        _fill(held, content)
                for held in filter(None, empty):
                    held.clear()
                parameters.restore()
                for buffer, version, value in buffers:
                    _restore_buffer(buffer, version, value)


_CONTAINERS = frozenset((dict, OrderedDict, defaultdict, Counter, list, deque, set))


def _fill(held: Any, content: Any) -> None:
    """Give a container what it held."""
    held.clear()
    if isinstance(held, (list, deque)):
        held.extend(content)
    else:
        held.update(content)


def _same(held: Any, content: Any) -> bool:
    """Whether both hold the very same things; what equality means is for the things to say."""
    if len(held) != len(content) or not all(map(is_, held, content)):
        return False
    return not isinstance(held, dict) or all(map(is_, held.values(), content.values()))


def _containers(layers: Iterable[nn.Module]) -> tuple[list[tuple[Any, Any]], list[Any]]:
    """The attributes of every module and the plain containers among them, each with a copy; and
    the containers that are empty. The things that they hold are not looked into."""
    attributes = [vars(layer) for layer in layers]
    inner = [held for each in attributes for held in each.values() if type(held) in _CONTAINERS]
    filled = [(held, held.copy()) for held in (*attributes, *filter(None, inner))]
    return filled, [held for held in inner if not held]


def _plain_tensors(layers: Iterable[nn.Module]) -> Iterator[Tensor]:
    """The tensors that are attributes without being registered, which a forward may write to."""
    return (held for layer in layers for held in vars(layer).values() if type(held) is Tensor)


def _restore_buffer(buffer: Tensor, version: int, value: Tensor) -> None:
    """Put a buffer's numbers back, where they are others; each writing is counted by torch."""
    if buffer.is_meta:
        return
    if buffer.shape != value.shape or buffer.dtype != value.dtype or buffer.device != value.device:
        buffer.data = value
    elif version_of(buffer) != version or not _equal(buffer, value):
        with _writable(buffer):
            buffer.copy_(value)


def _equal(buffer: Tensor, value: Tensor) -> bool:
    """Whether the numbers are the same; where torch compares none, as of sparse and of fake ones,
    the version has to do."""
    try:
        return buffer.layout != torch.strided or torch.equal(buffer, value)
    except RuntimeError:
        return True


@contextmanager
def _random_numbers(devices: Iterable[torch.device]) -> Iterator[None]:
    """Give back the random state of torch, Python and NumPy."""
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy else None
    cuda = sorted((device for device in devices if device.type == "cuda"), key=str)
    with torch.random.fork_rng(devices=cuda):
        try:
            yield
        finally:
            random.setstate(python)
            if numpy:
                numpy.random.set_state(state)


@contextmanager
def _switches() -> Iterator[None]:
    """Give back the switches of the whole program that a forward may throw."""
    before = [(read, put, _read(read)) for read, put in _SWITCHES]
    try:
        yield
    finally:
        for read, put, value in before:
            if value is not _UNREADABLE and _read(read) != value:
                put(value)


def _read(read: Callable[[], Any]) -> Any:
    """A switch, or that torch does not say, as where one was set in two ways that disagree."""
    try:
        return read()
    except RuntimeError:
        return _UNREADABLE


_UNREADABLE = object()


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """A switch that is an attribute."""
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _deterministic() -> tuple[bool, bool]:
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _autocast(kind: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Whether a device computes in other formats, and in which."""

    def read() -> Any:
        return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def put(value: Any) -> None:
        torch.set_autocast_enabled(kind, value[0])
        torch.set_autocast_dtype(kind, value[1])

    return read, put


_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (default_device, torch.set_default_device),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (_deterministic, _set_deterministic),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    *(_autocast(kind) for kind in ("cpu", "cuda")),
    *(
        _attribute(torch.backends.cudnn, name)
        for name in ("enabled", "benchmark", "deterministic", "allow_tf32")
    ),
    _attribute(torch.backends.cuda.matmul, "allow_tf32"),
    _attribute(torch.backends.mkldnn, "enabled"),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
)
"""How each is read, and how it is set."""
