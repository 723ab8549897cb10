"""Every named stem against the numbers its authors print, and those that follow from them."""

from __future__ import annotations

import re
from itertools import groupby
from types import MappingProxyType

import pytest

from vitc_inspect.stem.notation import format_stem, parse_stem
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.presets import PRESETS, Preset

# FACTS, section 1: embed dim, MLP ratio, heads and blocks of the eight models.
MODELS = {
    "vit_p_1gf": (192, 3, 3, 12),
    "vit_p_4gf": (384, 3, 6, 12),
    "vit_p_18gf": (768, 4, 12, 12),
    "vit_p_36gf": (1024, 4, 16, 14),
    "vit_c_1gf": (192, 3, 3, 11),
    "vit_c_4gf": (384, 3, 6, 11),
    "vit_c_18gf": (768, 4, 12, 11),
    "vit_c_36gf": (1024, 4, 16, 13),
}

every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)


def prediction(name: str) -> Prediction:
    return predict(PRESETS[name].stem)


def millions(count: int) -> float:
    return count / 1e6


# --- the list --------------------------------------------------------------------------------


def test_the_names_that_links_and_commands_rely_on() -> None:
    assert set(PRESETS) >= {
        "vit_p_1gf",
        "vit_p_4gf",
        "vit_p_18gf",
        "vit_p_36gf",
        "vit_c_1gf",
        "vit_c_4gf",
        "vit_c_18gf",
        "vit_c_36gf",
        "table3_s1",
        "table3_s2",
        "table3_s3",
        "table3_s4",
        "blog_2021",
        "forum_64x4",
    }
    assert isinstance(PRESETS, MappingProxyType)


@every_preset
def test_every_preset_says_where_it_was_read_and_what_it_teaches(preset: Preset) -> None:
    assert PRESETS[preset.name] is preset
    assert preset.title.strip()
    assert preset.source.strip()
    assert preset.teaches.strip().endswith(".")


@every_preset
def test_every_preset_fits_in_its_notation(preset: Preset) -> None:
    stem = preset.stem
    again = parse_stem(
        format_stem(stem),
        image_size=stem.image_size,
        class_token=stem.class_token,
        position_table=stem.position_table,
    )
    assert again == stem


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # 4·4·3·96 + 96, then 2·96 of the norm
        ("swin_t", 4_608 + 96 + 192),
        # 7·7·3·64 + 64, then 2·64
        ("pvt_v2_b2", 9_408 + 64 + 128),
        # 3·3 taps without a bias, then 2 numbers a channel
        ("levit_256", 9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (32 + 64 + 128 + 256)),
        ("xcit_s12_16", 9 * (3 * 48 + 48 * 96 + 96 * 192 + 192 * 384) + 2 * (48 + 96 + 192 + 384)),
        # a table of 14·14 + 1, of 27·27 + 1 and of 16·12 entries; ViTPose has no class token
        ("vit_p_18gf", 16 * 16 * 3 * 768 + 768 + 768 + 197 * 768),
        ("pit_s", 16 * 16 * 3 * 144 + 144 + 144 + 730 * 144),
        ("vitpose_b", 16 * 16 * 3 * 768 + 768 + 192 * 768),
    ],
)
def test_only_what_a_model_has_is_counted(name: str, params: int) -> None:
    prediction = predict(PRESETS[name].stem)
    assert prediction.params == params
    has_table = "pos_embed" in [layer.name for layer in prediction.layers]
    assert has_table == (name in ("vit_p_18gf", "pit_s", "vitpose_b"))


def test_the_presets_of_a_group_stand_together_and_the_paper_s_come_first() -> None:
    groups = [preset.group for preset in PRESETS.values()]
    runs = [group for group, _ in groupby(groups)]
    assert len(runs) == len(set(groups))
    assert all(1 < groups.count(group) <= 6 for group in runs)
    assert runs[0].startswith("Start here")
    papers = [preset.source.startswith("Xiao") for preset in PRESETS.values()]
    assert papers == sorted(papers, reverse=True)


