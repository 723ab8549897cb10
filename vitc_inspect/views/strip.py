"""Draw a stem or a module as a strip: a block for each change of shape, input to output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from math import sqrt
from types import MappingProxyType
from typing import Any

from vitc_inspect.tracing.recording import Failure, NeverCalled
from vitc_inspect.views.blocks import DEPTH, FACE, SEQUENCE, Block, in_a_row
from vitc_inspect.views.call_labels import call_name, without_batch
from vitc_inspect.views.folding import Fold, Node, folded
from vitc_inspect.views.html import Markup
from vitc_inspect.views.maps import data_uri, face
from vitc_inspect.views.report import Row, Shape
from vitc_inspect.views.terminal import one_line
from vitc_inspect.views.text import plural

FAILED = "failed"
"""Name of the block, and of the row, of the operation that raised."""
_MOST_UNREACHED = 6  # layers behind a failure that are drawn
_LONGEST_TITLE = 15  # characters
_OF_FUNCTIONS = 0.62  # size of a function's block beside that of a module
_LEAST = 5.0  # side of a face
_IN_PLACE = frozenset(
    {
        *("batch_norm", "dropout", "gelu", "group_norm", "hardswish", "layer_norm", "leaky_relu"),
        *("relu", "relu_", "sigmoid", "silu", "softmax", "tanh"),
    }
)
"""Functions that change numbers and no shape: part of the block before, as a layer of norm is."""
_CLASS_TOKENS = ("ClassToken", "class_token")  # as it is observed, as it is predicted
_SHORT = {
    **{"BatchNorm1d": "bn", "BatchNorm2d": "bn", "LayerNorm": "ln", "GroupNorm": "gn"},
    **{"ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Hardswish": "hardswish"},
}


def strip_svg(
    rows: Sequence[Row],
    *,
    keys: Sequence[str],
    inputs: Sequence[Shape],
    selected: str | None,
    image_uri: str | None = None,
    failure: Failure | None = None,
    never_called: Sequence[NeverCalled] = (),
    changes: Mapping[str, str] = MappingProxyType({}),
    squares: tuple[float, float] | None = None,
    **drawing: Any,
) -> Markup:
    """Draw a stem or a module from its input to its output, or to the operation that failed.

    Faces are drawn to the square root of height and width, depths to that of the channels. A layer
    of norm or activation belongs to the block before it; blocks that repeat are one, and so is an
    encoder. A function is drawn smaller than a layer. Before the run the blocks are empty; after it
    each carries its feature map. After a failure come the layers that would have followed.

    Args:
        rows: The rows of the report, or those that were predicted.
        keys: A name for each row, by which the page finds it.
        inputs: Shape of each input, with the batch.
        selected: Key of the row whose block is marked, or FAILED.
        image_uri: A data: address of the input, where it can be seen.
        failure: How the forward pass raised, or None.
        never_called: The layers that were never called.
        changes: By key, what a layer does to height and width, for the arrow to it. A layer that
            is not there says what it divides them by, if it does.
        squares: Rows and columns of the grid of tokens, to be drawn over the input.
        drawing: `label`, `css`, `full`, `shrink`, `compact` and `facts`, as in `in_a_row`.

    Returns:
        An <svg> element; a block is a button with its first row's key in data-layer and all of
        them in data-layers.
    """
    scale = _Scale(rows, inputs)
    blocks = [replace(_input_block(inputs, scale, image_uri), squares=squares)]
    prefix = False
    for group in _groups(rows):
        prefix = prefix or any(rows[at].kind in _CLASS_TOKENS for at in _rows_of(group))
        block = _block(rows, group, keys, scale, prefix=prefix)
        change = changes.get(block.layers[0], _divided(blocks[-1].shape, block.shape))
        blocks.append(replace(block, arrow=change))
    if drawing.get("compact"):
        blocks = _that_change_size(blocks)
    if failure:
        blocks.append(_failed_block(failure, scale))
        blocks += _unreached(never_called)
    return in_a_row(blocks, selected=selected, **drawing)


def _that_change_size(blocks: Sequence[Block]) -> list[Block]:
    """The blocks without those as high and wide, or with as many tokens, as the one before.

    One that is marked as wrong stays.
    """
    kept = list(blocks[:1])
    for block in blocks[1:]:
        last = kept[-1].shape
        same = len(block.shape) == len(last) and (
            block.shape[1:] == last[1:] if len(last) == 3 else block.shape[:1] == last[:1]
        )
        if block.said or not same:
            kept.append(block)
    return kept


def _divided(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """By what whole number both sides of a map were divided; empty for anything else.

    >>> _divided((3, 224, 224), (48, 112, 112)), _divided((3, 224, 225), (48, 112, 112))
    ('÷ 2', '')
    """
    if not (len(before) == len(after) == 3) or 0 in after[1:]:
        return ""
    ratios = {old / new for old, new in zip(before[1:], after[1:], strict=True)}
    ratio = ratios.pop()
    return f"÷ {ratio:.0f}" if not ratios and ratio > 1 and ratio.is_integer() else ""


class _Scale:
    """How large a shape is drawn, beside the largest of the report."""

    def __init__(self, rows: Sequence[Row], inputs: Sequence[Shape]) -> None:
        shapes = [*inputs, *filter(None, map(_shape, rows))]
        self._batch = inputs[0][0] if inputs and inputs[0] else 0
        maps = [shape[-3:] for shape in shapes if len(shape) == 4]
        self._side = max((max(shape[1:]) for shape in maps), default=1)
        self._channels = max((shape[0] for shape in maps[1:]), default=1)

    def of_one(self, shape: Shape | None) -> Shape:
        """A shape without the batch."""
        return (without_batch(shape, self._batch) if shape and len(shape) > 1 else shape) or ()

    def sizes(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Width and height of the face, and its depth, for a shape without the batch."""
        if len(shape) == 3:
            unit = FACE / sqrt(self._side)
            height, width = (max(_LEAST, min(FACE, unit * sqrt(side))) for side in shape[1:])
            depth = max(2.0, DEPTH * sqrt(min(1.0, shape[0] / self._channels)))
            return {"width": width, "height": height, "depth": depth}
        if len(shape) == 2:
            return {"width": SEQUENCE, "height": FACE, "depth": 0.0}
        return {"width": SEQUENCE, "height": FACE / 14, "depth": 0.0}


