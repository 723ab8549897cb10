"""The order of the tokens, held against arithmetic and against ways to flatten that are wrong."""

from __future__ import annotations

import pytest
import torch
from einops.layers.torch import Rearrange
from hypothesis import given, settings
from torch import nn

from tests.probes.stems import SMALL, noise
from tests.strategies import stem_specs
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.token_order import FLATTENINGS, keeps_order, order_of


class Flattens(nn.Module):
    """A layer "tokens" of another kind."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, map):
        return self.function(map)


def test_all_flattenings_give_the_same_shape_and_numbers():
    maps = torch.randn(2, 5, 3, 4)
    tokens = {name: flatten(maps) for name, flatten in FLATTENINGS.items()}
    assert list(tokens) == ["rows first", "columns first", "reshape alone"]
    assert {tuple(flat.shape) for flat in tokens.values()} == {(2, 12, 5)}
    right, *wrong = (flat.flatten(1).sort().values for flat in tokens.values())
    assert all(torch.equal(right, other) for other in wrong)


def test_rows_first_is_the_one_that_keeps_the_order():
    found = {name: order_of(flatten, (2, 3), 4) for name, flatten in FLATTENINGS.items()}
    assert found["rows first"].order.tolist() == [0, 1, 2, 3, 4, 5]
    assert found["columns first"].order.tolist() == [0, 3, 1, 4, 2, 5]
    assert found["reshape alone"].order is None
    assert [order.rows_first for order in found.values()] == [True, False, False]
    assert [order.mixed for order in found.values()] == [False, False, True]


def test_a_reshape_without_permute_mixes_cells_and_channels():
    """Four channels of 2 x 3 cells in memory, cut into six tokens of four numbers."""
    order = order_of(FLATTENINGS["reshape alone"], (2, 3), 4)
    assert order.cells.tolist() == [
        [0, 1, 2, 3],
        [4, 5, 0, 1],
        [2, 3, 4, 5],
        [0, 1, 2, 3],
        [4, 5, 0, 1],
        [2, 3, 4, 5],
    ]
    assert order.channels.tolist() == [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [1, 1, 1, 1],
        [2, 2, 2, 2],
        [2, 2, 3, 3],
        [3, 3, 3, 3],
    ]


def test_channels_out_of_their_places_are_seen():
    order = order_of(lambda map: FLATTENINGS["rows first"](map.flip(1)), (2, 3), 4)
    assert order.order.tolist() == [0, 1, 2, 3, 4, 5]
    assert not order.rows_first


@pytest.mark.parametrize(
    ("flatten", "says"),
    [
        (lambda map: map.flatten(2), r"numbers have the shape \(1, 4, 6\)"),
        (lambda map: FLATTENINGS["rows first"](map) * 2, "it changes values"),
        (lambda map: FLATTENINGS["rows first"](map).mean(2, True).expand(-1, -1, 4), "it changes"),
    ],
)
def test_what_is_no_reordering_is_refused(flatten, says):
    with pytest.raises(SpecError, match=says):
        order_of(flatten, (2, 3), 4)


@given(spec=stem_specs(max_side=40, max_convs=3))
@settings(max_examples=20, derandomize=True, deadline=None, database=None)
def test_the_tokens_of_any_stem_are_in_order(spec):
    assert keeps_order(build_stem(spec), spec)


@pytest.mark.parametrize("name", ["columns first", "reshape alone"])
def test_a_stem_that_flattens_wrongly_is_caught(name):
    module = build_stem(SMALL)
    module.tokens = Flattens(FLATTENINGS[name])
    assert module(noise(SMALL)).shape == (1, 81, 12)  # every shape is right
    assert not keeps_order(module, SMALL)
    module.tokens = Rearrange("b d rows columns -> b (rows columns) d")
    assert keeps_order(module, SMALL)
