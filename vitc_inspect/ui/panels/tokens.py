"""The token panel: the token grid over the image, and one token in detail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import ceil

import numpy as np

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.gradients import TokenField, token_field
from vitc_inspect.stem.geometry import (
    Axis,
    Span,
    TokenBox,
    all_pixels_read,
    token_box,
    token_centre,
)
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.ui.panels.elements import box_svg, button, colour_bar, whole_numbers
from vitc_inspect.ui.panels.token_details import (
    Similarity,
    beyond_path,
    field_html,
    finite,
    similarity_of,
    vector_html,
)
from vitc_inspect.ui.panels.token_order import order_html
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Markup, fill, join, tag
from vitc_inspect.views.maps import Scale, data_uri, plane_png
from vitc_inspect.views.pixels import (
    Frame,
    box_path,
    frame_of,
    hatch_svg,
    heat_uri,
    photo_uri,
    rect,
    thinning,
)

_MOST_READERS = 30_000  # whole numbers that say who reads which pixel, in one axis
_KEYS = "arrow keys move from token to token, Enter chooses, Shift and arrow keys move over pixels"


def tokens_html(prepared: PreparedRun, report: Report, *, token: str, width: int) -> Markup:
    """Draw the token grid over the image, and one token's receptive field, vector and order.

    Args:
        prepared: The stem, ready to run; run it inside `prepared.normalising()`.
        report: What the run found.
        token: "row,column" in the grid; any other text selects the one of `first_token`.
        width: Width of the panel (pixels).
    """
    prediction, spec = report.prediction, report.spec
    rows, columns = spec.grid_size
    place = read_token(token, spec.grid_size) or first_token(spec.grid_size)
    # outside of prepared.normalising(): the statistics are held still
    field = token_field(prepared.module, prepared.batch, *place, statistics=prepared.statistics)
    box = token_box(spec, *place)
    similarity = similarity_of(report, field, place)
    frame = frame_of(spec, width=width)
    number = place[0] * columns + place[1]
    return fill(
        '<div class="token-panel" data-tokens="{}"><header><h2>{} <span class="token">({}, {})'
        '</span><span class="soft">, number {:,}</span></h2><p><span class="token">{:,}</span> ='
        ' <span class="area">{}×{}</span></p></header>{}{}'
        '<p class="token-output"><output data-token-output></output></p>{}{}{}</div>',
        *(
            _facts_json(spec, place, prediction),
            term("token"),
            *place,
            number,
            rows * columns,
            rows,
            columns,
        ),
        _overlay_tools_html(field, similarity),
        _stage_svg(report, frame, box, field, similarity, place),
        field_html(report, box, field, similarity, _thinned(spec, frame, similarity)),
        vector_html(similarity, place, spec.embed_dim),
        order_html(prepared, report, number),
    )


def read_token(token: str, grid_size: tuple[int, int]) -> tuple[int, int] | None:
    """Parse the text that selects a token, "row,column"; None if there is no such token."""
    place = whole_numbers(token)
    if len(place) == 2 and place[0] < grid_size[0] and place[1] < grid_size[1]:
        return place[0], place[1]
    return None


def first_token(grid_size: tuple[int, int]) -> tuple[int, int]:
    """The token that is shown first: near the middle, where a wrong order can be seen.

    That is off the border and off the diagonal, so that counting by columns gives another place.

    >>> first_token((14, 14)), first_token((2, 2)), first_token((1, 9)), first_token((1, 1))
    ((5, 8), (0, 1), (0, 5), (0, 0))
    """
    rows, columns = grid_size
    row, column = round(0.36 * rows), round(0.57 * columns)
    wanted = (min(row, rows - 1), min(column, columns - 1))

    def away(place: tuple[int, int]) -> tuple[bool, bool, int]:
        at, across = place
        same = at * columns + across == across * rows + at
        border = at in (0, rows - 1) or across in (0, columns - 1)
        return same, border, abs(at - wanted[0]) + abs(across - wanted[1])

    down, right = (
        range(max(0, middle - 2), min(count, middle + 3))
        for middle, count in zip(wanted, grid_size, strict=True)
    )
    return min(product(down, right), key=away)


# ---- what the page needs --------------------------------------------------------------------


def _facts_json(spec: StemSpec, place: tuple[int, int], prediction: Prediction) -> str:
    """What the page needs to follow the pointer without a request, as compact JSON."""
    first = token_centre(spec, 0, 0)
    facts = {
        "grid": spec.grid_size,
        "first": [at + 0.5 for at in first],  # a pixel's middle is half a pixel in
        "stride": spec.total_stride,
        "size": spec.image_size,
        "chosen": place,
        "channels": spec.embed_dim,
        "prefix": prediction.num_prefix_tokens,
        "readers": [_readers(spec, "height"), _readers(spec, "width")],
    }
    return json.dumps(facts, separators=(",", ":"))


@lru_cache(maxsize=32)
def _readers(spec: StemSpec, axis: Axis) -> list[list[int]] | None:
    """Tokens that read each pixel along an axis: [pixel, first, last, step, …] at each change.

    None where that would be too much to send.
    """
    size = spec.image_size[axis == "width"]
    tokens: list[list[int]] = [[] for _ in range(size)]
    for index, pixels in enumerate(all_pixels_read(spec, axis)):
        for pixel in pixels:
            tokens[pixel].append(index)
    found: list[list[int]] = []
    for pixel, readers in enumerate(tokens):
        if not pixel or readers != tokens[pixel - 1]:
            found.append([pixel, *_progressions(readers)])
    return found if sum(map(len, found)) <= _MOST_READERS else None


def _progressions(numbers: Sequence[int]) -> list[int]:
    """Split ascending numbers into arithmetic progressions: first, last and step of each."""
    found: list[int] = []
    at = 0
    while at < len(numbers):
        step = numbers[at + 1] - numbers[at] if at + 1 < len(numbers) else 1
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] - numbers[end] == step:
            end += 1
        found += [numbers[at], numbers[end], step]
        at = end + 1
    return found


def _thinned(spec: StemSpec, frame: Frame, similarity: Similarity) -> list[str]:
    """Notes on what is not drawn or was not kept."""
    notes = [
        what.format(apart)
        for apart, what in (
            (_dot_step(spec.total_stride, frame.unit), "Points are {} tokens apart."),
            (similarity.step, "Similarity is of tokens {} apart."),
            (thinning(spec.image_size), "The image is drawn from pixels {} apart."),
        )
        if apart > 1
    ]
    if similarity.dropped:
        notes.append(f"The last {similarity.dropped:,} numbers of each token were not kept.")
    if frame.cut:
        notes.append("More padding is read than is drawn.")
    return notes


# ---- the tokens over the image --------------------------------------------------------------


def _overlay_tools_html(field: TokenField, similarity: Similarity) -> Markup:
    """The switch between the overlays of the image, and their colour scales."""
    most = float(finite(field.heat).max())
    buttons = [
        button(title, data_token_over=key, aria_pressed=False)
        for key, title in (("heat", "Gradient"), ("likeness", "Similarity"), ("bare", "Image"))
    ]
    heat = _legend(Scale(low=0, high=most), term("gradient", "gradient") + " of this token")
    alike = _legend(_similarity_scale(similarity), term("cosine", "cosine") + " to this token")
    return fill(
        '<div class="token-tools"><div class="token-switch" role="group"'
        ' aria-label="over the image">{}</div><div class="token-legends">'
        '<div data-over="heat">{}</div><div data-over="likeness">{}</div></div></div>',
        *(join(*buttons), heat, alike),
    )


def _legend(scale: Scale, title: Markup) -> Markup:
    return colour_bar(scale, text.number(scale.low, 3), title, text.number(scale.high, 3))


def _similarity_scale(similarity: Similarity) -> Scale:
    """From the lowest similarity to 1; from -1 to 1 if any is negative."""
    least = float(similarity.cosines.min())
    return Scale(low=-1, high=1) if least < 0 else Scale(low=least, high=1)


def _stage_svg(
    report: Report,
    frame: Frame,
    box: TokenBox,
    field: TokenField,
    similarity: Similarity,
    place: tuple[int, int],
) -> Markup:
    """The image with its padding, token centres, and the chosen token's box and gradient."""
    spec = report.spec
    height, width = spec.image_size
    rows, columns = spec.grid_size
    unit, pad = frame.unit, frame.padding
    y, x = (at + 0.5 for at in token_centre(spec, *place))  # a pixel's middle is half a pixel in
    down = Span(start=max(box.rows.start, -pad.top), stop=min(box.rows.stop, height + pad.bottom))
    across = Span(
        start=max(box.columns.start, -pad.left), stop=min(box.columns.stop, width + pad.right)
    )
    label = f"Image of {height} by {width} pixels with {rows} by {columns} tokens; {_KEYS}"
    return fill(
        '<svg class="token-stage" viewBox="{}" style="width:{}px" data-unit="{:.5g}"'
        ' data-apart="{}" tabindex="0" role="application" aria-label="{}">{hatch}'
        '<path class="token-padding" d="{outer}{inner}"/>{layers}'
        '<path class="token-border" d="{inner}"/>{dots}<path class="token-beyond" d="{beyond}"/>'
        '{field}<path class="token-readers"/><rect class="token-pixel" width="0" height="0"/>'
        '<circle class="token-chosen" cx="{x:g}" cy="{y:g}" r="{radius:.4g}"/>'
        '<circle class="token-cursor" cx="{x:g}" cy="{y:g}" r="{far:.4g}"/></svg>',
        *(frame.view_box, frame.shown, unit, _dot_step(spec.total_stride, unit), label),
        hatch=hatch_svg("token", unit),
        outer=box_path(-pad.left, -pad.top, width + pad.right, height + pad.bottom),
        inner=box_path(0, 0, width, height),
        layers=_layers_svg(report, field, similarity),
        dots=_dots_svg(spec, unit),
        beyond=beyond_path(down, across, spec.image_size),
        field=box_svg("token-box", down, across),
        x=x,
        y=y,
        radius=max(2.4 * unit, min(4.6 * unit, 0.3 * box.rows.length)),
        far=7.5 * unit,
    )


