"""What the tests of stems and layers share: errors that are expected, and stems that run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import (
    build_stem,
)
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import (
    StemSpec,
    conv_layer,
)
from vitc_inspect.stem.vit import ViTSpec


def rejected(build: Callable[..., Any], **fields: Any) -> SpecError:
    """The error that building with these fields raises."""
    with pytest.raises(SpecError) as caught:
        build(**fields)
    return caught.value


def assert_builds_and_runs(stem: StemSpec) -> None:
    """PyTorch takes the stem and gives as many tokens as it promised."""
    image = torch.zeros(1, stem.in_channels, *stem.image_size)
    assert build_stem(stem)(image).shape == (1, stem.seq_len, stem.embed_dim)


def model(name: str) -> ViTSpec:
    vit = PRESETS[name].vit
    assert vit is not None
    return vit


def random_vit(seed: int) -> ViTSpec:
    """A small ViT of any kind: stems, depths, heads, both attentions, with or without a token."""
    chance = random.Random(seed)
    heads = chance.choice((1, 2, 3, 4))
    width = heads * chance.choice((1, 2, 5, 8))
    convs = [
        conv_layer(
            chance.randint(1, 9),
            chance.randint(1, 4),
            chance.randint(1, 3),
            norm=chance.choice(("none", "batch", "layer")),
            activation=chance.choice(("none", "relu", "gelu", "silu", "hardswish")),
        )
        for _ in range(chance.randint(0, 2))
    ]
    stem = StemSpec(
        image_size=(chance.randint(40, 64), chance.randint(40, 64)),
        in_channels=chance.choice((1, 3, 4)),
        convs=(*convs, conv_layer(width, chance.randint(1, 5), chance.randint(2, 6))),
        class_token=chance.random() < 0.5,
    )
    return ViTSpec(
        stem=stem,
        depth=chance.randint(1, 3),
        num_heads=heads,
        mlp_ratio=chance.choice((1, 2, 4)),
        attention=chance.choice(("softmax", "linear")),
        num_classes=chance.randint(1, 12),
    )
