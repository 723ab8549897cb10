"""Refuse a run that needs too much, with the largest image or channels found that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.spec import ConvLayer, StemSpec


def too_large(
    prediction: Prediction,
    reason: str,
    *,
    costs: Mapping[str, int],
    fits: Callable[[Prediction], bool],
) -> SpecError:
    """Describe why a stem or a model cannot be run, with a value that can.

    Args:
        prediction: The prediction.
        reason: What it would need and what there is, without a full stop.
        costs: What each convolution needs, by name; the costliest is named first.
        fits: Whether another stem or model can be run.

    Returns:
        An error with field "image_size", or "conv2.out_channels" where no smaller image fits.
    """

    def fit(stem: StemSpec) -> bool:
        try:  # the heads may not divide the width of a narrower stem
            whole = replace(prediction.vit, stem=stem) if prediction.vit else stem
        except SpecError:
            return False
        return fits(predict(whole, dtype=prediction.dtype))

    spec = prediction.spec
    sizes = _smaller_sizes(spec)
    size = next((size for size in sizes if fit(replace(spec, image_size=size))), None)
    if size:
        return SpecError("image_size", spec.image_size, reason, f"Use {size[0]} x {size[1]}", size)
    for name in sorted(costs, key=lambda name: costs[name], reverse=True):
        for channels, narrower in _narrowed(spec, name):
            if fit(narrower):
                given = prediction.layer(name).out_shape[0]
                fix = f"Use {channels} or fewer"
                return SpecError(f"{name}.out_channels", given, reason, fix, channels)
    fix = "Use fewer channels, or a smaller image and kernels"
    return SpecError("image_size", spec.image_size, reason, fix)


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
