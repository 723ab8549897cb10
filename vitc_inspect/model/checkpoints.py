"""Weights from a file: read without running anything, and matched to a stem by name and shape."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import isqrt
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError, one_line, with_article
from vitc_inspect.common.validation import A_MODEL, check_type, unreadable_reason
from vitc_inspect.model.checkpoint_formats import (
    READ_BYTES,
    SAVE,
    Oddity,
    foreign,
    foreign_archive,
    oddity_of,
)
from vitc_inspect.model.modules import build_stem, build_vit
from vitc_inspect.stem.spec import Stage, StemSpec
from vitc_inspect.stem.vit import ViTSpec

MAX_FILE_BYTES = 4 * 2**30
"""Largest file that is opened."""

_WRAPPERS = ("state_dict", "model", "model_ema")
"""Keys under which training programs put the weights, the likeliest first."""
_PREFIXES = ("_orig_mod.", "module.", "base_encoder.")
"""What torch.compile, nn.DataParallel and MoCo v3 put before every name."""
_DEPTH = 4
"""Most mappings within each other; a pickle can hold itself."""
_COUNTER = "num_batches_tracked"
"""How many batches a BatchNorm has seen; no output depends on it, and it is never read."""

_BROKEN_FILE = (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    OverflowError,
    MemoryError,
)
"""What the readers raise on a broken file."""

Named = TypeVar("Named")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors of one file."""

    file: str
    """Name of the file, without its folder."""
    tensors: Mapping[str, Tensor]
    """By name, what wraps all names taken off; of any floating-point format, on the CPU, and
    mapped from the file where the format allows it, so that only what is used is read."""
    notes: tuple[str, ...]
    """What was chosen or left out, in sentences."""
    odd: Mapping[str, Oddity] = field(default_factory=dict)
    """The tensors that were left out, since no weight can be made of them as they are."""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A tensor of the file that has another shape than the weight of its name."""

    name: str
    """Name of our weight, for example "proj.weight"."""
    key: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """Shape in the file."""
    needed: tuple[int, ...]
    """Shape of our weight."""

    def __str__(self) -> str:
        return f"{self.key} is {_sides(self.shape)} in the file and {_sides(self.needed)} here"


@dataclass(frozen=True, kw_only=True)
class WeightMatch:
    """Which of our weights gets which tensor of a file, and what is left over on either side."""

    file: str
    """Name of the file."""
    style: str
    """Whose names the file uses: "vitc_inspect", "timm" or "torchvision"."""
    keys: Mapping[str, str]
    """For each weight that gets a tensor, that tensor's name in the file."""
    tensors: Mapping[str, Tensor]
    """The same tensors by the name of our weight, in the format of the file."""
    missing: tuple[str, ...]
    """Names, as the file would have them, of weights of the stem that it lacks."""
    odd: Mapping[str, Oddity]
    """Weights that the file has in a form that cannot be copied, by their names in the file."""
    misfits: tuple[Misfit, ...]
    """Weights of the stem that have another shape in the file."""
    encoder_missing: tuple[str, ...]
    """As `missing`, of the encoder."""
    encoder_misfits: tuple[Misfit, ...]
    """As `misfits`, of the encoder."""
    encoder_odd: tuple[str, ...]
    """As `odd`, of the encoder, the names alone."""
    unexpected: tuple[str, ...]
    """Names in the file that no weight has, those beside a weight that is used first."""
    notes: tuple[str, ...]
    """What a reader should know, in sentences; what the stem lacks is an error and not here."""
    error: SpecError | None
    """Why the stem cannot have these weights, or None."""


