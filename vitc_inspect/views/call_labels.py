"""Labels of a call for the terminal, notebooks and the page: name, source line and shapes."""

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
    """Return the displayed name of a layer or a function; for the whole module, its class."""
    return one_line(row.name or row.kind)


def without_batch(sizes: Shape | None, batch: int) -> Shape | None:
    """Drop the first size of a shape if it is the batch size `batch`.

    >>> without_batch((1, 48, 112, 112), 1), without_batch((1, 48), 0), without_batch(None, 1)
    ((48, 112, 112), (1, 48), None)
    """
    return sizes[1:] if sizes and sizes[0] == batch else sizes


def short_place(source: SourceLine | None) -> str:
    """Format a source line as file name and line number.

    >>> short_place(SourceLine(file="/home/ada/stem.py", line=12, text="x = x + 1"))
    'stem.py:12'
    """
    return one_line(f"{Path(source.file).name}:{source.line}") if source else ""


def whole_line(source: SourceLine | None) -> str | None:
    """Format file, number and text of a source line for a tooltip; None if there is no line."""
    return f"{source.file}:{source.line}  {source.text}" if source else None


def tensor_shape(sizes: Sequence[int] | None) -> str:
    """Format the shape of a tensor; empty if there is none.

    >>> tensor_shape((2, 3)), tensor_shape(()), tensor_shape(None)
    ('2×3', 'a number', '')
    """
    return "" if sizes is None else shape(sizes) or "a number"


def name_before(value: Value) -> str:
    """Return the argument name of a tensor and a space; empty if it has no name.

    >>> name_before(Value(path="mask", shape=(2,), dtype="bool", bytes=2))
    'mask '
    >>> name_before(Value(path="0", shape=(2,), dtype="bool", bytes=2))
    ''
    """
    return "" if value.path.isdecimal() or not value.path else f"{value.path} "


def overwriter(row: Row) -> str:
    """Say what later overwrote the row's output, and where."""
    at = f" at {short_place(row.overwritten_at)}" if row.overwritten_at else ""
    return f"{row.overwritten_by}{at}"


def written_over(row: Row) -> str:
    """Say where and by what the row's output was later overwritten; without a full stop."""
    name = call_name(row)
    name = f"{name}, call {row.turn}," if row.turn > 1 else name
    return f"The output of {name} is later written over by {overwriter(row)}"
