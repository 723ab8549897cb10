"""Everything a person can choose on the page, read from what the browser sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import (
    MAX_CHANNELS,
    MAX_SIDE,
    check_choice,
    parse_int,
    parse_number,
)
from vitc_inspect.model.modules import MAX_SEED, Init
from vitc_inspect.stem.notation import (
    ACTIVATION_WORDS,
    NORM_WORDS,
    format_convs,
    parse_fields,
    parse_stem,
)
from vitc_inspect.stem.prediction import Dtype
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.stem.spec import (
    CONV_BOUNDS,
    MAX_CONVS,
    ConvLayer,
    StemSpec,
    conv_names,
    default_padding,
)
from vitc_inspect.stem.vit import MAX_DEPTH, ViTSpec
from vitc_inspect.tracing.hooks import NormStatistics

Request = Mapping[str, Any]
"""What the page sends: texts by field, and "rows" when the stem was changed in the editor."""

FILE = "file:"
"""What stands before the name of a file of weights in a request."""

Row = dict[str, str]
"""One line of the editor: texts by field of ConvLayer; bias is "1" or "0"."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one inspection depends on, all of it."""

    spec: StemSpec
    """The stem."""
    vit: ViTSpec | None
    """The whole model, or None for the stem alone."""
    image: str
    """Name of a sample, or the key of an opened picture."""
    device: str
    """Device as asked for, for example "auto"."""
    dtype: Dtype
    """Number format of the run."""
    seed: int
    """Start of the random weights."""
    init: Init
    """How random weights are drawn."""
    weights: str
    """Name of a file of weights the program was given; empty for random ones."""
    norm_statistics: NormStatistics
    """What BatchNorm normalises by."""


def read_choice(request: Request) -> Choice:
    """Turn a request into a choice.

    Raises:
        SpecError: naming the control, for example "conv2.stride" or "seed".
    """
    preset = _text(request, "preset")
    if preset:  # else a stem of one's own
        check_choice("preset", preset, PRESETS)
    beside: dict[str, Any] = {
        "image_size": _image_size(_text(request, "height"), _text(request, "width")),
        "in_channels": parse_int("in_channels", _text(request, "in_channels"), 1, MAX_CHANNELS),
        "class_token": _text(request, "class_token") == "1",
        "position_table": _text(request, "position_table") != "0",
    }
    dtype: Any = _text(request, "dtype")
    check_choice("dtype", dtype, get_args(Dtype))
    if "rows" in request:
        stem = StemSpec(convs=_convs_of_rows(request["rows"]), **beside)
    else:
        stem = parse_stem(_text(request, "stem"), **beside)
    init: Any = _text(request, "weights") or "torch"
    weights = ""
    if init.startswith(FILE):
        init, weights = "torch", init.removeprefix(FILE)
    check_choice("weights", init, get_args(Init))
    statistics: Any = _text(request, "norm_statistics") or "image"
    check_choice("norm_statistics", statistics, get_args(NormStatistics))
    return Choice(
        spec=stem,
        vit=_vit(stem, request) if _text(request, "encoder") == "1" else None,
        image=_text(request, "image"),
        device=_text(request, "device"),
        dtype=dtype,
        seed=parse_int("seed", _text(request, "seed"), 0, MAX_SEED),
        init=init,
        weights=weights,
        norm_statistics=statistics,
    )


def _vit(stem: StemSpec, request: Request) -> ViTSpec:
    """The stem with the encoder that was chosen for it."""
    attention: Any = _text(request, "attention")
    return ViTSpec(
        stem=stem,
        depth=parse_int("depth", _text(request, "depth"), 1, MAX_DEPTH),
        num_heads=parse_int("num_heads", _text(request, "num_heads"), 1, MAX_CHANNELS),
        mlp_ratio=parse_number("mlp_ratio", _text(request, "mlp_ratio")),
        attention=attention,
    )


