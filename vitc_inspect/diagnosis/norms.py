"""Errors of normalisation layers: LayerNorm, BatchNorm, GroupNorm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

from vitc_inspect.diagnosis.channels_first import channels_first_fault, channels_second
from vitc_inspect.diagnosis.explanation import (
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    empty_tensor,
    explain,
    looks_like_width,
    parse_sizes,
    unknown_cause,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"Given normalized_shape=(\[[\d, ]{1,60}\]), expected input with shape"
    rf" \[\*, [\d, ]{{1,60}}\], but got input of size ?({SHAPE})"
)
def _layer_norm(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A LayerNorm whose input has another last axis than it was built for."""
    normed, given = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if len(normed) != 1 or not given:
        yield unknown_cause(
            f"A LayerNorm over the last axes {by(normed)} gets {by(given)}",
            error,
            "Normalise the channels alone, which is what transformers do: LayerNorm(width).",
            because="it was built for maps of one size",
            numbers={},
        )
        return
    width, last = normed[0], given[-1]
    if 0 in (last, width):
        yield empty_tensor(
            f"A LayerNorm over {width} numbers gets {by(given)}",
            because="one of the two is 0 long",
            numbers={},
        )
        return
    opening = f"LayerNorm({width}) normalises the last axis, and {by(given)} has {last} there"
    numbers = {"normalized_shape": width, "last_axis": last}
    if len(given) == 4 and given[1] == width:
        yield explain(
            "channels first",
            f"{opening}: the {width} are the second axis, so the input is a map, not tokens.",
            "Flatten and transpose it first: x.flatten(2).transpose(1, 2).",
            f"Or normalise the channels where they are: GroupNorm(1, {width}).",
            because=f"the {width} is on the channel axis",
            numbers=numbers,
        )
    elif len(given) == 3 and given[1] == width:
        yield explain(
            "transpose",
            f"{opening}: the {width} are the second axis and {grid_text(last)} the last,"
            " so the map was flattened and not transposed.",
            "Transpose it: x.transpose(1, 2).",
            because=f"the {width} is on the previous axis",
            numbers=numbers,
        )
    elif channels_second(given, error):
        yield channels_first_fault(f"LayerNorm({width})", f"LayerNorm({given[1]})", given, numbers)
    else:
        yield explain(
            "width",
            f"{opening}: the tokens are {last} wide.",
            f"Build it as LayerNorm({last}).",
            f"Or let the last convolution have {width} output channels.",
            because="both are widths of a token",
            numbers=numbers,
        )


