"""Parse a pasted error: the message, and the code and operands that a traceback shows."""

from __future__ import annotations

import re
from itertools import pairwise, zip_longest

from vitc_inspect.diagnosis.explanation import SHAPE, ErrorContext
from vitc_inspect.stem.spec import StemSpec

MAX_TEXT = 200_000
"""Longest text that is read, counted from its end (characters)."""

_FRAME = re.compile(r'\s*File ".{1,500}", line \d')
_ARROW = re.compile(r"(?:-+> ?\d+|>) +(\S.{0,500})")
_HERE = re.compile(r"\s*~+ <--- HERE\s*$")
_CARETS = re.compile(r"\s*[~^]+\s*$")
_ERROR = re.compile(r"(?:E +)?\w{0,40}(?:Error|Exception): ")
_CODE = re.compile(r"(?:E +)?(?:\s*return\b|[\s\w.,\[\]()*]{1,120}[-+*]?= ?\S)")
_PYTEST = re.compile(r"^E +", re.MULTILINE)
_GAPS = re.compile(r"[\s│|]+")


def read_text(text: str, spec: StemSpec | None) -> ErrorContext:
    """Parse a message, or a traceback of Python, IPython, pytest or TorchScript.

    Args:
        text: Any text; only its last MAX_TEXT characters are read.
        spec: The stem, if it is known.

    Returns:
        The message in its usual wording, the last line of code, and the operands that
        torch.compile names.
    """
    text = text[-MAX_TEXT:].replace("’", "'").replace("‘", "'")
    source, marked = _last_line(text.splitlines())
    plain = _GAPS.sub(" ", _PYTEST.sub("", text)).strip()
    operation, operands, parameters = _fake_operands(plain)
    return ErrorContext(
        text=_usual_wording(plain),
        source=source,
        marked=marked,
        spec=spec,
        sign=operation,
        operands=operands,
        parameters=parameters,
    )


def _last_line(lines: list[str]) -> tuple[str, str]:
    """The last line of code in a traceback, and the part of it marked with ~ and ^."""
    source = marked = ""
    for before, line, after, under in zip_longest(
        ["", *lines[:-1]], lines, lines[1:], lines[2:], fillvalue=""
    ):
        if arrow := _ARROW.match(line):
            source, marked = arrow.group(1).strip(), ""
        elif _HERE.match(line):
            source, marked = before.strip(), _marked(before, line.split("<")[0])
        elif _FRAME.match(line):
            source = after.strip()
            marked = _marked(after, under) if _CARETS.match(under[:600]) else ""
    return (source, marked) if source else (_above_the_error(lines), "")


def _above_the_error(lines: list[str]) -> str:
    """A line of code directly above the error, pasted without its frame."""
    for line, after in pairwise(lines):
        if _ERROR.match(after) and _CODE.match(line[:500]):
            return line[:500].strip()
    return ""


def _marked(line: str, marks: str) -> str:
    """The part of a line that has marks below it."""
    start = len(marks) - len(marks.lstrip())
    return line[start : len(marks.rstrip())].strip()


# ---- torch.compile ---------------------------------------------------------------------------

_FAKE_CALL = re.compile(
    r"call_(?:function|method) (?:<(?:built-in (?:function|method)|function) )?(\w{1,60})"
    r".{0,80}?\*\((.{1,4000}?)\), \*\*\{"
)
_NEAR_THE_END = 20_000
_FAKE = re.compile(r"(Parameter\()?FakeTensor\(\.\.\., size=\(([\d, ]{0,100})\)")


def _fake_operands(text: str) -> tuple[str, tuple[tuple[int, ...], ...], tuple[bool, ...]]:
    """The function that torch.compile failed on, its operands, and which are parameters."""
    calls = list(_FAKE_CALL.finditer(text[-_NEAR_THE_END:]))
    if not calls:
        return "", (), ()
    name, arguments = calls[-1].groups()
    found = _FAKE.findall(arguments)
    if len(found) != arguments.count("FakeTensor("):  # some sizes are symbolic
        return name, (), ()
    shapes = tuple(tuple(map(int, re.findall(r"\d+", size))) for _, size in found)
    return name, shapes, tuple(bool(parameter) for parameter, _ in found)


_BROADCAST = re.compile(
    r"Attempting to broadcast a dimension of length (\d{1,9}) at (-?\d)! Mismatching argument at"
    rf" index (\d) had (?:torch\.Size\()?({SHAPE})\)?; but expected shape should be"
    rf" broadcastable to ({SHAPE})"
)
_REDUCED = re.compile(
    r"a and b must have same reduction dim, but got \[(\d{1,12}), (\d{1,12})\] X"
    r" \[(\d{1,12}), (\d{1,12})\]"
)
_JOINED = re.compile(
    r"(Sizes of tensors must match except in dimension \d\. Expected) (\d{1,9}) in dimension"
    r" (\d) but got (\d{1,9}) for tensor number"
)
_JOINED_BEFORE = re.compile(
    r"(Sizes of tensors must match except in dimension) (\d)\. Got (\d{1,9}) and (\d{1,9})"
    r"(?P<where> in dimension \d)?(?: \(The offending index is (?P<which>\d{1,9})\))?"
)
"""torch up to 1.9; if no dimension follows the sizes, the first one is theirs."""
_NORMED = re.compile(
    r"(Given normalized_shape=\[[\d, ]{1,60}\], expected input with shape) \[([\d, ]{1,60})\],"
    rf" but got input of size torch\.Size\(({SHAPE})\)"
)


def _usual_wording(text: str) -> str:
    """Rewrite messages of torch.compile and old versions in today's eager wording."""
    text = _BROADCAST.sub(_as_sum, text)
    text = _REDUCED.sub(r"mat1 and mat2 shapes cannot be multiplied (\1x\2 and \3x\4)", text)
    text = _JOINED.sub(r"\1 size \2 but got size \4 for tensor number", text)
    text = _JOINED_BEFORE.sub(_as_joined, text)
    return _NORMED.sub(r"\1 [*, \2], but got input of size\3", text)


def _as_joined(match: re.Match[str]) -> str:
    """Rewrite the message of torch.cat before 1.10 in today's wording."""
    axis = match[2] if match["where"] else min(int(match[2]), 1)
    return (
        f"{match[1]} {axis}. Expected size {match[3]} but got size {match[4]} for tensor number"
        f" {match['which'] or 1}"
    )


def _as_sum(match: re.Match[str]) -> str:
    """Rewrite a failed broadcast as a failed sum, with the axis counted from the first."""
    wanted = [int(number) for number in re.findall(r"\d+", match[5])]
    had = [int(number) for number in re.findall(r"\d+", match[4])]
    back = -int(match[2]) if match[2].startswith("-") else max(1, len(had) - int(match[2]))
    if back > len(wanted) or int(match[3]) != 1:
        return match[0]
    return (
        f"The size of tensor a ({wanted[-back]}) must match the size of tensor b ({match[1]})"
        f" at non-singleton dimension {max(len(wanted), len(had)) - back}"
    )
