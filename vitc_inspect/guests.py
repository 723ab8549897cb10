"""One forward pass of anybody's module, written down call by call: modules and functions alike.

Hooks see the modules, a TorchFunctionMode sees the functions between them. Both are guests: they
leave the module, torch and the random numbers as they found them, also when the forward raises.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter
from torch.overrides import TorchFunctionMode

from vitc_inspect.contents import Contents, contents_of
from vitc_inspect.counting import WITHOUT_PRODUCTS, count_function_macs, dot_length
from vitc_inspect.raising import Place, failure_of, place_of, source_line
from vitc_inspect.recording import (
    NOT_REACHED,
    Call,
    Failure,
    NeverCalled,
    Recording,
    SeenTensor,
    Value,
    Values,
    tensors_given,
    tensors_in,
    values_of,
)
from vitc_inspect.roles import (
    WITH_PRODUCTS,
    Role,
    can_be_called,
    is_childless,
    rows_of,
)
from vitc_inspect.tracing import KeptOutput, keep_output
from vitc_inspect.untouched import (
    ONE_AT_A_TIME,
    Parameters,
    as_it_was,
    copied,
    version_of,
    without_fast_path,
)

# what entering and leaving a mode does, of which a `with` takes several times as long
_pop_mode = torch._C._pop_torch_function_stack
_push_mode = torch._C._push_on_torch_function_stack

_SHAPE_GETTERS = frozenset({"T", "mT", "H", "mH", "real", "imag"})
"""Attributes of a tensor that are another tensor; all others are facts about it."""


def record_module(module: nn.Module, *inputs: Any, **kwargs: Any) -> Recording:
    """Run a module once and write down every call; as `record_call`, without copies of outputs.

    Args:
        module: Any module, in the mode in which it is to run.
        inputs, kwargs: What its forward is to be given.
    """
    return record_call(module, inputs, kwargs)


def record_call(
    module: nn.Module,
    inputs: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    keep_bytes: int = 0,
    keep_each: int | None = None,
) -> Recording:
    """Run a module once, without gradients, and write down every call.

    A row is made for each module that has no others inside, that is a layer of torch or that has
    parameters of its own, and for each function outside those without others inside. The module
    gets copies of the tensors, so that what it does to them in place stays its own.

    Args:
        module: Any module, in the mode in which it is to run.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.
        keep_bytes: Budget for copies of outputs (bytes); each takes at most a quarter of what is
            left.
        keep_each: The most that one copy may take (bytes); None sets no further bound.

    Returns:
        The recording; also when the forward raises, with all that came before.

    Raises:
        SpecError: field "module", for what is no module or has parameters without a shape.
    """
    contents = contents_of(module)
    given, named = copied((tuple(inputs), dict(kwargs or {})), {})
    with ONE_AT_A_TIME, as_it_was(contents) as parameters:
        notes = _fast_path_notes(contents.layers)
        run = _Run(contents, parameters, keep_bytes, keep_each)
        with torch.inference_mode(False), torch.no_grad(), without_fast_path(), _listening(run):
            outputs, failure = _ran(run, module, given, named)
    return Recording(
        calls=run.calls(),
        inputs=values_of(tensors_given(given, named)),
        outputs=outputs,
        never_called=_never_called(run, failure),
        notes=(*notes, *_shared_notes(contents), *run.unregistered_notes()),
        failure=failure,
    )


Seen = TypeVar("Seen")


def look_at_call(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    call: int,
    look: Callable[[Tensor, Tensor | None], Seen],
    leaf: Tensor | None = None,
) -> Seen | None:
    """Run a module again as far as one of its calls, and look at what comes out of it there.

    The call's first output is seen as it is when the call returns, before anything writes over it.
    The module is left as `record_call` leaves it.

    Args:
        module, inputs, kwargs: As `record_call` was given them.
        call: Place of the call among those that it recorded, from 0.
        look: Gets the output, and the copy of `leaf` that the module runs on; what it returns is
            returned.
        leaf: One of the inputs, to ask for gradients with respect to it; None runs without
            gradients.

    Returns:
        What `look` returned; None where the forward did not come to the call, or nothing came out.
    """
    contents = contents_of(module)
    copies: dict[int, Tensor] = {}
    wanted = leaf is not None
    with torch.inference_mode(False), torch.set_grad_enabled(wanted):
        if leaf is not None:
            leaf_copy = leaf.detach().clone().requires_grad_()
            # a leaf itself must not be written to, as a module may do with its input
            copies[id(leaf)] = leaf_copy.clone()
        given, named = copied((tuple(inputs), dict(kwargs)), copies)
        with ONE_AT_A_TIME, as_it_was(contents) as parameters:
            for parameter in contents.parameters if wanted else ():
                parameter.requires_grad_(False)  # only the input's gradient is asked for
            run = _Look(contents, parameters, call)
            run.look = lambda output: look(output, leaf_copy if wanted else None)
            with without_fast_path(), _listening(run), suppress(_SeenEnough):
                _ran(run, module, given, named)  # what else it may raise, the run before has told
    found: Seen | None = run.found
    return found


def _ran(
    run: _Run, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Value, ...], Failure | None]:
    """The outputs of the forward pass, or how it failed."""
    try:
        run.enter("", module, given, named)
        output = module(*given, **named)
        run.leave(module, given, output)
        with torch._C.DisableTorchFunction():
            run.sweep_at_end()
            return values_of(tensors_given((), {"": output})), None
    # whatever the user's code raises is the result, also where it asks to leave the program
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return (), failure_of(error, run.failed, run.failed_in)
    finally:
        run.forget()


# ---- what is written down while the module runs ---------------------------------------------


class _Row:
    """A call as it is being written down."""

    __slots__ = (
        "function", "inputs", "inside", "kept", "layer", "macs", "name", "outputs",
        "overwritten", "returned", "source", "turn", "uncounted",
    )  # fmt: skip

    def __init__(
        self, name: str, inside: str, layer: nn.Module | None, inputs: list[SeenTensor]
    ) -> None:
        self.name, self.inside, self.layer, self.inputs = name, inside, layer, inputs
        self.outputs: list[SeenTensor] = []
        self.returned = False
        self.turn = 1
        self.macs = 0
        self.uncounted: tuple[str, ...] = ()
        self.source: Place | None = None
        self.overwritten: tuple[str, Place | None] | None = None
        self.kept: KeptOutput | None = None


_Given = tuple[tuple[Any, ...], Mapping[str, Any]]  # arguments by place and by name


class _Open:
    """A module that is running."""

    __slots__ = ("aside", "code", "handling", "name", "own", "row", "sealed", "watched")

    def __init__(
        self, name: str, code: CodeType | None, row: _Row | None, own: bool, role: Role | None
    ) -> None:
        self.name, self.code, self.row = name, code, row
        self.own = own  # the row is the module's, not that of a layer around it
        self.sealed = row is not None and role != "open"  # its functions are part of its row
        self.watched = role == "leaf"  # they may be of layers that no hook announces
        self.aside: _Given | None = None  # the arguments, where functions go unheard
        self.handling = sys.exc_info()[1]  # what is being handled by whoever calls


class _Function:
    """What there is to know about a function before it is called."""

    __slots__ = ("free", "name", "silent", "writes")

    def __init__(self, func: Any) -> None:
        self.name: str = getattr(func, "__name__", "") or type(func).__name__
        getter = self.name == "__get__"
        if getter:
            self.name = getattr(func.__self__, "__name__", "")
        self.silent = getter and self.name not in _SHAPE_GETTERS  # a fact about a tensor
        self.free = self.name in WITHOUT_PRODUCTS
        self.writes = self.name.endswith("_") and (
            not self.name.endswith("__")
            or self.name == "__setitem__"
            or self.name.startswith("__i")
        )  # to its first argument, as its name says


class _Run(TorchFunctionMode):
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
        self.weights = contents.weights
        self.owners = dict(rows_of(layers, self.weights))
        codes = {kind: _forward_code(kind) for kind in set(map(type, layers.values()))}
        self._roles = {
            name: (self.owners.get(name), codes[type(layer)]) for name, layer in layers.items()
        }
        self.rows: list[_Row] = []
        self.called: dict[str, int] = {}  # how often
        self.used: set[int] = set()  # parameters that functions were given
        self.called_directly: set[str] = set()  # by .forward()
        self.unregistered: dict[str, None] = {}
        self.failed: tuple[BaseException, str, list[SeenTensor]] | None = None
        self.failed_in: tuple[BaseException | None, str] | None = None
        self.elsewhere: set[str] = set()  # modules that ran in another thread
        self._thread = get_ident()
        self._stack: list[_Open] = []
        self._alive: list[tuple[_Row, weakref.ref[Tensor], int]] = []
        self._library_frame: FrameType | None = None  # the einops function that is running
        self._places: dict[str, str] = {}
        self._functions: dict[Any, _Function] = {}
        self._left = keep_bytes
        self._each = keep_bytes if keep_each is None else keep_each
        self._aside = False  # from the functions of a quiet layer
        self._batchless = False  # a map came as (c, h, w), so that outputs have no batch to leave

    # modules

    def enter(self, name: str, layer: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """A module begins."""
        if get_ident() != self._thread:  # functions are heard of in one thread alone
            self.elsewhere.add(name)
            return
        role, code = self._roles[name]
        turn = self.called[name] = self.called.get(name, 0) + 1
        above = self._stack[-1] if self._stack else None
        row, own = None, False
        if above and above.sealed:  # what is done inside a layer is the layer's
            role, row = "library", above.row
        elif role:
            with torch._C.DisableTorchFunction():
                inputs = tensors_given(args, kwargs)
            row, own = _Row(name, above.name if above else "", layer, inputs), True
            row.turn = turn
            self.rows.append(row)
        entry = _Open(name, code, row, own, role)
        self._stack.append(entry)
        if role == "quiet" and self._step_aside():
            entry.aside = args, kwargs

    def leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        """A module ends, or is left by an exception."""
        if get_ident() != self._thread:
            return
        entry = self._stack[-1]
        error = sys.exc_info()[1]
        if entry.aside:
            self.come_back()
            if error and error is not entry.handling:
                self._listen_again(layer, entry.aside, error)
        self._stack.pop()
        if error is not entry.handling:
            if self.failed_in is None or self.failed_in[0] is not error:
                self.failed_in = error, entry.name
        elif entry.own and (row := entry.row):
            with torch._C.DisableTorchFunction():
                self._finish(row, output)
                if entry.aside and isinstance(layer, WITH_PRODUCTS):
                    row.macs = output.numel() * dot_length(layer)

    # layers without anything to hear

    def _step_aside(self) -> bool:
        """Have torch call no function of this mode, until it comes back."""
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
        with suppress(Exception):
            layer.forward(*args, **kwargs)
        self.failed = (error, *self.failed[1:]) if self.failed else before

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function is called; inside it this mode is off."""
        kwargs = kwargs or {}
        function = self._functions.get(func)
        if function is None:
            function = self._functions[func] = _Function(func)
        if function.silent:
            return func(*args, **kwargs)
        first = kwargs["out"] if "out" in kwargs else args[0] if args else None
        tensor = first if isinstance(first, Tensor) else None
        counted = tensor is not None and not tensor.is_inference()
        before = tensor._version if counted else 0  # type: ignore[union-attr]  # counted says so
        if function.writes and tensor is not None:
            self.parameters.save(tensor)
        try:
            output = func(*args, **kwargs)
        except Exception as error:
            self.failed = error, function.name, tensors_given(args, kwargs)
            raise
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
            row, place = self._function_row(function.name, top, args, kwargs)
        elif top.watched:
            self._find_unhooked(sys._getframe(1), top.code)
        assert row is not None  # a sealed module has a row, and a function gets one
        if not function.free:
            macs = count_function_macs(function.name, args, kwargs, output)
            if macs is None:
                row.uncounted += (function.name,)
            else:
                row.macs += macs
        if written and tensor is not None:
            self._sweep(tensor, row, place)
        if not top.sealed:
            self._finish(row, produced)
        return output

    def _function_row(
        self, name: str, top: _Open, args: Any, kwargs: Mapping[str, Any]
    ) -> tuple[_Row, Place]:
        """A row for a function; for one that einops calls, the row of einops' own function."""
        place, library = self._caller(sys._getframe(2), top)
        if library is not None:
            name = f"einops.{library.f_code.co_name}"
            if library is self._library_frame:
                return self.rows[-1], place
        self._library_frame = library
        row = _Row(name, top.name, None, tensors_given(args, kwargs))
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
            if running is _ran.__code__:
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

    def _finish(self, row: _Row, output: Any) -> None:
        """Write down what came out, and remember at which version it was."""
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

    def _sweep(self, written: Tensor, by: _Row, place: Place | None) -> None:
        """Mark the rows whose output was just written over."""
        alive = []
        for row, reference, version in self._alive:
            tensor = reference()
            if tensor is None:
                continue
            now = version_of(tensor)
            fresh = now != version and row is not by and row.overwritten is None
            if fresh and _overlap(tensor, written):
                row.overwritten = (by.name or _kind(by.layer), place)
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

    # after the run

    def use_quiet_parameters(self) -> None:
        """Count the parameters of quiet layers among those that functions were given."""
        for row in self.rows:
            if row.layer and row.returned and self.owners[row.name] == "quiet":
                self.used.update(map(id, row.layer.parameters(recurse=False)))

    def calls(self) -> tuple[Call, ...]:
        """The rows as they are handed out."""
        values = Values()
        return tuple(self._call(row, values) for row in self.rows)

    def _call(self, row: _Row, values: Values) -> Call:
        layer = row.layer
        by, at = row.overwritten or (None, None)
        return Call(
            name=row.name,
            kind="function" if layer is None else _kind(layer),
            inside=row.inside,
            turn=row.turn,
            inputs=values.of(row.inputs),
            outputs=values.of(row.outputs),
            returned=row.returned,
            params=0 if layer is None else self._params(row.name, layer),
            macs=None if row.uncounted else row.macs,
            uncounted=tuple(dict.fromkeys(row.uncounted)),
            source=source_line(row.source),
            overwritten_by=by,
            overwritten_at=source_line(at),
            # fetched only now: a GPU would have to finish its work each time
            kept=row.kept and replace(row.kept, values=row.kept.values.cpu()),
        )

    def _params(self, name: str, layer: nn.Module) -> int:
        """Learned numbers of a row; a layer that is one row answers for all inside it."""
        own = self.weights.get(name, 0)
        if self.owners[name] != "library" or is_childless(layer):
            return own
        inside = f"{name}." if name else ""
        return sum(
            number
            for owner, number in self.weights.items()
            if owner == name or owner.startswith(inside)
        )

    def unregistered_notes(self) -> tuple[str, ...]:
        """A sentence for each kind of module that ran without being part of the module."""
        return tuple(
            f"A {kind} ran that is not registered in the module, as one in a plain list is not:"
            " its parameters are neither counted nor trained."
            for kind in self.unregistered
        )


