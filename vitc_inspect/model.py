"""A stem as PyTorch modules, to be read beside the paper: every change of shape has a name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from vitc_inspect.fields import check_int
from vitc_inspect.spec import Activation, Stage, StemSpec

MAX_SEED = 2**63 - 1
"""Largest seed torch's generator takes."""

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels at each position of a map.

    nn.LayerNorm normalises the last axis, which in a map is the width of the image.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (b, c, h, w) over c."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ClassToken(nn.Module):
    """Puts one learned token before the image tokens, to be read by the classifier."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, embed_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, 1 + n, d)"""
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)


class PositionTable(nn.Module):
    """Adds one learned vector to each place of the sequence."""

    def __init__(self, seq_len: int, embed_dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, seq_len, embed_dim))
        nn.init.normal_(self.table, std=0.02)  # as in the authors' ViT

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)"""
        return tokens + self.table


def build_stem(spec: StemSpec, *, seed: int = 0) -> nn.Sequential:
    """Build a stem, in evaluation mode, on the CPU, in float32.

    A fresh BatchNorm in evaluation mode divides by sqrt(1 + 1e-5) and nothing more.

    Args:
        spec: The stem.
        seed: Start of the random weights; the global random state is left as it was.

    Returns:
        Modules named conv1 norm1 act1 … proj tokens class_token pos_embed, taking
        (b, in_channels, height, width) to (b, seq_len, embed_dim).

    Raises:
        SpecError: field "seed".

    Source:
        Xiao et al. 2021, arXiv:2106.14881, section 4; Dosovitskiy et al. 2020,
        arXiv:2010.11929, equation 1.
    """
    seed = check_int("seed", seed, 0, MAX_SEED)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs too
        for stage in spec.stages:  # (b, c, h, w) -> (b, d, rows, columns)
            layers.update(_stage_modules(stage))
        layers["tokens"] = Rearrange("b d rows columns -> b (rows columns) d")
        if spec.class_token:
            layers["class_token"] = ClassToken(spec.embed_dim)  # (b, n, d) -> (b, 1 + n, d)
        layers["pos_embed"] = PositionTable(spec.seq_len, spec.embed_dim)
    return nn.Sequential(layers).eval()


def _stage_modules(stage: Stage) -> dict[str, nn.Module]:
    """The convolution with its norm and activation: (b, c, h, w) -> (b, c', h', w')."""
    conv = stage.conv
    modules: dict[str, nn.Module] = {
        stage.name: nn.Conv2d(
            stage.in_shape[0],
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            conv.bias,
        )
    }
    if conv.norm == "batch":
        modules[stage.norm_name] = nn.BatchNorm2d(conv.out_channels)
    elif conv.norm == "layer":
        modules[stage.norm_name] = ChannelNorm(conv.out_channels)
    if conv.activation != "none":
        modules[stage.act_name] = ACTIVATIONS[conv.activation]()
    return modules
