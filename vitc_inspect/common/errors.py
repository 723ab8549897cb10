"""The one error a user of vitc_inspect can cause: a value that cannot be built or run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VALUE_SIGNS, _TEXT_SIGNS = 60, 2_000  # most that a value and a sentence around it take
_DIGITS = 40  # longest whole number that is written out


class SpecError(ValueError):
    """A value that cannot be used, why, and one that can.

    Attributes:
        field: Dotted name of the control or parameter, for example "conv2.stride".
        value: What was given.
        reason: The fact that rules the value out, with its numbers, no final full stop.
        fix: What to do, in the imperative, no final full stop.
        suggestion: A value of `field` that works, or None where none is known.
        column: In stem notation, the 1-based column where reading stopped, else None.
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
        bare = len(parts) > 1  # the sides of a size stand bare, 224 x 192, unless one is empty
        value = shortened(" x ".join(shown(part, bare=bare) for part in parts[:_VALUE_SIGNS]))
        texts = (self.field, self.reason, self.fix)
        field, reason, fix = (shortened(one_line(text), _TEXT_SIGNS) for text in texts)
        return f"{field} = {value}: {reason}. {fix}."

    def __repr__(self) -> str:
        """The sentence, since not every value can be written as Python."""
        return f"{type(self).__name__}({str(self)!r})"

    def within(self, owner: str) -> SpecError:
        """The same error, its field prefixed by the layer it belongs to: `conv2.stride`."""
        return SpecError(
            f"{owner}.{self.field}",
            self.value,
            self.reason,
            self.fix,
            self.suggestion,
            self.column,
        )


def shown(value: Any, *, bare: bool = False) -> str:
    """Write any value on one line, also one that Python itself would fail to write.

    Args:
        value: Anything.
        bare: Whether a text stands without quotes; an empty one never does.

    Returns:
        Its repr; of an integer too long to be read, how many digits it has.

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
    """The name of a class as a sentence has it.

    >>> with_article("int"), with_article("str"), with_article("NoneType")
    ('an int', 'a str', 'None')
    """
    if kind == "NoneType":
        return "None"
    return f"an {kind}" if kind[:1].lower() in ("a", "e", "i", "o") else f"a {kind}"


def message_of(error: BaseException) -> str:
    """What an exception says; where saying it raises another, what Python shows in its place."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # it is the user's code
        return "<exception str() failed>"


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


def first_three(names: Sequence[object]) -> str:
    """Up to three names in words, and how many more there are.

    >>> first_three(["conv1", "conv2"]), first_three(list("abcde"))
    ('conv1, conv2', 'a, b, c and 2 more')
    """
    texts = (str(name)[:200] for name in names[:3])
    words = ", ".join("".join(c if c.isprintable() else "?" for c in text) for text in texts)
    return f"{words} and {len(names) - 3} more" if len(names) > 3 else words


def shortened(text: str, most: int = _VALUE_SIGNS) -> str:
    """The beginning of a text that is longer than it may be.

    >>> shortened("patchify", most=6)
    'patch…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
