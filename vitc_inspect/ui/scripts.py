"""One script of the page's JavaScript modules, since Gradio takes one for a component.

Gradio runs it as the body of a function, where no `import` may stand. So each module becomes a
function that returns what it exports, in a scope of its own, after the modules it imports from.
"""

from __future__ import annotations

import re
from pathlib import Path

_IMPORT = re.compile(r"^import\s+(?:\{([^{}]*)\}\s*from\s+)?'([^'\n]+)';[ \t]*\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=((?:async )?function|const|class) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/)[ \t]*\n", re.MULTILINE | re.DOTALL)
_INLINE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)  # where a type may be imported
_LEFT_OVER = re.compile(r"^(?:import|export)\b[^\n]*|\bimport\s*[(.][^\n]*", re.MULTILINE)


class ScriptError(ValueError):
    """A module that cannot be joined: which one, its line, and what to write instead."""


def bundle(entry: Path) -> str:
    """Join a module with all it imports from, directly or not.

    Comments that fill whole lines are left out.

    Args:
        entry: File of the module that starts the page; what it imports is found beside it.

    Returns:
        A statement that runs each module once, those that others import from first.

    Raises:
        ScriptError: when a module uses a form of import or export other than
            `import { a, b } from './file.js';`, `import './file.js';` and `export` before a
            function, a const or a class; when it imports what is not exported; when modules import
            from each other in a circle; when a file does not exist.
    """
    modules: dict[Path, tuple[str, ...]] = {}
    parts: list[str] = []
    _add(entry.resolve(), (), modules, parts)
    return "(() => {\n'use strict';\n" + "".join(parts) + "})();\n"


def _add(
    path: Path,
    importers: tuple[Path, ...],
    modules: dict[Path, tuple[str, ...]],
    parts: list[str],
) -> None:
    """Append a module to `parts`, after those it imports from, and its exports to `modules`.

    Args:
        path: File of the module.
        importers: The modules on the way to it, from the entry.
        modules: Names that each module so far exports.
        parts: Text of each module so far.
    """
    if path in importers:
        circle = " → ".join(each.name for each in (*importers[importers.index(path) :], path))
        raise ScriptError(f"{circle}: modules import in a circle. Move what both use to a third.")
    if not path.is_file():
        asked = f"{importers[-1].name} imports from {path.name}, which" if importers else path.name
        raise ScriptError(f"{asked} does not exist.")
    text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    imports = []
    for found in _IMPORT.finditer(text):
        names = _names(found[1] or "", path, found[0])
        if not found[2].startswith("."):
            raise _refusal(path, found[0], "Import from a file, as in './file.js'.")
        source = (path.parent / found[2]).resolve()
        if source not in modules:
            _add(source, (*importers, path), modules, parts)
        for name in names:
            if name not in modules[source]:
                raise ScriptError(f"{path.name} imports {name} from {source.name}, which has none.")
        if names:
            number = list(modules).index(source)
            imports.append(f"const {{ {', '.join(names)} }} = module{number};\n")
    body = _EXPORT.sub("", _IMPORT.sub("", text))
    if left := _LEFT_OVER.search(_INLINE_COMMENT.sub("", body)):
        advice = "Write import { a } from './file.js'; or export before a function, const or class."
        raise _refusal(path, left[0], advice)
    exports = tuple(found[2] for found in _EXPORT.finditer(text))
    start = f"const module{len(modules)} = (() => {{\n"
    parts.append(f"{start}{''.join(imports)}{body}return {{ {', '.join(exports)} }};\n}})();\n")
    modules[path] = exports


def _names(text: str, path: Path, line: str) -> list[str]:
    """The names in the braces of an import."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(re.fullmatch(r"\w+", name) for name in names):
        raise _refusal(path, line, "Import a name as it is, without `as`.")
    return names


def _refusal(path: Path, line: str, advice: str) -> ScriptError:
    return ScriptError(f"{path.name}: {' '.join(line.split())} cannot be joined. {advice}")
