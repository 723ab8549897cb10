"""Predict the memory of a run before it starts, and refuse a run above the budget."""

from __future__ import annotations

from math import prod

from vitc_inspect.stem.prediction import ITEM_BYTES, Dtype, Prediction
from vitc_inspect.stem.smaller import too_large
from vitc_inspect.stem.spec import Stage
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
    raise too_large(
        prediction,
        figure,
        costs={s.name: _stage_elements(s, prediction.dtype) for s in prediction.spec.stages},
        fits=lambda other: predicted_memory(other, keep_bytes=keep_bytes) <= budget,
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
