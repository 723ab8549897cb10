"""The panel that shows which input pixels one position of an output depends on, by gradient."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import FloatArray
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.inspection.module_run import ModuleRun
from vitc_inspect.probes.reach import Reach
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.probes.submodules import DoubleArray
from vitc_inspect.stem.geometry import TokenBox, token_box
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.elements import (
    box_svg,
    button,
    close_up,
    close_up_side,
    colour_bar,
    fact,
    facts_table,
    remark,
    whole_numbers,
)
from vitc_inspect.ui.panels.map_pictures import legend_html, values_html
from vitc_inspect.ui.panels.module_maps import Grid, as_maps
from vitc_inspect.views import text
from vitc_inspect.views.call_labels import call_name
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.maps import Scale, numbers
from vitc_inspect.views.pixels import heat_uri, photo_uri, thinning

_MOST_HEIGHT = 400  # of the image (CSS pixels)
_MOST_PICKER = 190  # side of the picture of places (CSS pixels)
_MIXING = (
    *("attention", "attn", "softmax", "matmul", "bmm", "einsum", "pool", "fft"),
    *("groupnorm", "group_norm", "instancenorm", "instance_norm"),
)
"""Parts of the names of layers and functions that mix places."""
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convtranspose", "conv_transpose")
_MOST_PLACES = 256  # rows and columns of it


def module_reach_html(run: ModuleRun, row: int, *, place: str, width: int) -> Markup:
    """Show one position of a call's output and the input pixels with a gradient to it.

    Args:
        run: The run.
        row: Place of the call in the report.
        place: "row,column" of a map, or a token's number; anything else is the middle.
        width: Width of the panel (pixels).
    """
    call = run.report.rows[row]
    name = call_name(call)
    array = run.array
    if array is None:
        return remark(
            "The module's first input is no image (b, c, h, w), so there are no pixels to look"
            " back to."
        )
    if call.out_shape is None or not 2 <= len(call.out_shape) <= 4:
        axes = "no tensor" if call.out_shape is None else f"a tensor of {len(call.out_shape)} axes"
        return remark(f"{name} gave {axes}; only maps, tokens and vectors have places.")
    kept = run.output(row)
    if kept is None:
        what = "no numbers" if 0 in call.out_shape else f"{call.dtype} numbers, without a gradient"
        return remark(f"{name} gave {what}.")
    maps, grid = as_maps(run.report, row, kept)
    at = read_place(place, call.out_shape[1:], grid)
    try:
        found = run.reach(row, at)
    except SpecError as error:
        return tag("p", str(error), role="alert")
    box = formula_box(run.report, row, at, grid)
    near, beneath = _none_found(found, at), Markup()
    if found and found.pixels:
        near = join(_near_svg(array, found, box), _facts_html(array, found, box))
        beneath = join(_agreement_html(found, box) if box else "", _remark_html(array))
    return fill(
        '<div class="reach" data-reach="{}"><header><h2>What {} reads,'
        ' <span class="token">{}</span></h2></header><div class="reach-both">{}'
        '<div class="reach-input">{}<div class="token-near">{}</div>{}</div></div></div>',
        *(json.dumps({"place": ",".join(map(str, at))}), name, _said(at, grid)),
        _picker_html(kept, maps, grid, call.out_shape[1:], at),
        *(_stage_html(array, found, box, width), near, beneath),
    )


def read_place(place: str, shape: tuple[int, ...], grid: Grid | None) -> tuple[int, ...]:
    """Parse the text that selects an output position, without the batch; the middle by default.

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
    asked = whole_numbers(place)
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
    """Receptive field of a position by the formula of the stem found in the module.

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
    shape = report.rows[row].out_shape or ()
    if len(shape) == 4 and shape[2:] == part.grid_size and len(at) == 2:
        return token_box(part, at[0], at[1])
    place = grid.place(at[0]) if grid and (grid.rows, grid.columns) == part.grid_size else ()
    return token_box(part, *place) if place else None


def _convolutions_before(report: ModuleReport, row: int) -> int:
    """Number of the stem's convolutions that ran up to a row; 0 if something mixed places."""
    waiting = list(report.stem_layers)
    for call in report.rows[: row + 1]:
        if waiting and call.name == waiting[0]:
            waiting.pop(0)
        elif any(word in f"{call.kind} {call.name}".lower() for word in _MIXING):
            return 0
        elif (call.name if call.is_function else call.kind).lower().startswith(_CONVOLUTIONS):
            return 0  # one that is none of the stem's
    return len(report.stem_layers) - len(waiting)


