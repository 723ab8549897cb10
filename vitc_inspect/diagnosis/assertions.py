"""Models' own assertions about channels, masks, heads, texts and position tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isqrt

from vitc_inspect.diagnosis.divisibility import division_text, multiples_near, round_up
from vitc_inspect.diagnosis.explanation import (
    NUMBER,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    counted,
    divisors_near,
    either,
    explain,
    parse_sizes,
)

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"number of channels of the pixel values is equal to the one set in the configuration"
    r"|channel dimension of the pixel values match with the one set in the configuration\.?"
    rf"(?: Expected (?P<expected>{NUMBER}) but got (?P<got>{NUMBER}))?"
)
def _image_channels(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """transformers: the image does not have config.num_channels channels."""
    if match["expected"] is None:
        yield explain(
            "channels",
            "The channel axis of the image does not have config.num_channels channels: the image is"
            " grey or has an alpha channel, its channels are last, or it has no batch axis.",
            "Give an image (batch, channels, height, width), or a video (batch, frames, channels,"
            " height, width), with config.num_channels channels.",
            "For one image without a batch axis: image.unsqueeze(0). With channels last:"
            " image.permute(0, 3, 1, 2).",
            because="the message does not contain the shape",
        )
        return
    expected, got = int(match["expected"]), int(match["got"])
    numbers = {"channels": got, "expected_channels": expected}
    given = error.facts.inputs[0] if len(error.facts.inputs) == 1 else ()
    if len(given) == 3 and given[1] == got != expected:
        yield _unbatched_image(given, expected, numbers)
    elif got > 16:
        yield from _side_as_channels(expected, got, numbers, batched=len(given) == 4)
    elif got not in (1, 2, 3, 4) and expected in (1, 3, 4):
        yield explain(
            "channels",
            f"The model expects {expected} channels and axis 1 has {got}: {got} frames of a video,"
            f" (batch, frames, channels, height, width), or an image with {got} bands.",
            "Fold the frames of a video into the batch: video.flatten(0, 1), or pass one at a time:"
            " video[:, 0].",
            f"For an image with {got} bands, pass {expected} of them, or build the model with"
            f" num_channels={got}.",
            because=f"images rarely have {got} channels",
            numbers=numbers,
        )
    else:
        why, fix = _COLOURS.get((expected, got), ("", f"Give an image of {expected} channels."))
        yield certain(
            "channels",
            f"The model expects {expected} channels and gets {got}{why}.",
            fix,
            f"Or build the model with num_channels={got}." if got else "",
            because="the message names both",
            numbers=numbers,
        )


_COLOURS = {
    (3, 1): (": the image is grey", "Repeat its channel: image.expand(-1, 3, -1, -1)."),
    (3, 4): (": the image has an alpha channel", "Drop it: image[:, :3]."),
    (1, 3): (": the image is in colour", "Make it grey: image.mean(1, keepdim=True)."),
}
"""What an image is, with its fix, by expected and actual channels."""


def _unbatched_image(given: tuple[int, ...], expected: int, numbers: dict[str, int]) -> Explanation:
    """An image without a batch axis, of which the second axis is read as the channels."""
    return explain(
        "batch",
        f"The image has no batch axis, {by(given)}, and the model reads its second axis,"
        f" {given[1]}, as the channels.",
        "Add the batch axis: image.unsqueeze(0)."
        if given[0] == expected
        else "Put the channels first and add the batch axis: image.permute(2, 0, 1).unsqueeze(0).",
        because="the run shows three axes",
        numbers=numbers,
    )


def _side_as_channels(
    expected: int, got: int, numbers: dict[str, int], *, batched: bool
) -> Iterator[Explanation]:
    """A side of the image on the channel axis: channels last, or no batch axis."""
    yield explain(
        "channels last",
        f"The model expects {expected} channels and axis 1 has {got}, a side of the image: the"
        " channels are last.",
        "Put the channels first: image.permute(0, 3, 1, 2).",
        because=f"images do not have {got} channels",
        numbers=numbers,
    )
    if not batched:
        yield explain(
            "batch",
            f"Or the image has no batch axis, ({expected}, {got}, …), and axis 1 is its height.",
            "Add the batch axis: image.unsqueeze(0).",
            because="some models read the second axis before they count the axes",
            likelihood="possible",
            numbers=numbers,
        )


@DECODERS.matching(
    r"Sequence length must be less than max_position_embeddings \(got `sequence length`:"
    rf" (?P<length>{NUMBER}) and max_position_embeddings: (?P<longest>{NUMBER})",
    r"sequence length is longer than the specified maximum sequence length for this model"
    rf" \((?P<length>{NUMBER}) > (?P<longest>{NUMBER})\)",
    rf"is too long for context length (?P<longest>{NUMBER})",
)
def _long_text(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A text longer than the position table of its model."""
    longest = int(match["longest"])
    length = int(match["length"]) if match.groupdict().get("length") else None
    if length is not None and length <= longest:
        return
    yield certain(
        "text length",
        f"The text is {f'{length} tokens' if length else 'longer'}, and the model has positions for"
        f" {longest}.",
        f"Cut it: tokenizer(text, max_length={longest}, truncation=True), or"
        " clip.tokenize(text, truncate=True).",
        because="the message names the length of the table",
        numbers={"expected_words": longest, **({"words": length} if length else {})},
    )


