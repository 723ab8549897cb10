"""Text for a terminal: escape it to one line, and measure its width in columns."""

from __future__ import annotations

import unicodedata

from vitc_inspect.common.errors import one_line

__all__ = ["columns", "one_line"]


def columns(words: str) -> int:
    """Count the terminal columns that one line takes.

    >>> columns("conv1"), columns("日本"), columns("e\\u0301")
    (5, 4, 1)
    """
    if words.isascii():
        return len(words)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in words)
    return len(words) + wide - sum(unicodedata.category(sign) in ("Mn", "Me") for sign in words)
