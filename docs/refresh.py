"""Bring everything in docs that is computed up to date: python -m docs.refresh.

Runs each console and Python block of the README and the pages of docs and writes what it gives
today, then the API page, the picture of the architecture, and the tables between comments.
"""

from __future__ import annotations

import sys

from docs import api, architecture, tables
from docs.examples import as_it_should_be, blocks_of, pages


def main() -> int:
    """Rewrite what has changed, and name each place."""
    api.main()
    architecture.main()
    for page in pages():
        source = before = page.read_text(encoding="utf-8")
        for block in reversed(blocks_of(page)):
            if block.language not in ("console", "python"):
                continue
            start, end = block.span
            written = as_it_should_be(block)
            if written != source[start:end]:
                print(f"{block.name} is written anew")
            source = source[:start] + written + source[end:]
        source = tables.filled(source)
        if source != before:
            page.write_text(source, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