def load_weights(path: str | Path) -> Checkpoint:
    """Read the tensors of a file, and nothing else: no code in it is ever run.

    Args:
        path: A safetensors file or one of torch.save, told apart by their content. Tensors may
            lie under "state_dict", "model" or "model_ema", and all names may begin with
            "module.".

    Returns:
        The tensors by name.

    Raises:
        SpecError: field "weights", when there is no such file, it is larger than
            MAX_FILE_BYTES, damaged, neither format, or asks for more than tensors.

    Source:
        huggingface/safetensors, README, section "Format"; torch.load, argument weights_only.
    """
    path = _checked(path)
    name = one_line(path.name)
    try:
        with _named_in_utf8(path) as readable:
            content = _content(readable, name)
    except SpecError:
        raise
    except pickle.UnpicklingError:
        reason = "it is damaged, or asks for more than tensors, and nothing in a file is ever run"
        raise SpecError("weights", name, reason, SAVE) from None
    except _BROKEN_FILE:
        reason = "the file is cut short or damaged"
        raise SpecError("weights", name, reason, "Use a whole file") from None
    found, notes = _unwrapped(content, name)
    named = {
        key: value
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, Tensor) and not key.endswith(_COUNTER)
    }
    odd = {key: odd for key, value in named.items() if (odd := oddity_of(value))}
    tensors = {key: value for key, value in named.items() if key not in odd}
    if not named:
        reason = "it holds no weights by name"
        raise SpecError("weights", name, reason, "Use a file made from a state_dict")
    if odd:
        notes.append(f"Left out, since not plain floating-point numbers: {_some([*odd])}.")
    return Checkpoint(file=name, tensors=_bared(tensors), notes=tuple(notes), odd=_bared(odd))


def match_weights(checkpoint: Checkpoint, model: StemSpec | ViTSpec) -> WeightMatch:
    """Find the tensor of each weight of a stem or of a whole ViT.

    Args:
        checkpoint: A file's tensors, under the names of this package, of timm (also MoCo v3's
            convolutional stem) or of torchvision (also its convolutional stem).
        model: The stem, or the model.

    Returns:
        Every tensor that has its place, and by name all that has none.

    Source:
        timm's models/vision_transformer.py; facebookresearch/moco-v3, vits.py; torchvision's
        models/vision_transformer.py and ops/misc.py.
    """
    check_type("checkpoint", checkpoint, Checkpoint, "Use what load_weights gives")
    check_type("model", model, (StemSpec, ViTSpec), A_MODEL)
    vit = model if isinstance(model, ViTSpec) else None
    stem = model.stem if isinstance(model, ViTSpec) else model
    needed, of_stem = _shapes(model), _shapes(stem).keys()
    found, odd = checkpoint.tensors, checkpoint.odd
    there = {*found, *odd}
    styles = [
        (style, _keys(needed, prefixes))
        for style, prefixes in _styles(stem, vit.depth if vit else 0)
    ]
    style, keys = max(styles, key=lambda each: sum(key in there for key in each[1].values()))
    misfits = [
        Misfit(name=name, key=key, shape=tuple(found[key].shape), needed=needed[name])
        for name, key in keys.items()
        if key in found and tuple(found[key].shape) != needed[name]
    ]
    lost = {misfit.name for misfit in misfits}
    tensors = {name: found[key] for name, key in keys.items() if key in found and name not in lost}
    beside = {keys[name].rpartition(".")[0] for name in tensors}
    known = set(keys.values())
    unexpected = [key for key in found if key not in known]
    unexpected.sort(key=lambda key: key.rpartition(".")[0] not in beside)
    match = WeightMatch(
        file=checkpoint.file,
        style=style,
        keys={name: keys[name] for name in tensors},
        tensors=tensors,
        missing=tuple(k for name, k in keys.items() if k not in there and name in of_stem),
        odd={k: odd[k] for n, k in keys.items() if k in odd and k not in found and n in of_stem},
        misfits=tuple(misfit for misfit in misfits if misfit.name in of_stem),
        encoder_missing=tuple(
            k for name, k in keys.items() if k not in there and name not in of_stem
        ),
        encoder_odd=tuple(
            k for n, k in keys.items() if k in odd and k not in found and n not in of_stem
        ),
        encoder_misfits=tuple(misfit for misfit in misfits if misfit.name not in of_stem),
        unexpected=tuple(unexpected),
        notes=(),
        error=None,
    )
    notes = (*checkpoint.notes, *_notes(match))
    return replace(match, notes=notes, error=_stem_error(match, stem))


