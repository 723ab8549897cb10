"""The outputs of recorded calls: their shapes, copies, and later in-place writes to them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitc_inspect.tracing.call_builder import Row
from vitc_inspect.tracing.hooks import KeptOutput, keep_output
from vitc_inspect.tracing.restore import version_of
from vitc_inspect.tracing.torch_internals import is_wrapped
from vitc_inspect.tracing.tracebacks import CodeLine


class OutputLog:
    """The outputs of one run, watched for as long as the module holds them."""

    def __init__(self, keep_bytes: int, keep_each: int | None) -> None:
        """Log nothing yet.

        Args:
            keep_bytes: Budget for copies of outputs (bytes).
            keep_each: The most that one copy may take (bytes); None sets no further bound.
        """
        self._left = keep_bytes
        self._each = keep_bytes if keep_each is None else keep_each
        self._alive: list[tuple[Row, weakref.ref[Tensor], int]] = []
        self._batchless = False  # a map came as (c, h, w), so that outputs have no batch axis

    def add(self, row: Row, tensors: Sequence[tuple[str, Tensor]]) -> None:
        """Record the output tensors of a row's call, each with its path."""
        row.returned = True
        row.outputs = [(path, tensor.shape, tensor.dtype) for path, tensor in tensors]
        for _, tensor in tensors:
            self._alive.append((row, weakref.ref(tensor), version_of(tensor)))
        if isinstance(row.layer, nn.Conv2d) and tensors:
            self._batchless = tensors[0][1].ndim == 3
        if self._left and tensors:
            # a copy, since a later operation in place would overwrite the original
            self._left += row.kept.bytes if row.kept else 0
            row.kept = kept_output(self.batched(tensors[0][1]), min(self._left // 4, self._each))
            self._left -= row.kept.bytes if row.kept else 0

    def batched(self, output: Tensor) -> Tensor:
        """Return an output with a batch axis, which is added if the module takes a single image."""
        return output[None] if self._batchless and output.ndim < 4 else output

    def mark_overwritten(self, written: Tensor, by: Row, line: CodeLine | None) -> None:
        """Mark the rows whose output a call has just overwritten.

        Args:
            written: The tensor that the call wrote to.
            by: The row of the call.
            line: The line that made the call, where it is known.
        """
        alive = []
        for row, reference, version in self._alive:
            tensor = reference()
            if tensor is None:
                continue
            now = version_of(tensor)
            fresh = now != version and row is not by and row.overwritten is None
            if fresh and _overlap(tensor, written):
                row.overwritten = (by.name or by.kind, line)
            alive.append((row, reference, now))
        self._alive = alive

    def mark_overwritten_at_end(self) -> None:
        """Mark the rows whose output was overwritten outside the recorded calls."""
        for row, reference, version in self._alive:
            tensor = reference()
            if tensor is not None and version_of(tensor) != version and row.overwritten is None:
                row.overwritten = ("a later operation", None)

    def clear(self) -> None:
        """Drop all references to the outputs."""
        self._alive.clear()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors span bytes in common; parts of one tensor need not."""
    if one.is_meta or one.layout != torch.strided or other.layout != torch.strided:
        return True
    spans = []
    for tensor in (one, other):
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        start = tensor.data_ptr()
        spans.append((start, start + (last + 1) * tensor.element_size()))
    (start, end), (other_start, other_end) = spans
    return start < other_end and other_start < end


def kept_output(output: Tensor, allowance: int) -> KeptOutput | None:
    """Copy the first image's output, as `keep_output`; None for what has no image to show."""
    if output.is_meta or not output.is_floating_point() or not 2 <= output.ndim <= 4:
        return None
    if is_wrapped(output):  # of no use after its vmap
        return None
    return keep_output(output[0], allowance) if output.numel() else None
