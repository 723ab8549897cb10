"""Errors of one layer: channels, kernels, widths, heads, and normalisation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from math import isqrt, prod

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    divisors_near,
    explain,
    heads_fault,
    looks_like_width,
    sizes,
)
from vitc_inspect.diagnosis.readings import in_squares, sides_for, square_of


def _channels(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A convolution that gets other channels than it was built for."""
    weight, given = sizes(match.group(1)), sizes(match.group(2))
    expected, got = int(match.group(3)), int(match.group(4))
    if len(weight) != 4 or len(given) != 4:
        return
    kernel = f"{by(weight[2:])}:{weight[0]}"
    which = _layer_of(weight, told) or f"The convolution {kernel}"
    numbers = {"expected_channels": expected, "channels": got}
    opening = f"{which} reads {expected} channel{'' if expected == 1 else 's'}"
    # a square map has its width on the last axis, which may happen to be the number wanted
    if given[3] == expected and (expected <= 4 or given[2] != expected):
        height, width = given[1:3]
        yield explain(
            "channels last",
            f"{opening}, and {by(given)} has {got} on the second axis and {expected} on the last:"
            f" the image is (batch, height, width, channels), {height}×{width} pixels.",
            "Put the channels second: image.permute(0, 3, 1, 2).",
            "Without a batch: image.permute(2, 0, 1).unsqueeze(0)." if given[0] == 1 else "",
            because=f"the last axis is the {expected} that is missing",
            numbers=numbers,
        )
        return
    if got == 1:
        yield explain(
            "channels",
            f"{opening} and gets 1: the image is grey.",
            f"Repeat its channel: image.expand(-1, {expected}, -1, -1).",
            "Or build the first convolution with in_channels=1"
            " (the sum of trained weights over their second axis fits it).",
            because="an image of 1 channel is grey",
            numbers=numbers,
        )
    elif (expected, got) == (3, 4):
        yield explain(
            "channels",
            f"{opening} and gets 4: the image has an alpha channel.",
            "Drop it: image[:, :3], or Image.convert('RGB').",
            because="an image of 4 channels is RGB with alpha",
            numbers=numbers,
        )
    elif (expected, got) == (1, 3):
        yield explain(
            "channels",
            f"{opening} and gets 3: the stem is for grey images and the image is coloured.",
            "Make it grey: image.mean(1, keepdim=True).",
            "Or build the first convolution with in_channels=3.",
            because="an image of 3 channels is RGB",
            numbers=numbers,
        )
    else:
        yield explain(
            "channels",
            f"{opening} and gets {got}: the layer before it gives {got}.",
            f"Build it with in_channels={got}.",
            f"Or let the layer before it have {expected} output channels.",
            because="each convolution reads what the one before it writes",
            numbers=numbers,
        )


def _layer_of(weight: tuple[int, ...], told: Told) -> str:
    """Name of the only convolution of the stem with such a weight, else empty."""
    stages = told.spec.stages if told.spec else ()
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


