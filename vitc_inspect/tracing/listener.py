"""Call a module once and record every module and function called inside it.

Forward hooks report the modules, and a TorchFunctionMode reports the functions. `outputs_of`, which
calls the module, stands in the same file as `Run`: by this file `tracebacks` and `call_sites` know
where the user's code begins.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter
from torch.overrides import TorchFunctionMode

from vitc_inspect.common.errors import with_article
from vitc_inspect.common.guard import attempted, guarded, is_to_raise, noted, reason_of
from vitc_inspect.tracing.active_module import ActiveModule, Given
from vitc_inspect.tracing.call_builder import Row
from vitc_inspect.tracing.call_sites import CallSites
from vitc_inspect.tracing.counting import count_function_macs, dot_length, stated_of_call
from vitc_inspect.tracing.free_functions import is_free
from vitc_inspect.tracing.functions import TorchFunction, target_of
from vitc_inspect.tracing.interrupts import is_to_pass
from vitc_inspect.tracing.leaf_modules import WITH_PRODUCTS, Role, rows_of
from vitc_inspect.tracing.module_tree import Contents
from vitc_inspect.tracing.output_log import OutputLog
from vitc_inspect.tracing.recording import Failure, SeenTensor, Value, tensors_given, values_given
from vitc_inspect.tracing.restore import Parameters, leave_mode
from vitc_inspect.tracing.rules import function_kind, users_rule_of_function
from vitc_inspect.tracing.tensors import tensors_in
from vitc_inspect.tracing.torch_internals import (
    DisableTorchFunction,
    count_function_modes,
    pop_function_mode,
    push_function_mode,
    version_counter,
)
from vitc_inspect.tracing.tracebacks import CodeLine, bare_failure, failure_of

_SHAPE_GETTERS = frozenset({"T", "mT", "H", "mH", "real", "imag"})
"""Attributes of a tensor that are another tensor; all others are facts about it."""


def outputs_of(
    run: Run, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Value, ...], Failure | None]:
    """Call a module while a run records its calls.

    Args:
        run: A fresh one, whose hooks are registered and whose mode is on.
        module: The module.
        given, named: Arguments of its forward, by place and by name.

    Returns:
        The tensors that it returned, or none and how it failed.
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
        with DisableTorchFunction():
            with noted(run.missed, "what was written over"):
                run.outputs.mark_overwritten_at_end()
            returned = attempted(run.missed, "what came out", (), values_given, (), {"": output})
            return returned, None
    finally:
        run.forget()
        if run.broken:  # only where rules are to raise, and not before the user's code has ended
            raise run.broken


class _Function(TorchFunction):
    """What is known of a function before it is called, with what it is recorded as."""

    __slots__ = ("free", "is_fact", "kind", "rule")

    def __init__(self, func: Any) -> None:
        super().__init__(func)
        self.is_fact = self.is_getter and self.name not in _SHAPE_GETTERS  # a fact about a tensor
        # another library's function of the same name need not do what torch's does
        self.kind = self.name if self.is_getter else function_kind(func) or self.name
        self.rule = users_rule_of_function(func, self.name)
        self.free = self.rule is None and is_free(self.kind)


