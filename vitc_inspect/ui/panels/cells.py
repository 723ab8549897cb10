"""The cell panel: one number of a convolution's output and the arithmetic behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import BoolArray, Cell, probe_cell
from vitc_inspect.probes.submodules import DoubleArray
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.stem.spec import Stage
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.cell_window import window_html
from vitc_inspect.ui.panels.elements import button, table_row, verdict, whole_numbers
from vitc_inspect.ui.panels.map_pictures import floats
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Markup, fill, join, tag
from vitc_inspect.views.maps import Scale, data_uri, plane_png
from vitc_inspect.views.maps import numbers as kept_numbers

_FEW_CHANNELS = 4  # with at most so many input channels, the grids of all of them are shown
_MOST_TAPS = 96 * 96  # a larger kernel is shown in colours alone, without the numbers behind them
_GRID_GAP = 22  # between two grids, with the sign in it (pixels)
_READABLE = 22  # least side of a square that holds a number (pixels)
_DIGIT = 5.9  # width of a digit in such a square (pixels)
_MOST_TINT = 52  # strength of the colour behind a number, in hundredths: the number stays readable
_MOST_MARKS = 999  # squares of a grid that are marked as no finite numbers
_COLOURS = ("red", "green", "blue")


def cell_html(
    prepared: PreparedRun, report: Report, *, layer: str, cell: str, width: int
) -> Markup:
    """Show how one cell of a convolution's map is computed.

    Args:
        prepared: The stem, ready to run.
        report: What the run found.
        layer: Name of the selected layer, of any kind.
        cell: "channel,row,column" or "channel"; behind a column there may be the input channel
            to look at. Without a place it is the largest value, in absolute terms, of that
            channel, and for any other text that of the layer.
        width: Width of the panel (pixels).

    Returns:
        The equation, the window on the input beside the map, the products, and their sum.
    """
    stage = next((stage for stage in report.spec.stages if stage.name == layer), None)
    if stage is None:
        return _no_convolution_html(report.prediction, report.prediction.layer(layer))
    channel, row, column, asked = read_cell(cell, stage, report.trace.record(layer).kept)
    # weights may be infinite, or no numbers at all
    with prepared.normalising(), np.errstate(invalid="ignore", over="ignore"):
        one = probe_cell(prepared.module, prepared.batch, layer, channel, row, column)
        given = asked if asked in one.in_channels else strongest(one)
        return join(
            _equation_html(one),
            window_html(report, stage, one, given, pinned=given == asked, width=width),
            _products_html(one, given, first=stage is report.spec.stages[0], width=width),
            _ledger_html(one),
        )


def read_cell(cell: str, stage: Stage, kept: KeptOutput | None) -> tuple[int, int, int, int | None]:
    """Parse the text that selects a cell.

    Args:
        cell: As in `cell_html`.
        stage: The convolution.
        kept: Its output, as far as it was kept.

    Returns:
        Channel, row and column of the output, and the input channel, None where none is asked.
    """
    numbers = _numbers(cell, stage.out_shape)
    if len(numbers) < 3:
        return *_largest_cell(kept, numbers[0] if numbers else None), None
    channel, row, column, *asked = numbers
    return channel, row, column, asked[0] if asked else None


def _largest_cell(kept: KeptOutput | None, channel: int | None) -> tuple[int, int, int]:
    """Where the largest value in absolute terms is, of one channel or of all that were kept."""
    first, last = (0, None) if channel is None else (channel, channel + 1)
    maps = np.abs(kept_numbers(kept)[first:last]) if kept else np.empty((0, 0, 0))
    if not maps.size:  # of that channel nothing was kept
        return first, 0, 0
    index, row, column = np.unravel_index(np.argmax(np.nan_to_num(maps, posinf=0.0)), maps.shape)
    assert kept
    return first + int(index), int(row) * kept.step, int(column) * kept.step


def shown_cell(cell: str, layer: LayerPrediction, stage: Stage | None) -> str:
    """Normalise the text that selects a map or a cell of a layer.

    Args:
        cell: As in `cell_html`.
        layer: The selected layer.
        stage: The convolution, where the layer is one.

    Returns:
        The text, without an input channel that the map does not read; empty for no such cell.
    """
    numbers = _numbers(cell, layer.out_shape)
    if len(numbers) == 4 and not (stage and numbers[3] in _read_by(stage, numbers[0])):
        numbers = numbers[:3]
    return ",".join(map(str, numbers))


def _numbers(cell: str, out_shape: Sequence[int]) -> tuple[int, ...]:
    """The numbers of a valid selection; empty for text that selects no position of the maps."""
    numbers = whole_numbers(cell)
    if len(out_shape) != 3 or len(numbers) not in (1, 3, 4):
        return ()
    inside = all(number < count for number, count in zip(numbers, out_shape, strict=False))
    return numbers if inside else ()


def _read_by(stage: Stage, channel: int) -> range:
    """The input channels that a map reads."""
    conv = stage.conv
    size = stage.in_shape[0] // conv.groups
    first = channel // (conv.out_channels // conv.groups) * size
    return range(first, first + size)


def strongest(cell: Cell) -> int:
    """The input channel whose products have the largest sum in absolute value."""
    sizes = np.nan_to_num(np.abs(cell.per_channel), nan=np.inf)
    return cell.in_channels[int(np.argmax(sizes))]


# ---- what is no convolution ----------------------------------------------------------------

_DOING = {
    "norm": "it shifts and scales numbers, and no window slides",
    "activation": "it changes each number by itself, and no window slides",
    "tokens": "it puts the rows of the map one behind the other and changes no number",
    "class_token": "it puts one learned token before the others",
    "pos_embed": "it adds a learned vector to each token",
    "linear": "it multiplies each token by one matrix, and no window slides",
    "attention": "it mixes all tokens with one another, and no window slides",
    "pool": "it keeps one token of all",
}


def _no_convolution_html(prediction: Prediction, layer: LayerPrediction) -> Markup:
    """What a layer that is no convolution does, and a button to the nearest convolution."""
    target = layer.stage or prediction.spec.stages[-1].name
    words = join(
        f"{layer.name} is no ",
        term("convolution", "convolution"),
        f": {_DOING[layer.kind]}. A ",
        term("cell", "cell"),
        " can be taken apart in the convolution",
        f" {'of its stage' if layer.stage else 'before it'}.",
    )
    return fill(
        '<header><h2>{}</h2></header><p class="cell-none">{}</p><p>{}</p>',
        *(layer.name, words, button(f"Go to {target}", css="run", data_layer=target)),
    )


# ---- the equation and the sum --------------------------------------------------------------


def _equation_html(cell: Cell) -> Markup:
    """The cell's position, its computed value and the value that the hook observed."""
    bias = "" if cell.bias is None else " + bias"
    return fill(
        '<header><h2>{}, <span class="channels">map {}</span>, <span class="area">row {}, column {}'
        '</span></h2></header><p class="cell-equation"><span>Σ window × kernel{} = <b>{}</b>;'
        "</span> <span>the {} saw <b>{}</b> {}</span></p>",
        *(cell.layer, cell.channel, cell.row, cell.column),
        *(bias, text.number(cell.total)),
        *(term("hook", "hook"), text.number(cell.observed), _verdict(cell)),
    )


