"""Plots as SVG in the page's colours: matplotlib figures, never pyplot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from threading import Lock
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from vitc_inspect.stem.cost import ScalePoint, at_image_sizes, at_total_strides, tokens_at
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.views.html import Markup, tag, trusted

# Stand-ins that become CSS variables, since matplotlib takes colours alone.
_INK, _SOFT, _LINE = "#010203", "#040506", "#070809"
_AREA, _CHANNELS, _TOKEN = "#0a0b0c", "#0d0e0f", "#101112"
_VARIABLES = {
    _INK: "--ink",
    _SOFT: "--soft",
    _LINE: "--line",
    _AREA: "--area",
    _CHANNELS: "--channels",
    _TOKEN: "--token",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "vitc_inspect",  # equal figures give equal files
    "font.size": 11,
    "text.color": _SOFT,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.linewidth": 1,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
}


_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One layer on a scatter plot."""

    name: str
    """Name of the layer."""
    x: float
    """MACs or activations."""
    y: float
    """Time (seconds)."""


@lru_cache(maxsize=32)
def tokens_plot(stem: StemSpec, *, width: int, height: int = 170) -> Markup:
    """Plot tokens against image size as steps, with the length of the position table as a line.

    Args:
        stem: The stem; its own size is marked.
        width, height: Size of the picture (pixels).

    Returns:
        An SVG element.
    """
    here = stem.image_size[0]
    heights = _heights(here, step=1)
    steps = [(at, tokens) for at in heights if (tokens := tokens_at(stem, at))]
    with _drawing():
        figure, axes = _figure(width, height)
        axes.step(*zip(*steps, strict=True), where="post", color=_AREA, linewidth=1.5)
        _mark(axes, here, stem.seq_len)
        if stem.position_table:
            _mark_table(axes, stem.seq_len, heights[-1])
        axes.set_xlabel(_image_axis(stem))
        axes.set_ylabel("tokens")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        _image_ticks(axes, here, heights)
        axes.set_xlim(heights[0], heights[-1])
        return _svg(figure, f"Tokens against image size; {stem.seq_len:,} at {here} pixels")


