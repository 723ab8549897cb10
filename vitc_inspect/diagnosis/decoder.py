"""The decoder: from the text of an error to what it means, the likeliest first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vitc_inspect.common.guard import guarded
from vitc_inspect.common.validation import A_STEM, check_all, check_type
from vitc_inspect.diagnosis import (
    assertions,
    attention,
    convolutions,
    einops_errors,
    einops_patterns,
    empty,
    formats,
    image_sizes,
    indices,
    inputs,
    joins,
    norms,
    products,
    reshapes,
    sums,
    weights,
    windows,
)
from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    RunFacts,
    Told,
    by,
    not_known,
)
from vitc_inspect.diagnosis.pasted import read_text
from vitc_inspect.stem.spec import StemSpec

_DECODERS = (
    *weights.DECODERS,
    *sums.DECODERS,
    *reshapes.DECODERS,
    *joins.DECODERS,
    *convolutions.DECODERS,
    *products.DECODERS,
    *norms.DECODERS,
    *attention.DECODERS,
    *indices.DECODERS,
    *empty.DECODERS,
    *inputs.DECODERS,
    *formats.DECODERS,
    *image_sizes.DECODERS,
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
    facts: RunFacts | None = None,
) -> tuple[Explanation, ...]:
    """Explain an error about shapes, as PyTorch, einops, timm or torchvision words it.

    What is known of the run counts more than the stem, the stem more than the rest of the text,
    and that more than what is usual. A reading that contradicts what is known is left out.

    Args:
        text: The message, or a whole traceback; anything may stand around it. Of several errors
            the last one that can be explained counts.
        spec: The stem, where it is known; its own numbers then come before what is usual.
        operation: Name of the function that raised, where it is known, for example "add".
        operands: Shapes of the tensors that it was given, where they are known.
        facts: What is known of the run that raised; its own operation and operands are used
            where those two are left out.

    Returns:
        Explanations in order, the likeliest first. One of the kind "not known" where the error
        is recognised and nothing that is known fits it; none where it is not recognised.

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
    facts = facts or RunFacts()
    told = read_text(text, spec)
    name = (operation or facts.operation or told.sign).strip("_")
    told = replace(
        told,
        sign=_SIGNS.get(name) or _SIGNS.get(name[1:]) or (name or "+"),  # __iadd__ is a sum too
        operands=tuple(operands) or facts.operands or told.operands,
        facts=facts,
    )
    found: list[tuple[int, re.Match[str], Decoder]] = []
    for pattern, decode in _DECODERS:
        matches = list(pattern.finditer(told.text))
        if matches:
            found.append((matches[-1].start(), matches[-1], decode))
    for _, match, decode in sorted(found, key=lambda f: -f[0]):
        explanations, _ = guarded(_all, decode, match, told)
        if explanations and _of_no_table(explanations, told):
            others, _ = guarded(_all, decode, match, replace(told, spec=None))
            return tuple(map(_another_s, others or ()))
        if explanations:
            return _agreeing(explanations, told)
    return ()


_OF_TABLES = ("position table", "class token")


def _of_no_table(explanations: tuple[Explanation, ...], told: Told) -> bool:
    """Whether a position table is spoken of, and the stem that was given has none."""
    of_table = any(
        each.kind in _OF_TABLES and any(name.startswith("table") for name in each.numbers)
        for each in explanations
    )
    return of_table and told.spec is not None and not told.spec.position_table


def _another_s(explanation: Explanation) -> Explanation:
    """A reading that is not about the stem that was given."""
    if explanation.kind not in _OF_TABLES:
        return explanation
    return replace(
        explanation,
        sentence=f"{explanation.sentence} The stem that was given has no position table, so this"
        " is about another model, or about no table.",
        because="nothing of the stem that was given is reckoned with",
        likelihood="possible",
    )


def _agreeing(explanations: tuple[Explanation, ...], told: Told) -> tuple[Explanation, ...]:
    """Those that do not take the image for another than the one that was given."""
    image = told.facts.image
    if image is None:
        return explanations
    kept = [each for each in explanations if _sides(each) in (image, None)]
    if not kept:
        understood = explanations[0].numbers
        return (
            not_known(
                f"The message speaks of {' and '.join(map(str, list(understood.values())[:2]))},"
                f" and the image is {by(image)} pixels",
                told,
                numbers=understood,
            ),
        )
    if kept[0] is explanations[0] or _sides(kept[0]) is None:
        return tuple(kept)
    because = f"the image is {by(image)} pixels, which leaves this reading first"
    return (replace(kept[0], because=because, likelihood="likely"), *kept[1:])


def _sides(explanation: Explanation) -> tuple[int, int] | None:
    """Height and width of the image that an explanation speaks of (pixels)."""
    numbers = explanation.numbers
    if "image_height" not in numbers:
        return None
    return numbers["image_height"], numbers["image_width"]
