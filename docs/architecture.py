"""Draw the wings and the imports between them: python -m docs.architecture writes architecture.svg.

A wing is a box, with its sentence; the boxes stand in the order of imports, so that every arrow
points upwards, from a wing to one that it imports from. An arrow is as wide as the square root of
the number of names imported, and carries that number.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from html import escape
from math import sqrt
from pathlib import Path

from tests.test_imports import ORDER, PACKAGE, modules_imported, place, source_files

PICTURE = Path(__file__).parent / "architecture.svg"

_BOX, _HEIGHT, _STEP, _MARGIN = 740, 40, 58, 12
_TEXT_AT, _LETTER = 110, 7.0  # where a sentence begins in its box, and the width of a letter
_REACH = 27  # how far an arrow bends for each box that it passes
_COLOURS = ("#0969da", "#8250df", "#1a7f37", "#bc4c00", "#bf3989", "#57606a")
"""Read on white and on black; the arrows of a wing have its colour."""
_GREY = "#6e7781"  # read on white and on black


def imports_between_wings() -> Counter[tuple[str, str]]:
    """How many names each wing imports from each other one."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in source_files():
        wing = place(path)
        if wing not in ORDER:
            continue
        package = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
        for name in modules_imported(path.read_text(encoding="utf-8"), package):
            library, *inner = name.split(".")
            if library == PACKAGE.name and inner and inner[0] in ORDER and inner[0] != wing:
                counts[wing, inner[0]] += 1
    return counts


def sentence_of(wing: str) -> str:
    """The first sentence of a wing."""
    source = (PACKAGE / wing / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def picture() -> str:
    """The picture as SVG."""
    width = _BOX + 2 * _MARGIN + _REACH * len(ORDER) + 40
    height = _STEP * len(ORDER) - (_STEP - _HEIGHT) + 2 * _MARGIN
    words = "The folders of vitc_inspect in the order of imports, and the imports between them"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
            f' width="{width}" height="{height}" role="img" aria-label="{words}"'
            ' font-family="system-ui, sans-serif" font-size="13">',
            *_arrows(imports_between_wings()),
            *(line for at, wing in enumerate(ORDER) for line in _box(at, wing)),
            "</svg>\n",
        )
    )


def _box(at: int, wing: str) -> Iterator[str]:
    """A wing: its name and its sentence, white on its colour."""
    top = _MARGIN + at * _STEP
    middle = top + _HEIGHT / 2 + 4.5
    sentence, room = sentence_of(wing).replace("`", ""), _BOX - _TEXT_AT - 12
    squeezed = f' textLength="{room}"' if len(sentence) * _LETTER > room else ""
    yield (
        f'<rect x="{_MARGIN}" y="{top}" width="{_BOX}" height="{_HEIGHT}" rx="6"'
        f' fill="{_colour(at)}"/>'
    )
    yield (
        f'<text x="{_MARGIN + 12}" y="{middle}" fill="#fff" font-weight="700">{wing}</text>'
        f'<text x="{_MARGIN + _TEXT_AT}" y="{middle}" fill="#fff"{squeezed}'
        f' lengthAdjust="spacingAndGlyphs">{escape(sentence)}</text>'
    )


def _arrows(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """An arrow for each pair of wings; the farthest first, so that the nearer ones lie on top."""
    pairs = [(ORDER.index(wing), ORDER.index(other), n) for (wing, other), n in counts.items()]
    for start, end, count in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        right = _MARGIN + _BOX
        # leaving above the middle of a box and arriving below it, the farthest outermost
        leave = _MARGIN + start * _STEP + _HEIGHT / 2 - 1.5 * (start - end)
        arrive = _MARGIN + end * _STEP + _HEIGHT / 2 + 1.5 * (start - end)
        bend = right + _REACH * (start - end) * 4 / 3 + 16
        apex = right + 0.75 * (bend - right)
        colour, middle = _colour(start), (leave + arrive) / 2
        yield (
            f'<path d="M{right},{leave} C{bend},{leave} {bend},{arrive} {right + 7},{arrive}"'
            f' fill="none" stroke="{colour}" stroke-opacity="0.75"'
            f' stroke-width="{max(1.0, sqrt(count)):.1f}"/>'
            f'<path d="M{right},{arrive} l9,-4 v8 z" fill="{colour}"/>'
            f'<text x="{apex + 4:.1f}" y="{middle + 4:.1f}" font-size="11" font-weight="600"'
            f' fill="{_GREY}">{count}</text>'
        )


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]


def main() -> None:
    """Write the picture beside this file."""
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
