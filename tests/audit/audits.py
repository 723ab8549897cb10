"""Audits of one forward pass, and a module with a position table."""

from __future__ import annotations

import torch
from torch import nn

from tests.tracing.modules import image
from vitc_inspect.audit.audit import audit_module


def audited(module, *shape):
    return audit_module(module.eval(), (image(*(shape or (2, 3, 32, 32))),))


def kinds(module, *shape):
    return [fault.kind for fault in audited(module, *shape).faults]


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
