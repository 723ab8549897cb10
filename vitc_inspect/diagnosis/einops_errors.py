"""Axes that einops cannot take apart: an image, a map, tokens, heads, by the pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    counted,
    divisors_near,
    explain,
    heads_fault,
    looks_like_width,
    sizes,
)
from vitc_inspect.diagnosis.grids import in_squares, square_of
from vitc_inspect.diagnosis.pieces import image_in_pieces, map_in_pieces, taken_apart

_CONTEXT = re.compile(
    r"Error while processing \w{1,30}-reduction pattern \"(?P<pattern>[^\"]{1,300})\"\."
    r" Input (?:tensor shape: (?:torch\.Size\()?[\[(](?P<shape>[\d, ]{0,200})[\])]\)?|is list)\.?"
    r" (?:Additional info: \{(?P<info>[^}]{0,300})\})?"
)
_KNOWN = re.compile(r"'(\w{1,40})': (\d{1,12})")
_GROUPS = re.compile(r"\([^()]{0,200}\)|[^\s()]{1,60}")
_HEADS = re.compile(r"^(?:h|nh|g|heads?|n_heads?|num_heads)$", re.IGNORECASE)
_PARTS = re.compile(r"^(?:k|qkv|three|kv|n_qkv)$", re.IGNORECASE)
_FRAMES = re.compile(r"^(?:f|t|nf|nt|frames?|time|pf|pt|tubelet\w*)$", re.IGNORECASE)
MOST_BANDS = 4  # channels of an image by which it is told from a map


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of what einops was given, and how the pattern takes it apart."""

    place: int
    """Which axis it is."""
    size: int
    """Its length."""
    names: tuple[str, ...]
    """Letters of the pattern that share it; one where it is not taken apart."""
    known: dict[str, int]
    """Those whose length was given."""

    @property
    def chunk(self) -> int:
        """What the known lengths multiply to."""
        product = 1
        for length in self.known.values():
            product *= length
        return product


def _axes_of(context: re.Match[str] | None) -> tuple[Axis, ...]:
    """Every axis with its letters; empty where the text does not tell or the counts differ."""
    if context is None or not context["shape"]:
        return ()
    shape = sizes(context["shape"])
    info = {name: int(length) for name, length in _KNOWN.findall(context["info"] or "")}
    groups = _GROUPS.findall(context["pattern"].partition("->")[0])
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


def context_of(told: Told, before: int) -> re.Match[str] | None:
    """The last of einops' introductions that stands before a place in the text."""
    found = None
    for match in _CONTEXT.finditer(told.text, max(0, before - 2000), before):
        found = match
    return found


