"""One walk finds what torch's own walks find, for modules of every shape."""

import pytest
import torch
from torch import nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.model.modules import build_vit
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.tracing.module_tree import contents_of


class Shared(nn.Module):
    """The same block twice, one layer of a third block shared, and two matrices that are one."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.none = None
        self.register_module("empty", None)
        self.two = self.one
        self.three = nn.ModuleDict({"fc": self.one[0], "other": nn.Linear(4, 4, bias=False)})
        self.three["other"].weight = self.one[0].weight
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(2))
        self.mean_again = self.mean


class Itself(nn.Module):
    """A module that holds itself."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.me = self


class Unmade(nn.Module):
    """Forgets what every module must call."""

    def __init__(self):
        pass


MODULES = {
    "a layer": lambda: nn.Conv2d(3, 8, 3),
    "nothing": lambda: nn.Sequential(),
    "shared": Shared,
    "itself": Itself,
    "a whole model": lambda: build_vit(PRESETS["vit_c_1gf"].vit),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))),
    "half scripted": lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2)), nn.ReLU()),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_walk_finds_what_torch_finds(make):
    module = make()
    contents = contents_of(module)
    assert list(contents.layers.items()) == list(module.named_modules())
    assert list(map(id, contents.parameters)) == list(map(id, module.parameters()))
    assert list(map(id, contents.buffers)) == list(map(id, module.buffers()))
    for name, layer in contents.layers.items():
        own = list(map(id, layer.parameters(recurse=False)))
        owned = [id(parameter) for owner, parameter in contents.owned if owner == name]
        assert list(dict.fromkeys(owned)) == own
        numbers = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        assert contents.weights.get(name, 0) == numbers


def test_a_module_in_several_places_is_told_of_once_for_each():
    repeats = contents_of(Shared()).repeats
    assert repeats == (("two", "one"), ("three.fc", "one.0"))
    assert contents_of(Itself()).repeats == (("me", ""),)


@pytest.mark.parametrize(
    ("module", "fact"),
    [
        (nn.Sequential(nn.LazyLinear(3)), "0.weight gets its shape only when it first runs"),
        (nn.LazyBatchNorm2d(affine=False), "running_mean gets its shape only when it first runs"),
        ("a string", "it is not a torch.nn.Module"),
        (nn.Linear, "it is not a torch.nn.Module"),
        (Unmade(), "__init__ of Unmade does not call super().__init__()"),
        (nn.Sequential(Unmade()), "__init__ of Unmade does not call super().__init__()"),
    ],
)
def test_what_cannot_run_as_it_is_is_refused(module, fact):
    with pytest.raises(SpecError) as caught:
        contents_of(module)
    assert caught.value.field == "module"
    assert fact in str(caught.value)
