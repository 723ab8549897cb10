"""Text that looks like HTML, and a parser that tells what became of it."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import strategies as st

HOSTILE = (
    *("<script>alert(1)</script>", "\"onmouseover='alert(1)'", "' onerror=x y='", "a&amp;b&lt;"),
    *(
        "</td></table>",
        "]]>-->",
        "{0}{name}",
        "%s",
        "`${x}`",
        "line\nline\ttab",
        "é 漢字 \u202e \x00",
    ),
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_characters="\r")))


class Read(HTMLParser):
    """What a parser finds: elements with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute stands twice"
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
