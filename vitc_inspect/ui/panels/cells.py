"""The cell panel: one number of a convolution's output, and the arithmetic it came from."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from math import ceil, floor, isfinite, log10, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.common.images import to_image
from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import BoolArray, Cell, probe_cell
from vitc_inspect.probes.submodules import DoubleArray
from vitc_inspect.stem.prediction import LayerPrediction, Prediction
from vitc_inspect.stem.spec import Stage
from vitc_inspect.views import text
from vitc_inspect.views.maps import Scale, data_uri, plane_png, value_scale

FEW_CHANNELS = 4
"""With at most so many input channels, the grids of all of them are shown."""
MOST_TAPS = 96 * 96
"""A kernel with more taps is shown in colours alone, without the numbers behind them."""
MOST_PIXELS = 2**18
"""Pixels of the picture of a whole map; a larger map is thinned."""

_PLANE_HEIGHT = 200  # most height of a whole map (pixels)
_PLANE_GAP = 12  # between the two (pixels)
_CLEAR = 6  # below this a position of a whole map is too small to see, and a lens is added (pixels)
_LENS_ASPECT = 1.6  # width over height
_WORTHWHILE = 1.5  # what a lens must magnify
_GRID_GAP = 22  # between two grids, with the sign in it (pixels)
_READABLE = 22  # least side of a square that holds a number (pixels)
_DIGIT = 5.9  # width of a digit in such a square (pixels)
_MOST_TINT = 52  # strength of the colour behind a number, in hundredths: the number stays readable
_MOST_MARKS = 999  # squares of a grid that are marked as no finite numbers
_COLOURS = ("red", "green", "blue")

Side = Literal["in", "out"]


def cell_html(bench: PreparedRun, report: Report, *, layer: str, cell: str, width: int) -> str:
    """One cell of a convolution's map taken apart.

    Args:
        bench: The stem, ready to run.
        report: What the run found.
        layer: Name of the selected layer, of any kind.
        cell: "channel,row,column" or "channel"; behind a column there may be the input channel
            to look at. Whatever else stands for the middle of channel 0.
        width: Width of the panel (pixels).

    Returns:
        The equation, the window on the input beside the map, the products, and their sum.
    """
    stage = next((stage for stage in report.spec.stages if stage.name == layer), None)
    if stage is None:
        return _no_convolution_html(report.prediction, report.prediction.layer(layer))
    channel, row, column, asked = read_cell(cell, stage)
    # weights may be infinite, or no numbers at all
    with bench.normalising(), np.errstate(invalid="ignore", over="ignore"):
        one = probe_cell(bench.module, bench.batch, layer, channel, row, column)
        given = asked if asked in one.in_channels else strongest(one)
        return (
            f"{_equation_html(one)}"
            f"{_slide_html(report, stage, one, given, pinned=given == asked, width=width)}"
            f"{_products_html(one, given, first=stage is report.spec.stages[0], width=width)}"
            f"{_ledger_html(one)}"
        )


def read_cell(cell: str, stage: Stage) -> tuple[int, int, int, int | None]:
    """Find the cell that a text asks for.

    Args:
        cell: As in `cell_html`.
        stage: The convolution.

    Returns:
        Channel, row and column of the output, and the input channel, None where none is asked.
    """
    channel, *place = _numbers(cell, stage.out_shape) or (0,)
    row, column = place[:2] or (side // 2 for side in stage.out_shape[1:])
    return channel, row, column, place[2] if len(place) == 3 else None


def shown_cell(cell: str, layer: LayerPrediction, stage: Stage | None) -> str:
    """Write the map or the cell that a text asks for, without what the layer has not.

    Args:
        cell: As in `cell_html`.
        layer: The selected layer.
        stage: The convolution, where the layer is one.

    Returns:
        The text, without an input channel that the map does not read; empty for no such cell.
    """
    numbers = _numbers(cell, layer.out_shape)
    if numbers is None:
        return ""
    if len(numbers) == 4 and not (stage and numbers[3] in _read_by(stage, numbers[0])):
        numbers = numbers[:3]
    return ",".join(map(str, numbers))


def _numbers(cell: str, out_shape: Sequence[int]) -> tuple[int, ...] | None:
    """The numbers of a text, of which the first three lie on the maps; None for any other."""
    parts = cell.split(",")
    if len(out_shape) != 3 or len(parts) not in (1, 3, 4):
        return None
    if not all(re.fullmatch("[0-9]{1,6}", part) for part in parts):
        return None
    numbers = tuple(map(int, parts))
    inside = all(number < count for number, count in zip(numbers, out_shape, strict=False))
    return numbers if inside else None


def _read_by(stage: Stage, channel: int) -> range:
    """The input channels that a map reads."""
    conv = stage.conv
    size = stage.in_shape[0] // conv.groups
    first = channel // (conv.out_channels // conv.groups) * size
    return range(first, first + size)


def strongest(cell: Cell) -> int:
    """The input channel whose products add up to the most, of either sign."""
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


def _no_convolution_html(prediction: Prediction, layer: LayerPrediction) -> str:
    """What the layer does instead, and the way to a convolution."""
    target = layer.stage or prediction.spec.stages[-1].name
    name = escape(layer.name)
    where = "of its stage" if layer.stage else "before it"
    return (
        f"<header><h2>{name}</h2></header>"
        f'<p class="cell-none">{name} is no convolution: {_DOING[layer.kind]}. A cell can be taken'
        f" apart in the convolution {where}.</p>"
        f'<p><button type="button" class="run" data-layer="{target}">Go to {target}</button></p>'
    )


# ---- the equation --------------------------------------------------------------------------


def _equation_html(cell: Cell) -> str:
    """Which cell it is, what it adds up to, and what the hook saw."""
    bias = "" if cell.bias is None else " + bias"
    return (
        f'<header><h2>{cell.layer}, <span class="channels">map {cell.channel}</span>,'
        f' <span class="area">row {cell.row}, column {cell.column}</span></h2></header>'
        f'<p class="cell-equation"><span>Σ window × kernel{bias} ='
        f" <b>{text.number(cell.total)}</b>;</span> <span>the hook saw"
        f" <b>{text.number(cell.observed)}</b> {_verdict(cell)}</span></p>"
    )


def _verdict(cell: Cell) -> str:
    if cell.agrees:
        return '<span class="agrees">✓ equal</span>'
    return '<span class="differs">✗ not equal</span>'


# ---- the window on the input ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """A whole map on the screen, measured in its own positions."""

    side: Side
    label: str  # for those who do not see it
    left: int  # first column, below 0 in the padding
    top: int
    width: int  # columns
    height: int  # rows
    still: str  # SVG of what does not move
    moving: str  # SVG of what does
    lens_rows: int  # what its lens shows

    def pixels(self, room: float) -> float:
        """Size of a position in a space so wide (pixels)."""
        return min(room / self.width, _PLANE_HEIGHT / self.height)

    def lens_pixels(self, room: float) -> float:
        """Size of a position under the lens (pixels)."""
        return room / (self.lens_rows * _LENS_ASPECT)


def _slide_html(
    report: Report, stage: Stage, cell: Cell, given: int, *, pinned: bool, width: int
) -> str:
    """Input and output side by side, with the window and the cell that the page moves."""
    conv = stage.conv
    span = (conv.kernel_size - 1) * conv.dilation + 1
    room = (width - _PLANE_GAP) / 2
    planes = (
        _input_plane(report, stage, given, span),
        _output_plane(report, stage, cell, span),
    )
    zoomed = any(
        plane.pixels(room) < min(_CLEAR, plane.lens_pixels(room) / _WORTHWHILE) for plane in planes
    )
    state = {
        "layer": stage.name,
        "channel": cell.channel,
        "chosen": [cell.row, cell.column],
        "given": given if pinned else None,
        "size": stage.in_shape[1:],
        "cells": stage.out_shape[1:],
        "taps": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
    }
    rows, columns = stage.out_shape[1:]
    pictures = [_plane_svg(plane, room) for plane in planes]
    lenses = [_lens_svg(plane) for plane in planes] if zoomed else []
    return (
        f'<div class="cell-slide" data-cell-slide="{escape(json.dumps(state))}">'
        f'<div class="cell-planes"><p>{_input_title(report, stage, given)}</p>'
        f'<p>map <span class="channels">{cell.channel}</span> of {stage.name},'
        f' <span class="area">{rows}×{columns}</span></p>'
        f"{''.join((*pictures, *lenses))}</div>"
        '<p class="cell-reads"><span data-cell-here></span><span data-cell-padded></span></p>'
        '<p class="cell-reads"><span class="area" data-cell-read></span>'
        '<button type="button" class="inline" data-cell-take hidden>take it apart</button></p>'
        f"{_controls_html()}{_legend_html(report.prediction.layer(stage.name), stage)}</div>"
    )


def _input_plane(report: Report, stage: Stage, given: int, span: int) -> _Plane:
    conv = stage.conv
    height, width = stage.in_shape[1:]
    unread = _unread_path(report.prediction.layer(stage.name), height, width)
    moving = _window_svg(span, conv.dilation)
    return _Plane(
        side="in",
        label=f"Input of {stage.name}, {height} rows, {width} columns",
        left=-conv.padding,
        top=-conv.padding,
        width=width + 2 * conv.padding,
        height=height + 2 * conv.padding,
        still=f'{_input_picture(report, stage, given)}<path class="cell-unread" d="{unread}"/>',
        moving=f'<g class="cell-at" data-cell-at="in">{moving}</g>',
        lens_rows=max(9, span + 2 * max(conv.stride, 2)),
    )


def _output_plane(report: Report, stage: Stage, cell: Cell, span: int) -> _Plane:
    rows, columns = stage.out_shape[1:]
    chosen = f'<rect class="cell-chosen" x="{cell.column}" y="{cell.row}" width="1" height="1"/>'
    shown = max(9, span + 2 * max(stage.conv.stride, 2))
    return _Plane(
        side="out",
        label=f"Map {cell.channel} of {stage.name}, {rows} rows, {columns} columns",
        left=0,
        top=0,
        width=columns,
        height=rows,
        still=_output_picture(report, stage, cell.channel),
        moving=f'{chosen}<g class="cell-at" data-cell-at="out">{_window_svg(1, 1)}</g>',
        lens_rows=max(5, round(shown / stage.conv.stride)),
    )


def _window_svg(span: int, dilation: int) -> str:
    """A square frame at the origin; inside it the taps, where they stand apart."""
    box = f'width="{span}" height="{span}"'
    taps = ""
    if dilation > 1:
        taps = (
            f'<pattern id="cell-taps" width="{dilation}" height="{dilation}"'
            ' patternUnits="userSpaceOnUse"><rect width="1" height="1"/></pattern>'
            f'<rect class="cell-taps" {box} fill="url(#cell-taps)"/>'
        )
    return f'{taps}<rect class="cell-halo" {box}/><rect class="cell-edge" {box}/>'


def _plane_svg(plane: _Plane, room: float) -> str:
    """The whole map; what is bare of a picture shows the hatching of the padding."""
    pixels = plane.pixels(room)
    keys = "Arrow keys move the cell, Enter takes it apart, space plays."
    return (
        f'<svg class="cell-plane{" cell-coarse" if pixels >= 1 else ""}" tabindex="0"'
        f' role="application" aria-label="{plane.label}. {keys}" data-cell-plane="{plane.side}"'
        f' viewBox="{plane.left} {plane.top} {plane.width} {plane.height}"'
        f' style="width:min(100%, {_PLANE_HEIGHT * plane.width / plane.height:.1f}px)">'
        f"<g data-cell-still>{plane.still}</g>{plane.moving}</svg>"
    )


def _lens_svg(plane: _Plane) -> str:
    """The same, magnified; the page puts the picture in, and says what part is seen."""
    frame = f"M{plane.left} {plane.top}h{plane.width}v{plane.height}h{-plane.width}z"
    far = f"M{plane.left - 999} {plane.top - 999}h{plane.width + 1998}v{plane.height + 1998}"
    return (
        f'<svg class="cell-lens cell-coarse" data-cell-plane="{plane.side}" aria-hidden="true"'
        f' data-rows="{plane.lens_rows}" data-columns="{plane.lens_rows * _LENS_ASPECT:.4g}"'
        f' data-box="{plane.left},{plane.top},{plane.width},{plane.height}"'
        f' style="aspect-ratio:{_LENS_ASPECT}">'
        f'<path class="cell-nothing" d="{far}h{-plane.width - 1998}z{frame}"/>'
        f'<path class="cell-frame" d="{frame}"/>{plane.moving}</svg>'
    )


def _input_layer(prediction: Prediction, stage: Stage) -> str | None:
    """Name of the layer whose output the convolution reads; None for the image."""
    names = [layer.name for layer in prediction.layers]
    place = names.index(stage.name)
    return names[place - 1] if place else None


def _input_title(report: Report, stage: Stage, given: int) -> str:
    """What the picture of the input is of."""
    height, width = stage.in_shape[1:]
    before = _input_layer(report.prediction, stage)
    area = f'<span class="area">{height}×{width}</span>'
    if before is None:
        if _is_photograph(stage):
            return f"image, {area}"
        return f'image, channel <span class="channels">{given}</span>, {area}'
    return f'map <span class="channels">{given}</span> of {before}, {area}'


def _is_photograph(stage: Stage) -> bool:
    """Whether the channels of the image can be seen at once: grey, or red, green and blue."""
    return stage.in_shape[0] in (1, 3)


def _input_picture(report: Report, stage: Stage, given: int) -> str:
    before = _input_layer(report.prediction, stage)
    height, width = stage.in_shape[1:]
    if before is not None:
        return _kept_picture(report, before, given, (height, width))
    step = _step(height, width)
    thin = report.input[:, ::step, ::step]
    if not _is_photograph(stage):
        return _map_picture(thin[given], step, (height, width))
    file = BytesIO()
    to_image(thin).save(file, "JPEG", quality=92, subsampling=0)
    address = f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"
    return _image_svg(address, thin.shape[1:], step, (height, width), "")


def _output_picture(report: Report, stage: Stage, channel: int) -> str:
    return _kept_picture(report, stage.name, channel, stage.out_shape[1:])


def _kept_picture(report: Report, name: str, channel: int, size: tuple[int, ...]) -> str:
    """One map of a layer as far as it was kept; a plain field where it was not."""
    kept = report.trace.record(name).kept
    if kept is None or channel >= len(kept.values):
        return f'<rect class="cell-blank" width="{size[1]}" height="{size[0]}"/>'
    step = _step(*kept.values.shape[1:])
    plane: NDArray[np.float32] = kept.values[channel, ::step, ::step].float().numpy()
    return _map_picture(plane, step * kept.step, size)


def _step(height: int, width: int) -> int:
    """Every how many-th row and column a picture has room for."""
    return max(1, ceil(sqrt(height * width / MOST_PIXELS)))


def _map_picture(plane: NDArray[np.float32], step: int, size: tuple[int, ...]) -> str:
    scale = value_scale(plane)
    address = data_uri(plane_png(plane, scale))
    return _image_svg(address, plane.shape, step, size, "signed" if scale.signed else "")


def _image_svg(
    address: str, pixels: tuple[int, ...], step: int, size: tuple[int, ...], css: str
) -> str:
    """A picture on its map; a thinned one ends behind the last row, where it is cut off."""
    return (
        f'<svg width="{size[1]}" height="{size[0]}"><image href="{address}" class="{css}"'
        f' width="{pixels[1] * step}" height="{pixels[0] * step}" decoding="sync"'
        ' preserveAspectRatio="none"/></svg>'
    )


def _unread_path(layer: LayerPrediction, height: int, width: int) -> str:
    """The rows and the columns that no window reads, runs of them as one."""
    rows = "".join(f"M0 {at}h{width}v{n}h{-width}z" for at, n in _runs(layer.unread_rows))
    columns = "".join(f"M{at} 0h{n}v{height}h{-n}z" for at, n in _runs(layer.unread_columns))
    return rows + columns


def _runs(positions: tuple[int, ...]) -> list[tuple[int, int]]:
    """Neighbouring positions together: where each run begins, and how long it is."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and sum(runs[-1]) == position:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs


