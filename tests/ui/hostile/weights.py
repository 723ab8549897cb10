"""Files of weights for a stem of 4×4 kernels and 8 channels: a good one, and damaged ones."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.spec import patchify_stem

STEM = patchify_stem(4, 8, image_size=32)


def write_good(path: Path) -> Path:
    """Write weights that fit."""
    save_file(dict(build_stem(STEM, seed=5).state_dict()), path)
    return path
