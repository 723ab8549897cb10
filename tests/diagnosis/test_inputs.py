"""Errors about images, maps and patterns: what is raised, what it means, and fixes that work."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from typing import Any

import einops
import pytest
import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from tests.diagnosis.test_decoder import CASES, error_of
from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.inspection.module_inspection import inspect_module
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem

zeros = torch.zeros
CUT = "b c (h p) (w q) -> b (h w) (p q c)"
WINDOWS = "b (x v) (y w) c -> (b x y) (v w) c"
WINDOWS_FIRST = "b c (x v) (y w) -> (b x y) (v w) c"
SWIN_LIKE = "b (nw_h w_h) (nw_w w_w) (h d) -> b h (nw_h nw_w) (w_h w_w) d"


def best_of(faulty: Callable[[], Any], spec: StemSpec | None = None) -> Explanation:
    return explain_error(error_of(faulty), spec=spec)[0]


def code_in(explanation: Explanation, opening: str) -> str:
    """The code of the fix that begins so: what stands after its colon."""
    fix = next(fix for fix in explanation.fixes if fix.startswith(opening))
    return fix.partition(": ")[2].removesuffix(".")


# einops: axes that do not divide


@pytest.mark.parametrize(
    ("shape", "pattern", "lengths", "kind", "says"),
    [
        # a map in windows, its channels last and first
        ((1, 3, 3, 384), SWIN_LIKE, {"h": 24, "w_h": 7, "w_w": 7}, "window", "3 = 0·7 [+] 3"),
        ((1, 10, 14, 96), WINDOWS, {"v": 7, "w": 7}, "window", "10×14 places .* 10 = 1·7 [+] 3"),
        ((1, 96, 14, 15), WINDOWS_FIRST, {"v": 7, "w": 7}, "window", "15 = 2·7 [+] 1"),
        ((2, 64, 20, 20), WINDOWS_FIRST, {"v": 7, "w": 7}, "window", "20 = 2·7 [+] 6"),
        # an image in patches
        ((1, 3, 225, 300), CUT, {"p": 16, "q": 16}, "image size", "225 = 14·16 [+] 1 and 300"),
        ((2, 1, 28, 28), CUT, {"p": 8, "q": 8}, "image size", "28 = 3·8 [+] 4"),
        (
            (1, 225, 224, 3),
            "b (h p) (w q) c -> b (h w) (p q c)",
            {"p": 16, "q": 16},
            "image size",
            "225 = 14·16 [+] 1",
        ),
        # a video in tubelets
        (
            (1, 3, 15, 32, 32),
            "b c (f pf) (h p) (w q) -> b f (h w) (p q pf c)",
            {"pf": 2, "p": 16, "q": 16},
            "frames",
            "15 = 7·2 [+] 1",
        ),
        # tokens in heads, and in rows
        ((1, 197, 384), "b n (h d) -> b h n d", {"h": 5}, "heads", "384 = 5·76 [+] 4"),
        ((1, 197, 400), "b n (h d) -> b h n d", {"d": 64}, "heads", "400 = 6·64 [+] 16"),
        ((1, 197, 1152), "b n (qkv h d) -> qkv b h n d", {"qkv": 3, "h": 5}, "heads", "384 = 5·76"),
        ((1, 100, 8, 8), "b (h d) x y -> b h (x y) d", {"h": 8}, "heads", "100 = 8·12 [+] 4"),
        ((1, 2, 197, 100), "... (h d) -> ... h d", {"h": 3}, "heads", "100 = 3·33 [+] 1"),
        ((1, 197, 8), "b (h w) c -> b c h w", {"h": 14}, "class token", "197 = 14·14 [+] 1"),
        ((1, 210, 8), "b (h w) c -> b c h w", {"h": 16}, "grid", "210 = 13·16 [+] 2"),
        # of what nothing is known, no more is said
        ((5, 49, 96), "(b n) l c -> b n l c", {"n": 4}, "axes", "Axis 0, .* 5 = 1·4 [+] 1"),
    ],
)
def test_what_an_axis_is_follows_from_the_pattern_and_the_shape(
    shape: tuple[int, ...], pattern: str, lengths: dict[str, int], kind: str, says: str
) -> None:
    best = best_of(lambda: rearrange(zeros(shape), pattern, **lengths))
    assert best.kind == kind
    assert re.search(says, best.sentence)
    assert "7×7 pixels" not in " ".join(best.fixes)  # a map is never resized as an image


@pytest.mark.parametrize(
    ("shape", "pattern"),
    [((1, 3, 3, 8), WINDOWS), ((1, 10, 15, 20), WINDOWS), ((1, 20, 14, 15), WINDOWS_FIRST)],
)
def test_a_map_that_is_padded_as_said_divides_into_windows(
    shape: tuple[int, ...], pattern: str
) -> None:
    def cut(x: Tensor) -> Tensor:
        return rearrange(x, pattern, v=7, w=7)

    x = zeros(shape)
    best = best_of(lambda: cut(x))
    call = re.search(r"F\.pad\(x, \([\d, ]+\)\)", best.fixes[0])
    assert call
    assert cut(eval(call[0], {"F": F, "x": x})).shape[1] == 49


@pytest.mark.parametrize("shape", [(1, 3, 225, 300), (1, 3, 8, 40), (1, 1, 33, 16)])
def test_an_image_that_is_resized_or_cropped_as_said_is_cut(shape: tuple[int, ...]) -> None:
    def cut(x: Tensor) -> Tensor:
        return rearrange(x, CUT, p=16, q=16)

    image = zeros(shape)
    best = best_of(lambda: cut(image))
    sizes = re.findall(r"(\d+)×(\d+)", best.fixes[0])
    assert sizes
    for size in sizes:
        cut(F.interpolate(image, tuple(map(int, size))))
    for fix in best.fixes[1:]:
        cut(eval(fix.partition(": ")[2].removesuffix("."), {"image": image}))


def test_two_numbers_alone_are_certain_of_nothing() -> None:
    for pair in ("3 in chunks of 7", "225 in chunks of 16", "1152 in chunks of 15"):
        for explanation in explain_error(f"can't divide axis of length {pair}"):
            assert explanation.likelihood != "certain"
    assert explain_error("can't divide axis of length 3 in chunks of 7")[0].kind == "window"
    assert explain_error("can't divide axis of length 8 in chunks of 4") == ()  # it does


# einops: patterns


@pytest.mark.parametrize(
    ("faulty", "kind", "says", "fix"),
    [
        (
            lambda: rearrange(zeros(2, 196, 384), "b c h w -> b (h w) c"),
            "flatten",
            "196 = 14×14 tokens, which are flattened already",
            "Leave the second flattening out.",
        ),
        (
            lambda: rearrange(zeros(3, 32, 40), "b c h w -> b (h w) c"),
            "batch",
            "an image without a batch.",
            "image.unsqueeze(0)",
        ),
        (
            lambda: rearrange(zeros(1, 3, 8, 8), "b n d -> n b d"),
            "flatten",
            "a map where tokens are expected",
            "rearrange(x, 'b c h w -> b (h w) c')",
        ),
        (
            lambda: rearrange(zeros(1, 8, 3, 8, 8), "b c h w -> b (h w) c"),
            "video",
            "the tensor 5, 1×8×3×8×8",
            "x.flatten(0, 1)",
        ),
        (lambda: rearrange(zeros(4), "... h w -> ... (h w)"), "axes", "at least 2 axes", "as many"),
        (
            lambda: rearrange(zeros(1, 3, 4, 4), "b c h w -> b (h w)"),
            "pattern",
            "c stands on the left side of the pattern only",
            "reduce(x, 'b c h w -> b (h w)', 'mean')",
        ),
        (
            lambda: rearrange(zeros(1, 3, 4), "b c h -> b c h w"),
            "pattern",
            "w stands on the right side of the pattern only",
            "w=…",
        ),
        (
            lambda: repeat(zeros(1, 3), "b c -> b"),
            "pattern",
            "c stands on the left",
            "reduce first",
        ),
        (lambda: repeat(zeros(1, 3), "() d -> b d"), "pattern", "how long the new axes", "each: b"),
        (lambda: reduce(zeros(1, 3), "b d -> b d x", "mean"), "pattern", "makes no axes", "repeat"),
        (lambda: rearrange(zeros(1, 16), "b (h w) -> b h w"), "pattern", "no length", "but one"),
        (lambda: rearrange(zeros(1, 16), "b n -> n b", p=4), "pattern", "given for p", "Write p"),
        (lambda: rearrange(zeros(4, 4), "n n -> n"), "pattern", "n stands twice", "n and n2"),
        (
            lambda: rearrange(zeros(4, 4), "n d -> ... n d"),
            "pattern",
            "ellipsis on its right",
            "...",
        ),
        (
            lambda: rearrange(zeros(4, 4), "n d -> n 4 d"),
            "pattern",
            "a number other than 1",
            "letter",
        ),
        (lambda: rearrange(zeros(4, 4), "(n d -> n d"), "pattern", "do not close", "Close each"),
        (lambda: rearrange(zeros(4, 4), "((n) d) e -> n"), "pattern", "inside each other", "Close"),
    ],
)
def test_a_pattern_that_does_not_fit_is_mended_where_it_is_wrong(
    faulty: Callable[[], Any], kind: str, says: str, fix: str
) -> None:
    best = best_of(faulty)
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


def test_what_is_dropped_by_reduce_as_said_runs() -> None:
    x = zeros(1, 3, 4, 4)
    best = best_of(lambda: rearrange(x, "b c h w -> b (h w)"))
    assert eval(code_in(best, "Or drop"), {"einops": einops, "x": x}).shape == (1, 16)


# Models' own assertions


@pytest.mark.parametrize(
    ("text", "kind", "says", "fix"),
    [
        # timm over the years: vision_transformer.py of 2020, 2021, patch_embed.py of 2023
        (
            "Input image size (512*512) doesn't match model (224*224).",
            "image size",
            "512×512 pixels and the model expects 224×224",
            "224×224",
        ),
        (
            "Input image height (512) doesn't match model (224).",
            "image size",
            "a height of 512",
            "a height of 224 pixels",
        ),
        (
            "Input height (512) doesn't match model (224).",
            "image size",
            "a height of 512",
            "a height of 224 pixels",
        ),
        (
            "Input width (300) doesn't match model (224).",
            "image size",
            "a width of 300",
            "a width of 224 pixels",
        ),
        (
            "Input img_size (512, 384) doesn't match model (224, 224).",
            "image size",
            "512×384 pixels",
            "224×224",
        ),
        (
            "Input image width (225) must be divisible by patch size (16).",
            "image size",
            "225 = 14·16 + 1",
            "224 = 14·16 or 240 = 15·16",
        ),
        (
            "img_size 225 should be divided by patch_size 16.",
            "image size",
            "225 = 14·16 + 1",
            "224 = 14·16",
        ),
        (
            "`patch_size` should divide image dimensions evenly",
            "image size",
            "not divisible",
            "224 = 14·16",
        ),
        # channels last where the model reads height and width
        (
            "Input width (3) doesn't match model (224).",
            "channels last",
            "3 is a number of channels",
            "permute(0, 3, 1, 2)",
        ),
        # torchvision
        ("Wrong image width! Expected 224 but got 256!", "image size", "a width of 256", "224×224"),
        (
            "Expected (batch_size, seq_length, hidden_dim) got torch.Size([1, 768, 14, 14])",
            "flatten",
            "1×768×14×14",
            "flatten(2)",
        ),
        (
            "Grid size must be divisible by partition size. Got grid size of (8, 8) and"
            " partition size of 7",
            "window",
            "8 = 1·7 + 1",
            "partition_size=8",
        ),
        (
            "Input size (10, 10) of block 3 is not divisible by partition size 7.",
            "window",
            "10 = 1·7 + 3",
            "224 = 32·7",
        ),
        ("feat_dim: 100 must be divisible by head_dim: 32", "heads", "100 = 3·32 + 4", "20 or 25"),
        (
            "seq_length is not a perfect square! Instead got seq_length_1d * seq_length_1d ="
            " 169 and seq_length = 195",
            "position table",
            "195 entries",
            "rows and columns",
        ),
        (
            "input image H and W should be divisible by 8, instead got 225 (h) and 300 (w)",
            "image size",
            "300 = 37·8 + 4",
            "224×296 or 232×304",
        ),
        # transformers
        (
            "Input image size (512*384) doesn't match model (224*224).",
            "image size",
            "32×24 = 768 tokens",
            "224×224",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration. Expected 3 but got 1.",
            "channels",
            "the image is grey",
            "image.expand(-1, 3, -1, -1)",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration. Expected 3 but got 224.",
            "channels last",
            "224",
            "permute",
        ),
        (
            "Make sure that the channel dimension of the pixel values match with the one set"
            " in the configuration.",
            "channels",
            "num_channels",
            "config.num_channels",
        ),
        (
            "Unable to infer channel dimension format",
            "channels",
            "neither 1 nor 3 channels",
            'convert("RGB")',
        ),
        (
            "mean must have 1 elements if it is an iterable, got 3",
            "channels",
            "1 channel and is normalised with 3",
            'convert("RGB")',
        ),
        ("One must provided a boolean mask ", "mask", "bool_masked_pos", "of bool"),
        ("`embed_dim` must be divisible by 4, got 90", "width", "width 90", "88 or 92"),
        # DINOv2
        (
            "Input image height 225 is not a multiple of patch height 14",
            "image size",
            "225 = 16·14 + 1",
            "224 = 16·14 or 238 = 17·14",
        ),
        (
            "Input image width 225 is not a multiple of patch width: 14",
            "image size",
            "A width of 225",
            "image[..., :224]",
        ),
        # Swin, MaxViT, NesT
        ("x size (7*7) are not even.", "merging", "7 = 2·3 + 1", "multiples of 32"),
        ("input feature has wrong size", "image size", "H×W places", "img_size"),
        (
            "height (20) must be divisible by window (7)",
            "window",
            "20 = 2·7 + 6",
            "21 instead of 20",
        ),
        ("width 20 must be divisible by grid 7", "window", "20 = 2·7 + 6", "21 instead of 20"),
        ("BlockAggregation requires even input spatial dims", "merging", "an odd side", "of 32"),
    ],
)
def test_what_models_assert_of_themselves_is_known(
    text: str, kind: str, says: str, fix: str
) -> None:
    best = explain_error(f"AssertionError: {text}")[0]
    assert best.kind == kind
    assert says in best.sentence
    assert any(fix in line for line in best.fixes)


@pytest.mark.parametrize(
    "text",
    [
        "Input height (224) doesn't match model (224).",
        "Input image height (224) must be divisible by patch size (16).",
        "x size (8*8) are not even.",
        "height (21) must be divisible by window (7)",
        "hidden size 768 must be divisible by 12 heads",
    ],
)
def test_an_assertion_that_its_own_numbers_refute_is_not_explained(text: str) -> None:
    assert explain_error(text) == ()


def test_a_stem_that_is_given_names_the_patch_of_an_assertion() -> None:
    spec = patchify_stem(patch_size=32, image_size=224)
    best = explain_error("Input height (512) doesn't match model (224).", spec=spec)[0]
    assert "At patch size 32 that is 16 rows of tokens instead of 7." in best.sentence


def merge(x: Tensor) -> Tensor:
    """Patch merging as in the first Swin: 2×2 places to one."""
    _, rows, columns, _ = x.shape
    assert rows % 2 == 0 and columns % 2 == 0, f"x size ({rows}*{columns}) are not even."  # noqa: PT018
    parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return torch.cat(parts, -1)


@pytest.mark.parametrize("sides", [(7, 7), (8, 7), (7, 8)])
def test_an_odd_map_is_merged_once_it_is_padded_or_the_image_is_a_multiple_of_32(
    sides: tuple[int, int],
) -> None:
    x = zeros(1, *sides, 4)
    best = best_of(lambda: merge(x))
    assert best.likelihood == "certain"
    call = re.search(r"F\.pad\(x, \([\d, ]+\)\)", best.fixes[1])
    assert call
    merge(eval(call[0], {"F": F, "x": x}))
    for side in range(32, 321, 32):  # a patch of 4, then three mergings
        map = zeros(1, side // 4, side // 4, 1)
        for _ in range(3):
            map = merge(map)


# Axes of what goes into a layer


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "says"),
    [
        (nn.Conv2d(3, 8, 3), (8, 768), "features", "8 rows of 768 numbers"),
        (nn.Conv2d(3, 8, 3), (1, 384), "features", "1 rows of 384 numbers"),
        (nn.Conv2d(3, 8, 3), (224, 224), "batch", "no channels and no batch"),
        (nn.Conv2d(3, 8, 3), (480, 640), "batch", "no channels and no batch"),
        (nn.Conv2d(3, 8, 3), (2, 8, 3, 32, 32), "batch", "8 frames or images of 3 channels"),
        (nn.Conv2d(3, 8, 3), (2, 3, 16, 32, 32), "video", "16 frames of 3 channels"),
        (nn.Conv2d(3, 8, 3), (2, 16, 32, 32, 3), "video", "16 frames with their channels last"),
        (nn.Conv1d(3, 8, 3), (1, 3, 32, 32), "axes", "Conv1d gets 1×3×32×32: 4 axes"),
        (nn.Conv3d(3, 8, 1), (3, 32, 32), "axes", "Conv3d gets 3×32×32: 3 axes"),
        (nn.BatchNorm2d(8), (2, 8), "norm", "features (batch, width)"),
        (nn.BatchNorm1d(8), (2, 8, 4, 4), "norm", "BatchNorm1d reads 2 or 3 axes and gets 4"),
        (nn.BatchNorm3d(8), (2, 8, 4, 4), "norm", "BatchNorm3d reads 5 axes and gets 4"),
    ],
)
def test_axes_that_a_layer_does_not_read_are_named_for_what_they_are(
    layer: nn.Module, shape: tuple[int, ...], kind: str, says: str
) -> None:
    best = best_of(lambda: layer(zeros(shape)))
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("layer", "shape", "name"),
    [
        (nn.Conv2d(3, 8, 3), (1, 1, 3, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 8, 3, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 3, 16, 32, 32), "image"),
        (nn.Conv2d(3, 8, 3), (2, 16, 32, 32, 3), "image"),
        (nn.Conv1d(3, 8, 3), (1, 3, 32, 32), "x"),
        (nn.Conv3d(3, 8, 1), (3, 32, 32), "image"),
    ],
)
def test_axes_that_are_changed_as_said_are_read(
    layer: nn.Module, shape: tuple[int, ...], name: str
) -> None:
    x = zeros(shape)
    best = best_of(lambda: layer(x))
    layer(eval(best.fixes[0].partition(": ")[2].removesuffix("."), {name: x}))


class Stem(nn.Module):
    """A convolution and a BatchNorm2d, which gets the map or, in error, the tokens."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.flat, self.proj, self.norm = flat, nn.Conv2d(3, 16, 8, 8), nn.BatchNorm2d(16)

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image)
        if self.flat:
            x = x.flatten(2).transpose(1, 2)
        return self.norm(x)


