"""The decoder against errors that PyTorch and einops really raise, and against any other text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.served import ROOT
from vitc_inspect import cli
from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.diagnosis.grids import sides_for
from vitc_inspect.diagnosis.length_readings import read_lengths
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem
from vitc_inspect.views.explanations import explanations_text

zeros = torch.zeros


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


# Position tables


def test_the_story_of_257_and_197() -> None:
    best, *others = explain(lambda: Embedding()(zeros(1, 3, 256, 256)))
    assert (best.kind, best.likelihood) == ("position table", "likely")
    assert "257 = 16×16 + 1" in best.sentence
    assert "197 = 14×14 + 1" in best.sentence
    assert "at stride 16 the image is 256×256 pixels, and the table was made for 224×224" in (
        best.sentence
    )
    assert best.fixes == (
        "Resize the image to 224×224 pixels.",
        "Or interpolate the table from 14×14 to 16×16 entries, and keep its first entry as it is.",
        "Or change the patch, kernel and stride, to 18: 256 // 18 = 14, which leaves 4 pixels a"
        " side unread.",
    )
    assert len({o.sentence for o in others}) > 5


def test_every_fix_for_257_and_197_works() -> None:
    model = Embedding()
    assert model(zeros(1, 3, 224, 224)).shape == (1, 197, 12)
    first, grid = model.pos_embed[:, :1], model.pos_embed[:, 1:]
    map = grid.reshape(1, 14, 14, 12).permute(0, 3, 1, 2)
    larger = nn.functional.interpolate(map, (16, 16)).flatten(2).transpose(1, 2)
    table = nn.Parameter(torch.cat((first, larger), dim=1))
    model.pos_embed = table
    assert model(zeros(1, 3, 256, 256)).shape == (1, 257, 12)
    assert Embedding(256, 18).pos_embed.shape[1] == 197
    assert Embedding(256, 18)(zeros(1, 3, 256, 256)).shape == (1, 197, 12)


@pytest.mark.parametrize(
    ("tokens", "table", "change", "numbers"),
    [  # what such a pair is known to come from in the field
        (577, 197, "image", {"image_height": 384, "table_image_height": 224, "total_stride": 16}),
        (1370, 257, "image", {"image_height": 518, "table_image_height": 224, "total_stride": 14}),
        (785, 197, "image", {"image_height": 448, "table_image_height": 224, "total_stride": 16}),
        (50, 197, "stride", {"total_stride": 32, "table_stride": 16, "image_height": 224}),
        (196, 197, "prefix", {"num_prefix_tokens": 0, "table_prefix_tokens": 1}),
        (197, 196, "prefix", {"num_prefix_tokens": 1, "table_prefix_tokens": 0}),
        (198, 197, "prefix", {"num_prefix_tokens": 2, "table_prefix_tokens": 1}),
        (201, 197, "prefix", {"num_prefix_tokens": 5, "table_prefix_tokens": 1}),
        (193, 197, "image", {"image_height": 192, "image_width": 256, "table_image_height": 224}),
        (226, 197, "image", {"image_height": 240, "table_image_height": 224}),
    ],
)
def test_the_likeliest_reading_of_pairs_known_from_the_field(
    tokens: int, table: int, change: str, numbers: dict[str, int]
) -> None:
    best = explain(lambda: zeros(1, tokens, 8) + zeros(1, table, 8))[0]
    assert (best.kind == "class token") == (change == "prefix")
    assert numbers.items() <= best.numbers.items()


def test_a_class_token_that_is_missing_is_said_in_those_words() -> None:
    assert (
        "the class token is missing"
        in explain(lambda: zeros(1, 196, 8) + zeros(1, 197, 8))[0].sentence
    )
    assert "4 registers" in explain(lambda: zeros(1, 201, 8) + zeros(1, 197, 8))[0].sentence


def test_both_roles_are_told_where_nothing_says_which_is_the_table() -> None:
    found = explain(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    assert (found[0].numbers["tokens"], found[0].numbers["table"]) == (257, 197)
    assert "in x + table the sequence is the first operand" in found[0].because
    swapped = next(e for e in found if e.numbers["tokens"] == 197)
    assert swapped.because == "it holds if the code says table + x, with the sequence second"


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("x = x + self.pos_embed", 257),
        ("x = self.pos_drop(x + self.pos_embed)", 257),
        ("x += self.position_embeddings[:, :n]", 257),
        ("return self.pos_embed + x", 197),
        ("x = self.drop(self.encoder.pos_embedding + x)", 197),
    ],
)
@pytest.mark.parametrize(
    "frame",
    [
        '  File "vit.py", line 12, in forward\n    {}\n        ~~^~~\n',
        "---> 12         {}\n     13         return x\n",
        ">       {}\nE       ",
    ],
    ids=["python", "ipython", "pytest"],
)
def test_the_line_of_code_in_a_traceback_says_which_is_the_table(
    frame: str, line: str, tokens: int
) -> None:
    message = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    found = explain_error(f"Traceback\n{frame.format(line)}RuntimeError: {message}\n")
    assert {e.numbers["tokens"] for e in found if "tokens" in e.numbers} == {tokens}
    assert line in found[0].because


def test_a_whole_traceback_with_anything_around_it_is_read() -> None:
    try:
        Embedding()(zeros(1, 3, 256, 256))
    except RuntimeError:
        text = traceback.format_exc()
    found = explain_error(f"please help!!\n\n{text}\n\nI am on Linux, torch 2.13 (197 tokens?)")
    assert found[0].numbers["image_height"] == 256
    assert "return x + self.pos_embed" in found[0].because


def test_of_two_errors_the_last_one_counts() -> None:
    first = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8))
    last = error_of(lambda: nn.MultiheadAttention(384, 5))
    assert explain_error(f"{first}\nDuring handling of the above:\n{last}")[0].kind == "heads"
    assert explain_error(f"{last}\n{first}")[0].kind == "position table"
    assert explain_error(f"{first}\nKeyError: 'x'")[0].kind == "position table"


def test_a_message_broken_over_lines_is_read() -> None:
    text = error_of(lambda: zeros(1, 257, 8) + zeros(1, 197, 8)).replace(" ", "\n   │ ")
    assert explain_error(text)[0].numbers["table"] == 197


SIDES = st.sampled_from(range(3, 40))


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(
    rows=SIDES,
    made=SIDES,
    stride=st.sampled_from((16, 14, 8, 32, 4)),
    prefix=st.sampled_from((0, 1, 2, 5)),
)
def test_the_true_image_is_among_the_readings(
    rows: int, made: int, stride: int, prefix: int
) -> None:
    if rows == made:
        return
    found = explain(lambda: zeros(1, rows**2 + prefix, 2) + zeros(1, made**2 + prefix, 2))
    true = {
        "image_height": rows * stride,
        "table_image_height": made * stride,
        "total_stride": stride,
        "num_prefix_tokens": prefix,
    }
    ranks = [n for n, e in enumerate(found) if true.items() <= e.numbers.items()]
    assert ranks
    if (stride, prefix) == (16, 1) and made == 14:
        assert ranks[0] <= 1


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(
    side=st.sampled_from((224, 448, 512, 256, 384)),
    strides=st.sampled_from([*product((4, 8, 16, 32), repeat=2)]),
)
def test_a_wrong_stride_is_among_the_readings(side: int, strides: tuple[int, int]) -> None:
    if strides[0] == strides[1]:
        return
    came, made = ((side // stride) ** 2 + 1 for stride in strides)
    found = explain(lambda: zeros(1, came, 2) + zeros(1, made, 2))
    true = {"total_stride": strides[0], "table_stride": strides[1], "image_height": side}
    assert any(true.items() <= e.numbers.items() for e in found)


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


@settings(deadline=None, derandomize=True, max_examples=150, database=None)
@given(spec=stems(), other=st.integers(64, 400))
def test_with_the_stem_given_its_own_reading_comes_first(spec: StemSpec, other: int) -> None:
    """The stem's own image came, and the table was made for a square of `other` pixels."""
    table = StemSpec(image_size=(other, other), convs=spec.convs, class_token=spec.class_token)
    if table.seq_len == spec.seq_len:
        return
    best = explain_error(
        f"The size of tensor a ({spec.seq_len}) must match the size of tensor b ({table.seq_len})"
        " at non-singleton dimension 1",
        spec=spec,
    )
    firsts = [
        e
        for e in best
        if (e.numbers.get("token_rows"), e.numbers.get("token_columns")) == spec.grid_size
    ]
    assert firsts
    assert best[0] == firsts[0]
    assert (best[0].numbers["image_height"], best[0].numbers["image_width"]) == spec.image_size
    made = next(e for e in best if e.numbers["table_rows"] == table.grid_size[0])
    assert made.numbers["table_columns"] == table.grid_size[1]
    low, high = sides_for(spec.convs, table.grid_size[0]) or (0, 0)
    assert low <= other <= high


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(spec=stems(), positions=st.integers(1, 30))
def test_sides_for_are_those_that_give_so_many_positions(spec: StemSpec, positions: int) -> None:
    found = sides_for(spec.convs, positions)
    giving = []
    for side in range(1, 600):
        try:
            rows = StemSpec(image_size=(side, side), convs=spec.convs).grid_size[0]
        except ValueError:
            continue
        giving += [side] if rows == positions else []
    if found is None or found[1] >= 600:
        return
    assert (found[0], found[1]) == (giving[0], giving[-1])
    assert giving == list(range(giving[0], giving[-1] + 1))


