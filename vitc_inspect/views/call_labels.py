"""A call of anybody's module in words: where its line stands, what it was given, what became of it.

The terminal's table, the notebook's and the page use the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from vitc_inspect.inspection.module_report import ModuleRow
from vitc_inspect.tracing.recording import Call, SourceLine, Value
from vitc_inspect.views.terminal import one_line
from vitc_inspect.views.text import shape


def call_name(call: Call) -> str:
    """The name of a layer or a function as it is shown; of the module itself its kind."""
    return one_line(call.name or call.kind)


def short_place(source: SourceLine | None) -> str:
    """The file's name and the line.

    >>> short_place(SourceLine(file="/home/ada/stem.py", line=12, text="x = x + 1"))
    'stem.py:12'
    """
    return one_line(f"{Path(source.file).name}:{source.line}") if source else ""


def title_attribute(source: SourceLine | None) -> str:
    """The whole line as an attribute of HTML, for a pointer over what is cut."""
    return f' title="{escape(f"{source.file}:{source.line}  {source.text}")}"' if source else ""


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


def written_over(row: ModuleRow) -> str:
    """That the row's output was later written over, by what and where; without a full stop."""
    call = row.call
    at = f" at {short_place(call.overwritten_at)}" if call.overwritten_at else ""
    name = call_name(call)
    name = f"{name}, call {call.turn}," if call.turn > 1 else name
    return f"The output of {name} is later written over by {call.overwritten_by}{at}"