def _verdict(cell: Cell) -> Markup:
    return verdict(cell.agrees, "equal" if cell.agrees else "not equal")


def _ledger_html(cell: Cell) -> Markup:
    """The sum step by step: products, bias, total, and the observed value."""
    name = f"Σ of {cell.products.size:,} products"
    lines = []
    if cell.bias is not None:
        lines = [(name, float(cell.products.sum())), (join("+ ", term("bias", "bias")), cell.bias)]
        name = "= the sum"
    places = _places([*(value for _, value in lines), cell.total, cell.observed])
    dtype = str(cell.dtype).removeprefix("torch.")
    body = [
        *(_ledger_line(name, value, places) for name, value in lines),
        _ledger_line(f"{name}, in float64", cell.total, places, "cell-total"),
        _ledger_line(f"the hook saw, in {dtype}", cell.observed, places),
    ]
    return tag("table.cell-ledger", tag("tbody", *body)) + tag(
        "p.cell-apart", _verdict(cell), _apart(cell)
    )


def _apart(cell: Cell) -> str:
    """How far computed and observed value are apart, and the tolerance."""
    apart = abs(cell.total - cell.observed)
    if not isfinite(apart) or not isfinite(cell.tolerance):
        return ""
    words = "to the last digit"
    if apart:
        allowed = text.number(cell.tolerance, 2)
        words = f"{text.number(apart, 2)} apart, and rounding allows {allowed}"
    return join(" ", tag("span.soft", words))


