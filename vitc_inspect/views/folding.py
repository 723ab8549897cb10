"""Fold the rows of a long report into a tree: repeated blocks and long runs become one line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Union

from vitc_inspect.views.report import Row
from vitc_inspect.views.terminal import one_line

FLAT = 40
"""With at most so many rows nothing is folded."""
CROWDED = 60
"""With more lines than these every part of a module is folded, also one that does not repeat."""
_WORTHWHILE = 12  # rows that a fold must take away
_OF_SINGLE_ROWS = 24  # the same, where what repeats has no name of its own
_LONGEST = 4  # parts that may repeat together: a block, and the functions behind it
_PART = 6  # rows of a part that is folded in a crowd


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Several rows shown as one line."""

    title: str
    """Whose rows they are: "blocks.3", or "blocks.0 … blocks.11"."""
    count: int
    """How many parts repeat; 1 for a part by itself."""
    rows: tuple[int, ...]
    """Places of all rows below it, in order."""
    children: tuple[Node, ...]
    """What it opens to."""


Node = Union[int, Fold]  # noqa: UP007 - Fold is not there yet when this is read
"""A row by its place in the report, or a fold."""


@dataclass(frozen=True)
class _Part:
    """Neighbouring rows of one module inside."""

    name: str
    rows: tuple[int, ...]
    bare: bool  # a function between modules, which belongs to none


def row_keys(calls: Sequence[Row]) -> tuple[str, ...]:
    """Return a key for each row, by which to find it again after the user's file has changed.

    >>> row_keys(())
    ()
    """
    seen: Counter[str] = Counter()
    keys = []
    for call in calls:
        name = f"{call.inside}/{call.name}" if call.is_function else call.name or call.kind
        name = one_line(name).replace(" ", "_")
        seen[name] += 1
        keys.append(f"{name}:{seen[name]}")
    return tuple(keys)


def folded(calls: Sequence[Row]) -> tuple[Node, ...]:
    """Arrange rows in a tree: flat if there are few, else repeats are folded, then long parts.

    A change of shape is hidden by a repeated block only where every block makes it.
    """
    rows = tuple(range(len(calls)))
    if len(rows) <= FLAT:
        return rows
    nodes = _arranged(calls, rows, 0, crowded=False)
    return nodes if len(nodes) <= CROWDED else _arranged(calls, rows, 0, crowded=True)


def _arranged(
    calls: Sequence[Row], rows: Sequence[int], depth: int, *, crowded: bool
) -> tuple[Node, ...]:
    """The nodes for some rows, whose modules have `depth` names in common."""
    parts = _parts(calls, rows, depth)
    several = {name for name, count in Counter(part.name for part in parts).items() if count > 1}
    signatures = [_signature(calls, part, depth) for part in parts]
    nodes: list[Node] = []
    at = 0
    while at < len(parts):
        period, count = _repeats(parts, signatures, at)
        if count:
            units = [
                _unit(calls, parts[start : start + period], depth)
                for start in range(at, at + period * count, period)
            ]
            nodes.append(
                Fold(
                    title=one_line(f"{units[0].title} … {units[-1].title}"),
                    count=count,
                    rows=tuple(row for unit in units for row in unit.rows),
                    children=tuple(units),
                )
            )
            at += period * count
            continue
        title = _title(calls, parts[at], depth) if parts[at].name in several else parts[at].name
        nodes += _single(calls, parts[at], depth, title=title, crowded=crowded)
        at += 1
    return tuple(nodes)


def _title(calls: Sequence[Row], part: _Part, depth: int) -> str:
    """A part by what it holds, where others have its name too: "stages.4 … stages.13"."""
    inner = [each.name for each in _parts(calls, part.rows, depth + 1) if not each.bare]
    return f"{inner[0]} … {inner[-1]}" if len(inner) > 1 else part.name


def _single(
    calls: Sequence[Row], part: _Part, depth: int, *, title: str, crowded: bool
) -> list[Node]:
    """A part that does not repeat: its rows, or in a crowd one fold."""
    if part.bare or len(part.rows) == 1:
        return list(part.rows)
    inner = _arranged(calls, part.rows, depth + 1, crowded=crowded)
    if crowded and len(inner) >= _PART:
        return [Fold(title=one_line(title), count=1, rows=part.rows, children=inner)]
    return list(inner)


def _unit(calls: Sequence[Row], parts: Sequence[_Part], depth: int) -> Fold:
    """One of the blocks that repeat, with the functions behind it."""
    rows = tuple(row for part in parts for row in part.rows)
    children: list[Node] = []
    for part in parts:
        children += _single(calls, part, depth, title=part.name, crowded=False)
    return Fold(title=one_line(parts[0].name), count=1, rows=rows, children=tuple(children))


def _parts(calls: Sequence[Row], rows: Sequence[int], depth: int) -> list[_Part]:
    """Neighbouring rows together that lie in the same module, `depth` names down."""
    parts: list[_Part] = []
    for row in rows:
        call = calls[row]
        path = (call.inside if call.is_function else call.name).split(".")
        bare = len(path) <= depth or path == [""]
        name = call.name if bare else ".".join(path[: depth + 1])
        last = parts[-1] if parts else None
        if last and not bare and not last.bare and last.name == name:
            parts[-1] = _Part(name, (*last.rows, row), bare=False)
        else:
            parts.append(_Part(name, (row,), bare))
    return parts


def _signature(calls: Sequence[Row], part: _Part, depth: int) -> Hashable:
    """What two parts have in common when they are the same block at another place."""
    inner = tuple(
        (
            calls[row].kind,
            calls[row].name if calls[row].is_function else calls[row].name[len(part.name) :],
            calls[row].in_shape,
            calls[row].out_shape,
            calls[row].returned,
        )
        for row in part.rows
    )
    return re.sub(r"\d+", "#", part.name), part.bare, inner


def _repeats(parts: Sequence[_Part], signatures: Sequence[Hashable], at: int) -> tuple[int, int]:
    """How many parts repeat from here, and how often; 0 where too few do."""
    best = (0, 0)
    if parts[at].bare or not re.search(r"\d", parts[at].name):
        return best
    for period in range(1, _LONGEST + 1):
        pattern, count = signatures[at : at + period], 1
        while signatures[at + period * count : at + period * (count + 1)] == pattern:
            count += 1
        rows = sum(len(part.rows) for part in parts[at : at + period * count])
        single = all(len(part.rows) == 1 for part in parts[at : at + period])
        needed = _OF_SINGLE_ROWS if single else _WORTHWHILE
        if count > 1 and rows >= needed and period * count > best[0] * best[1]:
            best = period, count
    return best
