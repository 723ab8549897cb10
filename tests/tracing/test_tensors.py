"""Tensors are found in every container alike, whoever looks for them; copies leave them alone."""

from __future__ import annotations

from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from tests import faulty
from vitc_inspect import inspect_module
from vitc_inspect.tracing.recording import tensors_given
from vitc_inspect.tracing.tensors import copied, tensors_copied, tensors_in, tensors_of

Pair = namedtuple("Pair", "tokens label")


@dataclass
class Output:
    tokens: Tensor
    label: str = "cat"


@dataclass(frozen=True, slots=True)
class Slotted:
    tokens: Tensor
    label: str = "cat"


class HandSlotted:
    __slots__ = ("_unset", "tokens")

    def __init__(self, tokens):
        self.tokens = tokens


class Derived(HandSlotted):
    def __init__(self, tokens):
        super().__init__(tokens)
        self.label = "cat"


class ModelOutput(OrderedDict):
    """A mapping whose items are attributes too, as the models of transformers return."""

    def __init__(self, tokens=None):
        super().__init__(tokens=tokens)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


class Plain:
    def __init__(self, tokens):
        self.label, self.tokens = "cat", tokens


CONTAINERS = {
    "tuple": (lambda x: (x, "cat"), "0"),
    "list": (lambda x: ["cat", x], "1"),
    "deque": (lambda x: deque([x]), "0"),
    "dict": (lambda x: {"tokens": x, "label": 3}, "tokens"),
    "named tuple": (lambda x: Pair(x, "cat"), "0"),
    "dataclass": (Output, "tokens"),
    "frozen dataclass with slots": (Slotted, "tokens"),
    "slots": (HandSlotted, "tokens"),
    "slots and attributes": (Derived, "tokens"),
    "attributes": (Plain, "tokens"),
    "namespace": (lambda x: SimpleNamespace(tokens=x), "tokens"),
    "ModelOutput": (ModelOutput, "tokens"),
    "UserDict": (lambda x: UserDict(tokens=x), "tokens"),
    "UserList": (lambda x: UserList([x]), "data.0"),
    "nested": (lambda x: {"out": [Output(x), {"more": ()}]}, "out.0.tokens"),
}
every_container = pytest.mark.parametrize(("held", "path"), CONTAINERS.values(), ids=CONTAINERS)


class Returning(nn.Module):
    """Returns what another module does, in a container."""

    def __init__(self, module, held):
        super().__init__()
        self.module, self.held = module, held

    def forward(self, image):
        return self.held(self.module(image))


