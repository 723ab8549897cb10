"""Models' own assertions about the image and the maps: timm, torchvision, transformers, DINOv2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import isqrt

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    divisors_near,
    explain,
    sizes,
)
from vitc_inspect.diagnosis.pieces import image_in_pieces, taken_apart

_NOMINAL = 16
"""The patch size to reckon with where none is known (pixels)."""
_BANDS = (1, 3, 4)
"""Channels of images in grey, in colour, and with alpha."""


# An image of another size than the model's


def _other_side(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """One side of the image is not the model's."""
    which = (match["which"] or "side").lower()
    side, expected = int(match["side"]), int(match["expected"])
    if min(side, expected) < 1 or side == expected:
        return
    if side in _BANDS and expected > 8:
        yield _channels_at(which, side, expected)
        return
    numbers = {"side": side, "expected_side": expected}
    patch = _patch(told)
    rows = ""
    if side % patch == 0 and expected % patch == 0:
        unit = "columns" if which == "width" else "rows"
        rows = f" {_at(told)} that is {side // patch} {unit} of tokens instead of"
        rows += f" {expected // patch}."
    if match.re is _TORCHVISION:  # its model is square
        yield _image_size((side, side), (expected, expected), told, which=which)
        return
    of_image = explain(
        "image size",
        f"The image has a {which} of {side} pixels and the model expects {expected}.{rows}",
        f"Resize the image to the model's size: a {which} of {expected} pixels,"
        f" {expected}×{expected} where the model is square.",
        f"Or build the model for this image, img_size={side} where it is square; a trained"
        " position table is then interpolated.",
        because="the model compares the image with the size it was built for",
        likelihood="certain",
        numbers=numbers,
    )
    image = told.facts.image
    real = (image[1] if which == "width" else image[0]) if image else None
    of_map = _map_between(which, side, expected, real)
    if real is None or real == side:
        yield replace(of_image, likelihood="likely") if of_map and real is None else of_image
    if of_map and real != side:
        yield of_map


