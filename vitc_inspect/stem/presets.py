"""Published stems and models by name, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import StemSpec, conv_stem, patchify_stem
from vitc_inspect.stem.vit import ViTSpec

_XIAO = "Xiao et al. 2021, arXiv:2106.14881"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named stem, with the whole model if the source has one."""

    name: str
    """Key in PRESETS and on the command line."""
    title: str
    """Display name."""
    stem: StemSpec
    """The stem."""
    vit: ViTSpec | None = None
    """The whole model, if the source has one."""
    source: str
    """Where the stem is published."""
    teaches: str
    """What the stem shows, in one sentence."""


def _paper(size: str, teaches: str, *, conv: bool) -> Preset:
    """A model of Table 1; those with convolutions have strides from the configurations.

    They have one block less than those that patchify, for equal cost.
    """
    width, heads, ratio, depth, channels, strides = _PAPER[size]
    stem = conv_stem(channels, strides, width) if conv else patchify_stem(16, width)
    source = "section 4; strides from the authors' configurations" if conv else "Table 1"
    return Preset(
        name=f"vit_{'c' if conv else 'p'}_{size.lower()}",
        title=f"ViT_{'C' if conv else 'P'}-{size}",
        stem=stem,
        vit=ViTSpec(stem=stem, depth=depth - conv, num_heads=heads, mlp_ratio=ratio),
        source=f"{_XIAO}, {source}",
        teaches=teaches,
    )


_SIX = (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)
_PAPER = {
    "1GF": (192, 3, 3, 12, (24, 48, 96, 192), (2, 2, 2, 2)),
    "4GF": (384, 6, 3, 12, (48, 96, 192, 384), (2, 2, 2, 2)),
    "18GF": (768, 12, 4, 12, *_SIX),
    "36GF": (1024, 16, 4, 14, *_SIX),
}
"""Token width, attention heads, MLP ratio and blocks of the paper's models (Table 1), and channels
and strides of their convolutions before the last."""

_CONVOLUTIONAL = {
    "1GF": "Four convolutions of stride 2 divide each side by 16, like one patch of 16 pixels.",
    "4GF": "The stem of the paper's main model: same 196 tokens as patchify, 7.5 times its work.",
    "18GF": "Two of six convolutions have stride 1: they see further and divide nothing.",
    "36GF": "The same six convolutions as 18GF; only the last 1×1 widens to 1024.",
}
_PATCHIFY = {
    "1GF": "One convolution of kernel and stride 16 is all there is between image and tokens.",
    "4GF": "Doubling the token width doubles the stem, and not one token more.",
    "18GF": "ViT-B/16: a 16×16×3 patch has 768 numbers, and so has its token.",
    "36GF": "A token wider than its patch: 768 numbers become 1024.",
}
_TABLE_3 = {
    "3x3/2:52 bn relu, 3x3/2:104 bn relu, 3x3/2:208 bn relu, 2x2/2:416 bn relu, 1x1:384": (
        "The last overlap given up; the paper prints 42 channels, its own costs need 52."
    ),
    "3x3/2:32 bn relu, 3x3/2:64 bn relu, 3x3:128 bn relu, 4x4/4:256 bn relu, 1x1:384": (
        "Three convolutions, then patches of 4×4 features."
    ),
    "3x3/2:17 bn relu, 3x3:34 bn relu, 3x3:68 bn relu, 8x8/8:136 bn relu, 1x1:384": (
        "Three convolutions, then patches of 8×8 features."
    ),
    "3x3:8 bn relu, 3x3:16 bn relu, 3x3:32 bn relu, 16x16/16:64 bn relu, 1x1:384": (
        "Convolutions at full resolution, then patchify: most activations, least accuracy."
    ),
}
"""Stems S1 to S4, and what each shows."""

