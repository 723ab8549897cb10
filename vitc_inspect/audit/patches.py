"""Check the patches that a module cuts from an image by rearranging its pixels.

A patch is one rectangle of pixels with all channels. The positions of the numbers that a layer is
given show what it reads as one token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isqrt, prod
from typing import Literal

import torch
from torch import Tensor

from vitc_inspect.audit.stated_attributes import stated
from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.function_kinds import JOINS, MOVES
from vitc_inspect.tracing.module_tree import contents_of
from vitc_inspect.tracing.positions import Positions, TracedTensor

_PIXELS = frozenset(
    {"pad", "interpolate", "upsample", "cat", "concat", "concatenate", "avg_pool2d", "max_pool2d"}
)
"""Functions that make an image of an image: of a map that they made, patches can be cut as well."""
_FOLLOWED = MOVES | JOINS | {"stack"}
_MOST_TOKENS = 2**14  # of which more are not looked at; what one token is, the first ones show

Pattern = Literal["all", "run", "spread", "other"]
"""Which places along one side of the image a token has: all, neighbours, every s-th, or others."""


def scrambled_patches(flow: Flow) -> Iterator[Explanation]:
    """Find layers that read as one token pixels that do not form a patch of the image.

    Args:
        flow: The run of a module.

    Returns:
        One fault of kind "patches" or "token order", or nothing.
    """
    for step in flow.steps:
        read = _tokens_read(step, flow)
        if read is None:
            continue
        fault = _judged(flow, step, read)
        if fault:
            yield fault
            return


@dataclass(frozen=True, eq=False)
class _Read:
    """Pixels as one layer reads them."""

    known: TracedTensor
    """The tensor that the layer is given."""
    tokens: Tensor
    """Place of each number of each token in the image, (tokens, numbers), of the first image."""
    strangers: bool
    """Whether a token has numbers of several images."""
    sides: tuple[int, int, int]
    """Channels, rows and columns of the image; for one with the channels last, in that order."""
    channel_axis: int
    """Which of these sides is that of the channels."""

    @cached_property
    def patterns(self) -> tuple[tuple[Pattern, int, int], ...] | None:
        """For each side the pattern, its step, and how many places; None where tokens differ.

        None also where a token is no product of places along the three sides.
        """
        counts = torch.ones(len(self.tokens), dtype=torch.int64)
        found = []
        for side, positions in zip(self.sides, self.along, strict=True):
            present = torch.zeros(len(positions), side, dtype=torch.bool)
            present.scatter_(1, positions, True)
            counts *= present.sum(1)
            kinds = {_pattern(each) for each in torch.unique(present, dim=0)}
            if len(kinds) > 1:
                return None
            found.append(kinds.pop())
        distinct = self.tokens.sort(dim=1).values.diff(dim=1).ne(0).sum(1) + 1
        return tuple(found) if torch.equal(counts, distinct) else None

    @cached_property
    def along(self) -> tuple[Tensor, Tensor, Tensor]:
        """Place of each number along each side, (tokens, numbers)."""
        _, second, third = self.sides
        positions = self.tokens
        return positions // (second * third), positions // third % second, positions % third

    @property
    def pixel_sides(self) -> tuple[int, int]:
        """Height and width of the image (pixels)."""
        height, width = (n for at, n in enumerate(self.sides) if at != self.channel_axis)
        return height, width


def _pattern(present: Tensor) -> tuple[Pattern, int, int]:
    """Which places along a side are there, as a pattern, its step and their number."""
    positions = present.nonzero().flatten()
    many = len(positions)
    if many == len(present):
        return "all", 1, many
    # round the end of the image, as behind a roll
    gaps = torch.diff(positions, append=positions[:1] + len(present))
    shortest = int(gaps.min())
    if many == 1 or int((gaps != shortest).sum()) <= 1 or bool((gaps[:-1] == gaps[0]).all()):
        step = 1 if many == 1 else int(gaps[:-1].min()) if many > 2 else shortest
        return ("run" if step == 1 else "spread"), step, many
    return "other", 0, many


def _tokens_read(step: Step, flow: Flow) -> _Read | None:
    """The pixels that a layer reads as tokens, where they were only moved and never by an index."""
    axis = _axis_of_token(step)
    if axis is None:
        return None
    known = step.sources[0]
    positions = known.positions
    if (
        positions is None
        or positions.indices is None
        or len(positions.shape) != 4
        or not known.shape[axis]
    ):
        return None
    if not _is_image(positions, flow) or _picked(known, flow):
        return None
    batch, *sides = positions.shape
    numbers = positions.indices.movedim(axis, -1).flatten(0, -2)  # (tokens of all images, numbers)
    numbers = numbers[(numbers >= 0).all(1)]  # without windows that lie on the padding
    image = numbers // prod(sides)
    strangers = not torch.equal(image, image[:, :1].expand_as(image))
    numbers = numbers[image[:, 0] == 0][:_MOST_TOKENS]
    if not numbers.numel():
        return None
    last = sides[2] <= 4 < sides[0]
    return _Read(
        known=known,
        tokens=numbers.long() % prod(sides),
        strangers=strangers and batch > 1,
        sides=(sides[0], sides[1], sides[2]),
        channel_axis=2 if last else 0,
    )


def _axis_of_token(step: Step) -> int | None:
    """The axis whose numbers a layer mixes into one; None for what mixes others as well."""
    if not step.sources or not step.sources[0].of_image:
        return None
    if step.name == "linear":
        return -1
    if step.name == "layer_norm":
        return -1 if len(step.given["normalized_shape"]) == 1 else None
    if step.name == "matmul":
        others = step.sources[1:]
        return -1 if others and not others[0].of_image else None
    if step.name == "einsum":
        return -1 if _weighs_last_axis(step) else None
    if step.name in ("conv1d", "conv2d"):
        taps = step.given["weight"][2:]
        return -1 - len(taps) if prod(taps) == 1 and not step.sources[0].in_map_order else None
    return None


def _weighs_last_axis(step: Step) -> bool:
    """Whether an einsum sums the last axis of its first operand with a second that is learned."""
    equation = step.given.get("equation")
    if not isinstance(equation, str) or len(step.sources) != 2 or step.sources[1].of_image:
        return False
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, second = operands.partition(",")
    return bool(first) and first[-1] in second and result != "" and first[-1] not in result


def _is_image(positions: Positions | None, flow: Flow) -> bool:
    """Whether numbers come from the image, or from one that was padded, resized or joined."""
    origin = positions.origin if positions else None
    if not isinstance(origin, int):
        return False
    while origin >= 0:
        step = flow.steps[origin]
        if step.name not in _PIXELS:
            return False
        before = {
            known.positions.origin if known.positions else None
            for known in step.sources
            if known.of_image
        }
        (origin, *others) = before
        if others or not isinstance(origin, int):
            return all(each == -1 or _made_of_pixels(each, flow) for each in before)
    return True


def _made_of_pixels(origin: int | str | None, flow: Flow) -> bool:
    """Whether a step made an image of an image."""
    return isinstance(origin, int) and (origin < 0 or flow.steps[origin].name in _PIXELS)


def _picked(known: TracedTensor, flow: Flow) -> bool:
    """Whether values were selected by an index on their path, which is taken as intended."""
    return any(name != "unfold" for name in _picks(known, flow))


def _dilated(known: TracedTensor, flow: Flow) -> bool:
    """Whether windows were taken whose pixels lie apart because an argument says so."""
    return "unfold" in _picks(known, flow)


def _picks(known: TracedTensor, flow: Flow) -> Iterator[str]:
    """Names of the functions that selected values on the path of a tensor, the last first."""
    at = known.step
    while at is not None:
        step = flow.steps[at]
        if step.picks:
            yield step.name
        at = step.sources[0].step if step.name in _FOLLOWED else None


def _judged(flow: Flow, step: Step, read: _Read) -> Explanation | None:
    """What is wrong with the tokens that a layer reads; None where nothing is."""
    patch = _wanted_patch(flow, read)
    if read.strangers:
        return _fault(step, read, patch, "numbers of several images", sure=True)
    patterns = read.patterns
    if patterns is None or any(kind == "other" for kind, *_ in patterns):
        grey = read.sides[read.channel_axis] == 1
        return _fault(step, read, patch, _words(read, 0), sure=not grey)
    if _spans(read, patterns) and not _dilated(read.known, flow):
        return _fault(step, read, patch, _words(read, 0), sure=False)
    sides = [many for at, (_, _, many) in enumerate(patterns) if at != read.channel_axis]
    side = _stated_patch(flow, read)
    as_many = side and side * side * read.sides[read.channel_axis] == read.tokens.shape[1]
    if as_many and sides != [side, side]:
        return _fault(step, read, side, _words(read, 0), sure=False)
    if not side and _is_piece_of_row(read, patterns):
        return _fault(step, read, patch, _words(read, 0), sure=False)
    return _turned(read, patterns)


def _is_piece_of_row(read: _Read, patterns: Sequence[tuple[Pattern, int, int]]) -> bool:
    """Whether each token is a piece of one row of a colour image, of as many pixels as a patch.

    A view of an image with the channels last gives them, where a patch was meant.
    """
    channels = read.sides[read.channel_axis]
    (down, rows), (across, columns) = (
        (kind, many) for at, (kind, _, many) in enumerate(patterns) if at != read.channel_axis
    )
    side = isqrt(columns)
    divides = not any(n % side for n in read.pixel_sides)
    return (
        channels in (3, 4)
        and patterns[read.channel_axis][0] == "all"
        and (down, rows, across) == ("run", 1, "run")
        and 1 < side * side == columns
        and divides
        and read.tokens.shape[1] == channels * columns
    )


def _spans(read: _Read, patterns: Sequence[tuple[Pattern, int, int]]) -> bool:
    """Whether a token is spread over a whole side: every s-th pixel, s being the tokens there.

    Pixels that lie closer are those of a dilated window, which is meant.
    """
    return any(
        kind == "spread" and step * many == side
        for at, ((kind, step, many), side) in enumerate(zip(patterns, read.sides, strict=True))
        if at != read.channel_axis
    )


def _turned(read: _Read, patterns: Sequence[tuple[Pattern, int, int]]) -> Explanation | None:
    """Whole patches that follow each other column after column."""
    rows, columns = (n for at, n in enumerate(read.along) if at != read.channel_axis)
    down, across = (many for at, (*_, many) in enumerate(patterns) if at != read.channel_axis)
    height, width = read.pixel_sides
    if height % down or width % across or len(read.tokens) != (height // down) * (width // across):
        return None
    grid = height // down, width // across
    place = rows.amin(1) // down * grid[1] + columns.amin(1) // across
    by_columns = torch.arange(prod(grid)).view(grid).T.flatten()
    if min(grid) == 1 or not torch.equal(place, by_columns):
        return None
    return explain(
        "token order",
        f"The {grid[0]}×{grid[1]} patches of the image become tokens column after column: token 1"
        " is the patch in row 1, column 0. Position tables, pretrained weights and whatever"
        " resizes a table expect row after row.",
        f"Take the rows first: {_rearrange(read, down if down == across else None)}.",
        because="the places of the pixels were followed to the layer that reads them",
        likelihood="likely",
        numbers={"rows": grid[0], "columns": grid[1]},
    )


# ---- what is said ------------------------------------------------------------------------------


def _fault(step: Step, read: _Read, patch: int | None, words: str, *, sure: bool) -> Explanation:
    """Tokens that are no patches."""
    layer, numbers = step.layer or step.name, read.tokens.shape[1]
    doubt = "no way of cutting patches that is known here gives such tokens"
    if not sure:
        doubt = "pixels may be spread over tokens on purpose, and mostly are by mistake"
    return explain(
        "patches",
        f"{layer} reads {numbers} numbers as one token, and those of token 0 are {words}: no"
        " patch of the image, and every shape is right.",
        f"Cut patches with {_rearrange(read, patch)}.",
        because=f"the places of the pixels were followed through the module; {doubt}",
        likelihood="certain" if sure else "likely",
        numbers={"numbers": numbers, **({"patch_size": patch} if patch else {})},
    )


def _words(read: _Read, token: int) -> str:
    """What one token has of the image, in words."""
    names = ["row", "column"]
    names.insert(read.channel_axis, "channel")
    parts = [
        _positions_in_words(sorted(set(positions[token].tolist())), side, name)
        for positions, side, name in zip(read.along, read.sides, names, strict=True)
    ]
    channels = parts.pop(read.channel_axis)
    whole = read.patterns is not None
    among = "" if whole else f"{read.tokens.shape[1]} numbers of "
    return f"{among}{parts[0]} and {parts[1]} of {channels}"


def _positions_in_words(positions: Sequence[int], side: int, name: str) -> str:
    """Positions along a side, for example "rows 0 to 7" or "every 8th column"."""
    many = len(positions)
    if many == side:
        return f"all {side} {name}s" if side > 1 else f"the only {name}"
    if many == 1:
        return f"{name} {positions[0]}"
    step = positions[1] - positions[0]
    if any(b - a != step for a, b in pairwise(positions)):
        return f"{many} of {side} {name}s"
    if step == 1:
        return f"{name}s {positions[0]} to {positions[-1]}"
    return f"{name}s {positions[0]}, {positions[1]}, … {positions[-1]} (every {step}th)"


def _rearrange(read: _Read, patch: int | None) -> str:
    """The einops call that cuts patches of an image."""
    left = "b c (h p1) (w p2)" if read.channel_axis == 0 else "b (h p1) (w p2) c"
    size = patch or "patch_size"
    return f"einops' rearrange(x, '{left} -> b (h w) (p1 p2 c)', p1={size}, p2={size})"


def _wanted_patch(flow: Flow, read: _Read) -> int | None:
    """Side of the square patch that has as many numbers as a token, and divides the image."""
    channels = read.sides[read.channel_axis]
    side = isqrt(read.tokens.shape[1] // channels)
    fits = side and side * side * channels == read.tokens.shape[1]
    if fits and not any(n % side for n in read.pixel_sides):
        return side
    return _stated_patch(flow, read)


def _stated_patch(flow: Flow, read: _Read) -> int | None:
    """What some patch_size in the module says, where it divides the image."""
    for owner in contents_of(flow.module).layers.values():
        side = stated(owner, "patch_size")
        if isinstance(side, (tuple, list)) and len(set(map(str, side))) == 1:
            side = side[0]
        if type(side) is int and side > 0 and not any(n % side for n in read.pixel_sides):
            return side
    return None
