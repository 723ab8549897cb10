"""Gradient of one position of any call's output with respect to each pixel of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import check_int
from vitc_inspect.model.devices import full_precision
from vitc_inspect.probes.gradients import COTANGENTS
from vitc_inspect.probes.submodules import DoubleArray
from vitc_inspect.stem.geometry import Span
from vitc_inspect.tracing.hooks import KEEP_BYTES, KeptOutput
from vitc_inspect.tracing.output_log import kept_output
from vitc_inspect.tracing.recorder import look_at_call


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How strongly one position of an output depends on each pixel."""

    heat: DoubleArray
    """(h, w): the absolute gradient of a random linear combination of the position's values,
    summed over the image's channels; mean over `COTANGENTS` fixed combinations."""

    @property
    def rows(self) -> Span:
        """Rows from the first pixel with a gradient to the last (pixels); empty if all are 0."""
        return _extent(self.heat, axis=1)

    @property
    def columns(self) -> Span:
        """Columns from the first pixel with a gradient to the last (pixels)."""
        return _extent(self.heat, axis=0)

    @property
    def pixels(self) -> int:
        """Number of pixels with a gradient."""
        return int(np.count_nonzero(self.heat))


@full_precision()
def reach(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    image: Tensor,
    call: int,
    place: tuple[int, ...],
) -> Reach | None:
    """Measure how strongly one position of a call's output depends on each pixel.

    A pixel with a gradient is read. The converse does not hold: behind an inactive ReLU a pixel
    is read and has no gradient.

    Args:
        module: Any module, in the mode to run it in. It is left unchanged.
        inputs, kwargs: Arguments of its forward.
        image: The argument that is the image, (b, c, h, w).
        call: Index of the call in the recording.
        place: (row, column) of an output (b, c, h, w), (token,) of one of (b, n, d), and () for
            all of an output (b, d).

    Returns:
        The reach for the first image; None if no gradient flows from there to the image.

    Raises:
        SpecError: field "place", when the output has no such position, when the module overwrote
            values that the gradient needs, or when the gradient is nan somewhere.

    Source:
        Luo et al. 2016, arXiv:1701.04128, section 3: the effective receptive field.
    """

    def look(output: Tensor, leaf: Tensor | None) -> Reach | SpecError | None:
        if leaf is None or not output.requires_grad:
            return None
        try:
            found = _reach_of(vector_at(output[0], place), leaf)
            if found is None or not np.isnan(found.heat).any():
                return found
            # 0 times infinity, also at pixels that are not read
            reason = "its gradient is nan at some pixels, like that of a square root at 0"
            return SpecError("place", place, reason, "Choose a row before it, or another input")
        except SpecError as error:
            return error  # raised below, outside of the user's code
        except RuntimeError as error:  # values that the gradient needs were overwritten
            says = str(error).partition("\n")[0].split(": [")[0].rstrip(".")
            reason = f"PyTorch cannot compute its gradient: {says}"
            return SpecError("place", place, reason, "Choose a row before it")

    found = look_at_call(module, inputs, kwargs, call=call, look=look, leaf=image)
    if isinstance(found, SpecError):
        raise found
    return found


def _reach_of(vector: Tensor, leaf: Tensor) -> Reach | None:
    """Mean absolute gradient of random combinations of a position's values."""
    heat = torch.zeros(leaf.shape[2:], dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    for _ in range(COTANGENTS):
        direction = torch.randn(vector.shape, generator=draw).to(vector)
        (gradient,) = torch.autograd.grad(
            vector, leaf, direction, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            return None
        heat += gradient[0].detach().cpu().double().abs().sum(dim=0)  # (c, h, w) -> (h, w)
    return Reach(heat=(heat / COTANGENTS).numpy())


def vector_at(output: Tensor, place: tuple[int, ...]) -> Tensor:
    """Select one position of an output: (c, h, w), (n, d) or (d,) -> (c,) or (d,).

    Raises:
        SpecError: field "place".
    """
    sizes = {3: output.shape[1:], 2: output.shape[:1], 1: ()}.get(output.ndim)
    if sizes is None or len(place) != len(sizes):
        reason = f"an output of shape {tuple(output.shape)} has no place of {len(place)} numbers"
        raise SpecError("place", place, reason, "Choose a row and a column, or a token")
    for index, size in zip(place, sizes, strict=True):
        check_int("place", index, 0, size - 1)
    if output.ndim == 3:
        return output[:, place[0], place[1]]
    return output[place[0]] if place else output


def output_of(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    call: int,
    keep_bytes: int = KEEP_BYTES,
) -> KeptOutput | None:
    """Run a module again up to one call, and keep its output for the first image.

    Args:
        module, inputs, kwargs, call: As in `reach`.
        keep_bytes: Most memory for the output (bytes).

    Returns:
        The output; None if it cannot be drawn: integers, or more axes than a map.
    """

    def look(output: Tensor, _: Tensor | None) -> KeptOutput | None:
        kept = kept_output(output, keep_bytes)
        return kept and replace(kept, values=kept.values.cpu())

    return look_at_call(module, inputs, kwargs, call=call, look=look)


def _extent(heat: DoubleArray, *, axis: int) -> Span:
    """From the first nonzero value to the last, with an axis reduced."""
    at = np.flatnonzero(heat.max(axis=axis))
    return Span(start=int(at[0]), stop=int(at[-1]) + 1) if at.size else Span(start=0, stop=0)
