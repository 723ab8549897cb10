"""Errors of convolutions and poolings: channels, rank, kernel size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vitc_inspect.diagnosis.explanation import (
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    counted,
    empty_tensor,
    explain,
    looks_like_width,
    parse_sizes,
)
from vitc_inspect.diagnosis.grids import grid_text, sides_for, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"(?:Given (?:groups=(?P<groups>\d{1,9})|transposed=(?P<transposed>\d)), )?"
    rf"weight of size (?P<weight>{SHAPE}), expected"
    rf" input(?P<given>{SHAPE}) to have (?P<expected>\d{{1,9}}) channels, but got"
    r" (?P<got>\d{1,9}) channels instead"
)
def _channels(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A convolution whose input has the wrong number of channels."""
    weight, given = parse_sizes(match["weight"]), parse_sizes(match["given"])
    call = _ConvCall(
        groups=int(match["groups"] or 1),
        weight=weight,
        given=given,
        expected=int(match["expected"]),
        got=int(match["got"]),
        transposed=match["transposed"] == "1",
        name=_layer_of(weight, error),
        of_image=_reads_image(weight, int(match["expected"]), error),
    )
    if len(weight) < 3 or len(given) != len(weight):
        return
    if call.got == 0:
        yield empty_tensor(
            f"{call.opening}, and {by(given)} has none: the {call.input_} lost its channels",
            because="axis 1 is 0 long",
            numbers=call.numbers,
        )
        return
    decoders = {3: _of_sequence, 4: _of_map, 5: _of_video}
    yield next(decoders[len(weight)](call, error), None) or _other_channels(call)


@dataclass(frozen=True, kw_only=True)
class _ConvCall:
    """A convolution and an input with the wrong number of channels."""

    groups: int
    weight: tuple[int, ...]
    given: tuple[int, ...]
    expected: int
    got: int
    transposed: bool
    name: str
    of_image: bool

    @property
    def opening(self) -> str:
        """Start of the sentence: the layer, by name if it is known, and its input channels."""
        which = self.name or f"The convolution {by(self.weight[2:])}:{self.out_channels}"
        return f"{which} reads {counted(self.expected, 'channel')}"

    @property
    def out_channels(self) -> int:
        return self.weight[1] * self.groups if self.transposed else self.weight[0]

    @property
    def input_(self) -> str:
        return "image" if self.of_image else "map"

    @property
    def numbers(self) -> dict[str, int]:
        return {"expected_channels": self.expected, "channels": self.got}

    def explained(self, kind: str, end: str, *fixes: str, because: str) -> Explanation:
        """An explanation whose sentence begins with the layer and what it reads."""
        sentence = f"{self.opening}{end}"
        return explain(kind, sentence, *fixes, because=because, numbers=self.numbers)


def _reads_image(weight: tuple[int, ...], expected: int, error: ErrorContext) -> bool:
    """Whether a convolution is the first one, which reads the image."""
    stages = error.spec.stages if error.spec else ()
    name = _layer_of(weight, error)
    return name == stages[0].name if name else expected <= 4


def _of_sequence(call: _ConvCall, error: ErrorContext) -> Iterator[Explanation]:
    """A convolution over a sequence (batch, channels, tokens)."""
    if call.given[2] == call.expected:
        yield call.explained(
            "transpose",
            f", and {by(call.given)} has {call.got} on the second axis and"
            f" {call.expected} on the last: the tokens are (batch, tokens, width), and Conv1d"
            " reads (batch, width, tokens).",
            "Transpose them: x.transpose(1, 2), and back after it.",
            because=f"the last axis is the {call.expected} that is missing",
        )


def _of_video(call: _ConvCall, error: ErrorContext) -> Iterator[Explanation]:
    """A convolution over a video (batch, channels, frames, height, width)."""
    expected, given = call.expected, call.given
    opening = f", and {by(given)} has {call.got} on the second axis"
    for axis, how in ((2, "0, 2, 1, 3, 4"), (4, "0, 4, 1, 2, 3")):
        if given[axis] == expected:
            where = "(batch, frames, channels, height, width)"
            if axis == 4:
                where = "(batch, frames, height, width, channels)"
            yield call.explained(
                "channels last" if axis == 4 else "axes",
                f"{opening}: the video is {where}, and Conv3d reads (batch, channels, frames,"
                " height, width).",
                f"Put the channels second: video.permute({how}).",
                because=f"axis {axis} is the {expected} that is missing",
            )
            return


