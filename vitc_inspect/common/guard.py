"""Guards that keep a failing rule of this package from changing or ending a run.

If a rule (counting, tracing, auditing) fails on an unforeseen module, the user's run continues and
the report states what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from vitc_inspect.common.errors import message_of

STRICT_RULES = "VITC_STRICT_RULES"
"""Environment variable; "1" makes the guards raise, as in tests."""

REGISTERED_RULE = "the registered rule"
"""Begins the reason for which a rule of the user's own failed."""


class RuleError(Exception):
    """A rule registered by a user raised, or returned a wrong type; no full stop at the end."""


Result = TypeVar("Result")
Default = TypeVar("Default")


def strict_rules() -> bool:
    """Whether exceptions raised by rules are re-raised."""
    return os.environ.get(STRICT_RULES) == "1"


def is_to_raise(error: Exception) -> bool:
    """Whether a guard re-raises an exception: one of this package's own rules, in a strict run."""
    return strict_rules() and not isinstance(error, RuleError)


def is_users(reason: str) -> bool:
    """Whether something was not checked because a user's rule failed."""
    return REGISTERED_RULE in reason


def guarded(
    rule: Callable[..., Result], *args: Any, **kwargs: Any
) -> tuple[Result | None, str | None]:
    """Call a rule of this package, and return the reason if it raises.

    Args:
        rule: The rule.
        args, kwargs: Its arguments.

    Returns:
        Its result and None, or None and the reason, one line without a full stop.

    >>> guarded(len, "abc")
    (3, None)
    """
    try:
        return rule(*args, **kwargs), None
    except Exception as error:  # a bug of this package must not stop the user's run
        if is_to_raise(error):
            raise
        return None, reason_of(error)


@contextmanager
def noted(missed: list[str], what: str) -> Iterator[None]:
    """Catch an exception of the block, and record what is missing because of it.

    Args:
        missed: Gets "what: reason" where the block raises.
        what: What is then missing.
    """
    try:
        yield
    except Exception as error:  # a mistake of ours is not the user's
        if is_to_raise(error):
            raise
        missed.append(f"{what}: {reason_of(error)}")


def attempted(
    missed: list[str], what: str, default: Default, rule: Callable[..., Result], *args: Any
) -> Result | Default:
    """Call a rule; if it raises, record what is missing and return a default.

    Args:
        missed: List to which "what: reason" is appended if the rule raises.
        what: What is missing in that case.
        default: What is returned in that case.
        rule, args: The rule and its arguments.

    >>> missed = []
    >>> attempted(missed, "the length", 0, len, "abc"), missed
    (3, [])
    """
    with noted(missed, what):
        return rule(*args)
    return default


def reason_of(error: BaseException) -> str:
    """Format an exception on one line, without a full stop."""
    kind = "" if isinstance(error, RuleError) else f"{type(error).__name__}: "
    words = " ".join(f"{kind}{message_of(error)}".split())
    return words[:200].rstrip(".: ")
