"""The data flow of one forward pass: the function that made each tensor, and its inputs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitc_inspect.common.guard import reason_of, strict_rules
from vitc_inspect.tracing.function_kinds import SUMS
from vitc_inspect.tracing.functions import TorchFunction
from vitc_inspect.tracing.interrupts import EndOfRun, is_to_pass
from vitc_inspect.tracing.module_tree import Contents, contents_of, evaluate
from vitc_inspect.tracing.positions import (
    MAX_NUMBERS,
    Positions,
    TracedTensor,
    moved_positions,
    unmoved_positions,
)
from vitc_inspect.tracing.restore import (
    ONE_AT_A_TIME,
    Parameters,
    as_it_was,
    leave_mode,
    memory_of,
    version_of,
    without_fast_path,
)
from vitc_inspect.tracing.tensors import copied, tensors_copied, tensors_of

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "batch_norm": ("input", "running_mean", "running_var", "weight", "bias", "training"),
    "getitem": ("input", "index"),
    "select": ("input", "dim", "index"),
    "softmax": ("input", "dim"),
    "mean": ("input", "dim"),
    "sum": ("input", "dim"),
    "cat": ("tensors", "dim"),
    "pad": ("input", "pad"),
    "conv1d": ("input", "weight"),
    "einsum": ("equation",),
    "unfold": ("input", "kernel_size", "dilation", "padding", "stride"),  # of nn.functional
}  # of functions whose arguments count


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One call of a torch function on a traced tensor."""

    index: int
    """Which step it is, counted from 0."""
    name: str
    """The function, without the underscores of its name."""
    sources: tuple[TracedTensor, ...]
    """The tensors it was given."""
    outputs: tuple[TracedTensor, ...]
    """The tensors it returned; empty where it raised."""
    given: Mapping[str, Any]
    """Its other arguments by name, where the function is one whose arguments count."""
    added: Tensor | None = None
    """What a sum adds that does not depend on an input, as a position table."""

    @property
    def picks(self) -> bool:
        """Whether the function selects values by index or stride, which is taken as intended."""
        if self.name == "getitem":
            index = self.given["index"]
            each = index if isinstance(index, tuple) else (index,)
            return any(
                isinstance(at, (Tensor, list))
                or (isinstance(at, slice) and at.step not in (None, 1))
                for at in each
            )
        if self.name == "unfold":  # of nn.functional
            return self.given.get("dilation", 1) not in (1, (1, 1), [1, 1])
        return self.name in ("index_select", "gather", "take_along_dim", "embedding")

    @property
    def layer(self) -> str:
        """Name of the layer whose parameter the function is given; "" where there is none."""
        name = next((known.name for known in self.sources[1:] if known.name), "")
        return name.rpartition(".")[0]

    @property
    def of_image(self) -> tuple[TracedTensor, ...]:
        """The source tensors that depend on an input."""
        return tuple(known for known in self.sources if known.of_image)


@dataclass(eq=False)
class Flow:
    """Every function called on inputs, or on tensors computed from them, in order."""

    module: nn.Module
    """The module that ran."""
    inputs: Sequence[Any]
    """Arguments of its forward."""
    kwargs: Mapping[str, Any]
    """Its arguments by name."""
    steps: list[Step] = field(default_factory=list)
    """The functions that got something that is followed."""
    outputs: tuple[TracedTensor, ...] = ()
    """What the module returned; empty where it raised."""
    error: BaseException | None = None
    """What it raised."""
    failed: Step | None = None
    """The function that raised, where one did."""
    changed: tuple[str, ...] = ()
    """Names of the parameters and buffers that the run wrote to or replaced."""

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, of which the module gets copies."""
        return tensors_copied((self.inputs, self.kwargs))

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps, and behind them the function that raised, where one did."""
        return (*self.steps, self.failed) if self.failed else tuple(self.steps)

    def again(self, instead: Mapping[int, Tensor], *, until: int | None = None) -> Flow:
        """Follow the same module on other tensors, as `follow` does."""
        return follow(self.module, self.inputs, self.kwargs, instead=instead, until=until)


class FollowError(RuntimeError):
    """The data flow could not be traced, although the module itself may run."""


class _StepReached(EndOfRun):
    """Ends a run that has reached its last step."""