_ALL = (
    *(_paper(size, teaches, conv=True) for size, teaches in _CONVOLUTIONAL.items()),
    *(_paper(size, teaches, conv=False) for size, teaches in _PATCHIFY.items()),
    *(
        Preset(
            name=f"table3_s{number}",
            title=f"Table 3, S{number}",
            stem=parse_stem(notation),
            source=f"{_XIAO}, Table 3",
            teaches=teaches,
        )
        for number, (notation, teaches) in enumerate(_TABLE_3.items(), start=1)
    ),
    Preset(
        name="blog_2021",
        title="Blog stem, 2021",
        stem=parse_stem("3x3/2:48, 3x3/2:96, 3x3/2:192, 3x3/2:384, 1x1:384"),
        source="Etheredge 2021, the stem as written in his blog",
        teaches="No norm and no activation: five layers that are one linear map.",
    ),
    Preset(
        name="forum_64x4",
        title="Forum stem, 4 × 64",
        stem=parse_stem(
            "3x3/2:64 bn relu, 3x3/2:64 bn relu, 3x3/2:64 bn relu, 3x3/2:64 bn relu, 1x1:768"
        ),
        source="torchvision's [ConvStemConfig(64, 3, 2)] * 4, as passed on in forums",
        teaches="It gives 197 tokens, yet is not the paper's stem: the channels never grow.",
    ),
    Preset(
        name="moco_v3_s",
        title="MoCo v3 ConvStem",
        stem=conv_stem(),
        source="facebookresearch/moco-v3, vits.py",
        teaches="Another code base, the same stem as ViT_C-4GF to the last parameter.",
    ),
    Preset(
        name="levit_256",
        title="LeViT-256",
        stem=parse_stem(
            "3x3/2:32 bn hardswish, 3x3/2:64 bn hardswish, 3x3/2:128 bn hardswish, 3x3/2:256 bn",
            class_token=False,
            position_table=False,  # it has attention biases instead
        ),
        source="Graham et al. 2021, arXiv:2104.01136; timm, levit.py",
        teaches="No closing 1×1: the last 3×3 gives the token width itself.",
    ),
    Preset(
        name="xcit_s12_16",
        title="XCiT-S12/16",
        stem=parse_stem(
            "3x3/2:48 bn gelu, 3x3/2:96 bn gelu, 3x3/2:192 bn gelu, 3x3/2:384 bn",
            class_token=False,
            position_table=False,  # it has a projected sine-cosine encoding instead
        ),
        source="El-Nouby et al. 2021, arXiv:2106.09681; timm, xcit.py",
        teaches="GELU between the convolutions; the class token joins only after the encoder.",
    ),
    Preset(
        name="pit_s",
        title="PiT-S",
        stem=parse_stem("16x16/8p0:144"),
        source="Heo et al. 2021, arXiv:2103.16302; timm, pit.py",
        teaches="Patches that overlap by half: 27×27 tokens, not 224 / 8 = 28 a side.",
    ),
    Preset(
        name="swin_t",
        title="Swin-T",
        stem=parse_stem("4x4/4:96 ln bias", class_token=False, position_table=False),
        source="Liu et al. 2021, arXiv:2103.14030; timm, patch_embed.py",
        teaches="Patches of 4 pixels give 3136 tokens; only attention in windows can afford them.",
    ),
    Preset(
        name="pvt_v2_b2",
        title="PVTv2-B2",
        stem=parse_stem("7x7/4:64 ln bias", class_token=False, position_table=False),
        source="Wang et al. 2021, arXiv:2106.13797; timm, pvt_v2.py",
        teaches="Overlapping patches: a 7×7 window every 4 pixels.",
    ),
    Preset(
        name="dinov2_s14",
        title="DINOv2 ViT-S/14",
        stem=parse_stem("14x14/14:384"),
        source="Oquab et al. 2023, arXiv:2304.07193; timm, patch_embed.py",
        teaches="A patch of 14 pixels: the same 224 pixels become 16×16 tokens.",
    ),
    Preset(
        name="vitpose_b",
        title="ViTPose-B",
        stem=parse_stem("16x16/16p2:768", image_size=(256, 192), class_token=False),
        source="Xu et al. 2022, arXiv:2204.12484; ViTAE-Transformer/ViTPose, issue 125",
        teaches="Padding 2 keeps every shape right and loses the last two rows and columns.",
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""Every preset by name, those of the paper first."""
