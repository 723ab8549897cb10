"""How long each layer takes on a device: warm, synchronised, over several runs, with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vitc_inspect.model.devices import device_title, resolve_device
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.prediction import Dtype, Prediction, predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import layers_of

ROUNDS = 20
"""Timed runs of each kind, unless told otherwise."""
_WARM_UP = 3  # rounds before the first that counts
_EMPTY_CALLS = 50  # of a layer that does nothing, to learn what measuring itself takes
_TOLD_APART = 2  # times the cost of measuring that a layer must take to be given a time


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A time measured several times."""

    median: float
    """Middle value (seconds)."""
    low: float
    """First quartile (seconds)."""
    high: float
    """Third quartile (seconds)."""


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """The time of one layer."""

    name: str
    """Name of the module."""
    spread: Spread
    """From its first instruction to its last, the measuring itself included."""
    resolved: bool
    """Whether it takes clearly longer than measuring does; else its time says nothing."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was measured so far."""

    prediction: Prediction
    """What was timed."""
    layers: tuple[LayerTime, ...]
    """One a layer, in the order of the forward pass."""
    bare: Spread
    """The forward pass without a hook."""
    hooked: Spread
    """The forward pass with every layer measured."""
    floor: float
    """What measuring a layer that does nothing gives (seconds)."""
    rounds: int
    """Runs of each kind so far."""
    wanted: int
    """Runs of each kind that were asked for."""
    device: str
    """Device of the runs."""
    device_title: str
    """The device's own name."""

    @property
    def done(self) -> bool:
        """Whether every run that was asked for has been made."""
        return self.rounds == self.wanted

    @property
    def bytes(self) -> int:
        """Memory held (bytes), about."""
        return 1024 * (1 + len(self.layers))

    @property
    def hook_cost(self) -> float:
        """What measuring every layer adds to a forward pass, as a fraction of it."""
        return self.hooked.median / self.bare.median - 1

    def correlation(self, quantity: str) -> float | None:
        """How closely time follows a quantity over the layers (Pearson's r).

        Args:
            quantity: "macs" or "activations".

        Returns:
            -1 to 1 over the layers that have the quantity and a time; None for fewer than
            three of them, or where all are equal.
        """
        pairs = self.pairs(quantity)
        if len(pairs) < 3:
            return None
        try:
            return statistics.correlation([x for _, x, _ in pairs], [y for _, _, y in pairs])
        except statistics.StatisticsError:  # one of the two is constant
            return None

    def pairs(self, quantity: str) -> tuple[tuple[str, int, float], ...]:
        """Name, quantity and median time (seconds) of each layer that has both."""
        by_name = {layer.name: getattr(layer, quantity) for layer in self.prediction.layers}
        return tuple(
            (layer.name, by_name[layer.name], layer.spread.median)
            for layer in self.layers
            if layer.resolved and by_name.get(layer.name)
        )


def time_layers(
    spec: StemSpec | ViTSpec,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    rounds: int = ROUNDS,
) -> Iterator[Timing]:
    """Build a stem or a whole ViT and time each of its layers, round after round.

    A round is one bare forward pass and one with hooks, so that a machine that slows down
    slows both. What is fed and the weights are random: neither changes the time.

    Args:
        spec: The stem, or the model.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: Number format of weights and image.
        rounds: Runs of each kind.

    Yields:
        All that was measured so far, after each round; who stops asking cancels.

    Raises:
        SpecError: field "device" or "dtype"; "image_size" or "conv2.out_channels" when the run
            would not fit in memory.
    """
    prediction = predict(spec, dtype=dtype)
    target = resolve_device(device)
    check_memory(prediction, keep_bytes=0, budget=MEMORY_BUDGET)
    kind = getattr(torch, dtype)
    module = build_stem(spec) if isinstance(spec, StemSpec) else build_vit(spec)
    module = module.to(target, kind)
    stem = prediction.spec
    image = torch.rand(1, stem.in_channels, *stem.image_size).to(target, kind)
    clock = _clock_of(target)
    times: dict[str, list[float]] = {}
    bare: list[float] = []
    hooked: list[float] = []
    floor = _floor(clock, image)
    for _ in range(_WARM_UP):
        _bare_run(module, image, clock)
        _hooked_run(module, image, clock, {})
    for turn in range(rounds):
        bare.append(_bare_run(module, image, clock))
        hooked.append(_hooked_run(module, image, clock, times))
        yield Timing(
            prediction=prediction,
            layers=tuple(
                LayerTime(
                    name=name,
                    spread=_spread(taken),
                    resolved=statistics.median(taken) >= _TOLD_APART * floor,
                )
                for name, taken in times.items()
            ),
            bare=_spread(bare),
            hooked=_spread(hooked),
            floor=floor,
            rounds=turn + 1,
            wanted=rounds,
            device=str(target),
            device_title=device_title(target),
        )


