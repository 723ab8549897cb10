"""The README and the pages of docs: what they show, run and compared, and what they must name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest

import vitc_inspect
from docs import api, architecture, tables
from docs.examples import (
    PROGRAM,
    ROOT,
    Block,
    as_it_should_be,
    blocks,
    blocks_of,
    commands,
    pages,
    refreshed,
    run,
)
from tests.served import free_port, served
from tests.sources import ORDER
from vitc_inspect.cli import main
from vitc_inspect.diagnosis.explanation import FAULT_KINDS, Likelihood
from vitc_inspect.ui import launch

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


# ---- what is shown is what is printed --------------------------------------------------------


@pytest.mark.parametrize("block", blocks("console", "python"), ids=lambda block: block.name)
def test_an_example_gives_what_is_shown(block: Block) -> None:
    start, end = block.span
    assert as_it_should_be(block).splitlines() == read(block.page)[start:end].splitlines()


@pytest.mark.parametrize(
    ("shown", "now"),
    [
        (["a 1", "b 2"], ["a 1", "b 2", "c 3"]),
        (["…", "c 3"], ["…", "c 3"]),
        (["a 1", "…"], ["a 1", "…"]),
        (["…", "b  2", "…"], ["…", "b 2", "…"]),
        (["…", "a one", "c 3"], ["a 1", "…", "c 3"]),
        (["…", "d 4"], ["…"]),
        (["…", "b 2", "…", "c 3"], ["…", "b 2", "…", "c 3"]),
    ],
)
def test_an_output_keeps_what_is_left_out(shown: list[str], now: list[str]) -> None:
    assert refreshed(shown, ["a 1", "b 2", "c 3"]) == now


def test_an_example_that_has_changed_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\n2 + 2  # 5\nprint(1)\n```\n\n```text\n2\n```\n", encoding="utf-8")
    (block,) = blocks_of(page)
    assert as_it_should_be(block) == "```python\n2 + 2  # 4\nprint(1)\n```\n\n```text\n1\n```\n"
    page.write_text("```console\n$ python -m vitc_inspect 16x16\n$ echo $?\n0\n```\n", "utf-8")
    (block,) = blocks_of(page)
    assert as_it_should_be(block).endswith("\n$ echo $?\n2\n```\n")


@PAGES
def test_every_block_is_of_a_kind_that_is_run(page: Path) -> None:
    """Or is what the code above it prints; those of the API are signatures and doctests."""
    fences = re.findall(r"^```(.*)$", read(page), re.MULTILINE)[::2]
    if page == api.PAGE:
        assert set(fences) == {"py", "pycon"}
        return
    run = [block.language for block in blocks_of(page)]
    printed = [block for block in blocks_of(page) if block.printed is not None]
    assert set(run) <= {"console", "python", "sh"}
    assert len(fences) == len(run) + len(printed)


# ---- commands that are shown without their output --------------------------------------------


def bare_commands() -> list[str]:
    """Commands of the sh blocks and in running text, each once."""
    spans = (span for page in pages() for span in re.findall(r"`(python [^`]+)`", prose(page)))
    lines = (line for block in blocks("sh") if block.page != README for line in commands(block))
    return sorted({*spans, *lines} - {" ".join(PROGRAM)})


@pytest.mark.parametrize("command", [one for one in bare_commands() if one.split()[:3] == PROGRAM])
def test_a_command_of_the_terminal_works(command: str) -> None:
    code, printed = run(shlex.split(command)[3:])
    assert code == 0
    assert printed


@pytest.mark.parametrize("command", [one for one in bare_commands() if " app.py --" in one])
def test_a_command_opens_the_page(command: str) -> None:
    _, program, *arguments = shlex.split(command)
    with served("--port", str(free_port()), *arguments, program=program) as app:
        assert app.address.startswith(("http://127.0.0.1:", "http://localhost:"))


@pytest.mark.parametrize(
    "command", [one for one in bare_commands() if re.search(r"-m (docs|benchmarks)\.", one)]
)
def test_a_program_of_the_checkout_is_there(command: str) -> None:
    """They take minutes or write files: that they exist and have their options is all."""
    python, dash_m, name, *arguments = shlex.split(command)
    spec = find_spec(name)
    assert (python, dash_m) == ("python", "-m")
    assert spec is not None
    assert spec.origin is not None
    source = read(Path(spec.origin))
    assert "\ndef main(" in source
    for flag in (word for word in arguments if word.startswith("--")):
        assert f'add_argument("{flag}"' in source


def test_every_command_is_of_one_of_these_kinds() -> None:
    kinds = r"python (-m vitc_inspect |app\.py|-m (docs|benchmarks)\.)"
    assert [one for one in bare_commands() if not re.match(kinds, one)] == []


def test_ci_runs_the_test_command_as_it_is_written() -> None:
    (block,) = (block for block in blocks_of(README) if block.language == "sh")
    start, test = commands(block)
    assert test in read(ROOT / ".ci" / "run").splitlines()
    assert (
        start.replace("requirements.txt", "requirements-dev.txt").replace("app.py", "-m pytest")
        == test
    )


# ---- what is written by a script -------------------------------------------------------------


def test_the_api_is_up_to_date() -> None:
    assert read(api.PAGE).splitlines() == api.page().splitlines()


@PAGES
def test_the_tables_are_up_to_date(page: Path) -> None:
    assert read(page).splitlines() == tables.filled(read(page)).splitlines()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_picture_of_the_architecture_is_up_to_date(seed: str) -> None:
    script = "from docs.architecture import picture; print(picture(), end='')"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    assert done.stdout.decode("utf-8") == read(architecture.PICTURE)


def test_an_arrow_is_as_wide_as_its_imports_are_many() -> None:
    counts = architecture.imports_between_wings()
    drawn = architecture.picture()
    assert counts["stem", "common"] > 0
    assert drawn.count("<rect") == len(ORDER)
    assert drawn.count("stroke-width") == len(counts)
    for count in counts.values():
        assert f'stroke-width="{max(1.0, count**0.5):.1f}"' in drawn


# ---- what has to be there --------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@PAGES
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.is_file(), link
        assert not anchor or anchor in anchors(goal), link


@PAGES
def test_every_picture_is_there_and_has_its_words(page: Path) -> None:
    shown = re.findall(r"!\[([^]]*)\]\(([^)]+)\)", read(page))
    shown += [
        (alt, src) for src, alt in re.findall(r'<img src="([^"]+)".* alt="(.*?)"', read(page))
    ]
    assert len(shown) == len(re.findall(r"!\[|<img", read(page)))
    for words, path in shown:
        assert len(words.split()) > 5
        assert (page.parent / path).stat().st_size > 5_000


def test_every_page_is_in_the_index_and_all_but_it_in_the_readme() -> None:
    listed = re.findall(r"^\| \[[^]]+\]\(([\w.]+)\) \| .+\. \|$", read(DOCS / "README.md"), re.M)
    there = sorted(page.name for page in DOCS.glob("*.md") if page.name != "README.md")
    assert sorted(listed) == there
    assert [name for name in there if f"(docs/{name})" not in read(README)] == []


def test_every_public_name_stands_in_the_api() -> None:
    headings = re.findall(r"^### (\w+)$", read(api.PAGE), re.MULTILINE)
    assert sorted(headings) == sorted(vitc_inspect.__all__)


@pytest.mark.parametrize(("program", "page"), [(main, "terminal.md"), (launch.main, "page.md")])
def test_every_option_stands_on_its_page(
    program: object, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(program)
    with pytest.raises(SystemExit):
        program(["--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    cells = re.findall(r"^\| (`--[^|]+)\|", read(DOCS / page), re.MULTILINE)
    told = set(re.findall(r"`(--[a-z-]+)`", " ".join(cells))) - {"--help"}
    assert told == options


def test_every_kind_of_fault_likelihood_and_tab_is_told_of() -> None:
    (kinds,) = re.findall(r"The kinds are:\n\n(.*?)\n\n", read(DOCS / "module.md"), re.DOTALL)
    assert tuple(re.findall(r"`([^`]+)`", kinds)) == FAULT_KINDS
    for likelihood in get_args(Likelihood):
        assert f"- **{likelihood}**:" in read(DOCS / "numbers.md")
    page = read(ROOT / "vitc_inspect" / "ui" / "assets" / "page.html")
    tabs = re.findall(r'data-view="\w+" [^>]*>([^<]+)<', page)
    assert tabs == re.findall(r"^\| \*\*(\w+)\*\* \|", read(DOCS / "page.md"), re.MULTILINE)


@PAGES
def test_no_table_quotes_a_number_that_nothing_computes(page: Path) -> None:
    """Tables between comments are computed; in any other one a number is an example, in code."""
    text = re.sub(r"<!-- \w+ -->\n.*?<!-- end -->", "", prose(page), flags=re.DOTALL)
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    cells = [re.sub(r"`[^`]*`|\]\([^)]*\)", "", row) for row in rows]
    assert [cell for cell in cells if re.search(r"\d", cell)] == []


def test_the_readme_is_short() -> None:
    _, _, body = read(README).split("---\n", 2)
    assert len(body.splitlines()) <= 70


def test_the_platform_gets_the_gradio_that_is_pinned() -> None:
    (version,) = re.findall(r"^sdk_version: (\S+)$", read(README), re.MULTILINE)
    assert f"gradio=={version}\n" in read(ROOT / "requirements.txt")
    assert read(README).startswith("---\n")
    assert "\nsdk: gradio\n" in read(README)
    assert "\napp_file: app.py\n" in read(README)


def test_everything_the_package_offers_can_be_had() -> None:
    for name in vitc_inspect.__all__:
        assert getattr(vitc_inspect, name) is not None
    assert dir(vitc_inspect) == sorted(vitc_inspect.__all__)
