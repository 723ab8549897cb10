"""Which modules are rows of a recording, and how closely each is followed."""

from __future__ import annotations

import pytest
import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from vitc_inspect.tracing.leaf_modules import OPAQUE, can_be_called, is_childless, rows_of


class Childless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Own(nn.Module):
    """One of a user's, with a layer inside."""

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.inner = nn.ReLU()
        if scaled:
            self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Relu(nn.ReLU):
    """Of torch's own forward."""


class Loud(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


def hooked() -> nn.Module:
    layer = nn.ReLU()
    layer.register_forward_hook(lambda *_: None)
    return layer


def patched() -> nn.Module:
    layer = nn.ReLU()
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


def role_of(layer: nn.Module) -> str | None:
    """The role of an evaluated layer of a module."""
    whole = nn.ModuleDict({"it": layer}).eval()
    weights = {"it": 1} if list(layer.parameters(recurse=False)) else {}
    return dict(rows_of(dict(whole.named_modules()), weights)).get("it")


@pytest.mark.parametrize(
    ("layer", "role"),
    [
        (nn.Linear(1, 1), "opaque"),
        (nn.ReLU(), "opaque"),
        (nn.ReLU(inplace=True), "library"),  # writes to its input
        (hooked(), "library"),  # a hook may call anything
        (patched(), "library"),
        (Relu(), "library"),  # a class of which not all is known
        (nn.Softmax(1), "library"),
        (nn.MultiheadAttention(4, 2), "library"),
        (nn.LSTM(2, 2), "library"),
        (Rearrange("a b -> b a"), "library"),
        (Loud(), "leaf"),
        (Childless(), "leaf"),
        (Own(), None),  # what happens inside is what is to be seen
        (Own(scaled=True), "open"),
        (nn.Sequential(nn.ReLU()), None),
        (nn.TransformerEncoderLayer(4, 2), None),
        (nn.ModuleList([nn.ReLU()]), None),
        (nn.Module(), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_the_role_of_a_layer(layer: nn.Module, role: str | None) -> None:
    assert role_of(layer) == role


def test_a_layer_in_training_is_listened_to() -> None:
    whole = nn.ModuleDict({"drop": nn.Dropout(), "norm": nn.BatchNorm2d(1)})
    assert {role for _, role in rows_of(dict(whole.named_modules()), {})} == {"library"}
    whole.eval()
    assert {role for _, role in rows_of(dict(whole.named_modules()), {})} == {"opaque"}


def test_the_whole_is_a_row_only_as_a_layer_of_a_library() -> None:
    assert dict(rows_of({"": nn.Linear(1, 1).eval()}, {"": 2})) == {"": "library"}
    own = Own(scaled=True)
    assert dict(rows_of(dict(own.eval().named_modules()), {"": 1})) == {"inner": "opaque"}
    assert dict(rows_of({"": Childless()}, {})) == {}


@pytest.mark.parametrize("kind", sorted(OPAQUE, key=lambda kind: kind.__name__))
def test_an_opaque_layer_is_torchs_and_holds_no_other(kind: type[nn.Module]) -> None:
    assert kind.__module__.startswith("torch.nn.modules.")
    assert can_be_called(kind)


def test_what_has_no_forward_cannot_be_called() -> None:
    assert not can_be_called(nn.ModuleList)
    assert not can_be_called(nn.Module)
    assert can_be_called(nn.Sequential)


def test_a_module_without_others_may_have_names_for_them() -> None:
    assert is_childless(nn.Linear(1, 1))
    assert not is_childless(nn.Sequential(nn.ReLU()))
    layer = Childless()
    layer.register_module("later", None)
    assert is_childless(layer)
