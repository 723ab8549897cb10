"""One forward pass of anybody's module, written down call by call: modules and functions alike.

What hears of them are guests: they leave the module, torch and the random numbers as they found
them, also when the forward raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitc_inspect.common.guard import attempted
from vitc_inspect.tracing.autograd_functions import announced
from vitc_inspect.tracing.call_builder import Row, calls_of
from vitc_inspect.tracing.listener import Run, outputs_of
from vitc_inspect.tracing.module_tree import Contents, contents_of
from vitc_inspect.tracing.recording import Recording, Value, tensors_given, tensors_in, values_of
from vitc_inspect.tracing.restore import (
    ONE_AT_A_TIME,
    Parameters,
    as_it_was,
    copied,
    without_fast_path,
)
from vitc_inspect.tracing.tracebacks import Stop
from vitc_inspect.tracing.uncalled import (
    fast_path_notes,
    never_called,
    shared_notes,
    unregistered_notes,
)


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
        run = Run(contents, parameters, keep_bytes, keep_each)
        missed = run.missed
        notes = attempted(missed, _NOTES, (), fast_path_notes, contents.layers)
        with torch.inference_mode(False), torch.no_grad(), without_fast_path(), _listening(run):
            outputs, failure = outputs_of(run, module, given, named)
    if failure is None and not outputs:
        notes = (*notes, f"The forward returned {run.returned} and no tensor.")
    calls = attempted(missed, "the rows", (), calls_of, run.rows, run.roles, run.weights)
    return Recording(
        calls=calls,
        inputs=attempted(missed, "what was given", (), _values_given, given, named),
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


def _values_given(given: Sequence[Any], named: Mapping[str, Any]) -> tuple[Value, ...]:
    return values_of(tensors_given(given, named))


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
                # how it may fail before it comes there, the run before has told
                outputs_of(run, module, given, named)
    found: Seen | None = run.found
    return found


class _SeenEnough(Stop):
    """Ends a run that has come to the call it was made for; no handler of the user's catches it."""


class _Look(Run):
    """A run for the sake of one call, which ends there."""

    def __init__(self, contents: Contents, parameters: Parameters, call: int) -> None:
        super().__init__(contents, parameters, 0)
        self._call_wanted = call
        self.look: Callable[[Tensor], Any] = lambda output: None
        self.found: Any = None

    def finish(self, row: Row, output: Any) -> None:
        """Look, where it is the row; einops' rows may be finished again by a later step."""
        super().finish(row, output)
        at = self._call_wanted
        if len(self.rows) <= at or self.rows[at] is not row:
            return
        tensors = tensors_in(output)
        self.found = self.look(self.batched(tensors[0][1])) if tensors else None
        if not row.name.startswith("einops."):
            raise _SeenEnough


# ---- guests leave nothing behind ------------------------------------------------------------


class _Hook(partial[None]):
    """A hook that a copy of its module does not have, be it made by copy or by pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_hear_nothing,)


def _hear_nothing(*_: Any) -> None:
    """What a copied hook does."""


@contextmanager
def _listening(run: Run) -> Iterator[None]:
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
    with run, announced():
        try:
            yield
        finally:
            run.come_back()  # no hook is called where a layer was interrupted
