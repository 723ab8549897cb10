"""Count the multiply-accumulates of a module or a function, from the observed shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.model.modules import ClassToken, LinearAttention, PositionTable, SoftmaxAttention
from vitc_inspect.tracing import function_rules  # noqa: F401  # which registers its rules
from vitc_inspect.tracing.free_functions import is_free
from vitc_inspect.tracing.rules import Expectation, FunctionCall, Rule, our_rule_of_function
from vitc_inspect.tracing.torch_internals import is_wrapped, unwrapped

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
    """Return the length of the dot product that gives one output element: filter or matrix row."""
    return prod(module.weight.shape[1:])


def count_function_macs(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> int | None:
    """Count the multiply-accumulates of one call of a torch function, bias additions left out.

    What is written as a product of tensors (matmul, einsum, outer, kron) costs one product for
    each choice of all its indices, so that an outer product costs one for each element. What is
    written element by element costs nothing, as do sums, norms and activations.

    Args:
        name: The function's own name, for example "linear" or "matmul"; of one that writes to its
            first argument, as "addmm_" or "__imul__", too.
        args, kwargs: What it was given.
        output: What it returned.

    Returns:
        MACs of the whole batch; 0 for a function that only moves, scales, adds, normalises,
        activates or picks; None for one that this file knows no count for, and for products of
        sparse tensors.

    Source:
        Every element of a product of matrices is a sum over the shared axis. The tests hold each
        rule against torch.utils.flop_counter.

    >>> import torch
    >>> a, b = torch.ones(2, 3), torch.ones(3, 5)
    >>> count_function_macs("matmul", (a, b), {}, a @ b)
    30
    """
    rule = our_rule_of_function(name)
    if rule is None:
        return 0 if is_free(name) else None
    call = FunctionCall(args, kwargs, output)
    operands = [each for each in (*args, *kwargs.values(), output) if isinstance(each, Tensor)]
    if any(each.is_nested for each in operands):
        return _count_parts(rule, call)
    if any(each.layout in _SPARSE for each in operands):
        return None  # as many products as there are numbers that are not 0
    return int(rule.function(call)) * _examples(output)


def stated_of_call(
    rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any
) -> Expectation | None:
    """Return what a user's rule states for a function call, with MACs of the whole batch.

    Args:
        rule: The rule.
        args, kwargs, output: As `count_function_macs` is given them.

    Raises:
        RuleError: The rule raised, or returned what is of no use.
    """
    stated = rule.of_call(FunctionCall(args, kwargs, output))
    if stated is None or stated.macs is None:
        return stated
    return replace(stated, macs=stated.macs * _examples(output))


def _examples(output: Any) -> int:
    """How many examples torch.vmap runs as one, whose shapes it hides; 1 outside of it."""
    tensor = output[0] if isinstance(output, (tuple, list)) else output
    many = 1
    while isinstance(tensor, Tensor) and is_wrapped(tensor):
        inner = unwrapped(tensor)
        many *= inner.numel() // max(tensor.numel(), 1)
        tensor = inner
    return many


def _count_parts(rule: Rule, call: FunctionCall) -> int | None:
    """The sum over the tensors that nested ones hold; None where torch cannot take them apart."""
    try:
        every = [_parts(each) for each in (*call.args, *call.kwargs.values(), call.output)]
    except RuntimeError:  # as one on "meta"
        return None
    number = max(map(len, every))
    macs = 0
    # what is not nested is the same for each
    for at in range(number):
        *args, out = (each[min(at, len(each) - 1)] for each in every)
        by_place, by_name = args[: len(call.args)], args[len(call.args) :]
        kwargs = dict(zip(call.kwargs, by_name, strict=True))
        macs += int(rule.function(FunctionCall(by_place, kwargs, out)))
    return macs


def _parts(value: Any) -> Sequence[Any]:
    """The tensors that a nested one holds; all else is one part."""
    return value.unbind() if isinstance(value, Tensor) and value.is_nested else (value,)


_SPARSE = (
    torch.sparse_coo,
    torch.sparse_csr,
    torch.sparse_csc,
    torch.sparse_bsr,
    torch.sparse_bsc,
)

NOT_COUNTED = frozenset(
    " ".join(
        (
            # transforms
            "fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn",
            "fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2",
            "fft_rfftn istft stft",
            # decompositions, and what is solved by one
            "cholesky cholesky_inverse cholesky_solve det geqrf inverse linalg_cholesky",
            "linalg_cholesky_ex linalg_cond linalg_det linalg_eig linalg_eigh linalg_eigvals",
            "linalg_eigvalsh linalg_householder_product linalg_inv linalg_inv_ex",
            "linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_lu",
            "linalg_lu_factor linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp",
            "linalg_matrix_norm linalg_matrix_power linalg_matrix_rank linalg_pinv linalg_qr",
            "linalg_slogdet linalg_solve linalg_solve_ex linalg_solve_triangular linalg_svd",
            "linalg_svdvals linalg_tensorinv linalg_tensorsolve lobpcg logdet lu lu_solve",
            "lu_unpack matrix_exp matrix_power nuclear_norm orgqr ormqr pca_lowrank pinverse qr",
            "slogdet svd svd_lowrank triangular_solve",
            # distances, for which torch chooses between two ways; products of a tensor with itself
            "cdist pdist corrcoef cov triplet_margin_with_distance_loss",
            # of sparse, quantized and half hidden operands
            "dsmm hsmm saddmm smm sspaddmm choose_qparams_optimized linear_cross_entropy",
            "fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation",
            "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation",
            "fbgemm_linear_quantize_weight quantized_gru_cell quantized_lstm_cell",
            "quantized_rnn_relu_cell quantized_rnn_tanh_cell miopen_convolution",
            "miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose",
            "miopen_depthwise_convolution miopen_rnn",
        )
    ).split()
)
"""Functions that multiply, by how much only their algorithm knows: their rows say so."""
