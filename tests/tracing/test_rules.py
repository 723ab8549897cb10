"""Rules that users register for functions, and the registry that holds every rule."""

from __future__ import annotations

import importlib
import signal
from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import wrap_torch_function

from tests.tracing.modules import Runs
from vitc_inspect import (
    Expectation,
    FunctionCall,
    SpecError,
    inspect_module,
    register_rule,
    temporary_rules,
)
from vitc_inspect.common.guard import STRICT_RULES, is_users
from vitc_inspect.tracing.recorder import look_at_call, record_module
from vitc_inspect.tracing.rules import REGISTRY, Rule, forget_rules, kind_of
from vitc_inspect.tracing.torch_internals import BaseFunction


@pytest.fixture(autouse=True)
def nothing_stays():
    with temporary_rules():
        yield


@torch.library.custom_op("t_rules::scan", mutates_args=())
def scan(x: torch.Tensor, times: int) -> torch.Tensor:
    return torch.stack([x @ x.mT] * times).sum(0)


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x @ x @ x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].sum()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(x, by=2):
        return torch.linalg.matrix_power(x, by)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass


cubed = Cubed.apply  # stored before anything is recorded


@wrap_torch_function(lambda x, weight: (x, weight))
def fused(x, weight):
    return (x @ weight).relu()


@wrap_torch_function(lambda x: (x,))
def matmul(x):
    """Bears the name of a function of torch, and is another."""
    return x + 1


def square():
    return torch.eye(3)


def recorded(run, *given):
    recording = record_module(Runs(lambda _, *tensors: run(*tensors)), *given)
    assert recording.failure is None, recording.failure.traceback
    return recording


CALLS = [
    (scan, lambda x: scan(x, 2), "scan.default"),
    (scan, lambda x: torch.ops.t_rules.scan(x, 2), "scan"),
    (torch.ops.t_rules.scan, lambda x: scan(x, 2), "scan.default"),
    (torch.ops.t_rules.scan.default, lambda x: scan(x, 2), "scan.default"),
    ("t_rules::scan", lambda x: scan(x, 2), "scan.default"),
    ("scan.default", lambda x: scan(x, 2), "scan.default"),
    (Cubed, Cubed.apply, "Cubed"),
    (Cubed, cubed, "Cubed"),
    (Cubed.apply, cubed, "Cubed"),
    (Doubled, lambda x: Doubled.apply(x, 3), "Doubled"),
    (Doubled, Doubled.apply, "Doubled"),
    (fused, lambda x: fused(x, x), "fused"),
    ("fused", lambda x: fused(x, x), "fused"),
    (matmul, matmul, "matmul"),
    (torch.linalg.inv, torch.linalg.inv, "linalg_inv"),
    ("linalg_inv", torch.inverse, "inverse"),
    (torch.fft.fft, torch.fft.fft, "fft_fft"),
    (torch.cdist, lambda x: torch.cdist(x, x), "cdist"),
    (torch.Tensor.cholesky, torch.Tensor.cholesky, "cholesky"),
    (torch.softmax, lambda x: x.softmax(-1), "softmax"),
    (torch.mm, lambda x: x.mm(x), "mm"),
    (torch.addmm, lambda x: x.addmm_(x, x), "addmm_"),
]


@pytest.mark.parametrize(("target", "run", "name"), CALLS)
def test_the_rule_of_a_function_is_its_count(target, run, name):
    if name == "inverse":  # another function of torch, whose rule this is not
        register_rule(target)(lambda call: 7_001)
        assert recorded(run, square()).uncounted == ("inverse",)
        return
    seen = []

    @register_rule(target)
    def rule(call):
        seen.append(call)
        return Expectation(out_shape=call.shape(0), macs=7_001, rule="as it came")

    module = Runs(lambda _, x: run(x))
    report = inspect_module(module, square())
    (row,) = report.rows
    assert (row.name, row.verdict, row.macs, report.uncounted) == (name, "agrees", 7_001, ())
    assert row.verdicts == {"shape": True, "params": None, "macs": None}
    assert (row.predicted.out_shape, row.predicted.rule) == ((3, 3), "as it came")
    assert isinstance(seen[0], FunctionCall)
    assert row.source.file == __file__