def test_both_of_a_pair_of_the_paper_stand_side_by_side() -> None:
    names = list(PRESETS)
    assert names[:2] == ["vit_p_4gf", "vit_c_4gf"]
    for size in ("1gf", "4gf", "18gf", "36gf"):
        patchify, convolutions = (PRESETS[f"vit_{kind}_{size}"] for kind in "pc")
        assert names.index(convolutions.name) == names.index(patchify.name) + 1
        assert patchify.group == convolutions.group
        assert patchify.title.startswith(f"Patchify 16×16: ViT_P-{size.upper()}")
        assert convolutions.title.endswith(f"3×3 convolutions: ViT_C-{size.upper()}")


def test_a_title_that_names_patches_or_convolutions_names_those_of_the_stem() -> None:
    for preset in PRESETS.values():
        first = preset.stem.convs[0]
        if found := re.match(r"Patchify (\d+)×\1", preset.title):
            assert int(found[1]) == first.kernel_size == first.stride
            assert len(preset.stem.convs) == 1
        if found := re.match(r"(\d+)×\1 every (\d+)", preset.title):
            assert (int(found[1]), int(found[2])) == (first.kernel_size, first.stride)
        if found := re.match(r"(Four|Six) 3×3", preset.title):
            kernels = [conv.kernel_size for conv in preset.stem.convs]
            assert kernels == [3] * {"Four": 4, "Six": 6}[found[1]] + [1]


@every_preset
def test_a_preset_says_what_to_look_at(preset: Preset) -> None:
    assert preset.teaches.split()[0] in ("Choose", "Compare", "Count", "Follow", "Look", "Open")
    assert len(preset.teaches.split()) <= 32


def test_no_two_presets_share_a_title_or_a_lesson() -> None:
    for told in ("title", "teaches"):
        assert len({getattr(preset, told) for preset in PRESETS.values()}) == len(PRESETS)


# --- the paper -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "macs_m"),
    [  # FACTS 1, the two tables of stems
        ("vit_c_1gf", 256_152, 112.9),
        ("vit_c_4gf", 1_021_488, 435.3),
        ("vit_c_18gf", 2_683_968, 1717),
        ("vit_c_36gf", 2_815_296, 1743),
        ("vit_p_1gf", 147_648, 192 * 196 * 768 / 1e6),  # a 16×16×3 patch has 768 numbers
        ("vit_p_4gf", 295_296, 384 * 196 * 768 / 1e6),
        ("vit_p_18gf", 590_592, 768 * 196 * 768 / 1e6),
        ("vit_p_36gf", 787_456, 1024 * 196 * 768 / 1e6),
    ],
)
def test_the_paper_s_stems(name: str, params: int, macs_m: float) -> None:
    predicted = prediction(name)
    assert predicted.stem_params == params
    assert millions(predicted.macs) == pytest.approx(macs_m, abs=0.5 if macs_m > 1000 else 0.05)
    assert predicted.seq_len == 197
    assert predicted.grid_size == (14, 14)
    assert predicted.total_stride == 16
    assert predicted.embed_dim == MODELS[name][0]


def test_the_macs_of_vit_c_4gf_to_the_last_one() -> None:
    assert prediction("vit_c_4gf").macs == 435_326_976


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("vit_c_1gf", [24, 48, 96, 192, 192], [2, 2, 2, 2, 1]),
        ("vit_c_4gf", [48, 96, 192, 384, 384], [2, 2, 2, 2, 1]),
        ("vit_c_18gf", [64, 128, 128, 256, 256, 512, 768], [2, 2, 1, 2, 1, 2, 1]),
        ("vit_c_36gf", [64, 128, 128, 256, 256, 512, 1024], [2, 2, 1, 2, 1, 2, 1]),
    ],
)
def test_the_paper_s_convolutions(name: str, channels: list[int], strides: list[int]) -> None:
    *convs, last = PRESETS[name].stem.convs
    assert [conv.out_channels for conv in (*convs, last)] == channels
    assert [conv.stride for conv in (*convs, last)] == strides
    for conv in convs:
        assert (conv.kernel_size, conv.padding, conv.bias) == (3, 1, False)
        assert (conv.norm, conv.activation) == ("batch", "relu")
    assert (last.kernel_size, last.padding, last.bias) == (1, 0, True)
    assert (last.norm, last.activation) == ("none", "none")


