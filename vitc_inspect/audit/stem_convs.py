"""The convolutions of a stem, each with the norm and the activation that follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from vitc_inspect.audit.token_axes import last_axis
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.spec import Activation, ConvLayer, Norm
from vitc_inspect.tracing.dataflow import Step
from vitc_inspect.tracing.function_kinds import COPIES, MOVES, SCALINGS, SUMS
from vitc_inspect.tracing.positions import TracedTensor


@dataclass(frozen=True, kw_only=True)
class StemConv:
    """A convolution of a stem, with the norm and the activation that follow it."""

    name: str
    """Name of the convolution in the module; "" where its weight is no parameter."""
    layer: ConvLayer | None
    """The convolution with its norm and activation; None where a `ConvLayer` cannot say it."""


def stem_convs(before: Sequence[Step], after: Sequence[Step]) -> tuple[StemConv, ...]:
    """List the convolutions of an unbranched path; none if the path contains any other layer."""
    convs: list[StemConv] = []
    group: list[Step] = []
    last: TracedTensor | None = None
    for step in before:
        if len(step.of_image) != 1 or (last is not None and step.of_image[0] is not last):
            return ()
        last = step.outputs[0]
        if step.name == "conv2d":
            if convs:
                convs[-1] = _closed(convs[-1], group)
            elif not all(_keeps_image(each) for each in group):
                return ()
            convs.append(_link(step))
            group = []
        else:
            group.append(step)
    if not convs or group:
        return ()
    convs[-1] = _closed(convs[-1], _ending(after))
    return tuple(convs)


def _keeps_image(step: Step) -> bool:
    """Whether a step before the first convolution leaves every pixel in its place."""
    return step.name in COPIES | SUMS | SCALINGS | {"batch_norm"} and (
        step.outputs[0].shape == step.of_image[0].shape
    )


def _ending(after: Sequence[Step]) -> list[Step]:
    """Norm and activation behind the last map: what comes before its numbers are moved for good.

    A position table that is added to the map is no part of the convolution's stage, and neither
    is what follows it.
    """
    kept: list[Step] = []
    for step in after:
        if step.name in SUMS | SCALINGS:
            break
        kept.append(step)
    # moves that are not undone are those that make tokens
    while kept and not kept[-1].outputs[0].in_map_order:
        moves = [at for at, step in enumerate(kept) if step.name in MOVES]
        kept = kept[: max(at for at in moves if kept[at].of_image[0].in_map_order)]
    return kept


def _link(step: Step) -> StemConv:
    """A convolution, as far as a ConvLayer can describe it."""
    weight = next((known.name for known in step.sources[1:2]), "")
    name = weight.rpartition(".")[0]
    return StemConv(name=name, layer=_conv_layer(step.given))


def _conv_layer(given: Mapping[str, Any]) -> ConvLayer | None:
    """The convolution that these arguments of a function describe; None for what is not square."""
    width, _, *kernel = given["weight"]
    stride, dilation = (pair(given.get(name, 1)) for name in ("stride", "dilation"))
    padding = given.get("padding", 0)
    if padding == "same":
        reach = [step * (taps - 1) for taps, step in zip(kernel, dilation, strict=True)]
        padding = [span // 2 if span % 2 == 0 else -1 for span in reach]
    padding = pair(0 if padding == "valid" else padding)
    if any(len(set(each)) > 1 for each in (kernel, stride, dilation, padding)):
        return None
    try:
        return ConvLayer(
            out_channels=width,
            kernel_size=kernel[0],
            stride=stride[0],
            padding=padding[0],
            dilation=dilation[0],
            groups=given.get("groups", 1),
            bias=given.get("bias") is not None,
        )
    except SpecError:
        return None


def pair(value: Any) -> tuple[int, int]:
    """Return what an argument of a convolution says for each of its two axes."""
    first, *rest = value if isinstance(value, (tuple, list)) else (value,)
    return (first, rest[0]) if rest else (first, first)


def _closed(conv: StemConv, group: Sequence[Step]) -> StemConv:
    """A convolution with the norm and the activation behind it, where nothing else is there."""
    norm: Norm = "none"
    activation: Activation = "none"
    if conv.layer is None:
        return conv
    for step in group:
        if step.name in COPIES or (step.name in MOVES and len(step.outputs) == 1):
            continue
        found = _norm(step)
        if found and norm == activation == "none":
            norm = found
        elif step.name in get_args(Activation) and activation == "none":
            activation = step.name  # type: ignore[assignment]  # it is one of them
        else:
            return replace(conv, layer=None)
    if group and not group[-1].outputs[0].in_map_order:
        return replace(conv, layer=None)
    return replace(conv, layer=replace(conv.layer, norm=norm, activation=activation))


def _norm(step: Step) -> Norm | None:
    """The norm of a step, if it is one of those that a ConvLayer can have."""
    if step.name == "batch_norm":
        return "batch"
    if step.name == "layer_norm" and last_axis(step.of_image[0]) == "channels":
        return "layer" if len(step.given["normalized_shape"]) == 1 else None
    return None
