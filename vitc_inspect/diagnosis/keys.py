"""Weights that the checkpoint or the model lacks, by their names: prefixes, depth, libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitc_inspect.diagnosis.explanation import Explanation, explain

Keys = tuple[str, ...]
"""Names of weights, in the order of the message."""


@dataclass(frozen=True, kw_only=True)
class Notable:
    """Names that say by themselves what one of the two has and the other lacks."""

    pattern: re.Pattern[str]
    kind: str
    what: str
    """What they are, with its article."""
    model_has: str
    """What to do where only the model has them."""
    checkpoint_has: str
    """What to do where only the checkpoint has them."""


_STEM = re.compile(
    r"patch_embed|conv_proj|stem|^proj\b|\bproj\b|^conv|^norm\d|^bn\d", re.IGNORECASE
)
_BODY = re.compile(r"block|encoder|layers|head|attn|mlp|fc", re.IGNORECASE)
_CONTAINERS = (
    "model", "state_dict", "model_state_dict", "model_state", "teacher", "student", "module",
    "net", "network", "weights", "model_ema", "ema", "state_dict_ema",
)  # fmt: skip
_COMPANIONS = frozenset(
    {"optimizer", "epoch", "args", "lr_scheduler", "scheduler", "scaler", "iteration", "config",
     "optimizer_state_dict", "step", "global_step", "hyper_parameters", "callbacks", "loops",
     "pytorch-lightning_version", "optimizer_states", "lr_schedulers", "meta", "arch", "best_acc",
     "best_acc1", "metric", "version", "amp_scaler", "loss", "dino_loss", "max_accuracy"}
)  # fmt: skip
_BLOCK_NAMES = (
    r"(?:blocks|layers|layer|resblocks|encoder_layer|encoderblock|transformer_encoder|h)[._/]"
    r"(?:encoder_layer_)?"
)
_BLOCKS = (
    re.compile(rf"^(.{{0,150}}{_BLOCK_NAMES})(\d{{1,4}})[./](.{{1,150}})$"),
    re.compile(rf"^(.{{0,150}}{_BLOCK_NAMES}(?:\d{{1,3}}\.){{1,2}})(\d{{1,4}})[./](\D.{{0,150}})$"),
)
"""Names of blocks: blocks.11.norm1.weight, and of those in stages, blocks.2.11.norm1.weight."""
_FAMILIES = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "transformers",
            r"attention\.attention\.|patch_embeddings\.|encoder\.layer\.\d|layernorm_before"
            r"|embeddings\.(?:cls|position)",
        ),
        (
            "torchvision",
            r"encoder_layer_\d|conv_proj|class_token|heads\.head|encoder\.pos_embedding"
            r"|features\.\d",
        ),
        ("OpenAI's CLIP", r"resblocks\.\d|class_embedding|ln_pre|ln_post"),
        ("vit-pytorch", r"to_patch_embedding|to_qkv|transformer\.layers\.\d+\.\d|mlp_head\."),
        ("JAX", r"encoderblock_\d|encoder_norm|/kernel|MultiHeadDotProduct"),
        (
            "timm",
            r"(?:^|\.)blocks\.\d+\.(?:attn|mlp|norm\d)|patch_embed\.proj|(?:^|\.)cls_token$"
            r"|(?:^|\.)pos_embed$",
        ),
    )
)
_HEAD = re.compile(r"(?:^|\.)(?:heads?|head_dist|classifier|fc|mlp_head|linear_head)(?:\.|$)")

_LAST_NORM = re.compile(r"^(?:.{1,60}\.)?norm\.(?:weight|bias)$")

_NOTABLE = tuple(
    Notable(
        pattern=re.compile(pattern, re.IGNORECASE),
        kind=kind,
        what=what,
        model_has=model_has,
        checkpoint_has=checkpoint_has,
    )
    for pattern, kind, what, model_has, checkpoint_has in (
        (
            r"relative_position_index$|attn_mask$|relative_coords_table$|attention_bias_idxs$"
            r"|position_ids$|\.freqs$|\.periods$|inv_freq$",
            "buffers",
            "buffers that are computed, not learned",
            "Load with strict=False: the model computes them itself.",
            "Leave them out, or load with strict=False: the model computes its own.",
        ),
        (
            r"dist_token$|distillation_token$|head_dist\.",
            "distillation",
            "a distillation token",
            "Build the model without distillation.",
            "Build the model with distillation, or leave its token and its head out.",
        ),
        (
            r"reg_token|register_token|storage_token",
            "registers",
            "register tokens",
            "Build the model without registers.",
            "Build the model with the registers of the checkpoint.",
        ),
        (
            r"cls_token|class_token|class_embedding|cls_pos",
            "class token",
            "a class token",
            "Build the model without a class token.",
            "Build the model with a class token.",
        ),
        (
            r"mask_token$",
            "mask token",
            "a mask token, which only training with masked patches uses",
            "Load with strict=False: it is not used without masks.",
            "Leave it out, or load with strict=False: it is not used without masks.",
        ),
        (
            r"gamma(?:_\d)?$|layer_?scale\w*$|lambda\d?$|lambda_\d$",
            "layer scale",
            "layer scale, a factor for each channel of each branch",
            "Build the model without layer scale (init_values=None in timm).",
            "Build the model with layer scale (init_values=1e-5 in timm).",
        ),
        (
            r"^(?:.{1,60}\.)?fc_norm\.",
            "pooling",
            "a norm behind the mean of the tokens (fc_norm)",
            "Build the model to pool as the checkpoint's did (global_pool='token' in timm).",
            "Build the model with the mean of its tokens (global_pool='avg' in timm).",
        ),
        (
            r"(?:^|\.)decoder|mask_token$",
            "decoder",
            "a decoder, as masked autoencoders have for training",
            "Load with strict=False, and train the decoder anew.",
            "Leave the decoder out, or load with strict=False: the encoder is all that is kept.",
        ),
        (
            r"(?:^|\.)pre_logits\.",
            "head",
            "a layer before the classifier (pre_logits)",
            "Build the model without pre_logits.",
            "Leave it out, or load with strict=False.",
        ),
    )
)


def _chunks(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """Blocks that are numbered twice in one of the two: DINOv2 parts them in chunks for FSDP."""
    twice = [any(_TWICE.search(key) for key in keys) for keys in (missing, unexpected)]
    once = [any(_ONCE.search(key) for key in keys) for keys in (missing, unexpected)]
    if (twice, once) not in (([True, False], [False, True]), ([False, True], [True, False])):
        return None
    of_model = twice[0]
    return explain(
        "names",
        f"Blocks are numbered in chunks, blocks.0.1, in the {'model' if of_model else 'checkpoint'}"
        f" and through, blocks.1, in the {'checkpoint' if of_model else 'model'}.",
        f"Build the model with block_chunks={0 if of_model else 4} (DINOv2)"
        f"{'' if of_model else ', as many as the checkpoint has'}.",
        "Or rename the checkpoint's: re.sub(r'blocks\\.(\\d+)\\.(\\d+)\\.', r'blocks.\\2.', name)."
        if not of_model
        else "",
        because="one of the two has two numbers in its names, and the other one",
        likelihood="likely",
        numbers=numbers,
    )


_TWICE = re.compile(r"\bblocks\.\d+\.\d+\.")
_ONCE = re.compile(r"\bblocks\.\d+\.[a-z]")


def names_of(missing: Keys, unexpected: Keys) -> Iterator[Explanation]:
    """Explain weights that one of the two does not know.

    Args:
        missing: Names that the model has and the checkpoint lacks.
        unexpected: Names that the checkpoint has and the model lacks.

    Returns:
        What they say, the cause of most first.
    """
    if not missing and not unexpected:
        return
    numbers = {"missing": len(missing), "unexpected": len(unexpected)}
    whole = _nested(missing, unexpected, numbers) or _prefix(missing, unexpected, numbers)
    whole = whole or _chunks(missing, unexpected, numbers)
    if whole:
        yield whole
        return
    rest: dict[str, Keys] = {"model": missing, "checkpoint": unexpected}
    stems = _stems(missing, unexpected, numbers)
    families = None if stems else _families(missing, unexpected, numbers)
    if families:
        yield families
        return
    if stems:
        yield stems
        rest = {has: tuple(k for k in keys if not _of_stem(k)) for has, keys in rest.items()}
    for has, lacks in (("model", "checkpoint"), ("checkpoint", "model")):
        depth = _depth(rest[has], rest[lacks], has, lacks)
        if depth:
            yield depth
            rest[has] = tuple(k for k in rest[has] if not any(p.match(k) for p in _BLOCKS))
        for notable in _NOTABLE:
            found = tuple(key for key in rest[has] if notable.pattern.search(key))
            if found and not any(notable.pattern.search(key) for key in rest[lacks]):
                yield _notable(notable, found, has, lacks, numbers)
                rest[has] = tuple(key for key in rest[has] if key not in found)
                if notable.kind == "pooling":  # the norm of all tokens is the other's
                    rest[lacks] = tuple(k for k in rest[lacks] if not _LAST_NORM.search(k))
    heads = _heads(rest["model"], rest["checkpoint"], numbers)
    if heads:
        yield heads
        rest = {has: tuple(k for k in keys if not _HEAD.search(k)) for has, keys in rest.items()}
    if rest["model"] or rest["checkpoint"]:
        yield _left(rest["model"], rest["checkpoint"], numbers)


def _left(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation:
    return explain(
        "other names",
        f"Of the model's weights {len(missing) or 'none'} {_are(missing)} not in the checkpoint"
        f"{_example(missing)}, and of the checkpoint's {len(unexpected) or 'none'}"
        f" {_are(unexpected)} not in the model{_example(unexpected)}."
        if missing and unexpected
        else f"{len(missing) or len(unexpected)} of the {'model' if missing else 'checkpoint'}'s"
        f" weights {_are(missing or unexpected)} not in the"
        f" {'checkpoint' if missing else 'model'}{_example(missing or unexpected)}.",
        "Build the model that the checkpoint was saved from, or rename its weights.",
        because="the names say no more than that",
        likelihood="possible",
        numbers=numbers,
    )


def _are(keys: Keys) -> str:
    return "is" if len(keys) == 1 else "are"


def _example(keys: Keys) -> str:
    return f" (“{keys[0]}”)" if keys else ""


def _nested(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """A checkpoint of a training run: the weights lie one level deeper."""
    holder = next((key for key in _CONTAINERS if key in unexpected), None)
    if holder is None or not missing or any("." in key for key in unexpected):
        return None
    beside = [key for key in unexpected if key in _COMPANIONS or key in _CONTAINERS]
    others = f" beside {', '.join(f'“{key}”' for key in unexpected if key != holder)}"
    return explain(
        "nested",
        f"The checkpoint is a dictionary that holds the weights under “{holder}”"
        f"{others if len(unexpected) > 1 else ''}: it was given whole.",
        f"Load what it holds: model.load_state_dict(checkpoint['{holder}']).",
        because="these names are those of a training run's file, not of layers",
        likelihood="certain" if len(beside) > 1 else "likely",
        numbers=numbers,
    )


def _prefix(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """Who puts which prefix before names that are else the same."""
    for ours, theirs in _pairs_of_prefixes(missing, unexpected):
        renamed = {ours + key.removeprefix(theirs) for key in unexpected if key.startswith(theirs)}
        shared = renamed & set(missing)
        if not shared or 2 * len(shared) < len(missing):
            continue
        same = len(shared) == len(missing) == len(unexpected)
        return explain(
            "names",
            _prefix_sentence(ours, theirs, len(shared), same=same),
            _prefix_fix(ours, theirs, same=same),
            "Or load it into the part itself: model."
            f"{ours.removesuffix('.')}.load_state_dict(weights)."
            if ours and not theirs and same and ours.removesuffix(".").isidentifier()
            else "",
            because="a wrapper such as DataParallel or torch.compile, or a larger model around"
            " it, puts it there",
            likelihood="certain" if same and len(shared) > 1 else "likely",
            numbers=numbers,
        )
    return None


def _pairs_of_prefixes(missing: Keys, unexpected: Keys) -> list[tuple[str, str]]:
    """What may stand before the model's names and before the checkpoint's, most shared first."""
    ends: dict[str, str] = {}
    for key in unexpected:
        parts = key.split(".")
        for start in range(min(len(parts), _DEEPEST)):
            ends.setdefault(".".join(parts[start:]), key)
    found: dict[tuple[str, str], int] = {}
    for key in missing[:_TRIED]:
        parts = key.split(".")
        for start in range(min(len(parts), _DEEPEST)):
            end = ".".join(parts[start:])
            if end in ends and (start == 0 or len(parts) - start > 1):
                pair = key.removesuffix(end), ends[end].removesuffix(end)
                found[pair] = found.get(pair, 0) + 1
                break
    # a number before the last dot is a layer's place, not a wrapper's
    named = [pair for pair in found if not any(re.search(r"\d\.$", text) for text in pair)]
    return sorted(named, key=lambda pair: -found[pair])[:_DEEPEST]


_DEEPEST = 6
"""Most parts of a prefix."""
_TRIED = 200
"""Most names by which prefixes are looked for."""


def _prefix_sentence(ours: str, theirs: str, count: int, *, same: bool) -> str:
    whole = (
        f"else they are the same {count} weights" if same else f"{count} names are else the same"
    )
    if ours and theirs:
        return (
            f"The checkpoint's names begin with “{theirs}” where the model's begin with “{ours}”;"
            f" {whole}."
        )
    where, text = ("checkpoint", theirs) if theirs else ("model", ours)
    return f"The {where}'s names begin with “{text}” and the other's do not; {whole}."


def _prefix_fix(ours: str, theirs: str, *, same: bool) -> str:
    new = f"'{ours}' + name.removeprefix('{theirs}')" if ours and theirs else (
        f"name.removeprefix('{theirs}')" if theirs else f"'{ours}' + name"
    )  # fmt: skip
    chosen = f" if name.startswith('{theirs}')" if theirs and not same else ""
    word = "Replace" if ours and theirs else "Strip" if theirs else "Add"
    return f"{word} it: {{{new}: w for name, w in weights.items(){chosen}}}."


def _depth(more: Keys, other: Keys, has: str, lacks: str) -> Explanation | None:
    """Blocks that only one of the two has, behind those that both have."""
    found = (_depth_of(pattern, more, other, has, lacks) for pattern in _BLOCKS)
    return next((each for each in found if each), None)


def _depth_of(
    pattern: re.Pattern[str], more: Keys, other: Keys, has: str, lacks: str
) -> Explanation | None:
    """The same by one way of naming blocks."""
    stacks: dict[str, dict[int, int]] = {}
    staged: set[str] = set()
    for key in more:
        match = pattern.match(key)
        if match:
            blocks = stacks.setdefault(match[1], {})
            blocks[int(match[2])] = blocks.get(int(match[2]), 0) + 1
            if match[3][0].isdigit():  # blocks.3.2: the first number may be a stage's
                staged.add(match[1])
    theirs = {match[1] for key in other if (match := pattern.match(key))}
    for stack, blocks in stacks.items():
        first, last = min(blocks), max(blocks)
        whole = len(blocks) == last - first + 1 and min(blocks.values()) > 1
        if first and whole and stack not in theirs and not (stack in staged and first == last):
            kept, built = (first, last + 1) if has == "model" else (last + 1, first)
            name = stack.rstrip("._/")
            return explain(
                "depth",
                f"The {has} has {last + 1} blocks in “{name}” and the {lacks} {first}: those from"
                f" {first} on are in the {has} alone.",
                f"Build the model with {kept} blocks there (depth={kept}).",
                "Or load with strict=False, and train the other blocks anew."
                if has == "model"
                else "Or load with strict=False, and do without the others.",
                because=f"all names of blocks {first} to {last} and none before are concerned",
                likelihood="certain" if last > first else "likely",
                numbers={"depth": kept, "expected_depth": built},
            )
    return None


def _notable(
    notable: Notable, found: Keys, has: str, lacks: str, numbers: dict[str, int]
) -> Explanation:
    fix = notable.model_has if has == "model" else notable.checkpoint_has
    example = found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"
    return explain(
        notable.kind,
        f"The {has} has {notable.what}, {example}, and the {lacks} has none.",
        fix,
        because="one name alone says so" if len(found) == 1 else "the names say so",
        numbers=numbers,
    )


def _heads(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """A classifier that only one of the two has, or that has another name."""
    ours = tuple(key for key in missing if _HEAD.search(key))
    theirs = tuple(key for key in unexpected if _HEAD.search(key))
    if not ours and not theirs:
        return None
    if ours and theirs:
        sentence = (
            f"The classifier is “{ours[0]}” in the model and “{theirs[0]}” in the checkpoint."
        )
        fix = "Rename it where it has as many classes; else leave it out and train it anew."
    elif ours:
        sentence = f"The model has a classifier, {ours[0]}, and the checkpoint has none."
        fix = "Load with strict=False, and train the classifier anew."
    else:
        sentence = f"The checkpoint has a classifier, {theirs[0]}, and the model has none."
        fix = "Load with strict=False: it is left out."
    return explain("head", sentence, fix, because="the names say so", numbers=numbers)


def _families(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """The same architecture as two libraries name it."""
    ours, theirs = _family(missing), _family(unexpected)
    if not ours or not theirs or ours == theirs:
        return None
    return explain(
        "names",
        f"The model's {len(missing)} missing names are those of {ours} (“{missing[0]}”) and the"
        f" checkpoint's {len(unexpected)} those of {theirs} (“{unexpected[0]}”).",
        f"Build the model with {theirs}, and load the checkpoint there."
        if theirs != "JAX"
        else "Convert the checkpoint first: JAX's kernels are transposed as well.",
        "Or rename the weights one by one; where one keeps query, key and value apart and the"
        " other in one weight, join them with torch.cat((q, k, v)).",
        because="each library has its own names",
        numbers=numbers,
    )


def _family(keys: Keys) -> str:
    """The library whose names most of these are; empty where they are of none."""
    counts = {name: sum(bool(p.search(key)) for key in keys) for name, p in _FAMILIES}
    best = max(counts, key=lambda name: counts[name])
    return best if 2 * counts[best] > len(keys) > 2 else ""


def _stems(missing: Keys, unexpected: Keys, numbers: dict[str, int]) -> Explanation | None:
    """Two stems of another kind."""
    model, checkpoint = _stem_of(missing), _stem_of(unexpected)
    if not model or not checkpoint or model == checkpoint:
        return None
    return explain(
        "stem",
        f"The model has {model} and the checkpoint {checkpoint}.",
        "Build the model with the stem of the checkpoint; nothing makes one of the other.",
        "Or load the rest with strict=False, and train the stem anew.",
        because=f"the names “{_first_stem(missing)}” and “{_first_stem(unexpected)}” say so",
        numbers=numbers,
    )


def names_a_stem(keys: Keys) -> bool:
    """Whether a weight of the stem is among these."""
    return any(_of_stem(key) for key in keys)


def _of_stem(key: str) -> bool:
    return bool(_STEM.search(key)) and not _BODY.search(key)


def _stem_of(keys: Sequence[str]) -> str:
    """What stem these names are of, in words; empty where they are of none."""
    stem = [key for key in keys if _of_stem(key)]
    norms = sum(key.endswith("running_mean") for key in stem)
    weights = sum(key.endswith("weight") for key in stem) - norms
    if norms:
        return f"a convolutional stem of {weights} convolutions, {norms} of them with BatchNorm"
    if weights > 1:
        return f"a convolutional stem of {weights} convolutions"
    return "a patchify stem of one convolution" if weights else ""


def _first_stem(keys: Keys) -> str:
    return next(key for key in keys if _of_stem(key))
