"""A module called and heard: the calls of all modules inside, and of the functions between them.

Hooks tell of the modules, and torch tells a TorchFunctionMode of the functions. Both stand in the
file that also calls the module, since by it `raising` knows where the user's code begins.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter
from torch.overrides import TorchFunctionMode

from vitc_inspect.common.errors import with_article
from vitc_inspect.common.guard import attempted, guarded, is_to_raise, reason_of
from vitc_inspect.tracing.call_builder import Row
from vitc_inspect.tracing.counting import count_function_macs, dot_length, stated_of_call
from vitc_inspect.tracing.free_functions import is_free
from vitc_inspect.tracing.hooks import KeptOutput, keep_output
from vitc_inspect.tracing.leaf_modules import WITH_PRODUCTS, Role, rows_of
from vitc_inspect.tracing.module_tree import Contents
from vitc_inspect.tracing.recording import (
    Failure,
    SeenTensor,
    Value,
    tensors_given,
    tensors_in,
    values_of,
)
from vitc_inspect.tracing.restore import Parameters, leave_mode, version_of
from vitc_inspect.tracing.rules import function_kind, users_rule_of_function
from vitc_inspect.tracing.tracebacks import Place, bare_failure, failure_of, is_to_pass, place_of

# what entering and leaving a mode does, of which a `with` takes several times as long
_pop_mode = torch._C._pop_torch_function_stack
_push_mode = torch._C._push_on_torch_function_stack
_count_modes = torch._C._len_torch_function_stack

_SHAPE_GETTERS = frozenset({"T", "mT", "H", "mH", "real", "imag"})
"""Attributes of a tensor that are another tensor; all others are facts about it."""


def outputs_of(
    run: Run, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Value, ...], Failure | None]:
    """Call a module, while a run hears of what it does.

    Args:
        run: A fresh one, which hooks and torch are telling of what happens.
        module: The module.
        given, named: Arguments of its forward, by place and by name.

    Returns:
        What it returned, or nothing and how it failed.
    """
    try:
        run.enter("", module, given, named)
        try:
            output = module(*given, **named)
        # whatever the user's code raises is the result, also where it asks to leave the program
        except BaseException as error:
            if is_to_pass(error):
                raise
            failure, reason = guarded(failure_of, error, run.failed, run.failed_in)
            if reason:
                run.missed.append(f"where it raised: {reason}")
            return (), failure or bare_failure(error)
        run.returned = with_article(type(output).__name__)
        run.leave(module, given, output)
        with torch._C.DisableTorchFunction():
            attempted(run.missed, "what was written over", None, run.sweep_at_end)
            return attempted(run.missed, "what came out", (), _values_returned, output), None
    finally:
        run.forget()
        if run.broken:  # only where rules are to raise, and not before the user's code has ended
            raise run.broken


def _values_returned(output: Any) -> tuple[Value, ...]:
    return values_of(tensors_given((), {"": output}))


_Given = tuple[tuple[Any, ...], Mapping[str, Any]]  # arguments by place and by name


class _Open:
    """A module that is running."""

    __slots__ = ("aside", "code", "handling", "layer", "name", "own", "row", "sealed", "watched")

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        code: CodeType | None,
        row: Row | None,
        own: bool,
        role: Role | None,
    ) -> None:
        self.name, self.layer, self.code, self.row = name, layer, code, row
        self.own = own  # the row is the module's, not that of a layer around it
        self.sealed = row is not None and role != "open"  # its functions are part of its row
        self.watched = role == "leaf"  # they may be of layers that no hook announces
        self.aside: _Given | None = None  # the arguments, where functions go unheard
        self.handling = sys.exc_info()[1]  # what is being handled by whoever calls


class _Function:
    """What there is to know about a function before it is called."""

    __slots__ = ("free", "kind", "name", "rule", "silent", "writes")

    def __init__(self, func: Any) -> None:
        self.name: str = getattr(func, "__name__", "") or type(func).__name__
        getter = self.name == "__get__"
        if getter:
            self.name = getattr(func.__self__, "__name__", "")
        self.silent = getter and self.name not in _SHAPE_GETTERS  # a fact about a tensor
        # another library's function of the same name need not do what torch's does
        self.kind = self.name if getter else function_kind(func) or self.name
        self.rule = users_rule_of_function(func, self.name)
        self.free = self.rule is None and is_free(self.kind)
        self.writes = self.name.endswith("_") and (
            not self.name.endswith("__")
            or self.name == "__setitem__"
            or self.name.startswith("__i")
        )  # to its first argument, as its name says


class Run(TorchFunctionMode):
    """Everything that hooks and functions tell while a module runs once."""

    def __init__(
        self,
        contents: Contents,
        parameters: Parameters,
        keep_bytes: int,
        keep_each: int | None = None,
    ) -> None:
        super().__init__()
        layers = self.layers = contents.layers
        self.names = {id(layer): name for name, layer in layers.items()}
        self.parameters = parameters
        self.missed: list[str] = []  # what could not be worked out of the whole, and why
        self.broken: Exception | None = None  # what a rule raised, where that is wanted
        none: dict[str, int] = {}
        self.weights = attempted(self.missed, "learned numbers", none, lambda: contents.weights)
        no_roles: dict[str, Role] = {}
        self.roles = attempted(self.missed, "the rows", no_roles, _roles_of, layers, self.weights)
        codes = {
            kind: attempted(self.missed, kind.__name__, None, _forward_code, kind)
            for kind in set(map(type, layers.values()))
        }
        self._roles_and_codes = {
            name: (self.roles.get(name), codes[type(layer)]) for name, layer in layers.items()
        }
        self.rows: list[Row] = []
        self.called: dict[str, int] = {}  # how often each module was, by name
        self.called_directly: set[str] = set()  # modules, by .forward()
        self.elsewhere: set[str] = set()  # modules that ran in another thread
        self.unregistered: dict[str, None] = {}  # kinds of modules that the module does not hold
        self.used: set[int] = set()  # ids of parameters that functions were given
        # the function that last raised, and the module that was first left by an exception
        self.returned = ""  # the class of what came out of the module
        self.failed: tuple[BaseException, str, list[SeenTensor]] | None = None
        self.failed_in: tuple[BaseException | None, str] | None = None
        self._thread = get_ident()
        self._stack: list[_Open] = []
        self._alive: list[tuple[Row, weakref.ref[Tensor], int]] = []
        self._library_frame: FrameType | None = None  # the einops function that is running
        self._places: dict[str, str] = {}
        self._functions: dict[Any, _Function] = {}
        self._left = keep_bytes
        self._each = keep_bytes if keep_each is None else keep_each
        self._modes = 0  # of torch, this one included
        self._aside = False  # from the functions of a quiet layer
        self._batchless = False  # a map came as (c, h, w), so that outputs have no batch to leave

    # modules

    def enter(self, name: str, layer: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """A module begins."""
        if get_ident() != self._thread:  # functions are heard of in one thread alone
            self.elsewhere.add(name)
            return
        row, own = None, False
        try:
            role, code = self._roles_and_codes[name]
            turn = self.called[name] = self.called.get(name, 0) + 1
            above = self._stack[-1] if self._stack else None
            if above and above.sealed:  # what is done inside a layer is the layer's
                role, row = "library", above.row
            elif role:
                row, own = Row(name, above.name if above else "", layer, []), True
                row.turn, row.arguments = turn, len(args) + len(kwargs)
                self.rows.append(row)
                with torch._C.DisableTorchFunction():
                    row.inputs = tensors_given(args, kwargs)
            entry = _Open(name, layer, code, row, own, role)
            self._stack.append(entry)
            if role == "quiet":
                if self._step_aside():
                    entry.aside = args, kwargs
            elif row and own and role != "open" and name in self.weights and self._unheard:
                row.uncounted = (type(layer).__name__,)
        except Exception as error:  # noqa: BLE001  # nothing that is heard may end what is running
            self.miss(error, row, name or type(layer).__name__)
            if not (self._stack and self._stack[-1].layer is layer):
                self._stack.append(_Open(name, layer, None, row, own, "library" if row else None))

    def leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        """A module ends, or is left by an exception."""
        if get_ident() != self._thread:
            return
        entry = self._stack[-1]
        if entry.layer is not layer:
            if not self._is_open(layer):
                return  # a hook of the user's raised before this run's could tell of its begin
            entry = self._back_to(layer)
        raised = sys.exc_info()[1]
        if entry.aside:
            self.come_back()
            if raised and raised is not entry.handling:
                try:
                    self._listen_again(layer, entry.aside, raised)
                except Exception as error:  # noqa: BLE001
                    self.miss(error, entry.row, entry.name)
        self._stack.pop()
        if raised is not entry.handling:
            if self.failed_in is None or self.failed_in[0] is not raised:
                self.failed_in = raised, entry.name
        elif entry.own and (row := entry.row):
            row.returned = True
            with torch._C.DisableTorchFunction():
                if entry.aside and isinstance(layer, WITH_PRODUCTS):
                    try:
                        row.macs = output.numel() * dot_length(layer)
                    except Exception as error:  # noqa: BLE001
                        self.miss(error, row, type(layer).__name__, uncounted=True)
                try:
                    self.finish(row, output)
                except Exception as error:  # noqa: BLE001
                    self.miss(error, row)

    def miss(
        self, error: Exception, row: Row | None, name: str = "", *, uncounted: bool = False
    ) -> None:
        """Something could not be worked out.

        Args:
            error: What a rule of ours raised.
            row: The row that it is missing in; None for the whole.
            name: Of what it was to be worked out.
            uncounted: Whether its products are missing.
        """
        if is_to_raise(error):
            self.broken = self.broken or error
        if row is None:
            self.missed.append(f"{name}: {reason_of(error)}")
            return
        row.unchecked += (reason_of(error),)
        if uncounted:
            row.uncounted += (name,)

    def _is_open(self, layer: nn.Module) -> bool:
        """Whether the module is running, as far as was told."""
        return any(entry.layer is layer for entry in self._stack)

    def _back_to(self, layer: nn.Module) -> _Open:
        """The innermost entry of a module, once those of which no end was told are gone.

        Torch calls no hook after an exception that is no Exception, nor one that was removed.
        """
        while (entry := self._stack[-1]).layer is not layer:
            if entry.aside:
                self.come_back()
            self._stack.pop()
        return entry

    # layers without anything to hear

    def __enter__(self) -> Run:
        """Hear of functions from now on."""
        super().__enter__()  # type: ignore[no-untyped-call]
        self._modes = _count_modes()
        return self

    def __exit__(self, *raised: Any) -> None:
        """Hear of nothing more."""
        leave_mode(self)

    @property
    def _unheard(self) -> bool:
        """Whether functions are: torch takes a mode away while it asks it for one, in whose body
        modules may be called."""
        return _count_modes() < self._modes

    def _step_aside(self) -> bool:
        """Have torch call no function of this mode, until it comes back."""
        if self._unheard:
            return True
        top = _pop_mode()
        if top is not self:  # a mode of the user's stands above this one
            _push_mode(top)
            return False
        self._aside = True
        return True

    def come_back(self) -> None:
        """Hear of functions again."""
        if self._aside:
            _push_mode(self)
            self._aside = False

    def _listen_again(self, layer: nn.Module, given: _Given, error: BaseException) -> None:
        """Learn which function of a quiet layer raised, by running it once more."""
        before, self.failed = self.failed, None
        args, kwargs = given
        # without gradients, since checkpointing counts the tensors that a forward saves for them
        with suppress(Exception), torch.no_grad():
            layer.forward(*args, **kwargs)
        self.failed = (error, *self.failed[1:]) if self.failed else before

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function is called; inside it this mode is off."""
        kwargs = kwargs or {}
        function = row = tensor = None
        counted, before = False, 0
        try:
            function = self._functions.get(func)
            if function is None:
                function = self._functions[func] = _Function(func)
            if not function.silent:
                first = kwargs["out"] if "out" in kwargs else args[0] if args else None
                tensor = first if isinstance(first, Tensor) else None
                counted = tensor is not None and not tensor.is_inference()
                if counted:
                    before = tensor._version  # type: ignore[union-attr]  # counted says so
                if function.writes and tensor is not None:
                    self.parameters.save(tensor)
        except Exception as error:  # noqa: BLE001  # nothing that is heard may end what is running
            name = function.name if function else "a function"
            self.miss(error, self._sealed_row(), name, uncounted=True)
        if function is None or function.silent:
            return func(*args, **kwargs)
        try:
            output = func(*args, **kwargs)
        except Exception as error:
            self._fail(error, function.name, args, kwargs)
            raise
        try:
            written = counted and tensor._version != before  # type: ignore[union-attr]
            produced = tensor if written and output is None else output
            if not isinstance(produced, Tensor) and not _has_tensor(produced):
                return output
            top = self._stack[-1]
            for argument in (*args, *kwargs.values()) if kwargs else args:
                if type(argument) is Parameter:  # isinstance asks for much more, and slowly
                    self.used.add(id(argument))
            row, place = top.row, None
            if not top.sealed:
                row = None
                row, place = self._function_row(function.name, top, args, kwargs)
            assert row is not None  # a sealed module has a row, and a function gets one
            if not function.free:
                self._count(row, function, (args, kwargs), output)
            if top.watched:
                self._find_unhooked(sys._getframe(1), top.code)
            if not top.sealed:
                self.finish(row, produced)
            if written and tensor is not None:
                self._sweep(tensor, row, place)
        except Exception as error:  # noqa: BLE001
            self.miss(error, row or self._row_anyhow(function), function.name)
        return output

    def _count(self, row: Row, function: _Function, given: _Given, output: Any) -> None:
        """Add the MACs of a function to a row, which may be that of the layer around it."""
        try:
            macs = None
            if function.rule is not None:
                stated = stated_of_call(function.rule, *given, output)
                macs = stated.macs if stated else None
                if row.layer is None and row.name == function.name:
                    row.stated = stated
            if macs is None:
                macs = count_function_macs(function.kind, *given, output)
            if macs is None:
                row.uncounted += (function.name,)
            else:
                row.macs += macs
        except Exception as error:  # noqa: BLE001
            self.miss(error, row, function.name, uncounted=True)

    def _fail(self, raised: Exception, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """A function raised."""
        self.failed = raised, name, []
        try:
            self.failed = raised, name, tensors_given(args, kwargs)
        except Exception as error:  # noqa: BLE001
            self.miss(error, None, name)

    def _sealed_row(self) -> Row | None:
        """The row of the layer that is running, where functions are part of it."""
        top = self._stack[-1] if self._stack else None
        return top.row if top and top.sealed else None

    def _row_anyhow(self, function: _Function) -> Row:
        """The row of a function of which nothing is known but its name."""
        row = self._sealed_row()
        if row is None:
            row = Row(function.name, self._stack[-1].name if self._stack else "", None, [])
            row.returned = True
            self.rows.append(row)
        if not function.free:
            row.uncounted += (function.name,)
        return row

    def _function_row(
        self, name: str, top: _Open, args: Any, kwargs: Mapping[str, Any]
    ) -> tuple[Row, Place]:
        """A row for a function; for one that einops calls, the row of einops' own function."""
        place, library = self._caller(sys._getframe(2), top)
        if library is not None:
            name = f"einops.{library.f_code.co_name}"
            if library is self._library_frame:
                return self.rows[-1], place
        self._library_frame = library
        row = Row(name, top.name, None, tensors_given(args, kwargs))
        row.source = place
        self.rows.append(row)
        return row, place

    def _caller(self, frame: FrameType | None, top: _Open) -> tuple[Place, FrameType | None]:
        """The line outside torch and einops that led here, and the function of einops on the way.

        The way up ends where the running module's forward was called; a line of a layer of
        torch's own stands in where there is no other.
        """
        user: Place | None = None
        layer: Place | None = None
        last: Place = ("", 0)
        library: FrameType | None = None
        arrived = False  # at the forward of the module that is running
        while frame is not None:
            code = frame.f_code
            where = self._places.get(code.co_filename)
            if where is None:
                where = self._places[code.co_filename] = place_of(code.co_filename)
            # above a layer that no hook announced stands whoever called it
            if where == "here" or (where == "calling" and (arrived or user)):
                break
            arrived = arrived or code is top.code
            last = (code.co_filename, frame.f_lineno)
            if where == "calling":
                pass
            elif where == "einops" and user is None:
                library = frame
            elif where == "layer" and layer is None:
                layer = last
            elif where == "user" and user is None:
                user = last
            if code.co_name == "forward" and code is not top.code:
                self._unhooked(frame.f_locals.get("self"))
            frame = frame.f_back
        return user or layer or last, library

    def _find_unhooked(self, frame: FrameType | None, code: CodeType | None) -> None:
        """Look for forwards that no hook announced on the way up to the one with this code."""
        while frame is not None and (running := frame.f_code) is not code:
            if running is outputs_of.__code__:
                return
            if running.co_name == "forward":
                self._unhooked(frame.f_locals.get("self"))
            frame = frame.f_back

    def _unhooked(self, layer: Any) -> None:
        """A forward is running that no hook announced."""
        if not isinstance(layer, nn.Module):
            return
        name = self.names.get(id(layer))
        if name is None:
            self.unregistered[type(layer).__name__] = None
        elif name not in (entry.name for entry in self._stack):
            self.called_directly.add(name)

    # outputs, and what happens to them later

    def finish(self, row: Row, output: Any) -> None:
        """Write down what came out of a row's call, and remember at which version it was."""
        row.returned = True
        if isinstance(output, Tensor) and not output.is_nested:
            tensors = [("", output)]
            row.outputs = [("", output.shape, output.dtype)]
        else:
            tensors = tensors_in(output)
            row.outputs = [(path, tensor.shape, tensor.dtype) for path, tensor in tensors]
        for _, tensor in tensors:
            self._alive.append((row, weakref.ref(tensor), version_of(tensor)))
        if isinstance(row.layer, nn.Conv2d) and tensors:
            self._batchless = tensors[0][1].ndim == 3
        if self._left and tensors:
            # a copy, since a later operation in place would overwrite the original
            self._left += row.kept.bytes if row.kept else 0
            row.kept = _kept(self.batched(tensors[0][1]), min(self._left // 4, self._each))
            self._left -= row.kept.bytes if row.kept else 0

    def batched(self, output: Tensor) -> Tensor:
        """An output with a first axis for the images, also where the module takes one image."""
        return output[None] if self._batchless and output.ndim < 4 else output

    def _sweep(self, written: Tensor, by: Row, place: Place | None) -> None:
        """Mark the rows whose output was just written over."""
        alive = []
        for row, reference, version in self._alive:
            tensor = reference()
            if tensor is None:
                continue
            now = version_of(tensor)
            fresh = now != version and row is not by and row.overwritten is None
            if fresh and _overlap(tensor, written):
                row.overwritten = (by.name or by.kind, place)
            alive.append((row, reference, now))
        self._alive = alive

    def sweep_at_end(self) -> None:
        """Mark what was written over by something that this mode did not see do it."""
        for row, reference, version in self._alive:
            tensor = reference()
            if tensor is not None and version_of(tensor) != version and row.overwritten is None:
                row.overwritten = ("a later operation", None)

    def forget(self) -> None:
        """Let go of every tensor, frame and exception."""
        self.failed = None
        self.failed_in = None
        self._library_frame = None
        self._alive.clear()
        self._stack.clear()


def _roles_of(layers: Mapping[str, nn.Module], weights: Mapping[str, int]) -> dict[str, Role]:
    return dict(rows_of(layers, weights))


def _forward_code(kind: type[nn.Module]) -> CodeType | None:
    """The code of a module's forward; the class of a compiled one cannot be asked for it."""
    compiled = issubclass(kind, torch.jit.ScriptModule)
    return None if compiled else getattr(kind.forward, "__code__", None)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    return isinstance(value, (tuple, list)) and any(map(_has_tensor, value))


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors span bytes in common; parts of one tensor need not."""
    if one.is_meta or one.layout != torch.strided or other.layout != torch.strided:
        return True
    spans = []
    for tensor in (one, other):
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        start = tensor.data_ptr()
        spans.append((start, start + (last + 1) * tensor.element_size()))
    (start, end), (other_start, other_end) = spans
    return start < other_end and other_start < end


def _kept(output: Tensor, allowance: int) -> KeptOutput | None:
    """A copy of the first image's output; None for what has no image to show."""
    if output.is_meta or not output.is_floating_point() or not 2 <= output.ndim <= 4:
        return None
    if torch._C._functorch.is_functorch_wrapped_tensor(output):  # of no use after its vmap
        return None
    return keep_output(output[0], allowance) if output.numel() else None
