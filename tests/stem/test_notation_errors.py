"""Notations that cannot be read or built: where reading stopped, and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.notation import (
    format_stem,
    parse_convs,
    parse_fields,
    parse_stem,
)
from vitc_inspect.stem.spec import StemSpec

EXPECTED_AFTER_CHANNELS = (
    "expected bn, ln, relu, gelu, silu, hardswish, bias, nobias, g or d with a number, or a comma"
)


def unreadable(text: str, **beside: Any) -> SpecError:
    """The error that reading the text raises."""
    with pytest.raises(SpecError) as caught:
        parse_stem(text, **beside)
    return caught.value


@pytest.mark.parametrize(
    ("text", "column", "reason", "fix", "suggestion"),
    [
        (
            "",
            1,
            "expected the kernel, for example 3x3, found the end of the text",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "   ",
            4,
            "expected the kernel, for example 3x3, found the end of the text",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "resnet",
            1,
            "expected the kernel, for example 3x3, found “resnet”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3",
            2,
            "expected x and the kernel's width, found the end of the text",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3*3:48",
            2,
            "expected x and the kernel's width, found “*”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x:48",
            3,
            "expected the kernel's width, a whole number, found “:”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        ("3x5/2:48", 1, "the kernel 3x5 is not square", "Use 3x3", "3x3/2:48"),
        (
            "3x3:48 bn, 5x3/2:96",
            12,
            "the kernel 5x3 is not square",
            "Use 5x5",
            "3x3:48 bn, 5x5/2:96",
        ),
        (
            "3x3",
            4,
            "expected a slash and the stride, or a colon and the channels, "
            "found the end of the text",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3/:48",
            5,
            "expected the stride, a whole number, found “:”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3/1.5:48",
            5,
            "expected the stride, a whole number, found “1.5”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3/-2:48",
            5,
            "expected the stride, a whole number, found “-2”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3/2p:48",
            7,
            "expected the padding, a whole number, found “:”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3/2 48",
            7,
            "expected a colon and the channels, found “48”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3:48, 3x3/2:",
            15,
            "expected the channels, a whole number, found the end of the text",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:1e3",
            5,
            "expected the channels, a whole number, found “1e3”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3:1234567890",
            5,
            "expected the channels, a whole number of at most 9 digits, found “1234567890”",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3:48,",
            8,
            "expected the kernel, for example 3x3, found the end of the text",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:48, , 1x1:9",
            9,
            "expected the kernel, for example 3x3, found “,”",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:48 1x1:9",
            8,
            f"{EXPECTED_AFTER_CHANNELS}, found “1”",
            "Use 3x3:48, 1x1:9",
            "3x3:48, 1x1:9",
        ),
        (
            "3x3:48; 1x1:9",
            7,
            f"{EXPECTED_AFTER_CHANNELS}, found “;”",
            "Use 3x3:48, 1x1:9",
            "3x3:48, 1x1:9",
        ),
        (
            "3x3:48-bn+relu | 1x1:9 → 1x1:8",
            7,
            f"{EXPECTED_AFTER_CHANNELS}, found “-”",
            "Use 3x3:48 bn relu, 1x1:9, 1x1:8",
            "3x3:48 bn relu, 1x1:9, 1x1:8",
        ),
        (
            "3x3:48; 1y1:9",
            7,
            f"{EXPECTED_AFTER_CHANNELS}, found “;”",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:48 BatchNorm relu, 1x1:9",
            8,
            "“BatchNorm” is not a word of the notation",
            "Use bn",
            "3x3:48 bn relu, 1x1:9",
        ),
        (
            "3x3:48 swish",
            8,
            "“swish” is not a word of the notation",
            "Use silu",
            "3x3:48 silu",
        ),
        (
            "3х3:48",  # х of the Cyrillic alphabet
            2,
            "expected x and the kernel's width, found “х”, cyrillic small letter ha",
            "Use 16x16/16:768",
            "16x16/16:768",
        ),
        (
            "3x3:48 bn relu6",
            15,
            f"{EXPECTED_AFTER_CHANNELS}, found “6”",
            "Use 3x3:48 bn relu",
            "3x3:48 bn relu",
        ),
        (
            "3x3:48 tanh",
            8,
            f"{EXPECTED_AFTER_CHANNELS}, found “tanh”",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:48 rleu, 1x1:9",
            8,
            "“rleu” is not a word of the notation",
            "Use relu",
            "3x3:48 relu, 1x1:9",
        ),
        (
            "3x3/2:48 bn hardswich",
            13,
            "“hardswich” is not a word of the notation",
            "Use hardswish",
            "3x3/2:48 bn hardswish",
        ),
        (
            "3x3:48 g",
            9,
            "expected the groups, a whole number, found the end of the text",
            "Use 3x3:48",
            "3x3:48",
        ),
        (
            "3x3:48 bn d-1",
            12,
            "expected the dilation, a whole number, found “-1”",
            "Use 3x3:48 bn",
            "3x3:48 bn",
        ),
        (
            "3x3:48 bn ln",
            11,
            "a second norm in one layer",
            "Use 3x3:48 bn",
            "3x3:48 bn",
        ),
        (
            "3x3:48 relu bn gelu, 1x1:9",
            16,
            "a second activation in one layer",
            "Use 3x3:48 relu bn, 1x1:9",
            "3x3:48 relu bn, 1x1:9",
        ),
        (
            "3x3:48 bias nobias",
            13,
            "a second bias in one layer",
            "Use 3x3:48 bias",
            "3x3:48 bias",
        ),
        (
            "3x3:48 g3 g4",
            11,
            "a second groups in one layer",
            "Use 3x3:48 g3",
            "3x3:48 g3",
        ),
        (
            "3x3:48 d2 relu d2",
            16,
            "a second dilation in one layer",
            "Use 3x3:48 d2 relu",
            "3x3:48 d2 relu",
        ),
    ],
)
def test_slips_are_pointed_at(
    text: str, column: int, reason: str, fix: str, suggestion: str
) -> None:
    error = unreadable(text)
    assert error.field == "stem"
    assert error.value == text
    assert error.column == column
    assert str(error) == f"stem = {text!r}: column {column}: {reason}. {fix}."
    assert error.suggestion == suggestion
    assert parse_stem(error.suggestion)


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("3x3/0:48", "proj.stride", "proj.stride = 0: the least is 1. Use 1 or more."),
        (
            "3x3:48, 0x0:96, 1x1:9",
            "conv2.kernel_size",
            "conv2.kernel_size = 0: the least is 1. Use 1 or more.",
        ),
        (
            "3x3:70000, 1x1:9",
            "conv1.out_channels",
            "conv1.out_channels = 70000: the most is 65,536. Use 65536 or less.",
        ),
        (
            "3x3/2:48 bn, 3x3:96 g5",
            "proj.groups",
            "proj.groups = 5: it does not divide the 96 output channels. Use 1.",
        ),
        (
            "16x16/16:9, 15x15p0:9",
            "proj.kernel_size",
            "proj.kernel_size = 15: the padded input is only 14 pixels long. Use 14 or less.",
        ),
    ],
)
def test_what_reads_well_and_cannot_be_built_names_its_layer(
    text: str, field: str, message: str
) -> None:
    error = unreadable(text)
    assert error.field == field
    assert error.column is None
    assert str(error) == message


def test_a_long_text_is_shortened_in_the_message_alone() -> None:
    text = "3x3:48, " * 20
    error = unreadable(text)
    assert error.value == text
    assert error.column == len(text) + 1
    assert str(error).startswith("stem = '3x3:48, 3x3:48, ")
    assert "…: column 161: " in str(error)
    assert parse_stem(error.suggestion)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(stem_specs(), st.data())
def test_every_cut_of_a_notation_is_read_or_mended(stem: StemSpec, data: st.DataObject) -> None:
    text = format_stem(stem)
    cut = text[: data.draw(st.integers(0, len(text)))]
    try:
        parse_convs(cut)
    except SpecError as error:
        mended = error
    else:
        return
    assert mended.field == "stem"
    assert mended.column is not None
    assert 1 <= mended.column <= len(cut) + 1
    assert mended.reason.startswith(f"column {mended.column}: ")
    assert parse_convs(mended.suggestion)


@pytest.mark.parametrize(
    ("text", "useless"),
    [
        ("3x3:0, foo", "3x3:0"),  # no layer has 0 channels
        ("3x3:48 g5 !", "3x3:48 g5"),  # 5 does not divide 48
        ("3x3/2:48 bn b", "bn"),  # there is a norm already; perhaps a bias is being typed
    ],
)
def test_no_advice_leads_to_another_error(text: str, useless: str) -> None:
    assert unreadable(text).fix != f"Use {useless}"


@pytest.mark.parametrize("text", ["", "3x3:48, ?", "3 x"])
def test_a_suggestion_can_be_built_for_the_image_at_hand(text: str) -> None:
    error = unreadable(text, image_size=8)
    assert parse_stem(error.suggestion, image_size=8)


PIECES = "3 x 3x3 / 2 p : 48 , bn relu g d bias b rel × -1 2.5 1e3 0 9999999999 3x3/2:48 _ ٣ ²"
notation_like = st.lists(st.sampled_from([" ", *PIECES.split(" ")]), max_size=30).map("".join)


def assert_read_or_mended(text: str) -> None:
    """The text is a stem, or the error says where it is not and what would be one."""
    try:
        stem = parse_stem(text)
    except SpecError as error:
        complaint = error
    else:
        assert parse_stem(format_stem(stem)) == stem
        return
    assert complaint.reason in str(complaint)
    if complaint.field == "stem":
        assert complaint.column is not None
        assert 1 <= complaint.column <= len(text) + 1
        assert parse_convs(complaint.suggestion)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.one_of(st.text(max_size=60), notation_like))
def test_no_text_raises_anything_but_a_spec_error(text: str) -> None:
    assert_read_or_mended(text)


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, "(" * 5000, "3x3:48 " + "bm " * 500, "3x3:48" + " bn" * 500, "3x4:8, " * 500],
    ids=["digits", "brackets", "misspelt", "repeated", "not square"],
)
def test_no_text_is_too_long_to_be_refused(text: str) -> None:
    assert_read_or_mended(text)


def test_nothing_of_a_text_that_is_too_long_is_read() -> None:
    for read in (parse_stem, parse_fields):
        with pytest.raises(SpecError, match="it has 180,000 characters, the most is 4,000"):
            read("1x1:1," * 30_000)
