"""Errors of matrix products: Linear, bmm, einsum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import gcd, isqrt, prod

from vitc_inspect.diagnosis.channels_first import channels_first_fault, channels_second
from vitc_inspect.diagnosis.explanation import (
    Decoders,
    ErrorContext,
    Explanation,
    Likelihood,
    certain,
    empty_tensor,
    explain,
    looks_like_width,
    only_first_likely,
    parse_sizes,
    unknown_cause,
)
from vitc_inspect.diagnosis.grids import USUAL_SIDES, grid_text, patch_of, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"mat1 and mat2 shapes cannot be multiplied"
    r" \((\d{1,12})x(\d{1,12}) and (\d{1,12})x(\d{1,12})\)"
)
def _linear(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A Linear whose input has the wrong width."""
    rows, width, features, out = (int(part) for part in match.groups())
    if width == features or max(rows, width, features) < 1:
        return
    numbers = {"rows": rows, "width": width, "in_features": features, "out_features": out}
    opening = f"The Linear takes vectors of {features} numbers and gets {rows} of {width}"
    if min(rows, width, features) < 1:
        yield empty_tensor(opening, because="one of the numbers is 0", numbers=numbers)
        return
    given = next(iter(error.operands), ())
    given = given if given[-1:] == (width,) and prod(given[:-1]) == rows else ()
    if len(given) in (3, 4) and given[1] != features and channels_second(given, error):
        yield channels_first_fault(
            f"Linear({features}, {out})", f"Linear({given[1]}, {out})", given, numbers
        )
        return
    patches = tuple(_patches(rows, width, features, numbers))
    # grey patches are rare, and nearly any square number fits one
    coloured = any((_patch(n) or (0, 0))[1] == 3 for n in (width, features))
    flat = any(prod(shape[1:]) == width for shape in error.facts.maps)  # from the run
    found = [
        *_not_transposed(opening, numbers, given),
        *(patches if coloured and not flat else ()),
        *(() if given and len(given) != 4 else _whole_image(opening, numbers)),
        *_flattened_input(opening, numbers),
        *_other_positions(opening, numbers),
        *_pooled_otherwise(opening, numbers),
    ]
    if patches and not coloured and not flat:
        sure: Likelihood = "possible" if found else "likely"
        found += [replace(each, likelihood=sure) for each in patches]
    yield from only_first_likely(found)
    if found and (not looks_like_width(width) or found[0].kind in ("cut", "pool", "places")):
        return
    if width > _WIDEST:
        yield unknown_cause(
            f"{opening}; no token is {width} wide",
            error,
            "Take the mean over the tokens or the positions before it, or flatten less.",
            because=f"{width} numbers are a whole map or image in one row",
            numbers=numbers,
        )
        return
    tokens = square_of(rows)
    usual = looks_like_width(width)
    yield explain(
        "width",
        f"{opening}: the tokens are {width} wide"
        f"{f', and the rows are {grid_text(rows)} tokens' if tokens else ''}.",
        f"Build it as Linear({width}, {out}).",
        f"Or let what comes before it give {features} numbers, the last convolution for example.",
        because=f"{width} is a usual width" if usual else "no more follows from the numbers",
        likelihood="likely" if (given or (tokens and usual)) and not found else "possible",
        numbers=numbers,
    )


_WIDEST = 8192
"""Largest usual token width."""


def _flattened_input(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A whole image or a whole map flattened into one row, the likelier first."""
    image, places = (
        _flat_image(opening, numbers),
        next(_all_tokens_flattened(opening, numbers), None),
    )
    patch = _patch(numbers["in_features"])
    both = [image, places] if patch and patch[1] > 1 else [places, image]
    found = [each for each in both if each is not None]
    yield from found[:1]
    yield from (replace(each, likelihood="possible") for each in found[1:])


def _flat_image(opening: str, numbers: dict[str, int]) -> Explanation | None:
    """A layer for tokens that gets a flattened image, or one flattened channel."""
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
            f"{opening}: {grid_text(width)}, one number of each token, so the mean was taken over"
            " the width and not over the tokens.",
            "Take it over the tokens: x.mean(1) of (batch, tokens, width).",
            because=f"{width} is a grid of tokens and not a usual width",
            numbers=numbers,
        )


def _other_positions(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A classifier after a flattened map of another size than it was built for."""
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
        f" {built}×{built} was expected.",
        f"Pool the map to {built}×{built} first: nn.AdaptiveAvgPool2d(({built}, {built})).",
        "Or give an image of the size that the model was built for.",
        because=f"both are {channels} times a square",
        numbers={**numbers, "channels": channels, "side": came, "expected_side": built},
    )


