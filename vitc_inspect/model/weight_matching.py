"""Match the weights of a file to a model by name and shape, and copy them into its module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isqrt
from typing import TypeVar

import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError, first_three
from vitc_inspect.common.validation import A_MODEL, check_type
from vitc_inspect.model.checkpoint_formats import COUNTER, UnsupportedTensor
from vitc_inspect.model.checkpoints import Checkpoint
from vitc_inspect.model.modules import build
from vitc_inspect.model.weight_names import names_by_style
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec

Entry = TypeVar("Entry")


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A tensor whose shape differs from that of the weight with its name."""

    name: str
    """Name of the weight in this package, for example "proj.weight"."""
    key: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """Shape in the file."""
    needed: tuple[int, ...]
    """Shape of the weight."""

    def __str__(self) -> str:
        return f"{self.key} is {_sides(self.shape)} in the file and {_sides(self.needed)} here"


@dataclass(frozen=True, kw_only=True)
class WeightMatch:
    """Which weight of a model is loaded from which tensor, and what is left over on either side."""

    file: str
    """Name of the file."""
    style: str
    """Naming style of the file: "vitc_inspect", "timm" or "torchvision"."""
    keys: Mapping[str, str]
    """Name in the file of the tensor for each weight that gets one."""
    tensors: Mapping[str, Tensor]
    """The same tensors by name of the weight, in the number format of the file."""
    missing: tuple[str, ...]
    """Weights of the stem that the file lacks, by their names in the file's style."""
    odd: Mapping[str, UnsupportedTensor]
    """Weights of the stem stored in a form that cannot be copied, by name in the file."""
    misfits: tuple[Misfit, ...]
    """Weights of the stem that have another shape in the file."""
    encoder_missing: tuple[str, ...]
    """As `missing`, for the encoder."""
    encoder_misfits: tuple[Misfit, ...]
    """As `misfits`, for the encoder."""
    encoder_odd: tuple[str, ...]
    """As `odd`, for the encoder, names only."""
    unexpected: tuple[str, ...]
    """Names in the file that match no weight; those in a layer that is loaded come first."""
    notes: tuple[str, ...]
    """Remarks in sentences; what the stem lacks is in `error` and not here."""
    error: SpecError | None
    """Why the stem cannot have these weights, or None."""


def match_weights(checkpoint: Checkpoint, model: StemSpec | ViTSpec) -> WeightMatch:
    """Find the tensor for each weight of a stem or of a whole ViT.

    Args:
        checkpoint: Tensors of a file, named as in this package, in timm (also MoCo v3's
            convolutional stem) or in torchvision (also its convolutional stem).
        model: The stem, or the model.

    Returns:
        The tensors that can be copied, and the names of all others.

    Source:
        timm's models/vision_transformer.py; facebookresearch/moco-v3, vits.py; torchvision's
        models/vision_transformer.py and ops/misc.py.
    """
    check_type("checkpoint", checkpoint, Checkpoint, "Use what load_weights gives")
    check_type("model", model, (StemSpec, ViTSpec), A_MODEL)
    stem, depth = (model.stem, model.depth) if isinstance(model, ViTSpec) else (model, 0)
    needed, of_stem = _shapes(model), _shapes(stem).keys()
    found, unsupported = checkpoint.tensors, checkpoint.odd
    styles = names_by_style(needed, stem, depth)
    there = {*found, *unsupported}
    style, keys = max(styles, key=lambda each: sum(key in there for key in each[1].values()))
    tensors: dict[str, Tensor] = {}
    misfits: dict[str, Misfit] = {}
    odd: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name, key in keys.items():
        if key in found:
            shape = tuple(found[key].shape)
            if shape == needed[name]:
                tensors[name] = found[key]
            else:
                misfits[name] = Misfit(name=name, key=key, shape=shape, needed=needed[name])
        else:
            (odd if key in unsupported else missing)[name] = key

    def of(entries: Mapping[str, Entry], *, encoder: bool = False) -> tuple[Entry, ...]:
        """The entries of the weights of the stem, or of all others."""
        return tuple(entry for name, entry in entries.items() if (name in of_stem) != encoder)

    match = WeightMatch(
        file=checkpoint.file,
        style=style,
        keys={name: keys[name] for name in tensors},
        tensors=tensors,
        missing=of(missing),
        odd={key: unsupported[key] for key in of(odd)},
        misfits=of(misfits),
        encoder_missing=of(missing, encoder=True),
        encoder_misfits=of(misfits, encoder=True),
        encoder_odd=of(odd, encoder=True),
        unexpected=_unexpected(found, keys, tensors),
        notes=(),
        error=None,
    )
    notes = (*checkpoint.notes, *_notes(match))
    return replace(match, notes=notes, error=_stem_error(match, stem))


def _shapes(model: StemSpec | ViTSpec) -> dict[str, tuple[int, ...]]:
    """Shape of every weight and stored statistic by name, without allocating any of them."""
    with torch.device("meta"):
        state = build(model).state_dict()
    return {name: tuple(state[name].shape) for name in state if not name.endswith(COUNTER)}


