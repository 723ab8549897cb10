"""Requests of the page: every control reaches the choice, and whatever else is sent is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.notation import format_stem, parse_stem
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.spec import StemSpec, conv_stem
from vitc_inspect.ui.choice import (
    ENCODER_START,
    Choice,
    Request,
    editor_rows,
    read_choice,
    stem_text,
)
from vitc_inspect.ui.page import controls_of

START = {
    "stem": "3x3/2:8 bn relu, 8x8/8:16",
    "height": "64",
    "width": "48",
    "in_channels": "3",
    "class_token": "1",
    "position_table": "1",
    "encoder": "0",
    **ENCODER_START,
    "image": "photo",
    "seed": "0",
    "device": "cpu",
    "dtype": "float32",
    "weights": "torch",
    "norm_statistics": "image",
    "fit": "crop",
}


def choice_of(**changed: Any) -> Choice:
    return read_choice(Request.read({**START, **changed}))


def test_the_choice_is_what_the_controls_say() -> None:
    choice = choice_of()
    assert choice.spec == parse_stem(START["stem"], image_size=(64, 48))
    assert choice.vit is None
    assert choice.model is choice.spec
    whole = choice_of(encoder="1", depth="2", num_heads="4", mlp_ratio="2.5", attention="linear")
    assert whole.vit is not None
    assert whole.model is whole.vit
    assert (whole.vit.stem, whole.vit.depth, whole.vit.num_heads) == (choice.spec, 2, 4)
    assert (whole.vit.mlp_ratio, whole.vit.attention) == (2.5, "linear")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stem", "8x8/8:16"),
        ("height", "80"),
        ("width", "80"),
        ("in_channels", "1"),
        ("class_token", "0"),
        ("position_table", "0"),
        ("encoder", "1"),
        ("image", "ramp"),
        ("seed", "1"),
        ("device", "auto"),
        ("dtype", "bfloat16"),
        ("weights", "trunc_normal"),
        ("weights", "file:own.pt"),
        ("norm_statistics", "stored"),
        ("fit", "pad"),
    ],
)
def test_no_control_is_idle(field: str, value: str) -> None:
    before = choice_of(num_heads="4")
    changed = choice_of(num_heads="4", **{field: value})
    assert changed != before
    differing = [
        f.name for f in fields(Choice) if getattr(changed, f.name) != getattr(before, f.name)
    ]
    assert len(differing) == 1


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_controls_of_a_preset_choose_that_preset(preset: Preset) -> None:
    choice = choice_of(**controls_of(preset), encoder="1" if preset.vit else "0")
    assert choice.spec == preset.stem
    if preset.vit:
        assert choice.vit == replace(preset.vit, num_classes=choice.vit.num_classes)


@pytest.mark.parametrize(
    ("changed", "field", "suggestion"),
    [
        ({"preset": "vit_c_5gf"}, "preset", "vit_c_4gf"),
        ({"height": "0"}, "image_height", 224),
        ({"width": "wide"}, "image_width", 224),
        ({"height": "", "width": ""}, "image_size", (224, 224)),
        ({"height": "0", "width": "99999"}, "image_size", (224, 224)),
        ({"in_channels": "three"}, "in_channels", 1),
        ({"stem": "3x3/"}, "stem", None),
        ({"seed": "-1"}, "seed", 0),
        ({"dtype": "int8"}, "dtype", "float32"),
        ({"weights": "zeros"}, "weights", "torch"),
        ({"norm_statistics": "none"}, "norm_statistics", "image"),
        ({"fit": "cropped"}, "fit", "crop"),
        ({"encoder": "1", "depth": "0"}, "depth", 1),
        ({"encoder": "1", "mlp_ratio": "four"}, "mlp_ratio", 4),
        ({"encoder": "1", "attention": "none"}, "attention", "softmax"),
        ({"encoder": "1", "num_heads": "5"}, "num_heads", 4),
    ],
)
def test_a_value_that_cannot_be_names_its_control(
    changed: dict[str, str], field: str, suggestion: object
) -> None:
    with pytest.raises(SpecError) as raised:
        choice_of(**changed)
    assert raised.value.field == field
    if suggestion is not None:
        assert raised.value.suggestion == suggestion


def test_an_encoder_that_is_off_is_not_read() -> None:
    assert choice_of(encoder="0", depth="none", num_heads="", attention="x").vit is None


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(spec=stem_specs())
def test_the_rows_of_any_stem_are_that_stem_and_write_it(spec: StemSpec) -> None:
    """The text, the editor and the choice agree, whichever of the first two was changed."""
    beside = {
        "height": str(spec.image_size[0]),
        "width": str(spec.image_size[1]),
        "in_channels": str(spec.in_channels),
        "class_token": str(int(spec.class_token)),
        "position_table": str(int(spec.position_table)),
    }
    typed = {**START, **beside, "stem": format_stem(spec)}
    rows = editor_rows(Request.read(typed))
    assert rows is not None
    edited = Request.read({**typed, "stem": "stale", "rows": list(rows)})
    assert read_choice(edited).spec == read_choice(Request.read(typed)).spec == spec
    assert stem_text(edited) == stem_text(Request.read(typed)) == format_stem(spec)
    assert editor_rows(edited) == rows


CODE = "nn.Conv2d(3, 8, 3, stride=2, padding=1),\nnn.ReLU(),\nnn.Conv2d(8, 16, 1)"


def test_code_becomes_notation_in_the_text_and_rows_in_the_editor() -> None:
    typed = Request.read({**START, "stem": CODE})
    written = Request.read({**START, "stem": "3x3/2:8 relu, 1x1:16"})
    assert read_choice(typed) == read_choice(written)
    assert stem_text(typed) == written.stem
    assert editor_rows(typed) == editor_rows(written)


def test_code_with_a_number_that_cannot_be_marks_its_row() -> None:
    request = Request.read({**START, "stem": CODE.replace("stride=2", "stride=0")})
    assert stem_text(request) == "3x3/0p1:8 relu bias, 1x1:16"
    with pytest.raises(SpecError) as raised:
        read_choice(request)
    assert raised.value.field == "conv1.stride"


def test_code_of_other_channels_stays_until_the_image_has_them() -> None:
    grey = CODE.replace("(3, 8", "(1, 8")
    with pytest.raises(SpecError) as raised:
        choice_of(stem=grey)
    assert (raised.value.field, raised.value.suggestion) == ("in_channels", 1)
    assert stem_text(Request.read({**START, "stem": grey})) == grey
    after = Request.read({**START, "stem": grey, "in_channels": "1"})
    assert read_choice(after).spec.in_channels == 1
    assert stem_text(after) == "3x3/2:8 relu, 1x1:16"


@pytest.mark.parametrize("code", ["nn.Conv2d(3, 8", "nn.Conv2d(3, dim, 3)", "nn.Linear(3, 8)"])
def test_code_that_cannot_be_read_stays_as_it_was_typed(code: str) -> None:
    request = Request.read({**START, "stem": code})
    assert stem_text(request) == code
    assert editor_rows(request) is None
    with pytest.raises(SpecError, match="line 1: "):
        read_choice(request)


def test_a_row_that_cannot_be_built_is_written_as_typed_and_named() -> None:
    rows = [dict(row) for row in editor_rows(Request.read(START)) or ()]
    rows[0]["stride"] = "fast"
    request = Request.read({**START, "rows": rows})
    assert stem_text(request) == "3x3/fastp1:8 bn relu nobias, 8x8/8:16"
    assert editor_rows(request) == tuple(rows)
    with pytest.raises(SpecError) as raised:
        read_choice(request)
    assert (raised.value.field, raised.value.value) == ("conv1.stride", "fast")
    rows[0]["stride"], rows[0]["norm"] = "2", "group"
    with pytest.raises(SpecError) as raised:
        choice_of(rows=rows)
    assert raised.value.field == "conv1.norm"


def test_a_notation_that_cannot_be_read_leaves_the_editor() -> None:
    request = Request.read({**START, "stem": "3x3/"})
    assert editor_rows(request) is None
    assert stem_text(request) == "3x3/"


def test_one_row_more_than_a_stem_may_have_is_refused_and_not_cut_off() -> None:
    row = (editor_rows(Request.read({"stem": format_stem(conv_stem())})) or ())[0]
    request = Request.read({**START, "rows": [row] * 10**5})
    with pytest.raises(SpecError, match="a stem has 1 to 64 layers"):
        read_choice(request)
    assert len(request.rows or ()) < 1000


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
NAMES = [field.name for field in fields(Request)]


@settings(deadline=None, derandomize=True, max_examples=300, database=None)
@given(message=st.one_of(JSON, st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)))
def test_whatever_a_browser_sends_is_a_request_that_is_answered_or_refused(message: Any) -> None:
    request = Request.read(message)
    hash(request.sizes)
    assert 240 <= request.panel_width <= 1200
    assert 0.5 <= request.aspect <= 4
    assert isinstance(request.unfolded, bool)
    stem_text(request)
    editor_rows(request)
    for sent in (message, {**START, **message} if isinstance(message, dict) else START):
        try:
            said = str(read_choice(Request.read(sent)).spec.seq_len)
        except SpecError as error:
            said = str(error)
        assert said.isprintable()


def test_fields_that_are_not_the_pages_are_ignored() -> None:
    assert Request.read({**START, "foo": 1, "__class__": "x"}) == Request.read(START)
    assert Request.read(json.loads(json.dumps(START))) == Request.read(START)