def test_without_a_rule_a_custom_function_is_not_counted():
    assert recorded(lambda x: scan(x, 2), square()).uncounted == ("scan.default",)
    assert recorded(lambda x: fused(x, x), square()).uncounted == ("fused",)
    # not even where it bears the name of one that is
    assert recorded(matmul, square()).uncounted == ("matmul",)
    # torch announces what happens in an autograd function, not the function
    assert recorded(cubed, square()).macs == 2 * 27


def test_operators_of_torch_that_are_called_by_themselves_are_counted_as_its_functions():
    aten = torch.ops.aten
    recording = recorded(lambda x: aten.mm.default(aten.add.Tensor(x, x), aten.mm(x, x)), square())
    assert (recording.macs, recording.uncounted) == (2 * 27, ())


def test_what_a_function_with_a_rule_does_is_not_counted_again():
    register_rule(fused)(lambda call: 5)
    recording = recorded(lambda x: fused(x, x) @ x, square())
    assert [call.macs for call in recording.calls] == [5, 27]


def test_a_rule_may_be_asked_for_arguments_by_place_or_by_name():
    asked = []

    @register_rule(scan)
    def rule(call):
        asked.append((call.shape(0, "x"), call.argument(1, "times"), call.argument(2, "other")))
        return prod(call.out_shape) * call.shape(0, "x")[-1] * call.argument(1, "times")

    x = torch.ones(2, 5)
    assert recorded(lambda x: torch.ops.t_rules.scan(x, 3), x).macs == 2 * 2 * 5 * 3
    assert recorded(lambda x: torch.ops.t_rules.scan(x=x, times=4), x).macs == 2 * 2 * 5 * 4
    assert asked == [((2, 5), 3, None), ((2, 5), 4, None)]


def test_a_wrong_shape_differs():
    register_rule(scan)(lambda call: Expectation(out_shape=(3, 4), macs=9, rule="guessed"))
    report = inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert report.rows[0].verdict == "differs"
    assert report.disagreements == (
        "scan.default.shape: predicted (3, 4), observed (3, 3); the rule is guessed",
    )
    assert "differs" in str(report)


def test_a_rule_may_say_only_a_part():
    register_rule(scan)(lambda call: Expectation(macs=9))
    report = inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert (report.rows[0].verdict, report.macs, report.uncounted) == ("not predicted", 9, ())
    register_rule(scan)(lambda call: Expectation(out_shape=(3, 3)))
    report = inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert (report.rows[0].verdict, report.uncounted) == ("agrees", ("scan.default",))
    register_rule(scan)(lambda call: None)
    report = inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert (report.rows[0].verdict, report.uncounted) == ("not predicted", ("scan.default",))
    register_rule(torch.mm)(lambda call: Expectation(out_shape=(3, 3)))
    assert recorded(lambda x: x.mm(x), square()).macs == 27  # as it is counted without a rule
    register_rule(torch.mm)(lambda call: np.int64(6))
    assert recorded(lambda x: x.mm(x), square()).macs == 6


def test_a_users_rule_also_counts_inside_layers_of_torch():
    register_rule("linear")(lambda call: 11)
    for training in (True, False):
        assert record_module(nn.Sequential(nn.Linear(3, 3)).train(training), square()).macs == 11


def test_products_under_vmap_are_those_of_all_its_examples():
    register_rule(torch.mm)(lambda call: 6)
    run = torch.func.vmap(lambda x: torch.mm(x, x))
    assert recorded(run, torch.ones(4, 3, 3)).macs == 4 * 6


def test_an_autograd_function_keeps_its_gradient():
    register_rule(Cubed)(lambda call: 54)
    x, module = square(), Runs(lambda _, x: cubed(x))
    gradient = look_at_call(
        module,
        (x,),
        {},
        call=0,
        leaf=x,
        look=lambda out, leaf: torch.autograd.grad(out.sum(), leaf),
    )
    assert torch.equal(gradient[0], torch.full((3, 3), 3.0))
    assert "apply" not in vars(BaseFunction)


