"""Ordinary requests, which have to be answered right after every hostile one."""

from __future__ import annotations

import re

from tests.hostile_html import Read
from tests.ui.hostile.client import SMALL, Client


def still_right(stems: Client, **changes: str) -> None:
    """Check that a stem is predicted and run: 8 × 8 + 1 tokens of 8 numbers."""
    request = {**SMALL, **changes}
    predicted = stems.call("predict", request)
    assert "error" not in predicted
    observed = stems.call("run", request)
    assert "error" not in observed, observed
    said = " ".join(Read(observed["status"]).text.split())
    assert re.search("checked against a real run|layers? agrees?", said), said


def module_still_right(module: Client) -> None:
    """Check that the module is read again and run: 1 × 64 × 16 from 1 × 3 × 32 × 32."""
    answer = module.call("reload", {"image": "ramp"})
    assert "broken" not in answer, answer
    said = " ".join(Read(answer["summary"]).text.split())
    assert "1×64×16" in said, said
