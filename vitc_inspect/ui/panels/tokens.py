"""The token panel: the tokens over the image, one of them from near, and their order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.inspection.stem_inspection import PreparedRun
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.gradients import TokenField, token_field
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.stem.geometry import (
    Axis,
    Sides,
    Span,
    TokenBox,
    all_pixels_read,
    receptive_span,
    token_box,
    token_centre,
)
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.views import text
from vitc_inspect.views.maps import Scale, css_gradient, data_uri, plane_png, value_scale
from vitc_inspect.views.pixels import (
    Frame,
    box_path,
    colours_uri,
    frame_of,
    hatch_svg,
    heat_uri,
    mosaic,
    photo_uri,
    rect,
    thinning,
)
from vitc_inspect.views.token_order import Way, drawn_places, place_colours, ways

_MOST_CELLS = 64  # a side of a grid of cells that is drawn
_MOST_BACK = 32  # the same, of a sequence read back
_MOST_NUMBERS = 1536  # of a vector that is drawn
_LINE = 96  # numbers of a vector in a line
_MOST_READERS = 30_000  # whole numbers that say who reads which pixel, in one axis
_NEAR = 84  # side of the picture of one field from near (CSS pixels)
_SAME = 1e-3  # relative difference that rounding may make, where layers follow each other


@dataclass(frozen=True)
class _Vectors:
    """The image tokens of the run, as far as they were kept."""

    values: NDArray[np.float64]  # (rows, columns, width)
    step: int  # every step-th row and column
    dropped: int  # numbers of each token that were not kept


@dataclass(frozen=True)
class _Likeness:
    """How like each token is to the chosen one."""

    cosines: NDArray[np.float64]  # (rows, columns)
    norms: NDArray[np.float64]  # (rows, columns)
    vector: NDArray[np.float64]  # of the chosen token
    observed: bool  # whether that is the run's own
    vectors: _Vectors


def tokens_html(bench: PreparedRun, report: Report, *, token: str, width: int) -> str:
    """The token grid over the image, one token's field by formula and by gradient, its likeness.

    Args:
        bench: The stem, ready to run; run it inside `bench.normalising()`.
        report: What the run found.
        token: "row,column" in the grid; whatever else stands for the middle one.
        width: Width of the panel (pixels).
    """
    prediction, spec = report.prediction, report.spec
    rows, columns = spec.grid_size
    place = read_token(token, spec.grid_size) or (rows // 2, columns // 2)
    # outside of bench.normalising(): the statistics are held still
    field = token_field(bench.module, bench.batch, *place, statistics=bench.statistics)
    box = token_box(spec, *place)
    likeness = _likeness(report, field, place)
    frame = frame_of(spec, width=width)
    number = place[0] * columns + place[1]
    return (
        f"<div class='token-panel' data-tokens='{_facts_json(spec, place, prediction)}'>"
        f'<header><h2>Token <span class="token">({place[0]}, {place[1]})</span>'
        f'<span class="soft">, number {number:,}</span></h2>'
        f'<p><span class="token">{rows * columns:,}</span> = <span class="area">{rows}×{columns}'
        "</span></p></header>"
        f"{_overlay_tools_html(field, likeness)}"
        f"{_stage_svg(report, frame, box, field, likeness, place)}"
        '<p class="token-output"><output data-token-output></output></p>'
        f"{_field_html(frame, box, field, likeness, report)}"
        f"{_vector_html(likeness, field, place, spec)}"
        f"{_order_html(bench, report, number)}</div>"
    )


def read_token(token: str, grid_size: tuple[int, int]) -> tuple[int, int] | None:
    """Find the token that a text asks for: "row,column" of the grid; None for what is none."""
    row, _, column = token.partition(",")
    if all(part.isascii() and part.isdigit() and len(part) < 6 for part in (row, column)):
        place = int(row), int(column)
        if place[0] < grid_size[0] and place[1] < grid_size[1]:
            return place
    return None


# ---- the tokens over the image ------------------------------------------------------------


def _facts_json(spec: StemSpec, place: tuple[int, int], prediction: Prediction) -> str:
    """What the page needs to answer the pointer without asking: whole numbers, compactly."""
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
    """Who reads each pixel along an axis: [pixel, first, last, step, …] wherever it changes.

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
    """Ascending numbers as first, last and step of each stretch that has one step."""
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


