"""The names that timm, torchvision and this package give to the same weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from vitc_inspect.stem.spec import Stage, StemSpec


def names_by_style(
    names: Collection[str], stem: StemSpec, depth: int
) -> Iterator[tuple[str, dict[str, str]]]:
    """Translate this package's weight names into each supported naming style.

    Args:
        names: Names in the state_dict of `build_stem` or `build_vit`.
        stem: The stem they belong to.
        depth: Number of transformer blocks, 0 for a stem alone.

    Yields:
        The style ("vitc_inspect", "timm" or "torchvision") and, for each name, its name in that
        style. A name for which the style has no translation stays as it is.

    Source:
        timm's models/vision_transformer.py; facebookresearch/moco-v3, vits.py; torchvision's
        models/vision_transformer.py and ops/misc.py.
    """
    for style, prefixes in _styles(stem, depth):
        keys = {}
        for name in names:
            ours = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
            keys[name] = prefixes.get(ours, "") + name.removeprefix(ours)
        yield style, keys


def _styles(stem: StemSpec, depth: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Each style with its prefixes: ours, and the one that replaces it."""
    yield "vitc_inspect", {}
    yield "timm", {**_timm_stem(stem.stages), **_blocks("blocks.{}.", _TIMM_BLOCK, depth)}
    outside, layer = _torchvision_stem(stem.stages), "encoder.layers.encoder_layer_{}."
    yield "torchvision", {**outside, **_blocks(layer, _TORCHVISION_BLOCK, depth)}
    # before torchvision 0.13 the two layers of the MLP had names instead of numbers
    old = (*_TORCHVISION_BLOCK[:4], "mlp.linear_1.", "mlp.linear_2.")
    yield "torchvision", {**outside, **_blocks(layer, old, depth)}


_BLOCK = ("norm1.", "qkv.", "out.", "norm2.", "fc1.", "fc2.")
_TIMM_BLOCK = ("norm1.", "attn.qkv.", "attn.proj.", "norm2.", "mlp.fc1.", "mlp.fc2.")
_TORCHVISION_BLOCK = (
    *("ln_1.", "self_attention.in_proj_", "self_attention.out_proj.", "ln_2."),
    *("mlp.0.", "mlp.3."),
)
"""Prefixes of the layers of a block, here and in the same order in the two other styles."""


def _blocks(pattern: str, layers: Sequence[str], depth: int) -> dict[str, str]:
    """Prefixes of the layers of every block; ours count from 1, the others from 0."""
    return {
        f"block{number + 1}.{ours}": pattern.format(number) + theirs
        for number in range(depth)
        for ours, theirs in zip(_BLOCK, layers, strict=True)
    }


def _timm_stem(stages: Sequence[Stage]) -> dict[str, str]:
    """Prefixes of timm's patch embedding, or of the nn.Sequential that MoCo v3 has instead."""
    names = {"class_token.token": "cls_token", "pos_embed.table": "pos_embed"}
    if len(stages) == 1:
        return {**names, "proj.": "patch_embed.proj.", "proj_norm.": "patch_embed.norm."}
    layers: list[str] = []
    for stage in stages:
        layers.append(stage.name)
        layers += [stage.norm_name] if stage.conv.norm != "none" else []
        layers += [stage.act_name] if stage.conv.activation != "none" else []
    numbered = {f"{layer}.": f"patch_embed.proj.{i}." for i, layer in enumerate(layers)}
    return {**names, **numbered}


def _torchvision_stem(stages: Sequence[Stage]) -> dict[str, str]:
    """Prefixes of torchvision's stem, position table, last norm and head."""
    names = {
        "class_token.token": "class_token",
        "pos_embed.table": "encoder.pos_embedding",
        "norm.": "encoder.ln.",
        "head.": "heads.head.",
        "proj.": "conv_proj." if len(stages) == 1 else "conv_proj.conv_last.",
    }
    for number, stage in enumerate(stages[:-1]):
        names[f"{stage.name}."] = f"conv_proj.conv_bn_relu_{number}.0."
        names[f"{stage.norm_name}."] = f"conv_proj.conv_bn_relu_{number}.1."
    return names
