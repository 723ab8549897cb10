"""Long reports as a tree: every row once, repeats folded, no change of shape hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.views.models import small_vit
from vitc_inspect.tracing.recorder import record_call
from vitc_inspect.tracing.recording import Call
from vitc_inspect.views.folding import CROWDED, FLAT, Fold, Node, folded, row_keys


class Branch(nn.Module):
    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.wide, self.point = nn.Conv2d(given, wanted, 3, 1, 1), nn.Conv2d(given, wanted, 1)
        self.norm = nn.BatchNorm2d(wanted)

    def forward(self, image):
        return nn.functional.relu(self.norm(self.wide(image) + self.point(image)))


class Crowd(nn.Module):
    """Many blocks, no two of one width, with a pooling in between."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *range(4, 30)]
        self.stages = nn.ModuleList(Branch(a, b) for a, b in pairwise(widths))

    def forward(self, image):
        for number, stage in enumerate(self.stages):
            image = stage(image)
            if number == 12:
                image = nn.functional.max_pool2d(image, 2)
        return image


def calls_of(module: nn.Module, *shape: int) -> tuple[Call, ...]:
    return record_call(module.eval(), (torch.zeros(shape or (1, 3, 16, 16)),)).calls


def rows_below(nodes: Sequence[Node]) -> Iterator[int]:
    for node in nodes:
        if isinstance(node, Fold):
            yield from rows_below(node.children)
        else:
            yield node


def folds(nodes: Sequence[Node]) -> Iterator[Fold]:
    for node in nodes:
        if isinstance(node, Fold):
            yield node
            yield from folds(node.children)


def test_few_rows_stay_flat() -> None:
    calls = calls_of(nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(FLAT)]))
    assert folded(calls) == tuple(range(FLAT))


def test_the_blocks_of_a_transformer_are_one_line() -> None:
    calls = calls_of(small_vit(12), 1, 3, 32, 32)
    nodes = folded(calls)
    (blocks,) = [node for node in nodes if isinstance(node, Fold)]
    assert (blocks.title, blocks.count, len(blocks.rows)) == ("block1 … block12", 12, 120)
    assert [child.title for child in blocks.children[:2] if isinstance(child, Fold)] == [
        "block1",
        "block2",
    ]
    beside = [calls[node].name for node in nodes if isinstance(node, int)]
    assert beside[0] == "conv1"
    assert beside[-3:] == ["norm", "pool", "head"]


@pytest.mark.parametrize(
    "module",
    [
        small_vit(12),
        Crowd(),
        nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(150)]),
        nn.Sequential(*[layer for _ in range(50) for layer in (nn.Conv2d(3, 3, 1), nn.ReLU())]),
    ],
    ids=["vit", "crowd", "nested", "sequential"],
)
def test_every_row_stands_once_in_its_order_and_the_lines_are_few(module: nn.Module) -> None:
    calls = calls_of(module, 1, 3, 32, 32)
    nodes = folded(calls)
    assert list(rows_below(nodes)) == list(range(len(calls)))
    assert len(nodes) <= CROWDED
    for fold in folds(nodes):
        assert list(rows_below(fold.children)) == list(fold.rows)
    titles = [fold.title for fold in folds(nodes)]
    assert len(titles) == len(set(titles))


def test_blocks_of_other_shapes_are_not_folded_with_each_other() -> None:
    """Widths 8 and 16 in turn would be hidden by one line for all."""
    layers = [nn.Conv2d(3, 8, 1)]
    layers += [nn.Conv2d(8, 8, 1) for _ in range(30)]
    layers += [nn.Conv2d(8, 16, 1), *(nn.Conv2d(16, 16, 1) for _ in range(30))]
    calls = calls_of(nn.Sequential(*layers))
    seen = [
        (node.title, calls[node.rows[0]].out_shape[1]) if isinstance(node, Fold) else node  # type: ignore[index]
        for node in folded(calls)
    ]
    assert seen == [0, ("1 … 30", 8), 31, ("32 … 61", 16)]


def test_a_key_is_that_of_one_row_and_outlives_an_edit_elsewhere() -> None:
    before = row_keys(calls_of(Branch(3, 4)))
    assert before == ("wide:1", "point:1", "/add:1", "norm:1", "/relu:1")
    more = row_keys(calls_of(nn.Sequential(Branch(3, 4), Branch(4, 5))))
    assert len(set(more)) == len(more)
