"""Errors of load_state_dict: weights that do not fit, are missing, or that nobody asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vitc_inspect.diagnosis.explanation import (
    Decoder,
    Explanation,
    Told,
    by,
    explain,
    sizes,
)
from vitc_inspect.diagnosis.positions import interpolation, length_of, of_reading, readings_for
from vitc_inspect.diagnosis.readings import Reading

_MISFIT = re.compile(
    r"size mismatch for ([\w.]{1,200}): copying a param with shape torch\.Size\((\[[\d, ]{0,200}\])"
    r"\) from checkpoint, the shape in current model is torch\.Size\((\[[\d, ]{0,200}\])\)"
)
_MISSING = re.compile(r"Missing key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})")
_UNEXPECTED = re.compile(
    r"Unexpected key\(s\) in state_dict: ((?:\"[^\"]{1,200}\"(?:, )?){1,5000})"
)
_KEY = re.compile(r"\"([^\"]{1,200})\"")
_POSITION = re.compile(r"pos", re.IGNORECASE)
_CLASS_TOKEN = re.compile(r"cls_token|class_token|cls_pos", re.IGNORECASE)
_STEM = re.compile(
    r"patch_embed|conv_proj|stem|^proj\b|\bproj\b|^conv|^norm\d|^bn\d", re.IGNORECASE
)
_BODY = re.compile(r"block|encoder|layers|head|attn|mlp|fc", re.IGNORECASE)
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "vit.", "net.")

Misfit = tuple[str, tuple[int, ...], tuple[int, ...]]
"""Name, shape in the checkpoint, shape in the model."""


def _loading(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """All that load_state_dict complains of at once, the causes before their consequences."""
    text = told.text[match.start() :]
    misfits = [(m.group(1), sizes(m.group(2)), sizes(m.group(3))) for m in _MISFIT.finditer(text)]
    missing, unexpected = _keys(_MISSING, text), _keys(_UNEXPECTED, text)
    yield from _names(missing, unexpected)
    yield from _misfits(misfits, told)


def _one_misfit(match: re.Match[str], told: Told) -> Iterator[Explanation]:
    """A single line of such an error."""
    misfits = [
        (m.group(1), sizes(m.group(2)), sizes(m.group(3))) for m in _MISFIT.finditer(told.text)
    ]
    yield from _misfits(misfits, told)


def _misfits(misfits: Sequence[Misfit], told: Told) -> Iterator[Explanation]:
    """Weights of another shape. One other width makes many of them misfit: it is said once."""
    kernels = [m for m in misfits if len(m[1]) == len(m[2]) == 4]
    tables = [m for m in misfits if len(m[1]) in (2, 3) and _POSITION.search(m[0])]
    width = _other_width(misfits)
    for kernel in kernels:
        yield from _kernel(kernel)
    if width:
        kept, built, count = width
        yield explain(
            "width",
            f"The tokens of the checkpoint are {kept} wide and the model's {built}:"
            f" {count} weights do not fit for that.",
            f"Build the model with embed_dim={kept}.",
            because=f"{kept} stands where {built} is expected in {count} shapes",
            likelihood="certain" if count > 1 else "likely",
            numbers={"width": kept, "expected_width": built, "weights": count},
        )
    for name, kept_shape, built_shape in tables:
        if len(kept_shape) == len(built_shape) and kept_shape[-2] != built_shape[-2]:
            yield from _table(name, kept_shape[-2], built_shape[-2], kernels, told)
    for name, kept_shape, built_shape in misfits:
        rows = bool(kept_shape and built_shape) and kept_shape[0] != built_shape[0]
        if rows and re.search(r"head|classifier|fc\b", name) and kept_shape[1:] == built_shape[1:]:
            yield _classes(name, kept_shape[0], built_shape[0])
            break
    explained = {m[0] for m in (*kernels, *tables)}
    rest = [m for m in misfits if m[0] not in explained]
    if rest and not width and not any("head" in m[0] for m in rest):
        name, kept_shape, built_shape = rest[0]
        others = f", and {len(rest) - 1} others like it" if len(rest) > 1 else ""
        yield explain(
            "weights",
            f"{name} is {by(kept_shape) or 'one number'} in the checkpoint and"
            f" {by(built_shape) or 'one number'} in the model{others}.",
            "Build the model with the sizes of the checkpoint.",
            because="the shapes say no more than that",
            likelihood="possible",
            numbers={"weights": len(rest)},
        )


def _other_width(misfits: Sequence[Misfit]) -> tuple[int, int, int] | None:
    """The two widths that most shapes differ by, and how many shapes that is."""
    counts: dict[tuple[int, int], int] = {}
    for name, kept, built in misfits:
        if len(kept) != len(built):
            continue
        own = kept[0], built[0]
        last = kept[-1], built[-1]
        if len(kept) == 4:
            pairs = {own}
        elif len(kept) in (2, 3):
            pairs = {last}
        else:
            pairs = {own} if kept and not re.search(r"head|classifier", name) else set()
        for pair in pairs:
            if pair[0] != pair[1]:
                counts[pair] = counts.get(pair, 0) + 1
    if not counts:
        return None
    (kept_width, built_width), count = max(counts.items(), key=lambda item: item[1])
    return kept_width, built_width, count


def _kernel(misfit: Misfit) -> Iterator[Explanation]:
    """The weight of a convolution: its kernel, its input channels."""
    name, kept, built = misfit
    numbers = {"kernel_size": kept[2], "expected_kernel_size": built[2]}
    if kept[2:] != built[2:]:
        small, large = sorted((kept[2], built[2]))
        if small <= 3 < 7 < large:
            patchify, conv = (
                ("checkpoint", "model") if kept[2] == large else ("model", "checkpoint")
            )
            yield explain(
                "stem",
                f"{name} has a kernel of {by(kept[2:])} in the checkpoint and {by(built[2:])} in"
                f" the model: the {patchify} has a patchify stem and the {conv} a convolutional"
                " one.",
                "Build the model with the stem of the checkpoint; nothing makes one of the other.",
                because=f"{large}×{large} is a patch, {small}×{small} a layer of several",
                numbers=numbers,
            )
            return
        yield explain(
            "patch",
            f"{name} cuts patches of {by(kept[2:])} pixels in the checkpoint and {by(built[2:])}"
            " in the model.",
            f"Build the model with patch_size={kept[2]}.",
            f"Or resample the kernels from {by(kept[2:])} to {by(built[2:])}, and train on.",
            because="the last two axes of the weight are the kernel",
            likelihood="certain",
            numbers=numbers,
        )
    if kept[1] != built[1]:
        channels = {"in_channels": kept[1], "expected_in_channels": built[1]}
        fix = f"Build the model with in_channels={kept[1]}."
        other = "Or start this layer anew."
        if (kept[1], built[1]) == (3, 1):
            other = "Or add the weights of the three colours up: weight.sum(1, keepdim=True)."
        elif (kept[1], built[1]) == (1, 3):
            other = "Or give each colour a third: weight.expand(-1, 3, -1, -1) / 3."
        yield explain(
            "channels",
            f"{name} reads {kept[1]} channels in the checkpoint and {built[1]} in the model.",
            fix,
            other,
            because="the second axis of the weight is the input's channels",
            likelihood="certain",
            numbers=channels,
        )


def _table(
    name: str, kept: int, built: int, kernels: Sequence[Misfit], told: Told
) -> Iterator[Explanation]:
    """A position table of another length. The model's own is as long as its sequence."""
    opening = f"{name} has {kept} entries in the checkpoint and {built} in the model"
    patches = {(built_shape[2], kept_shape[2]) for _, kept_shape, built_shape in kernels}
    readings = sorted(  # the strides that the kernels say come first
        readings_for(built, kept, told.spec),
        key=lambda r: (r.tokens.total_stride, r.table.total_stride) not in patches,
    )
    for rank, reading in enumerate(readings):
        model, checkpoint = reading.tokens, reading.table
        prefix = (
            f"the model puts {model.num_prefix_tokens} before the image's tokens where the"
            f" checkpoint puts {checkpoint.num_prefix_tokens}"
        )
        differs = {
            "image size": f"at stride {model.total_stride} the model is made for"
            f" {by(model.image_size)} pixels and the checkpoint for {by(checkpoint.image_size)}",
            "stride": f"at {by(model.image_size)} pixels the model has stride"
            f" {model.total_stride} and the checkpoint {checkpoint.total_stride}",
            "prefix": f"the grids are the same, and {prefix}",
        }
        what = differs.get(reading.change, f"{differs['image size']}; besides, {prefix}")
        explanation = of_reading(reading, rank, told.spec)
        yield replace(
            explanation,
            sentence=f"{opening}, {length_of(checkpoint)} and {length_of(model)}: {what}.",
            fixes=tuple(_table_fixes(reading)),
        )
    if not readings:
        yield explain(
            "position table",
            f"{opening}; neither is a usual grid of tokens.",
            "Build the model for the image size and the stride of the checkpoint.",
            because="the numbers say no more than that",
            likelihood="possible",
            numbers={"table": kept, "tokens": built},
        )


