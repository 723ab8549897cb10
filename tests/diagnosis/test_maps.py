"""Errors of adding two maps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.diagnosis.errors import SUM
from tests.diagnosis.raised import assert_explained, raised
from tests.diagnosis.runs import WIDTH, Made, best, cut, run
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS


@raised("maps")
def test_raised_maps(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    assert_explained(faulty, kind, says, fix)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (6, 10)])
def test_a_channels_last_table_of_another_map(rows: int, columns: int) -> None:
    """As in SAM: the map is moved to (batch, rows, columns, channels) and a table is added."""
    table = torch.zeros(1, 2 * rows, 2 * columns, WIDTH)
    model = Made(lambda m, x: m.stem(x).permute(0, 2, 3, 1) + m.table, stem=cut(), table=table)
    meaning = best(model, 1, 3, rows * 8, columns * 8)
    assert f"channels-last map of {rows}×{columns} and a table of {2 * rows}×{2 * columns}" in (
        meaning.sentence
    )
    made = meaning.numbers["table_image_height"], meaning.numbers["table_image_width"]
    assert made == (rows * 16, columns * 16)
    assert run(model, 1, 3, *made).failure is None
    expression = re.search(r"F\.interpolate\(table.*\)", meaning.fixes[1])
    assert expression
    smaller = eval(expression[0], {"F": F, "table": table})
    assert smaller.shape == (1, rows, columns, WIDTH)


def test_two_maps_of_square_sides_are_no_scores() -> None:
    """Both have the batch and the channels that maps have."""
    model = Made(lambda m, x: x + F.max_pool2d(x, 4))
    assert best(model, 2, 8, 64, 64).kind == "map size"


def test_a_table_of_a_map_is_no_other_path() -> None:
    """As in PiT: the table is (1, channels, rows, columns), and no call has made it."""
    model = Made(lambda m, x: m.stem(x) + m.table, stem=cut(), table=torch.zeros(1, WIDTH, 6, 6))
    meaning = best(model, 1, 3, 64, 64)
    assert meaning.kind == "position table"
    expression = re.search(r"F\.interpolate\(table.*\)", meaning.fixes[1])
    assert expression
    model.table = nn.Parameter(eval(expression[0], {"F": F, "table": model.table}))
    assert run(model, 1, 3, 64, 64).failure is None
    two_paths = Made(lambda m, x: m.stem(x) + F.avg_pool2d(m.stem(x), 2), stem=cut())
    assert best(two_paths, 1, 3, 64, 64).kind == "map size"


def test_a_width_that_the_stem_does_not_have_is_not_spoken_of() -> None:
    """Tokens are 768 wide, so 32 and 64 are no widths: 512 = 32·16 pixels, 1024 = 64·16."""
    text = SUM.format(32, 64, 2)
    best, *others = explain_error(text, spec=parse_stem("16x16/16:768"))
    assert "channels-last map 32 wide" in best.sentence
    assert "an image 512 pixels wide for a model of 1024" in best.sentence
    assert (best.numbers["side"], best.numbers["table_side"]) == (512, 1024)
    assert "width" not in [each.kind for each in others]
    of_width = explain_error(text, spec=parse_stem("16x16/16:32"))
    assert [each.kind for each in of_width] == ["width"]


def test_the_map_of_a_table_comes_from_the_stem_that_was_given() -> None:
    """PiT-S: (224 − 16) // 8 + 1 = 27 and (256 − 16) // 8 + 1 = 31."""
    best = explain_error(SUM.format(31, 27, 3), spec=PRESETS["pit_s"].stem)[0]
    assert "images 256 and 224 pixels wide" in best.sentence
    assert best.fixes[0] == "Resize the image to 224 pixels."
