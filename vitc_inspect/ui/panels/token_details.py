"""One token of the token panel: its receptive field, its vector and the most similar tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.probes.gradients import TokenField
from vitc_inspect.probes.similarity import cosines, token_norms
from vitc_inspect.stem.geometry import Axis, Sides, Span, TokenBox, receptive_span
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.ui.panels.elements import (
    box_svg,
    button,
    close_up,
    fact,
    facts_table,
    figures,
    remark,
)
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.maps import data_uri, plane_png, value_scale
from vitc_inspect.views.pixels import box_path

_MOST_CELLS = 64  # a side of the grid of tokens that are compared
_MOST_NUMBERS = 1536  # of a vector that is drawn
_LINE = 96  # numbers of a vector in a line
_SAME = 1e-3  # relative difference that rounding may make, where layers follow each other


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Similarity of all tokens to the chosen one."""

    cosines: NDArray[np.float64]
    """Cosine to the chosen token: (rows, columns)."""
    norms: NDArray[np.float64]
    """Lengths of the tokens: (rows, columns)."""
    vector: NDArray[np.float64]
    """The chosen token: (width,)."""
    observed: bool
    """Whether `vector` comes from the run; otherwise it was computed again."""
    step: int
    """Every step-th row and column is compared."""
    dropped: int
    """Numbers of each token that were not kept, and are not compared."""


def similarity_of(report: Report, field: TokenField, place: tuple[int, int]) -> Similarity:
    """Compare a token with all others.

    Args:
        report: The run.
        field: The token worked out again, for a run that did not keep it.
        place: Row and column of the token.
    """
    values, step, dropped = _vectors(report)
    at = tuple(index / step for index in place)
    kept = all(index.is_integer() for index in at)
    vector = values[int(at[0]), int(at[1])] if kept else field.vector[: values.shape[2]]
    return Similarity(
        cosines=cosines(values, vector),
        norms=token_norms(values),
        vector=vector,
        observed=kept,
        step=step,
        dropped=dropped,
    )


def _vectors(report: Report) -> tuple[NDArray[np.float64], int, int]:
    """The tokens of the run: the sequence if it was kept whole, else the map before it.

    Returns:
        (rows, columns, width), the step from row to row, and how many numbers were not kept.
    """
    rows, columns = report.spec.grid_size
    kept = report.trace.record("tokens").kept
    step, dropped = 1, 0
    if kept and kept.step == 1 and not kept.dropped:
        values = kept.values.float().numpy().reshape(rows, columns, -1)  # (n, d) -> (r, c, d)
    else:
        names = [layer.name for layer in report.prediction.layers]
        last = report.trace.record(names[names.index("tokens") - 1]).kept
        if last is None:
            return np.zeros((1, 1, 1)), max(rows, columns), report.spec.embed_dim
        values = last.values.float().numpy().transpose(1, 2, 0)  # (d, r, c) -> (r, c, d)
        step, dropped = last.step, last.dropped
    thin = ceil(max(values.shape[:2]) / _MOST_CELLS)
    sample = values[::thin, ::thin].astype(np.float64)
    return np.nan_to_num(sample), step * thin, dropped


# ---- what it reads --------------------------------------------------------------------------


def field_html(
    report: Report, box: TokenBox, field: TokenField, similarity: Similarity, notes: Sequence[str]
) -> Markup:
    """Show the receptive field by formula and magnified, and how the gradient compares.

    Args:
        report: The run.
        box: The pixels that the token reads.
        field: Its gradient.
        similarity: The token as it was observed.
        notes: Sentences on what is not drawn.
    """
    spec = report.spec
    size = fill("<b>{:,}×{:,} px</b>{}", box.rows.length, box.columns.length, _padded(box))
    lines = (
        ("rows", _span_formula(spec, "height", box.rows)),
        ("columns", _span_formula(spec, "width", box.columns)),
        (term("receptive_field", "size"), size),
    )
    facts = (*_gradient_facts(box, field), *_same_fact(field, similarity, report))
    return join(
        tag("div.token-near", _close_up(box), facts_table("formulas token-formulas", lines)),
        tag("ul.token-facts", *facts),
        remark(" ".join(notes)) if notes else "",
    )