class Run(TorchFunctionMode):
    """The recording of one forward pass, in progress."""

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
        self.weights: dict[str, int] = {}
        with noted(self.missed, "learned numbers"):
            self.weights = contents.weights
        self.roles: dict[str, Role] = {}
        with noted(self.missed, "the rows"):
            self.roles = dict(rows_of(layers, self.weights))
        codes: dict[type, CodeType | None] = dict.fromkeys(map(type, layers.values()))
        for kind in codes:
            with noted(self.missed, kind.__name__):
                codes[kind] = _forward_code(kind)
        self._roles_and_codes = {
            name: (self.roles.get(name), codes[type(layer)]) for name, layer in layers.items()
        }
        self.rows: list[Row] = []
        self.outputs = OutputLog(keep_bytes, keep_each)
        self.called: dict[str, int] = {}  # how often each module was, by name
        self.elsewhere: set[str] = set()  # modules that ran in another thread, by name
        self.used: set[int] = set()  # ids of parameters that functions were given
        # the function that last raised, and the module that was first left by an exception
        self.returned = ""  # the class of what came out of the module
        self.failed: tuple[BaseException, str, list[SeenTensor]] | None = None
        self.failed_in: tuple[BaseException | None, str] | None = None
        self._thread = get_ident()
        self._stack: list[ActiveModule] = []
        self.sites = CallSites(self.names, self._stack, outputs_of.__code__)
        self._library_frame: FrameType | None = None  # the einops function that is running
        self._functions: dict[Any, _Function] = {}
        self._modes = 0  # of torch, this one included
        self._suspended = False  # while an opaque layer runs

    # modules

    def enter(self, name: str, layer: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Record that a module is called."""
        if get_ident() != self._thread:  # a mode sees the functions of one thread alone
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
                with DisableTorchFunction():
                    row.inputs = tensors_given(args, kwargs)
            entry = ActiveModule(name, layer, code, row, own, role)
            self._stack.append(entry)
            if role == "opaque":
                if self._suspend():
                    entry.suspended = args, kwargs
            elif row and own and role != "open" and name in self.weights and self._is_off:
                row.uncounted = (type(layer).__name__,)
        except Exception as error:  # noqa: BLE001  # recording may not end what is running
            self.miss(error, row, name or type(layer).__name__)
            if not (self._stack and self._stack[-1].layer is layer):
                self._stack.append(
                    ActiveModule(name, layer, None, row, own, "library" if row else None)
                )

    def leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        """Record that a module returned or raised."""
        if get_ident() != self._thread:
            return
        entry = self._stack[-1]
        if entry.layer is not layer:
            if not self._is_active(layer):
                return  # a hook of the user's raised before this run's hook was called
            entry = self._unwind_to(layer)
        raised = sys.exc_info()[1]
        if entry.suspended:
            self.resume()
            if raised and raised is not entry.handling:
                try:
                    self._run_again(layer, entry.suspended, raised)
                except Exception as error:  # noqa: BLE001
                    self.miss(error, entry.row, entry.name)
        self._stack.pop()
        if raised is not entry.handling:
            if self.failed_in is None or self.failed_in[0] is not raised:
                self.failed_in = raised, entry.name
        elif entry.own and (row := entry.row):
            row.returned = True
            with DisableTorchFunction():
                if entry.suspended and isinstance(layer, WITH_PRODUCTS):
                    try:
                        row.macs = output.numel() * dot_length(layer)
                    except Exception as error:  # noqa: BLE001
                        self.miss(error, row, type(layer).__name__, uncounted=True)
                try:
                    self.finish(row, tensors_in(output))
                except Exception as error:  # noqa: BLE001
                    self.miss(error, row)

    def miss(
        self, error: Exception, row: Row | None, name: str = "", *, uncounted: bool = False
    ) -> None:
        """Record that something could not be computed.

        Args:
            error: What this package's own code raised.
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

    def _is_active(self, layer: nn.Module) -> bool:
        """Whether the module is running, as far as its hooks say."""
        return any(entry.layer is layer for entry in self._stack)

    def _unwind_to(self, layer: nn.Module) -> ActiveModule:
        """Drop what runs inside a module without having ended, and return the module's entry.

        Torch calls no forward hook after a BaseException, and none that was removed.
        """
        while (entry := self._stack[-1]).layer is not layer:
            if entry.suspended:
                self.resume()
            self._stack.pop()
        return entry

    # the mode, which is off while an opaque layer runs

    def __enter__(self) -> Run:
        """Record functions from now on."""
        super().__enter__()  # type: ignore[no-untyped-call]
        self._modes = count_function_modes()
        return self

    def __exit__(self, *raised: Any) -> None:
        """Record no more functions."""
        leave_mode(self)

    @property
    def _is_off(self) -> bool:
        """Whether functions go unrecorded: torch takes a mode away while it handles a function, in
        whose body modules may be called."""
        return count_function_modes() < self._modes

    def _suspend(self) -> bool:
        """Take this mode away until `resume`; False where a mode of the user's stands above it."""
        if self._is_off:
            return True
        top = pop_function_mode()
        if top is not self:  # a mode of the user's stands above this one
            push_function_mode(top)
            return False
        self._suspended = True
        return True

    def resume(self) -> None:
        """Push this mode on the stack again."""
        if self._suspended:
            push_function_mode(self)
            self._suspended = False

    def _run_again(self, layer: nn.Module, given: Given, error: BaseException) -> None:
        """Find the function of an opaque layer that raised, by running the layer once more."""
        before, self.failed = self.failed, None
        args, kwargs = given
        # without gradients, since checkpointing counts the tensors that a forward saves for them
        with suppress(Exception), torch.no_grad():
            layer.forward(*args, **kwargs)
        self.failed = (error, *self.failed[1:]) if self.failed else before

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function and record it; in its body this mode is off."""
        kwargs = kwargs or {}
        function = row = tensor = None
        counted, before = False, 0
        try:
            function = self._functions.get(func)
            if function is None:
                function = self._functions[func] = _Function(func)
            if not function.is_fact:
                target = target_of(args, kwargs) if kwargs else args[0] if args else None
                tensor = target if isinstance(target, Tensor) else None
                counted = tensor is not None and not tensor.is_inference()
                if counted:
                    before = version_counter(tensor)  # type: ignore[arg-type]  # counted says so
                if kwargs or function.writes:
                    for each in function.written(args, kwargs):
                        self.parameters.save(each)
        except Exception as error:  # noqa: BLE001  # recording may not end what is running
            name = function.name if function else "a function"
            self.miss(error, self._sealed_row(), name, uncounted=True)
        if function is None or function.is_fact:
            return func(*args, **kwargs)
        try:
            output = func(*args, **kwargs)
        except Exception as error:
            self._failed(error, function.name, args, kwargs)
            raise
        try:
            written = counted and version_counter(tensor) != before  # type: ignore[arg-type]
            produced = tensors_in(tensor if written and output is None else output)
            if not produced:
                return output
            top = self._stack[-1]
            for argument in (*args, *kwargs.values()) if kwargs else args:
                if type(argument) is Parameter:  # isinstance asks for much more, and slowly
                    self.used.add(id(argument))
            row, line = top.row, None
            if not top.sealed:
                row = None
                row, line = self._function_row(function.name, top, args, kwargs)
            assert row is not None  # a sealed module has a row, and a function gets one
            if not function.free:
                self._count(row, function, (args, kwargs), output)
            if top.watched:
                self.sites.find_unhooked(sys._getframe(1), top.code)
            if not top.sealed:
                self.finish(row, produced)
            if written and tensor is not None:
                self.outputs.mark_overwritten(tensor, row, line)
        except Exception as error:  # noqa: BLE001
            self.miss(error, row or self._row_anyhow(function), function.name)
        return output

    def _count(self, row: Row, function: _Function, given: Given, output: Any) -> None:
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

    def _failed(self, raised: Exception, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
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
        self, name: str, top: ActiveModule, args: Any, kwargs: Mapping[str, Any]
    ) -> tuple[Row, CodeLine]:
        """A row for a function; for one that einops calls, the row of einops' own function."""
        line, library = self.sites.line_of(sys._getframe(2), top.code)
        if library is not None:
            name = f"einops.{library.f_code.co_name}"
            if library is self._library_frame:
                return self.rows[-1], line
        self._library_frame = library
        row = Row(name, top.name, None, tensors_given(args, kwargs))
        row.source = line
        self.rows.append(row)
        return row, line

    def finish(self, row: Row, tensors: Sequence[tuple[str, Tensor]]) -> None:
        """Record the tensors that the call of a row returned, each with its path."""
        self.outputs.add(row, tensors)

    def forget(self) -> None:
        """Drop all references to tensors, frames and exceptions."""
        self.failed = None
        self.failed_in = None
        self._library_frame = None
        self.outputs.clear()
        self._stack.clear()


def _forward_code(kind: type[nn.Module]) -> CodeType | None:
    """The code of a module's forward; the class of a compiled one cannot be asked for it."""
    compiled = issubclass(kind, torch.jit.ScriptModule)
    return None if compiled else getattr(kind.forward, "__code__", None)
