"""Write a report in the requested format: table, JSON, CSV, Markdown or HTML."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from vitc_inspect.common.errors import SpecError

FORMATS = ("json", "csv", "markdown", "html")
"""What a report can be printed as besides a table, each by a flag of its name."""


def format_of(options: argparse.Namespace) -> str | None:
    """Return the requested format, or None for a table.

    Raises:
        SpecError: field of the second one, where two were given.
    """
    given = [name for name in FORMATS if getattr(options, name)]
    if len(given) > 1:
        reason = f"--{given[0]} was given as well, and a report is printed once"
        raise SpecError(given[1], True, reason, "Give one of the two")
    return given[0] if given else None


def report_text(
    report: Any,
    name: str | None,
    *,
    more: Mapping[str, Any] | None = None,
    behind: str = "",
    grey: bool = False,
) -> str:
    """Write a report in the requested format.

    Args:
        report: The report on a stem or on a module.
        name: One of `FORMATS`, or None for a table.
        more: What the object of JSON has besides, by key.
        behind: What follows the report as text; JSON and CSV leave it out.
        grey: Whether the layers that a table says were not reached are in grey.
    """
    import json

    from vitc_inspect.views.report_table import (
        module_csv,
        module_markdown,
        module_table,
        report_page,
    )

    if name == "json":
        return json.dumps({**report.to_dict(), **(more or {})})
    if name == "csv":
        return module_csv(report)
    if name == "html":
        return report_page(report, behind=behind)
    if name == "markdown":
        parts = [module_markdown(report), behind and _code_block(behind)]
    else:
        parts = [module_table(report, grey=grey), behind]
    return "\n\n".join(filter(None, parts))


def _code_block(text: str) -> str:
    """A block of code in Markdown, whose fence is longer than any backticks in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