def test_with_the_stem_the_sides_that_fit_are_all_named() -> None:
    spec = conv_stem(image_size=256)
    best = explain(lambda: zeros(1, 257, 8) + zeros(1, 197, 8), spec)[0]
    assert best.fixes[0] == (
        "Resize the image to 224×224 pixels; every side from 209 to 224 gives 14."
    )
    tall = patchify_stem(image_size=(256, 192))
    best = explain(lambda: zeros(1, 193, 8) + zeros(1, 197, 8), tall)[0]
    assert "193 = 16×12 + 1" in best.sentence


# Loading weights


def loading(model: nn.Module, weights: nn.Module) -> tuple[Explanation, ...]:
    return explain(lambda: model.load_state_dict(weights.state_dict()))


def test_a_checkpoint_with_another_position_table() -> None:
    best = loading(Embedding(256), Embedding(224))[0]
    assert "pos_embed has 197 entries in the checkpoint and 257 in the model" in best.sentence
    assert "the model is made for 256×256 pixels and the checkpoint for 224×224" in best.sentence
    assert best.fixes[0].startswith("Interpolate the checkpoint's table from 14×14 to 16×16")


def test_a_checkpoint_with_another_patch_is_said_before_its_consequence() -> None:
    found = loading(Embedding(patch=14), Embedding(patch=16))
    assert [e.kind for e in found[:2]] == ["patch", "position table"]
    assert "patches of 16×16 pixels in the checkpoint and 14×14 in the model" in found[0].sentence
    table = next(e for e in found if e.numbers.get("table_stride") == 16)
    assert "at 224×224 pixels the model has stride 14 and the checkpoint 16" in table.sentence


