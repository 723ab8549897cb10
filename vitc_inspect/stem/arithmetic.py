"""Formulas of stems and encoders on integers, each with its source."""

from __future__ import annotations

from math import prod

from vitc_inspect.common.errors import SpecError


def window_size(*, kernel_size: int, dilation: int) -> int:
    """Count the pixels from the first to the last tap of a kernel, along one axis.

        window = dilation * (kernel_size - 1) + 1

    Args:
        kernel_size: Taps along the axis.
        dilation: Distance between two taps (pixels).

    Returns:
        Length of the window (pixels).

    Source:
        Dumoulin and Visin 2016, arXiv:1603.07285, section 5.1.

    >>> window_size(kernel_size=3, dilation=2)
    5
    """
    return dilation * (kernel_size - 1) + 1


def output_size(
    size: int, *, kernel_size: int, stride: int, padding: int, dilation: int = 1
) -> int:
    """Count the window positions of a convolution along one axis.

        out = floor((size + 2 * padding - window) / stride) + 1

    Args:
        size: Length of the input along the axis (pixels).
        kernel_size: Taps of the kernel along the axis.
        stride: Step from window to window (pixels).
        padding: Zeros added at each end (pixels).
        dilation: Distance between two taps (pixels).

    Returns:
        Length of the output along the axis (pixels of the feature map), at least 1.

    Raises:
        SpecError: field "kernel_size", when the window is longer than the padded input.

    Source:
        torch.nn.Conv2d, section "Shape"; Dumoulin and Visin 2016, arXiv:1603.07285, section 2.

    >>> output_size(224, kernel_size=3, stride=2, padding=1)
    112
    >>> output_size(225, kernel_size=16, stride=16, padding=0)
    14
    """
    padded = size + 2 * padding
    window = window_size(kernel_size=kernel_size, dilation=dilation)
    if window > padded:
        largest = (padded - 1) // dilation + 1
        length = f"{padded} pixel{'' if padded == 1 else 's'}"
        spread = f"the window spans {window} pixels and " if dilation > 1 else ""
        raise SpecError(
            "kernel_size",
            kernel_size,
            f"{spread}the padded input is only {length} long",
            f"Use {largest}{' or less' if largest > 1 else ''}",
            largest,
        )
    return (padded - window) // stride + 1


