"""Messages as people report them of public models, each with what is right and its neighbours."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from vitc_inspect.diagnosis import Explanation, explain_error
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.presets import PRESETS

SUM = "The size of tensor a ({}) must match the size of tensor b ({}) at non-singleton dimension {}"
MISFIT = (
    "size mismatch for {}: copying a param with shape torch.Size({}) from checkpoint, the shape in"
    " current model is torch.Size({})."
)
CHANNELS = (
    "Make sure that the channel dimension of the pixel values match with the one set in the"
    " configuration."
)


def words(explanation: Explanation) -> str:
    return " ".join((explanation.sentence, *explanation.fixes))


# ---- two operands ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "axis", "kind", "says"),
    [
        # LeViT, CoAtNet: biases for 14·14 = 196 places, a map of 16·16 = 256
        (256, 196, 3, "attention", "For whole maps, give an image whose map is 14×14"),
        (64, 49, 3, "attention", "For windows, build the model with window_size=7"),
        # BEiT: 385 = 16·24 + 1 and 1025 = 32·32 + 1
        (385, 1025, 3, "attention", "385 = 16×24 + 1 against 1025 = 32×32 + 1"),
        (2305, 1601, 3, "attention", "2305 = 48×48 + 1"),
        # PiT: a table (1, channels, 27, 27); two paths differ by a factor or by one
        (31, 27, 3, "position table", "a map 31 wide and a table of positions 27 wide"),
        (56, 28, 3, "map size", "2 times as large"),
        (28, 27, 3, "map size", "28 and 27"),
        (150, 152, 3, "map size", "150 and 152"),
        # SAM, VOLO: channels last; 32·16 = 512, 64·16 = 1024
        (32, 64, 2, "position table", "512 pixels wide for a model of 1024"),
        (16, 14, 2, "position table", "256 pixels wide for a model of 224"),
        (768, 1024, 2, "width", "768 wide"),
        # PVT: (batch, width, tokens) of 8·32 = 256 and 7·32 = 224 pixels
        (64, 49, 2, "position table", "64 = 8×8 tokens"),
        # CLIP: 24·14 = 336, 16·14 = 224; and what stays at stride 16: 24·16 = 384, 14·16 = 224
        (577, 257, 1, "position table", "at stride 14 the image is 336×336"),
        (1025, 257, 1, "position table", "at stride 14 the image is 448×448"),
        (577, 197, 1, "position table", "at stride 16 the image is 384×384"),
        # Hiera: 64·4 = 256, 56·4 = 224
        (4096, 3136, 1, "position table", "at stride 4 the image is 256×256"),
        # UNETR: 6³ = 216, 8³ = 512; 512 is a text's where the other is no cube
        (512, 216, 1, "volume", "512 = 8×8×8 and 216 = 6×6×6"),
        (678, 512, 1, "text length", "a text of 678 tokens where 512 are expected"),
        # grids of any shape are no reading where nothing speaks for one
        (299, 273, 1, "not known", "299 and 273"),
        (4015, 8030, 1, "not known", "4015 and 8030"),
        (101, 20, 1, "not known", "101 and 20"),
        (257, 193, 1, "position table", "193 = 12×16 + 1"),
        # a map beside the same that was flattened: 14·14 = 196
        (14, 196, 3, "flatten", "a map of 14×14 positions"),
        # (tokens, width) of CLIP's table, against batches
        (197, 257, 0, "position table", "197 = 14×14 + 1"),
        (91, 7, 0, "batch", "91"),
    ],
)
def test_what_two_operands_are_follows_from_their_axis_and_lengths(
    first: int, second: int, axis: int, kind: str, says: str
) -> None:
    best, *others = explain_error(SUM.format(first, second, axis))
    assert best.kind == kind
    assert says in words(best)
    assert "certain" not in [each.likelihood for each in (best, *others)]


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (
            "embeddings = embeddings * (1.0 - mask) + mask_tokens * mask",
            "mask",
            "256 = 16×16 tokens are given, and the mask is for 196 = 14×14",
        ),
        ("x = mask * x", "mask", "196 = 14×14 tokens are given, and the mask is for 256"),
        ("x = x + self.pos_embed", "position table", "a position table of 196"),
        ("x = x + self.pos_embed[mask]", "position table", "a position table of 196"),
    ],
)
@pytest.mark.parametrize("frame", ['  File "model.py", line 9, in forward\n', ""])
def test_a_mask_of_patches_is_no_position_table(
    line: str, kind: str, says: str, frame: str
) -> None:
    """Also where the line alone was pasted above the error."""
    text = f"{frame}    {line}\nRuntimeError: {SUM.format(256, 196, 1)}"
    best = explain_error(text)[0]
    assert best.kind == kind
    assert says in best.sentence


def test_patches_without_a_class_token_may_be_masked() -> None:
    """Where no line of code is known, the mask is the second reading."""
    kinds = [each.kind for each in explain_error(SUM.format(196, 100, 1))]
    assert kinds[:2] == ["position table", "mask"]
    for first, second in ((197, 101), (197, 196)):  # a mask has no class token
        assert "mask" not in [each.kind for each in explain_error(SUM.format(first, second, 1))]


def test_tokens_are_counted_at_a_patch_that_is_known_or_said_to_be_supposed() -> None:
    text = "Input image size (256*256) doesn't match model (224*224)."
    assert "If a patch is 16 pixels, it would give 16×16" in explain_error(text)[0].sentence
    of_stem = explain_error(text, spec=parse_stem("32x32/32:768"))[0].sentence
    assert "At patch size 32 it would give 8×8 = 64 tokens" in of_stem


def test_the_state_of_an_optimizer_is_no_position_table() -> None:
    line = "exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)"
    text = f'  File "adamw.py", line 104, in step\n    {line}\nRuntimeError: {SUM}'
    (only,) = explain_error(text.format(197, 577, 1))
    assert only.kind == "optimizer"
    assert "leave the optimizer's state_dict out" in only.fixes[0]


@pytest.mark.parametrize("name", ["swin_t", "pvt_v2_b2", "levit_256", "xcit_s12_16"])
def test_a_stem_without_a_position_table_has_no_part_in_a_message_about_one(name: str) -> None:
    text = SUM.format(257, 197, 1)
    for each, alone in zip(
        explain_error(text, spec=PRESETS[name].stem), explain_error(text), strict=True
    ):
        assert "The given stem has no position table" in each.sentence
        assert each.sentence.startswith(alone.sentence)
        assert each.likelihood == "possible"
    own = explain_error(text, spec=PRESETS["vit_c_4gf"].stem)[0]
    assert "no position table" not in own.sentence
    assert own.likelihood == "likely"


def test_the_map_of_a_table_comes_from_the_stem_that_was_given() -> None:
    """PiT-S: (224 − 16) // 8 + 1 = 27 and (256 − 16) // 8 + 1 = 31."""
    best = explain_error(SUM.format(31, 27, 3), spec=PRESETS["pit_s"].stem)[0]
    assert "images 256 and 224 pixels wide" in best.sentence
    assert best.fixes[0] == "Resize the image to 224 pixels."


