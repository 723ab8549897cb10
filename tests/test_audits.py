"""Every fault that keeps the shapes right is named with its fix; what is sound is left alone."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests import faulty, recreated
from tests.test_guests import Runs, assert_same, image, state_of
from vitc_inspect import audits, inspect_module
from vitc_inspect.audits import audit_module
from vitc_inspect.diagnosis import faults_of
from vitc_inspect.errors import SpecError
from vitc_inspect.inspection import inspect_call
from vitc_inspect.model import build_stem, build_vit
from vitc_inspect.notation import format_stem, parse_stem
from vitc_inspect.presets import PRESETS
from vitc_inspect.reading import stem_of
from vitc_inspect.spec import StemSpec, conv_layer

RIGHT = "flatten(2).transpose(1, 2)"
NAMED = [
    (faulty.MismatchedStrides, "stride", "2·1 = 2, and patch_size says 4", "multiply to 4"),
    (faulty.Scrambled, "token order", "reshape makes 64 tokens of the 16×8×8 map", RIGHT),
    (faulty.ColumnsFirst, "token order", "token 1 is the cell in row 1, column 0", RIGHT),
    (faulty.SlicedTable, "position table", "197 entries for 65 tokens = 8×8 + 1", "Interpolate"),
    (faulty.BroadcastTable, "position table", "table, the position table, has 1 entry", "65"),
    (faulty.ShortTable, "position table", "15 tokens have none", "Interpolate"),
    (faulty.TableWithoutToken, "class token", "65 = 8×8 + 1 entries", "Put the class token first"),
    (faulty.HeadedByAPatch, "class token", "no class token was put before", "torch.cat"),
    (faulty.Linear, "linear", "one convolution of kernel 7×7 and stride 4", "bn relu"),
    (faulty.Blog, "linear", "These 5 convolutions have no activation", "bn relu"),
    (faulty.Biased, "bias", "stem.0, stem.3 have a bias before BatchNorm", "bias=False"),
    (faulty.LastActivated, "activation", "relu stands behind the last convolution", "bare"),
    (faulty.Overpadded, "unread pixels", "2 of 32 rows and 2 of 32 columns", "padding to 0"),
    (faulty.Cropped, "unread pixels", "2 of 32 rows and 2 of 32 columns", "30×30 pixels"),
    (faulty.WidthNormed, "norm", "16 neighbours in a row, and not the 8", "GroupNorm(1, 8)"),
    (faulty.Misstated, "width", "16 numbers, and embed_dim says 32", "set embed_dim to 16"),
]  # fmt: skip


def audited(module, *shape):
    return audit_module(module.eval(), (image(*(shape or (2, 3, 32, 32))),))


def kinds(module, *shape):
    return [fault.kind for fault in audited(module, *shape).faults]


@pytest.mark.parametrize(("module", "kind", "words", "fix"), NAMED)
def test_a_fault_is_named_in_one_sentence_with_its_fix(module, kind, words, fix):
    (fault,) = audited(module()).faults
    assert fault.kind == kind
    assert words in fault.sentence
    assert any(fix in each for each in fault.fixes)
    assert audited(faulty.BESIDE[module]()).faults == ()


def test_every_fault_has_a_sound_stem_beside_it():
    assert {module for module, *_ in NAMED} == set(faulty.BESIDE)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (faulty.Overwritten, "The output of norm is later written over by act"),
        (faulty.AddedInPlace, "later written over by add_ at faulty.py"),
        (faulty.Encoded, "PyTorch's fused attention was switched off for the run"),
        (faulty.Attending, "nn.MultiheadAttention reads its weights itself"),
        (faulty.Shared, "act2 is the same module as act1"),
        (
            faulty.Padded,
            "2 layers of 3 as arithmetic says; no rule is known here for same (SamePadded).",
        ),
        (faulty.Raising, "Raised RuntimeError at faulty.py"),
        (faulty.Remembering, "The forward writes to conv.weight, norm.weight, seen, mean"),
        (faulty.Sidestepped, "its .forward() was called directly"),
        (faulty.Recovering, "wrong.0"),
        (faulty.Unpermuted, "Raised RuntimeError in head at faulty.py"),
        (faulty.WrongPattern, "Raised EinopsError at faulty.py"),
    ],
)
def test_what_is_odd_and_no_fault_is_said_without_a_warning(module, words):
    report = inspect_module(module().eval(), image())
    assert report.faults == ()
    assert words in str(report)
    sound = inspect_module(faulty.Activated().eval(), image())
    assert (sound.faults, sound.notes, sound.overwritten) == ((), (), ())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_as_a_guest_has_the_faults_of_its_description(name):
    """Without memory, so that the largest take no time."""
    preset = PRESETS[name]
    with torch.device("meta"):
        given = torch.empty(1, preset.stem.in_channels, *preset.stem.image_size)
    modules = [build_stem(preset.stem)]
    if preset.vit:
        modules.append(build_vit(replace(preset.vit, depth=1)))
    for module in modules:
        found = audit_module(module.to("meta"), (given,))
        assert found.stem == preset.stem
        assert found.faults == faults_of(preset.stem)
    assert {fault.kind for fault in found.faults} <= {"linear", "unread pixels"}
    assert bool(found.faults) == (name in ("blog_2021", "vitpose_b"))


def test_a_preset_that_is_run_says_the_same_and_what_was_measured():
    spec = PRESETS["blog_2021"].stem
    (fault,) = audited(build_stem(spec), 1, 3, 224, 224).faults
    assert fault.sentence == faults_of(spec)[0].sentence
    assert "kernel 31×31 and stride 16" in fault.sentence
    assert "f(a + b) − f(a) − f(b) + f(0) is " in fault.because


def test_a_patch_of_16_with_padding_2_never_reads_the_last_two_of_256():
    module = nn.Sequential(nn.Conv2d(3, 8, 16, 16, 2), nn.Flatten(2))
    (fault,) = audited(module, 1, 3, 256, 256).faults
    assert "No token reads 2 of 256 rows and 2 of 256 columns" in fault.sentence
    assert kinds(nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.Flatten(2)), 1, 3, 256, 256) == []


@pytest.mark.parametrize("make", recreated.SOUND, ids=str)
def test_stems_of_torchvision_and_timm_get_no_warning(make):
    report = inspect_module(make().eval(), image())
    assert report.failure is None
    assert report.faults == ()


def test_torchvisions_strides_that_do_not_make_its_patch_are_the_cause_of_its_failure():
    report = inspect_module(recreated.TorchvisionHalfStrides().eval(), image())
    assert report.failure.operation == "reshape"
    assert (
        "2·1·1 = 2, and patch_size says 4: 16×16 tokens instead of the 8×8" in report.cause.sentence
    )
    assert report.explanations == (report.cause,)
    assert report.faults == (report.cause,)


# ---- the order of the tokens, by every way of making them


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
    assert kinds(Runs(run), 1, 3, 32, 32) == []


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


# ---- tables


class Tabled(nn.Module):
    """A patchify stem of 64 tokens that adds what `add` makes of them and a learned table."""

    def __init__(self, add, places=64, **others):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 4, 4)
        self.pos_embed = nn.Parameter(torch.randn(1, places, 16))
        for name, value in others.items():
            setattr(self, name, value)
        self.add = add

    def forward(self, x):
        return self.add(self, self.proj(x).flatten(2).transpose(1, 2))


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


def test_a_norm_over_the_width_tells_the_channels_of_a_map_that_was_turned():
    module = Runs(lambda module, x: nn.functional.layer_norm(module.proj(x).transpose(1, 2), (8,)))
    (fault,) = audited(module).faults
    assert "a map of 16×8×8, which is the width of the image: 8 neigh" in fault.sentence


# ---- linearity, pixels, promises


def test_one_activation_is_enough_and_a_norm_over_the_image_too():
    def stem(*between):
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *between, nn.Conv2d(8, 16, 3, 2, 1))

    affine = (nn.Identity(), nn.Dropout(0.5), nn.AvgPool2d(2), nn.ZeroPad2d(1))
    for between in affine:
        assert kinds(stem(between)) == ["linear"]
    side_by_side = Runs(lambda module, x: (module.proj(x) + module.proj(x)).flatten(2))
    assert kinds(side_by_side) == []  # one after the other is what makes a map too simple
    assert kinds(
        nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    ) == ["linear"]
    for between in (
        nn.ReLU(),
        nn.GELU(),
        nn.Tanh(),
        nn.GroupNorm(1, 8),
        nn.MaxPool2d(2),
        nn.SELU(),
    ):
        assert kinds(stem(between)) == []


def test_weights_of_0_are_affine_and_nothing_is_measured():
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    for parameter in stem.parameters():
        nn.init.zeros_(parameter)
    (fault,) = audited(stem).faults
    assert (fault.kind, "f(a + b)" in fault.because) == ("linear", False)


@pytest.mark.parametrize("last", [nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, (3, 1))])
def test_maps_that_are_no_numbers_measure_nothing(last):
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), last)
    nn.init.constant_(stem[0].weight, float("nan"))
    assert "nan" not in "".join(fault.because for fault in audited(stem).faults)


def test_convolutions_that_lead_to_no_tokens_are_left_alone():
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU())
    assert kinds(nn.Sequential(*layers)) == ["linear", "bias"]
    classifier = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert kinds(nn.Sequential(*layers, *classifier)) == []
    module = Runs(lambda module, x: module.proj(x).mean(dim=(2, 3)))
    module.proj = nn.Sequential(*layers)
    assert kinds(module) == []


def test_a_module_in_training_is_asked_as_in_use():
    assert kinds_in_training(faulty.Convolutional()) == []
    assert kinds_in_training(faulty.Linear()) == ["linear"]
    normed = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 8, 3))
    assert kinds_in_training(nn.Sequential(*normed)) == ["linear"]


def kinds_in_training(module):
    return [fault.kind for fault in audit_module(module.train(), (image(),)).faults]


def test_pixels_are_looked_for_where_no_formula_stands():
    class Branching(nn.Module):
        def __init__(self, wide):
            super().__init__()
            self.one = nn.Conv2d(3, 16, 4, 4)
            self.other = nn.Conv2d(3, 16, 4 if wide else 2, 4)
            self.alone = not wide

        def forward(self, x):
            x = self.other(x) if self.alone else self.one(x) + self.other(x)
            return functional.max_pool2d(x, 1).flatten(2).mT

    assert kinds(Branching(True)) == []
    (fault,) = audited(Branching(False)).faults
    assert "16 of 32 rows and 16 of 32 columns" in fault.sentence


def test_pixels_are_not_looked_for_behind_attention(monkeypatch):
    class Mixed(nn.Module):
        def __init__(self, mix):
            super().__init__()
            self.proj, self.last, self.mix = nn.Conv2d(3, 16, 2, 4), nn.Conv2d(16, 8, 1), mix

        def forward(self, x):
            return functional.max_pool2d(self.last(self.mix(self.proj(x))), 1)

    def attend(x):
        return (x.permute(0, 2, 3, 1) @ torch.eye(16)).permute(0, 3, 1, 2)

    runs = []
    monkeypatch.setattr(audits, "output_of_step", lambda *args, **kwargs: runs.append(1))
    assert kinds(Mixed(attend)) == []
    assert runs == []
    kinds(Mixed(functional.relu))
    assert runs == [1]


def test_pixels_without_a_gradient_that_are_read_all_the_same():
    def run(module, x):
        return functional.max_pool2d(module.proj(functional.relu(x)), 1).flatten(2).mT

    dark = image()
    dark[:, :, -4:] = -1
    assert audit_module(Runs(run), (dark,)).faults == ()
    bytes_, far = 100 * image().abs() + 1000, Runs(lambda module, x: run(module, x - 1000))
    bytes_[:, :, -4:] = 0
    assert audit_module(far, (bytes_,)).faults == ()


def test_a_branch_that_learned_nothing_yet_is_not_taken_for_one_that_reads_nothing():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Conv2d(3, 16, 4, 4)
            self.gate = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return functional.max_pool2d(self.proj(x) * self.gate, 1).flatten(2).mT

    assert kinds(Gated()) == []


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


def test_a_failure_and_a_fault_do_not_contradict_each_other():
    def fails(module, x):
        raise RuntimeError(module.proj(x).flatten(2))

    module = Runs(fails)
    module.proj = nn.Conv2d(3, 16, 16, 16, 2)
    (fault,) = inspect_module(module, image()).faults
    assert fault.kind == "unread pixels"
    assert "every shape is right" not in fault.sentence


def test_an_audit_can_be_left_out():
    report = inspect_call(faulty.Scrambled(), (image(),), audit=False)
    assert (report.faults, report.stem) == ((), None)


# ---- stems that can be read


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
    )
    assert found.stem_layers == ("", "proj")


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


@pytest.mark.parametrize("ask", [stem_of, audit_module])
def test_what_is_no_module_is_refused_in_a_sentence(ask):
    with pytest.raises(SpecError, match=r"module = 'type': it is not a torch\.nn\.Module"):
        ask(nn.Conv2d, (image(),))


def test_padding_by_its_name_is_read():
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 8, 4, 4))
    assert [conv.padding for conv in stem_of(module, (image(),)).convs] == [1, 0]
    with pytest.warns(UserWarning, match="even kernel"):
        assert stem_of(nn.Sequential(nn.Conv2d(3, 8, 4, padding="same")), (image(),)) is None


# ---- guests leave nothing behind


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make",
    [faulty.Remembering, faulty.Linear, faulty.Cropped, faulty.MismatchedStrides, faulty.Leaving],
)
def test_an_audit_leaves_everything_as_it_was(make, training):
    module = make().train(training)
    before, given = state_of(module), image()
    inspect_module(module, given)
    assert_same(before, state_of(module))
    assert torch.equal(given, image())
    if hasattr(module, "history"):
        assert (module.calls, module.history, module.cache) == (0, [], {})


@pytest.fixture
def one_thread():
    """Threads are no help with a few numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("make", "times", "kind"),
    [(faulty.Remembering, 1000, None), (faulty.Cropped, 100, "unread pixels")],
)
def test_a_thousand_inspections_change_nothing_and_hold_nothing(one_thread, make, times, kind):
    module, given = make(), image(1, 3, 8, 8)
    before, tensors = state_of(module), []
    for turn in range(times):
        report = inspect_module(module, given)
        assert [fault.kind for fault in report.faults] == ([kind] if kind else [])
        if turn in (20, times - 1):
            gc.collect()
            tensors.append(sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()))
    assert tensors[0] == tensors[1]
    assert_same(before, state_of(module))


def test_nothing_of_an_audit_of_a_failure_is_held():
    module, given = faulty.ShortTable(), image()
    inspect_module(module, given)
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
        report = inspect_module(module, given)
        after = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    finally:
        gc.enable()
    assert report.cause is not None
    assert after == before