class _SeenEnough(BaseException):
    """Ends a run that has come to the call it was made for; no handler of the user's catches it."""


class _Look(_Run):
    """A run for the sake of one call, which ends there."""

    def __init__(self, contents: Contents, parameters: Parameters, call: int) -> None:
        super().__init__(contents, parameters, 0)
        self._call_wanted = call
        self.look: Callable[[Tensor], Any] = lambda output: None
        self.found: Any = None

    def _finish(self, row: _Row, output: Any) -> None:
        """Look, where it is the row; einops' rows may be finished again by a later step."""
        super()._finish(row, output)
        at = self._call_wanted
        if len(self.rows) <= at or self.rows[at] is not row:
            return
        tensors = tensors_in(output)
        self.found = self.look(self.batched(tensors[0][1])) if tensors else None
        if not row.name.startswith("einops."):
            raise _SeenEnough


def _kind(layer: nn.Module | None) -> str:
    return type(layer).__name__


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
    return keep_output(output[0], allowance) if output.numel() else None


# ---- layers that no hook heard of -----------------------------------------------------------


def _never_called(run: _Run, failure: Failure | None) -> tuple[NeverCalled, ...]:
    """Every layer that could have been a row and was not called, with the reason."""
    silent = [name for name in run.owners if name and name not in run.called]
    if silent:
        run.use_quiet_parameters()
    return tuple(
        NeverCalled(
            name=name,
            kind=_kind(run.layers[name]),
            reason=_reason(name, run.layers, run, failure),
        )
        for name in silent
    )


