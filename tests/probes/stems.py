"""Small stems and inputs that the probes are tried on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from vitc_inspect.probes.gradients import token_field
from vitc_inspect.probes.submodules import before_tokens, doubles, evaluating
from vitc_inspect.stem.spec import conv_stem

SMALL = conv_stem((8, 16), embed_dim=12, image_size=(32, 40))


def noise(spec, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(1, spec.in_channels, *spec.image_size, generator=draw).to(dtype)


def gradient_field(module, image, row, column):
    """The heat of a token's field in its place among all pixels of the image, (h, w)."""
    field = token_field(module, image, row, column)
    whole = np.zeros(tuple(image.shape[2:]))
    whole[field.rows.start : field.rows.stop, field.columns.start : field.columns.stop] = field.heat
    return whole


def token_vectors(module, image):
    """The tokens of a stem, before class token and position table, (rows, columns, width)."""
    with evaluating(module), torch.inference_mode():
        grid = before_tokens(module)(image)  # (1, d, rows, columns)
        tokens = module.get_submodule("tokens")(grid)[0]  # (n, d)
        return doubles(tokens.view(*grid.shape[2:], -1))


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