def _not_transposed(
    opening: str, numbers: dict[str, int], given: tuple[int, ...]
) -> Iterator[Explanation]:
    """A map whose channels are not on the last axis; `given` is its shape if known."""
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
            because=f"the {features} that is missing is on the second axis"
            if given
            else f"the rows are {features} channels times {width}, a square map",
            numbers=numbers,
        )
    elif square_of(width):
        yield explain(
            "transpose",
            f"{opening}: {rows} = {batch}·{features} and {grid_text(width)}, so a map of {features}"
            f" channels was flattened to (batch, {features}, {width}) and not transposed.",
            "Transpose it: x.flatten(2).transpose(1, 2), or einops' 'b c h w -> b (h w) c'.",
            because=f"the {features} that is missing is on the previous axis",
            numbers=numbers,
        )


def _whole_image(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A linear patch embedding that gets an image that is not cut into patches."""
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


def _all_tokens_flattened(opening: str, numbers: dict[str, int]) -> Iterator[Explanation]:
    """A classifier that gets all tokens of an image in one vector."""
    rows, width, features = numbers["rows"], numbers["width"], numbers["in_features"]
    places, left = divmod(width, features)
    if left or not looks_like_width(features) or rows * 4 > width or not square_of(places):
        return
    yield explain(
        "pool",
        f"{opening}: {width} = {features}·{places} and {grid_text(places)}, so all positions were"
        f" flattened into one vector.",
        "Take the class token, x[:, 0], or the mean over the tokens, x.mean(1).",
        "For a map, take the mean over its positions before it is flattened: x.mean((2, 3)).",
        because=f"{width} is {places} times the width {features}",
        numbers=numbers,
    )


@DECODERS.matching(
    r"Expected size for first two dimensions of batch2 tensor to be: (\[[\d, ]{1,60}\])"
    r" but got: (\[[\d, ]{1,60}\])"
)
def _product(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Queries times keys, or weights times values: a batched product that does not fit."""
    expected, got = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if len(expected) != 2 or len(got) != 2:
        return
    numbers = {"expected": expected[1], "got": got[1]}
    if expected[0] != got[0]:
        same = expected[1] == got[1]
        yield explain(
            "batch",
            f"{expected[0]} matrices are to be multiplied by {got[0]}: batch times heads differ"
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
            f" {grid_text(got[1])} rows: queries and keys are both (tokens, width).",
            "Transpose the keys: q @ k.transpose(-2, -1).",
            because="each query is multiplied by each key, number by number",
            likelihood="likely" if not looks_like_width(got[1]) else "possible",
            numbers=numbers,
        )
        return
    yield explain(
        "width",
        f"The left matrices have rows of {expected[1]} numbers and the right ones {got[1]} rows.",
        f"Make both {expected[1]}: queries and keys have one width, weights and values one number"
        " of tokens.",
        because="no more follows from the numbers",
        likelihood="possible",
        numbers=numbers,
    )


def _patches(
    rows: int, width: int, features: int, numbers: dict[str, int]
) -> Iterator[Explanation]:
    """Patches of another size or with other channels than the patch embedding was built for."""
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
    """Side and channels of a patch of a usual side with that many numbers."""
    return patch_of(width, (2, 4, 7, 8, 14, 16, 28, 32))


@DECODERS.matching(
    r"einsum\(\): subscript (\w) has size (\d{1,9}) for operand (\d{1,2}) which does not"
    r" broadcast with previously seen size (\d{1,9})"
)
def _einsum(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`torch.einsum`: one letter with two lengths."""
    letter, later, operand, before = match.groups()
    yield certain(
        "einsum",
        f"In einsum the letter {letter} is {before} long in an operand before and {later} in"
        f" operand {operand} (counted from 0).",
        f"Give both {before}, or both {later}; or use another letter for one of the axes.",
        "For relative position tables (rel_pos_h, rel_pos_w of (2·side − 1) entries),"
        " interpolate the table to the map's sides first."
        if letter in "hwkq"
        else "",
        because="one letter stands for one length",
        numbers={"before": int(before), "later": int(later)},
    )


@DECODERS.matching(
    r"size mismatch, got input \(\d{1,12}\), mat \(\d{1,12}x(?P<first>\d{1,12})\), vec"
    r" \((?P<second>\d{1,12})\)",
    r"inconsistent tensor size, expected tensor \[(?P<first>\d{1,12})\] and src"
    r" \[(?P<second>\d{1,12})\] to have the same number of elements",
)
def _vectors(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A matrix and a vector, or two vectors, of different lengths."""
    first, second = int(match.group("first")), int(match.group("second"))
    yield explain(
        "width",
        f"Vectors of {first} numbers are to be multiplied by one of {second}.",
        f"Make both {first}, or both {second}.",
        because="a product of vectors takes number by number",
        numbers={"width": first, "expected_width": second},
    )