def test_no_reading_leaves_the_stride_of_the_stem_that_was_given() -> None:
    """12·16 = 192 and 12·15 = 180 places at stride 8, without the class token."""
    spec = parse_stem("8x8/8:64", image_size=(96, 128))
    found = explain_error(SUM.format(192, 180, 1), spec=spec)
    assert found
    assert {each.numbers["total_stride"] for each in found} == {8}
    assert (found[0].numbers["image_height"], found[0].numbers["image_width"]) == (96, 128)


@pytest.mark.parametrize("first", [0, 1, 4, 10**9 - 1])
@pytest.mark.parametrize("second", [0, 1, 3, 10**9 - 2])
@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("name", [None, "swin_t", "pit_s"])
def test_no_numbers_of_two_operands_raise(
    first: int, second: int, axis: int, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITC_STRICT_RULES", "1")
    spec = PRESETS[name].stem if name else None
    for each in explain_error(SUM.format(first, second, axis), spec=spec):
        assert "0×0" not in words(each)
        assert not re.search(r"=0\b", words(each))


# ---- reshapes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "size", "kind", "says"),
    [
        # Swin's mask is a map of one channel, which stands last: 128·128 = 16384 = 18·7 + 2
        ("[1, 18, 7, 18, 7, 1]", 16384, "windows", "128 = 18·7 + 2"),
        ("[1, 1, 18, 7, 18, 7]", 16384, "image size", "128 = 18·7 + 2"),  # of a grey image
        ("[1, 9, 7, 9, 7, 64]", 64 * 64 * 64, "windows", "64 = 9·7 + 1"),
        # ShadowFormer: 640×480 at stride 8 is 60×80 = 7·8 + 4
        ("[1, 7, 8, 10, 8, 256]", 1228800, "windows", "60 = 7·8 + 4"),
        # CSWin: stripes of 14×12 on a map of 14×14
        ("[1, 192, 1, 14, 1, 12]", 192 * 14 * 14, "window", "14 = 1·12 + 2"),
        # TransMorph: 52·48·54 = 134784 places, and 50·48·49 in windows
        ("[1, 10, 5, 8, 6, 7, 7, 6]", 808704, "windows", "134,784 positions"),
        # 12 heads of 64 and tokens of 1024 are no map of 12×64
        ("[1, 197, 12, 64]", 197 * 1024, "heads", "A token has 1024 numbers"),
        ("[1, 768, 14, 14]", 768 * 197, "class token", "197 = 14×14 + 1"),
        # GCViT at 112 pixels: 4·4 = 16 tokens of a window of 7·7 = 49
        (
            "[32, 1, 49, 3, 32]",
            32 * 16 * 3 * 32,
            "grid",
            "16 = 4×4 positions, and the target has 49 = 7×7",
        ),
        # RVSA without its windows: 1280 tokens
        (
            "[2, 12, 7, 7, 64]",
            2 * 12 * 1280 * 64,
            "grid",
            "1280 positions, and the target has 7×7 = 49",
        ),
        ("[2, 37, 3, 12, 66]", 2 * 37 * 3 * 796, "heads", "796 = 12·66 + 4"),
        ("[7, 11]", 78, "reshape", "7×11 needs 7·11 = 77"),
    ],
)
def test_what_is_cut_follows_from_the_shape(target: str, size: int, kind: str, says: str) -> None:
    best = explain_error(f"shape '{target}' is invalid for input of size {size}")[0]
    assert best.kind == kind
    assert says in best.sentence


