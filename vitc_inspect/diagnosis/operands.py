"""The two operands of an error: their shapes, laid side by side from the last axis."""

from __future__ import annotations

from vitc_inspect.diagnosis.explanation import Told

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes of two operands with as many axes, ones put first."""


def shapes_of(first: int, second: int, told: Told) -> Shapes | None:
    """The shapes of both operands, where they are known and are those that the message names."""
    operands = told.operands
    if is_attention(told) and len(operands) == 4 and min(map(len, operands[:2])) >= 2:
        queries, keys, _, mask = operands
        operands = ((*queries[:-1], keys[-2]), mask)
    if len(operands) != 2 or not all(operands):
        return None
    most = max(map(len, operands))
    left, right = (tuple([1] * (most - len(shape)) + list(shape)) for shape in operands)
    differing = [(a, b) for a, b in zip(left, right, strict=True) if a != b and 1 not in (a, b)]
    return (left, right) if differing[-1:] == [(first, second)] else None


def is_attention(told: Told) -> bool:
    """Whether the function that raised is PyTorch's attention, whose mask is its last operand."""
    return "attention" in told.sign


def axis_of(shapes: Shapes) -> int:
    """The axis that PyTorch names: the last in which two shapes cannot be laid side by side."""
    pairs = [*zip(*shapes, strict=True)]
    return max(axis for axis, (a, b) in enumerate(pairs) if a != b and 1 not in (a, b))
