"""The panel that asks which pixels one place of an output reads, answered by gradient."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import FloatArray
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.inspection.module_run import ModuleRun
from vitc_inspect.probes.reach import Reach
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.probes.submodules import DoubleArray
from vitc_inspect.stem.geometry import Span, TokenBox, token_box
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.maps import legend_html
from vitc_inspect.ui.panels.module_maps import Grid, as_maps
from vitc_inspect.views import text
from vitc_inspect.views.call_labels import call_name
from vitc_inspect.views.maps import (
    Scale,
    css_gradient,
    data_uri,
    numbers,
    plane_png,
)
from vitc_inspect.views.pixels import heat_uri, photo_uri, rect, thinning

_MOST_HEIGHT = 400  # of the image (CSS pixels)
_MOST_PICKER = 190  # side of the picture of places (CSS pixels)
_MIXING = (
    *("attention", "attn", "softmax", "matmul", "bmm", "einsum", "pool", "fft"),
    *("groupnorm", "group_norm", "instancenorm", "instance_norm"),
)
"""What makes numbers of one place out of others, in the names of layers and functions."""
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convtranspose", "conv_transpose")
_NEAR = 84  # side of the picture of the box from near (CSS pixels)
_MOST_PLACES = 256  # rows and columns of it


def module_reach_html(trial: ModuleRun, row: int, *, place: str, width: int) -> str:
    """One place of a call's output, and the pixels of the input that move it.

    Args:
        trial: The run.
        row: Place of the call in the report.
        place: "row,column" of a map, or a token's number; anything else is the middle.
        width: Width of the panel (pixels).
    """
    call = trial.report.rows[row].call
    name = call_name(call)
    array = trial.array
    if array is None:
        return _none(
            "The module's first input is no image (b, c, h, w), so there are no pixels to look"
            " back to."
        )
    if call.out_shape is None or not 2 <= len(call.out_shape) <= 4:
        axes = "no tensor" if call.out_shape is None else f"a tensor of {len(call.out_shape)} axes"
        return _none(f"{name} gave {axes}; only maps, tokens and vectors have places.")
    kept = trial.output(row)
    if kept is None:
        what = "no numbers" if 0 in call.out_shape else f"{call.dtype} numbers, without a gradient"
        return _none(f"{name} gave {what}.")
    maps, grid = as_maps(trial.report, row, kept)
    at = read_place(place, call.out_shape[1:], grid)
    try:
        found = trial.reach(row, at)
    except SpecError as error:
        return f'<p role="alert">{escape(str(error))}</p>'
    box = formula_box(trial.report, row, at, grid)
    return (
        f'<div class="reach" data-reach="{escape(json.dumps({"place": _written(at)}))}">'
        f"<header><h2>What {escape(name)} reads,"
        f' <span class="token">{_said(at, grid)}</span></h2></header>'
        f'<div class="reach-both">{_picker_html(kept, maps, grid, call.out_shape[1:], at)}'
        f'<div class="reach-input">{_stage_html(array, found, box, width)}'
        f'<div class="token-near">{_near_svg(array, found, box)}'
        f"{_facts_html(array, found, box, at)}</div>{_agreement_html(found, box)}"
        f"{_remark_html(array, found, at)}</div></div></div>"
    )


def read_place(place: str, shape: tuple[int, ...], grid: Grid | None) -> tuple[int, ...]:
    """The place that a text asks for, in an output without the batch; else the middle one.

    Args:
        place: "3,5", a row and a column of a map or of the tokens' grid; or "7", a token.
        shape: (c, h, w), (n, d) or (d,).
        grid: Of the tokens, where they lie on one.

    Returns:
        (row, column), (token,) or ().

    >>> read_place("3,5", (16, 8, 8), None), read_place("9,0", (16, 8, 8), None)
    ((3, 5), (4, 4))
    >>> read_place("7", (65, 16), None), read_place("", (16,), None)
    ((7,), ())
    """
    parts = place.split(",")
    whole = all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts)
    asked = tuple(map(int, parts)) if whole else ()
    if len(shape) == 3:
        if len(asked) == 2 and asked[0] < shape[1] and asked[1] < shape[2]:
            return asked
        return shape[1] // 2, shape[2] // 2
    if len(shape) == 1:
        return ()
    if len(asked) == 1 and asked[0] < shape[0]:
        return asked
    if grid is None:
        return (shape[0] // 2,)
    row, column = grid.rows // 2, grid.columns // 2
    if len(asked) == 2 and asked[0] < grid.rows and asked[1] < grid.columns:
        row, column = asked
    return (grid.prefix + row * grid.columns + column,)


def formula_box(
    report: ModuleReport, row: int, at: tuple[int, ...], grid: Grid | None
) -> TokenBox | None:
    """What a place could read by the formula of the stem that was found in the module.

    Args:
        report: The report.
        row: Place of the call in it.
        at: Place in the call's output.
        grid: Of the tokens, where the output has some that lie on one.

    Returns:
        The box; None where no plain chain of convolutions leads to the call, or behind anything
        that mixes places.
    """
    stem = report.stem
    count = _convolutions_before(report, row) if stem else 0
    if stem is None or not count:
        return None
    part = replace(stem, convs=stem.convs[:count])
    shape = report.rows[row].call.out_shape or ()
    if len(shape) == 4 and shape[2:] == part.grid_size and len(at) == 2:
        return token_box(part, at[0], at[1])
    if grid and (grid.rows, grid.columns) == part.grid_size and at[0] >= grid.prefix:
        return token_box(part, *divmod(at[0] - grid.prefix, grid.columns))
    return None


def _convolutions_before(report: ModuleReport, row: int) -> int:
    """How many of the stem's convolutions ran up to a row; 0 behind one that mixes places."""
    waiting = list(report.stem_layers)
    for each in report.rows[: row + 1]:
        call = each.call
        if waiting and call.name == waiting[0]:
            waiting.pop(0)
        elif any(word in f"{call.kind} {call.name}".lower() for word in _MIXING):
            return 0
        elif (call.name if call.is_function else call.kind).lower().startswith(_CONVOLUTIONS):
            return 0  # one that is none of the stem's
    return len(report.stem_layers) - len(waiting)


