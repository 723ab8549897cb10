"""The rows of a recording: modules and functions in order, as they began, each once."""

from __future__ import annotations

import copy
import signal
from collections import namedtuple
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tests import faulty
from tests.tracing.modules import (
    Runs,
    hook_count,
    image,
    names,
    shapes,
    silent,
)
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.stem.spec import conv_stem
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.counting import count_function_macs
from vitc_inspect.tracing.hooks import trace
from vitc_inspect.tracing.leaf_modules import OPAQUE
from vitc_inspect.tracing.recorder import record_module


@pytest.mark.parametrize(
    ("module", "rows"),
    [
        (faulty.Sized, "conv1 act conv2 reshape permute norm"),
        (faulty.MismatchedStrides, "conv1 act conv2"),
        (faulty.Ordered, "proj einops.rearrange"),
        (faulty.Scrambled, "proj reshape"),
        (faulty.ColumnsFirst, "proj transpose reshape"),
        (faulty.Placed, "proj flatten mT expand cat add"),
        (faulty.SlicedTable, "proj flatten mT expand cat __getitem__ add"),
        (faulty.BroadcastTable, "proj flatten mT expand cat add"),
        (faulty.ShortTable, "proj flatten mT expand cat"),
        (faulty.Activated, "conv norm act"),
        (faulty.Overwritten, "conv norm act"),
        (faulty.AddedInPlace, "proj flatten add_"),
        (faulty.Attending, "proj flatten transpose attention"),
        (faulty.Shared, "first act1 again act1 again act1"),
        (faulty.Padded, "same act plain"),
        (faulty.Raising, "conv1 act conv2 zeros"),
        (faulty.Unpermuted, "proj head"),
        (faulty.WrongPattern, "proj"),
        (faulty.Recovering, "wrong.0 right.0"),
        (faulty.Sidestepped, "conv2d flatten transpose linear gelu steps.0"),
    ],
)
def test_modules_and_functions_stand_in_the_order_in_which_they_began(module, rows):
    assert names(record_module(module().eval(), image())) == rows.split()


def test_every_shape_change_is_seen():
    sound = record_module(faulty.Placed(), image())
    assert shapes(sound) == [
        (2, 16, 8, 8), (2, 16, 64), (2, 64, 16), (2, 1, 16), (2, 65, 16), (2, 65, 16),
    ]  # fmt: skip
    assert sound.outputs[0].shape == (2, 65, 16)
    sliced = record_module(faulty.SlicedTable(), image()).call("__getitem__")
    assert (sliced.in_shape, sliced.out_shape) == ((1, 197, 16), (1, 65, 16))
    broadcast = record_module(faulty.BroadcastTable(), image()).call("add")
    assert [value.shape for value in broadcast.inputs] == [(2, 65, 16), (1, 1, 16)]


def test_a_function_bears_the_line_that_called_it():
    source = record_module(faulty.Sized(), image()).call("reshape").source
    assert source.file == faulty.__file__
    assert source.text == "tokens = grid.reshape(n, WIDTH, rows * columns)"
    source = record_module(faulty.Ordered(), image()).call("einops.rearrange").source
    assert source.text == 'return rearrange(grid, "b d rows columns -> b (rows columns) d")'


def test_a_layer_of_torch_shows_its_own_line_where_there_is_no_other():
    call = record_module(faulty.Encoded().eval(), image()).call("relu")
    assert call.inside == "encoder"
    assert call.source.file.endswith("transformer.py")


def test_two_functions_of_einops_on_one_line_are_two_rows():
    def run(module, x):
        for _ in range(2):
            x = rearrange(rearrange(x, "b c h w -> b h w c"), "b h w c -> b c w h")
        return x

    recording = record_module(Runs(run), image())
    assert names(recording) == ["einops.rearrange"] * 4
    assert shapes(recording)[-2:] == [(2, 32, 32, 3), (2, 3, 32, 32)]


