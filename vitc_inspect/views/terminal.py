"""What a terminal can show: words on one line, and how many columns they take."""

from __future__ import annotations

import unicodedata


def one_line(words: str) -> str:
    """Write what a terminal would act on, or not show at all, as Python writes it.

    A module's name may hold any sign but a dot: a newline, a tab, an escape.

    >>> one_line("new\\nline \\x1b[31m"), one_line("日本 <b>")
    ('new\\\\nline \\\\x1b[31m', '日本 <b>')
    """
    if words.isprintable():
        return words
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in words
    )


def columns(words: str) -> int:
    """Count the columns of a terminal that one line takes.

    >>> columns("conv1"), columns("日本"), columns("e\\u0301")
    (5, 4, 1)
    """
    if words.isascii():
        return len(words)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in words)
    return len(words) + wide - sum(unicodedata.category(sign) in ("Mn", "Me") for sign in words)
