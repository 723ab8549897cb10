"""A module, its arguments and torch's switches put back, whatever happened in between."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vitc_inspect.tracing.module_tree import contents_of
from vitc_inspect.tracing.restore import (
    as_it_was,
    leave_mode,
    memory_of,
    version_of,
    without_fast_path,
)


class Holds(nn.Module):
    """A module that holds one of everything that a forward may change."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(2))
        self.plain = torch.ones(2)
        self.seen: list[int] = [1]
        self.empty: dict[str, int] = {}
        self.held = {
            "ordered": OrderedDict(a=1),
            "default": defaultdict(int, a=1),
            "counter": Counter("ab"),
            "set": {1},
        }
        self.queue = deque((1, 2), maxlen=2)
        self.number = 0


def adds(module: Holds) -> None:
    module.number = 7
    module.extra = torch.ones(1)
    module.other = nn.ReLU()
    del module.plain


def fills(module: Holds) -> None:
    module.seen += [2, 3]
    module.empty["a"] = 1
    module.queue.append(3)


def replaces(module: Holds) -> None:
    module.seen = []
    module.linear = nn.Linear(1, 1)
    module.count = torch.ones(5)


def writes(module: Holds) -> None:
    module.count += 1
    module.plain.zero_()
    module.count.resize_(7)


def changes_data(module: Holds) -> None:
    module.linear.weight.data = torch.zeros(1)
    module.count.data = torch.zeros(3, dtype=torch.int64)
    module.half()


def asks_for_gradients(module: Holds) -> None:
    with torch.enable_grad():
        module.linear(torch.ones(3)).sum().backward()
    module.linear.bias.requires_grad_(False)


def switches_mode(module: Holds) -> None:
    module.train(not module.training)


def draws(module: Holds) -> None:
    torch.rand(3)
    random.random()
    np.random.rand()


CHANGES = [adds, fills, replaces, writes, changes_data, asks_for_gradients, switches_mode, draws]


def snapshot(module: Holds) -> dict[str, object]:
    return {
        "attributes": {key: id(value) for key, value in vars(module).items()},
        "modules": [(name, id(layer)) for name, layer in module.named_modules()],
        "tensors": [
            (name, id(each), each.dtype, each.shape, each.tolist())
            for name, each in (*module.named_parameters(), *module.named_buffers())
        ],
        "places": [each.data_ptr() for each in module.parameters()],  # as an optimizer knows them
        "plain": (module.plain.tolist(), module.seen[:], dict(module.empty), list(module.queue)),
        "wanted": [each.requires_grad for each in module.parameters()],
        "gradients": [id(each.grad) for each in module.parameters()],
        "numbers": [each.grad.tolist() for each in module.parameters() if each.grad is not None],
        "training": [layer.training for layer in module.modules()],
        "random": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1:3]),
    }


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_forward_changes_is_put_back(
    change: Callable[[Holds], None], fails: bool
) -> None:
    module = Holds()
    module.linear(torch.ones(3)).sum().backward()  # some gradients are there before
    module.linear.weight.grad = None
    before = repr(snapshot(module))
    changed = ""
    try:
        with as_it_was(contents_of(module)):
            change(module)
            changed = "" if change is adds else repr(snapshot(module))
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert repr(snapshot(module)) == before
    assert changed != before  # or nothing was tried


def test_a_parameter_that_is_written_to_in_place_is_put_back_where_it_was_saved() -> None:
    module = nn.Linear(3, 2)
    before, place = module.weight.detach().clone(), module.weight.data_ptr()
    with as_it_was(contents_of(module)) as parameters, torch.no_grad():
        parameters.save(module.weight[0])  # a view of it
        module.weight.zero_()
        parameters.save(module.weight)  # only the first time
        parameters.save(torch.zeros(3))  # none of its
    assert torch.equal(module.weight, before)
    assert module.weight.data_ptr() == place


def test_equal_buffers_are_not_written_to() -> None:
    """Writing would count as a change, and autograd of the user's would complain."""
    module = nn.BatchNorm2d(3)
    before = [version_of(each) for each in module.buffers()]
    with as_it_was(contents_of(module)):
        module.eval()(torch.zeros(1, 3, 2, 2))
    assert [version_of(each) for each in module.buffers()] == before


SWITCHES: list[tuple[Callable[[], object], Callable[[], object]]] = [
    (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    (torch.is_grad_enabled, lambda: torch.set_grad_enabled(not torch.is_grad_enabled())),
    (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    ),
    (torch.get_default_device, lambda: torch.set_default_device("meta")),
    (
        lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        lambda: torch.set_autocast_enabled("cpu", True),
    ),
    (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
    ),
]


@pytest.mark.parametrize(("read", "put"), SWITCHES)
def test_a_switch_of_the_whole_program_is_put_back(
    read: Callable[[], object], put: Callable[[], object]
) -> None:
    before = read()
    with as_it_was(contents_of(nn.Linear(1, 1))):
        put()
        assert read() != before
    assert read() == before


def test_the_fast_path_of_attention_is_off_within_and_as_before_after() -> None:
    enabled = torch.backends.mha.get_fastpath_enabled
    assert enabled()

    def asks_and_raises() -> None:
        with without_fast_path():
            assert not enabled()
            raise KeyError

    with pytest.raises(KeyError):
        asks_and_raises()
    assert enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with without_fast_path():
            pass
        assert not enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


class Mode(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_a_mode_is_left_also_below_one_that_was_never_left() -> None:
    ours, theirs = Mode(), Mode()
    depth = torch._C._len_torch_function_stack()
    ours.__enter__()
    theirs.__enter__()
    leave_mode(ours)
    assert torch._C._len_torch_function_stack() == depth + 1
    assert torch._C._get_function_stack_at(depth) is theirs
    leave_mode(theirs)
    assert torch._C._len_torch_function_stack() == depth


def test_what_is_without_memory_or_count_is_0() -> None:
    with torch.inference_mode():
        still = torch.zeros(2)
    assert version_of(None) == version_of(still) == 0
    written = torch.zeros(2)
    written += 1
    assert version_of(written) == 1
    sparse = torch.zeros(2, 2).to_sparse()
    assert memory_of(sparse) == 0
    assert memory_of(written) == written.data_ptr() != 0