def _said(at: tuple[int, ...], grid: Grid | None) -> str:
    """A place in words."""
    if len(at) == 2:
        return f"row {at[0]}, column {at[1]}"
    if not at:
        return "the whole vector"
    place = grid.place(at[0]) if grid else ()
    return f"token {at[0]}, place {place}" if place else f"token {at[0]}"


# ---- where to look from ----------------------------------------------------------------------


def _picker_html(
    kept: KeptOutput,
    maps: KeptOutput,
    grid: Grid | None,
    shape: tuple[int, ...],
    at: tuple[int, ...],
) -> str:
    """Pictures to choose a place from: the norm of each vector, and its cosine to the chosen."""
    if maps.values.ndim == 3:
        vectors = numbers(maps).transpose(1, 2, 0).astype(np.float64)  # (c, h, w) -> (h, w, c)
        draw = partial(_places_html, step=maps.step, place=grid.place(at[0]) if grid else at)
        lengths = draw(token_norms(vectors), "length of each place's vector")
        own = _vector_of(kept, vectors, grid, at)
        alike = ""
        if own is not None:
            cosine = cosines(np.nan_to_num(vectors), np.nan_to_num(own))
            alike = draw(cosine, "cosine to the chosen one")
        return tag("div.reach-picker", lengths, _prefix_html(grid, at), alike)
    if not at:
        return ""
    last = shape[0] - 1
    number = tag("input", type="number", min=0, max=last, value=at[0], data_place=True)
    return tag("div.reach-picker", tag("label", f"token, 0 to {last:,} ", number))


