"""Every rule for a function, held against torch's counter on random shapes."""

from __future__ import annotations

import random
import string
import warnings
from itertools import pairwise

import einops
import pytest
import torch
from torch.nn import functional

from tests.tracing.counters import counter, some, tensor
from vitc_inspect.tracing.counting import count_function_macs

SHAPES = 1000


# ---- products of matrices


def broadcast(draw, batch):
    """The batch axes of one side of a product: fewer, or of 1."""
    kept = batch[draw.randint(0, len(batch)) :]
    return [draw.choice((1, side)) for side in kept]


def matrices(draw):
    """Two matrices that can be multiplied, also vectors, with batches that fit."""
    n, k, m = some(draw, 3, 3)
    batch = some(draw, 0, 2)
    left = [k] if draw.random() < 0.2 else [*broadcast(draw, batch), n, k]
    right = [k] if draw.random() < 0.2 else [*broadcast(draw, batch), k, m]
    return tensor(*left), tensor(*right)


def matmul(draw):
    left, right = matrices(draw)
    how = draw.choice(("matmul", "@", "method", "names", "linalg", "__rmatmul__"))
    return {
        "matmul": lambda: torch.matmul(left, right),
        "@": lambda: left @ right,
        "method": lambda: left.matmul(right),
        "names": lambda: torch.matmul(input=left, other=right),
        "linalg": lambda: torch.linalg.matmul(left, right),
        "__rmatmul__": lambda: right.__rmatmul__(left),
    }[how]


def vectors(draw):
    n, k = some(draw, 2, 2)
    a, b, matrix = tensor(k), tensor(k), tensor(n, k)
    return draw.choice(
        (
            lambda: torch.dot(a, b),
            lambda: torch.vdot(a, b),
            lambda: a.dot(tensor=b),
            lambda: torch.mv(matrix, a),
            lambda: matrix.mv(vec=a),
            lambda: torch.addmv(tensor(n), matrix, a),
            lambda: torch.addmv(input=tensor(n), mat=matrix, vec=a),
        )
    )


def mm(draw):
    n, k, m = some(draw, 3, 3)
    a, b = tensor(n, k), tensor(k, m)
    return draw.choice(
        (
            lambda: torch.mm(a, b),
            lambda: a.mm(mat2=b),
            lambda: torch.mm(input=a, mat2=b),
            lambda: torch.mm(a, b, out=tensor(n, m)),
        )
    )


def bmm(draw):
    batch, n, k, m = some(draw, 4, 4)
    a, b = tensor(batch, n, k), tensor(batch, k, m)
    return draw.choice(
        (
            lambda: torch.bmm(a, b),
            lambda: torch.bmm(a, b, out=tensor(batch, n, m)),
            lambda: torch.bmm(input=a, mat2=b),
        )
    )


def addmm(draw):
    n, k, m = some(draw, 3, 3)
    bias, a, b = tensor(draw.choice((1, m))), tensor(n, k), tensor(k, m)
    return draw.choice(
        (
            lambda: torch.addmm(bias, a, b, beta=0.5),
            lambda: torch.addmm(input=bias, mat1=a, mat2=b),
            lambda: bias.addmm(mat1=a, mat2=b),
            lambda: tensor(n, m).addmm_(a, b),
        )
    )


def baddbmm(draw):
    batch, n, k, m = some(draw, 4, 4)
    bias, a, b = tensor(draw.choice((1, batch)), 1, m), tensor(batch, n, k), tensor(batch, k, m)
    return draw.choice(
        (
            lambda: torch.baddbmm(bias, a, b),
            lambda: torch.baddbmm(bias, batch1=a, batch2=b),
            lambda: tensor(batch, n, m).baddbmm_(a, b),
            lambda: torch.baddbmm(bias, a, b, out=tensor(batch, n, m)),
        )
    )


def linear(draw):
    i, o = some(draw, 2, 2)
    x, w = tensor(*some(draw, 1, 3), i), tensor(o, i)
    bias = draw.choice((None, tensor(o)))
    return draw.choice(
        (
            lambda: functional.linear(x, w, bias),
            lambda: functional.linear(input=x, weight=w, bias=bias),
        )
    )


