""" "Same" padding is a note with its offset, held against the pixels that a token really reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests import faulty
from tests.audit.audits import audited


class Same(nn.Module):
    """Convolutions padded as TensorFlow pads."""

    def __init__(self, *convs, same=True):
        super().__init__()
        before, layers = 3, []
        for kernel, stride in convs:
            padding = 0 if same else (kernel - 1) // 2
            layers.append(nn.Conv2d(before, 8, kernel, stride, padding))
            before = 8
        self.layers, self.same = nn.ModuleList(layers), same

    def forward(self, x):
        for layer in self.layers:
            x = layer(padded(x, layer) if self.same else x).relu()
        return x.flatten(2).transpose(1, 2)


def padded(x, layer):
    sides = []
    for size, kernel, stride in zip(x.shape[:1:-1], layer.kernel_size, layer.stride, strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    return functional.pad(x, sides)


def centre_of_token(module, token, side):
    """Middle of the rows that a token reads, by gradient, away from the border."""
    x = torch.randn(1, 3, side, side).requires_grad_()
    module.double()(x.double())[0, token].sum().backward()
    rows = x.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    return (rows[0] + rows[-1]) / 2


C4 = ((3, 2),) * 4


@pytest.mark.parametrize(
    ("convs", "side", "offset"),
    [
        (C4, 224, 15),  # 1 + 2 + 4 + 8
        (((3, 2),), 224, 1),
        (((7, 4),), 224, 2),  # pads 1 and 2, and not 3 and 3
        (((3, 2), (3, 1), (3, 2)), 64, 3),
        (C4, 225, 0),  # an odd side is padded alike at both ends
        (((16, 16),), 224, 0),
        (((16, 16),), 230, -5),  # 5 and 5, and not 0
    ],
)
def test_same_padding_is_told_with_the_offset_that_tokens_have(convs, side, offset):
    found = audited(Same(*convs), 1, 3, side, side)
    assert "stride" not in [fault.kind for fault in found.faults]
    notes = [note for note in found.notes if "Keras" in note]
    if not offset:
        assert notes == []
        return
    (note,) = notes
    way = ("down", "right") if offset > 0 else ("up", "left")
    assert f"{abs(offset)} px {way[0]} and {abs(offset)} px {way[1]} of where" in note
    if side == 224 and len(convs) != 3:
        rows = side // 2**4 if len(convs) == 4 else -(-side // convs[0][1])
        token = rows * (rows // 2) + rows // 2
        seen = centre_of_token(Same(*convs), token, side)
        usual = centre_of_token(Same(*convs, same=False), token, side)
        assert seen - usual == offset


@pytest.mark.parametrize("make", [faulty.Uncropped, faulty.Patchify, faulty.Convolutional])
def test_other_padding_gets_no_note(make):
    assert audited(make(), 1, 3, 32, 32).notes == ()


def test_a_stride_of_1_moves_nothing():
    assert audited(Same((3, 1), (3, 1)), 1, 3, 32, 32).notes == ()