class Given(nn.Module):
    """Takes its image out of a container."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch):
        (image,) = tensors_of(batch)
        return self.module(image)


def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def faults(module, given):
    report = inspect_module(module.eval(), given)
    assert (report.failure, report.audited, report.unchecked) == (None, True, ())
    return [fault.kind for fault in report.faults]


@every_container
@pytest.mark.parametrize(
    ("kind", "found"), [(faulty.Scrambled, ["token order"]), (faulty.Ordered, [])]
)
def test_a_fault_is_found_whatever_the_output_stands_in(held, path, kind, found):
    module = Returning(kind(), held)
    assert faults(module, image()) == found
    assert [value.path for value in inspect_module(module, image()).outputs] == [path]


@every_container
@pytest.mark.parametrize(
    ("kind", "found"), [(faulty.Scrambled, ["token order"]), (faulty.Ordered, [])]
)
def test_a_fault_is_found_whatever_the_image_stands_in(held, path, kind, found):
    given = held(image())
    assert faults(Given(kind()), given) == found
    assert [at for at, _ in tensors_in(given)] == [path]


@every_container
def test_a_tensor_is_listed_with_its_path(held, path):
    tensor = image()
    assert [(at, each is tensor) for at, each in tensors_in(held(tensor))] == [(path, True)]
    assert [each is tensor for each in tensors_of(held(tensor))] == [True]
    assert tensors_given([held(tensor)], {}) == [(f"0.{path}", tensor.shape, tensor.dtype)]


@every_container
def test_a_copy_has_its_own_tensor_and_the_same_type(held, path):
    tensor, copies = image(), {}
    before = held(tensor)
    after = copied(before, copies)
    assert type(after) is type(before)
    assert [each is tensor for each in tensors_of(before)] == [True]
    ((at, other),) = tensors_in(after)
    assert (at, other is copies[id(tensor)]) == (path, True)
    assert torch.equal(other, tensor)
    other.zero_()
    assert tensor.any()
    assert [each is tensor for each in tensors_copied(before)] == [True]


@every_container
def test_a_module_that_writes_to_what_it_is_given_writes_to_a_copy(held, path):
    class Writing(nn.Module):
        def forward(self, batch):
            return tensors_of(batch)[0].zero_()

    tensor = image()
    inspect_module(Writing().eval(), held(tensor))
    assert torch.equal(tensor, image())


@pytest.mark.parametrize("held", [lambda x: [x], lambda x: {"a": x}, Output, HandSlotted])
def test_what_holds_itself_is_entered_once(held):
    tensor = image()
    value = held(tensor)
    if isinstance(value, list):
        value.append(value)
    elif isinstance(value, dict):
        value["self"] = value
    else:
        value.tokens = (tensor, value)
    assert [each is tensor for each in tensors_of(value)] == [True]
    assert [each is tensor for each in tensors_copied(value)] == [True]
    other = copied(value, copies := {})
    assert tensors_of(other)[0] is copies[id(tensor)]
    assert faults(Returning(faulty.Scrambled(), lambda x: (x, value)), tensor) == ["token order"]


def test_what_is_nested_without_end_is_not_followed():
    value = image()
    for _ in range(5000):
        value = (value,)
    assert tensors_of(value) == []
    assert copied(value, {}) is value


@pytest.mark.parametrize(
    "value", [None, True, 3, 0.5, "text", b"bytes", slice(1), torch.float32, int, nn.Linear(2, 2)]
)
def test_what_is_no_container_has_no_tensors(value):
    assert tensors_in(value) == []
    assert copied(value, {}) is value


def test_no_property_is_run():
    class Careful:
        tokens = property(lambda self: 1 / 0)

        def __getattr__(self, name):
            raise RuntimeError(name)

    assert tensors_in(Careful()) == []


def test_a_tensor_that_stands_twice_is_copied_once():
    tensor, copies = image(), {}
    first, second = copied((tensor, {"again": tensor}), copies)
    assert first is second["again"]
    assert len(copies) == len(tensors_copied((tensor, [tensor]))) == 1


def test_what_holds_no_tensor_is_handed_on_as_it_is():
    config = SimpleNamespace(width=8, sizes=(1, 2))
    given = [config]
    fresh = copied(given, {})
    assert fresh is not given
    assert fresh[0] is config


@pytest.mark.parametrize("refusal", [TypeError, RuntimeError])
def test_what_refuses_to_be_copied_is_handed_on_and_not_told_of(refusal):
    class Single(Plain):
        def __copy__(self):
            raise refusal

    single, read_only = Single(image()), MappingProxyType({"tokens": image()})
    assert copied((single, read_only), {}) == (single, read_only)
    assert tensors_copied((single, read_only)) == []


def test_a_packed_sequence_is_copied_as_one():
    packed = pack_padded_sequence(torch.randn(3, 2, 4), torch.tensor([3, 2]))
    other = copied(packed, {})
    assert type(other) is type(packed)
    assert other.data.data_ptr() != packed.data.data_ptr()
    assert [path for path, _ in tensors_in(packed)] == ["0", "1"]


@pytest.mark.filterwarnings("ignore")  # nested tensors are a prototype
def test_a_nested_tensor_is_the_tensors_in_it():
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    assert [(path, each.shape) for path, each in tensors_in({"x": nested})] == [
        ("x.0", (2, 3)),
        ("x.1", (4, 3)),
    ]
    assert tensors_copied(nested) == []
    assert copied(nested, {}) is not nested
