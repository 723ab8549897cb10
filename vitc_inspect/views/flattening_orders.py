"""How the cells of a map become a sequence, found by experiment, and what each way mixes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.probes.token_order import FLATTENINGS, order_of, proof_channels

IntArray = NDArray[np.int64]
ColourArray = NDArray[np.uint8]

_WORDS = {
    "rows first": "row by row, all channels of a cell together",
    "columns first": "column by column: the axes were swapped",
    "reshape alone": "cut in the order of memory: no permute before it",
}
MOST_PLACES = 1024
"""Most places of a sequence that are drawn; longer ones are thinned."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to flatten a map of some size."""

    name: str
    """Key in FLATTENINGS."""
    words: str
    """What it does, in a few words."""
    grid_size: tuple[int, int]
    """Rows and columns of the map."""
    channels: int
    """Channels of the map, and so numbers of a token."""
    tried_channels: int
    """Channels of the map that was sent through."""
    as_foreseen: bool
    """Whether every number that was sent through came out where `sources` says."""
    right: bool
    """Whether token n was cell n, all its channels in their places."""

    def sources(self, place: int) -> tuple[IntArray, IntArray]:
        """Return the map cells that the values of one token come from.

        Args:
            place: Place in the sequence of image tokens, counted from 0.

        Returns:
            For each number its cell, counted row by row, and its channel.
        """
        return _sources(self.name, self.grid_size, self.channels, np.array([place]))


def ways(grid_size: tuple[int, int], channels: int) -> tuple[Way, ...]:
    """Return every way of `FLATTENINGS`, each run on a map of its own indices.

    Args:
        grid_size: Rows and columns of the map.
        channels: Channels of the map.
    """
    tried = proof_channels(grid_size, channels)
    return tuple(
        Way(
            name=name,
            words=_WORDS[name],
            grid_size=grid_size,
            channels=channels,
            tried_channels=tried,
            as_foreseen=_tried(name, grid_size, tried)[0],
            right=_tried(name, grid_size, tried)[1],
        )
        for name in FLATTENINGS
    )


def place_colours(way: Way, cells: ColourArray, places: IntArray, *, step: int) -> ColourArray:
    """Compute the mean colour of the cells that each token takes its values from.

    Args:
        way: The flattening.
        cells: (rows, columns, 3): the colour of every step-th row and column of cells.
        places: Places in the sequence.
        step: As said.

    Returns:
        (places, 3).
    """
    rows, columns = way.grid_size
    cell_rows, cell_columns = np.divmod(np.arange(rows * columns), columns)
    whole = cells[cell_rows // step, cell_columns // step]  # (cells, 3)
    if way.name != "reshape alone":
        found, _ = _sources(way.name, way.grid_size, 1, places)
        moved: ColourArray = whole[found]
        return moved
    # laps around the cells, from where the token begins in memory to where it ends
    sums = np.zeros((len(whole) + 1, 3))
    np.cumsum(whole, axis=0, out=sums[1:])

    def upto(numbers: IntArray) -> NDArray[np.float64]:
        laps, rest = np.divmod(numbers, len(whole))
        total: NDArray[np.float64] = laps[:, None] * sums[-1] + sums[rest]
        return total

    begin = places * way.channels
    means = (upto(begin + way.channels) - upto(begin)) / way.channels
    colours: ColourArray = means.round().astype(np.uint8)
    return colours


def drawn_places(count: int) -> IntArray:
    """Return the positions of a sequence that are drawn: all, or every n-th."""
    return np.arange(0, count, ceil(count / MOST_PLACES))


def _sources(
    name: str, grid_size: tuple[int, int], channels: int, places: IntArray
) -> tuple[IntArray, IntArray]:
    """Cells and channels of the numbers of some tokens, one token after the other.

    The map is (channels, rows, columns) in memory.
    """
    rows, columns = grid_size
    every = np.arange(channels)
    if name == "reshape alone":
        numbers = (places[:, None] * channels + every).ravel()
        return numbers % (rows * columns), numbers // (rows * columns)
    cells = places if name == "rows first" else places % rows * columns + places // rows
    return np.repeat(cells, channels), np.tile(every, len(places))


@lru_cache(maxsize=64)
def _tried(name: str, grid_size: tuple[int, int], channels: int) -> tuple[bool, bool]:
    """Send a map through: whether `_sources` foresaw all of it, and whether it is in order."""
    order = order_of(FLATTENINGS[name], grid_size, channels)
    places = np.arange(grid_size[0] * grid_size[1])
    cells, maps = _sources(name, grid_size, channels, places)
    foreseen = (order.cells.ravel() == cells).all() and (order.channels.ravel() == maps).all()
    return bool(foreseen), order.rows_first
