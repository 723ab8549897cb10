"""The example of the page on rules, saved as a file and named to the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.examples import ROOT, blocks_of
from vitc_inspect import cli, temporary_rules


def test_the_terminal_knows_the_rules_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = blocks_of(ROOT / "docs" / "rules.md")[0]
    assert example.printed is not None
    path = tmp_path / "mixer.py"
    path.write_text(example.text, encoding="utf-8")
    with temporary_rules():
        assert cli.main(["--module", f"{path}:Mixer", "--input", "2,10,32", "--strict"]) == 0
    shown = example.printed.replace(f"example-{example.line}.py", "mixer.py")
    assert capsys.readouterr().out.endswith(shown)


def test_a_wrong_rule_in_the_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = blocks_of(ROOT / "docs" / "rules.md")[0].text
    path = tmp_path / "mixer.py"
    path.write_text(example.replace("2 * tokens * width", "3 * tokens * width"), encoding="utf-8")
    with temporary_rules():
        assert cli.main(["--module", f"{path}:Mixer", "--input", "2,10,32", "--strict"]) == 1
    assert "attention.macs: predicted 49,920, observed 43,520" in capsys.readouterr().out
