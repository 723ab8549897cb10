"""Order in which the positions of a feature map become tokens, found by running the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.probes.submodules import evaluating
from vitc_inspect.stem.spec import StemSpec

IntArray = NDArray[np.int64]

_PROOF_NUMBERS = 2**18  # of the map that is flattened to find the order


@dataclass(frozen=True, kw_only=True)
class TokenOrder:
    """Position in the map of each value of each token."""

    cells: IntArray
    """(tokens, channels): index of the cell of the map, row by row."""
    channels: IntArray
    """(tokens, channels): channel of the map."""

    @property
    def mixed(self) -> bool:
        """Whether a token holds values of several cells."""
        return bool((self.cells != self.cells[:, :1]).any())

    @property
    def order(self) -> IntArray | None:
        """(tokens,): the cell of each token; None if tokens are mixed."""
        return None if self.mixed else self.cells[:, 0]

    @property
    def rows_first(self) -> bool:
        """Whether token n is cell n with its channels in order."""
        tokens, channels = self.cells.shape
        in_place = self.cells == np.arange(tokens)[:, None]
        return bool((in_place & (self.channels == np.arange(channels))).all())


def _flatten_rows_first(map: Tensor) -> Tensor:
    tokens: Tensor = rearrange(map, "b c h w -> b (h w) c")
    return tokens


def _flatten_columns_first(map: Tensor) -> Tensor:
    tokens: Tensor = rearrange(map, "b c h w -> b (w h) c")
    return tokens


def _flatten_scrambled(map: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h w, c), with the values in their order in memory."""
    batch, channels, height, width = map.shape
    return map.reshape(batch, height * width, channels)


FLATTENINGS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "rows first": _flatten_rows_first,
        "columns first": _flatten_columns_first,
        "reshape alone": _flatten_scrambled,
    }
)
"""Ways to flatten a map into tokens: the right one, and two wrong ones of the same shape."""


def order_of(
    flatten: Callable[[Tensor], Tensor], grid_size: tuple[int, int], channels: int
) -> TokenOrder:
    """Find which cell of a map becomes which token, by flattening a map of its own indices.

    Args:
        flatten: Function (1, c, h, w) -> (1, h w, c); it is called once.
        grid_size: Rows and columns of the map.
        channels: Channels of the map.

    Returns:
        The position in the map of each value of each token.

    Raises:
        SpecError: field "flatten", when the output is not a permutation of the input.
    """
    rows, columns = grid_size
    shape = (rows * columns, channels)
    positions = torch.arange(channels * rows * columns, dtype=torch.float64)
    with torch.inference_mode():
        tokens = flatten(positions.view(1, channels, rows, columns)).cpu()
    if tuple(tokens.shape) != (1, *shape):
        given = f"the tokens of {channels} x {rows} x {columns} numbers have the shape"
        raise SpecError("flatten", flatten, f"{given} {tuple(tokens.shape)}", f"Give (1, *{shape})")
    if not torch.equal(tokens.flatten().sort().values, positions):
        raise SpecError(
            "flatten", flatten, "it changes values", "Give a function that only moves them"
        )
    found: IntArray = tokens[0].to(torch.int64).numpy()
    return TokenOrder(cells=found % shape[0], channels=found // shape[0])


def proof_channels(grid_size: tuple[int, int], channels: int) -> int:
    """Choose a number of channels for `order_of` that keeps the map small.

    The order does not depend on the number of channels, so a large grid needs only a few.

    Args:
        grid_size: Rows and columns of the map.
        channels: Channels of the stem's map.

    >>> proof_channels((14, 14), 384), proof_channels((128, 128), 768)
    (384, 16)
    """
    rows, columns = grid_size
    return min(channels, max(2, _PROOF_NUMBERS // (rows * columns)))


def keeps_order(module: nn.Sequential, spec: StemSpec) -> bool:
    """Check that a stem's layer "tokens" flattens the map row by row.

    Args:
        module: The stem.
        spec: Its spec.

    Returns:
        True if token n is cell n of the map, rows first, with its channels in order; found with
        a map of `proof_channels` channels.

    Raises:
        SpecError: field "flatten", as `order_of`.
    """
    channels = proof_channels(spec.grid_size, spec.embed_dim)
    with evaluating(module):
        return order_of(module.get_submodule("tokens"), spec.grid_size, channels).rows_first
