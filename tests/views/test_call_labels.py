"""Labels of a call: nothing that a terminal acts on, and nothing that is HTML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vitc_inspect.tracing.recording import SourceLine, Value
from vitc_inspect.views.call_labels import (
    call_name,
    name_before,
    short_place,
    tensor_shape,
    whole_line,
    without_batch,
    written_over,
)

LINE = SourceLine(file='/home/"ada"/<b>\n.py', line=12, text='x = "1" < 2')


def row(**fields: Any) -> Any:
    return SimpleNamespace(
        **{
            "name": "norm",
            "kind": "LayerNorm",
            "turn": 1,
            "overwritten_by": "add_",
            "overwritten_at": None,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("blocks.0.norm", "LayerNorm", "blocks.0.norm"),
        ("", "VisionTransformer", "VisionTransformer"),
        ("a\nb\x1b[2J", "Own", "a\\nb\\x1b[2J"),
        ("日本", "Own", "日本"),
    ],
)
def test_a_call_is_called_by_its_name_or_its_kind(name: str, kind: str, label: str) -> None:
    assert call_name(row(name=name, kind=kind)) == label


def test_a_place_is_short_in_words_and_whole_behind_the_pointer() -> None:
    assert short_place(LINE) == "<b>\\n.py:12"
    assert whole_line(LINE) == '/home/"ada"/<b>\n.py:12  x = "1" < 2'
    assert (short_place(None), whole_line(None)) == ("", None)


@pytest.mark.parametrize(
    ("sizes", "label"),
    [(None, ""), ((), "a number"), ((3,), "3"), ((2, 197, 384), "2×197×384"), ((0, 3), "0×3")],
)
def test_a_shape(sizes: tuple[int, ...] | None, label: str) -> None:
    assert tensor_shape(sizes) == label


@pytest.mark.parametrize(
    ("sizes", "batch", "rest"),
    [
        ((2, 3, 4), 2, (3, 4)),
        ((2,), 2, ()),
        ((3, 2), 2, (3, 2)),  # windows of several images, say
        ((2, 3), 0, (2, 3)),  # shapes are shown whole
        ((0, 3), 0, (3,)),  # an empty batch
        ((), 2, ()),
        (None, 2, None),
    ],
)
def test_the_batch_is_left_out_where_it_stands_in_front(
    sizes: tuple[int, ...] | None, batch: int, rest: tuple[int, ...] | None
) -> None:
    assert without_batch(sizes, batch) == rest


@pytest.mark.parametrize(
    ("path", "label"), [("", ""), ("0", ""), ("12", ""), ("mask", "mask "), ("0.k", "0.k ")]
)
def test_a_tensor_is_named_where_it_was_given_by_name(path: str, label: str) -> None:
    assert name_before(Value(path=path, shape=(2,), dtype="bool", bytes=2)) == label


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "The output of norm is later written over by add_"),
        ({"turn": 2}, "The output of norm, call 2, is later written over by add_"),
        (
            {"overwritten_at": SourceLine(file="/a/b.py", line=3, text="")},
            "The output of norm is later written over by add_ at b.py:3",
        ),
        ({"name": ""}, "The output of LayerNorm is later written over by add_"),
    ],
)
def test_what_wrote_over_an_output_is_said(fields: dict[str, Any], sentence: str) -> None:
    assert written_over(row(**fields)) == sentence
