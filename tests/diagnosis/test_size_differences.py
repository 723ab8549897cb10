"""Several shapes that do not fit, explained by the few sizes that differ."""

from __future__ import annotations

import pytest

from tests.diagnosis.checkpoints import Shapes, line, loading, swin, vit
from vitc_inspect.diagnosis import explain_error


def mae(*, encoder: int = 64, decoder: int = 32, patch: int = 16) -> dict[str, tuple[int, ...]]:
    """Shapes of a masked autoencoder's decoder, and of the encoder's ends."""
    return {
        "cls_token": (1, 1, encoder),
        "mask_token": (1, 1, decoder),
        "decoder_pos_embed": (1, 197, decoder),
        "decoder_embed.weight": (decoder, encoder),
        "decoder_embed.bias": (decoder,),
        "decoder_blocks.0.attn.qkv.weight": (3 * decoder, decoder),
        "decoder_blocks.0.mlp.fc1.weight": (4 * decoder, decoder),
        "decoder_norm.weight": (decoder,),
        "decoder_pred.weight": (patch**2 * 3, decoder),
    }


FACTS: list[tuple[str, Shapes, Shapes, list[tuple[str, str]]]] = [
    (
        "another width alone: 7 axes of a block, the tokens, the table, the head, one fact",
        vit(width=384),
        vit(width=192),
        [("width", "The tokens of the checkpoint are 384 wide and the model's 192: 26 weights")],
    ),
    (
        "another ratio alone: 4·192 = 768 against 2·192 = 384",
        vit(ratio=4),
        vit(ratio=2),
        [("mlp", "768 hidden channels in the checkpoint and 384 in the model: 9 weights")],
    ),
    (
        "another depth alone",
        vit(depth=5),
        vit(depth=3),
        [("depth", "The checkpoint has 5 blocks in “blocks” and the model 3")],
    ),
    (
        "width, depth and classes at once",
        vit(width=384, depth=5, classes=1000),
        vit(),
        [
            ("width", "384 wide and the model's 192"),
            ("depth", "5 blocks in “blocks” and the model 3"),
            ("classes", "1000 classes in the checkpoint and 10 in the model"),
        ],
    ),
    (
        "a patch of 32: (224 / 32)² + 1 = 50 entries, (224 / 16)² + 1 = 197",
        vit(patch=32),
        vit(patch=16),
        [
            ("patch", "cuts patches of 32×32 pixels in the checkpoint and 16×16 in the model"),
            ("position table", "at 224×224 pixels the model has stride 16 and the checkpoint 32"),
        ],
    ),
    (
        "an image of 384: (384 / 16)² + 1 = 577",
        vit(image=384),
        vit(),
        [("position table", "made for 224×224 pixels and the checkpoint for 384×384")],
    ),
    (
        "DINOv2: 1370 = 37×37 + 1, 518 = 37·14",
        vit(image=518, patch=14),
        vit(image=224, patch=14),
        [
            (
                "position table",
                "at stride 14 the model is made for 224×224 pixels and the checkpoint",
            )
        ],
    ),
    (
        "distillation: 198 = 14×14 + 2",
        vit(prefix=2) | {"dist_token": (1, 1, 192), "head_dist.weight": (10, 192)},
        vit(),
        [("distillation", "has a distillation token"), ("class token", "198 = 14×14 + 2")],
    ),
    (
        "Swin's widths: 32, 64 against 48, 96, and no window",
        swin(width=32),
        swin(width=48),
        [("width", "stages of the checkpoint are 32 and 64 wide and the model's 48 and 96")],
    ),
    (
        "Swin's windows: (2·7 − 1)² = 169 and (2·12 − 1)² = 529, and the masks follow",
        swin(window=7),
        swin(window=12, image=384),
        [("window", "7×7 tokens in the checkpoint and 12×12 in the model")],
    ),
    (
        "Swin's image alone: 64 = 8×8 windows of 7 are a map of 56, and 256 = 16×16 of 112",
        {k: v for k, v in swin().items() if "layers.0" in k},
        {k: v for k, v in swin(image=448).items() if "layers.0" in k},
        [("image size", "64 windows in the checkpoint and 256 in the model, 8×8 and 16×16")],
    ),
    (
        "heads of a Swin",
        swin(heads=(2, 4)),
        swin(heads=(4, 8)),
        [("heads", "2 and 4 heads in the checkpoint and 4 and 8 in the model")],
    ),
    (
        "the decoder's width, with its mask token",
        mae(decoder=32),
        mae(decoder=16),
        [("width", "The decoder is 32 wide in the checkpoint and 16 in the model: 8 weights")],
    ),
    (
        "both widths of a masked autoencoder",
        mae(encoder=64),
        mae(encoder=128, decoder=16),
        [
            ("width", "The decoder is 32 wide"),
            ("width", "checkpoint are 64 wide and the model's 128"),
        ],
    ),
    (
        "the patch of a decoder: 16²·3 = 768 and 14²·3 = 588",
        mae(patch=16),
        mae(patch=14),
        [("patch", "768 = 16·16·3 numbers in the checkpoint and 588 = 14·14·3 in the model")],
    ),
    (
        "BEiT's window is the grid: (2·14 − 1)² + 3 = 732, (2·24 − 1)² + 3 = 2212",
        {"b.relative_position_bias_table": (732, 12), "b.relative_position_index": (197, 197)},
        {"b.relative_position_bias_table": (2212, 12), "b.relative_position_index": (577, 577)},
        [("window", "14×14 tokens in the checkpoint and 24×24 in the model")],
    ),
    (
        "Swin-V2: 2·8 − 1 = 15 coordinates and 8² = 64 places",
        {"a.relative_coords_table": (1, 15, 15, 2), "a.relative_position_index": (64, 64)},
        {"a.relative_coords_table": (1, 31, 31, 2), "a.relative_position_index": (256, 256)},
        [("window", "8×8 tokens in the checkpoint and 16×16 in the model")],
    ),
    (
        "SAM at 1024 and 512 pixels: 2·64 − 1 = 127 offsets, 2·32 − 1 = 63",
        {
            "b.attn.rel_pos_h": (127, 64),
            "b.attn.rel_pos_w": (127, 64),
            "pos_embed": (1, 64, 64, 96),
        },
        {"b.attn.rel_pos_h": (63, 64), "b.attn.rel_pos_w": (63, 64), "pos_embed": (1, 32, 32, 96)},
        [
            ("relative positions", "127 = 2·64 − 1 offsets in the checkpoint and 63 = 2·32 − 1"),
            ("position table", "64×64 positions in the checkpoint and 32×32 in the model"),
        ],
    ),
    (
        "ConvNeXt: widths 96·2ⁿ against 128·2ⁿ",
        {
            "downsample_layers.0.0.weight": (96, 3, 4, 4),
            "downsample_layers.1.1.weight": (192, 96, 2, 2),
            "stages.0.0.dwconv.weight": (96, 1, 7, 7),
            "stages.0.0.pwconv1.weight": (384, 96),
            "stages.1.0.gamma": (192,),
        },
        {
            "downsample_layers.0.0.weight": (128, 3, 4, 4),
            "downsample_layers.1.1.weight": (256, 128, 2, 2),
            "stages.0.0.dwconv.weight": (128, 1, 7, 7),
            "stages.0.0.pwconv1.weight": (512, 128),
            "stages.1.0.gamma": (256,),
        },
        [("width", "are 96 wide and the model's 128: 5 weights")],
    ),
    (
        "CLIP: (224 / 32)² + 1 = 50 and (224 / 16)² + 1 = 197 rows of two axes",
        {"visual.positional_embedding": (50, 768), "visual.conv1.weight": (768, 3, 32, 32)},
        {"visual.positional_embedding": (197, 768), "visual.conv1.weight": (768, 3, 16, 16)},
        [
            ("patch", "patches of 32×32 pixels in the checkpoint and 16×16"),
            ("position table", "at 224×224 pixels the model has stride 16 and the checkpoint 32"),
        ],
    ),
    (
        "frames of a video",
        {"time_embed": (1, 8, 768)},
        {"time_embed": (1, 16, 768)},
        [("frames", "entries for 8 frames in the checkpoint and 16 in the model")],
    ),
    (
        "tubelets",
        {"patch_embed.proj.weight": (768, 3, 2, 16, 16)},
        {"patch_embed.proj.weight": (768, 3, 4, 16, 16)},
        [("tubelet", "cuts 2 frames at a time in the checkpoint and 4 in the model")],
    ),
    (
        "registers",
        {"reg_token": (1, 4, 64)},
        {"reg_token": (1, 8, 64)},
        [("registers", "holds 4 tokens in the checkpoint and 8 in the model")],
    ),
]


