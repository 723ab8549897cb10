"""HTML that escapes by itself: what is put in comes out again, and nothing else does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vitc_inspect
from tests.hostile_html import TEXTS, Read
from vitc_inspect.views.html import Markup, fill, join, tag, trusted


@settings(derandomize=True, deadline=None, database=None)
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


@settings(derandomize=True, deadline=None, database=None)
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


# ---- no other file writes HTML ----------------------------------------------------------------

PACKAGE = Path(vitc_inspect.__file__).parent
HERE = "views/html.py"
EXEMPT = {
    HERE: "writes HTML",
    "views/plots.py": "reads the SVG that matplotlib wrote",
    "ui/security_headers.py": "marks the scripts in the document that Gradio wrote",
    "ui/page.py": "puts the style sheet, a file of the package, into an element",
}
"""Files in which a string may look like HTML, each with its reason."""
ELEMENTS = (
    *("a", "article", "b", "br", "button", "code", "dd", "details", "div", "dl", "dt", "em", "i"),
    *("fieldset", "figcaption", "figure", "footer", "form", "h[1-6]", "head", "header", "hr"),
    *("html", "iframe", "img", "input", "label", "li", "link", "main", "mark", "meta", "nav", "ol"),
    *("option", "output", "p", "pre", "progress", "q", "script", "section", "select", "small"),
    *("span", "strong", "style", "sub", "summary", "sup", "table", "tbody", "td", "template"),
    *("textarea", "tfoot", "th", "thead", "time", "title", "tr", "ul", "video"),
    *("circle", "clipPath", "defs", "ellipse", "g", "image", "line", "linearGradient", "marker"),
    *("mask", "path", "pattern", "polygon", "polyline", "rect", "stop", "svg", "symbol", "text"),
    *("tspan", "use"),
)
LOOKS_LIKE_HTML = re.compile(rf"(?<!\?P)</?(?:{'|'.join(ELEMENTS)})(?=[\s/>]|$)")


def sources() -> dict[str, str]:
    """All files of the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def html_outside(source: str) -> list[str]:
    """What a file does that only `views/html.py` may do, each with its line.

    HTML stands in the code as a literal that is the template of `fill`, and nowhere else: so no
    value gets into it by an f-string, by `+`, `%`, `.format` or `.replace`.
    """
    tree = ast.parse(source)
    found, aside = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and libraries(node) & ESCAPING:
            found.append(f"{node.lineno}: escapes by itself")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            aside.add(node.value)  # a docstring
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            aside.update(node.args[:1] if node.func.id == "fill" else ())
            found += [f"{node.lineno}: {fault}" for fault in call_faults(node.func.id, node.args)]
        elif isinstance(node, ast.FormattedValue) and node.format_spec:
            aside.update((node.format_spec, *ast.walk(node.format_spec)))
    for node in ast.walk(tree):
        if node in aside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", "") for part in node.values]
            words = [part if isinstance(part, str) else "\0" for part in parts]
            if re.search("</?\0", "".join(words)):
                found.append(f"{node.lineno}: an element whose name is put in")
        if isinstance(node, ast.Constant) and LOOKS_LIKE_HTML.search(str(node.value)):
            found.append(f"{node.lineno}: HTML outside of a template")
    return found


ESCAPING = frozenset({"html", "markupsafe", "xml"})


def libraries(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The libraries that a line imports."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    modules = modules or [alias.name for alias in node.names]
    return {module.partition(".")[0] for module in modules}


def call_faults(name: str, args: list[ast.expr]) -> list[str]:
    """What is wrong with a call of a function of `views/html.py`."""
    first = args[0].value if args and isinstance(args[0], ast.Constant) else None
    if name in ("fill", "tag") and not isinstance(first, str):
        return ["a template, or the name of an element, that is no literal"]
    if name == "fill":
        return template_faults(first)
    return ["takes text for HTML"] if name == "trusted" or (name == "Markup" and args) else []


def template_faults(template: str) -> list[str]:
    """Where a value would be no text and no quoted attribute."""
    filled = re.sub(r"\{[^{}]*\}", "FIELD", template)
    elements = re.findall(r"<[^<>]*>", filled)
    bare = [each for each in elements if "FIELD" in re.sub('"[^"]*"', '""', each)]
    unquoted = [each for each in elements if re.search(r"=(?!\")", re.sub('"[^"]*"', '""', each))]
    return [f"a value outside of quotes in {each}" for each in (*bare, *unquoted)]


@pytest.mark.parametrize("file", sources())
def test_no_file_but_one_escapes_or_puts_html_together(file: str) -> None:
    found = html_outside(sources()[file])
    if file in EXEMPT:
        assert found  # else it is exempt no longer
    else:
        assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from html import escape",
        "import html",
        "from markupsafe import Markup",
        "from xml.sax.saxutils import escape",
        "f'<b>{name}</b>'",
        "'<b>' + name",
        "'<b>%s</b>' % name",
        "'<b>{}</b>'.format(name)",
        "''.join(['<td>', name])",
        "text.replace('x', '<br>')",
        "fill(f'<b>{name}</b>')",
        "fill('<b>{}</b>' + name, 1)",
        "fill(template, name)",
        "fill('<b class={}></b>', name)",
        "fill('<b {}></b>', name)",
        "fill('<{}></b>', name)",
        "fill('<b class=x></b>')",
        "tag(name, 'x')",
        "f'<{name}>x'",
        "f'x</{name}>'",
        "trusted(name)",
        "Markup(name)",
    ],
)
def test_html_put_together_is_found(source: str) -> None:
    assert html_outside(source)


@pytest.mark.parametrize(
    "source",
    [
        "'''Docs of <b>.'''",
        "def f():\n    '''Docs of <b>.'''",
        "from vitc_inspect.views.html import Markup, tag",
        "tag('b', name, title=name)",
        "fill('<b title=\"{}\">{:,}</b>', name, 3)",
        "Markup()",
        "re.compile('(?P<path>.*)')",
        "f'{a} < {b} and <lambda>'",
        "f'{a:<{b}}'",
        "'<module>'",
    ],
)
def test_what_is_no_html_is_left_alone(source: str) -> None:
    assert html_outside(source) == []
