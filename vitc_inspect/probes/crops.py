"""Find the part of an image that a token and its neighbours depend on, and run on that part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call

from vitc_inspect.common.validation import check_int
from vitc_inspect.model.modules import ACTIVATIONS, ChannelNorm
from vitc_inspect.probes.submodules import named_layers, taps_of
from vitc_inspect.stem.geometry import Span

_POINTWISE = (ChannelNorm, nn.Identity, *(type(make()) for make in ACTIVATIONS.values()))


@dataclass(frozen=True)
class Window:
    """An interval along one axis of a layer's input map."""

    reads: Span
    """The positions that the layer reads, including padding."""
    has: Span
    """Those inside the map, at least one."""


Paths = tuple[list[Window], list[Window]]
"""The window of every layer and finally of the tokens, for rows and for columns."""


def paths_of(maps: nn.Sequential, size: tuple[int, int], place: tuple[int, int]) -> Paths | None:
    """Find the windows that each layer reads for a token and its eight neighbours.

    Args:
        maps: The part of a stem that ends in the last map.
        size: Height and width of the image (pixels).
        place: Row and column of the token.

    Returns:
        The windows; None if a layer is of a kind that `build_stem` does not make.

    Raises:
        SpecError: field "row" or "column".
    """
    layers = list(named_layers(maps).values())
    if not all(map(_can_be_cut, layers)):
        return None
    rows, columns = (
        _path(layers, axis, size[axis], place[axis], field)
        for axis, field in enumerate(("row", "column"))
    )
    return rows, columns


def _can_be_cut(layer: nn.Module) -> bool:
    """Whether a part of the input suffices for a part of the output."""
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, _POINTWISE) or (
        isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None
    )


def _path(layers: list[nn.Module], axis: int, size: int, place: int, field: str) -> list[Window]:
    """The windows along one axis, of the layers and finally of the tokens."""
    sizes = [size]
    for layer in layers:
        sizes.append(_output_size(layer, axis, sizes[-1]))
    check_int(field, place, 0, sizes[-1] - 1)
    span = Span(start=place - 1, stop=place + 2).clipped(sizes[-1])
    path = [Window(span, span)]
    for layer, length in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        reads = _reach(layer, axis, span)
        start = min(max(reads.start, 0), length - 1)  # a window may lie in the padding only
        span = Span(start=start, stop=max(start + 1, min(reads.stop, length)))
        path.append(Window(reads, span))
    return path[::-1]


def _reach(layer: nn.Module, axis: int, span: Span) -> Span:
    """The positions that a layer reads along an axis for an interval of its output."""
    if not isinstance(layer, nn.Conv2d):
        return span
    return Span(
        start=taps_of(layer, axis, span.start)[0], stop=taps_of(layer, axis, span.stop - 1)[-1] + 1
    )


def _output_size(layer: nn.Module, axis: int, size: int) -> int:
    """Length of a layer's output along an axis."""
    if not isinstance(layer, nn.Conv2d):
        return size
    taps = taps_of(layer, axis, 0)  # starts at minus the padding
    window = taps[-1] - taps[0] + 1
    return (size - 2 * taps[0] - window) // layer.stride[axis] + 1


def run_along(
    maps: nn.Sequential, weights: Mapping[str, Tensor], part: Tensor, paths: Paths
) -> Tensor:
    """Run the layers on part of the image, padding each where its window exceeds its map.

    Args:
        maps: The part of a stem that ends in the last map.
        weights: Its parameters and buffers by name.
        part: (b, c, h, w), the pixels of the first windows of the paths.
        paths: From `paths_of`.

    Returns:
        (b, d, rows, columns): the tokens of the last windows of the paths.
    """
    for (name, layer), row, column in zip(
        named_layers(maps).items(), *(p[:-1] for p in paths), strict=True
    ):
        own = {key: weights[f"{name}.{key}"] for key in layer.state_dict()}
        if not isinstance(layer, nn.Conv2d):
            part = functional_call(layer, own, (part,))
            continue
        sides = [
            side
            for window in (column, row)  # torch.nn.functional.pad begins with the last axis
            for side in (
                window.has.start - window.reads.start,
                window.reads.stop - window.has.stop,
            )
        ]
        padded = nn.functional.pad(part, [max(0, side) for side in sides])
        part = nn.functional.conv2d(
            nn.functional.pad(padded, [min(0, side) for side in sides]),  # a negative padding crops
            own["weight"],
            own.get("bias"),
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    return part
