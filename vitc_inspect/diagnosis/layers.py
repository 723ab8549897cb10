"""Errors of one layer: widths, heads, normalisation, products."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import gcd, isqrt, prod

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Likelihood,
    Told,
    by,
    divisors_near,
    explain,
    heads_fault,
    looks_like_width,
    not_known,
    nothing_in_it,
    one_first,
    sizes,
)
from vitc_inspect.diagnosis.readings import USUAL_SIDES, in_squares, square_of


def _linear(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A linear layer that gets vectors of another width."""
    rows, width, features, out = (int(part) for part in match.groups())
    if width == features or max(rows, width, features) < 1:
        return
    numbers = {"rows": rows, "width": width, "in_features": features, "out_features": out}
    opening = f"The Linear takes vectors of {features} numbers and gets {rows} of {width}"
    if min(rows, width, features) < 1:
        yield nothing_in_it(opening, because="one of the numbers is 0", numbers=numbers)
        return
    given = next(iter(told.operands), ())
    given = given if given[-1:] == (width,) and prod(given[:-1]) == rows else ()
    if len(given) in (3, 4) and given[1] != features and _channels_second(given, told):
        yield _turned(f"Linear({features}, {out})", f"Linear({given[1]}, {out})", given, numbers)
        return
    patches = tuple(_patches(rows, width, features, numbers))
    # grey patches are rare, and nearly any square is one
    coloured = any((_patch(n) or (0, 0))[1] == 3 for n in (width, features))
    flat = any(prod(shape[1:]) == width for shape in told.facts.maps)  # as the run shows
    found = [
        *_untransposed(opening, numbers, given),
        *(patches if coloured and not flat else ()),
        *(() if given and len(given) != 4 else _whole_image(opening, numbers)),
        *_in_one_row(opening, numbers),
        *_other_places(opening, numbers),
        *_pooled_otherwise(opening, numbers),
    ]
    if patches and not coloured and not flat:
        sure: Likelihood = "possible" if found else "likely"
        found += [replace(each, likelihood=sure) for each in patches]
    yield from one_first(found)
    if found and (not looks_like_width(width) or found[0].kind in ("cut", "pool", "places")):
        return
    if width > _WIDEST:
        yield not_known(
            f"{opening}; no token is {width} wide",
            told,
            "Take the mean over the tokens or the places before it, or flatten less.",
            because=f"{width} numbers are a whole map or image in one row",
            numbers=numbers,
        )
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
        likelihood="likely" if (given or (tokens and usual)) and not found else "possible",
        numbers=numbers,
    )


_WIDEST = 8192
"""The widest tokens of models in use."""


