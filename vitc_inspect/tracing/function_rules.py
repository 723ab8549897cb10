"""Rules for torch functions that multiply: each counts the MACs of one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import torch
from torch import Tensor

from vitc_inspect.tracing.rules import FunctionCall, register_rule

# ---- convolutions and recurrent layers --------------------------------------------------------


@register_rule("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def _convolution(call: FunctionCall) -> int:
    """Each element of the output is the product of a window with its filter."""
    if call.argument(6, "transposed") is True:  # torch.convolution alone has this argument
        return _transposed_convolution(call)
    return prod(call.out_shape) * prod(call.shape(1, "weight")[1:])


@register_rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(call: FunctionCall) -> int:
    """Each element of the input is multiplied with its filter once."""
    return prod(call.shape(0, "input")) * prod(call.shape(1, "weight")[1:])


@register_rule("conv_tbc")
def _time_convolution(call: FunctionCall) -> int:
    """MACs of a convolution whose weight begins with the axes of taps and channels."""
    return prod(call.out_shape) * prod(call.shape(1, "weight")[:-1])


@register_rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: FunctionCall) -> int:
    """Every matrix of every layer and direction is applied once at each step of each sequence."""
    packed = call.args[1].ndim == 1 if isinstance(call.args[1], Tensor) else False
    weights = call.args[3 if packed else 2]  # behind the sizes of a packed sequence's batches
    matrices: list[Sequence[int]] = [each.shape for each in weights if each.ndim == 2]
    return _vectors(call.shape(0)) * sum(map(prod, matrices))


@register_rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def _recurrent_cell(call: FunctionCall) -> int:
    matrices = call.shape(2, "w_ih"), call.shape(3, "w_hh")
    return _vectors(call.shape(0, "input")) * sum(map(prod, matrices))


# ---- products of matrices ---------------------------------------------------------------------


def _vectors(shape: Sequence[int]) -> int:
    """Number of vectors along the last axis."""
    return prod(shape[:-1])


@register_rule("matmul", "__matmul__", "linalg_matmul", "mm", "bmm", "_int_mm", "mv", "dot", "vdot")
def _dot(call: FunctionCall) -> int:
    """Each element of the output sums over the last axis of the first operand."""
    return prod(call.out_shape) * call.shape(0, "input", "self")[-1]


@register_rule("inner")
def _inner(call: FunctionCall) -> int:
    """Each vector of one with each of the other; a number alone scales the other."""
    first, second = call.shape(0, "input"), call.shape(1, "other")
    return prod(call.out_shape) * first[-1] if first and second else 0


@register_rule("__rmatmul__")
def _reflected_product(call: FunctionCall) -> int:
    return prod(call.out_shape) * call.shape(1, "other")[-1]


@register_rule("linear")
def _linear(call: FunctionCall) -> int:
    return prod(call.out_shape) * call.shape(1, "weight")[-1]


@register_rule("addmm", "addmv", "baddbmm", "_addmm_activation")
def _added_product(call: FunctionCall) -> int:
    """addmm, addmv, baddbmm: to the first operand the product of the two others is added."""
    return prod(call.out_shape) * call.shape(1, "mat1", "batch1", "mat")[-1]


@register_rule("addbmm")
def _summed_products(call: FunctionCall) -> int:
    """addbmm: the products of all pairs of a batch are added up."""
    return prod(call.shape(1, "batch1")) * call.shape(2, "batch2")[-1]


@register_rule("outer", "ger", "addr", "kron")
def _one_each(call: FunctionCall) -> int:
    """An outer product: one product for each element."""
    return prod(call.out_shape)


def _aligned(one: Sequence[int], other: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The lengths of two shapes, axis by axis from the last."""
    return zip_longest(reversed(one), reversed(other), fillvalue=1)


@register_rule("linalg_vecdot")
def _vector_dots(call: FunctionCall) -> int:
    return prod(map(max, _aligned(call.shape(0, "x"), call.shape(1, "y"))))


@register_rule("tensordot")
def _tensordot(call: FunctionCall) -> int:
    """Each element of the output sums over the axes that are paired."""
    first, second, axes = call.shape(0, "a"), call.shape(1, "b"), call.argument(2, "dims")
    axes = 2 if axes is None else axes.tolist() if isinstance(axes, Tensor) else axes
    if isinstance(axes, int):
        axes = range(len(first) - axes, len(first)), range(axes)
    of_first, of_second = ([each] if isinstance(each, int) else each for each in axes)
    # an axis of 1 stands for one as long as its partner, which is summed before
    summed: list[int] = [
        min(first[at], second[to]) for at, to in zip(of_first, of_second, strict=True)
    ]
    return prod(call.out_shape) * prod(summed)


@register_rule("chain_matmul", "linalg_multi_dot")
def _chain(call: FunctionCall) -> int:
    """The cheapest way to set the brackets, which torch looks for.

    Source:
        Cormen et al., Introduction to Algorithms, section "Matrix-chain multiplication".
    """
    apart = bool(call.args) and isinstance(call.args[0], Tensor)
    matrices = list(call.args if apart else call.argument(0, "tensors"))
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


@register_rule("bilinear")
def _bilinear(call: FunctionCall) -> int:
    """Each element of the output: the first input with a matrix, then with the second input."""
    return prod(call.out_shape) * (call.shape(0, "input1")[-1] + 1) * call.shape(1, "input2")[-1]


@register_rule("affine_grid", "affine_grid_generator")
def _affine_grid(call: FunctionCall) -> int:
    return prod(call.out_shape) * call.shape(0, "theta")[-1]


# ---- attention --------------------------------------------------------------------------------


@register_rule("scaled_dot_product_attention", "flex_attention")
def _attention(call: FunctionCall) -> int:
    """Each query of each head meets each key, then each value."""
    query, key = call.shape(0, "query"), call.shape(1, "key")
    queries = _vectors(call.out_shape)  # heads of keys and batches of one are shared
    return queries * key[-2] * (query[-1] + call.shape(2, "value")[-1])


@register_rule("multi_head_attention_forward")
def _multi_head_attention(call: FunctionCall) -> int:
    """Projections of queries, keys and values, attention, and the projection of its result."""
    query, key = call.shape(0, "query"), call.shape(1, "key")
    width = query[-1]
    batch = query[1] if len(query) == 3 else 1
    static = call.argument(21, "static_k")
    keys = key[0] if static is None else static.shape[1]
    keys += (call.argument(7, "bias_k") is not None) + bool(call.argument(9, "add_zero_attn"))
    projections = (2 * prod(query) + prod(key) + prod(call.shape(2, "value"))) * width
    return int(projections + 2 * batch * query[0] * keys * width)


# ---- einsum -----------------------------------------------------------------------------------

_Axes = dict[Any, int]  # length of each axis of an operand, by its letter


@register_rule("einsum")
def _einsum(call: FunctionCall) -> int:
    """Two operands at a time, in the order in which torch takes them.

    Each pair takes one product for each choice of all its indices. An index that only one of the
    pair has, and nobody later, is summed before; an axis of 1 counts for as many as its partner.
    """
    equation, operands = _equation(call.args)
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
