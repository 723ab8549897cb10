"""Explain error messages about shapes, most likely cause first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

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
from vitc_inspect.diagnosis.error_text import read_text
from vitc_inspect.diagnosis.explanation import (
    Decoder,
    ErrorContext,
    Explanation,
    RunFacts,
    by,
    unknown_cause,
)
from vitc_inspect.stem.spec import StemSpec

_MODULES = (
    *(weights, sums, reshapes, joins, convolutions, products, norms, attention, indices),
    *(empty, inputs, formats, image_sizes, assertions, windows, einops_errors, einops_patterns),
)
"""Modules that decode errors, in order of precedence where two match at one place."""
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "truediv": "/"}


def _all(decode: Decoder, match: re.Match[str], error: ErrorContext) -> tuple[Explanation, ...]:
    """Run a decoder to its end, so that an exception in it is raised here."""
    return tuple(decode(match, error))


def explain_error(
    text: str,
    *,
    spec: StemSpec | None = None,
    operation: str = "",
    operands: Sequence[tuple[int, ...]] = (),
    facts: RunFacts | None = None,
) -> tuple[Explanation, ...]:
    """Explain a shape error in the wording of PyTorch, einops, timm or torchvision.

    Facts of the run take precedence over the stem, the stem over the rest of the text, and the
    text over what is usual. Explanations that contradict known facts are dropped.

    Args:
        text: The message or a whole traceback, with any text around it. Of several errors, the
            last one that can be explained is used.
        spec: The stem, if it is known.
        operation: Name of the function that raised, if it is known, for example "add".
        operands: Shapes of its input tensors, if they are known.
        facts: What was recorded about the run; supplies `operation` and `operands` if those are
            omitted.

    Returns:
        Explanations, most likely first. A single one of the kind "not known" if the error is
        recognised but nothing explains it; empty if it is not recognised.

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
    error = read_text(text, spec)
    name = (operation or facts.operation or error.sign).strip("_")
    error = replace(
        error,
        sign=_SIGNS.get(name) or _SIGNS.get(name[1:]) or (name or "+"),  # __iadd__ is a sum
        operands=tuple(operands) or facts.operands or error.operands,
        facts=facts,
    )
    found: list[tuple[int, re.Match[str], Decoder]] = []
    for pattern, decode in chain.from_iterable(module.DECODERS for module in _MODULES):
        matches = list(pattern.finditer(error.text))
        if matches:
            found.append((matches[-1].start(), matches[-1], decode))
    for _, match, decode in sorted(found, key=lambda f: -f[0]):
        explanations, _ = guarded(_all, decode, match, error)
        if explanations and _needs_missing_table(explanations, error):
            others, _ = guarded(_all, decode, match, replace(error, spec=None))
            return tuple(map(_of_another_model, others or ()))
        if explanations:
            return _consistent_with_image(explanations, error)
    return ()


_OF_TABLES = ("position table", "class token")


def _needs_missing_table(explanations: tuple[Explanation, ...], error: ErrorContext) -> bool:
    """Whether these explain a position table, while the given stem has none."""
    of_table = any(
        each.kind in _OF_TABLES and any(name.startswith("table") for name in each.numbers)
        for each in explanations
    )
    return of_table and error.spec is not None and not error.spec.position_table


def _of_another_model(explanation: Explanation) -> Explanation:
    """Mark an explanation as not being about the given stem."""
    if explanation.kind not in _OF_TABLES:
        return explanation
    return replace(
        explanation,
        sentence=f"{explanation.sentence} The given stem has no position table, so this applies to"
        f" another model, or there is no table.",
        because="the given stem is not used",
        likelihood="possible",
    )


def _consistent_with_image(
    explanations: tuple[Explanation, ...], error: ErrorContext
) -> tuple[Explanation, ...]:
    """Drop the explanations that assume an image size other than the one given."""
    image = error.facts.image
    if image is None:
        return explanations
    kept = [each for each in explanations if _sides(each) in (image, None)]
    if not kept:
        understood = explanations[0].numbers
        return (
            unknown_cause(
                f"The message speaks of {' and '.join(map(str, list(understood.values())[:2]))},"
                f" and the image is {by(image)} pixels",
                error,
                numbers=understood,
            ),
        )
    if kept[0] is explanations[0] or _sides(kept[0]) is None:
        return tuple(kept)
    because = f"the image is {by(image)} pixels, which leaves this reading first"
    return (replace(kept[0], because=because, likelihood="likely"), *kept[1:])


def _sides(explanation: Explanation) -> tuple[int, int] | None:
    """Height and width of the image that an explanation assumes (pixels)."""
    numbers = explanation.numbers
    if "image_height" not in numbers:
        return None
    return numbers["image_height"], numbers["image_width"]
