"""Errors of windows that do not divide a map, and of 2×2 merging."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn, zeros
from torch.nn import functional as F

from tests.diagnosis.errors import best_of, words
from tests.diagnosis.runs import Made, best, cut, run
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize(
    ("text", "kind", "says", "fix"),
    [
        # Swin, MaxViT, NesT
        ("x size (7*7) are not even.", "merging", "7 = 2·3 + 1", "multiples of 32"),
        ("input feature has wrong size", "image size", "H×W positions", "img_size"),
        (
            "height (20) must be divisible by window (7)",
            "window",
            "20 = 2·7 + 6",
            "21 instead of 20",
        ),
        ("width 20 must be divisible by grid 7", "window", "20 = 2·7 + 6", "21 instead of 20"),
        (
            "BlockAggregation requires even input spatial dims",
            "merging",
            "an odd side",
            "32 for patches of 4",
        ),
    ],
)
def test_what_models_assert_of_themselves_is_known(
    text: str, kind: str, says: str, fix: str
) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


def merge(x: Tensor) -> Tensor:
    """Patch merging as in the first Swin: 2×2 places to one."""
    _, rows, columns, _ = x.shape
    assert rows % 2 == 0 and columns % 2 == 0, f"x size ({rows}*{columns}) are not even."  # noqa: PT018
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return torch.cat(parts, -1)


@pytest.mark.parametrize("sides", [(7, 7), (8, 7), (7, 8)])
def test_an_odd_map_is_merged_once_it_is_padded_or_the_image_is_a_multiple_of_32(
    sides: tuple[int, int],
) -> None:
    x = zeros(1, *sides, 4)
    best = best_of(lambda: merge(x))
    assert best.likelihood == "certain"
    call = re.search(r"F\.pad\(x, \([\d, ]+\)\)", best.fixes[1])
    assert call
    merge(eval(call[0], {"F": F, "x": x}))
    for side in range(32, 321, 32):  # a patch of 4, then three mergings
        map = zeros(1, side // 4, side // 4, 1)
        for _ in range(3):
            map = merge(map)


def windows(x: Tensor, side: int) -> Tensor:
    """As Swin cuts a channels-last map."""
    b, rows, columns, c = x.shape
    x = x.view(b, rows // side, side, columns // side, side, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, c)


@pytest.mark.parametrize(("rows", "columns"), [(10, 10), (8, 10), (9, 8)])
def test_a_map_that_windows_do_not_divide_is_padded(rows: int, columns: int) -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        x = m.stem(x).permute(0, 2, 3, 1).contiguous()
        return windows(m.pad(x), 4)

    model = Made(forward, stem=cut(8, 32), pad=nn.Identity())
    meaning = best(model, 1, 3, rows * 8, columns * 8)
    assert meaning.kind == "windows"
    assert f"A map of {rows}×{columns} positions and 32 channels" in meaning.sentence
    expression = re.search(r"F\.pad\(.*\)", meaning.fixes[0])
    assert expression
    model.pad = Made(lambda m, x: eval(expression[0], {"F": F, "x": x}).contiguous())
    assert run(model, 1, 3, rows * 8, columns * 8).failure is None


@pytest.mark.parametrize("windows", [9, 16])
def test_a_mask_for_another_number_of_windows(windows: int) -> None:
    """As in Swin, whose mask is made once: 16 = 4·4 windows of 7·7 tokens."""
    model = Made(lambda m, x: x.view(-1, 16, 3, 49, 49))
    if windows == 16:
        assert run(model, windows, 3, 49, 49).failure is None
        return
    meaning = best(model, windows, 3, 49, 49)
    assert meaning.kind == "windows"
    assert "9 = 3×3 windows of scores are given, and the mask is for 16 = 4×4" in meaning.sentence


@pytest.mark.parametrize(
    ("target", "size", "kind", "says"),
    [
        # Swin's mask is a map of one channel, which stands last: 128·128 = 16384 = 18·7 + 2
        ("[1, 18, 7, 18, 7, 1]", 16384, "windows", "128 = 18·7 + 2"),
        ("[1, 9, 7, 9, 7, 64]", 64 * 64 * 64, "windows", "64 = 9·7 + 1"),
        # ShadowFormer: 640×480 at stride 8 is 60×80 = 7·8 + 4
        ("[1, 7, 8, 10, 8, 256]", 1228800, "windows", "60 = 7·8 + 4"),
        # TransMorph: 52·48·54 = 134784 places, and 50·48·49 in windows
        ("[1, 10, 5, 8, 6, 7, 7, 6]", 808704, "windows", "134,784 positions"),
    ],
)
def test_what_is_cut_follows_from_the_shape(target: str, size: int, kind: str, says: str) -> None:
    best = explain_error(f"shape '{target}' is invalid for input of size {size}")[0]
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        ("x height (7) is not even.", "merging", "certain", "a height of 7 = 2·3 + 1"),
        ("shift_size must in 0-window_size", "window", "likely", "img_size / patch_size"),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)


def test_an_odd_side_is_even_once_it_is_padded_as_said() -> None:
    for which, shape in (("height", (1, 7, 8, 4)), ("width", (1, 8, 15, 4))):
        side = shape[1] if which == "height" else shape[2]
        best = explain_error(f"x {which} ({side}) is not even.")[0]
        padding = re.search(r"F\.pad\(x, \(([\d, ]+)\)\)", best.fixes[1])
        assert padding is not None
        sides = F.pad(torch.zeros(shape), [int(n) for n in padding[1].split(",")]).shape[1:3]
        assert not any(n % 2 for n in sides)