def _shape(row: Row) -> Shape | None:
    """Shape of the output, as observed, else as predicted."""
    return row.out_shape or row.predicted_shape


def _groups(rows: Sequence[Row]) -> list[list[Node]]:
    """What is one block each: the places of a stage, of an encoder, of a head, or what repeats."""
    if not any(row.stage for row in rows):
        return _joined(_steps(folded(rows), rows), rows)
    names = [row.stage or _part_of_encoder(row) or row.name for row in rows]
    return [list(places) for _, places in groupby(range(len(rows)), names.__getitem__)]


def _part_of_encoder(row: Row) -> str | None:
    """ "encoder" for every block, "head" behind them, None before."""
    return "encoder" if row.block and row.block != "head" else row.block


def _steps(nodes: Sequence[Node], rows: Sequence[Row]) -> list[Node]:
    """The nodes without rows that raised and without those that stand for the rows after them."""
    inner = {row.inside if row.is_function else row.name.rpartition(".")[0] for row in rows}
    return [
        node
        for node in nodes
        if isinstance(node, Fold)
        or (rows[node].returned and (rows[node].is_function or rows[node].name not in inner))
    ]


def _joined(nodes: Sequence[Node], rows: Sequence[Row]) -> list[list[Node]]:
    """What is one block: a fold, or a row with the rows of norm and activation behind it."""
    groups: list[list[Node]] = []
    for node in nodes:
        last = groups[-1][-1] if groups else None
        if isinstance(node, int) and isinstance(last, int) and _belongs(rows[node], rows[last]):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _belongs(row: Row, before: Row) -> bool:
    """Whether a call leaves the shape of the one before as it is, and only changes numbers."""
    same = row.in_shape == row.out_shape == before.out_shape and row.out_shape is not None
    if row.is_function:
        return same and row.name in _IN_PLACE
    return same and (row.kind in _SHORT or "Norm" in row.kind or "Drop" in row.kind)


def _rows_of(group: Sequence[Node]) -> list[int]:
    """Places of all rows of a group."""
    return [at for node in group for at in (node.rows if isinstance(node, Fold) else (node,))]


