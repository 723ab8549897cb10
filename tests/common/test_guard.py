"""A mistake put into each rule of ours: a run ends as it would alone, and the row tells of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import wraps

import pytest
import torch
from einops import rearrange
from einops.layers.torch import Rearrange, Reduce
from torch import nn
from torch.nn import functional

from tests.tracing.modules import tensor
from vitc_inspect import cli
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.inspection import layer_rules, module_inspection, module_report
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.model.modules import ChannelNorm, ClassToken, FirstToken, PositionTable
from vitc_inspect.tracing import (
    call_builder,
    call_sites,
    hooks,
    listener,
    output_log,
    recorder,
    tracebacks,
)
from vitc_inspect.tracing.rules import REGISTRY
from vitc_inspect.ui.panels.module_summary import module_table_html, status_html
from vitc_inspect.views.report_table import module_csv, module_html, module_markdown, module_table


class Own(nn.Module):
    """A layer of the user's own, which calls another module's forward itself."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))
        self.inner = nn.Linear(16, 16)

    def forward(self, x):
        return self.inner.forward(x) * self.scale


class Leaf(nn.Module):
    def forward(self, x):
        return torch.einsum("b n d -> b d", x)


class Guest(nn.Module):
    """Does a little of all that can be heard."""

    def __init__(self, ending=None):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU()
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.own, self.leaf, self.ending = Own(), Leaf(), ending
        self.register_buffer("seen", torch.zeros(1))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        self.seen += 1
        t = rearrange(self.act(self.norm(self.conv(x))), "b c h w -> b (h w) c")
        t = self.own(self.attend(t, t, t)[0])
        first, second = t.chunk(2, 1)
        first.add_(1)
        attention = torch.einsum("b i d, b j d -> b i j", first, second) @ second
        if self.ending is not None:
            raise self.ending
        if attention is None:
            return None
        return {"pooled": self.leaf(attention), "noise": torch.rand(2)}


class Wrong(Guest):
    """Raises inside a layer of torch, by an input that does not fit."""

    def forward(self, x):
        super().forward(x)
        return self.unused(x)


class Injected(Exception):
    """What a rule of ours raises here."""


def broken(*args, **kwargs):
    raise Injected("put in on purpose")


def break_rules(monkeypatch, *kinds):
    """Put a mistake into rules of ours."""
    ours = REGISTRY.ours
    mistakes = {
        kind: replace(ours[kind], function=wraps(ours[kind].function)(lambda *given: broken()))
        for kind in kinds
    }
    monkeypatch.setattr(REGISTRY, "ours", {**ours, **mistakes})


PLACES = [
    *((listener, name) for name in (
        "count_function_macs", "tensors_given", "tensors_in", "dot_length",
        "values_given", "_forward_code", "rows_of", "is_free",
        "_Function",
    )),
    *((listener.Run, name) for name in (
        "finish", "_function_row", "_suspend",
    )),
    *((output_log, name) for name in ("version_of", "kept_output", "_overlap")),
    *((output_log.OutputLog, name) for name in (
        "add", "batched", "mark_overwritten", "mark_overwritten_at_end",
    )),
    *((call_sites.CallSites, name) for name in ("line_of", "find_unhooked", "_unhooked")),
    (call_sites, "owner_of"),
    *((call_builder, name) for name in ("_call", "_params", "source_line")),
    *((recorder, name) for name in (
        "calls_of", "never_called", "fast_path_notes", "shared_notes", "unregistered_notes",
        "values_given",
    )),
    (module_inspection, "expect"),
    (layer_rules, "_has_derived_weights"),
    (layer_rules, "layer_rule"),
]  # fmt: skip
OF_FAILURES = [
    (listener, "failure_of"),
    (listener, "tensors_given"),
    (listener.Run, "_run_again"),
    (tracebacks, "_chain"),
    (tracebacks, "source_line"),
    (tracebacks, "traceback_text"),
    (tracebacks, "values_of"),
]


@pytest.fixture
def lenient(monkeypatch):
    """As for a user: what rules raise is told and not raised."""
    monkeypatch.delenv(STRICT_RULES, raising=False)


def image():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def guest(kind=Guest, *given):
    torch.manual_seed(0)
    return kind(*given).eval()


