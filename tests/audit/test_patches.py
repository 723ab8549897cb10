"""Patches cut without a convolution: what a layer reads as one token is held against the image."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests.audit.audits import audited, kinds
from tests.tracing.modules import Runs


class Embedding(nn.Module):
    """Cuts an image into tokens by `cut`, and embeds each by one layer."""

    def __init__(self, cut, numbers=192, patch_size=None, embed=None):
        super().__init__()
        self.cut = cut
        self.embed = embed or nn.Linear(numbers, 32)
        if patch_size:
            self.patch_size = patch_size

    def forward(self, x):
        return self.embed(self.cut(x))


def windows(x, p=8):
    return x.unfold(2, p, p).unfold(3, p, p)  # (b, c, h, w, p, q)


def shifted(x, p=8):
    """The image beside four that are moved by half a patch, as in shifted patch tokenization."""
    moves = ((0, 0, 0, 0), (4, -4, 0, 0), (-4, 4, 0, 0), (0, 0, 4, -4), (0, 0, -4, 4))
    x = torch.cat([functional.pad(x, move) for move in moves], dim=1)
    return rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)


SOUND = {
    "rearrange": lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8),
    "channels first": lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=8, q=8),
    "turned within": lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (q p c)", p=8, q=8),
    "oblong": lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=4, q=16),
    "reshape": lambda x: (
        x.reshape(len(x), 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    ),
    "unfold": lambda x: functional.unfold(x, 8, stride=8).transpose(1, 2),
    "unfold that overlaps": lambda x: functional.unfold(x, 8, stride=4).transpose(1, 2),
    "unfold that pads": lambda x: functional.unfold(x, 8, stride=4, padding=2).transpose(1, 2),
    "dilated": lambda x: functional.unfold(x, 8, dilation=2, stride=2).transpose(1, 2),
    "dilated over the whole image": lambda x: functional.unfold(x, 8, dilation=8).transpose(1, 2),
    "dilated in blocks": lambda x: rearrange(
        x, "b c (h p d) (w q e) -> b (h d w e) (p q c)", p=8, q=8, d=2, e=2
    ),
    "Tensor.unfold": lambda x: windows(x).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2),
    "every second pixel": lambda x: windows(x[:, :, ::2, ::2]).permute(0, 2, 3, 1, 4, 5).flatten(3),
    "padded": lambda x: rearrange(
        functional.pad(x, (0, 8, 0, 8)), "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8
    ),
    "rolled": lambda x: rearrange(
        x.roll((4, 4), (2, 3)), "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8
    ),
    "normalised": lambda x: rearrange(
        (x - 0.5) / 0.2, "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8
    ),
    "chosen": lambda x: SOUND["rearrange"](x)[:, torch.tensor([3, 1, 2])],
    "pixels by an index": lambda x: x.flatten(1)[:, torch.randperm(3 * 64 * 64)].view(
        len(x), 64, 192
    ),
    "cut one by one": lambda x: torch.stack(
        [x[:, :, i : i + 8, j : j + 8] for i in range(0, 64, 8) for j in range(0, 64, 8)], dim=1
    ).flatten(2),
    "chunks": lambda x: torch.stack(
        [b for a in x.chunk(8, dim=2) for b in a.chunk(8, dim=3)], dim=1
    ).flatten(2),
    "every other pixel as a token": lambda x: torch.cat(
        [x[:, :, i::8, j::8].flatten(1)[:, None] for i in range(8) for j in range(8)], dim=1
    ),
    "strips": lambda x: rearrange(x, "b c h w -> b h (w c)"),
    "columns": lambda x: rearrange(x, "b c h w -> b w (c h)"),
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_a_patch_is_left_alone(name, batch):
    patch_size = None if name in ("oblong", "strips", "columns") else 8
    assert kinds(Embedding(SOUND[name], patch_size=patch_size), batch, 3, 64, 64) == []


@pytest.mark.parametrize(
    ("cut", "numbers", "shape"),
    [
        (
            lambda x: rearrange(x, "b c (h p) (w q) -> b (c h w) (p q)", p=8, q=8),
            64,
            (2, 3, 64, 64),
        ),
        (lambda x: x.flatten(2), 64 * 64, (2, 3, 64, 64)),
        (lambda x: x.flatten(2).mT, 3, (2, 3, 64, 64)),
        (lambda x: x.flatten(1), 3 * 64 * 64, (2, 3, 64, 64)),
        (lambda x: x.squeeze(1), 28, (2, 1, 28, 28)),  # a row at a time
        (lambda x: x.view(len(x), 28, 28), 28, (2, 1, 28, 28)),
        (
            lambda x: rearrange(x, "b (h p) (w q) c -> b (h w) (p q c)", p=8, q=8),
            192,
            (2, 64, 64, 3),
        ),
        (shifted, 5 * 192, (2, 3, 64, 64)),
        # strips of 16 pixels of a spectrogram, which are as many as a patch of 4×4 has
        (lambda x: rearrange(x, "b c h (w q) -> b (h w) (q c)", q=16), 16, (2, 1, 64, 64)),
        (lambda x: rearrange(x, "b c h (w q) -> b (h w) (q c)", q=8), 24, (2, 3, 64, 64)),
        (lambda x: x.mT, 64, (2, 3, 64, 64)),
    ],
)
def test_other_tokens_of_pixels_are_left_alone(cut, numbers, shape):
    assert kinds(Embedding(cut, numbers), *shape) == []


BROKEN = {
    "reshape": (lambda x: x.reshape(len(x), 64, 192), "certain", "rows 0 to 2"),
    "reshape of the patches": (
        lambda x: windows(x).reshape(len(x), 64, 192),
        "certain",
        "columns 0 to 23",
    ),
    "unfold and reshape": (
        lambda x: functional.unfold(x, 8, stride=8).reshape(len(x), 64, 192),
        "certain",
        "channel 0",
    ),
    "channels left behind": (
        lambda x: windows(x).permute(0, 2, 1, 3, 4, 5).reshape(len(x), 64, 192),
        "certain",
        "192 numbers",
    ),
    "a view with the channels last": (  # 64 = 8·8 pixels of one row
        lambda x: (
            windows(x.repeat(1, 1, 1, 2)[..., :64], 64)[:, :, 0, 0]
            .permute(0, 2, 3, 1)
            .reshape(len(x), 64, 192)
        ),
        "likely",
        "row 0",
    ),
    "letters of the rows swapped": (
        lambda x: rearrange(x, "b c (p h) (w q) -> b (h w) (p q c)", p=8, q=8),
        "likely",
        "every 8th",
    ),
    "both letters swapped": (
        lambda x: rearrange(x, "b c (p h) (q w) -> b (h w) (p q c)", p=8, q=8),
        "likely",
        "every 8th",
    ),
    "tokens and numbers swapped": (
        lambda x: rearrange(x, "b c (h p) (w q) -> b (p q) (h w c)", p=8, q=8),
        "likely",
        "every 8th",
    ),
    "letters crossed": (
        lambda x: rearrange(x, "b c (h p) (w q) -> b (h q) (w p c)", p=8, q=8),
        "likely",
        "columns 0, 8",
    ),
    "chunks put together in another order": (
        lambda x: torch.stack(
            [b for a in x.chunk(8, dim=2) for b in a.chunk(8, dim=3)], dim=2
        ).reshape(len(x), 64, 192),
        "certain",
        "channel 0",
    ),
    "images mixed": (
        lambda x: (
            rearrange(x, "b c (h p) (w q) -> (h w) b (p q c)", p=8, q=8)
            .reshape(64, -1, 384)
            .view(-1, 64, 384)[..., :384]
        ),
        "certain",
        "several images",
    ),
    "channels last": (lambda x: x.permute(0, 2, 3, 1).reshape(len(x), 64, 192), "likely", "row 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_patch_is_found_with_what_token_0_reads(name):
    cut, sure, words = BROKEN[name]
    numbers = 384 if name == "images mixed" else 192
    module = Embedding(cut, numbers, patch_size=8)
    (fault,) = audited(module, 2, 3, 64, 64).faults
    assert (fault.kind, fault.likelihood) == ("patches", sure)
    assert words in fault.sentence
    assert "p1=8, p2=8" in fault.fixes[0] or name == "images mixed"


@pytest.mark.parametrize("name", ["reshape", "both letters swapped"])
def test_the_fix_cuts_patches(name):
    cut, *_ = BROKEN[name]
    (fault,) = audited(Embedding(cut), 1, 3, 64, 64).faults
    call = fault.fixes[0].partition("rearrange(x, ")[2].partition(").")[0]
    pattern, *sizes = call.split(", ")
    lengths = {name: int(size) for name, _, size in (each.partition("=") for each in sizes)}
    assert (
        kinds(Embedding(lambda x: rearrange(x, pattern.strip("'"), **lengths)), 1, 3, 64, 64) == []
    )


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("b c (h p) (w q) -> b (p q c) h w", []),
        ("b c (p h) (q w) -> b (p q c) h w", ["patches"]),
    ],
)
def test_a_convolution_of_one_tap_reads_tokens_too(pattern, found):
    def cut(x):
        return rearrange(x, pattern, p=8, q=8)

    assert kinds(Embedding(cut, embed=nn.Conv2d(192, 16, 1)), 1, 3, 64, 64) == found
    assert (
        kinds(Embedding(lambda x: cut(x).flatten(2), embed=nn.Conv1d(192, 16, 1)), 1, 3, 64, 64)
        == found
    )


def test_a_product_and_a_norm_read_tokens_too():
    def run(module, x):
        return x.reshape(len(x), 64, 192) @ module.weight

    module = Runs(run)
    module.weight = nn.Parameter(torch.randn(192, 32))
    assert kinds(module, 1, 3, 64, 64) == ["patches"]
    assert kinds(Embedding(BROKEN["reshape"][0], embed=nn.LayerNorm(192)), 1, 3, 64, 64) == [
        "patches"
    ]


def test_patches_column_after_column_are_told_as_tokens_are():
    def cut(x):
        return rearrange(x, "b c (h p) (w q) -> b (w h) (p q c)", p=8, q=8)

    (fault,) = audited(Embedding(cut), 2, 3, 64, 32).faults
    assert (fault.kind, fault.likelihood) == ("token order", "likely")
    assert "8×4 patches" in fault.sentence
