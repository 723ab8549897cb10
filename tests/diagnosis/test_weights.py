"""Errors of load_state_dict: what torch raises for weights of known models, and the fixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitc_inspect.diagnosis import Explanation, explain_error

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


def code_in(explanation: Explanation, opening: str) -> str:
    """The code of the fix that begins so: what stands after its colon."""
    fix = next(fix for fix in explanation.fixes if fix.startswith(opening))
    return fix.partition(": ")[2].removesuffix(".")


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


PATCH, OFFSETS = "patch_embed.proj.weight", "b.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "says"),
    [
        # a table of four axes is no kernel
        ("pos_embed", "1,14,14,768 1,14,14,512", "width", "14×14 positions with its channels last"),
        ("pos_embed", "1,14,14,768 1,14,14,512", "width", "768 wide and the model's 512"),
        ("pos_embed", "1,768,14,14 1,384,14,14", "width", "with its channels first"),
        (
            "pos_embed", "1,14,14,768 1,16,20,768", "position table",
            "14×14 positions in the checkpoint and 16×20",
        ),
        ("pos_embed", "1,768,14,14 1,768,16,16", "position table", "224×224 and 256×256"),
        ("stem.pos_emb", "1,32,32,64 1,64,64,64", "position table", "32×32 positions"),
        # and a kernel is one
        (PATCH, "768,3,14,14 768,3,16,16", "patch", "patches of 14×14 pixels"),
        (PATCH, "768,3,16,8 768,3,16,16", "patch", "patches of 16×8 pixels"),
        ("stages.0.dwconv.weight", "96,1,7,7 96,1,5,5", "kernel", "a kernel of 7×7"),
        ("stem.conv.weight", "64,3,7,7 64,3,3,3", "kernel", "a kernel of 7×7"),
        ("conv_proj.weight", "768,3,16,16 24,3,3,3", "stem", "a patchify stem"),
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
        (OFFSETS, "169,3 225,3", "window", "7×7 tokens in the checkpoint and 8×8"),
        (OFFSETS, "169,3 169,4", "heads", "3 heads in the checkpoint and 4"),
        (OFFSETS, "732,12 729,12", "class token", "732 = 27² + 3"),
        (OFFSETS, "143,12 169,12", "window", "one of which is not a square"),
        (
            "b.attn.relative_position_index", "49,49 64,64", "window",
            "7×7 tokens in the checkpoint and 8×8",
        ),
        ("b.attn.attention_biases", "4,196 4,256", "relative positions", "14×14 positions"),
        # videos
        (PATCH, "768,3,2,16,16 768,3,14,14", "video", "cuts 2 frames of 16×16 pixels"),
        ("pos_embed", "1,1568,768 1,784,768", "frames", "1568 = 8·14·14 entries"),
        ("vivit.position_embeddings", "1,3137,768 1,197,768", "frames", "3137 = 16·14·14 + 1"),
        ("pos_embed", "1,785,768 1,197,768", "position table", "785 = 28×28 + 1"),
        ("pos_embed", "1,0,768 1,197,768", "weights", "pos_embed is 1×0×768"),
        # CLIP
        ("positional_embedding", "77,512 77,768", "width", "The text is 512 wide"),
        (
            "positional_embedding", "77,512 248,512", "text length",
            "77 entries in the checkpoint and 248",
        ),
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


# Fixes that can be tried


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


def test_a_window_table_is_interpolated_as_said() -> None:
    best = loading(swin(window=7), swin(window=8))[0]
    assert "from 13×13 to 15×15 entries a head" in best.fixes[1]
    table = torch.randn(13 * 13, 2)
    larger = F.interpolate(table.T.reshape(1, 2, 13, 13), (15, 15)).reshape(2, 225).T
    shapes = swin(window=8)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert larger.shape == shapes[name]


def test_entries_of_a_table_are_left_out_as_said() -> None:
    table = torch.arange(198.0).reshape(1, 198, 1)
    best = next(e for e in loading(vit(prefix=2), vit()) if e.kind == "class token")
    made = eval(code_in(best, "Or leave"), {"torch": torch, "table": table})
    assert made[0, :, 0].tolist() == [0.0, *range(2, 198)]  # the class token's and the image's


# Names


PREFIXES = [
    ("module.", ""),
    ("_orig_mod.", ""),
    ("_orig_mod.module.", ""),
    ("model.", ""),
    ("backbone.", "encoder."),
    ("student.backbone.", ""),
    ("", "base_model.model."),
    ("", "vision_model."),
    ("model.visual.trunk.", "net."),
]


@pytest.mark.parametrize(("theirs", "ours"), PREFIXES)
def test_a_prefix_is_found_and_its_fix_makes_the_names_the_models(theirs: str, ours: str) -> None:
    kept = {theirs + name: shape for name, shape in vit().items()}
    built = {ours + name: shape for name, shape in vit().items()}
    best = loading(kept, built)[0]
    assert (best.kind, best.likelihood) == ("names", "certain")
    weights = Holder(kept).state_dict()
    renamed: dict[str, Tensor] = eval(
        best.fixes[0].partition(": ")[2].removesuffix("."), {"weights": weights}
    )
    Holder(built).load_state_dict(renamed)


def test_of_two_models_in_one_file_one_is_taken() -> None:
    """DINO saves student and teacher, each with a head of its own."""
    kept: dict[str, tuple[int, ...]] = {}
    for owner in ("student", "teacher"):
        kept |= {f"{owner}.backbone.{name}": shape for name, shape in vit().items()}
        kept |= {f"{owner}.head.mlp.0.weight": (8, 8), f"{owner}.head.last.weight": (8, 8)}
    best = loading(kept, vit())[0]
    assert (best.kind, best.likelihood) == ("names", "likely")
    weights = Holder(kept).state_dict()
    renamed = eval(best.fixes[0].partition(": ")[2].removesuffix("."), {"weights": weights})
    Holder(vit()).load_state_dict(renamed)


@pytest.mark.parametrize(
    ("holder", "others", "likelihood"),
    [
        ("model", {"optimizer": {}, "epoch": 3}, "certain"),
        ("state_dict", {"epoch": 3, "arch": "vit"}, "certain"),
        ("model_state_dict", {}, "likely"),
        ("teacher", {"student": {}, "optimizer": {}}, "certain"),
    ],
)
def test_a_checkpoint_that_was_given_whole(
    holder: str, others: dict[str, Any], likelihood: str
) -> None:
    model = Holder(vit())
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict({holder: model.state_dict(), **others})
    best = explain_error(str(error.value))[0]
    assert (best.kind, best.likelihood) == ("nested", likelihood)
    assert f"checkpoint['{holder}']" in best.fixes[0]


def without(shapes: Shapes, *names: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in shapes.items() if not name.startswith(names)}


@pytest.mark.parametrize(
    ("kept", "built", "kind", "says"),
    [
        (without(vit(), "head"), vit(), "head", "The model has a classifier, head.weight"),
        (vit(), without(vit(), "cls_token"), "class token", "The checkpoint has a class token"),
        (vit() | {"mask_token": (1, 1, 8)}, vit(), "mask token", "The checkpoint has a mask token"),
        (vit(), vit() | {"reg_token": (1, 4, 8)}, "registers", "The model has register tokens"),
        (vit(), vit() | {"blocks.0.ls1.gamma": (8,)}, "layer scale", "The model has layer scale"),
        (
            vit() | {"norm.weight": (8,), "norm.bias": (8,)},
            vit() | {"fc_norm.weight": (8,), "fc_norm.bias": (8,)},
            "pooling",
            "a norm after the mean of the tokens (fc_norm)",
        ),
        (
            vit() | {"blocks.0.attn.relative_position_index": (4, 4)},
            vit(),
            "buffers",
            "computed, not learned",
        ),
    ],
)
def test_names_that_say_by_themselves_what_one_of_the_two_lacks(
    kept: Shapes, built: Shapes, kind: str, says: str
) -> None:
    (only,) = loading(kept, built)
    assert only.kind == kind
    assert says in only.sentence


def test_names_of_another_library_are_told_by_its_name() -> None:
    theirs = {
        "vit.embeddings.cls_token": (1, 1, 8),
        "vit.embeddings.position_embeddings": (1, 5, 8),
        "vit.embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
        "vit.encoder.layer.0.attention.attention.query.weight": (8, 8),
    }
    best = loading(theirs, vit())[0]
    assert best.kind == "names"
    assert "those of timm" in best.sentence
    assert "those of transformers" in best.sentence


def test_blocks_that_are_all_missing_are_no_other_depth() -> None:
    found = loading({"head.weight": (10, 192), "head.bias": (10,)}, vit())
    assert "depth" not in [each.kind for each in found]


def test_an_error_of_dozens_of_lines_is_read_whole() -> None:
    found = loading(vit(width=384, depth=24, classes=1000), vit(depth=12))
    assert [each.kind for each in found] == ["width", "depth", "classes"]
    assert found[1].numbers["depth"] == 24


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


def test_another_patch_and_another_image_at_once() -> None:
    """50 = (224 / 32)² + 1 and 577 = (384 / 16)² + 1: the kernels say the strides."""
    found = loading(vit(patch=32), vit(image=384))
    assert [each.kind for each in found] == ["patch", "position table"]
    assert "at stride 16 the model is made for 384×384 pixels" in found[1].sentence
    assert "the checkpoint, at stride 32, for 224×224" in found[1].sentence


def test_blocks_in_stages_are_counted_in_their_stage() -> None:
    """Twins: blocks.2.10 is the eleventh block of the third stage."""

    def shapes(*depths: int) -> dict[str, tuple[int, ...]]:
        names = [f"blocks.{stage}.{n}" for stage, depth in enumerate(depths) for n in range(depth)]
        return {f"{name}.{part}": (4,) for name in names for part in ("a.weight", "b.weight")}

    (only,) = loading(shapes(2, 2, 10), shapes(2, 2, 18))
    assert only.kind == "depth"
    assert "The model has 18 blocks in “blocks.2” and the checkpoint 10" in only.sentence
