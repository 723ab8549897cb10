"""Faulty calls, the text of what they raise, and what the decoder makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn, zeros

from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem


def error_of(faulty: Callable[[], Any]) -> str:
    """The text of what a faulty call raises."""
    try:
        faulty()
    except Exception as error:  # noqa: BLE001  # whatever it raises is what a user would paste
        return str(error)
    raise AssertionError("nothing was raised")


def explain(faulty: Callable[[], Any], spec: StemSpec | None = None) -> tuple[Explanation, ...]:
    return explain_error(error_of(faulty), spec=spec)


class Embedding(nn.Module):
    """Patchify, class token and position table, as they stand in many code bases."""

    def __init__(self, image: int = 224, patch: int = 16, width: int = 12, channels: int = 3):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.cls_token = nn.Parameter(zeros(1, 1, width))
        self.pos_embed = nn.Parameter(zeros(1, (image // patch) ** 2 + 1, width))
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        return x + self.pos_embed


class ConvStem(nn.Module):
    """A stem of convolutions with a position table made for a nominal patch size of 16."""

    def __init__(self, strides: tuple[int, ...] = (2, 2, 2, 2), width: int = 64, norm: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for stride in strides:
            layers.append(nn.Conv2d(before, 8, 3, stride, 1, bias=not norm))
            layers += [nn.BatchNorm2d(8), nn.ReLU()] if norm else []
            before = 8
        self.conv_proj = nn.Sequential(*layers, nn.Conv2d(before, width, 1))
        self.pos_embed = nn.Parameter(zeros(1, 197, width))
        self.width = width

    def forward(self, image: Tensor) -> Tensor:
        n = (image.shape[-1] // 16) ** 2
        return self.conv_proj(image).reshape(len(image), self.width, n).permute(0, 2, 1)


@st.composite
def stems(draw: st.DrawFn) -> StemSpec:
    """A stem of the usual kinds on a random image that it can take."""
    image = draw(st.tuples(st.integers(64, 400), st.integers(64, 400)))
    if draw(st.booleans()):
        image = (image[0], image[0])
    token = draw(st.booleans())
    if draw(st.booleans()):
        patch = draw(st.sampled_from((8, 14, 16, 32)))
        return patchify_stem(patch, 8, image_size=image, class_token=token)
    strides = draw(st.lists(st.sampled_from((1, 2)), min_size=2, max_size=5))
    return conv_stem((4,) * len(strides), strides, 8, image_size=image, class_token=token)


SWIN_LIKE = "b (nw_h w_h) (nw_w w_w) (h d) -> b h (nw_h nw_w) (w_h w_w) d"


def best_of(faulty: Callable[[], Any], spec: StemSpec | None = None) -> Explanation:
    return explain_error(error_of(faulty), spec=spec)[0]


def code_in(explanation: Explanation, opening: str) -> str:
    """The code of the fix that begins so: what stands after its colon."""
    fix = next(fix for fix in explanation.fixes if fix.startswith(opening))
    return fix.partition(": ")[2].removesuffix(".")


OFFSETS = "b.attn.relative_position_bias_table"
SUM = "The size of tensor a ({}) must match the size of tensor b ({}) at non-singleton dimension {}"


def all_words(explanations: tuple[Explanation, ...]) -> str:
    return " ".join(e.sentence + " " + " ".join(e.fixes) for e in explanations)


def words(explanation: Explanation) -> str:
    return " ".join((explanation.sentence, *explanation.fixes))
