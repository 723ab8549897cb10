"""Models' own assertions about the image size: not the expected one, or not divisible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.divisibility import division_text, indivisible_image, multiples_near
from vitc_inspect.diagnosis.explanation import (
    NUMBER,
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    explain,
    parse_sizes,
)

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""
_DIFFERS = r"(?:doesn't|does not|don't|do not) match"
_IMAGE = r"(?:image|img|input|pixel\w*)"
_TORCHVISION = re.compile(
    rf"Wrong image (?P<which>height|width)! Expected (?P<expected>{NUMBER})"
    rf" but got (?P<side>{NUMBER})"
)


_NOMINAL = 16
"""The patch size that is assumed if none is known (pixels)."""
_BANDS = (1, 3, 4)
"""Channels of grey, RGB and RGBA images."""


# Images of the wrong size


@DECODERS.matching(
    rf"(?i)Input (?:image |img_?)?(?P<which>height|width) \(?(?P<side>{NUMBER})\)? {_DIFFERS}"
    rf"[a-z ]{{0,40}}\(?(?P<expected>{NUMBER})\)?",
    _TORCHVISION,
)
def _other_side(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """One side of the image is not the expected one."""
    which = (match["which"] or "side").lower()
    side, expected = int(match["side"]), int(match["expected"])
    if min(side, expected) < 1 or side == expected:
        return
    if side in _BANDS and expected > 8:
        yield _channels_at(which, side, expected)
        return
    numbers = {"side": side, "expected_side": expected}
    patch = _patch(error)
    rows = ""
    if side % patch == 0 and expected % patch == 0:
        unit = "columns" if which == "width" else "rows"
        rows = f" {_at(error)} that is {side // patch} {unit} of tokens instead of"
        rows += f" {expected // patch}."
    if match.re is _TORCHVISION:  # its models are square
        yield _image_size((side, side), (expected, expected), error, which=which)
        return
    of_image = certain(
        "image size",
        f"The image has a {which} of {side} pixels and the model expects {expected}.{rows}",
        f"Resize the image to the model's size: a {which} of {expected} pixels,"
        f" {expected}×{expected} where the model is square.",
        f"Or build the model for this image, img_size={side} where it is square; a trained"
        " position table is then interpolated.",
        because="the model compares the image with the size it was built for",
        numbers=numbers,
    )
    image = error.facts.image
    real = (image[1] if which == "width" else image[0]) if image else None
    of_map = _map_between(which, side, expected, real)
    if real is None or real == side:
        yield replace(of_image, likelihood="likely") if of_map and real is None else of_image
    if of_map and real != side:
        yield of_map


def _map_between(which: str, side: int, expected: int, real: int | None) -> Explanation | None:
    """A map that a later stage embeds with timm's PatchEmbed, which calls it an image."""
    factors = (real // side,) if real and real % side == 0 else (2, 4, 8, 16)
    factor = next((f for f in factors if f > 1 and f * expected in _USUAL_MODELS), None)
    if factor is None or (real is None and expected >= _USUAL_MODELS[0] // 2 + 1):
        return None
    return explain(
        "image size",
        f"A map inside the model has a {which} of {side} positions and the next stage expects"
        f" {expected}: the image has {factor * side} pixels there and the model was built"
        f" for {factor * expected}, if a stride of {factor} comes before it.",
        f"Resize the image to {factor * expected}×{factor * expected} pixels.",
        f"Or build the model for this image, img_size={factor * side}.",
        because=f"the run shows an image of {real} pixels"
        if real
        else f"models are rarely built for {expected} pixels, and {factor}·{expected} ="
        f" {factor * expected} is usual",
        likelihood="likely" if real else "possible",
        numbers={"side": factor * side, "expected_side": factor * expected},
    )


_USUAL_MODELS = (224, 384, 448)
"""Usual image sides of models with stages (pixels)."""


def _channels_at(which: str, side: int, expected: int) -> Explanation:
    """A side that is really the number of channels."""
    kind, place = "channels last", "so the channels are last"
    fix = "Put the channels first: image.permute(0, 3, 1, 2)."
    if which == "height":
        kind, place = "channels", "and the channels are on the third axis"
        fix = (
            "Bring the image to (batch, channels, height, width): image.transpose(1, 2) where it"
            " is (batch, height, channels, width)."
        )
    return explain(
        kind,
        f"The image has a {which} of {side} pixels and the model expects {expected}: {side} is a"
        f" number of channels, {place}.",
        fix,
        because=f"no image is {side} pixels {'high' if which == 'height' else 'wide'}, and {side}"
        " channels are usual",
        numbers={"side": side, "expected_side": expected},
    )


@DECODERS.matching(
    rf"(?i)Input (?:image |img_?)?size \(?(?P<height>{NUMBER}) ?[*x×,] ?(?P<width>{NUMBER})\)?"
    rf" {_DIFFERS}[a-z ]{{0,40}}\(?(?P<model_height>{NUMBER})"
    rf"(?: ?[*x×,] ?(?P<model_width>{NUMBER}))?\)?"
)
def _other_sides(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Height and width of the image, and the expected ones."""
    came = int(match["height"]), int(match["width"])
    expected = int(match["model_height"]), int(match["model_width"] or match["model_height"])
    if min(*came, *expected) < 1 or came == expected:
        return
    if came[1] in _BANDS and expected[1] > 8:
        yield _channels_at("width", came[1], expected[1])
        return
    yield _image_size(came, expected, error)


def _image_size(
    came: tuple[int, int], expected: tuple[int, int], error: ErrorContext, *, which: str = ""
) -> Explanation:
    """Explain an image that does not have the expected size."""
    patch = _patch(error)
    lengths = ""
    if all(side % patch == 0 for side in (*came, *expected)):
        real, made = (tuple(side // patch for side in size) for size in (came, expected))
        lengths = (
            f" {_at(error)} it would give {by(real)} = {real[0] * real[1]} tokens where"
            f" the position table has {by(made)} = {made[0] * made[1]}."
        )
    opening = f"The image is {by(came)} pixels and the model expects {by(expected)}."
    if which:
        opening = (
            f"The image has a {which} of {came[0]} pixels and the model expects {expected[0]}."
        )
        if lengths:
            lengths = lengths.replace("it would give", "a square of it would give")
    odd = 0 if came[0] != expected[0] else 1
    square = by(came) if came[0] != came[1] else str(came[0])
    return certain(
        "image size",
        f"{opening}{lengths}",
        f"Resize the image to {by(expected)} pixels.",
        f"Or build the model for {square} pixels, with a position table of that size or an"
        " interpolated one.",
        because="the model compares the image with the size it was built for",
        numbers={"side": came[odd], "expected_side": expected[odd]},
    )


def _at(error: ErrorContext) -> str:
    """The patch size that the numbers assume."""
    return f"At patch size {_patch(error)}" if error.spec else f"If a patch is {_NOMINAL} pixels,"


def _patch(error: ErrorContext) -> int:
    return error.spec.total_stride if error.spec else _NOMINAL


# Sides that are not divisible


@DECODERS.matching(
    rf"(?i){_IMAGE}[ _]?(?:{_IMAGE}[ _]?)?(?P<which>height|width|size|side|dimension)s?"
    rf"(?: \d(?= ))?[ :=]{{0,3}}\(?(?P<side>{NUMBER})\)? (?:should|must|has to|needs to|is|was)"
    r" (?:not )?(?:be )?(?:divisible|divided|a multiple)"
    rf" (?:by|of) (?:the )?[a-z_ ]{{0,30}}[ :=]{{0,3}}\(?(?P<patch>{NUMBER})\)?"
)
def _indivisible(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """One side that is not divisible, with the patch size."""
    side, patch = int(match["side"]), int(match["patch"])
    if min(side, patch) < 1 or side % patch == 0:
        return
    which = (match.groupdict().get("which") or "side").lower()
    which = which if which in ("height", "width") else "side"
    if side in _BANDS and patch > side:
        yield _channels_at(which, side, patch)
        return
    rest = side % patch
    fits = [division_text(n, patch) for n in multiples_near(side, patch)]
    cut = {"height": f"image[..., :{side - rest}, :]", "width": f"image[..., :{side - rest}]"}
    yield certain(
        "image size",
        f"A {which} of {side} pixels is not divisible by the patch: {division_text(side, patch)}.",
        f"Resize the image to a {which} of {' or '.join(fits)} pixels.",
        f"Or crop what is left over: {cut[which]}." if which in cut and side > patch else "",
        because="the model says so",
        numbers={"side": side, "patch_size": patch, "rest": rest},
    )


@DECODERS.matching(
    rf"H and W should be divisible by ({NUMBER}), instead got ({NUMBER}) \(h\) and ({NUMBER}) \(w\)"
)
def _indivisible_pair(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Height and width that are not divisible, with the divisor (RAFT in torchvision)."""
    divisor, height, width = (int(group) for group in match.groups())
    if divisor > 0 and (height % divisor or width % divisor) and min(height, width) > 0:
        yield indivisible_image((height, width), (divisor, divisor), because="the model says so")


@DECODERS.matching(
    r"(?i)Input shape indivisible by patch size"
    r"|Image (?:dimensions|size|height and width) (?:must|should) be divisible by"
    r" (?:the )?patch ?size(?!\s*\(?\d)"
    r"|`?patch_size`? (?:must|should) divide (?:`?img_size`?|image dimensions) evenly"
    r"|squared size that is divisible by the patch size"
)
def _indivisible_unspecified(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An image that is not divisible, without a number in the message."""
    spec = error.spec
    if spec and any(side % spec.total_stride for side in spec.image_size):
        yield indivisible_image(
            spec.image_size,
            (spec.total_stride, spec.total_stride),
            because="it is so in the given stem",
        )
        return
    yield certain(
        "image size",
        "The sides of the image are not divisible by the patch size.",
        "Use an image size that the patch size divides: for 16, 224 = 14·16 or 256 = 16·16.",
        because="patches are cut in whole pixels",
    )


@DECODERS.matching(
    rf"must be equal to `?encoder_stride`?.{{0,200}}?Got `?patch_size`? ?= ?(?P<patch>{NUMBER})"
    rf" and `?encoder_stride`? ?= ?(?P<stride>{NUMBER})"
)
def _encoder_stride(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """transformers: encoder_stride must equal patch_size."""
    patch, stride = int(match["patch"]), int(match["stride"])
    yield certain(
        "stride",
        f"The head for masked images makes {stride}×{stride} pixels of each token"
        f" (encoder_stride), and a patch is {patch}×{patch}.",
        f"Build the configuration with encoder_stride={patch}.",
        because="the message names both",
        numbers={"encoder_stride": stride, "patch_size": patch},
    )


@DECODERS.matching(
    rf"input shape to be divisible by (?P<piece>{NUMBER}), but got torch\.Size\("
    rf"(?P<shape>{SHAPE})\)"
)
def _indivisible_shape(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A divisor and the shape of the whole input (RF-DETR)."""
    piece, shape = int(match["piece"]), parse_sizes(match["shape"])
    if len(shape) == 4 and piece > 0 and any(n % piece for n in shape[2:]) and min(shape[2:]) > 0:
        yield indivisible_image(shape[2:], (piece, piece), because="the message names both")


@DECODERS.matching(
    rf"(?i)(?:input|image|img)[\w ]{{0,40}} (?:must|should|needs to|has to) be"
    rf" (?:divisible by|(?:a )?multiples? of) (?P<piece>{NUMBER})(?![\d.,]*\d)"
)
def _indivisible_by(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A divisor without the size of the image."""
    piece = int(match["piece"])
    if piece < 2:
        return
    near = max(1, round(224 / piece)) * piece
    yield certain(
        "image size",
        f"A side of the image is not divisible by {piece}.",
        f"Resize the image to multiples of {piece}: {near} = {near // piece}·{piece} for example.",
        f"Or pad it: F.pad(x, (0, -x.shape[3] % {piece}, 0, -x.shape[2] % {piece})).",
        because="the message says so",
        numbers={"patch_size": piece},
    )