def _vector_of(
    kept: KeptOutput, vectors: DoubleArray, grid: Grid | None, at: tuple[int, ...]
) -> DoubleArray | None:
    """The vector of the chosen place; None if it was not kept."""
    if grid:
        own: DoubleArray = numbers(kept)[at[0]].astype(np.float64)
        return own
    if any(index % kept.step for index in at):
        return None
    own = vectors[at[0] // kept.step, at[1] // kept.step]
    return own


def _places_html(values: DoubleArray, title: str, *, step: int, place: tuple[int, ...]) -> Markup:
    """A picture with a value for each place; a click or Enter chooses a place."""
    thin = max(1, -(-max(values.shape) // _MOST_PLACES))
    sent = np.ascontiguousarray(np.nan_to_num(values[::thin, ::thin]), dtype="<f4")
    rows, columns = sent.shape
    apart = step * thin
    least, most = float(sent.min()), float(sent.max())
    scale = Scale(low=-most, high=most) if least < 0 else Scale(low=least, high=most)
    mark = ""
    if place:
        row, column = (index // apart for index in place)
        mark = fill(
            '<i class="chosen-place"'
            ' style="left:{:.3f}%;top:{:.3f}%;width:{:.3f}%;height:{:.3f}%"></i>',
            *(100 * column / columns, 100 * row / rows, 100 / columns, 100 / rows),
        )
    plane = values_html(
        sent,
        scale,
        sent=sent,
        step=apart,
        alt=f"{title}, {rows}×{columns} places",
        over=mark,
        data_plane="",
        data_opens="reach",
        style=f"width:min({_MOST_PICKER * min(1.0, columns / rows):.0f}px, 36vw)",
        aria_label=f"{title}: arrow keys move, Enter asks what a place reads",
    )
    far = f", drawn {apart} apart" if apart > 1 else ""
    caption = tag("figcaption", legend_html(scale), tag("output.hover"))
    return tag("figure", tag("p", title, far), plane, caption)


def _prefix_html(grid: Grid | None, at: tuple[int, ...]) -> str:
    """A button for each token before the grid, such as a class token."""
    if grid is None or not grid.prefix:
        return ""
    buttons = (
        button(f"token {token}", data_place=token, aria_pressed=at == (token,))
        for token in range(grid.prefix)
    )
    return tag("p.reach-prefix", "before them: ", *buttons)


# ---- what it reads ---------------------------------------------------------------------------


def _stage_html(
    array: FloatArray, found: Reach | None, formula: TokenBox | None, width: int
) -> Markup:
    """The input with the gradient over it, and the bounding box of the gradient."""
    height, columns = array.shape[1:]
    room = width - _MOST_PICKER - 40 if width > 480 else width - 10
    unit = max(columns / max(room, 120), height / _MOST_HEIGHT)
    heat, box, ends = "", "", "no gradient"
    if found and found.pixels:
        most = float(np.nan_to_num(found.heat, posinf=0).max())
        heat = fill(
            '<image id="reach-heat" class="reach-heat" href="{}" width="{}" height="{}"'
            ' preserveAspectRatio="none"/>',
            *(heat_uri(np.nan_to_num(found.heat, posinf=most), most), columns, height),
        )
        box = box_svg("token-box", found.rows, found.columns)
        ends = colour_bar(
            Scale(low=0, high=most), "0", term("gradient", "gradient"), text.number(most, 3)
        )
    edge = 3 * unit
    frame = f"{-edge:.4g} {-edge:.4g} {columns + 2 * edge:.6g} {height + 2 * edge:.6g}"
    return fill(
        '<figure><p>the input, {height}×{columns} px</p><svg class="reach-stage" viewBox="{frame}"'
        ' role="img" style="width:{shown:.0f}px" aria-label="the pixels of the input that move the'
        ' chosen place"><image id="reach-photo" class="token-photo" href="{photo}"'
        ' width="{columns}" height="{height}" preserveAspectRatio="none"/>{heat}'
        '<rect class="token-border" width="{columns}" height="{height}"/>{box}{formula}</svg>'
        "<figcaption>{ends}</figcaption></figure>",
        height=height,
        columns=columns,
        frame=frame,
        shown=columns / unit + 6,
        photo=photo_uri(array),
        heat=heat,
        box=box,
        formula=_formula_svg(formula),
        ends=ends,
    )


def _formula_svg(box: TokenBox | None) -> str:
    """The receptive field by formula, clipped to the image."""
    return box_svg("formula-box", box.clipped_rows, box.clipped_columns) if box else ""


def _near_svg(array: FloatArray, found: Reach, formula: TokenBox | None) -> str:
    """The bounding box magnified, if it is small."""
    rows, columns = found.rows, found.columns
    if 3 * close_up_side(rows, columns) > max(array.shape[1:]):
        return ""
    return close_up(
        rows,
        columns,
        fill('<use class="token-photo" href="#reach-photo"/><use href="#reach-heat"/>'),
        box_svg("token-box", rows, columns),
        _formula_svg(formula),
        label="the box from near",
    )


def _none_found(found: Reach | None, at: tuple[int, ...]) -> Markup:
    """Why there is no gradient."""
    whose = "this place" if at else "this vector"
    if found is None:
        return remark(
            f"No gradient leads from {whose} to the input: it is worked out from something else, or"
            " the module cuts gradients off."
        )
    return remark(
        f"The gradient of {whose} is 0 at every pixel: as that of a class token before any"
        " attention, or behind a ReLU that is off."
    )


def _facts_html(array: FloatArray, found: Reach, formula: TokenBox | None) -> Markup:
    """The extent of the gradient in pixels."""
    height, width = array.shape[1:]
    rows, columns = found.rows, found.columns
    share = text.percent(found.pixels / (height * width))
    lines: dict[Content, Markup] = {
        "rows": fill("<b>{:,}</b> to <b>{:,}</b>", rows.start, rows.stop - 1),
        "columns": fill("<b>{:,}</b> to <b>{:,}</b>", columns.start, columns.stop - 1),
        "size": fill("<b>{:,}×{:,} px</b>", rows.length, columns.length),
        **({term("receptive_field", "formula"): _formula(formula)} if formula else {}),
        "pixels": fill(
            "<b>{:,}</b> of {:,} ({}) have a gradient", found.pixels, height * width, share
        ),
    }
    return facts_table("formulas token-formulas reach-facts", lines.items())


def _formula(box: TokenBox) -> Markup:
    """The receptive field by formula, padding included."""
    rows, columns = box.rows, box.columns
    ends = (rows.start, rows.stop - 1, columns.start, columns.stop - 1)
    return fill(
        "rows {} to {}, columns {} to {}: <b>{:,}×{:,} px</b>",
        *(f"{end:,}".replace("-", "−") for end in ends),
        *(rows.length, columns.length),
    )


def _agreement_html(found: Reach, box: TokenBox) -> Markup:
    """Whether the gradient stays inside the receptive field by formula."""
    rows, columns = box.clipped_rows, box.clipped_columns
    inside = found.heat[rows.start : rows.stop, columns.start : columns.stop]
    outside = found.pixels - int(np.count_nonzero(inside))
    words = "Every pixel with a gradient lies in the formula's box (dashed)."
    if outside:
        words = fill(
            "<b>{:,}</b> pixels with a gradient lie outside the formula's box (dashed): this place"
            " is made of others than its own in the map.",
            outside,
        )
    return tag("ul.token-facts", fact(not outside, words))


def _remark_html(array: FloatArray) -> Markup:
    """What a gradient cannot show."""
    step = thinning(array.shape[1:])
    note = f" The image is drawn from pixels {step} apart." if step > 1 else ""
    return remark(
        "By gradient, in evaluation mode: a pixel that has one is read; behind a ReLU that is off"
        " a pixel is read and has none.",
        note,
    )