@lru_cache(maxsize=32)
def image_size_plot(vit: ViTSpec, *, width: int, height: int = 190) -> Markup:
    """Plot the model's MACs against image size, with softmax and with linear attention.

    Args:
        vit: The model; its own size is marked.
        width, height: Size of the picture (pixels).

    Returns:
        An SVG element.
    """
    here = vit.stem.image_size[0]
    heights = _heights(here, step=max(1, here // 14))
    points = at_image_sizes(vit, heights)
    with _drawing():
        figure, axes = _figure(width, height)
        _curves(axes, vit, points, at=here)
        axes.set_xlabel(_image_axis(vit.stem))
        _image_ticks(axes, here, heights)
        axes.set_xlim(heights[0], heights[-1])
        return _svg(figure, f"MACs against image size; the model is marked at {here} pixels")


@lru_cache(maxsize=32)
def total_stride_plot(vit: ViTSpec, *, width: int, height: int = 190) -> Markup:
    """Plot MACs against total stride for one encoder after patchify stems, the model marked.

    Args:
        vit: The model; its own stride is marked.
        width, height: Size of the picture (pixels).

    Returns:
        An SVG element.
    """
    here = vit.stem.total_stride
    # from a stride that fits the image, so that there is a point
    first = min(4, here, *vit.stem.image_size)
    points = at_total_strides(vit, range(first, max(64, here) + 1))
    with _drawing():
        figure, axes = _figure(width, height)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        _curves(axes, vit, points, at=here)
        axes.set_xlabel("total stride, px (patchify stems of that stride)")
        ticks = [2**power for power in range(15) if points[0].at <= 2**power <= points[-1].at]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        return _svg(figure, f"MACs against total stride; the model is marked at {here} pixels")


def time_plot(dots: Sequence[Dot], *, x_title: str, width: int, height: int = 190) -> Markup:
    """Plot the time of each layer against its MACs or activations, on logarithmic axes.

    Args:
        dots: A dot for each layer; MACs, activations and times above 0.
        x_title: Title of the x axis, with its unit.
        width, height: Size of the picture (pixels).

    Returns:
        An SVG element; each dot has its layer's name as a title.
    """
    with _drawing():
        figure, axes = _figure(width, height)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for dot in dots:
            (mark,) = axes.plot(
                dot.x, dot.y, marker="o", markersize=5, color=_AREA, alpha=0.6, markeredgewidth=0
            )
            mark.set_gid(f"dot:{dot.name}")
        axes.set_xlabel(x_title)
        axes.set_ylabel("median time")
        for axis, written in ((axes.xaxis, _short), (axes.yaxis, _short_time)):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(_formatter(written))
        return _svg(figure, f"Median time of {len(dots)} layers against {x_title}")


@contextmanager
def _drawing() -> Iterator[None]:
    """Our settings, for one thread at a time, since matplotlib has one set for all."""
    with _ONE_AT_A_TIME, matplotlib.rc_context(_STYLE):
        yield


def _figure(width: int, height: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    left, below, above = 58 / width, 40 / height, 8 / height  # room for labels
    axes = figure.add_axes((left, below, 1 - left - 12 / width, 1 - below - above))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    return figure, axes


def _curves(axes: Axes, vit: ViTSpec, points: Sequence[ScalePoint], *, at: int) -> None:
    """Both attentions as curves, named at their ends, and the model as a point."""
    xs = [point.at for point in points]
    for name, ys, style in (
        ("softmax", [point.softmax_macs for point in points], "-"),
        ("linear", [point.linear_macs for point in points], (0, (5, 2))),
    ):
        colour = _INK if name == vit.attention else _SOFT
        axes.plot(xs, ys, color=colour, linewidth=1.5, linestyle=style, label=f"{name} attention")
    _mark(axes, at, predict(vit).macs)
    axes.set_ylabel("MACs")
    axes.yaxis.set_major_formatter(_formatter(_short))
    axes.legend(frameon=False, fontsize=11, handlelength=2.4, borderaxespad=0.1)


def _mark_table(axes: Axes, rows: int, right: int) -> None:
    """The length of the position table as a line, named at its right end."""
    axes.axhline(rows, color=_TOKEN, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"position table: {rows:,} rows",
        (right, rows),
        (0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        color=_TOKEN,
    )


def _mark(axes: Axes, x: float, y: float) -> None:
    axes.plot(
        x,
        y,
        marker="o",
        markersize=9,
        color=_TOKEN,
        markeredgecolor=_TOKEN,
        zorder=5,
        clip_on=False,
    )


def _heights(here: int, *, step: int) -> range:
    """Heights from a quarter of this one to about twice, this one among them (pixels)."""
    first = here - (here * 3 // 4) // step * step
    return range(max(1, first), 2 * here + 2 * step, step)


def _image_ticks(axes: Axes, here: int, heights: range) -> None:
    """The present size and about four round ones."""
    span = heights[-1] - heights[0]
    unit = next(u for u in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 8192) if u * 8 >= span)
    round_ones = range(-(-heights[0] // unit) * unit, heights[-1] + 1, unit)
    ticks = [tick for tick in round_ones if abs(tick - here) > unit * 0.6]
    axes.xaxis.set_major_locator(FixedLocator([*ticks, here]))


def _image_axis(stem: StemSpec) -> str:
    height, width = stem.image_size
    return "image side, px" if height == width else "image height, px (width in proportion)"


def _formatter(written: Callable[[float], str]) -> FuncFormatter:
    return FuncFormatter(lambda value, _: written(value))


def _short(value: float) -> str:
    """A number on an axis: 500 M, 4 G."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"


def _short_time(value: float) -> str:
    """A time on an axis: 30 µs, 1 ms."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= 0.999 * unit:
            return f"{value / unit:g} {name}"
    return f"{value / 1e-9:g} ns"


def _svg(figure: Figure, title: str) -> Markup:
    """Return the figure as an element for the page: its own size, the page's colours."""
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    whole = re.search(r'<svg [^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', file.getvalue(), re.S)
    assert whole is not None  # which is how matplotlib writes
    view_box, body = whole.groups()
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"<(metadata|style).*?</\1>", "", body, flags=re.S)  # a style is for the page
    body = re.sub(r"font-family: [^;]*; ", "", body)
    body = re.sub(r'<g id="dot:([^"]+)">', r"<g><title>\1</title>", body)
    return tag("svg.plot", trusted(body), role="img", aria_label=title, viewBox=view_box)
