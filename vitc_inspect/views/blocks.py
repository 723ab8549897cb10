"""Draw a row of blocks as one SVG: sized by shape, with labels, a picture and a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.text import shape as shape_text

# Lengths are pixels of the picture.
FACE = 80
"""Side of the largest face."""
DEPTH = 20
"""Depth of the block with most channels."""
_BASELINE = 126  # baseline of the blocks
_HEIGHT = 184
_ARROW = 24  # least room between two blocks
_FULL = 900  # a strip that is narrower spreads its blocks up to this width
_CHARACTER, _TITLE_CHARACTER = 6.4, 7.7  # width of a character of a label, of a bold title
SEQUENCE = 30
"""Width of a block of tokens."""
_MARKS = {"agrees": "✓ ", "predicted": "", "not predicted": "", "not reached": ""}
_PREFIX = 5  # height of the bar for the class token


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: what it represents and its drawn size (CSS pixels)."""

    layers: tuple[str, ...]
    """The layers it shows; a click selects the first. Without any it is no button."""
    title: str
    """Label under the block."""
    made_by: tuple[str, ...]
    """What made it out of the block before, a line each."""
    shape: tuple[int, ...]
    """(channels, height, width), (tokens, width) or (width,)."""
    width: float
    """Width of the face."""
    height: float
    """Height of the face."""
    depth: float
    """Depth behind the face."""
    picture: str | None
    """Address of what the face shows."""
    signed: bool = False
    """Whether the picture has colours on both sides of zero."""
    state: str
    """The word under it: "input", "predicted", "agrees", "differs" …; it may be empty."""
    prefix: bool = False
    """Whether a class token is drawn on top."""
    css: str = ""
    """Further names for the style sheet."""
    whole_name: str = ""
    """The title in full, where that is shortened."""

    @property
    def room(self) -> float:
        """Width of the drawing or of the longest label."""
        state = "" if self.state in ("predicted", "agrees", "input") else self.state
        labels = (shape_text(self.shape), state, *self.made_by)
        label = max(len(text) for text in labels) * _CHARACTER
        return max(self.width + self.depth, label, len(self.title) * _TITLE_CHARACTER)


def in_a_row(
    blocks: Sequence[Block],
    *,
    selected: str | None,
    css: str = "",
    label: str,
    full: int = _FULL,
    shrink: float = 0.84,
) -> Markup:
    """Draw blocks one after the other, with arrows between them.

    Args:
        blocks: The blocks; at least one.
        selected: Name of the layer whose block is marked.
        css: Further names for the style sheet.
        label: What it is a picture of.
        full: A strip that is narrower spreads its blocks up to this width (pixels).
        shrink: The least part of its size that it is drawn in; a narrower space scrolls.

    Returns:
        An <svg> element.
    """
    spare = (full - sum(block.room for block in blocks)) / max(1, len(blocks) - 1)
    arrow = min(4 * _ARROW, max(_ARROW, spare))
    parts, x = [], 8.0
    for block in blocks:
        if block is not blocks[0]:
            parts.append(_arrow(x, arrow))
            x += arrow
        parts.append(_draw(block, x, chosen=selected in block.layers))
        x += block.room
    width = ceil(x + 8)
    return tag(
        "svg",
        *parts,
        class_=f"strip {css}".strip(),
        viewBox=f"0 0 {width} {_HEIGHT}",
        role="group",
        style=f"max-width:{width}px;min-width:{ceil(shrink * width)}px",
        aria_label=label,
    )


