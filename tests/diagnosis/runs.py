"""Modules that are run, and the first explanation of what they raise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport

WIDTH = 16


def run(module: nn.Module, *shape: int) -> ModuleReport:
    """The report on a module in evaluation mode, without its other faults."""
    return inspect_call(module.eval(), (torch.zeros(shape),), audit=False)


def best(module: nn.Module, *shape: int) -> Explanation:
    report = run(module, *shape)
    assert report.failure is not None
    return report.explanations[0]


class Made(nn.Module):
    """A module whose forward is given, with the layers that it needs."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)
        self.called = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.called(self, x)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def cut(patch: int = 8, width: int = WIDTH) -> nn.Conv2d:
    return nn.Conv2d(3, width, patch, patch)


def embedding(entries: int, patch: int = 8, prefix: int = 1, padded: bool = False) -> nn.Module:
    """A stem, `prefix` tokens before the image's, and a table of so many entries."""
    stem: nn.Module = cut(patch)
    if padded:  # strides of 2 with padding: patch must be a power of 2
        steps = patch.bit_length() - 1
        layers = [nn.Conv2d(3 if n == 0 else 4, 4, 3, 2, 1) for n in range(steps)]
        stem = nn.Sequential(*layers, nn.Conv2d(4, WIDTH, 1))

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        t = tokens(m.stem(x))
        return torch.cat([m.cls.expand(len(t), -1, -1), t], 1) + m.pos_embed

    return Made(
        forward,
        stem=stem,
        cls=torch.zeros(1, prefix, WIDTH),
        pos_embed=torch.zeros(1, entries, WIDTH),
    )


def asserts(message: str, axis: int, wanted: int) -> Callable[[nn.Module, Tensor], Tensor]:
    """A forward that asserts a size of the map behind its first layer, as a model's would."""

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        x = self.first(x)
        assert x.shape[axis] == wanted, message.format(x.shape[axis], wanted)
        return x

    return forward