def block_params(dim: int, ratio: int) -> int:
    """Two LayerNorms; q, k, v and the output projection; the MLP's two layers."""
    attention = (3 * dim * dim + 3 * dim) + (dim * dim + dim)
    mlp = (dim * ratio * dim + ratio * dim) + (ratio * dim * dim + dim)
    return 2 * 2 * dim + attention + mlp


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("vit_p_1gf", 4.830e6),
        ("vit_p_4gf", 18.507e6),
        ("vit_p_18gf", 86_567_656),
        ("vit_p_36gf", 178.364e6),
        ("vit_c_1gf", 4.568e6),
        ("vit_c_4gf", 17_754_136),
        ("vit_c_18gf", 81_573_160),
        ("vit_c_36gf", 167.796e6),
    ],
)
def test_with_its_blocks_and_head_a_stem_has_the_params_of_its_model(
    name: str, params: float
) -> None:
    dim, ratio, _, blocks = MODELS[name]
    final_norm, head = 2 * dim, dim * 1000 + 1000
    whole = prediction(name).params + blocks * block_params(dim, ratio) + final_norm + head
    assert whole == pytest.approx(params, abs=0 if isinstance(params, int) else 500)


def test_with_its_blocks_and_head_the_stem_of_vit_c_4gf_has_the_macs_of_its_model() -> None:
    dim, ratio, _, blocks = MODELS["vit_c_4gf"]
    linear = 197 * (3 + 1 + 2 * ratio) * dim * dim
    attention = 2 * 197 * 197 * dim
    whole = prediction("vit_c_4gf").macs + blocks * (linear + attention) + dim * 1000
    assert whole == 3_958_940_928


SIX = 64 * 112**2 + (128 + 128) * 56**2 + (256 + 256) * 28**2 + 512 * 14**2


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("vit_p_1gf", 192 * 14**2),
        ("vit_p_4gf", 384 * 14**2),
        ("vit_p_18gf", 768 * 14**2),
        ("vit_p_36gf", 1024 * 14**2),
        ("vit_c_1gf", 24 * 112**2 + 48 * 56**2 + 96 * 28**2 + (192 + 192) * 14**2),
        ("vit_c_4gf", 48 * 112**2 + 96 * 56**2 + 192 * 28**2 + (384 + 384) * 14**2),
        ("vit_c_18gf", SIX + 768 * 14**2),
        ("vit_c_36gf", SIX + 1024 * 14**2),
    ],
)
def test_activations_of_the_paper_s_stems(name: str, elements: int) -> None:
    assert prediction(name).activations == elements


@pytest.mark.parametrize(
    ("name", "printed_m"),
    [  # the paper's "acts" of the whole models
        ("vit_p_1gf", 5.5),
        ("vit_p_4gf", 11.1),
        ("vit_p_18gf", 24.0),
        ("vit_p_36gf", 37.3),
        ("vit_c_1gf", 5.7),
        ("vit_c_4gf", 11.3),
        ("vit_c_18gf", 24.1),
        ("vit_c_36gf", 36.7),
    ],
)
def test_with_its_blocks_and_head_a_stem_has_about_the_activations_of_its_model(
    name: str, printed_m: float
) -> None:
    """The print is loose: by its own definition ViT_C-1GF has 5.63 M where it says 5.7."""
    dim, ratio, heads, blocks = MODELS[name]
    # q k v, the attention table of each head, its product with v, the projection, the MLP.
    block = 3 * 197 * dim + 197 * 197 * heads + 197 * dim + 197 * dim + 197 * (ratio + 1) * dim
    whole = prediction(name).activations + blocks * block + 1000
    assert millions(whole) == pytest.approx(printed_m, rel=0.02)