@DECODERS.matching(
    rf"Image features and image tokens do not match[:,] tokens: (?P<tokens>{NUMBER}),"
    rf" features:? (?P<features>{NUMBER})"
)
def _image_tokens(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """transformers: image tokens in the text, and vectors that the images give."""
    places, features = int(match["tokens"]), int(match["features"])
    if places == features:
        return
    numbers = {"tokens": places, "features": features}
    opening = f"The text has {places} image tokens, and the images give {features} vectors"
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
            "the text was truncated, and image tokens were lost."
            if fewer
            else "images were left out, or the text holds the image's token more often."
        ),
        "Raise max_length or cutoff_len, or set truncation=False, so that no image token is cut"
        " off."
        if fewer
        else "Give as many images as the text names, each once.",
        "Or make the images smaller: max_pixels of the processor." if fewer else "",
        "Use one processor, with one min_pixels and max_pixels, for the text and the images.",
        because="the message counts both",
        numbers=numbers,
    )


@DECODERS.matching(r"Unable to infer channel dimension format")
def _no_channels(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """transformers: the channel axis of an image is not found."""
    yield explain(
        "channels",
        "The image has neither 1 nor 3 channels on its first or its last axis: it has two axes, 4"
        " channels, or both a batch and channels in an order of its own.",
        'Make it an image in colour first: image.convert("RGB") of a PIL image.',
        'Or state where they are: input_data_format="channels_last".',
        because="the processor looks for 1 or 3 at both ends of the shape",
    )


@DECODERS.matching(
    rf"(?P<which>mean|std) must have (?P<channels>{NUMBER}) elements if it is an iterable, got"
    rf" (?P<means>{NUMBER})"
)
def _means(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """transformers: one mean per channel is needed."""
    channels, means = int(match["channels"]), int(match["means"])
    yield certain(
        "channels",
        f"The image has {counted(channels, 'channel')} and is normalised"
        f" with {means} numbers of {match['which']}.",
        'Make it an image in colour first: image.convert("RGB") of a PIL image.'
        if means == 3
        else f"Give an image of {means} channels.",
        f"Or give as many numbers of {match['which']} as channels, {channels}.",
        because="each channel has its own mean and standard deviation",
        numbers={"channels": channels, "expected_channels": means},
    )


@DECODERS.matching(
    r"(?:One must provided? a boolean mask|bool_masked_pos\W{1,3}(?:must|should|is"
    r" (?:None|missing|required)|has to|cannot|to be))"
)
def _mask(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Masked image modelling called without a mask."""
    yield certain(
        "mask",
        "The model is one for masked images, and was given no mask: bool_masked_pos says for each"
        " patch whether it is hidden.",
        "Give it: bool_masked_pos, (batch, patches) of bool, as many patches as the image has.",
        "Or use the model without a head for masked images, to take features or classes.",
        because="the message asks for the mask",
    )


@DECODERS.matching(
    r"Expected \(batch_size, seq_length, hidden_dim\) got"
    r" torch\.Size\((\[[\d, ]{0,200}\])\)"
)
def _sequence_axes(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """torchvision: the encoder takes (batch, tokens, width)."""
    shape = parse_sizes(match[1])
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
        numbers={"axes": len(shape)},
    )


@DECODERS.matching(rf"feat_dim: ({NUMBER}) must be divisible by head_dim: ({NUMBER})")
def _head_share(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A width that is not divisible by the given head width."""
    width, share = int(match[1]), int(match[2])
    if min(width, share) < 1 or width % share == 0:
        return
    yield certain(
        "heads",
        f"{width} channels have no whole number of heads of {share}:"
        f" {division_text(width, share)}.",
        f"Use heads of {either(divisors_near(width, share))} channels.",
        f"Or use {round_up(width, share)} = {-(-width // share)}·{share} channels.",
        because="the message names both",
        numbers={"embed_dim": width, "head_dim": share},
    )


@DECODERS.matching(
    r"(?i)(?:embed_?dim|Embed dimension|feature dimension)`? must be"
    r" (?:divisible by|(?:a )?multiple of) 4\b"
)
def _sine_width(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """2-d sine-cosine position tables need a width divisible by 4."""
    given = re.search(r"got (\d{1,9})", error.text[match.start() : match.end() + 40])
    width = int(given[1]) if given else error.spec.embed_dim if error.spec else 0
    near = multiples_near(width, 4) if width % 4 else []
    yield certain(
        "width",
        f"The token width {f'{width} ' if near else ''}is not divisible by 4, and a table of sines"
        " and cosines in two dimensions takes it in four parts: sine and cosine of row and column.",
        f"Use a width of {either(near)}." if near else "Use a width that 4 divides.",
        because="the message names the divisor",
        numbers={"embed_dim": width} if near else {},
    )


@DECODERS.matching(
    rf"seq_length is not a perfect square! Instead got [\w *]{{1,60}} = ({NUMBER})"
    rf" and seq_length = ({NUMBER})"
)
def _no_square(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """torchvision: interpolate_embeddings of a table that is not a square grid."""
    square, length = int(match[1]), int(match[2])
    side = isqrt(length)
    yield certain(
        "position table",
        f"The table has {length} entries besides the class token's, which is not a square:"
        f" {side}² = {square} and {side + 1}² = {(side + 1) ** 2}.",
        "Interpolate it from its own rows and columns instead; this function takes square images"
        " only.",
        because="the message names both",
        numbers={"table": length},
    )
