"""Check the order of tokens: maps that are not flattened cell by cell in row-major order."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from vitc_inspect.audit.token_axes import (
    OTHER_IMAGES,
    TokenAxes,
    tensors_used,
    token_axes,
    whole_cells,
)
from vitc_inspect.audit.variants import VariantRuns
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow
from vitc_inspect.tracing.function_kinds import ACTIVATIONS, COPIES, MOVES, NORMS
from vitc_inspect.tracing.positions import Positions, TracedTensor

RIGHT = "x.flatten(2).transpose(1, 2), or einops' rearrange(x, 'b d h w -> b (h w) d')"
_FOLLOWED = "the places of the numbers were followed through the module"


def token_order(flow: Flow, others: VariantRuns) -> Iterator[Explanation]:
    """Find maps that are not flattened in row-major order.

    One that is also made into tokens rows first is read both ways on purpose, as in scans. A map
    whose numbers are mixed is accused once runs of other sizes have not shown it to be sound.

    Args:
        flow: The run.
        others: Runs of the same module on other inputs.

    Returns:
        One fault of kind "token order", or nothing.
    """
    made = list(_made_tokens(flow))
    by_rows = {
        known.positions.origin
        for known, found in made
        if known.positions
        and isinstance(found, TokenAxes)
        and found.order == _in_rows(known.positions)
    }
    for known, found in made:
        positions = known.positions
        if positions is None:
            continue
        _, channels, rows, columns = positions.shape
        of_map = f"{channels}×{rows}×{columns} map"
        numbers = {"rows": rows, "columns": columns, "embed_dim": channels}
        if not isinstance(found, TokenAxes):
            sure = _confirmed(known, found, flow, others)
            if sure is None:
                continue
            because = (
                _FOLLOWED if sure else f"{_FOLLOWED}, in a run where sizes are equal by chance"
            )
            yield explain(
                "token order",
                f"{_maker(known, flow)} makes {rows * columns} tokens of the {of_map} with the"
                f" numbers in the order they have in memory: {found}, and every shape is right.",
                f"Move the channels to the end first: {RIGHT}.",
                because=because,
                likelihood="certain" if sure else "likely",
                numbers=numbers,
            )
            return
        by_columns = tuple(r * columns + c for c in range(columns) for r in range(rows))
        if min(rows, columns) > 1 and found.order == by_columns and positions.origin not in by_rows:
            yield explain(
                "token order",
                f"The {of_map} becomes tokens column after column: token 1 is the cell in row 1,"
                " column 0. Position tables, pretrained weights and whatever resizes a table"
                " expect row after row.",
                f"Take the rows first: {RIGHT}.",
                because=_FOLLOWED,
                likelihood="likely",
                numbers=numbers,
            )
            return


def _made_tokens(flow: Flow) -> Iterator[tuple[TracedTensor, TokenAxes | str]]:
    """Every tensor used as tokens of a map, with the axes of the map in it."""
    for known in tensors_used(flow):
        found = token_axes(known) if known.of_image else None
        if found is not None:
            yield known, found


def _in_rows(positions: Positions) -> tuple[int, ...]:
    """The cells of a map, row after row."""
    return tuple(range(prod(positions.shape[2:])))


def _maker(known: TracedTensor, flow: Flow) -> str:
    """The function that last gave a tensor its sides; what only turns them can mix nothing."""
    made = last = flow.steps[known.step or 0]
    while made.name in MOVES | COPIES | NORMS | ACTIVATIONS and made.sources[0].step is not None:
        if made.name in ("reshape", "view", "flatten", "unflatten"):
            return made.name
        made = flow.steps[made.sources[0].step]
    return last.name


# ---- before anything is called mixed ---------------------------------------------------------


def _confirmed(known: TracedTensor, found: str, flow: Flow, others: VariantRuns) -> bool | None:
    """Whether tokens are surely mixed; None where a run of other sizes shows that they are not."""
    positions, step = known.positions, known.step
    assert positions is not None
    assert step is not None
    assert isinstance(positions.origin, int)
    made = flow.steps[positions.origin]
    at = next((at for at, each in enumerate(flow.steps[step].outputs) if each is known), 0)
    ways = (
        [(True, False)] if found == OTHER_IMAGES else [(True, True), (True, False), (False, True)]
    )
    for batch, size in ways:
        other = others.same_step(step, made, batch=batch, size=size)
        if other is None or at >= len(other.outputs):
            continue
        there = other.outputs[at]
        if there.positions is None:
            continue
        if found == OTHER_IMAGES:
            return None if _keeps_images_apart(known, there) else True
        return None if _is_sound(there.positions) else True
    if found != OTHER_IMAGES and _along_one_axis(positions, whole=False):
        return None
    images, channels, rows, columns = positions.shape
    return len({images, channels, rows}) == len({images, channels, columns}) == 3


def _keeps_images_apart(known: TracedTensor, other: TracedTensor) -> bool:
    """Whether each place along the axis that follows the batch holds one image alone."""
    differ = [
        axis for axis, (a, b) in enumerate(zip(known.shape, other.shape, strict=False)) if a != b
    ]
    if len(differ) != 1 or other.positions is None:
        return False
    image = _coordinates(other.positions)[0].movedim(differ[0], 0).flatten(1)
    return torch.equal(image, image[:, :1].expand_as(image))


def _is_sound(positions: Positions) -> bool:
    """Whether an axis of a tensor is one of the map's, or its rows are cells in full.

    Of a map whose batch, channels, rows and columns all differ.
    """
    if _along_one_axis(positions, whole=True):
        return True
    image, _, row, column = _coordinates(positions)
    _, channels, _, columns = positions.shape
    cell = row * columns + column
    for axis in range(cell.ndim):
        whose, which = (each.movedim(axis, -1).flatten(0, -2)[None] for each in (image, cell))
        if whole_cells(whose, which, channels, columns):
            return True
    return False


def _along_one_axis(positions: Positions, *, whole: bool) -> bool:
    """Whether along some axis only the channels change, or with `whole` all rows or all columns."""
    image, *others = _coordinates(positions)
    for axis, size in enumerate(image.shape):
        if size == 1 or not _constant(image, axis):
            continue
        changing = [at for at, each in enumerate(others) if not _constant(each, axis)]
        if changing == [0] or (
            whole and len(changing) == 1 and size == positions.shape[1:][changing[0]]
        ):
            return True
    return False


def _constant(numbers: Tensor, axis: int) -> bool:
    """Whether numbers do not change along an axis."""
    return torch.equal(numbers, numbers.narrow(axis, 0, 1).expand_as(numbers))


def _coordinates(positions: Positions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, channel, row and column of each number."""
    _, channels, rows, columns = positions.shape
    numbers = positions.numbers()
    column, rest = numbers % columns, numbers // columns
    return rest // (rows * channels), rest // rows % channels, rest % rows, column
