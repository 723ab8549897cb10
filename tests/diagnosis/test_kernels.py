"""Convolutions' weights that do not fit, and the code that makes them fit."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.diagnosis.checkpoints import MISFIT, line, loading_state
from tests.diagnosis.errors import Embedding, code_in, words
from vitc_inspect.diagnosis import explain_error


def test_a_checkpoint_with_another_patch_is_said_before_its_consequence() -> None:
    found = loading_state(Embedding(patch=14), Embedding(patch=16))
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
    best = loading_state(Embedding(**model), Embedding(**weights))[0]
    assert best.kind == kind
    assert says in best.sentence


PATCH = "patch_embed.proj.weight"


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "says"),
    [
        # and a kernel is one
        (PATCH, "768,3,14,14 768,3,16,16", "patch", "patches of 14×14 pixels"),
        (PATCH, "768,3,16,8 768,3,16,16", "patch", "patches of 16×8 pixels"),
        ("stages.0.dwconv.weight", "96,1,7,7 96,1,5,5", "kernel", "a kernel of 7×7"),
        ("stem.conv.weight", "64,3,7,7 64,3,3,3", "kernel", "a kernel of 7×7"),
        ("conv_proj.weight", "768,3,16,16 24,3,3,3", "stem", "a patchify stem"),
        # videos
        (PATCH, "768,3,2,16,16 768,3,14,14", "video", "cuts 2 frames of 16×16 pixels"),
    ],
)  # fmt: skip
def test_the_name_and_the_shape_of_one_line_decide(
    name: str, shapes: str, kind: str, says: str
) -> None:
    kept, built = (tuple(map(int, shape.split(","))) for shape in shapes.split())
    best = explain_error(line(name, kept, built))[0]
    assert best.kind == kind
    assert says in best.sentence


@pytest.mark.parametrize(
    ("kept", "built", "sums"),
    [
        ((8, 3, 4, 4), (8, 1, 4, 4), True),
        ((8, 1, 4, 4), (8, 3, 4, 4), True),
        ((8, 3, 4, 4), (8, 4, 4, 4), False),
        ((8, 4, 4, 4), (8, 3, 4, 4), False),
        ((8, 3, 4, 4), (8, 6, 4, 4), False),
        ((8, 1, 2, 4, 4), (8, 3, 2, 4, 4), True),
    ],
)
def test_weights_of_other_channels_are_made_to_fit(
    kept: tuple[int, ...], built: tuple[int, ...], sums: bool
) -> None:
    best = explain_error(line("patch_embed.proj.weight", kept, built))[0]
    assert best.kind == "channels"
    weight = torch.randn(kept)
    opening = next(f for f in best.fixes if f.startswith("Or")).partition(":")[0]
    code = code_in(best, opening).partition(";")[0]
    made = eval(code, {"torch": torch, "weight": weight})
    assert made.shape == built
    if sums:  # a grey image in three equal channels gives what it gave
        torch.testing.assert_close(made.sum(1), weight.sum(1))


@pytest.mark.parametrize(
    ("name", "kept", "built"),
    [
        ("h.0.mlp.c_fc.weight", (768, 3072), (3072, 768)),
        ("embedding.kernel", (16, 16, 3, 768), (768, 3, 16, 16)),
        ("pos_embed", (1, 768, 196), (1, 196, 768)),
        ("head.weight", (10, 64, 1, 1), (10, 64)),
        ("pos_embed", (197, 768), (1, 197, 768)),
        ("patch_embed.proj.weight", (8, 3, 2, 4, 4), (8, 3, 4, 4)),
        ("patch_embed.proj.weight", (8, 3, 4, 4), (8, 3, 2, 4, 4)),
    ],
)
def test_weights_whose_axes_stand_otherwise_are_made_to_fit(
    name: str, kept: tuple[int, ...], built: tuple[int, ...]
) -> None:
    best = explain_error(line(name, kept, built))[0]
    code = best.fixes[0].partition(": ")[2].removesuffix(".")
    weight = torch.randn(kept)
    made = eval(code, {"torch": torch, "weight": weight})
    assert made.shape == built


def test_a_kernel_of_tensorflow_is_turned_axis_by_axis() -> None:
    best = explain_error(line("embedding.kernel", (16, 16, 3, 768), (768, 3, 16, 16)))[0]
    assert best.fixes[0] == "Turn it: weight.permute(3, 2, 0, 1)."  # rows before columns


def test_a_video_kernel_does_on_equal_frames_what_the_image_kernel_does() -> None:
    image, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 4, 4)
    best = explain_error(line("patch_embed.proj.weight", (4, 3, 4, 4), (4, 3, 2, 4, 4)))[0]
    inflated = eval(code_in(best, "Repeat"), {"weight": weight})
    video = image[:, :, None].expand(-1, -1, 2, -1, -1)
    torch.testing.assert_close(
        F.conv3d(video, inflated, stride=4)[:, :, 0], F.conv2d(image, weight, stride=4)
    )


@pytest.mark.parametrize(
    ("name", "kept", "built", "kind", "says"),
    [
        ("pos_embed", [1, 196, 768], [1, 14, 14, 768], "axes", "reshape(1, 14, 14, 768)"),
    ],
)
def test_a_weight_that_does_not_fit_is_told_by_its_name_and_shape(
    name: str, kept: list[int], built: list[int], kind: str, says: str
) -> None:
    best = explain_error(MISFIT.format(name, kept, built))[0]
    assert best.kind == kind
    assert says in words(best)
    assert "within a patch" not in words(best) or "pos" not in name
