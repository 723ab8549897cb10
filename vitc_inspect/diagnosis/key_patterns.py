"""Patterns of the names in state dicts: containers, blocks, libraries, optional parts."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class OptionalPart:
    """A part that only some models have, recognised by the names of its weights."""

    pattern: str
    kind: str
    what: str
    """The part, with its article."""
    model_has: str
    """The fix if only the model has it."""
    checkpoint_has: str
    """The fix if only the checkpoint has it."""

    def includes(self, key: str) -> bool:
        """Whether a name is that of a weight of the part."""
        return re.search(self.pattern, key, re.IGNORECASE) is not None


STEM = re.compile(r"patch_embed|conv_proj|stem|^proj\b|\bproj\b|^conv|^norm\d|^bn\d", re.IGNORECASE)


BODY = re.compile(r"block|encoder|layers|head|attn|mlp|fc", re.IGNORECASE)


CONTAINERS = (
    "model", "state_dict", "model_state_dict", "model_state", "teacher", "student", "module",
    "net", "network", "weights", "model_ema", "ema", "state_dict_ema",
)  # fmt: skip


COMPANIONS = frozenset(
    {"optimizer", "epoch", "args", "lr_scheduler", "scheduler", "scaler", "iteration", "config",
     "optimizer_state_dict", "step", "global_step", "hyper_parameters", "callbacks", "loops",
     "pytorch-lightning_version", "optimizer_states", "lr_schedulers", "meta", "arch", "best_acc",
     "best_acc1", "metric", "version", "amp_scaler", "loss", "dino_loss", "max_accuracy"}
)  # fmt: skip


_BLOCK_NAMES = (
    r"(?:blocks|layers|layer|resblocks|encoder_layer|encoderblock|transformer_encoder|h)[._/]"
    r"(?:encoder_layer_)?"
)


BLOCKS = (
    re.compile(rf"^(.{{0,150}}{_BLOCK_NAMES})(\d{{1,4}})[./](.{{1,150}})$"),
    re.compile(rf"^(.{{0,150}}{_BLOCK_NAMES}(?:\d{{1,3}}\.){{1,2}})(\d{{1,4}})[./](\D.{{0,150}})$"),
)
"""Names of blocks, blocks.11.norm1.weight, and of blocks in stages, blocks.2.11.norm1.weight."""


FAMILIES = {
    "transformers": (
        r"attention\.attention\.|patch_embeddings\.|encoder\.layer\.\d|layernorm_before"
        r"|embeddings\.(?:cls|position)"
    ),
    "torchvision": (
        r"encoder_layer_\d|conv_proj|class_token|heads\.head|encoder\.pos_embedding"
        r"|features\.\d"
    ),
    "OpenAI's CLIP": r"resblocks\.\d|class_embedding|ln_pre|ln_post",
    "vit-pytorch": r"to_patch_embedding|to_qkv|transformer\.layers\.\d+\.\d|mlp_head\.",
    "JAX": r"encoderblock_\d|encoder_norm|/kernel|MultiHeadDotProduct",
    "timm": (
        r"(?:^|\.)blocks\.\d+\.(?:attn|mlp|norm\d)|patch_embed\.proj|(?:^|\.)cls_token$"
        r"|(?:^|\.)pos_embed$"
    ),
}
"""Patterns of the names in each library."""


HEAD = re.compile(r"(?:^|\.)(?:heads?|head_dist|classifier|fc|mlp_head|linear_head)(?:\.|$)")


LAST_NORM = re.compile(r"^(?:.{1,60}\.)?norm\.(?:weight|bias)$")


OPTIONAL_PARTS = (
    OptionalPart(
        r"relative_position_index$|attn_mask$|relative_coords_table$|attention_bias_idxs$"
        r"|position_ids$|\.freqs$|\.periods$|inv_freq$",
        "buffers",
        "buffers that are computed, not learned",
        "Load with strict=False: the model computes them itself.",
        "Leave them out, or load with strict=False: the model computes its own.",
    ),
    OptionalPart(
        r"dist_token$|distillation_token$|head_dist\.",
        "distillation",
        "a distillation token",
        "Build the model without distillation.",
        "Build the model with distillation, or leave its token and its head out.",
    ),
    OptionalPart(
        r"reg_token|register_token|storage_token",
        "registers",
        "register tokens",
        "Build the model without registers.",
        "Build the model with the registers of the checkpoint.",
    ),
    OptionalPart(
        r"cls_token|class_token|class_embedding|cls_pos",
        "class token",
        "a class token",
        "Build the model without a class token.",
        "Build the model with a class token.",
    ),
    OptionalPart(
        r"mask_token$",
        "mask token",
        "a mask token, which only training with masked patches uses",
        "Load with strict=False: it is not used without masks.",
        "Leave it out, or load with strict=False: it is not used without masks.",
    ),
    OptionalPart(
        r"gamma(?:_\d)?$|layer_?scale\w*$|lambda\d?$|lambda_\d$",
        "layer scale",
        "layer scale, a factor for each channel of each branch",
        "Build the model without layer scale (init_values=None in timm).",
        "Build the model with layer scale (init_values=1e-5 in timm).",
    ),
    OptionalPart(
        r"^(?:.{1,60}\.)?fc_norm\.",
        "pooling",
        "a norm after the mean of the tokens (fc_norm)",
        "Build the model to pool as the checkpoint's did (global_pool='token' in timm).",
        "Build the model with the mean of its tokens (global_pool='avg' in timm).",
    ),
    OptionalPart(
        r"(?:^|\.)decoder|mask_token$",
        "decoder",
        "a decoder, as masked autoencoders have for training",
        "Load with strict=False, and train the decoder from scratch.",
        "Leave the decoder out, or load with strict=False: the encoder is all that is kept.",
    ),
    OptionalPart(
        r"(?:^|\.)pre_logits\.",
        "head",
        "a layer before the classifier (pre_logits)",
        "Build the model without pre_logits.",
        "Leave it out, or load with strict=False.",
    ),
)
