"""Modules to be recorded, and what must be the same after it."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn


def image(*shape):
    return torch.randn(*(shape or (2, 3, 32, 32)), generator=torch.Generator().manual_seed(0))


def names(recording):
    return [call.name for call in recording.calls]


def silent(recording):
    return {layer.name: layer.reason for layer in recording.never_called}


class Runs(nn.Module):
    """Runs a function of a module with one convolution."""

    def __init__(self, run):
        super().__init__()
        self.proj = nn.Conv2d(3, 16, 4, 4)
        self.run = run

    def forward(self, *args, **kwargs):
        return self.run(self, *args, **kwargs)


def state_of(module):
    """Everything that a guest might change, in comparable form."""
    return {
        "values": {name: value.clone() for name, value in module.state_dict().items()},
        "tensors": [id(value) for value in (*module.parameters(), *module.buffers())],
        "pointers": [value.data_ptr() for value in (*module.parameters(), *module.buffers())],
        "dtypes": [value.dtype for value in (*module.parameters(), *module.buffers())],
        "grads": [id(value.grad) for value in module.parameters()],
        "wanted": [value.requires_grad for value in module.parameters()],
        "modes": [layer.training for layer in module.modules()],
        "attributes": [list(vars(layer)) for layer in module.modules()],
        "hooks": hook_count(module),
        "random": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[2]),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def assert_same(before, after):
    values, values_after = before.pop("values"), after.pop("values")
    assert list(values) == list(values_after)
    assert [name for name in values if not torch.equal(values[name], values_after[name])] == []
    assert before == after


def tensor(*shape):
    return torch.zeros(shape)


def hook_count(module):
    return sum(
        len(hooks)
        for layer in module.modules()
        for name, hooks in vars(layer).items()
        if name.startswith(("_forward", "_backward")) and hasattr(hooks, "__len__")
    )


def shapes(recording):
    return [call.out_shape for call in recording.calls]
