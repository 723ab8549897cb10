"""What a function writes to is told before it is called, as torch's schemas and counters say."""

from __future__ import annotations

import inspect
import operator
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode, get_overridable_functions

from vitc_inspect import inspect_module
from vitc_inspect.tracing.functions import TorchFunction
from vitc_inspect.tracing.tensors import tensors_of


def ids(tensors):
    return {id(each) for each in tensors}


# ---- the schemas of the dispatcher ---------------------------------------------------------------

NOT_NUMBERS = {"record_stream", "retain_grad", "set_data", "seed"}
"""What the schemas mark as written and holds no numbers: streams, flags; `data` is put back."""


def schemas():
    """Those of the operations that Python can call by name on tensors."""
    homes = (Tensor, torch, functional, torch._C._nn, torch.special, torch.linalg, torch.fft)
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        tensors = any("Tensor" in str(each.type) for each in schema.arguments)
        of_list = (name, schema.overload_name) == ("sort", "Tensor")  # a method of TorchScript's
        if namespace == "aten" and tensors and name not in NOT_NUMBERS and not of_list:
            home = next((home for home in homes if hasattr(home, name)), None)
            if home is not None and callable(getattr(home, name)):
                yield getattr(home, name), schema


def arguments_for(schema):
    """A tensor, or a list of one, for each argument that takes one; which of them are written."""
    args, kwargs, written = [], {}, []
    for argument in schema.arguments:
        kind = str(argument.type)
        value = torch.ones(1) if "Tensor" in kind else None
        value = [value] if value is not None and "List" in kind else value
        if argument.alias_info and argument.alias_info.is_write:
            written += tensors_of(value)
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return args, kwargs, written


def func_updates(schema):
    words = ("batch_norm", "instance_norm", "fused_moving", "fbgemm_linear_fp16", "with_noise")
    return any(word in schema.name for word in words)


def test_what_the_dispatchers_schemas_mark_is_written_and_nothing_else():
    told, missed, wrong = 0, [], []
    for func, schema in schemas():
        args, kwargs, written = arguments_for(schema)
        if any(each.is_out and each.name != "out" for each in schema.arguments):
            continue  # what Python takes as `out` bears other names here
        found = TorchFunction(func).written(args, kwargs)
        told += bool(written)
        if not ids(written) <= ids(found):
            missed.append(str(schema))
        # private functions and those that update statistics count as writing to all they are given
        private = schema.name.startswith("aten::_") and not schema.name.startswith("aten::__")
        if not private and not func_updates(schema) and not ids(found) <= ids(written):
            wrong.append(str(schema))
    assert missed == []
    assert wrong == []
    assert told > 500


# ---- the counters of tensors ---------------------------------------------------------------------

ARGUMENTS = [
    (),
    (torch.ones(2, 2),),
    (2,),
    (0, 1),
    (0, torch.zeros(2, dtype=torch.long)),
    (torch.ones(2, 2), torch.ones(2, 2)),
    (0, torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 2)),
    (0, torch.zeros(2, dtype=torch.long), torch.ones(2, 2)),
    (torch.ones(2, 2, dtype=torch.bool), 1.0),
    (torch.ones(2, 2, dtype=torch.bool), torch.ones(4)),
    ((torch.zeros(2, dtype=torch.long),), torch.ones(2, 2)),
    (torch.ones(2), torch.ones(2)),
    (0, 0, 1.0),
    (torch.zeros(2, dtype=torch.long), torch.ones(2)),
]


def calls_of(method):
    """Whether each call that succeeds changed its tensor's counter."""
    for dtype in (torch.float32, torch.int64, torch.bool):
        for given in ARGUMENTS:
            tensor = torch.ones(2, 2).to(dtype)
            before = tensor._version
            others = [each.clone() if isinstance(each, Tensor) else each for each in given]
            try:
                method(tensor, *others)
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
                continue  # these are not the method's arguments
            yield tensor._version != before


def methods():
    names = set(get_overridable_functions()[Tensor]) | {
        getattr(Tensor, name) for name in dir(Tensor) if name.startswith("__i")
    }
    for method in names:
        if callable(method) and getattr(method, "__name__", "").endswith("_"):
            yield method


@pytest.mark.filterwarnings("ignore")
def test_every_method_that_moves_a_tensors_counter_is_told_to_write():
    """And none besides but those that change facts about a tensor."""
    moved, missed, wrong = 0, [], []
    for method in methods():
        seen = list(calls_of(method))
        told = bool(TorchFunction(method).written((torch.ones(2, 2),), {}))
        moved += any(seen)
        if any(seen) and not told:
            missed.append(method.__name__)
        if told and seen and not any(seen):
            wrong.append(method.__name__)
    assert moved > 150
    assert missed == []
    assert set(wrong) == {"detach_", "requires_grad_", "resize_as_", "share_memory_"}


@pytest.mark.parametrize(
    "name", [name for name in dir(operator) if name.startswith("__i") and name.endswith("__")]
)
def test_pythons_in_place_operators_write_and_no_other(name):
    class Named:
        __name__ = name

    in_place = name not in ("__invert__", "__inv__", "__index__", "__iconcat__")
    assert TorchFunction(Named()).is_in_place == in_place


