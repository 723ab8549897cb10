"""The convolution's window on its input beside the map it produces, for the cell panel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.cells import Cell
from vitc_inspect.stem.prediction import LayerPrediction
from vitc_inspect.stem.spec import Stage
from vitc_inspect.ui.panels.elements import button
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Markup, fill, join, tag
from vitc_inspect.views.maps import data_uri, plane_png, value_scale
from vitc_inspect.views.pixels import jpeg_uri, stretches

_MOST_PIXELS = 2**18  # of the picture of a whole map; a larger map is thinned
_PLANE_HEIGHT = 200  # most height of a whole map (pixels)
_PLANE_GAP = 12  # between the two (pixels)
_CLEAR = 6  # below this a position of a whole map is too small to see, and a lens is added (pixels)
_LENS_ASPECT = 1.6  # width over height
_WORTHWHILE = 1.5  # what a lens must magnify

Side = Literal["in", "out"]


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """A whole map as drawn; lengths are positions of the map."""

    side: Side
    label: str  # for those who do not see it
    box: tuple[int, int, int, int]  # left and top, below 0 in the padding; columns and rows
    still: Markup  # SVG of what does not move
    moving: Markup  # SVG of what does
    lens_rows: int  # what its lens shows

    def pixels(self, room: float) -> float:
        """Side of one position when the map may be `room` pixels wide (pixels)."""
        return min(room / self.box[2], _PLANE_HEIGHT / self.box[3])

    def lens_pixels(self, room: float) -> float:
        """Side of one position under the lens (pixels)."""
        return room / (self.lens_rows * _LENS_ASPECT)


def window_html(
    report: Report, stage: Stage, cell: Cell, given: int, *, pinned: bool, width: int
) -> Markup:
    """Draw input and output side by side, with the window and the cell that the page moves.

    Args:
        report: The run.
        stage: The convolution.
        cell: The cell that was chosen.
        given: The input channel that is shown.
        pinned: Whether that was asked for, so that it stays when the cell moves.
        width: Width of the panel (pixels).
    """
    conv = stage.conv
    span = (conv.kernel_size - 1) * conv.dilation + 1
    room = (width - _PLANE_GAP) / 2
    planes = (_input_plane(report, stage, given, span), _output_plane(report, stage, cell, span))
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
    drawn = [_plane_svg(plane, room) for plane in planes]
    if zoomed:
        drawn += map(_lens_svg, planes)
    return fill(
        '<div class="cell-slide" data-cell-slide="{}"><div class="cell-planes"><p>{}</p><p>{}</p>'
        '{}</div><p class="cell-reads"><span data-cell-here></span><span data-cell-padded></span>'
        '</p><p class="cell-reads"><span class="area" data-cell-read></span>'
        '<button type="button" class="inline" data-cell-take hidden>take it apart</button></p>'
        "{}{}</div>",
        *(json.dumps(state), _title(report, stage, given)),
        _map_title(cell.channel, stage.name, stage.out_shape[1:]),
        join(*drawn),
        _controls_html(),
        _legend_html(report.prediction.layer(stage.name), stage),
    )


def _title(report: Report, stage: Stage, given: int) -> Markup:
    """The title above the picture of the input."""
    before = _input_layer(report, stage)
    if before is not None:
        return _map_title(given, before, stage.in_shape[1:])
    area = fill('<span class="area">{}×{}</span>', *stage.in_shape[1:])
    if _is_photograph(stage):
        return join("image, ", area)
    return fill('image, channel <span class="channels">{}</span>, {}', given, area)


def _map_title(channel: int, layer: str, size: tuple[int, int]) -> Markup:
    return fill(
        'map <span class="channels">{}</span> of {}, <span class="area">{}×{}</span>',
        *(channel, layer, size[0], size[1]),
    )


def _input_plane(report: Report, stage: Stage, given: int, span: int) -> _Plane:
    conv, pad = stage.conv, stage.conv.padding
    height, width = stage.in_shape[1:]
    unread = _unread_path(report.prediction.layer(stage.name), height, width)
    moving = _window_svg(span, conv.dilation)
    return _Plane(
        side="in",
        label=f"Input of {stage.name}, {height} rows, {width} columns",
        box=(-pad, -pad, width + 2 * pad, height + 2 * pad),
        still=_input_picture(report, stage, given) + tag("path.cell-unread", d=unread),
        moving=tag("g.cell-at", moving, data_cell_at="in"),
        lens_rows=max(9, span + 2 * max(conv.stride, 2)),
    )


def _output_plane(report: Report, stage: Stage, cell: Cell, span: int) -> _Plane:
    rows, columns = stage.out_shape[1:]
    chosen = tag("rect.cell-chosen", x=cell.column, y=cell.row, width=1, height=1)
    shown = max(9, span + 2 * max(stage.conv.stride, 2))
    return _Plane(
        side="out",
        label=f"Map {cell.channel} of {stage.name}, {rows} rows, {columns} columns",
        box=(0, 0, columns, rows),
        still=_kept_picture(report, stage.name, cell.channel, stage.out_shape[1:]),
        moving=chosen + tag("g.cell-at", _window_svg(1, 1), data_cell_at="out"),
        lens_rows=max(5, round(shown / stage.conv.stride)),
    )


def _window_svg(span: int, dilation: int) -> Markup:
    """A square frame at the origin, with its taps where a dilation separates them."""
    edges = fill(
        '<rect class="cell-halo" width="{0}" height="{0}"/>'
        '<rect class="cell-edge" width="{0}" height="{0}"/>',
        span,
    )
    taps = fill(
        '<pattern id="cell-taps" width="{0}" height="{0}" patternUnits="userSpaceOnUse">'
        '<rect width="1" height="1"/></pattern>'
        '<rect class="cell-taps" width="{1}" height="{1}" fill="url(#cell-taps)"/>',
        *(dilation, span),
    )
    return taps + edges if dilation > 1 else edges


def _plane_svg(plane: _Plane, room: float) -> Markup:
    """The whole map; padding, which no picture covers, appears hatched."""
    coarse = " cell-coarse" if plane.pixels(room) >= 1 else ""
    shown = _PLANE_HEIGHT * plane.box[2] / plane.box[3]
    return fill(
        '<svg class="cell-plane{}" tabindex="0" role="application" aria-label="{}. Arrow keys move'
        ' the cell, Enter takes it apart, space plays." data-cell-plane="{}" viewBox="{} {} {} {}"'
        ' style="width:min(100%, {:.1f}px)"><g data-cell-still>{}</g>{}</svg>',
        *(coarse, plane.label, plane.side, *plane.box, shown, plane.still, plane.moving),
    )


def _lens_svg(plane: _Plane) -> Markup:
    """The same magnified; the page inserts the picture and chooses the visible part."""
    left, top, width, height = plane.box
    frame = f"M{left} {top}h{width}v{height}h{-width}z"
    far = f"M{left - 999} {top - 999}h{width + 1998}v{height + 1998}h{-width - 1998}z"
    return fill(
        '<svg class="cell-lens cell-coarse" data-cell-plane="{}" aria-hidden="true" data-rows="{}"'
        ' data-columns="{:.4g}" data-box="{},{},{},{}" style="aspect-ratio:{}">'
        '<path class="cell-nothing" d="{}{}"/><path class="cell-frame" d="{}"/>{}</svg>',
        *(plane.side, plane.lens_rows, plane.lens_rows * _LENS_ASPECT, *plane.box, _LENS_ASPECT),
        *(far, frame, frame, plane.moving),
    )


# ---- the pictures --------------------------------------------------------------------------


def _input_layer(report: Report, stage: Stage) -> str | None:
    """Name of the layer whose output the convolution reads; None for the image."""
    names = [layer.name for layer in report.prediction.layers]
    place = names.index(stage.name)
    return names[place - 1] if place else None


def _is_photograph(stage: Stage) -> bool:
    """Whether all channels of the image fit in one picture: grey, or red, green and blue."""
    return stage.in_shape[0] in (1, 3)


def _input_picture(report: Report, stage: Stage, given: int) -> Markup:
    before = _input_layer(report, stage)
    height, width = stage.in_shape[1:]
    if before is not None:
        return _kept_picture(report, before, given, (height, width))
    step = _step(height, width)
    thin = report.input[:, ::step, ::step]
    if not _is_photograph(stage):
        return _map_picture(thin[given], step, (height, width))
    address = jpeg_uri(thin, quality=92, subsampling=0)
    return _image_svg(address, thin.shape[1:], step, (height, width), "")


def _kept_picture(report: Report, name: str, channel: int, size: tuple[int, ...]) -> Markup:
    """One map of a layer; an empty field if it was not kept."""
    kept = report.trace.record(name).kept
    if kept is None or channel >= len(kept.values):
        return tag("rect.cell-blank", width=size[1], height=size[0])
    step = _step(*kept.values.shape[1:])
    plane: NDArray[np.float32] = kept.values[channel, ::step, ::step].float().numpy()
    return _map_picture(plane, step * kept.step, size)


def _step(height: int, width: int) -> int:
    """Step between the rows and columns drawn, so that the picture stays small."""
    return max(1, ceil(sqrt(height * width / _MOST_PIXELS)))


def _map_picture(plane: NDArray[np.float32], step: int, size: tuple[int, ...]) -> Markup:
    scale = value_scale(plane)
    address = data_uri(plane_png(plane, scale))
    return _image_svg(address, plane.shape, step, size, "signed" if scale.signed else "")


def _image_svg(
    address: str, pixels: tuple[int, ...], step: int, size: tuple[int, ...], css: str
) -> Markup:
    """A picture at the size of its map; a thinned one is cut off at the last row and column."""
    return fill(
        '<svg width="{}" height="{}"><image href="{}" class="{}" width="{}" height="{}"'
        ' decoding="sync" preserveAspectRatio="none"/></svg>',
        *(size[1], size[0], address, css, pixels[1] * step, pixels[0] * step),
    )


def _unread_path(layer: LayerPrediction, height: int, width: int) -> str:
    """Outlines of the rows and columns that no window reads; neighbours are one outline."""
    rows = (f"M0 {a}h{width}v{b - a}h{-width}z" for a, b in stretches(layer.unread_rows))
    columns = (f"M{a} 0h{b - a}v{height}h{a - b}z" for a, b in stretches(layer.unread_columns))
    return "".join((*rows, *columns))


# ---- controls and legend -------------------------------------------------------------------

_ICONS = {
    "back": ("one cell back", "M3 2v10M11 2L5 7l6 5z"),
    "play": ("play", "M4 2l8 5-8 5z"),
    "forward": ("one cell forward", "M11 2v10M3 2l6 5-6 5z"),
}

_SPEEDS = {"slow": 2, "medium": 8, "fast": 30}  # cells a second


def _controls_html() -> Markup:
    """Buttons for step, play and speed; the page treats any other control as a setting."""
    steps = [
        fill(
            '<button type="button" data-cell-do="{0}" aria-label="{1}" title="{1}"><svg'
            ' viewBox="0 0 14 14" aria-hidden="true"><path d="{2}"/></svg></button>',
            *(name, title, path),
        )
        for name, (title, path) in _ICONS.items()
    ]
    speeds = [
        button(name, data_cell_speed=cells, aria_pressed=False, title=f"{cells} cells a second")
        for name, cells in _SPEEDS.items()
    ]
    return fill(
        '<div class="cell-controls"><span class="cell-keys">{}</span>'
        '<span class="cell-keys" role="group" aria-label="speed">{}</span></div>',
        *(join(*steps), join(*speeds)),
    )


def _legend_html(layer: LayerPrediction, stage: Stage) -> Markup:
    """What the colours on the input mean, and which rows and columns are never read."""
    conv = stage.conv
    parts = [
        tag(
            "span",
            tag("i.cell-key-window"),
            term("window", "window"),
            ", ",
            term("stride", "stride"),
            f" {conv.stride}",
        )
    ]
    if conv.dilation > 1:
        parts.append(
            tag(
                "span",
                tag("i.cell-key-tap"),
                "tap, ",
                term("dilation", "dilation"),
                f" {conv.dilation}",
            )
        )
    if conv.padding:
        parts.append(
            tag("span", tag("i.cell-key-padding"), term("padding", "padding"), f", {conv.padding}")
        )
    if unread := text.unread(layer):
        parts.append(tag("span.cell-lost", tag("i.cell-key-unread"), unread))
    return tag("p.cell-legend", *parts)