@pytest.mark.parametrize(
    ("kept", "built", "facts"), [case[1:] for case in FACTS], ids=[case[0] for case in FACTS]
)
def test_all_that_does_not_fit_is_explained_by_the_facts_that_differ(
    kept: Shapes, built: Shapes, facts: list[tuple[str, str]]
) -> None:
    said = [each for each in loading(kept, built) if each.likelihood != "possible"]
    assert [each.kind for each in said] == [kind for kind, _ in facts]
    for explanation, (_, words) in zip(said, facts, strict=True):
        assert words in explanation.sentence
    assert "weights" not in [each.kind for each in loading(kept, built)]  # nothing is left over


def test_a_fact_that_two_names_tell_is_certain_and_one_that_one_name_tells_is_likely() -> None:
    assert loading(vit(width=384), vit())[0].likelihood == "certain"
    alone = explain_error(line("pos_embed", (1, 197, 384), (1, 197, 192)))
    assert (alone[0].kind, alone[0].likelihood) == ("width", "likely")


def test_an_error_of_dozens_of_lines_is_read_whole() -> None:
    found = loading(vit(width=384, depth=24, classes=1000), vit(depth=12))
    assert [each.kind for each in found] == ["width", "depth", "classes"]
    assert found[1].numbers["depth"] == 24


def test_another_patch_and_another_image_at_once() -> None:
    """50 = (224 / 32)² + 1 and 577 = (384 / 16)² + 1: the kernels say the strides."""
    found = loading(vit(patch=32), vit(image=384))
    assert [each.kind for each in found] == ["patch", "position table"]
    assert "at stride 16 the model is made for 384×384 pixels" in found[1].sentence
    assert "the checkpoint, at stride 32, for 224×224" in found[1].sentence
