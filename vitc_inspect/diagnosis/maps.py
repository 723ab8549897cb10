"""Errors of adding feature maps of four or five axes, channels first or channels last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isqrt

from vitc_inspect.diagnosis.attention import mask_fault, scores_fault
from vitc_inspect.diagnosis.explanation import (
    LEAST_WIDTH,
    ErrorContext,
    Explanation,
    Likelihood,
    by,
    explain,
    looks_like_width,
    sides_by_name,
)
from vitc_inspect.diagnosis.grids import USUAL_SIDES, root_of, sides_for, square_of
from vitc_inspect.diagnosis.operands import Shapes, is_attention
from vitc_inspect.diagnosis.positions import WIDEST_MAP
from vitc_inspect.diagnosis.tokens import by_roles, channels_of_sum, two_widths

_NOMINAL = 16
"""Stride that is assumed without a stem (pixels)."""


def second_of_four(
    first: int, second: int, shapes: Shapes | None, error: ErrorContext
) -> Iterator[Explanation]:
    """Channels of a map, or rows of a channels-last map."""
    assert shapes is not None  # without shapes, axis 1 is explained as tokens
    left, right = shapes
    if looks_like_width(left[3]) and left[3] == right[3] and left[2] in (first, right[2]):
        yield _channels_last_map(shapes, error)
        return
    yield replace(channels_of_sum(first, second, 1), likelihood="likely")


def third_axis(
    first: int, second: int, shapes: Shapes | None, error: ErrorContext
) -> Iterator[Explanation]:
    """Token widths, columns of a channels-last map, or rows of a map, by what is known."""
    if shapes:
        if shapes[0][3] == shapes[1][3] and (
            looks_like_width(shapes[0][3]) or shapes[0][1] != shapes[1][1]
        ):
            yield _channels_last_map(shapes, error)
        else:
            yield _map_sizes(first, second, 2, "likely")
        return
    widths = tuple(two_widths(first, second, 2, error))
    width = error.spec.embed_dim if error.spec else None
    if widths and (widths[0].kind == "transpose" or width in (first, second)):
        yield from widths
        return
    if widths and width is None and min(first, second) >= LEAST_WIDTH:
        yield from widths
        yield _channels_last_columns(first, second, error, "possible")
        return
    if square_of(first) and square_of(second) and max(first, second) > WIDEST_MAP:
        yield from by_roles(first, second, error)  # (batch, width, tokens)
        return
    if _better_as_tokens(first, second, error):
        yield from (replace(each, likelihood="possible") for each in by_roles(first, second, error))
        yield _channels_last_columns(first, second, error, "possible")
        return
    of_tokens = widths if width is None else ()  # the token width is known and different
    yield _channels_last_columns(first, second, error, "possible" if of_tokens else "likely")
    yield from (replace(each, likelihood="possible") for each in of_tokens)
    yield _map_sizes(first, second, 2, "possible")


def _better_as_tokens(first: int, second: int, error: ErrorContext) -> bool:
    """Whether two numbers fit small square grids better than columns of usual images.

    Reads 64 = 8·8 and 49 = 7·7 as 256 and 224 pixels at stride 32 (PVT), not 1024 and 784 at 16.
    """
    small = min(first, second) < 36 or error.spec is not None
    if small or not (square_of(first) and square_of(second)):
        return False
    sides = {_NOMINAL * columns for columns in (first, second)}
    grids = {32 * (isqrt(count)) for count in (first, second)}
    return grids <= set(USUAL_SIDES) and not sides <= set(USUAL_SIDES)


def _channels_last_map(shapes: Shapes, error: ErrorContext) -> Explanation:
    """Two maps (batch, rows, columns, channels) of different, known sizes."""
    left, right = shapes
    (rows, columns), table = left[1:3], right[1:3]
    numbers = sides_by_name(token=(rows, columns), table=table)
    images = ""
    resize = "Resize the image so that its map has the table's rows and columns."
    image = error.facts.image
    if image and rows and columns and not (image[0] % rows or image[1] % columns):
        made = table[0] * image[0] // rows, table[1] * image[1] // columns
        images = f": the image is {by(image)} pixels, and the table was made for {by(made)}"
        resize = f"Resize the image to {by(made)} pixels."
        numbers |= {"image_height": image[0], "image_width": image[1]}
        numbers |= {"table_image_height": made[0], "table_image_width": made[1]}
    return explain(
        "position table",
        f"{by(left)} and {by(right)} are (batch, rows, columns, channels): a channels-last map of"
        f" {by((rows, columns))} and a table of {by(table)}{images}.",
        resize,
        _interpolate_map((rows, columns)),
        because=f"the last axis, {left[3]}, is the same in both and is the channels",
        numbers=numbers,
    )


def _channels_last_columns(
    first: int, second: int, error: ErrorContext, likelihood: Likelihood
) -> Explanation:
    """Columns of a channels-last map and its table; the message lacks the rows."""
    spec = error.spec
    stride = spec.total_stride if spec else 16
    widths = [_side(error, columns, stride) for columns in (first, second)]
    which = f"At stride {stride}" + ("" if spec else ", the usual one,")
    numbers = {
        "token_columns": first,
        "table_columns": second,
        "total_stride": stride,
        "side": widths[0],
        "table_side": widths[1],
    }
    return explain(
        "position table",
        f"Axis 2 of (batch, rows, columns, channels) is the columns: a channels-last map {first}"
        f" wide ({first}×{first} where it is square) and a table {second} wide ({second}×{second})."
        f" {which} that is an image {widths[0]} pixels wide for a model of {widths[1]}.",
        f"Resize the image so that it is {widths[1]} pixels wide"
        f" ({widths[1]}×{widths[1]} for a square table).",
        _interpolate_map(None),
        because="PyTorch names the last axis that differs, so the axis after it, the channels,"
        " is the same in both",
        likelihood=likelihood,
        numbers=numbers,
    )


def _side(error: ErrorContext, positions: int, stride: int) -> int:
    """An image side that gives that many positions (pixels)."""
    sides = sides_for(error.spec.convs, positions) if error.spec else None
    whole = positions * stride
    return whole if sides is None or sides[0] <= whole <= sides[1] else sides[0]


def _interpolate_map(grid: tuple[int, int] | None) -> str:
    size = f"({grid[0]}, {grid[1]})" if grid else "x.shape[1:3]"
    return (
        "Or interpolate the table: F.interpolate(table.permute(0, 3, 1, 2),"
        f" size={size}).permute(0, 2, 3, 1)."
    )


def _map_sizes(first: int, second: int, axis: int, likelihood: Likelihood) -> Explanation:
    """Two maps of different sizes."""
    step = ""
    if abs(first - second) == 1:
        step = " One convolution pads and the other does not, or the two round differently."
    elif max(first, second) % min(first, second) == 0:
        ratio = max(first, second) // min(first, second)
        step = f" One path has strides {ratio} times as large in all."
    return explain(
        "map size",
        f"The two operands of + differ along axis {axis}: {first} and {second}. In (batch,"
        f" channels, height, width) that is the size of two maps.{step}",
        "Give both paths the same strides, and each 3×3 convolution padding 1.",
        "Or resize one of the maps to the other.",
        because="the third and the fourth axis of a map are its height and width",
        likelihood=likelihood,
        numbers={"first": first, "second": second, "axis": axis},
    )


def fourth_axis(
    first: int, second: int, shapes: Shapes | None, error: ErrorContext
) -> Iterator[Explanation]:
    """Columns of maps, tokens of attention scores, or channels of channels-last maps."""
    scores = scores_fault(first, second, 3)
    if is_attention(error):
        yield scores or mask_fault(first, second)
        return
    # map sizes usually differ by an integer factor, windows do not
    factor = max(first, second) % min(first, second) == 0
    widths = looks_like_width(first) and looks_like_width(second)
    if shapes:
        square = all(shape[2] in (1, shape[3]) for shape in shapes)
        if widths and _same_sides(shapes):
            yield replace(channels_of_sum(first, second, 3), likelihood="likely")
        elif scores and square and (not factor or shapes[0][:2] != shapes[1][:2]):
            yield scores
        else:
            yield _table_of_map(shapes, error) or _map_sizes(first, second, 3, "likely")
        return
    if scores and not factor:
        yield scores
        yield _map_sizes(first, second, 3, "possible")
        return
    images = {first, second} <= set(USUAL_SIDES)
    if widths and min(first, second) >= LEAST_WIDTH and not images:  # maps are narrower
        yield replace(channels_of_sum(first, second, 3), likelihood="likely")
        yield _map_sizes(first, second, 3, "possible")
        return
    flat = _flat_beside_map(first, second)
    if flat:
        yield flat
    table = None if factor or abs(first - second) == 1 else _columns_of_table(first, second, error)
    if table:
        yield table
    yield _map_sizes(first, second, 3, "likely")
    if scores:
        yield replace(scores, likelihood="possible")


def _flat_beside_map(first: int, second: int) -> Explanation | None:
    """The columns of a map, and all of its positions in one row."""
    side, places = sorted((first, second))
    if side < 4 or side**2 != places:
        return None
    return explain(
        "flatten",
        f"One operand of + is {side} wide and the other {places} = {side}×{side}: a map of"
        f" {side}×{side} positions and the same map flattened.",
        "Flatten both, x.flatten(2), or bring the tokens back to a map first:"
        f" x.transpose(1, 2).unflatten(2, ({side}, {side})).",
        because=f"{places} is {side} times {side}",
        numbers={"side": side, "places": places},
    )


def _columns_of_table(first: int, second: int, error: ErrorContext) -> Explanation | None:
    """The columns of a map and of a table (1, channels, rows, columns), as in PiT."""
    if max(first, second) > WIDEST_MAP:
        return None
    spec = error.spec
    sides = (
        [_side(error, columns, spec.total_stride) for columns in (first, second)] if spec else []
    )
    images = f": images {sides[0]} and {sides[1]} pixels wide for the given stem" if spec else ""
    return explain(
        "position table",
        f"Axis 3 of (batch, channels, rows, columns) is the columns: a map {first} wide and a"
        f" table of positions {second} wide{images}.",
        f"Resize the image to {sides[1]} pixels."
        if spec
        else f"Give the image that the model was built for: its map is {second} wide, not {first}.",
        "Or interpolate the table: F.interpolate(table, size=x.shape[2:]).",
        because="two paths of one model differ by a whole factor or by one, and these do not",
        numbers={"token_columns": first, "table_columns": second},
    )


def _table_of_map(shapes: Shapes, error: ErrorContext) -> Explanation | None:
    """A map and a table (1, channels, rows, columns) that no call of the run returned."""
    made = {call.after for call in error.facts.calls}
    (left, right), (came, table) = shapes, error.operands
    if came not in made or table in made or right[0] != 1 or left[1] != right[1]:
        return None
    grid, built = left[2:], right[2:]
    return explain(
        "position table",
        f"A map of {by(grid)} is added to {by(table)}, which no call of this run returned: a"
        f" position table of {by(built)} positions.",
        f"Give an image whose map is {by(built)}.",
        f"Or interpolate the table: F.interpolate(table, size=({grid[0]}, {grid[1]})).",
        because="its channels are those of the map, and its batch is 1",
        numbers=sides_by_name(token=grid, table=built),
    )


def _same_sides(shapes: Shapes) -> bool:
    """Whether two channels-last maps differ in their channels only."""
    left, right = shapes
    return left[1:3] == right[1:3] and left[1] > 1


def of_five_axes(
    first: int, second: int, axis: int, shapes: Shapes | None
) -> Iterator[Explanation]:
    """Attention scores (images, windows, heads, tokens, tokens), or video maps."""
    numbers = {"first": first, "second": second, "axis": axis}
    attends = not shapes or all(shape[3] == shape[4] for shape in shapes)
    if axis >= 3 and attends:
        scores = scores_fault(first, second, axis)
        if scores:
            yield scores
    if axis == 1 and shapes and shapes[0][3:] == shapes[1][3:] and root_of(shapes[0][4]):
        yield explain(
            "windows",
            f"The scores are those of {first} windows an image, and the mask was made for"
            f" {second}.",
            "Make the mask for the map at hand: rows // window_size times columns // window_size"
            " windows.",
            because=f"the last axes are the {shapes[0][4]} tokens of a window",
            numbers=numbers,
        )
        return
    name = {1: "channels or frames", 2: "frames or rows", 3: "height", 4: "width"}.get(axis, "axis")
    yield explain(
        "map size",
        f"The two operands of + differ along axis {axis}: {first} and {second}. In (batch,"
        f" channels, frames, height, width) that is the {name}.",
        "Give both paths the same strides and the same number of frames.",
        because="five axes are those of a video or a volume",
        likelihood="possible" if attends and not shapes else "likely",
        numbers=numbers,
    )