def test_an_autograd_function_is_let_go_where_it_raises():
    register_rule(Cubed)(lambda call: 54)
    report = inspect_module(Runs(lambda _, x: cubed(x)), torch.ones(2, 3))
    assert report.failure.operation == "Cubed"
    assert report.failure.source.file == __file__
    assert "apply" not in vars(BaseFunction)


# ---- failing rules


def raising(call):
    raise ZeroDivisionError("by hand")


@pytest.mark.parametrize("strict", [True, False])
def test_a_rule_that_raises_leaves_its_row_unchecked_and_no_other(strict, monkeypatch):
    monkeypatch.setenv(STRICT_RULES, "1" if strict else "0")
    module = Runs(lambda _, x: scan(x, 2) @ x)
    right = inspect_module(module, square())
    register_rule(scan)(raising)
    report = inspect_module(module, square())
    reason = "the registered rule raising of t_rules::scan raised ZeroDivisionError: by hand"
    assert report.unchecked == (f"scan.default: {reason}",)
    assert [row.verdict for row in report.rows] == ["not checked", "not predicted"]
    assert (report.macs, report.uncounted) == (27, ("scan.default",))
    assert report.outputs == right.outputs
    assert f"Not checked: scan.default: {reason}." in str(report)
    assert "mistake of vitc_inspect" not in str(report)
    assert all(map(is_users, report.unchecked))


class Ends(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), Ends(), RecursionError(), GeneratorExit()]
)
def test_a_rule_cannot_end_the_run(error):
    def rule(call):
        raise error

    register_rule(scan)(rule)
    report = inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert report.failure is None
    assert type(error).__name__ in report.rows[0].unchecked[0]


def test_an_interrupt_in_a_rule_is_an_interrupt():
    register_rule(scan)(lambda call: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        inspect_module(Runs(lambda _, x: scan(x, 2)), square())
    assert torch._C._len_torch_function_stack() == 0


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (-1, "an int, not an Expectation"),
        (2**64, "an int, not an Expectation"),
        (1.5, "a float, not an Expectation"),
        (True, "a bool, not an Expectation"),
        ("27", "a str, not an Expectation"),
        (torch.zeros(2), "a Tensor, not an Expectation"),
        (Expectation, "a type, not an Expectation"),
        (Expectation(macs=-1), "macs = -1, not a whole number from 0 to 2^63"),
        (Expectation(out_shape="33"), "out_shape = '33', not a shape"),
    ],
)
def test_nonsense_leaves_a_function_unchecked(said, complaint):
    module = Runs(lambda _, x: scan(x, 2) @ x)
    right = inspect_module(module, square())
    register_rule(scan)(lambda call: said)
    report = inspect_module(module, square())
    reason = f"the registered rule <lambda> of t_rules::scan returned {complaint}"
    assert [row.unchecked for row in report.rows] == [(reason,), ()]
    assert (report.outputs, report.macs, report.uncounted) == (
        right.outputs,
        right.macs,
        right.uncounted,
    )


# ---- what can be registered


def unseen(x):
    return x


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (None, "it is neither a class nor a function"),
        (3, "it is neither a class nor a function"),
        ([nn.Linear], "it is neither a class nor a function"),
        (torch.zeros(2), "it is neither a class nor a function"),
        (torch.Tensor.mT, "it is neither a class nor a function"),
        (torch.nn, "it is neither a class nor a function"),
        (int, "it is no class of layers or autograd functions"),
        (torch.Tensor, "it is no class of layers or autograd functions"),
        (nn.Module, "it is no class of layers or autograd functions"),
        (torch.autograd.Function, "it is no class of layers or autograd functions"),
        (nn.ReLU(), "it is one layer, not a class. Give ReLU, its class."),
        (unseen, "torch does not announce its calls. Decorate it with torch.overrides."),
        (lambda x: x, "torch does not announce its calls"),
        (len, "torch does not announce its calls"),
        (str.upper, "torch does not announce its calls"),
        ("", "it is no name of a function"),
        ("two words", "it is no name of a function"),
        ("line\n", "it is no name of a function"),
    ],
)
def test_what_is_no_layer_or_function_is_refused(target, reason):
    before = dict(REGISTRY.users)
    with pytest.raises(SpecError) as caught:
        register_rule(target)
    assert caught.value.field == "kind"
    assert reason in str(caught.value)
    assert dict(REGISTRY.users) == before


