"""Multiply-accumulates of a module or a function, from the shapes that really went through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from vitc_inspect.model import ClassToken, LinearAttention, PositionTable, SoftmaxAttention

_WITHOUT_PRODUCTS = (
    *(nn.BatchNorm2d, nn.LayerNorm, ClassToken, PositionTable),
    *(nn.GELU, nn.Hardswish, nn.ReLU, nn.SiLU),
)
"""Modules that scale, shift, join or activate: no element meets two parameters."""


def count_macs(module: nn.Module, in_shape: Sequence[int], out_shape: Sequence[int]) -> int | None:
    """Count the multiply-accumulates of one call of a module, bias additions left out.

    Every element of a convolution's output is one dot product with a filter of
    `weight[0].numel()` numbers; so is every element of a linear layer's.

    Args:
        module: The module that ran.
        in_shape: Shape of what it was given, with the batch.
        out_shape: Shape of what it returned, with the batch.

    Returns:
        MACs of the whole batch; 0 where elements are only moved, scaled or added;
        None for a module with parameters that this function has no count for.

    Source:
        The definitions of torch.nn.Conv2d and torch.nn.Linear; for attention, those of
        the two modules in `model`.
    """
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return prod(out_shape) * dot_length(module)
    if isinstance(module, (SoftmaxAttention, LinearAttention)):
        batch, tokens, triple = in_shape
        head_dim = triple // 3 // module.num_heads
        pairs = batch * module.num_heads * tokens
        if isinstance(module, SoftmaxAttention):  # with n keys, then n values, for each query
            return pairs * tokens * 2 * head_dim
        return pairs * (2 * head_dim * head_dim + head_dim)
    if isinstance(module, _WITHOUT_PRODUCTS):
        return 0
    return 0 if next(module.parameters(), None) is None else None


def dot_length(module: nn.Conv2d | nn.Linear) -> int:
    """Numbers of the filter, or of the row of the matrix, that makes one element of the output."""
    return prod(module.weight.shape[1:])


def count_function_macs(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> int | None:
    """Count the multiply-accumulates of one call of a torch function, bias additions left out.

    Args:
        name: The function's own name, for example "linear" or "matmul".
        args, kwargs: What it was given.
        output: What it returned.

    Returns:
        MACs of the whole batch; 0 for a function that only moves, scales, adds, normalises,
        activates or picks; None for one that this file knows no count for.

    Source:
        Every element of a product of matrices is a sum over the shared axis.

    >>> import torch
    >>> a, b = torch.ones(2, 3), torch.ones(3, 5)
    >>> count_function_macs("matmul", (a, b), {}, a @ b)
    30
    """
    product = _PRODUCTS.get(name)
    if product is None:
        return 0 if name in WITHOUT_PRODUCTS else None
    return product(_Given(args, kwargs), output)


class _Given:
    """What a function was given, by place or by name."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs

    def __call__(self, place: int, *names: str) -> Any:
        if place < len(self.args):
            return self.args[place]
        return next((self.kwargs[name] for name in names if name in self.kwargs), None)


def _convolution(given: _Given, output: Any) -> int | None:
    return int(output.numel() * given(1, "weight")[0].numel())


def _transposed_convolution(given: _Given, output: Any) -> int | None:
    """Each element of the input is multiplied with its filter once."""
    return int(given(0, "input").numel() * given(1, "weight")[0].numel())


def _product(given: _Given, output: Any) -> int | None:
    return int(output.numel() * given(0, "input", "self").shape[-1])


def _reflected_product(given: _Given, output: Any) -> int | None:
    return int(output.numel() * given(1, "other").shape[-1])


def _attention(given: _Given, output: Any) -> int | None:
    """Each query meets each key, then each value."""
    query, keys = given(0, "query"), given(1, "key").shape[-2]
    vectors = query.numel() // query.shape[-1]
    return int(vectors * keys * (query.shape[-1] + given(2, "value").shape[-1]))


def _multi_head_attention(given: _Given, output: Any) -> int | None:
    """Projections of queries, keys and values, attention, and the projection of its result."""
    query, key, value = given(0, "query"), given(1, "key"), given(2, "value")
    width = query.shape[-1]
    batch = query.shape[1] if query.ndim == 3 else 1
    keys = key.shape[0] + (given(7, "bias_k") is not None) + bool(given(9, "add_zero_attn"))
    projections = (2 * query.numel() + key.numel() + value.numel()) * width
    return int(projections + 2 * batch * query.shape[0] * keys * width)


