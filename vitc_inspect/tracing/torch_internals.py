"""The private names of torch that this package relies on, each under a public name.

No other file uses one, so that a release of torch that changes one of them fails in the tests of
this file. The one exception is `model.modules.Conv2d`, which overrides a private method.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch._library.custom_ops import CustomOpDef
from torch._ops import OpOverload, OpOverloadPacket
from torch.autograd import Function
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode

# ---- the stack of TorchFunctionModes -------------------------------------------------------------
# What entering and leaving a mode does; a `with` takes several times as long.

push_function_mode: Callable[[Any], None] = torch._C._push_on_torch_function_stack
"""Put a mode on top, so that it is asked first."""
pop_function_mode: Callable[[], Any] = torch._C._pop_torch_function_stack
"""Take the mode on top away and return it."""
count_function_modes: Callable[[], int] = torch._C._len_torch_function_stack
"""How many modes there are; one fewer in the body of a mode that is being asked."""
DisableTorchFunction = torch._C.DisableTorchFunction
"""Context in which no mode and no `__torch_function__` is asked."""

# ---- tensors -------------------------------------------------------------------------------------

version_counter: Callable[[Tensor], int] = attrgetter("_version")
"""How often the memory of a tensor, or of one that shares it, was written to; RuntimeError for a
tensor that was made in inference mode."""
is_wrapped: Callable[[Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor
"""Whether a tensor is the wrapper that torch.func.vmap or grad hands to a function."""
unwrapped: Callable[[Tensor], Tensor] = torch._C._functorch.get_unwrapped
"""The tensor inside such a wrapper, one level down."""

# ---- modules -------------------------------------------------------------------------------------

own_parameters: Callable[[nn.Module], Mapping[str, Tensor | None]] = attrgetter("_parameters")
"""A module's own parameters by name; None for one that is registered and absent."""
own_buffers: Callable[[nn.Module], Mapping[str, Tensor | None]] = attrgetter("_buffers")
"""A module's own buffers by name, likewise."""
own_modules: Callable[[nn.Module], Mapping[str, nn.Module | None]] = attrgetter("_modules")
"""The modules directly inside a module by name, likewise.

The public walks, such as named_parameters and children, may be overridden by the module's class,
and each walks through all modules again.
"""
REGISTRIES = ("_modules", "_parameters", "_buffers")
"""The attributes that hold these three; a module that was not set up has none of them."""

forward_hooks: Callable[[nn.Module], Mapping[int, Any]] = attrgetter("_forward_hooks")
"""The forward hooks that are registered on a module."""
forward_pre_hooks: Callable[[nn.Module], Mapping[int, Any]] = attrgetter("_forward_pre_hooks")
"""The forward pre-hooks that are registered on a module."""

CONVOLUTION_STEP = "_conv_forward"
"""The method that a convolution's forward calls, which a subclass may override."""
INPUT_CHECK = "_check_input_dim"
"""The method in which a BatchNorm refuses an `input` of the wrong number of axes."""


def is_compiled(layer: nn.Module) -> bool:
    """Whether a module was compiled, by torch.compile or in place by its `compile` method."""
    # the class is loaded with the compiler alone
    return type(layer).__name__ == "OptimizedModule" or layer._compiled_call_impl is not None


# ---- torch as a whole ----------------------------------------------------------------------------


def compiler_is_loaded() -> bool:
    """Whether the compiler was already imported; importing it takes a second."""
    return "torch._dynamo" in sys.modules


def default_device() -> torch.device | None:
    """Return the device set by torch.set_default_device; None if none was set.

    torch.get_default_device gives the CPU in both cases.
    """
    home = sys.modules.get("torch.utils._device")  # imported when one is first set
    return home.CURRENT_DEVICE if home else None


BaseFunction: Any = Function.__mro__[1]
"""The class that torch.autograd.Function is derived from; `Function.apply` calls its `apply`, which
it inherits from a class in C++."""


def operator_name(function: Any) -> str | None:
    """The name of an operator of torch.library, "mine::scan", without its overload; of an operator
    of torch's own, "mm"; None for any other function."""
    if isinstance(function, CustomOpDef):
        return function._qualname
    if not isinstance(function, (OpOverload, OpOverloadPacket)):
        return None
    library, name = str(function).split(".")[:2]
    return name if library == "aten" else f"{library}::{name}"


operation_of: Callable[[Any], Any] = attrgetter("_overloadpacket")
"""The operation that an overload handed to `__torch_dispatch__` belongs to."""
UNCOUNTED_ATTENTION = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
    torch.ops.aten._scaled_dot_product_attention_math_for_mps,
)
"""Operations of attention that torch.utils.flop_counter has no formula for."""
