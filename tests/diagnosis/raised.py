"""What PyTorch and einops really raise, by the module of the decoder that explains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import nn, zeros

from tests.diagnosis.errors import error_of, explain

RAISED: dict[str, list[tuple[str, Callable[[], Any], str, str, str]]] = {
    "attention": [
        (
            "heads in the constructor",
            lambda: nn.MultiheadAttention(384, 5),
            "heads",
            "not divisible by the number of heads",
            "Use a number of heads that divides",
        ),
        (
            "attention of another width",
            lambda: nn.MultiheadAttention(384, 6)(*[zeros(197, 1, 192)] * 3),
            "width",
            "384 wide and gets tokens 192 wide",
            "embed_dim=192",
        ),
        (
            "attention on what is not transposed",
            lambda: nn.MultiheadAttention(384, 6)(*[zeros(384, 1, 196)] * 3),
            "transpose",
            "196 = 14×14",
            "x.flatten(2).transpose(1, 2)",
        ),
        (
            "attention on a map",
            lambda: nn.MultiheadAttention(8, 2)(*[zeros(1, 8, 4, 4)] * 3),
            "flatten",
            "a map that is not flattened",
            "x.flatten(2).transpose(1, 2)",
        ),
    ],
    "convolutions": [
        (
            "grey image",
            lambda: nn.Conv2d(3, 48, 3, 2, 1)(zeros(1, 1, 224, 224)),
            "channels",
            "reads 3 channels and gets 1: the image is grey",
            "image.expand(-1, 3, -1, -1)",
        ),
        (
            "alpha",
            lambda: nn.Conv2d(3, 48, 3, 2, 1)(zeros(1, 4, 32, 32)),
            "channels",
            "alpha",
            "image[:, :3]",
        ),
        (
            "colour into a grey stem",
            lambda: nn.Conv2d(1, 48, 3, 2, 1)(zeros(1, 3, 32, 32)),
            "channels",
            "the stem is for grey images",
            "image.mean(1, keepdim=True)",
        ),
        (
            "channels last",
            lambda: nn.Conv2d(3, 48, 3, 2, 1)(zeros(1, 224, 224, 3)),
            "channels last",
            "224×224 pixels",
            "image.permute(0, 3, 1, 2)",
        ),
        (
            "channels of two convolutions",
            lambda: nn.Conv2d(48, 96, 3)(zeros(1, 64, 48, 48)),
            "channels",
            "reads 48 channels and gets 64: the layer before it gives 64",
            "in_channels=64",
        ),
        (
            "kernel larger than its input",
            lambda: nn.Conv2d(8, 8, 3)(zeros(1, 8, 2, 2)),
            "kernel",
            "2×2 pixels with its padding, and the kernel is 3×3",
            "Or a kernel of 2.",
        ),
        (
            "pooling larger than its input",
            lambda: nn.MaxPool2d(3)(zeros(1, 3, 2, 2)),
            "kernel",
            "a map of 2×2",
            "larger image",
        ),
        (
            "groups",
            lambda: nn.Conv2d(8, 8, 3, groups=3),
            "groups",
            "not divisible by its groups",
            "groups=1",
        ),
    ],
    "einops_errors": [
        (
            "heads in einops",
            lambda: rearrange(zeros(1, 197, 1152), "b n (k h d) -> k b h n d", k=3, h=5),
            "heads",
            "384 = 5·76 + 4",
            "Use 4 or 6 heads",
        ),
        (
            "patches by einops",
            lambda: rearrange(
                zeros(1, 3, 225, 225), "b c (h p) (w q) -> b (h w) (p q c)", p=16, q=16
            ),
            "image size",
            "225 = 14·16 + 1",
            "224×224 or 240×240",
        ),
        (
            "patches by an einops layer",
            lambda: Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=16, q=16)(
                zeros(1, 3, 225, 225)
            ),
            "image size",
            "225 = 14·16 + 1",
            "224×224 or 240×240",
        ),
    ],
    "einops_patterns": [
        (
            "no batch, einops",
            lambda: rearrange(zeros(3, 8, 8), "b c h w -> b (h w) c"),
            "batch",
            "an image without a batch",
            "image.unsqueeze(0)",
        ),
    ],
    "formats": [
        (
            "bytes",
            lambda: nn.Conv2d(3, 8, 3)(zeros(1, 3, 8, 8).byte()),
            "dtype",
            "uint8 and the weights float32",
            "image.float() / 255",
        ),
        (
            "bytes, no bias",
            lambda: nn.Conv2d(3, 8, 3, bias=False)(zeros(1, 3, 8, 8).byte()),
            "dtype",
            "uint8 and the weights float32",
            "image.float() / 255",
        ),
        (
            "doubles",
            lambda: nn.Conv2d(3, 8, 3)(zeros(1, 3, 8, 8).double()),
            "dtype",
            "float64 and the weights float32",
            "image.float()",
        ),
        (
            "half model",
            lambda: nn.Conv2d(3, 8, 3).bfloat16()(zeros(1, 3, 8, 8)),
            "dtype",
            "float32 and the weights bfloat16",
            "image.to(torch.bfloat16)",
        ),
        (
            "half tokens",
            lambda: nn.Linear(8, 8)(zeros(1, 3, 8).half()),
            "dtype",
            "float16 and the weights float32",
            "autocast",
        ),
        (
            "bytes into a norm",
            lambda: nn.BatchNorm2d(8)(zeros(1, 8, 5, 5).byte()),
            "dtype",
            "uint8",
            "image.float() / 255",
        ),
        (
            "two devices",
            lambda: zeros(1, 197, 8, device="meta") + zeros(1, 197, 8),
            "device",
            "One tensor is on meta and another on cpu",
            "Move both",
        ),
    ],
    "inputs": [
        (
            "view after permute",
            lambda: zeros(1, 8, 4, 4).permute(0, 2, 3, 1).view(1, 4, 32),
            "view",
            "permuted before view",
            "Use reshape",
        ),
        (
            "no batch, no channels",
            lambda: nn.Conv2d(3, 48, 3)(zeros(224, 224)),
            "batch",
            "no channels and no batch",
            "image[None, None]",
        ),
        (
            "a batch too many",
            lambda: nn.Conv2d(3, 48, 3)(zeros(1, 1, 3, 32, 32)),
            "batch",
            "5 axes",
            "image.squeeze(0)",
        ),
        (
            "images of two sizes",
            lambda: torch.stack((zeros(3, 8, 8), zeros(3, 9, 9))),
            "image size",
            "3×8×8 and 3×9×9",
            "Resize",
        ),
        (
            "an array",
            lambda: nn.Conv2d(3, 8, 3)(zeros(1, 3, 8, 8).numpy()),
            "type",
            "gets a numpy.ndarray",
            "torch.from_numpy(image)",
        ),
        (
            "a tuple",
            lambda: nn.LayerNorm(8)((zeros(1, 2, 8),)),  # type: ignore[arg-type]
            "type",
            "gets a tuple",
            "output[0]",
        ),
    ],
    "joins": [
        (
            "class token of one image",
            lambda: torch.cat((zeros(1, 1, 384), zeros(2, 196, 384)), dim=1),
            "batch",
            "a class token for one image and the tokens of a batch of 2",
            "cls_token.expand(2, -1, -1)",
        ),
        (
            "class token last",
            lambda: torch.cat((zeros(2, 196, 384), zeros(1, 1, 384)), dim=1),
            "batch",
            "a batch of 2",
            "cls_token.expand(2, -1, -1)",
        ),
        (
            "class token of a fixed batch",
            lambda: torch.cat((zeros(30, 1, 384), zeros(17, 196, 384)), dim=1),
            "batch",
            "30",
            "cls_token.expand(len(x), -1, -1)",
        ),
        (
            "class token of another width",
            lambda: torch.cat((zeros(1, 1, 768), zeros(1, 196, 384)), dim=1),
            "width",
            "768 wide and the other 384",
            "Make the class token as wide",
        ),
        (
            "class token beside what is not transposed",
            lambda: torch.cat((zeros(1, 1, 384), zeros(1, 384, 196)), dim=1),
            "transpose",
            "384 where the other has 196 = 14×14",
            "x.flatten(2).transpose(1, 2)",
        ),
        (
            "class token beside a map",
            lambda: torch.cat((zeros(1, 1, 384), zeros(1, 384, 14, 14)), dim=1),
            "flatten",
            "a map that is not flattened",
            "x.flatten(2).transpose(1, 2)",
        ),
        (
            "class token expanded twice",
            lambda: zeros(2, 1, 384).expand(4, -1, -1),
            "batch",
            "holds a batch already",
            "(1, 1, width)",
        ),
        (
            "in place",
            lambda: zeros(1, 1, 768).add_(zeros(1, 197, 768)),
            "in place",
            "1×197×768",
            "x = x + table",
        ),
    ],
    "map_to_tokens": [
        (
            "class token not reckoned with",
            lambda: zeros(1, 197, 768).reshape(1, 196, 768),
            "class token",
            "197 = 14×14 + 1 tokens, and 196 = 14×14 are expected",
            "Write 197 instead of 196.",
        ),
    ],
    "maps": [
        (
            "maps of another size",
            lambda: zeros(1, 8, 15, 15) + zeros(1, 8, 14, 14),
            "map size",
            "15 and 14",
            "padding 1",
        ),
    ],
    "norms": [
        (
            "channels of a norm",
            lambda: nn.BatchNorm2d(48)(zeros(1, 96, 4, 4)),
            "channels",
            "BatchNorm2d(48) gets a map of 96 channels",
            "BatchNorm2d(96)",
        ),
        (
            "no batch",
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))(zeros(3, 32, 32)),
            "batch",
            "the image has no batch axis",
            "image.unsqueeze(0)",
        ),
        (
            "LayerNorm on a map",
            lambda: nn.LayerNorm(384)(zeros(1, 384, 14, 14)),
            "channels first",
            "the 384 are the second axis",
            "GroupNorm(1, 384)",
        ),
        (
            "LayerNorm on what is not transposed",
            lambda: nn.LayerNorm(384)(zeros(1, 384, 196)),
            "transpose",
            "196 = 14×14",
            "x.transpose(1, 2)",
        ),
        (
            "LayerNorm of another width",
            lambda: nn.LayerNorm(768)(zeros(1, 197, 384)),
            "width",
            "the tokens are 384 wide",
            "LayerNorm(384)",
        ),
        (
            "one value a channel",
            lambda: nn.BatchNorm2d(8)(zeros(1, 8, 1, 1)),
            "batch norm",
            "1×1×1 = 1 values of each of 8 channels",
            "model.eval()",
        ),
    ],
    "products": [
        (
            "image not cut",
            lambda: nn.Linear(768, 384)(zeros(1, 3, 224, 224)),
            "cut",
            "a whole image of 224 pixels went in where patches of 16·16·3 = 768",
            "rearrange(x, 'b c (h p) (w q) -> b (h w) (p q c)', p=16, q=16)",
        ),
        (
            "patches of one channel",
            lambda: nn.Linear(768, 384)(zeros(1, 196, 256)),
            "patch",
            "196 of 16·16·1 = 256",
            "with 3 channels",
        ),
        (
            "flattened, not transposed",
            lambda: nn.Linear(384, 192)(zeros(2, 384, 14, 14).flatten(2)),
            "transpose",
            "768 = 2·384 and 196 = 14×14",
            "x.flatten(2).transpose(1, 2)",
        ),
        (
            "not flattened",
            lambda: nn.Linear(384, 192)(zeros(1, 384, 14, 14)),
            "flatten",
            "a map of 384 channels and 14 columns",
            "x.flatten(2).transpose(1, 2)",
        ),
        (
            "another width",
            lambda: nn.Linear(768, 1000)(zeros(1, 197, 384)),
            "width",
            "the tokens are 384 wide, and the rows are 197 = 14×14 + 1 tokens",
            "Linear(384, 1000)",
        ),
        (
            "patches of another side",
            lambda: nn.Linear(768, 384)(zeros(1, 256, 14 * 14 * 3)),
            "patch",
            "patches of 16·16·3 = 768 numbers and gets 256 of 14·14·3 = 588",
            "patches of 16×16",
        ),
        (
            "all places in one vector",
            lambda: nn.Linear(384, 10)(zeros(2, 384, 14, 14).flatten(1)),
            "pool",
            "75264 = 384·196 and 196 = 14×14",
            "x.mean(1)",
        ),
        (
            "keys not transposed",
            lambda: zeros(1, 6, 197, 64) @ zeros(1, 6, 197, 64),
            "transpose",
            "197 = 14×14 + 1 rows",
            "q @ k.transpose(-2, -1)",
        ),
    ],
    "reshapes": [
        (
            "heads in a reshape",
            lambda: zeros(1, 197, 1152).reshape(1, 197, 3, 5, 76),
            "heads",
            "384 = 5·76 + 4",
            "Use 4 or 6 heads",
        ),
        (
            "class token still there",
            lambda: zeros(1, 197, 384).transpose(1, 2).reshape(1, 384, 14, 14),
            "class token",
            "197 = 14×14 + 1: 1 token before the image's is still there",
            "x[:, 1:]",
        ),
        (
            "heads of another width",
            lambda: zeros(8, 197, 384).reshape(8, 197, 12, 64),
            "heads",
            "384 numbers, and 12 heads of 64 need 12·64 = 768",
            "Use 6 heads of 64.",
        ),
        (
            "map of another grid",
            lambda: zeros(1, 256, 768).transpose(1, 2).reshape(1, 768, 14, 14),
            "grid",
            "256 = 16×16 tokens are to become a map of 14×14 = 196",
            "Take rows and columns",
        ),
        (
            "class token still there, einops",
            lambda: rearrange(zeros(1, 197, 8), "b (h w) d -> b d h w", h=14, w=14),
            "class token",
            "197 = 14×14 + 1",
            "x[:, 1:]",
        ),
        (
            "class token still there, Unflatten",
            lambda: nn.Unflatten(1, (14, 14))(zeros(1, 197, 8)),
            "class token",
            "197 = 14×14 + 1",
            "x[:, 1:]",
        ),
        (
            "patches by reshape",
            lambda: zeros(1, 3, 225, 225).reshape(1, 3, 14, 16, 14, 16),
            "image size",
            "225 = 14·16 + 1",
            "224×224 or 240×240",
        ),
    ],
    "sums": [
        (
            "batches of two sizes",
            lambda: zeros(2, 197, 8) + zeros(4, 197, 8),
            "batch",
            "one operand of + has 2 and the other 4",
            "length 1",
        ),
    ],
    "tokens": [
        (
            "a sum of other channels",
            lambda: zeros(1, 48, 8, 8) + zeros(1, 96, 8, 8),
            "width",
            "48 and 96 channels",
            "Give both 48 channels.",
        ),
        (
            "table of another width",
            lambda: zeros(1, 197, 768) + zeros(1, 197, 384),
            "width",
            "768 wide and what is added to them 384",
            "768",
        ),
        (
            "table on what is not transposed",
            lambda: zeros(1, 384, 196) + zeros(1, 196, 384),
            "transpose",
            "384 along axis 2",
            "x.flatten(2).transpose(1, 2)",
        ),
    ],
}
"""A name, what raises the error, and of the best explanation: kind, words, and words of a fix."""

MESSAGES = tuple(error_of(case[1]) for cases in RAISED.values() for case in cases)
"""The text of each."""


def raised(module: str) -> pytest.MarkDecorator:
    """The cases of one module of the decoder, as parameters of a test."""
    cases = RAISED[module]
    return pytest.mark.parametrize(
        ("faulty", "kind", "says", "fix"), [case[1:] for case in cases], ids=[c[0] for c in cases]
    )


def assert_explained(faulty: Callable[[], Any], kind: str, says: str, fix: str) -> None:
    """That the best explanation says this, in whole sentences."""
    best, *_ = explain(faulty)
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)
    assert all(line.endswith(".") and line[0].isupper() for line in best.fixes)
    assert best.sentence.endswith(".")
    assert not best.sentence[0].islower()
    assert not best.because.endswith(".")
