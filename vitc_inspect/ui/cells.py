"""The cell panel: one number of a convolution's output, and the arithmetic it came from."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from io import BytesIO
from math import ceil, floor, isfinite, log10, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.images import to_image
from vitc_inspect.prediction import LayerPrediction, Prediction
from vitc_inspect.probes import Cell, DoubleArray, probe_cell
from vitc_inspect.report import Bench, Report
from vitc_inspect.spec import Stage
from vitc_inspect.views import text
from vitc_inspect.views.maps import Scale, data_uri, plane_png, value_scale

FEW_CHANNELS = 4
"""With at most so many input channels, the grids of all of them are shown."""
MOST_TAPS = 96 * 96
"""Taps of all grids whose values are sent for the pointer to read."""
MOST_PIXELS = 2**18
"""Pixels of the picture of a whole map; a larger map is thinned."""

_PLANE_HEIGHT = 176  # most height of a whole map (pixels)
_PLANE_GAP = 12  # between the two (pixels)
_CLEAR = 6  # below this a position of a whole map is too small to see, and a lens is added (pixels)
_LENS_ASPECT = 1.6  # width over height
_GRID_GAP = 22  # between two grids, with the sign in it (pixels)
_READABLE = 22  # least side of a square that holds a number (pixels)
_DIGIT = 5.9  # width of a digit in such a square (pixels)
_MOST_TINT = 52  # strength of the colour behind a number, in hundredths: the number stays readable
_COLOURS = ("red", "green", "blue")

Side = Literal["in", "out"]


def cell_html(bench: Bench, report: Report, *, layer: str, cell: str, width: int) -> str:
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
    channels, rows, columns = stage.out_shape
    middle = (rows // 2, columns // 2)
    parts = cell.split(",")
    if len(parts) not in (1, 3, 4) or not all(re.fullmatch("[0-9]{1,6}", part) for part in parts):
        return 0, *middle, None
    channel, *place = map(int, parts)
    row, column = place[:2] or middle
    if channel >= channels or row >= rows or column >= columns:
        return 0, *middle, None
    return channel, row, column, place[2] if len(place) == 3 else None


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
    zoomed = any(plane.pixels(room) < _CLEAR for plane in planes)
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
        f'<p class="cell-reads"><span data-cell-reads></span>'
        ' <button type="button" class="inline" data-cell-take hidden>take it apart</button></p>'
        f"{_controls_html()}{_legend_html(report.prediction.layer(stage.name), stage)}</div>"
    )


def _input_plane(report: Report, stage: Stage, given: int, span: int) -> _Plane:
    conv = stage.conv
    height, width = stage.in_shape[1:]
    unread = _unread_path(report.prediction.layer(stage.name), height, width)
    moving = _window_svg(span, conv.dilation)
    return _Plane(
        side="in",
        label=f"Input of {stage.name}, {height} rows, {width} columns, with its padding",
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
        f' style="width:{pixels * plane.width:.1f}px">'
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
        parts.append(f'<span class="differs"><i class="cell-key-unread"></i>{unread}</span>')
    return f'<p class="cell-legend">{"".join(parts)}</p>'


# ---- the products --------------------------------------------------------------------------


def _products_html(cell: Cell, given: int, *, first: bool, width: int) -> str:
    """Window, kernel and products of the few input channels there are, or of one of many."""
    few = len(cell.in_channels) <= FEW_CHANNELS and len(cell.in_channels) * len(cell.rows) ** 2 <= (
        MOST_TAPS
    )
    shown = list(cell.in_channels) if few else [given]
    picked = [cell.in_channels.index(channel) for channel in shown]
    grids = _Grids(cell, picked, width)
    named = first and len(cell.in_channels) == len(_COLOURS)
    blocks = "".join(
        _block_html(cell, index, grids, _COLOURS[index] if named else "") for index in picked
    )
    said = "Point at a square to see its numbers."
    if not grids.sent:
        said = f"{cell.products[0].size:,} taps are too many to tell one by one."
    return (
        f'<div class="cell-products"><h3>Window × kernel = products</h3>{blocks}'
        f'<p class="cell-said" data-cell-said>{said}</p></div>'
        f"{'' if few else _sums_html(cell, given)}"
    )


class _Grids:
    """How the grids of a cell are drawn: with numbers where they fit, and one scale for each."""

    def __init__(self, cell: Cell, picked: list[int], width: int) -> None:
        taps = len(cell.rows)
        room = (width - 2 * _GRID_GAP) / 3
        self.numbers = room / taps >= _READABLE
        self.square = floor(min(room / taps, 64 if taps == 1 else 38))
        self.side = floor(min(room, 8 * taps)) if not self.numbers and taps < 8 else floor(room)
        self.sent = cell.products[picked].size <= MOST_TAPS
        self.window = _span_of(cell.window[picked])
        self.kernel = _span_of(cell.kernel[picked])
        self.products = _span_of(cell.products[picked])


def _span_of(values: DoubleArray) -> float:
    """The size of the largest finite number, at which the colours end."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _block_html(cell: Cell, index: int, grids: _Grids, colour: str) -> str:
    """One input channel: three grids and their sum."""
    channel, padded = cell.in_channels[index], cell.padded
    parts = (
        ("window", cell.window[index], grids.window, padded),
        ("kernel", cell.kernel[index], grids.kernel, np.zeros_like(padded)),
        ("products", cell.products[index], grids.products, padded),
    )
    draw = _table_html if grids.numbers else _tile_svg
    drawn = [
        f"<figure>{draw(name, values, most, hidden, grids)}</figure>"
        for name, values, most, hidden in parts
    ]
    values = ""
    if grids.sent:
        values = (
            f' data-window="{_floats(cell.window[index])}"'
            f' data-kernel="{_floats(cell.kernel[index])}"'
        )
    title = f'input channel <span class="channels">{channel}</span>'
    return (
        f'<div class="cell-block"><p><span>{title}{f", {colour}" if colour else ""}</span>'
        f"<span>Σ = <b>{text.number(float(cell.per_channel[index]))}</b></span></p>"
        f'<div class="cell-grids" tabindex="0" role="application" data-cell-block="{channel}"'
        f' data-at="{cell.rows[0]},{cell.columns[0]}"{values}'
        f' aria-label="Window, kernel and products of input channel {channel}. Arrow keys move'
        f' from tap to tap.">{drawn[0]}<span>×</span>{drawn[1]}<span>=</span>{drawn[2]}</div></div>'
    )


