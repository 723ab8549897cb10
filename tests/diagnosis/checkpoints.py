"""Checkpoints that do not fit a model, by the names and shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tests.diagnosis.errors import explain
from vitc_inspect.diagnosis import Explanation, explain_error


def loading_state(model: nn.Module, weights: nn.Module) -> tuple[Explanation, ...]:
    return explain(lambda: model.load_state_dict(weights.state_dict()))


Shapes = Mapping[str, tuple[int, ...]]


class Holder(nn.Module):
    """A module that is made of parameters of given names and shapes."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        for name, shape in shapes.items():
            *parts, last = name.split(".")
            module: nn.Module = self
            for part in parts:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(torch.randn(shape)))


def text_of(kept: Shapes, built: Shapes) -> str:
    """What torch raises where weights of these shapes are loaded into a model of those."""
    try:
        Holder(built).load_state_dict(Holder(kept).state_dict())
    except RuntimeError as error:
        return str(error)
    raise AssertionError("they fit")


def loading(kept: Shapes, built: Shapes) -> tuple[Explanation, ...]:
    return explain_error(text_of(kept, built))


def line(name: str, kept: tuple[int, ...], built: tuple[int, ...]) -> str:
    """One line of such an error, as people paste it."""
    return (
        f"size mismatch for {name}: copying a param with shape torch.Size({list(kept)}) from"
        f" checkpoint, the shape in current model is torch.Size({list(built)})."
    )


def vit(
    *,
    width: int = 192,
    depth: int = 3,
    patch: int = 16,
    image: int = 224,
    channels: int = 3,
    classes: int = 10,
    ratio: int = 4,
    prefix: int = 1,
) -> dict[str, tuple[int, ...]]:
    """Shapes of a ViT as timm names them."""
    tokens = (image // patch) ** 2 + prefix
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        shapes |= {
            f"blocks.{block}.norm1.weight": (width,),
            f"blocks.{block}.attn.qkv.weight": (3 * width, width),
            f"blocks.{block}.attn.qkv.bias": (3 * width,),
            f"blocks.{block}.attn.proj.weight": (width, width),
            f"blocks.{block}.mlp.fc1.weight": (ratio * width, width),
            f"blocks.{block}.mlp.fc1.bias": (ratio * width,),
            f"blocks.{block}.mlp.fc2.weight": (width, ratio * width),
        }
    return shapes | {"head.weight": (classes, width), "head.bias": (classes,)}


def swin(
    *, width: int = 32, window: int = 7, heads: tuple[int, ...] = (2, 4), image: int = 224
) -> dict[str, tuple[int, ...]]:
    """Shapes of two stages of a Swin, its buffers among them."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (width, 3, 4, 4)}
    for stage, head in enumerate(heads):
        wide = width * 2**stage
        block = f"layers.{stage}.blocks.0"
        shapes |= {
            f"{block}.attn.relative_position_bias_table": ((2 * window - 1) ** 2, head),
            f"{block}.attn.relative_position_index": (window**2, window**2),
            f"{block}.attn_mask": ((image // 4 // 2**stage // window) ** 2, window**2, window**2),
            f"{block}.attn.qkv.weight": (3 * wide, wide),
            f"{block}.mlp.fc1.bias": (4 * wide,),
        }
    return shapes | {
        "layers.0.downsample.reduction.weight": (2 * width, 4 * width),
        "layers.0.downsample.norm.weight": (4 * width,),
    }


MISFIT = (
    "size mismatch for {}: copying a param with shape torch.Size({}) from checkpoint, the shape in"
    " current model is torch.Size({})."
)


def pasted_misfits(
    *misfits: tuple[str, list[int], list[int]], lacks: str = ""
) -> tuple[Explanation, ...]:
    """What is made of the whole error of load_state_dict."""
    lines = [MISFIT.format(*each) for each in misfits]
    return explain_error("\n\t".join(["Error(s) in loading state_dict for Model:", lacks, *lines]))
