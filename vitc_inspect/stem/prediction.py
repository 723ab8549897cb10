"""What a stem will do, worked out in whole numbers before anything is built."""

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
"""Bytes of one number of each dtype."""

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
    """One row: what one module will do. Shapes are those of one image, without the batch."""

    name: str
    """Name of the module: conv1, norm1, act1, …, proj, tokens, …, block1.qkv, …, head."""
    kind: Kind
    """What the module is."""
    stage: str | None
    """Name of the convolution it belongs to; None after the flattening."""
    in_shape: tuple[int, ...]
    """(channels, height, width), (tokens, width) or (width,)."""
    out_shape: tuple[int, ...]
    """(channels, height, width), (tokens, width) or (width,)."""
    params: int
    """Learned numbers."""
    macs: int
    """Multiply-accumulates for one image; bias, norm and activation are not counted."""
    activations: int
    """Elements of the outputs of convolutions and matrix products, as the paper counts."""
    bytes: int
    """Size of the output."""
    receptive_field: int
    """Pixels of the image that one position of the output sees along an axis, with padding."""
    jump: int
    """Pixels of the image from one position of the output to the next."""
    unread_rows: tuple[int, ...] = ()
    """Rows of its input that no window reads."""
    unread_columns: tuple[int, ...] = ()
    """Columns of its input that no window reads."""
    block: str | None = None
    """Name of the part of the encoder it belongs to: block1, …, head; None before it."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """All rows of a stem and what they add up to."""

    spec: StemSpec
    """The stem that was predicted."""
    vit: ViTSpec | None = None
    """The whole model that was predicted, or None for the stem alone."""
    dtype: Dtype
    """Number format that the bytes are counted in."""
    layers: tuple[LayerPrediction, ...]
    """One row a module, in the order of the forward pass."""

    @property
    def _sequence(self) -> LayerPrediction:
        """The last row of the stem, which gives the sequence."""
        return next(layer for layer in reversed(self.layers) if layer.block is None)

    @property
    def embed_dim(self) -> int:
        """Numbers in one token."""
        return self._sequence.out_shape[1]

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.spec.grid_size

    @property
    def num_patches(self) -> int:
        """Image tokens."""
        return self.layer("tokens").out_shape[0]

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the image tokens."""
        return self.seq_len - self.num_patches

    @property
    def seq_len(self) -> int:
        """All tokens."""
        return self._sequence.out_shape[0]

    @property
    def total_stride(self) -> int:
        """Pixels of the image from one token to the next."""
        return self._sequence.jump

    @property
    def receptive_field(self) -> int:
        """Pixels of the image that one token sees along an axis, with padding."""
        return self._sequence.receptive_field

    @property
    def params(self) -> int:
        """Learned numbers of all rows."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activations(self) -> int:
        """Elements of the outputs of convolutions and matrix products, the paper's "acts"."""
        return sum(layer.activations for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Size of all outputs together."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def stem_params(self) -> int:
        """Learned numbers of the convolutions and their norms: what the paper calls the stem."""
        return sum(layer.params for layer in self.layers if layer.stage)

    @property
    def stem_macs(self) -> int:
        """Multiply-accumulates of the convolutions for one image."""
        return sum(layer.macs for layer in self.layers if layer.stage)

    def layer(self, name: str) -> LayerPrediction:
        """The row called `name`; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def predict(spec: StemSpec | ViTSpec, *, dtype: Dtype = "float32") -> Prediction:
    """Work out every shape, count and size of a stem or a whole ViT without building it.

    Args:
        spec: The stem, or the model.
        dtype: Number format that bytes are counted in.

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
    """The rows of every stage, then of the tokens."""
    field = jump = 1
    for stage in spec.stages:
        conv = stage.conv
        field = arithmetic.receptive_field(
            field, jump, kernel_size=conv.kernel_size, dilation=conv.dilation
        )
        jump *= conv.stride
        yield from _stage_rows(stage, field, jump, item)
    yield from _token_rows(spec, field, jump, item)


def _stage_rows(stage: Stage, field: int, jump: int, item: int) -> Iterator[LayerPrediction]:
    """A convolution, its norm and its activation."""
    conv = stage.conv
    shape = stage.out_shape
    size = prod(shape) * item
    unread = [
        arithmetic.unread_positions(
            side,
            kernel_size=conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
        )
        for side in stage.in_shape[1:]
    ]
    yield LayerPrediction(
        name=stage.name,
        kind="conv",
        stage=stage.name,
        in_shape=stage.in_shape,
        out_shape=shape,
        params=arithmetic.conv_params(
            stage.in_shape[0],
            conv.out_channels,
            kernel_size=conv.kernel_size,
            groups=conv.groups,
            bias=conv.bias,
        ),
        macs=arithmetic.conv_macs(
            stage.in_shape[0], shape, kernel_size=conv.kernel_size, groups=conv.groups
        ),
        activations=prod(shape),
        bytes=size,
        receptive_field=field,
        jump=jump,
        unread_rows=unread[0],
        unread_columns=unread[1],
    )
    companions: list[tuple[str, Kind, int]] = []
    if conv.norm != "none":
        companions.append((stage.norm_name, "norm", arithmetic.norm_params(conv.out_channels)))
    if conv.activation != "none":
        companions.append((stage.act_name, "activation", 0))
    for name, kind, params in companions:
        yield LayerPrediction(
            name=name,
            kind=kind,
            stage=stage.name,
            in_shape=shape,
            out_shape=shape,
            params=params,
            macs=0,
            activations=0,
            bytes=size,
            receptive_field=field,
            jump=jump,
        )


def _token_rows(spec: StemSpec, field: int, jump: int, item: int) -> Iterator[LayerPrediction]:
    """The flattening, and the class token and the position table where there are any."""
    grid = spec.stages[-1].out_shape
    width = grid[0]
    patches = (grid[1] * grid[2], width)
    tokens = (patches[0] + spec.num_prefix_tokens, width)
    rows: list[tuple[str, Kind, tuple[int, ...], tuple[int, ...], int]] = [
        ("tokens", "tokens", grid, patches, 0)
    ]
    if spec.class_token:
        rows.append(("class_token", "class_token", patches, tokens, width))
    if spec.position_table:
        rows.append(("pos_embed", "pos_embed", tokens, tokens, prod(tokens)))
    for name, kind, in_shape, out_shape, params in rows:
        yield LayerPrediction(
            name=name,
            kind=kind,
            stage=None,
            in_shape=in_shape,
            out_shape=out_shape,
            params=params,
            macs=0,
            activations=0,
            bytes=prod(out_shape) * item,
            receptive_field=field,
            jump=jump,
        )


def _encoder_rows(vit: ViTSpec, field: int, item: int) -> Iterator[LayerPrediction]:
    """Every block, then the last normalisation, the choice of a token and the classifier."""
    stem = vit.stem
    n, d = stem.seq_len, stem.embed_dim
    layers = _block_layers(vit, item)
    everything = max(field, *stem.image_size)
    for number in range(1, vit.depth + 1):
        block = f"block{number}"
        for name, layer in layers.items():
            # from the first attention on, each token sees the whole image
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
    """The layers of a block by name, with all that is the same in every block."""
    stem = vit.stem
    n, d, heads = stem.seq_len, stem.embed_dim, vit.num_heads
    if vit.attention == "softmax":
        macs = arithmetic.softmax_attention_macs(n, d)
        activations = heads * n * n + n * d  # the weights of every head, and the result
    else:
        macs = arithmetic.linear_attention_macs(n, d, vit.head_dim)
        activations = heads * (vit.head_dim**2 + n) + n * d  # the two sums, and the result
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
