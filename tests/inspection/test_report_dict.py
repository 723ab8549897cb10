"""The object that --json prints: one schema, written down, for stems, models and any module."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from tests import faulty
from tests.strategies import stem_specs
from vitc_inspect import ViTSpec, build_stem, inspect_module, inspect_stem, inspect_vit, parse_stem
from vitc_inspect.inspection.report_dict import SCHEMA_VERSION

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TINY = parse_stem("3x3/2:8 bn relu, 1x1:12", image_size=16)


def plain(report):
    """The object after a journey through JSON, in which no number may be infinite."""
    return json.loads(json.dumps(report.to_dict(), allow_nan=False))


class Huge(nn.Module):
    """Its output has values that are not finite, and one of its layers is never called."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 4, 4, 4)
        self.spare = nn.Linear(4, 4)

    def forward(self, image):
        return {"map": self.proj(image) / 0, "shape": (image,)}


MODULES = [
    Huge, faulty.Sized, faulty.Raising, faulty.Unpermuted, faulty.Scrambled, faulty.SlicedTable,
    faulty.Overwritten, faulty.Shared, faulty.Sidestepped, faulty.MismatchedStrides,
]  # fmt: skip


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


@pytest.mark.parametrize("module", MODULES)
def test_a_report_on_a_module_keeps_to_the_schema(module):
    report = inspect_module(module().eval(), torch.zeros(1, 3, 32, 32))
    VALIDATOR.validate(plain(report))


@settings(max_examples=15, deadline=None)
@given(spec=stem_specs())
def test_a_report_on_a_stem_keeps_to_the_schema(spec):
    VALIDATOR.validate(plain(inspect_stem(spec, "ramp", device="cpu")))


def test_a_report_on_a_model_keeps_to_the_schema():
    vit = ViTSpec(stem=TINY, depth=2, num_heads=2, mlp_ratio=2.0)
    VALIDATOR.validate(plain(inspect_vit(vit, "ramp", device="cpu")))


def test_values_that_are_not_finite_are_words():
    report = inspect_stem(TINY, "ramp", device="cpu")
    record = report.trace.records[0]._replace(low=-math.inf, high=math.nan)
    trace = replace(report.trace, records=(record, *report.trace.records[1:]))
    found = plain(replace(report, trace=trace))
    assert (found["rows"][0]["low"], found["rows"][0]["high"]) == ("-inf", "nan")
    VALIDATOR.validate(found)


def test_a_stem_and_the_module_it_makes_have_the_same_keys():
    of_stem = plain(inspect_stem(TINY, "ramp", device="cpu"))
    of_module = plain(inspect_module(build_stem(TINY), torch.zeros(1, 3, 16, 16)))
    assert of_stem.keys() == of_module.keys()
    assert of_stem["rows"][0].keys() == of_module["rows"][0].keys()
    assert of_stem["stem"] == of_module["stem"] | {
        key: of_stem["stem"][key] for key in ("class_token", "position_table", "dtype")
    }
    layers = {row["name"]: row for row in of_module["rows"] if row["kind"] != "function"}
    for row in of_stem["rows"]:
        for key in ("kind", "params", "macs", "bytes", "verdict", "outputs"):
            assert row[key] == layers[row["name"]][key], (row["name"], key)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("target",), "layer"),
        (("rows", 0, "verdict"), "good"),
        (("rows", 0, "outputs", 0, "shape"), "1x8x8x8"),
        (("rows", 0, "low"), "minus infinity"),
        (("stem", "grid_size"), [8]),
        (("surprise",), 1),
    ],
)
def test_the_schema_refuses_what_is_otherwise(path, value):
    found = plain(inspect_stem(TINY, "ramp", device="cpu"))
    VALIDATOR.validate(found)
    *way, last = path
    place = found
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(found)