def follow(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    instead: Mapping[int, Tensor] | None = None,
    until: int | None = None,
) -> Flow:
    """Run a module once in evaluation mode and record its data flow.

    Args:
        module: Any module; it is left as it was.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.
        instead: Tensors in the place of some of these, by the id of each.
        until: Number of the last step that is wanted; None for the whole run.

    Returns:
        What was seen; also when the forward raises.

    Raises:
        SpecError: field "module", if it is not a module or has parameters without a shape.
    """
    flow = Flow(module, inputs, kwargs)
    _run(flow, dict(instead or {}), until=until, grad=False)
    return flow


def output_of_step(
    flow: Flow,
    step: int,
    *,
    image: tuple[Tensor, Tensor],
    grad: bool = False,
    drawn: bool = False,
) -> Tensor | None:
    """Run a module on another image, up to one step of its data flow.

    Args:
        flow: Another run of the module.
        step: Number of the step.
        image: One of the inputs, and what stands in its place.
        grad: Whether autograd is on.
        drawn: Whether weights that are all zero get random numbers, as in `draw_weights`.

    Returns:
        What the step gave; None where the run does not get that far.
    """
    before, instead = image
    fresh = Flow(flow.module, flow.inputs, flow.kwargs)
    return _run(fresh, {id(before): instead}, until=step, grad=grad, drawn=drawn)


def draw_weights(weights: Iterable[Tensor], seed: int | None = None) -> None:
    """Draw random values for weights that are all zero, or for all weights.

    Many heads and branches start at zero, and would hide what is behind them.

    Args:
        weights: The parameters of a module that is within `as_it_was`.
        seed: Draws all of them; None draws those that are all zero.
    """
    draw = torch.Generator().manual_seed(seed or 0)
    for weight in weights:
        plain = weight.layout == torch.strided and not (weight.is_meta or weight.is_inference())
        plain = plain and weight.numel() > 0
        if plain and weight.is_floating_point() and (seed is not None or not weight.any()):
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            drawn = torch.randn(weight.shape, generator=draw) / fan_in**0.5
            # a copy into it would count as a change of what autograd has kept
            weight.data = drawn.to(weight)


def _run(
    flow: Flow,
    instead: dict[int, Tensor],
    *,
    until: int | None,
    grad: bool,
    drawn: bool = False,
) -> Tensor | None:
    """Write down a run in a fresh flow, and return what the last step that is wanted gave."""
    module, contents = flow.module, contents_of(flow.module)
    with ONE_AT_A_TIME, torch.inference_mode(False), as_it_was(contents) as parameters:
        given, named = copied((tuple(flow.inputs), dict(flow.kwargs)), instead)
        before = _versions(contents)
        watcher = _FlowRecorder(flow, contents, parameters, tensors_copied((given, named)), until)
        try:
            evaluate(module, contents)
        except Exception as error:  # noqa: BLE001  # it is the user's code
            raise FollowError(f"the module refuses to be evaluated, {reason_of(error)}") from None
        if drawn:
            draw_weights(contents.parameters)
        with torch.set_grad_enabled(grad), without_fast_path():
            try:
                with watcher:
                    output = module(*given, **named)
                flow.outputs = tuple(map(watcher.known, tensors_of(output)))
            except _StepReached:
                pass
            # whatever the user's code raises, also where it asks to leave the program
            except BaseException as error:
                if is_to_pass(error):
                    raise
                flow.error = error.with_traceback(None)
            finally:
                watcher.forget()
        after = _versions(contents_of(module))
        flow.changed = tuple(name for name in before if after.get(name) != before[name])
    if watcher.broken:
        if strict_rules():
            raise watcher.broken
        raise FollowError(reason_of(watcher.broken))
    return watcher.result


def _versions(contents: Contents) -> dict[str, tuple[int, int, int]]:
    """The tensor under each name, the address of its data, and how often it was written to."""
    return {
        name: (id(value), memory_of(value), version_of(value)) for name, value in contents.named
    }


_Before = tuple[str, list[Tensor], tuple[TracedTensor, ...]]  # name, tensors, what is known of each
_Any = TypeVar("_Any")


class SavedParameters(TorchFunctionMode):
    """A function mode that saves parameters before a function writes to them."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self._parameters = parameters

    def __exit__(self, *raised: Any) -> None:
        """Save no more."""
        leave_mode(self)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function; in its body this mode is off."""
        kwargs = kwargs or {}
        for each in TorchFunction(func).written(args, kwargs):
            self._parameters.save(each)
        return func(*args, **kwargs)