def _layers_svg(report: Report, field: TokenField, similarity: Similarity) -> Markup:
    """The image and its two overlays, gradient and similarity, of which one is shown."""
    spec = report.spec
    height, width = spec.image_size
    heat = finite(field.heat)
    place = rect(field.columns.start, field.rows.start, field.columns.length, field.rows.length)
    alike = plane_png(similarity.cosines.astype(np.float32), _similarity_scale(similarity))
    rows, columns = similarity.cosines.shape
    stride, step = spec.total_stride, similarity.step
    # a cell is as wide as the step to the next token, around the centre of its own
    top, left = (at + 0.5 - stride / 2 for at in token_centre(spec, 0, 0))
    cells = rect(left, top, columns * step * stride, rows * step * stride)
    return fill(
        '<image id="token-photo" class="token-photo" href="{photo}" width="{width}"'
        ' height="{height}" preserveAspectRatio="none" decoding="sync"/>{heat}'
        '<svg id="token-likeness" data-over="likeness" width="{width}" height="{height}">{alike}'
        "</svg>",
        photo=photo_uri(report.input),
        width=width,
        height=height,
        heat=_stretched(
            place, heat_uri(heat, float(heat.max())), id="token-heat", data_over="heat"
        ),
        alike=_stretched(cells, data_uri(alike)),
    )