def _places(values: list[float]) -> int | None:
    """Decimals that show nine digits of the largest value; None if it needs an exponent."""
    most = max((abs(value) for value in values if isfinite(value)), default=0.0)
    if not most or not 1e-4 <= most < 1e8:
        return None
    return 8 - floor(log10(most))


def _ledger_line(name: str, value: float, places: int | None, css: str | None = None) -> Markup:
    said = text.number(value, 9)
    if places is not None and isfinite(value):
        said = f"{value:.{places}f}".replace("-", "−")
    return table_row(name, tag("td", said), class_=css)


# ---- the products --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """How a kind of grid is drawn for every input channel."""

    name: str  # "window", "kernel" or "products"
    most: float  # size of the largest number, where the colours end
    square: int  # side of a square that holds a number; 0 where numbers have no room (pixels)
    side: int  # of the whole grid (pixels)
    power: int = 0  # the numbers are printed in units of this power of ten
    places: int = 0  # decimals
    bare: bool = False  # whether the 0 before a point is left out


def _products_html(cell: Cell, given: int, *, first: bool, width: int) -> Markup:
    """Show window, kernel and products of all input channels, or of one where there are many.

    Args:
        cell: The cell that was chosen.
        given: The input channel that is shown where there are many.
        first: Whether the convolution reads the image, whose channels may be colours.
        width: Width of the panel (pixels).
    """
    count = len(cell.in_channels)
    few = count <= _FEW_CHANNELS and cell.products.size <= _MOST_TAPS
    shown = range(count) if few else [cell.in_channels.index(given)]
    room = floor((width - 2 * _GRID_GAP) / 3)
    kinds = {"window": cell.window, "kernel": cell.kernel, "products": cell.products}
    grids = [_grid(name, values[list(shown)], room) for name, values in kinds.items()]
    colours = _COLOURS if first and count == len(_COLOURS) else ("",) * count
    said = "Choose a square to see its numbers."
    if not _sent(cell):
        said = f"{cell.padded.size:,} taps are too many to list."
    products = tag(
        "div.cell-products",
        tag("h3", term("window"), " × ", term("kernel", "kernel"), " = products"),
        *(_block_html(cell, index, grids, colours[index]) for index in shown),
        tag("p.cell-said", said, data_cell_said=True),
    )
    return products if few else products + _sums_html(cell, given)


def _sent(cell: Cell) -> bool:
    """Whether the numbers of a channel are sent to the page."""
    return cell.padded.size <= _MOST_TAPS


