"""Errors of normalisation layers: LayerNorm, BatchNorm, GroupNorm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

from vitc_inspect.diagnosis.channels_first import channels_second, turned
from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    explain,
    looks_like_width,
    not_known,
    nothing_in_it,
    sizes,
)
from vitc_inspect.diagnosis.grids import in_squares, square_of


def _layer_norm(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A layer normalisation over another axis than it was built for."""
    normed, given = sizes(match.group(1)), sizes(match.group(2))
    if len(normed) != 1 or not given:
        yield not_known(
            f"A LayerNorm over the last axes {by(normed)} gets {by(given)}",
            told,
            "Normalise the channels alone, which is what transformers do: LayerNorm(width).",
            because="it was built for maps of one size",
            numbers={},
        )
        return
    width, last = normed[0], given[-1]
    if 0 in (last, width):
        yield nothing_in_it(
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
            f"{opening}: the {width} are the second axis, so a map came, not tokens.",
            "Flatten and transpose it first: x.flatten(2).transpose(1, 2).",
            f"Or normalise the channels where they are: GroupNorm(1, {width}).",
            because=f"the {width} stands on the axis of the channels",
            numbers=numbers,
        )
    elif len(given) == 3 and given[1] == width:
        yield explain(
            "transpose",
            f"{opening}: the {width} are the second axis and {in_squares(last)} the last,"
            " so the map was flattened and not transposed.",
            "Transpose it: x.transpose(1, 2).",
            because=f"the {width} stands on the axis before",
            numbers=numbers,
        )
    elif channels_second(given, told):
        yield turned(f"LayerNorm({width})", f"LayerNorm({given[1]})", given, numbers)
    else:
        yield explain(
            "width",
            f"{opening}: the tokens are {last} wide.",
            f"Build it as LayerNorm({last}).",
            f"Or let the last convolution have {width} output channels.",
            because="both are widths of a token",
            numbers=numbers,
        )


def _one_value(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A batch normalisation in training that has one value a channel."""
    given = sizes(match.group(1))
    if len(given) < 2:
        return
    others = (given[0], *given[2:])
    yield explain(
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
        likelihood="certain",
        numbers={"batch": given[0], "channels": given[1]},
    )


def _batch_norm_channels(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A batch normalisation that gets other channels than it was built for."""
    got, built = int(match.group(1)), int(match.group(2))
    given = next(iter(told.facts.given), ())
    norm = told.facts.module if "Norm" in told.facts.module else "BatchNorm2d"
    numbers = {"channels": got, "expected_channels": built}
    grid = square_of(got) if not looks_like_width(got) else None
    if given[2:] == (built,) or (not given and grid and grid[0] > 3):
        yield explain(
            "norm",
            f"The norm has {built} channels and gets {in_squares(got)} of them: tokens (batch,"
            f" tokens, width) came, and BatchNorm normalises the second axis.",
            f"Use LayerNorm({built}) on tokens.",
            "Or transpose around the norm: norm(x.transpose(1, 2)).transpose(1, 2).",
            because=f"the last axis is the {built} that is missing"
            if given
            else f"{got} is a grid of tokens and no usual width",
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


def _axes_of_norm(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A BatchNorm that gets another number of axes; the run says of what."""
    axes = int(match.group(2))
    given = next((shape for shape in told.facts.given if len(shape) == axes), ())
    if given:
        yield from _norm_in_run(given, told, {"axes": axes})


_AXES = {
    "BatchNorm1d": "(batch, channels) or (batch, channels, tokens)",
    "BatchNorm2d": "(batch, channels, height, width)",
    "BatchNorm3d": "(batch, channels, frames, height, width)",
}


def _norm_in_run(
    given: tuple[int, ...], told: Told, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """A BatchNorm whose input is known."""
    facts = told.facts
    (channels,) = facts.attributes.get("num_features", (0,))
    norm = f"{facts.module or 'BatchNorm2d'}({channels or ''})"
    numbers = {**numbers, "num_features": channels, "batch": facts.batch or given[0]}
    of_batch = facts.batch is None or given[0] % facts.batch == 0
    if len(given) == 3 and channels in given[1:] and facts.inputs and of_batch and facts.batch:
        last = given[2] == channels
        axes = "(batch, tokens, width)" if last else "(batch, width, tokens)"
        yield explain(
            "norm",
            f"{norm} stands behind the flattening: it gets {by(given)}, which is {axes} for a"
            f" batch of {facts.batch}.",
            "Normalise the map before it is flattened.",
            f"Or use LayerNorm({channels}) on tokens."
            if last
            else f"Or use BatchNorm1d({channels}), which reads (batch, width, tokens).",
            because="the run shows its input, and the image has its batch",
            likelihood="certain",
            numbers=numbers,
        )
    elif len(given) == 3 and given[0] == channels and facts.batch is None:
        yield explain(
            "batch",
            f"{norm} gets {by(given)}, {channels} channels without a batch: the image came without"
            " one, which the convolution before it let pass.",
            "Add the batch: image.unsqueeze(0).",
            because="a convolution takes (channels, height, width) too, and BatchNorm2d does not",
            numbers=numbers,
        )
    else:
        yield not_known(
            f"{norm} gets {by(given)}, which has {len(given)} axes",
            told,
            f"Give it {_AXES[facts.module]}." if facts.module in _AXES else "",
            numbers=numbers,
        )


def _group_norm(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A GroupNorm that gets other channels than it was built for."""
    built, given = sizes(match.group(1)), sizes(match.group(2))
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


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            r"Given normalized_shape=(\[[\d, ]{1,60}\]), expected input with shape"
            r" \[\*, [\d, ]{1,60}\], but got input of size ?(\[[\d, ]{1,200}\])"
        ),
        _layer_norm,
    ),
    (
        re.compile(
            r"Expected more than 1 value per channel when training, got input size"
            r" torch\.Size\((\[[\d, ]{1,200}\])\)"
        ),
        _one_value,
    ),
    (
        re.compile(r"running_mean should contain (\d{1,9}) elements not (\d{1,9})"),
        _batch_norm_channels,
    ),
    (
        re.compile(r"expected (4|5|2D or 3|3)D input \(got (\d)D input\)"),
        _axes_of_norm,
    ),
    (
        re.compile(
            r"Expected weight to be a vector of size equal to the number of channels in input, but"
            r" got weight of shape (\[[\d, ]{1,60}\]) and input of shape (\[[\d, ]{1,200}\])"
        ),
        _group_norm,
    ),
)
"""What each error is known by, and who explains it."""
