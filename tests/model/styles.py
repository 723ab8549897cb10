"""The same stem and encoder as torchvision, timm and this package write them, and their files."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitc_inspect.model.checkpoints import load_weights
from vitc_inspect.model.modules import build
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec

CONV = conv_stem((4, 6), embed_dim=8, image_size=(16, 24))
PATCHIFY = patchify_stem(8, 8, image_size=(16, 24))
PLACES = {"conv": 4 * 6 + 1, "patchify": 2 * 3 + 1}
HEADS, HIDDEN, CLASSES, DEPTH = 2, 12, 5, 2


def model_of(stem: StemSpec) -> ViTSpec:
    return ViTSpec(stem=stem, depth=DEPTH, num_heads=HEADS, mlp_ratio=1.5, num_classes=CLASSES)


class TheirBlock(nn.Module):
    """torchvision's encoder layer."""

    def __init__(self, mlp: tuple[str, str]) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(8, HEADS, batch_first=True)
        named = {mlp[0]: nn.Linear(8, HIDDEN), "1": nn.GELU(), mlp[1]: nn.Linear(HIDDEN, 8)}
        self.mlp = nn.Sequential(OrderedDict(named))

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        tokens = tokens + self.self_attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


class Torchvision(nn.Module):
    """A ViT whose modules are called as in torchvision."""

    def __init__(self, stem: str, mlp: tuple[str, str] = ("0", "3")) -> None:
        super().__init__()
        self.conv_proj: nn.Module = nn.Conv2d(3, 8, 8, 8)
        if stem == "conv":
            self.conv_proj = nn.Sequential(
                OrderedDict(
                    conv_bn_relu_0=nn.Sequential(
                        nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
                    ),
                    conv_bn_relu_1=nn.Sequential(
                        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()
                    ),
                    conv_last=nn.Conv2d(6, 8, 1),
                )
            )
        self.class_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.encoder = nn.Module()
        self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, PLACES[stem], 8))
        self.encoder.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", TheirBlock(mlp)) for i in range(DEPTH))
        )
        self.encoder.ln = nn.LayerNorm(8, eps=1e-6)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(8, CLASSES)))

    def tokens(self, image: Tensor) -> Tensor:
        maps = self.conv_proj(image).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token, maps], dim=1) + self.encoder.pos_embedding

    def forward(self, image: Tensor) -> Tensor:
        return self.heads(self.encoder.ln(self.encoder.layers(self.tokens(image)))[:, 0])


class Attention(nn.Module):
    """timm's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        heads = []
        for q1, k1, v1 in zip(*(part.chunk(HEADS, dim=-1) for part in (q, k, v)), strict=True):
            heads.append((q1 @ k1.transpose(1, 2) / 4**0.5).softmax(dim=-1) @ v1)
        return self.proj(torch.cat(heads, dim=-1))


class TimmBlock(nn.Module):
    """timm's block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8, eps=1e-6), nn.LayerNorm(8, eps=1e-6)
        self.attn = Attention()
        layers = {"fc1": nn.Linear(8, HIDDEN), "act": nn.GELU(), "fc2": nn.Linear(HIDDEN, 8)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Timm(nn.Module):
    """A ViT whose modules are called as in timm; its convolutional stem as in MoCo v3."""

    def __init__(self, stem: str) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, 8, 8, 8)
        if stem == "conv":
            self.patch_embed.proj = nn.Sequential(
                *(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
                *(nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
                nn.Conv2d(6, 8, 1),
            )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, PLACES[stem], 8))
        self.blocks = nn.Sequential(*(TimmBlock() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, CLASSES)

    def tokens(self, image: Tensor) -> Tensor:
        maps = self.patch_embed.proj(image).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token, maps], dim=1) + self.pos_embed

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(image)))[:, 0])


def shaken(module: nn.Module) -> nn.Module:
    """Every weight and stored statistic with a value of its own, so that none can be mistaken."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn + 0.5 if "var" in name else drawn - 0.5)
    return module.eval()


def theirs(style: str, stem: str) -> nn.Module:
    if style == "torchvision before 0.13":
        return shaken(Torchvision(stem, ("linear_1", "linear_2")))
    return shaken({"torchvision": Torchvision, "timm": Timm}[style](stem))


def state(stem: str = "conv", style: str = "timm") -> dict[str, Tensor]:
    return dict(theirs(style, stem).state_dict())


def image() -> Tensor:
    return torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def saved(tensors: Any, path: Path) -> Path:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


def loaded(model: StemSpec | ViTSpec, path: Path) -> nn.Module:
    """Our model, with a file's weights."""
    module = build(model)
    put_weights(module, match_weights(load_weights(path), model))
    return module


NO_FILE = "Use the path of a .safetensors or .pt file."
