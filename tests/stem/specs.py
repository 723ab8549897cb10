"""What the tests of stems and layers share: errors that are expected, and stems that run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.spec import (
    StemSpec,
)


def rejected(build: Callable[..., Any], **fields: Any) -> SpecError:
    """The error that building with these fields raises."""
    with pytest.raises(SpecError) as caught:
        build(**fields)
    return caught.value


def assert_builds_and_runs(stem: StemSpec) -> None:
    """PyTorch takes the stem and gives as many tokens as it promised."""
    image = torch.zeros(1, stem.in_channels, *stem.image_size)
    assert build_stem(stem)(image).shape == (1, stem.seq_len, stem.embed_dim)