class _FlowRecorder(TorchFunctionMode):
    """Records the data flow while a module runs."""

    def __init__(
        self,
        flow: Flow,
        contents: Contents,
        parameters: Parameters,
        inputs: Sequence[Tensor],
        until: int | None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.result: Tensor | None = None
        self.broken: Exception | None = None
        self._parameters = parameters
        self._until = until
        self._tensors: dict[int, tuple[weakref.ref[Tensor], TracedTensor]] = {}
        for name, value in contents.named:
            shape = tuple(value.shape)
            table = Positions(name, shape) if 2 <= len(shape) <= 4 else None
            self._know(value, TracedTensor(shape, name=name, positions=table))
        for at, tensor in enumerate(inputs):
            shape = tuple(tensor.shape)
            self._know(
                tensor, TracedTensor(shape, image=at, of_image=True, positions=Positions(-1, shape))
            )

    def __exit__(self, *raised: Any) -> None:
        """Record no more functions."""
        leave_mode(self)

    def known(self, tensor: Tensor) -> TracedTensor:
        """What is known of a tensor; its shape at least."""
        reference, known = self._tensors.get(id(tensor), (None, None))
        if reference is not None and known is not None and reference() is tensor:
            return known
        return TracedTensor(tuple(tensor.shape))

    def forget(self) -> None:
        """Let go of every tensor but the result."""
        self._tensors.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function; in its body this mode is off."""
        kwargs = kwargs or {}
        before = self._guarded(self._before, func, args, kwargs)
        try:
            output = func(*args, **kwargs)
        except Exception:
            if before:
                name, _, sources = before
                given = _given(func, name, args, kwargs)
                self.flow.failed = Step(-1, name, sources, (), given)
            raise
        if before:
            self._guarded(self._write_down, func, args, kwargs, before, output)
        return output

    def _guarded(self, rule: Callable[..., _Any], *args: Any) -> _Any | None:
        """Apply a rule of this mode; once one has failed, the module runs on unrecorded."""
        if self.broken is not None:
            return None
        try:
            return rule(*args)
        # raised here, a mistake of this file's would pass for one of the module's
        except Exception as error:  # noqa: BLE001
            self.broken = error
            return None

    def _before(self, func: Any, args: Any, kwargs: Any) -> _Before:
        """The function's name, the tensors it is given, and what is known of each."""
        function = TorchFunction(func)
        name = function.bare_name
        for each in function.written(args, kwargs):
            self._parameters.save(each)
        tensors = tensors_of((args, kwargs))
        return name, tensors, tuple(map(self.known, tensors[:1] if name in _LIKE else tensors))

    def _write_down(self, func: Any, args: Any, kwargs: Any, before: _Before, output: Any) -> None:
        """Record what a function made of what is followed."""
        name, tensors, sources = before
        produced = tensors_of(output)
        if not produced or not any(source.of_image or source.positions for source in sources):
            return
        index = len(self.flow.steps)
        moved = moved_positions(func, name, args, kwargs, tensors, sources, produced)
        of_image = any(source.of_image for source in sources)
        given = _given(func, name, args, kwargs)
        outputs = []
        for at, tensor in enumerate(produced):
            shape = tuple(tensor.shape)
            positions = (
                moved(at) if moved else unmoved_positions(name, index, shape, sources, given)
            )
            known = TracedTensor(shape, step=index, of_image=of_image, positions=positions)
            self._know(tensor, known)
            outputs.append(known)
        added = _added(tensors, sources) if name in SUMS else None
        self.flow.steps.append(Step(index, name, sources, tuple(outputs), given, added))
        if index == self._until:
            self.result = produced[0]
            raise _StepReached

    def _know(self, tensor: Tensor, known: TracedTensor) -> None:
        self._tensors[id(tensor)] = weakref.ref(tensor), known


_LIKE = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})  # the second only shows how


def _given(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, shapes for tensors; nothing for a function that is not listed."""
    names = _ARGUMENTS.get(name)
    if names is None or func is Tensor.unfold:  # which slides along one axis and skips nothing
        return {}
    bound = {**dict(zip(names, args, strict=False)), **kwargs}
    return {
        key: tuple(value.shape) if isinstance(value, Tensor) and key != "index" else value
        for key, value in bound.items()
    }


def _added(tensors: Sequence[Tensor], sources: Sequence[TracedTensor]) -> Tensor | None:
    """What a sum adds to something of the image that does not itself depend on one."""
    others = [
        tensor
        for tensor, known in zip(tensors, sources, strict=True)
        if not known.of_image and tensor.ndim and tensor.numel() <= MAX_NUMBERS
    ]
    return others[0].detach() if len(others) == 1 and len(tensors) == 2 else None
