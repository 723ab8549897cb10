"""Tables of the pages that are worked out: of the wings and of the presets.

A page says where a table goes with a comment, `<!-- presets -->`, and where it ends with
`<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from docs.architecture import sentence_of
from tests.test_imports import ORDER
from vitc_inspect import PRESETS, predict

_PLACE = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->\n", re.DOTALL)


def filled(source: str) -> str:
    """A page with its tables as they are today."""
    return _PLACE.sub(
        lambda place: f"<!-- {place[1]} -->\n{_TABLES[place[1]]()}<!-- end -->\n", source
    )


def _wings() -> str:
    rows = ((f"`{wing}/`", sentence_of(wing)) for wing in ORDER)
    return _table(("folder", "what stands in it"), rows)


def _presets() -> str:
    rows = []
    for name, preset in PRESETS.items():
        prediction = predict(preset.stem)
        numbers = (prediction.seq_len, prediction.stem_params, prediction.stem_macs)
        counts = (f"{number:,}" for number in numbers)
        rows.append((f"`{name}`", preset.title, *counts, preset.teaches))
    columns = ("name", "model", "tokens", "params of the stem", "MACs of the stem", "what it shows")
    return _table(columns, rows)


_TABLES = {"wings": _wings, "presets": _presets}


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(line)} |\n" for line in (columns, *rows))
    return f"{head}|{'---|' * len(columns)}\n{''.join(body)}"