def _none(words: str) -> str:
    return f'<p class="remark">{escape(words)}</p>'


def _written(at: tuple[int, ...]) -> str:
    return ",".join(map(str, at))


def _said(at: tuple[int, ...], grid: Grid | None) -> str:
    """A place in words."""
    if len(at) == 2:
        return f"row {at[0]}, column {at[1]}"
    if not at:
        return "the whole vector"
    if grid is None or at[0] < grid.prefix:
        return f"token {at[0]}"
    row, column = divmod(at[0] - grid.prefix, grid.columns)
    return f"token {at[0]}, place ({row}, {column})"


# ---- where to look from ----------------------------------------------------------------------


def _picker_html(
    kept: KeptOutput,
    maps: KeptOutput,
    grid: Grid | None,
    shape: tuple[int, ...],
    at: tuple[int, ...],
) -> str:
    """The output's places as pictures to choose from: how long their vectors are, and how alike."""
    if maps.values.ndim == 3:
        vectors = numbers(maps).transpose(1, 2, 0).astype(np.float64)  # (c, h, w) -> (h, w, c)
        place = at
        if grid:
            place = divmod(at[0] - grid.prefix, grid.columns) if at[0] >= grid.prefix else ()
        lengths = _places_html(
            token_norms(vectors), maps.step, place, "length of each place's vector"
        )
        own = _vector_of(kept, vectors, grid, at)
        alike = ""
        if own is not None:
            cosine = cosines(np.nan_to_num(vectors), np.nan_to_num(own))
            alike = _places_html(cosine, maps.step, place, "cosine to the chosen one")
        return f'<div class="reach-picker">{lengths}{_prefix_html(grid, at)}{alike}</div>'
    if not at:
        return ""
    last = shape[0] - 1
    return (
        f'<div class="reach-picker"><label>token, 0 to {last:,}'
        f' <input type="number" min="0" max="{last}" value="{at[0]}" data-place></label></div>'
    )


