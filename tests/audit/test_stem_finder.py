"""A stem is read out of any module that is a chain of convolutions, and out of no other."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests import faulty, recreated
from tests.audit.audits import Tabled
from tests.tracing.modules import Runs, image
from vitc_inspect.audit.audit import audit_module
from vitc_inspect.audit.stem_finder import stem_of
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.notation import format_stem, parse_stem
from vitc_inspect.stem.spec import StemSpec, conv_layer


def test_a_stem_is_read_from_modules_and_from_functions():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
            self.proj = nn.Conv2d(8, 16, 1)

        def forward(self, *, pixels):
            x = functional.conv2d((pixels - 0.5) / 0.2, self.weight, stride=2, padding=1)
            return {"tokens": self.proj(functional.silu(x)).flatten(2).mT}

    found = audit_module(Functional(), (), {"pixels": image(1, 3, 32, 30)})
    assert found.stem == StemSpec(
        image_size=(32, 30),
        convs=(conv_layer(8, 3, 2, bias=False, activation="silu"), conv_layer(16, 1)),
        class_token=False,
        position_table=False,
    )
    assert found.stem_layers == ("", "proj")


@pytest.mark.parametrize(
    ("add", "has_table"),
    [
        (lambda m, x: x + m.pos_embed, True),
        (lambda m, x: x + m.pos_embed[:, :64], True),
        (lambda m, x: x * 2, False),
        (lambda m, x: x + m.pos_embed[0, 0], False),
    ],
)
def test_a_stem_that_is_read_has_a_table_where_one_is_added(add, has_table):
    assert stem_of(Tabled(add), (image(),)).position_table == has_table
    with_table = Tabled(lambda m, x: x + m.pos_embed, 49)  # which does not fit
    assert audit_module(with_table, (image(),)).stem.position_table
    mapped = Runs(lambda m, x: (m.proj(x) + m.table).flatten(2).mT)
    mapped.table = nn.Parameter(torch.zeros(1, 16, 8, 8))
    assert stem_of(mapped, (image(),)).position_table


@pytest.mark.parametrize(
    "make",
    [
        faulty.Padded,
        recreated.HybridEmbed,
        recreated.Compact,
        faulty.Raising,
        lambda: nn.Sequential(nn.Conv2d(3, 8, (4, 2), 4), nn.Flatten(2)),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3)),
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        lambda: Runs(lambda module, x: x.mean()),
        lambda: Runs(lambda module, x: module.proj(x) + module.proj(x.flip(3))),
    ],
)
def test_what_is_no_chain_from_an_image_to_tokens_is_no_stem(make):
    assert stem_of(make().eval(), (image(),)) is None


def test_the_channels_last_for_a_norm_are_no_tokens_yet():
    class Flat(nn.LayerNorm):
        def forward(self, x):
            y = super().forward(x.flatten(2).transpose(1, 2))
            return y.transpose(1, 2).view_as(x)

    class ByHand(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.gain, self.shift = (
                nn.Parameter(torch.ones(width)),
                nn.Parameter(torch.zeros(width)),
            )

        def forward(self, x):
            y = functional.layer_norm(x.flatten(2).mT, (x.shape[1],))
            return (y * self.gain + self.shift).mT.view_as(x)

    for norm in (Flat, ByHand):
        layers = (nn.Conv2d(3, 8, 3, 2, 1), norm(8), nn.ReLU(), nn.Conv2d(8, 16, 2, 2))
        stem = stem_of(nn.Sequential(*layers, nn.Flatten(2)), (image(),))
        if norm is Flat:
            assert [(conv.norm, conv.activation) for conv in stem.convs] == [
                ("layer", "relu"), ("none", "none"),
            ]  # fmt: skip
        else:
            assert stem is None  # a norm with its own steps is none of ours
    assert format_stem(stem_of(recreated.Windowed(), (image(),))) == "4x4/4:16"
    spec = parse_stem("3x3/2:8 ln gelu, 3x3/2:8 ln gelu, 1x1:16", image_size=(32, 32))
    assert stem_of(build_stem(spec), (image(),)) == spec
    assert stem_of(build_stem(spec), image()) == spec  # and not the image's first row alone


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_padding_by_its_name_is_read():
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 8, 4, 4))
    assert [conv.padding for conv in stem_of(module, (image(),)).convs] == [1, 0]
    assert stem_of(nn.Sequential(nn.Conv2d(3, 8, 4, padding="same")), (image(),)) is None