def _einsum(given: _Given, output: Any) -> int | None:
    """A sum over two operands takes one product for each choice of all their indices."""
    equation, *operands = given.args
    if operands and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if not isinstance(equation, str) or "." in equation or len(operands) > 2:
        return None
    if len(operands) == 1:
        return 0
    sizes: dict[str, int] = {}
    for letters, operand in zip(equation.split("->")[0].split(","), operands, strict=True):
        sizes.update(zip(letters.strip(), operand.shape, strict=True))
    return prod(sizes.values())


_PRODUCTS: Mapping[str, Callable[[_Given, Any], int | None]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution
    ),
    **dict.fromkeys(("linear", "matmul", "__matmul__", "mm", "bmm", "mv", "dot"), _product),
    "__rmatmul__": _reflected_product,
    "addmm": lambda given, output: int(output.numel() * given(1, "mat1").shape[-1]),
    "baddbmm": lambda given, output: int(output.numel() * given(1, "batch1").shape[-1]),
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _multi_head_attention,
    "einsum": _einsum,
}

WITHOUT_PRODUCTS = frozenset(
    " ".join(
        (
            # made or copied
            "arange as_tensor clone contiguous cpu cuda detach double empty empty_like eye",
            "float from_numpy full full_like half bfloat16 int linspace long new_empty",
            "new_full new_ones new_tensor new_zeros ones ones_like rand rand_like randint",
            "randn randn_like randperm tensor to type type_as zeros zeros_like bernoulli",
            "copy_ fill_ zero_ normal_ uniform_ bernoulli_ requires_grad_ detach_",
            "__deepcopy__",
            # moved
            "__getitem__ __setitem__ T mT H mH adjoint atleast_1d atleast_2d atleast_3d",
            "broadcast_tensors broadcast_to cat channel_shuffle chunk concat concatenate",
            "diagonal dstack embedding expand expand_as flatten flip gather hstack",
            "index_select masked_fill masked_fill_ masked_select meshgrid movedim moveaxis",
            "narrow pad permute pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave",
            "reshape reshape_as roll rot90 scatter select split split_with_sizes squeeze",
            "stack swapaxes swapdims t take take_along_dim tensor_split tile transpose tril",
            "triu unbind unflatten unfold unsqueeze view view_as vsplit hsplit vstack where",
            "one_hot real imag squeeze_ unsqueeze_ transpose_ t_",
            # added, scaled, compared, element by element
            "abs add add_ addcdiv addcmul ceil clamp clamp_ clamp_min clip cos cumsum deg2rad",
            "div div_ eq erf exp exp_ floor floor_divide ge gt isfinite isinf isnan le lerp",
            "log log1p log2 logical_and logical_not logical_or lt maximum minimum mul mul_ ne",
            "neg pow reciprocal remainder round rsqrt rsub sign sin sqrt square sub sub_",
            "subtract true_divide multiply divide negative __rsub__ __rdiv__ __rtruediv__",
            "__rmul__ __radd__ __rpow__ __pow__ __and__ __or__ __invert__ __add__ __sub__",
            "__mul__ __truediv__ __neg__ __iadd__ __isub__ __imul__ __itruediv__",
            # summed, picked
            "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices",
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d",
            "adaptive_max_pool2d adaptive_max_pool3d all amax amin aminmax any argmax argmin",
            "argsort avg_pool1d avg_pool2d avg_pool3d max max_pool1d max_pool2d max_pool3d",
            "mean median min norm prod sort std std_mean sum topk var var_mean logsumexp",
            # normalised, activated, dropped
            "_weight_norm norm_except_dim",
            "alpha_dropout batch_norm celu celu_ dropout dropout_ dropout1d dropout2d",
            "dropout3d elu elu_ feature_alpha_dropout feature_dropout gelu glu group_norm",
            "hardshrink hardsigmoid hardswish hardtanh hardtanh_ instance_norm layer_norm",
            "leaky_relu leaky_relu_ log_softmax logsigmoid mish normalize prelu relu relu6",
            "relu_ rms_norm rrelu selu selu_ sigmoid sigmoid_ silu softmax softmin softplus",
            "softshrink softsign tanh tanh_ tanhshrink threshold",
        )
    ).split()
)
"""Functions whose result takes at most one product with a parameter for each element."""
