"""The strip of anybody's module: a block for each change of shape, from input to output."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

from vitc_inspect.inspection.module_report import ModuleReport, ModuleRow
from vitc_inspect.tracing.recording import Call, Failure, NeverCalled
from vitc_inspect.views.call_labels import call_name
from vitc_inspect.views.folding import Fold, Node, folded, row_keys
from vitc_inspect.views.maps import data_uri, face
from vitc_inspect.views.strip import DEPTH, FACE, SEQUENCE, Block, in_a_row
from vitc_inspect.views.terminal import one_line
from vitc_inspect.views.text import plural

FAILED = "failed"
"""Name of the block, and of the row, of the operation that raised."""
_MOST_UNREACHED = 6  # layers behind a failure that are drawn
_LONGEST_TITLE = 15  # characters
_FULL = 1340  # the page has no controls beside the strip
_OF_FUNCTIONS = 0.62  # size of a function's block beside that of a module
_LEAST = 5.0  # side of a face
_IN_PLACE = frozenset(
    {
        *("batch_norm", "dropout", "gelu", "group_norm", "hardswish", "layer_norm", "leaky_relu"),
        *("relu", "relu_", "sigmoid", "silu", "softmax", "tanh"),
    }
)
"""Functions that change numbers and no shape: part of the block before, as a layer of norm is."""
_SHORT = {
    **{"BatchNorm1d": "bn", "BatchNorm2d": "bn", "LayerNorm": "ln", "GroupNorm": "gn"},
    **{"ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Hardswish": "hardswish"},
}


def module_strip_svg(
    report: ModuleReport, *, selected: str | None, image_uri: str | None = None
) -> str:
    """Draw a module from its input to its output, or to the operation that failed.

    A layer of norm or activation belongs to the block before it; blocks that repeat are one. A
    function is drawn smaller than a layer. Behind a failure stand the layers that would have
    followed.

    Args:
        report: The report, its outputs kept.
        selected: Key of the row whose block is marked, as `row_keys` names it, or FAILED.
        image_uri: A data: address of the input, where it can be seen.

    Returns:
        An <svg> element; a block is a button with the keys of its rows in data-layers.
    """
    calls = [row.call for row in report.rows]
    keys = row_keys(calls)
    scale = _Scale(report)
    blocks = [_input_block(report, scale, image_uri)]
    for group in _groups(_steps(folded(calls), calls), calls):
        blocks.append(_block(report, group, keys, scale))
    if report.failure:
        blocks.append(_failed_block(report.failure, scale))
        blocks += _unreached(report.never_called)
    return in_a_row(
        blocks,
        selected=selected,
        css="of-module",
        label="The module from its input to its output",
        full=_FULL,
    )


class _Scale:
    """How large a shape is drawn, beside the largest of the report."""

    def __init__(self, report: ModuleReport) -> None:
        shapes = [value.shape for value in report.inputs]
        shapes += [row.call.out_shape for row in report.rows if row.call.out_shape]
        self._batch = report.inputs[0].shape[0] if report.inputs and shapes[0] else 0
        maps = [shape[-3:] for shape in shapes if len(shape) == 4]
        self._side = max((max(shape[1:]) for shape in maps), default=1)
        self._channels = max((shape[0] for shape in maps[1:]), default=1)

    def of_one(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape without the batch."""
        whole = tuple(shape)
        return whole[1:] if len(whole) > 1 and whole[0] == self._batch else whole

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


def _steps(nodes: Sequence[Node], calls: Sequence[Call]) -> list[Node]:
    """The nodes without rows that raised and without those that stand for the rows after them."""
    inner = {call.inside for call in calls if call.is_function}
    inner |= {call.name.rpartition(".")[0] for call in calls if not call.is_function}
    return [
        node
        for node in nodes
        if isinstance(node, Fold)
        or (calls[node].returned and (calls[node].is_function or calls[node].name not in inner))
    ]


def _groups(nodes: Sequence[Node], calls: Sequence[Call]) -> list[list[Node]]:
    """What is one block: a fold, or a row with the rows of norm and activation behind it."""
    groups: list[list[Node]] = []
    for node in nodes:
        last = groups[-1][-1] if groups else None
        if isinstance(node, int) and isinstance(last, int) and _belongs(calls[node], calls[last]):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def _belongs(call: Call, before: Call) -> bool:
    """Whether a call leaves the shape of the one before as it is, and only changes numbers."""
    same = call.in_shape == call.out_shape == before.out_shape and call.out_shape is not None
    if call.is_function:
        return same and call.name in _IN_PLACE
    return same and (call.kind in _SHORT or "Norm" in call.kind or "Drop" in call.kind)


def _block(
    report: ModuleReport, group: Sequence[Node], keys: Sequence[str], scale: _Scale
) -> Block:
    """The block of a fold, or of one row and those that belong to it."""
    rows = [row for node in group for row in (node.rows if isinstance(node, Fold) else (node,))]
    last = report.rows[rows[-1]].call
    shape = scale.of_one(last.out_shape or ())
    first = group[0]
    sizes, css = scale.sizes(shape), ""
    if isinstance(first, Fold):
        name = first.title
        made = (f"{first.count} times" if first.count > 1 else "", plural(len(rows), "row"))
        css = "fold"
        sizes = {**sizes, "depth": sizes["depth"] + 6 if sizes["depth"] else 0.0}
    else:
        call = report.rows[first].call
        name = call_name(call)
        made = ("", f"line {call.source.line}" if call.source else "")
        if call.is_function:
            css = "function"
            shrunk = {key: _OF_FUNCTIONS * size for key, size in sizes.items() if key != "height"}
            sizes = {**shrunk, "height": max(_LEAST, _OF_FUNCTIONS * sizes["height"])}
        else:
            words = [_word(report.rows[row].call) for row in rows[1:]]
            made = (call.kind, " ".join(filter(None, words)))
    title = _title(name)
    return Block(
        layers=tuple(keys[row] for row in rows),
        title=title,
        whole_name=name if name != title else "",
        made_by=made,
        shape=shape,
        **sizes,
        **_picture(last),
        state=_state([report.rows[row] for row in rows]),
        css=css,
    )


def _word(call: Call) -> str:
    """A layer or function of norm or activation as the notation has it."""
    return call.name if call.is_function else _SHORT.get(call.kind, "")


def _input_block(report: ModuleReport, scale: _Scale, image_uri: str | None) -> Block:
    shape = scale.of_one(report.inputs[0].shape) if report.inputs else ()
    more = len(report.inputs) - 1
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
    """A name short enough to stand under a block: its end, which differs most."""
    if len(name) <= _LONGEST_TITLE:
        return name
    parts = name.split(" … ")
    if len(parts) == 2:  # of a fold: what its first and its last have of their own
        return " … ".join(part.rpartition(".")[2] for part in parts)[-2 * _LONGEST_TITLE :]
    last = name.rpartition(".")[2]
    return last if len(last) <= _LONGEST_TITLE else f"…{last[1 - _LONGEST_TITLE :]}"


def _picture(call: Call) -> dict[str, Any]:
    """What the face of a block shows."""
    if call.kept is None or not call.kept.values.numel():
        return {"picture": None}
    png, scale = face(call.kept)
    return {"picture": data_uri(png), "signed": scale.signed}


def _state(rows: Sequence[ModuleRow]) -> str:
    """The word under a block; nothing under one of functions, for which no rule stands."""
    words = [row.verdict for row in rows]
    for word in ("raised", "differs", "not checked", "agrees"):
        if word in words:
            return word
    return "" if all(row.call.is_function for row in rows) else "not predicted"
