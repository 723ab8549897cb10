"""Multiply-accumulates of a module or a function, from the shapes that really went through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.model.modules import ClassToken, LinearAttention, PositionTable, SoftmaxAttention
from vitc_inspect.tracing.free_functions import is_free, plain_name
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
    """Numbers of the filter, or of the row of the matrix, that makes one element of the output."""
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
    product = _PRODUCTS.get(name) or _PRODUCTS.get(plain_name(name))
    if product is None:
        return 0 if is_free(name) else None
    given = _Given(args, kwargs)
    operands = [each for each in (*args, *kwargs.values(), output) if isinstance(each, Tensor)]
    if any(each.is_nested for each in operands):
        return _count_parts(product, given, output)
    if any(each.layout in _SPARSE for each in operands):
        return None  # as many products as there are numbers that are not 0
    return int(product(given, output)) * _examples(output)


def _examples(output: Any) -> int:
    """How many examples torch.vmap runs as one, whose shapes it hides; 1 outside of it."""
    tensor = output[0] if isinstance(output, (tuple, list)) else output
    many = 1
    while isinstance(tensor, Tensor) and is_wrapped(tensor):
        inner = unwrapped(tensor)
        many *= inner.numel() // max(tensor.numel(), 1)
        tensor = inner
    return many


def _count_parts(product: _Product, given: _Given, output: Any) -> int | None:
    """The sum over the tensors that nested ones hold; None where torch cannot take them apart."""
    try:
        every = [_parts(each) for each in (*given.args, *given.kwargs.values(), output)]
    except RuntimeError:  # as one on "meta"
        return None
    number = max(map(len, every))
    macs = 0
    # what is not nested is the same for each
    for at in range(number):
        *args, out = (each[min(at, len(each) - 1)] for each in every)
        by_place, by_name = args[: len(given.args)], args[len(given.args) :]
        kwargs = dict(zip(given.kwargs, by_name, strict=True))
        macs += int(product(_Given(by_place, kwargs), out))
    return macs


def _parts(value: Any) -> Sequence[Any]:
    """The tensors that a nested one holds; all else is one part."""
    return value.unbind() if isinstance(value, Tensor) and value.is_nested else (value,)


class _Given:
    """What a function was given, by place or by name."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs

    def __call__(self, place: int, *names: str) -> Any:
        if place < len(self.args):
            return self.args[place]
        return next((self.kwargs[name] for name in names if name in self.kwargs), None)

    def shape(self, place: int, *names: str) -> Sequence[int]:
        """Shape of a tensor that was given."""
        shape: Sequence[int] = self(place, *names).shape
        return shape


_Product = Callable[[_Given, Any], int]

_SPARSE = (
    torch.sparse_coo,
    torch.sparse_csr,
    torch.sparse_csc,
    torch.sparse_bsr,
    torch.sparse_bsc,
)

# ---- convolutions and recurrent layers --------------------------------------------------------


def _convolution(given: _Given, output: Tensor) -> int:
    """Each element of the output is the product of a window with its filter."""
    if given(6, "transposed") is True:  # torch.convolution alone has this argument
        return _transposed_convolution(given, output)
    return prod(output.shape) * prod(given.shape(1, "weight")[1:])


def _transposed_convolution(given: _Given, output: Tensor) -> int:
    """Each element of the input is multiplied with its filter once."""
    return prod(given.shape(0, "input")) * prod(given.shape(1, "weight")[1:])


def _time_convolution(given: _Given, output: Tensor) -> int:
    """A filter of taps × channels that stand first."""
    return prod(output.shape) * prod(given.shape(1, "weight")[:-1])


def _recurrent(given: _Given, output: Tensor) -> int:
    """Every matrix of every layer and direction is applied once at each step of each sequence."""
    packed = given.args[1].ndim == 1 if isinstance(given.args[1], Tensor) else False
    weights = given.args[3 if packed else 2]  # behind the sizes of a packed sequence's batches
    matrices: list[Sequence[int]] = [each.shape for each in weights if each.ndim == 2]
    return _vectors(given.shape(0)) * sum(map(prod, matrices))


def _recurrent_cell(given: _Given, output: Tensor) -> int:
    matrices = given.shape(2, "w_ih"), given.shape(3, "w_hh")
    return _vectors(given.shape(0, "input")) * sum(map(prod, matrices))


# ---- products of matrices ---------------------------------------------------------------------


def _vectors(shape: Sequence[int]) -> int:
    """How many vectors stand along the last axis."""
    return prod(shape[:-1])


def _dot(given: _Given, output: Tensor) -> int:
    """Each element of the output sums over the last axis of the first operand."""
    return prod(output.shape) * given.shape(0, "input", "self")[-1]