_ICONS = {
    "back": ("one cell back", "M3 2v10M11 2L5 7l6 5z"),
    "play": ("play", "M4 2l8 5-8 5z"),
    "forward": ("one cell forward", "M11 2v10M3 2l6 5-6 5z"),
}
_SPEEDS = {"slow": 2, "medium": 8, "fast": 30}  # cells a second


def _controls_html() -> str:
    """Step, play, speed; buttons, since the page takes every other control for a choice."""
    steps = "".join(
        f'<button type="button" data-cell-do="{name}" aria-label="{title}" title="{title}">'
        f'<svg viewBox="0 0 14 14" aria-hidden="true"><path d="{path}"/></svg></button>'
        for name, (title, path) in _ICONS.items()
    )
    speeds = "".join(
        f'<button type="button" data-cell-speed="{cells}" aria-pressed="false"'
        f' title="{cells} cells a second">{name}</button>'
        for name, cells in _SPEEDS.items()
    )
    return (
        f'<div class="cell-controls"><span class="cell-keys">{steps}</span>'
        f'<span class="cell-keys" role="group" aria-label="speed">{speeds}</span></div>'
    )


def _legend_html(layer: LayerPrediction, stage: Stage) -> str:
    """What the colours on the input stand for, and which of it is read by nobody."""
    conv = stage.conv
    parts = [f'<span><i class="cell-key-window"></i>window, stride {conv.stride}</span>']
    if conv.dilation > 1:
        parts.append(f'<span><i class="cell-key-tap"></i>tap, dilation {conv.dilation}</span>')
    if conv.padding:
        parts.append(f'<span><i class="cell-key-padding"></i>padding, {conv.padding}</span>')
    if unread := text.unread(layer):
        parts.append(f'<span class="cell-lost"><i class="cell-key-unread"></i>{unread}</span>')
    return f'<p class="cell-legend">{"".join(parts)}</p>'


