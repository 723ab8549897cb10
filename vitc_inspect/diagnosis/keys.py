"""Explain missing and unexpected keys of a state dict: prefixes, depth, libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.diagnosis.key_patterns import (
    BLOCKS,
    BODY,
    COMPANIONS,
    CONTAINERS,
    FAMILIES,
    HEAD,
    LAST_NORM,
    OPTIONAL_PARTS,
    STEM,
    OptionalPart,
)

Keys = tuple[str, ...]
"""Keys of a state dict, in the order of the message."""


def _block_chunks(missing: Keys, unexpected: Keys) -> Explanation | None:
    """Blocks numbered in chunks in one of the two, as DINOv2 does for FSDP."""
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
    )


_TWICE = re.compile(r"\bblocks\.\d+\.\d+\.")
_ONCE = re.compile(r"\bblocks\.\d+\.[a-z]")


def explain_names(missing: Keys, unexpected: Keys) -> Iterator[Explanation]:
    """Explain missing and unexpected keys.

    Args:
        missing: Names that the model has and the checkpoint lacks.
        unexpected: Names that the checkpoint has and the model lacks.

    Returns:
        Explanations, those of most keys first.
    """
    numbers = {"missing": len(missing), "unexpected": len(unexpected)}
    if missing or unexpected:
        for each in _explanations(missing, unexpected):
            yield each if each.numbers else replace(each, numbers=numbers)


def _explanations(missing: Keys, unexpected: Keys) -> Iterator[Explanation]:
    """The explanations of missing and unexpected keys, those of depth alone with numbers."""
    whole = _nested(missing, unexpected) or _prefix(missing, unexpected)
    whole = whole or _block_chunks(missing, unexpected)
    if whole:
        yield whole
        return
    rest: dict[str, Keys] = {"model": missing, "checkpoint": unexpected}
    stems = _stems(missing, unexpected)
    families = None if stems else _families(missing, unexpected)
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
            rest[has] = tuple(k for k in rest[has] if not any(p.match(k) for p in BLOCKS))
        for part in OPTIONAL_PARTS:
            found = tuple(key for key in rest[has] if part.includes(key))
            if found and not any(part.includes(key) for key in rest[lacks]):
                yield _optional_part(part, found, has, lacks)
                rest[has] = tuple(key for key in rest[has] if key not in found)
                if part.kind == "pooling":  # the other one normalises all tokens
                    rest[lacks] = tuple(k for k in rest[lacks] if not LAST_NORM.search(k))
    heads = _heads(rest["model"], rest["checkpoint"])
    if heads:
        yield heads
        rest = {has: tuple(k for k in keys if not HEAD.search(k)) for has, keys in rest.items()}
    if rest["model"] or rest["checkpoint"]:
        yield _other_keys(rest["model"], rest["checkpoint"])


def _other_keys(missing: Keys, unexpected: Keys) -> Explanation:
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
    )


def _are(keys: Keys) -> str:
    return "is" if len(keys) == 1 else "are"


def _example(keys: Keys) -> str:
    return f" (“{keys[0]}”)" if keys else ""


def _nested(missing: Keys, unexpected: Keys) -> Explanation | None:
    """The checkpoint of a training run, with the weights one level deeper."""
    holder = next((key for key in CONTAINERS if key in unexpected), None)
    if holder is None or not missing or any("." in key for key in unexpected):
        return None
    beside = [key for key in unexpected if key in COMPANIONS or key in CONTAINERS]
    others = f" beside {', '.join(f'“{key}”' for key in unexpected if key != holder)}"
    return explain(
        "nested",
        f"The checkpoint is a dictionary that holds the weights under “{holder}”"
        f"{others if len(unexpected) > 1 else ''}: the whole dictionary was given.",
        f"Load what it holds: model.load_state_dict(checkpoint['{holder}']).",
        because="these names are those of a training run's file, not of layers",
        likelihood="certain" if len(beside) > 1 else "likely",
    )


def _prefix(missing: Keys, unexpected: Keys) -> Explanation | None:
    """Keys that are equal but for a prefix."""
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
        )
    return None


def _pairs_of_prefixes(missing: Keys, unexpected: Keys) -> list[tuple[str, str]]:
    """Candidate prefixes of the model's and the checkpoint's keys, most shared first."""
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
    # a number before the last dot is a layer index, not a wrapper
    named = [pair for pair in found if not any(re.search(r"\d\.$", text) for text in pair)]
    return sorted(named, key=lambda pair: -found[pair])[:_DEEPEST]


_DEEPEST = 6
"""Most components of a prefix."""
_TRIED = 200
"""Most keys that are searched for prefixes."""


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
    """Trailing blocks that only one of the two has."""
    found = (_depth_of(pattern, more, other, has, lacks) for pattern in BLOCKS)
    return next((each for each in found if each), None)


def _depth_of(
    pattern: re.Pattern[str], more: Keys, other: Keys, has: str, lacks: str
) -> Explanation | None:
    """The same, for one way of naming blocks."""
    stacks: dict[str, dict[int, int]] = {}
    staged: set[str] = set()
    for key in more:
        match = pattern.match(key)
        if match:
            blocks = stacks.setdefault(match[1], {})
            blocks[int(match[2])] = blocks.get(int(match[2]), 0) + 1
            if match[3][0].isdigit():  # blocks.3.2: the first number may be a stage
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
                "Or load with strict=False, and train the other blocks from scratch."
                if has == "model"
                else "Or load with strict=False, and do without the others.",
                because=f"all names of blocks {first} to {last} and none before are concerned",
                likelihood="certain" if last > first else "likely",
                numbers={"depth": kept, "expected_depth": built},
            )
    return None


def _optional_part(part: OptionalPart, found: Keys, has: str, lacks: str) -> Explanation:
    fix = part.model_has if has == "model" else part.checkpoint_has
    example = found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"
    return explain(
        part.kind,
        f"The {has} has {part.what}, {example}, and the {lacks} has none.",
        fix,
        because="one name alone says so" if len(found) == 1 else "the names say so",
    )


def _heads(missing: Keys, unexpected: Keys) -> Explanation | None:
    """A classifier that only one of the two has, or that has another name."""
    ours = tuple(key for key in missing if HEAD.search(key))
    theirs = tuple(key for key in unexpected if HEAD.search(key))
    if not ours and not theirs:
        return None
    if ours and theirs:
        sentence = (
            f"The classifier is “{ours[0]}” in the model and “{theirs[0]}” in the checkpoint."
        )
        fix = "Rename it where it has as many classes; else leave it out and train it from scratch."
    elif ours:
        sentence = f"The model has a classifier, {ours[0]}, and the checkpoint has none."
        fix = "Load with strict=False, and train the classifier from scratch."
    else:
        sentence = f"The checkpoint has a classifier, {theirs[0]}, and the model has none."
        fix = "Load with strict=False: it is left out."
    return explain("head", sentence, fix, because="the names say so")


def _families(missing: Keys, unexpected: Keys) -> Explanation | None:
    """One architecture with the names of two libraries."""
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
    )


def _family(keys: Keys) -> str:
    """The library that most of these keys match; empty if none does."""
    counts = {
        name: sum(bool(re.search(pattern, key, re.IGNORECASE)) for key in keys)
        for name, pattern in FAMILIES.items()
    }
    best = max(counts, key=lambda name: counts[name])
    return best if 2 * counts[best] > len(keys) > 2 else ""


def _stems(missing: Keys, unexpected: Keys) -> Explanation | None:
    """Two stems of different kinds."""
    model, checkpoint = _stem_of(missing), _stem_of(unexpected)
    if not model or not checkpoint or model == checkpoint:
        return None
    return explain(
        "stem",
        f"The model has {model} and the checkpoint {checkpoint}.",
        "Build the model with the stem of the checkpoint; one cannot be converted to the other.",
        "Or load the rest with strict=False, and train the stem from scratch.",
        because=f"the names “{_first_stem(missing)}” and “{_first_stem(unexpected)}” say so",
    )


def names_a_stem(keys: Keys) -> bool:
    """Whether any of these keys belongs to a stem."""
    return any(_of_stem(key) for key in keys)


def _of_stem(key: str) -> bool:
    return bool(STEM.search(key)) and not BODY.search(key)


def _stem_of(keys: Sequence[str]) -> str:
    """Describe the stem that these keys belong to; empty if there is none."""
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
