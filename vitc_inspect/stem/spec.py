"""Specification of a stem: frozen dataclasses that are validated when they are created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
from types import MappingProxyType
from typing import Any, Literal, get_args

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import (
    MAX_CHANNELS,
    MAX_SIDE,
    as_pair,
    check_all,
    check_bool,
    check_choice,
    check_int,
    check_pair,
)
from vitc_inspect.stem import arithmetic

Norm = Literal["none", "batch", "layer"]
Activation = Literal["none", "relu", "gelu", "silu", "hardswish"]

MAX_CONVS = 64
"""Most convolutions of a stem."""
CONV_BOUNDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "out_channels": (1, MAX_CHANNELS),
        "kernel_size": (1, MAX_SIDE),
        "stride": (1, MAX_SIDE),
        "padding": (0, MAX_SIDE),
        "dilation": (1, MAX_SIDE),
        "groups": (1, 10**9),  # bounded by the channels, which it must divide
    }
)
"""Smallest and largest value of each integer field of a convolution."""


@dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """A square convolution with the normalisation and activation that follow it."""

    out_channels: int
    """Channels of the output."""
    kernel_size: int
    """Taps along each axis."""
    stride: int
    """Step from window to window (pixels of the input)."""
    padding: int
    """Zeros added on each of the four sides (pixels of the input)."""
    dilation: int = 1
    """Distance between two taps (pixels of the input)."""
    groups: int = 1
    """Number of groups of channels."""
    bias: bool
    """Whether the convolution has a bias."""
    norm: Norm = "none"
    """Normalisation after the convolution; "layer" normalises the channels of each position."""
    activation: Activation = "none"
    """Non-linearity after the normalisation."""

    def __post_init__(self) -> None:
        for field, (low, high) in CONV_BOUNDS.items():
            number = check_int(field, getattr(self, field), low, high)
            object.__setattr__(self, field, number)  # NumPy integers become Python integers
        object.__setattr__(self, "bias", check_bool("bias", self.bias))
        check_choice("norm", self.norm, get_args(Norm))
        check_choice("activation", self.activation, get_args(Activation))
        if self.out_channels % self.groups:
            reason = f"it does not divide the {self.out_channels} output channels"
            raise SpecError("groups", self.groups, reason, "Use 1", 1)

    @property
    def window(self) -> dict[str, int]:
        """Keyword arguments of `arithmetic.output_size` and `arithmetic.unread_positions`."""
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }

    def seen(self, field: int, jump: int) -> tuple[int, int]:
        """Receptive field and jump of the output, from those of the input (pixels)."""
        field = arithmetic.receptive_field(
            field, jump, kernel_size=self.kernel_size, dilation=self.dilation
        )
        return field, jump * self.stride


def default_padding(kernel_size: int, stride: int) -> int:
    """Return the padding of a convolution that does not set one (pixels).

    Overlapping windows are padded by (kernel_size - 1) // 2; windows that do not overlap, as in
    patchify, are not padded.

    >>> default_padding(3, 2), default_padding(16, 16), default_padding(1, 1)
    (1, 0, 0)
    """
    return (kernel_size - 1) // 2 if stride < kernel_size else 0


def conv_layer(
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool | None = None,
    norm: Norm = "none",
    activation: Activation = "none",
) -> ConvLayer:
    """Make a `ConvLayer` with the defaults of the stem notation.

    Args:
        out_channels, kernel_size, stride, dilation, groups, norm, activation: As in `ConvLayer`.
        padding: Pixels; None means `default_padding`.
        bias: None means a bias only without a norm, whose shift replaces it.

    Returns:
        The layer.

    Raises:
        SpecError: naming the field, without its layer, for example "stride".

    >>> conv_layer(48, 3, 2, norm="batch", activation="relu").padding
    1
    """
    kernel_size = check_int("kernel_size", kernel_size, 1, MAX_SIDE)
    stride = check_int("stride", stride, 1, MAX_SIDE)
    check_choice("norm", norm, get_args(Norm))
    return ConvLayer(
        out_channels=out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=default_padding(kernel_size, stride) if padding is None else padding,
        dilation=dilation,
        groups=groups,
        bias=norm == "none" if bias is None else bias,
        norm=norm,
        activation=activation,
    )


def conv_names(count: int) -> tuple[str, ...]:
    """Return the names of a stem's convolutions in order: conv1, conv2, …, proj.

    >>> conv_names(3)
    ('conv1', 'conv2', 'proj')
    """
    return (*(f"conv{i}" for i in range(1, count)), "proj") if count else ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A convolution of a stem with its name and its input and output shapes."""

    name: str
    """Name of the convolution: conv1, …, proj."""
    conv: ConvLayer
    """The convolution with its norm and activation."""
    in_shape: tuple[int, int, int]
    """Channels, height, width of the input."""
    out_shape: tuple[int, int, int]
    """Channels, height, width of the output."""

    @property
    def params(self) -> int:
        """Parameters of the convolution, without its norm."""
        return arithmetic.conv_params(
            self.in_shape[0],
            self.conv.out_channels,
            kernel_size=self.conv.kernel_size,
            groups=self.conv.groups,
            bias=self.conv.bias,
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolution for one image."""
        return arithmetic.conv_macs(
            self.in_shape[0],
            self.out_shape,
            kernel_size=self.conv.kernel_size,
            groups=self.conv.groups,
        )

    @property
    def norm_name(self) -> str:
        """Module name of the normalisation: norm1, …, proj_norm."""
        return _companion(self.name, "norm")

    @property
    def act_name(self) -> str:
        """Module name of the activation: act1, …, proj_act."""
        return _companion(self.name, "act")


@dataclass(frozen=True, kw_only=True)
class StemSpec:
    """A stem: convolutions, the last of which sets the token width, then the tokens.

    Patchify is the stem whose only convolution has kernel = stride = patch size.
    Every StemSpec can be built and run.
    """

    image_size: tuple[int, int]
    """Height and width of the image (pixels)."""
    in_channels: int = 3
    """Channels of the image."""
    convs: tuple[ConvLayer, ...]
    """The convolutions in order; the last is called proj."""
    class_token: bool = True
    """Whether a learned class token is put before the image tokens."""
    position_table: bool = True
    """Whether a learned position embedding is added to each token."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", check_pair("image_size", self.image_size))
        in_channels = check_int("in_channels", self.in_channels, 1, MAX_CHANNELS)
        object.__setattr__(self, "in_channels", in_channels)
        object.__setattr__(self, "class_token", check_bool("class_token", self.class_token))
        object.__setattr__(
            self, "position_table", check_bool("position_table", self.position_table)
        )
        object.__setattr__(self, "convs", _check_convs(self.convs))
        _ = self.stages  # validates the shapes of all layers

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The convolutions with their names and shapes.

        Raises:
            SpecError: naming the layer, for example "conv2.kernel_size" or "conv3.groups".
        """
        stages = []
        shape = (self.in_channels, *self.image_size)
        for name, conv in zip(conv_names(len(self.convs)), self.convs, strict=True):
            try:
                out_shape = _conv_shape(shape, conv)
            except SpecError as error:
                raise error.within(name) from None
            stages.append(Stage(name=name, conv=conv, in_shape=shape, out_shape=out_shape))
            shape = out_shape
        return tuple(stages)

    @property
    def embed_dim(self) -> int:
        """Token width."""
        return self.convs[-1].out_channels

    @property
    def total_stride(self) -> int:
        """Pixels of the image from one token to the next."""
        return prod(conv.stride for conv in self.convs)

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.stages[-1].out_shape[1:]

    @property
    def num_patches(self) -> int:
        """Number of image tokens."""
        return prod(self.grid_size)

    @property
    def num_prefix_tokens(self) -> int:
        """Number of tokens before the image tokens."""
        return int(self.class_token)

    @property
    def seq_len(self) -> int:
        """Number of all tokens."""
        return self.num_patches + self.num_prefix_tokens


def conv_stem(
    channels: Sequence[int] = (48, 96, 192, 384),
    strides: Sequence[int] | None = None,
    embed_dim: int = 384,
    *,
    image_size: int | tuple[int, int] = 224,
    in_channels: int = 3,
    class_token: bool = True,
    position_table: bool = True,
    kernel_size: int = 3,
    norm: Norm = "batch",
    activation: Activation = "relu",
) -> StemSpec:
    """Make a convolutional stem: convolutions with norm and activation, then a bare 1×1.

    The defaults are the stem of ViT_C-4GF.

    Args:
        channels: Output channels of each convolution before the last.
        strides: Stride of each of them; None means 2 each.
        embed_dim: Token width, the channels of the final 1×1 convolution.
        image_size: Height and width (pixels); one number means a square.
        in_channels: Channels of the image.
        class_token: Whether there is a learned class token.
        position_table: Whether a learned position embedding is added.
        kernel_size, norm, activation: The same for every convolution before the last.

    Returns:
        The stem.

    Raises:
        SpecError: naming the field, for example "conv2.stride".

    Source:
        Xiao et al. 2021, arXiv:2106.14881, section 4 and appendix.

    >>> conv_stem().seq_len
    197
    """
    strides = _check_strides(channels, strides)
    convs = []
    names = conv_names(len(channels) + 1)
    for name, out_channels, stride in zip(names, channels, strides, strict=False):
        try:
            convs.append(
                conv_layer(out_channels, kernel_size, stride, norm=norm, activation=activation)
            )
        except SpecError as error:
            raise error.within(name) from None
    return StemSpec(
        image_size=as_pair(image_size),
        in_channels=in_channels,
        convs=(*convs, _projection(embed_dim, 1)),
        class_token=class_token,
        position_table=position_table,
    )


def _check_strides(channels: Sequence[int], strides: Sequence[int] | None) -> Sequence[int]:
    """Return the strides, one for each number of channels; None means 2 each."""
    for field, given in (("channels", channels), ("strides", (2,) if strides is None else strides)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            reason = "it is not one number for each convolution"
            raise SpecError(field, given, reason, "Use (48, 96)", (48, 96))
    default = (2,) * len(channels)
    strides = default if strides is None else tuple(strides)
    if len(strides) != len(channels):
        reason = f"there are {len(strides)} strides for {len(channels)} convolutions"
        raise SpecError("strides", strides, reason, f"Give {len(channels)} strides", default)
    return strides


def patchify_stem(
    patch_size: int = 16,
    embed_dim: int = 768,
    *,
    image_size: int | tuple[int, int] = 224,
    in_channels: int = 3,
    class_token: bool = True,
    position_table: bool = True,
) -> StemSpec:
    """Make the original stem: one convolution with kernel = stride = patch size.

    The defaults are ViT-B/16.

    Args:
        patch_size: Side of a patch (pixels).
        embed_dim: Token width.
        image_size: Height and width (pixels); one number means a square.
        in_channels: Channels of the image.
        class_token: Whether there is a learned class token.
        position_table: Whether a learned position embedding is added.

    Returns:
        The stem.

    Raises:
        SpecError: naming the field, for example "proj.kernel_size".

    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1.

    >>> patchify_stem(14, 384).grid_size
    (16, 16)
    """
    return StemSpec(
        image_size=as_pair(image_size),
        in_channels=in_channels,
        convs=(_projection(embed_dim, patch_size),),
        class_token=class_token,
        position_table=position_table,
    )


def _check_convs(convs: Any) -> tuple[ConvLayer, ...]:
    """Return the convolutions as a tuple of 1 to MAX_CONVS layers."""
    fix = "Use (conv_layer(768, 16, 16),)"
    layers: tuple[Any, ...] = check_all("convs", convs, ConvLayer, fix)
    if not 1 <= len(layers) <= MAX_CONVS:
        raise SpecError(
            "convs",
            f"{len(layers)} layers",
            f"a stem has 1 to {MAX_CONVS} layers, each a ConvLayer",
            f"Give at most {MAX_CONVS}" if len(layers) > MAX_CONVS else "Give at least one",
        )
    return layers


def _conv_shape(shape: tuple[int, int, int], conv: ConvLayer) -> tuple[int, int, int]:
    """Output shape of a convolution; the groups must divide the input channels."""
    in_channels, *sides = shape
    if in_channels % conv.groups:
        divisor = _divisor(gcd(in_channels, conv.out_channels), conv.groups)
        reason = f"it does not divide the {in_channels} input channels"
        raise SpecError("groups", conv.groups, reason, f"Use {divisor}", divisor)
    outputs = {  # shorter side first, so that its suggestion fits both
        side: arithmetic.output_size(side, **conv.window) for side in sorted(sides)
    }
    height, width = (outputs[side] for side in sides)
    return conv.out_channels, height, width


def _projection(embed_dim: int, size: int) -> ConvLayer:
    """The bare convolution that sets the token width."""
    try:
        return conv_layer(embed_dim, size, size)
    except SpecError as error:
        raise error.within("proj") from None


def _companion(conv_name: str, suffix: str) -> str:
    """Name of the norm or activation of a convolution: conv2 -> norm2, proj -> proj_norm."""
    number = conv_name.removeprefix("conv")
    return f"{suffix}{number}" if number.isdigit() else f"{conv_name}_{suffix}"


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
