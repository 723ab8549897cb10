"""Multiply-accumulates of a module, counted from the shapes that really went through it."""

from __future__ import annotations

from torch import Tensor, nn

from vitc_inspect.model import ClassToken, LinearAttention, PositionTable, SoftmaxAttention

_AT_MOST_ONCE = (nn.BatchNorm2d, nn.LayerNorm, ClassToken, PositionTable)
"""Modules whose parameters meet each element at most once: they scale, shift or join."""


def count_macs(module: nn.Module, input: Tensor, output: Tensor) -> int | None:
    """Count the multiply-accumulates that made `output`, bias additions left out.

    Every element of a convolution's output is one dot product with a filter of
    `weight[0].numel()` numbers; so is every element of a linear layer's.

    Args:
        module: The module that ran.
        input: What it was given, with its batch.
        output: What it returned, with its batch.

    Returns:
        MACs of the whole batch; 0 where elements are only moved, scaled or added;
        None for a module with parameters that this function has no count for.

    Source:
        The definitions of torch.nn.Conv2d and torch.nn.Linear; for attention, those of
        the two modules in `model`.
    """
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, (SoftmaxAttention, LinearAttention)):
        batch, tokens, triple = input.shape
        head_dim = triple // 3 // module.num_heads
        pairs = batch * module.num_heads * tokens
        if isinstance(module, SoftmaxAttention):  # with n keys, then n values, for each query
            return pairs * tokens * 2 * head_dim
        return pairs * (2 * head_dim * head_dim + head_dim)
    if isinstance(module, _AT_MOST_ONCE):
        return 0
    return 0 if next(module.parameters(), None) is None else None
