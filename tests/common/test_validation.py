"""What may stand in a field: each check, with the nearest legal value beside each illegal one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import (
    MAX_SIDE,
    as_pair,
    check_all,
    check_bool,
    check_choice,
    check_int,
    check_kinds,
    check_number,
    check_pair,
    check_type,
    nearest,
    parse_image_size,
    parse_int,
    parse_number,
    plain,
    unreadable_reason,
)

PRESETS = ("vit_c_1gf", "vit_c_4gf", "vitpose_b")


def refused(check: Any, *args: Any) -> SpecError:
    with pytest.raises(SpecError) as raised:
        check(*args)
    return raised.value


class Index:
    """A whole number by its own word, as an enumeration may be."""

    def __index__(self) -> int:
        return 7


class Raises:
    def __index__(self) -> int:
        raise RuntimeError("no number")

    def __float__(self) -> float:
        raise RuntimeError("no number")


@pytest.mark.parametrize(
    "value",
    [7, np.int64(7), np.array(7), torch.tensor(7), Index()],
    ids=["int", "numpy", "array", "tensor", "index"],
)
def test_a_whole_number_may_come_in_any_dress(value: Any) -> None:
    found = check_int("stride", value, 1, 9)
    assert (type(found), found) == (int, 7)


@pytest.mark.parametrize(
    ("value", "suggestion", "reason"),
    [
        (0, 1, "the least is 1"),
        (-5, 1, "the least is 1"),
        (10, 9, "the most is 9"),
        (3.0, 3, "it is not a whole number"),
        (3.7, 4, "it is not a whole number"),
        (99.5, 9, "it is not a whole number"),
        ("3", 3, "it is not a whole number"),
        ("big", 1, "it is not a whole number"),
        (True, 1, "it is not a whole number"),
        (None, 1, "it is not a whole number"),
        (np.array([3]), 1, "it is not a whole number"),
        (torch.tensor([3, 4]), 1, "it is not a whole number"),
        (float("nan"), 1, "it is not a whole number"),
        (float("inf"), 1, "it is not a whole number"),
        (Raises(), 1, "it is not a whole number"),
    ],
)
def test_any_other_number_is_refused_and_the_suggestion_works(
    value: Any, suggestion: int, reason: str
) -> None:
    error = refused(check_int, "stride", value, 1, 9)
    assert (error.field, error.reason, error.suggestion) == ("stride", reason, suggestion)
    assert check_int("stride", error.suggestion, 1, 9) == suggestion


@settings(deadline=None, derandomize=True, database=None)
@given(value=st.integers(), low=st.integers(-50, 50), room=st.integers(0, 50))
def test_a_number_is_taken_exactly_within_its_bounds(value: int, low: int, room: int) -> None:
    if low <= value <= low + room:
        assert check_int("n", value, low, low + room) == value
    else:
        near = refused(check_int, "n", value, low, low + room).suggestion
        assert near == min(max(value, low), low + room)


@pytest.mark.parametrize("value", [True, np.True_, np.array(True), torch.tensor(True)])
def test_a_flag_may_come_in_any_dress(value: Any) -> None:
    assert check_bool("bias", value) is True


@pytest.mark.parametrize("value", [1, 0, "True", None, np.array([True]), 1.0])
def test_what_is_no_flag(value: Any) -> None:
    assert str(refused(check_bool, "bias", value)).endswith(
        ": it is neither True nor False. Use True or False."
    )


@pytest.mark.parametrize("value", [2, 2.5, 0, -1.5, np.float32(2.5), torch.tensor(2), 10**15])
def test_a_number_need_not_be_whole(value: Any) -> None:
    assert check_number("mlp_ratio", value, 4) == plain(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (10**15 + 1, "the most is 1,000,000,000,000,000"),
        (float("inf"), "it is not a finite number"),
        (float("nan"), "it is not a finite number"),
        ("4", "it is not a number"),
        (True, "it is not a number"),
        (None, "it is not a number"),
        (2j, "it is not a number"),
    ],
)
def test_what_is_no_usable_number(value: Any, reason: str) -> None:
    error = refused(check_number, "mlp_ratio", value, 4)
    assert (error.reason, error.suggestion) == (reason, 4)


def test_a_scalar_is_the_number_it_holds_and_nothing_else_is_touched() -> None:
    assert (type(plain(np.int8(3))), plain(np.int8(3))) == (int, 3)
    assert plain(torch.tensor(2.5)) == 2.5
    array, several = np.zeros(1), torch.zeros(2)
    assert plain(array) is array
    assert plain(several) is several
    nothing = torch.zeros((), device="meta")  # holds no number
    assert plain(nothing) is nothing


def test_one_side_is_a_square() -> None:
    assert as_pair(224) == as_pair(np.int64(224)) == (224, 224)
    assert as_pair((256, 192)) == (256, 192)
    assert as_pair("224") == "224"  # for the field's own check to refuse


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        (224, (224, 224)),
        ("224", (224, 224)),
        ((224,), (224, 224)),
        ((1, 2, 3), (224, 224)),
        ((256, 0), (256, 224)),
        ((MAX_SIDE + 1, 192), (224, 192)),
        (("a", 192), (224, 192)),
        ((2.5, 2.5), (224, 224)),
    ],
)
def test_a_pair_is_refused_with_one_that_keeps_its_good_side(
    value: Any, suggestion: tuple[int, int]
) -> None:
    assert refused(check_pair, "image_size", value).suggestion == suggestion
    assert check_pair("image_size", suggestion) == suggestion


def test_a_pair_may_be_a_list_up_to_the_bound() -> None:
    assert check_pair("image_size", [1, MAX_SIDE]) == (1, MAX_SIDE)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (3, str, "x = 3: it is an int, no str. Use a."),
        (3, (str, bytes), "x = 3: it is an int, no str or bytes. Use a."),
        (None, str, "x = None: it is no str. Use a."),
        (int, str, "x = <class 'int'>: it is no str. Use a."),
    ],
)
def test_another_type_is_told(value: Any, kind: Any, words: str) -> None:
    assert str(refused(check_type, "x", value, kind, "Use a")) == words
    check_type("x", "a", kind, "Use a")


def test_all_of_a_tuple_or_a_list_are_of_one_kind() -> None:
    assert check_all("x", [1, 2], int, "Use 1") == check_all("x", (1, 2), int, "Use 1") == (1, 2)
    assert check_all("x", [], int, "Use 1") == ()
    assert refused(check_all, "x", (1, "2"), int, "Use 1").value == "2"
    assert refused(check_all, "x", {1, 2}, int, "Use 1").reason == "it is a set, no tuple or list"
    assert refused(check_all, "x", "ab", str, "Use a").reason == "it is a str, no tuple or list"


@pytest.mark.parametrize(
    ("value", "use"),
    [
        ("ViT_C-4GF", "vit_c_4gf"),  # as the paper writes it
        ("vitpose", "vitpose_b"),
        ("resnet", "vit_c_1gf"),  # nothing is near: the first
        ("", "vit_c_1gf"),
        (None, "vit_c_1gf"),
        (["vitpose_b"], "vit_c_1gf"),
        ("x" * 10**6, "vit_c_1gf"),
    ],
)
def test_a_choice_that_is_none_is_told_the_nearest(value: Any, use: str) -> None:
    error = refused(check_choice, "preset", value, PRESETS)
    assert (error.fix, error.suggestion) == (f"Use {use}", use)
    assert error.reason == "it is not one of vit_c_1gf, vit_c_4gf, vitpose_b"
    check_choice("preset", error.suggestion, iter(PRESETS))


def test_nearest_is_empty_where_nothing_is_near_enough() -> None:
    assert nearest("resnet50", PRESETS) == ""
    assert nearest("vit", PRESETS, alike=0.4) in PRESETS
    assert nearest("vit", PRESETS, alike=0.9) == ""


def test_kinds_are_read_in_any_spelling_and_each_once() -> None:
    kinds = ("stride", "token order")
    assert check_kinds("ignore", ("TOKEN_ORDER", "stride", " token  order"), kinds) == (
        "token order",
        "stride",
    )
    assert refused(check_kinds, "ignore", ("strides",), kinds).suggestion == "stride"
    assert refused(check_kinds, "ignore", "stride", kinds).fix == 'Use ("stride",)'


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), (" 7 ", 7), ("-3", -3), ("007", 7), ("0", 0)]
)
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert parse_int("seed", text, -10, 100) == number


@pytest.mark.parametrize("text", ["", "3.0", "1_0", "+7", "1e2", "٣", "²", "--3", "9" * 21, "0x3"])
def test_what_is_no_whole_number_is_kept_as_it_was_typed(text: str) -> None:
    error = refused(parse_int, "seed", text, 0, 100)
    assert (error.value, error.reason) == (text, "it is not a whole number")


@pytest.mark.parametrize(("text", "number"), [("4", 4), ("2.5", 2.5), (" 1e1 ", 10), ("-.5", -0.5)])
def test_a_number_is_read(text: str, number: float) -> None:
    found = parse_number("mlp_ratio", text)
    assert found == number
    assert isinstance(found, int) == float(number).is_integer()


@pytest.mark.parametrize("text", ["", "four", "1_0", "nan", "inf", "1e999", "2,5"])
def test_what_is_no_number(text: str) -> None:
    assert refused(parse_number, "mlp_ratio", text).suggestion == 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("224", (224, 224)), ("256x192", (256, 192)), ("256 × 192", (256, 192)), ("2X3", (2, 3))],
)
def test_an_image_size_is_read(text: str, size: tuple[int, int]) -> None:
    assert parse_image_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "224x", "1x2x3", "-1", "2.5", "٣", "1" * 10])
def test_what_is_no_image_size(text: str) -> None:
    assert refused(parse_image_size, text).suggestion == (224, 224)


@settings(deadline=None, derandomize=True, database=None)
@given(height=st.integers(1, 10**9 - 1), width=st.integers(1, 10**9 - 1))
def test_an_image_size_reads_back(height: int, width: int) -> None:
    assert parse_image_size(f"{height}x{width}") == (height, width)


def test_why_a_path_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.touch()
    assert unreadable_reason(file) == unreadable_reason(str(file)) == ""
    assert unreadable_reason(tmp_path) == "it is a folder"
    for path in (tmp_path / "none.pt", file / "inside", "", "a\x00b", "x" * 10_000):
        assert unreadable_reason(path) == "there is no such file"
    os.mkfifo(tmp_path / "pipe")
    assert unreadable_reason(tmp_path / "pipe") == "it is no plain file"
    assert unreadable_reason("https://example.org/a.pt").startswith("it is an address")
