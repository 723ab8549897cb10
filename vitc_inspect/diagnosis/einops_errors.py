"""Errors of einops: axes that do not divide, patterns that do not fit or cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    counted,
    divisors_near,
    explain,
    heads_fault,
    looks_like_width,
    sizes,
)
from vitc_inspect.diagnosis.pieces import image_in_pieces, map_in_pieces, taken_apart
from vitc_inspect.diagnosis.readings import in_squares, square_of

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
_MOST_BANDS = 4  # channels of an image by which it is told from a map


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


def _context(told: Told, before: int) -> re.Match[str] | None:
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
    axes = _axes_of(_context(told, match.start()))
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
            likelihood="likely" if _MOST_BANDS < bands <= 16 else "certain",
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
    return axes[-1].size <= _MOST_BANDS < axes[-3].size


def _is_image(axes: Sequence[Axis]) -> bool:
    """Whether an image was given: four axes or five, of which the channels are few."""
    if len(axes) not in (4, 5):
        return False
    channels = axes[-1].size if _last(axes) else axes[-3].size
    frames = axes[1].size if len(axes) == 5 and not _last(axes) else channels
    return min(channels, frames) <= _MOST_BANDS < max(s.size for s in _sides(axes))


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


def _shares(axis: Axis) -> Explanation:
    """The numbers of a token or the channels of a map, shared by heads or by parts."""
    length, chunk = axis.size, axis.chunk
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


# Patterns that do not fit


def _axes_of_pattern(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A pattern for another number of axes."""
    least, expected, got = match.group(1) or "", int(match.group(2)), int(match.group(3))
    context = _context(told, match.start())
    shape = sizes(context["shape"]) if context and context["shape"] else ()
    left = f" “{context['pattern'].partition('->')[0].strip()}”" if context else ""
    given = f", {by(shape)}" if shape else ""
    numbers = {"expected_axes": expected, "axes": got}
    if (expected, got) == (4, 3) and not least:
        yield from _three_of_four(shape, left, given, numbers)
        return
    if (expected, got) == (3, 4) and not least:
        yield explain(
            "flatten",
            f"The pattern{left} has 3 axes and the tensor 4{given}: a map where tokens are"
            " expected.",
            "Flatten it first: rearrange(x, 'b c h w -> b (h w) c').",
            because="tokens have 3 axes, a map has 4",
            numbers=numbers,
        )
        return
    if (expected, got) == (4, 5) and not least:
        yield explain(
            "video",
            f"The pattern{left} has 4 axes and the tensor 5{given}: a video, or a batch too many.",
            "Fold the frames into the batch, where they stand second: x.flatten(0, 1).",
            "Or write a letter for the frames.",
            because="a video has one axis more than an image",
            likelihood="likely",
            numbers=numbers,
        )
        return
    yield explain(
        "axes",
        f"The pattern{left} has {'at least ' if least else ''}{expected} axes and the tensor"
        f" {got}{given}.",
        "Write as many names on the pattern's left side as the tensor has axes.",
        because="einops names every axis",
        likelihood="certain",
        numbers=numbers,
    )


