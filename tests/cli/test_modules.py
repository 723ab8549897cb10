"""Reports on a module of a user's own."""

from __future__ import annotations

import json
import re

from vitc_inspect import cli
from vitc_inspect.cli import output
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.inspection import module_inspection

TOO_LARGE_FOR_ITS_TABLE = """
import torch
from torch import nn

class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 196, 8))

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        return x + self.pos_embed
"""


def test_a_module_that_raises_is_shown_up_to_there_and_its_error_explained(
    tmp_path, capsys, monkeypatch
):
    path = tmp_path / "stem.py"
    path.write_text(TOO_LARGE_FOR_ITS_TABLE)
    named = ["--module", f"{path}:Stem", "--input", "1,3,256,256"]
    assert cli.main(named) == output.EXIT_RAISED
    printed, complaint = capsys.readouterr()
    assert re.search(r"^transpose +function +1×8×256 +1×256×8 ", printed, re.MULTILINE)
    assert "add was given 1×256×8 float32 and 1×196×8 float32" in printed
    assert "256 = 16×16 tokens for a position table of 196 = 14×14" in printed
    assert "Resize the image to 224×224 pixels" in printed
    assert "return x + self.pos_embed" in complaint  # the traceback of the user's own code
    assert cli.main([*named, "--json"]) == output.EXIT_RAISED
    plain = json.loads(capsys.readouterr().out)
    assert plain["explanations"][0]["numbers"]["table"] == 196
    assert cli.main([*named[:2], "--input", "1,3,224,224", "--strict"]) == 0

    def ends(*args):
        raise MemoryError("no room")

    monkeypatch.setattr(module_inspection, "audit_module", ends)
    monkeypatch.delenv(STRICT_RULES, raising=False)
    assert cli.main([*named[:2], "--input", "1,3,224,224"]) == 0
    assert cli.main([*named[:2], "--input", "1,3,224,224", "--strict"]) == 1
    assert "the audit ended with MemoryError: no room." in capsys.readouterr().out