def _window(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A kernel larger than its padded input."""
    height, width, rows, columns = (int(part) for part in match.groups())
    side, kernel = (height, rows) if height < rows else (width, columns)
    shapes = (
        f"{by((height, width))} pixels with its padding, and the kernel is {by((rows, columns))}"
    )
    least = sides_for(told.spec.convs, 1) if told.spec else None
    yield explain(
        "kernel",
        f"The input of a convolution is {shapes}, {kernel - side} longer than a side.",
        f"Use an image of at least {by((least[0], least[0]))} pixels, which gives one token."
        if least
        else f"Use an image {Fraction(kernel, max(1, side))} times as large, or fewer strides of 2"
        " before.",
        f"Or a kernel of {side}." if side > 1 else "Or a kernel of 1.",
        f"Or pad by {-(-(kernel - side) // 2)} more on each side.",
        because="a window must fit in its padded input",
        likelihood="certain",
        numbers={"padded_size": side, "kernel_size": kernel},
    )


def _pooled_away(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A pooling window larger than its input."""
    given, made = sizes(match.group(1)), sizes(match.group(2))
    if len(given) != 3 or len(made) != 3:
        return
    yield explain(
        "kernel",
        f"A pooling gets a map of {by(given[1:])} and would give {by(made[1:])}: its window is"
        " larger than the map.",
        "Use a larger image, or fewer strides before it.",
        "Or leave the pooling out.",
        because="a window must fit in its padded input",
        likelihood="certain",
        numbers={"height": given[1], "width": given[2]},
    )


def _linear(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A linear layer that gets vectors of another width."""
    rows, width, features, out = (int(part) for part in match.groups())
    if width == features or min(rows, width, features) < 1:
        return
    numbers = {"rows": rows, "width": width, "in_features": features, "out_features": out}
    opening = f"The Linear takes vectors of {features} numbers and gets {rows} of {width}"
    found = [
        *_untransposed(opening, numbers),
        *_patches(rows, width, features, numbers),
        *_whole_image(opening, numbers),
        *_all_places(opening, numbers),
    ]
    yield from found
    if found and (not looks_like_width(width) or found[0].kind == "cut"):
        return
    tokens = square_of(rows)
    usual = looks_like_width(width)
    yield explain(
        "width",
        f"{opening}: the tokens are {width} wide"
        f"{f', and the rows are {in_squares(rows)} tokens' if tokens else ''}.",
        f"Build it as Linear({width}, {out}).",
        f"Or let what comes before it give {features} numbers, the last convolution for example.",
        because=f"{width} is a usual width" if usual else "it is all that the numbers say",
        likelihood="likely" if tokens and usual and not found else "possible",
        numbers=numbers,
    )


def _untransposed(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A map whose channels do not stand on the last axis."""
    rows, width, features = numbers["rows"], numbers["width"], numbers["in_features"]
    batch, left = divmod(rows, features)
    if left:
        return
    if batch % width == 0:
        yield explain(
            "flatten",
            f"{opening}: {rows} = {batch // width}·{features}·{width}, so a map of {features}"
            f" channels and {width} columns went in as it is.",
            "Flatten and transpose the map: x.flatten(2).transpose(1, 2).",
            because=f"the rows are {features} channels times {width}, a square map",
            numbers=numbers,
        )
    elif square_of(width):
        yield explain(
            "transpose",
            f"{opening}: {rows} = {batch}·{features} and {in_squares(width)}, so a map of"
            f" {features} channels was flattened to (batch, {features}, {width}) and not"
            " transposed.",
            "Transpose it: x.flatten(2).transpose(1, 2), or einops' 'b c h w -> b (h w) c'.",
            because=f"the {features} that is missing stands on the axis before",
            numbers=numbers,
        )


def _whole_image(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A linear patch embedding that gets the image before it is cut."""
    rows, width, patch = numbers["rows"], numbers["width"], _patch(numbers["in_features"])
    if patch is None or rows % (patch[1] * width) or width % patch[0] or width <= patch[0]:
        return
    side, channels = patch
    yield explain(
        "cut",
        f"{opening}: {rows} = {rows // (channels * width)}·{channels}·{width}, so a whole image of"
        f" {width} pixels went in where patches of {side}·{side}·{channels} ="
        f" {numbers['in_features']} numbers are expected.",
        f"Cut it first: rearrange(x, 'b c (h p) (w q) -> b (h w) (p q c)', p={side}, q={side}).",
        because=f"the rows are {channels} channels times {width}, a square image",
        numbers={**numbers, "patch_size": side},
    )


def _all_places(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A classifier that gets every token of an image in one vector."""
    rows, width, features = numbers["rows"], numbers["width"], numbers["in_features"]
    places, left = divmod(width, features)
    if left or not looks_like_width(features) or rows * 4 > width or not square_of(places):
        return
    yield explain(
        "pool",
        f"{opening}: {width} = {features}·{places} and {in_squares(places)}, so all places were"
        " flattened into one vector.",
        "Take the class token, x[:, 0], or the mean over the tokens, x.mean(1).",
        f"Or build it as Linear({width}, {numbers['out_features']}).",
        because=f"{width} is {places} times the width {features}",
        numbers=numbers,
    )


def _product(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Queries times keys, and weights times values: a batch of products that do not fit."""
    expected, got = sizes(match.group(1)), sizes(match.group(2))
    if len(expected) != 2 or len(got) != 2:
        return
    numbers = {"expected": expected[1], "got": got[1]}
    if looks_like_width(expected[1]) and square_of(got[1]):
        yield explain(
            "transpose",
            f"The left matrices have rows of {expected[1]} numbers and the right ones"
            f" {in_squares(got[1])} rows: queries and keys are both (tokens, width).",
            "Transpose the keys: q @ k.transpose(-2, -1).",
            because="each query is multiplied with each key, number by number",
            likelihood="likely" if not looks_like_width(got[1]) else "possible",
            numbers=numbers,
        )
        return
    yield explain(
        "width",
        f"The left matrices have rows of {expected[1]} numbers and the right ones {got[1]} rows.",
        f"Make both {expected[1]}: queries and keys have one width, weights and values one number"
        " of tokens.",
        because="it is all that the numbers say",
        likelihood="possible",
        numbers=numbers,
    )


def _patches(
    rows: int, width: int, features: int, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """Patches of another side or other channels than a linear patch embedding was built for."""
    patch, expected = _patch(width), _patch(features)
    if patch is None or expected is None or patch == expected:
        return
    (side, channels), (wanted, into) = patch, expected
    if side == wanted or channels == into:
        yield explain(
            "patch",
            f"The Linear was built for patches of {wanted}·{wanted}·{into} = {features} numbers"
            f" and gets {rows} of {side}·{side}·{channels} = {width}.",
            f"Cut patches of {wanted}×{wanted} pixels with {into} channels.",
            f"Or build it as Linear({width}, …) for patches of {side}×{side} with {channels}.",
            because="both widths are whole patches",
            numbers={**numbers, "patch_size": side, "expected_patch_size": wanted},
        )


def _patch(width: int) -> tuple[int, int] | None:
    """Side and channels of a square patch of so many numbers, in colour rather than grey."""
    for channels in (3, 1, 4):
        side = isqrt(width // channels)
        if side**2 * channels == width and side in (2, 4, 7, 8, 14, 16, 28, 32):
            return side, channels
    return None


def _layer_norm(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A layer normalisation over another axis than it was built for."""
    normed, given = sizes(match.group(1)), sizes(match.group(2))
    if len(normed) != 1 or not given:
        return
    width, last = normed[0], given[-1]
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
    else:
        yield explain(
            "width",
            f"{opening}: the tokens are {last} wide.",
            f"Build it as LayerNorm({last}).",
            f"Or let the last convolution have {width} output channels.",
            because="both are widths of a token",
            numbers=numbers,
        )


def _attention_width(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An attention that gets tokens of another width."""
    expected, got = int(match.group(1)), int(match.group(2))
    square = square_of(got)
    numbers = {"expected_width": expected, "width": got}
    if square and not looks_like_width(got):
        yield explain(
            "transpose",
            f"The attention takes tokens {expected} wide and gets {in_squares(got)}:"
            " a grid of tokens on the last axis, so the map was flattened and not transposed.",
            "Transpose it: x.flatten(2).transpose(1, 2).",
            because=f"{got} is a grid and no usual width",
            numbers=numbers,
        )
        return
    yield explain(
        "width",
        f"The attention takes tokens {expected} wide and gets tokens {got} wide.",
        f"Build it with embed_dim={got}.",
        f"Or let the last convolution have {expected} output channels.",
        because="the last convolution gives the tokens their width",
        numbers=numbers,
    )


def _attention_axes(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An attention that gets a map."""
    axes = int(match.group(1))
    yield explain(
        "flatten",
        f"The attention takes (batch, tokens, width) and gets {axes} axes"
        + (": a map that is not flattened." if axes == 4 else "."),
        "Flatten and transpose it first: x.flatten(2).transpose(1, 2).",
        because="attention reads a sequence",
        numbers={"axes": axes},
    )


_HEADS_CALL = re.compile(
    r"(?:MultiheadAttention|TransformerEncoderLayer|Attention)\(\s*(?:embed_dim=|d_model=|dim=)?"
    r"(\d{1,6})\s*,\s*(?:num_heads=|nhead=)?(\d{1,6})"
)


def _heads(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A token width that the heads do not divide; the numbers may not be in the message."""
    pair = [int(number) for number in match.groups() if number]
    call = _HEADS_CALL.search(told.text)
    if len(pair) != 2 and call:
        pair = [int(number) for number in call.groups()]
    if len(pair) == 2 and min(pair) > 0 and pair[0] % pair[1]:
        yield heads_fault(*pair)
        return
    width = told.spec.embed_dim if told.spec else None
    usual = divisors_near(width, width // 64, most=3) if width else ()
    yield explain(
        "heads",
        f"The token width {width} is not divisible by the number of heads."
        if width
        else "The token width is not divisible by the number of heads.",
        f"Use a number of heads that divides {width}, for example {', '.join(map(str, usual))}."
        if width
        else "Use a number of heads that divides embed_dim: for 384, 6; for 768, 12.",
        because="each head takes an equal share of the token",
        likelihood="certain",
        numbers={"embed_dim": width} if width else {},
    )


def _groups(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Groups that do not divide the channels."""
    yield explain(
        "groups",
        f"The {match.group(1)}put channels of a convolution are not divisible by its groups.",
        "Use groups=1, or a divisor of both its input and its output channels.",
        because="each group takes an equal share of the channels",
        likelihood="certain",
        numbers={},
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
    yield explain(
        "channels",
        f"BatchNorm2d({built}) gets a map of {got} channels.",
        f"Build it as BatchNorm2d({got}).",
        f"Or let the convolution before it have {built} output channels.",
        because="the norm has one mean for each channel",
        likelihood="certain",
        numbers={"channels": got, "expected_channels": built},
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            r"weight of size (\[[\d, ]{1,200}\]), expected input(\[[\d, ]{1,200}\]) to have"
            r" (\d{1,9}) channels, but got (\d{1,9}) channels instead"
        ),
        _channels,
    ),
    (
        re.compile(
            r"Calculated padded input size per channel: \((\d{1,9}) x (\d{1,9})\)\."
            r" Kernel size: \((\d{1,9}) x (\d{1,9})\)\. Kernel size can't be greater"
        ),
        _window,
    ),
    (
        re.compile(
            r"Given input size: (\([\dx]{1,60}\))\. Calculated output size: (\([-\dx]{1,60}\))\."
            r" Output size is too small"
        ),
        _pooled_away,
    ),
    (
        re.compile(
            r"mat1 and mat2 shapes cannot be multiplied"
            r" \((\d{1,12})x(\d{1,12}) and (\d{1,12})x(\d{1,12})\)"
        ),
        _linear,
    ),
    (
        re.compile(
            r"Expected size for first two dimensions of batch2 tensor to be: (\[[\d, ]{1,60}\])"
            r" but got: (\[[\d, ]{1,60}\])"
        ),
        _product,
    ),
    (
        re.compile(
            r"Given normalized_shape=(\[[\d, ]{1,60}\]), expected input with shape"
            r" \[\*, [\d, ]{1,60}\], but got input of size ?(\[[\d, ]{1,200}\])"
        ),
        _layer_norm,
    ),
    (
        re.compile(r"was expecting embedding dimension of (\d{1,9}), but got (\d{1,9})"),
        _attention_width,
    ),
    (
        re.compile(r"query should be unbatched 2D or batched 3D tensor but received (\d)-D"),
        _attention_axes,
    ),
    (
        re.compile(
            r"embed_dim must be divisible by num_heads|dim should be divisible by num_heads"
            r"|hidden size \(?(\d{1,9}),?\)? is not a multiple of the number of attention heads"
            r" \(?(\d{1,9})"
        ),
        _heads,
    ),
    (re.compile(r"(in|out)_channels must be divisible by groups"), _groups),
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
)
"""What each error is known by, and who explains it."""