@pytest.mark.parametrize(
    ("model", "weights", "kind", "says"),
    [
        ({"channels": 1}, {}, "channels", "reads 3 channels in the checkpoint and 1 in the model"),
        ({"channels": 3}, {"channels": 1}, "channels", "reads 1 channels in the checkpoint and 3"),
        ({"width": 8}, {}, "width", "12 wide and the model's 8"),
    ],
)
def test_a_checkpoint_of_other_channels_or_width(
    model: dict[str, int], weights: dict[str, int], kind: str, says: str
) -> None:
    best = loading(Embedding(**model), Embedding(**weights))[0]
    assert best.kind == kind
    assert says in best.sentence


def test_a_checkpoint_of_other_classes() -> None:
    model = Embedding()
    model.head = nn.Linear(12, 1000)
    (best,) = loading(model, Embedding())
    assert "head.weight has 10 classes in the checkpoint and 1000" in best.sentence


@pytest.mark.parametrize("norm", [True, False])
def test_patchify_weights_do_not_fit_a_convolutional_stem(norm: bool) -> None:
    stem, patchify = ConvStem(norm=norm), Embedding(width=64)
    best = loading(stem, patchify)[0]
    assert best.kind == "stem"
    assert "The model has a convolutional stem of 5 convolutions" in best.sentence
    assert "the checkpoint a patchify stem" in best.sentence
    best = loading(patchify, stem)[0]
    assert "The model has a patchify stem" in best.sentence


