"""Requests of the page, and the stem, image and run settings that a request chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, get_args

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.fitting import Fit
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
    code_channels,
    format_convs,
    parse_fields,
    parse_stem,
)
from vitc_inspect.stem.pasted_text import is_code
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

FILE = "file:"
"""Prefix of a weight file's name in the field "weights"."""
VIEW_START: Mapping[str, str] = MappingProxyType(
    {"sorting": "index", "scale": "layer", "layer": "", "view": "maps", "cell": "", "token": ""}
)
"""What both pages show at the start."""
ENCODER_START: Mapping[str, str] = MappingProxyType(
    {"depth": "12", "num_heads": "6", "mlp_ratio": "4", "attention": "softmax"}
)
"""The encoder's controls at the start, unless the preset has an encoder of its own."""
LINK_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "always": (
            *("stem", "size", "channels", "class_token", "table", "image"),
            *("seed", "device", "dtype", "encoder", "layer", "view"),
        ),
        "changed": (
            "cell",
            "token",
            "weights",
            "norm_statistics",
            "sorting",
            "scale",
            "fit",
            "table_of",
        ),
        "encoder": tuple(ENCODER_START),
    }
)
"""The fields of a link to a stem, in order: those it always has, and those it has only where
they differ from the start; and the parts of the field "encoder"."""

Row = dict[str, str]
"""One row of the editor: text by field of ConvLayer; bias is "1" or "0"."""
_ROW_FIELDS = (*CONV_BOUNDS, "bias", "norm", "activation")
_MOST_LISTED = 100  # items of a list that are read


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of either page, as typed or selected; a field it does not have is empty."""

    preset: str = ""
    """Name of a preset; empty for any other stem."""
    stem: str = ""
    """The stem in stem notation, or as PyTorch code."""
    rows: tuple[Row, ...] | None = None
    """The stem as rows of the editor, if it was changed there."""
    height: str = ""
    width: str = ""
    in_channels: str = ""
    class_token: str = ""
    position_table: str = ""
    table_of: str = ""
    """Image size whose position table is kept, "224x224"; empty for the image's own."""
    encoder: str = ""
    """ "1" for a whole model."""
    depth: str = ""
    num_heads: str = ""
    mlp_ratio: str = ""
    attention: str = ""
    image: str = ""
    """Name of a sample, or key of an opened picture."""
    fit: str = ""
    """How a picture is brought to the image size."""
    sizes: tuple[str, ...] = ()
    """Shapes of a module's inputs."""
    seed: str = ""
    device: str = ""
    dtype: str = ""
    weights: str = ""
    norm_statistics: str = ""
    view: str = ""
    """Name of the panel's tab."""
    layer: str = ""
    """Name of the selected layer, or key of the selected row."""
    cell: str = ""
    """Channel, or channel, row and column, of a map."""
    token: str = ""
    """Row and column of a token, or its number."""
    sorting: str = ""
    """Order of the maps."""
    scale: str = ""
    """Range of the maps' colours."""
    part: str = ""
    """ "panel" for the panel alone."""
    unfolded: bool = False
    """Whether the layers of the transformer blocks are listed."""
    panel_width: int = 400
    """Width of the panel (pixels)."""
    strip_width: int = 900
    """Width of the space for the strip (pixels)."""
    aspect: float = 1.3
    """Width over height of the space for maps."""
    reading: int = 0
    """How often the module's file had been read when the page was drawn."""
    ticket: str = ""
    """By which this call can be found and cancelled, and a measurement of time continued."""
    text: str = ""
    """An error message to explain."""
    data: str = ""
    """An image file in base64."""

    @classmethod
    def read(cls, message: Any) -> Request:
        """Read what a browser sent; values of a wrong type are ignored."""
        sent = message if isinstance(message, Mapping) else {}
        number = sent.get("reading")
        return cls(
            **{
                field.name: _text(sent, field.name)
                for field in fields(cls)
                if isinstance(field.default, str)
            },
            rows=_rows(sent["rows"]) if "rows" in sent else None,
            sizes=_texts(sent.get("sizes")),
            unfolded=sent.get("unfolded") is True,
            panel_width=round(_bounded(sent.get("panel_width"), 240, 1200, cls.panel_width)),
            strip_width=round(_bounded(sent.get("strip_width"), 240, 4000, cls.strip_width)),
            aspect=_bounded(sent.get("aspect"), 0.5, 4.0, cls.aspect),
            reading=number if isinstance(number, int) else 0,
        )


