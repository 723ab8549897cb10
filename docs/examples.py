"""The examples in the README and the pages of docs: found, run, and written as they should be.

Three kinds of fenced blocks are run:

- `console`: lines that begin with `$ ` are commands; what follows is what they print. A command may
  go on in the next line after a backslash, and `$ echo $?` prints the exit code of the one before.
- `python`: an expression with a comment behind it gives the value in the comment. A `text` block
  right after it holds what the code prints.
- `sh`: commands that are shown without their output.

A line `…` stands for lines that are left out.
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from vitc_inspect import temporary_rules
from vitc_inspect.cli import main

ROOT = Path(__file__).parent.parent
LEFT_OUT = "…"
PROGRAM = ["python", "-m", "vitc_inspect"]
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_LEAST_ALIKE = 0.5


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    """The page it stands on."""
    line: int
    """Its first line, counted from 1."""
    language: str
    """What stands behind the fence: console, python, sh, …."""
    text: str
    """What stands between the fences."""
    printed: str | None
    """Of Python, what the text block right after it says; None without one."""
    span: tuple[int, int]
    """Where it begins and ends on the page (characters), fences and text block included."""

    @property
    def name(self) -> str:
        """Page and line, as a test is called by."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """The README and every page of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """Every block in one of the languages, page by page."""
    return [block for page in pages() for block in blocks_of(page) if block.language in languages]


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    source = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=source.count("\n", 0, match.start()) + 1,
            language=match[1],
            text=match[2],
            printed=match[3],
            span=match.span(),
        )
        for match in _FENCED.finditer(source)
    ]


def as_it_should_be(block: Block) -> str:
    """Run a console or Python block, and write it, fences included, with what it gives today."""
    if block.language == "console":
        return f"```console\n{_session(block.text)}```\n"
    code, printed = _python(block)
    written = f"```python\n{code}```\n"
    if block.printed is None and not printed:
        return written
    shown = refreshed((block.printed or "").splitlines(), _lines(printed))
    return f"{written}\n```text\n{_text(shown)}```\n"


def commands(block: Block) -> list[str]:
    """The commands of a sh block; comments are left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def run(words: Sequence[str]) -> tuple[int, list[str]]:
    """Run a command line of `python -m vitc_inspect` in this process.

    Returns:
        Its exit code, and the lines of its standard output; of its standard error where that is
        empty.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _at_the_root():
        code = main(words)
    return code, _lines(out.getvalue() or err.getvalue())


def refreshed(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """What is shown of an output, as it is printed today.

    Lines left out stay left out: of the lines printed, those most like the ones shown are kept.
    """
    if LEFT_OUT not in shown:
        return list(printed)
    parts = (r"(?:.*\n)*?" if line == LEFT_OUT else re.escape(f"{line}\n") for line in shown)
    if re.fullmatch("".join(parts), _text(printed)):
        return list(shown)
    kept = _most_alike([line for line in shown if line != LEFT_OUT], printed)
    lines: list[str] = []
    before = -1
    for place in (*kept, len(printed)):
        skipped = printed[before + 1 : place]
        lines += [LEFT_OUT] if any(skipped) else skipped
        lines += printed[place : place + 1]
        before = place
    return lines


def _session(text: str) -> str:
    """A console block with its commands run."""
    written: list[str] = []
    code = 0
    for command, shown in _steps(text):
        written.append(command)
        words = shlex.split(command[2:].replace("\\\n", " "))
        if words == ["echo", "$?"]:
            printed = [str(code)]
        elif words[:3] == PROGRAM:
            code, printed = run(words[3:])
        else:
            raise ValueError(f"{command!r} is no command that can be run here")
        written += refreshed(shown, printed)
    return _text(written)


def _steps(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the lines shown below it."""
    for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE)[1:]:
        match = re.match(r"(?:.*\\\n)*.*\n", part)
        assert match
        yield match[0].rstrip("\n"), part[match.end() :].splitlines()


def _python(block: Block) -> tuple[str, str]:
    """The code of a Python block with the values it gives today, and what it prints."""
    lines = block.text.splitlines()
    file = f"example-{block.line}.py"
    linecache.cache[file] = (len(block.text), None, block.text.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "example"}
    out = io.StringIO()
    with contextlib.redirect_stdout(out), _at_the_root(), temporary_rules():
        for node in ast.parse(block.text).body:
            last = (node.end_lineno or 0) - 1
            statement, mark, _ = lines[last].partition("  # ")
            if isinstance(node, ast.Expr) and mark:
                value = eval(compile(ast.Expression(node.value), file, "eval"), names)
                lines[last] = f"{statement}  # {value!r}"
            else:
                exec(compile(ast.Module([node], []), file, "exec"), names)
    return _text(lines), out.getvalue()


def _most_alike(shown: Sequence[str], printed: Sequence[str]) -> list[int]:
    """Places of the printed lines that are most like those shown, in the same order."""
    best: list[list[tuple[float, list[int]]]] = [[(0.0, [])] * (len(printed) + 1)]
    for line in shown:
        row: list[tuple[float, list[int]]] = [best[-1][0]]
        for place, other in enumerate(printed):
            alike = _likeness(line, other)
            score, places = best[-1][place]
            taken = (score + alike, [*places, place])
            choices = [best[-1][place + 1], row[place]]
            row.append(max([*choices, taken] if alike > _LEAST_ALIKE else choices))
        best.append(row)
    return best[-1][-1][1]


def _likeness(one: str, other: str) -> float:
    """How much two lines have in common, from 0 to 1; the widths of columns do not count."""
    first, second = one.split(), other.split()
    if not first or not second:
        return 0.0
    return (
        SequenceMatcher(None, first, second, autojunk=False).ratio() + (first[0] == second[0]) / 2
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


@contextlib.contextmanager
def _at_the_root() -> Iterator[None]:
    """A block in which files are named from the folder of the checkout."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)