def test_a_prefix_before_every_name_is_seen() -> None:
    best = loading(ConvStem(), nn.ModuleDict({"module": ConvStem()}))[0]
    assert "The checkpoint's names begin with “module.”" in best.sentence
    best = loading(nn.ModuleDict({"module": ConvStem()}), ConvStem())[0]
    assert "The model's names begin with “module.”" in best.sentence


def test_a_class_token_that_one_of_the_two_lacks() -> None:
    model = Embedding()
    del model.cls_token
    best = loading(model, Embedding())[0]
    assert best.sentence == "The checkpoint has a class token, cls_token, and the model has none."


# Reshaping


def test_strides_that_do_not_multiply_to_the_patch_size() -> None:
    best = explain(lambda: ConvStem((2, 2, 2))(zeros(2, 3, 224, 224)))[0]
    assert best.kind == "stride"
    assert "100,352 = 2·64·784, and 784 = 28×28" in best.sentence
    assert "the strides multiply to 8, not to the patch size 16" in best.sentence
    assert best.fixes[:2] == (
        "Multiply one stride by 2: the product must be 16.",
        "Or set patch_size to 8, and make a table for 784 tokens.",
    )
    assert ConvStem()(zeros(2, 3, 224, 224)).shape == (2, 196, 64)


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(
    strides=st.lists(st.sampled_from((1, 2)), min_size=1, max_size=4),
    tokens=st.sampled_from((4, 6, 14)),
    width=st.sampled_from((64, 96, 384)),
    batch=st.integers(1, 3),
)
def test_any_wrong_product_of_strides_is_found(
    strides: list[int], tokens: int, width: int, batch: int
) -> None:
    total = 2 ** strides.count(2)
    if total == 16:
        return
    side = tokens * 16 // total
    size, target = batch * width * side * side, [batch, width, tokens**2]
    spec = conv_stem((8,) * len(strides), strides, width, image_size=tokens * 16)
    text = f"shape '{target}' is invalid for input of size {size}"
    best = explain_error(text, spec=spec)[0]
    assert {"total_stride": total, "tokens": side**2}.items() <= best.numbers.items()
    assert any(
        e.numbers.get("total_stride") == total and e.numbers["tokens"] == side**2
        for e in explain_error(text)
    )


