"""Tokens in another order than row by row, and numbers of one that lie in several."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests.audit.audits import audited, kinds
from tests.tracing.modules import Runs


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.flatten(2).transpose(1, 2),
        lambda x: x.flatten(2),
        lambda x: x.reshape(*x.shape[:2], -1).permute(0, 2, 1),
        lambda x: x.view(len(x), 16, -1).mT,
        lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1, 16),
        lambda x: x.permute(0, 2, 3, 1).contiguous().view(len(x), -1, 16),
        lambda x: x.movedim(1, -1).flatten(1, 2),
        lambda x: x.permute(0, 2, 3, 1).reshape(-1, 16),
        lambda x: rearrange(x, "b d h w -> b (h w) d"),
        lambda x: rearrange(x, "b d h w -> (h w) b d"),
        lambda x: torch.flatten(torch.swapaxes(x, 1, 3).transpose(1, 2), 1, 2),
        lambda x: x.flatten(2).permute(2, 0, 1) + torch.zeros(16),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.flip(3).flatten(2).mT,  # meant, since nobody flips by mistake
        lambda x: functional.unfold(x, 2, stride=2),
    ],
)
@pytest.mark.parametrize("side", [32, (24, 32)])
def test_rows_first_gets_no_warning(make, side):
    rows, columns = side if isinstance(side, tuple) else (side, side)
    module = Runs(lambda module, x: make(module.proj(x)))
    assert kinds(module, 2, 3, rows, columns) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.reshape(len(x), -1, 16), "reshape makes"),
        (lambda x: x.view(len(x), -1, 16), "view makes"),
        (lambda x: x.flatten(1).unflatten(1, (-1, 16)), "unflatten makes"),
        (lambda x: x.reshape(-1, 16), "reshape makes"),
        (lambda x: x.reshape(len(x), *x.shape[2:], 16), "reshape makes"),
        (lambda x: x.reshape(-1, len(x), 16), "reshape makes"),
        (lambda x: x.reshape(len(x), -1, 16).relu(), "reshape makes"),
        (lambda x: x.reshape(len(x), -1, 16).permute(1, 0, 2), "numbers of several cells"),
        (lambda x: x.view(len(x), -1, 16).mT, "view makes"),
        (lambda x: x.mT.mT.reshape(-1, 2, 16).relu().mT, "reshape makes"),
        (lambda x: x.transpose(0, 1).reshape(x.shape).flatten(2), "numbers of several images"),
        (lambda x: rearrange(x, "b d h w -> b d (h w)").reshape(len(x), -1, 16), "reshape makes"),
        (lambda x: x.transpose(1, 3).reshape(len(x), -1, 16), "column after column"),
        (lambda x: x.transpose(2, 3).flatten(2).mT, "column after column"),
        (lambda x: rearrange(x, "b d h w -> b (w h) d"), "column after column"),
        (lambda x: rearrange(x, "b d h w -> b d (w h)"), "column after column"),
    ],
)
@pytest.mark.parametrize("side", [32, (24, 32)])
def test_wrong_orders_are_found_however_they_are_made(make, words, side):
    rows, columns = side if isinstance(side, tuple) else (side, side)
    module = Runs(lambda module, x: make(module.proj(x)))
    (fault,) = audited(module, 2, 3, rows, columns).faults
    assert (fault.kind, words in fault.sentence) == ("token order", True)


@pytest.mark.parametrize(
    "make",
    [
        # 16 tokens of four cells have the sides of 64 tokens, turned
        lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2),
        lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2),
        # scanned along the rows and along the columns, as state space models do
        lambda x: (x.flatten(2).mT + 1, x.mT.flatten(2).mT + 1),
    ],
)
def test_merges_and_scans_are_meant(make):
    assert kinds(Runs(lambda module, x: make(module.proj(x)))) == []


def test_tokens_that_go_to_another_image_are_whole_and_wrong():
    def run(module, x):
        x = module.proj(x)
        return x.flatten(2).permute(2, 0, 1).reshape(len(x), 64, 16)

    (fault,) = audited(Runs(run)).faults
    assert "one image gets tokens of others" in fault.sentence
    assert kinds(Runs(run), 1, 3, 32, 32) == ["batch"]  # with one image it shows on two


def test_turning_a_tensor_in_place_turns_no_other():
    def run(module, x):
        x = module.proj(x).flatten(2).mT
        same = x.detach()
        x.transpose_(1, 2)
        return same.reshape(len(x), 64, 16) + 1

    assert kinds(Runs(run)) == []


@pytest.mark.parametrize(("rows", "columns"), [(4, 32), (32, 4), (4, 4)])
def test_one_row_of_tokens_is_in_order_either_way(rows, columns):
    module = Runs(lambda module, x: rearrange(module.proj(x), "b d h w -> b (w h) d"))
    assert kinds(module, 2, 3, rows, columns) == []


@pytest.mark.parametrize("normed_first", [False, True])
@pytest.mark.parametrize(
    ("pool", "found"),
    [
        (lambda x: x[:, 0], ["class token"]),
        (lambda x: x.select(1, 0), ["class token"]),
        (lambda x: x.mean(dim=1), []),
        (lambda x: x[:, -1], []),
    ],
)
def test_the_first_token_is_followed_past_a_norm_and_a_residual(pool, found, normed_first):
    def run(module, x):
        x = module.proj(x).flatten(2).mT
        y = module.norm(x) if normed_first else x
        return module.head(pool(x + y.softmax(dim=1)))

    module = Runs(run)
    module.norm, module.head = nn.LayerNorm(16), nn.Linear(16, 2)
    assert kinds(module) == found


def test_the_order_is_found_behind_a_norm_and_in_one_image():
    class Behind(nn.Module):
        def __init__(self, scrambles):
            super().__init__()
            self.proj, self.norm = nn.Conv2d(3, 16, 4, 4, bias=False), nn.BatchNorm2d(16)
            self.last, self.scrambles = nn.LayerNorm(16), scrambles

        def forward(self, x):
            x = self.norm(self.proj(x))
            tokens = x.reshape(len(x), -1, 16) if self.scrambles else x.flatten(2).mT
            return self.last(tokens)

    assert kinds(Behind(True), 1, 3, 32, 32) == ["token order"]
    assert kinds(Behind(False), 1, 3, 32, 32) == []


class Split(nn.Module):
    """A map of 16 channels, 8×8 cells, that `make` takes apart and something normalises."""

    def __init__(self, make, width, channels=16):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, channels, 8, 8), nn.LayerNorm(width)
        self.make = make

    def forward(self, x):
        return self.norm(self.make(self.proj(x)))


def windows(x, first):
    """Windows of 4×4 cells, as (windows, cells, channels) or the other way round."""
    x = rearrange(x, "b c (h p) (w q) -> (b h w) (p q) c", p=4, q=4)
    return x if first else x.transpose(0, 1)


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    ("make", "width"),
    [
        (lambda x: x.reshape(-1, 4, 64).mT, 4),  # heads in the batch
        (lambda x: torch.cat(x.flatten(2).chunk(4, dim=1)).mT, 4),
        (lambda x: x.flatten(2).mT.unflatten(2, (4, 4)).transpose(1, 2).flatten(0, 1), 4),
        (lambda x: windows(x, True), 16),
        (lambda x: windows(x, False), 16),
        (lambda x: rearrange(x, "b c h w -> (b h) w c"), 16),  # attention along one axis
        (lambda x: rearrange(x, "b c h w -> (b w) h c"), 16),
        (lambda x: rearrange(x, "b c h w -> b w (c h)"), 128),  # columns of a line of text
        (lambda x: rearrange(x, "b c h w -> b (c h) w"), 8),  # a layer along the width
        (lambda x: x.flatten(2), 64),  # a layer along the tokens, as a mixer's
    ],
)
def test_a_batch_a_head_or_a_window_of_the_same_size_is_not_taken_for_another(make, width, batch):
    assert kinds(Split(make, width), batch, 3, 64, 64) == []


def test_channels_as_many_as_columns_are_told_apart_by_another_image():
    """(b, c, h, w) -> (b, c·h, w) has the sides of (b, h·w, c) where c = w."""
    along = Split(lambda x: x.flatten(1, 2), 8, channels=8)
    mixed = Split(lambda x: x.reshape(len(x), -1, 8), 8, channels=8)
    assert kinds(along, 2, 3, 64, 64) == []
    (fault,) = audited(mixed, 2, 3, 64, 64).faults
    assert (fault.kind, fault.likelihood) == ("token order", "certain")


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 8, 16])
def test_scrambled_tokens_are_found_whatever_the_batch(batch):
    for make in (
        lambda x: x.reshape(len(x), -1, 16),
        lambda x: x.reshape(len(x), 64, 16),
        lambda x: x.reshape(len(x), 64, -1),
    ):
        (fault,) = audited(Split(make, 16), batch, 3, 64, 64).faults
        assert (fault.kind, fault.likelihood) == ("token order", "certain")
    (fault,) = audited(Split(lambda x: x.view(batch, 64, 16), 16), batch, 3, 64, 64).faults
    # no other run is possible; 8 images may be 8 rows, and 16 images 16 channels
    assert fault.likelihood == ("likely" if batch in (8, 16) else "certain")


class Held:
    """An object of somebody's own that tokens are returned in."""

    def __init__(self, tokens):
        self.tokens, self.again = tokens, self


def in_dataclass(x):
    @dataclass
    class Output:
        tokens: torch.Tensor
        loss: None = None

    return Output(x)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: (x,),
        lambda x: {"tokens": x},
        lambda x: OrderedDict(tokens=x),
        lambda x: [{"tokens": (x, None)}],
        in_dataclass,
        namedtuple("Output", "tokens"),
        lambda x: SimpleNamespace(tokens=x),
        lambda x: {"first": [SimpleNamespace(inner=Held(x))]},
    ],
)  # fmt: skip
def test_tokens_are_followed_into_whatever_they_are_returned_in(wrap):
    def run(make):
        return audited(Runs(lambda module, x: wrap(make(module.proj(x))))).faults

    (fault,) = run(lambda x: x.reshape(len(x), -1, 16))
    assert fault.kind == "token order"
    assert run(lambda x: x.flatten(2).mT) == ()
