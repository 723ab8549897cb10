"""Run a module on another batch size and another image size, to tell its axes apart.

Sizes may be equal by chance: as many heads as images, as many channels as columns. An axis is
identified by the size that it follows.
"""

from __future__ import annotations

from itertools import count

from torch import Tensor

from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.positions import TracedTensor


class VariantRuns:
    """Runs of a module on inputs of other sizes, made on demand."""

    def __init__(self, flow: Flow, image: TracedTensor) -> None:
        """Prepare them.

        Args:
            flow: The run of a module.
            image: The image, (b, c, h, w), among the inputs.
        """
        self._flow = flow
        self._image: Tensor = flow.tensors[image.image or 0]

    def same_step(self, step: int, made: Step, *, batch: bool, size: bool) -> Step | None:
        """Return the same step of a run on other inputs.

        Args:
            step: Number of the step.
            made: The step that gave the map (b, d, rows, columns) whose sides are to differ.
            batch: Whether to run on another number of images.
            size: Whether to run on an image of other sides.

        Returns:
            The step; None where that run does not come to it by the same way.
        """
        flow = self.run(made, batch=batch, size=size, until=step)
        return flow.steps[step] if len(flow.steps) > step else None

    def run(self, made: Step, *, batch: bool, size: bool, until: int | None = None) -> Flow:
        """Return a run on other inputs, cut where it takes a different path.

        Args:
            made: The step that gave the map whose sides are to differ.
            batch, size: As in `same_step`.
            until: The last step that is wanted; None for the whole run.
        """
        _, channels, rows, columns = made.outputs[0].shape
        sides = self._sides(rows, columns, channels) if size else tuple(self._image.shape[2:])
        images = len(self._image)
        if batch:
            taken = {channels, rows, columns, *sides}
            images = next(many for many in count(images + 1) if many not in taken)
        flow = self._flow.again(self._instead(images, sides), until=until)
        same = 0
        for mine, other in zip(self._flow.steps, flow.steps, strict=False):
            if mine.name != other.name or len(mine.sources) != len(other.sources):
                break
            same += 1
        del flow.steps[same:]
        return flow

    def _sides(self, rows: int, columns: int, channels: int) -> tuple[int, int]:
        """Sides of an image whose map has other sides, which differ from all else."""
        height, width = self._image.shape[2:]
        down, across = max(1, height // rows), max(1, width // columns)
        taken = {channels, rows, columns, len(self._image)}
        more = next(n for n in count(1) if rows + n not in taken)
        taken |= {rows + more}
        wider = next(n for n in count(more + 1) if columns + n not in taken)
        return height + more * down, width + wider * across

    def _instead(self, images: int, sides: tuple[int, ...]) -> dict[int, Tensor]:
        """Tensors in the place of those that were given, by the id of each."""
        before = len(self._image)
        instead = {}
        for tensor in self._flow.tensors:
            other = tensor
            if tensor is self._image:
                other = _tiled(_tiled(other, 2, sides[0]), 3, sides[1])
            if tensor.ndim and len(tensor) == before and images != before:
                other = _tiled(other, 0, images)
            if other is not tensor:
                instead[id(tensor)] = other
        return instead


def _tiled(tensor: Tensor, axis: int, size: int) -> Tensor:
    """A tensor with another size along one axis, its own numbers again where it is longer."""
    have = tensor.shape[axis]
    if size == have or not have:
        return tensor
    times = [1] * tensor.ndim
    times[axis] = -(-size // have)
    return tensor.repeat(times).narrow(axis, 0, size)
