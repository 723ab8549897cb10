"""One guard around whatever is worked out about a run, so that none of it can change or end it.

Counting, expecting, following and auditing are this package's own work. Where a rule of it fails
on a module that nobody has foreseen, the user's run goes on, and the report says what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from vitc_inspect.common.errors import message_of

STRICT_RULES = "VITC_STRICT_RULES"
"""Environment variable; while it is "1", what a rule raises is raised, as for a test."""

REGISTERED_RULE = "the registered rule"
"""Begins what is said of a rule of the user's own, which is no mistake of this package."""


class RuleError(Exception):
    """A rule that a user registered raised, or returned what is of no use; a whole sentence."""


Result = TypeVar("Result")
Default = TypeVar("Default")


def strict_rules() -> bool:
    """Whether what a rule raises is to be raised."""
    return os.environ.get(STRICT_RULES) == "1"


def is_to_raise(error: Exception) -> bool:
    """Whether an exception is to be raised: one of this package's own rules, in a strict run."""
    return strict_rules() and not isinstance(error, RuleError)


def is_users(reason: str) -> bool:
    """Whether something was not checked because of a rule that a user registered."""
    return REGISTERED_RULE in reason


def guarded(
    rule: Callable[..., Result], *args: Any, **kwargs: Any
) -> tuple[Result | None, str | None]:
    """Call a rule of this package; where it raises, say so instead.

    Args:
        rule: The rule.
        args, kwargs: What it is given.

    Returns:
        What it returned and None; or None and the reason, one line without a full stop.

    >>> guarded(len, "abc")
    (3, None)
    """
    try:
        return rule(*args, **kwargs), None
    except Exception as error:  # a mistake of ours is not the user's
        if is_to_raise(error):
            raise
        return None, reason_of(error)


def attempted(
    missed: list[str], what: str, default: Default, rule: Callable[..., Result], *args: Any
) -> Result | Default:
    """Call a rule; where it raises, write down what is missing and go on without it.

    Args:
        missed: Gets "what: reason" where the rule raises.
        what: What is then missing.
        default: What is returned then.
        rule, args: The rule, and what it is given.

    >>> missed = []
    >>> attempted(missed, "the length", 0, len, "abc"), missed
    (3, [])
    """
    result, reason = guarded(rule, *args)
    if reason is None:
        return result  # type: ignore[return-value]  # None only with a reason
    missed.append(f"{what}: {reason}")
    return default


def reason_of(error: BaseException) -> str:
    """An exception on one line, without a full stop."""
    kind = "" if isinstance(error, RuleError) else f"{type(error).__name__}: "
    words = " ".join(f"{kind}{message_of(error)}".split())
    return words[:200].rstrip(".: ")