def _text(sent: Mapping[str, Any], field: str) -> str:
    value = sent.get(field)
    return "" if value is None else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value[:_MOST_LISTED])) if isinstance(value, list) else ()


def _bounded(value: Any, low: float, high: float, default: float) -> float:
    return min(high, max(low, value)) if isinstance(value, (int, float)) else default


def _rows(rows: Any) -> tuple[Row, ...]:
    """The rows of the editor; a field that a row lacks is empty."""
    # one more than a stem may have, so that StemSpec refuses what would be cut off here
    listed = rows[: MAX_CONVS + 1] if isinstance(rows, list) else []
    sent = (row if isinstance(row, Mapping) else {} for row in listed)
    return tuple({field: _text(row, field) for field in _ROW_FIELDS} for row in sent)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Everything that an inspection depends on."""

    spec: StemSpec
    """The stem."""
    vit: ViTSpec | None
    """The whole model, or None for the stem alone."""
    image: str
    """Name of a sample, or key of an opened picture."""
    fit: Fit
    """How a picture is brought to the image size."""
    table_rows: int | None
    """Rows of the position table that is kept, where they are not one for each token."""
    device: str
    """Device as requested, for example "auto"."""
    dtype: Dtype
    """Number format of weights and image."""
    seed: int
    """Seed of the random weights."""
    init: Init
    """How random weights are drawn."""
    weights: str
    """Name of a weight file that the program was started with; empty for random weights."""
    norm_statistics: NormStatistics
    """The statistics that BatchNorm normalises with."""

    @property
    def model(self) -> StemSpec | ViTSpec:
        """The whole model, or the stem where there is no encoder."""
        return self.vit or self.spec


def read_choice(request: Request) -> Choice:
    """Turn a request into a choice.

    Raises:
        SpecError: naming the control, for example "conv2.stride" or "seed".
    """
    if request.preset:
        check_choice("preset", request.preset, PRESETS)
    beside: dict[str, Any] = {
        "image_size": _image_size(request.height, request.width),
        "in_channels": parse_int("in_channels", request.in_channels, 1, MAX_CHANNELS),
        "class_token": request.class_token == "1",
        "position_table": request.position_table != "0",
    }
    dtype: Any = request.dtype
    check_choice("dtype", dtype, get_args(Dtype))
    if request.rows is None:
        stem = parse_stem(request.stem, **beside)
    else:
        stem = StemSpec(convs=_convs_of(request.rows), **beside)
    init: Any = request.weights or "torch"
    weights = ""
    if init.startswith(FILE):
        init, weights = "torch", init.removeprefix(FILE)
    check_choice("weights", init, get_args(Init))
    statistics: Any = request.norm_statistics or "image"
    check_choice("norm_statistics", statistics, get_args(NormStatistics))
    return Choice(
        spec=stem,
        vit=_vit(stem, request) if request.encoder == "1" else None,
        image=request.image,
        fit=read_fit(request),
        table_rows=_table_rows(stem, request.table_of),
        device=request.device,
        dtype=dtype,
        seed=parse_int("seed", request.seed, 0, MAX_SEED),
        init=init,
        weights=weights,
        norm_statistics=statistics,
    )


def _table_rows(stem: StemSpec, size: str) -> int | None:
    """Rows of the position table for another image size, or None where they fit this one.

    Raises:
        SpecError: field "table_of".
    """
    if not size or not stem.position_table:
        return None
    sides = size.split("x")
    try:
        made_for = _image_size(sides[0], sides[-1]) if len(sides) == 2 else None
        rows = replace(stem, image_size=made_for).seq_len if made_for else 0
    except SpecError:
        rows = 0
    if not rows:
        reason = "this stem makes no tokens of such an image size"
        raise SpecError("table_of", size, reason, "Use the table of the image's own size", "")
    return None if rows == stem.seq_len else rows


def read_fit(request: Request) -> Fit:
    """How a request's picture is brought to the image size; cropped where it does not say.

    Raises:
        SpecError: field "fit".
    """
    fit: Any = request.fit or "crop"
    check_choice("fit", fit, get_args(Fit))
    chosen: Fit = fit
    return chosen


def _vit(stem: StemSpec, request: Request) -> ViTSpec:
    attention: Any = request.attention
    return ViTSpec(
        stem=stem,
        depth=parse_int("depth", request.depth, 1, MAX_DEPTH),
        num_heads=parse_int("num_heads", request.num_heads, 1, MAX_CHANNELS),
        mlp_ratio=parse_number("mlp_ratio", request.mlp_ratio),
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


def editor_rows(request: Request) -> tuple[Row, ...] | None:
    """Get the rows of the editor for a request, also when they cannot be built.

    Returns:
        Text by field for each layer, or None for a notation that cannot be read.
    """
    if request.rows is not None:
        return request.rows
    try:
        return tuple(_row_of_fields(layer) for layer in parse_fields(request.stem))
    except SpecError:
        return None


def _row_of_fields(given: Mapping[str, Any]) -> Row:
    """The fields of a layer as the editor shows them, with the defaults of those not given."""
    stride = given.get("stride", 1)
    norm = given.get("norm", "none")
    filled = {
        "stride": stride,
        "padding": default_padding(given["kernel_size"], stride),
        "dilation": 1,
        "groups": 1,
        "norm": norm,
        "activation": "none",
        **given,
    }
    bias = given.get("bias", norm == "none")
    return {**{name: str(value) for name, value in filled.items()}, "bias": str(int(bias))}


def stem_text(request: Request) -> str:
    """Write the stem of a request in stem notation.

    A row that cannot be built is written as it was typed, so that the text, the editor and
    the address bar always agree. Code is written as notation where both say the same.
    """
    rows = request.rows
    if rows is None and is_code(request.stem):
        rows = _rows_of_code(request)
    if rows is None:
        return request.stem
    texts = []
    for name, row in zip(conv_names(len(rows)), rows, strict=True):
        try:
            texts.append(format_convs([_conv_of_row(name, row)]))
        except SpecError:
            texts.append(_as_typed(row))
    return ", ".join(texts)


def _rows_of_code(request: Request) -> tuple[Row, ...] | None:
    """The rows of code, or None if it says what its notation would not."""
    rows = editor_rows(request)
    if rows is None or str(code_channels(request.stem)) != request.in_channels.strip():
        return None
    return rows


def _convs_of(rows: tuple[Row, ...]) -> tuple[ConvLayer, ...]:
    return tuple(map(_conv_of_row, conv_names(len(rows)), rows))


def _conv_of_row(name: str, row: Row) -> ConvLayer:
    """The convolution that a row of the editor describes."""
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


def _as_typed(row: Row) -> str:
    """A row in stem notation with every field written out."""
    words = [word for word, norm in NORM_WORDS.items() if norm == row["norm"]]
    words += [word for word, act in ACTIVATION_WORDS.items() if act == row["activation"]]
    words += [] if row["groups"] == "1" else [f"g{row['groups']}"]
    words += [] if row["dilation"] == "1" else [f"d{row['dilation']}"]
    words += ["bias" if row["bias"] == "1" else "nobias"]
    k = row["kernel_size"]
    size = f"{k}x{k}/{row['stride']}p{row['padding']}:{row['out_channels']}"
    return " ".join((size, *words))
