"""Read weights from a file without running code in it, and write them to one."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError, first_three, one_line, with_article
from vitc_inspect.common.validation import check_type, unreadable_reason
from vitc_inspect.model.checkpoint_formats import (
    COUNTER,
    READ_BYTES,
    SAVE,
    UnsupportedTensor,
    foreign_archive,
    foreign_file,
    unsupported_tensor,
)

MAX_FILE_BYTES = 4 * 2**30
"""Largest file that is read (bytes)."""

_WRAPPERS = ("state_dict", "model", "model_ema")
"""Keys under which training scripts store the weights, the most common first."""
_PREFIXES = ("_orig_mod.", "module.", "base_encoder.")
"""Prefixes that torch.compile, nn.DataParallel and MoCo v3 put before every name."""
_DEPTH = 4
"""Deepest nesting that is searched; a pickle can contain itself."""
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors stored in one file."""

    file: str
    """Name of the file, without its folder."""
    tensors: Mapping[str, Tensor]
    """Tensors by name, without a prefix shared by all names; in any floating-point format, on
    the CPU, memory-mapped where the format allows it, so that only what is used is read."""
    notes: tuple[str, ...]
    """Sentences on what was chosen or left out."""
    odd: Mapping[str, UnsupportedTensor] = field(default_factory=dict)
    """Tensors that were left out because they cannot be copied into a weight."""


def load_weights(path: str | Path) -> Checkpoint:
    """Read the tensors of a file without running any code in it.

    Args:
        path: A safetensors file or one of torch.save, recognised by its content. The tensors may
            be nested under "state_dict", "model" or "model_ema", and their names may begin with
            "module.".

    Returns:
        The tensors by name.

    Raises:
        SpecError: field "weights", when the file does not exist, is larger than
            MAX_FILE_BYTES, is damaged, has another format, or holds more than tensors.

    Source:
        huggingface/safetensors, README, section "Format"; torch.load, argument weights_only.
    """
    path = _checked(path)
    name = one_line(path.name)
    try:
        with _utf8_path(path) as readable:
            content = _content(readable, name)
    except SpecError:
        raise
    except pickle.UnpicklingError:
        reason = "it is damaged, or asks for more than tensors, and nothing in a file is ever run"
        raise SpecError("weights", name, reason, SAVE) from None
    except Exception:  # noqa: BLE001  # for a damaged file the readers raise almost anything
        reason = "the file is cut short or damaged"
        raise SpecError("weights", name, reason, "Use a whole file") from None
    found, notes = _unwrapped(content, name)
    named = {
        key: value
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, Tensor) and not key.endswith(COUNTER)
    }
    odd = {key: kind for key, value in named.items() if (kind := unsupported_tensor(value))}
    tensors = {key: value for key, value in named.items() if key not in odd}
    if not named:
        reason = "it holds no weights by name"
        raise SpecError("weights", name, reason, "Use a file made from a state_dict")
    if odd:
        notes.append(f"Left out, since not plain floating-point numbers: {first_three([*odd])}.")
    return Checkpoint(
        file=name,
        tensors=_without_prefixes(tensors),
        notes=tuple(notes),
        odd=_without_prefixes(odd),
    )


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write a module's weights and stored statistics to a safetensors file.

    Args:
        module: A stem or a model.
        path: File to write. An existing file is replaced once the new one is complete.

    Raises:
        SpecError: field "weights", when the file cannot be written; field "module", when a weight
            cannot be stored as it is.
    """
    check_type("module", module, nn.Module, "Use what build_stem gives")
    if not isinstance(path, (str, Path)):
        raise SpecError("weights", path, "it is not a path", 'Use "stem.safetensors"')
    state = {name: _plain(name, value) for name, value in module.state_dict().items()}
    try:
        target = Path(path)
        draft = target.with_name(f"{target.name}.part")
        save_file(state, draft, metadata={"format": "pt"})
        os.replace(draft, target)  # the old file may still be memory-mapped by a Checkpoint
    except (OSError, ValueError, safetensors.SafetensorError):
        reason = "it cannot be written"
        raise SpecError("weights", str(path), reason, "Use a folder that may be written") from None


def _plain(name: str, value: Any) -> Tensor:
    """A contiguous copy of a weight; safetensors refuses tensors that share memory.

    Raises:
        SpecError: field "module", naming the weight.
    """
    what = with_article(type(value).__name__)
    if isinstance(value, Tensor):
        special = value.is_nested or value.is_quantized or value.is_meta
        kind = unsupported_tensor(value)  # integers can be written all the same
        what = kind.what if kind and (special or value.layout != torch.strided) else ""
    if what:
        reason = f"{name} in its state_dict is {what}"
        raise SpecError("module", name, reason, "Save it with torch.save")
    tensor: Tensor = value
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _checked(path: str | Path) -> Path:
    """Check that a path is that of a file that can be read and is not too large."""
    fix = "Use the path of a .safetensors or .pt file"
    if not isinstance(path, (str, Path)):
        raise SpecError("weights", type(path).__name__, "it is not a path", fix)
    if reason := unreadable_reason(path):
        raise SpecError("weights", str(path), reason, fix)
    file = Path(path)
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        reason = f"its {size:,} bytes are more than {MAX_FILE_BYTES:,}"
        raise SpecError("weights", file.name, reason, "Use a file of the weights alone")
    return file


@contextmanager
def _utf8_path(path: Path) -> Iterator[Path]:
    """A path in UTF-8, as all readers need; for any other path that of the open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with _nameless(path) as nameless:
            yield nameless
    else:
        yield path