def _vector_of(
    kept: KeptOutput, vectors: DoubleArray, grid: Grid | None, at: tuple[int, ...]
) -> DoubleArray | None:
    """The chosen place's own numbers; None where they were not kept."""
    if grid:
        own: DoubleArray = numbers(kept)[at[0]].astype(np.float64)
        return own
    if any(index % kept.step for index in at):
        return None
    own = vectors[at[0] // kept.step, at[1] // kept.step]
    return own


def _places_html(values: DoubleArray, step: int, place: tuple[int, ...], title: str) -> str:
    """A plane with a value for each place; a click or Enter chooses."""
    thin = max(1, -(-max(values.shape) // _MOST_PLACES))
    sent = np.ascontiguousarray(np.nan_to_num(values[::thin, ::thin]), dtype="<f4")
    rows, columns = sent.shape
    apart = step * thin
    least, most = float(sent.min()), float(sent.max())
    scale = Scale(low=-most, high=most) if least < 0 else Scale(low=least, high=most)
    mark = ""
    if place:
        row, column = (index // apart for index in place)
        box = (
            f"left:{100 * column / columns:.3f}%;top:{100 * row / rows:.3f}%;"
            f"width:{100 / columns:.3f}%;height:{100 / rows:.3f}%"
        )
        mark = f'<i class="chosen-place" style="{box}"></i>'
    far = f", drawn {apart} apart" if apart > 1 else ""
    side = _MOST_PICKER * min(1.0, columns / rows)
    return (
        f"<figure><p>{title}{far}</p>"
        f'<div class="plane" tabindex="0" role="group" data-plane="" data-step="{apart}"'
        f' data-opens="reach" data-rows="{rows}" data-columns="{columns}"'
        f' style="width:min({side:.0f}px, 36vw)" aria-label="{title}: arrow keys move, Enter asks'
        ' what a place reads">'
        f'<img src="{data_uri(plane_png(sent, scale))}" width="{columns}" height="{rows}"'
        f' class="{"signed" if scale.signed else ""}" alt="{title}, {rows}×{columns} places">'
        f'{mark}<i class="cursor" hidden></i></div>'
        f'<span hidden data-values="{b64encode(sent.tobytes()).decode()}"></span>'
        f'<figcaption>{legend_html(scale)}<output class="hover"></output></figcaption></figure>'
    )


def _prefix_html(grid: Grid | None, at: tuple[int, ...]) -> str:
    """A button for each token that stands before the grid."""
    if grid is None or not grid.prefix:
        return ""
    buttons = "".join(
        f'<button type="button" data-place="{token}"'
        f' aria-pressed="{str(at == (token,)).lower()}">token {token}</button>'
        for token in range(grid.prefix)
    )
    return f'<p class="reach-prefix">before them: {buttons}</p>'


# ---- what it reads ---------------------------------------------------------------------------


def _stage_html(
    array: FloatArray, found: Reach | None, formula: TokenBox | None, width: int
) -> str:
    """The input with the gradient over it, and the box around all that has one."""
    height, columns = array.shape[1:]
    room = width - _MOST_PICKER - 40 if width > 480 else width - 10
    unit = max(columns / max(room, 120), height / _MOST_HEIGHT)
    image = f'width="{columns}" height="{height}" preserveAspectRatio="none"'
    heat, box = "", ""
    if found and found.pixels:
        most = float(np.nan_to_num(found.heat, posinf=0).max())
        picture = heat_uri(_finite(found.heat), most)
        heat = f'<image id="reach-heat" class="reach-heat" href="{picture}" {image}/>'
        rows, wide = found.rows, found.columns
        box = f'<rect class="token-box" {rect(wide.start, rows.start, wide.length, rows.length)}/>'
    if formula:
        box += _formula_svg(formula)
    edge = 3 * unit
    frame = f"{-edge:.4g} {-edge:.4g} {columns + 2 * edge:.6g} {height + 2 * edge:.6g}"
    ends = "no gradient"
    if found and found.pixels:
        ends = _legend_html(Scale(low=0, high=most), "gradient")
    return (
        f"<figure><p>the input, {height}×{columns} px</p>"
        f'<svg class="reach-stage" viewBox="{frame}" role="img"'
        f' style="width:{columns / unit + 6:.0f}px" aria-label="the pixels of the input that move'
        ' the chosen place">'
        f'<image id="reach-photo" class="token-photo" href="{photo_uri(array)}" {image}/>{heat}'
        f'<rect class="token-border" width="{columns}" height="{height}"/>{box}</svg>'
        f"<figcaption>{ends}</figcaption></figure>"
    )


def _finite(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(heat, posinf=float(np.nan_to_num(heat, posinf=0).max()))


def _legend_html(scale: Scale, title: str) -> str:
    return (
        f'<span class="legend"><span class="bar" style="background:'
        f'{css_gradient(scale.colour_map)}"></span><span class="ends">'
        f"<span>{text.number(scale.low, 3)}</span><span>{title}</span>"
        f"<span>{text.number(scale.high, 3)}</span></span></span>"
    )


def _formula_svg(box: TokenBox) -> str:
    """The box that the formula says, as far as it lies in the image."""
    rows, columns = box.clipped_rows, box.clipped_columns
    place = rect(columns.start, rows.start, columns.length, rows.length)
    return f'<rect class="formula-box" {place}/>'


def _near_svg(array: FloatArray, found: Reach | None, formula: TokenBox | None) -> str:
    """The box from near, where it is small: the same picture, drawn again without being sent."""
    if found is None or not found.pixels:
        return ""
    rows, columns = found.rows, found.columns
    side = max(rows.length, columns.length) * 1.24  # an eighth more on each side
    if 3 * side > max(array.shape[1:]):
        return ""
    left, top = columns.centre + 0.5 - side / 2, rows.centre + 0.5 - side / 2
    box = rect(columns.start, rows.start, columns.length, rows.length)
    return (
        f'<svg class="token-close" viewBox="{left:.6g} {top:.6g} {side:.6g} {side:.6g}"'
        f' width="{_NEAR}" height="{_NEAR}" role="img" aria-label="the box from near">'
        f'<rect class="token-void" {rect(left, top, side, side)}/>'
        '<use class="token-photo" href="#reach-photo"/><use href="#reach-heat"/>'
        f'<rect class="token-box" {box}/>{_formula_svg(formula) if formula else ""}</svg>'
    )


def _facts_html(
    array: FloatArray, found: Reach | None, formula: TokenBox | None, at: tuple[int, ...]
) -> str:
    """The extent in pixels, or why there is none."""
    height, width = array.shape[1:]
    whose = "this place" if at else "this vector"
    if found is None:
        return (
            f'<p class="remark">No gradient leads from {whose} to the input: it is worked out from'
            " something else, or the module cuts gradients off.</p>"
        )
    if not found.pixels:
        return (
            f'<p class="remark">The gradient of {whose} is 0 at every pixel: as that of a class'
            " token before any attention, or behind a ReLU that is off.</p>"
        )
    rows, columns = found.rows, found.columns
    share = found.pixels / (height * width)
    lines = {
        "rows": _span(rows),
        "columns": _span(columns),
        "size": f"<b>{rows.length:,}×{columns.length:,} px</b>",
        **({"formula": _formula(formula)} if formula else {}),
        "pixels": f"<b>{found.pixels:,}</b> of {height * width:,} ({text.percent(share)}) have a"
        " gradient",
    }
    table = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in lines.items()
    )
    return f'<table class="formulas token-formulas reach-facts"><tbody>{table}</tbody></table>'


def _formula(box: TokenBox) -> str:
    """The box of the formula, padding included."""
    rows, columns = box.rows, box.columns
    return (
        f"rows {_signed(rows.start)} to {_signed(rows.stop - 1)}, columns {_signed(columns.start)}"
        f" to {_signed(columns.stop - 1)}: <b>{rows.length:,}×{columns.length:,} px</b>"
    )


def _signed(number: int) -> str:
    return f"−{-number:,}" if number < 0 else f"{number:,}"


def _agreement_html(found: Reach | None, box: TokenBox | None) -> str:
    """Whether the gradient keeps to the box that the formula says."""
    if found is None or box is None or not found.pixels:
        return ""
    inside = found.heat[
        box.clipped_rows.start : box.clipped_rows.stop,
        box.clipped_columns.start : box.clipped_columns.stop,
    ]
    outside = found.pixels - int(np.count_nonzero(inside))
    if not outside:
        return (
            '<ul class="token-facts"><li><span class="agrees">✓</span><span>Every pixel with a'
            " gradient lies in the formula's box (dashed).</span></li></ul>"
        )
    return (
        f'<ul class="token-facts"><li><span class="differs">✗</span><span><b>{outside:,}</b> pixels'
        " with a gradient lie outside the formula's box (dashed): this place is made of others than"
        " its own in the map.</span></li></ul>"
    )


def _remark_html(array: FloatArray, found: Reach | None, at: tuple[int, ...]) -> str:
    """What a gradient does not show."""
    if found is None or not found.pixels:
        return ""
    step = thinning(array.shape[1:])
    note = f" The image is drawn from pixels {step} apart." if step > 1 else ""
    return (
        '<p class="remark">By gradient, in evaluation mode: a pixel that has one is read; behind a'
        f" ReLU that is off a pixel is read and has none.{note}</p>"
    )


def _span(span: Span) -> str:
    return f"<b>{span.start:,}</b> to <b>{span.stop - 1:,}</b>"
