"""The README's code, output, commands and file table, held against what is really there."""

from __future__ import annotations

import re
import shlex

import pytest

import vitc_inspect
from tests.served import ROOT
from tests.test_imports import ORDER
from vitc_inspect.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_answers_what_its_comments_say() -> None:
    (code,) = blocks("python")
    names: dict[str, object] = {}
    answered = 0
    for line in code.splitlines():
        statement, _, comment = line.partition(" # ")
        if re.match(r"\s*(from |\w+ = )", statement) or not statement.strip():
            exec(statement, names)
        else:
            assert repr(eval(statement, names)) == comment.strip()
            answered += 1
    assert answered == 6
    assert len(code.strip().splitlines()) <= 12


@pytest.mark.parametrize("session", blocks("console"))
def test_the_terminal_prints_what_is_shown(
    session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *shown = session.splitlines()
    code = 0
    if "$ echo $?" in shown:
        *shown, _, said = shown
        code = int(said)
    program = shlex.split(command)
    assert program[:4] == ["$", "python", "-m", "vitc_inspect"]
    assert main(program[4:]) == code
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line and line in shown] == [line for line in shown if line]


def test_ci_runs_the_test_command_as_it_is_written() -> None:
    start, test = (block.strip() for block in blocks("sh"))
    assert test in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert (
        start.replace("requirements.txt", "requirements-dev.txt").replace("app.py", "-m pytest")
        == test
    )


def test_every_wing_stands_in_the_table_in_the_order_of_imports() -> None:
    listed = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", README, re.MULTILINE)
    assert listed == list(ORDER)


def test_the_platform_gets_the_gradio_that_is_pinned() -> None:
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^sdk_version: (\S+)$", README, re.MULTILINE)
    assert f"gradio=={version}\n" in pinned
    assert README.startswith("---\n")
    assert "\nsdk: gradio\n" in README
    assert "\napp_file: app.py\n" in README


def test_the_screenshot_is_there() -> None:
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).stat().st_size > 10_000


def test_everything_the_package_offers_can_be_had() -> None:
    for name in vitc_inspect.__all__:
        assert getattr(vitc_inspect, name) is not None
    assert dir(vitc_inspect) == sorted(vitc_inspect.__all__)