def _likeness(report: Report, field: TokenField, place: tuple[int, int]) -> _Likeness:
    vectors = _vectors(report)
    at = tuple(index / vectors.step for index in place)
    kept = all(index.is_integer() for index in at)
    width = vectors.values.shape[2]
    vector = field.vector[:width]
    if kept:
        vector = vectors.values[int(at[0]), int(at[1])]
    return _Likeness(
        cosines=cosines(vectors.values, vector),
        norms=token_norms(vectors.values),
        vector=vector,
        observed=kept,
        vectors=vectors,
    )


def _vectors(report: Report) -> _Vectors:
    """The tokens as the run left them: the sequence where it is whole, else the map before it."""
    rows, columns = report.spec.grid_size
    kept = report.trace.record("tokens").kept
    step, dropped = 1, 0
    if kept and kept.step == 1 and not kept.dropped:
        values = kept.values.float().numpy().reshape(rows, columns, -1)  # (n, d) -> (r, c, d)
    else:
        names = [layer.name for layer in report.prediction.layers]
        last = report.trace.record(names[names.index("tokens") - 1]).kept
        if last is None:
            return _Vectors(np.zeros((1, 1, 1)), max(rows, columns), report.spec.embed_dim)
        values = last.values.float().numpy().transpose(1, 2, 0)  # (d, r, c) -> (r, c, d)
        step, dropped = last.step, last.dropped
    thin = ceil(max(values.shape[:2]) / _MOST_CELLS)
    sample = values[::thin, ::thin].astype(np.float64)
    return _Vectors(np.nan_to_num(sample), step * thin, dropped)


def _overlay_tools_html(field: TokenField, likeness: _Likeness) -> str:
    """The switch between what is laid over the image, each with the legend of its colours."""
    most = float(_finite(field.heat).max())
    scale = _likeness_scale(likeness)
    buttons = "".join(
        f'<button type="button" data-token-over="{key}" aria-pressed="false">{title}</button>'
        for key, title in (("heat", "Gradient"), ("likeness", "Similarity"), ("bare", "Image"))
    )
    heat = _legend_html(Scale(low=0, high=most), "gradient of this token")
    alike = _legend_html(scale, "cosine to this token")
    return (
        '<div class="token-tools"><div class="token-switch" role="group"'
        f' aria-label="over the image">{buttons}</div>'
        f'<div class="token-legends"><div data-over="heat">{heat}</div>'
        f'<div data-over="likeness">{alike}</div></div></div>'
    )


def _likeness_scale(likeness: _Likeness) -> Scale:
    """From the least likeness to 1; from -1 to 1 where some tokens point away."""
    least = float(likeness.cosines.min())
    return Scale(low=-1, high=1) if least < 0 else Scale(low=least, high=1)


def _legend_html(scale: Scale, title: str) -> str:
    return (
        f'<span class="legend"><span class="bar" style="background:'
        f'{css_gradient(scale.colour_map)}"></span><span class="ends">'
        f"<span>{text.number(scale.low, 3)}</span><span>{title}</span>"
        f"<span>{text.number(scale.high, 3)}</span></span></span>"
    )


