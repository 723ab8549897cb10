"""`vitc_inspect --explain` and the text it prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.diagnosis.errors import Embedding, error_of
from tests.served import ROOT
from vitc_inspect import cli
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.views.explanations import explanations_text

STORY = (
    "RuntimeError: The size of tensor a (257) must match the size of tensor b (197) at"
    " non-singleton dimension 1"
)


def test_the_command_line_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", STORY]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == explanations_text(explain_error(STORY)) + "\n"
    assert out.startswith("1. position table, likely\n")
    assert "- Resize the image to 224×224 pixels.\n" in out
    assert max(map(len, out.splitlines())) <= 96


def test_the_terminal_shows_the_fixes_of_all_that_is_more_than_possible() -> None:
    text = error_of(
        lambda: Embedding(patch=14, channels=1).load_state_dict(Embedding().state_dict())
    )
    shown = explanations_text(explain_error(text))
    assert "- Build the model with patch_size=16.\n" in shown
    assert "- Build the model with in_channels=3.\n" in shown
    merely = explanations_text(explain_error(STORY))
    assert merely.count("\n   - ") == 3
    assert merely.count("Why: ") == 1
    assert re.search(r"\n\d+ less likely readings, and all fixes: --json\.$", merely)


def test_the_command_line_says_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", "KeyError: 'x'"]) == 1
    assert "does not know this error" in capsys.readouterr().out
    assert cli.main(["--explain", "KeyError: 'x'", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"explanations": []}


def test_the_command_line_takes_a_stem_as_context(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "vit_c_4gf", "--image-size", "256", "--json"]
    assert cli.main(["--explain", STORY, *options]) == 0
    best = json.loads(capsys.readouterr().out)["explanations"][0]
    assert best["fixes"][0].endswith("every side from 209 to 224 gives 14.")
    assert best["numbers"]["image_height"] == 256
    assert set(best) == {"kind", "sentence", "fixes", "likelihood", "because", "numbers"}


def test_an_image_size_without_a_stem_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", STORY, "--image-size", "256"]) == 2
    assert capsys.readouterr().err.startswith("image_size = '256': neither a stem nor --preset")


def test_a_traceback_is_read_from_standard_input() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "vitc_inspect", "--explain", "-"],
        input=f"Traceback (most recent call last):\n{STORY}\n",
        capture_output=True,
        cwd=ROOT,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "257 = 16×16 + 1" in ended.stdout
