"""Small stems and inputs that the probes are tried on."""

from __future__ import annotations

import torch
from torch import nn

from vitc_inspect.stem.spec import conv_stem

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))


def noise(spec, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(1, spec.in_channels, *spec.image_size, generator=draw).to(dtype)


def corners_and_middle(size):
    rows, columns = size
    return {
        (0, 0),
        (0, columns - 1),
        (rows - 1, 0),
        (rows - 1, columns - 1),
        (rows // 2, columns // 2),
    }


class Refuses(nn.Module):
    """A layer that must not be reached."""

    def forward(self, input):
        raise RuntimeError("broken on purpose")
