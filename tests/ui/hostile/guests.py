"""Files of modules: a good one, and hostile ones."""

from __future__ import annotations

import os
from pathlib import Path

GOOD_MODULE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 4, stride=4)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)
"""


def write_module(path: Path, text: str | bytes) -> None:
    """Replace the file at once, as an editor does."""
    draft = path.with_name("draft")
    draft.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.replace(draft, path)