def test_facts_about_a_tensor_are_no_rows():
    def run(module, x):
        assert x.shape[0] == x.size(0) == len(x)
        assert x.dim() == x.ndim
        assert x.is_floating_point()
        assert x.sum().item() is not None
        return module.proj(x).to(x.dtype) if x.numel() else x

    assert names(record_module(Runs(run), image())) == ["sum", "proj", "to"]


def test_what_happens_inside_a_layer_is_the_layers():
    stem = build_stem(conv_stem(channels=(8, 8, 8, 8), embed_dim=8, image_size=32))
    recording = record_module(stem, image(1, 3, 32, 32))
    expected = trace(stem, image(1, 3, 32, 32), keep_bytes=0).records
    assert names(recording) == [record.name for record in expected]
    assert [(call.out_shape, call.params, call.macs) for call in recording.calls] == [
        (record.out_shape, record.params, record.macs) for record in expected
    ]


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_macs_of_a_whole_model_are_those_of_the_trace(attention):
    stem = conv_stem(channels=(8, 8, 8, 8), embed_dim=24, image_size=64)
    vit = ViTSpec(stem=stem, depth=2, num_heads=3, mlp_ratio=2, attention=attention)
    module = build_vit(vit)
    recording = record_module(module, image(2, 3, 64, 64))
    records = trace(module, image(2, 3, 64, 64), keep_bytes=0).records
    assert recording.macs == sum(record.macs for record in records)
    assert recording.uncounted == ()


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        (lambda x, w: functional.linear(x, w), 4 * 5 * 6),
        (lambda x, w: x @ w.T, 4 * 5 * 6),
        (lambda x, w: torch.mm(x, w.T), 4 * 5 * 6),
        (lambda x, w: torch.einsum("nd,kd->nk", x, w), 4 * 5 * 6),
        (lambda x, w: torch.addmm(torch.zeros(6), x, w.T), 4 * 5 * 6),
        (lambda x, w: functional.conv2d(x[None, None], w[None, None, :2, :2]), 3 * 4 * 4),
        (lambda x, w: functional.scaled_dot_product_attention(x, w, w), 2 * 4 * 6 * 5),
        (lambda x, w: x.softmax(-1) + x.relu(), 0),
    ],
)
def test_products_of_functions_are_counted(run, macs):
    recording = record_module(Runs(lambda _, x, w: run(x, w)), image(4, 5), image(6, 5))
    assert (recording.macs, recording.uncounted) == (macs, ())


def test_a_function_without_a_count_is_named():
    recording = record_module(Runs(lambda _, x: torch.fft.fft2(x).real), image())
    assert recording.call("fft_fft2").macs is None
    assert recording.uncounted == ("fft_fft2",)
    assert count_function_macs("unheard_of", (), {}, None) is None


def test_attention_is_one_row_with_all_its_work():
    call = record_module(faulty.Attending().eval(), image()).call("attention")
    tokens, width = 64, 16
    assert call.params == 4 * width * width + 4 * width
    assert call.macs == 2 * (4 * tokens * width * width + 2 * tokens * tokens * width)
    assert [value.path for value in call.inputs] == ["0", "1", "value"]
    assert [value.shape for value in call.outputs] == [(2, 64, 16), (2, 64, 64)]


QUIET_CASES = [
    (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), image()),
    (nn.Conv2d(4, 8, 3, groups=2), image(2, 4, 8, 8)),
    (nn.Linear(32, 5), image()),
    (nn.BatchNorm2d(3), image()),
    (nn.GroupNorm(3, 3), image()),
    (nn.LayerNorm(32), image()),
    (nn.GELU(), image()),
    (nn.Hardswish(), image()),
    (nn.ReLU(), image()),
    (nn.Sigmoid(), image()),
    (nn.SiLU(), image()),
    (nn.AdaptiveAvgPool2d(2), image()),
    (nn.AvgPool2d(2), image()),
    (nn.Dropout(), image()),
    (nn.MaxPool2d(2, return_indices=True), image()),
]


def test_every_quiet_layer_is_tested():
    assert {type(layer) for layer, _ in QUIET_CASES} == OPAQUE