def _divided(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An axis cannot be divided into chunks."""
    length, chunk = int(match.group(1)), int(match.group(2))
    if length < 1 or chunk < 1 or length % chunk == 0:
        return
    axes = _axes_of(context_of(told, match.start()))
    failed = [
        a for a in axes if (a.size, a.chunk) == (length, chunk) and len(a.known) < len(a.names)
    ]
    if not failed:
        yield from _without_pattern(length, chunk)
        return
    yield _by_place(failed[0], axes)


def _by_place(axis: Axis, axes: Sequence[Axis]) -> Explanation:
    """What an axis is, by its place, by what else is cut, and by the number of channels."""
    rank, length, chunk = len(axes), axis.size, axis.chunk
    alone = sum(len(each.names) > 1 for each in axes) == 1
    if rank == 3 and axis.place == 1:
        return _tokens(length, chunk)
    if axis.place == rank - 1 and rank > 2 and (alone or rank == 3 or _last(axes)):
        return _shares(axis)
    if rank not in (4, 5):
        return _plain(axis.size, axis.chunk, axis)
    if any(_FRAMES.search(name) for name in axis.names) and rank == 5:
        return _frames(axis)
    sides = _sides(axes)
    if axis in sides and all(side.size > 0 < side.chunk for side in sides):
        pieces = image_in_pieces if _is_image(axes) else map_in_pieces
        bands = axes[-1].size if _last(axes) else axes[-3].size
        return pieces(
            [side.size for side in sides],
            [side.chunk for side in sides],
            channels_last=_last(axes),
            # up to 16 bands can be a satellite's image or a small map
            likelihood="likely" if MOST_BANDS < bands <= 16 else "certain",
        )
    if rank == 4 and axis.place == 1:
        return _shares(axis)
    return _plain(length, chunk, axis)


def _sides(axes: Sequence[Axis]) -> Sequence[Axis]:
    """Height and width among the axes of an image, a map or a video."""
    return axes[-3:-1] if _last(axes) else axes[-2:]


def _last(axes: Sequence[Axis]) -> bool:
    """Whether the channels stand last: the two axes before them are cut, or one alone is small."""
    cut = [len(axis.names) > 1 for axis in axes]
    if cut[-3] and cut[-2] and not cut[-1]:
        return True
    if cut[-2] and cut[-1] and not cut[-3]:
        return False
    if axes[-3].size == axes[-2].size != axes[-1].size:
        return True
    return axes[-1].size <= MOST_BANDS < axes[-3].size


def _is_image(axes: Sequence[Axis]) -> bool:
    """Whether an image was given: four axes or five, of which the channels are few."""
    if len(axes) not in (4, 5):
        return False
    channels = axes[-1].size if _last(axes) else axes[-3].size
    frames = axes[1].size if len(axes) == 5 and not _last(axes) else channels
    return min(channels, frames) <= MOST_BANDS < max(s.size for s in _sides(axes))


def _tokens(length: int, chunk: int) -> Explanation:
    """A sequence that is to become a grid of so many rows or columns."""
    rest = length % chunk
    numbers = {"tokens": length, "chunk": chunk, "rest": rest}
    opening = (
        f"{in_squares(length)} tokens do not divide into {chunk}: {taken_apart(length, chunk)}."
    )
    square = square_of(length)
    if square and square[1] and rest == square[1] % chunk:
        return explain(
            "class token",
            f"{opening} {counted(square[1])} before the image's {'is' if square[1] == 1 else 'are'}"
            " still there.",
            f"Leave {'it' if square[1] == 1 else 'them'} out first: x[:, {square[1]}:].",
            because=f"without {square[1]}, {taken_apart(length - square[1], chunk)} is left",
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
    """The channels of an image, of which no groups or heads are to be made."""
    return explain(
        "channels",
        f"An axis of {axis.size}, the channels of an image, was to be shared by {axis.chunk}:"
        f" {taken_apart(axis.size, axis.chunk)}. An image came where a map of many channels is"
        " expected, or the groups stand on the wrong axis.",
        "Give it the map behind the first convolution, whose channels the groups divide.",
        because=f"{axis.size} channels are those of an image",
        numbers={"channels": axis.size, "chunk": axis.chunk},
    )


def _shares(axis: Axis) -> Explanation:
    """The numbers of a token or the channels of a map, shared by heads or by parts."""
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
        return _plain(length, chunk, axis)
    wider = -(-width // share) * share
    return explain(
        "heads",
        f"A token of {width} numbers has no whole number of heads of {share}:"
        f" {taken_apart(width, share)}.",
        f"Use heads of {' or '.join(map(str, divisors_near(width, share)))} numbers.",
        f"Or make the tokens {wider} = {wider // share}·{share} numbers wide.",
        likelihood="certain",
        because=f"the pattern takes ({' '.join(axis.names)}) apart in chunks of {chunk}",
        numbers={"embed_dim": width, "head_dim": share},
    )


def _frames(axis: Axis) -> Explanation:
    """Frames of a video that tubelets do not divide."""
    length, chunk = axis.size, axis.chunk
    rest = length % chunk
    fits = [n for n in (length - rest, length - rest + chunk) if n]
    return explain(
        "frames",
        f"{length} frames do not divide into {chunk} at a time: {taken_apart(length, chunk)}.",
        f"Use {' or '.join(map(str, fits))} frames.",
        because=f"the letters ({' '.join(axis.names)}) stand at axis {axis.place} of a video",
        numbers={"frames": length, "tubelet": chunk, "rest": rest},
    )


def _plain(length: int, chunk: int, axis: Axis | None = None) -> Explanation:
    """An axis that does not divide, of which no more is known."""
    rest = length % chunk
    fits = [n for n in (length - rest, length - rest + chunk) if n]
    which = f"Axis {axis.place}, ({' '.join(axis.names)})," if axis else "An axis"
    return explain(
        "axes",
        f"{which} is {length} long and is to be taken apart in chunks of {chunk}:"
        f" {taken_apart(length, chunk)}.",
        f"Give this axis {' or '.join(map(str, fits))} instead of {length}.",
        _divisors(length, chunk),
        because="the text does not say what the axis is",
        likelihood="possible",
        numbers={"length": length, "chunk": chunk, "rest": rest},
    )


def _divisors(length: int, chunk: int) -> str:
    """A fix: chunks that would do; empty where none but 1 and the whole would."""
    near = [str(n) for n in divisors_near(length, chunk) if 1 < n < length]
    return f"Or use {' or '.join(near)}, which divide{'s' if len(near) == 1 else ''} {length}." if (
        near
    ) else ""  # fmt: skip


def _without_pattern(length: int, chunk: int) -> Iterator[Explanation]:
    """The two numbers alone."""
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
            yield _unsure(heads_fault(length // times, chunk // times))
    if chunk in (4, 7, 8, 14, 16, 28, 32) and length > chunk:
        yield _unsure(image_in_pieces([length, length], [chunk, chunk], channels_last=False))
    if length < 128 and chunk < 32:
        yield _unsure(map_in_pieces([length, length], [chunk, chunk], channels_last=True))
    yield _plain(length, chunk)


def _unsure(explanation: Explanation) -> Explanation:
    """An explanation of which the two numbers are all that is known."""
    return explain(
        explanation.kind,
        explanation.sentence,
        *explanation.fixes,
        because="the two numbers allow it; the pattern, which would tell, is not in the text",
        likelihood="possible",
        numbers=explanation.numbers,
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (re.compile(r"can't divide axis of length (\d{1,9}) in chunks of (\d{1,9})"), _divided),
)
"""What each error is known by, and who explains it."""
