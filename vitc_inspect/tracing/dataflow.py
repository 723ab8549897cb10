"""How numbers travel through anybody's module: which function made each tensor, and from where.

A map's numbers are followed by their places: wherever a function only moves numbers, it moves a
map of whole numbers along, each of which says where it stood.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from vitc_inspect.common.guard import reason_of, strict_rules
from vitc_inspect.tracing.functions import TorchFunction
from vitc_inspect.tracing.module_tree import Contents, contents_of, evaluate
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
from vitc_inspect.tracing.tracebacks import Stop, is_to_pass

MOVES = frozenset(
    {
        *("reshape", "view", "flatten", "unflatten", "permute", "transpose", "swapaxes"),
        *("swapdims", "movedim", "moveaxis", "squeeze", "unsqueeze", "t", "T", "mT", "getitem"),
        *("select", "narrow", "chunk", "split", "unbind", "expand", "expand_as", "view_as"),
        *("reshape_as", "flip", "roll", "rot90", "embedding", "index_select", "gather"),
        *("take_along_dim", "repeat", "tile", "unfold"),
    }
)
"""Functions that move numbers, leave some out or take some several times, and change none."""

COPIES = frozenset(
    {
        *("clone", "contiguous", "detach", "to", "type", "type_as", "float", "half", "double"),
        *("bfloat16", "cpu", "cuda", "requires_grad", "data", "dropout", "dropout1d", "dropout2d"),
        *("alpha_dropout", "feature_dropout", "identity"),
    }
)
"""Functions that hand their first argument on as it is, when the module is in evaluation mode."""

ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "gelu", "silu", "hardswish", "leaky_relu", "elu", "celu", "selu"),
        *("mish", "softplus", "softsign", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "prelu"),
        *("hardshrink", "softshrink", "tanhshrink", "logsigmoid", "threshold", "rrelu", "clamp"),
        *("clamp_min", "abs", "exp", "square", "pow", "sin", "cos"),
    }
)
"""Functions of each number by itself that are not affine."""

NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
"""Functions that normalise and leave each number in its place."""

JOINS = frozenset({"cat", "concat", "concatenate"})
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
SUMS = frozenset({"add", "sub", "iadd", "isub", "radd", "rsub"})
SCALINGS = frozenset({"mul", "div", "imul", "itruediv", "truediv", "rmul", "multiply", "divide"})

_IN_PLACE_OF_NUMBERS = COPIES | ACTIVATIONS | NORMS | SUMS | SCALINGS  # each stays where it was

_MAPPERS = frozenset(
    {
        *("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
        *("adaptive_max_pool2d", "pad", "interpolate", "upsample", "lp_pool2d", "pixel_shuffle"),
        *("pixel_unshuffle",),
    }
)  # functions that make a map of a map
_MOST_NUMBERS = 2**24  # of a map whose places are followed

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


def _count(numbers: int) -> Tensor:
    return torch.arange(numbers, dtype=torch.int32)


@dataclass(frozen=True, eq=False, slots=True)
class Places:
    """Where the numbers of a tensor stood in the map or the table that they come from."""

    origin: int | str
    """Number of the step that made the map, or name of the parameter; -1 for an input."""
    shape: tuple[int, ...]
    """Shape of the map or the table."""
    moved: Tensor | None = None
    """Place of each number, counted row by row from 0; None where none has moved."""

    def numbers(self) -> Tensor:
        """The place of each number, in the shape of the tensor."""
        if self.moved is not None:
            return self.moved
        return _count(prod(self.shape)).view(self.shape)


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What is known of one tensor."""

    shape: tuple[int, ...]
    """Its shape, with the batch."""
    step: int | None = None
    """Number of the step that made it; None for an input, a parameter and what is not followed."""
    image: int | None = None
    """Which of the module's inputs it is, counted from 0."""
    name: str = ""
    """Name of the parameter or buffer that it is."""
    of_image: bool = False
    """Whether it depends on an input."""
    places: Places | None = None
    """Where its numbers come from, as long as they are only moved."""

    @property
    def at_home(self) -> bool:
        """Whether its numbers stand where they stood in the map, or have come back to it."""
        if self.places is None or self.shape != self.places.shape:
            return False
        moved = self.places.moved
        return moved is None or torch.equal(moved.flatten(), _count(moved.numel()))


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One call of a function of torch on something that is followed."""

    index: int
    """Which step it is, counted from 0."""
    name: str
    """The function, without the underscores of its name."""
    sources: tuple[Known, ...]
    """The tensors it was given."""
    outputs: tuple[Known, ...]
    """The tensors it returned; empty where it raised."""
    given: Mapping[str, Any]
    """Its other arguments by name, where the function is one whose arguments count."""
    added: Tensor | None = None
    """What a sum adds that does not depend on an input, as a position table."""

    @property
    def picks(self) -> bool:
        """Whether it takes numbers by an index or at intervals, as nobody does by mistake."""
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
    def of_image(self) -> tuple[Known, ...]:
        """Those of its tensors that depend on an input."""
        return tuple(known for known in self.sources if known.of_image)


@dataclass(eq=False, slots=True)
class Flow:
    """Everything that one forward pass did with its inputs, in order."""

    steps: list[Step] = field(default_factory=list)
    """The functions that got something that is followed."""
    outputs: tuple[Known, ...] = ()
    """What the module returned; empty where it raised."""
    error: BaseException | None = None
    """What it raised."""
    failed: Step | None = None
    """The function that raised, where one did."""
    changed: tuple[str, ...] = ()
    """Names of the parameters and buffers that the run wrote to or replaced."""


class FollowError(RuntimeError):
    """The numbers could not be followed, which the run alone would not have shown."""


class _Arrived(Stop):
    """The step that is waited for has been taken."""


def follow(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    instead: Mapping[int, Tensor] | None = None,
    until: int | None = None,
) -> Flow:
    """Run a module once in evaluation mode and write down how its numbers travel.

    Args:
        module: Any module; it is left as it was.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.
        instead: Tensors in the place of some of these, by the id of each.
        until: Number of the last step that is wanted; None for the whole run.

    Returns:
        What was seen; also when the forward raises.

    Raises:
        SpecError: field "module", for what is no module or has parameters without a shape.
    """
    watcher = _run(module, inputs, kwargs, dict(instead or {}), until=until, grad=False)
    return watcher.flow


def output_of_step(
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    step: int,
    *,
    image: tuple[Tensor, Tensor],
    grad: bool = False,
    drawn: bool = False,
) -> Tensor | None:
    """Run a module with another image, up to one step of its flow.

    Args:
        module, inputs, kwargs: As in `follow`.
        step: Number of the step.
        image: One of the inputs, and what stands in its place.
        grad: Whether autograd is on.
        drawn: Whether weights that are all zero get random numbers, as in `draw_weights`.

    Returns:
        What the step gave; None where the run does not get that far.
    """
    before, instead = image
    watcher = _run(
        module, inputs, kwargs, {id(before): instead}, until=step, grad=grad, drawn=drawn
    )
    return watcher.result


def draw_weights(weights: Iterable[Tensor], seed: int | None = None) -> None:
    """Give weights that are all zero random numbers, or all weights others, until put back.

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
    module: nn.Module,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    instead: dict[int, Tensor],
    *,
    until: int | None,
    grad: bool,
    drawn: bool = False,
) -> _Watcher:
    contents = contents_of(module)
    with ONE_AT_A_TIME, torch.inference_mode(False), as_it_was(contents) as parameters:
        given, named = copied((tuple(inputs), dict(kwargs)), instead)
        before = _versions(contents)
        watcher = _Watcher(contents, parameters, tensors_copied((given, named)), until)
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
                watcher.flow.outputs = tuple(map(watcher.known, tensors_of(output)))
            except _Arrived:
                pass
            # whatever the user's code raises, also where it asks to leave the program
            except BaseException as error:
                if is_to_pass(error):
                    raise
                watcher.flow.error = error.with_traceback(None)
            finally:
                watcher.forget()
        after = _versions(contents_of(module))
        watcher.flow.changed = tuple(name for name in before if after.get(name) != before[name])
    if watcher.broken:
        if strict_rules():
            raise watcher.broken
        raise FollowError(reason_of(watcher.broken))
    return watcher


