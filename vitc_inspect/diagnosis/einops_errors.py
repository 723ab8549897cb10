"""Errors of splitting axes with einops: images, maps, tokens, heads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from vitc_inspect.diagnosis.divisibility import (
    division_text,
    indivisible_image,
    indivisible_map,
    multiples_near,
)
from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    certain,
    divisors_near,
    either,
    explain,
    heads_fault,
    looks_like_width,
    parse_sizes,
    prefix_left,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


_HEADER = re.compile(
    r"Error while processing \w{1,30}-reduction pattern \"(?P<pattern>[^\"]{1,300})\"\."
    r" Input (?:tensor shape: (?:torch\.Size\()?[\[(](?P<shape>[\d, ]{0,200})[\])]\)?|is list)\.?"
    r" (?:Additional info: \{(?P<info>[^}]{0,300})\})?"
)
_KNOWN = re.compile(r"'(\w{1,40})': (\d{1,12})")
_GROUPS = re.compile(r"\([^()]{0,200}\)|[^\s()]{1,60}")
_HEADS = re.compile(r"^(?:h|nh|g|heads?|n_heads?|num_heads)$", re.IGNORECASE)
_PARTS = re.compile(r"^(?:k|qkv|three|kv|n_qkv)$", re.IGNORECASE)
_FRAMES = re.compile(r"^(?:f|t|nf|nt|frames?|time|pf|pt|tubelet\w*)$", re.IGNORECASE)
MOST_BANDS = 4  # most channels of an image, fewer than those of a map


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of the input of einops, and how the pattern splits it."""

    place: int
    """Index of the axis."""
    size: int
    """Its length."""
    names: tuple[str, ...]
    """Letters of the pattern for this axis; one if it is not split."""
    known: dict[str, int]
    """Lengths that were given, by letter."""

    @property
    def chunk(self) -> int:
        """Product of the given lengths."""
        return prod(self.known.values())


def _axes_of(header: re.Match[str] | None) -> tuple[Axis, ...]:
    """Every axis with its letters; empty if the header is missing or the ranks differ."""
    if header is None or not header["shape"]:
        return ()
    shape = parse_sizes(header["shape"])
    info = {name: int(length) for name, length in _KNOWN.findall(header["info"] or "")}
    groups = _GROUPS.findall(header["pattern"].partition("->")[0])
    if "..." in groups:
        dots = groups.index("...")
        between = len(shape) - len(groups) + 1
        groups[dots : dots + 1] = [f"_{n}" for n in range(max(0, between))]
    if len(groups) != len(shape):
        return ()
    axes = []
    for place, (size, group) in enumerate(zip(shape, groups, strict=True)):
        names = tuple(group.strip("()").split())
        known = {n: int(n) if n.isdigit() else info[n] for n in names if n.isdigit() or n in info}
        axes.append(Axis(place=place, size=size, names=names, known=known))
    return tuple(axes)


def einops_header(error: ErrorContext, before: int) -> re.Match[str] | None:
    """Return the last header of an einops error before a position in the text."""
    found = None
    for match in _HEADER.finditer(error.text, max(0, before - 2000), before):
        found = match
    return found


