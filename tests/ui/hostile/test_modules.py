"""Files of modules that are replaced by hostile ones under a running app, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hostile_html import Read
from tests.ui.hostile.client import Client, resident, sentence_of
from tests.ui.hostile.guests import DAMAGED, ENDLESS, FILES, GOOD_MODULE, write_module
from tests.ui.hostile.ordinary import module_still_right


def told(answer: dict[str, Any]) -> str:
    """What a reader is told of the module, or that the run has failed."""
    if "error" in answer:
        return sentence_of(answer)
    parts = ("broken", "alerts", "summary", "panel")
    return " ".join(" ".join(Read(answer.get(name, "")).text for name in parts).split())


@pytest.mark.parametrize("name", FILES)
def test_a_file(module: Client, module_file: Path, name: str) -> None:
    text, said = FILES[name]
    damaged = name in DAMAGED
    write_module(module_file, text)
    answer = module.call("reload", {"image": "ramp"}, damaged=damaged)
    assert said in told(answer)
    assert told(answer)
    module.call("changed", {})
    if said != ENDLESS:  # which would take as long again
        module.call("show", {"image": "ramp"}, damaged=damaged)
    write_module(module_file, GOOD_MODULE)
    module_still_right(module)
    assert resident(module.app.pid) < 8000