def _stage_svg(
    report: Report,
    frame: Frame,
    box: TokenBox,
    field: TokenField,
    likeness: _Likeness,
    place: tuple[int, int],
) -> str:
    """The image with its padding, the tokens at their centres, the chosen one's box and heat."""
    spec = report.spec
    height, width = spec.image_size
    rows, columns = spec.grid_size
    unit, pad = frame.unit, frame.padding
    y, x = (at + 0.5 for at in token_centre(spec, *place))  # a pixel's middle is half a pixel in
    inner = box_path(0, 0, width, height)
    outer = box_path(-pad.left, -pad.top, width + pad.right, height + pad.bottom)
    down = Span(start=max(box.rows.start, -pad.top), stop=min(box.rows.stop, height + pad.bottom))
    across = Span(
        start=max(box.columns.start, -pad.left), stop=min(box.columns.stop, width + pad.right)
    )
    radius = max(2.4 * unit, min(4.6 * unit, 0.3 * box.rows.length))
    return (
        f'<svg class="token-stage" viewBox="{frame.view_box}" style="width:{frame.shown}px"'
        f' data-unit="{unit:.5g}" data-apart="{_dot_step(spec.total_stride, unit)}" tabindex="0"'
        f' role="application" aria-label="Image of {height} by {width} pixels with {rows} by'
        f" {columns} tokens; arrow keys move from token to token, Enter chooses, Shift and arrow"
        ' keys move over pixels">'
        f"{hatch_svg('token', unit)}"
        f'<path class="token-padding" d="{outer}{inner}"/>'
        f"{_layers_svg(report, field, likeness)}"
        f'<path class="token-border" d="{inner}"/>'
        f"{_dots_svg(spec, unit)}"
        f'<path class="token-beyond" d="{_beyond_path(down, across, spec.image_size)}"/>'
        f'<rect class="token-box" {rect(across.start, down.start, across.length, down.length)}/>'
        '<path class="token-readers"/><rect class="token-pixel" width="0" height="0"/>'
        f'<circle class="token-chosen" cx="{x:g}" cy="{y:g}" r="{radius:.4g}"/>'
        f'<circle class="token-cursor" cx="{x:g}" cy="{y:g}" r="{7.5 * unit:.4g}"/></svg>'
    )


def _layers_svg(report: Report, field: TokenField, likeness: _Likeness) -> str:
    """The image, and over it the gradient and the similarity, of which one is shown."""
    spec = report.spec
    height, width = spec.image_size
    heat = _finite(field.heat)
    place = rect(field.columns.start, field.rows.start, field.columns.length, field.rows.length)
    alike = plane_png(likeness.cosines.astype(np.float32), _likeness_scale(likeness))
    rows, columns = likeness.cosines.shape
    stride, step = spec.total_stride, likeness.vectors.step
    # a cell is as wide as the step to the next token, around the centre of its own
    top, left = (at + 0.5 - stride / 2 for at in token_centre(spec, 0, 0))
    cells = rect(left, top, columns * step * stride, rows * step * stride)
    image = 'preserveAspectRatio="none" decoding="sync"'
    return (
        f'<image id="token-photo" class="token-photo" href="{photo_uri(report.input)}"'
        f' width="{width}" height="{height}" {image}/>'
        f'<image id="token-heat" data-over="heat" href="{heat_uri(heat, float(heat.max()))}"'
        f" {place} {image}/>"
        f'<svg id="token-likeness" data-over="likeness" width="{width}" height="{height}">'
        f'<image href="{data_uri(alike)}" {cells} {image}/></svg>'
    )


def _dots_svg(spec: StemSpec, unit: float) -> str:
    """A point at the centre of each token, or of every so many: one tile, repeated."""
    rows, columns = spec.grid_size
    apart = _dot_step(spec.total_stride, unit)
    pitch = spec.total_stride * apart
    top, left = (at + 0.5 - pitch / 2 for at in token_centre(spec, 0, 0))
    dense = pitch / unit < 9
    css = " dense" if dense else ""
    return (
        f'<pattern id="token-dots" patternUnits="userSpaceOnUse" x="{left:g}" y="{top:g}"'
        f' width="{pitch}" height="{pitch}"><circle class="token-dot{css}" cx="{pitch / 2:g}"'
        f' cy="{pitch / 2:g}" r="{unit * (1.0 if dense else 2.2):.4g}"/></pattern>'
        '<rect class="token-dots"'
        f" {rect(left, top, ceil(columns / apart) * pitch, ceil(rows / apart) * pitch)}/>"
    )