def _table_fixes(reading: Reading) -> Iterator[str]:
    """What to do about a checkpoint's position table of another length."""
    model, checkpoint = reading.tokens, reading.table
    before, saved = model.num_prefix_tokens, checkpoint.num_prefix_tokens
    if reading.change == "prefix":
        yield f"Build the model with {saved} tokens before the image's."
        if saved > before:
            yield f"Or leave the checkpoint's first entries out: table[:, {saved - before}:]."
        else:
            yield f"Or put {before - saved} new entries before the checkpoint's, and train on."
        return
    yield f"Interpolate the checkpoint's table {interpolation(reading)}."
    if reading.change == "stride":
        yield f"Or build the model with strides that multiply to {checkpoint.total_stride}."
    else:
        yield f"Or build the model for {by(checkpoint.image_size)} pixels."
    if before != saved:
        yield f"Besides, build it with {saved} tokens before the image's."


def _classes(name: str, kept: int, built: int) -> Explanation:
    return explain(
        "classes",
        f"{name} tells {kept} classes apart in the checkpoint and {built} in the model.",
        f"Leave the classifier's weights out of the checkpoint, and train {built} classes anew.",
        f"Or build the model with num_classes={kept}.",
        because="only the first axis of the classifier differs",
        likelihood="certain",
        numbers={"classes": kept, "expected_classes": built},
    )


