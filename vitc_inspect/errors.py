"""The one error a user of vitc_inspect can cause: a value that cannot be built or run."""

from __future__ import annotations

from typing import Any


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
        return f"{self.field} = {_shorten(self.value)}: {self.reason}. {self.fix}."

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


def _shorten(value: Any, limit: int = 60) -> str:
    parts = value if isinstance(value, tuple) else (value,)
    # the sides of a size stand bare, 224 x 192, unless one is empty
    text = " x ".join(repr(p) if len(parts) == 1 or p == "" else str(p) for p in parts)
    return text if len(text) <= limit else text[: limit - 1] + "…"
