"""Errors of what goes into a layer: its axes, its type, images of different sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    explain,
    looks_like_width,
    sizes,
)
from vitc_inspect.diagnosis.grids import in_squares, square_of


def _needs_more(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A forward that was not given all its arguments."""
    owner, missing = match.group(1), re.findall(r"'(\w{1,60})'", match.group(2))
    *first, last = missing
    names = f"{', '.join(first)} and {last}" if first else last
    them = "it" if len(missing) == 1 else "them"
    yield explain(
        "arguments",
        f"{owner} needs {names} as well, and was not given {them}.",
        f"Give {them} where the module is called. For the whole module that is one more"
        f" --input {missing[0]}=SHAPE, or inspect_module(module, image, {missing[0]}=...).",
        f"Or give {missing[0]} a default in {owner}.",
        because="an argument without a default has to be given",
        likelihood="certain",
        numbers={"missing": len(missing)},
    )


def _axes_of_input(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A convolution that gets too few or too many axes."""
    kind, given = int(match["kind"]), sizes(match["given"])
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
    """(height, width) of a grey image, or (batch, width) and (tokens, width) of features."""
    first, width = given
    numbers = {"axes": 2}
    features = looks_like_width(width) and first != width
    # no photograph is 4 times as wide as high, or has a few rows of pixels only
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
    """A video, a volume, or a batch too many."""
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
        what, fix = "", "Merge the axis that is too many into the batch: image.flatten(0, 1)."
    return explain(
        "batch" if given[2] in bands or not what else "video",
        f"{opening}{what}.",
        fix,
        "Or use Conv3d, which reads (batch, channels, frames, height, width)." if what else "",
        because=_READS[2],
        numbers={"axes": 5},
    )


def _axes_of_norm(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A BatchNorm that gets another number of axes."""
    wanted, axes = match["wanted"], int(match["axes"])
    if wanted != "4":
        yield _other_norm(wanted, axes)
        return
    shape = next((shape for shape in told.operands if len(shape) == axes), ())
    numbers = {"axes": axes}
    if axes == 2:
        yield explain(
            "norm",
            f"BatchNorm2d gets {f'{by(shape)}: ' if shape else ''}2 axes instead of 4: features"
            " (batch, width), which have no height and width.",
            "Use BatchNorm1d or LayerNorm on features, or put the norm before the pooling.",
            because="BatchNorm2d reads (batch, channels, height, width)",
            numbers=numbers,
        )
        return
    if axes != 3:
        yield explain(
            "axes",
            f"BatchNorm2d gets {f'{by(shape)}: ' if shape else ''}{axes} axes instead of 4.",
            "Merge what is too many into the batch: x.flatten(0, 1)."
            if axes > 4
            else "Add the missing axes with unsqueeze.",
            because="BatchNorm2d reads (batch, channels, height, width)",
            likelihood="certain",
            numbers=numbers,
        )
        return
    tokens = _are_tokens(shape, told, match.start())
    readings = {
        "norm": explain(
            "norm",
            f"BatchNorm2d gets {by(shape) if shape else '3 axes'}, (batch, tokens, width), instead"
            " of a map: it stands behind the flattening.",
            "Normalise the map before it is flattened, or use LayerNorm on tokens.",
            because=tokens[1] or "tokens have three axes",
            likelihood="likely" if tokens[0] else "possible",
            numbers=numbers,
        ),
        "batch": explain(
            "batch",
            f"BatchNorm2d gets {by(shape) if shape else '3 axes'} instead of 4 axes: the image came"
            " without a batch, which the convolution before it let pass.",
            "Add the batch: image.unsqueeze(0).",
            because="a convolution takes (channels, height, width) too, and BatchNorm2d does not",
            likelihood="likely" if tokens[0] is False else "possible",
            numbers=numbers,
        ),
    }
    if tokens[0]:
        yield readings["norm"]
    elif tokens[0] is False:
        yield readings["batch"]
    else:
        yield from (readings["batch"], readings["norm"])


def _are_tokens(shape: tuple[int, ...], told: Told, end: int) -> tuple[bool | None, str]:
    """Whether three axes are (batch, tokens, width), and how that is known; None for unknown."""
    if len(shape) == 3 and not (looks_like_width(shape[0]) and shape[1] != shape[2]):
        if shape[1] == shape[2] and not looks_like_width(shape[2]):
            return False, "its last two axes are a square"
        if square_of(shape[1]) and shape[1] != shape[2]:
            return True, f"{in_squares(shape[1])} are tokens"
        return None, ""
    flattened = _FLATTENED.search(told.text, max(0, end - 1500), end)
    if flattened:
        return True, f"the code says “{flattened.group(0)}” before it"
    return None, ""


_FLATTENED = re.compile(r"\.flatten\(2\)|\.flatten\(2, ?3\)|-> ?'?b \(h w\)|\.transpose\(1, ?2\)")


def _other_norm(wanted: str, axes: int) -> Explanation:
    """BatchNorm1d and BatchNorm3d."""
    name = {"5": "BatchNorm3d", "2D or 3": "BatchNorm1d"}.get(wanted, "The norm")
    right = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}.get(axes)
    return explain(
        "norm",
        f"{name} reads {wanted.replace('2D or 3', '2 or 3')} axes and gets {axes}.",
        f"Use {right}, which reads {axes} axes." if right else "Give it as many axes as it reads.",
        "Or flatten the map first: x.flatten(2)." if (wanted, axes) == ("2D or 3", 4) else "",
        because="the message names both",
        numbers={"axes": axes},
    )


