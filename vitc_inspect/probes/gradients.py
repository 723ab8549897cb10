"""Gradient of a token with respect to each pixel of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vitc_inspect.common.validation import check_int
from vitc_inspect.model.devices import full_precision
from vitc_inspect.probes.crops import Paths, paths_of, run_along
from vitc_inspect.probes.submodules import DoubleArray, before_tokens, doubles, evaluating
from vitc_inspect.stem.geometry import Span
from vitc_inspect.tracing.hooks import hooked, image_statistics

COTANGENTS = 4
"""Number of random directions in which a token's gradient is taken; a pixel looks unread only if
the gradient is 0 in all of them."""

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and variance of each channel, by name of the BatchNorm that normalises with them."""

_SMALL_PART = 256**2  # pixels of an image small enough for several copies in memory


@dataclass(frozen=True, kw_only=True)
class TokenField:
    """Size of the gradient of a token with respect to the pixels around it."""

    rows: Span
    """Rows of the image that the heat covers (pixels)."""
    columns: Span
    """Columns of the image that the heat covers (pixels)."""
    heat: DoubleArray
    """(rows, columns): the absolute gradient of a random linear combination of the token's values,
    summed over the image's channels; mean over `COTANGENTS` fixed combinations."""
    vector: DoubleArray
    """(width,): the token, computed from these pixels only."""


@full_precision()
def token_field(
    module: nn.Sequential,
    input: Tensor,
    row: int,
    column: int,
    *,
    statistics: Statistics = MappingProxyType({}),
) -> TokenField:
    """Measure how strongly one token depends on each pixel that neighbouring tokens can read.

    A pixel with a gradient is in the receptive field. The converse does not hold: behind an
    inactive ReLU a pixel is read and has no gradient.

    The part of the image that runs covers the windows of the token and its eight neighbours, so a
    gradient outside the token's own window would show. That no pixel outside the part matters is
    shown by the vector, which equals the token of a run on the whole image up to rounding. A stem
    with a layer that `build_stem` does not make runs on the whole image. All is computed in float32
    at least, whatever the module's dtype.

    Args:
        module: A stem; the layers before "tokens" run, or all if it has no such layer.
        input: (1, c, h, w), on the module's device.
        row, column: Position of the token in the grid, from 0.
        statistics: Statistics for BatchNorm in place of the stored ones, from
            `batch_statistics`; they are constants, so that no gradient flows through the mean.

    Returns:
        The field.

    Raises:
        SpecError: field "row" or "column".

    Source:
        Luo et al. 2016, arXiv:1701.04128, section 3: the effective receptive field.
    """
    maps = before_tokens(module)
    # callers may be in inference mode, whose tensors have no gradient
    with torch.inference_mode(False), torch.enable_grad(), evaluating(module):
        weights = _widened_weights(maps, statistics)
        wide = _widened(input).detach()
        size = (wide.shape[2], wide.shape[3])
        paths = paths_of(maps, size, (row, column))
        rows, columns = (
            (Span(start=0, stop=side) for side in size)
            if paths is None
            else (path[0].has for path in paths)
        )
        part = wide[:, :, rows.start : rows.stop, columns.start : columns.stop]
        heat = torch.zeros(part.shape[2:], dtype=part.dtype, device=part.device)
        # all directions at once are faster, one at a time takes less memory
        small = paths is not None and rows.length * columns.length <= _SMALL_PART
        copies = COTANGENTS if small else 1
        for first in range(0, COTANGENTS, copies):
            images = part.repeat(copies, 1, 1, 1).requires_grad_()
            tokens = _tokens_at(maps, weights, images, paths, (row, column))  # (b, d)
            directions = _directions(tokens.shape[1])[first : first + copies].to(tokens)
            (gradients,) = torch.autograd.grad(tokens, images, directions)
            heat += gradients.abs().sum(dim=(0, 1))  # (b, c, h, w) -> (h, w)
    return TokenField(
        rows=rows, columns=columns, heat=doubles(heat / COTANGENTS), vector=doubles(tokens[0])
    )


def _tokens_at(
    maps: nn.Sequential,
    weights: dict[str, Tensor],
    images: Tensor,
    paths: Paths | None,
    place: tuple[int, int],
) -> Tensor:
    """Compute one token of each image, or of each part of one: (b, c, h, w) -> (b, d)."""
    row, column = place
    if paths is None:
        grid: Tensor = functional_call(maps, weights, (images,))  # (b, d, rows, columns)
    else:
        grid = run_along(maps, weights, images, paths)
        row, column = row - paths[0][-1].has.start, column - paths[1][-1].has.start
    check_int("row", row, 0, grid.shape[2] - 1)
    check_int("column", column, 0, grid.shape[3] - 1)
    return grid[:, :, row, column]


def _directions(width: int) -> Tensor:
    """Fixed random directions: (COTANGENTS, width)."""
    draw = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(width, generator=draw) for _ in range(COTANGENTS)])


def batch_statistics(module: nn.Sequential, input: Tensor) -> Statistics:
    """Compute the mean and variance with which each BatchNorm normalises an image.

    Args:
        module: A stem, in evaluation mode.
        input: (1, c, h, w), on the module's device and in its dtype.

    Returns:
        Statistics by name, in float32 at least. A BatchNorm with one value per channel is left
        out, since it uses its stored statistics.
    """
    maps = before_tokens(module)
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def observe(name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        given = inputs[0]
        if given.numel() > given.shape[1]:
            var, mean = torch.var_mean(_widened(given), dim=(0, 2, 3), correction=0)
            found[name] = mean, var

    norms: list[tuple[str, nn.Module]] = [
        (name, layer) for name, layer in maps.named_modules() if isinstance(layer, nn.BatchNorm2d)
    ]
    # not inference_mode, whose tensors autograd rejects
    with torch.no_grad(), image_statistics(module), hooked(norms, observe):
        maps(input)
    return MappingProxyType(found)


def _widened_weights(maps: nn.Sequential, statistics: Statistics) -> dict[str, Tensor]:
    """Parameters and buffers in float32 at least, with the statistics replaced."""
    named = chain(
        maps.named_parameters(remove_duplicate=False), maps.named_buffers(remove_duplicate=False)
    )
    weights: dict[str, Tensor] = {name: _widened(value.detach()) for name, value in named}
    for name, (mean, var) in statistics.items():
        weights[f"{name}.running_mean"], weights[f"{name}.running_var"] = mean, var
    return weights


def _widened(tensor: Tensor) -> Tensor:
    """Convert a floating-point tensor to float32 at least."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