def left(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    hooks = sum(
        len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules()
    )
    modes = torch._C._len_torch_function_stack()
    return state, hooks, modes, torch.backends.mha.get_fastpath_enabled()


class Kept(nn.Module):
    """Tells what a module returned or raised."""

    def __init__(self, module, tell):
        super().__init__()
        self.module, self.tell = module, tell

    def forward(self, x):
        try:
            made = self.module(x)
        except Exception as error:
            self.tell(error)
            raise
        self.tell(made)
        return made


def same(one, other):
    if isinstance(one, BaseException):
        return type(one) is type(other) and str(one) == str(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return torch.equal(one, other)


def named(place):
    where, name = place
    return f"{where.__name__.rpartition('.')[2]}.{name}"


def inspected_beside_alone(module, monkeypatch, put_in):
    """The report with a mistake in a rule, once all is held against the run without any."""
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(7)
    alone, heard = [], []
    before = left(module)
    with torch.no_grad(), suppress(ValueError, RuntimeError):
        Kept(module, alone.append)(image())
    module.load_state_dict(before[0])
    told = Kept(module, heard.append)
    put_in(monkeypatch)
    random = torch.manual_seed(7).get_state()
    report = inspect_call(told, (image(),), keep_bytes=2**20, audit=False)
    assert torch.equal(torch.get_rng_state(), random)
    monkeypatch.undo()
    assert same(alone[0], heard[0])
    after = left(module)
    assert after[1:] == before[1:]
    assert all(torch.equal(value, before[0][name]) for name, value in after[0].items())
    return report


def assert_told(report):
    """What was not checked is said in every view, with the reason."""
    assert report.unchecked
    assert all("Injected: put in on purpose" in each for each in report.unchecked)
    for row in report.rows:
        if row.unchecked and row.call.returned:
            assert row.verdict in ("not checked", "differs")
    assert report.to_dict()["unchecked"] == list(report.unchecked)
    for view in (module_table, module_html, module_markdown):
        assert "Not checked, by a mistake of" in view(report)
    assert "not checked" in status_html(report, "a picture")
    module_table_html(report, "")
    if any(row.unchecked for row in report.rows):
        assert "Injected: put in on purpose" in module_csv(report)


@pytest.fixture(autouse=True)
def fast_path():
    before = torch.backends.mha.get_fastpath_enabled()
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize("place", PLACES, ids=named)
def test_a_mistake_in_a_rule_neither_changes_nor_ends_a_run(place, monkeypatch, lenient):
    report = inspected_beside_alone(
        guest(), monkeypatch, lambda patch: patch.setattr(*place, broken)
    )
    assert report.failure is None
    assert_told(report)
    assert report.disagreements == ()


@pytest.mark.parametrize("ending", [ValueError("the user's own"), None], ids=["own", "of torch"])
@pytest.mark.parametrize("place", [*PLACES, *OF_FAILURES], ids=named)
def test_a_mistake_in_a_rule_takes_no_exception_of_the_users_away(
    place, ending, monkeypatch, lenient
):
    module = guest(Guest, ending) if ending else guest(Wrong)
    report = inspected_beside_alone(
        module, monkeypatch, lambda patch: patch.setattr(*place, broken)
    )
    assert report.failure.kind == ("ValueError" if ending else "RuntimeError")
    assert ("the user's own" if ending else "mat1 and mat2") in report.failure.message
    assert isinstance(report.explanations, tuple)
    if place in PLACES[:-1]:
        module_table(report)


@pytest.mark.parametrize("place", PLACES, ids=named)
def test_a_strict_run_raises_what_a_rule_raises(place, monkeypatch):
    module, before = guest(), torch._C._len_torch_function_stack()
    monkeypatch.setattr(*place, broken)
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(Injected):
        inspect_call(module, (image(),), keep_bytes=2**20, audit=False)
    assert torch._C._len_torch_function_stack() == before


def test_without_a_mistake_all_is_checked():
    report = inspect_call(guest(), (image(),), keep_bytes=2**20, audit=False)
    assert report.unchecked == ()
    assert "Not checked" not in module_table(report)
    assert "not checked" not in status_html(report, "a picture")
    assert {row.verdict for row in report.rows if not row.call.is_function} <= {
        "agrees",
        "not predicted",
    }


# ---- every counting rule

t = tensor
COUNTED = {
    "conv1d": lambda: functional.conv1d(t(1, 2, 5), t(3, 2, 2)),
    "conv2d": lambda: functional.conv2d(t(1, 2, 5, 5), t(3, 2, 2, 2)),
    "conv3d": lambda: functional.conv3d(t(1, 2, 5, 5, 5), t(3, 2, 2, 2, 2)),
    "convolution": lambda: torch.convolution(
        t(1, 2, 5), t(3, 2, 2), None, [1], [0], [1], False, [0], 1
    ),
    "_convolution": lambda: torch._convolution(
        t(1, 2, 5), t(3, 2, 2), None, [1], [0], [1], False, [0], 1, False, False, False, False
    ),
    "conv_transpose1d": lambda: functional.conv_transpose1d(t(1, 2, 5), t(2, 3, 2)),
    "conv_transpose2d": lambda: functional.conv_transpose2d(t(1, 2, 5, 5), t(2, 3, 2, 2)),
    "conv_transpose3d": lambda: functional.conv_transpose3d(t(1, 2, 3, 3, 3), t(2, 3, 2, 2, 2)),
    "conv_tbc": lambda: torch.conv_tbc(t(7, 2, 3), t(2, 3, 4), t(4)),
    "lstm": lambda: nn.LSTM(3, 4)(t(5, 2, 3))[0],
    "gru": lambda: nn.GRU(3, 4)(t(5, 2, 3))[0],
    "rnn_tanh": lambda: nn.RNN(3, 4)(t(5, 2, 3))[0],
    "rnn_relu": lambda: nn.RNN(3, 4, nonlinearity="relu")(t(5, 2, 3))[0],
    "lstm_cell": lambda: nn.LSTMCell(3, 4)(t(2, 3))[0],
    "gru_cell": lambda: nn.GRUCell(3, 4)(t(2, 3)),
    "rnn_tanh_cell": lambda: nn.RNNCell(3, 4)(t(2, 3)),
    "rnn_relu_cell": lambda: nn.RNNCell(3, 4, nonlinearity="relu")(t(2, 3)),
    "matmul": lambda: torch.matmul(t(2, 3), t(3, 4)),
    "__rmatmul__": lambda: t(3, 4).__rmatmul__(t(2, 3)),
    "linalg_matmul": lambda: torch.linalg.matmul(t(2, 3), t(3, 4)),
    "mm": lambda: torch.mm(t(2, 3), t(3, 4)),
    "bmm": lambda: torch.bmm(t(2, 2, 3), t(2, 3, 4)),
    "_int_mm": lambda: torch._int_mm(t(32, 8).to(torch.int8), t(8, 16).to(torch.int8)),
    "mv": lambda: torch.mv(t(2, 3), t(3)),
    "dot": lambda: torch.dot(t(3), t(3)),
    "vdot": lambda: torch.vdot(t(3), t(3)),
    "inner": lambda: torch.inner(t(2, 3), t(3)),
    "linear": lambda: functional.linear(t(2, 3), t(4, 3)),
    "addmm": lambda: torch.addmm(t(4), t(2, 3), t(3, 4)),
    "addmv": lambda: torch.addmv(t(2), t(2, 3), t(3)),
    "baddbmm": lambda: torch.baddbmm(t(2, 2, 4), t(2, 2, 3), t(2, 3, 4)),
    "_addmm_activation": lambda: torch._addmm_activation(t(4), t(2, 3), t(3, 4)),
    "addbmm": lambda: torch.addbmm(t(2, 4), t(2, 2, 3), t(2, 3, 4)),
    "outer": lambda: torch.outer(t(2), t(3)),
    "ger": lambda: torch.ger(t(2), t(3)),
    "addr": lambda: torch.addr(t(2, 3), t(2), t(3)),
    "kron": lambda: torch.kron(t(2, 2), t(3, 3)),
    "linalg_vecdot": lambda: torch.linalg.vecdot(t(2, 3), t(3)),
    "tensordot": lambda: torch.tensordot(t(2, 3), t(3, 4), 1),
    "chain_matmul": lambda: torch.chain_matmul(t(2, 3), t(3, 4)),
    "linalg_multi_dot": lambda: torch.linalg.multi_dot([t(2, 3), t(3, 4)]),
    "bilinear": lambda: functional.bilinear(t(5, 3), t(5, 4), t(6, 3, 4)),
    "affine_grid": lambda: functional.affine_grid(t(1, 2, 3), [1, 1, 4, 5]),
    "affine_grid_generator": lambda: torch.affine_grid_generator(t(1, 2, 3), [1, 1, 4, 5], False),
    "scaled_dot_product_attention": lambda: functional.scaled_dot_product_attention(
        t(1, 2, 3, 4), t(1, 2, 5, 4), t(1, 2, 5, 4)
    ),
    "multi_head_attention_forward": lambda: nn.MultiheadAttention(4, 2)(*[t(3, 1, 4)] * 3)[0],
    "einsum": lambda: torch.einsum("b i d, b j d -> b i j", t(2, 3, 4), t(2, 5, 4)),
}


class Calls(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self):
        return self.run()


def test_every_counting_rule_is_called():
    # torch tells of @ as matmul, and flex_attention needs a compiler
    counting = {kind for kind in REGISTRY.ours if isinstance(kind, str)}
    assert counting - set(COUNTED) == {"__matmul__", "flex_attention"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", COUNTED)
def test_a_mistake_in_a_counting_rule_leaves_its_row_uncounted(name, monkeypatch, lenient):
    def run():
        torch.manual_seed(0)
        with torch.no_grad():
            return COUNTED[name]()

    alone = run()
    right = inspect_call(Calls(run), audit=False)
    assert (right.unchecked, right.uncounted) == ((), ())
    assert right.macs > 0
    break_rules(monkeypatch, name)
    made = []
    report = inspect_call(Calls(lambda: made.append(run()) or made[0]), audit=False)
    assert report.failure is None
    assert torch.equal(made[0], alone)
    (row,) = (row for row in report.rows if row.unchecked)
    assert row.verdict == "not checked"
    assert row.unchecked == ("Injected: put in on purpose",)
    assert (row.call.macs, row.call.uncounted) == (None, (name,))
    assert row.call.out_shape is not None
    assert_told(report)
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(Injected):
        inspect_call(Calls(run), audit=False)


# ---- every rule of arithmetic

LAYERS = [
    (nn.Conv2d(3, 4, 3), (1, 3, 8, 8)),
    (nn.MaxPool2d(2), (1, 3, 8, 8)),
    (nn.AdaptiveAvgPool2d(2), (1, 3, 8, 8)),
    (nn.ZeroPad2d(1), (1, 3, 8, 8)),
    (nn.Linear(3, 4), (1, 5, 3)),
    (nn.GELU(), (1, 5, 3)),
    (nn.Flatten(), (1, 5, 3)),
    (Rearrange("b n d -> b d n"), (1, 5, 3)),
    (nn.MultiheadAttention(4, 2), (5, 1, 4)),
    (ClassToken(4), (1, 5, 4)),
    (FirstToken(), (1, 5, 4)),
]


class Holding(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        many = isinstance(self.layer, nn.MultiheadAttention)
        return self.layer(x, x, x)[0] if many else self.layer(x)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: type(value).__name__)
def test_a_mistake_in_a_rule_of_arithmetic_leaves_its_row_unchecked(
    layer, shape, monkeypatch, lenient
):
    given = torch.randn(shape)
    module = Holding(layer).eval()
    assert inspect_call(module, (given,), audit=False).row("layer").verdict == "agrees"
    alone = module(given)
    break_rules(monkeypatch, type(layer))
    report = inspect_call(module, (given,), audit=False)
    assert report.outputs[0].shape == alone.shape
    row = report.row("layer")
    assert (row.verdict, row.predicted) == ("not checked", None)
    assert row.unchecked == ("Injected: put in on purpose",)
    assert_told(report)
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(Injected):
        inspect_call(module, (given,), audit=False)


def test_a_mistake_in_the_count_of_our_own_layers_is_no_all_clear(monkeypatch, lenient, capsys):
    command = ["3x3/2:8, 1x1:8", "--image-size", "32", "--strict"]
    assert cli.main(command) == 0
    monkeypatch.setattr(hooks, "count_macs", broken)
    assert cli.main(command) == 1
    assert "conv1.macs" in capsys.readouterr().out
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(Injected):
        cli.main(command)


def test_a_mistake_in_what_an_error_means_leaves_the_error(monkeypatch, lenient):
    monkeypatch.setattr(module_report, "explain_error", broken)
    report = inspect_call(guest(Wrong), (image(),), audit=False)
    assert report.failure.kind == "RuntimeError"
    assert report.explanations == ()
    assert "mat1 and mat2" in module_table(report)


def test_what_has_no_rule_is_no_mistake():
    report = inspect_call(Calls(lambda: torch.linalg.inv(torch.eye(3))), audit=False)
    assert (report.uncounted, report.unchecked) == (("linalg_inv",), ())


def test_not_checked_is_no_all_clear(monkeypatch, lenient, capsys):
    command = ["--module", "tests/faulty.py:Sized", "--input", "1,3,32,32", "--strict"]
    assert cli.main(command) == 0
    monkeypatch.setattr(module_inspection, "expect", broken)
    assert cli.main(command) == 1
    assert "Not checked, by a mistake of vitc_inspect: " in capsys.readouterr().out
    assert cli.main(command[:-1]) == 0  # it is told, and no reason to fail


def test_a_mistake_whose_text_cannot_be_written_is_told_by_its_kind(monkeypatch, lenient):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    def mute(*args):
        raise Mute

    monkeypatch.setattr(listener, "count_function_macs", mute)
    report = inspect_call(Calls(lambda: t(2, 3) @ t(3, 4)), audit=False)
    assert report.unchecked == ("matmul: Mute: <exception str() failed>",)


@pytest.mark.parametrize(
    "layer", [ChannelNorm(4), PositionTable(5, 4), Reduce("b n d -> b d", "mean")]
)
def test_its_neighbours_are_checked_as_ever(layer, monkeypatch, lenient):
    """A mistake about one row says nothing about others."""
    shape = (1, 4, 5, 5) if isinstance(layer, ChannelNorm) else (1, 5, 4)

    class Both(Holding):
        def forward(self, x):
            return super().forward(x) @ torch.ones(x.shape[-1], 2)

    break_rules(monkeypatch, "matmul")
    report = inspect_call(Both(layer), (torch.ones(shape),), audit=False)
    assert report.row("layer").verdict == "agrees"
    assert report.row("matmul").verdict == "not checked"
