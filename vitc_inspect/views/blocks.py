"""Draw a row of blocks as one SVG: sized by shape, with labels, a picture and a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from vitc_inspect.views.html import Content, Markup, fill, join, tag
from vitc_inspect.views.text import shape as shape_text

# Lengths are pixels of the picture.
FACE = 112
"""Side of the largest face."""
DEPTH = 22
"""Depth of the block with most channels."""
_ABOVE = 40  # room above a face for what made it
_BELOW = 42  # room below the blocks for a name and a shape
_STATE = 16  # more of it where a block has something to say
_ARROW = 24  # least room between two blocks
_WIDEST_ARROW = 110
_FULL = 900  # a strip that is narrower spreads its blocks up to this width
_COMPACT = 0.56  # size of the faces in a compact strip
_CHARACTER, _TITLE_CHARACTER = 6.4, 7.7  # width of a character of a label, of a bold title
SEQUENCE = 36
"""Width of a block of tokens."""
_QUIET = ("", "input", "predicted", "agrees")
"""States that nothing is written for."""
_MARKS = {"not predicted": "", "not reached": ""}
_PREFIX = 5  # height of the bar for the class token
_LEAST_SQUARE = 3.5  # side of a square of the grid, below which several tokens share one


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
    arrow: str = ""
    """What happens to the sides between the block before and this one: "÷ 2"."""
    squares: tuple[float, float] | None = None
    """Rows and columns of squares drawn over the picture; the last of each may be cut off."""

    @property
    def said(self) -> str:
        """The line for its state; empty where there is nothing to say."""
        return "" if self.state in _QUIET else _MARKS.get(self.state, "✗ ") + self.state

    def room(self, *, compact: bool) -> float:
        """Width of the drawing or of the longest label."""
        drawn = self.width + self.depth
        if compact:
            return max(drawn, len(_short_shape(self.shape)) * _CHARACTER)
        labels = (shape_text(self.shape), self.said, *self.made_by)
        label = max(len(text) for text in labels) * _CHARACTER
        return max(drawn, label, len(self.title) * _TITLE_CHARACTER)


def in_a_row(
    blocks: Sequence[Block],
    *,
    selected: str | None,
    css: str = "",
    label: str,
    full: int = _FULL,
    shrink: float = 0.84,
    compact: bool = False,
    facts: str | None = None,
) -> Markup:
    """Draw blocks one after the other, with arrows between them.

    Args:
        blocks: The blocks; at least one.
        selected: Name of the layer whose block is marked.
        css: Further names for the style sheet.
        label: What it is a picture of.
        full: A strip that is narrower spreads its blocks up to this width (pixels).
        shrink: The least part of its size that it is drawn in; a narrower space scrolls.
        compact: Whether it is drawn small, with a size under each block and no other words.
        facts: What the page needs to follow a pointer over it, as JSON.

    Returns:
        An <svg> element.
    """
    if compact:
        blocks = [_smaller(block) for block in blocks]
    above = 12 if compact else _ABOVE
    baseline = ceil(above + max(block.height + 0.55 * block.depth for block in blocks))
    below = 18 if compact else _BELOW + (_STATE if any(block.said for block in blocks) else 0)
    frame = _Frame(baseline=baseline, height=baseline + below, compact=compact)
    rooms = [block.room(compact=compact) for block in blocks]
    spare = (full - 16 - sum(rooms)) / max(1, len(blocks) - 1)
    parts, x = [], 8.0
    for block, room in zip(blocks, rooms, strict=True):
        if block is not blocks[0]:
            least = max(_ARROW, (len(block.arrow) + 1) * _CHARACTER)
            arrow = min(max(_WIDEST_ARROW, least), max(least, spare))
            parts.append(_arrow(block.arrow, x, arrow, frame))
            x += arrow
        parts.append(_draw(block, x, room, frame, chosen=selected in block.layers))
        x += room
    width = ceil(x + 8)
    return tag(
        "svg",
        *parts,
        class_=f"strip {css}{' compact' if compact else ''}".strip(),
        viewBox=f"0 0 {width} {frame.height}",
        role="group",
        style=f"max-width:{width}px;min-width:{ceil(shrink * width)}px",
        aria_label=label,
        data_facts=facts,
    )


@dataclass(frozen=True)
class _Frame:
    """Where the blocks of a strip stand."""

    baseline: int
    height: int
    compact: bool


def _smaller(block: Block) -> Block:
    sizes = {name: _COMPACT * getattr(block, name) for name in ("width", "height", "depth")}
    return replace(block, **sizes)


def _short_shape(shape: tuple[int, ...]) -> str:
    """Height and width, or the number of tokens.

    >>> _short_shape((48, 112, 112)), _short_shape((48, 23, 17)), _short_shape((197, 384))
    ('112', '23×17', '197')
    """
    if len(shape) == 3:
        return str(shape[1]) if shape[1] == shape[2] else f"{shape[1]}×{shape[2]}"
    return str(shape[0]) if shape else ""


def _draw(block: Block, x: float, room: float, frame: _Frame, *, chosen: bool) -> Markup:
    """A block with its labels; one that represents layers is a button."""
    middle = x + room / 2
    left = middle - (block.width + block.depth) / 2
    labels = _short_label(block, middle, frame) if frame.compact else _labels(block, middle, frame)
    body = join(_solid(block, left, frame.baseline - block.height), *labels)
    css = f"block {block.state.replace(' ', '-')} {block.css}".strip()
    if not block.layers:
        return tag("g", body, class_=css)
    spoken = (block.whole_name or block.title, shape_text(block.shape), block.state)
    return tag(
        "g",
        fill(
            '<rect class="room" x="{:.1f}" y="1" width="{:.1f}" height="{}" rx="8"/>',
            *(x - 4, room + 8, frame.height - 2),
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


def _labels(block: Block, middle: float, frame: _Frame) -> list[Markup]:
    """What made the block above it; under it its name, its shape, and its state if it has one."""
    base = frame.baseline
    labels = [_text(middle, 13 + 13 * i, "made", line) for i, line in enumerate(block.made_by)]
    labels.append(_text(middle, base + 18, "name", block.title))
    labels.append(_text(middle, base + 34, "sizes", coloured_shape(block.shape, svg=True)))
    if block.whole_name:
        labels.append(tag("title", block.whole_name))
    if block.said:
        labels.append(_text(middle, base + 50, "state", block.said))
    return labels


def _short_label(block: Block, middle: float, frame: _Frame) -> list[Markup]:
    """The size under a block of a compact strip."""
    axis = "area" if len(block.shape) == 3 else "token"
    words = _tspan(axis, _short_shape(block.shape))
    css = "state" if block.said else "sizes"
    return [
        tag("title", block.whole_name or block.title),
        _text(middle, frame.baseline + 14, css, join("✗ " if block.said else "", words)),
    ]


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
    elif block.layers and len(block.shape) == 2:
        lines = "".join(f"M{left:.1f} {top + h * i / 14:.1f}h{w:.1f}" for i in range(1, 14))
        parts.append(tag("path.lines", d=lines))
    if block.squares:
        parts.append(_squares(block, left, top))
    parts.append(_rect("frame", left, top, w, h))
    return join(*parts)


def _squares(block: Block, left: float, top: float) -> Markup:
    """The lines of a grid over the face; where they are too close, every second, fourth, …"""
    assert block.squares
    lines = []
    apart = 1
    rows, columns = block.squares
    while min(block.height / rows, block.width / columns) * apart < _LEAST_SQUARE:
        apart *= 2
    for at in range(apart, ceil(rows), apart):
        lines.append(f"M{left:.1f} {top + at * block.height / rows:.2f}h{block.width:.1f}")
    for at in range(apart, ceil(columns), apart):
        lines.append(f"M{left + at * block.width / columns:.2f} {top:.1f}v{block.height:.1f}")
    return tag("path.squares", d="".join(lines), data_apart=apart)


def _arrow(words: str, x: float, length: float, frame: _Frame) -> Markup:
    """An arrow, with what happens on the way over it."""
    height = frame.baseline - (12 if frame.compact else 22)
    line = fill(
        '<path class="arrow" d="M{:.1f} {}h{:.1f}m-4.5 -4l4.5 4l-4.5 4"/>',
        *(x + 6, height, length - 13),
    )
    return join(line, _text(x + length / 2, height - 8, "change", words)) if words else line


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