def tensordot(draw):
    shared, left, right = some(draw, 1, 2), some(draw, 0, 2), some(draw, 0, 2)
    n = len(shared)
    if draw.random() < 0.5:
        a, b = tensor(*left, *shared), tensor(*shared, *right)
        return draw.choice(
            (
                lambda: torch.tensordot(a, b, n),
                lambda: torch.tensordot(a, b, dims=n),
                lambda: torch.tensordot(a=a, b=b, dims=torch.tensor(n)),
            )
        )
    short = [draw.choice((1, side)) for side in shared]
    a, b = tensor(*short, *left), tensor(*right, *shared)
    axes = (list(range(n)), list(range(len(right), len(right) + n)))
    return lambda: torch.tensordot(a, b, dims=axes)


def chain(draw):
    sides = some(draw, 3, 6)
    every = [tensor(n, m) for n, m in pairwise(sides)]
    if draw.random() < 0.3:
        return lambda: torch.chain_matmul(*every)
    # a vector at one end, so that the whole is a product of matrices and a counted one
    return lambda: torch.linalg.multi_dot(every)


def inner(draw):
    k = draw.randint(2, 5)  # with 1, torch multiplies element by element
    a, b = tensor(*some(draw, 1, 2), k), tensor(*some(draw, 1, 2), k)
    return draw.choice((lambda: torch.inner(a, b), lambda: torch.inner(input=a, other=b)))


# ---- einsum


def letters(draw, count):
    return draw.sample(string.ascii_letters, count)


def equation(draw, operands):
    """Terms, operands and the letters of the output; each operand shares one more letter with the
    next, over which they are summed, so that no product is an outer one."""
    names = letters(draw, draw.randint(1, 4) + operands - 1)
    between, others = names[: operands - 1], names[operands - 1 :]
    sides = {name: draw.randint(2, 4) for name in names}
    terms, given = [], []
    for at in range(operands):
        once = {name: draw.choice((1, *[sides[name]] * 4)) for name in others}
        term = draw.choices(others, k=draw.randint(0, 3)) + between[max(at - 1, 0) : at + 1]
        draw.shuffle(term)
        terms.append(term)
        given.append(tensor(*({**sides, **once}[name] for name in term)))
    used = sorted({name for term in terms for name in term} - set(between))
    return terms, given, draw.sample(used, draw.randint(0, len(used)))


def einsum(draw, operands=2):
    terms, given, kept = equation(draw, operands)
    gap = draw.choice(("", " "))
    dense = gap.join(",".join("".join(term) for term in terms)) + gap + "->" + gap.join(kept)
    numbers = {name: at for at, name in enumerate(string.ascii_letters)}
    pairs = [
        part
        for term, each in zip(terms, given, strict=True)
        for part in (each, [numbers[name] for name in term])
    ]
    return draw.choice(
        (
            lambda: torch.einsum(dense, *given),
            lambda: torch.einsum(dense, given),
            lambda: torch.einsum(*pairs, [numbers[name] for name in kept]),
        )
    )


def einsum_of_three(draw):
    return einsum(draw, 3)


def einsum_of_four(draw):
    return einsum(draw, 4)


def einsum_dots(draw):
    """Axes without names before, between or behind those that have one."""
    k, n, m = draw.randint(2, 5), *some(draw, 2, 2)
    batch = some(draw, 0, 2)
    left, right = broadcast(draw, batch), broadcast(draw, batch)
    a, b = tensor(*left, n, k), tensor(*right, k, m)
    c, d = tensor(n, *left, k), tensor(k, m, *right)
    return draw.choice(
        (
            lambda: torch.einsum("...nk,...km->...nm", a, b),
            lambda: torch.einsum("... n k, ... k m", a, b),
            lambda: torch.einsum("n...k,km...->...nm", c, d),
            lambda: torch.einsum("...nk,...km->nm", a, b),
            lambda: torch.einsum(a, [..., 0, 30], b, [..., 30, 2], [..., 0, 2]),
            lambda: torch.einsum(a, [..., 0, 30], b, [..., 30, 2]),
        )
    )