def _names(missing: tuple[str, ...], unexpected: tuple[str, ...]) -> Iterator[Explanation]:
    """Weights that one of the two does not know."""
    if not missing and not unexpected:
        return
    prefix = _prefix(missing, unexpected)
    if prefix:
        where, text = prefix
        yield explain(
            "names",
            f"The {where}'s names begin with “{text}” and the other's do not; else they are the"
            f" same {len(missing)} weights.",
            f"Strip it: {{name.removeprefix('{text}'): w for name, w in weights.items()}}."
            if where == "checkpoint"
            else f"Add it: {{'{text}' + name: w for name, w in weights.items()}}.",
            because="a wrapper such as DataParallel or torch.compile puts it there",
            likelihood="certain",
            numbers={"missing": len(missing), "unexpected": len(unexpected)},
        )
        return
    numbers = {"missing": len(missing), "unexpected": len(unexpected)}
    model, checkpoint = _stem_of(missing), _stem_of(unexpected)
    if model and checkpoint and model != checkpoint:
        yield explain(
            "stem",
            f"The model has {model} and the checkpoint {checkpoint}.",
            "Build the model with the stem of the checkpoint; nothing makes one of the other.",
            "Or load the rest with strict=False, and train the stem anew.",
            because=f"the names “{_first_stem(missing)}” and “{_first_stem(unexpected)}” say so",
            numbers=numbers,
        )
    for keys, has, lacks in ((missing, "model", "checkpoint"), (unexpected, "checkpoint", "model")):
        token = next((key for key in keys if _CLASS_TOKEN.search(key)), None)
        if token:
            yield explain(
                "class token",
                f"The {has} has a class token, {token}, and the {lacks} has none.",
                f"Build the model {'without' if has == 'model' else 'with'} a class token.",
                because="one name alone says so",
                numbers=numbers,
            )
    if not (model and checkpoint and model != checkpoint):
        yield explain(
            "names",
            f"{len(missing)} weights of the model are not in the checkpoint"
            f"{_example(missing)}, and {len(unexpected)} of the checkpoint are not in the model"
            f"{_example(unexpected)}.",
            "Build the model that the checkpoint was saved from, or rename its weights.",
            because="the names say no more than that",
            likelihood="possible",
            numbers=numbers,
        )


def _example(keys: tuple[str, ...]) -> str:
    return f" (“{keys[0]}”)" if keys else ""


def _prefix(missing: tuple[str, ...], unexpected: tuple[str, ...]) -> tuple[str, str] | None:
    """Who puts which prefix before names that are else the same."""
    for text in _PREFIXES:
        if unexpected and {key.removeprefix(text) for key in unexpected} == set(missing):
            return "checkpoint", text
        if missing and {key.removeprefix(text) for key in missing} == set(unexpected):
            return "model", text
    return None


def _stem_of(keys: tuple[str, ...]) -> str:
    """What stem these names are of, in words; empty where they are of none."""
    stem = [key for key in keys if _STEM.search(key) and not _BODY.search(key)]
    norms = sum(key.endswith("running_mean") for key in stem)
    weights = sum(key.endswith("weight") for key in stem) - norms
    if norms:
        return f"a convolutional stem of {weights} convolutions, {norms} of them with BatchNorm"
    if weights > 1:
        return f"a convolutional stem of {weights} convolutions"
    return "a patchify stem of one convolution" if weights else ""


def _first_stem(keys: tuple[str, ...]) -> str:
    return next(key for key in keys if _STEM.search(key) and not _BODY.search(key))


def _keys(pattern: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = pattern.search(text)
    keys = _KEY.findall(found.group(1)) if found else []
    # PyTorch names these counters among the unexpected and never among the missing
    return tuple(key for key in keys if not key.endswith("num_batches_tracked"))


DECODERS: tuple[tuple[re.Pattern[str], Decoder], ...] = (
    (re.compile(r"Error\(s\) in loading state_dict for"), _loading),
    (_MISFIT, _one_misfit),
)
"""What each error is known by, and who explains it."""
