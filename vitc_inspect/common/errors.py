"""The one exception for user errors, and helpers to show any value on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VALUE_SIGNS, _TEXT_SIGNS = (
    60,
    2_000,
)  # longest value and longest sentence in a message (characters)
_DIGITS = 40  # longest integer that is written out


class SpecError(ValueError):
    """An invalid value, with the reason and a value that works.

    Attributes:
        field: Dotted name of the control or parameter, for example "conv2.stride".
        value: The given value.
        reason: Why the value is invalid, with the numbers, without a final full stop.
        fix: What to do, in the imperative, without a final full stop.
        suggestion: A valid value of `field`, or None if none is known.
        column: 1-based column of a syntax error in the stem notation, else None.
    """

    def __init__(
        self,
        field: str,
        value: Any,
        reason: str,
        fix: str,
        suggestion: Any = None,
        column: int | None = None,
    ) -> None:
        super().__init__(field, value, reason, fix, suggestion, column)
        self.field = field
        self.value = value
        self.reason = reason
        self.fix = fix
        self.suggestion = suggestion
        self.column = column

    def __str__(self) -> str:
        parts = self.value if type(self.value) is tuple else (self.value,)
        bare = len(parts) > 1  # the sides of a size have no quotes: 224 x 192
        value = shortened(" x ".join(shown(part, bare=bare) for part in parts[:_VALUE_SIGNS]))
        texts = (self.field, self.reason, self.fix)
        field, reason, fix = (shortened(one_line(text), _TEXT_SIGNS) for text in texts)
        return f"{field} = {value}: {reason}. {fix}."

    def __repr__(self) -> str:
        """Show the message, because not every value has a usable repr."""
        return f"{type(self).__name__}({str(self)!r})"

    def within(self, owner: str) -> SpecError:
        """Return this error with the name of a layer before the field: `conv2.stride`."""
        field = f"{owner}.{self.field}"
        return SpecError(field, self.value, self.reason, self.fix, self.suggestion, self.column)


def shown(value: Any, *, bare: bool = False) -> str:
    """Show any value on one line, even if its repr fails.

    Args:
        value: Anything.
        bare: Whether to show a string without quotes; an empty one always has quotes.

    Returns:
        Its repr, or the number of digits of a very long integer.

    >>> shown("a\\nb"), shown(224), shown(10**4999)
    ("'a\\\\nb'", '224', 'an integer of about 5,000 digits')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        digits = int.bit_length(value) * 30_103 // 100_000 + 1  # log10(2) = 0.30103
        if digits > _DIGITS:
            sign = "a negative" if value < 0 else "an"
            return f"{sign} integer of about {digits:,} digits"
    if bare and isinstance(value, str) and value:
        return one_line(value)
    try:
        return one_line(repr(value))
    except Exception:  # noqa: BLE001  # it is the user's code
        return f"{with_article(type(value).__name__)} that cannot be written"


def with_article(kind: str) -> str:
    """Return a class name with its indefinite article.

    >>> with_article("int"), with_article("str"), with_article("NoneType")
    ('an int', 'a str', 'None')
    """
    if kind == "NoneType":
        return "None"
    return f"an {kind}" if kind[:1].lower() in ("a", "e", "i", "o") else f"a {kind}"


def message_of(error: BaseException) -> str:
    """Return the message of an exception, even if its `__str__` fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # it is the user's code
        return "<exception str() failed>"


def one_line(words: str) -> str:
    """Escape characters that are not printable.

    The name of a module can contain any character but a dot, such as a newline or an escape.

    >>> one_line("new\\nline \\x1b[31m"), one_line("日本 <b>")
    ('new\\\\nline \\\\x1b[31m', '日本 <b>')
    """
    if words.isprintable():
        return words
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in words
    )


def first_three(names: Sequence[object]) -> str:
    """Up to three names in words, and how many more there are.

    >>> first_three(["conv1", "conv2"]), first_three(list("abcde"))
    ('conv1, conv2', 'a, b, c and 2 more')
    """
    texts = (str(name)[:200] for name in names[:3])
    words = ", ".join("".join(c if c.isprintable() else "?" for c in text) for text in texts)
    return f"{words} and {len(names) - 3} more" if len(names) > 3 else words


def shortened(text: str, most: int = _VALUE_SIGNS) -> str:
    """Truncate a text to at most `most` characters.

    >>> shortened("patchify", most=6)
    'patch…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
