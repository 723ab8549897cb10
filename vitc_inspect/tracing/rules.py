"""The registry of rules: what a layer or a function is expected to return, hold and multiply.

Every rule is registered by `register_rule`, this package's own and those of its users.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from torch import nn
from torch.autograd import Function

from vitc_inspect.common.errors import SpecError, one_line, shortened, shown, with_article
from vitc_inspect.common.guard import REGISTERED_RULE, RuleError, reason_of
from vitc_inspect.common.validation import plain
from vitc_inspect.tracing.free_functions import plain_name
from vitc_inspect.tracing.interrupts import is_to_pass
from vitc_inspect.tracing.torch_internals import CONVOLUTION_STEP, operator_name

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a rule says of one call; a rule leaves out what it does not know."""

    out_shape: Shape | None = None
    """Shape of the first output, with the batch; None where the rule does not say."""
    params: int | None = None
    """Learned numbers of the layer; None where the rule does not say."""
    macs: int | None = None
    """Multiply-accumulates of the whole batch; None where the rule does not say."""
    rule: str = ""
    """How the shape comes about, with the numbers in it."""
    fits: bool = True
    """Whether the layer can take its input; a rule raises SpecError where it cannot."""


class FunctionCall(NamedTuple):  # made in a third of the time of a frozen dataclass
    """One call of a function, as its rule is given it."""

    args: Sequence[Any]
    """Arguments by place."""
    kwargs: Mapping[str, Any]
    """Arguments by name."""
    output: Any
    """What the function returned."""

    def argument(self, place: int, *names: str) -> Any:
        """The argument at a place or of one of these names; None where it was not given."""
        if place < len(self.args):
            return self.args[place]
        return next((self.kwargs[name] for name in names if name in self.kwargs), None)

    def shape(self, place: int, *names: str) -> Shape:
        """Shape of the tensor that is the argument at a place or of one of these names."""
        shape: Shape = self.argument(place, *names).shape
        return shape

    @property
    def out_shape(self) -> Shape:
        """Shape of what was returned; of several tensors, of the first."""
        output = self.output
        shape: Shape = (output[0] if isinstance(output, (tuple, list)) else output).shape
        return shape


