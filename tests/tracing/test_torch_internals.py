"""What each private name of torch is relied on for, and that no other file uses one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitc_inspect.tracing import torch_internals as internals

PACKAGE = Path(__file__).parents[2] / "vitc_inspect"


class Counting(TorchFunctionMode):
    """Counts the functions that it is asked for, and the modes that there are meanwhile."""

    def __init__(self):
        super().__init__()
        self.asked, self.modes = 0, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.asked += 1
        self.modes.append(internals.count_function_modes())
        return func(*args, **(kwargs or {}))


def test_a_mode_is_asked_from_when_it_is_pushed_until_it_is_popped():
    mode, before = Counting(), internals.count_function_modes()
    internals.push_function_mode(mode)
    try:
        torch.ones(1)
        assert internals.count_function_modes() == before + 1
    finally:
        popped = internals.pop_function_mode()
    torch.ones(1)
    assert (popped is mode, mode.asked) == (True, 1)
    assert mode.modes == [before]  # torch takes a mode away while it is asked
    assert internals.count_function_modes() == before


def test_no_mode_is_asked_while_functions_are_disabled():
    with Counting() as mode, internals.DisableTorchFunction():
        torch.ones(1) + 1
    assert mode.asked == 0


def test_the_version_counter_counts_what_is_written_also_by_a_view():
    tensor = torch.zeros(2)
    before = internals.version_counter(tensor)
    tensor.add_(1)
    tensor[:1].mul_(2)
    tensor + 1
    assert internals.version_counter(tensor) == before + 2
    with torch.inference_mode(), pytest.raises(RuntimeError):
        internals.version_counter(torch.zeros(2))


def test_what_vmap_hands_to_a_function_is_a_wrapper_with_the_batch_inside():
    seen = []

    def function(x):
        seen.append((internals.is_wrapped(x), tuple(internals.unwrapped(x).shape)))
        return x

    torch.func.vmap(function)(torch.ones(5, 3))
    assert seen == [(True, (5, 3))]
    assert not internals.is_wrapped(torch.ones(3))


def test_a_module_has_its_own_parameters_buffers_and_modules_by_name():
    norm, bare = nn.BatchNorm2d(4), nn.Linear(2, 2, bias=False)
    assert list(internals.own_parameters(norm)) == ["weight", "bias"]
    assert internals.own_parameters(bare)["bias"] is None
    assert list(internals.own_buffers(norm)) == [
        *("running_mean", "running_var", "num_batches_tracked"),
    ]
    both = nn.Sequential(norm, nn.Sequential(bare))
    assert internals.own_modules(both)["0"] is norm
    assert list(internals.own_modules(both)) == ["0", "1"]  # and none of those inside them
    assert internals.own_parameters(both) == {}


def test_a_module_that_was_not_set_up_has_no_registries():
    class Forgot(nn.Module):
        def __init__(self):
            pass

    assert [hasattr(Forgot(), name) for name in internals.REGISTRIES] == [False] * 3
    assert [hasattr(nn.Identity(), name) for name in internals.REGISTRIES] == [True] * 3


def test_hooks_are_found_until_they_are_removed():
    layer = nn.Linear(2, 2)
    handles = [
        layer.register_forward_hook(lambda *_: None),
        layer.register_forward_pre_hook(lambda *_: None),
    ]
    assert len(internals.forward_hooks(layer)) == len(internals.forward_pre_hooks(layer)) == 1
    for handle in handles:
        handle.remove()
    assert not internals.forward_hooks(layer)
    assert not internals.forward_pre_hooks(layer)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_a_convolution_runs_the_step_that_a_subclass_may_override(kind):
    def step(self, *_):
        return "overridden"

    other = type("Other", (kind,), {internals.CONVOLUTION_STEP: step})
    assert other(3, 4, 1)(torch.ones(1, 3)) == "overridden"


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_norm_refuses_its_input_in_the_check(kind):
    with pytest.raises(ValueError, match="expected") as refused:
        kind(3)(torch.ones(1))
    frame = refused.tb.tb_next
    while frame.tb_next is not None:
        frame = frame.tb_next
    assert frame.tb_frame.f_code.co_name == internals.INPUT_CHECK
    assert frame.tb_frame.f_locals["input"].shape == (1,)


def test_what_was_compiled_is_told_from_what_was_not():
    layer = nn.Linear(2, 2)
    assert not internals.is_compiled(layer)
    assert internals.is_compiled(torch.compile(layer, backend="eager"))
    layer.compile(backend="eager")
    assert internals.is_compiled(layer)


def test_the_compiler_is_loaded_by_the_first_compiled_module():
    code = (
        "import torch\n"
        "from vitc_inspect.tracing.torch_internals import compiler_is_loaded\n"
        "before = compiler_is_loaded()\n"
        "torch.compile(torch.nn.Linear(2, 2), backend='eager')\n"
        "print(before, compiler_is_loaded())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"]


def test_the_default_device_is_told_from_none():
    assert internals.default_device() is None
    torch.set_default_device("meta")
    try:
        assert internals.default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)
    assert internals.default_device() is None


class Operations(internals.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found.add(internals.operation_of(func))
        return func(*args, **(kwargs or {}))


def test_a_dispatch_mode_sees_the_operation_of_every_overload():
    with Operations() as seen:
        torch.ones(2) + torch.ones(2)
    assert torch.ops.aten.add in seen.found


def test_attention_on_the_cpu_is_an_operation_without_a_formula():
    query = torch.ones(1, 1, 4, 8)
    with Operations() as seen:
        nn.functional.scaled_dot_product_attention(query, query, query)
    assert seen.found & set(internals.UNCOUNTED_ATTENTION)


# ---- no other file uses one ----------------------------------------------------------------------

PRIVATE = re.compile(r"_[a-z]")
ATTRIBUTES = {
    *filter(PRIVATE.match, dir(nn.Module())),
    *(each for each in filter(PRIVATE.match, dir(Tensor)) if not callable(getattr(Tensor, each))),
    *(internals.CONVOLUTION_STEP, internals.INPUT_CHECK),
}
"""Of modules and tensors; a tensor's methods stand by name in tables of functions."""
OVERRIDDEN = {("model/modules.py", "_conv_forward")}


