"""Indices beyond the end of a table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.diagnosis.errors import words
from tests.diagnosis.runs import Made, best, run
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize("side", [5, 4])
def test_relative_positions_beyond_their_table(side: int) -> None:
    """A side of 4 has 2·4 − 1 = 7 relative positions, a side of 5 has 9."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[-1])
        return m.table[at[:, None] - at[None] + x.shape[-1] - 1]

    model = Made(forward, table=torch.zeros(7, 8))
    if side == 4:
        assert run(model, 1, side).failure is None
        return
    meaning = best(model, 1, side)
    assert meaning.kind == "table length"
    assert "7 = 2·4 − 1: a side of 4" in meaning.sentence


def test_ids_beyond_an_embedding_name_its_length() -> None:
    model = Made(lambda m, x: m.places(torch.arange(64)), places=nn.Embedding(50, 8))
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.numbers["table"] == 50


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        (
            "The shape of the mask [8, 348] at index 1 does not match the shape of the indexed"
            " tensor [8, 668, 336] at index 1",
            "mask",
            "likely",
            "put False where the 320 others are",  # 668 − 348
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)
