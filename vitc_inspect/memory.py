"""The memory a run will take, predicted before any is taken, and the refusal of too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from math import prod

from vitc_inspect.errors import SpecError
from vitc_inspect.prediction import ITEM_BYTES, Prediction, predict
from vitc_inspect.spec import ConvLayer, StemSpec

MEMORY_BUDGET = 2 * 2**30
"""Most bytes that one run may be predicted to take, unless told otherwise."""

_WORKSPACE = 2
"""Copies of a layer's input and output that the convolution library may make for itself."""


def predicted_memory(prediction: Prediction, *, keep_bytes: int) -> int:
    """Estimate the most memory that building and running a stem holds at one time.

    Args:
        prediction: The stem's prediction.
        keep_bytes: Budget for copies of outputs (bytes).

    Returns:
        Bytes: weights in float32 and in the dtype of the run, the image, the largest
        input and output of one layer with the library's own copies of them, and the
        outputs that are kept.
    """
    item = ITEM_BYTES[prediction.dtype]
    weights = prediction.params * (4 if item == 4 else 4 + item)
    spec = prediction.spec
    image = prod(spec.image_size) * spec.in_channels * (4 + item)
    widest = max(prod(layer.in_shape) * item + layer.bytes for layer in prediction.layers)
    kept = min(prediction.bytes, keep_bytes)
    return weights + image + (1 + _WORKSPACE) * widest + kept


def check_memory(prediction: Prediction, *, keep_bytes: int, budget: int) -> int:
    """Return the predicted memory if it is within the budget.

    Args:
        prediction: The stem's prediction.
        keep_bytes: Budget for copies of outputs (bytes).
        budget: The most that may be taken (bytes).

    Returns:
        Predicted bytes.

    Raises:
        SpecError: field "image_size", or "conv2.out_channels" where the weights alone are
            too many, with the figure and the nearest value found that fits.
    """
    needed = predicted_memory(prediction, keep_bytes=keep_bytes)
    if needed <= budget:
        return needed
    figure = f"the run would take about {_mebibytes(needed)}, the budget is {_mebibytes(budget)}"

    def fits(spec: StemSpec) -> bool:
        smaller = predict(spec, dtype=prediction.dtype)
        return predicted_memory(smaller, keep_bytes=keep_bytes) <= budget

    spec = prediction.spec
    sizes = _smaller_sizes(spec)
    size = next((size for size in sizes if fits(replace(spec, image_size=size))), None)
    if size:
        raise SpecError("image_size", spec.image_size, figure, f"Use {size[0]} x {size[1]}", size)
    heaviest = max(
        (layer for layer in prediction.layers if layer.kind == "conv"), key=lambda row: row.params
    )
    channels = next((n for n, narrower in _narrowed(spec, heaviest.name) if fits(narrower)), None)
    raise SpecError(
        f"{heaviest.name}.out_channels",
        heaviest.out_shape[0],
        f"{figure}, most of it for the {heaviest.params:,} weights of {heaviest.name}",
        f"Use {channels} or fewer" if channels else "Use fewer channels in every layer",
        channels,
    )


def _smaller_sizes(spec: StemSpec) -> Iterator[tuple[int, int]]:
    """Image sizes of about the same shape that the stem can take, largest first."""
    scales = sorted({eighth / 8 / 2**halvings for eighth in range(4, 8) for halvings in range(13)})
    for scale in reversed(scales):
        height, width = (max(1, int(side * scale)) for side in spec.image_size)
        with suppress(SpecError):
            yield replace(spec, image_size=(height, width)).image_size


def _narrowed(spec: StemSpec, name: str) -> Iterator[tuple[int, StemSpec]]:
    """Fewer output channels for one convolution, with the stem they give, most first."""
    index = [stage.name for stage in spec.stages].index(name)
    for power in range(15, -1, -1):
        with suppress(SpecError):
            conv = replace(spec.convs[index], out_channels=2**power)
            yield 2**power, replace(spec, convs=_with(spec.convs, index, conv))


def _with(convs: tuple[ConvLayer, ...], index: int, conv: ConvLayer) -> tuple[ConvLayer, ...]:
    return (*convs[:index], conv, *convs[index + 1 :])


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
