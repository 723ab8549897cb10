"""Tensors with an axis of length 0."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.diagnosis.runs import Made, best, cut, tokens
from vitc_inspect.diagnosis import explain_error


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.stem(x[:, 3:]),
        lambda m, x: tokens(m.stem(x)) + torch.zeros(1, 64, 16)[:, :0],
        lambda m, x: torch.cat([m.stem(x), m.stem(x)[:, :, :0]], 1),
        lambda m, x: torch.cat([block for block in ()]),
        lambda m, x: torch.stack([block for block in ()]),
        lambda m, x: F.interpolate(x, size=(64 // 100, 64 // 100)),
        lambda m, x: m.stem(x).reshape(len(x) // 2, 64, 16),
        lambda m, x: F.max_pool2d(x[:, :, :0], 2),
        lambda m, x: F.layer_norm(tokens(x)[..., :0], (3,)),
        lambda m, x: F.linear(tokens(x)[..., :0], torch.zeros(5, 3)),
        lambda m, x: tokens(x)[:, :0].max(1)[0],
        lambda m, x: x[:, :, :0].reshape(0, -1),
        lambda m, x: m.stem(x[:, :, :0]),
        lambda m, x: x[:, :, :0].reshape(1, 12),
    ],
)
def test_an_axis_of_0_is_told_as_that_and_no_layer_is_built_for_it(
    forward: Callable[[nn.Module, Tensor], Tensor],
) -> None:
    meaning = best(Made(forward, stem=cut()), 1, 3, 64, 64)
    assert meaning.kind == "empty"
    assert not re.search(r"in_channels=0|Linear\(|LayerNorm\(|\b0×0", " ".join(meaning.fixes))
    assert meaning.likelihood != "certain"


def test_a_target_with_an_axis_of_0_in_its_windows_too_is_explained() -> None:
    (only,) = explain_error("shape '[0, 4, 0, 7, 7]' is invalid for input of size 12")
    assert only.kind == "empty"