def timing_dict(timing: Timing) -> dict[str, Any]:
    """A measurement as plain values; times in seconds."""
    return {
        "rounds": timing.rounds,
        "device": timing.device,
        "device_title": timing.device_title,
        "bare": asdict(timing.bare),
        "hooked": asdict(timing.hooked),
        "floor": timing.floor,
        "layers": [
            {"name": layer.name, "resolved": layer.resolved, **asdict(layer.spread)}
            for layer in timing.layers
        ],
        "correlations": {name: timing.correlation(name) for name in ("macs", "activations")},
    }


class _Clock(Protocol):
    """Marks moments in the work of a device; what lies between two is known after `wait`."""

    def mark(self) -> Any: ...

    def wait(self) -> None: ...

    def between(self, start: Any, end: Any) -> float: ...


class _ProcessorClock:
    """The CPU's own clock: a call has done its work when it returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def wait(self) -> None:
        """Nothing is under way."""

    def between(self, start: float, end: float) -> float:
        return end - start


class _EventClock:
    """Events in the stream of work of a CUDA device: no layer waits for another's end."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        # of this device: that of the current one, which may be another, would tell nothing
        event.record(torch.cuda.current_stream(self._device))
        return event

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)

    def between(self, start: Any, end: Any) -> float:
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000


class _WaitingClock(_ProcessorClock):
    """The CPU's clock after everything the MPS device was given is done."""

    def mark(self) -> float:
        torch.mps.synchronize()
        return time.perf_counter()


def _clock_of(device: torch.device) -> _Clock:
    if device.type == "cuda":
        return _EventClock(device)
    return _WaitingClock() if device.type == "mps" else _ProcessorClock()


def _bare_run(module: nn.Module, image: Tensor, clock: _Clock) -> float:
    """One forward pass without hooks (seconds)."""
    with torch.inference_mode():
        start = clock.mark()
        module(image)
        end = clock.mark()
    clock.wait()
    return clock.between(start, end)


def _hooked_run(
    module: nn.Module, image: Tensor, clock: _Clock, times: dict[str, list[float]]
) -> float:
    """One forward pass with every layer measured (seconds); appends each layer's time."""
    starts: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    with ExitStack() as stack, torch.inference_mode():
        for name, layer in layers_of(module):
            before, after = _stopwatch(name, starts, ends, clock)
            stack.callback(layer.register_forward_pre_hook(before).remove)
            stack.callback(layer.register_forward_hook(after).remove)
        start = clock.mark()
        module(image)
        end = clock.mark()
    clock.wait()
    for name in starts:
        times.setdefault(name, []).append(clock.between(starts[name], ends[name]))
    return clock.between(start, end)


def _stopwatch(
    name: str, starts: dict[str, Any], ends: dict[str, Any], clock: _Clock
) -> tuple[Any, Any]:
    """Hooks that mark when a layer begins and when it ends."""

    def before(layer: nn.Module, inputs: Any) -> None:
        starts[name] = clock.mark()

    def after(layer: nn.Module, inputs: Any, output: Any) -> None:
        ends[name] = clock.mark()

    return before, after


def _floor(clock: _Clock, image: Tensor) -> float:
    """What is measured of a layer that does nothing, at the 95th percentile (seconds)."""
    nothing = nn.Sequential(nn.Identity())
    times: dict[str, list[float]] = {}
    for _ in range(_EMPTY_CALLS):
        _hooked_run(nothing, image, clock, times)
    return statistics.quantiles(times["0"], n=20)[-1]


def _spread(taken: Sequence[float]) -> Spread:
    if len(taken) == 1:
        return Spread(median=taken[0], low=taken[0], high=taken[0])
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high)
