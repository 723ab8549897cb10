"""Read pasted PyTorch code, or the printout of a module, into layers; nothing of it is executed.

Code is parsed by `ast`, and only literals are taken from it. A printout is read line by line: a
line `(name): Class(` opens a module, `)` closes it, and everything else is a layer.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from vitc_inspect.common.errors import one_line, shortened

MAX_LENGTH = 50_000
"""Longest code or printout (characters); that of ViT-H/14 has about 35,000."""
_MAX_NESTING = 40  # brackets within brackets, and modules within modules
_MAX_LAYERS = 5_000  # of a printout, in which a module can stand for many
_CODE = re.compile(r"\b(?:nn|torch|torchvision|self)\s*\.|\b[A-Z]\w*\s*\(|\bConv2d\b")
_CHILD = re.compile(r"\((?P<name>[^()]*)\):\s*(?:(?P<count>\d{1,9}) x )?(?P<module>[^\W\d].*)")
_PROMPT = re.compile(r"^\s*(?:>>>|\.\.\.) ?", re.MULTILINE)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_CONTAINERS = ("Sequential", "OrderedDict", "ModuleList", "ModuleDict")
_UNPARSED = (SyntaxError, ValueError, MemoryError, RecursionError)
_WITHOUT_LAYERS = (ast.Import, ast.ImportFrom, ast.Pass)


@dataclass(frozen=True)
class Unread:
    """An expression that is no literal, such as a variable."""

    source: str
    """How it is written, on one line and shortened."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer, or a module that contains others, as it is written."""

    name: str
    """Name of the class, without the module before it: Conv2d."""
    line: int
    """The line it begins in, counted from 1."""
    args: tuple[Any, ...] = ()
    """Positional arguments: numbers, texts, tuples, or `Unread`."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments, likewise."""
    inner: list[Layer] | None = None
    """The modules that a container contains; None for a layer."""


class TextFault(Exception):
    """What of a pasted text cannot be read.

    Attributes:
        line: The line, counted from 1.
        reason: The fact, without a final full stop.
        before: The layers that were read before it.
    """

    def __init__(self, line: int, reason: str, before: Sequence[Layer] = ()) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason
        self.before = before


def is_code(text: str) -> bool:
    """Whether a text looks like PyTorch code or a printout, which never begins with a digit.

    >>> is_code("nn.Conv2d(3, 48, 3)"), is_code("(0): ReLU()"), is_code("3x3:48 BN(")
    (True, True, False)
    """
    start = text[: MAX_LENGTH + 1].lstrip()
    return not start[:1].isdigit() and _CODE.search(start) is not None


def read_layers(text: str) -> list[Layer]:
    """Read the layers of a text of at most MAX_LENGTH characters, in the order they stand in.

    Raises:
        TextFault: if it can be read neither as code nor as a printout.

    >>> [layer.name for layer in read_layers("self.a = nn.Conv2d(3, 8, 3)\\nself.b = nn.ReLU()")]
    ['Conv2d', 'ReLU']
    """
    text = _PROMPT.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if any(_CHILD.match(line.strip()) for line in text.split("\n")):
        return _read_printout(text)
    return _read_code(text)


# ---- code --------------------------------------------------------------------------------


def _read_code(text: str) -> list[Layer]:
    """The layers of Python code."""
    _check_brackets(text)
    backslash = re.search(r"\\(?!\n)", text)  # Python warns of some of them
    if backslash:
        line = text[: backslash.start()].count("\n") + 1
        raise TextFault(line, "it has a backslash, which no layer needs")
    digits = re.search(r"\d{40,}", text)  # Python refuses those of thousands in words of its own
    if digits:
        line = text[: digits.start()].count("\n") + 1
        raise TextFault(line, f"it has a number of {len(digits.group()):,} digits")
    return list(_parsed(text).layers())


