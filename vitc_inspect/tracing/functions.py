"""A torch function as a TorchFunctionMode sees it: its name, and the tensors it writes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vitc_inspect.tracing.free_functions import OPERATORS
from vitc_inspect.tracing.tensors import tensors_of

_IN_PLACE_OPERATORS = frozenset({"__setitem__", *(f"__i{operator}__" for operator in OPERATORS)})

_UPDATES = frozenset(
    {
        *("batch_norm", "instance_norm", "native_batch_norm", "batch_norm_update_stats"),
        *("batch_norm_gather_stats", "batch_norm_gather_stats_with_counts"),
        *("cudnn_batch_norm", "miopen_batch_norm", "fused_moving_avg_obs_fake_quant"),
        *("fbgemm_linear_fp16_weight", "fbgemm_linear_fp16_weight_fp32_activation"),
        *("native_batch_norm_legit", "batch_norm_with_update", "fused_moving_avg_obs_fq_helper"),
        *("rrelu_with_noise", "rrelu_with_noise_", "cummax_helper", "cummin_helper"),
        "flash_attention_forward_no_dropout_inplace",
    }
)
"""Functions that update an argument although their name does not say so, without the underscore
of private ones."""


class TorchFunction:
    """What is known about a function before the call.

    Attributes:
        name: Its own name, for example "relu_" or "__getitem__"; for the getter of an attribute of
            a tensor, the attribute's name.
        is_getter: Whether it is such a getter.
        is_in_place: Whether it writes to its first argument, as its name says.
        writes: Whether it may write to an argument, whatever it is given by name.
    """

    __slots__ = ("_updates_any", "is_getter", "is_in_place", "name", "writes")

    def __init__(self, func: Any) -> None:
        """Read the name of a function.

        Args:
            func: What torch hands to `__torch_function__`.
        """
        self.name: str = getattr(func, "__name__", "") or type(func).__name__
        self.is_getter = self.name == "__get__"
        if self.is_getter:
            self.name = getattr(func.__self__, "__name__", "")
        base = self.name.partition(".")[0]  # of an overload of torch.ops, as "add_.Tensor"
        trailing = base.endswith("_") and not base.endswith("__")
        self.is_in_place = trailing or base in _IN_PLACE_OPERATORS
        # a private one may write to any tensor of the lists it takes, as _foreach_add_
        on_lists = trailing and base.startswith("_")
        self._updates_any = on_lists or base.lstrip("_") in _UPDATES
        self.writes = self.is_in_place or self._updates_any

    @property
    def bare_name(self) -> str:
        """The name without the underscores around it, for example "relu" for "relu_"."""
        return self.name.strip("_")

    def written(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """List the tensors that a call may overwrite in place.

        Args:
            args, kwargs: What the function is given.

        Returns:
            `out`, or the first argument of a function that works in place, by its name or because
            `inplace=True` was given. Every tensor among the arguments for a function that updates
            others, such as `batch_norm`, or an embedding with `max_norm`.
        """
        if self._updates_any or kwargs.get("max_norm") is not None:
            return tensors_of((args, kwargs))
        if self.is_in_place or kwargs.get("inplace") or kwargs.get("out") is not None:
            return tensors_of(target_of(args, kwargs))
        return []


def target_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the tensor that a function would write to: `out`, or else its first argument."""
    out = kwargs.get("out")
    if out is not None:
        return out
    return args[0] if args else next(iter(kwargs.values()), None)