class Told(TorchFunctionMode):
    """What every function was told to write to, beside those whose counter it moved."""

    def __init__(self):
        super().__init__()
        self.told, self.moved = [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = tensors_of((args, kwargs))
        before = [each._version for each in given]
        self.told += TorchFunction(func).written(args, kwargs)
        output = func(*args, **kwargs)
        now = zip(given, before, strict=True)
        self.moved += [each for each, version in now if each._version != version]
        return output


def in_place_functions():
    """Those of nn.functional that can be asked to work in place."""
    for name in dir(functional):
        func = getattr(functional, name)
        if inspect.isfunction(func) and not name.startswith("_"):
            parameters = inspect.signature(func).parameters
            if "inplace" in parameters:
                yield pytest.param(func, list(parameters).index("inplace"), id=name)


@pytest.mark.parametrize(("func", "place"), list(in_place_functions()))
@pytest.mark.parametrize("by_place", [False, True])
def test_a_function_asked_to_work_in_place_is_told_to_write(func, place, by_place):
    sizes = (2, 3, 4) if func is functional.dropout1d else (1, 2, 3, 4)
    tensor = torch.linspace(-1, 1, 24).reshape(sizes)
    needed = (0.0, 1.0) if func is functional.threshold else ()
    with Told() as told, warnings.catch_warnings(action="ignore"):
        if by_place:
            defaults = [each.default for each in inspect.signature(func).parameters.values()]
            func(tensor, *(needed or defaults[1:place]), True)
        else:
            func(tensor, *needed, inplace=True)
    if "dropout" not in func.__name__:  # which leaves the numbers of an evaluated module alone
        assert ids(told.moved) == {id(tensor)}
    assert ids(told.told) == {id(tensor)}


CHANGES = {
    "out": lambda w, v: torch.add(v, 1, out=w),
    "out of several": lambda w, v: torch.max(v, 0, out=(w[0], torch.zeros(4, dtype=torch.long))),
    "out of an overload": lambda w, v: torch.ops.aten.add.out(v, 1, out=w),
    "out of normalize": lambda w, v: functional.normalize(v, out=w),
    "inplace": lambda w, v: functional.relu(w, inplace=True),
    "inplace by place": lambda w, v: functional.relu(w, True),
    "everything by name": lambda w, v: functional.relu(input=w, inplace=True),
    "in place by name": lambda w, v: torch.relu_(input=w),
    "an overload": lambda w, v: torch.ops.aten.add_.Tensor(w, 1),
    "init": lambda w, v: nn.init.normal_(w),
    "embedding": lambda w, v: functional.embedding(torch.arange(4), w, max_norm=0.1),
    "bag": lambda w, v: functional.embedding_bag(torch.arange(4)[None], w, max_norm=0.1),
    "foreach": lambda w, v: torch._foreach_add_([w, v], 1.0),
    "foreach copy": lambda w, v: torch._foreach_copy_((w,), (v + 1,)),
    "setitem": lambda w, v: operator.setitem(w, 0, 1.0),
    "setitem of a view": lambda w, v: operator.setitem(w.view(-1), 0, 1.0),
    "operator": lambda w, v: operator.imod(w, 2),
    "batch_norm": lambda w, v: functional.batch_norm(v, w[0], w[1], training=True),
    "batch_norm by name": lambda w, v: functional.batch_norm(
        input=v, running_mean=w[0], running_var=w[1], training=True
    ),
    "instance_norm": lambda w, v: functional.instance_norm(v[None], w[0], w[1]),
    "native_batch_norm": lambda w, v: torch.native_batch_norm(
        v, None, None, w[0], w[1], True, 0.1, 1e-5
    ),
    "statistics": lambda w, v: torch.batch_norm_update_stats(v, w[0], w[1], 0.1),
    "data": lambda w, v: w.data.add_(1),
}  # fmt: skip


class Changing(nn.Module):
    """Writes to its own parameter."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.w = nn.Parameter(torch.linspace(-3, 3, 16).reshape(4, 4))
        self.v = nn.Parameter(torch.linspace(-2, 5, 16).reshape(4, 4))

    def forward(self, x):
        with torch.no_grad():
            self.change(self.w, self.v)
        return x + self.w


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_module_that_writes_to_its_parameters_is_left_as_it_was(change):
    module = Changing(change).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = inspect_module(module, torch.ones(4, 4))
    assert (report.failure, report.audited) == (None, True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    module(torch.ones(4, 4))
    assert not torch.equal(module.w, before["w"])  # run by itself, it does write


def test_an_embedding_that_bounds_its_rows_keeps_them():
    module = nn.Embedding(4, 8, max_norm=0.1).eval()
    before = module.weight.clone()
    inspect_module(module, torch.arange(4))
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("func", "name", "getter"),
    [
        (Tensor.relu_, "relu_", False),
        (Tensor.T.__get__, "T", True),
        (Tensor.__getitem__, "__getitem__", False),
        (functional.conv2d, "conv2d", False),
    ],
)
def test_a_function_is_called_by_its_own_name(func, name, getter):
    function = TorchFunction(func)
    assert (function.name, function.is_getter) == (name, getter)
    assert function.bare_name == name.strip("_")