def _draw(block: Block, x: float, *, chosen: bool) -> Markup:
    """A block with its labels; one that represents layers is a button."""
    middle = x + block.room / 2
    left = middle - (block.width + block.depth) / 2
    labels = [_text(middle, 13 + 13 * i, "made", line) for i, line in enumerate(block.made_by)]
    labels.append(_text(middle, _BASELINE + 18, "name", block.title))
    labels.append(_text(middle, _BASELINE + 34, "sizes", coloured_shape(block.shape, svg=True)))
    if block.whole_name:
        labels.append(tag("title", block.whole_name))
    if block.state and block.state != "input":
        words = _MARKS.get(block.state, "✗ ") + block.state
        labels.append(_text(middle, _BASELINE + 50, "state", words))
    body = join(_solid(block, left, _BASELINE - block.height), *labels)
    css = f"block {block.state.replace(' ', '-')} {block.css}".strip()
    if not block.layers:
        return tag("g", body, class_=css)
    spoken = (block.whole_name or block.title, shape_text(block.shape), block.state)
    return tag(
        "g",
        fill(
            '<rect class="room" x="{:.1f}" y="1" width="{:.1f}" height="{}" rx="8"/>',
            *(x - 4, block.room + 8, _HEIGHT - 2),
        ),
        body,
        class_=f"{css} chosen" if chosen else css,
        role="button",
        tabindex=0,
        aria_pressed=chosen,
        data_layer=block.layers[0],
        data_layers=" ".join(block.layers),
        aria_label=", ".join(filter(None, spoken)),
    )


def _solid(block: Block, left: float, top: float) -> Markup:
    """The front face with its picture, and behind it the depth of the channels."""
    w, h, d, lift = block.width, block.height, block.depth, block.depth * 0.55
    parts = []
    if d:
        parts.append(
            fill(
                '<path class="side" d="M{:.1f} {:.1f}l{:.1f} {:.1f}h{:.1f}v{:.1f}'
                'l{:.1f} {:.1f}v{:.1f}l{:.1f} {:.1f}"/>',
                *(left, top, d, -lift, w, h, -d, lift, -h, d, -lift),
            )
        )
    if block.prefix:
        parts.append(_rect("prefix", left, top - _PREFIX - 2, w, _PREFIX))
    parts.append(_rect("face", left, top, w, h))
    if block.picture:
        parts.append(
            fill(
                '<image href="{}" class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}"'
                ' height="{:.1f}" preserveAspectRatio="none"/>',
                *(block.picture, "signed" if block.signed else "", left, top, w, h),
            )
        )
    elif block.width == SEQUENCE and h == FACE:
        lines = "".join(f"M{left:.1f} {top + h * i / 14:.1f}h{w:.1f}" for i in range(1, 14))
        parts.append(tag("path.lines", d=lines))
    parts.append(_rect("frame", left, top, w, h))
    return join(*parts)


def _arrow(x: float, length: float) -> Markup:
    return fill(
        '<path class="arrow" d="M{:.1f} {}h{:.1f}m-4.5 -4l4.5 4l-4.5 4"/>',
        *(x + 6, _BASELINE - 22, length - 13),
    )


def _rect(css: str, x: float, y: float, width: float, height: float) -> Markup:
    return fill(
        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>',
        *(css, x, y, width, height),
    )


def _text(x: float, y: float, css: str, content: Content) -> Markup:
    return fill('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>', css, x, y, content)


@lru_cache(maxsize=1024)
def coloured_shape(shape: tuple[int, ...], *, svg: bool = False) -> Markup:
    """Write a shape of one image with each axis in its colour.

    Args:
        shape: (channels, height, width), (tokens, channels) or (channels,); any other is plain.
        svg: Whether the text is inside an SVG.
    """
    axis = _tspan if svg else _span
    if len(shape) == 3:
        area = f"{shape[1]}×{shape[2]}"
        return join(axis("channels", shape[0]), "×", axis("area", area))
    if len(shape) == 2:
        return join(axis("token", shape[0]), "×", axis("channels", shape[1]))
    return axis("channels", shape[0]) if len(shape) == 1 else join(shape_text(shape))


def _span(css: str, content: Content) -> Markup:
    return fill('<span class="{}">{}</span>', css, content)


def _tspan(css: str, content: Content) -> Markup:
    return fill('<tspan class="{}">{}</tspan>', css, content)