def _close_up(box: TokenBox) -> Markup:
    return close_up(
        box.rows,
        box.columns,
        fill(
            '<use href="#token-photo"/><use data-over="heat" href="#token-heat"/>'
            '<use data-over="likeness" href="#token-likeness"/>'
        ),
        tag("path.token-beyond", d=beyond_path(box.rows, box.columns, box.image_size)),
        box_svg("token-box", box.rows, box.columns),
        label="the field from near",
        hatched=True,
    )


def beyond_path(rows: Span, columns: Span, size: tuple[int, int]) -> str:
    """Outline of the part of a box outside the image, for the even-odd fill rule."""
    outer = box_path(columns.start, rows.start, columns.stop, rows.stop)
    inner_rows, inner_columns = rows.clipped(size[0]), columns.clipped(size[1])
    if not inner_rows.length or not inner_columns.length:
        return outer
    return outer + box_path(
        inner_columns.start, inner_rows.start, inner_columns.stop, inner_rows.stop
    )


def _span_formula(spec: StemSpec, axis: Axis, span: Span) -> Markup:
    """First and last pixel of a span, with the formula."""
    first = receptive_span(spec, axis, 0)
    index = (span.start - first.start) // spec.total_stride
    offset = f" − {-first.start}" if first.start else ""
    start, stop = (str(end).replace("-", "−") for end in (span.start, span.stop - 1))
    return fill(
        "{}·{}{} = <b>{}</b> to {} + {} = <b>{}</b>",
        *(index, spec.total_stride, offset, start, start, span.length - 1, stop),
    )


def _gradient_facts(box: TokenBox, field: TokenField) -> list[Markup]:
    """Facts about the gradient and the box, each checked on the data."""
    rows, columns = box.clipped_rows, box.clipped_columns
    heat = finite(field.heat) > 0
    inside = _within(rows, field.rows)[:, None] & _within(columns, field.columns)
    found, outside = int(heat.sum()), int((heat & ~inside).sum())
    if not found:
        return [fact(None, "No pixel moves this token: its gradient is 0 everywhere.")]
    if outside:
        return [fact(False, f"{outside:,} pixels with a gradient lie outside the box.")]
    lit_rows = field.rows.start + np.flatnonzero(heat.any(axis=1))
    lit_columns = field.columns.start + np.flatnonzero(heat.any(axis=0))
    edges = {
        "top": lit_rows[0] == rows.start,
        "bottom": lit_rows[-1] == rows.stop - 1,
        "left": lit_columns[0] == columns.start,
        "right": lit_columns[-1] == columns.stop - 1,
    }
    whole = rows.length * columns.length
    count = f"{found:,} of its {whole:,} pixels have one"
    if found == whole:
        count = "its only pixel has one" if whole == 1 else f"all its {whole:,} pixels have one"
    within = fact(True, "Every pixel with a gradient lies inside the box.")
    if all(edges.values()):
        return [within, fact(True, f"The gradient reaches all four edges of the box; {count}.")]
    reached, missed = (
        _edges([name for name, touched in edges.items() if touched == wanted])
        for wanted in (True, False)
    )
    words = (
        f"The gradient reaches {reached} of the box and not {missed}; {count}. A pixel that is"
        " read moves nothing behind a closed ReLU, and a box can have holes."
    )
    return [within, fact(None, words)]


def _within(span: Span, looked_at: Span) -> NDArray[np.bool_]:
    """Whether each position of `looked_at` lies in a span."""
    positions = np.arange(looked_at.start, looked_at.stop)
    return (span.start <= positions) & (positions < span.stop)


def _padded(box: TokenBox) -> str:
    """How much of the box is padding."""
    sides = _sides(box.padding)
    return f", of it padding: {sides}" if sides else ", all in the image"


def _sides(padding: Sides) -> str:
    """Padding in words; sides without padding are left out."""
    named = (
        (padding.top, "row", "above"),
        (padding.bottom, "row", "below"),
        (padding.left, "column", "left"),
        (padding.right, "column", "right"),
    )
    return ", ".join(f"{text.plural(count, noun)} {side}" for count, noun, side in named if count)