def _near_svg(box: TokenBox) -> str:
    """The box from near: the same picture, drawn a second time without being sent again."""
    height, width = box.image_size
    longest = max(box.rows.length, box.columns.length)
    side = longest * 1.24  # an eighth more on each side
    left, top = box.columns.centre + 0.5 - side / 2, box.rows.centre + 0.5 - side / 2
    unit = side / _NEAR
    place = rect(box.columns.start, box.rows.start, box.columns.length, box.rows.length)
    return (
        f'<svg class="token-close" viewBox="{left:.6g} {top:.6g} {side:.6g} {side:.6g}"'
        f' width="{_NEAR}" height="{_NEAR}" role="img" aria-label="the field from near">'
        f"{hatch_svg('near', unit)}"
        f'<rect class="token-void" {rect(left, top, side, side)}/>'
        '<use href="#token-photo"/><use data-over="heat" href="#token-heat"/>'
        '<use data-over="likeness" href="#token-likeness"/>'
        f'<path class="token-beyond" d="{_beyond_path(box.rows, box.columns, (height, width))}"/>'
        f'<rect class="token-box" {place}/></svg>'
    )


def _dot_step(stride: int, unit: float) -> int:
    """Every so many tokens a point is drawn, so that points stay apart."""
    return ceil(4.5 * unit / stride)


def _beyond_path(rows: Span, columns: Span, size: tuple[int, int]) -> str:
    """The part of a box that lies beyond the image; filled where outlines lie an odd number."""
    outer = box_path(columns.start, rows.start, columns.stop, rows.stop)
    inner_rows, inner_columns = rows.clipped(size[0]), columns.clipped(size[1])
    if not inner_rows.length or not inner_columns.length:
        return outer
    return outer + box_path(
        inner_columns.start, inner_rows.start, inner_columns.stop, inner_rows.stop
    )


def _field_html(
    frame: Frame, box: TokenBox, field: TokenField, likeness: _Likeness, report: Report
) -> str:
    """The box by formula and from near, and what the gradient says of it."""
    spec = report.spec
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{formula}</td></tr>'
        for name, formula in (
            ("rows", _span_formula(spec, "height", box.rows)),
            ("columns", _span_formula(spec, "width", box.columns)),
            ("size", f"<b>{box.rows.length:,}×{box.columns.length:,} px</b>{_padded(box)}"),
        )
    )
    facts = [*_field_facts(box, field), *_same_fact(field, likeness, report)]
    notes = []
    for apart, what in (
        (_dot_step(spec.total_stride, frame.unit), "Points stand {} tokens apart."),
        (likeness.vectors.step, "Similarity is of tokens {} apart."),
        (thinning(spec.image_size), "The image is drawn from pixels {} apart."),
    ):
        if apart > 1:
            notes.append(what.format(apart))
    if likeness.vectors.dropped:
        notes.append(f"The last {likeness.vectors.dropped:,} numbers of each token were not kept.")
    if frame.cut:
        notes.append("More padding is read than is drawn.")
    remark = f'<p class="remark">{" ".join(notes)}</p>' if notes else ""
    return (
        f'<div class="token-near">{_near_svg(box)}'
        f'<table class="formulas token-formulas"><tbody>{lines}</tbody></table></div>'
        f'<ul class="token-facts">{"".join(facts)}</ul>{remark}'
    )


def _span_formula(spec: StemSpec, axis: Axis, span: Span) -> str:
    """From which pixel to which, with the formula that says so."""
    first = receptive_span(spec, axis, 0)
    index = (span.start - first.start) // spec.total_stride
    offset = f" − {-first.start}" if first.start else ""
    return (
        f"{index}·{spec.total_stride}{offset} = <b>{_signed(span.start)}</b> to"
        f" {_signed(span.start)} + {span.length - 1} = <b>{_signed(span.stop - 1)}</b>"
    )


def _signed(number: int) -> str:
    return f"−{-number}" if number < 0 else str(number)