def _parsed(text: str) -> _Code:
    """The syntax tree of code, whose lines may be indented as they were where they come from.

    Raises:
        TextFault: with the layers that there are if the open brackets are closed.
    """
    fault = None
    stripped = "\n".join(line.lstrip() for line in text.split("\n"))
    for attempt in (textwrap.dedent(text), stripped):
        try:
            return _Code(attempt, ast.parse(attempt))
        except _UNPARSED as error:
            fault = fault or error
    closed = stripped.rstrip().rstrip(",=") + _closing(stripped)
    before: Sequence[Layer] = ()
    try:
        before = list(_Code(closed, ast.parse(closed)).layers())
    except _UNPARSED:
        pass
    except TextFault as inner:
        before = inner.before
    line = getattr(fault, "lineno", None) or 1
    message = "it is too complex to be read"
    if isinstance(fault, SyntaxError):
        message = f"it is not Python, {one_line(fault.msg)}"
    elif isinstance(fault, ValueError):
        message = "it has a character that code cannot have"
    raise TextFault(line, message, before)


def _check_brackets(text: str) -> None:
    """Refuse brackets so deep within each other that parsing them would take long."""
    depth, line = 0, 1
    for sign in text:
        line += sign == "\n"
        depth += (sign in "([{") - (sign in ")]}")
        if depth > _MAX_NESTING:
            reason = f"more than {_MAX_NESTING} brackets stand within each other"
            raise TextFault(line, reason)


def _closing(text: str) -> str:
    """The brackets that close those that are open."""
    opened: list[str] = []
    for sign in text:
        if sign in _OPENING:
            opened.append(_OPENING[sign])
        elif opened and sign == opened[-1]:
            opened.pop()
    return "".join(reversed(opened))


class _Code:
    """The layers in a syntax tree."""

    def __init__(self, source: str, tree: ast.Module) -> None:
        self.lines = source.split("\n")
        self.tree = tree
        self.numbers: dict[str, Any] = {}  # literals that names stand for, as in dim = 384
        self.found: list[Layer] = []  # so far

    def layers(self) -> Iterator[Layer]:
        for statement in self.tree.body:
            for layer in self.of_statement(statement):
                self.found.append(layer)
                yield layer

    def of_statement(self, node: ast.stmt, depth: int = 0) -> Iterator[Layer]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            if node.name == "forward":
                reason = "what forward does is not read, only the lines that create layers"
                self.fail(node, reason)
            if depth > _MAX_NESTING:
                self.fail(node, f"more than {_MAX_NESTING} blocks stand within each other")
            for inner in node.body:
                yield from self.of_statement(inner, depth + 1)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and self.is_number(node):
            return
        elif isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.Return):
            if node.value is not None and not _is_super(node.value):
                yield from self.of_value(node.value)
        elif not isinstance(node, _WITHOUT_LAYERS):
            line = shortened(one_line(self.lines[node.lineno - 1].strip()), 40)
            self.fail(node, f"“{line}” would have to be run, and pasted code is only read")

    def is_number(self, node: ast.Assign | ast.AnnAssign) -> bool:
        """Whether names are given a literal, which is then noted."""
        value = Unread("") if node.value is None else self.value(node.value)
        if isinstance(value, Unread) and not isinstance(node.value, ast.Name | ast.Attribute):
            return False
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for name in filter(None, map(_dotted, targets)):
            self.numbers[name] = value
        return True

    def of_value(self, node: ast.expr) -> Iterator[Layer]:
        """The layers that an expression creates."""
        if isinstance(node, ast.List | ast.Tuple):
            for element in node.elts:
                yield from self.of_value(element)
        elif isinstance(node, ast.Dict):
            for value in node.values:
                yield from self.of_value(value)
        elif isinstance(node, ast.Starred):
            yield from self.of_value(node.value)
        elif isinstance(node, ast.Call) and (name := _dotted(node.func)):
            yield self.of_call(name.rpartition(".")[2], node)
        elif not isinstance(node, ast.Constant):
            self.fail(node, f"“{self.source(node)}” is not a layer such as nn.Conv2d(3, 48, 3)")

    def of_call(self, name: str, node: ast.Call) -> Layer:
        if name in _CONTAINERS:
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            inner = [layer for value in values for layer in self.of_value(value)]
            return Layer(name=name, line=node.lineno, inner=inner)
        return Layer(
            name=name,
            line=node.lineno,
            args=tuple(map(self.value, node.args)),
            kwargs={each.arg or "**": self.value(each.value) for each in node.keywords},
        )

    def value(self, node: ast.expr) -> Any:
        """A literal, what a name stands for, or `Unread`."""
        name = _dotted(node)
        if name in self.numbers:
            return self.numbers[name]
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return Unread(self.source(node))

    def source(self, node: ast.expr) -> str:
        """How an expression is written, on one line."""
        line = self.lines[node.lineno - 1].encode("utf-8", "surrogatepass")
        end = node.end_col_offset if node.end_lineno == node.lineno else None
        return shortened(one_line(line[node.col_offset : end].decode("utf-8", "replace")), 40)

    def fail(self, node: ast.expr | ast.stmt, reason: str) -> NoReturn:
        raise TextFault(node.lineno, reason, self.found)


