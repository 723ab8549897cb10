"""A layer that was not called is named with the reason, and what is odd about a module is noted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests import faulty
from tests.tracing.modules import Runs, image, names, silent
from vitc_inspect.tracing.recorder import record_module


def test_layers_that_were_passed_by_say_why():
    reasons = silent(record_module(faulty.Sidestepped(), image()))
    assert reasons == {
        "direct": "its .forward() was called directly, which calls no hooks: call the module",
        "read": "its weights were used without calling it",
        "spare": "the forward pass does not use it",
        "branch.0": "branch, which holds it, was never called",
    }


def test_the_output_projection_of_attention_never_fires():
    for module in (faulty.Encoded(), faulty.Encoded().eval()):
        (layer,) = record_module(module, image()).never_called
        assert layer.name == "encoder.self_attn.out_proj"
        assert "nn.MultiheadAttention" in layer.reason


def test_weights_of_a_quiet_layer_are_used_by_it():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    module[1].weight = module[0].weight
    recording = record_module(Holding(module), torch.ones(1, 4))
    assert silent(recording) == {"held.1": "its weights were used without calling it"}


class Holding(nn.Module):
    """Calls the first of the layers it holds."""

    def __init__(self, held):
        super().__init__()
        self.held = held

    def forward(self, x):
        return self.held[0](x)


def test_containers_called_through_their_children_are_no_fault():
    class Through(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
            self.rest = nn.ModuleList([nn.Identity()])

        def forward(self, x):
            for layer in (*self.body, *self.rest):
                x = layer(x)
            return x

    recording = record_module(Through(), image())
    assert names(recording) == ["body.0", "body.1", "rest.0"]
    assert recording.never_called == ()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_layers_say_so():
    compiled = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 1)))
    recording = record_module(nn.Sequential(compiled, nn.ReLU()), image())
    assert names(recording) == ["1"]
    assert "torch.jit" in silent(recording)["0.0"]


# ---- notes


@pytest.mark.parametrize("enabled", [True, False])
def test_the_fast_path_is_off_for_the_run_and_then_as_it_was(enabled):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        seen = []

        def run(module, x):
            seen.append(torch.backends.mha.get_fastpath_enabled())
            raise ValueError

        record_module(Runs(run), image())
        assert seen == [False]
        assert torch.backends.mha.get_fastpath_enabled() is enabled
        notes = record_module(faulty.Encoded().eval(), image()).notes
        assert len(notes) == enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_a_module_in_a_plain_list_is_told_of():
    (note,) = record_module(faulty.Sidestepped(), image()).notes
    assert note.startswith("A GELU ran that is not registered")
    assert record_module(faulty.Sized(), image()).notes == ()

    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Conv2d(3, 8, 1)]

        def forward(self, x):
            return self.layers[0](x)

    recording = record_module(nn.Sequential(Listed(), nn.ReLU()), image())
    assert names(recording) == ["0", "1"]
    assert recording.notes[0].startswith("A Conv2d ran that is not registered")
