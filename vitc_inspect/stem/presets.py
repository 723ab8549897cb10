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
    group: str
    """Heading under which the page lists it."""
    stem: StemSpec
    """The stem."""
    vit: ViTSpec | None = None
    """The whole model, if the source has one."""
    source: str
    """Where the stem is published."""
    teaches: str
    """What to look at, in one sentence."""


_START = "Start here: patches or convolutions"
_PAIRS = "The paper's other pairs: patchify (P), convolutions (C)"
_VARIANTS = "The paper's other stems (Table 3)"
_CONVOLUTIONAL = "Other convolutional stems"
_PATCHES = "Other patches"
_OVERLAPPING = "Overlapping patches"


def _paper(size: str, teaches: str, *, conv: bool) -> Preset:
    """A model of Table 1; those with convolutions have strides from the configurations.

    They have one block less than those that patchify, for equal cost.
    """
    width, heads, ratio, depth, channels, strides = _PAPER[size]
    stem = conv_stem(channels, strides, width) if conv else patchify_stem(16, width)
    source = "section 4; strides from the authors' configurations" if conv else "Table 1"
    kind = f"{_COUNTS[len(channels)]} 3×3 convolutions" if conv else "Patchify 16×16"
    also = ", the stem of ViT-B/16" if (size, conv) == ("18GF", False) else ""
    return Preset(
        name=f"vit_{'c' if conv else 'p'}_{size.lower()}",
        title=f"{kind}: ViT_{'C' if conv else 'P'}-{size}{also}",
        group=_START if size == "4GF" else _PAIRS,
        stem=stem,
        vit=ViTSpec(stem=stem, depth=depth - conv, num_heads=heads, mlp_ratio=ratio),
        source=f"{_XIAO}, {source}",
        teaches=teaches,
    )


_COUNTS = {4: "Four", 6: "Six"}
_SIX = (64, 128, 128, 256, 256, 512), (2, 2, 1, 2, 1, 2)
_PAPER = {
    "1GF": (192, 3, 3, 12, (24, 48, 96, 192), (2, 2, 2, 2)),
    "4GF": (384, 6, 3, 12, (48, 96, 192, 384), (2, 2, 2, 2)),
    "18GF": (768, 12, 4, 12, *_SIX),
    "36GF": (1024, 16, 4, 14, *_SIX),
}
"""Token width, attention heads, MLP ratio and blocks of the paper's models (Table 1), and channels
and strides of their convolutions before the last."""

_TABLE_1 = {
    "4GF": (
        "Choose a token: it reads its own patch of 16×16 pixels and nothing else, and 14×14 such"
        " patches are 196 tokens.",
        "Follow 224 → 112 → 56 → 28 → 14 in the strip, then compare the cost: as many tokens as"
        " patchify, for 7.5 times its MACs.",
    ),
    "1GF": (
        "Look for layers between image and tokens: one convolution of kernel and stride 16 is all.",
        "Look at the strides: four of 2 divide each side by 16, as one patch of 16 pixels does.",
    ),
    "18GF": (
        "Count the numbers: a patch of 16×16×3 has 768, and so has its token.",
        "Look at the two convolutions of stride 1: the receptive field grows there, and height and"
        " width stay.",
    ),
    "36GF": (
        "Look at the width: a patch of 768 numbers becomes a token of 1024.",
        "Compare it with 18GF: the same six convolutions, and only the last 1×1 is wider, 1024.",
    ),
}
"""By size, what to look at in the model that patchifies, and in the one with convolutions."""

_TABLE_3 = {
    "3x3/2:52 bn relu, 3x3/2:104 bn relu, 3x3/2:208 bn relu, 2x2/2:416 bn relu, 1x1:384": (
        "Look at conv4, 2×2 with stride 2: the last overlap is given up; the paper prints 42"
        " channels for conv1, its own costs need 52."
    ),
    "3x3/2:32 bn relu, 3x3/2:64 bn relu, 3x3:128 bn relu, 4x4/4:256 bn relu, 1x1:384": (
        "Look at conv4: it cuts the maps of three convolutions into patches of 4×4."
    ),
    "3x3/2:17 bn relu, 3x3:34 bn relu, 3x3:68 bn relu, 8x8/8:136 bn relu, 1x1:384": (
        "Look at conv4: it cuts maps that were halved once into patches of 8×8."
    ),
    "3x3:8 bn relu, 3x3:16 bn relu, 3x3:32 bn relu, 16x16/16:64 bn relu, 1x1:384": (
        "Look at the activations: three convolutions at full resolution, then patchify, make the"
        " most of the table and the least accuracy."
    ),
}
"""Stems S1 to S4, and what each shows."""