def _same_fact(field: TokenField, similarity: Similarity, report: Report) -> list[Markup]:
    """Whether the token is the same when computed from the surrounding pixels only."""
    vector, again = similarity.vector, field.vector[: len(similarity.vector)]
    if not similarity.observed or report.prediction.dtype != "float32":
        return []
    length = float(np.linalg.norm(vector))
    share = float(np.linalg.norm(vector - again)) / length if length > 0 else 0.0
    around = f"{field.rows.length:,}×{field.columns.length:,} pixels around it"
    differs = text.number(share, 1)
    if share > _SAME:
        return [fact(False, f"Worked out from the {around} alone, it differs by {differs}.")]
    by = f"up to rounding ({differs} of its length)" if share else "to the last bit"
    return [fact(True, f"Worked out from the {around} alone, the token is the same {by}.")]


def _edges(names: Sequence[str]) -> str:
    """Edges of a box in words."""
    if not names:
        return "no edge"
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"the {listed} edge{'' if len(names) == 1 else 's'}"


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with 0 in place of infinities and NaN."""
    return np.where(np.isfinite(values), values, 0)


# ---- its numbers ----------------------------------------------------------------------------


def vector_html(similarity: Similarity, place: tuple[int, int], width: int) -> Markup:
    """Show the token's vector as coloured cells, its norm, and the most and least similar tokens.

    Args:
        similarity: The token beside all others.
        place: Its row and column.
        width: Numbers of a token.
    """
    vector = similarity.vector
    step = ceil(len(vector) / _MOST_NUMBERS)
    shown = vector[::step].astype(np.float32)
    line = min(_LINE, len(shown))
    lines = ceil(len(shown) / line)
    cells = np.full(lines * line, np.nan, np.float32)  # which is drawn clear
    cells[: len(shown)] = shown
    scale = value_scale(shown)
    least, most = float(similarity.norms.min()), float(similarity.norms.max())
    values: dict[str, Content] = {
        **_alike({"min": vector.min(), "mean": vector.mean(), "max": vector.max()}),
        term("vector_norm", "norm"): text.number(float(np.linalg.norm(vector)), 3),
        "norms of all": f"{text.number(least, 3)} to {text.number(most, 3)}",
    }
    title = fill(
        '<h3>Its vector <span class="soft">of <span class="channels">{:,}</span> numbers{}, left to'
        " right, then down</span></h3>",
        *(width, f", {step} apart" if step > 1 else ""),
    )
    address = data_uri(plane_png(cells.reshape(lines, line), scale))
    picture = fill(
        '<img class="token-cells{}" src="{}" width="{}" height="{}" decoding="sync"'
        ' style="height:{}px" alt="{:,} numbers of the token"/>',
        *(" signed" if scale.signed else "", address, line, lines),
        *(max(14, min(5 * lines, 84)), len(shown)),
    )
    numbers = figures(values, "token-figures")
    return join(title, picture, numbers, _extremes_html(similarity, place))


def _alike(figures: dict[str, float]) -> dict[str, str]:
    """Format figures with equal decimals, so that the largest has three digits."""
    largest = max(map(abs, figures.values()))
    if not 1e-3 <= largest < 1e5:
        return {name: text.number(figure, 3) for name, figure in figures.items()}
    decimals = max(0, 2 - floor(log10(largest)))
    return {name: f"{figure:.{decimals}f}".replace("-", "−") for name, figure in figures.items()}


def _extremes_html(similarity: Similarity, place: tuple[int, int]) -> Markup:
    """Links to the tokens that are most and least similar to the chosen one."""
    step = similarity.step
    others = similarity.cosines.copy()
    if place[0] % step == 0 and place[1] % step == 0:
        others[place[0] // step, place[1] // step] = np.nan
    if np.isnan(others).all():
        return remark("There is no other token to compare it with.")
    said = []
    for name, at in (("Most like it", np.nanargmax(others)), ("least", np.nanargmin(others))):
        row, column = (int(i) * step for i in np.unravel_index(at, others.shape))
        cosine = f"{others.ravel()[at]:.2f}".replace("-", "−")
        link = button(f"({row}, {column})", css="token-link", data_token_go=f"{row},{column}")
        said.append(join(f"{name}: ", link, f" {cosine}"))
    return tag(
        "p.token-likes",
        join(*said, separator=", "),
        " ",
        tag("span.soft", "(", term("cosine", "cosine"), ")"),
    )