def _grid(name: str, values: DoubleArray, room: int) -> _Grid:
    """Choose decimals and a power of ten with which the numbers fit into their squares."""
    most = _largest(values)
    square = min(room // values.shape[1], 64 if values.shape[1] == 1 else 38)
    if square < _READABLE:
        return _Grid(name, most, square=0, side=room)
    digits = floor((square - 3) / _DIGIT)
    bare = digits < 5
    power, places = _decimals(most, digits, bare=bare)
    return _Grid(name, most, square, side=room, power=power, places=places, bare=bare)


def _decimals(most: float, digits: int, *, bare: bool) -> tuple[int, int]:
    """Choose a power of ten and decimals that show at least two digits of the largest number.

    Args:
        most: Size of the largest number.
        digits: What a square has room for, a sign and all.
        bare: Whether the 0 before a point is left out.
    """
    if not most:
        return 0, 0
    own = floor(log10(most))
    for power in (0, own):
        scaled = most / 10.0**power
        whole = 0 if bare and scaled < 1 else max(0, own - power) + 1
        for places in range(4 if digits > 7 else 3 if digits > 3 else 2, -1, -1):
            if 1 + whole + places <= digits and scaled * 10**places >= 10:
                return power, places
    return own, 0


def _largest(values: DoubleArray) -> float:
    """Size of the largest finite number."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _block_html(cell: Cell, index: int, grids: Sequence[_Grid], colour: str) -> Markup:
    """One input channel: three grids and their sum."""
    channel, unpadded = cell.in_channels[index], np.zeros_like(cell.padded)
    planes = (cell.window[index], cell.kernel[index], cell.products[index])
    figures = map(_figure_html, planes, (cell.padded, unpadded, cell.padded), grids)
    sent = {}
    if _sent(cell):
        sent["data_window"] = floats(cell.window[index])
        sent["data_kernel"] = floats(cell.kernel[index])
    head = fill(
        '<p><span>input channel <span class="channels">{}</span>{}</span>'
        "<span>Σ = <b>{}</b></span></p>",
        *(channel, f", {colour}" if colour else ""),
        text.number(float(cell.per_channel[index])),
    )
    label = f"Window, kernel and products of input channel {channel}."
    drawn = tag(
        "div.cell-grids",
        fill("{}<span>×</span>{}<span>=</span>{}", *figures),
        tabindex=0,
        role="application",
        data_cell_block=channel,
        data_at=f"{cell.rows[0]},{cell.columns[0]}",
        aria_label=f"{label} Arrow keys move from tap to tap.",
        **sent,
    )
    return tag("div.cell-block", head, drawn)


def _figure_html(values: DoubleArray, padded: BoolArray, grid: _Grid) -> Markup:
    drawn = (_numbers_html if grid.square else _tile_svg)(values, padded, grid)
    return fill("<figure>{}<figcaption>{}</figcaption></figure>", drawn, _unit(grid))


def _unit(grid: _Grid) -> str:
    """The power of ten of printed numbers, if any; for colours, the end of their scale."""
    if not grid.square:
        return f"±{text.number(grid.most, 3)}"
    power = str(grid.power).replace("-", "−")
    return fill("in 10<sup>{}</sup>", power) if grid.power else ""


def _numbers_html(values: DoubleArray, padded: BoolArray, grid: _Grid) -> Markup:
    """A grid of numbers on colours: red for positive, blue for negative, none for 0."""
    rows = [
        tag("tr", *(_square_html(*square, grid) for square in zip(row, pads, strict=True)))
        for row, pads in zip(values.tolist(), padded.tolist(), strict=True)
    ]
    style = f"--square:{grid.square}px"
    return tag("table.cell-table", tag("tbody", *rows), style=style, aria_label=grid.name)


def _square_html(value: float, padded: bool, grid: _Grid) -> Markup:
    if padded:
        return fill('<td class="cell-padding" title="padding">0</td>')
    if not isfinite(value):
        return fill('<td class="cell-odd">{}</td>', text.number(value))
    if not value:
        return fill("<td>0</td>")
    said = f"{value / 10.0**grid.power:.{grid.places}f}".replace("-", "−")
    if grid.bare and grid.places and said.lstrip("−").startswith("0."):
        said = said.replace("0.", ".", 1)
    sign, tint = "plus" if value > 0 else "minus", _MOST_TINT * abs(value) / grid.most
    return fill('<td class="cell-{}" style="--v:{:.0f}%">{}</td>', sign, tint, said)


def _tile_svg(values: DoubleArray, padded: BoolArray, grid: _Grid) -> Markup:
    """A grid of colours only; padding is transparent, and values that are not finite are marked."""
    taps, most = len(values), grid.most or 1.0
    plane = np.where(padded, np.nan, values).astype(np.float32)
    address = data_uri(plane_png(plane, Scale(low=-most, high=most)))
    odd = np.argwhere(~np.isfinite(values) & ~padded)[:_MOST_MARKS]
    marks = "".join(f"M{column} {row}h1v1h-1z" for row, column in odd)
    return fill(
        '<svg class="cell-tile" viewBox="0 0 {0} {0}" style="width:{1}px" role="img"'
        ' aria-label="{2}"><image href="{3}" class="signed" width="{0}" height="{0}"'
        ' decoding="sync"/><path class="cell-bad" d="{4}"/>'
        '<rect class="cell-tap" width="1" height="1"/></svg>',
        *(taps, grid.side, grid.name, address, marks),
    )


def _sums_html(cell: Cell, given: int) -> Markup:
    """The sum of every input channel, which the page lists in the chosen order."""
    return fill(
        '<div class="cell-sums"><h3>{:,} input {}'
        ' <span class="cell-keys" role="group" aria-label="order">'
        '<button type="button" data-cell-order="size" aria-pressed="true">by size</button>'
        '<button type="button" data-cell-order="index" aria-pressed="false">by index</button>'
        '</span></h3><div class="cell-list" data-cell-sums="{}" data-first="{}" data-shown="{}">'
        "</div></div>",
        *(
            len(cell.in_channels),
            term("channels", "channels"),
            floats(cell.per_channel),
            cell.in_channels[0],
            given,
        ),
    )
