"""The page on rules: its example runs as it is written, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import vitc_inspect
from tests.served import ROOT
from vitc_inspect import Expectation, inspect_module, register_rule, temporary_rules
from vitc_inspect.tracing.rules import REGISTRY

PAGE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


EXAMPLE, DECORATED, TEMPORARY = blocks("python")
SCRIPT, TERMINAL = blocks("console")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mixer.py").write_text(EXAMPLE, encoding="utf-8")
    return tmp_path


def printed(command: str, folder: Path) -> list[str]:
    python, *arguments = shlex.split(command.removeprefix("$ "))
    assert python == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_the_example_prints_what_the_page_shows(folder: Path) -> None:
    command, *shown = SCRIPT.splitlines()
    assert command == "$ python mixer.py"
    assert printed(command, folder) == shown
    assert "attention.macs" not in shown


def test_the_terminal_knows_the_rules_of_the_file(folder: Path) -> None:
    (command,) = TERMINAL.splitlines()
    assert printed(command, folder) == SCRIPT.splitlines()[1:]


def test_the_other_blocks_run() -> None:
    names = {
        "torch": torch,
        "nn": nn,
        "my_rule": lambda layer, shapes: Expectation(rule="mine"),
        "model": nn.Linear(2, 3),
        "x": torch.zeros(1, 2),
        "inspect_module": inspect_module,
        "register_rule": register_rule,
        "temporary_rules": temporary_rules,
    }
    with temporary_rules():
        exec(DECORATED, names)
        register_rule(names["fused"])(lambda call: 0)
    exec(TEMPORARY, names)
    assert names["report"].rows[0].predicted.rule == "mine"  # type: ignore[attr-defined]
    assert nn.Linear not in REGISTRY.users


def test_the_page_names_what_the_package_offers() -> None:
    used = re.search(r"^from vitc_inspect import (.*)$", EXAMPLE, re.MULTILINE)
    assert used is not None
    assert set(used[1].split(", ")) <= set(vitc_inspect.__all__)
