"""Errors of the image that goes in: its size, its axes, its number format and its device."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    explain,
    heads_fault,
    sizes,
)
from vitc_inspect.diagnosis.readings import in_squares
from vitc_inspect.diagnosis.sequences import indivisible

_DTYPES = {
    "unsigned char": "uint8",
    "byte": "uint8",
    "char": "int8",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "long int": "int64",
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "c10::half": "float16",
    "c10::bfloat16": "bfloat16",
    "bfloat16": "bfloat16",
    "bool": "bool",
}
"""Number formats as PyTorch's messages call them, in lower case, and as its code does."""


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


def _divided(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """einops: an axis cannot be divided into chunks."""
    length, chunk = int(match.group(1)), int(match.group(2))
    if length < 1 or chunk < 1:
        return
    shape = re.search(r"Input tensor shape: torch\.Size\((\[[\d, ]{1,200}\])\)", told.text)
    given = sizes(shape.group(1)) if shape else ()
    of_image = len(given) == 4 and length in given[2:]
    heads = None
    if length % 3 == 0 and chunk % 3 == 0 and chunk > 3:
        heads = heads_fault(length // 3, chunk // 3) if (length // 3) % (chunk // 3) else None
    if heads is None and length >= 64 and length % 16 == 0:
        heads = heads_fault(length, chunk)
    image = indivisible(
        length,
        chunk,
        because=f"the image is {by(given)}" if of_image else "patches are cut in whole pixels",
    )
    if of_image or heads is None:
        yield image
        return
    yield heads
    if len(given) != 3:
        yield image


def _expected_size(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """timm and torchvision: the image has another height or width than the model expects."""
    groups = match.groupdict()
    side, expected = int(groups["side"]), int(groups["expected"])
    if min(side, expected) < 1:
        return
    which = (groups.get("which") or "side").lower()
    lengths = ""
    if side % 16 == 0 and expected % 16 == 0:
        came, made = (side // 16) ** 2, (expected // 16) ** 2
        lengths = (
            f" At patch size 16 it would give {side // 16}×{side // 16} = {came} tokens where the"
            f" position table has {expected // 16}×{expected // 16} = {made}."
        )
    yield explain(
        "image size",
        f"The image has a {which} of {side} pixels and the model expects {expected}.{lengths}",
        f"Resize the image to {expected}×{expected} pixels.",
        f"Or build the model for {side} pixels, with a position table of that size or an"
        " interpolated one.",
        because="the model compares the image with the size it was built for",
        likelihood="certain",
        numbers={"side": side, "expected_side": expected},
    )


def _undivided(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """timm: a side must be divisible by the patch size."""
    side, patch = int(match.group(1)), int(match.group(2))
    if min(side, patch) >= 1:
        yield indivisible(side, patch, because="the model says so")


def _undivided_unsaid(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """vit-pytorch and torchvision: not divisible, without a number."""
    if told.spec and any(side % told.spec.total_stride for side in told.spec.image_size):
        side = next(s for s in told.spec.image_size if s % told.spec.total_stride)
        yield indivisible(side, told.spec.total_stride, because="so it is in the stem given")
        return
    yield explain(
        "image size",
        "The sides of the image are not divisible by the patch size.",
        "Use an image size that the patch size divides: for 16, 224 = 14·16 or 256 = 16·16.",
        because="patches are cut in whole pixels",
        likelihood="certain",
        numbers={},
    )


def _axes_of_input(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A convolution that gets too few or too many axes."""
    given = sizes(match.group(1))
    axes = len(given)
    numbers = {"axes": axes}
    if axes == 2:
        yield explain(
            "batch",
            f"The image is {by(given)}: it has height and width, but no channels and no batch.",
            "Add both axes: image[None, None], and expand(-1, 3, -1, -1) where 3 channels are"
            " expected.",
            because="a convolution reads (batch, channels, height, width)",
            numbers=numbers,
        )
    elif axes == 1:
        yield explain(
            "batch",
            f"The image is a flat row of {given[0]} numbers.",
            "Give it its shape back: image.reshape(batch, channels, height, width).",
            because="a convolution reads (batch, channels, height, width)",
            numbers=numbers,
        )
    else:
        fix = "Merge the first two axes: image.flatten(0, 1)."
        if given and given[0] == 1:
            fix = "Drop the first axis: image.squeeze(0)."
        yield explain(
            "batch",
            f"The image is {by(given)}: it has {axes} axes, one more than"
            " (batch, channels, height, width)."
            if axes == 5
            else f"The image is {by(given)}: it has {axes} axes instead of 4.",
            fix,
            because="a convolution reads (batch, channels, height, width)",
            numbers=numbers,
        )


def _axes_of_pattern(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """einops: a pattern for another number of axes."""
    expected, got = int(match.group(1)), int(match.group(2))
    if (expected, got) == (4, 3):
        yield explain(
            "batch",
            "The pattern has 4 axes and the tensor 3: an image without a batch, or tokens that"
            " are flattened already.",
            "Add the batch: image.unsqueeze(0).",
            "Or leave the second flattening out.",
            because="an image has (batch, channels, height, width), tokens have 3 axes",
            numbers={"expected_axes": expected, "axes": got},
        )
        return
    yield explain(
        "axes",
        f"The pattern has {expected} axes and the tensor {got}.",
        "Write as many names on the pattern's left side as the tensor has axes.",
        because="einops names every axis",
        likelihood="certain",
        numbers={"expected_axes": expected, "axes": got},
    )


def _types(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """The image and the weights have different number formats, or lie on different devices."""
    image, weight = (part.strip() for part in match.group("image", "weight"))
    came, kept = _tensor_type(image), _tensor_type(weight)
    if came[0] != kept[0]:
        yield _devices(came[0], kept[0])
    if came[1] != kept[1]:
        yield from _formats(came[1], kept[1])


def _tensor_type(text: str) -> tuple[str, str]:
    """Device and number format of what a message calls torch.cuda.HalfTensor or c10::Half."""
    device = next((name for name in ("cuda", "mps", "xpu") if f".{name}." in text.lower()), "cpu")
    plain = re.sub(r"^torch\.(?:\w+\.)?|Tensor(?:Impl.*)?$", "", text).strip().lower()
    return device, _DTYPES.get(plain, plain)


def _devices(image: str, weights: str) -> Explanation:
    return explain(
        "device",
        f"The image lies on {image} and the weights on {weights}.",
        f'Move the image: image = image.to("{weights}").',
        f'Or move the model: model.to("{image}").',
        because="an operation reads one device only",
        likelihood="certain",
        numbers={},
    )


def _formats(image: str, weights: str) -> Iterator[Explanation]:
    """What to do about two number formats."""
    cast = f"Convert the image: image.to(torch.{weights})."
    why = ""
    if image == "uint8":
        why = " That is how images are read from files, 0 to 255."
        cast = "Convert and scale the image: image.float() / 255, then normalise it."
    elif image == "float64":
        why = " That is what numpy makes of numbers."
        cast = "Convert the image: image.float()."
    elif image in ("int64", "int32", "int16", "int8", "bool"):
        cast = "Convert the image: image.float()."
    convert = f"Or convert the model: model.to(torch.{image})."
    half = {image, weights} & {"float16", "bfloat16"}
    floats = {"float16", "bfloat16", "float64", "float32"}
    yield explain(
        "dtype",
        f"The image has the number format {image} and the weights {weights}.{why}",
        cast,
        convert if image in floats else "",
        "Or run both under torch.autocast." if half else "",
        because="an operation reads one number format only",
        likelihood="certain",
        numbers={},
    )


def _formats_of_two(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A matrix product of two number formats; the first is what came, the second the weight."""
    came, kept = (_DTYPES.get(n.lower(), n.lower()) for n in match.group("image", "weight"))
    if came != kept:
        yield from _formats(came, kept)


def _format_unknown(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """An operation that does not exist for a number format."""
    format_ = _DTYPES.get(match.group(2).lower(), match.group(2))
    yield explain(
        "dtype",
        f"The operation {match.group(1)} does not exist for numbers of the format {format_}.",
        "Convert and scale the image: image.float() / 255."
        if format_ == "uint8"
        else "Convert the image: image.float().",
        because="it is for numbers with a fraction",
        likelihood="certain",
        numbers={},
    )


def _two_devices(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Tensors on two devices."""
    first, second = match.group("first"), match.group("second")
    if first == second:
        return
    yield explain(
        "device",
        f"One tensor lies on {first} and another on {second}: the image and the model, or a class"
        " token or a position table that is no parameter of the model.",
        f'Move both to one device: model.to("{first}") and image.to("{first}").',
        "Make every table an nn.Parameter or a buffer, so that it moves with the model.",
        because="an operation reads one device only",
        likelihood="certain",
        numbers={},
    )


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


def _stacked(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """Images of different sizes in one batch."""
    first, second = sizes(match.group(1)), sizes(match.group(2))
    if not first or not second:
        return
    squares = ""
    if len(first) == len(second) == 3:
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


_DEVICE = r"(?:cuda|cpu|mps|xpu|meta)(?::\d{1,3})?"
_NAMES = r"[\w:. ]{1,60}?"

DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (re.compile(r"can't divide axis of length (\d{1,9}) in chunks of (\d{1,9})"), _divided),
    (
        re.compile(
            r"Input (?P<which>height|width) \((?P<side>\d{1,9})\) doesn't match model"
            r" \((?P<expected>\d{1,9})\)"
        ),
        _expected_size,
    ),
    (
        re.compile(
            r"Input image size \((?P<side>\d{1,9})\*\d{1,9}\) doesn't match model"
            r" \((?P<expected>\d{1,9})\*\d{1,9}\)"
        ),
        _expected_size,
    ),
    (
        re.compile(
            r"Wrong image (?P<which>height|width)! Expected (?P<expected>\d{1,9}) but got"
            r" (?P<side>\d{1,9})"
        ),
        _expected_size,
    ),
    (
        re.compile(
            r"Input (?:height|width) \((\d{1,9})\) should be divisible by patch size \((\d{1,9})\)"
        ),
        _undivided,
    ),
    (
        re.compile(
            r"Input shape indivisible by patch size"
            r"|Image dimensions must be divisible by the patch size"
        ),
        _undivided_unsaid,
    ),
    (
        re.compile(
            r"Expected 3D \(unbatched\) or 4D \(batched\) input to conv2d, but got input of size:"
            r" (\[[\d, ]{1,200}\])"
        ),
        _axes_of_input,
    ),
    (
        re.compile(r"Wrong shape: expected (\d{1,3}) dims\. Received (\d{1,3})-dim tensor"),
        _axes_of_pattern,
    ),
    (
        re.compile(
            rf"Input type \((?P<image>{_NAMES})\) and (?:weight|bias) type"
            rf" \((?P<weight>{_NAMES})\) should be the same"
        ),
        _types,
    ),
    (
        re.compile(
            r"mat1 and mat2 must have the same dtype, but got (?P<image>\w{1,30}) and"
            r" (?P<weight>\w{1,30})"
        ),
        _formats_of_two,
    ),
    (
        re.compile(r"expected scalar type (?P<image>\w{1,30}) but found (?P<weight>\w{1,30})"),
        _formats_of_two,
    ),
    (re.compile(r"\"(\w{1,60})\" not implemented for '(\w{1,30})'"), _format_unknown),
    (
        re.compile(rf"found at least two devices, (?P<first>{_DEVICE}) and (?P<second>{_DEVICE})"),
        _two_devices,
    ),
    (
        re.compile(
            rf"Expected all tensors to be on the same device, but got \w+ is on"
            rf" (?P<second>{_DEVICE}), different from other tensors on (?P<first>{_DEVICE})"
        ),
        _two_devices,
    ),
    (
        re.compile(
            rf"Tensor on device (?P<second>{_DEVICE}) is not on the expected device"
            rf" (?P<first>{_DEVICE})"
        ),
        _two_devices,
    ),
    (
        re.compile(
            r"(?:conv2d|linear|layer_norm|batch_norm)\(\) received an invalid combination of"
            r" arguments - got \(([\w.]{1,60})"
        ),
        _no_tensor,
    ),
    (re.compile(r"argument 'input' \(position 1\) must be Tensor, not ([\w.]{1,60})"), _no_tensor),
    (
        re.compile(
            r"((?:\w{1,60}\.)?forward)\(\) missing \d{1,3} required"
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
        re.compile(r"view size is not compatible with input tensor's size and stride"),
        _layout_of_memory,
    ),
)
"""What each error is known by, and who explains it."""