def test_windows_that_divide_a_map_are_no_cause() -> None:
    """14·7 = 98 divides; a batch of 2 for 1 does not fit."""
    found = explain_error("shape '[1, 96, 14, 7, 14, 7]' is invalid for input of size 1843968")
    assert all("do not divide" not in each.sentence for each in found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # torch before 1.10; where it names one dimension, that of the sizes stands first
        ("in dimension 1. Got 14 and 15 in dimension 2 (The offending index is 1)", "map size"),
        ("in dimension 4. Got 18 and 17", "map size"),
        ("in dimension 1. Expected size 14 but got size 15 for tensor number 1", "map size"),
        ("in dimension 1. Expected size 28 but got size 56 for tensor number 1", "map size"),
        ("in dimension 1. Expected size 16 but got size 8 for tensor number 1", "batch"),
        ("in dimension 1. Got 1 and 8 in dimension 0 (The offending index is 1)", "batch"),
    ],
)
def test_old_words_of_joining_are_read_as_the_new_ones(text: str, kind: str) -> None:
    assert explain_error(f"Sizes of tensors must match except {text}")[0].kind == kind


# ---- what models assert ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "likelihood", "says"),
    [
        # Visformer embeds maps by PatchEmbed: 2·112 = 224, 2·128 = 256
        ("Input height (128) doesn't match model (112).", "image size", "likely", "128 pixels"),
        ("Input height (256) doesn't match model (224).", "image size", "certain", "256 pixels"),
        ("Input height (3) doesn't match model (224).", "channels", "likely", "the third axis"),
        ("Input width (3) doesn't match model (224).", "channels last", "likely", "0, 3, 1, 2"),
        ("x height (7) is not even.", "merging", "certain", "a height of 7 = 2·3 + 1"),
        (
            "Dinov2 requires input shape to be divisible by 14, but got"
            " torch.Size([4, 3, 832, 832])",
            "image size",
            "certain",
            "826×826 or 840×840",
        ),
        ("Input size must be divisible by 32", "image size", "certain", "224 = 7·32"),
        (
            "Sequence length must be less than max_position_embeddings (got `sequence length`:"
            " 100 and max_position_embeddings: 77",
            "text length",
            "certain",
            "The text is 100 tokens, and the model has positions for 77",
        ),
        ("Input a dog is too long for context length 77", "text length", "certain", "for 77"),
        (
            "Token indices sequence length is longer than the specified maximum sequence length"
            " for this model (263 > 77).",
            "text length",
            "certain",
            "263 tokens",
        ),
        (CHANNELS, "channels", "likely", "image.unsqueeze(0)"),  # LevitModel, of one image
        (f"{CHANNELS} Expected 3 but got 224.", "channels last", "likely", "permute(0, 3, 1, 2)"),
        (f"{CHANNELS} Expected 3 but got 16.", "channels", "likely", "16 frames of a video"),
        (f"{CHANNELS} Expected 3 but got 1.", "channels", "certain", "the image is grey"),
        (
            "When `bool_masked_pos` is provided, `patch_size` must be equal to `encoder_stride`"
            " to ensure that the reconstructed image has the same dimensions as the input. Got"
            " `patch_size` = 16 and `encoder_stride` = 8.",
            "stride",
            "certain",
            "encoder_stride=16",
        ),
        (
            "stack expects each tensor to be equal size, but got [3, 224, 224] at entry 0 and"
            " [1, 224, 224] at entry 3",
            "channels",
            "certain",
            'convert("RGB")',
        ),
        (
            "stack expects each tensor to be equal size, but got [3, 224, 224] at entry 0 and"
            " [3, 224, 299] at entry 3",
            "image size",
            "certain",
            "different sizes",
        ),
        (
            "The shape of the mask [8, 348] at index 1 does not match the shape of the indexed"
            " tensor [8, 668, 336] at index 1",
            "mask",
            "likely",
            "put False where the 320 others are",  # 668 − 348
        ),
        (
            "Given groups=1, weight of size [32, 3, 4, 4], expected input[1, 224, 224, 4] to have"
            " 3 channels, but got 224 channels instead",
            "channels last",
            "likely",
            "permute(0, 3, 1, 2)[:, :3]",
        ),
        (
            "stack expects each tensor to be equal size, but got [1, 9, 9] at entry 0 and"
            " [1, 200, 9, 9] at entry 2",
            "axes",
            "certain",
            "3 and 4 axes",
        ),
        (
            "Image features and image tokens do not match: tokens: 1991, features 2990",
            "image tokens",
            "likely",
            "999 more: the text was truncated",  # 2990 − 1991
        ),
        (
            "Image features and image tokens do not match, tokens: 720, features: 360",
            "image tokens",
            "likely",
            "360 fewer",
        ),
        (
            "Expected input batch_size (788) to match target batch_size (4).",
            "pool",
            "likely",
            "788 = 4·197",
        ),
        ("shift_size must in 0-window_size", "window", "likely", "img_size / patch_size"),
        ("'tuple' object has no attribute 'shape'", "type", "likely", "output[0]"),
        (
            "'BaseModelOutputWithPooling' object has no attribute 'shape'",
            "type",
            "likely",
            "output.last_hidden_state",
        ),
    ],
)
def test_what_models_say_is_known_and_no_surer_than_it_is(
    text: str, kind: str, likelihood: str, says: str
) -> None:
    best = explain_error(text)[0]
    assert (best.kind, best.likelihood) == (kind, likelihood)
    assert says in words(best)