def einsum_of_einops(draw):
    k, n, m, h = draw.randint(2, 5), *some(draw, 3, 3)
    q, key = tensor(2, h, n, k), tensor(2, h, m, k)
    return lambda: einops.einsum(
        q, key, "batch head query width, batch head key width -> batch head query key"
    )


# ---- attention


def attention(draw):
    batch, heads, n, m, e = some(draw, 5, 5)
    v = draw.randint(1, 5)
    q, k, value = tensor(batch, heads, n, e), tensor(batch, heads, m, e), tensor(batch, heads, m, v)
    mask = tensor(n, m)
    return draw.choice(
        (
            lambda: functional.scaled_dot_product_attention(q, k, value),
            lambda: functional.scaled_dot_product_attention(q[0], k[0], value[0]),
            lambda: functional.scaled_dot_product_attention(q, k, value, attn_mask=mask),
            lambda: functional.scaled_dot_product_attention(query=q, key=k, value=value),
            lambda: functional.scaled_dot_product_attention(q[:1], k, value),
            lambda: functional.scaled_dot_product_attention(q, k[:, :1], value[:, :1]),
        )
    )


def grouped_attention(draw):
    batch, heads, shared, n, m, e = some(draw, 6, 6)
    q = tensor(batch, heads * shared, n, e)
    k = tensor(batch, heads, m, e)
    return lambda: functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)


# ---- convolutions


def convolution(draw):
    axes, groups = draw.randint(1, 3), draw.randint(1, 3)
    given, made = groups * draw.randint(1, 3), groups * draw.randint(1, 3)
    kernel = some(draw, axes, axes, 1, 3)
    x = tensor(draw.randint(1, 3), given, *some(draw, axes, axes, 5, 8))
    w = tensor(made, given // groups, *kernel)
    run = getattr(functional, f"conv{axes}d")
    options = {
        "stride": draw.randint(1, 3), "dilation": draw.randint(1, 2), "groups": groups,
        "padding": draw.randint(0, 2),
    }  # fmt: skip
    same = {**options, "stride": 1, "padding": "same"}
    back = getattr(functional, f"conv_transpose{axes}d")
    turned = w.reshape(made, -1, *kernel).new_zeros(given, made // groups, *kernel)
    steps = [[options[name]] * axes for name in ("stride", "padding", "dilation")]
    return draw.choice(
        (
            lambda: run(x, w, **options),
            lambda: run(input=x, weight=w, bias=None, **options),
            lambda: run(x[0], w, **options),
            lambda: run(x, w, **same),
            lambda: back(x, turned, stride=options["stride"], groups=groups),
            lambda: back(input=x, weight=turned, groups=groups, dilation=options["dilation"]),
            lambda: torch.convolution(x, w, None, *steps, False, [0] * axes, groups),
        )
    )


CASES = (
    matmul, vectors, mm, bmm, addmm, baddbmm, linear, tensordot, chain, inner, einsum,
    einsum_of_three, einsum_of_four, einsum_dots, einsum_of_einops, attention,
    grouped_attention, convolution,
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_function_counts_as_torchs_dispatcher_does(case):
    draw = random.Random(case.__name__)
    counted = Counted()
    warnings.simplefilter("ignore")
    with torch.no_grad(), counter() as theirs, counted:
        for _ in range(SHAPES):
            before, macs = theirs.get_total_flops(), counted.macs
            run = case(draw)
            run()
            said = f"{counted.last}"
            assert counted.macs - macs == (theirs.get_total_flops() - before) // 2, said


class Counted(torch.overrides.TorchFunctionMode):
    """Counts every function by our rules."""

    def __init__(self):
        self.macs, self.last = 0, ""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(output, torch.Tensor) and name != "__get__":
            shapes = [getattr(each, "shape", each) for each in (*args, *(kwargs or {}).values())]
            self.last = f"{name}{shapes}"
            macs = count_function_macs(name, args, kwargs or {}, output)
            assert macs is not None, self.last
            self.macs += macs
        return output
