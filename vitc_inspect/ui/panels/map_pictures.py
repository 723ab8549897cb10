"""Pictures of feature maps for both pages: all maps in a grid, or one map enlarged."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.ui.panels.elements import button, colour_bar, figures, remark, whole_numbers
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Attribute, Content, Markup, fill, in_base64, join, tag
from vitc_inspect.views.maps import (
    FloatArray,
    MapStatistics,
    Scale,
    Sorting,
    Wall,
    common_scale,
    data_uri,
    map_statistics,
    numbers,
    plane_png,
    sorted_maps,
    value_scale,
    wall,
)

_LABEL_SIDE = 30  # pixels a map must be wide on the screen to carry its index
_MOST_MARKED = 24  # maps named in a sentence
_SENT_SIDE = 256  # rows and columns of one map whose values are sent to the page
_BINS = 36  # of a histogram


def read_channel(cell: str, count: int) -> int | None:
    """Parse the text that selects a map, "7" or "7,0,12"; None if there is no such map."""
    channel = whole_numbers(cell.split(",")[0])
    return channel[0] if channel and channel[0] < count else None


def colours_of(kept: KeptOutput, scale: str, ends: Iterable[tuple[float, float]]) -> Scale | str:
    """What `wall` takes for the chosen colours.

    Args:
        kept: The output that is drawn.
        scale: "layer", "channel" or "stem": what the colours are relative to.
        ends: Least and largest value of every output; used up for "stem" alone.
    """
    if scale == "stem":
        return common_scale(ends)
    return "channel" if scale == "channel" else value_scale(numbers(kept))


def output_header(name: Content, shape: Content) -> Markup:
    """The header of a panel that shows an output: of what, and its shape."""
    return fill("<header><h2>Output of {}</h2><p>{}</p></header>", name, shape)


def save_buttons(**titles: str) -> Markup:
    """Buttons that save files: what each saves, and its label."""
    buttons = (button(title, data_save=what) for what, title in titles.items())
    return tag("p.map-saves", join(*buttons, separator=" "))


# ---- all maps on a wall ---------------------------------------------------------------------


def wall_html(
    kept: KeptOutput,
    shape: tuple[int, ...],
    *,
    aspect: float,
    width: int,
    sorting: str,
    colours: Scale | str,
) -> Markup:
    """Draw all maps in a grid, with a legend and a list of dead, equal and broken maps.

    Args:
        kept: The output, as far as it was kept.
        shape: Its whole shape: (c, h, w) or (n, d).
        aspect: Width over height of the space for it.
        width: Width of that space (pixels).
        sorting: Order of the maps, one of `Sorting`; anything else is by index.
        colours: What `wall` takes; "channel" holds for maps alone.
    """
    sequence = kept.values.ndim == 2
    statistics = None if sequence else map_statistics(kept)
    order = None
    if statistics and sorting in get_args(Sorting) and sorting != "index":
        order = sorted_maps(statistics, sorting)  # type: ignore[arg-type]  # one of get_args
    if sequence and colours == "channel":
        colours = value_scale(numbers(kept))
    picture = wall(kept, aspect=aspect, order=order, scale=colours)  # type: ignore[arg-type]
    caption = _caption(picture, shape)
    image = picture_html(
        (picture.png, picture.width, picture.height),
        signed=picture.signed,
        alt=caption,
        data_columns=picture.columns,
        data_gap=picture.gap,
        data_count=picture.count,
        data_sequence=sequence,
        data_step=kept.step * picture.step if sequence else None,
        data_order=",".join(map(str, picture.order)) if order else None,
    )
    said = tag("span.soft", f"{caption}.{_sample_sentence(kept, picture)}")
    legend = tag("figcaption", legend_html(picture.scale), said, tag("output.hover"))
    if statistics is None:
        return fill(
            '<div class="maps"><figure><div class="wall" style="width:100%;height:max(18px,'
            ' min(var(--maps-height), {}px))">{}</div>{}</figure></div>',
            *(2 * picture.height, image, legend),
        )
    ratio = picture.width / picture.height
    shown = min(width, width / aspect * ratio)  # pixels on the screen
    marks = _marks_html(picture, statistics, shown / picture.columns)
    return fill(
        '<div class="maps"><figure><div class="wall" tabindex="0" role="group" aria-label="maps:'
        ' arrow keys, Enter" style="width:min(100%, var(--maps-height) * {:.4f})">{}{}</div>'
        "{}{}</figure></div>",
        *(ratio, image, marks, legend, _oddities_html(statistics)),
    )


def picture_html(
    png: tuple[bytes, int, int], *, signed: bool, alt: str, **attributes: Attribute
) -> Markup:
    """An <img> of a PNG, its width and its height; `signed` if zero is the middle colour."""
    css = "signed" if signed else None
    address, (_, width, height) = data_uri(png[0]), png
    return tag("img", src=address, width=width, height=height, class_=css, alt=alt, **attributes)


def _caption(picture: Wall, shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and shape[0] == 1:
        return f"{shape[1]:,} numbers in a line"
    if len(shape) == 2:
        return f"{shape[0]} tokens down, {shape[1]} channels across"
    return f"{text.plural(picture.count, 'map')} of {shape[1]}×{shape[2]}"


def _sample_sentence(kept: KeptOutput, picture: Wall) -> str:
    """Which part of the output is drawn; empty if all of it is."""
    step, sample = kept.step * picture.step, []
    if step > 1:
        what = "token" if kept.values.ndim == 2 else "row and column"
        sample.append(f"every {ordinal(step)} {what}")
    if kept.dropped:
        sample.append(f"without the last {kept.dropped:,} channels")
    return f" Shown: {', '.join(sample)}." if sample else ""


def ordinal(number: int) -> str:
    """Write an ordinal number.

    >>> ordinal(2), ordinal(11), ordinal(23)
    ('2nd', '11th', '23rd')
    """
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{suffix or 'th'}"


def legend_html(scale: Scale | None) -> Markup:
    """The colour scale with its values, or a note if each map has its own scale."""
    if scale is None:
        return tag("span.soft", "Colours: each map from its own least to its own largest.")
    low, high = text.number(scale.low, 3), text.number(scale.high, 3)
    return colour_bar(
        scale,
        f"≤ {low}" if scale.beyond and scale.signed else low,
        *(["0"] if scale.signed else []),
        f"≥ {high}" if scale.beyond else high,
        css="bar signed" if scale.signed else "bar",
        title="value of the activation, which has no unit",
    )


def _marks_html(picture: Wall, statistics: MapStatistics, side: float) -> str:
    """Indexes of the maps where they fit, and frames around dead, equal and broken maps."""
    states = {index: "dead" for index in statistics.dead}
    states |= {index: "equal" for group in statistics.duplicates for index in group}
    states |= {index: "broken" for index in statistics.not_finite}
    labelled = side >= _LABEL_SIDE
    rows = ceil(picture.count / picture.columns)
    across = (picture.width + picture.gap) / picture.columns
    down = (picture.height + picture.gap) / rows
    size = (
        f"width:{100 * (across - picture.gap) / picture.width:.2f}%;"
        f"height:{100 * (down - picture.gap) / picture.height:.2f}%"
    )
    marks = [
        fill(
            '<i class="{}" style="left:{:.2f}%;top:{:.2f}%;{}">{}</i>',
            states.get(index, ""),
            100 * (place % picture.columns) * across / picture.width,
            100 * (place // picture.columns) * down / picture.height,
            size,
            index if labelled else "",
        )
        for place, index in enumerate(picture.order)
        if labelled or index in states
    ]
    return tag("span.marks", *marks, aria_hidden=True) if marks else ""


def _oddities_html(statistics: MapStatistics) -> Markup:
    """Sentences on dead, equal and broken maps; dead maps are counted even if there are none."""
    maps, dead = text.plural(len(statistics.mean), "map"), term("dead_map", "dead")
    if statistics.dead:
        many = f", all values equal: {len(statistics.dead):,} of {maps}, "
        lines = [tag("p.warning", "⚠ ", dead, many, _links(statistics.dead))]
    elif statistics.single:
        lines = [remark(f"Of {maps} none can be seen to be ", dead, ": each is a single value.")]
    else:
        lines = [remark(f"0 of {maps} ", dead, ": none has all values equal.")]
    if statistics.duplicates:
        groups = statistics.duplicates[:_MOST_MARKED]
        equal = (join(*map(_link, group), separator=" = ") for group in groups)
        more = len(statistics.duplicates) - len(groups)
        rest = f" and {more} more groups" if more else ""
        lines.append(tag("p.warning", "⚠ equal maps: ", join(*equal, separator="; "), rest))
    if statistics.not_finite:
        links = _links(statistics.not_finite)
        lines.append(tag("p.warning", "⚠ values that are not finite: ", links))
    return join(*lines)


def _links(indexes: tuple[int, ...]) -> Markup:
    more = len(indexes) - _MOST_MARKED
    rest = f" and {more:,} more" if more > 0 else ""
    return join(*map(_link, indexes[:_MOST_MARKED]), separator=", ") + rest


def _link(index: int) -> Markup:
    return button(index, css="map-link", data_map=index)


# ---- one map large --------------------------------------------------------------------------


def large_map_html(
    kept: KeptOutput,
    channel: int,
    name: str,
    *,
    count: int,
    colours: Scale | str,
    size: str = "",
    opens: str | None = None,
    todo: str = "read it",
) -> Markup:
    """Draw one map enlarged, with its statistics and buttons to the other maps.

    Args:
        kept: The output it is of.
        channel: Its number.
        name: Name of the layer.
        count: Maps of the layer.
        colours: What `wall` takes.
        size: Its size in words, behind a comma.
        opens: Name of the panel that a click on a value opens; None for none.
        todo: What a value is chosen for, "take its cell apart".
    """
    plane = numbers(kept)[channel]
    header = fill(
        '<header><h2>{} {} of {}</h2><p class="map-steps">{} {} {}</p></header>',
        *(term("feature_map", "Map"), channel, name),
        button("‹", data_map=(channel - 1) % count, aria_label="map before"),
        button("›", data_map=(channel + 1) % count, aria_label="map after"),
        button(f"all {count}", data_map=""),
    )
    scale = colours if isinstance(colours, Scale) else value_scale(plane)
    thin = max(1, ceil(max(plane.shape) / _SENT_SIDE))
    step = kept.step * thin
    keys = f", Enter to {todo}" if opens else ""
    values = values_html(
        plane,
        scale,
        sent=plane[::thin, ::thin],
        step=step,
        alt=f"map {channel} of {name}{size}",
        data_plane=channel,
        data_opens=opens,
        aria_label=f"map {channel}: arrow keys move{keys}",
        style=f"width:min(100%, var(--maps-height) * {plane.shape[1] / plane.shape[0]:.4f})",
    )
    hover = tag("output.hover", f"Choose a value to {todo}.")
    taken = remark(f" Shown: every {ordinal(step)} row and column.") if step > 1 else ""
    return join(
        header,
        tag("figure.maps", values, tag("figcaption", legend_html(scale), hover), taken),
        figures_html(plane),
    )


def values_html(
    plane: FloatArray,
    scale: Scale,
    *,
    sent: FloatArray,
    step: int,
    alt: str,
    over: str = "",
    **attributes: Attribute,
) -> Markup:
    """Draw values as a picture, and embed them for the page to read.

    Args:
        plane: The values that are drawn: (h, w).
        scale: Their colours.
        sent: The values that are sent, which may be a part of them.
        step: Every so many rows and columns of the layer are sent.
        alt: What is drawn, in words.
        over: What is drawn over the picture.
        attributes: Further attributes of the element around the picture.
    """
    height, width = plane.shape
    rows, columns = sent.shape
    image = picture_html((plane_png(plane, scale), width, height), signed=scale.signed, alt=alt)
    cursor = tag("i.cursor", hidden=True)
    size: dict[str, Attribute] = {"data_step": step, "data_rows": rows, "data_columns": columns}
    stage = tag("div.plane", image, over, cursor, tabindex=0, role="group", **size, **attributes)
    return stage + tag("span", hidden=True, data_values=floats(sent))


def floats(values: NDArray[np.floating]) -> Markup:
    """Numbers for the page: float32, little-endian, in base64."""
    return in_base64(values.astype("<f4").tobytes())


def figures_html(plane: FloatArray) -> Markup:
    """Histogram and statistics of one map."""
    finite = plane[np.isfinite(plane)].astype(np.float64)
    broken = plane.size - finite.size
    if not finite.size:
        return tag("p.warning", "⚠ no value of this map is a finite number")
    values: dict[str, Content] = {
        "mean": text.number(finite.mean()),
        "std": text.number(finite.std()),
        "least": text.number(finite.min()),
        "largest": text.number(finite.max()),
        term("zeros", "zeros"): text.percent(float((finite == 0).mean())),
    }
    if broken:
        values["not finite"] = f"{broken:,} of {plane.size:,}"
    return tag("div.map-figures", _histogram_svg(finite), figures(values))


def _histogram_svg(values: NDArray[np.float64]) -> Markup:
    """Histogram of the values, with zero marked."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return tag("p.soft", f"every value is {text.number(low)}")
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high))
    width, shares = 5 * _BINS, 60 * counts / counts.max()
    bars = (
        fill('<rect x="{}" y="{:.1f}" width="4.4" height="{:.1f}"/>', 5 * at, 60 - share, share)
        for at, share in enumerate(shares)
        if share
    )
    zero = ""
    if low < 0 < high:
        x = width * -low / (high - low)
        zero = fill('<line class="zero" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="62"/>', x)
    return fill(
        '<svg class="histogram" viewBox="0 0 {width} 76" role="img" aria-label="histogram of'
        ' {count:,} values from {least} to {largest}">{bars}{zero}<text x="0" y="74">{least}</text>'
        '<text x="{width}" y="74" text-anchor="end">{largest}</text></svg>',
        width=width,
        count=values.size,
        least=text.number(low, 3),
        largest=text.number(high, 3),
        bars=join(*bars),
        zero=zero,
    )
