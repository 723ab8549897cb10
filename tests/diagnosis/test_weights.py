"""Errors of load_state_dict, line by line, in every wording of PyTorch and its users."""

from __future__ import annotations

import pytest
import torch

from tests.diagnosis.checkpoints import MISFIT, line, loading, loading_state, vit
from tests.diagnosis.errors import SUM, Embedding, code_in, words
from vitc_inspect.diagnosis import explain_error


def test_a_checkpoint_with_another_position_table() -> None:
    best = loading_state(Embedding(256), Embedding(224))[0]
    assert "pos_embed has 197 entries in the checkpoint and 257 in the model" in best.sentence
    assert "the model is made for 256×256 pixels and the checkpoint for 224×224" in best.sentence
    assert best.fixes[0].startswith("Interpolate the checkpoint's table from 14×14 to 16×16")


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "says"),
    [
        (
            "pos_embed", "1,14,14,768 1,16,20,768", "position table",
            "14×14 positions in the checkpoint and 16×20",
        ),
        ("pos_embed", "1,768,14,14 1,768,16,16", "position table", "224×224 and 256×256"),
        ("stem.pos_emb", "1,32,32,64 1,64,64,64", "position table", "32×32 positions"),
        ("pos_embed", "1,1568,768 1,784,768", "frames", "1568 = 8·14·14 entries"),
        ("vivit.position_embeddings", "1,3137,768 1,197,768", "frames", "3137 = 16·14·14 + 1"),
        ("pos_embed", "1,785,768 1,197,768", "position table", "785 = 28×28 + 1"),
        ("pos_embed", "1,0,768 1,197,768", "weights", "pos_embed is 1×0×768"),
        (
            "positional_embedding", "77,512 248,512", "text length",
            "77 entries in the checkpoint and 248",
        ),
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
    "text",
    [
        "- vit.embeddings.position_embeddings: found shape torch.Size([1, 197, 768]) in the"
        " checkpoint and torch.Size([1, 577, 768]) in the model instantiated",
        "embeddings.position_embeddings | MISMATCH | Reinit due to size mismatch - ckpt:"
        " torch.Size([1, 197, 768]) vs model:torch.Size([1, 577, 768])",
        "size mismatch for pos_embed: copying a param of torch.Size([1, 197, 768]) from checkpoint,"
        " where the shape is torch.Size([1, 577, 768]) in current model.",
        'While copying the parameter named "pos_embed", whose dimensions in the model are'
        " torch.Size([1, 577, 768]) and whose dimensions in the checkpoint are torch.Size([1, 197,"
        " 768]).",
        'Missing key(s) in state_dict: "norm.weight". size mismatch for pos_embed: copying a param'
        " with shape torch.Size([1, 197, 768]) from checkpoint, the shape in current model is"
        " torch.Size([1, 577, 768]).",
    ],
)
def test_every_wording_of_the_line_is_read(text: str) -> None:
    best = explain_error(text)[0]
    assert best.kind == "position table"
    assert "197 = 14×14 + 1 and 577 = 24×24 + 1" in best.sentence


def test_a_stride_is_no_reading_where_every_kernel_fits() -> None:
    """197 and 50 are grids of one image at strides 16 and 32, and the kernel was loaded."""
    strides = [e for e in loading({"pos_embed": (1, 50, 8)}, {"pos_embed": (1, 197, 8)})]
    assert not [
        e for e in strides if e.numbers.get("total_stride") != e.numbers.get("table_stride")
    ]
    pasted = explain_error(line("pos_embed", (1, 50, 8), (1, 197, 8)))  # here it may be left out
    assert [e for e in pasted if e.numbers["total_stride"] != e.numbers["table_stride"]]


def test_what_is_not_known_is_said_with_its_numbers_and_nothing_else() -> None:
    (only,) = loading({"a.b": (3, 5), "a.c": (7, 2)}, {"a.b": (4, 5), "a.c": (9, 2)})
    assert (only.kind, only.likelihood) == ("weights", "possible")
    assert "a.b is 3×5 in the checkpoint and 4×5 in the model, and 1 other is like it" in (
        only.sentence
    )


def test_entries_of_a_table_are_left_out_as_said() -> None:
    table = torch.arange(198.0).reshape(1, 198, 1)
    best = next(e for e in loading(vit(prefix=2), vit()) if e.kind == "class token")
    made = eval(code_in(best, "Or leave"), {"torch": torch, "table": table})
    assert made[0, :, 0].tolist() == [0.0, *range(2, 198)]  # the class token's and the image's


def test_the_state_of_an_optimizer_is_no_position_table() -> None:
    line = "exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)"
    text = f'  File "adamw.py", line 104, in step\n    {line}\nRuntimeError: {SUM}'
    (only,) = explain_error(text.format(197, 577, 1))
    assert only.kind == "optimizer"
    assert "leave the optimizer's state_dict out" in only.fixes[0]


@pytest.mark.parametrize(
    ("name", "kept", "built", "kind", "says"),
    [
        # DeepSpeed's ZeRO-3 leaves [0] in the model
        ("fc.weight", [1024, 1024], [0], "empty", "GatheredParameters"),
        ("fc.weight", [0], [1024, 1024], "empty", "zero_to_fp32.py"),
        # UNETR: 6³ = 216 and 8³ = 512 patches of 16 voxels: 96 and 128
        ("position_embeddings", [1, 216, 768], [1, 512, 768], "volume", "96×96×96 and 128×128×128"),
        # half an image, 99 = 7·14 + 1, and no video of 7×7
        ("pos_embed", [1, 197, 768], [1, 99, 768], "position table", "99 = 7×14 + 1"),
        ("pos_embed", [1, 1568, 768], [1, 784, 768], "frames", "1568 = 8·14·14"),
        # Swin's table of its whole map: 56·4 = 224, 128·4 = 512
        ("absolute_pos_embed", [1, 96, 56, 56], [1, 96, 128, 128], "position table", "224×224 and"),
        ("pos_embed", [1, 64, 27, 27], [1, 64, 31, 31], "position table", "whose map is 27×27"),
        # CLIP-L/14: 16·14 = 224, 24·14 = 336
        ("positional_embedding", [257, 64], [577, 64], "position table", "336×336 pixels"),
    ],
)
def test_a_weight_that_does_not_fit_is_told_by_its_name_and_shape(
    name: str, kept: list[int], built: list[int], kind: str, says: str
) -> None:
    best = explain_error(MISFIT.format(name, kept, built))[0]
    assert best.kind == kind
    assert says in words(best)
    assert "within a patch" not in words(best) or "pos" not in name
