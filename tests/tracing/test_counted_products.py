"""Products that torch's counter has no formula for, and one product written in many ways."""

from __future__ import annotations

import warnings

import einops
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.tracing.counters import ours, tensor
from vitc_inspect.inspection.module_inspection import inspect_module
from vitc_inspect.tracing.counting import count_function_macs
from vitc_inspect.tracing.recorder import record_module


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        # an outer product costs one product for each element
        (lambda: torch.outer(tensor(3), tensor(5)), 3 * 5),
        (lambda: torch.ger(tensor(3), tensor(5)), 3 * 5),
        (lambda: tensor(3, 5).addr(tensor(3), tensor(5)), 3 * 5),
        (lambda: tensor(3, 5).addr_(tensor(3), tensor(5)), 3 * 5),
        (lambda: torch.kron(tensor(2, 3), tensor(4, 5)), 2 * 4 * 3 * 5),
        (lambda: torch.einsum("i,j->ij", tensor(3), tensor(5)), 3 * 5),
        (lambda: torch.einsum("ij,ij->ij", tensor(3, 5), tensor(3, 5)), 3 * 5),
        (lambda: torch.einsum("i, j", tensor(3), tensor(5)), 3 * 5),
        (lambda: torch.tensordot(tensor(3), tensor(5), 0), 3 * 5),
        # a sum of products over one operand's own index is a sum first
        (lambda: torch.einsum("ab,bc->c", tensor(7, 2), tensor(2, 3)), 2 * 3),
        # three operands from the left: (3 by 4) (4 by 5), then with 3 numbers of width 5
        (
            lambda: torch.einsum("ab,bc,c->a", tensor(3, 4), tensor(4, 5), tensor(5)),
            3 * 4 * 5 + 3 * 5,
        ),
        # one operand alone is only summed and turned
        (lambda: torch.einsum("ii", tensor(4, 4)), 0),
        (lambda: torch.einsum("ij->ji", tensor(4, 3)), 0),
        (lambda: torch.einsum("...ii->...i", tensor(2, 4, 4)), 0),
        # all pairs of a batch, added up
        (lambda: torch.addbmm(tensor(3, 5), tensor(2, 3, 4), tensor(2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: tensor(3, 5).addbmm_(tensor(2, 3, 4), tensor(2, 4, 5)), 2 * 3 * 4 * 5),
        (lambda: torch.linalg.vecdot(tensor(2, 1, 4), tensor(3, 4)), 2 * 3 * 4),
        (lambda: torch.linalg.multi_dot([tensor(6), tensor(6, 2), tensor(2)]), 6 * 2 + 2),
        # (9 by 2)(2 by 9)(9 by 2): the two last first
        (
            lambda: torch.linalg.multi_dot([tensor(9, 2), tensor(2, 9), tensor(9, 2)]),
            2 * 9 * 2 + 9 * 2 * 2,
        ),
        (lambda: torch.inner(tensor(3, 4), torch.tensor(2.0)), 0),
        # 6 outputs for each of 5: first input with a matrix of 3 by 4, then with the second input
        (
            lambda: functional.bilinear(tensor(5, 3), tensor(5, 4), tensor(6, 3, 4)),
            5 * 6 * (3 * 4 + 4),
        ),
        (lambda: nn.Bilinear(3, 4, 6)(tensor(5, 3), tensor(5, 4)), 5 * 6 * (3 * 4 + 4)),
        (lambda: torch.conv_tbc(tensor(7, 2, 3), tensor(2, 3, 4), tensor(4)), 6 * 2 * 4 * 2 * 3),
        # each of 4 by 5 cells: 2 coordinates of 3 numbers
        (lambda: functional.affine_grid(tensor(1, 2, 3), [1, 1, 4, 5]), 4 * 5 * 2 * 3),
        (
            lambda: torch._int_mm(
                torch.zeros(32, 8, dtype=torch.int8), torch.zeros(8, 16, dtype=torch.int8)
            ),
            32 * 8 * 16,
        ),
        (lambda: tensor(2, 3) @ tensor(3), 2 * 3),
        (lambda: functional.linear(tensor(2, 3), tensor(3)), 2 * 3),
        (
            lambda: functional.scaled_dot_product_attention(
                tensor(2, 1, 4, 3), tensor(1, 6, 5, 3), tensor(2, 6, 5, 7)
            ),
            2 * 6 * 4 * 5 * (3 + 7),
        ),
    ],
)
def test_products_that_torchs_counter_does_not_know(run, macs):
    warnings.simplefilter("ignore")
    assert ours(run) == macs


class Attends(nn.Module):
    """Patches by a convolution, and one product of queries and keys, written in some way."""

    def __init__(self, compare):
        super().__init__()
        self.compare = compare
        self.proj, self.qk, self.head = nn.Conv2d(3, 32, 8, 8), nn.Linear(32, 64), nn.Linear(64, 10)

    def forward(self, x):
        t = self.proj(x).flatten(2).transpose(1, 2)
        b, n, _ = t.shape
        q, k = (y.reshape(b, n, 4, 8).transpose(1, 2) for y in self.qk(t).chunk(2, -1))
        return self.head(self.compare(q, k).mean(1))


