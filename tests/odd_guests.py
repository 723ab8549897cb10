"""Modules that are sound and odd, modules that cannot be run, and what makes none at all."""

from __future__ import annotations

import asyncio
import threading

import torch
from torch import nn


class Patches(nn.Module):
    """A sound patchify, 16 tokens of 8 numbers from 16×16 pixels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x):
        return self.conv(x).flatten(2).transpose(1, 2)


def with_method(name, does):
    """A patchify with one method of torch's replaced."""
    return type(f"With{name.strip('_')}", (Patches,), {name: does})


def raises(self, *_, **__):
    raise RuntimeError("not today")


def returns_none(self, *_, **__):
    return None


REPLACED = (
    *("to", "children", "named_children", "modules", "state_dict", "buffers", "named_buffers"),
    *("cuda", "cpu", "apply", "requires_grad_", "zero_grad", "get_submodule", "__repr__"),
    *("extra_repr", "__len__", "__iter__", "__bool__", "__dir__", "register_forward_hook"),
    *("register_forward_pre_hook", "__deepcopy__", "__reduce_ex__", "_get_name", "float"),
)
"""Methods that are not asked, whatever they do."""
for _name in REPLACED:
    globals()[f"Raising_{_name}"] = with_method(_name, raises)
    globals()[f"None_{_name}"] = with_method(_name, returns_none)


# ---- sound -----------------------------------------------------------------------------------


def exported():
    return torch.export.export(Patches().eval(), (torch.randn(1, 3, 16, 16),)).module()


def traced_by_fx():
    return torch.fx.symbolic_trace(Patches())


def scripted():
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU()))


def traced():
    return torch.jit.trace(Patches(), torch.randn(1, 3, 16, 16))


class HoldsScripted(Patches):
    def __init__(self):
        super().__init__()
        self.conv = torch.jit.script(nn.Conv2d(3, 8, 4, 4))


class InsideItself(Patches):
    def __init__(self):
        super().__init__()
        self._modules["me"] = self


class InsideItsChild(Patches):
    def __init__(self):
        super().__init__()
        self.child = nn.ModuleList([nn.ModuleList([self])])


class RaisingProperties(Patches):
    class Odd(BaseException):
        pass

    @property
    def patch_size(self):
        raise self.Odd

    @property
    def embed_dim(self):
        raise ValueError("not yet known")


class AnswersToAnyName(Patches):
    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return lambda *_, **__: None


def parallel():
    return nn.DataParallel(Patches())


def quantized():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(768, 8))
    return torch.ao.quantization.quantize_dynamic(flat, {nn.Linear})


class HookedToLess(Patches):
    """Its own hook leaves half of the channels."""

    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda layer, given, output: output[:, :4])


class OwnForward(Patches):
    def __init__(self):
        super().__init__()
        self.forward = lambda x: self.conv(x)


class OwnEval(Patches):
    """Returns nothing from eval, and another module from train."""

    def eval(self):
        super().eval()

    def train(self, mode=True):
        super().train(mode)
        return nn.Identity()


class Threaded(Patches):
    def forward(self, x):
        found = []
        thread = threading.Thread(target=lambda: found.append(super(Threaded, self).forward(x)))
        thread.start()
        thread.join()
        return found[0]


class DropsItsParameters(Patches):
    def forward(self, x):
        tokens = super().forward(x)
        del self.conv.weight
        self.conv._parameters.clear()
        return tokens


class ThrowsSwitches(Patches):
    def forward(self, x):
        tokens = super().forward(x)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_num_threads(3 if torch.get_num_threads() != 3 else 2)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.autograd.set_detect_anomaly(True)
        torch.set_grad_enabled(True)
        torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
        torch.set_warn_always(not torch.is_warn_always_enabled())
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.deterministic = True
        torch.backends.mkldnn.enabled = False
        torch.backends.cuda.enable_flash_sdp(False)
        return tokens


def _returning(value):
    return type("Returns", (Patches,), {"forward": lambda self, x: value(x)})


ReturnsNone = _returning(lambda x: None)
ReturnsText = _returning(lambda x: "text")
ReturnsGenerator = _returning(lambda x: (x for _ in range(2)))
ReturnsObject = _returning(lambda x: object())
ReturnsItself = with_method("forward", lambda self, x: self)


# ---- sound, and not to be looked through for faults -----------------------------------------


class Unhashable(Patches):
    def __eq__(self, other):
        return self is other


class HoldsUnhashable(Patches):
    def __init__(self):
        super().__init__()
        self.conv = Unhashable()

    def forward(self, x):
        return self.conv(x)


# ---- whose forward raises -------------------------------------------------------------------


class Own(BaseException):
    """No Exception, as those of pytest and gevent."""


def _raising(error):
    def forward(self, x):
        self.conv(x)
        raise error

    return type("Raises", (Patches,), {"forward": forward})


RaisesInterrupt = _raising(KeyboardInterrupt("of its own"))
RaisesOwn = _raising(Own("of its own"))
RaisesExit = _raising(SystemExit(0))
RaisesGeneratorExit = _raising(GeneratorExit())
RaisesCancelled = _raising(asyncio.CancelledError())
RaisesStop = _raising(StopIteration())
RaisesMemory = _raising(MemoryError("of its own"))


class Endless(Patches):
    def forward(self, x):
        return self.forward(x)


class CannotSay(Exception):
    def __str__(self):
        raise RuntimeError


RaisesWithoutWords = _raising(CannotSay())


class HookRaises(Patches):
    def __init__(self):
        super().__init__()
        self.conv.register_forward_hook(lambda *_: 1 / 0)


class HookBeforeRaises(Patches):
    def __init__(self):
        super().__init__()
        self.register_forward_pre_hook(lambda *_: 1 / 0)


class NeedsMask(Patches):
    def forward(self, x, *, mask):
        return super().forward(x) * mask


class NoForward(nn.Module):
    pass


class ForwardIsNone(Patches):
    forward = None


# ---- what cannot be loaded, or run at all ---------------------------------------------------


def _init_raising(error):
    def __init__(self):
        raise error

    return type("Raises", (Patches,), {"__init__": __init__})


InitInterrupts = _init_raising(KeyboardInterrupt())
InitRaisesOwn = _init_raising(Own("of its own"))
InitExits = _init_raising(SystemExit(0))
InitRaisesWithoutWords = _init_raising(CannotSay())


class EvalRaisesWithoutWords(Patches):
    def eval(self):
        raise CannotSay


RaisingEval = with_method("eval", raises)
RaisingTrain = with_method("train", raises)


class Needs(Patches):
    def __init__(self, width, *, depth):
        super().__init__()


class NotSetUp(nn.Module):
    def __init__(self):
        self.width = 3


class Lazy(Patches):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(8, 4, 4)


def on_meta():
    with torch.device("meta"):
        return Patches()


class PartlyOnMeta(Patches):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4, device="meta")


class ModulesAreNone(Patches):
    def __init__(self):
        super().__init__()
        self._modules = None


class TextAsLayer(Patches):
    def __init__(self):
        super().__init__()
        self._modules["odd"] = "text"


class NumberAsParameter(Patches):
    def __init__(self):
        super().__init__()
        self._parameters["odd"] = 3


def nothing():
    return None


def pair():
    return Patches(), "transforms"


def mapping():
    return {"model": Patches()}


def listing():
    return [1, 2]


def a_class():
    return Patches


def function():
    return lambda x: x


async def coroutine():
    return Patches()


number = 3
