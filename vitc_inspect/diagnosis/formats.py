"""Errors of dtypes and devices: float16 and float32, CPU and GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import Decoders, ErrorContext, Explanation, certain, explain

DECODERS = Decoders()
"""The pattern of each error message, and the function that explains it."""
_DEVICE = r"(?:cuda|cpu|mps|xpu|meta)(?::\d{1,3})?"
_NAMES = r"[\w:. ]{1,60}?"


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
}
"""Dtype names in PyTorch's messages, in lower case, and in its API."""


@DECODERS.matching(
    rf"Input type \((?P<image>{_NAMES})\) and (?:weight|bias) type"
    rf" \((?P<weight>{_NAMES})\) should be the same"
)
def _types(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An image and weights of different dtypes or on different devices."""
    image, weight = (part.strip() for part in match.group("image", "weight"))
    came, kept = _tensor_type(image), _tensor_type(weight)
    if came[0] != kept[0]:
        yield _devices(came[0], kept[0])
    if came[1] != kept[1]:
        yield _formats(came[1], kept[1])


def _tensor_type(text: str) -> tuple[str, str]:
    """Device and dtype of a type name such as torch.cuda.HalfTensor or c10::Half."""
    mps = re.fullmatch(r"MPS(\w{1,20}?)Type", text)
    if mps:
        return "mps", _DTYPES.get(mps[1].lower(), mps[1].lower())
    device = next((name for name in ("cuda", "mps", "xpu") if f".{name}." in text.lower()), "cpu")
    plain = re.sub(r"^torch\.(?:\w+\.)?|Tensor(?:Impl.*)?$", "", text).strip().lower()
    return device, _DTYPES.get(plain, plain)


def _devices(image: str, weights: str) -> Explanation:
    return certain(
        "device",
        f"The image is on {image} and the weights on {weights}.",
        f'Move the image: image = image.to("{weights}").',
        f'Or move the model: model.to("{image}").',
        because="an operation reads one device only",
    )


def _formats(image: str, weights: str) -> Explanation:
    """Fixes for two dtypes."""
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
    return certain(
        "dtype",
        f"The image has the number format {image} and the weights {weights}.{why}",
        cast,
        convert if image in floats else "",
        "Or run both under torch.autocast." if half else "",
        because="an operation reads one number format only",
    )


@DECODERS.matching(
    r"mat1 and mat2 must have the same dtype, but got (?P<image>\w{1,30}) and"
    r" (?P<weight>\w{1,30})",
    r"expected m1 and m2 to have the same dtype, but got: (?P<image>[\w:]{1,30}) !="
    r" (?P<weight>[\w:]{1,30})",
    r"expected scalar type (?P<image>\w{1,30}) but found (?P<weight>\w{1,30})",
)
def _formats_of_two(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A matrix product of two dtypes; usually the input and the weight."""
    came, kept = (_DTYPES.get(n.lower(), n.lower()) for n in match.group("image", "weight"))
    if came != kept:
        # neither operand need be a weight: queries and keys
        yield replace(_formats(came, kept), likelihood="likely")


@DECODERS.matching(r"\"(\w{1,60})\" not implemented for '(\w{1,30})'")
def _format_unknown(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An operation that is not implemented for a dtype."""
    format_ = _DTYPES.get(match.group(2).lower(), match.group(2))
    if format_ in ("float16", "bfloat16"):
        fixes = (
            "Run in float32 there: model.float() and image.float().",
            "Or run on a GPU, or under torch.autocast.",
        )
        because = "not every operation has been written for half the bits, least so on a CPU"
    elif format_ in ("uint8", "int8", "int16", "int32", "int64", "bool"):
        scaled = "Convert and scale the image: image.float() / 255."
        fixes = (scaled if format_ == "uint8" else "Convert the image: image.float().", "")
        because = "it is for numbers with a fraction"
    else:
        fixes = ("Convert what it is given: x.float().", "")
        because = "the message names both"
    yield certain(
        "dtype",
        f"The operation {match.group(1)} does not exist for numbers of the format {format_}.",
        *fixes,
        because=because,
    )


@DECODERS.matching(
    rf"found at least two devices, (?P<first>{_DEVICE}) and (?P<second>{_DEVICE})",
    rf"Expected all tensors to be on the same device, but got \w+ is on"
    rf" (?P<second>{_DEVICE}), different from other tensors on (?P<first>{_DEVICE})",
    rf"Tensor on device (?P<second>{_DEVICE}) is not on the expected device"
    rf" (?P<first>{_DEVICE})",
)
def _two_devices(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """Tensors on two devices."""
    first, second = match.group("first"), match.group("second")
    if first == second:
        return
    yield certain(
        "device",
        f"One tensor is on {first} and another on {second}: the image and the model, or a class"
        " token or a position table that is not a parameter of the model.",
        f'Move both to one device: model.to("{first}") and image.to("{first}").',
        "Make every table an nn.Parameter or a buffer, so that it moves with the model.",
        because="an operation reads one device only",
    )


@DECODERS.matching(r"(?:CUDNN|CUBLAS)_STATUS_(?!SUCCESS)[A-Z_]{1,40}")
def _no_algorithm(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """A failure of cuDNN or cuBLAS without a reason."""
    yield explain(
        "gpu",
        f"The GPU's library failed with {match.group(0)}, which does not say why: too little"
        " memory, tensors that are not contiguous, and shapes or labels out of range all end so.",
        "Run the same on the CPU, where the message names the fault: model.cpu() and image.cpu().",
        "Or, where the CPU runs it, use a smaller batch, and x.contiguous() before this layer.",
        because="the name of the status is all that it says",
        likelihood="possible",
    )


@DECODERS.matching(r"device-side assert triggered")
def _device_assert(match: re.Match[str], error: ErrorContext) -> Iterator[Explanation]:
    """An index out of range on a GPU."""
    yield explain(
        "index",
        "An index is out of range on the GPU: a label that is not below num_classes, or a position"
        " that is not below the length of a table. The line that the traceback names may be a"
        " later one.",
        "Run the same on the CPU, where the message names the index, or with"
        " CUDA_LAUNCH_BLOCKING=1.",
        "Check that 0 <= label < num_classes for every label.",
        because="that is what a GPU asserts in indexing and in the loss",
        likelihood="possible",
    )
