"""The decoder against any text: damaged, absurd, very long."""

from __future__ import annotations

import json
import random
import re
import signal
from types import FrameType

import pytest
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import zeros

from tests.diagnosis.errors import SUM, SWIN_LIKE, error_of
from tests.diagnosis.raised import MESSAGES
from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem

MOST_SECONDS = 60
"""A text takes milliseconds; work that explodes with the length of the text would take hours."""


def _stop(signum: int, frame: FrameType | None) -> None:
    pytest.fail(f"the text takes more than {MOST_SECONDS} seconds: the work explodes")


def explained(text: str, spec: StemSpec | None = None) -> tuple[Explanation, ...]:
    """Explain a text, and fail where that does not end; a search for a pattern can be stopped."""
    before = signal.signal(signal.SIGALRM, _stop)
    signal.alarm(MOST_SECONDS)
    try:
        return explain_error(text, spec=spec)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_work_that_explodes_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.MOST_SECONDS", 1)
    monkeypatch.setattr(
        f"{__name__}.explain_error", lambda text, spec: re.fullmatch(r"(?:a|a)*b", text)
    )
    with pytest.raises(pytest.fail.Exception, match="explodes"):
        explained("a" * 60)


@settings(deadline=None, derandomize=True, max_examples=300, database=None)
@given(
    text=st.one_of(
        st.text(max_size=300),
        st.builds(
            lambda word, numbers: "".join(str(next(numbers)) if c.isdigit() else c for c in word),
            st.sampled_from(MESSAGES),
            st.lists(
                st.sampled_from((0, 1, 2, 5, 7, 14, 197, 10**6, 10**12)), min_size=1, max_size=5
            ).map(lambda found: iter(found * 400)),
        ),
    ),
    spec=st.sampled_from([None, conv_stem(), patchify_stem(image_size=(256, 192))]),
)
def test_no_text_crashes_it_or_explodes(text: str, spec: StemSpec | None) -> None:
    for explanation in explained(text, spec):
        assert explanation.sentence
        assert explanation.fixes
        json.dumps(explanation.to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "size mismatch for " * 20_000,
        "shape '[" + "1, " * 100_000,
        'Missing key(s) in state_dict: "' * 5_000,
        "Error(s) in loading state_dict for X: Missing key(s) in state_dict: " + '"a.b", ' * 30_000,
        "(" * 200_000,
        'File "' * 40_000,
        "> x = x + " * 20_000,
        "Input type (" + "a b " * 50_000,
        "The size of tensor a (14414400) must match the size of tensor b (11531520) at"
        " non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (999999999999x999999999998 and"
        " 999999999997x999999999996)",
        "\n" * 200_000,
    ],
)
def test_absurd_texts_do_not_explode(text: str) -> None:
    explained(text)


TEXTS = [
    *MESSAGES,
    "Error(s) in loading state_dict for X: "
    + " ".join(
        f"size mismatch for {name}: copying a param with shape torch.Size({kept}) from checkpoint,"
        f" the shape in current model is torch.Size({built})."
        for name, kept, built in (
            ("pos_embed", [1, 14, 14, 768], [1, 14, 14, 512]),
            ("a.relative_position_bias_table", [169, 3], [225, 4]),
            ("a.relative_position_index", [49, 49], [64, 64]),
            ("decoder_pred.weight", [768, 512], [588, 512]),
            ("patch_embed.proj.weight", [768, 3, 16, 16], [768, 1, 14, 14]),
        )
    ),
    "AssertionError: x size (7*7) are not even.",
    "Input image size (512*512) doesn't match model (224*224).",
    error_of(lambda: rearrange(zeros(1, 3, 3, 384), SWIN_LIKE, h=24, w_h=7, w_w=7)),
    error_of(lambda: rearrange(zeros(3, 8, 8), "b c h w -> b (h w) c")),
]


NUMBERS = ("0", "1", "2", "3", "7", "-1", "9" * 5000, "9" * 12, "9" * 9, "16777216", "²", "١٢٣")
LETTERS = ("\ud800", "\x00", "\u202e", "\x1b[31m", "\n", "'", '"', "[", "]", "(", ")", "{", "|")


def mutated(text: str, rng: random.Random) -> str:
    """A text that is damaged as pasting, shortening and mistyping damage it, and worse."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        end = at + rng.randint(1, 40)
        change = rng.randrange(7)
        numbers = list(re.finditer(r"\d+", text))
        if change == 0:
            text = text[:at] + text[end:]
        elif change == 1:
            text = text[:end] + text[at:]
        elif change == 2:
            text = text[:at] + rng.choice(LETTERS) + text[at:]
        elif change == 3:
            text = text[at:] + "\n" + rng.choice(TEXTS)
        elif change == 4:
            text = re.sub(r"\d+", lambda m: rng.choice((m[0], m[0], "0", "1", "5", "196")), text)
        elif numbers:
            number = rng.choice(numbers)
            text = text[: number.start()] + rng.choice(NUMBERS) + text[number.end() :]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_no_damaged_message_raises_or_explodes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITC_STRICT_RULES", "1")  # what a decoder raises is raised here
    rng = random.Random(seed)
    specs = (None, conv_stem(), patchify_stem(image_size=(256, 192)))
    for _ in range(200):
        text = mutated(rng.choice(TEXTS), rng)
        for explanation in explained(text, rng.choice(specs)):
            assert explanation.sentence
            assert explanation.fixes
            json.dumps(explanation.to_dict())


@pytest.mark.parametrize("text", ["\x00" * 10**6, "9" * 10**6, "\ud800" * 10**5])
def test_a_million_characters_of_nothing_are_not_explained(text: str) -> None:
    assert explained(text) == ()


@pytest.mark.parametrize("text", TEXTS[-5:])
def test_a_message_at_the_end_of_megabytes_is_explained(text: str) -> None:
    assert explained("downloading 12% of 340 MB\n" * 10**5 + text)


@pytest.mark.parametrize(
    "text",
    [
        "call_function add *(" * 10_000,
        "call_function <built-in function add>(*(FakeTensor(..., size=(1, " * 4_000,
        "Attempting to broadcast a dimension of length 1 at -1! " * 4_000,
        "    ~~~~ <--- HERE\n" * 10_000,
        '  File "a.py", line 1\n' + "~" * 150_000 + "\n" + "^" * 40_000,
        SUM.format(999_999_999, 999_999_998, 1),
        SUM.format(999_999_999, 999_999_998, 2),
        f"shape '[1, 8, 7, 8, 7, 96]' is invalid for input of size {10**14}",
        "shape '[1, 99999999, 99999999, 99999999, 99999999, 3]' is invalid for input of size 12",
        f"shape '[1, {10**11}, 16]' is invalid for input of size {16 * 10**12}",
        f"mat1 and mat2 shapes cannot be multiplied (1x{10**11} and {10**11 - 1}x9)",
    ],
)
def test_absurd_numbers_do_not_explode(text: str) -> None:
    for each in (*explained(text), *explained(text, parse_stem("16x16/16:768"))):
        assert each.fixes
