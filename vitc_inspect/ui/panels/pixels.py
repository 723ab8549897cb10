"""The pixel panel: how many tokens read each pixel, and which pixels nobody reads."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vitc_inspect.common.images import FloatArray
from vitc_inspect.stem.geometry import PixelAudit, audit_pixels
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.views import text
from vitc_inspect.views.pixels import (
    Frame,
    box_path,
    frame_of,
    hatch_svg,
    opacity,
    photo_uri,
    reads_uri,
    runs,
    thinning,
)

_PROFILE = 46  # width of the profile beside the image (CSS pixels)
_LEAST_MARK = 4.0  # width of a mark on what nobody reads (CSS pixels)
_MOST_SWATCHES = 6


def pixels_html(prediction: Prediction, image: FloatArray | None, *, width: int) -> str:
    """How many tokens read each pixel, and which pixels nobody reads.

    Args:
        prediction: The prediction.
        image: (channels, height, width), what the stem was fed; None before the run.
        width: Width of the panel (pixels).
    """
    spec = prediction.spec
    audit = audit_pixels(spec)
    frame = frame_of(spec, width=width - _PROFILE)
    return (
        f"<div class='pixel-panel' data-pixels='{_reads_json(audit)}'>"
        f"{_verdict_html(audit, spec)}"
        f"{_audit_figure_html(audit, image, frame)}"
        '<p class="token-output"><output data-pixel-output></output></p>'
        f"{_reads_legend_html(audit)}"
        f"{_audit_table_html(audit, spec)}</div>"
    )


def _reads_json(audit: PixelAudit) -> str:
    """Reads of each row and column, wherever they change."""
    facts = {
        "size": [len(audit.row_reads), len(audit.column_reads)],
        "reads": [
            [[start, value] for start, _, value in runs(reads)]
            for reads in (audit.row_reads, audit.column_reads)
        ],
    }
    return json.dumps(facts, separators=(",", ":"))


def _verdict_html(audit: PixelAudit, spec: StemSpec) -> str:
    """One sentence: whether all pixels are read, and if not, which."""
    lost = [
        f"{len(positions):,} of {whole:,} {name}s"
        for positions, whole, name in _unread(audit, spec)
        if positions
    ]
    if not lost:
        least, most = audit.least_reads, audit.most_reads
        often = (
            f"by exactly {text.plural(least, 'token')}"
            if least == most
            else f"the least by {text.plural(least, 'token')}, the most by {most:,}"
        )
        return (
            '<p class="pixel-verdict agrees"><span>✓</span><span>Every pixel is read,'
            f" {often}.</span></p>"
        )
    named = " and ".join(
        f"{name}{'' if len(positions) == 1 else 's'} {text.listed(positions)}"
        for positions, _, name in _unread(audit, spec)
        if positions
    )
    are = "is" if sum(len(positions) for positions, _, _ in _unread(audit, spec)) == 1 else "are"
    return (
        f'<p class="pixel-verdict differs"><span>✗</span><span>{" and ".join(lost)} {are} never'
        f" read: {named}. <small>Every shape is right without them.</small></span></p>"
    )


def _unread(audit: PixelAudit, spec: StemSpec) -> tuple[tuple[tuple[int, ...], int, str], ...]:
    height, width = spec.image_size
    return (audit.unread_rows, height, "row"), (audit.unread_columns, width, "column")


def _audit_figure_html(audit: PixelAudit, image: FloatArray | None, frame: Frame) -> str:
    """How often each pixel is read, over the image, with the profile of each axis beside it."""
    height, width = len(audit.row_reads), len(audit.column_reads)
    unit, pad = frame.unit, frame.padding
    stencil = reads_uri(audit.row_reads, audit.column_reads)
    most = max(*audit.row_reads, *audit.column_reads)
    photo = ""
    if image is not None:
        photo = (
            f'<image class="pixel-photo" href="{photo_uri(image)}" width="{width}"'
            f' height="{height}" preserveAspectRatio="none"/>'
        )
    least = _LEAST_MARK * unit
    lost = "".join(
        [
            *(box_path(0, a, width, b) for a, b in _marks(audit.unread_rows, least)),
            *(box_path(a, 0, b, height) for a, b in _marks(audit.unread_columns, least)),
        ]
    )
    outer = box_path(-pad.left, -pad.top, width + pad.right, height + pad.bottom)
    inner = box_path(0, 0, width, height)
    shown_height = frame.height / unit
    return (
        f'<div class="pixel-figure" style="grid-template-columns:{frame.shown}px {_PROFILE}px">'
        f'<svg class="pixel-stage" viewBox="{frame.view_box}" style="height:{shown_height:.0f}px"'
        f' data-unit="{unit:.5g}" tabindex="0" role="application" aria-label="Reads of each of'
        f' {height} by {width} pixels; arrow keys move a pixel, with Shift sixteen">'
        f'<defs>{hatch_svg("pixel", unit)}<mask id="pixel-stencil" style="mask-type:alpha"'
        f' maskUnits="userSpaceOnUse" x="0" y="0" width="{width}" height="{height}">'
        f'<image href="{stencil}" width="{width}" height="{height}"'
        ' preserveAspectRatio="none" decoding="sync"/></mask></defs>'
        f'<path class="token-padding" d="{outer}{inner}" style="fill:url(#pixel-hatch)"/>{photo}'
        f'<rect class="pixel-reads" width="{width}" height="{height}" mask="url(#pixel-stencil)"/>'
        f'<path class="pixel-lost" d="{lost}"/><path class="token-border" d="{inner}"/>'
        '<path class="pixel-cross"/></svg>'
        f"{_profile_svg(audit.row_reads, frame.top, frame.height, most, upright=True)}"
        f"{_profile_svg(audit.column_reads, frame.left, frame.width, most, upright=False)}</div>"
    )


def _profile_svg(
    reads: Sequence[int], start: float, length: float, most: int, *, upright: bool
) -> str:
    """Bars as long as the number of tokens that read each row, or each column, of pixels."""
    most = max(most, 1)
    bars = {True: "", False: ""}
    for begin, end, value in runs(reads):
        long = value or most  # what nobody reads is marked over the whole length
        path = f"M0 {begin}H{long}V{end}H0z" if upright else f"M{begin} 0V{long}H{end}V0z"
        bars[bool(value)] += path
    box = f"0 {start:.6g} {most} {length:.6g}" if upright else f"{start:.6g} 0 {length:.6g} {most}"
    name, css = ("rows", "pixel-rows") if upright else ("columns", "pixel-columns")
    return (
        f'<svg class="pixel-profile {css}" viewBox="{box}" preserveAspectRatio="none" role="img"'
        f' aria-label="{name} of tokens that read each of the {len(reads):,} {name} of pixels,'
        f' {min(reads)} to {max(reads)}"><path class="pixel-bars" d="{bars[True]}"/>'
        f'<path class="pixel-lost" d="{bars[False]}"/></svg>'
    )


def _marks(positions: Sequence[int], least: float) -> list[tuple[float, float]]:
    """From where to where neighbouring positions are marked, wide enough to be seen."""
    spans = [(a, b) for a, b, lost in runs(_flags(positions)) if lost]
    return [
        (min(a, (a + b - least) / 2), max(b, (a + b + least) / 2)) if b - a < least else (a, b)
        for a, b in spans
    ]


def _flags(positions: Sequence[int]) -> list[int]:
    """1 at each of the positions, up to the last of them."""
    lost = set(positions)
    return [int(place in lost) for place in range(max(positions, default=-1) + 1)]


def _reads_legend_html(audit: PixelAudit) -> str:
    """Which colour stands for how many tokens, and what the bars are."""
    counts = sorted(
        {row * column for row in set(audit.row_reads) for column in set(audit.column_reads)}
    )
    most = audit.most_reads
    read = [count for count in counts if count]
    if len(read) <= _MOST_SWATCHES:
        swatches = "".join(
            f'<span><i style="opacity:{opacity(count, most):.3f}"></i>{count:,}</span>'
            for count in read
        )
    else:
        swatches = (
            f'<span class="pixel-ramp">{read[0]:,}<i style="--from:{opacity(read[0], most):.3f};'
            f'--to:{opacity(most, most):.3f}"></i>{most:,}</span>'
        )
    never = '<span class="differs"><i></i>never read</span>' if 0 in counts else ""
    rows, columns = max(audit.row_reads), max(audit.column_reads)
    return (
        f'<p class="pixel-legend">tokens that read a pixel: {swatches}{never}</p>'
        '<p class="remark">Bars: rows of tokens that read each row of pixels (right, at most'
        f" {rows:,}), columns of tokens that read each column (below, at most {columns:,})."
        " A pixel is read by the one times the other.</p>"
    )


def _audit_table_html(audit: PixelAudit, spec: StemSpec) -> str:
    """Padding, overlap, and the totals."""
    height, width = spec.image_size
    field = audit.overlap + spec.total_stride
    padding = audit.padding
    mean = sum(audit.row_reads) * sum(audit.column_reads) / (height * width)
    if audit.overlap >= 0:
        between = f"neighbouring fields share <b>{audit.overlap:,} px</b>"
    else:
        between = f"neighbouring fields leave a gap of <b>{-audit.overlap:,} px</b>"
    overlap = f"{audit.overlap:,}".replace("-", "−")
    unread = "none"
    if audit.unread_pixels:
        share = text.percent(audit.unread_pixels / (height * width))
        unread = f"<b>{audit.unread_pixels:,}</b> of {height * width:,} ({share})"
    least, most = audit.least_reads, audit.most_reads
    rows = {
        "padding read": f"above <b>{padding.top}</b>, below <b>{padding.bottom}</b>, left"
        f" <b>{padding.left}</b>, right <b>{padding.right} px</b>",
        "overlap": f"{field:,} − {spec.total_stride:,} = {overlap}: {between}",
        "reads a pixel": f"<b>{least:,}</b> to <b>{most:,}</b>, mean {mean:.3g}",
        "never read": unread,
    }
    lines = "".join(
        f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows.items()
    )
    step = thinning(spec.image_size)
    note = f'<p class="remark">Drawn from pixels {step} apart.</p>' if step > 1 else ""
    return f'<table class="formulas pixel-facts"><tbody>{lines}</tbody></table>{note}'
