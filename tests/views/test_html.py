"""HTML that escapes by itself: what is put in comes out again, and nothing else does."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitc_inspect.views.html import Markup, fill, join, tag, trusted

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


@given(words=TEXTS, title=TEXTS)
def test_text_and_attributes_come_out_as_they_went_in(words: str, title: str) -> None:
    for html in (
        tag("p.remark", words, tag("b", words), title=title, data_layer=words),
        fill(
            '<p class="remark" title="{}" data-layer="{words}">{words}<b>{words}</b></p>',
            title,
            words=words,
        ),
    ):
        found = Read(html)
        given = {"class": "remark", "title": title, "data-layer": words}
        assert found.elements == [("p", given), ("b", {})]
        assert found.text == 2 * words


@given(parts=st.lists(TEXTS, max_size=4), separator=TEXTS)
def test_parts_are_joined_as_text(parts: list[str], separator: str) -> None:
    found = Read(join(*parts, separator=separator))
    assert found.elements == []
    assert found.text == separator.join(parts)


def test_markup_stays_what_it_is_and_plain_text_does_not() -> None:
    inner = tag("b", "x")
    for html in (tag("p", inner), fill("<p>{}</p>", inner), tag("p", join(inner))):
        assert html == "<p><b>x</b></p>"
        assert isinstance(html, Markup)
    assert tag("p", str(inner)) == tag("p", f"{inner}") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"
    assert tag("p", trusted("<svg/>")) == "<p><svg/></p>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (False, ""),
        (True, " x"),
        (0, ' x="0"'),
        (1.5, ' x="1.5"'),
        ("", ' x=""'),
    ],
)
def test_an_attribute_may_be_left_out_or_stand_alone(
    value: str | float | None, written: str
) -> None:
    assert tag("i", x=value) == f"<i{written}></i>"


def test_names_of_attributes_and_booleans_of_aria_are_those_of_html() -> None:
    html = tag("button", class_="a b", aria_pressed=True, aria_label=None, viewBox="0 0 1 1")
    assert html == '<button class="a b" aria-pressed="true" viewBox="0 0 1 1"></button>'


def test_classes_are_given_at_one_place() -> None:
    with pytest.raises(TypeError, match="has its classes in its name"):
        tag("p.remark", class_="soft")


def test_an_element_without_content_is_closed_where_html_or_svg_may_close_it() -> None:
    assert tag("input", disabled=True) == "<input disabled/>"
    assert tag("path", d="M0 0") == '<path d="M0 0"/>'
    assert tag("circle", tag("title", "a")) == "<circle><title>a</title></circle>"
    assert tag("td") == "<td></td>"


def test_numbers_are_formatted_by_a_template_and_text_cannot_be() -> None:
    assert fill("<b>{:,}</b> {:.2f} {}", 4096, 0.125, 7) == "<b>4,096</b> 0.12 7"
    with pytest.raises(ValueError, match="Cannot specify"):
        fill("{:,}", "4096")
