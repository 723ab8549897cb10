"""Whose a line of Python is: torch's and ours by their folders, the user's all others."""

from __future__ import annotations

from pathlib import Path

import torch

import vitc_inspect
from vitc_inspect.tracing import listener
from vitc_inspect.tracing.tracebacks import owner_of, traceback_text


def test_files_beside_torch_are_the_users():
    site = Path(torch.__file__).parents[1]
    wheres = [
        owner_of(str(site / file))
        for file in ("torchvision/models/a.py", "torch/functional.py", "torch/nn/modules/linear.py")
    ]
    assert wheres == ["user", "torch", "layer"]


def test_the_file_that_calls_a_module_is_known():
    assert owner_of(listener.__file__) == "here"


def test_files_beside_ours_stay_in_a_traceback():
    ours = Path(vitc_inspect.__file__).parent
    files = [ours.with_name(f"{ours.name}_models") / "stem.py", ours / "tracing" / "listener.py"]
    shown = []
    for file in files:
        try:
            exec(compile("raise ValueError", str(file), "exec"), {})
        except ValueError as error:
            shown.append(str(file) in traceback_text(error))
    assert shown == [True, False]