def private_names(source):
    """Names of torch with a leading underscore: in its modules, and on modules and tensors."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            words = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            words = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            words = [ast.unparse(node)]
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr in ATTRIBUTES and not own:
                yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = [node.value] if re.fullmatch(r"[\w.]+", node.value) else []
            if node.value in ATTRIBUTES:
                yield node.value
        else:
            continue
        yield from (word for word in words if re.search(r"^torch\b.*\._[a-z]|^torch\b.*\._C", word))


def test_no_other_file_uses_a_private_name_of_torch():
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.rglob("*.py")
        for name in private_names(path.read_text(encoding="utf-8"))
        if path.name != "torch_internals.py"
    }
    assert found == OVERRIDDEN


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("torch._C._len_torch_function_stack()", "torch._C"),
        ("from torch.utils._python_dispatch import X", "torch.utils._python_dispatch.X"),
        ("import torch._dynamo", "torch._dynamo"),
        ("'torch._dynamo' in sys.modules", "torch._dynamo"),
        ("layer._forward_hooks[key] = hook", "_forward_hooks"),
        ("vars(layer)['_parameters']", "_parameters"),
        ("tensor._version", "_version"),
    ],
)
def test_a_private_name_is_found_however_it_is_used(source, name):
    assert name in set(private_names(source))


@pytest.mark.parametrize(
    "source", ["self._version", "record._replace(a=1)", "sys._getframe(1)", "torch.ones(1)", "'_x'"]
)
def test_what_is_no_private_name_of_torch_is_left_alone(source):
    assert set(private_names(source)) == set()


@torch.library.custom_op("t_internals::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


def test_an_operator_has_the_name_of_its_library_and_one_of_torchs_its_bare_name():
    library = torch.ops.t_internals.twice
    ours = [internals.operator_name(each) for each in (twice, library, library.default)]
    assert ours == ["t_internals::twice"] * 3
    aten = torch.ops.aten.mm
    assert [internals.operator_name(each) for each in (aten, aten.default)] == ["mm", "mm"]
    assert [internals.operator_name(each) for each in (torch.mm, len, None)] == [None] * 3


class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()


def test_the_apply_of_every_autograd_function_calls_that_of_its_base():
    base, stored = internals.BaseFunction, Same.apply
    assert "apply" not in vars(base)
    seen = []

    def apply(cls, *args):
        seen.append(cls)
        return super(base, cls).apply(*args)

    base.apply = classmethod(apply)
    try:
        assert stored(torch.ones(2)).shape == (2,)
    finally:
        del base.apply
    assert seen == [Same]
