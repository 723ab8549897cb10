"""Time of each layer on a device, after warm-up, synchronised, over several rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.model.devices import device_title, resolve_device
from vitc_inspect.model.modules import build
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.prediction import Dtype, Prediction, predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import layers_of

ROUNDS = 20
"""Default number of timed runs of each kind."""
_WARM_UP = 3  # rounds before the first timed one
_EMPTY_CALLS = 50  # of a layer that does nothing, for the cost of measuring
_RESOLVED = 2  # times the cost of measuring that a layer must take


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles of repeated measurements of a time."""

    median: float
    """Median (seconds)."""
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
    """Time from start to end, including the cost of measuring."""
    resolved: bool
    """Whether it takes clearly longer than measuring; if not, its time is meaningless."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The measurements so far."""

    prediction: Prediction
    """Prediction of the stem or model that is timed."""
    layers: tuple[LayerTime, ...]
    """Times of the layers, in the order of the forward pass."""
    bare: Spread
    """Time of the forward pass without hooks."""
    hooked: Spread
    """Time of the forward pass with every layer measured."""
    floor: float
    """Measured time of a layer that does nothing (seconds)."""
    rounds: int
    """Number of runs of each kind so far."""
    wanted: int
    """Number of runs of each kind that were requested."""
    device: str
    """Device of the runs."""
    device_title: str
    """The device's own name."""

    @property
    def done(self) -> bool:
        """Whether all requested runs have been made."""
        return self.rounds == self.wanted

    @property
    def bytes(self) -> int:
        """Approximate memory held (bytes)."""
        return 1024 * (1 + len(self.layers))

    @property
    def hook_cost(self) -> float:
        """Time that measuring adds to a forward pass, as a fraction of it."""
        return self.hooked.median / self.bare.median - 1

    def correlation(self, quantity: str) -> float | None:
        """Compute the correlation of time with a quantity over the layers (Pearson's r).

        Args:
            quantity: "macs" or "activations".

        Returns:
            -1 to 1 over the layers that have the quantity and a resolved time; None for fewer
            than three of them, or if one of the two is constant.
        """
        pairs = self.pairs(quantity)
        if len(pairs) < 3:
            return None
        try:
            return statistics.correlation([x for _, x, _ in pairs], [y for _, _, y in pairs])
        except statistics.StatisticsError:  # one of the two is constant
            return None

    def pairs(self, quantity: str) -> tuple[tuple[str, int, float], ...]:
        """Get name, quantity and median time (seconds) of each layer that has both."""
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

    A round is one forward pass without hooks and one with, so that a machine that slows down
    affects both. Image and weights are random; neither affects the time.

    Args:
        spec: The stem, or the model.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: Number format of weights and image.
        rounds: Number of runs of each kind.

    Yields:
        The measurements so far, after each round.

    Raises:
        SpecError: field "device" or "dtype"; "image_size" or "conv2.out_channels" when the run
            would not fit in memory.
    """
    prediction = predict(spec, dtype=dtype)
    target = resolve_device(device)
    check_memory(prediction, keep_bytes=0, budget=MEMORY_BUDGET)
    kind = getattr(torch, dtype)
    module = build(spec).to(target, kind)
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
            layers=tuple(_layer_time(name, taken, floor) for name, taken in times.items()),
            bare=_spread(bare),
            hooked=_spread(hooked),
            floor=floor,
            rounds=turn + 1,
            wanted=rounds,
            device=str(target),
            device_title=device_title(target),
        )


def timing_dict(timing: Timing) -> dict[str, Any]:
    """Convert a measurement to plain values, with times in seconds."""
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


@dataclass(frozen=True)
class _Clock:
    """A clock that marks points in the work of a device."""

    mark: Callable[[], Any]
    wait: Callable[[], None]  # until the times between marks are known
    between: Callable[[Any, Any], float]  # seconds


def _clock_of(device: torch.device) -> _Clock:
    """CUDA events, so that layers need not be synchronised; elsewhere the clock of the CPU."""

    def cuda_event() -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        # in the stream of this device, which may not be the current one
        event.record(torch.cuda.current_stream(device))
        return event

    def mps_time() -> float:
        torch.mps.synchronize()
        return time.perf_counter()

    if device.type == "cuda":
        wait = partial(torch.cuda.synchronize, device)
        return _Clock(cuda_event, wait, lambda start, end: start.elapsed_time(end) / 1000)
    mark = mps_time if device.type == "mps" else time.perf_counter
    return _Clock(mark, lambda: None, lambda start, end: end - start)


def _bare_run(module: nn.Module, image: Tensor, clock: _Clock) -> float:
    """Time of one forward pass without hooks (seconds)."""
    with torch.inference_mode():
        start = clock.mark()
        module(image)
        end = clock.mark()
    clock.wait()
    return clock.between(start, end)


def _hooked_run(
    module: nn.Module, image: Tensor, clock: _Clock, times: dict[str, list[float]]
) -> float:
    """Time of one forward pass with hooks (seconds); appends the time of each layer."""
    starts: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    with ExitStack() as stack, torch.inference_mode():
        for name, layer in layers_of(module):
            before, after = _marking(starts, name, clock), _marking(ends, name, clock)
            stack.callback(layer.register_forward_pre_hook(before).remove)
            stack.callback(layer.register_forward_hook(after).remove)
        start = clock.mark()
        module(image)
        end = clock.mark()
    clock.wait()
    for name in starts:
        times.setdefault(name, []).append(clock.between(starts[name], ends[name]))
    return clock.between(start, end)


def _marking(marks: dict[str, Any], name: str, clock: _Clock) -> Callable[..., None]:
    """A hook that marks the present point under a layer's name."""

    def hook(*_: Any) -> None:
        marks[name] = clock.mark()

    return hook


def _floor(clock: _Clock, image: Tensor) -> float:
    """95th percentile of the measured time of a layer that does nothing (seconds)."""
    nothing = nn.Sequential(nn.Identity())
    times: dict[str, list[float]] = {}
    for _ in range(_EMPTY_CALLS):
        _hooked_run(nothing, image, clock, times)
    return statistics.quantiles(times["0"], n=20)[-1]


def _layer_time(name: str, taken: Sequence[float], floor: float) -> LayerTime:
    resolved = statistics.median(taken) >= _RESOLVED * floor
    return LayerTime(name=name, spread=_spread(taken), resolved=resolved)


def _spread(taken: Sequence[float]) -> Spread:
    if len(taken) == 1:
        return Spread(median=taken[0], low=taken[0], high=taken[0])
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high)
