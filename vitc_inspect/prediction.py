"""What a stem will do, worked out in whole numbers before anything is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from vitc_inspect import arithmetic
from vitc_inspect.fields import check_choice
from vitc_inspect.spec import Stage, StemSpec

Dtype = Literal["float32", "bfloat16", "float16"]
ITEM_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one number of each dtype."""

Kind = Literal["conv", "norm", "activation", "tokens", "class_token", "pos_embed"]


@dataclass(frozen=True, kw_only=True)
class LayerPrediction:
    """One row: what one module will do. Shapes are those of one image, without the batch."""

    name: str
    """Name of the module: conv1, norm1, act1, …, proj, tokens, class_token, pos_embed."""
    kind: Kind
    """What the module is."""
    stage: str | None
    """Name of the convolution it belongs to; None after the flattening."""
    in_shape: tuple[int, ...]
    """(channels, height, width) or (tokens, width)."""
    out_shape: tuple[int, ...]
    """(channels, height, width) or (tokens, width)."""
    params: int
    """Learned numbers."""
    macs: int
    """Multiply-accumulates for one image; bias, norm and activation are not counted."""
    activations: int
    """Elements of the output where it is that of a convolution, as the paper counts; else 0."""
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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """All rows of a stem and what they add up to."""

    spec: StemSpec
    """The stem that was predicted."""
    dtype: Dtype
    """Number format that the bytes are counted in."""
    layers: tuple[LayerPrediction, ...]
    """One row a module, in the order of the forward pass."""

    @property
    def embed_dim(self) -> int:
        """Numbers in one token."""
        return self.layers[-1].out_shape[-1]

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
        return self.layers[-1].out_shape[0]

    @property
    def total_stride(self) -> int:
        """Pixels of the image from one token to the next."""
        return self.layers[-1].jump

    @property
    def receptive_field(self) -> int:
        """Pixels of the image that one token sees along an axis, with padding."""
        return self.layers[-1].receptive_field

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
        """Elements of the convolutions' outputs, the paper's "acts"."""
        return sum(layer.activations for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Size of all outputs together."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def stem_params(self) -> int:
        """Learned numbers of the convolutions and their norms: what the paper calls the stem."""
        return sum(layer.params for layer in self.layers if layer.stage)

    def layer(self, name: str) -> LayerPrediction:
        """The row called `name`; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)


def predict(spec: StemSpec, *, dtype: Dtype = "float32") -> Prediction:
    """Work out every shape, count and size of a stem without building it.

    Args:
        spec: The stem.
        dtype: Number format that bytes are counted in.

    Returns:
        One row for each module of `model.build_stem`, in the same order.

    Raises:
        SpecError: field "dtype".

    Source:
        The formulas of `arithmetic`.

    >>> from vitc_inspect.spec import conv_stem
    >>> predict(conv_stem()).seq_len, predict(conv_stem()).macs
    (197, 435326976)
    """
    check_choice("dtype", dtype, get_args(Dtype))
    item = ITEM_BYTES[dtype]
    return Prediction(spec=spec, dtype=dtype, layers=tuple(_rows(spec, item)))


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
    """The flattening, the class token and the position table."""
    grid = spec.stages[-1].out_shape
    width = grid[0]
    patches = (grid[1] * grid[2], width)
    tokens = (patches[0] + spec.num_prefix_tokens, width)
    rows: list[tuple[str, Kind, tuple[int, ...], tuple[int, ...], int]] = [
        ("tokens", "tokens", grid, patches, 0)
    ]
    if spec.class_token:
        rows.append(("class_token", "class_token", patches, tokens, width))
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