@pytest.mark.parametrize("given", ["right", "a shape", "nothing", "by name"])
@pytest.mark.parametrize(("layer", "right"), QUIET_CASES)
def test_a_quiet_layer_is_recorded_as_if_it_were_heard(layer, right, given):
    def run(module, x):
        if given == "by name":
            return module.layer(input=x)
        return module.layer(*{"a shape": [x[0, 0, :, :3]], "nothing": []}.get(given, [x]))

    def recorded(mode):
        module = Runs(run)
        module.layer = copy.deepcopy(layer)
        module.layer.register_forward_hook(lambda *call: None)
        if mode == "opaque":
            module.layer._forward_hooks.clear()
        recording = record_module(module.eval(), right)
        failure = recording.failure and replace(recording.failure, traceback="")
        return recording.calls, recording.outputs, recording.never_called, failure

    assert recorded("opaque") == recorded("heard")


def heard_by_a_mode_of_the_users(run):
    class Hearing(TorchFunctionMode):
        def __init__(self):
            self.names = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.names.append(getattr(func, "__name__", ""))
            return func(*args, **kwargs or {})

    with Hearing() as mode:
        run()
    return mode.names


def test_a_mode_of_the_users_hears_as_ever():
    heard = []

    def run(module, x):
        heard.extend(heard_by_a_mode_of_the_users(lambda: module.proj(x).relu()))
        return module.proj(x).tanh()

    recording = record_module(Runs(run).eval(), image())
    assert heard == ["conv2d", "relu"]
    assert names(recording) == ["proj", "relu", "proj", "tanh"]
    (first, second) = (recording.call("proj", turn) for turn in (1, 2))
    assert first.macs == second.macs == 2 * 16 * 8 * 8 * 3 * 4 * 4
    around = heard_by_a_mode_of_the_users(lambda: record_module(Runs(run).eval(), image()))
    assert around.count("conv2d") == 2


def test_who_interrupts_a_quiet_layer_leaves_no_mode_behind(monkeypatch):
    module = nn.Sequential(nn.Linear(3, 3)).eval()

    def interrupt(*given):
        signal.raise_signal(signal.SIGINT)  # as Ctrl+C does

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            record_module(module, torch.ones(1, 3))
        torch.ones(1).tanh()

    monkeypatch.setattr(functional, "linear", interrupt)
    assert heard_by_a_mode_of_the_users(interrupted)[-1] == "tanh"
    assert hook_count(module) == 0


def test_a_forward_or_a_hook_put_on_a_quiet_layer_is_heard():
    hooked = nn.Sequential(nn.Linear(4, 5)).eval()
    hooked[0].register_forward_hook(lambda *call: call[-1] @ torch.ones(5, 2))
    assert record_module(hooked, torch.ones(3, 4)).macs == 3 * (4 * 5 + 5 * 2)
    replaced = nn.Sequential(nn.Linear(4, 5)).eval()
    replaced[0].forward = lambda x: (x @ replaced[0].weight.T) @ torch.ones(5, 2)
    assert record_module(replaced, torch.ones(3, 4)).macs == 3 * (4 * 5 + 5 * 2)


def test_a_layer_that_writes_to_its_buffers_in_training_is_heard():
    def run(module, x):
        turns = module.norm.num_batches_tracked.view(1)
        module.norm(x)
        return turns

    module = Runs(run)
    module.norm = nn.BatchNorm2d(3)
    assert record_module(module.train(), image()).call("view").overwritten_by == "norm"
    assert record_module(module.eval(), image()).call("view").overwritten_by is None


def test_the_layers_of_a_fused_encoder_all_fire():
    recording = record_module(faulty.Encoded().eval(), image())
    assert {"encoder.linear1", "encoder.linear2", "encoder.norm1"} <= set(names(recording))


def test_a_module_called_twice_is_two_rows():
    recording = record_module(faulty.Shared(), image())
    assert [call.turn for call in recording.calls] == [1, 1, 1, 2, 2, 3]
    assert recording.call("again", 2).out_shape == (2, 8, 4, 4)
    (note,) = recording.notes
    assert note.startswith("act2 is the same module as act1: its rows have that name, and both")
    with pytest.raises(KeyError):
        recording.call("again", 3)


