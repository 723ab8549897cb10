"""Prediction, hooks and torch's own counters agree on any stem, and where one lies it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils.flop_counter import FlopCounterMode

from tests.strategies import stem_specs
from vitc_inspect.inspection.stem_inspection import inspect_stem
from vitc_inspect.inspection.stem_report import QUANTITIES
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import conv_stem

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))


def inspect(spec=SMALL, **options):
    return inspect_stem(spec, "ramp", device="cpu", **options)


def torch_totals(spec):
    """MACs, parameters and shape of the tokens, from torch alone."""
    module = build_stem(spec)
    image = torch.zeros(1, spec.in_channels, *spec.image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tokens = module(image)
    params = sum(parameter.numel() for parameter in module.parameters())
    return counter.get_total_flops() / 2, params, tuple(tokens.shape[1:])


def agrees_with_torch(spec):
    prediction = predict(spec)
    totals = prediction.macs, prediction.params, (prediction.seq_len, prediction.embed_dim)
    return totals == torch_totals(spec)


@given(spec=stem_specs())
@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_stem_agrees_with_its_run_and_with_torch(spec):
    report = inspect(spec)
    assert report.disagreements == ()
    assert all(row.agrees for row in report.rows)
    assert [record.name for record in report.trace.records] == [row.name for row in report.rows]
    assert agrees_with_torch(spec)


@given(spec=stem_specs(max_side=40, max_convs=3))
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_any_stem_agrees_in_half_the_bytes(spec):
    for dtype in ("bfloat16", "float16"):
        assert inspect(spec, dtype=dtype).disagreements == ()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_agrees_with_its_run(name, dtype):
    """In half the bytes, for which a processor has slower ways, on half the height and width."""
    stem = PRESETS[name].stem
    if dtype != "float32":
        height, width = stem.image_size
        stem = replace(stem, image_size=(height // 2, width // 2))
    report = inspect_stem(stem, device="cpu", dtype=dtype, keep_bytes=0)
    assert report.disagreements == ()
    assert {record.dtype for record in report.trace.records} == {dtype}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_agrees_with_torch(name):
    assert agrees_with_torch(PRESETS[name].stem)


# From here on somebody lies, and must be caught.


def with_record(report, name, **changes):
    """The report, had the hooks seen something else of one layer."""
    records = tuple(
        record._replace(**changes) if record.name == name else record
        for record in report.trace.records
    )
    return replace(report, trace=replace(report.trace, records=records))


def with_prediction(report, name, **changes):
    """The report, had something else been predicted of one layer."""
    layers = tuple(
        replace(layer, **changes) if layer.name == name else layer
        for layer in report.prediction.layers
    )
    return replace(report, prediction=replace(report.prediction, layers=layers))


def row_of(report, name):
    return next(row for row in report.rows if row.name == name)


LIES = [
    # layer, quantity, what the hooks saw, what the report says
    (
        "conv1",
        "shape",
        {"out_shape": (1, 8, 16, 21)},
        "predicted (3, 32, 40) -> (8, 16, 20), observed (3, 32, 40) -> (8, 16, 21)",
    ),
    (
        "conv2",
        "shape",
        {"in_shape": (1, 8, 20, 16)},
        "predicted (8, 16, 20) -> (16, 8, 10), observed (8, 20, 16) -> (16, 8, 10)",
    ),
    (
        "tokens",
        "shape",
        {"out_shape": (1, 12, 80)},
        "predicted (12, 8, 10) -> (80, 12), observed (12, 8, 10) -> (12, 80)",
    ),
    (
        "pos_embed",
        "shape",
        {"out_shape": (1, 1, 81, 12)},
        "predicted (81, 12) -> (81, 12), observed (81, 12) -> (1, 81, 12)",
    ),
    ("conv1", "params", {"params": 217}, "predicted 216, observed 217"),
    ("norm2", "params", {"params": 0}, "predicted 32, observed 0"),
    ("act1", "params", {"params": 1}, "predicted 0, observed 1"),
    ("conv1", "macs", {"macs": 69_121}, "predicted 69120, observed 69121"),
    ("norm1", "macs", {"macs": 1}, "predicted 0, observed 1"),
    ("conv2", "macs", {"macs": None}, "predicted, could not be observed"),
    ("tokens", "macs", {"macs": None}, "predicted, could not be observed"),
    ("class_token", "bytes", {"bytes": 3889}, "predicted 3888, observed 3889"),
    ("proj", "bytes", {"bytes": 1920}, "predicted 3840, observed 1920"),
]


@pytest.mark.parametrize(("name", "quantity", "seen", "sentence"), LIES)
def test_a_record_that_differs_in_one_quantity_is_caught_in_that_one(
    name, quantity, seen, sentence
):
    report = with_record(inspect(), name, **seen)
    assert report.disagreements == (f"{name}.{quantity}: {sentence}",)
    unseen = None if None in seen.values() else False
    assert row_of(report, name).verdicts == {**dict.fromkeys(QUANTITIES, True), quantity: unseen}
    assert [row.name for row in report.rows if not row.agrees] == [name]


@pytest.mark.parametrize(
    ("name", "foreseen", "sentence"),
    [
        (
            "act1",
            {"out_shape": (8, 15, 20)},
            "act1.shape: predicted (8, 16, 20) -> (8, 15, 20), observed (8, 16, 20) -> (8, 16, 20)",
        ),
        ("proj", {"params": 204 + 1}, "proj.params: predicted 205, observed 204"),
        ("proj", {"macs": 0}, "proj.macs: predicted 0, observed 15360"),
        ("act2", {"bytes": 5118}, "act2.bytes: predicted 5118, observed 5120"),
    ],
)
def test_a_prediction_that_differs_is_caught(name, foreseen, sentence):
    report = with_prediction(inspect(), name, **foreseen)
    assert report.disagreements == (sentence,)
    assert not row_of(report, name).agrees


def test_every_quantity_that_differs_has_its_own_sentence():
    report = with_record(inspect(), "proj", params=1, macs=2, bytes=3)
    assert report.disagreements == (
        "proj.params: predicted 204, observed 1",
        "proj.macs: predicted 15360, observed 2",
        "proj.bytes: predicted 3840, observed 3",
    )


@pytest.mark.parametrize("name", ["conv1", "norm1", "tokens", "pos_embed"])
def test_a_layer_that_never_ran_is_caught(name):
    report = inspect()
    records = tuple(record for record in report.trace.records if record.name != name)
    report = replace(report, trace=replace(report.trace, records=records))
    assert report.disagreements == tuple(
        f"{name}.{quantity}: predicted, never observed" for quantity in QUANTITIES
    )
    row = row_of(report, name)
    assert (row.observed, row.agrees) == (None, False)
    assert row.verdicts == dict.fromkeys(QUANTITIES)


def test_a_layer_that_nobody_predicted_is_caught():
    report = inspect()
    extra = report.trace.records[0]._replace(name="conv9")
    records = (extra, *report.trace.records)
    report = replace(report, trace=replace(report.trace, records=records))
    assert report.disagreements == tuple(
        f"conv9.{quantity}: observed, not predicted" for quantity in QUANTITIES
    )
    assert report.rows[-1].name == "conv9"  # after all that was predicted
    assert (report.rows[-1].predicted, report.rows[-1].agrees) == (None, False)


@pytest.mark.parametrize("position", [0, 1])
def test_a_layer_that_ran_twice_is_not_taken_for_one_that_ran_once(position):
    report = inspect()
    records = list(report.trace.records)
    records.insert(position, records[0]._replace(out_shape=(1, 8, 99, 99)))
    report = replace(report, trace=replace(report.trace, records=tuple(records)))
    assert any(sentence.startswith("conv1") for sentence in report.disagreements)


def test_a_stem_that_is_built_wrongly_is_caught(monkeypatch):
    """The whole way: another padding in the module than in the description."""

    def careless(spec, **options):
        module = build_stem(spec, **options)
        module.conv1.padding = (3, 1)
        module.pos_embed = torch.nn.Identity()
        return module

    monkeypatch.setattr("vitc_inspect.inspection.stem_inspection.build", careless)
    sentences = inspect().disagreements
    assert sentences[0] == (
        "conv1.shape: predicted (3, 32, 40) -> (8, 16, 20), observed (3, 32, 40) -> (8, 18, 20)"
    )
    assert "pos_embed.params: predicted 972, observed 0" in sentences
