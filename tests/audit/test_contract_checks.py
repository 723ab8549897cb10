"""Tables and attributes are held against the tokens and the convolutions of any module."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests import faulty
from tests.audit.audits import Tabled, audited, kinds
from tests.tracing.modules import Runs, image
from vitc_inspect import inspect_module

# ---- position tables


@pytest.mark.parametrize(
    ("use", "kernel", "found"),
    [
        (lambda m, x: m.head(x), 4, ["activation"]),
        (lambda m, x: x, 4, ["activation"]),
        (lambda m, x: m.rnn(x)[0], 4, []),
        (lambda m, x: x.mT @ x, 4, []),  # as in bilinear pooling
        (lambda m, x: m.head(x), (32, 4), []),  # a row of columns, as for reading text
    ],
)
def test_features_of_a_cnn_may_end_with_an_activation(use, kernel, found):
    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Conv2d(3, 16, kernel, kernel)
            self.head, self.rnn = nn.Linear(16, 16), nn.LSTM(16, 16, batch_first=True)

        def forward(self, x):
            return use(self, self.proj(x).relu().flatten(2).transpose(1, 2))

    assert kinds(Features()) == found


@pytest.mark.parametrize(
    ("places", "add", "kind"),
    [
        (64, lambda m, x: x + m.pos_embed, None),
        (64, lambda m, x: m.pos_embed.add(x), None),
        (64, lambda m, x: x.add_(m.pos_embed), None),
        (65, lambda m, x: x + m.pos_embed[:, 1:], None),  # ViTDet leaves out the class token's
        (100, lambda m, x: x + m.pos_embed[:, :64], "position table"),
        (100, lambda m, x: x + m.pos_embed.narrow(1, 0, 64), "position table"),
        (100, lambda m, x: x.add_(m.pos_embed[0, :64]), "position table"),
        (100, lambda m, x: x + m.pos_embed[:, 18:82], None),  # a part that was chosen
        (65, lambda m, x: x + m.pos_embed[:, :64], "class token"),
        (1, lambda m, x: x + m.pos_embed, "position table"),
        (1, lambda m, x: x + m.pos_embed.expand(-1, 64, -1), "position table"),
        (1, lambda m, x: x + m.type_embed + m.pos_embed.mean(), None),
        (64, lambda m, x: x + m.pos_embed + m.kind, None),  # the same for all, beside a table
        (64, lambda m, x: x + m.embedding(torch.arange(64)), None),
        (64, lambda m, x: x + m.more(torch.arange(64)), "position table"),
        (49, lambda m, x: x + m.pos_embed, "position table"),
        (64, lambda m, x: x + m.wide, "width"),
        (64, lambda m, x: (x + m.pos_embed).select(1, 0), "class token"),
        (64, lambda m, x: (x + m.pos_embed)[:, -1], None),  # the last has seen all, read in order
        (64, lambda m, x: [x[:, i] for i in range(64)], None),
        (63, lambda m, x: x * 2 + m.pos_embed, "position table"),
    ],
)
def test_a_table_is_held_against_the_tokens(places, add, kind):
    others = {
        "type_embed": nn.Parameter(torch.zeros(1, 1, 16)),
        "kind": nn.Parameter(torch.zeros(1, 1, 16)),
        "wide": nn.Parameter(torch.zeros(1, 64, 32)),
        "embedding": nn.Embedding(64, 16),
        "more": nn.Embedding(100, 16),
    }
    found = audited(Tabled(add, places, **others))
    assert [fault.kind for fault in found.faults] == ([kind] if kind else [])


def test_a_table_is_held_against_a_grid_that_no_formula_gives():
    def stem(places):
        def add(module, x):
            x = functional.pad(x, (0, 2, 0, 2))
            tokens = functional.max_pool2d(module.proj(x), 2).flatten(2).mT
            return tokens + module.pos_embed[:, : tokens.shape[1]]

        module = Runs(add)
        module.pos_embed = nn.Parameter(torch.zeros(1, places, 16))
        return module

    assert kinds(stem(16), 2, 3, 30, 30) == []
    (fault,) = audited(stem(20), 2, 3, 30, 30).faults
    assert "pos_embed, the position table, has 20 entries for 16 = 4×4 tokens" in fault.sentence


@pytest.mark.parametrize(("name", "sure"), [("pos_embed", "certain"), ("modality", "likely")])
def test_one_vector_for_all_tokens_is_surely_a_table_only_by_its_name(name, sure):
    module = Runs(lambda module, x: module.proj(x).flatten(2).mT + getattr(module, name))
    setattr(module, name, nn.Parameter(torch.zeros(1, 1, 16)))
    (fault,) = audited(module).faults
    assert (fault.kind, fault.likelihood) == ("position table", sure)
    assert ("a guess" in fault.because) == (sure == "likely")


def test_a_table_that_does_not_fit_is_the_cause_and_a_later_error_is_not():
    report = inspect_module(faulty.ShortTable(), image())
    assert report.cause is report.faults[0]

    def fails(module, x):
        (x + module.pos_embed).reshape(7)

    report = inspect_module(Tabled(fails, 1), image())
    assert [fault.kind for fault in report.faults] == ["position table"]
    assert report.failure.operation == "reshape"
    assert report.cause is None
    assert report.explanations != ()


# ---- what attributes state


@pytest.mark.parametrize(
    ("stated", "convs", "kind"),
    [
        ({"patch_size": 4}, [(8, 3, 2), (16, 3, 2)], None),
        ({"patch_size": (4, 4)}, [(8, 3, 2), (16, 3, 2)], None),
        ({"patch_size": 8}, [(8, 3, 2), (16, 3, 2)], "stride"),
        ({"patch_size": (8, 8)}, [(8, 3, 2), (16, 3, 2)], "stride"),
        ({"patch_size": 8}, [(16, 8, 4)], None),  # PiT's is the side of an overlapping patch
        ({"patch_size": "large"}, [(16, 8, 4)], None),
        ({"hidden_dim": 16}, [(16, 4, 4)], None),
        ({"hidden_dim": 32}, [(16, 4, 4)], "width"),
        ({"hidden_size": [16, 32]}, [(16, 4, 4)], None),
    ],
)
def test_what_attributes_say_is_held_against_the_convolutions(stated, convs, kind):
    layers, before = [], 3
    for after, kernel_size, stride in convs:
        layers += [nn.Conv2d(before, after, kernel_size, stride, kernel_size // 2), nn.ReLU()]
        before = after
    module = Runs(lambda module, x: module.proj(x).flatten(2).mT)
    module.proj = nn.Sequential(*layers[:-1])
    for name, value in stated.items():
        setattr(module, name, value)
    wanted = [kind] if kind else []
    assert [each for each in kinds(module, 1, 3, 33, 33) if each != "unread pixels"] == wanted


def test_what_the_attributes_say_is_said_also_when_nothing_runs():
    def refuses(module, x):
        raise ValueError

    module = Runs(refuses)
    module.patch_size, module.image_size = 8, 224
    (fault,) = inspect_module(module, image()).faults
    assert "The stride is 4, and patch_size says 8: 56×56 tokens" in fault.sentence
    module.proj = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1))
    (fault,) = inspect_module(module, image()).faults
    assert "2·2 = 4, and patch_size says 8: 56×56 tokens instead of the 28×28" in fault.sentence
    module.patch_size = 4
    assert inspect_module(module, image()).faults == ()


def test_a_head_that_does_not_fit_is_not_blamed_on_patches_that_no_stride_makes():
    def run(module, x):
        x = rearrange(module.proj(x), "b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2)
        return module.head(module.embed(x))

    module = Runs(run)
    module.patch_size, module.proj = 2, nn.Conv2d(3, 8, 3, 1, 1)
    module.embed, module.head = nn.Linear(32, 16), nn.Linear(12, 2)
    report = inspect_module(module, image())
    assert (report.failure.operation, report.faults, report.cause) == ("linear", (), None)


def test_a_width_of_the_stem_within_is_not_blamed_for_what_the_head_expects():
    def stem(hidden_dim):
        module = Runs(lambda module, x: module.head(module.stem(x).flatten(2).mT))
        module.stem = Runs(lambda module, x: module.proj(module.first(x)))
        module.stem.first, module.stem.proj = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 4, 4)
        module.stem.hidden_dim, module.head = hidden_dim, nn.Linear(12, 2)
        return inspect_module(module, image())

    assert "width" not in [fault.kind for fault in stem(8).faults]
    assert stem(8).cause is None
    assert stem(12).cause.kind == "width"  # which the head expects


# ---- patches that are cut before a convolution have a stride of their own


class Cutting(nn.Module):
    """Cuts patches of 4 pixels by `cut`, and reads each by a convolution of one tap."""

    def __init__(self, cut, patch_size=4, numbers=48):
        super().__init__()
        self.cut, self.patch_size = cut, patch_size
        self.proj = nn.Conv2d(numbers, 16, 1)

    def forward(self, x):
        return self.proj(self.cut(x))


class Failing(nn.Module):
    """Runs a stem, or does not, and raises for a reason of its own."""

    def __init__(self, stem, runs=True):
        super().__init__()
        self.stem, self.runs = stem, runs

    def forward(self, x):
        if self.runs:
            self.stem(x)
        raise ValueError("for a reason of its own")


def cut_by_windows(x):
    x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 1, 4, 5, 2, 3)
    return x.flatten(1, 3)


def cut_by_reshape(x):
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def cut_by_unfold(x):
    side = x.shape[2] // 4
    return functional.unfold(x, 4, stride=4).unflatten(2, (side, -1))


CUTS = {
    "rearrange": lambda x: rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=4, q=4),
    "pixel_unshuffle": lambda x: functional.pixel_unshuffle(x, 4),
    "reshape": cut_by_reshape,
    "Tensor.unfold": cut_by_windows,
    "unfold": cut_by_unfold,
}


@pytest.mark.parametrize("runs", [True, False, None])
@pytest.mark.parametrize("name", CUTS)
def test_patches_that_are_cut_before_a_convolution_are_a_stride(name, runs):
    stem = Cutting(CUTS[name])
    module = stem if runs is None else Failing(stem, runs)
    report = inspect_module(module, image())
    assert report.faults == ()
    assert (report.failure is None) == (runs is None)


@pytest.mark.parametrize("runs", [True, False])
def test_a_patch_size_that_no_stride_makes_is_found_also_when_something_raises(runs):
    module = Runs(lambda module, x: module.proj(x))
    module.patch_size = 8
    (fault,) = inspect_module(Failing(module, runs), image()).faults
    assert "The stride is 4, and patch_size says 8" in fault.sentence
    assert fault.likelihood == ("certain" if runs else "likely")
    module.patch_size = 4
    assert inspect_module(Failing(module, runs), image()).faults == ()
