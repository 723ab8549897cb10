"""Stems and models of other people, written anew, as guests: all of them counted and checked.

The models themselves, some 260 of them, are benchmarks/families.py's.
"""

from __future__ import annotations

import pytest
import torch
from einops import einsum, rearrange
from einops.layers.torch import Rearrange
from torch import nn
from torch.nn import functional

from tests import recreated
from vitc_inspect.inspection.module_inspection import inspect_module


class RelativeAttention(nn.Module):
    """vit-pytorch's and MaxViT's attention: einsum with spaces, a bias by the cells' distance."""

    def __init__(self, width=16, heads=2, window=4):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.to_qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.bias = nn.Embedding((2 * window - 1) ** 2, heads)
        cells = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij"))
        apart = rearrange(cells, "c i j -> (i j) 1 c") - rearrange(cells, "c i j -> 1 (i j) c")
        away = (apart + window - 1) * torch.tensor([2 * window - 1, 1])
        self.register_buffer("apart", away.sum(-1), persistent=False)

    def forward(self, x):
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (q, k, v))
        likeness = torch.einsum("b h i d, b h j d -> b h i j", q * self.scale, k)
        likeness = likeness + rearrange(self.bias(self.apart), "i j h -> h i j")
        mixed = einsum(likeness.softmax(-1), v, "b h i j, b h j d -> b h i d")
        return self.out(rearrange(mixed, "b h n d -> b n (h d)"))


class Windows(nn.Module):
    """A convolutional stem, then attention in windows, which MaxViT and Swin have."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 3, 2, 1))
        self.cut = Rearrange("b d (x w) (y v) -> (b x y) (w v) d", w=4, v=4)
        self.attend = RelativeAttention()

    def forward(self, x):
        tokens = self.attend(self.cut(self.stem(x)))
        mask = (torch.arange(16) % 4 == 0).expand(len(tokens), -1)
        return tokens.masked_fill(mask.eq(1)[..., None], 0.0)


class Sequencer(nn.Module):
    """Patches unshuffled and mixed by an LSTM along the rows and a GRU along the columns."""

    def __init__(self):
        super().__init__()
        self.cut, self.proj = nn.PixelUnshuffle(4), nn.Conv2d(48, 16, 1)
        self.rows = nn.LSTM(16, 4, 1, batch_first=True, bidirectional=True)
        self.columns = nn.GRU(16, 4, 1, batch_first=True, bidirectional=True)

    def forward(self, x):
        maps = self.proj(self.cut(x)).permute(0, 2, 3, 1)
        along, _ = self.rows(maps.flatten(0, 1))
        down, _ = self.columns(maps.transpose(1, 2).flatten(0, 1))
        across = along.unflatten(0, maps.shape[:2])
        return torch.cat((across, down.unflatten(0, maps.shape[:2]).transpose(1, 2)), -1)


class Outlooking(nn.Module):
    """VOLO's and T2T's soft splits, and a decoder that grows a map again."""

    def __init__(self):
        super().__init__()
        self.split, self.proj = nn.Unfold(7, padding=2, stride=4), nn.Linear(147, 16)
        self.grow, self.up = nn.ConvTranspose2d(16, 8, 2, 2), nn.Upsample(scale_factor=2)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        tokens = self.proj(self.split(x).transpose(1, 2))
        maps = tokens.transpose(1, 2).unflatten(2, (8, 8))
        folded = functional.fold(functional.unfold(maps, 2, stride=2), (8, 8), 2, stride=2)
        return self.shuffle(self.up(self.grow(folded)))


GUESTS = (*recreated.SOUND, Windows, Sequencer, Outlooking)


@pytest.mark.parametrize("make", GUESTS, ids=str)
def test_a_guest_is_counted_and_checked_and_ends_as_alone(make):
    torch.manual_seed(0)
    module, x = make().eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        alone = module(x)
    returned = []
    module.register_forward_hook(lambda module, given, output: returned.append(output))
    report = inspect_module(module, x)
    assert report.failure is None
    assert (report.uncounted, report.unchecked, report.disagreements) == ((), (), ())
    torch.testing.assert_close(returned[0], alone)
    rows = [row for row in report.rows if not row.call.is_function]
    assert "agrees" in {row.verdict for row in rows}
    assert {row.verdict for row in rows} <= {"agrees", "not predicted"}


@pytest.mark.parametrize("make", [Windows, Sequencer, Outlooking], ids=str)
def test_a_guest_whose_layer_is_not_as_it_says_is_still_found(make):
    """The broken twin: a layer whose attributes say something else than it does."""
    module = make().eval()
    layer = next(each for each in module.modules() if isinstance(each, (nn.Linear, nn.Conv2d)))
    if isinstance(layer, nn.Linear):
        layer.out_features += 1
    else:
        layer.out_channels += 1
    report = inspect_module(module, torch.randn(2, 3, 32, 32))
    assert report.failure is None
    assert len(report.disagreements) >= 1


def test_a_recurrent_layer_that_is_not_as_it_says_is_found():
    module = Sequencer().eval()
    right = inspect_module(module, torch.randn(1, 3, 32, 32)).row("rows")
    # 64 cells, both ways: four gates of 4, each from 16 and from 4 numbers
    assert right.call.macs == right.predicted.macs == 64 * 2 * 4 * 4 * (16 + 4)
    module.rows.hidden_size += 1  # torch itself checks the other numbers
    row = inspect_module(module, torch.randn(1, 3, 32, 32)).row("rows")
    assert row.predicted.macs == 64 * 2 * 4 * 5 * (16 + 5)
    assert row.verdict in ("differs", "raised")
