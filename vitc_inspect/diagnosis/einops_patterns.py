"""Patterns of einops that do not fit the tensor, or that cannot be parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.einops_errors import MOST_BANDS, einops_header
from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    explain,
    parse_sizes,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"Wrong shape: expected (>=)?(\d{1,3}) dims\. Received (\d{1,3})-dim tensor",
    r"Expected ()(\d{1,3}) dimensions, got (\d{1,3})\b",
)
def _axes_of_pattern(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A pattern for another number of axes."""
    least, expected, got = match.group(1) or "", int(match.group(2)), int(match.group(3))
    header = einops_header(error, match.start())
    shape = parse_sizes(header["shape"]) if header and header["shape"] else ()
    left = f" “{header['pattern'].partition('->')[0].strip()}”" if header else ""
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
            f"The pattern{left} has 4 axes and the tensor 5{given}: a video, or an extra batch"
            f" axis.",
            "Fold the frames into the batch, if they are second: x.flatten(0, 1).",
            "Or write a letter for the frames.",
            because="a video has one axis more than an image",
            numbers=numbers,
        )
        return
    yield certain(
        "axes",
        f"The pattern{left} has {'at least ' if least else ''}{expected} axes and the tensor"
        f" {got}{given}.",
        "Write as many names on the pattern's left side as the tensor has axes.",
        because="einops names every axis",
        numbers=numbers,
    )


def _three_of_four(
    shape: tuple[int, ...], left: str, given: str, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """Three axes where the pattern has those of an image or a map."""
    first, count, last = shape if len(shape) == 3 else (0, 0, 0)  # 0 if not known
    rows = square_of(count)
    tokens = rows is not None and count != last
    image = bool(first) and not tokens and (first <= MOST_BANDS or count == last)
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
        f"The pattern{left} has 4 axes and the tensor 3{given}: {grid_text(count)} tokens,"
        " which are flattened already.",
        "Leave the second flattening out.",
        f"Or make a map of them first: rearrange(x, 'b (h w) c -> b c h w', h={rows[0]})."
        if rows and not rows[1]
        else "",
        because="tokens have 3 axes, a map has 4",
        numbers=numbers,
    )


@DECODERS.matching(
    r"Identifiers only on one side of expression(?: \(should be on both\))?:"
    r" \{([^}]{1,200})\}"
)
def _one_side(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Letters that are on one side of the pattern only."""
    names = re.findall(r"\w{1,40}", match.group(1))
    header = einops_header(error, match.start())
    if not names:
        return
    left, _, right = (header["pattern"] if header else "").partition("->")
    gone = [n for n in names if n in re.findall(r"\w+", left)]
    new = [n for n in names if n in re.findall(r"\w+", right) and n not in gone]
    listed = ", ".join(names)
    where = "one side"
    fixes = ["Write every letter on both sides."]
    if gone and not new:
        where = "the left side"
        fixes = [
            f"Write {listed} on the right side too.",
            f"Or drop it on purpose: einops.reduce(x, '{header['pattern']}', 'mean')."
            if header
            else "Or drop it on purpose with einops.reduce(x, pattern, 'mean').",
        ]
    elif new and not gone:
        where = "the right side"
        given = ", ".join(f"{name}=…" for name in new)
        fixes = [
            f"Write {listed} on the left side too.",
            f"Or make a new axis with einops.repeat, and say how long it is: {given}.",
        ]
    yield certain(
        "pattern",
        f"rearrange keeps every axis, and {listed} {'is' if len(names) == 1 else 'are'} on"
        f" {where} of the pattern only.",
        *fixes,
        because="einops says which letters they are",
        numbers={"letters": len(names)},
    )


_SET = r"[{\[]([^}\]]{0,200})[}\]]"
_PATTERN_FAULTS = {
    rf"Unexpected identifiers on the left side of repeat: {_SET}": (
        "repeat keeps every axis, and {0} is on the left side of the pattern only.",
        "Write {0} on the right side too, or drop it with einops.reduce first.",
    ),
    rf"Specify sizes for new axes in repeat: {_SET}": (
        "repeat does not know how long the new axes are: {0}.",
        "Give a length as a keyword argument for each: {0}.",
    ),
    rf"Unexpected identifiers on the right side of reduce \w{{1,30}}: {_SET}": (
        "reduce makes no axes, and {0} is on the right side of the pattern only.",
        "Write {0} on the left side too, or use einops.repeat.",
    ),
    rf"Could not infer sizes for {_SET}": (
        "Two letters or more share one axis and have no length: {0}.",
        "Give all of {0} but one a length as a keyword argument.",
    ),
    r"Axis (\w{1,40}) is not used in transform": (
        "A length is given for {0}, and the pattern has no such letter.",
        "Write {0} into the pattern, or leave its length out.",
    ),
    r"Indexing expression contains duplicate dimension \"(\w{1,40})\"": (
        "The letter {0} occurs twice on one side of the pattern.",
        "Give the two axes letters of their own, for example {0} and {0}2.",
    ),
    r"Ellipsis found in right side, but not left side": (
        "The pattern has an ellipsis on its right side and none on its left.",
        "Write ... on both sides.",
    ),
    r"Ellipsis inside parenthesis in the left side is not allowed": (
        "The pattern has its ellipsis in parentheses on the left side, where nothing can be split.",
        "Write ... without parentheses there.",
    ),
    r"Non-unitary anonymous axes are not supported in rearrange": (
        "The pattern of rearrange has a number other than 1 in it.",
        "Write a letter instead, and give its length as a keyword argument.",
    ),
    (
        r"Brackets are not balanced|Imbalanced parentheses in expression"
        r"|Axis composition is one-level"
    ): (
        "The parentheses of the pattern are not balanced, or are nested.",
        "Close each parenthesis before the next one opens.",
    ),
    r"Invalid axis identifier: (\w{1,40})": (
        "{0} is no name for an axis.",
        "Use letters and digits, a letter first and no underscore at an end, instead of {0}.",
    ),
}
"""Messages about a pattern, each with its meaning and its fix."""


@DECODERS.matching(*_PATTERN_FAULTS)
def _unreadable(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A pattern that einops cannot parse or complete."""
    sentence, fix = _PATTERN_FAULTS[match.re.pattern]
    what = ", ".join(re.findall(r"\w{1,40}", match[1])) if match.re.groups else ""
    yield certain("pattern", sentence.format(what), fix.format(what), because="einops says so")