def _three_of_four(
    shape: tuple[int, ...], left: str, given: str, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """Three axes where an image or a map is expected."""
    first, count, last = shape if len(shape) == 3 else (0, 0, 0)  # 0 where it is not known
    rows = square_of(count)
    tokens = rows is not None and count != last
    image = bool(first) and not tokens and (first <= _MOST_BANDS or count == last)
    if not tokens:
        yield explain(
            "batch",
            f"The pattern{left} has 4 axes and the tensor 3{given}: an image without a batch"
            f"{'' if image else ', or tokens that are flattened already'}.",
            "Add the batch: image.unsqueeze(0).",
            "" if image else "Or leave the second flattening out.",
            because="an image has (batch, channels, height, width), tokens have 3 axes",
            numbers=numbers,
        )
        return
    yield explain(
        "flatten",
        f"The pattern{left} has 4 axes and the tensor 3{given}: {in_squares(count)} tokens,"
        " which are flattened already.",
        "Leave the second flattening out.",
        f"Or make a map of them first: rearrange(x, 'b (h w) c -> b c h w', h={rows[0]})."
        if rows and not rows[1]
        else "",
        because="tokens have 3 axes, a map has 4",
        numbers=numbers,
    )


def _one_side(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Letters that stand on one side of the pattern only."""
    names = re.findall(r"\w{1,40}", match.group(1))
    context = _context(told, match.start())
    if not names:
        return
    left, _, right = (context["pattern"] if context else "").partition("->")
    gone = [n for n in names if n in re.findall(r"\w+", left)]
    new = [n for n in names if n in re.findall(r"\w+", right) and n not in gone]
    listed = ", ".join(names)
    where = "one side"
    fixes = ["Write every letter on both sides."]
    if gone and not new:
        where = "the left side"
        fixes = [
            f"Write {listed} on the right side too.",
            f"Or drop it on purpose: einops.reduce(x, '{context['pattern']}', 'mean')."
            if context
            else "Or drop it on purpose with einops.reduce(x, pattern, 'mean').",
        ]
    elif new and not gone:
        where = "the right side"
        given = ", ".join(f"{name}=…" for name in new)
        fixes = [
            f"Write {listed} on the left side too.",
            f"Or make a new axis with einops.repeat, and say how long it is: {given}.",
        ]
    yield explain(
        "pattern",
        f"rearrange keeps every axis, and {listed} {'stands' if len(names) == 1 else 'stand'} on"
        f" {where} of the pattern only.",
        *fixes,
        because="einops says which letters they are",
        likelihood="certain",
        numbers={"letters": len(names)},
    )


def _unreadable(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A pattern that einops cannot read or complete."""
    for pattern, kind, sentence, fix in _PATTERN_FAULTS:
        found = pattern.search(match.group(0))
        if found:
            what = ", ".join(re.findall(r"\w{1,40}", found.group(1))) if pattern.groups else ""
            yield explain(
                kind,
                sentence.format(what),
                fix.format(what),
                because="einops says so",
                likelihood="certain",
                numbers={},
            )
            return


_SET = r"[{\[]([^}\]]{0,200})[}\]]"
_PATTERN_FAULTS = tuple(
    (re.compile(pattern), kind, sentence, fix)
    for pattern, kind, sentence, fix in (
        (
            rf"Unexpected identifiers on the left side of repeat: {_SET}",
            "pattern",
            "repeat keeps every axis, and {0} stands on the left side of the pattern only.",
            "Write {0} on the right side too, or drop it with einops.reduce first.",
        ),
        (
            rf"Specify sizes for new axes in repeat: {_SET}",
            "pattern",
            "repeat does not know how long the new axes are: {0}.",
            "Give a length as a keyword argument for each: {0}.",
        ),
        (
            rf"Unexpected identifiers on the right side of reduce \w{{1,30}}: {_SET}",
            "pattern",
            "reduce makes no axes, and {0} stands on the right side of the pattern only.",
            "Write {0} on the left side too, or use einops.repeat.",
        ),
        (
            rf"Could not infer sizes for {_SET}",
            "pattern",
            "Two letters or more share one axis and have no length: {0}.",
            "Give all of {0} but one a length as a keyword argument.",
        ),
        (
            r"Axis (\w{1,40}) is not used in transform",
            "pattern",
            "A length is given for {0}, and the pattern has no such letter.",
            "Write {0} into the pattern, or leave its length out.",
        ),
        (
            r"Indexing expression contains duplicate dimension \"(\w{1,40})\"",
            "pattern",
            "The letter {0} stands twice on one side of the pattern.",
            "Give the two axes letters of their own, for example {0} and {0}2.",
        ),
        (
            r"Ellipsis found in right side, but not left side",
            "pattern",
            "The pattern has an ellipsis on its right side and none on its left.",
            "Write ... on both sides.",
        ),
        (
            r"Ellipsis inside parenthesis in the left side is not allowed",
            "pattern",
            "The pattern has its ellipsis in parentheses on the left side, where nothing can be"
            " taken apart.",
            "Write ... without parentheses there.",
        ),
        (
            r"Non-unitary anonymous axes are not supported in rearrange",
            "pattern",
            "The pattern of rearrange has a number other than 1 in it.",
            "Write a letter instead, and give its length as a keyword argument.",
        ),
        (
            r"Brackets are not balanced|Imbalanced parentheses in expression"
            r"|Axis composition is one-level",
            "pattern",
            "The parentheses of the pattern do not close, or stand inside each other.",
            "Close each parenthesis before the next one opens.",
        ),
        (
            r"Invalid axis identifier: (\w{1,40})",
            "pattern",
            "{0} is no name for an axis.",
            "Use letters and digits, a letter first and no underscore at an end, instead of {0}.",
        ),
    )
)
"""What einops says of a pattern, what it means and what to do."""


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (re.compile(r"can't divide axis of length (\d{1,9}) in chunks of (\d{1,9})"), _divided),
    (
        re.compile(r"Wrong shape: expected (>=)?(\d{1,3}) dims\. Received (\d{1,3})-dim tensor"),
        _axes_of_pattern,
    ),
    (re.compile(r"Expected ()(\d{1,3}) dimensions, got (\d{1,3})\b"), _axes_of_pattern),
    (
        re.compile(
            r"Identifiers only on one side of expression(?: \(should be on both\))?:"
            r" \{([^}]{1,200})\}"
        ),
        _one_side,
    ),
    *((pattern, _unreadable) for pattern, *_ in _PATTERN_FAULTS),
)
"""What each error is known by, and who explains it."""