@DECODERS.matching(r"can't divide axis of length (\d{1,9}) in chunks of (\d{1,9})")
def _divided(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """can't divide axis of length n in chunks of m."""
    length, chunk = int(match.group(1)), int(match.group(2))
    if length < 1 or chunk < 1 or length % chunk == 0:
        return
    axes = _axes_of(einops_header(error, match.start()))
    failed = [
        a for a in axes if (a.size, a.chunk) == (length, chunk) and len(a.known) < len(a.names)
    ]
    if not failed:
        yield from _without_pattern(length, chunk)
        return
    yield _by_position(failed[0], axes)


def _by_position(axis: Axis, axes: Sequence[Axis]) -> Explanation:
    """Explain an axis by its index, the other axes that are split, and the channels."""
    rank, length, chunk = len(axes), axis.size, axis.chunk
    alone = sum(len(each.names) > 1 for each in axes) == 1
    if rank == 3 and axis.place == 1:
        return _tokens(length, chunk)
    if axis.place == rank - 1 and rank > 2 and (alone or rank == 3 or _channels_last(axes)):
        return _heads_or_parts(axis)
    if rank not in (4, 5):
        return _unknown_axis(axis.size, axis.chunk, axis)
    if any(_FRAMES.search(name) for name in axis.names) and rank == 5:
        return _frames(axis)
    sides = _sides(axes)
    if axis in sides and all(side.size > 0 < side.chunk for side in sides):
        pieces = indivisible_image if _is_image(axes) else indivisible_map
        bands = axes[-1].size if _channels_last(axes) else axes[-3].size
        return pieces(
            [side.size for side in sides],
            [side.chunk for side in sides],
            channels_last=_channels_last(axes),
            # up to 16 channels: a multispectral image or a small map
            likelihood="likely" if MOST_BANDS < bands <= 16 else "certain",
        )
    if rank == 4 and axis.place == 1:
        return _heads_or_parts(axis)
    return _unknown_axis(length, chunk, axis)


def _sides(axes: Sequence[Axis]) -> Sequence[Axis]:
    """Height and width among the axes of an image, a map or a video."""
    return axes[-3:-1] if _channels_last(axes) else axes[-2:]


def _channels_last(axes: Sequence[Axis]) -> bool:
    """Whether the channels are last: the two axes before are split, or only the last is small."""
    cut = [len(axis.names) > 1 for axis in axes]
    if cut[-3] and cut[-2] and not cut[-1]:
        return True
    if cut[-2] and cut[-1] and not cut[-3]:
        return False
    if axes[-3].size == axes[-2].size != axes[-1].size:
        return True
    return axes[-1].size <= MOST_BANDS < axes[-3].size


def _is_image(axes: Sequence[Axis]) -> bool:
    """Whether the input is an image or a video, by its few channels."""
    if len(axes) not in (4, 5):
        return False
    channels = axes[-1].size if _channels_last(axes) else axes[-3].size
    frames = axes[1].size if len(axes) == 5 and not _channels_last(axes) else channels
    return min(channels, frames) <= MOST_BANDS < max(s.size for s in _sides(axes))


def _tokens(length: int, chunk: int) -> Explanation:
    """A sequence to be split into rows and columns."""
    rest = length % chunk
    numbers = {"tokens": length, "chunk": chunk, "rest": rest}
    opening = (
        f"{grid_text(length)} tokens do not divide into {chunk}: {division_text(length, chunk)}."
    )
    square = square_of(length)
    if square and square[1] and rest == square[1] % chunk:
        return prefix_left(
            opening,
            square[1],
            when=" first",
            because=f"without {square[1]}, {division_text(length - square[1], chunk)} is left",
            likelihood="likely" if square[1] in (1, 2, 5) else "possible",
            numbers=numbers,
        )
    grid = f" For {square[0]}×{square[0]} tokens it is {square[0]}." if square else ""
    return explain(
        "grid",
        f"{opening}{grid}",
        "Take rows and columns from the map before it was flattened.",
        _divisors(length, chunk),
        because="the second of three axes is the tokens",
        numbers=numbers,
    )


def _colours(axis: Axis) -> Explanation:
    """The channels of an image, which cannot be split into groups or heads."""
    return explain(
        "channels",
        f"An axis of {axis.size}, the channels of an image, was to be shared by {axis.chunk}:"
        f" {division_text(axis.size, axis.chunk)}. The input is an image where a map of many"
        " channels is expected, or the groups are on the wrong axis.",
        "Give it the map behind the first convolution, whose channels the groups divide.",
        because=f"{axis.size} channels are those of an image",
        numbers={"channels": axis.size, "chunk": axis.chunk},
    )


def _heads_or_parts(axis: Axis) -> Explanation:
    """The width of a token or the channels of a map, split into heads or parts."""
    length, chunk = axis.size, axis.chunk
    if length <= MOST_BANDS:
        return _colours(axis)
    parts = [size for name, size in axis.known.items() if _PARTS.search(name) or size in (2, 3)]
    heads = [size for name, size in axis.known.items() if _HEADS.search(name)]
    times = parts[0] if parts and length % parts[0] == 0 and len(axis.known) > 1 else 1
    width, share = length // times, chunk // times
    if heads and heads[0] == share and width % share:
        return heads_fault(width, share)
    if heads or not any(_HEADS.search(name) for name in axis.names):
        return _unknown_axis(length, chunk, axis)
    wider = -(-width // share) * share
    return certain(
        "heads",
        f"A token of {width} numbers has no whole number of heads of {share}:"
        f" {division_text(width, share)}.",
        f"Use heads of {either(divisors_near(width, share))} numbers.",
        f"Or make the tokens {wider} = {wider // share}·{share} numbers wide.",
        because=f"the pattern takes ({' '.join(axis.names)}) into chunks of {chunk}",
        numbers={"embed_dim": width, "head_dim": share},
    )


def _frames(axis: Axis) -> Explanation:
    """Frames of a video that are not divisible by the tubelet."""
    length, chunk = axis.size, axis.chunk
    return explain(
        "frames",
        f"{length} frames do not divide into {chunk} at a time: {division_text(length, chunk)}.",
        f"Use {either(multiples_near(length, chunk))} frames.",
        because=f"the letters ({' '.join(axis.names)}) are axis {axis.place} of a video",
        numbers={"frames": length, "tubelet": chunk, "rest": length % chunk},
    )


def _unknown_axis(length: int, chunk: int, axis: Axis | None = None) -> Explanation:
    """An axis that is not divisible, without a known meaning."""
    which = f"Axis {axis.place}, ({' '.join(axis.names)})," if axis else "An axis"
    return explain(
        "axes",
        f"{which} is {length} long and is to be split into chunks of {chunk}:"
        f" {division_text(length, chunk)}.",
        f"Give this axis {either(multiples_near(length, chunk))} instead of {length}.",
        _divisors(length, chunk),
        because="the text does not say what the axis is",
        likelihood="possible",
        numbers={"length": length, "chunk": chunk, "rest": length % chunk},
    )


def _divisors(length: int, chunk: int) -> str:
    """The fix that names other divisors; empty if there are none."""
    near = [n for n in divisors_near(length, chunk) if 1 < n < length]
    divide = "divides" if len(near) == 1 else "divide"
    return f"Or use {either(near)}, which {divide} {length}." if near else ""


def _without_pattern(length: int, chunk: int) -> Iterator[Explanation]:
    """Explain the two numbers without the pattern."""
    square = square_of(length)
    if (
        square
        and not looks_like_width(length)
        and square[1]
        and length % chunk == square[1] % chunk
    ):
        yield _tokens(length, chunk)
    if looks_like_width(length) and chunk <= 64:
        times = 3 if length % 3 == 0 and chunk % 3 == 0 and chunk > 3 else 1
        if (length // times) % (chunk // times):
            yield _without_evidence(heads_fault(length // times, chunk // times))
    if chunk in (4, 7, 8, 14, 16, 28, 32) and length > chunk:
        yield _without_evidence(
            indivisible_image([length, length], [chunk, chunk], channels_last=False)
        )
    if length < 128 and chunk < 32:
        yield _without_evidence(
            indivisible_map([length, length], [chunk, chunk], channels_last=True)
        )
    yield _unknown_axis(length, chunk)


def _without_evidence(explanation: Explanation) -> Explanation:
    """An explanation from the two numbers alone."""
    because = "the two numbers allow it; the pattern is not in the text"
    return replace(explanation, because=because, likelihood="possible")