def _inner(given: _Given, output: Tensor) -> int:
    """Each vector of one with each of the other; a number alone scales the other."""
    first, second = given.shape(0, "input"), given.shape(1, "other")
    return prod(output.shape) * first[-1] if first and second else 0


def _reflected_product(given: _Given, output: Tensor) -> int:
    return prod(output.shape) * given.shape(1, "other")[-1]


def _linear(given: _Given, output: Tensor) -> int:
    return prod(output.shape) * given.shape(1, "weight")[-1]


def _added_product(given: _Given, output: Tensor) -> int:
    """addmm, addmv, baddbmm: to the first operand the product of the two others is added."""
    return prod(output.shape) * given.shape(1, "mat1", "batch1", "mat")[-1]


def _summed_products(given: _Given, output: Tensor) -> int:
    """addbmm: the products of all pairs of a batch are added up."""
    return prod(given.shape(1, "batch1")) * given.shape(2, "batch2")[-1]


def _one_each(given: _Given, output: Tensor) -> int:
    """An outer product: one product for each element."""
    return prod(output.shape)


def _aligned(one: Sequence[int], other: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The lengths of two shapes, axis by axis from the last."""
    return zip_longest(reversed(one), reversed(other), fillvalue=1)


def _vector_dots(given: _Given, output: Tensor) -> int:
    return prod(map(max, _aligned(given.shape(0, "x"), given.shape(1, "y"))))


def _tensordot(given: _Given, output: Tensor) -> int:
    """Each element of the output sums over the axes that are paired."""
    first, second, axes = given.shape(0, "a"), given.shape(1, "b"), given(2, "dims")
    axes = 2 if axes is None else axes.tolist() if isinstance(axes, Tensor) else axes
    if isinstance(axes, int):
        axes = range(len(first) - axes, len(first)), range(axes)
    of_first, of_second = ([each] if isinstance(each, int) else each for each in axes)
    # an axis of 1 stands for one as long as its partner, which is summed before
    summed: list[int] = [
        min(first[at], second[to]) for at, to in zip(of_first, of_second, strict=True)
    ]
    return prod(output.shape) * prod(summed)


def _chain(given: _Given, output: Tensor) -> int:
    """The cheapest way to set the brackets, which torch looks for.

    Source:
        Cormen et al., Introduction to Algorithms, section "Matrix-chain multiplication".
    """
    matrices = list(given.args) if isinstance(given.args[0], Tensor) else list(given(0, "tensors"))
    first, last = matrices[0], matrices[-1]
    sides = [1 if first.ndim == 1 else first.shape[0], *(each.shape[0] for each in matrices[1:])]
    if first.ndim == 1:
        sides = [1, first.shape[0], *sides[2:]]
    sides.append(1 if last.ndim == 1 else last.shape[-1])
    count = len(matrices)
    least = {(at, at): 0 for at in range(count)}
    for length in range(1, count):
        for start in range(count - length):
            end = start + length
            least[start, end] = min(
                least[start, cut]
                + least[cut + 1, end]
                + sides[start] * sides[cut + 1] * sides[end + 1]
                for cut in range(start, end)
            )
    return least[0, count - 1]


def _bilinear(given: _Given, output: Tensor) -> int:
    """Each element of the output: the first input with a matrix, then with the second input."""
    return prod(output.shape) * (given.shape(0, "input1")[-1] + 1) * given.shape(1, "input2")[-1]


def _affine_grid(given: _Given, output: Tensor) -> int:
    return prod(output.shape) * given.shape(0, "theta")[-1]


# ---- attention --------------------------------------------------------------------------------


def _attention(given: _Given, output: Any) -> int:
    """Each query of each head meets each key, then each value."""
    mixed = output[0] if isinstance(output, (tuple, list)) else output
    query, key = given.shape(0, "query"), given.shape(1, "key")
    queries = _vectors(mixed.shape)  # heads of keys and batches of one are shared
    return queries * key[-2] * (query[-1] + given.shape(2, "value")[-1])


def _multi_head_attention(given: _Given, output: Tensor) -> int:
    """Projections of queries, keys and values, attention, and the projection of its result."""
    query, key = given.shape(0, "query"), given.shape(1, "key")
    width = query[-1]
    batch = query[1] if len(query) == 3 else 1
    static = given(21, "static_k")
    keys = key[0] if static is None else static.shape[1]
    keys += (given(7, "bias_k") is not None) + bool(given(9, "add_zero_attn"))
    projections = (2 * prod(query) + prod(key) + prod(given.shape(2, "value"))) * width
    return int(projections + 2 * batch * query[0] * keys * width)


# ---- einsum -----------------------------------------------------------------------------------

_Axes = dict[Any, int]  # length of each axis of an operand, by its letter


def _einsum(given: _Given, output: Tensor) -> int:
    """Two operands at a time, in the order in which torch takes them.

    Each pair takes one product for each choice of all its indices. An index that only one of the
    pair has, and nobody later, is summed before; an axis of 1 counts for as many as its partner.
    """
    equation, operands = _equation(given.args)
    terms, kept = _terms(equation, operands)
    path = _path(equation, operands) if len(operands) > 2 else None
    macs = 0
    while len(terms) > 1:
        first, second = sorted(next(path)) if path else (0, 1)
        other, one = terms.pop(second), terms.pop(first)
        later = {letter for term in terms for letter in term}
        wanted = kept | later
        one, other = (
            {letter: side for letter, side in mine.items() if letter in wanted | partner.keys()}
            for mine, partner in ((one, other), (other, one))
        )
        both = {**one, **other}
        macs += prod(both.values())
        made = {letter: side for letter, side in both.items() if letter in wanted}
        terms.insert(len(terms) if path else 0, made)
    return macs


def _equation(args: Sequence[Any]) -> tuple[str, list[Tensor]]:
    """The equation without spaces, and its operands; einsum may be given both in other ways."""
    first, *rest = args
    if isinstance(first, str):
        many = len(rest) == 1 and isinstance(rest[0], (list, tuple))
        return first.replace(" ", ""), list(rest[0] if many else rest)
    # operand, its axes, operand, its axes, …, and the axes of the output
    operands, axes = list(args[: len(args) // 2 * 2 : 2]), list(args[1::2])
    left = ",".join(map(_letters, axes[: len(operands)]))
    right = f"->{_letters(args[-1])}" if len(args) % 2 else ""
    return left + right, operands


def _letters(axes: Iterable[Any]) -> str:
    """Axes by number, as letters."""
    return "".join("..." if axis is ... else chr(ord("A") + _place(axis)) for axis in axes)


def _place(axis: int) -> int:
    """The first 26 numbers are capitals, the others small letters, which stand 6 signs behind."""
    return axis if axis < 26 else axis + 6


def _terms(equation: str, operands: Sequence[Tensor]) -> tuple[list[_Axes], set[Any]]:
    """The axes of every operand but those of 1, and the letters of the output."""
    left, arrow, right = equation.partition("->")
    terms: list[_Axes] = []
    dots: set[Any] = set()
    for written, operand in zip(left.split(","), operands, strict=True):
        letters: list[Any] = list(written.replace("...", "."))
        if "." in letters:
            at = letters.index(".")
            many = operand.ndim - len(letters) + 1
            letters[at : at + 1] = range(-many, 0)  # those of all operands end together
            dots.update(range(-many, 0))
        sides = zip(letters, operand.shape, strict=True)
        terms.append({letter: side for letter, side in sides if side != 1})
    kept = {letter for letter in right if letter != "."}
    if not arrow:
        kept = {letter for letter in left if letter.isalpha() and left.count(letter) == 1}
    return terms, kept | dots if not arrow or "." in right else kept


def _path(equation: str, operands: Sequence[Tensor]) -> Iterator[Sequence[int]] | None:
    """The pairs that opt_einsum has torch take; None for from left to right."""
    planner = torch.backends.opt_einsum
    if not (planner.is_available() and planner.enabled):
        return None
    how = planner.get_opt_einsum().contract_path(equation, *operands, optimize=planner.strategy)
    pairs: Sequence[Sequence[int]] = how[0]
    return iter(pairs)


_PRODUCTS: Mapping[str, _Product] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _convolution),
    **dict.fromkeys(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution
    ),
    "conv_tbc": _time_convolution,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _recurrent_cell),
    **dict.fromkeys(("matmul", "__matmul__", "linalg_matmul", "mm", "bmm", "_int_mm"), _dot),
    **dict.fromkeys(("mv", "dot", "vdot"), _dot),
    "inner": _inner,
    "__rmatmul__": _reflected_product,
    "linear": _linear,
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "_addmm_activation"), _added_product),
    "addbmm": _summed_products,
    **dict.fromkeys(("outer", "ger", "addr", "kron"), _one_each),
    "linalg_vecdot": _vector_dots,
    "tensordot": _tensordot,
    **dict.fromkeys(("chain_matmul", "linalg_multi_dot"), _chain),
    "bilinear": _bilinear,
    **dict.fromkeys(("affine_grid", "affine_grid_generator"), _affine_grid),
    **dict.fromkeys(("scaled_dot_product_attention", "flex_attention"), _attention),
    "multi_head_attention_forward": _multi_head_attention,
    "einsum": _einsum,
}
"""How much each function multiplies, by its name."""

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