def _reason(name: str, layers: Mapping[str, nn.Module], run: _Run, failure: Failure | None) -> str:
    """Why a layer was not called, as far as that can be known."""
    layer = layers[name]
    above = [name.rpartition(".")[0]]
    while above[-1]:
        above.append(above[-1].rpartition(".")[0])
    owner = above[0]
    if any(isinstance(layers[each], torch.jit.ScriptModule) for each in (name, *above)):
        return "it is compiled by torch.jit, which calls no hooks"
    if isinstance(layers[owner], nn.MultiheadAttention) and owner in run.called:
        return "nn.MultiheadAttention reads its weights itself and never calls it"
    if name in run.elsewhere:
        return "it ran in another thread, of which only its forward hook tells: not followed"
    if name in run.called_directly:
        return "its .forward() was called directly, which calls no hooks: call the module"
    if any(id(parameter) in run.used for parameter in layer.parameters(recurse=False)):
        return "its weights were used without calling it"
    if any(each in run.called for each in layers if each.startswith(f"{name}.")):
        return "only layers inside it were called"
    if failure is not None:
        return NOT_REACHED
    silent = [
        each
        for each in above
        if each and each not in run.called and can_be_called(type(layers[each]))
    ]
    if silent:
        return f"{silent[-1]}, which holds it, was never called"
    return "the forward pass does not use it"


