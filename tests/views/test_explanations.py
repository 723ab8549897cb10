"""Explanations and faults as text for a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.views.explanations import explanations_text, faults_text

FIRST = Explanation(
    kind="position table",
    sentence="257 tokens came and the table has 197.",
    fixes=("Resize the image.", "Or interpolate the table."),
    likelihood="likely",
    because="257 = 16×16 + 1",
    numbers={"tokens": 257},
)
LIKELY = replace(FIRST, kind="class token", sentence="The class token is missing.")
POSSIBLE = replace(LIKELY, likelihood="possible")


def test_one_explanation_is_its_sentence_its_reason_and_its_fixes() -> None:
    assert explanations_text([FIRST]) == (
        "1. position table, likely\n"
        "   257 tokens came and the table has 197.\n"
        "   Why: 257 = 16×16 + 1.\n"
        "   - Resize the image.\n"
        "   - Or interpolate the table."
    )


def test_the_first_and_all_that_is_more_than_possible_have_their_fixes() -> None:
    text = explanations_text([POSSIBLE, LIKELY, POSSIBLE])
    assert [line[:2] for line in text.splitlines() if not line.startswith(" ")] == [
        "1.",
        "2.",
        "3.",
    ]
    assert text.count("Why: ") == 2
    assert text.endswith("3. class token, possible\n   The class token is missing.")


@pytest.mark.parametrize(
    ("count", "most", "ending"),
    [
        (3, 3, None),
        (4, 3, "1 less likely reading, and all fixes: --json."),
        (9, 3, "6 less likely readings, and all fixes: --json."),
        (2, 1, "1 less likely reading, and all fixes: --json."),
    ],
)
def test_the_others_are_counted(count: int, most: int, ending: str | None) -> None:
    last = explanations_text([FIRST] * count, most=most).splitlines()[-1]
    assert last == (ending or "   - Or interpolate the table.")


def test_nothing_known_is_said_with_what_is_known() -> None:
    text = explanations_text([])
    assert text.startswith("vitc_inspect does not know this error.")
    assert "position tables" in text
    assert max(map(len, text.splitlines())) <= 96


def test_faults_are_counted_and_all_told() -> None:
    assert faults_text([FIRST]).startswith("1 fault found:\n- position table, likely\n  257 tok")
    text = faults_text([POSSIBLE] * 7)
    assert text.startswith("7 faults found:\n")
    assert text.count("Why: ") == 7
    assert text.count("  - Resize the image.") == 7


def test_long_sentences_are_wrapped_under_themselves_and_code_is_never_broken() -> None:
    code = f"F.pad(x, ({', '.join(['0'] * 40)}))".replace(" ", "")
    long = replace(FIRST, sentence="word " * 60 + "end.", fixes=(f"Call {code}.",))
    for text, indent in ((explanations_text([long]), "   "), (faults_text([long]), "  ")):
        lines = text.splitlines()
        assert all(line.startswith(indent) for line in lines[2:])
        assert all(len(line) <= 96 or code in line for line in lines)
        assert code in text


def test_what_a_terminal_would_act_on_is_written_out() -> None:
    text = explanations_text([replace(FIRST, sentence="\x1b[31mred\u202e.")])
    assert "\\x1b[31mred\\u202e." in text
    assert text.replace("\n", "").isprintable()