def dense(q, k):
    return torch.einsum("bhid,bhjd->bhij", q, k)


WRITTEN = [
    lambda q, k: torch.einsum("b h i d, b h j d -> b h i j", q, k),
    lambda q, k: torch.einsum(" b h i d,b h j d->b h i j ", q, k),
    lambda q, k: torch.einsum("bhid, bhjd -> bhij", [q, k]),
    lambda q, k: torch.einsum("... i d, ... j d -> ... i j", q, k),
    lambda q, k: torch.einsum("B H Q D, B H K D -> B H Q K", q, k),
    lambda q, k: torch.einsum(q, [0, 1, 2, 4], k, [0, 1, 3, 4], [0, 1, 2, 3]),
    lambda q, k: torch.einsum(q, [..., 2, 4], k, [..., 3, 4]),
    lambda q, k: einops.einsum(q, k, "b h i d, b h j d -> b h i j"),
    lambda q, k: torch.functional.einsum("b h i d, b h j d -> b h i j", (q, k)),
    lambda q, k: q @ k.transpose(-1, -2),
    lambda q, k: torch.matmul(q, k.mT),
    lambda q, k: torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT).unflatten(0, (1, 4)),
]


@pytest.mark.parametrize("written", WRITTEN)
def test_one_product_is_counted_alike_however_it_is_written(written):
    x = torch.randn(1, 3, 64, 64)
    right, report = (inspect_module(Attends(compare).eval(), x) for compare in (dense, written))
    assert report.failure is None
    assert (report.uncounted, report.unchecked, report.faults) == ((), (), ())
    # 64 tokens: patches of 3·8·8 to 32, then 32 to 64; 4 heads of 8; 64 numbers to 10 for each
    macs = 64 * 192 * 32 + 64 * 32 * 64 + 4 * 64 * 64 * 8 + 64 * 64 * 10
    assert report.macs == right.macs == macs
    modules = [row for row in report.rows if not row.call.is_function]
    assert [row.verdict for row in modules] == ["agrees"] * 3


def test_spaces_in_an_equation_change_nothing_of_the_report():
    x = torch.randn(1, 3, 64, 64)

    def told(compare):
        torch.manual_seed(0)
        plain = inspect_module(Attends(compare).eval(), x).to_dict()
        for row in plain["rows"]:
            row["source"] = None  # the line it is written in
        return plain

    assert told(WRITTEN[0]) == told(dense)


class PlannedByHand:
    """Stands for the planner that torch asks, where it is installed."""

    strategy, enabled = "auto", True

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def get_opt_einsum():
        return PlannedByHand

    @staticmethod
    def contract_path(equation, *operands, optimize):
        assert (equation, optimize) == ("ab,bc,c->a", "auto")
        return [(1, 2), (0, 1)], "what it prints"


def test_more_than_two_operands_are_taken_in_the_order_that_torch_is_told(monkeypatch):
    given = ("ab, bc, c -> a", tensor(3, 4), tensor(4, 5), tensor(5))
    from_the_left = 3 * 4 * 5 + 3 * 5
    assert count_function_macs("einsum", given, {}, torch.einsum(*given)) == from_the_left
    monkeypatch.setattr(torch.backends, "opt_einsum", PlannedByHand)
    assert count_function_macs("einsum", given, {}, tensor(3)) == 4 * 5 + 3 * 4
    monkeypatch.setattr(PlannedByHand, "enabled", False)
    assert count_function_macs("einsum", given, {}, tensor(3)) == from_the_left


def test_nested_tensors_count_part_by_part():
    parts = [torch.ones(3, 4), torch.ones(5, 4)]
    for layout in (torch.strided, torch.jagged):
        nested = torch.nested.nested_tensor(parts, layout=layout)
        recording = record_module(nn.Linear(4, 6), nested)
        assert (recording.macs, recording.uncounted) == ((3 + 5) * 4 * 6, ())
    query = torch.nested.nested_tensor([torch.ones(2, 3, 4), torch.ones(2, 5, 4)])
    mixed = functional.scaled_dot_product_attention(query, query, query)
    macs = count_function_macs("scaled_dot_product_attention", (query, query, query), {}, mixed)
    assert macs == 2 * (3 * 3 + 5 * 5) * (4 + 4)


def test_products_under_vmap_are_those_of_all_its_examples():
    x, w = tensor(2, 3, 4, 4), tensor(4, 5)
    vmap = torch.func.vmap
    assert ours(lambda: vmap(lambda each: each @ each)(x)) == 2 * 3 * 4 * 4 * 4
    assert ours(lambda: vmap(lambda each: each @ w)(x)) == 2 * 3 * 4 * 4 * 5
    assert ours(lambda: vmap(vmap(lambda each: each @ w))(x)) == 2 * 3 * 4 * 4 * 5


def test_products_of_sparse_tensors_are_not_counted_as_if_they_were_full():
    sparse, full = torch.eye(4).to_sparse(), torch.ones(4, 4)
    assert count_function_macs("mm", (sparse, full), {}, sparse @ full) is None
    assert count_function_macs("mm", (full, full), {}, full @ full) == 4 * 4 * 4