def _of_map(call: _ConvCall, error: ErrorContext) -> Iterator[Explanation]:
    """A convolution over an image or a map (batch, channels, height, width)."""
    expected, got, given = call.expected, call.got, call.given
    # the width of a square map may equal the expected channels
    if given[3] == expected and (expected <= 4 or given[2] != expected):
        height, width = given[1:3]
        yield call.explained(
            "channels last",
            f", and {by(given)} has {got} on the second axis and {expected} on the last:"
            f" the {call.input_} is (batch, height, width, channels), {height}×{width}"
            f" {'pixels' if call.of_image else 'positions'}.",
            "Put the channels second: image.permute(0, 3, 1, 2).",
            "Without a batch: image.permute(2, 0, 1).unsqueeze(0)." if given[0] == 1 else "",
            because=f"the last axis is the {expected} that is missing",
        )
    elif call.of_image and expected in (1, 3) and given[3] in (1, 3, 4) and min(given[1:3]) > 16:
        yield call.explained(
            "channels last",
            f", and {by(given)} has {got} on the second axis and {given[3]} on the last:"
            f" the image is (batch, height, width, channels), with {given[3]} channels where"
            f" {expected} are expected. Swin pads a width of 3 to 4, its patch.",
            f"Put the channels second, and take {expected} of them:"
            f" image.permute(0, 3, 1, 2)[:, :{expected}]."
            if given[3] > expected
            else "Put the channels second, and repeat them: image.permute(0, 3, 1, 2)"
            f".expand(-1, {expected}, -1, -1).",
            because=f"no image is {given[3]} pixels wide",
        )
    elif given[0] == 1 and _are_tokens(given[2:]) and error.facts.batch in (None, got):
        yield call.explained(
            "tokens",
            f", and gets {by(given)}: tokens ({got}, {given[2]}, {given[3]}) = (batch,"
            f" tokens, width) were taken for one image of {got} channels; {grid_text(given[2])}.",
            _back_to_map(given[2]),
            because="a convolution takes three axes for an image without a batch",
        )
    elif given[0] == expected and got == 1:
        yield call.explained(
            "batch",
            f", and {by(given)} has 1 on the second axis and {expected} on the first: the"
            f" batch axis was added after the channels.",
            "Add it before them: image.unsqueeze(0), not image.unsqueeze(1).",
            f"If these are {expected} grey images, repeat their channel:"
            f" image.expand(-1, {expected}, -1, -1).",
            because=f"the first axis is the {expected} that is missing",
        )
    elif call.of_image:
        yield from _grey_or_alpha(call)


def _are_tokens(sides: tuple[int, ...]) -> bool:
    """Whether two axes are tokens and width rather than height and width."""
    count, width = sides
    square = square_of(count)
    return bool(square and square[0] >= 4 and looks_like_width(width) and count != width) and (
        not looks_like_width(count)
    )


def _back_to_map(count: int) -> str:
    """The fix that reshapes tokens to a map."""
    side, prefix = square_of(count) or (0, 0)
    tokens = f"x[:, {prefix}:]" if prefix else "x"
    return (
        "Make a map of them first:"
        f" {tokens}.transpose(1, 2).unflatten(2, ({side}, {side})), if the grid is square."
    )


def _grey_or_alpha(call: _ConvCall) -> Iterator[Explanation]:
    """An image with one, three or four channels where another of these is expected."""
    expected, got = call.expected, call.got
    if got == 1:
        yield call.explained(
            "channels",
            " and gets 1: the image is grey.",
            f"Repeat its channel: image.expand(-1, {expected}, -1, -1).",
            "Or build the first convolution with in_channels=1"
            " (the sum of trained weights over their second axis fits it).",
            because="an image of 1 channel is grey",
        )
    elif (expected, got) == (3, 4):
        yield call.explained(
            "channels",
            " and gets 4: the image has an alpha channel.",
            "Drop it: image[:, :3], or Image.convert('RGB').",
            because="an image of 4 channels is RGB with alpha",
        )
    elif (expected, got) == (1, 3):
        yield call.explained(
            "channels",
            " and gets 3: the stem is for grey images and the image is coloured.",
            "Make it grey: image.mean(1, keepdim=True).",
            "Or build the first convolution with in_channels=3.",
            because="an image of 3 channels is RGB",
        )