CASES: list[tuple[str, Callable[[], Any], str, str, str]] = [
    (
        "heads in a reshape",
        lambda: zeros(1, 197, 1152).reshape(1, 197, 3, 5, 76),
        "heads",
        "384 = 5·76 + 4",
        "Use 4 or 6 heads",
    ),
    (
        "heads in the constructor",
        lambda: nn.MultiheadAttention(384, 5),
        "heads",
        "not divisible by the number of heads",
        "Use a number of heads that divides",
    ),
    (
        "heads in einops",
        lambda: rearrange(zeros(1, 197, 1152), "b n (k h d) -> k b h n d", k=3, h=5),
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
        "class token not reckoned with",
        lambda: zeros(1, 197, 768).reshape(1, 196, 768),
        "class token",
        "197 = 14×14 + 1 tokens, and 196 = 14×14 are expected",
        "Write 197 instead of 196.",
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
        "batches of two sizes",
        lambda: zeros(2, 197, 8) + zeros(4, 197, 8),
        "batch",
        "one operand of + has 2 and the other 4",
        "length 1",
    ),
    (
        "a sum of other channels",
        lambda: zeros(1, 48, 8, 8) + zeros(1, 96, 8, 8),
        "width",
        "48 and 96 channels",
        "Give both 48 channels.",
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
    (
        "patches by einops",
        lambda: rearrange(zeros(1, 3, 225, 225), "b c (h p) (w q) -> b (h w) (p q c)", p=16, q=16),
        "image size",
        "225 = 14·16 + 1",
        "224×224 or 240×240",
    ),
    (
        "patches by an einops layer",
        lambda: Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=16, q=16)(zeros(1, 3, 225, 225)),
        "image size",
        "225 = 14·16 + 1",
        "224×224 or 240×240",
    ),
    (
        "view after permute",
        lambda: zeros(1, 8, 4, 4).permute(0, 2, 3, 1).view(1, 4, 32),
        "view",
        "permuted before view",
        "Use reshape",
    ),
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
        "channels of a norm",
        lambda: nn.BatchNorm2d(48)(zeros(1, 96, 4, 4)),
        "channels",
        "BatchNorm2d(48) gets a map of 96 channels",
        "BatchNorm2d(96)",
    ),
    (
        "no batch, no channels",
        lambda: nn.Conv2d(3, 48, 3)(zeros(224, 224)),
        "batch",
        "no channels and no batch",
        "image[None, None]",
    ),
    (
        "no batch",
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))(zeros(3, 32, 32)),
        "batch",
        "the image has no batch axis",
        "image.unsqueeze(0)",
    ),
    (
        "no batch, einops",
        lambda: rearrange(zeros(3, 8, 8), "b c h w -> b (h w) c"),
        "batch",
        "an image without a batch",
        "image.unsqueeze(0)",
    ),
    (
        "a batch too many",
        lambda: nn.Conv2d(3, 48, 3)(zeros(1, 1, 3, 32, 32)),
        "batch",
        "5 axes",
        "image.squeeze(0)",
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
    (
        "keys not transposed",
        lambda: zeros(1, 6, 197, 64) @ zeros(1, 6, 197, 64),
        "transpose",
        "197 = 14×14 + 1 rows",
        "q @ k.transpose(-2, -1)",
    ),
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
    (
        "maps of another size",
        lambda: zeros(1, 8, 15, 15) + zeros(1, 8, 14, 14),
        "map size",
        "15 and 14",
        "padding 1",
    ),
    (
        "in place",
        lambda: zeros(1, 1, 768).add_(zeros(1, 197, 768)),
        "in place",
        "1×197×768",
        "x = x + table",
    ),
    (
        "one value a channel",
        lambda: nn.BatchNorm2d(8)(zeros(1, 8, 1, 1)),
        "batch norm",
        "1×1×1 = 1 values of each of 8 channels",
        "model.eval()",
    ),
    (
        "groups",
        lambda: nn.Conv2d(8, 8, 3, groups=3),
        "groups",
        "not divisible by its groups",
        "groups=1",
    ),
    (
        "images of two sizes",
        lambda: torch.stack((zeros(3, 8, 8), zeros(3, 9, 9))),
        "image size",
        "3×8×8 and 3×9×9",
        "Resize",
    ),
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
]
"""A name, what raises the error, and of the best explanation: kind, words, and words of a fix."""