def _shared_notes(contents: Contents) -> tuple[str, ...]:
    """A sentence for each module that stands under a second name."""
    return tuple(
        f"{name} is the same module as {first}: its rows bear that name, and both learn the same;"
        " make two where that is not meant."
        for name, first in contents.repeats
    )


_NOT_COMPILED = (
    "torch.compile was left out for the run: its layers ran one by one, as hooks need it."
)


def _is_compiled(layer: nn.Module) -> bool:
    """Whether torch.compile made it; its class is loaded with the compiler alone."""
    return type(layer).__name__ == "OptimizedModule" or layer._compiled_call_impl is not None


def _fast_path_notes(layers: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """That attention or a compiled module ran otherwise than it would have by itself."""
    compiled = any(map(_is_compiled, layers.values()))
    notes = (_NOT_COMPILED,) if compiled else ()
    fused = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
    found = any(isinstance(layer, fused) and not layer.training for layer in layers.values())
    if not found or not torch.backends.mha.get_fastpath_enabled():
        return notes
    return (
        *notes,
        "PyTorch's fused attention was switched off for the run, since it calls no hooks; in use"
        " PyTorch may take it, unless torch.backends.mha.set_fastpath_enabled(False) forbids it.",
    )


# ---- guests leave nothing behind ------------------------------------------------------------


class _Hook(partial[None]):
    """A hook that a copy of its module does not have, be it made by copy or by pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_hear_nothing,)


def _hear_nothing(*_: Any) -> None:
    """What a copied hook does."""


@contextmanager
def _listening(run: _Run) -> Iterator[None]:
    """Let the run hear of every module and function until the block is left.

    Hooks stand in containers of their module, which `as_it_was` puts back.
    """
    before, after = object(), object()
    leave = _Hook(run.leave)
    for name, layer in run.layers.items():
        if name and not isinstance(layer, torch.jit.ScriptModule):
            # as register_forward_hook does, without a handle with weak references for each
            layer._forward_pre_hooks[before] = _Hook(run.enter, name)  # type: ignore[index]
            layer._forward_pre_hooks_with_kwargs[before] = True  # type: ignore[index]
            layer._forward_hooks[after] = leave  # type: ignore[index]
            layer._forward_hooks_always_called[after] = True  # type: ignore[index]
    with run:
        try:
            yield
        finally:
            run.come_back()  # no hook is called where a layer was interrupted
