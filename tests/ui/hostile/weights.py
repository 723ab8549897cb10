"""Files of weights for a stem of 4×4 kernels and 8 channels: a good one, and hostile ones."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from tests.ui.hostile.client import MARK
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.spec import patchify_stem

STATE: Mapping[str, torch.Tensor] = build_stem(
    patchify_stem(4, 8, image_size=32), seed=5
).state_dict()
KERNEL = "proj.weight"
_PLACE = {"dtype": "F32", "shape": [8, 3, 4, 4], "data_offsets": [0, 1536]}


def write_good(path: Path) -> Path:
    """Write weights that fit."""
    save_file(dict(STATE), path)
    return path


def clear(path: Path) -> None:
    """Remove whatever is at a path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- safetensors -----------------------------------------------------------------------------


def headed(header: Any, data: bytes = bytes(1536), length: int | None = None) -> bytes:
    """A safetensors file with any header, and with a length of it that need not be right."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def placed(**changes: Any) -> bytes:
    """A file of one tensor whose entry is changed."""
    return headed({KERNEL: {**_PLACE, **changes}})


def with_tensors(**changes: torch.Tensor) -> bytes:
    """A whole file, some of whose tensors are others."""
    return save({**STATE, **{name.replace("_dot_", "."): value for name, value in changes.items()}})


GOOD = save(dict(STATE))
DAMAGED = "cut short or damaged"
SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it is empty"),
    "a length alone": (struct.pack("<Q", 100), "neither"),
    "half of it": (GOOD[: len(GOOD) // 2], DAMAGED),
    "half of its header": (GOOD[:40], DAMAGED),
    "one byte less": (GOOD[:-1], DAMAGED),
    "one byte more": (GOOD + b"\0", DAMAGED),
    "a header of 2^64 bytes": (headed({KERNEL: _PLACE}, length=2**64 - 1), DAMAGED),
    "a header of 2^63 bytes": (headed({KERNEL: _PLACE}, length=2**63), DAMAGED),
    "a header of 1 TB": (headed({KERNEL: _PLACE}, length=10**12), DAMAGED),
    "a header of no bytes": (headed({KERNEL: _PLACE}, length=0), DAMAGED),
    "a header into the data": (headed({KERNEL: _PLACE}, length=900), DAMAGED),
    "a header that is cut": (headed(b'{"a": {"dtype": "F32"'), DAMAGED),
    "a header of open braces": (headed(b'{"a":' * 200_000), DAMAGED),
    "a header of brackets": (headed(b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}"), DAMAGED),
    "a header of a million names": (
        headed({f"{number}": {**_PLACE, "data_offsets": [0, 0]} for number in range(10**5)}),
        DAMAGED,
    ),
    "a header that is no text": (headed(b'{"\xff\xfe": 1}'), DAMAGED),
    "a name twice": (headed(b'{"a": %s, "a": %s}' % ((json.dumps(_PLACE).encode(),) * 2)), ""),
    "no entries": (headed({}, b""), "holds no weights by name"),
    "metadata alone": (headed({"__metadata__": {"format": MARK}}, b""), "no weights by name"),
    "metadata that is a list": (headed({"__metadata__": [1]}, b""), DAMAGED),
    "an entry of null": (headed({KERNEL: None}), DAMAGED),
    "an entry of a text": (headed({KERNEL: MARK}), DAMAGED),
    "a type of no kind": (placed(dtype="F33"), DAMAGED),
    "a type of HTML": (placed(dtype=MARK), DAMAGED),
    "a negative side": (placed(shape=[8, 3, 4, -4]), DAMAGED),
    "a side of 2^64": (placed(shape=[2**64]), DAMAGED),
    "sides whose product is 2^64": (placed(shape=[2**32, 2**32]), DAMAGED),
    "a million sides": (placed(shape=[1] * 10**6), DAMAGED),
    "a side of a fraction": (placed(shape=[8.5]), DAMAGED),
    "offsets beyond the end": (placed(data_offsets=[0, 10**12]), DAMAGED),
    "offsets of 2^64": (placed(data_offsets=[0, 2**64]), DAMAGED),
    "offsets backwards": (placed(data_offsets=[1536, 0]), DAMAGED),
    "negative offsets": (placed(data_offsets=[-1536, 0]), DAMAGED),
    "three offsets": (placed(data_offsets=[0, 1, 2]), DAMAGED),
    "offsets that overlap": (
        headed(
            {KERNEL: _PLACE, "proj.bias": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}
        ),
        DAMAGED,
    ),
    "a hole": (headed({KERNEL: {**_PLACE, "data_offsets": [8, 1544]}}, bytes(1544)), DAMAGED),
    "names of HTML": (save({MARK: torch.zeros(3), KERNEL: torch.zeros(3)}), "proj.weight"),
    "a name of a megabyte": (save({"a" * 2**20: torch.zeros(3)}), ""),
    "names of newlines": (save({"a\nb\x1b[31m": torch.zeros(3)}), ""),
    "another shape": (with_tensors(proj_dot_weight=torch.zeros(8, 3, 5, 5)), "8 x 3 x 5 x 5"),
    "no axes": (with_tensors(proj_dot_weight=torch.zeros(())), "proj.weight"),
    "no numbers": (with_tensors(proj_dot_weight=torch.zeros(8, 0, 4, 4)), "proj.weight"),
    "64 axes": (with_tensors(proj_dot_weight=torch.zeros([1] * 64)), "proj.weight"),
    "whole numbers": (with_tensors(proj_dot_weight=torch.zeros(8, 3, 4, 4).int()), "of whole num"),
    "True and False": (with_tensors(proj_dot_weight=torch.zeros(8, 3, 4, 4) > 0), "of True and"),
    "NaN": (with_tensors(proj_dot_weight=torch.full((8, 3, 4, 4), torch.nan)), ""),
    "infinity": (with_tensors(proj_dot_weight=torch.full((8, 3, 4, 4), torch.inf)), ""),
    "the largest numbers": (with_tensors(proj_dot_weight=torch.full((8, 3, 4, 4), 3e38)), ""),
    "another model": (
        save({"conv1.weight": torch.zeros(64, 3, 7, 7)}),
        "its names is known",
    ),
}
"""By what they are, files, and a part of the sentence about each; empty for any, or none."""


# ---- pickles and archives --------------------------------------------------------------------

_RUN = Path("/tmp") / f"vitc-hostile-{os.getpid()}"
"""A file that the code in a pickle would write."""


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def was_run() -> bool:
    """Whether the code in a pickle was run."""
    return _RUN.exists()


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def repacked(change: Callable[[str, bytes], bytes], **options: Any) -> bytes:
    """A file of torch.save whose members are changed."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(dict(STATE)))) as old,
        zipfile.ZipFile(file, "w", **options) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


