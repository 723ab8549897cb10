"""Rows handed out as calls: params that no row inside reports, and what cannot be told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.tracing.modules import Runs, image, names
from vitc_inspect.common.guard import STRICT_RULES
from vitc_inspect.tracing.call_builder import Row, calls_of
from vitc_inspect.tracing.recorder import record_call

X = ("0", (2, 3), torch.float32)


def row(name: str = "proj", layer: nn.Module | None = None, **fields: object) -> Row:
    made = Row(name, "", layer, [X])
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_a_row_is_handed_out_as_it_was_written_down() -> None:
    linear = nn.Linear(3, 4)
    written = row(layer=linear, outputs=[("", (2, 4), torch.float32)], returned=True, macs=24)
    (call,) = calls_of([written], {"proj": "leaf"}, {"proj": 16})
    assert (call.name, call.kind, call.turn, call.returned) == ("proj", "Linear", 1, True)
    assert (call.in_shape, call.out_shape) == ((2, 3), (2, 4))
    assert (call.macs, call.params, call.bytes) == (24, 16, 4 * 2 * 4)
    assert (call.source, call.overwritten_by, call.kept, call.unchecked) == (None, None, None, ())


def test_what_has_no_count_has_no_macs_and_each_name_once() -> None:
    written = row("forward", macs=24, uncounted=("fft", "sort", "fft"))
    (call,) = calls_of([written], {}, {})
    assert (call.kind, call.params) == ("function", 0)
    assert (call.macs, call.uncounted) == (None, ("fft", "sort"))


def test_a_layer_of_a_library_answers_for_all_inside_it_and_an_open_one_for_itself() -> None:
    weights = {"attn": 12, "attn.out_proj": 4, "attention": 100, "": 7}
    attention = nn.MultiheadAttention(2, 1)
    library, own, whole = (
        calls_of([row(name, attention)], {name: role}, weights)[0].params
        for name, role in (("attn", "library"), ("attn", "open"), ("", "library"))
    )
    assert library == 12 + 4
    assert own == 12
    assert whole == sum(weights.values())


def test_the_params_of_a_model_are_each_in_one_row() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Conv2d(3, 8, 8, 8)
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
            self.own = Runs(lambda module, x: x)
            self.own.scale = nn.Parameter(torch.ones(8))

        def forward(self, x: Tensor) -> Tensor:
            x = self.proj(x).flatten(2).transpose(1, 2)
            return self.own(self.attn(x, x, x)[0]) * self.own.scale

    module = Model().eval()
    recording = record_call(module, (image(),), {})
    called = sum(call.params for call in recording.calls)
    uncalled = sum(p.numel() for p in module.own.proj.parameters())  # its function runs nothing
    assert called + uncalled == sum(p.numel() for p in module.parameters())
    assert "attn.out_proj" not in names(recording)


def test_a_row_that_cannot_be_told_keeps_its_name_and_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(STRICT_RULES, raising=False)
    odd = row(outputs=[("", None, torch.float32)], returned=True)
    first, second = calls_of([odd, row("sound")], {}, {})
    assert (first.name, first.kind, first.returned) == ("proj", "function", True)
    assert (first.inputs, first.outputs, first.macs, first.uncounted) == ((), (), None, ("proj",))
    assert first.unchecked[0].startswith("TypeError")
    assert second.in_shape == (2, 3)
    monkeypatch.setenv(STRICT_RULES, "1")
    with pytest.raises(TypeError):
        calls_of([odd], {}, {})