# ---- the products --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """How one kind of grid is drawn, the same for every input channel."""

    name: str  # "window", "kernel" or "products"
    most: float  # size of the largest number, where the colours end
    square: int  # side of a square that holds a number; 0 where numbers have no room (pixels)
    side: int  # of the whole grid (pixels)
    power: int  # the numbers are printed in units of this power of ten
    places: int  # decimals
    bare: bool  # whether the 0 before a point is left out


def _products_html(cell: Cell, given: int, *, first: bool, width: int) -> str:
    """Window, kernel and products of the few input channels there are, or of one of many."""
    count = len(cell.in_channels)
    few = count <= FEW_CHANNELS and cell.products.size <= MOST_TAPS
    shown = range(count) if few else [cell.in_channels.index(given)]
    room = floor((width - 2 * _GRID_GAP) / 3)
    kinds = {"window": cell.window, "kernel": cell.kernel, "products": cell.products}
    grids = [_grid(name, values[list(shown)], room) for name, values in kinds.items()]
    colours = _COLOURS if first and count == len(_COLOURS) else ("",) * count
    blocks = "".join(_block_html(cell, index, grids, colours[index]) for index in shown)
    said = "Choose a square to see its numbers."
    if not _sent(cell):
        said = f"{cell.padded.size:,} taps are too many to be told one by one."
    return (
        f'<div class="cell-products"><h3>Window × kernel = products</h3>{blocks}'
        f'<p class="cell-said" data-cell-said>{said}</p></div>'
        f"{'' if few else _sums_html(cell, given)}"
    )


