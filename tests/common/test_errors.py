"""SpecError: one clear sentence about any value, on one line and never too long."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitc_inspect.common.errors import (
    SpecError,
    message_of,
    one_line,
    shortened,
    shown,
    with_article,
)


class Wordless:
    """An object of a user's whose text cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (True, "True"),
        (None, "None"),
        ("", "''"),
        ("3x", "'3x'"),
        ("a\nb", r"'a\nb'"),
        ((300, 0), "300 x 0"),  # the sides of a size stand bare
        (("300", ""), "300 x ''"),  # unless one is empty
        ((7,), "7"),
        ([1, 2], "[1, 2]"),
        (10**39, "1" + 39 * "0"),
        (10**40, "an integer of about 41 digits"),
        (-(10**50), "a negative integer of about 51 digits"),
        (Wordless(), "a Wordless that cannot be written"),
    ],
)
def test_a_value_is_written_on_one_line(value: object, words: str) -> None:
    assert str(SpecError("stride", value, "it is odd", "Use 2")) == (
        f"stride = {words}: it is odd. Use 2."
    )


def test_a_long_value_and_a_long_reason_are_shortened() -> None:
    error = SpecError("stem", "x" * 10**6, "y" * 10**6, "z" * 10**6)
    assert str(error).startswith(f"stem = 'x{'x' * 57}…: y")
    assert len(str(error)) < 5_000
    assert error.value == "x" * 10**6  # the value itself is whole
    assert len(str(SpecError("size", (1,) * 10**6, "it is no pair", "Use 224"))) < 120


@settings(deadline=None, derandomize=True, database=None)
@given(value=st.one_of(st.text(), st.integers(), st.floats(), st.tuples(st.text(), st.integers())))
def test_any_value_makes_one_line_that_a_terminal_can_show(value: object) -> None:
    sentence = str(SpecError("field", value, "it is odd", "Use 2"))
    assert sentence.isprintable()
    assert sentence.startswith("field = ")
    assert sentence.endswith(": it is odd. Use 2.")


def test_within_a_layer_only_the_field_is_another() -> None:
    inner = SpecError("stride", 0, "the least is 1", "Use 1 or more", 1, column=7)
    outer = inner.within("conv2")
    assert outer.field == "conv2.stride"
    for name in ("value", "reason", "fix", "suggestion", "column"):
        assert getattr(outer, name) == getattr(inner, name)
    assert inner.field == "stride"


def test_it_is_a_value_error_that_can_be_copied_and_sent_to_another_process() -> None:
    error = SpecError("stride", (1, 2), "it is a pair", "Use 1", 1, column=7)
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert isinstance(same, ValueError)
        assert vars(same) == vars(error)
        assert str(same) == str(error)
    assert repr(error) == f"SpecError({str(error)!r})"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("int", "an int"),
        ("Image", "an Image"),
        ("object", "an object"),
        ("str", "a str"),
        ("Unit", "a Unit"),  # said "you"
        ("NoneType", "None"),
        ("", "a "),
    ],
)
def test_a_class_has_its_article(kind: str, words: str) -> None:
    assert with_article(kind) == words


def test_what_an_exception_says_or_what_python_shows_for_it() -> None:
    assert message_of(ValueError("size 3")) == "size 3"
    assert message_of(ValueError()) == ""
    assert message_of(Mute()) == "<exception str() failed>"


@pytest.mark.parametrize("value", [np.int64(3), np.float32(0.5), np.zeros(2), object, Ellipsis])
def test_other_things_are_shown_as_python_writes_them(value: object) -> None:
    assert shown(value) == repr(value)


@settings(deadline=None, derandomize=True, database=None)
@given(text=st.text())
def test_one_line_keeps_what_can_be_printed_and_loses_nothing(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    if text.isprintable():
        assert line == text
    if "\\" not in text and text.isascii():
        assert line.encode().decode("unicode_escape") == text


@settings(deadline=None, derandomize=True, database=None)
@given(text=st.text(max_size=30), most=st.integers(1, 40))
def test_a_shortened_text_begins_as_it_did_and_has_room(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert short == text or (short[-1] == "…" and text.startswith(short[:-1]))
    assert (short == text) == (len(text) <= most) or text == short