@contextmanager
def _nameless(path: Path) -> Iterator[Path]:
    """The path of the open file, which says nothing of its name."""
    with path.open("rb") as file:
        yield Path(f"/dev/fd/{file.fileno()}")


def _content(path: Path, name: str) -> Any:
    """What the file holds: tensors by name for safetensors, any plain object for torch.save."""
    with path.open("rb") as file:
        start = file.read(READ_BYTES)
    if start[8:9] == b"{":  # the JSON header, after its length
        return load_file(path)
    if start[:2] == b"PK":  # a zip archive, as torch.save writes
        _refuse_archive(path, name)
        _refuse_code(path, name)
        return _loaded(path, mmap=True)
    if start[:1] == b"\x80":  # a pickle, as torch.save wrote before version 1.6
        return _loaded(path, mmap=False)
    reason = "it is neither a safetensors file nor one of torch.save"
    reason, fix = foreign_file(start) or (reason, "Use a .safetensors or .pt file")
    raise SpecError("weights", name, reason, fix)


def _refuse_archive(path: Path, name: str) -> None:
    """Refuse archives not made by torch.save, and compressed ones, which may outgrow the memory."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if other := foreign_archive([part.filename for part in parts]):
        raise SpecError("weights", name, *other)
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise zipfile.BadZipFile


def _refuse_code(path: Path, name: str) -> None:
    """Refuse a pickle that needs more than tensors, naming what torch.load would not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if wanted:
        reason = f"it asks for {first_three(sorted(wanted))}, and nothing in a file is ever run"
        arrays = all(each.startswith("numpy.") for each in wanted)
        fix = "Save torch.from_numpy(array) for each array" if arrays else SAVE
        raise SpecError("weights", name, reason, fix)


def _loaded(path: Path, *, mmap: bool) -> Any:
    # torch.load reads a file of that name as safetensors, whatever it holds
    misnamed = path.name.endswith(".safetensors")
    with warnings.catch_warnings(), _nameless(path) if misnamed else nullcontext(path) as readable:
        warnings.simplefilter("ignore")
        return torch.load(readable, map_location="cpu", weights_only=True, mmap=mmap)


def _unwrapped(content: Any, name: str) -> tuple[Mapping[Any, Any], list[str]]:
    """The innermost mapping of names to tensors, and notes on what was passed over."""
    notes: list[str] = []
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            break
        inner = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner and not _holds_tensors(content):
            inner = [key for key, value in content.items() if _holds_tensors(value)]
            if len(inner) > 1:
                reason = f"it holds weights under each of {first_three(inner)}"
                raise SpecError("weights", name, reason, "Save those of one model alone")
            notes += [f"The weights under {first_three(inner)} were taken."] if inner else []
        if not inner:
            return content, notes
        if len(inner) > 1:
            others = " and ".join(inner[1:])
            notes.append(f"The weights under {inner[0]} were taken, not those under {others}.")
        content = content[inner[0]]
    return {}, notes


def _holds_tensors(content: Any) -> bool:
    """Whether the content is a mapping of names to tensors, among others."""
    return isinstance(content, Mapping) and any(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )


def _without_prefixes(tensors: dict[str, Value]) -> dict[str, Value]:
    """Remove the prefixes of training programs from the names."""
    for prefix in _PREFIXES * 2:  # in any order
        tensors = {
            key if (bare := key.removeprefix(prefix)) in tensors else bare: value
            for key, value in tensors.items()
        }
    return tensors