@pytest.mark.parametrize(
    ("faulty", "kind", "says", "fix"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_pytorch_and_einops_really_raise_is_explained(
    faulty: Callable[[], Any], kind: str, says: str, fix: str
) -> None:
    best, *_ = explain(faulty)
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)
    assert all(line.endswith(".") and line[0].isupper() for line in best.fixes)
    assert best.sentence.endswith(".")
    assert not best.sentence[0].islower()
    assert not best.because.endswith(".")


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [  # worded as in torchvision 0.28, timm 1.0, transformers 4, vit-pytorch and torch on a GPU
        ("Wrong image height! Expected 224 but got 256!", "image size", "16×16 = 256 tokens where"),
        ("Input height (225) doesn't match model (224).", "image size", "a height of 225 pixels"),
        ("Input width (225) should be divisible by patch size (16).", "image size", "225 = 14·16"),
        ("Input image size (256*256) doesn't match model (224*224).", "image size", "256 pixels"),
        ("Input shape indivisible by patch size!", "image size", "not divisible"),
        ("Image dimensions must be divisible by the patch size.", "image size", "not divisible"),
        ("dim should be divisible by num_heads", "heads", "not divisible"),
        (
            "The hidden size (768,) is not a multiple of the number of attention heads 5.",
            "heads",
            "768 = 5·153 + 3",
        ),
        (
            "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the"
            " same",
            "device",
            "The image is on cuda and the weights on cpu",
        ),
        (
            "Input type (torch.FloatTensor) and weight type (torch.cuda.HalfTensor) should be the"
            " same or input should be a MKLDNN tensor and weight is a dense tensor",
            "device",
            "The image is on cpu and the weights on cuda",
        ),
        (
            "Input type (torch.cuda.ByteTensor) and weight type (torch.cuda.FloatTensor) should be"
            " the same",
            "dtype",
            "uint8 and the weights float32",
        ),
        (
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0"
            " and cpu!",
            "device",
            "cuda:0 and another on cpu",
        ),
        (
            "Expected all tensors to be on the same device, but got mat1 is on cpu, different from"
            " other tensors on cuda:0 (when checking argument in method wrapper_CUDA_addmm)",
            "device",
            "cuda:0 and another on cpu",
        ),
    ],
)
def test_what_others_raise_is_explained(text: str, kind: str, says: str) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence


def test_the_numbers_of_heads_come_from_the_code_or_from_the_stem() -> None:
    text = '  File "vit.py", line 3\n    nn.MultiheadAttention(384, num_heads=5)\nAssertionError: '
    message = error_of(lambda: nn.MultiheadAttention(384, 5))
    assert "384 = 5·76 + 4" in explain_error(text + message)[0].sentence
    best = explain_error(message, spec=conv_stem())[0]
    assert best.fixes == ("Use a number of heads that divides 384, for example 4, 6, 8.",)


def test_the_stem_names_the_convolution_that_gets_other_channels() -> None:
    spec = parse_stem("3x3/2:48 bn relu, 3x3/2:96 bn relu, 1x1:384")
    best = explain(lambda: nn.Conv2d(48, 96, 3, 2, 1)(zeros(1, 64, 8, 8)), spec)[0]
    assert best.sentence.startswith("conv2 reads 48 channels and gets 64")


def test_the_stem_says_how_large_an_image_must_be() -> None:
    spec = parse_stem("3x3/2p0:8, 3x3/2p0:8, 3x3/2p0:8", image_size=64)
    best = explain(lambda: nn.Conv2d(8, 8, 3)(zeros(1, 8, 2, 2)), spec)[0]
    assert best.fixes[0] == "Use an image of at least 15×15 pixels, which gives one token."


# Anything else


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "KeyError: 'pos_embed'",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "The size of tensor a must match the size of tensor b",
        "size of tensor a (x) must match the size of tensor b (y) at non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (0x0 and 0x0)",
        "shape '[]' is invalid for input of size 0",
        "Expected input batch_size (4) to match target batch_size (3).",
    ],
)
def test_what_is_not_known_gets_no_explanation(text: str) -> None:
    assert explain_error(text) == ()


WORDS = [error_of(case[1]) for case in CASES]