def _stretched(place: dict[str, str], address: str, **attributes: str) -> Markup:
    """A picture stretched over a rectangle of the image."""
    how = {"preserveAspectRatio": "none", "decoding": "sync"}
    return tag("image", href=address, **attributes, **place, **how)


def _dots_svg(spec: StemSpec, unit: float) -> Markup:
    """A dot at each token's centre, or at every n-th, as one repeated tile."""
    rows, columns = spec.grid_size
    apart = _dot_step(spec.total_stride, unit)
    pitch = spec.total_stride * apart
    top, left = (at + 0.5 - pitch / 2 for at in token_centre(spec, 0, 0))
    css, radius = ("token-dot dense", unit) if pitch / unit < 9 else ("token-dot", 2.2 * unit)
    dots = rect(left, top, ceil(columns / apart) * pitch, ceil(rows / apart) * pitch)
    return fill(
        '<pattern id="token-dots" patternUnits="userSpaceOnUse" x="{:g}" y="{:g}" width="{pitch}"'
        ' height="{pitch}"><circle class="{}" cx="{half:g}" cy="{half:g}" r="{:.4g}"/></pattern>{}',
        *(left, top, css, radius, tag("rect.token-dots", **dots)),
        pitch=pitch,
        half=pitch / 2,
    )


def _dot_step(stride: int, unit: float) -> int:
    """Step between tokens with a dot, so that dots do not touch."""
    return ceil(4.5 * unit / stride)