def test_arguments_by_name_and_outputs_in_a_dict():
    recording = record_module(faulty.ByName(), pixel_values=image())
    assert [(value.path, value.shape) for value in recording.outputs] == [("tokens", (2, 16, 64))]
    assert [value.path for value in recording.inputs] == ["pixel_values"]
    assert recording.call("proj").inputs[0].path == "input"


def test_tuples_dicts_and_none_come_out():
    Pair = namedtuple("Pair", "left right")

    def run(module, x):
        return Pair(x, {"deep": [x[:1], None]}), None, "text"

    recording = record_module(Runs(run), image())
    assert [(value.path, value.shape) for value in recording.outputs] == [
        ("0.0", (2, 3, 32, 32)),
        ("0.1.deep.0", (1, 3, 32, 32)),
    ]
    assert record_module(Runs(lambda *_: None), image()).outputs == ()


def test_the_whole_is_a_row_only_as_a_layer_of_a_library():
    assert names(record_module(nn.Conv2d(3, 8, 1), image())) == [""]
    assert names(record_module(Rearrange("b c h w -> b (h w) c"), image())) == [""]
    assert names(record_module(Runs(lambda m, x: x.flatten(1)), image())) == ["flatten"]


def test_a_module_with_parameters_and_children_is_a_row_and_so_is_what_happens_inside():
    class Activating(nn.BatchNorm2d):
        """As timm's BatchNormAct2d: a norm with its activation for a child."""

        def __init__(self):
            super().__init__(8)
            self.act = nn.ReLU()

        def forward(self, x):
            x = functional.batch_norm(x, self.running_mean, self.running_var, self.weight)
            return self.act(x)

    recording = record_module(nn.Sequential(nn.Conv2d(3, 8, 1), Activating()), image())
    assert names(recording) == ["0", "1", "batch_norm", "1.act"]
    assert recording.call("1").params == 16
    assert recording.call("batch_norm").inside == "1"


class Passing(nn.Module):
    """A row of its own around a norm, which it goes on without where that raises."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x):
        with suppress(ValueError):
            x = self.norm(x)
        return x * self.scale


def a_hook_that_raises(*_):
    raise ValueError("not today")


def test_a_hook_that_raises_before_ours_is_no_end_of_a_layer():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), Passing(), nn.Conv2d(4, 5, 1)).eval()
    module[1].norm.register_forward_pre_hook(a_hook_that_raises)
    recording = record_module(module, image())
    assert recording.failure is None
    assert names(recording) == ["0", "1", "mul", "2"]
    assert [call.inside for call in recording.calls] == ["", "", "1", ""]
    assert recording.call("1").out_shape == (2, 4, 30, 30)


class RemovesItsHooks(Passing):
    def forward(self, x):
        self._forward_hooks.clear()
        return super().forward(x)


class EndOfRun(BaseException):
    """Goes past torch's own handlers, which would have told of the end."""


class Stops(Passing):
    def forward(self, x):
        self.seen = super().forward(x)
        raise EndOfRun


class GoesOn(nn.Sequential):
    def forward(self, x):
        try:
            return super().forward(x)
        except EndOfRun:
            return self[1].seen


@pytest.mark.parametrize("inner", [RemovesItsHooks, Stops])
def test_a_layer_of_whose_end_nothing_is_told_does_not_end_as_another(inner):
    inside = GoesOn(nn.Conv2d(3, 4, 3), inner())
    recording = record_module(nn.Sequential(inside, nn.Conv2d(4, 5, 1)).eval(), image())
    assert recording.failure is None
    assert not recording.call("0.1").returned
    assert recording.call("1").out_shape == (2, 5, 30, 30)
    assert recording.call("1").inside == ""


class Unanswering(nn.ReLU):
    def __bool__(self):
        raise RuntimeError("neither")


def test_no_layer_is_asked_whether_it_is_true():
    module = nn.Sequential(Unanswering(), nn.ReLU())
    module.unused = nn.Linear(1, 1)
    module.forward = lambda x: module[0](x)
    assert silent(record_module(module, image()))["unused"] == "the forward pass does not use it"