def test_a_batch_norm_over_tokens_is_told_from_an_image_without_a_batch_by_what_it_got() -> None:
    tokens = inspect_module(Stem(flat=True), zeros(2, 3, 64, 64)).explanations
    assert [each.kind for each in tokens] == ["norm"]  # the batch is 2, so it is there
    assert "2×64×16" in tokens[0].sentence
    assert any("LayerNorm(16)" in fix for fix in tokens[0].fixes)
    image = inspect_module(Stem(flat=False), zeros(3, 64, 64)).explanations
    assert [each.kind for each in image] == ["batch"]
    assert inspect_module(Stem(flat=False), zeros(2, 3, 64, 64)).failure is None


def test_the_message_of_a_batch_norm_alone_says_neither() -> None:
    alone = explain_error("ValueError: expected 4D input (got 3D input)")
    assert {each.kind for each in alone} == {"batch", "norm"}
    assert {each.likelihood for each in alone} == {"possible"}
    traced = explain_error(
        '  File "vit.py", line 9, in forward\n    x = self.norm(x.flatten(2).transpose(1, 2))\n'
        "ValueError: expected 4D input (got 3D input)"
    )
    assert [each.kind for each in traced] == ["norm"]


class Unpacks(nn.Module):
    """A model that takes the shape of its image apart, as most do."""

    def forward(self, image: Tensor) -> Tensor:
        _, _, rows, columns = image.shape
        return image.reshape(-1, rows * columns)


