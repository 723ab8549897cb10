"""Errors of view and reshape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import Made, best, run
from vitc_inspect.diagnosis import explain_error


@raised("reshapes")
def test_raised_reshapes(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize("count", [0, 1])
def test_more_windows_in_the_mask_than_came(count: int) -> None:
    """The windows of the map are divided by those of the mask, and 4 // 16 is 0."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return x.view(len(x) // m.windows, m.windows, 3, 16, 16)

    model = Made(forward)
    model.windows = 16 if count == 0 else 4
    if count:
        assert run(model, 4, 3, 16, 16).failure is None
        return
    meaning = best(model, 4, 3, 16, 16)
    assert meaning.kind == "empty"
    assert "fewer windows than the 16 that the mask was made for, 4," in meaning.sentence


@pytest.mark.parametrize(
    ("target", "size", "kind", "says"),
    [
        # 12 heads of 64 and tokens of 1024 are no map of 12×64
        ("[1, 197, 12, 64]", 197 * 1024, "heads", "A token has 1024 numbers"),
        ("[1, 768, 14, 14]", 768 * 197, "class token", "197 = 14×14 + 1"),
        # GCViT at 112 pixels: 4·4 = 16 tokens of a window of 7·7 = 49
        (
            "[32, 1, 49, 3, 32]",
            32 * 16 * 3 * 32,
            "grid",
            "16 = 4×4 positions, and the target has 49 = 7×7",
        ),
        # RVSA without its windows: 1280 tokens
        (
            "[2, 12, 7, 7, 64]",
            2 * 12 * 1280 * 64,
            "grid",
            "1280 positions, and the target has 7×7 = 49",
        ),
        ("[2, 37, 3, 12, 66]", 2 * 37 * 3 * 796, "heads", "796 = 12·66 + 4"),
        ("[7, 11]", 78, "reshape", "7×11 needs 7·11 = 77"),
    ],
)
def test_what_is_cut_follows_from_the_shape(target: str, size: int, kind: str, says: str) -> None:
    best = explain_error(f"shape '{target}' is invalid for input of size {size}")[0]
    assert best.kind == kind
    assert says in best.sentence


def test_windows_that_divide_a_map_are_no_cause() -> None:
    """14·7 = 98 divides; a batch of 2 for 1 does not fit."""
    found = explain_error("shape '[1, 96, 14, 7, 14, 7]' is invalid for input of size 1843968")
    assert all("do not divide" not in each.sentence for each in found)