def _unpacked(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`b, c, h, w = x.shape` of a tensor with more or fewer axes."""
    expected = int(match["expected"])
    few = match["few"] is not None
    got = int(match["got"]) if match["got"] else None
    before = told.text[max(0, match.start() - 300) : match.start()]
    of_shape = re.search(r"\.shape\b|\.size\(\)", f"{told.source} {before}")
    of_image = of_shape and _IMAGE_NAMES.search(f"{told.source} {before}")
    table = _IMAGE_UNPACKED if of_image and expected in _IMAGE_UNPACKED else _UNPACKED
    known = of_shape or (few and got) or expected >= 4  # four names and more are a shape's
    if expected not in table or got == expected or not known:
        return
    what, fix = table[expected][0 if few else 1]
    come = f"{got}" if got else f"{'fewer' if few else 'more'}"
    yield explain(
        "axes",
        f"A shape was taken apart into {expected} names, and the tensor has {come} axes: {what}.",
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
            "a video, or a batch too many",
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
"""What fewer and what more axes mean, by the number of names, and what to do."""


_IMAGE_NAMES = re.compile(
    r"(?<!, )(?<!,)\b(?:h|height|rows|H|x), ?(?:w|width|cols|columns|W|y)"
    r"(?:, ?(?:c|ch|channels?|C|_|d))? ?= ?[\w.]{1,40}\.(?:shape|size\(\))"
)
"""A line that takes an image of numpy apart, whose channels stand last, without a batch."""
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
            "a grey image (height, width) without an axis for its channels",
            'Make it an image in colour: Image.open(path).convert("RGB"), or of an array'
            " np.stack([image] * 3, -1).",
        ),
        ("a batch of images where one is expected", "Take one image: image[0]."),
    ),
}
"""As `_UNPACKED`, for images whose channels stand last."""


def _no_tensor(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Something that is no tensor at all."""
    kind = match.group(1)
    fix = {
        "numpy.ndarray": "Make it a tensor: torch.from_numpy(image).float().",
        "tuple": "Take the tensor out of the tuple: output[0].",
        "list": "Stack the images: torch.stack(images).",
        "NoneType": "Return the result at the end of forward.",
    }.get(kind, "Make it a tensor: torchvision.transforms.functional.to_tensor(image)[None].")
    yield explain(
        "type",
        f"A layer takes a tensor and gets a {kind}.",
        fix,
        because="that is the type the message names",
        likelihood="certain",
        numbers={},
    )


def _no_attribute(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """What a layer gave back is no tensor, and was used as one."""
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
        numbers={},
    )


def _of_loss(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A loss of predictions for every token of every image."""
    came, labels = int(match["came"]), int(match["labels"])
    each, left = divmod(came, max(1, labels))
    square = square_of(each)
    if left or labels < 1 or square is None or square[0] < 4:
        return
    yield explain(
        "pool",
        f"The loss gets {came} = {labels}·{each} predictions where {labels} are expected, and"
        f" {in_squares(each)}: one for each token of each image.",
        "Take the class token, x[:, 0], or the mean over the tokens, x.mean(1), before the"
        " classifier.",
        because=f"{each} is a grid of tokens",
        numbers={"predictions": came, "labels": labels},
    )


def _stacked(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Images of different sizes in one batch."""
    first, second = sizes(match.group(1)), sizes(match.group(2))
    if not first or not second:
        return
    bands = (1, 3, 4)
    if len(first) != len(second):
        yield explain(
            "axes",
            f"{by(first)} and {by(second)} cannot be put in one batch: they have {len(first)} and"
            f" {len(second)} axes.",
            "Give all as many axes: take an axis of length 1 away, x.squeeze(0), or one slice of a"
            " volume or a video.",
            because="a batch is one tensor",
            likelihood="certain",
            numbers={"axes": len(second), "expected_axes": len(first)},
        )
        return
    if len(first) == len(second) == 3 and first[1:] == second[1:]:
        alike = first[0] in bands and second[0] in bands
        yield explain(
            "channels",
            f"{by(first)} and {by(second)} cannot be put in one batch: they differ in their"
            " channels alone"
            + (", 1 of a grey image, 3 in colour, 4 with alpha." if alike else "."),
            'Open every image in colour: Image.open(path).convert("RGB").'
            if alike
            else "Give all of them as many channels.",
            because="a batch is one tensor",
            likelihood="certain",
            numbers={"channels": first[0], "other": second[0]},
        )
        return
    squares = ""
    if len(first) == len(second) == 3 and first[0] in bands:
        squares = " They are images of different sizes."
    elif len(first) == len(second) == 2:
        squares = f" They have {in_squares(first[0])} and {in_squares(second[0])} tokens."
    yield explain(
        "image size",
        f"{by(first)} and {by(second)} cannot be put in one batch.{squares}",
        "Resize and crop every image to one size before they are put in a batch.",
        because="a batch is one tensor",
        likelihood="certain",
        numbers={},
    )


def _layout_of_memory(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """`view` of a tensor whose axes were exchanged."""
    yield explain(
        "view",
        "The axes of the tensor were exchanged before view was called: its numbers no longer lie in"
        " that order.",
        "Use reshape instead of view; it copies where it must.",
        "Do not leave the permute out: without it the shape is right and the tokens are mixed.",
        because="view never copies",
        likelihood="certain",
        numbers={},
    )


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (
        re.compile(
            r"Expected \dD \(unbatched\) or \dD \(batched\) input to conv(?P<kind>[123])d, but got"
            r" input of size: (?P<given>\[[\d, ]{1,200}\])"
        ),
        _axes_of_input,
    ),
    (
        re.compile(r"expected (?P<wanted>4|5|2D or 3)D input \(got (?P<axes>\d)D input\)"),
        _axes_of_norm,
    ),
    (
        re.compile(
            r"(?:conv2d|linear|layer_norm|batch_norm)\(\) received an invalid combination of"
            r" arguments - got \(([\w.]{1,60})"
        ),
        _no_tensor,
    ),
    (
        re.compile(
            r"'(?P<kind>tuple|list|dict|NoneType|\w{0,60}Output\w{0,60})' object has no attribute"
            r" '(?P<name>shape|size|dim|ndim|flatten|transpose|permute|reshape|view|mean|detach)'"
        ),
        _no_attribute,
    ),
    (re.compile(r"argument 'input' \(position 1\) must be Tensor, not ([\w.]{1,60})"), _no_tensor),
    (
        re.compile(
            r"(\b(?:\w{1,60}\.)?forward)\(\) missing \d{1,3} required"
            r" (?:positional|keyword-only) arguments?:"
            r" ('\w{1,60}'(?:(?:, and |, | and )'\w{1,60}'){0,9})"
        ),
        _needs_more,
    ),
    (
        re.compile(
            r"stack expects each tensor to be equal size, but got (\[[\d, ]{1,200}\]) at entry"
            r" \d{1,9} and (\[[\d, ]{1,200}\]) at entry"
        ),
        _stacked,
    ),
    (
        re.compile(
            r"Expected input batch_size \((?P<came>\d{1,9})\) to match target batch_size"
            r" \((?P<labels>\d{1,9})\)"
        ),
        _of_loss,
    ),
    (
        re.compile(
            r"(?:(?P<few>not enough)|too many) values to unpack"
            r" \(expected (?P<expected>\d{1,2})(?:, got (?P<got>\d{1,2}))?\)"
        ),
        _unpacked,
    ),
    (
        re.compile(r"view size is not compatible with input tensor's size and stride"),
        _layout_of_memory,
    ),
)
"""What each error is known by, and who explains it."""
