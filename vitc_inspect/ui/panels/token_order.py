"""The order of the tokens: which grid cell becomes which token, beside two wrong orders."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.ui.panels.elements import fact, remark
from vitc_inspect.views import text
from vitc_inspect.views.flattening_orders import Way, drawn_places, place_colours, ways
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.pixels import colours_uri, mosaic

_MOST_CELLS = 64  # a side of a grid of cells that is drawn
_MOST_BACK = 32  # the same, of a sequence read back


def order_html(prepared: PreparedRun, report: Report, number: int) -> Markup:
    """Show which grid cell becomes which token in this stem and in two wrong orders.

    Args:
        prepared: The stem, whose own order was found out.
        report: The run.
        number: Of the chosen token, rows first.
    """
    spec = report.spec
    rows, columns = spec.grid_size
    step = ceil(max(rows, columns) / _MOST_CELLS)
    cells = mosaic(report.input, spec, step=step)
    every = ways(spec.grid_size, spec.embed_dim)
    lines = [
        _way_html(way, cells, step=step, own=prepared.keeps_order and way is every[0])
        for way in every
    ]
    thinned = f" Cells are drawn {step} apart." if step > 1 else ""
    scale = min(132 / max(rows, columns), 24)
    grid = _picture(
        "token-map",
        cells,
        (rows, columns),
        data_token_map=True,
        style=f"width:{columns * scale:.0f}px;height:{rows * scale:.0f}px",
        aria_label=f"Map of {rows} by {columns} cells; arrow keys move, Enter chooses the token",
    )
    return fill(
        '<h3>From {} to {}</h3><div class="token-order"><div class="token-grid">{}'
        '<p class="token-said"><output data-order-output></output></p></div>{}{}{}</div>',
        *(term("grid", "grid"), term("flattening", "sequence")),
        *(grid, join(*lines), remark(_mixed_sentence(every, number), thinned)),
        tag("ul.token-facts", *_proof_facts(prepared, every)),
    )


def _picture(
    css: str, colours: NDArray[np.uint8], size: tuple[int, int], **attributes: Content
) -> Markup:
    """A picture of cells, (rows, columns, 3), on which the page marks one."""
    image = tag("img", src=colours_uri(colours), alt="", decoding="sync")
    mark = fill('<svg viewBox="0 0 {1} {0}" preserveAspectRatio="none"><path/></svg>', *size)
    return tag("div", image, mark, class_=css, tabindex=0, role="application", **attributes)


def _way_html(way: Way, cells: NDArray[np.uint8], *, step: int, own: bool) -> Markup:
    """The sequence of one order as a line of colours, and the image read back from it."""
    rows, columns = way.grid_size
    places = drawn_places(rows * columns)
    line = place_colours(way, cells, places, step=step)[None]  # (1, places, 3)
    apart = ceil(max(rows, columns) / _MOST_BACK)
    grid = np.add.outer(np.arange(0, rows, apart) * columns, np.arange(0, columns, apart))
    back = place_colours(way, cells, grid.ravel(), step=step).reshape(*grid.shape, 3)
    mark = tag("span.soft", f"same shape, {'same' if way.right else 'other'} tokens")
    if own:
        mark = tag("b.agrees", "✓ this stem")
    side = 52 / max(rows, columns)
    label = f"Sequence, {way.name}: {rows * columns:,} places; arrow keys move"
    return fill(
        '<div class="token-way" data-way="{0}"><div><p><b>{0}</b> {1}</p>{2}<p class="soft">{3}</p>'
        '</div><img class="token-back" src="{4}" decoding="sync" style="width:{5:.0f}px;'
        'height:{6:.0f}px" alt="the sequence read back, {0}"/></div>',
        *(way.name, mark),
        _picture("token-line", line, (1, rows * columns), aria_label=label),
        *(way.words, colours_uri(back), max(4, columns * side), max(4, rows * side)),
    )


def _mixed_sentence(every: Sequence[Way], number: int) -> str:
    """What the chosen token would hold in each of the wrong orders."""
    wrong = {way.name: way.sources(number) for way in every[1:]}
    columns = every[0].grid_size[1]
    swapped = divmod(int(wrong["columns first"][0][0]), columns)
    cells, channels = (np.unique(found) for found in wrong["reshape alone"])
    numbers = text.plural(len(wrong["reshape alone"][0]), "number")
    taken = f"cell {divmod(int(cells[0]), columns)}" if len(cells) == 1 else f"{len(cells):,} cells"
    of = f"channel {channels[0]}"
    if len(channels) > 1:
        of = f"channels {channels[0]} to {channels[-1]}"
    return (
        f"Place {number:,} is this token. Columns first, it would hold cell {swapped}; with reshape"
        f" alone, {numbers} out of {taken}, {of}."
    )


def _proof_facts(prepared: PreparedRun, every: Sequence[Way]) -> tuple[Markup, Markup]:
    """How the orders were determined."""
    rows, columns = every[0].grid_size
    tried = every[0].tried_channels
    sent = f"sent a map of {tried:,}×{rows}×{columns} in which each number says where it stands"
    keeps, found = "does not keep", "it did not give cell n as token n."
    if prepared.keeps_order:
        keeps, found = "keeps", "it gave cell n as token n, every channel in its place."
    own = fill("This stem's own layer <code>tokens</code> {} the order: {}, {}", keeps, sent, found)
    others = (
        "The lines above were found with the same map. All three have the same shape"
        f" {rows * columns:,}×{every[0].channels:,}, so no check of shapes tells them apart."
    )
    return fact(prepared.keeps_order, own), fact(all(way.as_foreseen for way in every), others)