def _field_facts(box: TokenBox, field: TokenField) -> list[str]:
    """What is true of the gradient and the box, each looked at and not assumed."""
    rows, columns = box.clipped_rows, box.clipped_columns
    heat = _finite(field.heat) > 0
    inside = _within(rows, field.rows)[:, None] & _within(columns, field.columns)
    found, outside = int(heat.sum()), int((heat & ~inside).sum())
    if not found:
        return [_fact(None, "No pixel moves this token: its gradient is 0 everywhere.")]
    if outside:
        return [_fact(False, f"{outside:,} pixels with a gradient lie outside the box.")]
    facts = [_fact(True, "Every pixel with a gradient lies inside the box.")]
    lit_rows = field.rows.start + np.flatnonzero(heat.any(axis=1))
    lit_columns = field.columns.start + np.flatnonzero(heat.any(axis=0))
    edges = {
        "top": lit_rows[0] == rows.start,
        "bottom": lit_rows[-1] == rows.stop - 1,
        "left": lit_columns[0] == columns.start,
        "right": lit_columns[-1] == columns.stop - 1,
    }
    whole = rows.length * columns.length
    reached = [name for name, touched in edges.items() if touched]
    missed = [name for name, touched in edges.items() if not touched]
    count = f"{found:,} of its {whole:,} pixels have one"
    if found == whole:
        count = "its only pixel has one" if whole == 1 else f"all its {whole:,} pixels have one"
    if not missed:
        facts.append(_fact(True, f"The gradient reaches all four edges of the box; {count}."))
    else:
        facts.append(
            _fact(
                None,
                f"The gradient reaches {_edges(reached)} of the box and not {_edges(missed)};"
                f" {count}. A pixel that is read moves nothing behind a closed ReLU, and a"
                " box can have holes.",
            )
        )
    return facts


def _within(span: Span, looked_at: Span) -> NDArray[np.bool_]:
    """For each position that was looked at, whether it lies in a span."""
    positions = np.arange(looked_at.start, looked_at.stop)
    return (span.start <= positions) & (positions < span.stop)


def _padded(box: TokenBox) -> str:
    """How much of the box is padding."""
    sides = _sides(box.padding)
    return f", of it padding: {sides}" if sides else ", all in the image"


def _sides(padding: Sides) -> str:
    """Padding in words, the sides without any left out."""
    named = (
        (padding.top, "row", "above"),
        (padding.bottom, "row", "below"),
        (padding.left, "column", "left"),
        (padding.right, "column", "right"),
    )
    return ", ".join(f"{text.plural(count, noun)} {side}" for count, noun, side in named if count)


def _same_fact(field: TokenField, likeness: _Likeness, report: Report) -> list[str]:
    """Whether the token came out the same from the pixels around it alone; if it was kept."""
    vector, again = likeness.vector, field.vector[: len(likeness.vector)]
    if not likeness.observed or report.prediction.dtype != "float32":
        return []
    length = float(np.linalg.norm(vector))
    share = float(np.linalg.norm(vector - again)) / length if length > 0 else 0.0
    around = f"{field.rows.length:,}×{field.columns.length:,} pixels around it"
    if share <= _SAME:
        by = (
            f"up to rounding ({text.number(share, 1)} of its length)"
            if share
            else "to the last bit"
        )
        return [_fact(True, f"Worked out from the {around} alone, the token is the same {by}.")]
    return [
        _fact(False, f"Worked out from the {around} alone, it differs by {text.number(share, 1)}.")
    ]


def _fact(verdict: bool | None, sentence: str) -> str:
    """A line of a list: what was looked at and holds, does not hold, or is just so."""
    mark, css = {True: ("✓", "agrees"), False: ("✗", "differs"), None: ("·", "soft")}[verdict]
    return f'<li><span class="{css}">{mark}</span><span>{sentence}</span></li>'


def _edges(names: Sequence[str]) -> str:
    """Edges of a box in words."""
    if not names:
        return "no edge"
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"the {listed} edge{'' if len(names) == 1 else 's'}"


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, 0)


