"""Write HTML and SVG with every value escaped; no other file escapes.

`Markup` is text that is HTML already. Whatever else is put into an element or a template is plain
text, and its `&`, `<`, `>` and quotes are written so that a browser shows them as they are.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache, partial
from html import escape

from markupsafe import Markup

__all__ = ["Attribute", "Content", "Markup", "fill", "in_base64", "join", "tag", "trusted"]

Content = str | float
"""Content of an element: Markup as it is, other text escaped, a number as Python writes it."""
Attribute = str | float | None
"""Value of an attribute: text or a number; True, False and None as `tag` says."""

_EMPTY = frozenset(
    {
        *("br", "hr", "img", "input"),
        *("circle", "image", "line", "path", "rect", "use"),
    }
)
"""Elements that are self-closing if they are empty."""
_SPECIAL = re.compile("[&<>\"']")
_markup: Callable[[str], Markup] = partial(str.__new__, Markup)
"""`Markup` without its search for a method of the text that says how it is written in HTML."""


def tag(name: str, /, *children: Content, **attributes: Attribute) -> Markup:
    """Write one element.

    Args:
        name: Name of the element, and behind points its classes: "td" or "p.remark.wide". It is
            part of the code, never a value, since it is not escaped.
        children: The content of the element, in order.
        attributes: Attributes by name, with "_" for "-" and without a "_" at the end, as in
            `data_layer` and `class_`. One that is None or False is left out, and one that is True
            has no value; those that begin with "aria" are then "false" and "true", as ARIA has it.

    Returns:
        The element; attributes are quoted.

    Raises:
        TypeError: when `class_` is given beside classes in the name.

    >>> print(tag("p.remark", "3 < 4 & ", tag("b", 5), title='"', hidden=True, lang=None))
    <p class="remark" title="&quot;" hidden>3 &lt; 4 &amp; <b>5</b></p>
    >>> print(tag("button", "tokens", data_layer="<b>", aria_pressed=False))
    <button data-layer="&lt;b&gt;" aria-pressed="false">tokens</button>
    """
    element, opening = _opened(name)
    if "class_" in attributes and "." in name:
        raise TypeError(f"{name} has its classes in its name; give class_ without them")
    parts = [opening]
    for key, value in attributes.items():
        parts += _attribute(key, value)
    if not children and element in _EMPTY:
        parts.append("/>")
    else:
        parts.append(">")
        parts += [_escaped(child) for child in children]
        parts.append(f"</{element}>")
    return _markup("".join(parts))


def fill(template: str, /, *values: Content, **named: Content) -> Markup:
    """Insert values into an HTML template; the fastest way to write many elements.

    Args:
        template: HTML as `str.format` takes it, with quotes around attributes. It is written out
            in the code, never put together, since it is not escaped.
        values, named: Values of its fields. Only numbers have format specifications.

    >>> print(fill('<b title="{}">{:,}</b> of {what}', "a\\"b", 4096, what="<all>"))
    <b title="a&quot;b">4,096</b> of &lt;all&gt;
    """
    if named:
        named = {name: _value(value) for name, value in named.items()}
    return _markup(template.format(*[_value(value) for value in values], **named))


def join(*parts: Content, separator: Content = "") -> Markup:
    """Concatenate parts.

    >>> print(join(tag("b", 1), "<2>", separator=" & "))
    <b>1</b> &amp; &lt;2&gt;
    """
    return _markup(_escaped(separator).join([_escaped(part) for part in parts]))


def in_base64(data: bytes, before: str = "") -> Markup:
    """Encode bytes as base64, which needs no escaping.

    Args:
        data: The bytes.
        before: A prefix, such as "data:image/png;base64,"; nothing to be escaped.

    >>> print(in_base64(b"stem", "data:text/plain;base64,"))
    data:text/plain;base64,c3RlbQ==
    """
    return _markup(before + b64encode(data).decode("ascii"))


def trusted(written: str) -> Markup:
    """Mark HTML as already escaped, such as matplotlib's SVG."""
    return _markup(written)


@lru_cache(maxsize=1024)
def _opened(name: str) -> tuple[str, str]:
    """The element's own name, and how it opens up to its attributes."""
    element, *classes = name.split(".")
    return element, f'<{element} class="{" ".join(classes)}"' if classes else f"<{element}"


@lru_cache(maxsize=1024)
def _attribute_name(key: str) -> str:
    return " " + key.removesuffix("_").replace("_", "-")


def _attribute(key: str, value: Attribute) -> tuple[str, ...]:
    """One attribute in parts, with the space before it; nothing for one that is left out."""
    name = _attribute_name(key)
    if isinstance(value, bool) and name.startswith(" aria"):
        return name, '="true"' if value else '="false"'
    if value is None or value is False:
        return ()
    return (name,) if value is True else (name, '="', _escaped(value), '"')


def _escaped(value: Content) -> str:
    """Return a value as HTML, escaped unless it is Markup."""
    if value.__class__ is Markup:
        return value
    text = value if isinstance(value, str) else str(value)
    return escape(text) if _SPECIAL.search(text) else text  # most text has nothing to escape


def _value(value: Content) -> Content:
    """The same for a template, which may say how a number is written."""
    return value if isinstance(value, (int, float)) else _escaped(value)
