"""Forward passes that raise: where, by which operation, and what is left of the rows."""

from __future__ import annotations

import signal

import pytest
from torch import nn

from tests import faulty
from tests.tracing.modules import Runs, hook_count, image, names, silent
from vitc_inspect.tracing.recorder import record_module


@pytest.mark.parametrize(
    ("module", "operation", "operands", "inside", "never"),
    [
        (faulty.MismatchedStrides, "reshape", [(2, 16, 16, 16)], "", {"norm"}),
        (faulty.ShortTable, "add", [(2, 65, 16), (1, 50, 16)], "", set()),
        (faulty.Raising, "add", [(2, 8, 8, 8), (7,)], "", {"head"}),
        (faulty.Unpermuted, "linear", [(2, 16, 8, 8), (2, 16), (2,)], "head", set()),
        (faulty.WrongPattern, "einops.rearrange", [(2, 16, 8, 8)], "", set()),
    ],
)
def test_a_forward_that_raises_leaves_a_result(module, operation, operands, inside, never):
    recording = record_module(module().eval(), image())
    failure = recording.failure
    assert failure.operation == operation
    assert [value.shape for value in failure.operands] == operands
    assert failure.inside == inside
    assert failure.source.file == faulty.__file__
    assert set(silent(recording)) == never
    assert recording.outputs == ()
    assert "vitc_inspect/" not in failure.traceback
    assert failure.traceback.rstrip().endswith(failure.message.strip().splitlines()[-1].strip())


def test_an_exception_of_the_users_own_names_the_line_and_no_operation():
    def run(module, x):
        module.proj(x)
        raise KeyError("patch")

    failure = record_module(Runs(run), image()).failure
    assert (failure.kind, failure.operation, failure.operands) == ("KeyError", None, ())
    assert failure.source.text == 'raise KeyError("patch")'


def test_a_layer_that_raised_and_was_replaced_is_no_failure():
    recording = record_module(faulty.Recovering(), image())
    assert recording.failure is None
    assert [(call.inside, call.returned) for call in recording.calls] == [
        ("wrong", False),
        ("right", True),
    ]


def test_who_asks_to_leave_the_program_has_failed():
    recording = record_module(faulty.Leaving(), image())
    assert (recording.failure.kind, recording.failure.message) == ("SystemExit", "7")
    assert recording.failure.source.text == "sys.exit(7)"
    assert [layer.not_reached for layer in recording.never_called] == [True, True, True]


def test_arguments_that_do_not_fit_are_a_failure_too():
    failure = record_module(faulty.Sized(), image(), mask=None).failure
    assert failure.kind == "TypeError"
    assert "mask" in failure.message


def test_who_interrupts_is_not_held_up():
    def run(module, x):
        signal.raise_signal(signal.SIGINT)  # as Ctrl+C does

    module = Runs(run)
    before = hook_count(module)
    with pytest.raises(KeyboardInterrupt):
        record_module(module, image())
    assert hook_count(module) == before
    names_after = names(record_module(faulty.Sized(), image()))
    assert names_after[0] == "conv1"


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("nothing to say")


class RaisesSpeechless(nn.Module):
    def forward(self, x):
        raise Speechless


def test_an_exception_that_cannot_be_written_is_shown_as_python_shows_it():
    failure = record_module(RaisesSpeechless(), image()).failure
    assert (failure.kind, failure.message) == ("Speechless", "<exception str() failed>")
    assert "Speechless: <exception str() failed>" in failure.traceback
