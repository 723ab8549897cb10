"""Labels of a call, shared by the terminal, notebooks and the page: its name, place and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vitc_inspect.tracing.recording import SourceLine, Value
from vitc_inspect.views.report import Row, Shape
from vitc_inspect.views.terminal import one_line
from vitc_inspect.views.text import shape


class Named(Protocol):
    """A row or a call."""

    @property
    def name(self) -> str:
        """Name of the layer or the function; "" for the whole module."""

    @property
    def kind(self) -> str:
        """Class of the layer, or "function"."""


def call_name(row: Named) -> str:
    """The name of a layer or a function as it is shown; of the module itself its kind."""
    return one_line(row.name or row.kind)


def without_batch(sizes: Shape | None, batch: int) -> Shape | None:
    """A shape without the batch in front, where `batch` is the size it has there.

    >>> without_batch((1, 48, 112, 112), 1), without_batch((1, 48), 0), without_batch(None, 1)
    ((48, 112, 112), (1, 48), None)
    """
    return sizes[1:] if sizes and sizes[0] == batch else sizes


def short_place(source: SourceLine | None) -> str:
    """The file's name and the line.

    >>> short_place(SourceLine(file="/home/ada/stem.py", line=12, text="x = x + 1"))
    'stem.py:12'
    """
    return one_line(f"{Path(source.file).name}:{source.line}") if source else ""


def whole_line(source: SourceLine | None) -> str | None:
    """File, number and text of a line, for a pointer over what is cut; None for none."""
    return f"{source.file}:{source.line}  {source.text}" if source else None


def tensor_shape(sizes: Sequence[int] | None) -> str:
    """The shape of a tensor; nothing for none.

    >>> tensor_shape((2, 3)), tensor_shape(()), tensor_shape(None)
    ('2×3', 'a number', '')
    """
    return "" if sizes is None else shape(sizes) or "a number"


def name_before(value: Value) -> str:
    """The name that a tensor was given by, with a space behind it; nothing where it has none.

    >>> name_before(Value(path="mask", shape=(2,), dtype="bool", bytes=2))
    'mask '
    >>> name_before(Value(path="0", shape=(2,), dtype="bool", bytes=2))
    ''
    """
    return "" if value.path.isdecimal() or not value.path else f"{value.path} "


def written_over(row: Row) -> str:
    """That the row's output was later written over, by what and where; without a full stop."""
    at = f" at {short_place(row.overwritten_at)}" if row.overwritten_at else ""
    name = call_name(row)
    name = f"{name}, call {row.turn}," if row.turn > 1 else name
    return f"The output of {name} is later written over by {row.overwritten_by}{at}"
