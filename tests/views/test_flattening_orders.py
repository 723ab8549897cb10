"""Where the numbers of a token come from in each way to flatten a map, held against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitc_inspect.views.flattening_orders import MOST_PLACES, drawn_places, place_colours, ways

FLATTENED = {
    "rows first": lambda x: x.flatten(1).T,
    "columns first": lambda x: x.transpose(1, 2).flatten(1).T,
    "reshape alone": lambda x: x.reshape(-1, len(x)),
}


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), channels=st.integers(1, 8))
def test_sources_are_where_torch_takes_each_number_from(
    rows: int, columns: int, channels: int
) -> None:
    """A map whose numbers are cell · channels + channel."""
    cells = torch.arange(rows * columns).view(1, rows, columns)
    map = cells * channels + torch.arange(channels).view(-1, 1, 1)
    for way in ways((rows, columns), channels):
        tokens = FLATTENED[way.name](map)
        assert way.as_foreseen
        for place in range(rows * columns):
            cell, channel = way.sources(place)
            assert (cell * channels + channel).tolist() == tokens[place].tolist()
        in_order = torch.equal(tokens, FLATTENED["rows first"](map))
        if way.tried_channels == channels:
            assert way.right == in_order


def test_every_way_is_named_and_one_of_them_is_right() -> None:
    found = {way.name: way for way in ways((4, 3), 8)}
    assert [name for name, way in found.items() if way.right] == ["rows first"]
    assert all(way.words for way in found.values())
    # one column is read row by row either way, and one channel needs no permute
    assert [way.right for way in ways((4, 1), 8)] == [True, True, False]
    assert {way.name: way.right for way in ways((4, 3), 1)}["reshape alone"]


@pytest.mark.parametrize("step", [1, 2])
def test_a_token_has_the_mean_colour_of_its_sources(step: int) -> None:
    grid = (4, 6)
    whole = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    cells = whole[::step, ::step]
    seen = cells.repeat(step, 0).repeat(step, 1)[:4, :6].reshape(-1, 3)  # as it is drawn
    places = np.arange(24)
    for way in ways(grid, 10):
        expected = [seen[way.sources(place)[0]].mean(0) for place in places]
        assert np.abs(place_colours(way, cells, places, step=step) - np.array(expected)).max() <= 1


@pytest.mark.parametrize(
    ("count", "drawn"), [(1, 1), (MOST_PLACES, MOST_PLACES), (MOST_PLACES + 1, 513), (10**6, 1024)]
)
def test_long_sequences_are_thinned_evenly_from_the_first_place(count: int, drawn: int) -> None:
    places = drawn_places(count)
    assert (places[0], len(places)) == (0, drawn)
    assert len(places) <= MOST_PLACES
    assert len({*np.diff(places)}) <= 1