def _sent(cell: Cell) -> bool:
    """Whether the numbers of a channel go to the page."""
    return cell.padded.size <= MOST_TAPS


def _grid(name: str, values: DoubleArray, room: int) -> _Grid:
    """Find decimals and unit with which the numbers of some channels fit into their squares."""
    most = _largest(values)
    square = min(room // values.shape[1], 64 if values.shape[1] == 1 else 38)
    if square < _READABLE:
        return _Grid(name=name, most=most, square=0, side=room, power=0, places=0, bare=False)
    digits = floor((square - 3) / _DIGIT)
    bare = digits < 5
    power, places = _decimals(most, digits, bare=bare)
    return _Grid(
        name=name, most=most, square=square, side=room, power=power, places=places, bare=bare
    )


def _decimals(most: float, digits: int, *, bare: bool) -> tuple[int, int]:
    """Power of ten and decimals that show two digits of the largest number, or more.

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


def _block_html(cell: Cell, index: int, grids: Sequence[_Grid], colour: str) -> str:
    """One input channel: three grids and their sum."""
    channel, unpadded = cell.in_channels[index], np.zeros_like(cell.padded)
    planes = (
        (cell.window[index], cell.padded),
        (cell.kernel[index], unpadded),
        (cell.products[index], cell.padded),
    )
    window, kernel, products = (
        f"<figure>{(_numbers_html if grid.square else _tile_svg)(values, padded, grid)}"
        f"<figcaption>{_unit(grid)}</figcaption></figure>"
        for (values, padded), grid in zip(planes, grids, strict=True)
    )
    sent = ""
    if _sent(cell):
        window_floats, kernel_floats = _floats(cell.window[index]), _floats(cell.kernel[index])
        sent = f' data-window="{window_floats}" data-kernel="{kernel_floats}"'
    title = f'input channel <span class="channels">{channel}</span>'
    return (
        f'<div class="cell-block"><p><span>{title}{f", {colour}" if colour else ""}</span>'
        f"<span>Σ = <b>{text.number(float(cell.per_channel[index]))}</b></span></p>"
        f'<div class="cell-grids" tabindex="0" role="application" data-cell-block="{channel}"'
        f' data-at="{cell.rows[0]},{cell.columns[0]}"{sent}'
        f' aria-label="Window, kernel and products of input channel {channel}. Arrow keys move'
        f' from tap to tap.">{window}<span>×</span>{kernel}<span>=</span>{products}</div></div>'
    )


def _unit(grid: _Grid) -> str:
    """The unit of printed numbers where it is not 1; of colours, where they end."""
    if grid.square:
        power = str(grid.power).replace("-", "−")
        return f"in 10<sup>{power}</sup>" if grid.power else ""
    return f"±{text.number(grid.most, 3)}"


def _numbers_html(values: DoubleArray, padded: BoolArray, grid: _Grid) -> str:
    """A grid of numbers on colours: red above 0, blue below, and none at 0."""
    rows = "".join(
        f"<tr>{''.join(_square_html(*square, grid) for square in zip(row, pads, strict=True))}</tr>"
        for row, pads in zip(values.tolist(), padded.tolist(), strict=True)
    )
    return (
        f'<table class="cell-table" style="--square:{grid.square}px" aria-label="{grid.name}">'
        f"<tbody>{rows}</tbody></table>"
    )


def _square_html(value: float, padded: bool, grid: _Grid) -> str:
    if padded:
        return '<td class="cell-padding" title="padding">0</td>'
    if not isfinite(value):
        return f'<td class="cell-odd">{text.number(value)}</td>'
    if not value:
        return "<td>0</td>"
    said = f"{value / 10.0**grid.power:.{grid.places}f}".replace("-", "−")
    if grid.bare and grid.places and said.lstrip("−").startswith("0."):
        said = said.replace("0.", ".", 1)
    sign, tint = "plus" if value > 0 else "minus", _MOST_TINT * abs(value) / grid.most
    return f'<td class="cell-{sign}" style="--v:{tint:.0f}%">{said}</td>'


def _tile_svg(values: DoubleArray, padded: BoolArray, grid: _Grid) -> str:
    """A grid of colours alone; padding is left bare, and what is no finite number is marked."""
    taps, most = len(values), grid.most or 1.0
    plane = np.where(padded, np.nan, values).astype(np.float32)
    address = data_uri(plane_png(plane, Scale(low=-most, high=most)))
    odd = np.argwhere(~np.isfinite(values) & ~padded)[:_MOST_MARKS]
    marks = "".join(f"M{column} {row}h1v1h-1z" for row, column in odd)
    return (
        f'<svg class="cell-tile" viewBox="0 0 {taps} {taps}" style="width:{grid.side}px"'
        f' role="img" aria-label="{grid.name}"><image href="{address}" class="signed"'
        f' width="{taps}" height="{taps}" decoding="sync"/><path class="cell-bad" d="{marks}"/>'
        '<rect class="cell-tap" width="1" height="1"/></svg>'
    )


def _floats(values: DoubleArray) -> str:
    """Numbers for the page: float32, little-endian, in base64."""
    return b64encode(values.astype("<f4").tobytes()).decode()


def _sums_html(cell: Cell, given: int) -> str:
    """The sum of every input channel, listed by the page in the order that is asked for."""
    count = len(cell.in_channels)
    return (
        f'<div class="cell-sums"><h3>{count:,} input channels'
        ' <span class="cell-keys" role="group" aria-label="order">'
        '<button type="button" data-cell-order="size" aria-pressed="true">by size</button>'
        '<button type="button" data-cell-order="index" aria-pressed="false">by index</button>'
        f'</span></h3><div class="cell-list" data-cell-sums="{_floats(cell.per_channel)}"'
        f' data-first="{cell.in_channels[0]}" data-shown="{given}"></div></div>'
    )


# ---- the sum -------------------------------------------------------------------------------


def _ledger_html(cell: Cell) -> str:
    """The sum as an account: the products, the bias, the total, and beside it what was seen."""
    name = f"Σ of {cell.products.size:,} products"
    lines = []
    if cell.bias is not None:
        lines = [(name, float(cell.products.sum())), ("+ bias", cell.bias)]
        name = "= the sum"
    places = _places([*(value for _, value in lines), cell.total, cell.observed])
    body = "".join(_ledger_line(name, value, places) for name, value in lines)
    dtype = str(cell.dtype).removeprefix("torch.")
    return (
        f'<table class="cell-ledger"><tbody>{body}'
        f"{_ledger_line(f'{name}, in float64', cell.total, places, 'cell-total')}"
        f"{_ledger_line(f'the hook saw, in {dtype}', cell.observed, places)}</tbody></table>"
        f'<p class="cell-apart">{_verdict(cell)}{_apart(cell)}</p>'
    )


def _apart(cell: Cell) -> str:
    """How far the two are from each other, and how far they may be."""
    apart = abs(cell.total - cell.observed)
    if not isfinite(apart) or not isfinite(cell.tolerance):
        return ""
    if not apart:
        return ' <span class="soft">to the last digit</span>'
    return (
        f' <span class="soft">{text.number(apart, 2)} apart, and rounding allows'
        f" {text.number(cell.tolerance, 2)}</span>"
    )


def _places(values: list[float]) -> int | None:
    """Decimals that show nine digits of the largest; None where that needs powers of ten."""
    most = max((abs(value) for value in values if isfinite(value)), default=0.0)
    if not most or not 1e-4 <= most < 1e8:
        return None
    return 8 - floor(log10(most))


def _ledger_line(name: str, value: float, places: int | None, css: str = "") -> str:
    said = text.number(value, 9)
    if places is not None and isfinite(value):
        said = f"{value:.{places}f}".replace("-", "−")
    return f'<tr class="{css}"><th scope="row">{name}</th><td>{said}</td></tr>'