@pytest.mark.parametrize(
    "text",
    [
        "Sequence length must be less than max_position_embeddings (got `sequence length`: 77 and"
        " max_position_embeddings: 77",
        "Dinov2 requires input shape to be divisible by 14, but got torch.Size([4, 3, 28, 14])",
        "x height (8) is not even.",
        "The shape of the mask [8, 9] at index 1 does not match the shape of the indexed tensor"
        " [8, 9] at index 1",
        "'Tensor' object has no attribute 'shape'",
        "Image features and image tokens do not match: tokens: 256, features 256",
        "Expected input batch_size (4) to match target batch_size (1).",
    ],
)
def test_what_its_own_numbers_refute_is_not_explained(text: str) -> None:
    assert explain_error(text) == ()


def test_a_map_between_stages_is_the_other_reading_of_a_small_model() -> None:
    of_image, of_map = explain_error("Input height (128) doesn't match model (112).")
    assert "A map inside the model has a height of 128 positions" in of_map.sentence
    assert (of_map.numbers["side"], of_map.numbers["expected_side"]) == (256, 224)
    assert of_image.likelihood == "likely"
    assert len(explain_error("Input height (192) doesn't match model (224).")) == 1


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("h, w, c = img.shape", "not enough values to unpack (expected 3, got 2)", "a grey image"),
        ("x, y = image.shape", "too many values to unpack (expected 2)", "image.shape[:2]"),
        ("B, N, C = x.shape", "too many values to unpack (expected 3)", "flatten(2)"),
        ("B, N, C = x.shape", "not enough values to unpack (expected 3, got 2)", "x.unsqueeze(0)"),
        (
            "batch_size, num_channels, height, width = pixel_values.shape",
            "not enough values to unpack (expected 4, got 3)",
            "image.unsqueeze(0)",
        ),
    ],
)
def test_the_names_of_a_line_say_what_was_taken_apart(line: str, error: str, says: str) -> None:
    best = explain_error(f"    {line}\nValueError: {error}")[0]
    assert best.kind == "axes"
    assert says in words(best)


