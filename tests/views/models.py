"""A small model to draw."""

from __future__ import annotations

from torch import nn

from vitc_inspect.model.modules import build_vit
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec


def small_vit(depth: int) -> nn.Module:
    stem = PRESETS["vit_c_1gf"].stem
    small = StemSpec(image_size=(32, 32), in_channels=3, convs=stem.convs, class_token=True)
    return build_vit(ViTSpec(stem=small, depth=depth, num_heads=2, mlp_ratio=2))