def _versions(contents: Contents) -> dict[str, tuple[int, int, int]]:
    """Which tensor stands under each name, where its memory is, and how often it was written to."""
    return {
        name: (id(value), memory_of(value), version_of(value)) for name, value in contents.named
    }


_Before = tuple[str, list[Tensor], tuple[Known, ...]]  # name, tensors, what is known of each
_Any = TypeVar("_Any")


class Saving(TorchFunctionMode):
    """Has parameters saved before a function writes to them."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self._parameters = parameters

    def __exit__(self, *raised: Any) -> None:
        """Save no more."""
        leave_mode(self)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function is called; inside it this mode is off."""
        kwargs = kwargs or {}
        for each in TorchFunction(func).written(args, kwargs):
            self._parameters.save(each)
        return func(*args, **kwargs)


class _Watcher(TorchFunctionMode):
    """Hears of every function of torch while a module runs."""

    def __init__(
        self,
        contents: Contents,
        parameters: Parameters,
        inputs: Sequence[Tensor],
        until: int | None,
    ) -> None:
        super().__init__()
        self.flow = Flow()
        self.result: Tensor | None = None
        self.broken: Exception | None = None
        self._parameters = parameters
        self._until = until
        self._tensors: dict[int, tuple[weakref.ref[Tensor], Known]] = {}
        for name, value in contents.named:
            shape = tuple(value.shape)
            table = Places(name, shape) if 2 <= len(shape) <= 4 else None
            self._know(value, Known(shape, name=name, places=table))
        for at, tensor in enumerate(inputs):
            shape = tuple(tensor.shape)
            self._know(tensor, Known(shape, image=at, of_image=True, places=Places(-1, shape)))

    def __exit__(self, *raised: Any) -> None:
        """Hear of nothing more."""
        leave_mode(self)

    def known(self, tensor: Tensor) -> Known:
        """What is known of a tensor; its shape at least."""
        reference, known = self._tensors.get(id(tensor), (None, None))
        if reference is not None and known is not None and reference() is tensor:
            return known
        return Known(tuple(tensor.shape))

    def forget(self) -> None:
        """Let go of every tensor but the result."""
        self._tensors.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function is called; inside it this mode is off."""
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
        """Do what this mode does; once that has failed, the module runs on unheard."""
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
        """Remember what a function made of what is followed."""
        name, tensors, sources = before
        produced = tensors_of(output)
        if not produced or not any(source.of_image or source.places for source in sources):
            return
        index = len(self.flow.steps)
        moved = _moved(func, name, args, kwargs, tensors, sources, produced)
        of_image = any(source.of_image for source in sources)
        given = _given(func, name, args, kwargs)
        outputs = []
        for at, tensor in enumerate(produced):
            shape = tuple(tensor.shape)
            places = moved(at) if moved else _stayed(name, index, shape, sources, given)
            known = Known(shape, step=index, of_image=of_image, places=places)
            self._know(tensor, known)
            outputs.append(known)
        added = _added(tensors, sources) if name in SUMS else None
        self.flow.steps.append(Step(index, name, sources, tuple(outputs), given, added))
        if index == self._until:
            self.result = produced[0]
            raise _Arrived

    def _know(self, tensor: Tensor, known: Known) -> None:
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


def _added(tensors: Sequence[Tensor], sources: Sequence[Known]) -> Tensor | None:
    """What a sum adds to something of the image that does not itself depend on one."""
    others = [
        tensor
        for tensor, known in zip(tensors, sources, strict=True)
        if not known.of_image and tensor.ndim and tensor.numel() <= _MOST_NUMBERS
    ]
    return others[0].detach() if len(others) == 1 and len(tensors) == 2 else None


def _stayed(
    name: str,
    index: int,
    shape: tuple[int, ...],
    sources: Sequence[Known],
    given: Mapping[str, Any],
) -> Places | None:
    """The places of what was not moved: a new map, or numbers that stay where they were."""
    of_image = any(each.of_image for each in sources)
    if name == "pad" and not sources[0].at_home:
        return None  # which of its sides are padded is not known
    if name in JOINS:
        return Places(index, shape) if of_image and _joins_channels(sources, given) else None
    if name in _MAPPERS:
        # a table that is resized is a map as well
        followed = of_image or sources[0].places is not None
        return Places(index, shape) if followed and len(shape) == 4 else None
    if name not in _IN_PLACE_OF_NUMBERS:
        return None
    same = [each for each in sources if each.places and each.shape == shape]
    if not of_image:
        return same[0].places if len(same) == 1 else None
    kept = [each for each in same if each.of_image]
    others = [each for each in sources if each.of_image and each not in kept]
    if len(kept) == 1 and not others:
        return kept[0].places
    # several maps make a new one; what is mixed with anything else has no place any more
    at_home = kept and all(each.places and each.places.moved is None for each in kept)
    return Places(index, shape) if at_home else None


def _joins_channels(sources: Sequence[Known], given: Mapping[str, Any]) -> bool:
    """Whether maps are joined along their channels."""
    maps = all(each.of_image and len(each.shape) == 4 and each.at_home for each in sources)
    return maps and given.get("dim", 0) in (1, -3)


def _moved(
    func: Any,
    name: str,
    args: Any,
    kwargs: Any,
    tensors: Sequence[Tensor],
    sources: Sequence[Known],
    produced: Sequence[Tensor],
) -> Callable[[int], Places | None] | None:
    """The places of what a function moves, for each of its outputs; None where it moves nothing."""
    if name == "embedding" and len(tensors) > 1:
        table = sources[1].places
        if table is None or prod(produced[0].shape) > _MOST_NUMBERS:
            return lambda at: None
        taken = table.numbers()[tensors[0].cpu()]
        return lambda at: Places(table.origin, table.shape, taken)
    tables = name in JOINS and not any(each.of_image for each in sources)
    if tables or (name in JOINS | {"stack"} and _are_pixels(sources)):
        joined = _joined(func, args, kwargs, tensors, sources)
        return lambda at: joined
    if name not in MOVES or not tensors:
        return None
    places = sources[0].places
    if places is None or prod(sources[0].shape) > _MOST_NUMBERS:
        return lambda at: None
    numbers = places.numbers().detach()  # another tensor, for what turns its argument in place
    if func is functional.unfold:
        func, args, kwargs = _unfold_places, (numbers, *args[1:]), _without(kwargs, "input")
    if name in ("view", "reshape"):
        if any(isinstance(each, torch.dtype) for each in (*args, *kwargs.values())):
            return lambda at: None
        func = torch.Tensor.reshape  # a view may not fit the order in memory of these numbers
    try:
        found = tensors_of(
            func(
                *(numbers if each is tensors[0] else each for each in args),
                **{key: numbers if each is tensors[0] else each for key, each in kwargs.items()},
            )
        )
    except (RuntimeError, TypeError, IndexError):  # indices that lie on another device
        return lambda at: None
    if [tuple(each.shape) for each in found] != [tuple(each.shape) for each in produced]:
        return lambda at: None
    return lambda at: Places(places.origin, places.shape, found[at])


def _are_pixels(sources: Sequence[Known]) -> bool:
    """Whether these are parts of one image, as patches that are cut one by one."""
    places = [each.places for each in sources if each.of_image]
    whole = any(each.image is not None for each in sources)  # joined to itself, as for a batch
    return (
        not whole
        and len(places) == len(sources)
        and all(each is not None and each.origin == -1 for each in places)
    )


def _joined(
    func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor], sources: Sequence[Known]
) -> Places | None:
    """Places in parts of a table that are joined, -1 for others, as a class token's entry.

    None where parts of several tables are joined, unless the longest was resized.
    """
    longest = max(sources, key=lambda each: prod(each.shape)).places
    if longest is None or sum(prod(each.shape) for each in sources) > _MOST_NUMBERS:
        return None
    numbers = []
    for tensor, known in zip(tensors, sources, strict=True):
        same = known.places is not None and known.places.origin == longest.origin
        if not same and isinstance(longest.origin, str):
            return None
        nowhere = torch.full(tuple(tensor.shape), -1, dtype=torch.int32)
        numbers.append(known.places.numbers() if same and known.places else nowhere)
    try:
        if args:
            joined = func(numbers, *args[1:], **kwargs)
        else:
            joined = func(**{**kwargs, "tensors": numbers})
    except (RuntimeError, TypeError, IndexError):
        return None
    return Places(longest.origin, longest.shape, joined)


def _without(kwargs: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != name}


def _unfold_places(numbers: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Places in windows; -1 where a window lies on the padding, which torch fills with 0."""
    windows = functional.unfold((numbers + 1).double(), *args, **kwargs)
    return windows.round().to(torch.int32) - 1