def archived(name: str) -> bytes:
    """A zip archive of one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


def within_itself() -> dict[str, Any]:
    own: dict[str, Any] = {}
    own["own"] = own
    return own


def _pickle_of(content: Any) -> Callable[[str, bytes], bytes]:
    return lambda name, old: pickle.dumps(content) if name.endswith("data.pkl") else old


SYSTEM = Runs(os.system, f"touch {_RUN}")
NEVER_RUN = "nothing in a file is ever run"
PICKLES: dict[str, tuple[bytes, str]] = {
    "a call of the shell": (saved({KERNEL: SYSTEM}), NEVER_RUN),
    "the same in the old format": (
        saved({KERNEL: SYSTEM}, _use_new_zipfile_serialization=False),
        NEVER_RUN,
    ),
    "a bare pickle that calls": (pickle.dumps(SYSTEM, 4), NEVER_RUN),
    "a call of eval": (saved(Runs(eval, f"open({str(_RUN)!r}, 'w')")), NEVER_RUN),
    "a call beside good weights": (saved({**STATE, "x": SYSTEM}), NEVER_RUN),
    "a call in a good archive": (repacked(_pickle_of({KERNEL: SYSTEM})), NEVER_RUN),
    "getattr": (saved(Runs(getattr, "a", "join")), NEVER_RUN),
    "a whole module": (saved(torch.nn.Linear(2, 2)), NEVER_RUN),
    "a pickle without an end": (b"\x80\x04" + b"(" * 10**6, "damaged"),
    "a pickle of a long text": (b"\x80\x04\x8d" + struct.pack("<Q", 2**62), "damaged"),
    "a pickle of many marks": (b"\x80\x04" + b"]" * 10**6 + b".", ""),
    "a pickle that takes from nothing": (b"\x80\x04" + b"0" * 99, "damaged"),
    "a pickle of protocol 255": (b"\x80\xff.", "damaged"),
    "a pickle that counts itself": (b"\x80\x04N\x940h\x00" + b"h\x00\x86" * 30 + b".", ""),
    "lists in lists": (b"\x80\x04" + b"(" * 5000 + b"l" * 5000 + b".", ""),
    "half of an archive": (saved(dict(STATE))[:2000], DAMAGED),
    "the end of an archive": (b"PK\3\4" + saved(dict(STATE))[-500:], DAMAGED),
    "an archive without a pickle": (repacked(lambda name, old: b""), "damaged"),
    "an archive of others": (repacked(lambda name, old: MARK.encode()), "damaged"),
    "an archive with lying sizes": (
        saved(dict(STATE)).replace(struct.pack("<L", 1536), struct.pack("<L", 2**31)),
        DAMAGED,
    ),
    "an archive that was compressed": (
        repacked(lambda name, old: old, compression=zipfile.ZIP_DEFLATED),
        DAMAGED,
    ),
    "an archive that unpacks to 200 MB": (
        repacked(lambda name, old: bytes(5 * 10**7), compression=zipfile.ZIP_DEFLATED),
        DAMAGED,
    ),
    "an archive with a path above": (archived("../../etc/x"), ""),
    "a compressed file": (gzip.compress(GOOD), "compressed with gzip"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither"),
    "a web page": (f"<!doctype html>{MARK}".encode(), "it is a web page"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "JSON": (b'{"a": 1}', "it is JSON"),
    "NUL bytes": (bytes(10**6), "neither"),
    "random bytes": (bytes(range(256)) * 1000, "neither"),
    "sparse numbers": (
        saved({**STATE, KERNEL: torch.zeros(8, 3, 4, 4).to_sparse()}),
        "is sparse",
    ),
    "no numbers, only a shape": (
        saved({**STATE, KERNEL: torch.zeros(8, 3, 4, 4, device="meta")}),
        "a shape without numbers",
    ),
    "a tensor that repeats one number": (
        saved({**STATE, KERNEL: torch.zeros(1).expand(10**6, 10**6)}),
        "proj.weight",
    ),
    "names that are numbers": (saved({1: torch.zeros(3)}), "no weights by name"),
    "itself": (saved(within_itself()), "no weights by name"),
    "two models": (saved({"student": dict(STATE), "teacher": dict(STATE)}), "under each of"),
}
"""By what they are, files, and a part of the sentence about each; empty for any, or none."""
