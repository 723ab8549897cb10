"""Write api.md from the signatures and docstrings of the public names: python -m docs.api."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any, get_args, get_origin

import vitc_inspect
from docs.architecture import sentence_of
from tests.test_imports import ORDER

PAGE = Path(__file__).parent / "api.md"
_INTRODUCTION = """\
# The API

Every public name of `vitc_inspect`, by the folder it comes from. Import them from the package:
`from vitc_inspect import predict`. This page is written by `python -m docs.api` from signatures and
docstrings.
"""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source):\n((?:(?: .*)?\n)*)", re.MULTILINE)
_SIGNS = re.compile(r"[*<\[]|(?<!\w)_|_(?!\w)")
_LISTS = ("Args", "Attributes", "Raises")
_NAMES = re.compile(r"\*{0,2}\w+(, \*{0,2}\w+)*")
_LONGEST = 88  # letters of a signature on one line


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _contents()]
    for wing, names in _by_wing().items():
        parts.append(f"## {wing}\n\n{_markdown(sentence_of(wing))}\n")
        parts += [_entry(name, getattr(vitc_inspect, name)) for name in names]
    return "\n".join(parts)


def _by_wing() -> dict[str, list[str]]:
    """The public names of each wing; a constant has the wing that its class is from."""
    homes = {name: _wing(getattr(vitc_inspect, name)) for name in vitc_inspect.__all__}
    names = sorted(homes, key=str.lower)
    found = {wing: [name for name in names if homes[name] == wing] for wing in ORDER}
    return {wing: names for wing, names in found.items() if names}


def _wing(value: Any) -> str:
    if not hasattr(value, "__module__"):  # a mapping, PRESETS
        value = type(next(iter(value.values())))
    return str(value.__module__).split(".")[1]


def _contents() -> str:
    lines = [
        f"- {wing}: {', '.join(f'[`{name}`](#{name.lower()})' for name in names)}"
        for wing, names in _by_wing().items()
    ]
    return "\n".join(lines) + "\n"


def _entry(name: str, value: Any) -> str:
    """A name with its signature and what its docstring says."""
    if isinstance(value, FunctionType):
        text, example = _docstring(value)
        return f"### {name}\n\n{_signature(value)}\n{text}{_choices(value)}{example}"
    if isinstance(value, type):
        return f"### {name}\n\n{''.join(_docstring(value))}\n{_members(value)}"
    kind = type(next(iter(value.values()))).__name__
    listed = "\n".join(f"- `{key}`: {item.teaches}" for key, item in value.items())
    return f"### {name}\n\nA mapping from names to [`{kind}`](#{kind.lower()}).\n\n{listed}\n"


def _signature(function: FunctionType) -> str:
    """A signature as a block of code, one argument a line where it is long."""
    signature = inspect.signature(function)
    shown: list[str] = []
    starred = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
        starred |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        shown.append(_parameter(parameter))
    text = f"{function.__name__}({', '.join(shown)}) -> {signature.return_annotation}"
    if len(text) > _LONGEST:
        inner = "".join(f"    {each},\n" for each in shown)
        text = f"{function.__name__}(\n{inner}) -> {signature.return_annotation}"
    return f"```py\n{text}\n```\n"


def _parameter(parameter: inspect.Parameter) -> str:
    """A parameter as it is written, its annotation without quotes."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {parameter.annotation}"
    if parameter.default is parameter.empty:
        return text
    default = parameter.default
    written = json.dumps(default) if isinstance(default, str) else repr(default)
    return f"{text} = {written}"


def _choices(function: FunctionType) -> str:
    """What the names of choices in a signature stand for."""
    words = set(re.findall(r"\b[A-Z]\w+", str(inspect.signature(function))))
    found = {word: function.__globals__.get(word) for word in sorted(words)}
    lines = [
        f"`{word}` is one of {', '.join(f'`{choice!r}`' for choice in get_args(value))}."
        for word, value in found.items()
        if str(get_origin(value)) == "typing.Literal"
    ]
    return "".join(f"\n{line}\n" for line in lines)


def _docstring(value: Any) -> tuple[str, str]:
    """A docstring in the style of Google as Markdown, and its example."""
    text = inspect.cleandoc(value.__doc__ or "") + "\n"
    examples = re.search(r"^>>> ", text, re.MULTILINE)
    example = ""
    if examples:
        example = f"\n```pycon\n{text[examples.start() :].rstrip()}\n```\n"
        text = text[: examples.start()]
    sections = "".join(f"\n{_section(*match.groups())}" for match in _SECTION.finditer(text))
    prose = _SECTION.sub("", text).strip()
    return f"{_prose(prose)}\n{sections}", example


def _prose(text: str) -> str:
    """Paragraphs; what is set in by four spaces stays a block of its own."""
    return "\n\n".join(
        part if part.startswith("    ") else _markdown(part) for part in re.split(r"\n\s*\n", text)
    )


def _section(title: str, body: str) -> str:
    lines = textwrap.dedent(body).strip("\n").splitlines()
    entries: list[str] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        elif title in _LISTS or not entries:
            entries.append(line)
        else:
            entries[-1] += f" {line}"
    if title not in _LISTS:
        return f"**{title}:** {_markdown(' '.join(entries))}\n"
    items = "".join(f"- {_item(entry)}\n" for entry in entries)
    return f"**{title}:**\n\n{items}"


def _item(entry: str) -> str:
    """An entry of a section, the name before its colon as code."""
    name, colon, rest = entry.partition(": ")
    if not colon or not _NAMES.fullmatch(name):
        return _markdown(entry)
    return f"`{name}`: {_markdown(rest)}"


def _members(kind: type) -> str:
    """Fields, properties and methods of a class, each with its sentences."""
    lines: list[str] = []
    told = {}
    for base in reversed(kind.__mro__):
        if is_dataclass(base):
            told |= _told_fields(base)
    if is_dataclass(kind):
        for field in fields(kind):
            lines.append(f"- `{field.name}`: `{field.type}`. {told.get(field.name, '')}".rstrip())
    for name, member in vars(kind).items():
        function = getattr(member, "fget", None) or getattr(member, "func", None) or member
        if name.startswith("_") or not isinstance(function, FunctionType):
            continue
        sentence = _markdown(
            " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())
        )
        if function is member:
            lines.append(f"- `{_short(function)}`: {sentence}")
        else:
            returns = inspect.signature(function).return_annotation
            lines.append(f"- `{name}`: `{returns}`. {sentence}")
    return "".join(f"{line}\n" for line in lines)


def _short(method: FunctionType) -> str:
    text = f"{method.__name__}{inspect.signature(method)}"
    return text.replace("'", "").replace("(self, ", "(").replace("(self)", "()")


def _told_fields(kind: type) -> dict[str, str]:
    """What is written below each field of a class."""
    (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body)
    return dict(_told(body))


def _told(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            yield (
                ast.unparse(field.target),
                _markdown(" ".join(str(ast.literal_eval(below.value)).split())),
            )


def _markdown(text: str) -> str:
    """Plain text as Markdown: outside of code, no sign has a meaning."""
    parts = text.split("`")
    parts[::2] = (_SIGNS.sub(r"\\\g<0>", part) for part in parts[::2])
    return "`".join(parts)


def main() -> None:
    """Write the page beside this file."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
