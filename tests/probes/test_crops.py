"""Whatever experiment is made on a module, nothing is left behind, and nothing moves afterwards."""

from __future__ import annotations

import pytest
import torch

from tests.probes.stems import SMALL, Refuses, noise, token_vectors
from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_stem
from vitc_inspect.probes.cells import probe_cell
from vitc_inspect.probes.gradients import token_field
from vitc_inspect.probes.token_order import keeps_order

PROBES = {
    "probe_cell": lambda module, image: probe_cell(module, image, "conv2", 0, 0, 0),
    "a cell that is not there": lambda module, image: probe_cell(module, image, "conv2", 0, 99, 0),
    "token_field": lambda module, image: token_field(module, image, 3, 4),
    "a token that is not there": lambda module, image: token_field(module, image, 99, 4),
    "token_vectors": token_vectors,
    "keeps_order": lambda module, image: keeps_order(module, SMALL),
}


def state_of(module, image):
    """All that a probe could leave behind."""
    return {
        "modes": [layer.training for layer in module.modules()],
        "hooks": [len(layer._forward_hooks) for layer in module.modules()],
        "values": [(name, value.clone()) for name, value in module.state_dict().items()],
        "gradients": [value.grad for value in [*module.parameters(), image]],
        "learn": [value.requires_grad for value in [*module.parameters(), image]],
        "homes": [value.data_ptr() for value in [*module.parameters(), *module.buffers(), image]],
        "image": image.clone(),
        "random": torch.get_rng_state(),
    }


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("breaks", [False, True], ids=["whole", "broken"])
def test_a_probe_leaves_the_module_as_it_was(name, breaks):
    module, image = build_stem(SMALL).train(), noise(SMALL)
    module.act1.eval()  # some layers may be in another mode than the rest
    module.conv1.weight.requires_grad_(False)
    if breaks:
        module.act1 = Refuses().eval()
    before = state_of(module, image)
    fails = name.startswith("a ") or (breaks and name != "keeps_order")
    if fails:
        with pytest.raises((SpecError, RuntimeError)):
            PROBES[name](module, image)
    else:
        PROBES[name](module, image)
    after = state_of(module, image)
    assert [what for what in before if not same(before[what], after[what])] == []


def test_a_cell_stays_as_it_was_when_the_weights_move_on():
    module, image = build_stem(SMALL).double(), noise(SMALL).double()
    cell = probe_cell(module, image, "conv1", 0, 4, 4)
    module.conv1.weight.data.zero_()
    image.zero_()
    assert cell.agrees
    assert cell.products.all()


def test_what_a_probe_returns_cannot_be_written_to():
    module, image = build_stem(SMALL), noise(SMALL)
    cell = probe_cell(module, image, "conv2", 0, 0, 0)
    for array in (cell.window, cell.kernel, cell.padded, token_field(module, image, 0, 0).heat):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