Kind = type[nn.Module] | str  # a class of layers, or the name of a function
AnyRule = TypeVar("AnyRule", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    """A registered rule."""

    kind: Kind
    function: Callable[..., Any]

    @property
    def is_ours(self) -> bool:
        """Whether it is one of this package's own."""
        return _module_of(self.function).startswith("vitc_inspect.")

    def of_layer(self, layer: nn.Module, shapes: Mapping[str, Shape]) -> Expectation | None:
        """What the rule says of a layer that is given tensors of these shapes.

        Raises:
            RuleError: A user's rule raised, or returned what is no Expectation.
        """
        return self._says(layer, dict(shapes))

    def of_call(self, call: FunctionCall) -> Expectation | None:
        """What the rule says of a function's call; RuleError as `of_layer`."""
        return self._says(call)

    def _says(self, *given: Any) -> Expectation | None:
        try:
            said = self.function(*given)
        except SpecError as error:
            return Expectation(rule=str(error), fits=False)
        except BaseException as error:
            if self.is_ours or is_to_pass(error):
                raise
            raise self._error(f"raised {reason_of(error)}") from error
        if said is None or self.is_ours:
            return said  # type: ignore[no-any-return]
        if isinstance(self.kind, str) and _is_count(plain(said)):
            said = Expectation(macs=plain(said))
        if not isinstance(said, Expectation):
            raise self._error(f"returned {with_article(type(said).__name__)}, not an Expectation")
        return self._checked(said)

    def _checked(self, said: Expectation) -> Expectation:
        """The same, once all that a user's rule said is known to be of the right type."""
        try:
            shape, words = said.out_shape, said.rule
            numbers = {"params": plain(said.params), "macs": plain(said.macs)}
            listed = isinstance(shape, (tuple, list)) and len(shape) <= _MOST_AXES
            sizes = tuple(map(plain, shape)) if listed and shape is not None else None
        except Exception as error:
            raise self._error(f"returned what raised {reason_of(error)}") from error
        if (sizes is None and shape is not None) or not all(map(_is_count, sizes or ())):
            raise self._error(f"returned out_shape = {shortened(shown(shape))}, not a shape")
        for name, number in numbers.items():
            if number is not None and not _is_count(number):
                value = shortened(shown(number))
                raise self._error(f"returned {name} = {value}, not a whole number from 0 to 2^63")
        if type(words) is not str:
            raise self._error(f"returned rule = {shortened(shown(words))}, not a text")
        return Expectation(out_shape=sizes, rule=shortened(one_line(words), _MOST_SIGNS), **numbers)

    def _error(self, did: str) -> RuleError:
        name = getattr(self.function, "__name__", "") or type(self.function).__name__
        kind = self.kind if isinstance(self.kind, str) else self.kind.__name__
        return RuleError(one_line(f"{REGISTERED_RULE} {name} of {kind} {did}"))


_MOST_AXES, _MOST_SIGNS = 64, 500


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number <= 2**63


def _module_of(function: Any) -> str:
    module = getattr(function, "__module__", None)
    return module if isinstance(module, str) else ""


# ---- the registry -----------------------------------------------------------------------------

_Rules = Mapping[Kind, Rule]


class Registry:
    """All rules by what they are for; a mapping is replaced as a whole, so that readers need no
    lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.ours: _Rules = MappingProxyType({})
        """This package's own."""
        self.users: _Rules = MappingProxyType({})
        """Those of its users, which are asked first."""

    def add(self, rules: Sequence[Rule]) -> None:
        """Register rules; each takes the place of the one that was registered for its kind."""
        added = {rule.kind: rule for rule in rules}
        with self._lock:
            if rules[0].is_ours:
                self.ours = MappingProxyType({**self.ours, **added})
            else:
                self.users = MappingProxyType({**self.users, **added})

    def keep(self, wanted: Callable[[Rule], bool]) -> None:
        """Forget the users' rules that are not wanted."""
        with self._lock:
            kept = {kind: rule for kind, rule in self.users.items() if wanted(rule)}
            self.users = MappingProxyType(kept)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put the users' rules back as they are now when the block is left."""
        before = self.users
        try:
            yield
        finally:
            with self._lock:
                self.users = before


REGISTRY = Registry()


def register_rule(*kinds: Any) -> Callable[[AnyRule], AnyRule]:
    """Register the decorated function as the rule of a layer or a function.

    A rule of a layer is given the layer and the shapes of its inputs, each by its place among the
    arguments ("0", "1") or by its name. It returns an `Expectation`, or None to say nothing. The
    layer, with all inside it, is then one row of a report: what is observed of it is held against
    the rule. Where nothing could be counted in it, the MACs of the rule stand for the count.

    A rule of a function is given a `FunctionCall`. It returns an `Expectation`, the MACs alone as
    an int, or None. Its MACs are the function's count; its shape is held against what is observed.

    The rule of the nearest class in a layer's MRO is asked, as long as the layer runs that class's
    forward. A user's rule goes before this package's own for the same kind. A second rule for a
    kind takes the place of the first, so that a cell of a notebook can be run again.

    A rule that raises, or returns a wrong type, leaves its row "not checked", with the reason. A
    rule raises SpecError to say that the layer cannot take its input.

    Args:
        kinds: Classes of layers; functions that torch announces to a TorchFunctionMode: its own, a
            torch.library operator, one decorated with torch.overrides.wrap_torch_function; classes
            derived from torch.autograd.Function; or the name of a function as a report has it.

    Returns:
        A decorator, which returns the rule.

    Raises:
        SpecError: field "kind" or "rule", for what is none.

    >>> from math import prod
    >>> with temporary_rules():
    ...
    ...     @register_rule("cdist")
    ...     def cdist_macs(call: FunctionCall) -> int:
    ...         return prod(call.out_shape) * call.shape(0, "x1")[-1]
    """
    if not kinds:
        raise SpecError("kind", kinds, "no layer or function is named", _GIVE)
    keys = tuple(map(kind_of, kinds))

    def register(rule: AnyRule) -> AnyRule:
        if not callable(rule):
            reason = f"it is {with_article(type(rule).__name__)}, which cannot be called"
            raise SpecError("rule", rule, reason, "Decorate a function with register_rule(...)")
        REGISTRY.add([Rule(key, rule) for key in keys])
        return rule

    return register


def temporary_rules() -> AbstractContextManager[None]:
    """Forget, when the block is left, every rule that users registered in it, and bring back those
    that were replaced.

    >>> with temporary_rules():
    ...     rule = register_rule("my_function")(lambda call: 0)
    """
    return REGISTRY.restored()


def forget_rules(modules: Collection[str]) -> None:
    """Forget the rules that users defined in these Python modules, which are to be run again."""
    REGISTRY.keep(lambda rule: _module_of(rule.function) not in modules)


# ---- what a rule is for -----------------------------------------------------------------------

_GIVE = "Give a class of layers, or a function that torch announces"
_TELL = "Decorate it with torch.overrides.wrap_torch_function, or make it a torch.library.custom_op"


def kind_of(target: Any) -> Kind:
    """Under which kind a rule of a class or a function is registered and looked up.

    Raises:
        SpecError: field "kind".

    >>> import torch
    >>> kind_of(torch.matmul), kind_of("matmul"), kind_of(torch.ops.aten.mm)
    ('matmul', 'matmul', 'mm')
    """
    if isinstance(target, str):
        if target.isprintable() and target and " " not in target:
            return target
        raise SpecError("kind", target, "it is no name of a function", 'Use "matmul"', "matmul")
    if isinstance(target, type):
        if issubclass(target, nn.Module) and target is not nn.Module:
            return target
        if issubclass(target, Function) and target is not Function:
            return f"{target.__module__}.{target.__qualname__}"
        raise SpecError("kind", target, "it is no class of layers or autograd functions", _GIVE)
    if isinstance(target, nn.Module):
        name = type(target).__name__
        raise SpecError("kind", target, "it is one layer, not a class", f"Give {name}, its class")
    applied = getattr(target, "__self__", None)
    if isinstance(applied, type) and issubclass(applied, Function):  # MyFunction.apply
        return kind_of(applied)
    kind = function_kind(target)
    if kind is None:
        raise SpecError("kind", target, "it is neither a class nor a function", _GIVE)
    if "." in kind and not _is_announced(target):
        raise SpecError("kind", target, "torch does not announce its calls", _TELL)
    return kind


def function_kind(function: Any) -> str | None:
    """The name that tells a function from all others; None for what is none.

    A function of torch has its bare name, an operator that of its library before it, and any
    other function that of its module.
    """
    operator = operator_name(function)
    if operator is not None:
        return operator
    bare = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(bare, str):
        return None
    home = _module_of(function) or _module_of(getattr(function, "__objclass__", None))
    is_torchs = home.partition(".")[0] == "torch"
    return bare if is_torchs else f"{home}.{getattr(function, '__qualname__', bare)}"


def _is_announced(function: Any) -> bool:
    """Whether a Python function hands its calls to torch.overrides, as its code says."""
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    return any(name.startswith(("has_torch_function", "handle_torch_function")) for name in names)


# ---- looking rules up -------------------------------------------------------------------------


def layer_rule(layer: nn.Module) -> Rule | None:
    """The rule of the nearest class in the layer's MRO whose forward the layer runs."""
    return None if "forward" in vars(layer) else _rule_of_class(type(layer))


def is_users_layer(kind: type[nn.Module]) -> bool:
    """Whether the rule of a class of layers is a user's."""
    rule = _rule_of_class(kind) if REGISTRY.users else None
    return rule is not None and not rule.is_ours


def _rule_of_class(kind: type[nn.Module]) -> Rule | None:
    users, ours = REGISTRY.users, REGISTRY.ours
    for ancestor in kind.__mro__:
        rule = users.get(ancestor) or ours.get(ancestor)
        # the same forward, and the same helper that a convolution's forward calls
        if rule is not None and all(
            getattr(kind, name, None) is getattr(ancestor, name, None)
            for name in ("forward", CONVOLUTION_STEP)
        ):
            return rule
    return None


def users_rule_of_function(function: Any, name: str) -> Rule | None:
    """The rule that a user registered for a function.

    Args:
        function: The function.
        name: The name by which it is recorded.
    """
    users = REGISTRY.users
    if not users:
        return None
    kinds = (function_kind(function) or name, name, plain_name(name))
    return next((users[kind] for kind in kinds if kind in users), None)


def our_rule_of_function(name: str) -> Rule | None:
    """This package's rule of a function of torch, also of one that writes to its argument."""
    return REGISTRY.ours.get(name) or REGISTRY.ours.get(plain_name(name))
