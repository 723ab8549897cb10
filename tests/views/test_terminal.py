"""Columns that words take in a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitc_inspect.views.terminal import columns


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("", 0),
        ("conv1", 5),
        ("96×56", 5),  # of ambiguous width, and narrow in a Latin terminal
        ("层", 2),
        ("ａ", 2),  # full width
        ("ｱ", 1),  # half width
        ("e\u0301", 1),  # an accent stands on the letter before it
        ("é", 1),
        ("\u20dd", 0),  # a circle around the letter before it
        ("🙂", 2),
        ("日本 <b>", 8),
    ],
)
def test_columns_of_words(words: str, count: int) -> None:
    assert columns(words) == count


@settings(deadline=None, derandomize=True, database=None)
@given(first=st.text(max_size=20), second=st.text(max_size=20))
def test_words_side_by_side_take_the_sum_and_padding_fills_up(first: str, second: str) -> None:
    assert columns(first + second) == columns(first) + columns(second)
    assert columns(first + " " * (60 - columns(first))) == 60
