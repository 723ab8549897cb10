"""Trace one forward pass with a forward hook on every layer; the hooks are removed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, isfinite, sqrt
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vitc_inspect.common.guard import guarded
from vitc_inspect.common.validation import MAX_BYTES, check_int, check_type
from vitc_inspect.tracing.counting import count_macs
from vitc_inspect.tracing.module_tree import Contents, contents_of

KEEP_BYTES = 64 * 2**20
"""Most bytes of outputs that one trace keeps by default."""

Observer = Callable[[str, nn.Module, tuple[Any, ...], Any], None]

NormStatistics = Literal["image", "stored"]
"""What BatchNorm normalises by: the mean and variance of this very image, or those it stores."""

_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True, kw_only=True)
class KeptOutput:
    """A copy of a layer's output for the first image, subsampled if it would be too large."""

    values: Tensor
    """(channels, rows, columns) or (tokens, width), on the CPU, in the dtype of the run."""
    step: int
    """Every step-th row and column (of a map) or token (of a sequence) is kept."""
    dropped: int
    """Channels, counted from the last, that are not kept."""

    @property
    def bytes(self) -> int:
        """Size of the copy (bytes)."""
        return self.values.numel() * self.values.element_size()


_Call = tuple[
    str,  # name of the layer
    nn.Module,
    torch.Size,  # of the input
    torch.Size,  # of the output
    torch.dtype,  # of the output
    KeptOutput | None,
    tuple[Tensor, Tensor] | None,  # least and largest value, on the device
]
"""What a hook writes down of one call."""


class LayerRecord(NamedTuple):  # made in a third of the time of a frozen dataclass
    """One call of one module, as its forward hook recorded it."""

    name: str
    """Name of the module in its parent, as named_modules gives it."""
    kind: str
    """Class of the module."""
    in_shape: tuple[int, ...]
    """Shape of the input, with the batch."""
    out_shape: tuple[int, ...]
    """Shape of the output, with the batch."""
    dtype: str
    """Number format of the output, for example "float32"."""
    params: int
    """Number of parameters of the module itself."""
    macs: int | None
    """Multiply-accumulates of the batch; None where they cannot be counted."""
    bytes: int
    """Size of the output."""
    kept: KeptOutput | None
    """A copy of the output, or None where none was asked for."""
    low: float | None
    """Least value of the first image's whole output, nan where one is no number; None where no
    copy was asked for."""
    high: float | None
    """Largest value, likewise."""

    @property
    def finite(self) -> bool | None:
        """Whether all values of the first image's output are finite."""
        if self.low is None or self.high is None:
            return None
        return isfinite(self.low) and isfinite(self.high)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The records of a forward pass, layer by layer."""

    records: tuple[LayerRecord, ...]
    """One a call, in the order in which the calls returned."""
    peak_bytes: int | None = None
    """The most memory PyTorch held on a CUDA device during the run, weights and kept copies
    included; None elsewhere, where PyTorch does not keep count."""

    def record(self, name: str) -> LayerRecord:
        """Return the first record of the module called `name`; KeyError if it never ran."""
        for record in self.records:
            if record.name == name:
                return record
        raise KeyError(name)

    @property
    def kept_bytes(self) -> int:
        """Total size of all copies (bytes)."""
        return sum(record.kept.bytes for record in self.records if record.kept)


def trace(
    module: nn.Module,
    input: Tensor,
    *,
    keep_bytes: int = KEEP_BYTES,
    keep: Container[str] | None = None,
) -> Trace:
    """Run a module once and record every layer inside it.

    The module is left as it was: hooks, mode, buffers, and torch's random state.

    Args:
        module: The module; its children are recorded, it itself is not.
        input: (b, c, h, w), on the module's device and in its dtype.
        keep_bytes: Budget for copies of outputs (bytes); 0 keeps none. An output is copied
            whole as long as every later layer can still have a quarter of an equal share.
        keep: Names of the layers whose outputs are kept; None means all.

    Returns:
        The records.

    Raises:
        Whatever the module raises, after the hooks are gone.
    """
    contents = contents_of(module)
    check_type("input", input, Tensor, "Use torch.randn(1, 3, 224, 224)")
    keep_bytes = check_int("keep_bytes", keep_bytes, 0, MAX_BYTES)
    layers = _layers(contents)
    kept_names = {name for name, _ in layers if keep_bytes and (keep is None or name in keep)}
    reserve = keep_bytes // max(1, 4 * len(kept_names))
    waiting = len(kept_names)
    calls: list[_Call] = []
    left = keep_bytes

    def observe(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal left, waiting
        kept = ends = None
        if name in kept_names:
            waiting = max(0, waiting - 1)
            kept = keep_output(output[0], max(0, left - waiting * reserve))
            left -= kept.bytes if kept else 0
            ends = torch.aminmax(output[0]) if output.numel() else None
        calls.append((name, layer, inputs[0].shape, output.shape, output.dtype, kept, ends))

    on_cuda = input.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(input.device)
    with _untouched(contents, input), torch.inference_mode(), hooked(layers, observe):
        module(input)
    peak = torch.cuda.max_memory_allocated(input.device) if on_cuda else None
    params = _params_by_owner(contents)
    # made now, since between layers, whose numbers fill the caches, it would take far longer
    return Trace(records=tuple(_record(call, params) for call in calls), peak_bytes=peak)


def layers_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that compute something themselves, by name: those that get a hook."""
    return _layers(contents_of(module))


def _layers(contents: Contents) -> list[tuple[str, nn.Module]]:
    """All but the mere containers of others."""
    owners = {owner for owner, _ in contents.owned}
    return [
        (name, layer)
        for name, layer in contents.layers.items()
        if name and (name in owners or next(layer.children(), None) is None)
    ]