def _map_between(which: str, side: int, expected: int, real: int | None) -> Explanation | None:
    """A map that a later stage embeds by timm's PatchEmbed, which calls it an image (Visformer)."""
    factors = (real // side,) if real and real % side == 0 else (2, 4, 8, 16)
    factor = next((f for f in factors if f > 1 and f * expected in _USUAL_MODELS), None)
    if factor is None or (real is None and expected >= _USUAL_MODELS[0] // 2 + 1):
        return None
    return explain(
        "image size",
        f"A map inside the model has a {which} of {side} places and the stage that takes it"
        f" expects {expected}: the image has {factor * side} pixels there and the model was built"
        f" for {factor * expected}, if a stride of {factor} stands before it.",
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
"""Sides of the images that models with stages are built for (pixels)."""


def _channels_at(which: str, side: int, expected: int) -> Explanation:
    """A side that is a number of channels."""
    if which == "height":
        return explain(
            "channels",
            f"The image has a height of {side} pixels and the model expects {expected}: {side} is a"
            " number of channels, and they stand on the third axis.",
            "Bring the image to (batch, channels, height, width): image.transpose(1, 2) where it"
            " is (batch, height, channels, width).",
            because=f"no image is {side} pixels high, and {side} channels are usual",
            numbers={"side": side, "expected_side": expected},
        )
    return explain(
        "channels last",
        f"The image has a {which} of {side} pixels and the model expects {expected}: {side} is a"
        " number of channels, so they stand last.",
        "Put the channels first: image.permute(0, 3, 1, 2).",
        because=f"no image is {side} pixels wide, and {side} channels are usual",
        numbers={"side": side, "expected_side": expected},
    )


def _other_sides(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Both sides of the image, beside the model's."""
    came = int(match["height"]), int(match["width"])
    expected = int(match["model_height"]), int(match["model_width"] or match["model_height"])
    if min(*came, *expected) < 1 or came == expected:
        return
    if came[1] in _BANDS and expected[1] > 8:
        yield _channels_at("width", came[1], expected[1])
        return
    yield _image_size(came, expected, told)


def _image_size(
    came: tuple[int, int], expected: tuple[int, int], told: Told, *, which: str = ""
) -> Explanation:
    """An image beside the size that the model was built for."""
    patch = _patch(told)
    lengths = ""
    if all(side % patch == 0 for side in (*came, *expected)):
        real, made = (tuple(side // patch for side in size) for size in (came, expected))
        lengths = (
            f" {_at(told)} it would give {by(real)} = {real[0] * real[1]} tokens where"
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
    return explain(
        "image size",
        f"{opening}{lengths}",
        f"Resize the image to {by(expected)} pixels.",
        f"Or build the model for {square} pixels, with a position table of that size or an"
        " interpolated one.",
        because="the model compares the image with the size it was built for",
        likelihood="certain",
        numbers={"side": came[odd], "expected_side": expected[odd]},
    )


def _at(told: Told) -> str:
    """At which patch size is reckoned: that of the stem, or one for example."""
    return f"At patch size {_patch(told)}" if told.spec else f"If a patch is {_NOMINAL} pixels,"


def _patch(told: Told) -> int:
    return told.spec.total_stride if told.spec else _NOMINAL


# Sides that patches do not divide


def _undivided(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """One side, with the patch."""
    side, patch = int(match["side"]), int(match["patch"])
    if min(side, patch) < 1 or side % patch == 0:
        return
    which = (match.groupdict().get("which") or "side").lower()
    which = which if which in ("height", "width") else "side"
    if side in _BANDS and patch > side:
        yield _channels_at(which, side, patch)
        return
    rest = side % patch
    fits = [f"{n} = {n // patch}·{patch}" for n in (side - rest, side - rest + patch) if n]
    cut = {"height": f"image[..., :{side - rest}, :]", "width": f"image[..., :{side - rest}]"}
    yield explain(
        "image size",
        f"A {which} of {side} pixels is not divisible by the patch: {taken_apart(side, patch)}.",
        f"Resize the image to a {which} of {' or '.join(fits)} pixels.",
        f"Or crop what is left over: {cut[which]}." if which in cut and side > patch else "",
        because="the model says so",
        likelihood="certain",
        numbers={"side": side, "patch_size": patch, "rest": rest},
    )


def _undivided_pair(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Both sides, with the divisor (torchvision's RAFT)."""
    divisor, height, width = (int(group) for group in match.groups())
    if divisor > 0 and (height % divisor or width % divisor) and min(height, width) > 0:
        yield image_in_pieces((height, width), (divisor, divisor), because="the model says so")


def _undivided_unsaid(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Not divisible, without a number."""
    spec = told.spec
    if spec and any(side % spec.total_stride for side in spec.image_size):
        yield image_in_pieces(
            spec.image_size,
            (spec.total_stride, spec.total_stride),
            because="so it is in the stem given",
        )
        return
    yield explain(
        "image size",
        "The sides of the image are not divisible by the patch size.",
        "Use an image size that the patch size divides: for 16, 224 = 14·16 or 256 = 16·16.",
        because="patches are cut in whole pixels",
        likelihood="certain",
        numbers={},
    )


# Channels, masks and heads


def _image_channels(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """transformers: another number of channels than the configuration's."""
    if match["expected"] is None:
        yield explain(
            "channels",
            "The channels' axis of the image is not as long as the configuration's num_channels:"
            " the image is grey or has an alpha channel, its channels stand last, or it came"
            " without a batch.",
            "Give an image (batch, channels, height, width), or a video (batch, frames, channels,"
            " height, width), with as many channels as config.num_channels.",
            "Of one image without a batch: image.unsqueeze(0). With its channels last:"
            " image.permute(0, 3, 1, 2).",
            because="the model compares the two, and the message does not say what came",
            numbers={},
        )
        return
    expected, got = int(match["expected"]), int(match["got"])
    numbers = {"channels": got, "expected_channels": expected}
    why, fix = "", f"Give an image of {expected} channels."
    given = told.facts.inputs[0] if len(told.facts.inputs) == 1 else ()
    if len(given) == 3 and given[1] == got != expected:
        yield explain(
            "batch",
            f"The image came without a batch, {by(given)}, and the model reads its second axis,"
            f" {got}, as the channels.",
            "Add the batch: image.unsqueeze(0)."
            if given[0] == expected
            else "Put the channels first and add the batch: image.permute(2, 0, 1).unsqueeze(0).",
            because="the run shows three axes",
            numbers=numbers,
        )
        return
    if got > 16:
        yield explain(
            "channels last",
            f"The model expects {expected} channels and axis 1 has {got}: a side of the image"
            " stands there, so the channels stand last.",
            "Put the channels first: image.permute(0, 3, 1, 2).",
            because=f"{got} is no number of channels of an image",
            numbers=numbers,
        )
        if len(given) == 4:
            return
        yield explain(
            "batch",
            f"Or the image came without a batch, ({expected}, {got}, …), and axis 1 is its height.",
            "Add the batch: image.unsqueeze(0).",
            because="some models read the second axis before they count the axes",
            likelihood="possible",
            numbers=numbers,
        )
        return
    if got not in (1, 2, 3, 4) and expected in (1, 3, 4):
        yield explain(
            "channels",
            f"The model expects {expected} channels and axis 1 has {got}: {got} frames of a video,"
            " (batch, frames, channels, height, width), or an image of as many bands.",
            "Fold the frames of a video into the batch: video.flatten(0, 1), or give each by"
            " itself: video[:, 0].",
            f"Of an image of {got} bands, give {expected}, or build the model with"
            f" num_channels={got}.",
            because=f"{got} is no usual number of channels of an image",
            numbers=numbers,
        )
        return
    if (expected, got) == (3, 1):
        why, fix = ": the image is grey", "Repeat its channel: image.expand(-1, 3, -1, -1)."
    elif (expected, got) == (3, 4):
        why, fix = ": the image has an alpha channel", "Leave it out: image[:, :3]."
    elif (expected, got) == (1, 3):
        why, fix = ": the image is in colour", "Make it grey: image.mean(1, keepdim=True)."
    yield explain(
        "channels",
        f"The model expects {expected} channels and gets {got}{why}.",
        fix,
        f"Or build the model with num_channels={got}." if got else "",
        because="the message names both",
        likelihood="certain",
        numbers=numbers,
    )


def _encoder_stride(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """transformers: the head for masked images gives back each patch of its own size only."""
    patch, stride = int(match["patch"]), int(match["stride"])
    yield explain(
        "stride",
        f"The head for masked images makes {stride}×{stride} pixels of each token"
        f" (encoder_stride), and a patch is {patch}×{patch}.",
        f"Build the configuration with encoder_stride={patch}.",
        because="the message names both",
        likelihood="certain",
        numbers={"encoder_stride": stride, "patch_size": patch},
    )


def _undivided_shape(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A divisor and the shape of the whole input (RF-DETR)."""
    piece, shape = int(match["piece"]), sizes(match["shape"])
    if len(shape) == 4 and piece > 0 and any(n % piece for n in shape[2:]) and min(shape[2:]) > 0:
        yield image_in_pieces(shape[2:], (piece, piece), because="the message names both")


def _undivided_by(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A divisor alone."""
    piece = int(match["piece"])
    if piece < 2:
        return
    near = max(1, round(224 / piece)) * piece
    yield explain(
        "image size",
        f"A side of the image is not divisible by {piece}.",
        f"Resize the image to multiples of {piece}: {near} = {near // piece}·{piece} for example.",
        f"Or pad it: F.pad(x, (0, -x.shape[3] % {piece}, 0, -x.shape[2] % {piece})).",
        because="the message says so",
        likelihood="certain",
        numbers={"patch_size": piece},
    )


def _long_text(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A text that is longer than the table of its model."""
    longest = int(match["longest"])
    length = int(match["length"]) if match.groupdict().get("length") else None
    if length is not None and length <= longest:
        return
    yield explain(
        "text length",
        f"The text is {f'{length} tokens' if length else 'longer'}, and the model keeps places for"
        f" {longest}.",
        f"Cut it: tokenizer(text, max_length={longest}, truncation=True), or"
        " clip.tokenize(text, truncate=True).",
        because="the message names the length of the table",
        likelihood="certain",
        numbers={"expected_words": longest, **({"words": length} if length else {})},
    )


def _image_tokens(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """transformers' models of images and text: places in the text, and what the images give."""
    places, features = int(match["tokens"]), int(match["features"])
    if places == features:
        return
    numbers = {"tokens": places, "features": features}
    opening = f"The text keeps {places} places for images, and the images give {features} vectors"
    if places == 0:
        yield explain(
            "image tokens",
            f"{opening}: the text names no image.",
            'Put the image into the message, {"type": "image"}, before apply_chat_template, or'
            " the model's own image token into the text.",
            because="the message counts both",
            numbers=numbers,
        )
        return
    fewer = places < features
    yield explain(
        "image tokens",
        f"{opening}, {abs(features - places)} {'more' if fewer else 'fewer'}: "
        + (
            "the text was cut, so that places were lost."
            if fewer
            else "images were left out, or the text holds the image's token more often."
        ),
        "Raise max_length or cutoff_len, or set truncation=False, so that no place is cut off."
        if fewer
        else "Give as many images as the text names, each once.",
        "Or make the images smaller: max_pixels of the processor." if fewer else "",
        "Use one processor, with one min_pixels and max_pixels, for the text and the images.",
        because="the message counts both",
        numbers=numbers,
    )


def _no_channels(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """transformers' image processors: neither end of the shape is a number of channels."""
    yield explain(
        "channels",
        "The image has neither 1 nor 3 channels on its first or its last axis: it has two axes, 4"
        " channels, or both a batch and channels in an order of its own.",
        'Make it an image in colour first: image.convert("RGB") of a PIL image.',
        'Or say where they stand: input_data_format="channels_last".',
        because="the processor looks for 1 or 3 at both ends of the shape",
        likelihood="likely",
        numbers={},
    )


def _means(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """transformers' normalize: as many means as channels."""
    channels, means = int(match["channels"]), int(match["means"])
    yield explain(
        "channels",
        f"The image has {channels} {'channel' if channels == 1 else 'channels'} and is normalised"
        f" with {means} numbers of {match['which']}.",
        'Make it an image in colour first: image.convert("RGB") of a PIL image.'
        if means == 3
        else f"Give an image of {means} channels.",
        f"Or give as many numbers of {match['which']} as channels, {channels}.",
        because="each channel has its own mean and standard deviation",
        likelihood="certain",
        numbers={"channels": channels, "expected_channels": means},
    )


def _mask(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Masked image modelling without its mask."""
    yield explain(
        "mask",
        "The model is one for masked images, and was given no mask: bool_masked_pos says for each"
        " patch whether it is hidden.",
        "Give it: bool_masked_pos, (batch, patches) of bool, as many patches as the image has.",
        "Or use the model without a head for masked images, to take features or classes.",
        because="the message asks for the mask",
        likelihood="certain",
        numbers={},
    )


def _sequence_axes(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """torchvision's encoder: (batch, tokens, width) and nothing else."""
    shape = sizes(match[1])
    if len(shape) == 3:
        return
    is_map = len(shape) == 4
    yield explain(
        "flatten" if is_map else "axes",
        f"The encoder takes (batch, tokens, width) and gets {by(shape)}"
        f"{': a map that is not flattened' if is_map else ''}.",
        "Flatten and transpose it first: x.flatten(2).transpose(1, 2)."
        if is_map
        else "Add the batch: x.unsqueeze(0)."
        if len(shape) == 2
        else "Give it three axes.",
        because="the message names the three axes",
        likelihood="likely",
        numbers={"axes": len(shape)},
    )


def _head_share(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A width that heads of a given width do not divide."""
    width, share = int(match[1]), int(match[2])
    if min(width, share) < 1 or width % share == 0:
        return
    yield explain(
        "heads",
        f"{width} channels have no whole number of heads of {share}: {taken_apart(width, share)}.",
        f"Use heads of {' or '.join(map(str, divisors_near(width, share)))} channels.",
        f"Or use {-(-width // share) * share} = {-(-width // share)}·{share} channels.",
        because="the message names both",
        likelihood="certain",
        numbers={"embed_dim": width, "head_dim": share},
    )


def _sine_width(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A table of sines and cosines in two dimensions takes the width in four parts."""
    given = re.search(r"got (\d{1,9})", told.text[match.start() : match.end() + 40])
    width = int(given[1]) if given else told.spec.embed_dim if told.spec else 0
    near = [n for n in (width - width % 4, width - width % 4 + 4) if n] if width % 4 else []
    yield explain(
        "width",
        f"The token width {f'{width} ' if near else ''}is not divisible by 4, and a table of sines"
        " and cosines in two dimensions takes it in four parts: sine and cosine of row and column.",
        f"Use a width of {' or '.join(map(str, near))}." if near else "Use a width that 4 divides.",
        because="the message names the divisor",
        likelihood="certain",
        numbers={"embed_dim": width} if near else {},
    )


def _no_square(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """torchvision's interpolate_embeddings: a table that is no square grid."""
    square, length = int(match[1]), int(match[2])
    side = isqrt(length)
    yield explain(
        "position table",
        f"The table has {length} entries besides the class token's, which is no square:"
        f" {side}² = {square} and {side + 1}² = {(side + 1) ** 2}.",
        "Interpolate it from its own rows and columns instead; this function takes square images"
        " only.",
        because="the message names both",
        likelihood="certain",
        numbers={"table": length},
    )


_N = r"\d{1,6}"
_DIFFERS = r"(?:doesn't|does not|don't|do not) match"
_IMAGE = r"(?:image|img|input|pixel\w*)"
_TORCHVISION = re.compile(
    rf"Wrong image (?P<which>height|width)! Expected (?P<expected>{_N}) but got (?P<side>{_N})"
)

DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            rf"Input (?:image |img_?)?(?P<which>height|width) \(?(?P<side>{_N})\)? {_DIFFERS}"
            rf"[a-z ]{{0,40}}\(?(?P<expected>{_N})\)?",
            re.IGNORECASE,
        ),
        _other_side,
    ),
    (_TORCHVISION, _other_side),
    (
        re.compile(
            rf"Input (?:image |img_?)?size \(?(?P<height>{_N}) ?[*x×,] ?(?P<width>{_N})\)?"
            rf" {_DIFFERS}[a-z ]{{0,40}}\(?(?P<model_height>{_N})"
            rf"(?: ?[*x×,] ?(?P<model_width>{_N}))?\)?",
            re.IGNORECASE,
        ),
        _other_sides,
    ),
    (
        re.compile(
            rf"{_IMAGE}[ _]?(?:{_IMAGE}[ _]?)?(?P<which>height|width|size|side|dimension)s?"
            rf"(?: \d(?= ))?[ :=]{{0,3}}\(?(?P<side>{_N})\)? (?:should|must|has to|needs to|is|was)"
            r" (?:not )?(?:be )?(?:divisible|divided|a multiple)"
            rf" (?:by|of) (?:the )?[a-z_ ]{{0,30}}[ :=]{{0,3}}\(?(?P<patch>{_N})\)?",
            re.IGNORECASE,
        ),
        _undivided,
    ),
    (
        re.compile(
            rf"H and W should be divisible by ({_N}), instead got ({_N}) \(h\) and ({_N}) \(w\)"
        ),
        _undivided_pair,
    ),
    (
        re.compile(
            r"Input shape indivisible by patch size"
            r"|Image (?:dimensions|size|height and width) (?:must|should) be divisible by"
            r" (?:the )?patch ?size(?!\s*\(?\d)"
            r"|`?patch_size`? (?:must|should) divide (?:`?img_size`?|image dimensions) evenly"
            r"|squared size that is divisible by the patch size",
            re.IGNORECASE,
        ),
        _undivided_unsaid,
    ),
    (
        re.compile(
            r"number of channels of the pixel values is equal to the one set in the configuration"
            r"|channel dimension of the pixel values match with the one set in the configuration\.?"
            rf"(?: Expected (?P<expected>{_N}) but got (?P<got>{_N}))?"
        ),
        _image_channels,
    ),
    (re.compile(r"Unable to infer channel dimension format"), _no_channels),
    (
        re.compile(
            rf"(?P<which>mean|std) must have (?P<channels>{_N}) elements if it is an iterable, got"
            rf" (?P<means>{_N})"
        ),
        _means,
    ),
    (
        re.compile(
            rf"must be equal to `?encoder_stride`?.{{0,200}}?Got `?patch_size`? ?= ?(?P<patch>{_N})"
            rf" and `?encoder_stride`? ?= ?(?P<stride>{_N})"
        ),
        _encoder_stride,
    ),
    (
        re.compile(
            rf"input shape to be divisible by (?P<piece>{_N}), but got torch\.Size\("
            r"(?P<shape>\[[\d, ]{1,200}\])\)"
        ),
        _undivided_shape,
    ),
    (
        re.compile(
            rf"(?:input|image|img)[\w ]{{0,40}} (?:must|should|needs to|has to) be"
            rf" (?:divisible by|(?:a )?multiples? of) (?P<piece>{_N})(?![\d.,]*\d)",
            re.IGNORECASE,
        ),
        _undivided_by,
    ),
    (
        re.compile(
            r"Sequence length must be less than max_position_embeddings \(got `sequence length`:"
            rf" (?P<length>{_N}) and max_position_embeddings: (?P<longest>{_N})"
        ),
        _long_text,
    ),
    (
        re.compile(
            r"sequence length is longer than the specified maximum sequence length for this model"
            rf" \((?P<length>{_N}) > (?P<longest>{_N})\)"
        ),
        _long_text,
    ),
    (
        re.compile(
            rf"Image features and image tokens do not match[:,] tokens: (?P<tokens>{_N}),"
            rf" features:? (?P<features>{_N})"
        ),
        _image_tokens,
    ),
    (re.compile(rf"is too long for context length (?P<longest>{_N})"), _long_text),
    (
        re.compile(
            r"(?:One must provided? a boolean mask|bool_masked_pos\W{1,3}(?:must|should|is"
            r" (?:None|missing|required)|has to|cannot|to be))"
        ),
        _mask,
    ),
    (
        re.compile(
            r"Expected \(batch_size, seq_length, hidden_dim\) got"
            r" torch\.Size\((\[[\d, ]{0,200}\])\)"
        ),
        _sequence_axes,
    ),
    (re.compile(rf"feat_dim: ({_N}) must be divisible by head_dim: ({_N})"), _head_share),
    (
        re.compile(
            r"(?:embed_?dim|Embed dimension|feature dimension)`? must be"
            r" (?:divisible by|(?:a )?multiple of) 4\b",
            re.IGNORECASE,
        ),
        _sine_width,
    ),
    (
        re.compile(
            rf"seq_length is not a perfect square! Instead got [\w *]{{1,60}} = ({_N})"
            rf" and seq_length = ({_N})"
        ),
        _no_square,
    ),
)
"""What each assertion is known by, and who explains it."""
