"""The same report in every format."""

from __future__ import annotations

import pytest

from tests.cli.stems import SMALL, STEM
from vitc_inspect import module_csv, module_markdown
from vitc_inspect.cli.formats import report_text
from vitc_inspect.inspection.stem_inspection import inspect_stem
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.views.report_table import report_page


@pytest.mark.parametrize(
    ("flag", "write"),
    [("--csv", module_csv), ("--markdown", module_markdown), ("--html", report_page)],
)
def test_a_stem_is_printed_in_every_format(run, flag, write):
    report = inspect_stem(parse_stem(STEM, image_size=(32, 40)), device="cpu")
    assert run(*SMALL, flag) == (0, write(report) + "\n", "")


@pytest.mark.parametrize("flag", ["--markdown", "--html"])
def test_other_counts_follow_the_report_in_every_format_of_text(run, flag):
    code, out, err = run(*SMALL, "--witnesses", flag)
    assert (code, err) == (0, "")
    assert "MACs by every witness" in out


@pytest.mark.parametrize("flag", ["--csv", "--markdown", "--html"])
def test_a_module_is_printed_in_every_format(run, flag):
    code, out, _ = run("--module", "tests/faulty.py:Sized", "--input", "1,3,32,32", flag)
    assert code == 0
    assert "LayerNorm" in out


def test_two_formats_at_once_are_refused_before_the_module_is_run(run):
    code, out, err = run("--module", "nowhere.py:Any", "--input", "1,3", "--json", "--html")
    assert (code, out) == (2, "")
    assert err == (
        "html = True: --json was given as well, and a report is printed once."
        " Give one of the two.\n"
    )


@pytest.mark.parametrize(
    ("text", "fence"), [("one\ntwo", "```"), ("a `name`", "```"), ("```\ncode\n```` end", "`````")]
)
def test_the_fence_of_a_block_of_code_is_longer_than_any_within(text, fence):
    report = inspect_stem(parse_stem(STEM, image_size=(32, 40)), device="cpu")
    block = f"{fence}\n{text}\n{fence}"
    written = report_text(report, "markdown", behind=text)
    assert written == f"{module_markdown(report)}\n\n{block}"
