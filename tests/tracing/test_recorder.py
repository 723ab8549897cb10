"""A recording leaves everything as it was, in every mode, and holds nothing."""

from __future__ import annotations

import gc
import random
from collections import Counter, defaultdict, deque

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from tests import faulty
from tests.tracing.modules import (
    assert_same,
    hook_count,
    image,
    names,
    shapes,
    state_of,
)
from vitc_inspect.common.errors import SpecError
from vitc_inspect.tracing.dataflow import follow
from vitc_inspect.tracing.recorder import record_call, record_module


class RemembersAndRaises(faulty.Remembering):
    def forward(self, image):
        super().forward(image)
        random.random()
        np.random.rand()
        raise ValueError("after all the damage")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make", [faulty.Remembering, RemembersAndRaises, faulty.Encoded, faulty.MismatchedStrides]
)
def test_the_module_and_everything_else_is_left_as_it_was(make, training):
    module = make().train(training)
    next(module.parameters()).grad = torch.ones_like(next(module.parameters()))
    before, given = state_of(module), image()
    record_module(module, given)
    assert_same(before, state_of(module))
    assert torch.equal(given, image())
    if hasattr(module, "history"):
        assert (module.calls, module.history, module.cache) == (0, [], {})


def test_a_hook_of_somebody_else_stays_and_is_seen_through():
    module = faulty.Sized()
    module.conv1.register_forward_hook(lambda *call: call[-1] * 2)
    before = hook_count(module)
    recording = record_module(module, image())
    assert names(recording)[:2] == ["conv1", "act"]  # the hook is part of conv1's call
    assert hook_count(module) == before


def test_two_hundred_inspections_change_nothing_and_hold_nothing():
    module = nn.Sequential(faulty.Remembering(), nn.Flatten())
    rows = names(record_module(module, image(1, 3, 8, 8)))
    before = state_of(module)
    gc.collect()
    tensors = None
    for turn in range(200):
        recording = record_module(module, image(1, 3, 8, 8))
        if turn in (20, 199):
            gc.collect()
            count = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
            tensors = tensors or count
            assert count == tensors
    assert names(recording) == rows
    assert_same(before, state_of(module))


def test_nothing_of_a_failed_run_is_held():
    module = faulty.MismatchedStrides()
    record_module(module, image())
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
        recording = record_module(module, image())
        after = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    finally:
        gc.enable()
    assert recording.failure is not None
    assert after == before


def test_the_module_still_learns_afterwards():
    module = faulty.Activated()
    record_module(module, image())
    module(image()).sum().backward()
    assert module.conv.weight.grad is not None


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_it_runs_in_any_mode_of_the_callers(mode):
    with mode():
        recording = record_module(faulty.Overwritten().eval(), image())
    assert recording.call("norm").out_shape == (2, 8, 16, 16)


def test_a_module_without_memory_shows_its_shapes():
    with torch.device("meta"):
        module, given = faulty.Placed(), torch.empty(2, 3, 32, 32)
    recording = record_call(module, (given,), keep_bytes=1000)
    assert recording.outputs[0].shape == (2, 65, 16)


@pytest.mark.parametrize(
    ("module", "start"),
    [
        (nn.Conv2d, "module = 'type': it is not a torch.nn.Module"),
        (lambda x: x, "module = 'function': it is not a torch.nn.Module"),
        (nn.Sequential(nn.LazyConv2d(8, 3)), "module = 'Sequential': 0.weight gets its shape"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_a_sentence(module, start):
    with pytest.raises(SpecError) as caught:
        record_module(module, image())
    assert str(caught.value).startswith(start)


class Idle(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class EntersAMode(nn.Module):
    def forward(self, x):
        Idle().__enter__()
        return x + 1


def test_a_mode_that_the_users_code_never_leaves_keeps_none_of_ours():
    before = torch._C._len_torch_function_stack()
    for run in (record_module, lambda module, given: follow(module, (given,), {})):
        run(EntersAMode(), image())
        left = torch._C._pop_torch_function_stack()
        assert type(left) is Idle
        assert torch._C._len_torch_function_stack() == before


class Learns(nn.Linear):
    """Takes a step of its own while it runs."""

    def forward(self, x):
        with torch.enable_grad():
            super().forward(x).sum().backward()
        return super().forward(x)


def test_gradients_that_a_forward_adds_to_are_put_back():
    module = nn.Sequential(Learns(3, 2))
    held = module[0].bias.grad = torch.ones(2)
    record_module(module, torch.ones(1, 3))
    assert module[0].bias.grad is held
    assert held.tolist() == [1, 1]
    assert module[0].weight.grad is None


class Counts(nn.Module):
    """Writes to a parameter and a buffer that were made in inference mode."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        with torch.inference_mode():
            self.count += 1
            self.scale += 1
        return x * self.scale


def test_what_was_made_in_inference_mode_is_put_back():
    with torch.inference_mode():
        module = nn.Sequential(Counts())
    recording = record_module(module, image())
    assert recording.failure is None
    assert module[0].count.item() == 0
    assert module[0].scale.flatten().tolist() == [1, 1, 1]
    assert module[0].scale.requires_grad


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")
def test_fake_tensors_show_their_shapes():
    with FakeTensorMode():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        given = image()
    assert shapes(record_module(module, given)) == [(2, 4, 30, 30)] * 2


class Vmapped(nn.Sequential):
    def forward(self, x):
        return torch.vmap(super().forward)(x)


def test_nothing_is_kept_of_tensors_that_end_with_their_vmap():
    recording = record_call(Vmapped(nn.Conv2d(3, 4, 3)), (image(),), keep_bytes=2**20)
    assert recording.call("0").kept is None


class Traces(nn.Sequential):
    def forward(self, x):
        return torch.jit.trace(self[0], x, check_trace=False)(x)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_sizes_and_macs_within_a_trace_of_torch_are_whole_numbers():
    for call in record_module(Traces(nn.Conv2d(3, 4, 3)).eval(), image()).calls:
        assert {type(size) for size in call.out_shape} == {int}
        assert type(call.macs) is int


class Notes(nn.Module):
    """Writes to attributes that are not registered."""

    def __init__(self):
        super().__init__()
        self.memory = torch.zeros(1)
        self.latest = deque([0], maxlen=2)
        self.counts, self.sums = Counter(), defaultdict(int)

    def forward(self, x):
        self.memory += 1
        self.latest.append(1)
        self.counts["runs"] += 1
        self.sums["runs"] += 1
        return x + self.memory


def test_what_a_module_keeps_beside_its_buffers_is_put_back():
    module = Notes()
    held = module.memory
    record_module(module, image())
    assert module.memory is held
    assert held.item() == 0
    assert (list(module.latest), module.latest.maxlen) == ([0], 2)
    assert not module.counts
    assert not module.sums
