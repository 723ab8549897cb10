"""Errors of the user, and explanations of PyTorch's errors, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.ui.panels.elements import button, fold, remark
from vitc_inspect.views import text
from vitc_inspect.views.html import Markup, join, tag


def error_html(error: SpecError) -> Markup:
    """Draw an error as one sentence, with a button for the suggested value if there is one."""
    use = "" if error.suggestion is None else " " + button("Use it", data_use=True)
    return tag("p", str(error), use, role="alert")


def explanations_html(explanations: Sequence[Explanation], *, most: int = 3) -> Markup:
    """Draw the explanations of an error: the first in full, the others one line each.

    What lies behind a line opens with it; the lines beyond `most` readings are folded away.
    """
    if not explanations:
        return remark("This error is not known here.")
    first, *others = explanations
    lines = [_line_html(one) for one in others]
    shown, behind = lines[: most - 1], lines[most - 1 :]
    if behind:
        more = text.plural(len(behind), "less likely reading")
        shown.append(fold(more, tag("div", *behind), css="fold rest"))
    return join(tag("div.likeliest", explanation_html(first)), *shown)


def _line_html(one: Explanation) -> Markup:
    """An explanation on one line that opens to its reason and fixes."""
    behind = tag("article", tag("p", f"{one.because}."), _fixes(one))
    return fold(f"{one.likelihood}: {one.sentence}", behind, css="fold reading")


def _fixes(one: Explanation) -> Markup:
    return tag("ul", *(tag("li", fix) for fix in one.fixes))


def explanation_html(one: Explanation) -> Markup:
    """Draw an explanation: its sentence, its reason and its fixes."""
    why = tag("span.soft", f"{one.likelihood}: {one.because}.")
    return tag("article", tag("p", tag("b", one.sentence), " ", why), _fixes(one))