def packed(trace: Trace) -> Trace:
    """Return the same trace with its copies in one block of memory.

    For a trace that is kept for long: one block goes back to the system as a whole, while many
    small ones would riddle the heap with holes.
    """
    records = trace.records
    room = sum(_aligned(record.kept.bytes) for record in records if record.kept)
    block = torch.empty(room, dtype=torch.uint8)
    homes, start = [], 0
    for record in records:
        if (kept := record.kept) is not None:
            home = block[start : start + kept.bytes].view(kept.values.dtype).view(kept.values.shape)
            record = record._replace(kept=replace(kept, values=home.copy_(kept.values)))
            start += _aligned(kept.bytes)
        homes.append(record)
    return replace(trace, records=tuple(homes))


def _record(call: _Call, params: Mapping[str, int]) -> LayerRecord:
    """The record of a call, with its figures and its copy fetched from the device."""
    name, layer, in_shape, out_shape, dtype, kept, ends = call
    low, high = map(float, ends) if ends else (None, None)
    return LayerRecord(
        name=name,
        kind=type(layer).__name__,
        in_shape=tuple(in_shape),
        out_shape=tuple(out_shape),
        dtype=str(dtype).removeprefix("torch."),
        params=params.get(name, 0),
        macs=guarded(count_macs, layer, in_shape, out_shape)[0],
        bytes=out_shape.numel() * dtype.itemsize,
        kept=replace(kept, values=kept.values.cpu()) if kept else None,
        low=low,
        high=high,
    )


def _params_by_owner(contents: Contents) -> dict[str, int]:
    """Number of parameters of each module itself, by name; shared ones count at the first."""
    counts: dict[str, int] = {}
    seen = set()
    for owner, parameter in contents.owned:
        fresh = 0 if id(parameter) in seen else parameter.numel()
        counts[owner] = counts.get(owner, 0) + fresh
        seen.add(id(parameter))
    return counts


@contextmanager
def _untouched(contents: Contents, input: Tensor) -> Iterator[None]:
    """Put buffers and random state back, which a module in training mode changes."""
    if not any(layer.training for layer in contents.layers.values()):
        yield
        return
    before = [(buffer, buffer.clone()) for buffer in contents.buffers]
    with torch.random.fork_rng(devices=[input.device] if input.is_cuda else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)


@contextmanager
def image_statistics(module: nn.Module) -> Iterator[None]:
    """Let every BatchNorm normalise by the statistics of its input, as in training.

    A fresh BatchNorm stores mean 0 and variance 1, by which it would do nothing. One value a
    channel has no spread: less its own mean it would be 0 whatever it was, and torch refuses it
    in training. Such a map is normalised by what is stored. The stored statistics are set aside
    for the time of the forward pass, never written to, and there again when the block is left,
    also by an exception.

    Args:
        module: A module in evaluation mode.

    Source:
        Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1; torch.nn.BatchNorm2d, which takes
        the statistics of the batch where it has none of its own.
    """
    with ExitStack() as stack:
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                hook = _statistics_hook(layer)
                stack.callback(_set_statistics, layer, layer.running_mean, layer.running_var)
                stack.callback(layer.register_forward_pre_hook(hook).remove)
        yield


def _statistics_hook(norm: _BatchNorm) -> Callable[[nn.Module, Any], None]:
    """Before a BatchNorm runs, hide what it stores, unless a channel has a single value."""
    stored = norm.running_mean, norm.running_var

    def hook(_: nn.Module, inputs: Any) -> None:
        single = inputs[0].numel() == inputs[0].shape[1]
        _set_statistics(norm, *(stored if single else (None, None)))

    return hook


def _set_statistics(norm: _BatchNorm, mean: Tensor | None, variance: Tensor | None) -> None:
    norm.running_mean, norm.running_var = mean, variance


@contextmanager
def hooked(layers: list[tuple[str, nn.Module]], observe: Observer) -> Iterator[None]:
    """Call `observe(name, module, inputs, output)` after each layer has run.

    The hooks are gone when the block is left, also by an exception.
    """
    with ExitStack() as stack:
        for name, layer in layers:
            stack.callback(layer.register_forward_hook(partial(observe, name)).remove)
        yield


def keep_output(output: Tensor, allowance: int) -> KeptOutput | None:
    """Copy an output of one image, subsampled to the allowance (bytes); None if nothing fits.

    A copy, since a later in-place operation would overwrite the original (pytorch#95617).
    """
    elements = allowance // output.element_size()
    if not elements:
        return None
    if output.ndim == 1:  # (d,), a sequence of one token
        output = output.unsqueeze(0)
    if output.ndim == 3:  # (c, h, w)
        channels = min(len(output), elements)
        step = max(1, ceil(sqrt(channels * output[0].numel() / elements)))
        while channels * ceil(output.shape[1] / step) * ceil(output.shape[2] / step) > elements:
            step += 1
        sample = output[:channels, ::step, ::step]
        dropped = len(output) - channels
    else:  # (n, d)
        channels = min(output.shape[1], elements)
        step = max(1, ceil(output.shape[0] * channels / elements))
        while channels * ceil(output.shape[0] / step) > elements:
            step += 1
        sample = output[::step, :channels]
        dropped = output.shape[1] - channels
    return KeptOutput(values=sample.detach().clone(), step=step, dropped=dropped)


def _aligned(size: int) -> int:
    """The next multiple of 16 bytes, where a number of any format may begin."""
    return -(-size // 16) * 16