# ---- the vector -----------------------------------------------------------------------------


def _vector_html(
    likeness: _Likeness, field: TokenField, place: tuple[int, int], spec: StemSpec
) -> str:
    """The token's numbers as coloured cells, its length, and which tokens are like it."""
    vector = likeness.vector
    step = ceil(len(vector) / _MOST_NUMBERS)
    shown = vector[::step].astype(np.float32)
    line = min(_LINE, len(shown))
    lines = ceil(len(shown) / line)
    cells = np.full(lines * line, np.nan, np.float32)  # which is drawn clear
    cells[: len(shown)] = shown
    scale = value_scale(shown)
    picture = data_uri(plane_png(cells.reshape(lines, line), scale))
    least, most = float(likeness.norms.min()), float(likeness.norms.max())
    figures = {
        **_alike({"min": vector.min(), "mean": vector.mean(), "max": vector.max()}),
        "norm": text.number(float(np.linalg.norm(vector)), 3),
        "norms of all": f"{text.number(least, 3)} to {text.number(most, 3)}",
    }
    listed = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    every = f", {step} apart" if step > 1 else ""
    css = "token-cells signed" if scale.signed else "token-cells"
    height = max(14, min(5 * lines, 84))
    return (
        f'<h3>Its vector <span class="soft">of <span class="channels">{spec.embed_dim:,}</span>'
        f" numbers{every}, left to right, then down</span></h3>"
        f'<img class="{css}" src="{picture}" width="{line}" height="{lines}" decoding="sync"'
        f' style="height:{height}px" alt="{len(shown):,} numbers of the token">'
        f'<dl class="token-figures">{listed}</dl>{_extremes_html(likeness, place)}'
    )


def _alike(figures: dict[str, float]) -> dict[str, str]:
    """Figures with as many decimals each as give the largest three digits."""
    largest = max(map(abs, figures.values()))
    if not 1e-3 <= largest < 1e5:
        return {name: text.number(figure, 3) for name, figure in figures.items()}
    decimals = max(0, 2 - floor(log10(largest)))
    return {name: f"{figure:.{decimals}f}".replace("-", "−") for name, figure in figures.items()}


