"""Align the shapes of two operands from the last axis, as broadcasting does."""

from __future__ import annotations

from vitc_inspect.diagnosis.explanation import ErrorContext

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of two operands, padded with leading ones to equal rank."""


def shapes_of(first: int, second: int, error: ErrorContext) -> Shapes | None:
    """Return the shapes of both operands, if known and consistent with the message."""
    operands = error.operands
    if is_attention(error) and len(operands) == 4 and min(map(len, operands[:2])) >= 2:
        queries, keys, _, mask = operands
        operands = ((*queries[:-1], keys[-2]), mask)
    if len(operands) != 2 or not all(operands):
        return None
    most = max(map(len, operands))
    left, right = (tuple([1] * (most - len(shape)) + list(shape)) for shape in operands)
    differing = [(a, b) for a, b in zip(left, right, strict=True) if a != b and 1 not in (a, b)]
    return (left, right) if differing[-1:] == [(first, second)] else None


def is_attention(error: ErrorContext) -> bool:
    """Whether PyTorch's attention raised; its last operand is the mask."""
    return "attention" in error.sign


def axis_of(shapes: Shapes) -> int:
    """Return the axis that PyTorch names: the last one that cannot be broadcast."""
    pairs = [*zip(*shapes, strict=True)]
    return max(axis for axis, (a, b) in enumerate(pairs) if a != b and 1 not in (a, b))
