"""Errors of the user, and explanations of PyTorch's errors, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from vitc_inspect.common.errors import SpecError
from vitc_inspect.diagnosis import Explanation
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.ui.panels.elements import button, fold, remark
from vitc_inspect.views import text
from vitc_inspect.views.html import Markup, fill, join, tag


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


def table_error_html(
    spec: StemSpec, table_of: str, message: str, found: Sequence[Explanation]
) -> Markup:
    """Draw the error of a run whose position table was made for another image size.

    Args:
        spec: The stem at the image size of the run.
        table_of: The size that the table was made for, "224x224".
        message: What PyTorch raised.
        found: Its explanations; the first is shown.
    """
    own = text.shape(spec.image_size).replace("×", " × ")
    said = fill(
        "The forward pass of {} with the position table of {} raised RuntimeError: <q>{}</q>",
        *(own, table_of.replace("x", " × "), message),
    )
    use = button(f"Use a table for {own}", data_use=True)
    why = explanation_html(found[0]) if found else ""
    return tag("div.table-error", tag("p", said, role="alert"), why, tag("p", use))


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