@settings(deadline=None, derandomize=True, max_examples=300, database=None)
@given(
    text=st.one_of(
        st.text(max_size=300),
        st.builds(
            lambda word, numbers: "".join(str(next(numbers)) if c.isdigit() else c for c in word),
            st.sampled_from(WORDS),
            st.lists(
                st.sampled_from((0, 1, 2, 5, 7, 14, 197, 10**6, 10**12)), min_size=1, max_size=5
            ).map(lambda found: iter(found * 400)),
        ),
    ),
    spec=st.sampled_from([None, conv_stem(), patchify_stem(image_size=(256, 192))]),
)
def test_no_text_crashes_it_or_takes_long(text: str, spec: StemSpec | None) -> None:
    start = time.perf_counter()
    for explanation in explain_error(text, spec=spec):
        assert explanation.sentence
        assert explanation.fixes
        json.dumps(explanation.to_dict())
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "text",
    [
        "size mismatch for " * 20_000,
        "shape '[" + "1, " * 100_000,
        'Missing key(s) in state_dict: "' * 5_000,
        "Error(s) in loading state_dict for X: Missing key(s) in state_dict: " + '"a.b", ' * 30_000,
        "(" * 200_000,
        'File "' * 40_000,
        "> x = x + " * 20_000,
        "Input type (" + "a b " * 50_000,
        "The size of tensor a (14414400) must match the size of tensor b (11531520) at"
        " non-singleton dimension 1",
        "mat1 and mat2 shapes cannot be multiplied (999999999999x999999999998 and"
        " 999999999997x999999999996)",
        "\n" * 200_000,
    ],
)
def test_absurd_texts_take_little_time(text: str) -> None:
    start = time.perf_counter()
    explain_error(text)
    assert time.perf_counter() - start < 2


@settings(deadline=None, derandomize=True, max_examples=100, database=None)
@given(tokens=st.integers(1, 2000), table=st.integers(1, 2000))
def test_every_reading_has_the_two_lengths_it_reads(tokens: int, table: int) -> None:
    readings = read_lengths(tokens, table)
    assert [r.doubt for r in readings] == sorted(r.doubt for r in readings)
    for reading in readings:
        assert (reading.tokens.count, reading.table.count) == (tokens, table)
        for layout in (reading.tokens, reading.table):
            assert layout.image_size == tuple(n * layout.total_stride for n in layout.grid_size)
    assert bool(readings) is False if tokens == table else True


# The command line

STORY = (
    "RuntimeError: The size of tensor a (257) must match the size of tensor b (197) at"
    " non-singleton dimension 1"
)


def test_the_command_line_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", STORY]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == explanations_text(explain_error(STORY)) + "\n"
    assert out.startswith("1. position table, likely\n")
    assert "- Resize the image to 224×224 pixels.\n" in out
    assert max(map(len, out.splitlines())) <= 96


def test_the_terminal_shows_the_fixes_of_all_that_is_more_than_possible() -> None:
    text = error_of(
        lambda: Embedding(patch=14, channels=1).load_state_dict(Embedding().state_dict())
    )
    shown = explanations_text(explain_error(text))
    assert "- Build the model with patch_size=16.\n" in shown
    assert "- Build the model with in_channels=3.\n" in shown
    merely = explanations_text(explain_error(STORY))
    assert merely.count("\n   - ") == 3
    assert merely.count("Why: ") == 1
    assert re.search(r"\n\d+ less likely readings, and all fixes: --json\.$", merely)


