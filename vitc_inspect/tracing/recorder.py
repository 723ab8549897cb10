"""Record one forward pass of any module, call by call: modules and functions.

The module, torch's settings and the random state are as before afterwards, also when the forward
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitc_inspect.common.guard import attempted, noted
from vitc_inspect.tracing.autograd_functions import announced
from vitc_inspect.tracing.call_builder import Row, calls_of
from vitc_inspect.tracing.interrupts import EndOfRun
from vitc_inspect.tracing.listener import Run, outputs_of
from vitc_inspect.tracing.module_tree import Contents, contents_of
from vitc_inspect.tracing.recording import Recording, values_given
from vitc_inspect.tracing.restore import ONE_AT_A_TIME, Parameters, as_it_was, without_fast_path
from vitc_inspect.tracing.tensors import copied
from vitc_inspect.tracing.uncalled import (
    fast_path_notes,
    never_called,
    shared_notes,
    unregistered_notes,
)


def record_module(module: nn.Module, *inputs: Any, **kwargs: Any) -> Recording:
    """Run a module once and record every call; like `record_call`, but without copied outputs.

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
    """Run a module once, without gradients, and record every call.

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
        SpecError: field "module", if it is not a module or has parameters without a shape.
    """
    contents = contents_of(module)
    given, named = copied((tuple(inputs), dict(kwargs or {})), {})
    with ONE_AT_A_TIME, as_it_was(contents) as parameters:
        run = Run(contents, parameters, keep_bytes, keep_each)
        missed = run.missed
        notes: tuple[str, ...] = ()
        with noted(missed, _NOTES):
            notes = fast_path_notes(contents.layers)
        with torch.inference_mode(False), torch.no_grad(), without_fast_path(), _hooked(run):
            outputs, failure = outputs_of(run, module, given, named)
    if failure is None and not outputs:
        notes = (*notes, f"The forward returned {run.returned} and no tensor.")
    calls = attempted(missed, "the rows", (), calls_of, run.rows, run.roles, run.weights)
    return Recording(
        calls=calls,
        inputs=attempted(missed, "what was given", (), values_given, given, named),
        outputs=outputs,
        never_called=attempted(missed, "what never ran", (), never_called, run, failure),
        notes=(
            *notes,
            *attempted(missed, _NOTES, (), shared_notes, contents),
            *attempted(missed, _NOTES, (), unregistered_notes, run),
        ),
        failure=failure,
        unchecked=tuple(dict.fromkeys(missed)),
    )


_NOTES = "notes on what is odd"


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
    """Run a module up to one of its calls and observe what that call returns.

    The call's first output is observed when the call returns, before anything overwrites it.
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
            run = _RunToCall(contents, parameters, call)
            run.look = lambda output: look(output, leaf_copy if wanted else None)
            with without_fast_path(), _hooked(run), suppress(_CallReached):
                # how it may fail before that call, the recording says already
                outputs_of(run, module, given, named)
    found: Seen | None = run.found
    return found


class _CallReached(EndOfRun):
    """Ends a run that has reached its call; no handler of the user's catches it."""


class _RunToCall(Run):
    """A run that ends at one call, which it observes."""

    def __init__(self, contents: Contents, parameters: Parameters, call: int) -> None:
        super().__init__(contents, parameters, 0)
        self._call_wanted = call
        self.look: Callable[[Tensor], Any] = lambda output: None
        self.found: Any = None

    def finish(self, row: Row, tensors: Sequence[tuple[str, Tensor]]) -> None:
        """Observe the call, where it is the one; a later step may finish a row of einops again."""
        super().finish(row, tensors)
        at = self._call_wanted
        if len(self.rows) <= at or self.rows[at] is not row:
            return
        self.found = self.look(self.outputs.batched(tensors[0][1])) if tensors else None
        if not row.name.startswith("einops."):
            raise _CallReached


# ---- forward hooks ---------------------------------------------------------------------------


class _Hook(partial[None]):
    """A forward hook that does nothing in a copy of its module, made by copy or by pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_do_nothing,)


def _do_nothing(*_: Any) -> None:
    """Stand in for a hook in a copy of a module."""


@contextmanager
def _hooked(run: Run) -> Iterator[None]:
    """Report every module and function to the run until the block is left.

    The hooks are removed by `as_it_was`, which puts the containers of every module back.
    """
    leave = _Hook(run.leave)
    for name, layer in run.layers.items():
        if name and not isinstance(layer, torch.jit.ScriptModule):
            # torch's own methods, which the class of a layer may have overridden
            nn.Module.register_forward_pre_hook(layer, _Hook(run.enter, name), with_kwargs=True)
            nn.Module.register_forward_hook(layer, leave, always_call=True)
    with run, announced():
        try:
            yield
        finally:
            run.resume()  # no hook is called where a layer was interrupted
