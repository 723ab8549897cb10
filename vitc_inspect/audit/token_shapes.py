"""Check tokens whose width a view changed, and tokens that are reshaped to a map."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, prod

from torch import Tensor

from vitc_inspect.audit.stem_finder import StemPath
from vitc_inspect.audit.token_axes import cells_in_full, same_throughout, tensors_used, whole_cells
from vitc_inspect.audit.variants import VariantRuns
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.module_tree import contents_of
from vitc_inspect.tracing.positions import TracedTensor

_WIDTHS = ("embed_dim", "hidden_dim", "hidden_size", "d_model")
_RESHAPES = frozenset({"reshape", "view", "unflatten", "reshape_as", "view_as"})
_FEWEST = 8  # numbers of a token; of fewer, sizes are equal by chance too often


# ---- maps of tokens ----------------------------------------------------------------------------


def maps_of_tokens(flow: Flow, stem_path: StemPath, others: VariantRuns) -> Iterator[Explanation]:
    """Find tokens (b, n, d) turned into a map (b, d, rows, columns) by a reshape without transpose.

    Args:
        flow: The run.
        stem_path: The way from the image to the tokens.
        others: Runs of the same module on other inputs.

    Returns:
        The first fault of kind "token order", or nothing.
    """
    for step in flow.steps:
        if _is_unpatched(step, flow, stem_path):
            yield _unpatched(step, stem_path)
            return
        if _is_turned(step, stem_path):
            yield _turned(step, stem_path)
            return
        sides = _untransposed(step, flow)
        if sides is None:
            continue
        other = others.run(stem_path.map, batch=True, size=True, until=step.index)
        if len(other.steps) <= step.index:
            if not _surely_tokens(step, sides, stem_path):
                continue
        elif _untransposed(other.steps[step.index], other) is None:
            continue
        tokens, width, rows, columns = sides
        of_map = f"{width}×{rows}×{columns} map"
        yield explain(
            "token order",
            f"{step.name} puts {tokens} tokens of {width} numbers back to a {of_map}"
            " with the numbers in the order they have in memory: each cell holds numbers of"
            " several tokens, and every shape is right.",
            f"Transpose first: x.transpose(1, 2).reshape(len(x), {width}, {rows}, {columns}), or"
            f" einops' rearrange(x, 'b (h w) d -> b d h w', h={rows}).",
            because="a reshape exchanges no axes, and the last axis of tokens is their width",
            likelihood="certain",
            numbers={"tokens": tokens, "embed_dim": width, "rows": rows, "columns": columns},
        )
        return


def _is_unpatched(step: Step, flow: Flow, stem_path: StemPath) -> bool:
    """Whether tokens (b, n, c·p·p) become an image (b, c, h·p, w·p) by a reshape alone."""
    made = step.outputs[0].shape
    if step.name not in _RESHAPES or not step.of_image or made != stem_path.image.shape:
        return False
    cells, side = prod(stem_path.grid_size), made[2] // max(1, stem_path.grid_size[0])
    numbers = made[1] * side * side
    fits = min(stem_path.grid_size) > 1 < side and cells * numbers == prod(made[1:])
    if not fits or cells in made[1:]:  # tokens that are rows or channels of the image
        return False
    return any(known.shape == (made[0], cells, numbers) for known in _reshaped(step, flow))


def _unpatched(step: Step, stem_path: StemPath) -> Explanation:
    _, channels, height, width = stem_path.image.shape
    rows, columns = stem_path.grid_size
    side = height // rows
    return explain(
        "token order",
        f"{step.name} makes an image of {channels}×{height}×{width} of {rows * columns} tokens"
        f" with the numbers in the order they have in memory: what a token says of its patch is"
        " spread over rows of the image, and every shape is right.",
        f"Put the patches back by einops' rearrange(x, 'b (h w) (p q c) -> b c (h p) (w q)',"
        f" h={rows}, p={side}, q={side}).",
        because="a reshape exchanges no axes, and the last axis of tokens is their width",
        likelihood="likely",
        numbers={"tokens": rows * columns, "patch_size": side},
    )


def _is_turned(step: Step, stem_path: StemPath) -> bool:
    """Whether tokens, rows first, become a map of as many rows as theirs has columns."""
    rows, columns = stem_path.grid_size
    if step.name not in _RESHAPES or not step.of_image or not stem_path.axes_in_rows:
        return False
    if rows == columns or min(rows, columns) == 1:
        return False
    before, after = step.sources[0].shape, step.outputs[0].shape
    images, cells, width = before[:1], rows * columns, stem_path.width
    return (before, after) in (
        ((*images, width, cells), (*images, width, columns, rows)),
        ((*images, cells, width), (*images, columns, rows, width)),
    )


def _turned(step: Step, stem_path: StemPath) -> Explanation:
    rows, columns = stem_path.grid_size
    return explain(
        "token order",
        f"{step.name} puts {rows * columns} tokens of a map of {rows} rows and {columns} columns"
        f" back to one of {columns} rows and {rows} columns: its rows run on over the ends of"
        " theirs, and every shape is right.",
        f"Put them back to {rows} rows and {columns} columns: rows first.",
        because="the tokens follow row after row",
        likelihood="likely",
        numbers={"rows": rows, "columns": columns},
    )


def _surely_tokens(step: Step, sides: tuple[int, int, int, int], stem_path: StemPath) -> bool:
    """Whether tokens are put back to a map, by sizes alone: none is equal by chance."""
    tokens, width, rows, columns = sides
    images = step.sources[0].shape[0]
    return (
        stem_path.tokens is not None
        and (tokens, width) == (prod(stem_path.grid_size), stem_path.width)
        and width >= _FEWEST
        and len({images, tokens, width}) == 3
        and width not in (rows, columns)  # else (b, rows, columns, d) is what it may mean
    )


def _untransposed(step: Step, flow: Flow) -> tuple[int, int, int, int] | None:
    """Tokens, width, rows and columns of a reshape from (b, n, d) to (b, d, rows, columns).

    Also of several reshapes, one after the other.
    """
    if step.name not in _RESHAPES or not step.of_image or len(step.outputs[0].shape) != 4:
        return None
    batch, channels, rows, columns = step.outputs[0].shape
    for before in _reshaped(step, flow):
        images, tokens, width = before.shape if len(before.shape) == 3 else (0, 0, 0)
        fits = images == batch and channels == width != tokens and tokens == rows * columns
        if fits and min(width, rows, columns) > 1:
            return tokens, width, rows, columns
    return None


def _reshaped(step: Step, flow: Flow) -> Iterator[TracedTensor]:
    """What a reshape is given, and what the reshapes before it were."""
    known = step.sources[0]
    yield known
    while known.step is not None and flow.steps[known.step].name in _RESHAPES | {"flatten"}:
        known = flow.steps[known.step].sources[0]
        yield known


# ---- another width -----------------------------------------------------------------------------


def other_widths(flow: Flow, stem_path: StemPath) -> Iterator[Explanation]:
    """Find tokens that a view regrouped to a width stated by an attribute.

    Args:
        flow: The run of a module.
        stem_path: The way from the image to the map.

    Returns:
        The first fault of kind "width", or nothing.
    """
    stated = {
        value: name
        for owner in contents_of(flow.module).layers.values()
        for name in _WIDTHS
        if type(value := vars(owner).get(name)) is int
    }
    for known in tensors_used(flow):
        width = known.shape[-1] if known.shape else 0
        what = _of_cells(known, stem_path) if width in stated else None
        if what is None:
            continue
        cells, channels = prod(stem_path.grid_size), stem_path.width
        yield explain(
            "width",
            f"The map has {cells} cells of {channels} numbers, and a view makes"
            f" {known.shape[-2]} tokens of {width} = {stated[width]} numbers of them: {what}.",
            f"Let the last convolution have {width} output channels.",
            f"Or set {stated[width]} to {channels}, and make tokens by"
            " x.flatten(2).transpose(1, 2).",
            because="the places of the numbers were followed through the module",
            likelihood="certain" if what == _MIXED else "likely",
            numbers={"embed_dim": width, "out_channels": channels},
        )
        return


_MIXED = "each holds numbers of several cells, and none of them in full"


def _of_cells(known: TracedTensor, stem_path: StemPath) -> str | None:
    """What tokens of another width than the map's hold of its cells; None where that is meant."""
    positions, channels = known.positions, stem_path.width
    if positions is None or positions.origin != stem_path.map.index or positions.indices is None:
        return None
    moved, (_, columns) = positions.indices, stem_path.grid_size
    width = moved.shape[-1]
    if moved.ndim != 3 or width == channels or moved.numel() != prod(positions.shape):
        return None
    if {width, channels} & {prod(stem_path.grid_size), *stem_path.grid_size}:  # equal by chance
        return None
    image, cell = moved // (channels * prod(stem_path.grid_size)), moved % prod(stem_path.grid_size)
    if same_throughout(image, cell):
        return f"each is a {channels // width}th of a cell" if channels % width == 0 else None
    each = cells_in_full(image, cell, channels)
    if each is None:
        return None if _of_one_channel(moved, stem_path) and not _fits(width, channels) else _MIXED
    many = width // channels
    square = isqrt(many) ** 2 == many and whole_cells(image, cell, channels, columns)
    if square and _is_square(each, many, columns):
        return None  # neighbours are merged by twos or fours on purpose
    return f"each is {many} neighbouring cells, one after the other"


def _fits(width: int, channels: int) -> bool:
    """Whether one of two widths is a multiple of the other."""
    return width % channels == 0 or channels % width == 0


def _of_one_channel(moved: Tensor, stem_path: StemPath) -> bool:
    """Whether each token has numbers of one channel alone, as a row of a map has."""
    channel = moved // prod(stem_path.grid_size) % stem_path.width
    return bool((channel == channel[..., :1]).all())


def _is_square(cell: Tensor, many: int, columns: int) -> bool:
    """Whether the cells of a token are as many rows as columns."""
    rows = cell // columns
    return bool((rows.amax(2) - rows.amin(2) + 1 == isqrt(many)).all())