def _in_one_row(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A whole image or a whole map in one row; where it may be both, the likelier first."""
    image, places = _flat_image(opening, numbers), next(_all_places(opening, numbers), None)
    patch = _patch(numbers["in_features"])
    both = [image, places] if patch and patch[1] > 1 else [places, image]
    found = [each for each in both if each is not None]
    yield from found[:1]
    yield from (replace(each, likelihood="possible") for each in found[1:])


def _flat_image(opening: str, numbers: dict[str, int]) -> Explanation | None:
    """A layer for tokens that gets a whole image, or a whole channel of it, in one row."""
    width, features = numbers["width"], numbers["in_features"]
    sides = {channels: isqrt(width // channels) for channels in (3, 1, 4)}
    for channels, side in sides.items():
        if side**2 * channels != width or side not in USUAL_SIDES or side < 96:
            continue
        if features > _WIDEST:
            return None
        patch = _patch(features)
        cut = "Cut the image into patches first, and give each patch to the Linear"
        if patch and side % patch[0] == 0:
            p = patch[0]
            cut += f": rearrange(image, 'b c (h p) (w q) -> b (h w) (p q c)', p={p}, q={p})"
        each = f"the {channels} channels of an image" if channels > 1 else "one channel of an image"
        return explain(
            "cut",
            f"{opening}: {width} ="
            f" {f'{channels}·' if channels > 1 else ''}{side}·{side}, {each} flattened into one"
            f" row; a layer for tokens of {features} numbers does not read whole images.",
            f"{cut}.",
            "Or let a convolution cut them: nn.Conv2d(channels, width, patch, patch).",
            because=f"{side} is a usual side of an image",
            numbers={**numbers, "side": side, "channels": channels},
        )
    return None


def _pooled_otherwise(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A classifier that gets one number of each token."""
    rows, width = numbers["rows"], numbers["width"]
    square = square_of(width)
    if square and 4 <= square[0] <= 40 and not looks_like_width(width) and rows < width:
        yield explain(
            "pool",
            f"{opening}: {in_squares(width)}, one number of each token, so the mean was taken over"
            " the width and not over the tokens.",
            "Take it over the tokens: x.mean(1) of (batch, tokens, width).",
            because=f"{width} is a grid of tokens and no usual width",
            numbers=numbers,
        )


def _other_places(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A classifier behind a flattened map that has other sides than it was built for."""
    width, features = numbers["width"], numbers["in_features"]
    channels = gcd(width, features)
    came, built = isqrt(width // channels), isqrt(features // channels)
    if came**2 * channels != width or built**2 * channels != features:
        return
    if min(came, built) < 2 or max(came, built) < 4 or channels < 8:
        return
    yield explain(
        "places",
        f"{opening}: {features} = {channels}·{built}×{built} and {width} ="
        f" {channels}·{came}×{came}, so the map of {channels} channels is {came}×{came} where"
        f" {built}×{built} was reckoned with.",
        f"Pool the map to {built}×{built} first: nn.AdaptiveAvgPool2d(({built}, {built})).",
        "Or give an image of the size that the model was built for.",
        because=f"both are {channels} times a square",
        numbers={**numbers, "channels": channels, "side": came, "expected_side": built},
    )


def _untransposed(
    opening: str, numbers: dict[str, int], given: tuple[int, ...]
) -> Iterator[Explanation]:
    """A map whose channels do not stand on the last axis; `given` is its shape where known."""
    rows, width, features = numbers["rows"], numbers["width"], numbers["in_features"]
    batch, left = divmod(rows, features)
    if left or (given and (len(given) < 3 or given[1] != features)):
        return
    if len(given) == 4 if given else batch % width == 0:
        sides = given[:-1] if given else (batch // width, features, width)
        yield explain(
            "flatten",
            f"{opening}: {rows} = {'·'.join(map(str, sides))}, so a map of {features}"
            f" channels and {width} columns went in as it is.",
            "Flatten and transpose the map: x.flatten(2).transpose(1, 2).",
            because=f"the {features} that is missing stands on the second axis"
            if given
            else f"the rows are {features} channels times {width}, a square map",
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
        "Of a map, take the mean over its places before it is flattened: x.mean((2, 3)).",
        because=f"{width} is {places} times the width {features}",
        numbers=numbers,
    )


def _product(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Queries times keys, and weights times values: a batch of products that do not fit."""
    expected, got = sizes(match.group(1)), sizes(match.group(2))
    if len(expected) != 2 or len(got) != 2:
        return
    numbers = {"expected": expected[1], "got": got[1]}
    if expected[0] != got[0]:
        same = expected[1] == got[1]
        yield explain(
            "batch",
            f"{expected[0]} matrices are to be multiplied with {got[0]}: batch times heads differ"
            + ("." if same else f", and so do their sides, {expected[1]} and {got[1]}."),
            "Bring both to (batch·heads, tokens, head width) by the same reshape.",
            "Or use matmul, which repeats an axis of length 1.",
            because="bmm multiplies matrix by matrix and repeats none",
            numbers={"expected": expected[0], "got": got[0]},
        )
        return
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
    elif _channels_second(given, told):
        yield _turned(f"LayerNorm({width})", f"LayerNorm({given[1]})", given, numbers)
    else:
        yield explain(
            "width",
            f"{opening}: the tokens are {last} wide.",
            f"Build it as LayerNorm({last}).",
            f"Or let the last convolution have {width} output channels.",
            because="both are widths of a token",
            numbers=numbers,
        )


def _channels_second(given: tuple[int, ...], told: Told) -> bool:
    """Whether the second axis is the channels: the run says so, or only that is a width."""
    if given in told.facts.maps:
        return True
    if (
        len(given) == 3
        and given[1] != given[2]
        and any(shape[:2] == given[:2] and prod(shape[2:]) == given[2] for shape in told.facts.maps)
    ):
        return True
    if len(given) not in (3, 4) or looks_like_width(given[-1]) or not looks_like_width(given[1]):
        return False
    return len(given) == 4 or (square_of(given[2]) is not None and square_of(given[1]) is None)


def _turned(layer: str, built: str, given: tuple[int, ...], numbers: dict[str, int]) -> Explanation:
    """A layer of the last axis that gets a map of other channels, which stand second besides."""
    flat = len(given) == 3
    turn = "x.transpose(1, 2)" if flat else "x.flatten(2).transpose(1, 2)"
    return explain(
        "transpose" if flat else "flatten",
        f"{layer} reads the last axis, and {by(given)} has its {given[1]} channels on the second:"
        f" a map went in {'flattened and not transposed' if flat else 'as it is'}, and its channels"
        " are others too.",
        f"Bring the channels to the end, {turn}, and build the layer as {built}.",
        because=f"{given[1]} is the width, and {given[-1]} are places",
        numbers=numbers,
    )


def _attention_width(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An attention that gets tokens of another width."""
    expected, got = int(match.group(1)), int(match.group(2))
    square = square_of(got)
    numbers = {"expected_width": expected, "width": got}
    if 0 in (expected, got):
        yield nothing_in_it(
            f"The attention takes tokens {expected} wide and gets tokens {got} wide",
            because="one of the two is 0",
            numbers=numbers,
        )
        return
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
        because="each head takes an equal share of the token"
        + (f", and the stem that was given makes tokens {width} wide" if width else ""),
        likelihood="likely" if width else "certain",  # the attention may be of another width
        numbers={"embed_dim": width} if width else {},
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


def _einsum(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`torch.einsum`: one letter has two lengths."""
    letter, later, operand, before = match.groups()
    yield explain(
        "einsum",
        f"In einsum the letter {letter} is {before} long in an operand before and {later} in"
        f" operand {operand} (counted from 0).",
        f"Give both {before}, or both {later}; or use another letter for one of the axes.",
        "For tables of relative positions (rel_pos_h, rel_pos_w of (2·side − 1) entries),"
        " interpolate the table to the map's sides first."
        if letter in "hwkq"
        else "",
        because="one letter stands for one length",
        likelihood="certain",
        numbers={"before": int(before), "later": int(later)},
    )


def _index(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An index beyond the end of a table, of a parameter or of nn.Embedding."""
    groups = match.groupdict()
    weight = told.facts.attributes.get("weight", ()) if groups["size"] is None else ()
    size = int(groups["size"]) if groups["size"] else weight[0] if len(weight) == 2 else None
    if size is None:
        yield not_known(
            "An index reaches beyond the end of a table, nn.Embedding's weight for example",
            told,
            "Give the table as many entries as there are tokens, or cut the ids.",
            numbers={},
        )
        return
    at = f" at index {groups['index']}" if groups["index"] else ""
    relative = ""
    if size % 2:
        side = (size + 1) // 2
        relative = (
            f" If its entries are relative positions, {size} = 2·{side} − 1: a side of {side}."
        )
    yield explain(
        "table length",
        f"A table of {size} entries is read{at}, behind its end: more tokens, words or places came"
        f" than it was made for.{relative}",
        "Give an image or a text of the size that the table was made for.",
        "Or interpolate the table along that axis to the size at hand.",
        because=f"the entries are counted from 0 to {size - 1}",
        numbers={"table": size},
    )


def _boolean_mask(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A tensor that is indexed by a mask of another length."""
    mask, shape = sizes(match["mask"]), sizes(match["shape"])
    axis = int(match["axis"])
    if axis >= min(len(mask), len(shape)) or mask[axis] == shape[axis]:
        return
    yield explain(
        "mask",
        f"A tensor of {by(shape)} is indexed by a mask of {by(mask)}: along axis {axis} it has"
        f" {shape[axis]}, and the mask {mask[axis]}. Of a model of images and text, each image"
        " stands for as many tokens as its patches, which the mask does not count.",
        f"Make the mask {shape[axis]} long: put False where the {shape[axis] - mask[axis]} others"
        " stand."
        if shape[axis] > mask[axis]
        else f"Make the mask {shape[axis]} long, as the tensor is cut or pooled.",
        because="the message names both shapes",
        numbers={"axis": axis, "size": shape[axis], "mask": mask[axis]},
    )


def _vectors(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A matrix and a vector, or two vectors, of different lengths."""
    first, second = int(match.group("first")), int(match.group("second"))
    yield explain(
        "width",
        f"Vectors of {first} numbers are to be multiplied with one of {second}.",
        f"Make both {first}, or both {second}.",
        because="a product of vectors takes number by number",
        numbers={"width": first, "expected_width": second},
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
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
    (
        re.compile(
            r"einsum\(\): subscript (\w) has size (\d{1,9}) for operand (\d{1,2}) which does not"
            r" broadcast with previously seen size (\d{1,9})"
        ),
        _einsum,
    ),
    (
        re.compile(
            r"index (?P<index>\d{1,12}) is out of bounds for dimension \d with size"
            r" (?P<size>\d{1,12})"
            r"|index out of range in self"
        ),
        _index,
    ),
    (
        re.compile(
            r"shape of the mask (?P<mask>\[[\d, ]{1,200}\]) at index (?P<axis>\d) does not match"
            r" the shape of the indexed tensor (?P<shape>\[[\d, ]{1,200}\])"
        ),
        _boolean_mask,
    ),
    (
        re.compile(
            r"size mismatch, got input \(\d{1,12}\), mat \(\d{1,12}x(?P<first>\d{1,12})\), vec"
            r" \((?P<second>\d{1,12})\)"
        ),
        _vectors,
    ),
    (
        re.compile(
            r"inconsistent tensor size, expected tensor \[(?P<first>\d{1,12})\] and src"
            r" \[(?P<second>\d{1,12})\] to have the same number of elements"
        ),
        _vectors,
    ),
)
"""What each error is known by, and who explains it."""