_ALL = (
    *(
        _paper(size, teaches, conv=bool(conv))
        for size, both in _TABLE_1.items()
        for conv, teaches in enumerate(both)
    ),
    *(
        Preset(
            name=f"table3_s{number}",
            title=f"Table 3, S{number}",
            group=_VARIANTS,
            stem=parse_stem(notation),
            source=f"{_XIAO}, Table 3",
            teaches=teaches,
        )
        for number, (notation, teaches) in enumerate(_TABLE_3.items(), start=1)
    ),
    Preset(
        name="blog_2021",
        title="Blog stem, 2021: no norms",
        group=_CONVOLUTIONAL,
        stem=parse_stem("3x3/2:48, 3x3/2:96, 3x3/2:192, 3x3/2:384, 1x1:384"),
        source="Etheredge 2021, the stem as written in his blog",
        teaches="Look for norms and activations: there are none, so five"
        " layers are one linear map.",
    ),
    Preset(
        name="forum_64x4",
        title="Forum stem: 4 × 64 channels",
        group=_CONVOLUTIONAL,
        stem=parse_stem(
            "3x3/2:64 bn relu, 3x3/2:64 bn relu, 3x3/2:64 bn relu, 3x3/2:64 bn relu, 1x1:768"
        ),
        source="torchvision's [ConvStemConfig(64, 3, 2)] * 4, as passed on in forums",
        teaches="Look at the channels, which never grow: 197 tokens, yet not the paper's stem.",
    ),
    Preset(
        name="moco_v3_s",
        title="MoCo v3 ConvStem",
        group=_CONVOLUTIONAL,
        stem=conv_stem(),
        source="facebookresearch/moco-v3, vits.py",
        teaches="Compare it with ViT_C-4GF: another code base, the same"
        " stem to the last parameter.",
    ),
    Preset(
        name="levit_256",
        title="LeViT-256",
        group=_CONVOLUTIONAL,
        stem=parse_stem(
            "3x3/2:32 bn hardswish, 3x3/2:64 bn hardswish, 3x3/2:128 bn hardswish, 3x3/2:256 bn",
            class_token=False,
            position_table=False,  # it has attention biases instead
        ),
        source="Graham et al. 2021, arXiv:2104.01136; timm, levit.py",
        teaches="Look at the end: there is no 1×1, and the last 3×3 gives the token width itself.",
    ),
    Preset(
        name="xcit_s12_16",
        title="XCiT-S12/16",
        group=_CONVOLUTIONAL,
        stem=parse_stem(
            "3x3/2:48 bn gelu, 3x3/2:96 bn gelu, 3x3/2:192 bn gelu, 3x3/2:384 bn",
            class_token=False,
            position_table=False,  # it has a projected sine-cosine encoding instead
        ),
        source="El-Nouby et al. 2021, arXiv:2106.09681; timm, xcit.py",
        teaches="Look for the class token: it joins only after the encoder; and ReLU is GELU here.",
    ),
    Preset(
        name="dinov2_s14",
        title="Patchify 14×14: DINOv2 ViT-S/14",
        group=_PATCHES,
        stem=parse_stem("14x14/14:384"),
        source="Oquab et al. 2023, arXiv:2304.07193; timm, patch_embed.py",
        teaches="Count the grid: with patches of 14 pixels, the same 224"
        " pixels become 16×16 tokens.",
    ),
    Preset(
        name="swin_t",
        title="Patchify 4×4: Swin-T",
        group=_PATCHES,
        stem=parse_stem("4x4/4:96 ln bias", class_token=False, position_table=False),
        source="Liu et al. 2021, arXiv:2103.14030; timm, patch_embed.py",
        teaches="Look at the length: patches of 4 pixels give 3136 tokens, which only"
        " attention in windows can afford.",
    ),
    Preset(
        name="vitpose_b",
        title="Patchify 16×16, padded: ViTPose-B",
        group=_PATCHES,
        stem=parse_stem("16x16/16p2:768", image_size=(256, 192), class_token=False),
        source="Xu et al. 2022, arXiv:2204.12484; ViTAE-Transformer/ViTPose, issue 125",
        teaches="Open Pixels: padding 2 keeps every shape right and loses"
        " the last two rows and columns.",
    ),
    Preset(
        name="pit_s",
        title="16×16 every 8: PiT-S",
        group=_OVERLAPPING,
        stem=parse_stem("16x16/8p0:144"),
        source="Heo et al. 2021, arXiv:2103.16302; timm, pit.py",
        teaches="Count the grid: patches that overlap by half give 27×27"
        " tokens, not 224 / 8 = 28 a side.",
    ),
    Preset(
        name="pvt_v2_b2",
        title="7×7 every 4: PVTv2-B2",
        group=_OVERLAPPING,
        stem=parse_stem("7x7/4:64 ln bias", class_token=False, position_table=False),
        source="Wang et al. 2021, arXiv:2106.13797; timm, pvt_v2.py",
        teaches="Choose a token: it reads a window of 7×7 pixels, and the"
        " next one starts 4 pixels on.",
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""Every preset by name, group by group, those of the paper first."""
