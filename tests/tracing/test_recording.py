"""A recording as it is handed out: calls by name and turn, their tensors, totals."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tracing.modules import Runs, image
from vitc_inspect.tracing.recorder import record_call
from vitc_inspect.tracing.recording import Recording, tensors_given, values_of


def twice(module: nn.Module, x: Tensor) -> Tensor:
    first = module.proj(x)
    return torch.cumsum(first + module.proj(x), 1).cumsum(1)


def recorded(run: Any, *given: Any, **kwargs: Any) -> Recording:
    return record_call(Runs(run).eval(), given, kwargs)


def test_a_call_is_found_by_its_name_and_turn() -> None:
    recording = recorded(twice, image())
    calls = [call for call in recording.calls if call.name == "proj"]
    assert [recording.call("proj", turn) for turn in (1, 2)] == calls
    assert [call.turn for call in calls] == [1, 2]
    assert recording.call("add").is_function
    assert not recording.call("proj").is_function
    for name, turn in (("proj", 0), ("proj", 3), ("proj", -1), ("none", 1)):
        with pytest.raises(KeyError, match=name):
            recording.call(name, turn)


def test_totals_are_those_of_the_calls_that_could_be_counted() -> None:
    """Two convolutions of 16 channels by 4·4·3 numbers at 8·8 places in 2 images."""
    recording = recorded(twice, image(2, 3, 32, 32))
    assert recording.macs == 2 * (2 * 8 * 8 * 16 * 4 * 4 * 3)
    silent = recorded(lambda module, x: x, image())
    assert (silent.macs, silent.uncounted) == (0, ())


def test_a_call_says_its_first_tensors_and_the_size_of_all() -> None:
    proj = recorded(twice, image(2, 3, 32, 32)).call("proj")
    assert (proj.in_shape, proj.out_shape, proj.dtype) == (
        (2, 3, 32, 32),
        (2, 16, 8, 8),
        "float32",
    )
    assert proj.bytes == 4 * 2 * 16 * 8 * 8
    assert proj.params == 16 * (3 * 4 * 4 + 1)
    parts = recorded(lambda module, x: x.split(1), image(2, 3, 32, 32)).call("split")
    assert len(parts.outputs) == 2
    assert parts.bytes == 4 * 2 * 3 * 32 * 32
    failed = recorded(lambda module, x: module.proj(x[0, 0]), image()).call("proj")
    assert (failed.returned, failed.out_shape, failed.dtype, failed.bytes) == (
        False,
        None,
        None,
        0,
    )


def test_a_recording_stands_still() -> None:
    recording = recorded(twice, image())
    for thing in (recording, recording.calls[0], recording.inputs[0]):
        with pytest.raises(FrozenInstanceError):
            thing.path = "other"


@dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]


X = torch.zeros(2, 3, dtype=torch.float16)
PARTS = ["0.a", "out.logits", "out.hidden.0", "out.hidden.1"]


@pytest.mark.parametrize(
    ("args", "kwargs", "paths"),
    [
        ((), {}, []),
        ((X, None, 3, "x"), {}, ["0"]),
        ((None, X), {"mask": X}, ["1", "mask"]),
        (([X, (X,)],), {}, ["0.0", "0.1.0"]),
        (({"a": X, "b": {"c": X}},), {}, ["0.a", "0.b.c"]),
        (
            (OrderedDict(a=X),),
            {"out": Output(X, (X, X))},
            ["0.a", "out.logits", "out.hidden.0", "out.hidden.1"],
        ),
        ((torch.nested.nested_tensor([X, X]),), {}, ["0.0", "0.1"]),
    ],
)
def test_every_tensor_that_was_given_has_its_place(
    args: tuple[Any, ...], kwargs: dict[str, Any], paths: list[str]
) -> None:
    seen = values_of(tensors_given(args, kwargs))
    assert [value.path for value in seen] == paths
    for value in seen:
        assert (value.shape, value.dtype, value.bytes) == ((2, 3), "float16", 12)


def test_a_thing_that_holds_itself_has_an_end() -> None:
    loop: list[Any] = [X]
    loop.append(loop)
    assert [value.path for value in values_of(tensors_given((loop,), {}))] == ["0.0"]


def test_equal_values_of_a_recording_are_one() -> None:
    first, second, third = values_of(tensors_given((X, [X]), {"a": X}))
    assert {first.path, second.path, third.path} == {"0", "1.0", "a"}
    again = values_of([("0", (2, 3), torch.float16)] * 3)
    assert again[0] is again[1] is again[2]
    assert again[0] == first
