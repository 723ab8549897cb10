"""Errors of adding tokens of videos and volumes."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from tests.diagnosis.runs import WIDTH, Made, best, run, tokens


def test_a_video_is_counted_in_frames_and_not_in_pixels() -> None:
    """8 frames in tubelets of 2 are 4·2·2 = 16 tokens, and the table has 8·2·2 + 0."""
    model = Made(
        lambda m, x: tokens(m.stem(x)) + m.table,
        stem=nn.Conv3d(3, WIDTH, (2, 16, 16), (2, 16, 16)),
        table=torch.zeros(1, 8 * 14 * 14, WIDTH),
    )
    report = run(model, 1, 3, 8, 224, 224)
    (meaning,) = report.explanations
    assert meaning.kind == "frames"
    assert "4 frames, or tubelets, of 14×14 tokens against 8" in meaning.sentence
    frames, given = re.findall(r"(\d+) frames instead of (\d+)", meaning.fixes[0])[0]
    assert given == "8"
    assert run(model, 1, 3, int(frames), 224, 224).failure is None


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        ((32, 32, 32), "64 = 4×4×4 and 216 = 6×6×6"),
        ((48, 48, 32), "6×6×4 positions, 144 tokens, and the position table 216"),
    ],
)
def test_a_volume_is_counted_in_three_dimensions(sides: tuple[int, ...], says: str) -> None:
    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return tokens(self.stem(x)) + self.pos_embed

    model = Made(forward, stem=nn.Conv3d(1, 8, 8, 8), pos_embed=torch.zeros(1, 216, 8))
    first = best(model, 1, 1, *sides)
    assert first.kind == "volume"
    assert says in first.sentence
    assert run(model, 1, 1, 48, 48, 48).failure is None
