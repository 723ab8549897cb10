"""A stem and its encoder as PyTorch modules; every change of shape is a named layer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod, sqrt
from threading import Lock
from typing import Literal, get_args

import torch
from einops import rearrange
from einops.layers.torch import Rearrange, Reduce
from torch import Tensor, nn

from vitc_inspect.common.validation import A_STEM, check_choice, check_int, check_type
from vitc_inspect.stem.spec import Activation, Stage, StemSpec
from vitc_inspect.stem.vit import ViTSpec

Init = Literal["torch", "trunc_normal"]
"""Initialisation: PyTorch's defaults, or truncated normal as in torchvision's ViT."""

MAX_SEED = 2**63 - 1
"""Largest seed of torch.Generator."""

_ONE_AT_A_TIME = Lock()  # torch has one global random state

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}


class Conv2d(nn.Conv2d):
    """A convolution that computes bfloat16 and float16 in float32 on a CPU.

    On a CPU with matrix tiles (AMX), oneDNN's convolutions of bfloat16 and float16 read out of
    bounds if a dilated window lies entirely in the padding, and are wrong in bfloat16 if the
    output is one position wide (pytorch/pytorch#163347 and #169688).
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(b, c, h, w) -> (b, c', h', w'), in the dtype of the input."""
        half = input.dtype in (torch.bfloat16, torch.float16)
        if input.device.type == "cpu" and half:
            wider = bias if bias is None else bias.float()
            output: Tensor = super()._conv_forward(input.float(), weight.float(), wider)
            return output.to(input.dtype)
        output = super()._conv_forward(input, weight, bias)
        return output


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels at each position of a feature map.

    nn.LayerNorm normalises the last axis, which in a feature map is the width of the image.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (b, c, h, w) over c."""
        normed = super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        # contiguous, since convolutions of other layouts can read out of bounds for a map one
        # pixel wide (pytorch/pytorch#195394)
        return normed.clone(memory_format=torch.contiguous_format)


class ClassToken(nn.Module):
    """Prepends a learned token to the image tokens, for the classifier."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, embed_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, 1 + n, d)"""
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)


class PositionTable(nn.Module):
    """Adds a learned vector to each token by its position in the sequence."""

    def __init__(self, seq_len: int, embed_dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, seq_len, embed_dim))
        nn.init.normal_(self.table, std=0.02)  # as in the authors' ViT

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)"""
        return tokens + self.table


class _Attention(nn.Module):
    """Attention of several heads over projected queries, keys and values."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads


class SoftmaxAttention(_Attention):
    """Scaled dot-product attention of each head: softmax(q kᵀ / sqrt(head_dim)) v."""

    def forward(self, qkv: Tensor) -> Tensor:
        """(b, n, 3 d) -> (b, n, d)"""
        q, k, v = _split_heads(qkv, self.num_heads)  # (b, heads, n, head_dim) each
        return _merge_heads(nn.functional.scaled_dot_product_attention(q, k, v))


class LinearAttention(_Attention):
    """Linear attention: key-value products are summed over the n tokens first, in O(n)."""

    def forward(self, qkv: Tensor) -> Tensor:
        """(b, n, 3 d) -> (b, n, d)"""
        q, k, v = _split_heads(qkv, self.num_heads)  # (b, heads, n, head_dim) each
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        pairs = k.transpose(2, 3) @ v  # (b, heads, head_dim, head_dim)
        weights = q @ k.sum(dim=2).unsqueeze(3)  # (b, heads, n, 1)
        return _merge_heads((q @ pairs) / weights)


def _split_heads(qkv: Tensor, num_heads: int) -> Tensor:
    """Split into queries, keys and values: (b, n, 3 d) -> (3, b, heads, n, head_dim)"""
    pattern = "b n (qkv heads head_dim) -> qkv b heads n head_dim"
    heads: Tensor = rearrange(qkv, pattern, qkv=3, heads=num_heads)
    return heads


def _merge_heads(heads: Tensor) -> Tensor:
    """Concatenate the heads: (b, heads, n, head_dim) -> (b, n, d)"""
    tokens: Tensor = rearrange(heads, "b heads n head_dim -> b n (heads head_dim)")
    return tokens


class Block(nn.Module):
    """A pre-norm transformer block: attention and an MLP, each with a residual connection."""

    def __init__(self, vit: ViTSpec) -> None:
        super().__init__()
        width = vit.stem.embed_dim
        softmax = vit.attention == "softmax"
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.attend = (SoftmaxAttention if softmax else LinearAttention)(vit.num_heads)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, vit.hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(vit.hidden_dim, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, n, d)"""
        tokens = tokens + self.out(self.attend(self.qkv(self.norm1(tokens))))
        hidden: Tensor = self.fc2(self.act(self.fc1(self.norm2(tokens))))
        return tokens + hidden


class FirstToken(nn.Module):
    """Selects the class token for the classifier."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, n, d) -> (b, d)"""
        return tokens.select(dim=1, index=0)


def build(spec: StemSpec | ViTSpec, *, seed: int = 0, init: Init = "torch") -> nn.Sequential:
    """Build a stem or a whole model, as `build_stem` and `build_vit` do."""
    if isinstance(spec, ViTSpec):
        return build_vit(spec, seed=seed, init=init)
    return build_stem(spec, seed=seed, init=init)