def unread_positions(
    size: int, *, kernel_size: int, stride: int, padding: int, dilation: int = 1
) -> tuple[int, ...]:
    """List the positions along one axis of the input that no window reads.

    Every tap of the kernel reads an arithmetic progression of positions; what no
    progression hits is lost: pixels beyond the last window, and gaps where the
    stride or the dilation steps over them.

    Args:
        size: Length of the input along the axis (pixels).
        kernel_size, stride, padding, dilation: As in `output_size`.

    Returns:
        Zero-based positions in ascending order; empty when everything is read.

    Raises:
        SpecError: As `output_size`.

    Source:
        torch.nn.Conv2d.

    >>> unread_positions(230, kernel_size=16, stride=16, padding=0)
    (224, 225, 226, 227, 228, 229)
    >>> unread_positions(224, kernel_size=3, stride=2, padding=1)
    ()
    """
    windows = output_size(
        size, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation
    )
    if dilation == 1 and stride <= kernel_size:  # no gap between windows, only behind the last
        return tuple(range(max(0, (windows - 1) * stride + kernel_size - padding), size))
    read = bytearray(size)
    for tap in range(kernel_size):
        first = tap * dilation - padding
        hits = range(first, first + windows * stride, stride)
        if first < 0:  # steps of this tap that lie in the padding before the image
            hits = hits[-(first // stride) :]
        hits = range(hits.start, min(hits.stop, size), stride)
        read[hits.start : hits.stop : stride] = b"\x01" * len(hits)
    return tuple(i for i, seen in enumerate(read) if not seen) if 0 in read else ()


def receptive_field(field: int, jump: int, *, kernel_size: int, dilation: int = 1) -> int:
    """Grow the receptive field by one convolution.

        field' = field + (window - 1) * jump

    Args:
        field: Pixels of the image that one position of the input sees, along one axis.
        jump: Pixels of the image between two neighbouring positions of the input.
        kernel_size, dilation: As in `window_size`.

    Returns:
        Pixels of the image that one position of the output sees, padding included.

    Source:
        Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural
        Networks", Distill, equation 2.

    >>> receptive_field(3, 2, kernel_size=3)
    7
    """
    return field + (window_size(kernel_size=kernel_size, dilation=dilation) - 1) * jump


def conv_params(
    in_channels: int, out_channels: int, *, kernel_size: int, groups: int, bias: bool
) -> int:
    """Count the parameters of a convolution.

        params = out_channels * (in_channels / groups) * kernel_size^2 + out_channels if bias

    Args:
        in_channels, out_channels: Channels; both divisible by `groups`.
        kernel_size: Taps along each axis.
        groups: Blocks of channels that are convolved apart.
        bias: Whether one number is added to each output channel.

    Returns:
        Number of parameters.

    Source:
        torch.nn.Conv2d, section "Variables".

    >>> conv_params(3, 768, kernel_size=16, groups=1, bias=True)
    590592
    """
    weights = out_channels * (in_channels // groups) * kernel_size**2
    return weights + (out_channels if bias else 0)


def conv_macs(
    in_channels: int, out_shape: tuple[int, int, int], *, kernel_size: int, groups: int
) -> int:
    """Count the multiply-accumulates of a convolution over one image.

        macs = out_channels * height * width * (in_channels / groups) * kernel_size^2

    Adding the bias is not counted: it is an addition, not a multiply-accumulate.

    Args:
        in_channels: Channels of the input; divisible by `groups`.
        out_shape: Channels, height and width of the output.
        kernel_size: Taps along each axis.
        groups: Blocks of channels that are convolved apart.

    Returns:
        Multiply-accumulates (MACs); the paper calls them flops.

    Source:
        Xiao et al. 2021, arXiv:2106.14881, Table 3: 435 MFlops for the stem of ViT_C-4GF.

    >>> conv_macs(3, (24, 112, 112), kernel_size=3, groups=1)
    8128512
    """
    return prod(out_shape) * (in_channels // groups) * kernel_size**2


def norm_params(channels: int) -> int:
    """Count the parameters of a batch or layer normalisation: a scale and a shift a channel.

    Args:
        channels: Channels that are normalised.

    Returns:
        Number of parameters.

    Source:
        torch.nn.BatchNorm2d and torch.nn.LayerNorm, section "Variables".

    >>> norm_params(48)
    96
    """
    return 2 * channels


def linear_macs(tokens: int, in_features: int, out_features: int) -> int:
    """Count the multiply-accumulates of a linear layer over one image; its bias is not counted.

        macs = tokens * in_features * out_features

    Args:
        tokens: Vectors the layer is applied to.
        in_features, out_features: Numbers in a vector before and after.

    Returns:
        Multiply-accumulates (MACs).

    Source:
        torch.nn.Linear.

    >>> linear_macs(197, 384, 1152)
    87146496
    """
    return tokens * in_features * out_features


def softmax_attention_macs(tokens: int, width: int) -> int:
    """Count the multiply-accumulates of softmax attention, all heads together.

        macs = tokens^2 * width  (queries with keys)  +  tokens^2 * width  (weights with values)

    The number of heads does not matter: each takes its share of the width. The softmax itself
    is not counted.

    Args:
        tokens: Length of the sequence.
        width: Numbers in a token, over all heads.

    Returns:
        Multiply-accumulates (MACs).

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, equation 1 and Table 1.

    >>> softmax_attention_macs(197, 384)
    29805312
    """
    return 2 * tokens**2 * width


def linear_attention_macs(tokens: int, width: int, head_dim: int) -> int:
    """Count the multiply-accumulates of linear attention, all heads together.

        macs = tokens * width * head_dim  (keys with values)
             + tokens * width * head_dim  (queries with their sum)
             + tokens * width             (queries with the sum of the keys)

    Args:
        tokens: Length of the sequence.
        width: Numbers in a token, over all heads.
        head_dim: Numbers of a token in one head.

    Returns:
        Multiply-accumulates (MACs).

    Source:
        Katharopoulos et al. 2020, arXiv:2006.16236, equation 5.

    >>> linear_attention_macs(197, 384, 64)
    9758592
    """
    return 2 * tokens * width * head_dim + tokens * width
