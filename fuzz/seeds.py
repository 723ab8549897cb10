"""Inputs that are right, from which a fuzzer starts, and words that it puts in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType

import torch
from safetensors.torch import save

from vitc_inspect.common.images import sample_picture
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import patchify_stem

_STEMS = tuple(format_stem(preset.stem).encode() for preset in PRESETS.values())
_STATE = dict(build_stem(patchify_stem(2, 2, image_size=4), seed=0).state_dict())
_CODE = (
    b"self.a = nn.Conv2d(3, 8, kernel_size=(3, 3), padding='same', bias=False)  # first\n"
    b"self.b = nn.BatchNorm2d(8)\nself.c = nn.Conv2d(8, 8, 1)",
    b"nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 1), nn.Flatten(2))",
)
_ERRORS = (
    "mat1 and mat2 shapes cannot be multiplied (197x768 and 384x1000)",
    "The size of tensor a (197) must match the size of tensor b (50) at non-singleton dimension 1",
    "shape '[1, 196, 768]' is invalid for input of size 147456",
    "Given groups=1, weight of size [64, 3, 7, 7], expected input[1, 1, 224, 224] to have 3 "
    "channels, but got 1 channels instead",
    "size mismatch for pos_embed: copying a param with shape torch.Size([1, 197, 768]) from "
    "checkpoint, the shape in current model is torch.Size([1, 577, 768]).",
    ' Error while processing rearrange-reduction pattern "b c (h p1) (w p2) -> b (h w) (p1 p2 c)".',
    'Missing key(s) in state_dict: "cls_token", "head.weight".',
)


def _saved(legacy: bool) -> bytes:
    file = BytesIO()
    torch.save(_STATE, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _picture(kind: str) -> bytes:
    file = BytesIO()
    sample_picture().image.resize((24, 16)).save(file, kind)
    return file.getvalue()


SEEDS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "notation": (*_STEMS, b"3x3/2p1:64 bn relu g2 d2 nobias, 1x1:8"),
        "code": (
            *_CODE,
            *(str(build_stem(PRESETS[name].stem)).encode() for name in ("vit_c_1gf", "swin_t")),
        ),
        "link": tuple(
            b"stem=" + stem + b"&size=32x32&channels=3&encoder=1&depth=2&num_heads=2&mlp_ratio=4"
            b"&attention=softmax&seed=0&image=ramp"
            for stem in _STEMS
        ),
        "call": (
            json.dumps(
                {
                    "session_hash": "a",
                    "component_id": 1,
                    "fn_name": "predict",
                    "data": {"stem": "4x4/4:8", "rows": [{"bias": "1"}], "panel_width": 400},
                }
            ).encode(),
        ),
        "error": tuple(map(str.encode, _ERRORS)),
        "weights": (save(_STATE), _saved(True), _saved(False)),
        "picture": tuple(map(_picture, ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"))),
    }
)
"""By target, inputs that are right."""
WORDS = (
    *(b"0", b"1", b"-1", b"9" * 30, b"NaN", b"inf", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\n"),
    *(b"[" * 50, b"(" * 50, b'"', b"'", b",", b":", b"x", b"/", b"{}", b"\xff\xff\xff\xff"),
    *(b"nn.Conv2d(", b"=", b")", b"(0): ", b"\\", b"lambda:", b"Sequential("),
    *(b"\x7f\xff\xff\xff", bytes(8), "²".encode(), "٣".encode(), "\u202e".encode()),
)
"""What a fuzzer puts into them."""