def build_stem(spec: StemSpec, *, seed: int = 0, init: Init = "torch") -> nn.Sequential:
    """Build a stem, in evaluation mode, on the CPU, in float32.

    A new BatchNorm in evaluation mode only divides by sqrt(1 + 1e-5).

    Args:
        spec: The stem.
        seed: Seed of the random weights; the global random state is not changed.
        init: "torch" keeps PyTorch's defaults. "trunc_normal" is torchvision's: a patchify
            convolution gets a truncated normal distribution of standard deviation
            sqrt(1 / fan_in), the last of several a normal one of sqrt(2 / fan_out), each with
            biases of 0; the convolutions before it keep PyTorch's defaults.

    Returns:
        Modules named conv1 norm1 act1 … proj tokens class_token pos_embed, the last two if the
        stem has them, taking (b, in_channels, height, width) to (b, seq_len, embed_dim).

    Raises:
        SpecError: field "seed" or "init".

    Source:
        Xiao et al. 2021, arXiv:2106.14881, section 4; Dosovitskiy et al. 2020,
        arXiv:2010.11929, equation 1; for "trunc_normal" torchvision's
        models/vision_transformer.py, class VisionTransformer.
    """
    check_type("spec", spec, StemSpec, A_STEM)
    with _seeded(seed):
        return nn.Sequential(_stem_modules(spec, init)).eval()


def build_vit(vit: ViTSpec, *, seed: int = 0, init: Init = "torch") -> nn.Sequential:
    """Build a whole Vision Transformer, in evaluation mode, on the CPU, in float32.

    Its stem has the weights that `build_stem` gives for the same seed and init.

    Args:
        vit: The model.
        seed: Seed of the random weights; the global random state is not changed.
        init: As in `build_stem`. "trunc_normal" draws qkv and the MLP from Xavier's uniform
            distribution and sets the classifier to 0, so that a new model prefers no class.

    Returns:
        The stem's modules, then block1 … norm pool head, taking
        (b, in_channels, height, width) to (b, num_classes). Without a class token the
        classifier uses the mean of the tokens.

    Raises:
        SpecError: field "seed" or "init".

    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929, equations 1 to 4; Katharopoulos et al.
        2020, arXiv:2006.16236, for the linear attention; for "trunc_normal" torchvision's
        models/vision_transformer.py, classes MLPBlock and VisionTransformer.
    """
    check_type("vit", vit, ViTSpec, 'Use PRESETS["vit_c_4gf"].vit')
    stem = vit.stem
    with _seeded(seed):
        layers = _stem_modules(stem, init)
        for number in range(1, vit.depth + 1):
            block = layers[f"block{number}"] = Block(vit)  # (b, n, d) -> (b, n, d)
            if init == "trunc_normal":
                _init_block(block)
        layers["norm"] = nn.LayerNorm(stem.embed_dim, eps=1e-6)
        # (b, n, d) -> (b, d)
        layers["pool"] = FirstToken() if stem.class_token else Reduce("b n d -> b d", "mean")
        head = layers["head"] = nn.Linear(stem.embed_dim, vit.num_classes)  # (b, d) -> (b, classes)
        if init == "trunc_normal":
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        return nn.Sequential(layers).eval()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's random state, and restore it on exit."""
    seed = check_int("seed", seed, 0, MAX_SEED)
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed GPUs
        yield


def _stem_modules(spec: StemSpec, init: Init) -> OrderedDict[str, nn.Module]:
    check_choice("init", init, get_args(Init))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage in spec.stages:  # (b, c, h, w) -> (b, d, rows, columns)
        layers.update(_stage_modules(stage))
    layers["tokens"] = Rearrange("b d rows columns -> b (rows columns) d")
    if spec.class_token:
        layers["class_token"] = ClassToken(spec.embed_dim)  # (b, n, d) -> (b, 1 + n, d)
    if spec.position_table:
        layers["pos_embed"] = PositionTable(spec.seq_len, spec.embed_dim)
    if init == "trunc_normal":
        _init_projection(layers["proj"], patchify=len(spec.convs) == 1)
    return layers


def _stage_modules(stage: Stage) -> dict[str, nn.Module]:
    """A convolution with its norm and activation: (b, c, h, w) -> (b, c', h', w')."""
    conv = stage.conv
    fragile = conv.dilation > 1 or stage.out_shape[2] == 1
    modules: dict[str, nn.Module] = {
        stage.name: (Conv2d if fragile else nn.Conv2d)(
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


def _init_projection(proj: nn.Module, *, patchify: bool) -> None:
    """Initialise the last convolution as torchvision does."""
    assert isinstance(proj, nn.Conv2d)
    outputs, _, *kernel = proj.weight.shape
    if patchify:
        nn.init.trunc_normal_(proj.weight, std=sqrt(1 / proj.weight[0].numel()))
    else:  # torchvision's last kernel is 1x1, so its fan_out is its number of channels
        nn.init.normal_(proj.weight, std=sqrt(2 / (outputs * prod(kernel))))
    if proj.bias is not None:
        nn.init.zeros_(proj.bias)


def _init_block(block: Block) -> None:
    """Initialise a block as torchvision and nn.MultiheadAttention do."""
    for layer in (block.qkv, block.fc1, block.fc2):
        nn.init.xavier_uniform_(layer.weight)
    for layer in (block.qkv, block.out):
        nn.init.zeros_(layer.bias)
    for layer in (block.fc1, block.fc2):
        nn.init.normal_(layer.bias, std=1e-6)