@DECODERS.matching(
    r"Expected more than 1 value per channel when training, got input size"
    rf" torch\.Size\(({SHAPE})\)"
)
def _one_value(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A BatchNorm in training with a single value per channel."""
    given = parse_sizes(match.group(1))
    if len(given) < 2:
        return
    others = (given[0], *given[2:])
    yield certain(
        "batch norm",
        f"BatchNorm in training takes mean and variance over {by(others)} = {prod(others)} values"
        f" of each of {given[1]} channels; a single value has no variance.",
        "Call model.eval() before inference.",
        f"Or use a batch of at least 2 images instead of {given[0]}."
        if given[0] == 1
        else "Or use a larger batch.",
        "Or use a larger image, or fewer strides, so that the map is larger than 1×1."
        if len(given) == 4
        else "",
        because="the variance of one value is 0",
        numbers={"batch": given[0], "channels": given[1]},
    )


@DECODERS.matching(r"running_mean should contain (\d{1,9}) elements not (\d{1,9})")
def _batch_norm_channels(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A BatchNorm whose input has the wrong number of channels."""
    got, built = int(match.group(1)), int(match.group(2))
    given = next(iter(error.facts.given), ())
    norm = error.facts.module if "Norm" in error.facts.module else "BatchNorm2d"
    numbers = {"channels": got, "expected_channels": built}
    grid = square_of(got) if not looks_like_width(got) else None
    if given[2:] == (built,) or (not given and grid and grid[0] > 3):
        yield explain(
            "norm",
            f"The norm has {built} channels and gets {grid_text(got)} of them: tokens (batch,"
            f" tokens, width), and BatchNorm normalises the second axis.",
            f"Use LayerNorm({built}) on tokens.",
            "Or transpose around the norm: norm(x.transpose(1, 2)).transpose(1, 2).",
            because=f"the last axis is the {built} that is missing"
            if given
            else f"{got} is a grid of tokens and not a usual width",
            numbers=numbers,
        )
        if given:
            return
    yield explain(
        "channels",
        f"{norm}({built}) gets a map of {got} channels.",
        f"Build it as {norm}({got}).",
        f"Or let the convolution before it have {built} output channels.",
        because="the norm has one mean for each channel",
        likelihood="certain" if given[1:2] == (got,) and len(given) == 4 else "likely",
        numbers=numbers,
    )


@DECODERS.matching(r"expected (4|5|2D or 3|3)D input \(got (\d)D input\)")
def _axes_of_norm(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A BatchNorm whose input has the wrong number of axes."""
    wanted, axes = match.group(1), int(match.group(2))
    given = next((shape for shape in error.facts.given if len(shape) == axes), ())
    if given:
        yield from _norm_in_run(given, error, {"axes": axes})
    elif wanted == "4":
        yield from _axes_of_norm_2d(axes, match.start(), error)
    elif wanted != "3":
        yield _other_norm(wanted, axes)


_AXES = {
    "BatchNorm1d": "(batch, channels) or (batch, channels, tokens)",
    "BatchNorm2d": "(batch, channels, height, width)",
    "BatchNorm3d": "(batch, channels, frames, height, width)",
}


def _norm_in_run(
    given: tuple[int, ...], error: ErrorContext, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """A BatchNorm whose input shape is known."""
    facts = error.facts
    (channels,) = facts.attributes.get("num_features", (0,))
    norm = f"{facts.module or 'BatchNorm2d'}({channels or ''})"
    numbers = {**numbers, "num_features": channels, "batch": facts.batch or given[0]}
    of_batch = facts.batch is None or given[0] % facts.batch == 0
    if len(given) == 3 and channels in given[1:] and facts.inputs and of_batch and facts.batch:
        last = given[2] == channels
        axes = "(batch, tokens, width)" if last else "(batch, width, tokens)"
        yield certain(
            "norm",
            f"{norm} comes after flattening: it gets {by(given)}, which is {axes} for a"
            f" batch of {facts.batch}.",
            "Normalise the map before it is flattened.",
            f"Or use LayerNorm({channels}) on tokens."
            if last
            else f"Or use BatchNorm1d({channels}), which reads (batch, width, tokens).",
            because="the run shows its input, and the image has its batch",
            numbers=numbers,
        )
    elif len(given) == 3 and given[0] == channels and facts.batch is None:
        yield explain(
            "batch",
            f"{norm} gets {by(given)}, {channels} channels without a batch: the image has none,"
            f" which the convolution before it accepts.",
            "Add the batch: image.unsqueeze(0).",
            because=_NO_BATCH,
            numbers=numbers,
        )
    else:
        yield unknown_cause(
            f"{norm} gets {by(given)}, which has {len(given)} axes",
            error,
            f"Give it {_AXES[facts.module]}." if facts.module in _AXES else "",
            numbers=numbers,
        )


@DECODERS.matching(
    r"Expected weight to be a vector of size equal to the number of channels in input, but"
    rf" got weight of shape (\[[\d, ]{{1,60}}\]) and input of shape ({SHAPE})"
)
def _group_norm(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A GroupNorm whose input has the wrong number of channels."""
    built, given = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if len(built) != 1 or len(given) < 2:
        return
    channels = built[0]
    last = given[-1] == channels
    yield explain(
        "norm" if last else "channels",
        f"GroupNorm over {channels} channels gets {by(given)}, with {given[1]} on the second axis"
        + (f" and {channels} on the last: channels-last tokens or a map." if last else "."),
        f"Use LayerNorm({channels}), which normalises the last axis."
        if last
        else f"Build it with num_channels={given[1]}.",
        because="GroupNorm reads its channels from the second axis",
        numbers={"channels": given[1], "expected_channels": channels},
    )


def _axes_of_norm_2d(axes: int, at: int, error: ErrorContext) -> Iterator[Explanation]:
    """A BatchNorm2d whose input does not have four axes; `at` is where the message begins."""
    shape = next((shape for shape in error.operands if len(shape) == axes), ())
    numbers = {"axes": axes}
    opening = f"BatchNorm2d gets {f'{by(shape)}: ' if shape else ''}{axes} axes instead of 4"
    reads = "BatchNorm2d reads (batch, channels, height, width)"
    if axes == 2:
        yield explain(
            "norm",
            f"{opening}: features (batch, width), which have no height and width.",
            "Use BatchNorm1d or LayerNorm on features, or put the norm before the pooling.",
            because=reads,
            numbers=numbers,
        )
    elif axes != 3:
        yield certain(
            "axes",
            f"{opening}.",
            "Merge the extra axes into the batch: x.flatten(0, 1)."
            if axes > 4
            else "Add the missing axes with unsqueeze.",
            because=reads,
            numbers=numbers,
        )
    else:
        yield from _three_axes(shape, numbers, *_are_tokens(shape, error, at))


def _three_axes(
    shape: tuple[int, ...], numbers: dict[str, int], tokens: bool | None, why: str
) -> Iterator[Explanation]:
    """Tokens, or an image without a batch, given to BatchNorm2d; both where it is not known."""
    given = by(shape) if shape else "3 axes"
    if tokens is not True:
        yield explain(
            "batch",
            f"BatchNorm2d gets {given} instead of 4 axes: the image has no batch axis, which the"
            f" convolution before it accepts.",
            "Add the batch: image.unsqueeze(0).",
            because=_NO_BATCH,
            likelihood="possible" if tokens is None else "likely",
            numbers=numbers,
        )
    if tokens is not False:
        yield explain(
            "norm",
            f"BatchNorm2d gets {given}, (batch, tokens, width), instead of a map: it comes after"
            f" flattening.",
            "Normalise the map before it is flattened, or use LayerNorm on tokens.",
            because=why or "tokens have three axes",
            likelihood="likely" if tokens else "possible",
            numbers=numbers,
        )


_NO_BATCH = "a convolution takes (channels, height, width) too, and BatchNorm2d does not"


def _are_tokens(shape: tuple[int, ...], error: ErrorContext, end: int) -> tuple[bool | None, str]:
    """Whether three axes are (batch, tokens, width), None if unknown; and the evidence."""
    if len(shape) == 3 and not (looks_like_width(shape[0]) and shape[1] != shape[2]):
        if shape[1] == shape[2] and not looks_like_width(shape[2]):
            return False, "its last two axes are a square"
        if square_of(shape[1]) and shape[1] != shape[2]:
            return True, f"{grid_text(shape[1])} are tokens"
        return None, ""
    flattened = _FLATTENED.search(error.text, max(0, end - 1500), end)
    if flattened:
        return True, f"the code says “{flattened.group(0)}” before it"
    return None, ""


_FLATTENED = re.compile(r"\.flatten\(2\)|\.flatten\(2, ?3\)|-> ?'?b \(h w\)|\.transpose\(1, ?2\)")


def _other_norm(wanted: str, axes: int) -> Explanation:
    """A BatchNorm1d or BatchNorm3d whose input has the wrong number of axes."""
    name = {"5": "BatchNorm3d", "2D or 3": "BatchNorm1d"}.get(wanted, "The norm")
    right = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}.get(axes)
    return explain(
        "norm",
        f"{name} reads {wanted.replace('2D or 3', '2 or 3')} axes and gets {axes}.",
        f"Use {right}, which reads {axes} axes."
        if right
        else "Give it the number of axes that it reads.",
        "Or flatten the map first: x.flatten(2)." if (wanted, axes) == ("2D or 3", 4) else "",
        because="the message names both",
        numbers={"axes": axes},
    )
