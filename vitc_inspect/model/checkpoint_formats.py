"""What a file of weights can be besides weights, and its tensors besides plain numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

READ_BYTES = 64
"""How much of a file's beginning tells what it is (bytes)."""
SAVE = 'Save the state_dict alone, torch.save(model.state_dict(), "model.pt")'
"""What to do about a file that holds more than tensors by name."""


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """Why no weight can be made of a tensor as it is, and how one is made of it."""

    what: str
    """What the tensor is, to stand behind "it is"."""
    fix: str
    """What to save in its place, without a full stop; {} stands for the tensor."""


def oddity_of(tensor: Tensor) -> Oddity | None:
    """Tell what a tensor is that holds no plain floating-point numbers; None for one that does.

    >>> oddity_of(torch.zeros(2)), oddity_of(torch.zeros(2, dtype=torch.int8)).what
    (None, 'of whole numbers (int8)')
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_nested:
        return Oddity(what="a nested tensor", fix="Save each of {}.unbind() by a name of its own")
    if tensor.is_quantized:
        return Oddity(what=f"quantized ({kind})", fix="Save {}.dequantize()")
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        return Oddity(what=f"sparse ({layout})", fix="Save {}.to_dense()")
    if tensor.is_meta:
        fix = "Save it from a model that was loaded, not only made on the meta device"
        return Oddity(what="a shape without numbers (on the meta device)", fix=fix)
    if tensor.is_complex():
        return Oddity(what=f"of complex numbers ({kind})", fix="Save {}.real")
    if tensor.dtype == torch.bool:
        return Oddity(what="of True and False", fix="Save {}.float()")
    if tensor.is_floating_point() and tensor.itemsize * 8 // _parts(kind) >= 8:
        return None
    if kind.startswith(("bits", "uint", "int")) and tensor.itemsize * 8 in _WHOLE:
        fix = "Save {}.float(), times the scale that it was quantized with, if it was"
        return Oddity(what=f"of whole numbers ({kind})", fix=fix)
    return Oddity(what=f"of packed numbers ({kind})", fix="Save {} as it was before it was packed")


_WHOLE = (8, 16, 32, 64)  # bits of whole numbers that are not packed


def _parts(kind: str) -> int:
    """How many numbers share one element: 2 in float4_e2m1fn_x2."""
    count = kind.rpartition("_x")[2]
    return int(count) if count.isdecimal() else 1


def foreign(start: bytes) -> tuple[str, str] | None:
    """Tell what a file is that is none of weights, by its beginning, and what to do about it.

    >>> foreign(b"\\x89HDF")[0]
    'it is a file of HDF5, as Keras writes'
    """
    if not start:
        return "it is empty", "Use a whole file"
    head = start.lstrip().lower()
    return next((said for begin, said in _BEGINNINGS.items() if head.startswith(begin)), None)


_A_FILE = "Use a .safetensors or .pt file"
_BEGINNINGS: Mapping[bytes, tuple[str, str]] = MappingProxyType(
    {
        b"\x89hdf": ("it is a file of HDF5, as Keras writes", _A_FILE),
        b"version https://git-lfs": (
            "it is a pointer of Git LFS, and not the file that it points to",
            "Fetch that by git lfs pull",
        ),
        b"<!doctype": ("it is a web page", "Download the file itself"),
        b"<html": ("it is a web page", "Download the file itself"),
        b"\x93numpy": ("it is an array of NumPy", _A_FILE),
        b"gguf": ("it is a file of GGUF", _A_FILE),
        b"{": ("it is JSON, as the index of several files is", "Use one of the files it names"),
        b"\x1f\x8b": ("it is compressed by gzip", "Unpack it"),
        b"7z\xbc\xaf": ("it is compressed by 7-Zip", "Unpack it"),
        b"\x28\xb5\x2f\xfd": ("it is compressed by Zstandard", "Unpack it"),
    }
)


def foreign_archive(names: Collection[str]) -> tuple[str, str] | None:
    """Tell what a zip archive is that torch.save did not make, by the names of what is in it.

    >>> foreign_archive(["a/data.pkl", "a/data/0"]) is None, foreign_archive(["x.npy"])[0]
    (True, 'it holds arrays of NumPy')
    """
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a program of TorchScript", (
            'Save torch.jit.load(path).state_dict() as "model.pt"'
        )
    if any(name.endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "it holds arrays of NumPy", _A_FILE
    return "it is a zip archive, and torch.save did not make it", _A_FILE
