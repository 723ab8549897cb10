"""What is fuzzed: each target takes any bytes, and raises only where something is wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qsl

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import decode
from vitc_inspect.diagnosis import explain_error
from vitc_inspect.model.checkpoints import load_weights
from vitc_inspect.stem.notation import format_stem, parse_stem
from vitc_inspect.stem.prediction import predict
from vitc_inspect.ui.choice import Request, editor_rows, read_choice, stem_text
from vitc_inspect.ui.request_bodies import fault_of_call


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def notation(data: bytes) -> None:
    """A stem in one line: it is read, predicted, and written as it is read again."""
    with suppress(SpecError):
        spec = parse_stem(_text(data))
        predict(spec)
        assert parse_stem(format_stem(spec), in_channels=spec.in_channels) == spec


def code(data: bytes) -> None:
    """A stem as PyTorch code or a printout: it is read and written as notation, or refused."""
    with suppress(SpecError):
        spec = parse_stem(_text(data))
        assert parse_stem(format_stem(spec), in_channels=spec.in_channels) == spec


def link(data: bytes) -> None:
    """The query string of a link, whose fields become a request as the page makes one."""
    given = dict(parse_qsl(_text(data), keep_blank_values=True, errors="surrogateescape"))
    _answered({"height": "32", "width": "32", "in_channels": "3", "dtype": "float32", **given})


def call(data: bytes) -> None:
    """The body of a call: what is passed on can be read as a request."""
    if not fault_of_call(data):
        _answered(json.loads(data)["data"])


def _answered(message: object) -> None:
    request = Request.read(message)
    stem_text(request)
    editor_rows(request)
    with suppress(SpecError):
        predict(read_choice(request).model)


def error(data: bytes) -> None:
    """An error message: each explanation has a sentence, a fix, and can be written as JSON."""
    for explanation in explain_error(_text(data)):
        assert explanation.sentence
        assert explanation.fixes
        json.dumps(explanation.to_dict())


def weights(data: bytes) -> None:
    """A file of weights: the tensors in it can be copied."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(data)
        with suppress(SpecError):
            for tensor in load_weights(path).tensors.values():
                tensor[:0].clone() if tensor.ndim else tensor.clone()


def picture(data: bytes) -> None:
    """An image file: it becomes RGB."""
    with suppress(SpecError):
        assert decode(data).image.mode == "RGB"


TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        "notation": notation,
        "code": code,
        "link": link,
        "call": call,
        "error": error,
        "weights": weights,
        "picture": picture,
    }
)
"""The targets by name."""