def _other_channels(call: _ConvCall) -> Explanation:
    """A wrong number of channels without a known cause."""
    expected, got = call.expected, call.got
    before = f"the {call.input_} has {got}" if call.of_image else f"the layer before it gives {got}"
    build = f"Build it with in_channels={got}"
    if 1 < call.groups == expected == call.out_channels:  # depthwise
        build = f"Build it with in_channels={got}, out_channels={got} and groups={got}"
    elif call.groups > 1 and got % call.groups:
        build = ""
    return call.explained(
        "channels",
        f" and gets {got}: {before}.",
        f"{build}." if build else "",
        f"Give it an image of {expected} channels."
        if call.of_image
        else f"Or let the layer before it have {expected} output channels.",
        because="each convolution reads what the one before it writes",
    )


def _layer_of(weight: tuple[int, ...], error: ErrorContext) -> str:
    """Name of the only convolution of the stem with that weight shape, else empty."""
    stages = error.spec.stages if error.spec else ()
    names = [
        stage.name
        for stage in stages
        if weight
        == (
            stage.conv.out_channels,
            stage.in_shape[0] // stage.conv.groups,
            stage.conv.kernel_size,
            stage.conv.kernel_size,
        )
    ]
    return names[0] if len(names) == 1 else ""


@DECODERS.matching(
    r"Calculated padded input size per channel: \(([\dx ]{1,60})\)\."
    r" Kernel size: \(([\dx ]{1,60})\)\. Kernel size can't be greater"
)
def _kernel_too_large(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A kernel larger than its padded input, in one, two or three dimensions."""
    padded = parse_sizes(match.group(1).replace("x", ","))
    kernel = parse_sizes(match.group(2).replace("x", ","))
    if len(padded) != len(kernel):
        return
    short = max(k - side for k, side in zip(kernel, padded, strict=True))
    numbers = {"padded_size": min(padded), "kernel_size": max(kernel), "short": short}
    opening = f"The input of a convolution is {by(padded)} pixels with its padding"
    if min(padded) == 0:
        yield empty_tensor(f"{opening}", because="a side is 0 long", numbers=numbers)
        return
    least = sides_for(error.spec.convs, 1) if error.spec else None
    yield certain(
        "kernel",
        f"{opening}, and the kernel is {by(kernel)}, {short} longer than a side.",
        f"Use an image of at least {by((least[0], least[0]))} pixels, which gives one token."
        if least
        else f"Use a larger image, or fewer strides of 2 before: the input must be {short} longer.",
        f"Or a kernel of {min(padded)}.",
        f"Or pad by {-(-short // 2)} more on each side.",
        because="a window must fit in its padded input",
        numbers=numbers,
    )


@DECODERS.matching(
    r"Given input size: (\([\dx]{1,60}\))\. Calculated output size: (\([-\dx]{1,60}\))\."
    r" Output size is too small"
)
def _pooling_window(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A pooling window larger than its input."""
    given, made = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if len(given) != 3 or len(made) != 3:
        return
    yield certain(
        "kernel",
        f"A pooling gets a map of {by(given[1:])} and would give {by(made[1:])}: its window is"
        " larger than the map.",
        "Use a larger image, or fewer strides before it.",
        "Or leave the pooling out.",
        because="a window must fit in its padded input",
        numbers={"height": given[1], "width": given[2]},
    )


@DECODERS.matching(r"(in|out)_channels must be divisible by groups")
def _groups(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A number of groups that does not divide the channels."""
    yield certain(
        "groups",
        f"The {match.group(1)}put channels of a convolution are not divisible by its groups.",
        "Use groups=1, or a divisor of both its input and its output channels.",
        because="each group takes an equal share of the channels",
    )
