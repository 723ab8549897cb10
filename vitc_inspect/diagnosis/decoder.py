"""The decoder: from the text of an error to what it means, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vitc_inspect.diagnosis import (
    assertions,
    einops_errors,
    einops_patterns,
    formats,
    inputs,
    layers,
    positions,
    sequences,
    weights,
    windows,
)
from vitc_inspect.diagnosis.explanation import Decoder, Explanation, Told, read_text
from vitc_inspect.fields import A_STEM, check_all, check_type
from vitc_inspect.guard import guarded
from vitc_inspect.spec import StemSpec

_DECODERS = (
    *weights.DECODERS,
    *positions.DECODERS,
    *sequences.DECODERS,
    *layers.DECODERS,
    *inputs.DECODERS,
    *formats.DECODERS,
    *assertions.DECODERS,
    *windows.DECODERS,
    *einops_errors.DECODERS,
    *einops_patterns.DECODERS,
)


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/"}


def _all(decode: Decoder, match: re.Match[str], told: Told) -> tuple[Explanation, ...]:
    """Every explanation of one error; a decoder works while it is read."""
    return tuple(decode(match, told))


def explain_error(
    text: str,
    *,
    spec: StemSpec | None = None,
    operation: str = "",
    operands: Sequence[tuple[int, ...]] = (),
) -> tuple[Explanation, ...]:
    """Explain an error about shapes, as PyTorch, einops, timm or torchvision words it.

    Args:
        text: The message, or a whole traceback; anything may stand around it. Of several errors
            the last one that can be explained counts.
        spec: The stem, where it is known; its own numbers then come before what is usual.
        operation: Name of the function that raised, where it is known, for example "add".
        operands: Shapes of the tensors that it was given, where they are known.

    Returns:
        Explanations in order, the likeliest first; empty where the error is not known.

    >>> text = "The size of tensor a (257) must match the size of tensor b (197)"
    >>> best = explain_error(f"RuntimeError: {text} at non-singleton dimension 1")[0]
    >>> best.numbers["image_height"], best.numbers["table_image_height"]
    (256, 224)
    """
    check_type("text", text, str, "Use the error's last line, as it was printed")
    if spec is not None:
        check_type("spec", spec, StemSpec, f"{A_STEM}, or leave it out")
    check_type("operation", operation, str, 'Use "add", or leave it out')
    check_all("operands", operands, (tuple, list), "Use [(1, 197, 768)], or leave it out")
    name = operation.strip("_")
    sign = _SIGNS.get(name) or _SIGNS.get(name[1:]) or (name or "+")  # __iadd__ is a sum too
    told = replace(read_text(text, spec), sign=sign, operands=tuple(operands))
    found: list[tuple[int, re.Match[str], Decoder]] = []
    for pattern, decode in _DECODERS:
        matches = list(pattern.finditer(told.text))
        if matches:
            found.append((matches[-1].start(), matches[-1], decode))
    for _, match, decode in sorted(found, key=lambda f: -f[0]):
        explanations, _ = guarded(_all, decode, match, told)
        if explanations:
            return explanations
    return ()