def _dotted(node: ast.expr) -> str:
    """A name with the dots before it; empty for another expression."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(names))) if isinstance(node, ast.Name) else ""


def _is_super(node: ast.expr) -> bool:
    """Whether an expression is super().__init__()."""
    inner = node.func if isinstance(node, ast.Call) else node
    owner = inner.value if isinstance(inner, ast.Attribute) else inner
    return isinstance(owner, ast.Call) and _dotted(owner.func) == "super"


# ---- printouts ---------------------------------------------------------------------------


def _read_printout(text: str) -> list[Layer]:
    """The modules of a printout; what `extra_repr` adds to a container is no module."""
    reader = _Printout()
    for number, line in enumerate(text.split("\n"), start=1):
        reader.read(number, line.strip())
    return reader.closed()


@dataclass
class _Open:
    """A module whose closing bracket was not read yet."""

    name: str
    line: int
    count: int  # how often it stands there
    inner: list[Layer] = field(default_factory=list)
    size: int = 0  # layers within


class _Printout:
    """The modules of a printout, read line by line."""

    def __init__(self) -> None:
        self.opened = [_Open("", 1, 1)]  # the first holds the others

    def read(self, number: int, line: str) -> None:
        child = _CHILD.match(line)
        module = child["module"] if child else line
        count = int(child["count"] or 1) if child else 1
        if line.rstrip(",") == ")":
            if len(self.opened) > 1:
                self.close()
        elif re.fullmatch(r"[^\W\d][\w.]*\(", module):
            self.opened.append(_Open(module[:-1].rpartition(".")[2], number, count))
            if len(self.opened) > _MAX_NESTING:
                self.fail(number, f"more than {_MAX_NESTING} modules stand within each other")
        elif child or (len(self.opened) == 1 and line):
            self.add(number, self.layer(number, module), count)

    def add(self, number: int, layer: Layer, count: int, size: int = 1) -> None:
        within = self.opened[-1]
        within.size += size * count
        if within.size > _MAX_LAYERS:
            self.fail(number, f"it has more than {_MAX_LAYERS:,} layers")
        within.inner += [layer] * count

    def close(self) -> None:
        done = self.opened.pop()
        layer = Layer(name=done.name, line=done.line, inner=done.inner)
        self.add(done.line, layer, done.count, size=done.size + 1)

    def closed(self) -> list[Layer]:
        """The modules, after all that are still open were closed."""
        while len(self.opened) > 1:
            self.close()
        return self.opened[0].inner

    def layer(self, number: int, text: str) -> Layer:
        """A layer as PyTorch prints it, which is Python but for the texts without quotes."""
        name = re.match(r"[^\W\d][\w.]*(?=\()", text)
        if name is None:
            self.fail(number, f"“{shortened(one_line(text), 40)}” is no line of a printout")
        try:
            (layer,) = _read_code(text)
        except (TextFault, ValueError):  # its arguments are printed in a way of their own
            return Layer(name=name.group().rpartition(".")[2], line=number)
        return replace(layer, line=number)

    def fail(self, number: int, reason: str) -> NoReturn:
        before = [layer for each in self.opened for layer in each.inner]
        raise TextFault(number, reason, before)