@pytest.mark.parametrize(
    ("shape", "says", "axes"),
    [((3, 8, 8), "the tensor has 3 axes", 3), ((1, 2, 3, 8, 8), "a video, or a batch too many", 5)],
)
def test_a_shape_that_is_taken_apart_into_other_names(
    shape: tuple[int, ...], says: str, axes: int
) -> None:
    image = zeros(shape)
    (only,) = inspect_module(Unpacks(), image).explanations
    assert (only.kind, only.likelihood) == ("axes", "likely")  # the line shows .shape
    assert says in only.sentence
    code = only.fixes[0].partition(": ")[2].removesuffix(".")
    assert eval(code, {"image": image}).dim() == 4
    assert image.dim() == axes


def test_values_that_are_no_shape_are_not_taken_for_one() -> None:
    assert explain_error("ValueError: too many values to unpack (expected 2)") == ()
    assert explain_error("ValueError: too many values to unpack (expected 3)") == ()
    for text in (
        "not enough values to unpack (expected 4, got 3)",
        "too many values to unpack (expected 4)",
    ):
        alone = explain_error(f"ValueError: {text}")  # four names are mostly a shape's
        assert [each.likelihood for each in alone] == ["possible"]


# Number formats and devices


@pytest.mark.parametrize(
    ("text", "kind", "says", "likelihood"),
    [
        (
            "expected m1 and m2 to have the same dtype, but got: float != c10::Half",
            "dtype",
            "float32 and the weights float16",
            "likely",
        ),
        (
            "mat1 and mat2 must have the same dtype, but got Half and Float",
            "dtype",
            "float16 and the weights float32",
            "likely",
        ),
        (
            "Input type (MPSFloatType) and weight type (torch.FloatTensor) should be the same",
            "device",
            "on mps and the weights on cpu",
            "certain",
        ),
        (
            "Caught RuntimeError in replica 0 on device 0.\nOriginal Traceback (most recent"
            " call last):\nRuntimeError: Input type (torch.cuda.HalfTensor) and weight type"
            " (torch.cuda.FloatTensor) should be the same",
            "dtype",
            "float16 and the weights float32",
            "certain",
        ),
        ("\"LayerNormKernelImpl\" not implemented for 'Half'", "dtype", "float16", "certain"),
        (
            "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a"
            " non-contiguous input.",
            "gpu",
            "does not say why",
            "possible",
        ),
        (
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
            "gpu",
            "does not say why",
            "possible",
        ),
        ("CUDA error: device-side assert triggered", "index", "out of range", "possible"),
    ],
)
def test_formats_and_devices_in_the_words_of_gpus(
    text: str, kind: str, says: str, likelihood: str
) -> None:
    best = explain_error(f"RuntimeError: {text}")[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in best.sentence


@pytest.mark.parametrize(
    "faulty",
    [
        lambda: zeros(1, 257, 8) + zeros(1, 197, 8),
        lambda: nn.Conv2d(3, 8, 3)(zeros(1, 1, 8, 8)),
        lambda: nn.LayerNorm(384)(zeros(1, 384, 14, 14)),
    ],
)
def test_an_error_that_torch_compile_wraps_is_read_as_it_stands(faulty: Callable[[], Any]) -> None:
    plain = error_of(faulty)
    wrapped = (
        "torch._dynamo.exc.TorchRuntimeError: Dynamo failed to run FX node with fake tensors:"
        f' call_function <built-in function add>: got RuntimeError("{plain}")\n\nfrom user code:\n'
        "Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"
    )
    assert explain_error(wrapped)[0].sentence == explain_error(plain)[0].sentence


# Any text at all


NUMBERS = ("0", "1", "2", "3", "7", "-1", "9" * 5000, "9" * 12, "9" * 9, "16777216", "²", "١٢٣")
LETTERS = ("\ud800", "\x00", "\u202e", "\x1b[31m", "\n", "'", '"', "[", "]", "(", ")", "{", "|")
TEXTS = [error_of(case[1]) for case in CASES] + [
    "Error(s) in loading state_dict for X: "
    + " ".join(
        f"size mismatch for {name}: copying a param with shape torch.Size({kept}) from checkpoint,"
        f" the shape in current model is torch.Size({built})."
        for name, kept, built in (
            ("pos_embed", [1, 14, 14, 768], [1, 14, 14, 512]),
            ("a.relative_position_bias_table", [169, 3], [225, 4]),
            ("a.relative_position_index", [49, 49], [64, 64]),
            ("decoder_pred.weight", [768, 512], [588, 512]),
            ("patch_embed.proj.weight", [768, 3, 16, 16], [768, 1, 14, 14]),
        )
    ),
    "AssertionError: x size (7*7) are not even.",
    "Input image size (512*512) doesn't match model (224*224).",
    error_of(lambda: rearrange(zeros(1, 3, 3, 384), SWIN_LIKE, h=24, w_h=7, w_w=7)),
    error_of(lambda: rearrange(zeros(3, 8, 8), "b c h w -> b (h w) c")),
]


def mutated(text: str, rng: random.Random) -> str:
    """A text that is damaged as pasting, shortening and mistyping damage it, and worse."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        end = at + rng.randint(1, 40)
        change = rng.randrange(7)
        numbers = list(re.finditer(r"\d+", text))
        if change == 0:
            text = text[:at] + text[end:]
        elif change == 1:
            text = text[:end] + text[at:]
        elif change == 2:
            text = text[:at] + rng.choice(LETTERS) + text[at:]
        elif change == 3:
            text = text[at:] + "\n" + rng.choice(TEXTS)
        elif change == 4:
            text = re.sub(r"\d+", lambda m: rng.choice((m[0], m[0], "0", "1", "5", "196")), text)
        elif numbers:
            number = rng.choice(numbers)
            text = text[: number.start()] + rng.choice(NUMBERS) + text[number.end() :]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_no_damaged_message_raises_or_takes_a_second(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITC_STRICT_RULES", "1")  # what a decoder raises is raised here
    rng = random.Random(seed)
    specs = (None, conv_stem(), patchify_stem(image_size=(256, 192)))
    for _ in range(200):
        text = mutated(rng.choice(TEXTS), rng)
        start = time.perf_counter()
        for explanation in explain_error(text, spec=rng.choice(specs)):
            assert explanation.sentence
            assert explanation.fixes
            json.dumps(explanation.to_dict())
        assert time.perf_counter() - start < 1


@pytest.mark.parametrize("text", ["\x00" * 10**6, "9" * 10**6, "\ud800" * 10**5])
def test_a_million_characters_of_nothing_are_not_explained(text: str) -> None:
    start = time.perf_counter()
    assert explain_error(text) == ()
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("text", TEXTS[-5:])
def test_a_message_at_the_end_of_megabytes_is_explained(text: str) -> None:
    start = time.perf_counter()
    assert explain_error("downloading 12% of 340 MB\n" * 10**5 + text)
    assert time.perf_counter() - start < 2
