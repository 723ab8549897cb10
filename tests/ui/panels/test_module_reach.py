"""The formula's box beside the gradient: which calls it holds for, and what is said of both."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
import torch
from torch import nn

from tests import faulty
from vitc_inspect.inspection.module_run import ModuleRun, run_module
from vitc_inspect.stem.geometry import token_box
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.ui.panels.module_maps import Grid, as_maps, grid_of
from vitc_inspect.ui.panels.module_reach import formula_box, module_reach_html

PATCHES = parse_stem("4x4/4:16", image_size=(32, 32), class_token=False)
TWICE = parse_stem("3x3/2:8, 3x3/2:16", image_size=(32, 32), class_token=False)


def tried(module: nn.Module) -> ModuleRun:
    return run_module(module.eval(), ["1,3,32,32"], "edges")


def row_of(trial: ModuleRun, name: str) -> int:
    return [row.call.name for row in trial.report.rows].index(name)


def said(trial: ModuleRun, name: str, place: str) -> str:
    html = module_reach_html(trial, row_of(trial, name), place=place, width=500)
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split())


def test_each_convolution_of_a_chain_has_the_box_of_those_up_to_it() -> None:
    trial = tried(faulty.Sized())
    first = replace(TWICE, convs=TWICE.convs[:1])
    rows = [row_of(trial, name) for name in ("conv1", "conv2")]
    boxes = [formula_box(trial.report, row, (3, 5), None) for row in rows]
    assert boxes == [token_box(first, 3, 5), token_box(TWICE, 3, 5)]


def test_tokens_have_the_box_of_their_place_and_the_class_token_has_none() -> None:
    trial = tried(faulty.SlicedTable())
    row = row_of(trial, "add")
    grid = grid_of(trial.report, row)
    assert grid == Grid(rows=8, columns=8, prefix=1, source="proj")
    assert formula_box(trial.report, row, (1 + 2 * 8 + 3,), grid) == token_box(PATCHES, 2, 3)
    assert formula_box(trial.report, row, (0,), grid) is None


def test_behind_attention_no_box_is_said() -> None:
    trial = tried(faulty.Encoded())
    after = [row_of(trial, name) for name in ("encoder.self_attn", "encoder.norm2")]
    for row in after:
        grid = grid_of(trial.report, row)
        assert grid is not None
        assert formula_box(trial.report, row, (9,), grid) is None


class Again(nn.Module):
    """Tokens made a map again, and something done with that."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.proj, self.mix, self.last = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 16), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run it."""
        x = self.proj(x)
        tokens = self.mix(x.flatten(2).mT)
        out: torch.Tensor = self.last(tokens.mT.reshape(x.shape))
        return out


@pytest.mark.parametrize(
    ("last", "holds"),
    [(nn.GELU(), True), (nn.Conv2d(16, 16, 3, 1, 1), False), (nn.GroupNorm(1, 16), False)],
)
def test_a_box_holds_as_long_as_places_stay_apart(last: nn.Module, holds: bool) -> None:
    trial = tried(Again(last))
    box = formula_box(trial.report, row_of(trial, "last"), (2, 3), None)
    assert box == (token_box(PATCHES, 2, 3) if holds else None)


@pytest.mark.parametrize(
    ("module", "name", "says"),
    [
        (faulty.Ordered(), "einops.rearrange", "✓ Every pixel with a gradient lies in the formula"),
        (faulty.Scrambled(), "reshape", "✗ 240 pixels with a gradient lie outside the formula's"),
        (faulty.ColumnsFirst(), "reshape", "✗ 16 pixels with a gradient lie outside the formula's"),
    ],
)
def test_gradient_and_formula_are_held_against_each_other(
    module: nn.Module, name: str, says: str
) -> None:
    text = said(tried(module), name, "2,5")
    assert says in text
    assert "formula rows 8 to 11, columns 20 to 23: 4×4 px" in text


@pytest.mark.parametrize(
    ("module", "name"), [(faulty.Ordered(), "einops.rearrange"), (faulty.Placed(), "cat")]
)
def test_tokens_become_maps_by_rows_without_the_class_token(module: nn.Module, name: str) -> None:
    trial = tried(module)
    row = row_of(trial, name)
    maps, _ = as_maps(trial.report, row, trial.output(row))
    assert torch.equal(maps.values, trial.output(row_of(trial, "proj")).values)
