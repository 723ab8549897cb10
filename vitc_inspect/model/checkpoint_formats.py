"""Files and tensors that cannot be loaded as weights, and how to convert them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

READ_BYTES = 64
"""Length of the beginning of a file by which its format is recognised (bytes)."""
SAVE = 'Save the state_dict alone, torch.save(model.state_dict(), "model.pt")'
"""Advice for a file that holds more than tensors by name."""
COUNTER = "num_batches_tracked"
"""End of the name of BatchNorm's count of batches, on which no output depends."""


@dataclass(frozen=True, kw_only=True)
class UnsupportedTensor:
    """Why a tensor cannot be copied into a weight, and how to convert it."""

    what: str
    """The kind of tensor, completing "it is"."""
    fix: str
    """How to convert it, without a full stop; {} is replaced by the tensor."""


def unsupported_tensor(tensor: Tensor) -> UnsupportedTensor | None:
    """Describe a tensor that does not hold plain floating-point numbers; None for one that does.

    >>> unsupported_tensor(torch.zeros(2)), unsupported_tensor(torch.zeros(2).to(torch.int8)).what
    (None, 'of whole numbers (int8)')
    """
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_nested:
        return UnsupportedTensor(
            what="a nested tensor", fix="Save each of {}.unbind() by a name of its own"
        )
    if tensor.is_quantized:
        return UnsupportedTensor(what=f"quantized ({kind})", fix="Save {}.dequantize()")
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        return UnsupportedTensor(what=f"sparse ({layout})", fix="Save {}.to_dense()")
    if tensor.is_meta:
        fix = "Save it from a model that was loaded, not only made on the meta device"
        return UnsupportedTensor(what="a shape without numbers (on the meta device)", fix=fix)
    if tensor.is_complex():
        return UnsupportedTensor(what=f"of complex numbers ({kind})", fix="Save {}.real")
    if tensor.dtype == torch.bool:
        return UnsupportedTensor(what="of True and False", fix="Save {}.float()")
    if tensor.is_floating_point() and tensor.itemsize * 8 // _parts(kind) >= 8:
        return None
    if kind.startswith(("bits", "uint", "int")) and tensor.itemsize * 8 in _WHOLE:
        fix = "Save {}.float(), times the scale that it was quantized with, if it was"
        return UnsupportedTensor(what=f"of whole numbers ({kind})", fix=fix)
    return UnsupportedTensor(
        what=f"of packed numbers ({kind})", fix="Save {} as it was before it was packed"
    )


_WHOLE = (8, 16, 32, 64)  # bits of an integer that is not packed


def _parts(kind: str) -> int:
    """How many numbers share one element: 2 in float4_e2m1fn_x2."""
    count = kind.rpartition("_x")[2]
    return int(count) if count.isdecimal() else 1


def foreign_file(start: bytes) -> tuple[str, str] | None:
    """Identify a file in another format by its first bytes, and say how to convert it.

    >>> foreign_file(b"\\x89HDF")[0]
    'it is an HDF5 file, as Keras writes'
    """
    if not start:
        return "it is empty", "Use a whole file"
    head = start.lstrip().lower()
    return next((said for begin, said in _BEGINNINGS.items() if head.startswith(begin)), None)


_A_FILE = "Use a .safetensors or .pt file"
_BEGINNINGS: Mapping[bytes, tuple[str, str]] = MappingProxyType(
    {
        b"\x89hdf": ("it is an HDF5 file, as Keras writes", _A_FILE),
        b"version https://git-lfs": (
            "it is a Git LFS pointer and not the file it points to",
            "Fetch the file with git lfs pull",
        ),
        b"<!doctype": ("it is a web page", "Download the file itself"),
        b"<html": ("it is a web page", "Download the file itself"),
        b"\x93numpy": ("it is a NumPy array", _A_FILE),
        b"gguf": ("it is a GGUF file", _A_FILE),
        b"{": (
            "it is JSON, such as the index of a sharded checkpoint",
            "Use one of the files it names",
        ),
        b"\x1f\x8b": ("it is compressed with gzip", "Unpack it"),
        b"7z\xbc\xaf": ("it is compressed with 7-Zip", "Unpack it"),
        b"\x28\xb5\x2f\xfd": ("it is compressed with Zstandard", "Unpack it"),
    }
)


def foreign_archive(names: Collection[str]) -> tuple[str, str] | None:
    """Identify a zip archive not written by torch.save, by the names of its members.

    >>> foreign_archive(["a/data.pkl", "a/data/0"]) is None, foreign_archive(["x.npy"])[0]
    (True, 'it holds NumPy arrays')
    """
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is a TorchScript program", (
            'Save torch.jit.load(path).state_dict() as "model.pt"'
        )
    if any(name.endswith("data.pkl") for name in names):
        return None
    if names and all(name.endswith(".npy") for name in names):
        return "it holds NumPy arrays", _A_FILE
    return "it is a zip archive not written by torch.save", _A_FILE
