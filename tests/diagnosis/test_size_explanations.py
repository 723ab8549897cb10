"""Weights that do not fit: widths, windows, heads, classes."""

from __future__ import annotations

import pytest
from torch import nn

from tests.diagnosis.checkpoints import MISFIT, line, loading, loading_state, pasted_misfits
from tests.diagnosis.errors import OFFSETS, Embedding, words
from vitc_inspect.diagnosis import explain_error


def test_a_checkpoint_of_other_classes() -> None:
    model = Embedding()
    model.head = nn.Linear(12, 1000)
    (best,) = loading_state(model, Embedding())
    assert "head.weight has 10 classes in the checkpoint and 1000" in best.sentence


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "says"),
    [
        # a table of four axes is no kernel
        ("pos_embed", "1,14,14,768 1,14,14,512", "width", "14×14 positions with its channels last"),
        ("pos_embed", "1,14,14,768 1,14,14,512", "width", "768 wide and the model's 512"),
        ("pos_embed", "1,768,14,14 1,384,14,14", "width", "with its channels first"),
        (
            "decoder_embed.weight", "256,1024 512,1024", "width",
            "The decoder is 256 wide in the checkpoint and 512 in the model",
        ),
        ("decoder_embed.weight", "256,1024 512,1024", "width", "The encoder is 1024 wide in both."),
        (
            "decoder_embed.weight", "512,768 512,1024", "width",
            "The tokens of the checkpoint are 768 wide and the model's 1024",
        ),
        (
            "mask_token", "1,1,512 1,1,256", "width",
            "the decoder in a masked autoencoder, of the encoder in BEiT",
        ),
        (OFFSETS, "169,3 169,4", "heads", "3 heads in the checkpoint and 4"),
        # CLIP
        ("positional_embedding", "77,512 77,768", "width", "The text is 512 wide"),
        ("visual.proj", "768,512 768,768", "width", "visual.proj gives 512 numbers"),
        ("head.weight", "21843,768 1000,768", "classes", "21843 classes"),
        ("decode_head.classifier.weight", "150,256,1,1 19,256,1,1", "classes", "150 classes"),
        ("decode_head.conv_seg.bias", "150 19", "classes", "150 classes"),
        ("blocks.0.attn.qkv.bias", "2304 1152", "width", "768 wide and the model's 384"),
    ],
)  # fmt: skip
def test_the_name_and_the_shape_of_one_line_decide(
    name: str, shapes: str, kind: str, says: str
) -> None:
    kept, built = (tuple(map(int, shape.split(","))) for shape in shapes.split())
    best = explain_error(line(name, kept, built))[0]
    assert best.kind == kind
    assert says in best.sentence


def test_a_norm_within_an_mlp_is_no_width_of_the_tokens() -> None:
    """EVA-02: 2048 and 2730 are 8/3 of 768 and 1024, but for the rounding."""

    def shapes(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
        return {
            "blocks.0.attn.proj.weight": (width, width),
            "blocks.0.mlp.fc1_g.weight": (hidden, width),
            "blocks.0.mlp.norm.weight": (hidden,),
            "blocks.0.mlp.fc2.weight": (width, hidden),
        }

    found = loading(shapes(768, 2048), shapes(1024, 2730))
    assert [each.kind for each in found] == ["width", "mlp"]
    assert "768 wide and the model's 1024" in found[0].sentence


def test_a_gated_mlp_is_one_fact() -> None:
    """DINOv2's giant makes 2·4096 = 8192 channels, of which the gate leaves 4096."""

    def shapes(first: int, second: int) -> dict[str, tuple[int, ...]]:
        return {"b.0.mlp.fc1.weight": (first, 768), "b.0.mlp.fc2.weight": (768, second)}

    (only,) = loading(shapes(3072, 3072), shapes(8192, 4096))
    assert only.kind == "mlp"
    assert "of the model is gated" in only.sentence
    (plain,) = loading(shapes(3072, 3072), shapes(2048, 2048))
    assert "gated" not in plain.sentence


def test_a_width_of_later_blocks_alone_is_a_matter_of_stages() -> None:
    """Hiera numbers all blocks through: in the larger model block 10 is of the stage before."""
    missing = 'Missing key(s) in state_dict: "blocks.12.norm1.weight". '
    names = ("blocks.10.norm1.weight", "blocks.10.attn.qkv.weight", "blocks.11.norm1.weight")
    shapes = (([768], [384]), ([2304, 768], [1152, 384]), ([768], [384]))
    best = pasted_misfits(*((n, *s) for n, s in zip(names, shapes, strict=True)), lacks=missing)[0]
    assert (best.kind, best.likelihood) == ("depth", "likely")
    assert "From blocks.10 on blocks are 768 wide in the checkpoint and 384" in best.sentence
    # with the first block or with what stands before the blocks it is the width of all
    for first in (("blocks.0.norm1.weight", [768], [384]), ("cls_token", [1, 1, 768], [1, 1, 384])):
        whole = pasted_misfits(first, *((n, *s) for n, s in zip(names, shapes, strict=True)))[0]
        assert (whole.kind, whole.likelihood) == ("width", "certain")


@pytest.mark.parametrize(
    ("name", "kept", "built", "kind", "says"),
    [
        # DETR has a class for no object: 92 = 91 + 1
        ("class_embed.weight", [92, 256], [5, 256], "classes", "num_classes=91"),
        ("class_embed.0.weight", [91, 256], [4, 256], "classes", "num_classes=91"),
        ("head.weight", [92, 256], [5, 256], "classes", "num_classes=92"),
        # ConViT's pos_proj is a layer for 4 heads, no table of 4 places
        ("blocks.0.attn.pos_proj.weight", [4, 3], [9, 3], "heads", "4 heads"),
    ],
)
def test_a_weight_that_does_not_fit_is_told_by_its_name_and_shape(
    name: str, kept: list[int], built: list[int], kind: str, says: str
) -> None:
    best = explain_error(MISFIT.format(name, kept, built))[0]
    assert best.kind == kind
    assert says in words(best)
    assert "within a patch" not in words(best) or "pos" not in name
