"""Tokens that are put back to a map, and tokens that a view gives another width."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests.audit.audits import audited, kinds


class Dense(nn.Module):
    """Patches of 4 pixels, attention, and a convolution on the map that `back` makes of tokens."""

    def __init__(self, back, width=16, table=0):
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, table, width)) if table else 0
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head, self.back = nn.Conv2d(width, 2, 1), back

    def forward(self, x):
        maps = self.proj(x)
        x = maps.flatten(2).transpose(1, 2) + self.pos
        x = x + self.attend(x, x, x)[0]
        return self.head(self.back(x, maps.shape))


BACK = {
    "flatten, unflatten": lambda x, shape: x.mT.flatten(1).unflatten(1, shape[1:]),
    "transpose": lambda x, shape: x.transpose(1, 2).reshape(shape),
    "view": lambda x, shape: x.mT.contiguous().view(*shape),
    "unflatten": lambda x, shape: x.transpose(1, 2).unflatten(2, shape[2:]),
    "permute after": lambda x, shape: x.view(len(x), *shape[2:], -1).permute(0, 3, 1, 2),
    "einops": lambda x, shape: rearrange(x, "b (h w) d -> b d h w", h=shape[2]),
}
SCRAMBLED = {
    "reshape": lambda x, shape: x.reshape(shape),
    "view": lambda x, shape: x.contiguous().view(*shape),
    "sizes": lambda x, shape: x.reshape(len(x), -1, *shape[2:]),
    "flatten, unflatten": lambda x, shape: x.flatten(1).unflatten(1, shape[1:]),
    "einops in two steps": lambda x, shape: rearrange(
        x.flatten(1), "b (d h w) -> b d h w", h=shape[2], w=shape[3]
    ),
}


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 24, 40)])
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("name", BACK)
def test_tokens_that_are_transposed_become_a_map(name, table, shape):
    cells = shape[2] * shape[3] // 16
    assert kinds(Dense(BACK[name], table=cells * table), *shape) == []


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 24, 40)])
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("name", SCRAMBLED)
def test_tokens_that_are_not_transposed_are_scrambled(name, table, shape):
    cells = shape[2] * shape[3] // 16
    (fault,) = audited(Dense(SCRAMBLED[name], table=cells * table), *shape).faults
    assert (fault.kind, fault.likelihood) == ("token order", "certain")
    assert f"{cells} tokens of 16 numbers back" in fault.sentence
    assert "x.transpose(1, 2).reshape(len(x), 16" in fault.fixes[0]


class Autoencoder(nn.Module):
    """Patches of 4 pixels, and each token's 48 = 4·4·3 numbers put back to an image."""

    def __init__(self, back):
        super().__init__()
        self.proj, self.norm, self.head = (
            nn.Conv2d(3, 16, 4, 4),
            nn.LayerNorm(16),
            nn.Linear(16, 48),
        )
        self.back = back

    def forward(self, x):
        tokens = self.norm(self.proj(x).flatten(2).transpose(1, 2)).relu()
        return self.back(self.head(tokens), x.shape)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 24, 40)])
@pytest.mark.parametrize(
    ("back", "found"),
    [
        (lambda x, shape: x.reshape(shape), ["token order"]),
        (
            lambda x, shape: x.view(len(x), shape[2] // 4, -1, 4, 4, 3).reshape(shape),
            ["token order"],
        ),
        (
            lambda x, shape: rearrange(
                x, "b (h w) (p q c) -> b c (h p) (w q)", h=shape[2] // 4, p=4, q=4
            ),
            [],
        ),
        (lambda x, shape: functional.fold(x.mT, shape[2:], 4, stride=4), []),
        (
            lambda x, shape: functional.pixel_shuffle(
                x.mT.reshape(len(x), 48, shape[2] // 4, -1), 4
            ),
            [],
        ),
    ],
)
def test_patches_are_put_back_to_an_image(back, found, shape):
    assert kinds(Autoencoder(back), *shape) == found


TURNED = {
    "reshape": lambda x, shape: x.mT.reshape(*shape[:2], *shape[:1:-1]),
    "view": lambda x, shape: x.view(len(x), *shape[:1:-1], -1).permute(0, 3, 1, 2),
    "einops": lambda x, shape: rearrange(x, "b (w h) d -> b d w h", h=shape[2]),
}


@pytest.mark.parametrize("name", TURNED)
def test_rows_and_columns_that_are_swapped_show_on_an_oblong_map(name):
    (fault,) = audited(Dense(TURNED[name]), 2, 3, 24, 40).faults
    assert (fault.kind, fault.likelihood) == ("token order", "likely")
    assert "a map of 6 rows and 10 columns back to one of 10 rows and 6 columns" in fault.sentence
    assert kinds(Dense(TURNED[name]), 2, 3, 32, 32) == []  # where both are the same


def test_groups_of_channels_that_look_like_tokens_are_left_alone():
    """16 channels of 4 places, as 4 groups: (b, 16, 4) -> (b, 4, 4, 4), like 16 tokens of 4."""

    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj, self.head = nn.Conv2d(3, 16, 16, 16), nn.Linear(4, 2)

        def forward(self, x):
            x = functional.gelu(self.proj(x)).flatten(2)  # (b, 16, n)
            return x.reshape(len(x), 4, 4, -1).sum(dim=2)

    assert kinds(Grouped(), 2, 3, 32, 32) == []


# ---- another width


class Wide(nn.Module):
    """A map of 16 channels made into tokens for layers of `embed_dim` numbers."""

    def __init__(self, make, embed_dim, attribute="embed_dim", channels=16):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, channels, 4, 4), nn.LayerNorm(embed_dim)
        setattr(self, attribute, embed_dim)
        self.make = make

    def forward(self, x):
        return self.norm(self.make(self.proj(x)))


@pytest.mark.parametrize(
    ("make", "embed_dim", "sure"),
    [
        (lambda x: x.flatten(2).mT.reshape(len(x), -1, 32), 32, "likely"),
        (lambda x: x.flatten(2).mT.reshape(len(x), -1, 128), 128, "likely"),
        (lambda x: x.flatten(2).mT.reshape(len(x), -1, 4), 4, "likely"),
        (lambda x: x.reshape(len(x), -1, 32), 32, "certain"),
        (lambda x: x.view(len(x), -1, 128), 128, "certain"),
        (lambda x: x.flatten(2).mT, 16, None),
        (lambda x: rearrange(x, "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2), 64, None),
        (lambda x: rearrange(x, "b c h (w q) -> b (h w) (q c)", q=2), 32, "likely"),
    ],
)
def test_tokens_of_another_width_are_found_against_what_is_stated(make, embed_dim, sure):
    faults = audited(Wide(make, embed_dim), 2, 3, 40, 48).faults
    assert [(each.kind, each.likelihood) for each in faults] == ([("width", sure)] if sure else [])
    if sure == "likely":
        assert "Let the last convolution have" in faults[0].fixes[0]


def test_tokens_of_another_width_are_meant_where_nothing_is_stated():
    merged = Wide(lambda x: x.flatten(2).mT.reshape(len(x), -1, 32), 32, attribute="out_width")
    assert kinds(merged, 2, 3, 40, 48) == []
