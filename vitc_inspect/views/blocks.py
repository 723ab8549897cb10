"""Blocks in a row as one SVG picture: sized by shape, with labels, a picture and a state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from vitc_inspect.views.text import shape as shape_text

# Lengths are pixels of the picture.
FACE = 80
"""Side of the largest face."""
DEPTH = 20
"""Depth of the block with most channels."""
_BASELINE = 126  # where the blocks stand
_HEIGHT = 184
_ARROW = 24  # least room between two blocks
_FULL = 900  # a strip that is narrower spreads its blocks up to this width
_CHARACTER, _TITLE_CHARACTER = 6.4, 7.7  # width of a character of a label, of a bold title
SEQUENCE = 30
"""Width of a block of tokens."""
_MARKS = {"agrees": "✓ ", "predicted": "", "not predicted": "", "not reached": ""}
_PREFIX = 5  # height of the bar that stands for the class token


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block: what it stands for and how large it is drawn; lengths are pixels."""

    layers: tuple[str, ...]
    """The layers it shows; a click selects the first. Without any it is no button."""
    title: str
    """What stands under it."""
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
    """Whether a class token stands on top."""
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
) -> str:
    """Draw blocks one behind the other, with arrows between.

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
    return (
        f'<svg class="{f"strip {css}".strip()}" viewBox="0 0 {width} {_HEIGHT}" role="group"'
        f' style="max-width:{width}px;min-width:{ceil(shrink * width)}px"'
        f' aria-label="{label}">{"".join(parts)}</svg>'
    )


def _draw(block: Block, x: float, *, chosen: bool) -> str:
    """A block with its labels; one that stands for layers is a button."""
    middle = x + block.room / 2
    left = middle - (block.width + block.depth) / 2
    labels = [
        _text(middle, 13 + 13 * i, "made", escape(line)) for i, line in enumerate(block.made_by)
    ]
    labels.append(_text(middle, _BASELINE + 18, "name", escape(block.title)))
    labels.append(_text(middle, _BASELINE + 34, "sizes", _coloured(block.shape)))
    body = _solid(block, left, _BASELINE - block.height) + "".join(labels)
    name = escape(block.whole_name or block.title)
    if block.whole_name:
        body += f"<title>{name}</title>"
    css = f"block {block.state.replace(' ', '-')} {block.css}".strip()
    if block.state and block.state != "input":
        mark = _MARKS.get(block.state, "✗ ")
        body += _text(middle, _BASELINE + 50, "state", mark + block.state)
    if not block.layers:
        return f'<g class="{css}">{body}</g>'
    css += " chosen" if chosen else ""
    return (
        f'<g class="{css}" role="button" tabindex="0" aria-pressed="{str(chosen).lower()}"'
        f' data-layer="{escape(block.layers[0])}" data-layers="{escape(" ".join(block.layers))}"'
        f' aria-label="{", ".join(filter(None, (name, shape_text(block.shape), block.state)))}">'
        f'<rect class="room" x="{x - 4:.1f}" y="1" width="{block.room + 8:.1f}"'
        f' height="{_HEIGHT - 2}" rx="8"/>{body}</g>'
    )


def _solid(block: Block, left: float, top: float) -> str:
    """The front face with its picture, and behind it the depth of the channels."""
    w, h, d, lift = block.width, block.height, block.depth, block.depth * 0.55
    parts = []
    if d:
        parts.append(
            f'<path class="side" d="M{left:.1f} {top:.1f}l{d:.1f} {-lift:.1f}h{w:.1f}v{h:.1f}'
            f'l{-d:.1f} {lift:.1f}v{-h:.1f}l{d:.1f} {-lift:.1f}"/>'
        )
    if block.prefix:
        parts.append(_rect("prefix", left, top - _PREFIX - 2, w, _PREFIX))
    parts.append(_rect("face", left, top, w, h))
    if block.picture:
        parts.append(
            f'<image href="{block.picture}" class="{"signed" if block.signed else ""}"'
            f' x="{left:.1f}" y="{top:.1f}" width="{w:.1f}"'
            f' height="{h:.1f}" preserveAspectRatio="none"/>'
        )
    elif block.width == SEQUENCE and h == FACE:
        lines = "".join(f"M{left:.1f} {top + h * i / 14:.1f}h{w:.1f}" for i in range(1, 14))
        parts.append(f'<path class="lines" d="{lines}"/>')
    parts.append(_rect("frame", left, top, w, h))
    return "".join(parts)


def _arrow(x: float, length: float) -> str:
    return (
        f'<path class="arrow" d="M{x + 6:.1f} {_BASELINE - 22}h{length - 13:.1f}'
        'm-4.5 -4l4.5 4l-4.5 4"/>'
    )


def _rect(css: str, x: float, y: float, width: float, height: float) -> str:
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{css}" {box}/>'


def _text(x: float, y: float, css: str, content: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{content}</text>'


def _coloured(shape: tuple[int, ...]) -> str:
    """A shape with the colours of its axes: channels and area, or tokens and channels."""
    if len(shape) == 3:
        area = f"{shape[1]}×{shape[2]}"
        return f'<tspan class="channels">{shape[0]}</tspan>×<tspan class="area">{area}</tspan>'
    if len(shape) == 1:
        return f'<tspan class="channels">{shape[0]}</tspan>'
    if len(shape) != 2:
        return shape_text(shape)
    return f'<tspan class="token">{shape[0]}</tspan>×<tspan class="channels">{shape[1]}</tspan>'
