"""Layers that rules are registered for, and their rules."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import nn

from vitc_inspect import (
    Expectation,
    inspect_module,
)


class Attention(nn.Module):
    """Self-attention of one head, made of layers and functions of torch."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).chunk(3, -1)
        weights = q @ k.mT
        return self.out((weights if mask is None else weights + mask).softmax(-1) @ v)


def attention_rule(layer, shapes):
    batch, tokens, width = shapes["0"]
    return Expectation(
        out_shape=(batch, tokens, width),
        params=4 * width * width + 4 * width,
        macs=batch * tokens * (4 * width * width + 2 * tokens * width),
        rule="the tokens as they came",
    )


class Separable(nn.Module):
    """A depthwise convolution, then one of 1 by 1."""

    def __init__(self, given, made):
        super().__init__()
        self.depth = nn.Conv2d(given, given, 3, padding=1, groups=given, bias=False)
        self.point = nn.Conv2d(given, made, 1)

    def forward(self, x):
        return self.point(self.depth(x))


def separable_rule(layer, shapes):
    batch, given, *sides = shapes["0"]
    made = layer.point.out_channels
    return Expectation(
        out_shape=(batch, made, *sides),
        params=9 * given + given * made + made,
        macs=batch * prod(sides) * (9 * given + given * made),
    )


class Named(nn.Linear):
    """Runs the forward of its base class."""


class Scaled(nn.Linear):
    """Runs a forward of its own."""

    def forward(self, x):
        return super().forward(x) * 2


class Strided(nn.Conv2d):
    """A convolution that always steps by 2, whatever its attribute says."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight, self.bias, stride=2)


def strided_rule(layer, shapes):
    batch, _, *sides = shapes["0"]
    sides = [(side - layer.kernel_size[0]) // 2 + 1 for side in sides]
    return Expectation(out_shape=(batch, layer.out_channels, *sides))


class Hidden(nn.Module):
    """Multiplies where nobody can count it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def forward(self, x):
        return torch.linalg.inv(self.weight).expand(len(x), 4, 4)


class Unheard(nn.Module):
    """Multiplies where nothing is heard of it, as in a kernel of its own."""

    def forward(self, x):
        made = torch.empty(len(x), 4)
        made.numpy()[:] = x.numpy() @ np.ones((x.shape[1], 4), np.float32)
        return made


def stating(**fields):
    return lambda layer, shapes: Expectation(**fields)


def row_of(layer, *given, **named):
    report = inspect_module(nn.Sequential(layer) if not named else layer, *given, **named)
    assert report.failure is None
    return report.rows[0]


TOKENS, MAP = torch.zeros(2, 5, 8), torch.zeros(2, 4, 9, 7)
