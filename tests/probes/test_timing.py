"""Times of layers: what is measured, what is too short to be told, and what time follows."""

from __future__ import annotations

import json
from itertools import islice
from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.stem.specs import random_vit
from vitc_inspect.common.errors import SpecError
from vitc_inspect.probes import timing as module_under_test
from vitc_inspect.probes.timing import LayerTime, Spread, Timing, time_layers, timing_dict
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import StemSpec

STEM = parse_stem("3x3/2:16 bn relu, 3x3/2:32 bn relu, 1x1:32", image_size=64)


def spread(seconds: float) -> Spread:
    return Spread(median=seconds, low=seconds, high=seconds)


def measured(seconds: dict[str, float], spec: StemSpec = STEM) -> Timing:
    """A measurement that found these medians."""
    return Timing(
        prediction=predict(spec),
        layers=tuple(
            LayerTime(name=name, spread=spread(taken), resolved=taken > 0)
            for name, taken in seconds.items()
        ),
        bare=spread(1.0),
        hooked=spread(1.1),
        floor=1e-6,
        rounds=20,
        wanted=20,
        device="cpu",
        device_title="a processor",
    )


def test_each_round_is_yielded_and_every_layer_is_timed() -> None:
    found = list(time_layers(STEM, device="cpu", rounds=4))
    assert [timing.rounds for timing in found] == [1, 2, 3, 4]
    assert [timing.done for timing in found] == [False, False, False, True]
    last = found[-1]
    assert [layer.name for layer in last.layers] == [row.name for row in predict(STEM).layers]
    for layer in last.layers:
        assert 0 < layer.spread.low <= layer.spread.median <= layer.spread.high
    # the layers lie one after the other inside the forward pass
    assert sum(layer.spread.low for layer in last.layers) < 2 * last.hooked.high


def test_the_time_of_a_layer_is_inside_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once a look: each layer is one tick long, whatever it does."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(module_under_test.time, "perf_counter", lambda: float(next(ticks)))
    (timing,) = time_layers(STEM, device="cpu", rounds=1)
    assert {layer.spread.median for layer in timing.layers} == {1.0}
    assert timing.bare.median == 1.0
    assert timing.hooked.median == 2 * len(timing.layers) + 1
    assert timing.floor == 1.0
    assert not any(layer.resolved for layer in timing.layers)  # none is twice the floor


def test_stopping_early_stops_the_work() -> None:
    rounds = time_layers(STEM, device="cpu", rounds=1000)
    assert [timing.rounds for timing in islice(rounds, 2)] == [1, 2]
    rounds.close()  # type: ignore[attr-defined]
    assert next(rounds, None) is None


@pytest.mark.parametrize("seed", range(4))
def test_whole_models_are_timed_layer_by_layer(seed: int) -> None:
    vit = random_vit(seed)
    (timing,) = time_layers(vit, device="cpu", rounds=1)
    assert [layer.name for layer in timing.layers] == [row.name for row in predict(vit).layers]


def test_correlation_is_that_of_pearson() -> None:
    macs = {layer.name: layer.macs for layer in predict(STEM).layers if layer.macs}
    by_macs = measured({name: 1e-9 * count for name, count in macs.items()})
    assert by_macs.correlation("macs") == pytest.approx(1)
    against = measured({name: 1 - 1e-9 * count for name, count in macs.items()})
    assert against.correlation("macs") == pytest.approx(-1)
    found = measured({"conv1": 1.0, "conv2": 5.0, "proj": 2.0})
    rows = torch.tensor([[macs["conv1"], macs["conv2"], macs["proj"]], [1, 5, 2]])
    expected = torch.corrcoef(rows.double())[0, 1]
    assert found.correlation("macs") == pytest.approx(float(expected))


def test_there_is_no_correlation_of_two_layers_or_of_equal_ones() -> None:
    assert measured({"conv1": 1.0, "conv2": 2.0, "norm1": 3.0}).correlation("macs") is None
    assert measured({"conv1": 1.0, "conv2": 1.0, "proj": 1.0}).correlation("macs") is None


def test_a_layer_without_a_time_takes_no_part() -> None:
    timing = measured({"conv1": 1.0, "conv2": 0.0, "proj": 2.0})
    assert [name for name, _, _ in timing.pairs("macs")] == ["conv1", "proj"]


def test_what_the_clocks_add() -> None:
    assert measured({}).hook_cost == pytest.approx(0.1)


def test_a_measurement_leaves_no_hook_and_no_mode_behind() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    clock = module_under_test._clock_of(torch.device("cpu"))
    module_under_test._hooked_run(model, torch.zeros(1, 3), clock, {})
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())

    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    broken = nn.Sequential(nn.Linear(3, 3), Broken())
    with pytest.raises(RuntimeError, match="broken"):
        module_under_test._hooked_run(broken, torch.zeros(1, 3), clock, {})
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in broken.modules())


class StandInEvent:
    """An event of a stream that does one thing a millisecond."""

    recorded: ClassVar[list[tuple[str, StandInEvent]]] = []

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: str) -> None:
        self.moment = len(self.recorded)
        self.recorded.append((stream, self))

    def elapsed_time(self, end: StandInEvent) -> float:
        return end.moment - self.moment


def test_a_gpu_is_waited_for_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between two events of its own stream is asked for when all work is done."""
    waits: list[tuple[torch.device, int]] = []
    recorded = StandInEvent.recorded = []
    monkeypatch.setattr(torch.cuda, "Event", StandInEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(
        torch.cuda, "synchronize", lambda device: waits.append((device, len(recorded)))
    )
    device = torch.device("cuda:1")
    clock = module_under_test._clock_of(device)
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    times: dict[str, list[float]] = {}
    whole = module_under_test._hooked_run(model, torch.zeros(1, 3), clock, times)
    assert waits == [(device, 2 * 3 + 2)]
    assert {stream for stream, _ in recorded} == {"stream of cuda:1"}
    assert times == {name: [pytest.approx(0.001)] for name in "012"}
    assert whole == pytest.approx(0.007)
    assert module_under_test._bare_run(model, torch.zeros(1, 3), clock) == pytest.approx(0.001)
    assert len(waits) == 2


def test_what_cannot_run_is_refused_before_it_is_built() -> None:
    with pytest.raises(SpecError, match="budget"):
        next(iter(time_layers(parse_stem("16x16/16:768", image_size=16384), device="cpu")))
    with pytest.raises(SpecError, match="device"):
        next(iter(time_layers(STEM, device="tpu")))


def test_the_measurement_as_plain_values() -> None:
    *_, timing = time_layers(STEM, device="cpu", rounds=2)
    plain = json.loads(json.dumps(timing_dict(timing)))
    assert plain["rounds"] == 2
    assert {layer["name"] for layer in plain["layers"]} >= {"conv1", "proj", "tokens"}
    assert plain["bare"]["median"] == timing.bare.median
