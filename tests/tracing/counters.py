"""Torch's own counter with the formulas that it lacks, and what the tests that use it share."""

from __future__ import annotations

from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from tests.tracing.modules import Runs
from vitc_inspect.tracing.recorder import record_module


def sdpa_flops(query, key, value, *_, **__):
    return sdpa_flop_count(query, key, value)


def product_flops(_, left, right, **__):
    return 2 * prod(left) * right[-1]


aten = torch.ops.aten
MISSING = {
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flops,
    # those that write to their first operand, and the products with vectors
    aten.addmm_: product_flops,
    aten.baddbmm_: product_flops,
    aten.dot: lambda left, right, **_: 2 * prod(left),
    aten.vdot: lambda left, right, **_: 2 * prod(left),
    aten.mv: lambda left, right, **_: 2 * prod(left),
    aten.addmv: lambda bias, left, right, **_: 2 * prod(left),
}


def counter():
    """Torch's counter, with the formulas that it lacks."""
    return FlopCounterMode(display=False, custom_mapping=MISSING)


def tensor(*shape):
    return torch.zeros(shape)


def ours(run):
    """What is counted while functions run, and nothing that is not."""
    recording = record_module(Runs(lambda _: run()))
    assert recording.failure is None, recording.failure.traceback
    assert recording.uncounted == ()
    return recording.macs


def some(draw, least=1, most=3, low=1, high=5):
    """Several lengths."""
    return [draw.randint(low, high) for _ in range(draw.randint(least, most))]
