"""Find how a feature map was turned into tokens, by tracing the values of each token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, permutations

import torch
from torch import Tensor

from vitc_inspect.tracing.dataflow import Flow
from vitc_inspect.tracing.function_kinds import MOVES
from vitc_inspect.tracing.positions import TracedTensor


@dataclass(frozen=True, kw_only=True)
class TokenAxes:
    """The token axis of a tensor made from a map (b, d, h, w), and the cell of each token."""

    axis: int
    """Axis along which the tokens follow each other."""
    order: tuple[int, ...]
    """Cell of the map that became each token, counted row by row."""


OTHER_IMAGES = "one image gets tokens of others"
"""What `token_axes` says of tokens that are whole and in the wrong image."""


def token_axes(known: TracedTensor) -> TokenAxes | str | None:
    """Find the token axis of a tensor, and the map cell that each token comes from.

    Args:
        known: A tensor whose positions are known.

    Returns:
        The axes; in words, what is mixed where the numbers of cells or images are; None where the
        tensor is no sequence of tokens: where its sides are not those of (b, h w, d), or its rows
        are several cells in full, as in a merge of neighbours.
    """
    positions = known.positions
    if positions is None or positions.indices is None or len(positions.shape) != 4:
        return None
    if not isinstance(positions.origin, int) or positions.origin < 0:
        return None
    batch, channels, rows, columns = positions.shape
    cells = rows * columns
    moved = positions.indices
    if tuple(moved.shape) == (batch, rows, columns, channels) and channels not in (rows, columns):
        moved = moved.flatten(1, 2)  # channels last, and two axes for the tokens
    elif tuple(moved.shape) == (batch * cells, channels):
        moved = moved.view(batch, cells, channels)
    elif batch == 1 and moved.ndim == 2:
        moved = moved[None]
    if moved.ndim != 3 or sorted(moved.shape) != sorted((batch, cells, channels)):
        return None
    if cells == 1 or not moved.numel():  # of no image nothing can be mixed
        return None
    image, cell = moved // (channels * cells), moved % cells
    mixed = "each token holds numbers of several cells"
    for order in permutations(range(3)):
        if tuple(moved.shape[axis] for axis in order) != (batch, cells, channels):
            continue
        whose, which = image.permute(order), cell.permute(order)  # (b, n, d)
        if not torch.equal(which, which[:1, :, :1].expand_as(which)):
            continue
        mixed = "each token holds numbers of several images"
        if torch.equal(whose, whose[:, :1, :1].expand_as(whose)):
            axis = max(0, order[1] - max(0, moved.ndim - positions.indices.ndim))
            return TokenAxes(axis=axis, order=tuple(which[0, :, 0].tolist()))
    if not whole_cells(image, cell, channels, columns):
        return mixed
    strangers = not torch.equal(image, image[:, :1, :1].expand_as(image))
    return OTHER_IMAGES if strangers else None


def tensors_used(flow: Flow) -> Iterator[TracedTensor]:
    """Every tensor of known positions that a function does more with than moving it, each once."""
    given = (step.sources for step in flow.steps if step.name not in MOVES)
    seen: set[int] = set()
    for known in chain(*given, flow.outputs):
        if known.positions is not None and id(known.positions) not in seen:
            seen.add(id(known.positions))
            yield known


def same_throughout(*numbers: Tensor) -> bool:
    """Whether values (b, n, d) are constant along the last axis."""
    return all(torch.equal(each, each[..., :1].expand_as(each)) for each in numbers)


def cells_in_full(image: Tensor, cell: Tensor, channels: int) -> Tensor | None:
    """The cells whose channels each token holds in full, (b, n, cells); None if a cell is split.

    Args:
        image, cell: Where each number comes from, (b, n, d).
        channels: Numbers of a cell.
    """
    many, left = divmod(cell.shape[2], channels)
    if left or not many or not same_throughout(image):
        return None
    ranked = cell.sort(dim=2).values  # (b, n, d)
    each = ranked[..., ::channels]  # (b, n, many)
    return each if torch.equal(ranked, each.repeat_interleave(channels, dim=2)) else None


def whole_cells(image: Tensor, cell: Tensor, channels: int, columns: int) -> bool:
    """Whether each token is one whole cell, or a rectangle of cells as in patch merging.

    Tokens of four cells have the sides of the map's own tokens, turned, where a map has four
    times as many cells as channels.

    Args:
        image, cell: Where each number comes from, (b, n, d).
        channels: Numbers of a cell.
        columns: Cells in a row of the map.
    """
    each = cells_in_full(image, cell, channels)
    if each is None:
        return False
    row, column = each // columns, each % columns
    height, width = (at.amax(dim=2) - at.amin(dim=2) + 1 for at in (row, column))
    return bool((height * width == each.shape[2]).all())


def last_axis(known: TracedTensor) -> str:
    """Which axis of a map is last in a tensor: "channels", "rows" or "columns".

    Args:
        known: The tensor; "" is the answer where its places are not known or it is no map.
    """
    positions = known.positions
    if positions is None or len(known.shape) < 2 or len(positions.shape) != 4:
        return ""
    line = positions.numbers().flatten(0, -2)[0]
    _, channels, rows, columns = positions.shape
    step = int(line[1] - line[0]) if len(line) > 1 else 1
    sides = {
        "channels": (channels, rows * columns),
        "rows": (rows, columns),
        "columns": (columns, 1),
    }  # how long each is, and how far one place of it is from the next
    return next((side for side, facts in sides.items() if facts == (len(line), step)), "")
