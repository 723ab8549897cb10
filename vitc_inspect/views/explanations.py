"""Explanations of errors and faults, written for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.views.terminal import one_line

NOT_KNOWN = (
    "vitc_inspect does not know this error. It knows those of PyTorch, einops, timm and"
    " torchvision about position tables, reshaping, joining, channels, kernels, linear layers,"
    " heads, norms, image sizes, number formats, devices and state dicts. Paste the error's last"
    " line as it was printed."
)
"""What is said of a text that nothing is known about."""
_WIDTH = 96  # characters of a line


def explanations_text(explanations: Sequence[Explanation], *, most: int = 3) -> str:
    """Write the first explanations, each with its reason and its fixes unless merely possible.

    Args:
        explanations: The explanations, the likeliest first.
        most: How many are written; the others are counted.

    Returns:
        Lines of at most 96 characters; `NOT_KNOWN` where there are none.
    """
    if not explanations:
        return textwrap.fill(NOT_KNOWN, _WIDTH)
    lines = []
    for number, explanation in enumerate(explanations[:most], start=1):
        lines.append(f"{number}. {explanation.kind}, {explanation.likelihood}")
        lines += _wrapped(explanation.sentence, "   ")
        if number == 1 or explanation.likelihood != "possible":
            lines += _why_and_fixes(explanation, "   ")
    more = len(explanations) - most
    if more > 0:
        lines.append(f"{more} less likely reading{'s' if more > 1 else ''}, and all fixes: --json.")
    return "\n".join(lines)


def faults_text(faults: Sequence[Explanation]) -> str:
    """Write every fault of a module with its reason and its fixes.

    Args:
        faults: The faults, at least one.

    Returns:
        Lines of at most 96 characters.
    """
    lines = [f"{len(faults)} fault{'s' if len(faults) > 1 else ''} found:"]
    for fault in faults:
        lines.append(f"- {fault.kind}, {fault.likelihood}")
        lines += _wrapped(fault.sentence, "  ")
        lines += _why_and_fixes(fault, "  ")
    return "\n".join(lines)


def _why_and_fixes(explanation: Explanation, start: str) -> list[str]:
    lines = _wrapped(f"Why: {explanation.because}.", start)
    for fix in explanation.fixes:
        lines += _wrapped(fix, f"{start}- ")
    return lines


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