def _block(
    rows: Sequence[Row], group: Sequence[Node], keys: Sequence[str], scale: _Scale, *, prefix: bool
) -> Block:
    """The block of a fold, of a part of the encoder, or of a row and those that belong to it."""
    places, first = _rows_of(group), group[0]
    of_group = [rows[at] for at in places]
    shape = scale.of_one(_shape(of_group[-1]))
    sizes, css = scale.sizes(shape), ""
    name, made = call_name(of_group[0]), of_group[0].made_by
    opened = places
    if isinstance(first, Fold):
        name = first.title
        made = (f"{first.count} times" if first.count > 1 else "", plural(len(places), "row"))
        css = "fold"
        sizes = {**sizes, "depth": sizes["depth"] + 6 if sizes["depth"] else 0.0}
    elif of_group[0].block:
        name = _part_of_encoder(of_group[0]) or name
        opened = [at for at in places if rows[at].block == of_group[0].block]
    elif of_group[0].is_function:
        css = "function"
        shrunk = {key: _OF_FUNCTIONS * size for key, size in sizes.items() if key != "height"}
        sizes = {**shrunk, "height": max(_LEAST, _OF_FUNCTIONS * sizes["height"])}
    elif not made[1]:
        made = (made[0], " ".join(filter(None, map(_word, of_group[1:]))))
    title = _title(name)
    # a convolution rather than its norm; of several layers the output
    shown = opened[-1] if isinstance(first, Fold) or of_group[0].block else opened[0]
    return Block(
        layers=(keys[shown], *(keys[at] for at in opened if at != shown)),
        title=title,
        whole_name=name if name != title else "",
        made_by=made,
        shape=shape,
        **sizes,
        **_picture(rows[shown]),
        state=_state(of_group),
        prefix=prefix and len(shape) == 2,
        css=css,
    )


def _word(row: Row) -> str:
    """A layer or function of norm or activation as the notation has it."""
    return row.name if row.is_function else _SHORT.get(row.kind, "")


def _input_block(inputs: Sequence[Shape], scale: _Scale, image_uri: str | None) -> Block:
    shape = scale.of_one(inputs[0]) if inputs else ()
    more = len(inputs) - 1
    return Block(
        layers=(),
        title="image" if image_uri else "input",
        made_by=(f"and {more} more",) if more > 0 else (),
        shape=shape,
        **scale.sizes(shape),
        picture=image_uri,
        state="input",
    )


def _failed_block(failure: Failure, scale: _Scale) -> Block:
    """The operation that raised, at the size of what it was given."""
    shape = scale.of_one(failure.operands[0].shape) if failure.operands else ()
    name = failure.operation or failure.kind
    return Block(
        layers=(FAILED,),
        title=_title(name),
        whole_name=name,
        made_by=(
            f"in {_title(one_line(failure.inside))}" if failure.inside else "",
            f"line {failure.source.line}" if failure.source else "",
        ),
        shape=shape,
        **scale.sizes(shape),
        picture=None,
        state="raised",
        css="failed",
    )


def _unreached(layers: Sequence[NeverCalled]) -> list[Block]:
    """The layers that would have followed, without a shape, since nothing went through them."""
    behind = [layer for layer in layers if layer.not_reached]
    shown = behind[:_MOST_UNREACHED]
    names = []
    for layer in shown:
        name = one_line(layer.name)
        if name.isdecimal():  # of a Sequential: alone it says nothing
            names.append((f"{layer.kind} {name}", "", ""))
        else:
            names.append((_title(name), layer.kind, name))
    if len(behind) > len(shown):
        names.append((f"{len(behind) - len(shown)} more", "", ""))
    return [
        Block(
            layers=(),
            title=title,
            whole_name=whole,
            made_by=(kind,),
            shape=(),
            width=SEQUENCE,
            height=FACE / 2,
            depth=0,
            picture=None,
            state="not reached",
        )
        for title, kind, whole in names
    ]


def _title(name: str) -> str:
    """A name short enough for a block's label: its end, which differs most."""
    if len(name) <= _LONGEST_TITLE:
        return name
    parts = name.split(" … ")
    if len(parts) == 2:  # of a fold: what its first and its last have of their own
        return " … ".join(part.rpartition(".")[2] for part in parts)[-2 * _LONGEST_TITLE :]
    last = name.rpartition(".")[2]
    return last if len(last) <= _LONGEST_TITLE else f"…{last[1 - _LONGEST_TITLE :]}"


def _picture(row: Row) -> dict[str, Any]:
    """What the face of a block shows, once there is a run."""
    if row.kept is None or not row.kept.values.numel():
        return {"picture": None}
    png, scale = face(row.kept)
    return {"picture": data_uri(png), "signed": scale.signed}


def _state(rows: Sequence[Row]) -> str:
    """The word under a block; nothing under one of functions, for which no rule stands."""
    words = [row.verdict for row in rows]
    for word in ("raised", "differs", "never ran", "not checked", "agrees", "predicted"):
        if word in words:
            return word
    return "" if all(row.is_function for row in rows) else "not predicted"
