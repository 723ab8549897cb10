"""Predict shapes, params, MACs, activations and bytes of a stem or a ViT without building it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from vitc_inspect.common.validation import A_MODEL, check_choice, check_type
from vitc_inspect.stem import arithmetic
from vitc_inspect.stem.spec import Stage, StemSpec
from vitc_inspect.stem.vit import ViTSpec

Dtype = Literal["float32", "bfloat16", "float16"]
ITEM_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes per element of each dtype."""

Kind = Literal[
    "conv",
    "norm",
    "activation",
    "tokens",
    "class_token",
    "pos_embed",
    "linear",
    "attention",
    "pool",
]


@dataclass(frozen=True, kw_only=True)
class LayerPrediction:
    """Prediction for one module; shapes are those of one image, without the batch."""

    name: str
    """Name of the module: conv1, norm1, act1, …, proj, tokens, …, block1.qkv, …, head."""
    kind: Kind
    """Kind of layer."""
    stage: str | None
    """Name of the convolution it belongs to; None after flattening."""
    in_shape: tuple[int, ...]
    """(channels, height, width), (tokens, width) or (width,)."""
    out_shape: tuple[int, ...]
    """(channels, height, width), (tokens, width) or (width,)."""
    params: int
    """Number of parameters."""
    macs: int
    """Multiply-accumulates for one image; bias, norm and activation do not count."""
    activations: int
    """Output elements of convolutions and matrix products, as the paper counts."""
    bytes: int
    """Size of the output (bytes)."""
    receptive_field: int
    """Side of the receptive field along an axis, with padding (pixels)."""
    jump: int
    """Distance between neighbouring positions (pixels of the image)."""
    unread_rows: tuple[int, ...] = ()
    """Rows of its input that no window reads."""
    unread_columns: tuple[int, ...] = ()
    """Columns of its input that no window reads."""
    block: str | None = None
    """Part of the encoder it belongs to: block1, …, head; None in the stem."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Predictions for all layers of a stem or model, and their totals."""

    spec: StemSpec
    """The stem."""
    vit: ViTSpec | None = None
    """The whole model, or None for a stem alone."""
    dtype: Dtype
    """Dtype for which bytes are counted."""
    layers: tuple[LayerPrediction, ...]
    """One prediction per module, in the order of the forward pass."""

    @property
    def _sequence(self) -> LayerPrediction:
        """The last layer of the stem, whose output is the sequence."""
        return next(layer for layer in reversed(self.layers) if layer.block is None)

    @property
    def embed_dim(self) -> int:
        """Token width."""
        return self._sequence.out_shape[1]

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.spec.grid_size

    @property
    def num_patches(self) -> int:
        """Number of image tokens."""
        return self.layer("tokens").out_shape[0]

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the image tokens."""
        return self.seq_len - self.num_patches

    @property
    def seq_len(self) -> int:
        """Number of all tokens."""
        return self._sequence.out_shape[0]

    @property
    def total_stride(self) -> int:
        """Pixels of the image from one token to the next."""
        return self._sequence.jump

    @property
    def receptive_field(self) -> int:
        """Side of the receptive field of a token along an axis, with padding (pixels)."""
        return self._sequence.receptive_field

    @property
    def params(self) -> int:
        """Parameters of all layers."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activations(self) -> int:
        """Output elements of convolutions and matrix products, "acts" in the paper."""
        return sum(layer.activations for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Size of all outputs (bytes)."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def stem_params(self) -> int:
        """Parameters of the convolutions and their norms: the stem in the paper."""
        return sum(layer.params for layer in self.layers if layer.stage)

    @property
    def stem_macs(self) -> int:
        """Multiply-accumulates of the convolutions for one image."""
        return sum(layer.macs for layer in self.layers if layer.stage)

    def layer(self, name: str) -> LayerPrediction:
        """Return the prediction for the layer called `name`; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def predict(spec: StemSpec | ViTSpec, *, dtype: Dtype = "float32") -> Prediction:
    """Predict every shape, count and size of a stem or a whole ViT without building it.

    Args:
        spec: The stem, or the model.
        dtype: Dtype for which bytes are counted.

    Returns:
        One row for each module of `model.build_stem` or `model.build_vit`, in the same order.

    Raises:
        SpecError: field "dtype".

    Source:
        The formulas of `arithmetic`.

    >>> from vitc_inspect.stem.spec import conv_stem
    >>> predict(conv_stem()).seq_len, predict(conv_stem()).macs
    (197, 435326976)
    """
    check_type("spec", spec, (StemSpec, ViTSpec), A_MODEL)
    check_choice("dtype", dtype, get_args(Dtype))
    item = ITEM_BYTES[dtype]
    if isinstance(spec, StemSpec):
        return Prediction(spec=spec, dtype=dtype, layers=tuple(_rows(spec, item)))
    stem = tuple(_rows(spec.stem, item))
    encoder = _encoder_rows(spec, stem[-1].receptive_field, item)
    return Prediction(spec=spec.stem, vit=spec, dtype=dtype, layers=(*stem, *encoder))


def _rows(spec: StemSpec, item: int) -> Iterator[LayerPrediction]:
    """Predictions of every stage, then of the tokens."""
    field = jump = 1
    for stage in spec.stages:
        field, jump = stage.conv.seen(field, jump)
        yield from _stage_rows(stage, field, jump, item)
    yield from _token_rows(spec, field, jump, item)


def _stage_rows(stage: Stage, field: int, jump: int, item: int) -> Iterator[LayerPrediction]:
    """Predictions of a convolution, its norm and its activation."""
    conv, shape = stage.conv, stage.out_shape
    alike: dict[str, Any] = {
        "stage": stage.name,
        "out_shape": shape,
        "bytes": prod(shape) * item,
        "receptive_field": field,
        "jump": jump,
    }
    unread_rows, unread_columns = (
        arithmetic.unread_positions(side, **conv.window) for side in stage.in_shape[1:]
    )
    yield LayerPrediction(
        name=stage.name,
        kind="conv",
        in_shape=stage.in_shape,
        params=stage.params,
        macs=stage.macs,
        activations=prod(shape),
        unread_rows=unread_rows,
        unread_columns=unread_columns,
        **alike,
    )
    alike |= {"in_shape": shape, "macs": 0, "activations": 0}
    if conv.norm != "none":
        params = arithmetic.norm_params(conv.out_channels)
        yield LayerPrediction(name=stage.norm_name, kind="norm", params=params, **alike)
    if conv.activation != "none":
        yield LayerPrediction(name=stage.act_name, kind="activation", params=0, **alike)


def _token_rows(spec: StemSpec, field: int, jump: int, item: int) -> Iterator[LayerPrediction]:
    """Predictions of flattening, class token and position table."""
    grid = spec.stages[-1].out_shape
    width = grid[0]
    patches = (grid[1] * grid[2], width)
    tokens = (patches[0] + spec.num_prefix_tokens, width)
    rows: list[tuple[Kind, tuple[int, ...], tuple[int, ...], int]] = [("tokens", grid, patches, 0)]
    if spec.class_token:
        rows.append(("class_token", patches, tokens, width))
    if spec.position_table:
        rows.append(("pos_embed", tokens, tokens, prod(tokens)))
    for kind, in_shape, out_shape, params in rows:
        size = prod(out_shape) * item
        yield LayerPrediction(
            name=kind,
            **_layer(kind, in_shape, out_shape, params, 0, 0),
            bytes=size,
            receptive_field=field,
            jump=jump,
        )


def _encoder_rows(vit: ViTSpec, field: int, item: int) -> Iterator[LayerPrediction]:
    """Predictions of every block, then of final norm, pooling and classifier."""
    stem = vit.stem
    n, d = stem.seq_len, stem.embed_dim
    layers = _block_layers(vit, item)
    everything = max(field, *stem.image_size)
    for number in range(1, vit.depth + 1):
        block = f"block{number}"
        for name, layer in layers.items():
            # after the first attention, each token sees the whole image
            seen = field if number == 1 and name in ("norm1", "qkv") else everything
            yield LayerPrediction(
                name=f"{block}.{name}", block=block, receptive_field=seen, **layer
            )
    last: dict[str, dict[str, Any]] = {
        "norm": _layer("norm", (n, d), (n, d), arithmetic.norm_params(d), 0, 0),
        "pool": _layer("pool", (n, d), (d,), 0, 0, 0),
        "head": _linear((d,), vit.num_classes),
    }
    for name, layer in last.items():
        size = prod(layer["out_shape"]) * item
        yield LayerPrediction(
            name=name,
            block="head",
            receptive_field=everything,
            bytes=size,
            jump=stem.total_stride,
            **layer,
        )


def _block_layers(vit: ViTSpec, item: int) -> dict[str, dict[str, Any]]:
    """The layers of a block by name, with the fields that are equal in every block."""
    stem = vit.stem
    n, d, heads = stem.seq_len, stem.embed_dim, vit.num_heads
    if vit.attention == "softmax":
        macs = arithmetic.softmax_attention_macs(n, d)
        activations = heads * n * n + n * d  # attention weights of all heads, and the output
    else:
        macs = arithmetic.linear_attention_macs(n, d, vit.head_dim)
        activations = heads * (vit.head_dim**2 + n) + n * d  # the two sums, and the output
    norm = _layer("norm", (n, d), (n, d), arithmetic.norm_params(d), 0, 0)
    hidden = (n, vit.hidden_dim)
    layers = {
        "norm1": norm,
        "qkv": _linear((n, d), 3 * d),
        "attend": _layer("attention", (n, 3 * d), (n, d), 0, macs, activations),
        "out": _linear((n, d), d),
        "norm2": norm,
        "fc1": _linear((n, d), vit.hidden_dim),
        "act": _layer("activation", hidden, hidden, 0, 0, 0),
        "fc2": _linear(hidden, d),
    }
    beside = {"jump": stem.total_stride}
    return {
        name: {**layer, **beside, "bytes": prod(layer["out_shape"]) * item}
        for name, layer in layers.items()
    }


def _linear(into: tuple[int, ...], out_features: int) -> dict[str, Any]:
    out = (*into[:-1], out_features)
    params = into[-1] * out_features + out_features
    macs = arithmetic.linear_macs(prod(into[:-1]), into[-1], out_features)
    return _layer("linear", into, out, params, macs, prod(out))


def _layer(
    kind: Kind,
    into: tuple[int, ...],
    out: tuple[int, ...],
    params: int,
    macs: int,
    activations: int,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "stage": None,
        "in_shape": into,
        "out_shape": out,
        "params": params,
        "macs": macs,
        "activations": activations,
    }
