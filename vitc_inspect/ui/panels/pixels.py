"""The pixel panel: how many tokens read each pixel, and which pixels are never read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vitc_inspect.common.images import FloatArray
from vitc_inspect.stem.geometry import PixelAudit, audit_pixels
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.ui.panels.elements import facts_table, remark
from vitc_inspect.views import text
from vitc_inspect.views.glossary import term
from vitc_inspect.views.html import Markup, fill, tag
from vitc_inspect.views.pixels import (
    Frame,
    box_path,
    frame_of,
    hatch_svg,
    opacity,
    photo_uri,
    reads_uri,
    runs,
    stretches,
    thinning,
)

_PROFILE = 46  # width of the profile beside the image (CSS pixels)
_LEAST_MARK = 4.0  # width of a mark on unread pixels (CSS pixels)
_MOST_SWATCHES = 6


def pixels_html(prediction: Prediction, image: FloatArray | None, *, width: int) -> Markup:
    """Draw how many tokens read each pixel, and which pixels are never read.

    Args:
        prediction: The prediction.
        image: (channels, height, width), what the stem was fed; None before the run.
        width: Width of the panel (pixels).
    """
    spec = prediction.spec
    audit = audit_pixels(spec)
    frame = frame_of(spec, width=width - _PROFILE)
    step = thinning(spec.image_size)
    return tag(
        "div.pixel-panel",
        _verdict_html(audit, spec),
        _audit_figure_html(audit, image, frame),
        fill('<p class="token-output"><output data-pixel-output></output></p>'),
        _reads_legend_html(audit),
        _audit_table_html(audit, spec),
        remark(f"Drawn from pixels {step} apart.") if step > 1 else "",
        data_pixels=_reads_json(audit),
    )


def _reads_json(audit: PixelAudit) -> str:
    """Read counts of rows and columns, run-length encoded."""
    facts = {
        "size": [len(audit.row_reads), len(audit.column_reads)],
        "reads": [
            [[start, value] for start, _, value in runs(reads)]
            for reads in (audit.row_reads, audit.column_reads)
        ],
    }
    return json.dumps(facts, separators=(",", ":"))


def _verdict_html(audit: PixelAudit, spec: StemSpec) -> Markup:
    """A sentence on whether all pixels are read and, if not, which are missing."""
    lost = [each for each in _unread(audit, spec) if each[0]]
    if not lost:
        least, most = audit.least_reads, audit.most_reads
        often = f"the least by {text.plural(least, 'token')}, the most by {most:,}"
        if least == most:
            often = f"by exactly {text.plural(least, 'token')}"
        said = f"Every pixel is read, {often}."
        return fill('<p class="pixel-verdict agrees"><span>✓</span><span>{}</span></p>', said)
    counts = " and ".join(f"{len(each):,} of {whole:,} {name}s" for each, whole, name in lost)
    named = " and ".join(
        f"{name}{'' if len(each) == 1 else 's'} {text.listed(each)}" for each, _, name in lost
    )
    are = "is" if sum(len(each) for each, _, _ in lost) == 1 else "are"
    return fill(
        '<p class="pixel-verdict differs"><span>✗</span><span>{} {} never read: {}.'
        " <small>Every shape is right without them.</small></span></p>",
        *(counts, are, named),
    )


def _unread(audit: PixelAudit, spec: StemSpec) -> tuple[tuple[tuple[int, ...], int, str], ...]:
    height, width = spec.image_size
    return (audit.unread_rows, height, "row"), (audit.unread_columns, width, "column")


def _audit_figure_html(audit: PixelAudit, image: FloatArray | None, frame: Frame) -> Markup:
    """The read counts over the image, with a profile along each axis."""
    return tag(
        "div.pixel-figure",
        _reads_svg(audit, image, frame),
        _profile_svg(audit.row_reads, audit, frame.top, frame.height, upright=True),
        _profile_svg(audit.column_reads, audit, frame.left, frame.width, upright=False),
        style=f"grid-template-columns:{frame.shown}px {_PROFILE}px",
    )


def _reads_svg(audit: PixelAudit, image: FloatArray | None, frame: Frame) -> Markup:
    """The image with its padding, tinted by read count, with pixels marked that are never read."""
    height, width = len(audit.row_reads), len(audit.column_reads)
    unit, pad = frame.unit, frame.padding
    photo = ""
    if image is not None:
        photo = fill(
            '<image class="pixel-photo" href="{}" width="{}" height="{}"'
            ' preserveAspectRatio="none"/>',
            *(photo_uri(image), width, height),
        )
    least = _LEAST_MARK * unit
    rows = (box_path(0, a, width, b) for a, b in _marks(audit.unread_rows, least))
    columns = (box_path(a, 0, b, height) for a, b in _marks(audit.unread_columns, least))
    outer = box_path(-pad.left, -pad.top, width + pad.right, height + pad.bottom)
    return fill(
        '<svg class="pixel-stage" viewBox="{box}" style="height:{shown:.0f}px"'
        ' data-unit="{unit:.5g}" tabindex="0" role="application" aria-label="Reads of each of'
        ' {height} by {width} pixels; arrow keys move a pixel, with Shift sixteen">'
        '<defs>{hatch}<mask id="pixel-stencil" style="mask-type:alpha" maskUnits="userSpaceOnUse"'
        ' x="0" y="0" width="{width}" height="{height}"><image href="{stencil}" width="{width}"'
        ' height="{height}" preserveAspectRatio="none" decoding="sync"/></mask></defs>'
        '<path class="token-padding" d="{outer}{inner}" style="fill:url(#pixel-hatch)"/>{photo}'
        '<rect class="pixel-reads" width="{width}" height="{height}" mask="url(#pixel-stencil)"/>'
        '<path class="pixel-lost" d="{lost}"/><path class="token-border" d="{inner}"/>'
        '<path class="pixel-cross"/></svg>',
        box=frame.view_box,
        shown=frame.height / unit,
        unit=unit,
        height=height,
        width=width,
        hatch=hatch_svg("pixel", unit),
        stencil=reads_uri(audit.row_reads, audit.column_reads),
        outer=outer,
        inner=box_path(0, 0, width, height),
        photo=photo,
        lost="".join([*rows, *columns]),
    )


def _profile_svg(
    reads: Sequence[int], audit: PixelAudit, start: float, length: float, *, upright: bool
) -> Markup:
    """Bars with the number of tokens that read each row, or each column, of pixels."""
    most = max(*audit.row_reads, *audit.column_reads, 1)
    bars = {True: "", False: ""}
    for begin, end, value in runs(reads):
        long = value or most  # unread pixels are marked over the whole length
        path = f"M0 {begin}H{long}V{end}H0z" if upright else f"M{begin} 0V{long}H{end}V0z"
        bars[bool(value)] += path
    box = f"0 {start:.6g} {most} {length:.6g}" if upright else f"{start:.6g} 0 {length:.6g} {most}"
    name = "rows" if upright else "columns"
    return fill(
        '<svg class="pixel-profile pixel-{0}" viewBox="{1}" preserveAspectRatio="none" role="img"'
        ' aria-label="{0} of tokens that read each of the {2:,} {0} of pixels, {3} to {4}">'
        '<path class="pixel-bars" d="{5}"/><path class="pixel-lost" d="{6}"/></svg>',
        *(name, box, len(reads), min(reads), max(reads), bars[True], bars[False]),
    )


def _marks(positions: Sequence[int], least: float) -> list[tuple[float, float]]:
    """Start and end of each marked run of positions, widened to be visible."""
    return [
        (min(a, (a + b - least) / 2), max(b, (a + b + least) / 2)) if b - a < least else (a, b)
        for a, b in stretches(positions)
    ]


def _reads_legend_html(audit: PixelAudit) -> Markup:
    """The meaning of the colours and of the bars."""
    counts = {row * column for row in set(audit.row_reads) for column in set(audit.column_reads)}
    most = audit.most_reads
    read = sorted(counts - {0})
    if len(read) <= _MOST_SWATCHES:
        swatches = [
            fill('<span><i style="opacity:{:.3f}"></i>{:,}</span>', opacity(count, most), count)
            for count in read
        ]
    else:
        swatches = [
            fill(
                '<span class="pixel-ramp">{:,}<i style="--from:{:.3f};--to:{:.3f}"></i>{:,}</span>',
                *(read[0], opacity(read[0], most), opacity(most, most), most),
            )
        ]
    never = tag("span.differs", tag("i"), "never read") if 0 in counts else ""
    rows, columns = max(audit.row_reads), max(audit.column_reads)
    words = (
        f"Bars: rows of tokens that read each row of pixels (right, at most {rows:,}), columns of"
        f" tokens that read each column (below, at most {columns:,}). A pixel is read by the one"
        " times the other."
    )
    legend = tag("p.pixel-legend", "tokens that read a pixel: ", *swatches, never)
    return legend + remark(words)


def _audit_table_html(audit: PixelAudit, spec: StemSpec) -> Markup:
    """A table of padding, overlap, read counts and unread pixels."""
    height, width = spec.image_size
    field = audit.overlap + spec.total_stride
    padding = audit.padding
    mean = sum(audit.row_reads) * sum(audit.column_reads) / (height * width)
    shared = "share" if audit.overlap >= 0 else "leave a gap of"
    overlap = f"{audit.overlap:,}".replace("-", "−")
    unread = "none"
    if audit.unread_pixels:
        share = text.percent(audit.unread_pixels / (height * width))
        unread = fill("<b>{:,}</b> of {:,} ({})", audit.unread_pixels, height * width, share)
    rows = {
        term("padding", "padding") + " read": fill(
            "above <b>{}</b>, below <b>{}</b>, left <b>{}</b>, right <b>{} px</b>",
            *(padding.top, padding.bottom, padding.left, padding.right),
        ),
        term("overlap", "overlap"): fill(
            "{:,} − {:,} = {}: neighbouring fields {} <b>{:,} px</b>",
            *(field, spec.total_stride, overlap, shared, abs(audit.overlap)),
        ),
        term("coverage", "reads a pixel"): fill(
            "<b>{:,}</b> to <b>{:,}</b>, mean {:.3g}", audit.least_reads, audit.most_reads, mean
        ),
        "never read": unread,
    }
    return facts_table("formulas pixel-facts", rows.items())