def put_weights(module: nn.Module, match: WeightMatch) -> None:
    """Copy the tensors of a match into a module, into the module's own number format.

    Args:
        module: What `build_stem` or `build_vit` gives for the model of the match. Weights that
            the file lacks stay as they are.
        match: From `match_weights`.

    Raises:
        SpecError: field "weights", when the stem would not get all of its weights.
    """
    check_type("module", module, nn.Module, "Use what build_stem gives")
    check_type("match", match, WeightMatch, "Use what match_weights gives")
    if match.error:
        raise match.error
    places = module.state_dict()  # shares its memory with the module
    with torch.no_grad():
        for name, tensor in match.tensors.items():
            places[name].copy_(tensor)


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write a module's weights and stored statistics to a safetensors file.

    Args:
        module: A stem or a model.
        path: Where to; what was there is replaced once the new file is whole.

    Raises:
        SpecError: field "weights", when the file cannot be written.
    """
    check_type("module", module, nn.Module, "Use what build_stem gives")
    if not isinstance(path, (str, Path)):
        raise SpecError("weights", path, "it is no path", 'Use "stem.safetensors"')
    state = {name: _plain(name, value) for name, value in module.state_dict().items()}
    try:
        target = Path(path)
        draft = target.with_name(f"{target.name}.part")
        save_file(state, draft, metadata={"format": "pt"})
        os.replace(draft, target)  # a checkpoint may still be mapped from the file that was there
    except (OSError, ValueError, safetensors.SafetensorError):
        reason = "it cannot be written"
        raise SpecError("weights", str(path), reason, "Use a folder that may be written") from None


def _plain(name: str, value: Any) -> Tensor:
    """A weight as a file can hold it, in memory of its own; safetensors lets none share it.

    Raises:
        SpecError: field "module", naming the weight.
    """
    what = with_article(type(value).__name__)
    if isinstance(value, Tensor):
        odd = oddity_of(value)
        plain = value.layout == torch.strided and not value.is_nested
        plain = plain and not (value.is_quantized or value.is_meta)
        what = odd.what if odd and not plain else ""  # whole numbers can be written
    if what:
        reason = f"{name} in its state_dict is {what}"
        raise SpecError("module", name, reason, "Save it with torch.save")
    tensor: Tensor = value
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _checked(path: str | Path) -> Path:
    """The path of a file that is not too large."""
    fix = "Use the path of a .safetensors or .pt file"
    if not isinstance(path, (str, Path)):
        raise SpecError("weights", type(path).__name__, "it is no path", fix)
    if reason := unreadable_reason(path):
        raise SpecError("weights", str(path), reason, fix)
    file = Path(path)
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        reason = f"its {size:,} bytes are more than {MAX_FILE_BYTES:,}"
        raise SpecError("weights", file.name, reason, "Use a file of the weights alone")
    return file


@contextmanager
def _named_in_utf8(path: Path) -> Iterator[Path]:
    """A path that every reader takes; for a name that is not UTF-8, that of the open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def _content(path: Path, name: str) -> Any:
    """What lies in the file: tensors by name for safetensors, any plain object for torch.save."""
    with path.open("rb") as file:
        start = file.read(READ_BYTES)
    if start[8:9] == b"{":  # after the length of the header, the header
        return load_file(path)
    if start[:2] == b"PK":  # a zip archive, as torch.save makes
        _refuse_archive(path, name)
        _refuse_code(path, name)
        return _loaded(path, mmap=True)
    if start[:1] == b"\x80":  # a pickle, as torch.save made before 1.6
        return _loaded(path, mmap=False)
    reason = "it is neither a safetensors file nor one of torch.save"
    reason, fix = foreign(start) or (reason, "Use a .safetensors or .pt file")
    raise SpecError("weights", name, reason, fix)


def _refuse_archive(path: Path, name: str) -> None:
    """torch.save compresses nothing; what is compressed may become larger than any memory."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    other = foreign_archive([part.filename for part in parts])
    if other:
        raise SpecError("weights", name, *other)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise zipfile.BadZipFile


def _refuse_code(path: Path, name: str) -> None:
    """Name what a file asks for besides tensors, before it is loaded, which would refuse it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if wanted:
        reason = f"it asks for {_some(sorted(wanted))}, and nothing in a file is ever run"
        arrays = all(each.startswith("numpy.") for each in wanted)
        fix = "Save torch.from_numpy(array) for each array" if arrays else SAVE
        raise SpecError("weights", name, reason, fix)