def _extremes_html(likeness: _Likeness, place: tuple[int, int]) -> str:
    """The tokens that are most and least like the chosen one."""
    step = likeness.vectors.step
    others = likeness.cosines.copy()
    if place[0] % step == 0 and place[1] % step == 0:
        others[place[0] // step, place[1] // step] = np.nan
    if np.isnan(others).all():
        return '<p class="remark">There is no other token to compare it with.</p>'
    said = []
    for name, at in (("Most like it", np.nanargmax(others)), ("least", np.nanargmin(others))):
        row, column = (int(i) * step for i in np.unravel_index(at, others.shape))
        cosine = f"{others.ravel()[at]:.2f}".replace("-", "−")
        said.append(
            f'{name}: <button type="button" class="token-link" data-token-go="{row},{column}">'
            f"({row}, {column})</button> {cosine}"
        )
    return f'<p class="token-likes">{", ".join(said)} <span class="soft">(cosine)</span></p>'


# ---- the order of the tokens ----------------------------------------------------------------


def _order_html(bench: PreparedRun, report: Report, number: int) -> str:
    """Which cell becomes which token: as this stem does it, and in two ways that go wrong."""
    spec = report.spec
    rows, columns = spec.grid_size
    step = ceil(max(rows, columns) / _MOST_CELLS)
    cells = mosaic(report.input, spec, step=step)
    every = ways(spec.grid_size, spec.embed_dim)
    lines = "".join(
        _way_html(way, cells, step=step, own=bench.keeps_order and way is every[0]) for way in every
    )
    thinned = f" Cells are drawn {step} apart." if step > 1 else ""
    scale = min(132 / max(rows, columns), 24)
    return (
        '<h3>From grid to sequence</h3><div class="token-order">'
        f'<div class="token-grid"><div class="token-map" data-token-map tabindex="0"'
        f' role="application" style="width:{columns * scale:.0f}px;height:{rows * scale:.0f}px"'
        f' aria-label="Map of {rows} by {columns} cells; arrow keys move, Enter chooses the token">'
        f'<img src="{colours_uri(cells)}" alt="" decoding="sync">'
        f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none"><path/></svg></div>'
        f'<p class="token-said"><output data-order-output></output></p></div>{lines}'
        f'<p class="remark">{_mixed_sentence(every, number)}{thinned}</p>'
        f'<ul class="token-facts">{_proof_facts(bench, every)}</ul></div>'
    )


def _way_html(way: Way, cells: NDArray[np.uint8], *, step: int, own: bool) -> str:
    """One way's sequence as a line of colours, and what it makes of the image, read back."""
    rows, columns = way.grid_size
    places = drawn_places(rows * columns)
    line = place_colours(way, cells, places, step=step)[None]  # (1, places, 3)
    apart = ceil(max(rows, columns) / _MOST_BACK)
    grid = np.add.outer(np.arange(0, rows, apart) * columns, np.arange(0, columns, apart))
    back = place_colours(way, cells, grid.ravel(), step=step).reshape(*grid.shape, 3)
    if own:
        mark = '<b class="agrees">✓ this stem</b>'
    else:
        mark = f'<span class="soft">same shape, {"same" if way.right else "other"} tokens</span>'
    side = 52 / max(rows, columns)
    return (
        f'<div class="token-way" data-way="{way.name}"><div><p><b>{way.name}</b> {mark}</p>'
        f'<div class="token-line" tabindex="0" role="application" aria-label="Sequence,'
        f' {way.name}: {rows * columns:,} places; arrow keys move">'
        f'<img src="{colours_uri(line)}" alt="" decoding="sync">'
        f'<svg viewBox="0 0 {rows * columns} 1" preserveAspectRatio="none"><path/></svg></div>'
        f'<p class="soft">{way.words}</p></div>'
        f'<img class="token-back" src="{colours_uri(back)}" decoding="sync"'
        f' style="width:{max(4, columns * side):.0f}px;height:{max(4, rows * side):.0f}px"'
        f' alt="the sequence read back, {way.name}"></div>'
    )


def _mixed_sentence(every: Sequence[Way], number: int) -> str:
    """What token n would be in each of the wrong ways."""
    wrong = {way.name: way.sources(number) for way in every[1:]}
    columns = every[0].grid_size[1]
    swapped = divmod(int(wrong["columns first"][0][0]), columns)
    cells, channels = (np.unique(found) for found in wrong["reshape alone"])
    numbers = text.plural(len(wrong["reshape alone"][0]), "number")
    taken = f"cell {divmod(int(cells[0]), columns)}" if len(cells) == 1 else f"{len(cells):,} cells"
    of = (
        f"channel {channels[0]}"
        if len(channels) == 1
        else f"channels {channels[0]} to {channels[-1]}"
    )
    return (
        f"Place {number:,} is this token. Columns first, it would hold cell {swapped}; with reshape"
        f" alone, {numbers} out of {taken}, {of}."
    )


def _proof_facts(bench: PreparedRun, every: Sequence[Way]) -> str:
    """How the order was found out."""
    rows, columns = every[0].grid_size
    tried = every[0].tried_channels
    sent = f"a map of {tried:,}×{rows}×{columns} in which each number says where it stands"
    if bench.keeps_order:
        own = _fact(
            True,
            f"This stem's own layer <code>tokens</code> keeps the order: sent {sent}, it gave"
            " cell n as token n, every channel in its place.",
        )
    else:
        own = _fact(
            False,
            f"This stem's own layer <code>tokens</code> does not keep the order: sent {sent},"
            " it did not give cell n as token n.",
        )
    others = _fact(
        all(way.as_foreseen for way in every),
        "The lines above were found with the same map. All three have the same shape"
        f" {rows * columns:,}×{every[0].channels:,}, so no check of shapes tells them apart.",
    )
    return own + others