def test_an_odd_side_is_even_once_it_is_padded_as_said() -> None:
    for which, shape in (("height", (1, 7, 8, 4)), ("width", (1, 8, 15, 4))):
        side = shape[1] if which == "height" else shape[2]
        best = explain_error(f"x {which} ({side}) is not even.")[0]
        padding = re.search(r"F\.pad\(x, \(([\d, ]+)\)\)", best.fixes[1])
        assert padding is not None
        sides = F.pad(torch.zeros(shape), [int(n) for n in padding[1].split(",")]).shape[1:3]
        assert not any(n % 2 for n in sides)


# ---- checkpoints -----------------------------------------------------------------------------


def loading(*misfits: tuple[str, list[int], list[int]], lacks: str = "") -> tuple[Explanation, ...]:
    """What is made of the whole error of load_state_dict."""
    lines = [MISFIT.format(*each) for each in misfits]
    return explain_error("\n\t".join(["Error(s) in loading state_dict for Model:", lacks, *lines]))


def test_a_width_of_later_blocks_alone_is_a_matter_of_stages() -> None:
    """Hiera numbers all blocks through: in the larger model block 10 is of the stage before."""
    missing = 'Missing key(s) in state_dict: "blocks.12.norm1.weight". '
    names = ("blocks.10.norm1.weight", "blocks.10.attn.qkv.weight", "blocks.11.norm1.weight")
    shapes = (([768], [384]), ([2304, 768], [1152, 384]), ([768], [384]))
    best = loading(*((n, *s) for n, s in zip(names, shapes, strict=True)), lacks=missing)[0]
    assert (best.kind, best.likelihood) == ("depth", "likely")
    assert "From blocks.10 on blocks are 768 wide in the checkpoint and 384" in best.sentence
    # with the first block or with what stands before the blocks it is the width of all
    for first in (("blocks.0.norm1.weight", [768], [384]), ("cls_token", [1, 1, 768], [1, 1, 384])):
        whole = loading(first, *((n, *s) for n, s in zip(names, shapes, strict=True)))[0]
        assert (whole.kind, whole.likelihood) == ("width", "certain")


def test_global_and_windowed_attention_that_are_exchanged_are_one_fact() -> None:
    """SAM: 2·64 − 1 = 127 rows over the whole map, 2·14 − 1 = 27 in windows."""
    long, short = [127, 64], [27, 64]
    found = loading(
        ("blocks.2.attn.rel_pos_h", long, short),
        ("blocks.2.attn.rel_pos_w", long, short),
        ("blocks.7.attn.rel_pos_h", short, long),
    )
    assert [each.kind for each in found] == ["windows"]
    assert "global_attn_indexes" in found[0].fixes[0]
    one_way = loading(("blocks.2.attn.rel_pos_h", long, short))[0]
    assert one_way.kind == "relative positions"
    assert any("global_attn_indexes" in fix for fix in one_way.fixes)


@pytest.mark.parametrize(
    ("name", "kept", "built", "kind", "says"),
    [
        # DeepSpeed's ZeRO-3 leaves [0] in the model
        ("fc.weight", [1024, 1024], [0], "empty", "GatheredParameters"),
        ("fc.weight", [0], [1024, 1024], "empty", "zero_to_fp32.py"),
        # DETR has a class for no object: 92 = 91 + 1
        ("class_embed.weight", [92, 256], [5, 256], "classes", "num_classes=91"),
        ("class_embed.0.weight", [91, 256], [4, 256], "classes", "num_classes=91"),
        ("head.weight", [92, 256], [5, 256], "classes", "num_classes=92"),
        # ConViT's pos_proj is a layer for 4 heads, no table of 4 places
        ("blocks.0.attn.pos_proj.weight", [4, 3], [9, 3], "heads", "4 heads"),
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


def test_blocks_in_chunks_are_other_names_of_the_same() -> None:
    """DINOv2 parts its blocks for FSDP; block_chunks=0 leaves them as they are."""
    names = '"blocks.0.0.norm1.weight", "blocks.0.1.norm1.weight". ', '"blocks.1.norm1.weight". '
    for missing, unexpected, chunks in ((*names, 0), (*names[::-1], 4)):
        text = (
            f"Missing key(s) in state_dict: {missing}Unexpected key(s) in state_dict: {unexpected}"
        )
        best = explain_error(text)[0]
        assert best.kind == "names"
        assert f"block_chunks={chunks}" in best.fixes[0]
