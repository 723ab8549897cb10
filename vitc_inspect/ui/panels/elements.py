"""HTML elements that several panels share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from vitc_inspect.stem.geometry import Span
from vitc_inspect.views.html import Attribute, Content, Markup, fill, join, tag
from vitc_inspect.views.maps import Scale, css_gradient
from vitc_inspect.views.pixels import hatch_svg, rect
from vitc_inspect.views.text import shape

_CLOSE_UP = 84  # side of a magnified box (CSS pixels)
_MARGIN = 0.12  # what is seen around it on each side, as a part of its own side


def remark(*words: Content) -> Markup:
    """A note below a picture or a table."""
    return tag("p.remark", *words)


def equation(words: str) -> Markup:
    """An equation with its result in bold, thousands separated."""
    left, _, right = words.rpartition(" = ")
    return fill("{} = <b>{:,}</b>", left, int(right))


def button(*words: Content, css: str | None = None, **attributes: Attribute) -> Markup:
    """A button that submits no form."""
    return tag("button", *words, type="button", class_=css, **attributes)


@lru_cache(maxsize=256)
def verdict(holds: bool | None, words: str = "") -> Markup:
    """A check mark, a cross or, for None, a neutral dot, followed by words."""
    mark, css = {True: ("✓", "agrees"), False: ("✗", "differs"), None: ("·", "soft")}[holds]
    return tag("span", f"{mark} {words}".rstrip(), class_=css)


def badge(holds: bool, words: str) -> Markup:
    """What the status begins with: words on green with a check mark, or on red with a cross."""
    mark, css = ("✓", "agrees") if holds else ("✗", "differs")
    return fill('<span class="badge {}">{} {}</span>', css, mark, words)


def observed_mark(holds: bool, seen: int | Sequence[int]) -> Markup:
    """The mark of a predicted number or shape: that it was observed, or what was instead."""
    if holds:
        return verdict(True, "observed")
    return verdict(False, f"observed {f'{seen:,}' if isinstance(seen, int) else shape(seen)}")


def fact(holds: bool | None, sentence: Content) -> Markup:
    """A list item with the mark of `verdict`."""
    return tag("li", verdict(holds), tag("span", sentence))


_DOT = tag("span.soft", "·")


def number_or_dot(number: int, words: str) -> str:
    """The formatted number, or a dot for 0, so that other numbers stand out."""
    return words if number else _DOT


def figures(values: Mapping[Any, Content], css: str | None = None) -> Markup:
    """A description list of named figures."""
    items = (tag("div", tag("dt", name), tag("dd", value)) for name, value in values.items())
    return tag("dl", *items, class_=css)


def table_row(name: Content, *cells: Content, **attributes: Attribute) -> Markup:
    """A row of a table: its name, and its cells as they are written already."""
    return tag("tr", tag("th", name, scope="row"), *cells, **attributes)


def facts_table(css: str, rows: Iterable[Sequence[Content]]) -> Markup:
    """A table with a row for each fact: its name, then its cells."""
    lines = (table_row(name, *(tag("td", cell) for cell in cells)) for name, *cells in rows)
    return tag("table", tag("tbody", *lines), class_=css)


def head_row(*titles: Content) -> Markup:
    """The head of a table."""
    return tag("thead", tag("tr", *(tag("th", title, scope="col") for title in titles)))


def scrolling_table(
    name: str, titles: Iterable[Content], lines: Iterable[Content], *, css: str = "scroll"
) -> Markup:
    """A table that may be wider than the panel; arrow keys scroll it."""
    table = tag("table", head_row(*titles), tag("tbody", *lines), class_=name)
    return tag("div", table, tabindex=0, class_=css)


def fold(summary: Content, *inside: Content, css: str = "fold", **attributes: Attribute) -> Markup:
    """A section that opens when its summary is clicked."""
    return tag("details", tag("summary", summary), *inside, class_=css, **attributes)


def colour_bar(scale: Scale, *ends: Content, css: str = "bar", title: str | None = None) -> Markup:
    """A colour scale from low to high with labels under it, left to right."""
    bar = tag("span", class_=css, style=f"background:{css_gradient(scale.colour_map)}")
    words = tag("span.ends", *(tag("span", end) for end in ends))
    return tag("span.legend", bar, words, title=title)


def box_svg(css: str, rows: Span, columns: Span) -> Markup:
    """A box of pixels as a rectangle."""
    place = rect(columns.start, rows.start, columns.length, rows.length)
    return tag("rect", class_=css, **place)


def close_up_side(rows: Span, columns: Span) -> float:
    """Side of the square that is seen around a box (pixels of the image)."""
    return max(rows.length, columns.length) * (1 + 2 * _MARGIN)


def close_up(
    rows: Span, columns: Span, *drawn: Content, label: str, hatched: bool = False
) -> Markup:
    """Draw a box and its surroundings magnified, reusing pictures of the page.

    Args:
        rows, columns: The box (pixels of the image).
        drawn: What is drawn, in the coordinates of the image.
        label: What it shows, in words.
        hatched: Whether the hatching called "near" is needed in it.
    """
    side = close_up_side(rows, columns)
    left, top = columns.centre + 0.5 - side / 2, rows.centre + 0.5 - side / 2
    return fill(
        '<svg class="token-close" viewBox="{0:.6g} {1:.6g} {2:.6g} {2:.6g}" width="{3}"'
        ' height="{3}" role="img" aria-label="{4}">{5}{6}{7}</svg>',
        *(left, top, side, _CLOSE_UP, label),
        hatch_svg("near", side / _CLOSE_UP) if hatched else "",
        tag("rect.token-void", **rect(left, top, side, side)),
        join(*drawn),
    )


def whole_numbers(words: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas; empty for any other text.

    >>> whole_numbers("3,12"), whole_numbers("3,a"), whole_numbers("-1"), whole_numbers("9999999")
    ((3, 12), (), (), ())
    """
    parts = words.split(",")
    whole = all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts)
    return tuple(map(int, parts)) if whole else ()