def test_the_command_line_says_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", "KeyError: 'x'"]) == 1
    assert "does not know this error" in capsys.readouterr().out
    assert cli.main(["--explain", "KeyError: 'x'", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"explanations": []}


def test_the_command_line_takes_a_stem_as_context(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "vit_c_4gf", "--image-size", "256", "--json"]
    assert cli.main(["--explain", STORY, *options]) == 0
    best = json.loads(capsys.readouterr().out)["explanations"][0]
    assert best["fixes"][0].endswith("every side from 209 to 224 gives 14.")
    assert best["numbers"]["image_height"] == 256
    assert set(best) == {"kind", "sentence", "fixes", "likelihood", "because", "numbers"}


def test_an_image_size_without_a_stem_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--explain", STORY, "--image-size", "256"]) == 2
    assert capsys.readouterr().err.startswith("image_size = '256': neither a stem nor --preset")


def test_a_traceback_is_read_from_standard_input() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "vitc_inspect", "--explain", "-"],
        input=f"Traceback (most recent call last):\n{STORY}\n",
        capture_output=True,
        cwd=ROOT,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "257 = 16×16 + 1" in ended.stdout


@pytest.mark.parametrize(
    "text",
    [
        "The size of tensor a (257) must match the size of tensor b (197)",
        "size of tensor a (257) must match … (197)",
        "size of tensor a (257) must match ... (197)",
    ],
)
def test_a_message_that_was_shortened_is_still_known(text: str) -> None:
    whole = "The size of tensor a (257) must match the size of tensor b (197) at non-singleton"
    assert explain_error(text) == explain_error(f"{whole} dimension 1")


def test_the_patch_is_changed_only_where_there_is_one_and_then_reads_what_is_said() -> None:
    """Kernel and stride of 18 leave 256 - 14·18 = 4 of 256 pixels unread."""
    text = "The size of tensor a (257) must match the size of tensor b (197)"
    fixes = " ".join(explain_error(text, spec=PRESETS["vit_p_18gf"].stem)[0].fixes)
    assert "to 18: 256 // 18 = 14, which leaves 4 pixels" in fixes
    patches = predict(patchify_stem(18, 768, image_size=256))
    assert len(patches.layer("proj").unread_rows) == 4
    assert "18" not in " ".join(explain_error(text, spec=PRESETS["vit_c_4gf"].stem)[0].fixes)


def test_an_image_without_a_usual_size_is_whole_patches() -> None:
    text = "The size of tensor a (65) must match the size of tensor b (197)"
    best = explain_error(text, spec=PRESETS["dinov2_s14"].stem)[0]
    assert best.numbers["table_image_height"] == 14 * 14


@pytest.mark.parametrize(
    ("operation", "operands", "sentence", "fix"),
    [
        ("add", ((1, 8, 8, 8), (7,)), "+ was given 1×8×8×8 and a vector of 7", "8 long, or 1"),
        ("__imul__", ((16,), (1, 16, 8, 8)), "* was given 1×16×8×8", "the shape (16, 1, 1)"),
        ("maximum", ((2, 196, 64), (196,)), "maximum was given", "the shape (196, 1)"),
    ],
)
def test_a_vector_along_the_wrong_axis_gets_the_shape_for_the_right_one(
    operation: str, operands: tuple[tuple[int, ...], ...], sentence: str, fix: str
) -> None:
    tensors = [torch.zeros(shape) for shape in operands]
    with pytest.raises(RuntimeError) as raised:
        torch.add(*tensors)
    (meaning,) = explain_error(str(raised.value), operation=operation, operands=operands)
    assert meaning.kind == "broadcast"
    assert meaning.sentence.startswith(sentence)
    assert fix in meaning.fixes[0]
    if "shape" in fix:
        vector = next(tensor for tensor in tensors if tensor.ndim == 1)
        other = next(tensor for tensor in tensors if tensor.ndim > 1)
        torch.add(other, vector.view(-1, *(1 for _ in range(fix.count(",")))))


def test_two_operands_that_do_not_fit_are_named_by_their_own_operation() -> None:
    text = (
        "The size of tensor a (8) must match the size of tensor b (9) at non-singleton dimension 3"
    )
    shapes = ((1, 16, 8, 8), (1, 16, 9, 9))
    assert (
        "operands of * differ" in explain_error(text, operation="mul", operands=shapes)[0].sentence
    )
    assert "operands of + differ" in explain_error(text)[0].sentence