def _loaded(path: Path, *, mmap: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def _unwrapped(content: Any, name: str) -> tuple[Mapping[Any, Any], list[str]]:
    """The innermost mapping of names to tensors, and what was passed over on the way."""
    notes: list[str] = []
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            break
        inner = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner and not _holds_tensors(content):
            inner = [key for key, value in content.items() if _holds_tensors(value)]
            if len(inner) > 1:
                reason = f"it holds weights under each of {_some(inner)}"
                raise SpecError("weights", name, reason, "Save those of one model alone")
            notes += [f"The weights under {_some(inner)} were taken."] if inner else []
        if not inner:
            return content, notes
        if len(inner) > 1:
            others = " and ".join(inner[1:])
            notes.append(f"The weights under {inner[0]} were taken, not those under {others}.")
        content = content[inner[0]]
    return {}, notes


def _holds_tensors(content: Any) -> bool:
    """Whether it is a mapping with tensors by name."""
    return isinstance(content, Mapping) and any(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )


def _bared(tensors: dict[str, Named]) -> dict[str, Named]:
    """The same without what a training program put before the names."""
    for prefix in _PREFIXES * 2:  # in whichever order they were put
        tensors = {
            key if (bare := key.removeprefix(prefix)) in tensors else bare: value
            for key, value in tensors.items()
        }
    return tensors


def _shapes(model: StemSpec | ViTSpec) -> dict[str, tuple[int, ...]]:
    """Shape of every weight and stored statistic, by name, without the memory for them."""
    with torch.device("meta"):
        module = build_vit(model) if isinstance(model, ViTSpec) else build_stem(model)
    state = module.state_dict()
    return {name: tuple(state[name].shape) for name in state if not name.endswith(_COUNTER)}


def _keys(names: Collection[str], prefixes: Mapping[str, str]) -> dict[str, str]:
    """For each of our names the file's, which is our own where the style has none."""
    keys = {}
    for name in names:
        ours = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        keys[name] = prefixes.get(ours, "") + name.removeprefix(ours)
    return keys


def _styles(stem: StemSpec, depth: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Each style of names: how our names begin, and how the same names begin there."""
    yield "vitc_inspect", {}
    yield "timm", {**_timm_stem(stem.stages), **_blocks("blocks.{}.", _TIMM_BLOCK, depth)}
    theirs, layer = _torchvision_stem(stem.stages), "encoder.layers.encoder_layer_{}."
    yield "torchvision", {**theirs, **_blocks(layer, _TORCHVISION_BLOCK, depth)}
    # before 0.13 the two layers of the MLP had names
    old = {**_TORCHVISION_BLOCK, "fc1.": "mlp.linear_1.", "fc2.": "mlp.linear_2."}
    yield "torchvision", {**theirs, **_blocks(layer, old, depth)}


_TIMM_BLOCK: Mapping[str, str] = {
    "norm1.": "norm1.",
    "qkv.": "attn.qkv.",
    "out.": "attn.proj.",
    "norm2.": "norm2.",
    "fc1.": "mlp.fc1.",
    "fc2.": "mlp.fc2.",
}
_TORCHVISION_BLOCK: Mapping[str, str] = {
    "norm1.": "ln_1.",
    "qkv.": "self_attention.in_proj_",
    "out.": "self_attention.out_proj.",
    "norm2.": "ln_2.",
    "fc1.": "mlp.0.",
    "fc2.": "mlp.3.",
}


def _blocks(pattern: str, layers: Mapping[str, str], depth: int) -> dict[str, str]:
    """The layers of every block; ours count from 1, others from 0."""
    return {
        f"block{number + 1}.{ours}": pattern.format(number) + theirs
        for number in range(depth)
        for ours, theirs in layers.items()
    }


def _timm_stem(stages: Sequence[Stage]) -> dict[str, str]:
    """timm's patch embedding, or MoCo v3's nn.Sequential in its place."""
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
    """torchvision's patchify convolution or its convolutional stem, and what is about them."""
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


def _stem_error(match: WeightMatch, stem: StemSpec) -> SpecError | None:
    """Why the stem cannot have the weights, or None if it can."""
    if not match.missing and not match.misfits and not match.odd:
        return None
    if not match.tensors and not match.misfits and not match.odd:
        reason = f"none of its names is known, such as {_some(match.unexpected[:1])}"
        fix = "Use the names of this package, timm or torchvision"
        return SpecError("weights", match.file, reason, fix)
    if not match.missing and not match.odd and len(match.misfits) == 1:
        table = match.misfits[0]
        if channels := _channels_fix(table, stem):
            return SpecError("weights", match.file, str(table), channels)
        if (
            table.name == "pos_embed.table"
            and len(table.shape) == 3
            and table.shape[::2] == table.needed[::2]
        ):
            return _table_error(match.file, stem, table)
    parts = [_some(match.misfits)] if match.misfits else []
    parts += [f"the file lacks {_some(match.missing)}"] if match.missing else []
    kinds: dict[Oddity, list[str]] = {}
    for key, odd in match.odd.items():
        kinds.setdefault(odd, []).append(key)
    for odd, names in kinds.items():
        parts.append(f"{_some(names)} {'is' if len(names) == 1 else 'are'} {odd.what} in the file")
    fix = "Use a file of this very stem"
    if kinds and not match.misfits and not match.missing:
        odd, names = next(iter(kinds.items()))
        fix = odd.fix.format(names[0] if len(names) == 1 else "tensor")
    return SpecError("weights", match.file, "; ".join(parts), fix)


def _channels_fix(misfit: Misfit, stem: StemSpec) -> str:
    """What to do where the first kernels were made for images of other channels; else empty.

    A grey image stands in each of several channels alike: the sum of their kernels sees in one
    what they see in all, and one kernel over their number in each what it sees alone.
    """
    if misfit.name != f"{stem.stages[0].name}.weight" or len(misfit.shape) != 4:
        return ""
    there, here = misfit.shape[1], misfit.needed[1]
    if (misfit.shape[0], *misfit.shape[2:]) != (misfit.needed[0], *misfit.needed[2:]):
        return ""
    if stem.convs[0].groups > 1 or not there:
        return ""
    fix = f"Use in_channels={there}"
    if here == 1:
        return f"{fix}, or save the sum, {misfit.key}.sum(1, keepdim=True)"
    if there == 1:
        return f"{fix}, or save it repeated, {misfit.key}.repeat(1, {here}, 1, 1) / {here}"
    return fix


def _table_error(file: str, stem: StemSpec, table: Misfit) -> SpecError:
    """Why a position table is too long or too short, and the image that it was made for."""
    there, here = table.shape[1], table.needed[1]
    cause = (
        "class token, image size or stride" if abs(there - here) == 1 else "image size or stride"
    )
    reason = (
        f"its position table {table.key} has {there} rows for {here} tokens: the {cause} differs"
    )
    fix = f"Use a file made for {' x '.join(map(str, stem.image_size))} pixels and stride"
    fix = f"{fix} {stem.total_stride}"
    side = isqrt(max(0, there - stem.num_prefix_tokens)) * stem.total_stride
    with suppress(SpecError):  # a side of 0, or one that a kernel is too long for
        if replace(stem, image_size=(side, side)).seq_len == there:
            fix = f"Use an image of {side} x {side} pixels, or {fix[4:]}"
    return SpecError("weights", file, reason, fix)


def _notes(match: WeightMatch) -> Iterator[str]:
    """What did not find its place, and what is odd about the numbers that did."""
    if match.encoder_missing:
        yield f"Drawn from the seed, since the file lacks them: {_some(match.encoder_missing)}."
    if match.encoder_misfits:
        yield f"Drawn from the seed, since of another shape: {_some(match.encoder_misfits)}."
    if match.encoder_odd:
        yield f"Drawn from the seed, since of no plain numbers: {_some(match.encoder_odd)}."
    if match.unexpected:
        yield f"In the file and not used: {_some(match.unexpected)}."
    formats = {str(tensor.dtype).removeprefix("torch.") for tensor in match.tensors.values()}
    if formats - {"float32"}:
        yield f"The file's numbers are {' and '.join(sorted(formats))}."
    broken = [
        match.keys[name]
        for name, tensor in match.tensors.items()
        if not tensor.float().isfinite().all()
    ]
    if broken:
        yield f"Not all numbers are finite: {_some(broken)}."


def _some(names: Sequence[object]) -> str:
    """Up to three of a list in words, and how many more there are."""
    texts = (str(name) for name in names[:3])
    shown = ", ".join("".join(c if c.isprintable() else "?" for c in t[:200]) for t in texts)
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
