"""Errors of the input of a layer: its rank, its type, images of different sizes in a batch."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    SHAPE,
    Decoders,
    ErrorContext,
    Explanation,
    by,
    certain,
    explain,
    listed,
    looks_like_width,
    parse_sizes,
)
from vitc_inspect.diagnosis.grids import grid_text, square_of

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""


@DECODERS.matching(
    r"(\b(?:\w{1,60}\.)?forward)\(\) missing \d{1,3} required"
    r" (?:positional|keyword-only) arguments?:"
    r" ('\w{1,60}'(?:(?:, and |, | and )'\w{1,60}'){0,9})"
)
def _missing_arguments(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A forward called without all its required arguments."""
    owner, missing = match.group(1), re.findall(r"'(\w{1,60})'", match.group(2))
    them = "it" if len(missing) == 1 else "them"
    yield certain(
        "arguments",
        f"{owner} needs {listed(missing)} as well, and was not given {them}.",
        f"Give {them} where the module is called. For the whole module that is one more"
        f" --input {missing[0]}=SHAPE, or inspect_module(module, image, {missing[0]}=...).",
        f"Or give {missing[0]} a default in {owner}.",
        because="an argument without a default has to be given",
        numbers={"missing": len(missing)},
    )


@DECODERS.matching(
    r"Expected \dD \(unbatched\) or \dD \(batched\) input to conv(?P<kind>[123])d, but got"
    rf" input of size: (?P<given>{SHAPE})"
)
def _axes_of_input(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A convolution whose input has the wrong number of axes."""
    kind, given = int(match["kind"]), parse_sizes(match["given"])
    axes = len(given)
    if kind == 2 and axes == 2:
        yield from _two_axes(given)
    elif kind == 2 and axes == 5:
        yield _five_axes(given)
    elif axes == 1:
        yield explain(
            "batch",
            f"The image is a flat row of {given[0]} numbers.",
            "Give it its shape back: image.reshape(batch, channels, height, width).",
            because=_READS[kind],
            numbers={"axes": axes},
        )
    else:
        fix = {
            (1, 4): "Flatten rows and columns to one axis: x.flatten(2).",
            (3, 3): "Add the axes that are missing: image[None, :, None].",
        }.get((kind, axes), "")
        if not fix and axes > kind + 2:
            fix = f"Merge the first axes: image.flatten(0, {axes - kind - 2})."
        yield explain(
            "batch" if kind == 2 else "axes",
            f"Conv{kind}d gets {by(given)}: {axes} axes, and it takes {kind + 2}, or {kind + 1}"
            " without a batch.",
            fix,
            f"{'Or use' if fix else 'Use'} the convolution for these axes: Conv1d for rows, Conv2d"
            " for images, Conv3d for videos and volumes.",
            because=_READS[kind],
            numbers={"axes": axes},
        )


_READS = {
    1: "a convolution in one dimension reads (batch, channels, length)",
    2: "a convolution reads (batch, channels, height, width)",
    3: "a convolution in three dimensions reads (batch, channels, frames, height, width)",
}


def _two_axes(given: tuple[int, ...]) -> Iterator[Explanation]:
    """A grey image (height, width), or features (batch, width) or (tokens, width)."""
    first, width = given
    numbers = {"axes": 2}
    features = looks_like_width(width) and first != width
    # images are not 4 times as wide as high, nor a few pixels high
    surely = features and (first < 32 or width > 4 * first)
    maybe = features and not surely and square_of(first) is not None
    if surely or maybe:
        yield explain(
            "features",
            f"A convolution gets {by(given)}: {first} rows of {width} numbers, features (batch,"
            " width) that were pooled or flattened before, or the tokens of one image.",
            f"Use Linear({width}, …) on features.",
            "Or give the convolution the map before it is pooled or flattened.",
            because=_READS[2],
            likelihood="likely" if surely else "possible",
            numbers=numbers,
        )
    if not surely:
        yield explain(
            "batch",
            f"The image is {by(given)}: it has height and width, but no channels and no batch.",
            "Add both axes: image[None, None], and expand(-1, 3, -1, -1) where 3 channels are"
            " expected.",
            because=_READS[2],
            likelihood="possible" if maybe else "likely",
            numbers=numbers,
        )


def _five_axes(given: tuple[int, ...]) -> Explanation:
    """A video, a volume, or an extra batch axis."""
    bands = (1, 3, 4)
    opening = (
        f"The image is {by(given)}: it has 5 axes, one more than (batch, channels, height, width)"
    )
    if given[2] in bands:
        fix = "Merge the first two axes: image.flatten(0, 1)."
        what = f": {given[1]} frames or images of {given[2]} channels for each of {given[0]}"
        if given[0] == 1:
            fix = "Drop the first axis: image.squeeze(0)."
    elif given[1] in bands:
        what = f": a video or a volume, {given[2]} frames of {given[1]} channels"
        fix = "Fold the frames into the batch: image.transpose(1, 2).flatten(0, 1)."
    elif given[-1] in bands:
        what = f": {given[1]} frames with their channels last"
        fix = "Fold the frames and put the channels first: image.flatten(0, 1).permute(0, 3, 1, 2)."
    else:
        what, fix = "", "Merge the extra axis into the batch: image.flatten(0, 1)."
    return explain(
        "batch" if given[2] in bands or not what else "video",
        f"{opening}{what}.",
        fix,
        "Or use Conv3d, which reads (batch, channels, frames, height, width)." if what else "",
        because=_READS[2],
        numbers={"axes": 5},
    )


@DECODERS.matching(
    r"(?:(?P<few>not enough)|too many) values to unpack"
    r" \(expected (?P<expected>\d{1,2})(?:, got (?P<got>\d{1,2}))?\)"
)
def _unpacked(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`b, c, h, w = x.shape` of a tensor of another rank."""
    expected = int(match["expected"])
    few = match["few"] is not None
    got = int(match["got"]) if match["got"] else None
    before = error.text[max(0, match.start() - 300) : match.start()]
    of_shape = re.search(r"\.shape\b|\.size\(\)", f"{error.source} {before}")
    of_image = of_shape and _IMAGE_NAMES.search(f"{error.source} {before}")
    table = _IMAGE_UNPACKED if of_image and expected in _IMAGE_UNPACKED else _UNPACKED
    known = of_shape or (few and got) or expected >= 4  # four names or more are those of a shape
    if expected not in table or got == expected or not known:
        return
    what, fix = table[expected][0 if few else 1]
    come = f"{got}" if got else f"{'fewer' if few else 'more'}"
    yield explain(
        "axes",
        f"A shape is unpacked into {expected} names, and the tensor has {come} axes: {what}.",
        fix,
        because=f"the line takes {of_shape.group(0)} apart"
        if of_shape
        else "the message is Python's, and a shape is what models take apart so",
        likelihood="likely" if of_shape else "possible",
        numbers={"expected_axes": expected, **({"axes": got} if got else {})},
    )


_UNPACKED = {
    3: (
        ("tokens (batch, tokens, width) without a batch", "Add the batch: x.unsqueeze(0)."),
        (
            "a map (batch, channels, height, width) where tokens are expected",
            "Flatten and transpose it first: x.flatten(2).transpose(1, 2).",
        ),
    ),
    4: (
        (
            "an image without a batch, or tokens where a map is expected",
            "Add the batch to an image: image.unsqueeze(0).",
        ),
        (
            "a video, or an extra batch axis",
            "Fold the first two axes into the batch: image.flatten(0, 1).",
        ),
    ),
    5: (
        (
            "an image where a video (batch, frames, channels, height, width) is expected",
            "Add the frames: image.unsqueeze(1).",
        ),
        ("one axis too many", "Fold the first two axes into the batch: x.flatten(0, 1)."),
    ),
}
"""Meaning of too few and of too many axes, with its fix, by the number of names."""


_IMAGE_NAMES = re.compile(
    r"(?<!, )(?<!,)\b(?:h|height|rows|H|x), ?(?:w|width|cols|columns|W|y)"
    r"(?:, ?(?:c|ch|channels?|C|_|d))? ?= ?[\w.]{1,40}\.(?:shape|size\(\))"
)
"""A line that unpacks the shape of a NumPy image: channels last, no batch."""
_IMAGE_UNPACKED = {
    2: (
        ("a flat row of numbers", "Give it its height and width back: image.reshape(h, w)."),
        (
            "an image with its channels where height and width alone are expected",
            "Take the first two, image.shape[:2], or make the image grey: image.mean(-1).",
        ),
    ),
    3: (
        (
            "a grey image (height, width) without a channel axis",
            'Make it an image in colour: Image.open(path).convert("RGB"), or of an array'
            " np.stack([image] * 3, -1).",
        ),
        ("a batch of images where one is expected", "Take one image: image[0]."),
    ),
}
"""Same as `_UNPACKED`, for channels-last images."""


@DECODERS.matching(
    r"(?:conv2d|linear|layer_norm|batch_norm)\(\) received an invalid combination of"
    r" arguments - got \(([\w.]{1,60})",
    r"argument 'input' \(position 1\) must be Tensor, not ([\w.]{1,60})",
)
def _not_a_tensor(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An argument that is not a tensor."""
    kind = match.group(1)
    fix = {
        "numpy.ndarray": "Make it a tensor: torch.from_numpy(image).float().",
        "tuple": "Take the tensor out of the tuple: output[0].",
        "list": "Stack the images: torch.stack(images).",
        "NoneType": "Return the result at the end of forward.",
    }.get(kind, "Make it a tensor: torchvision.transforms.functional.to_tensor(image)[None].")
    yield certain(
        "type",
        f"A layer takes a tensor and gets a {kind}.",
        fix,
        because="that is the type the message names",
    )


@DECODERS.matching(
    r"'(?P<kind>tuple|list|dict|NoneType|\w{0,60}Output\w{0,60})' object has no attribute"
    r" '(?P<name>shape|size|dim|ndim|flatten|transpose|permute|reshape|view|mean|detach)'"
)
def _no_attribute(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A tensor attribute read from a value that is not a tensor."""
    kind, name = match["kind"], match["name"]
    fix = {
        "NoneType": "Return the result at the end of forward.",
        "list": "Take one of its tensors, output[0], or stack them: torch.stack(output).",
        "dict": "Take the tensor by its name: output['out'].",
    }.get(
        kind, "Take the first of its parts: output[0]. nn.MultiheadAttention and nn.LSTM give two."
    )
    if kind not in ("tuple", "list", "dict", "NoneType"):
        fix = "Take a tensor out of it: output.last_hidden_state, or output.logits of a classifier."
    yield explain(
        "type",
        f".{name} was read from a {kind}, where a tensor is expected.",
        fix,
        because="tensors have it, and the message names another type",
        likelihood="possible" if kind == "NoneType" else "likely",
    )


@DECODERS.matching(
    r"Expected input batch_size \((?P<came>\d{1,9})\) to match target batch_size"
    r" \((?P<labels>\d{1,9})\)"
)
def _loss_per_token(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A loss over predictions for every token of every image."""
    came, labels = int(match["came"]), int(match["labels"])
    each, left = divmod(came, max(1, labels))
    square = square_of(each)
    if left or labels < 1 or square is None or square[0] < 4:
        return
    yield explain(
        "pool",
        f"The loss gets {came} = {labels}·{each} predictions where {labels} are expected, and"
        f" {grid_text(each)}: one for each token of each image.",
        "Take the class token, x[:, 0], or the mean over the tokens, x.mean(1), before the"
        " classifier.",
        because=f"{each} is a grid of tokens",
        numbers={"predictions": came, "labels": labels},
    )


@DECODERS.matching(
    rf"stack expects each tensor to be equal size, but got ({SHAPE}) at entry"
    rf" \d{{1,9}} and ({SHAPE}) at entry"
)
def _stacked(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Images of different sizes in one batch."""
    first, second = parse_sizes(match.group(1)), parse_sizes(match.group(2))
    if not first or not second:
        return
    bands = (1, 3, 4)
    if len(first) != len(second):
        yield certain(
            "axes",
            f"{by(first)} and {by(second)} cannot be put in one batch: they have {len(first)} and"
            f" {len(second)} axes.",
            "Give all the same number of axes: remove an axis of length 1, x.squeeze(0), or take"
            " one slice of a volume or a video.",
            because="a batch is one tensor",
            numbers={"axes": len(second), "expected_axes": len(first)},
        )
        return
    if len(first) == len(second) == 3 and first[1:] == second[1:]:
        alike = first[0] in bands and second[0] in bands
        yield certain(
            "channels",
            f"{by(first)} and {by(second)} cannot be put in one batch: they differ in their"
            " channels alone"
            + (", 1 of a grey image, 3 in colour, 4 with alpha." if alike else "."),
            'Open every image in colour: Image.open(path).convert("RGB").'
            if alike
            else "Give all of them the same number of channels.",
            because="a batch is one tensor",
            numbers={"channels": first[0], "other": second[0]},
        )
        return
    squares = ""
    if len(first) == len(second) == 3 and first[0] in bands:
        squares = " They are images of different sizes."
    elif len(first) == len(second) == 2:
        squares = f" They have {grid_text(first[0])} and {grid_text(second[0])} tokens."
    yield certain(
        "image size",
        f"{by(first)} and {by(second)} cannot be put in one batch.{squares}",
        "Resize and crop every image to one size before they are put in a batch.",
        because="a batch is one tensor",
    )


@DECODERS.matching(r"view size is not compatible with input tensor's size and stride")
def _not_contiguous(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """`view` of a tensor that is not contiguous."""
    yield certain(
        "view",
        "The axes of the tensor were permuted before view was called, so it is not contiguous.",
        "Use reshape instead of view; it copies where it must.",
        "Do not leave the permute out: without it the shape is right and the tokens are mixed.",
        because="view never copies",
    )
