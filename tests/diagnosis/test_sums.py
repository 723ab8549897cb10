"""Two operands that do not fit in + or *, by the axis that differs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.diagnosis.errors import SUM, words
from tests.diagnosis.raised import assert_explained, raised
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.presets import PRESETS


@pytest.mark.parametrize(
    ("operation", "operands", "sentence", "fix"),
    [
        ("add", ((1, 8, 8, 8), (7,)), "+ was given 1×8×8×8 and a vector of 7", "8 long, or 1"),
        ("__imul__", ((16,), (1, 16, 8, 8)), "* was given 1×16×8×8", "the shape (16, 1, 1)"),
        ("maximum", ((2, 196, 64), (196,)), "maximum was given", "the shape (196, 1)"),
    ],
)
def test_a_vector_along_the_wrong_axis_gets_the_shape_for_the_right_one(
    operation: str, operands: tuple[tuple[int, ...], ...], sentence: str, fix: str
) -> None:
    tensors = [torch.zeros(shape) for shape in operands]
    with pytest.raises(RuntimeError) as raised:
        torch.add(*tensors)
    (meaning,) = explain_error(str(raised.value), operation=operation, operands=operands)
    assert meaning.kind == "broadcast"
    assert meaning.sentence.startswith(sentence)
    assert fix in meaning.fixes[0]
    if "shape" in fix:
        vector = next(tensor for tensor in tensors if tensor.ndim == 1)
        other = next(tensor for tensor in tensors if tensor.ndim > 1)
        torch.add(other, vector.view(-1, *(1 for _ in range(fix.count(",")))))


def test_two_operands_that_do_not_fit_are_named_by_their_own_operation() -> None:
    text = (
        "The size of tensor a (8) must match the size of tensor b (9) at non-singleton dimension 3"
    )
    shapes = ((1, 16, 8, 8), (1, 16, 9, 9))
    assert (
        "operands of * differ" in explain_error(text, operation="mul", operands=shapes)[0].sentence
    )
    assert "operands of + differ" in explain_error(text)[0].sentence


@raised("sums")
def test_raised_sums(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(
    ("first", "second", "axis", "kind", "says"),
    [
        # LeViT, CoAtNet: biases for 14·14 = 196 places, a map of 16·16 = 256
        (256, 196, 3, "attention", "For whole maps, give an image whose map is 14×14"),
        (64, 49, 3, "attention", "For windows, build the model with window_size=7"),
        # BEiT: 385 = 16·24 + 1 and 1025 = 32·32 + 1
        (385, 1025, 3, "attention", "385 = 16×24 + 1 against 1025 = 32×32 + 1"),
        (2305, 1601, 3, "attention", "2305 = 48×48 + 1"),
        # PiT: a table (1, channels, 27, 27); two paths differ by a factor or by one
        (31, 27, 3, "position table", "a map 31 wide and a table of positions 27 wide"),
        (56, 28, 3, "map size", "2 times as large"),
        (28, 27, 3, "map size", "28 and 27"),
        (150, 152, 3, "map size", "150 and 152"),
        # SAM, VOLO: channels last; 32·16 = 512, 64·16 = 1024
        (32, 64, 2, "position table", "512 pixels wide for a model of 1024"),
        (16, 14, 2, "position table", "256 pixels wide for a model of 224"),
        (768, 1024, 2, "width", "768 wide"),
        # PVT: (batch, width, tokens) of 8·32 = 256 and 7·32 = 224 pixels
        (64, 49, 2, "position table", "64 = 8×8 tokens"),
        # CLIP: 24·14 = 336, 16·14 = 224; and what stays at stride 16: 24·16 = 384, 14·16 = 224
        (577, 257, 1, "position table", "at stride 14 the image is 336×336"),
        (1025, 257, 1, "position table", "at stride 14 the image is 448×448"),
        (577, 197, 1, "position table", "at stride 16 the image is 384×384"),
        # Hiera: 64·4 = 256, 56·4 = 224
        (4096, 3136, 1, "position table", "at stride 4 the image is 256×256"),
        # UNETR: 6³ = 216, 8³ = 512; 512 is a text's where the other is no cube
        (512, 216, 1, "volume", "512 = 8×8×8 and 216 = 6×6×6"),
        (678, 512, 1, "text length", "a text of 678 tokens where 512 are expected"),
        # grids of any shape are no reading where nothing speaks for one
        (299, 273, 1, "not known", "299 and 273"),
        (4015, 8030, 1, "not known", "4015 and 8030"),
        (101, 20, 1, "not known", "101 and 20"),
        (257, 193, 1, "position table", "193 = 12×16 + 1"),
        # a map beside the same that was flattened: 14·14 = 196
        (14, 196, 3, "flatten", "a map of 14×14 positions"),
        # (tokens, width) of CLIP's table, against batches
        (197, 257, 0, "position table", "197 = 14×14 + 1"),
        (91, 7, 0, "batch", "91"),
    ],
)
def test_what_two_operands_are_follows_from_their_axis_and_lengths(
    first: int, second: int, axis: int, kind: str, says: str
) -> None:
    best, *others = explain_error(SUM.format(first, second, axis))
    assert best.kind == kind
    assert says in words(best)
    assert "certain" not in [each.likelihood for each in (best, *others)]


@pytest.mark.parametrize("first", [0, 1, 4, 10**9 - 1])
@pytest.mark.parametrize("second", [0, 1, 3, 10**9 - 2])
@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("name", [None, "swin_t", "pit_s"])
def test_no_numbers_of_two_operands_raise(
    first: int, second: int, axis: int, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITC_STRICT_RULES", "1")
    spec = PRESETS[name].stem if name else None
    for each in explain_error(SUM.format(first, second, axis), spec=spec):
        assert "0×0" not in words(each)
        assert not re.search(r"=0\b", words(each))