def _unexpected(
    found: Mapping[str, Tensor], keys: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Names in the file that match no weight, those in a layer that is loaded first."""
    known = set(keys.values())
    loaded = {keys[name].rpartition(".")[0] for name in tensors}
    unknown = [key for key in found if key not in known]
    return tuple(sorted(unknown, key=lambda key: key.rpartition(".")[0] not in loaded))


def put_weights(module: nn.Module, match: WeightMatch) -> None:
    """Copy the tensors of a match into a module, converted to the module's number format.

    Args:
        module: What `build_stem` or `build_vit` gives for the model of the match. Weights that
            the file lacks keep their values.
        match: From `match_weights`.

    Raises:
        SpecError: field "weights", when the stem would not get all of its weights.
    """
    check_type("module", module, nn.Module, "Use what build_stem gives")
    check_type("match", match, WeightMatch, "Use what match_weights gives")
    if match.error:
        raise match.error
    targets = module.state_dict()  # shares its memory with the module
    with torch.no_grad():
        for name, tensor in match.tensors.items():
            targets[name].copy_(tensor)


def _stem_error(match: WeightMatch, stem: StemSpec) -> SpecError | None:
    """Why the weights cannot be copied into the stem, or None if they can."""
    if not match.missing and not match.misfits and not match.odd:
        return None
    if not match.tensors and not match.misfits and not match.odd:
        reason = f"none of its names is known, such as {first_three(match.unexpected[:1])}"
        fix = "Use the names of this package, timm or torchvision"
        return SpecError("weights", match.file, reason, fix)
    if not match.missing and not match.odd and len(match.misfits) == 1:
        misfit = match.misfits[0]
        if fix := _channels_fix(misfit, stem):
            return SpecError("weights", match.file, str(misfit), fix)
        same_but_rows = len(misfit.shape) == 3 and misfit.shape[::2] == misfit.needed[::2]
        if misfit.name == "pos_embed.table" and same_but_rows:
            return _table_error(match.file, stem, misfit)
    parts = [first_three(match.misfits)] if match.misfits else []
    parts += [f"the file lacks {first_three(match.missing)}"] if match.missing else []
    kinds: dict[UnsupportedTensor, list[str]] = {}
    for key, kind in match.odd.items():
        kinds.setdefault(kind, []).append(key)
    for kind, names in kinds.items():
        verb = "is" if len(names) == 1 else "are"
        parts.append(f"{first_three(names)} {verb} {kind.what} in the file")
    fix = "Use a file saved from this stem"
    if kinds and not match.misfits and not match.missing:
        kind, names = next(iter(kinds.items()))
        fix = kind.fix.format(names[0] if len(names) == 1 else "tensor")
    return SpecError("weights", match.file, "; ".join(parts), fix)


def _channels_fix(misfit: Misfit, stem: StemSpec) -> str:
    """The fix for a first kernel made for another number of image channels; else empty.

    A grey image is repeated in each of several channels. So the sum of their kernels does to one
    channel what they do to all; and one kernel divided by their number does to each its share.
    """
    if misfit.name != f"{stem.stages[0].name}.weight" or len(misfit.shape) != 4:
        return ""
    there, here = misfit.shape[1], misfit.needed[1]
    channels_alone = misfit.shape == (misfit.needed[0], there, *misfit.needed[2:])
    if not channels_alone or stem.convs[0].groups > 1 or not there:
        return ""
    fix = f"Use in_channels={there}"
    if here == 1:
        return f"{fix}, or save the sum, {misfit.key}.sum(1, keepdim=True)"
    if there == 1:
        return f"{fix}, or save it repeated, {misfit.key}.repeat(1, {here}, 1, 1) / {here}"
    return fix


def _table_error(file: str, stem: StemSpec, table: Misfit) -> SpecError:
    """The error for a position table of another length, with the image size it was made for."""
    there, here = table.shape[1], table.needed[1]
    token = "class token, " if abs(there - here) == 1 else ""
    reason = f"its position table {table.key} has {there} rows for {here} tokens: the {token}"
    reason += "image size or stride differs"
    size = " x ".join(map(str, stem.image_size))
    fix = f"a file made for {size} pixels and stride {stem.total_stride}"
    side = isqrt(max(0, there - stem.num_prefix_tokens)) * stem.total_stride
    with suppress(SpecError):  # a side of 0, or one shorter than a kernel
        if replace(stem, image_size=(side, side)).seq_len == there:
            fix = f"an image of {side} x {side} pixels, or {fix}"
    return SpecError("weights", file, reason, f"Use {fix}")


def _notes(match: WeightMatch) -> Iterator[str]:
    """What was not loaded, and what is unusual about the numbers that were."""
    lists: dict[str, Sequence[object]] = {
        "Drawn from the seed, since the file lacks them": match.encoder_missing,
        "Drawn from the seed, since of another shape": match.encoder_misfits,
        "Drawn from the seed, since of no plain numbers": match.encoder_odd,
        "In the file and not used": match.unexpected,
    }
    for words, names in lists.items():
        if names:
            yield f"{words}: {first_three(names)}."
    formats = {str(tensor.dtype).removeprefix("torch.") for tensor in match.tensors.values()}
    if formats - {"float32"}:
        yield f"The file's numbers are {' and '.join(sorted(formats))}."
    broken = [
        match.keys[name]
        for name, tensor in match.tensors.items()
        if not tensor.float().isfinite().all()
    ]
    if broken:
        yield f"Not all numbers are finite: {first_three(broken)}."


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