def _table_html(
    name: str, values: DoubleArray, most: float, hidden: NDArray[np.bool_], grids: _Grids
) -> str:
    """A grid of numbers on colours: red above 0, blue below, and nothing at 0."""
    texts = _texts([float(value) for value in values.flat], floor((grids.square - 3) / _DIGIT))
    squares = [
        _square_html(float(value), said, most, bool(pad))
        for value, said, pad in zip(values.flat, texts, hidden.flat, strict=True)
    ]
    taps = len(values)
    rows = "".join(
        f"<tr>{''.join(squares[start : start + taps])}</tr>"
        for start in range(0, len(squares), taps)
    )
    return (
        f'<table class="cell-table" style="--square:{grids.square}px" aria-label="{name}"><tbody>'
        f"{rows}</tbody></table>"
    )


def _square_html(value: float, said: str, most: float, padded: bool) -> str:
    if padded:
        return '<td class="cell-padding" title="padding">0</td>'
    if not isfinite(value):
        return f'<td class="cell-odd">{said}</td>'
    if not value or not most:
        return f"<td>{said}</td>"
    tint = _MOST_TINT * abs(value) / most
    return (
        f'<td class="cell-{"plus" if value > 0 else "minus"}" style="--v:{tint:.0f}%">{said}</td>'
    )


def _texts(values: list[float], room: int) -> list[str]:
    """The numbers with as many decimals, the same for all, as the squares have room for."""
    most = max((abs(value) for value in values if isfinite(value)), default=0.0)
    decimals = range(0) if most and most < 0.005 else range(3 if room < 8 else 4, -1, -1)
    for places in decimals:
        texts = [_fixed(value, places, short=room < 5) for value in values]
        fitting = all(len(said.replace(".", "")) <= room for said in texts)
        if fitting and (not most or places > 0 or most >= 1):
            return texts
    return [_power(value) for value in values]


def _fixed(value: float, places: int, *, short: bool) -> str:
    if not value or not isfinite(value):
        return text.number(value)
    said = f"{value:.{places}f}".replace("-", "−")
    return said.replace("0.", ".", 1) if short and abs(value) < 1 and places else said


def _power(value: float) -> str:
    """A number as a digit and a power of ten: 3e−5."""
    if not value or not isfinite(value):
        return text.number(value)
    digit, power = f"{value:.0e}".split("e")
    return f"{digit}e{int(power)}".replace("-", "−")


def _tile_svg(
    name: str, values: DoubleArray, most: float, hidden: NDArray[np.bool_], grids: _Grids
) -> str:
    """A grid of colours alone."""
    taps = len(values)
    plane = np.where(hidden, np.nan, values).astype(np.float32)  # what is no number is left bare
    address = data_uri(plane_png(plane, Scale(low=-(most or 1.0), high=most or 1.0)))
    odd = np.argwhere(~np.isfinite(values) & ~hidden)[:999]
    marks = "".join(f"M{column} {row}h1v1h-1z" for row, column in odd)
    return (
        f'<svg class="cell-tile" viewBox="0 0 {taps} {taps}" style="width:{grids.side}px"'
        f' role="img" aria-label="{name}, from {text.number(-most, 3)} to {text.number(most, 3)}">'
        f'<image href="{address}" class="signed" width="{taps}" height="{taps}" decoding="sync"/>'
        f'<path class="cell-bad" d="{marks}"/><rect class="cell-tap" width="1" height="1" hidden/>'
        f"</svg><figcaption>±{text.number(most, 3)}</figcaption>"
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
    products = float(cell.products.sum())
    lines = [(f"Σ of {cell.products.size:,} products", products)]
    if cell.bias is not None:
        lines.append(("+ bias", cell.bias))
    places = _places([*(value for _, value in lines), cell.total, cell.observed])
    body = "".join(_ledger_line(name, value, places) for name, value in lines)
    dtype = str(cell.dtype).removeprefix("torch.")
    return (
        f'<table class="cell-ledger"><tbody>{body}'
        f"{_ledger_line('= the sum, in float64', cell.total, places, 'cell-total')}"
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
