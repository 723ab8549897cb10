"""The glossary of the screen: a button for each term, and the card that it opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from types import MappingProxyType

from vitc_inspect.views.glossary_entries import TERMS, Term
from vitc_inspect.views.html import Markup, tag

GLOSSARY: Mapping[str, Term] = MappingProxyType({term.key: term for term in TERMS})
"""Every term by its key."""


@lru_cache(maxsize=256)
def term(key: str, words: str | None = None) -> Markup:
    """Write a term as a button that looks like text and opens the term's card.

    It must not stand inside another button, a link, a label or a summary.

    Args:
        key: Of the term in GLOSSARY.
        words: What is read on the screen; None for the title of the term.

    Raises:
        KeyError: when there is no such term.

    >>> print(term("macs"))
    <button class="term" type="button" data-term="macs" aria-haspopup="dialog">MACs</button>
    """
    title = GLOSSARY[key].title
    shown = title if words is None else words
    return tag("button.term", shown, type="button", data_term=key, aria_haspopup="dialog")


def cards() -> dict[str, dict[str, str]]:
    """Every card as the page's script takes it: title, text, formula and source by key."""
    return {key: asdict(term) for key, term in GLOSSARY.items()}