@pytest.mark.parametrize(
    ("name", "macs_m", "params_m", "activations_m"),
    [  # Table 3 as printed
        ("vit_p_4gf", 58, 0.3, 0.075),  # printed 0.8: a misprint, see below
        ("vit_c_4gf", 435, 1.0, 1.2),
        ("table3_s1", 422, 0.8, 1.3),
        ("table3_s2", 422, 0.7, 1.1),
        ("table3_s3", 458, 0.7, 1.6),
        ("table3_s4", 407, 0.6, 2.9),
    ],
)
def test_table_3(name: str, macs_m: float, params_m: float, activations_m: float) -> None:
    predicted = prediction(name)
    assert millions(predicted.macs) == pytest.approx(macs_m, abs=0.5)
    assert millions(predicted.stem_params) == pytest.approx(params_m, abs=0.051)
    assert millions(predicted.activations) == pytest.approx(activations_m, abs=0.051)
    assert predicted.seq_len == 197
    assert predicted.embed_dim == 384


@pytest.mark.parametrize(
    ("name", "kernels", "strides", "paddings", "channels"),
    [
        ("table3_s1", (3, 3, 3, 2, 1), (2, 2, 2, 2, 1), (1, 1, 1, 0, 0), (52, 104, 208, 416, 384)),
        ("table3_s2", (3, 3, 3, 4, 1), (2, 2, 1, 4, 1), (1, 1, 1, 0, 0), (32, 64, 128, 256, 384)),
        ("table3_s3", (3, 3, 3, 8, 1), (2, 1, 1, 8, 1), (1, 1, 1, 0, 0), (17, 34, 68, 136, 384)),
        ("table3_s4", (3, 3, 3, 16, 1), (1, 1, 1, 16, 1), (1, 1, 1, 0, 0), (8, 16, 32, 64, 384)),
    ],
)
def test_the_layers_of_table_3(
    name: str,
    kernels: tuple[int, ...],
    strides: tuple[int, ...],
    paddings: tuple[int, ...],
    channels: tuple[int, ...],
) -> None:
    convs = PRESETS[name].stem.convs
    assert tuple(conv.kernel_size for conv in convs) == kernels
    assert tuple(conv.stride for conv in convs) == strides
    assert tuple(conv.padding for conv in convs) == paddings
    assert tuple(conv.out_channels for conv in convs) == channels
    assert [conv.norm for conv in convs] == ["batch"] * 4 + ["none"]
    assert [conv.activation for conv in convs] == ["relu"] * 4 + ["none"]


def test_the_two_misprints_of_table_3_show_by_arithmetic() -> None:
    # S1 is printed with 42 channels, which would cost 389 M; 52 cost the printed 422 M.
    as_printed = parse_stem(
        "3x3/2:42 bn relu, 3x3/2:104 bn relu, 3x3/2:208 bn relu, 2x2/2:416 bn relu, 1x1:384"
    )
    assert millions(predict(as_printed).macs) == pytest.approx(389, abs=0.5)
    s1 = prediction("table3_s1")
    assert millions(s1.macs) == pytest.approx(422.0, abs=0.05)
    assert millions(s1.stem_params) == pytest.approx(0.753, abs=0.0005)
    assert millions(s1.activations) == pytest.approx(1.298, abs=0.0005)
    # P is printed with 0.8 M activations.
    assert prediction("vit_p_4gf").activations == 384 * 14 * 14 == 75_264


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("vit_p_4gf", 16),
        ("table3_s4", 22),
        ("table3_s1", 23),
        ("table3_s3", 25),
        ("table3_s2", 27),
        ("vit_c_1gf", 31),
        ("vit_c_4gf", 31),
        ("vit_c_18gf", 55),
        ("vit_c_36gf", 55),
        ("blog_2021", 31),
    ],
)
def test_receptive_fields(name: str, pixels: int) -> None:
    assert prediction(name).receptive_field == pixels