def _image_size(height: str, width: str) -> tuple[int, int]:
    """Height and width of the image (pixels), each 1 to MAX_SIDE.

    Raises:
        SpecError: field "image_height" or "image_width", or "image_size" for both.
    """
    sides, errors = [], []
    for name, text in (("height", height), ("width", width)):
        try:
            sides.append(parse_int(f"image_{name}", text, 1, MAX_SIDE))
        except SpecError as error:
            errors.append(error)
    if len(errors) == 2:
        word = height == width and isinstance(errors[0].value, str)  # a link's one word for both
        value = height if word else (height, width)
        raise SpecError("image_size", value, errors[0].reason, "Use 224 x 224", (224, 224))
    if errors:
        raise SpecError(errors[0].field, errors[0].value, errors[0].reason, "Use 224", 224)
    return sides[0], sides[1]


def editor_rows(request: Request) -> list[Row] | None:
    """What the editor is to hold for a request, also when it cannot be built.

    Returns:
        Texts by field for each layer, or None for a notation that cannot be read.
    """
    if "rows" in request:
        return _rows(request["rows"])
    try:
        layers = parse_fields(_text(request, "stem"))
    except SpecError:
        return None
    return [_row_of_fields(fields) for fields in layers]


def _row_of_fields(fields: Mapping[str, Any]) -> Row:
    """The fields of a layer as the editor shows them, what was left out filled in."""
    stride = fields.get("stride", 1)
    norm = fields.get("norm", "none")
    filled = {
        "stride": stride,
        "padding": default_padding(fields["kernel_size"], stride),
        "dilation": 1,
        "groups": 1,
        "norm": norm,
        "activation": "none",
        **fields,
    }
    bias = fields.get("bias", norm == "none")
    return {**{name: str(value) for name, value in filled.items()}, "bias": str(int(bias))}


def stem_text(request: Request) -> str:
    """The stem notation of a request, also when its rows cannot be built.

    A row that cannot be built is written as it was typed, so that the text, the editor and
    the address bar never differ.
    """
    if "rows" not in request:
        return _text(request, "stem")
    rows = _rows(request["rows"])
    texts = []
    for name, row in zip(conv_names(len(rows)), rows, strict=True):
        try:
            texts.append(format_convs([_conv_of_row(name, row)]))
        except SpecError:
            texts.append(_as_typed(row))
    return ", ".join(texts)


def _convs_of_rows(rows: Any) -> tuple[ConvLayer, ...]:
    rows = _rows(rows)
    return tuple(
        _conv_of_row(name, row) for name, row in zip(conv_names(len(rows)), rows, strict=True)
    )


def _conv_of_row(name: str, row: Row) -> ConvLayer:
    """The convolution of one row of the editor."""
    numbers = {
        field: parse_int(f"{name}.{field}", row[field], low, high)
        for field, (low, high) in CONV_BOUNDS.items()
    }
    try:
        return ConvLayer(
            **numbers,
            bias=row["bias"] == "1",
            norm=row["norm"],  # type: ignore[arg-type]  # ConvLayer checks it
            activation=row["activation"],  # type: ignore[arg-type]  # likewise
        )
    except SpecError as error:
        raise error.within(name) from None


def _rows(rows: Any) -> list[Row]:
    """The editor's rows as texts by field; whatever a row lacks is empty."""
    fields = (*CONV_BOUNDS, "bias", "norm", "activation")
    # one more than a stem may have, so that StemSpec refuses what would be cut off here
    listed = rows[: MAX_CONVS + 1] if isinstance(rows, list) else []
    return [{field: _text(row, field) for field in fields} for row in listed]


def _as_typed(row: Row) -> str:
    """A row in the notation, every part of it written out."""
    words = [word for word, norm in NORM_WORDS.items() if norm == row["norm"]]
    words += [word for word, act in ACTIVATION_WORDS.items() if act == row["activation"]]
    words += [] if row["groups"] == "1" else [f"g{row['groups']}"]
    words += [] if row["dilation"] == "1" else [f"d{row['dilation']}"]
    words += ["bias" if row["bias"] == "1" else "nobias"]
    k = row["kernel_size"]
    size = f"{k}x{k}/{row['stride']}p{row['padding']}:{row['out_channels']}"
    return " ".join((size, *words))


def _text(request: Any, field: str) -> str:
    """A field of a request as text; empty when it is missing."""
    value = request.get(field, "") if isinstance(request, Mapping) else ""
    return "" if value is None else str(value)
