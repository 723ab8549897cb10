"""Predict the memory of a run before it starts, and refuse a run above the budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from math import prod

from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.prediction import ITEM_BYTES, Dtype, Prediction, predict
from vitc_inspect.stem.spec import ConvLayer, Stage, StemSpec
from vitc_inspect.stem.vit import ViTSpec

MEMORY_BUDGET = 2 * 2**30
"""Default budget for one run (bytes)."""

_LANES = 8
"""Channels are rounded up to a multiple of this by convolution libraries."""
_FEW = 4
"""Up to this many channels are not rounded up."""


def predicted_memory(prediction: Prediction, *, keep_bytes: int) -> int:
    """Estimate the peak memory of building and running a stem.

    Args:
        prediction: The stem's prediction.
        keep_bytes: Budget for copies of outputs (bytes).

    Returns:
        Bytes: weights in float32 and in the dtype of the run, the image, the kept outputs, and
        the largest stage with the copies that a convolution library may make.
    """
    item = ITEM_BYTES[prediction.dtype]
    spec = prediction.spec
    weights = prediction.params * (4 if item == 4 else 4 + item)
    image = prod(spec.image_size) * (spec.in_channels + 1) * 8  # decoded, scaled and as input
    tokens = 3 * prediction.layers[-1].bytes
    blocks = _encoder_elements(prediction.vit) * item if prediction.vit else 0
    stages = max(_stage_elements(stage, prediction.dtype) * item for stage in spec.stages)
    kept = min(prediction.bytes, keep_bytes)
    needed = weights + image + max(stages, tokens, blocks) + kept
    return needed + needed // 8  # overhead of the allocator


def _encoder_elements(vit: ViTSpec) -> int:
    """Elements held at once by one block: its tokens, its widest layer, and attention.

    Softmax attention is assumed to hold the attention weights of every head twice, as PyTorch
    does without a fused kernel.
    """
    n, d = vit.stem.seq_len, vit.stem.embed_dim
    weights = 2 * vit.num_heads * n * n if vit.attention == "softmax" else 3 * n * d
    return 2 * n * d + max(2 * n * vit.hidden_dim, 6 * n * d + weights)


def _stage_elements(stage: Stage, dtype: Dtype) -> int:
    """Elements held at once by one convolution, its norm and its activation.

    The input and the output; copies of both, padded and with channels rounded up; a copy of the
    weights in the layout of the library; in half precision also the unfolded input, with
    kernel_size^2 values for each position.
    """
    conv = stage.conv
    in_channels, in_height, in_width = stage.in_shape
    positions = prod(stage.out_shape[1:])
    padded = (in_height + 2 * conv.padding) * (in_width + 2 * conv.padding)
    out_channels = _rounded(max(conv.out_channels, _LANES))
    copies = _rounded(in_channels) * padded + 2 * out_channels * positions
    filters = _rounded(in_channels // conv.groups) * conv.kernel_size**2
    weights = out_channels * filters
    unfolded = 0 if dtype == "float32" else in_channels * conv.kernel_size**2 * positions
    return prod(stage.in_shape) + prod(stage.out_shape) + copies + weights + unfolded


def _rounded(channels: int) -> int:
    return channels if channels <= _FEW else -(-channels // _LANES) * _LANES


def check_memory(prediction: Prediction, *, keep_bytes: int, budget: int) -> int:
    """Return the predicted memory if it is within the budget.

    Args:
        prediction: The stem's prediction.
        keep_bytes: Budget for copies of outputs (bytes).
        budget: Most memory that the run may use (bytes).

    Returns:
        Predicted bytes.

    Raises:
        SpecError: field "image_size", or "conv2.out_channels" if the weights alone are
            too large, with the numbers and the largest value found that fits.
    """
    needed = predicted_memory(prediction, keep_bytes=keep_bytes)
    if needed <= budget:
        return needed
    figure = f"the run would take about {_mebibytes(needed)}, the budget is {_mebibytes(budget)}"

    def fits(stem: StemSpec) -> bool:
        try:  # the heads may not divide the width of a narrower stem
            whole = replace(prediction.vit, stem=stem) if prediction.vit else stem
        except SpecError:
            return False
        smaller = predict(whole, dtype=prediction.dtype)
        return predicted_memory(smaller, keep_bytes=keep_bytes) <= budget

    spec = prediction.spec
    sizes = _smaller_sizes(spec)
    size = next((size for size in sizes if fits(replace(spec, image_size=size))), None)
    if size:
        raise SpecError("image_size", spec.image_size, figure, f"Use {size[0]} x {size[1]}", size)
    costs = {stage.name: _stage_elements(stage, prediction.dtype) for stage in spec.stages}
    for name in sorted(costs, key=lambda name: costs[name], reverse=True):
        for channels, narrower in _narrowed(spec, name):
            if fits(narrower):
                raise SpecError(
                    f"{name}.out_channels",
                    prediction.layer(name).out_shape[0],
                    figure,
                    f"Use {channels} or fewer",
                    channels,
                )
    raise SpecError(
        "image_size", spec.image_size, figure, "Use fewer channels, or a smaller image and kernels"
    )


def _smaller_sizes(spec: StemSpec) -> Iterator[tuple[int, int]]:
    """Smaller image sizes of about the same aspect that the stem accepts, largest first."""
    scales = sorted({eighth / 8 / 2**halvings for eighth in range(4, 8) for halvings in range(13)})
    for scale in reversed(scales):
        height, width = (max(1, int(side * scale)) for side in spec.image_size)
        with suppress(SpecError):
            yield replace(spec, image_size=(height, width)).image_size


def _narrowed(spec: StemSpec, name: str) -> Iterator[tuple[int, StemSpec]]:
    """Smaller channel counts for one convolution, with the resulting stem, largest first."""
    index = [stage.name for stage in spec.stages].index(name)
    for power in range(15, -1, -1):
        with suppress(SpecError):
            conv = replace(spec.convs[index], out_channels=2**power)
            if conv.out_channels < spec.convs[index].out_channels:
                yield 2**power, replace(spec, convs=_with(spec.convs, index, conv))


def _with(convs: tuple[ConvLayer, ...], index: int, conv: ConvLayer) -> tuple[ConvLayer, ...]:
    return (*convs[:index], conv, *convs[index + 1 :])


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
