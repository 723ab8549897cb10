"""Outputs that are written over later, and copies within their budget."""

from __future__ import annotations

import torch

from tests import faulty
from tests.tracing.modules import Runs, image
from vitc_inspect.model.modules import build_stem
from vitc_inspect.stem.spec import conv_stem
from vitc_inspect.tracing.recorder import record_call, record_module


def test_an_output_overwritten_by_a_layer_is_told_of_and_shown_as_it_was():
    module = faulty.Overwritten().eval()
    recording = record_call(module, (image(),), keep_bytes=2**20)
    call = recording.call("norm")
    assert call.overwritten_by == "act"
    assert call.kept.values.min() < 0  # the ReLU would have made it 0
    sound = faulty.Activated().eval()
    sound.load_state_dict(module.state_dict())
    beside = record_call(sound, (image(),), keep_bytes=2**20)
    assert torch.equal(call.kept.values, beside.call("norm").kept.values)
    assert [each.overwritten_by for each in beside.calls] == [None] * 3


def test_a_function_that_overwrites_bears_its_line():
    recording = record_module(faulty.AddedInPlace(), image())
    assert [call.overwritten_by for call in recording.calls] == ["add_", "add_", None]
    assert recording.call("proj").overwritten_at.text == "tokens += 1"


def test_writing_to_one_part_does_not_overwrite_the_other():
    def run(module, x):
        left, right = x[:1].relu(), x[1:].relu()
        both = torch.cat([left, right])
        first, second = both[:1], both[1:]
        first.mul_(2)
        return second

    recording = record_module(Runs(run), image())
    by = {(call.name, index): call.overwritten_by for index, call in enumerate(recording.calls)}
    assert [name for (name, _), writer in by.items() if writer] == ["cat", "__getitem__"]
    assert recording.call("__getitem__", 4).overwritten_by is None


def test_what_is_written_by_its_name_is_found():
    def run(module, x):
        grid = module.proj(x)
        torch.mul(torch.ones_like(grid), 2, out=grid)
        return grid

    call = record_module(Runs(run), image()).call("proj")
    assert call.overwritten_by == "mul"


def test_what_is_written_in_a_list_is_found_at_the_end():
    def run(module, x):
        grid = module.proj(x)
        torch._foreach_add_([grid], 1)
        return grid

    call = record_module(Runs(run), image()).call("proj")
    assert call.overwritten_by == "a later operation"


def test_copies_fit_in_their_budget():
    module = build_stem(conv_stem(channels=(8, 8, 8, 8), embed_dim=8, image_size=32))
    recording = record_call(module, (image(1, 3, 32, 32),), keep_bytes=4000)
    assert 0 < sum(call.kept.bytes for call in recording.calls if call.kept) <= 4000
    bare = record_module(module, image(1, 3, 32, 32))
    assert not any(call.kept for call in bare.calls)
