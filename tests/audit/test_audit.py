"""Every fault that keeps the shapes right is named with its fix; what is sound is left alone."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests import faulty, recreated
from tests.audit.audits import audited, kinds
from tests.tracing.modules import Runs, assert_same, image, state_of
from vitc_inspect import inspect_module
from vitc_inspect.audit import audit
from vitc_inspect.audit.audit import audit_module
from vitc_inspect.audit.stem_finder import stem_of
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.diagnosis import faults_of
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.stem.presets import PRESETS

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
    (faulty.LastActivated, "activation", "relu follows the last convolution", "bare"),
    (faulty.Overpadded, "unread pixels", "2 of 32 rows and 2 of 32 columns", "padding to 0"),
    (faulty.Cropped, "unread pixels", "2 of 32 rows and 2 of 32 columns", "30×30 pixels"),
    (faulty.WidthNormed, "norm", "16 neighbours in a row, and not the 8", "GroupNorm(1, 8)"),
    (faulty.Misstated, "width", "16 numbers, and embed_dim says 32", "set embed_dim to 16"),
]  # fmt: skip


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
            "2 of 3 layers agree with arithmetic; no rule is known here for same (SamePadded).",
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


def test_only_biases_of_the_stem_are_told():
    class Blocks(nn.Module):
        def __init__(self, bias):
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 8, 4, 4, bias=bias), nn.BatchNorm2d(8), nn.ReLU()
            )
            self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))

        def forward(self, x):
            x = self.stem(x)
            return x + self.block(x)

    assert kinds(Blocks(False)) == []
    (fault,) = audited(Blocks(True)).faults
    assert fault.sentence.startswith("stem.0 has a bias before BatchNorm")


def test_a_norm_over_the_width_tells_the_channels_of_a_map_that_was_turned():
    module = Runs(lambda module, x: nn.functional.layer_norm(module.proj(x).transpose(1, 2), (8,)))
    (fault,) = audited(module).faults
    assert "a map of 16×8×8, which is the width of the image: 8 neigh" in fault.sentence


def test_convolutions_that_lead_to_no_tokens_are_left_alone():
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.ReLU())
    assert kinds(nn.Sequential(*layers)) == ["linear", "bias"]
    classifier = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    assert kinds(nn.Sequential(*layers, *classifier)) == []
    module = Runs(lambda module, x: module.proj(x).mean(dim=(2, 3)))
    module.proj = nn.Sequential(*layers)
    assert kinds(module) == []


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


@pytest.mark.parametrize("ask", [stem_of, audit_module])
def test_what_is_no_module_is_refused_in_a_sentence(ask):
    with pytest.raises(SpecError, match=r"module = 'type': it is not a torch\.nn\.Module"):
        ask(nn.Conv2d, (image(),))


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


def _broken(*args, **kwargs):
    raise KeyError("mistake")


@pytest.mark.parametrize(
    "name",
    [
        *("find_stem_path", "contract_faults", "token_order", "maps_of_tokens", "other_widths"),
        *("table_order", "affine_convolutions", "scrambled_patches", "unread_pixels"),
        *("dependence", "padding_notes", "_first_without_class_token", "_bias", "_width_normed"),
    ],
)
def test_a_check_that_fails_takes_nothing_else_away(name, monkeypatch):
    module, given = faulty.Headed().eval(), image()
    alone = module(given)
    monkeypatch.setattr(audit, name, _broken)
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(KeyError, match="mistake"):
        audit_module(module, (given,))
    monkeypatch.delenv(STRICT_RULES, raising=False)
    report = inspect_module(module, given)
    assert (report.failure, report.faults, report.audited) == (None, (), False)
    assert [value.shape for value in report.outputs] == [alone.shape]
    assert torch.equal(module(given), alone)
    assert "KeyError: 'mistake'" in report.notes[-1]
    found = [fault.kind for fault in audit_module(faulty.Biased().eval(), (given,)).faults]
    assert found == ([] if name in ("find_stem_path", "_bias") else ["bias"])


@pytest.mark.parametrize(
    ("make", "name"),
    [(faulty.Raising, "stated_stride_faults"), (lambda: nn.Flatten(2), "cut_table_of_patches")],
)
def test_a_check_of_what_raises_or_has_no_stem_may_fail_as_well(make, name, monkeypatch):
    before = inspect_module(make(), image())
    monkeypatch.setattr(audit, name, _broken)
    monkeypatch.delenv(STRICT_RULES, raising=False)
    report = inspect_module(make(), image())
    assert not report.audited
    assert "mistake" in report.notes[-1]
    assert (report.failure is None) == (before.failure is None)
