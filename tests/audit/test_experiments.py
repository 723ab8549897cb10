"""What is affine, and what no token reads, is measured on other images."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from tests import faulty
from tests.audit.audits import audited, kinds
from tests.tracing.modules import Runs, image
from vitc_inspect.audit import experiments
from vitc_inspect.audit.audit import audit_module
from vitc_inspect.tracing.dataflow import follow

# ---- convolutions that are one affine map


def eleven_bits(tensor):
    """The numbers as TensorFloat-32 takes them: 10 bits behind the point, and the one before it."""
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


class RoundingConv2d(nn.Conv2d):
    """A convolution as a GPU computes it where TensorFloat-32 is allowed."""

    def forward(self, input):
        weight = eleven_bits(self.weight)
        return functional.conv2d(eleven_bits(input), weight, self.bias, self.stride, self.padding)


class MapMakerStandIn:
    """Makes a map of an image, as reruns asks for it."""

    def __init__(self, module):
        self.image, self._module = image(), module.eval()

    def __call__(self, image):
        with torch.no_grad():
            return self._module(image)


def test_affine_is_affine_too_where_a_gpu_rounds_the_factors(monkeypatch):
    def stem(*between):
        return nn.Sequential(
            RoundingConv2d(3, 8, 3, 2, 1), *between, RoundingConv2d(8, 16, 3, 2, 1)
        )

    rests = []
    for seed in range(20):
        torch.manual_seed(seed)
        rests.append(experiments._affine_rest(MapMakerStandIn(stem())))
    assert max(rests) > experiments._rounding(image())  # what a CPU never rounds as far
    torch.manual_seed(0)
    activated = [
        experiments._affine_rest(MapMakerStandIn(stem(activation)))
        for activation in (nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Tanh())
    ]
    monkeypatch.setattr(experiments, "factor_rounding", lambda tensor: 2.0**-11)
    assert max(rests) < experiments._rounding(image()) < min(activated)


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


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "behind",
    [
        lambda module, x, y: x + y,  # a residual, as a convolution that tells tokens their places
        lambda module, x, y: (x, y.flatten(2).mT),  # a map that is returned, or goes on elsewhere
        lambda module, x, y: module.up(y.flatten(2).mT.mT.reshape(y.shape).relu()) + x,
    ],
)
def test_convolutions_whose_map_is_used_elsewhere_are_not_one(behind, used):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1)
            self.up = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            x = self.first(x)
            y = self.second(x)
            return behind(self, x, y) if used else y.flatten(2).mT

    assert kinds(Branching()) == ([] if used else ["linear"])


@pytest.mark.parametrize("windows", [1, 2])
def test_a_convolution_within_windows_is_not_one_with_that_before(windows):
    def run(module, x):
        x = module.proj(x)
        pattern = "b c (h p) (w q) -> (b h w) c p q"
        x = module.mix(rearrange(x, pattern, h=windows, w=windows))
        return x.flatten(2).mT

    module = Runs(run)
    module.mix = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    assert kinds(module) == (["linear"] if windows == 1 else [])


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


def test_a_module_in_training_is_asked_as_in_use():
    assert kinds_in_training(faulty.Convolutional()) == []
    assert kinds_in_training(faulty.Linear()) == ["linear"]
    normed = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 8, 3))
    assert kinds_in_training(nn.Sequential(*normed)) == ["linear"]


def kinds_in_training(module):
    return [fault.kind for fault in audit_module(module.train(), (image(),)).faults]


# ---- pixels that nobody reads


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


def test_pixels_are_looked_for_before_attention_and_not_behind_it():
    class Mixed(nn.Module):
        def __init__(self, mix):
            super().__init__()
            self.proj, self.last, self.mix = nn.Conv2d(3, 16, 2, 4), nn.Conv2d(16, 8, 1), mix

        def forward(self, x):
            return functional.max_pool2d(self.last(self.mix(self.proj(x))), 1)

    def attend(x):
        return (x.permute(0, 2, 3, 1) @ torch.eye(16)).permute(0, 3, 1, 2)

    last = {
        mix: experiments._last_of_all(follow(Mixed(mix).eval(), (image(),), {}))[1].name
        for mix in (attend, functional.relu)
    }
    assert last == {attend: "permute", functional.relu: "max_pool2d"}
    for mix in last:
        (fault,) = audited(Mixed(mix)).faults
        assert "16 of 32 rows and 16 of 32 columns" in fault.sentence


class Unread(nn.Module):
    """A patchify stem of stride 4, and something behind it that no formula speaks of."""

    def __init__(self, behind):
        super().__init__()
        self.stem, self.behind = nn.Conv2d(3, 8, 4, 4), behind
        self.mix, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.behind(self, self.stem(x))


def residual(module, x):
    y = module.norm(module.mix(x).permute(0, 2, 3, 1))
    return x + module.down(functional.gelu(module.up(y))).permute(0, 3, 1, 2)


def attended(module, x):
    x = x.flatten(2).transpose(1, 2)
    return x + module.attend(x, x, x)[0]


@pytest.mark.parametrize(
    "behind",
    [
        residual,
        lambda m, x: residual(m, residual(m, x)).flatten(2).mT,
        lambda m, x: m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        lambda m, x: x + m.mix(x).relu(),
        lambda m, x: m.head(residual(m, x).mean(dim=(2, 3))),  # a classifier, as ConvNeXt
        attended,
        lambda m, x: m.head(attended(m, x).mean(dim=1)),
        lambda m, x: {"last": residual(m, x)},
        lambda m, x: x + m.mix(x),
    ],
)
def test_unread_pixels_are_found_whatever_stands_behind_the_stem(behind):
    (fault,) = audited(Unread(behind), 1, 3, 70, 61).faults
    assert (fault.kind, fault.likelihood) == ("unread pixels", "certain")
    assert "2 of 70 rows and 1 of 61 columns" in fault.sentence
    assert kinds(Unread(behind), 1, 3, 68, 60) == []  # as the fix says
    assert "68×60" in fault.fixes[0]


@pytest.mark.parametrize("side", [32, 35])
def test_pixels_that_windows_leave_over_are_unread(side):
    def cut(module, x):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4)  # (b, c, h, w, p, q)
        return module.embed(x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2))

    module = Runs(cut)
    module.embed = nn.Linear(48, 16)
    assert kinds(module, 1, 3, side, side) == ["unread pixels"] * (side % 4 > 0)


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
