"""Weights of windowed attention that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.diagnosis.checkpoints import line, loading, pasted_misfits, swin
from tests.diagnosis.errors import OFFSETS
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "says"),
    [
        (OFFSETS, "169,3 225,3", "window", "7×7 tokens in the checkpoint and 8×8"),
        (OFFSETS, "732,12 729,12", "class token", "732 = 27² + 3"),
        (OFFSETS, "143,12 169,12", "window", "one of which is not a square"),
        (
            "b.attn.relative_position_index", "49,49 64,64", "window",
            "7×7 tokens in the checkpoint and 8×8",
        ),
        ("b.attn.attention_biases", "4,196 4,256", "relative positions", "14×14 positions"),
    ],
)  # fmt: skip
def test_the_name_and_the_shape_of_one_line_decide(
    name: str, shapes: str, kind: str, says: str
) -> None:
    kept, built = (tuple(map(int, shape.split(","))) for shape in shapes.split())
    best = explain_error(line(name, kept, built))[0]
    assert best.kind == kind
    assert says in best.sentence


def test_a_window_table_is_interpolated_as_said() -> None:
    best = loading(swin(window=7), swin(window=8))[0]
    assert "from 13×13 to 15×15 entries a head" in best.fixes[1]
    table = torch.randn(13 * 13, 2)
    larger = F.interpolate(table.T.reshape(1, 2, 13, 13), (15, 15)).reshape(2, 225).T
    shapes = swin(window=8)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert larger.shape == shapes[name]


def test_global_and_windowed_attention_that_are_exchanged_are_one_fact() -> None:
    """SAM: 2·64 − 1 = 127 rows over the whole map, 2·14 − 1 = 27 in windows."""
    long, short = [127, 64], [27, 64]
    found = pasted_misfits(
        ("blocks.2.attn.rel_pos_h", long, short),
        ("blocks.2.attn.rel_pos_w", long, short),
        ("blocks.7.attn.rel_pos_h", short, long),
    )
    assert [each.kind for each in found] == ["windows"]
    assert "global_attn_indexes" in found[0].fixes[0]
    one_way = pasted_misfits(("blocks.2.attn.rel_pos_h", long, short))[0]
    assert one_way.kind == "relative positions"
    assert any("global_attn_indexes" in fix for fix in one_way.fixes)