# --- the seeds and the field -----------------------------------------------------------------


def test_the_blog_s_stem() -> None:
    convs = PRESETS["blog_2021"].stem.convs
    assert [conv.out_channels for conv in convs] == [48, 96, 192, 384, 384]
    assert all(conv.bias for conv in convs)
    assert all(conv.norm == conv.activation == "none" for conv in convs)
    # Weights and biases of 3→48→96→192→384 by 3×3, then 384→384 by 1×1.
    weights = 9 * (3 * 48 + 48 * 96 + 96 * 192 + 192 * 384) + 384 * 384
    assert prediction("blog_2021").stem_params == weights + 48 + 96 + 192 + 384 + 384
    assert prediction("blog_2021").macs == 435_326_976  # norms and biases cost no MACs
    assert prediction("blog_2021").seq_len == 197


def test_the_forum_s_stem() -> None:
    predicted = prediction("forum_64x4")
    assert predicted.stem_params == 162_752
    assert millions(predicted.macs) == pytest.approx(183, abs=0.5)
    assert predicted.seq_len == 197
    assert predicted.embed_dim == 768  # ViT-B's


@pytest.mark.parametrize(
    ("name", "params", "macs_m", "grid"),
    [  # FACTS 5
        ("moco_v3_s", 1_021_488, 435.3, (14, 14)),
        ("levit_256", 388_896, 184.2, (14, 14)),
        ("xcit_s12_16", 873_648, 406.4, (14, 14)),
        ("pit_s", 110_736, 80.6, (27, 27)),  # not 224 / 8 = 28 a side
        ("swin_t", 4_896, 14.5, (56, 56)),
        ("pvt_v2_b2", 9_600, 29.5, (56, 56)),
        ("dinov2_s14", 226_176, 57.8, (16, 16)),
    ],
)
def test_stems_of_the_field(name: str, params: int, macs_m: float, grid: tuple[int, int]) -> None:
    predicted = prediction(name)
    assert predicted.stem_params == params
    assert millions(predicted.macs) == pytest.approx(macs_m, abs=0.05)
    assert predicted.grid_size == grid
    assert predicted.num_patches == grid[0] * grid[1]


@pytest.mark.parametrize(
    ("name", "norms", "activations", "biases"),
    [
        ("levit_256", ["batch"] * 4, ["hardswish"] * 3 + ["none"], [False] * 4),
        ("xcit_s12_16", ["batch"] * 4, ["gelu"] * 3 + ["none"], [False] * 4),
        ("pit_s", ["none"], ["none"], [True]),
        ("swin_t", ["layer"], ["none"], [True]),
        ("pvt_v2_b2", ["layer"], ["none"], [True]),
        ("dinov2_s14", ["none"], ["none"], [True]),
    ],
)
def test_norms_and_activations_of_the_field(
    name: str, norms: list[str], activations: list[str], biases: list[bool]
) -> None:
    convs = PRESETS[name].stem.convs
    assert [conv.norm for conv in convs] == norms
    assert [conv.activation for conv in convs] == activations
    assert [conv.bias for conv in convs] == biases


def test_the_stem_of_moco_v3_is_that_of_vit_c_4gf() -> None:
    assert PRESETS["moco_v3_s"].stem == PRESETS["vit_c_4gf"].stem


def test_vitpose_keeps_every_token_and_loses_two_rows_and_columns() -> None:
    predicted = prediction("vitpose_b")
    assert predicted.spec.image_size == (256, 192)
    assert predicted.grid_size == (16, 12)
    assert predicted.layer("proj").unread_rows == (254, 255)
    assert predicted.layer("proj").unread_columns == (190, 191)
