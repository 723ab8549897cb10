"""Estimates of how long a run takes, what is refused for it, and what is then proposed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.run_time import DEFAULT_MAX_SECONDS, RunTimes, check_seconds, work_seconds
from vitc_inspect.stem.spec import StemSpec

HUGE = parse_stem("3001x3001:1", image_size=(3000, 3000))


def seconds_on_cpu(prediction: Prediction) -> float:
    return RunTimes().seconds(prediction, "cpu")


def test_hours_of_work_are_refused_with_the_number_and_a_size_that_runs() -> None:
    """3001·3001 positions of the kernel, 3000·3000 of the output, three channels: 243 T MACs."""
    prediction = predict(HUGE)
    assert prediction.macs == 3001**2 * 3000**2 * 3
    with pytest.raises(SpecError) as raised:
        check_seconds(prediction, seconds_on_cpu, most=DEFAULT_MAX_SECONDS)
    assert raised.value.field == "image_size"
    assert raised.value.reason == "the run would take about 3.4 h, the most is 10 min"
    height, width = raised.value.suggestion
    smaller = StemSpec(image_size=(height, width), convs=HUGE.convs)
    assert seconds_on_cpu(predict(smaller)) <= DEFAULT_MAX_SECONDS


def test_channels_are_to_blame_where_no_image_is_small_enough() -> None:
    prediction = predict(parse_stem("1x1:30000, 1x1:30000", image_size=(1, 1)))
    with pytest.raises(SpecError) as raised:
        check_seconds(prediction, seconds_on_cpu, most=1)
    assert raised.value.field.endswith(".out_channels")
    assert raised.value.suggestion < 30_000


def test_every_preset_may_run() -> None:
    for preset in PRESETS.values():
        prediction = predict(preset.vit or preset.stem)
        assert check_seconds(prediction, seconds_on_cpu, most=DEFAULT_MAX_SECONDS) < 60


@given(stem_specs())
def test_what_is_proposed_can_be_run(spec: StemSpec) -> None:
    prediction = predict(spec)
    most = seconds_on_cpu(prediction) * 0.7
    try:
        assert check_seconds(prediction, seconds_on_cpu, most=most) <= most
    except SpecError as refusal:
        if isinstance(refusal.suggestion, tuple):
            smaller = replace(spec, image_size=refusal.suggestion)
            assert seconds_on_cpu(predict(smaller)) <= most


def test_finished_runs_correct_the_estimates_of_their_device_and_dtype_alone() -> None:
    times, prediction = RunTimes(), predict(PRESETS["vit_c_18gf"].stem)
    before = times.seconds(prediction, "cpu")
    for seconds in (before * 3, before * 3, before * 90, before * 3, before * 0.01):
        times.learn(prediction, "cpu", seconds)
    assert times.seconds(prediction, "cpu") == pytest.approx(3 * before)
    assert times.seconds(prediction, "cuda") == before
    half = predict(PRESETS["vit_c_18gf"].stem, dtype="bfloat16")
    assert times.seconds(half, "cpu") == RunTimes().seconds(half, "cpu")


def test_a_run_too_short_to_measure_teaches_nothing() -> None:
    times, tiny = RunTimes(), predict(parse_stem("16x16/16:8"))
    times.learn(tiny, "cpu", 9.0)
    large = predict(PRESETS["vit_c_18gf"].stem)
    times.learn(large, "cpu", 0.001)
    assert times.seconds(large, "cpu") == seconds_on_cpu(large)


def test_more_work_never_takes_less_time() -> None:
    times = [work_seconds(predict(PRESETS[f"vit_c_{size}gf"].stem)) for size in (1, 4, 18)]
    assert times == sorted(times)