def test_something_has_to_be_registered():
    with pytest.raises(SpecError, match="no layer or function is named"):
        register_rule()


@pytest.mark.parametrize("rule", [None, 3, "rule", Expectation()])
def test_a_rule_is_a_function(rule):
    with pytest.raises(SpecError) as caught:
        register_rule("scan")(rule)
    assert caught.value.field == "rule"
    assert "scan" not in REGISTRY.users


def test_the_decorator_returns_the_rule_and_takes_several_kinds():
    rule = register_rule(nn.ReLU, "scan", torch.mm)(raising)
    assert rule is raising
    assert set(REGISTRY.users) == {nn.ReLU, "scan", "mm"}


def test_kinds_tell_functions_of_one_name_apart():
    assert kind_of(matmul) == f"{__name__}.matmul" != kind_of(torch.matmul)
    assert kind_of(torch.Tensor.matmul) == kind_of(torch.ops.aten.matmul) == "matmul"
    assert kind_of(scan) == kind_of(torch.ops.t_rules.scan.default) == "t_rules::scan"


# ---- the registry


def test_every_rule_of_ours_is_registered_by_the_same_function(monkeypatch):
    from vitc_inspect.inspection import layer_rules
    from vitc_inspect.tracing import function_rules

    files = [function_rules, *(vars(layer_rules)[name] for name in LAYER_FILES)]
    added: dict[object, Rule] = {}
    monkeypatch.setattr(REGISTRY, "add", lambda rules: added.update({r.kind: r for r in rules}))
    for file in files:
        importlib.reload(file)
    assert set(added) == set(REGISTRY.ours)
    assert all(rule.is_ours for rule in REGISTRY.ours.values())


LAYER_FILES = (
    "attention", "convolutions", "linear", "norms_and_activations", "pooling", "recurrent",
    "reshaping", "resizing",
)  # fmt: skip


def test_the_second_rule_for_a_kind_replaces_the_first():
    for macs in (1, 2):
        register_rule(scan)(lambda call, macs=macs: macs)
    assert recorded(lambda x: scan(x, 2), square()).macs == 2


def test_temporary_rules_bring_back_what_was_there_also_after_an_exception():
    register_rule("scan")(raising)
    before = REGISTRY.users

    def replace_and_raise():
        with temporary_rules():
            register_rule("scan", "other")(lambda call: 1)
            raise ValueError("out")

    with pytest.raises(ValueError, match="out"):
        replace_and_raise()
    assert REGISTRY.users is before


def test_rules_of_a_file_that_is_run_again_are_forgotten():
    rule = register_rule("scan")(lambda call: 1)
    register_rule("other")(raising)
    rule.__module__ = "edited"
    forget_rules({"edited"})
    assert set(REGISTRY.users) == {"other"}


def test_the_mappings_cannot_be_written_to():
    with pytest.raises(TypeError):
        REGISTRY.users["scan"] = Rule("scan", raising)
    with pytest.raises(TypeError):
        REGISTRY.ours["scan"] = Rule("scan", raising)


def test_no_rule_of_any_thread_is_lost():
    threads, each = 8, 50
    start = Barrier(threads)

    def register(thread):
        start.wait()
        for number in range(each):
            register_rule(f"function_{thread}_{number}")(raising)
            assert f"function_{thread}_{number}" in REGISTRY.users

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(register, range(threads)))
    assert len(REGISTRY.users) == threads * each


def test_a_thread_that_records_nothing_calls_autograd_functions_as_ever():
    register_rule(Cubed)(lambda call: 54)

    def run(x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(cubed, x).result()

    recording = recorded(run, square())
    assert [call.name for call in recording.calls] == []
    assert recording.outputs[0].shape == (3, 3)
