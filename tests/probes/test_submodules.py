"""Parts of a stem's module, the taps of its convolutions, and its mode put back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.submodules import (
    before_tokens,
    beginning,
    doubles,
    evaluating,
    named_layers,
    taps_of,
)
from vitc_inspect.stem.notation import parse_stem


def test_each_layer_gets_its_own_mode_back_also_when_the_block_raises() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module.train()
    module[1].eval()  # as a norm that is frozen
    with evaluating(module):
        assert not any(layer.training for layer in module.modules())
    assert [layer.training for layer in module.modules()] == [True, True, False, True]
    with pytest.raises(KeyError), evaluating(module):
        raise KeyError
    assert [layer.training for layer in module.modules()] == [True, True, False, True]


def test_layers_are_found_by_name_in_order_and_one_in_two_places_twice() -> None:
    act = nn.ReLU()
    inner = nn.Sequential(nn.Linear(2, 2))
    module = nn.Sequential()
    for name, layer in (("a", act), ("inner", inner), ("b", act)):
        module.add_module(name, layer)
    found = named_layers(module)
    assert list(found) == ["a", "inner", "b"]
    assert found["a"] is found["b"] is act


def test_the_part_before_the_tokens_ends_in_the_last_map() -> None:
    stem = build_stem(parse_stem("3x3/2:4 bn relu, 8x8/8:6", image_size=32))
    image = torch.randn(2, 3, 32, 32)
    maps = before_tokens(stem)
    assert list(named_layers(maps)) == ["conv1", "norm1", "act1", "proj"]
    with torch.no_grad(), evaluating(stem):
        map = maps(image)
        assert map.shape == (2, 6, 2, 2)
        tokens = stem(image)
        rest = list(named_layers(stem).values())[4:]
        for layer in rest:
            map = layer(map)
        assert torch.equal(map, tokens)
        assert beginning(stem, 1)(image).shape == (2, 4, 16, 16)
        assert torch.equal(beginning(stem, 0)(image), image)
    assert list(named_layers(before_tokens(maps))) == list(named_layers(maps))  # has no tokens


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(
    size=st.integers(1, 14),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    padding=st.one_of(st.integers(0, 4), st.sampled_from(("same", "valid"))),
    axis=st.integers(0, 1),
)
def test_taps_are_the_places_that_torch_reads(
    size: int, kernel: int, stride: int, dilation: int, padding: int | str, axis: int
) -> None:
    """Whether the output moves where one place of the input does."""
    assume(padding != "same" or stride == 1)  # torch makes no other
    around = padding if isinstance(padding, int) else dilation * (kernel - 1) * (padding == "same")
    assume(size + 2 * around > dilation * (kernel - 1) or padding == "same")
    turned = (lambda one, other: (one, other)) if axis == 0 else (lambda one, other: (other, one))
    beside = padding if isinstance(padding, str) else turned(padding, 0)
    conv = nn.Conv2d(1, 1, turned(kernel, 1), turned(stride, 1), beside, turned(dilation, 1))
    nn.init.ones_(conv.weight)
    image = torch.zeros(1, 1, *turned(size, 1), requires_grad=True)
    output = conv(image).flatten()
    for index, value in enumerate(output):
        (moved,) = torch.autograd.grad(value, image, retain_graph=True)
        read = torch.nonzero(moved.flatten()).flatten().tolist()
        assert [tap for tap in taps_of(conv, axis, index) if 0 <= tap < size] == read


def test_numbers_are_copied_and_can_only_be_read() -> None:
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16, requires_grad=True)
    found = doubles(half)
    assert (found.dtype, found.tolist()) == (np.float64, [1.5, -2.0])
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 3
    wide = torch.zeros(2, dtype=torch.float64)
    copy = doubles(wide)
    wide += 1
    assert copy.tolist() == [0, 0]
