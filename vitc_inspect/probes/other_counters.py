"""MACs of a model by other counters, each with its convention and what it omits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from vitc_inspect.common.errors import first_three
from vitc_inspect.model.devices import resolve_device
from vitc_inspect.model.modules import build
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.prediction import Prediction, predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import Trace, layers_of, trace
from vitc_inspect.tracing.torch_internals import (
    UNCOUNTED_ATTENTION,
    TorchDispatchMode,
    operation_of,
)

Status = Literal["complete", "partial", "unavailable"]


@dataclass(frozen=True, kw_only=True)
class Witness:
    """The MACs found by one counter."""

    name: str
    """Name of the counter: "closed form", "hooks", "PyTorch dispatcher", "torchinfo" or
    "FlopCounterMode as it comes"."""
    macs: int | None
    """Multiply-accumulates for one image; None if it could not count."""
    convention: str
    """Its convention of what one multiply-accumulate is, in words."""
    status: Status
    """"complete" if no multiplication is left out as far as it can tell."""
    reason: str
    """A sentence on why it is incomplete or differs from the closed form; else empty."""
    layers: Mapping[str, int]
    """Multiply-accumulates by layer, for the layers it distinguishes."""


def closed_form(prediction: Prediction) -> Witness:
    """Count the MACs of the prediction."""
    return Witness(
        name="closed form",
        macs=prediction.macs,
        convention="one multiply-accumulate counts 1; bias, norm, activation and softmax count 0",
        status="complete",
        reason="",
        layers={layer.name: layer.macs for layer in prediction.layers},
    )


def _witness(
    name: str,
    macs: int,
    convention: str,
    layers: Mapping[str, int],
    reason: str,
    lacks: Sequence[str],
) -> Witness:
    """A count that is partial if it lacks something, which the reason names."""
    return Witness(
        name=name,
        macs=macs,
        convention=convention,
        status="partial" if lacks else "complete",
        reason=reason.format(first_three(lacks)) if lacks else "",
        layers=layers,
    )


def hooks(trace: Trace) -> Witness:
    """Count the MACs of the layers that ran, from the shapes observed by hooks."""
    unknown = [record.name for record in trace.records if record.macs is None]
    batch = trace.records[0].in_shape[0]
    total = sum(record.macs or 0 for record in trace.records) // batch
    convention = "the same, for every module that ran"
    layers = {
        record.name: record.macs // batch for record in trace.records if record.macs is not None
    }
    return _witness("hooks", total, convention, layers, "It has no count for {}.", unknown)


def dispatcher(module: nn.Module, input: Tensor) -> tuple[Witness, Witness]:
    """Count MACs with FlopCounterMode, with and without formulas it lacks for attention.

    Args:
        module: The model, in evaluation mode.
        input: (1, c, h, w), on the model's device and in its dtype.

    Returns:
        The count with the added formulas, partial if an operation ran that has no formula and is
        not known to be free of multiplications; and the count without them, partial likewise.

    Source:
        torch.utils.flop_counter; the missing formula is pytorch/pytorch#195460.
    """
    seen = _Operations()
    counter = FlopCounterMode(display=False, custom_mapping=dict(_MISSING_FORMULAS))
    with torch.no_grad(), counter, seen:
        module(input)
    known = {*flop_registry, *_MISSING_FORMULAS}
    unknown = sorted(
        str(name) for name in seen.packets if name not in known and str(name) not in _FREE
    )
    lacking = sorted(str(name) for name in seen.packets if name in _MISSING_FORMULAS)
    flops = counter.get_flop_counts()
    root = type(module).__name__  # prefix of each name in the counter
    convention = "FLOPs of matrix products and convolutions, 2 a multiply-accumulate; halved"

    def counted(name: str, macs: Callable[[Mapping[Any, int]], int], lacks: list[str]) -> Witness:
        layers = {layer: macs(flops.get(f"{root}.{layer}", {})) for layer, _ in layers_of(module)}
        total = macs(flops.get("Global", {}))
        return _witness(name, total, convention, layers, "It has no formula for {}.", lacks)

    return (
        counted("PyTorch dispatcher", lambda ops: sum(ops.values()) // 2, unknown),
        counted("FlopCounterMode as it comes", _without_ours, [*unknown, *lacking]),
    )


def _without_ours(flops: Mapping[Any, int]) -> int:
    """MACs without the operations whose formulas were added here."""
    return sum(count for name, count in flops.items() if name not in _MISSING_FORMULAS) // 2


def by_torchinfo(module: nn.Module, input: Tensor, trace: Trace) -> Witness:
    """Count torchinfo's "mult-adds", and name the layers it undercounts.

    Args:
        module: The model, in evaluation mode.
        input: (1, c, h, w), on the model's device and in its dtype.
        trace: A trace of the same run, for comparison of each layer.

    Returns:
        The count; partial if a layer's is below the multiplications its shapes require,
        unavailable if torchinfo is not installed.

    Source:
        torchinfo 1.8.0; TylerYep/torchinfo#77 and #226.
    """
    convention = "parameters × output positions: biases and norms are counted too"
    try:
        import torchinfo  # optional, used nowhere else
    except ImportError:
        return Witness(
            name="torchinfo",
            macs=None,
            convention=convention,
            status="unavailable",
            reason="It is not installed.",
            layers={},
        )
    summary = torchinfo.summary(module, input_data=input, verbose=0, col_names=("mult_adds",))
    counted: dict[int, int] = {}
    for layer in summary.summary_list:
        counted[layer.layer_id] = counted.get(layer.layer_id, 0) + layer.macs
    names = {id(layer): name for name, layer in module.named_modules()}
    by_name = {names.get(key, ""): macs for key, macs in counted.items()}
    low = [
        record.name for record in trace.records if by_name.get(record.name, 0) < (record.macs or 0)
    ]
    layers = {record.name: by_name.get(record.name, 0) for record in trace.records}
    why = (
        "It undercounts {}: a Linear over many tokens counts as over one, and attention as nothing."
    )
    return _witness("torchinfo", summary.total_mult_adds, convention, layers, why, low)


def count_work(spec: StemSpec | ViTSpec, *, device: str = "auto") -> tuple[Witness, ...]:
    """Count the MACs of a stem or a whole ViT with every counter.

    Args:
        spec: The stem, or the model.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Returns:
        The closed form, the hooks, PyTorch's dispatcher, torchinfo, and PyTorch's counter
        without the formulas added to it here.

    Raises:
        SpecError: field "device"; "image_size" or "conv2.out_channels" when the run would not
            fit in memory.
    """
    prediction = predict(spec)
    target = resolve_device(device)
    check_memory(prediction, keep_bytes=0, budget=MEMORY_BUDGET)
    module = build(spec).to(target)
    image = torch.zeros(1, prediction.spec.in_channels, *prediction.spec.image_size, device=target)
    seen = trace(module, image, keep_bytes=0)
    completed, as_it_comes = dispatcher(module, image)
    return (
        closed_form(prediction),
        hooks(seen),
        completed,
        by_torchinfo(module, image, seen),
        as_it_comes,
    )


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that pass through the dispatcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.packets: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.packets.add(operation_of(func))
        return func(*args, **(kwargs or {}))


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs of scaled dot product attention, from the shapes of its operands."""
    flops: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return flops


_MISSING_FORMULAS: Mapping[Any, Callable[..., int]] = MappingProxyType(
    dict.fromkeys(UNCOUNTED_ATTENTION, _attention)
)

_MOVES = (
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "unsqueeze",
    "squeeze", "select", "slice", "cat", "clone", "unbind", "detach", "alias", "contiguous",
    "_to_copy", "empty",
)  # fmt: skip
_ONE_BY_ONE = (
    "add", "add_", "div", "mul", "sum", "mean", "relu", "gelu", "silu", "hardswish", "elu",
    "native_batch_norm", "_native_batch_norm_legit_no_training", "native_layer_norm",
    "cudnn_batch_norm", "miopen_batch_norm",
)  # fmt: skip
_FREE = frozenset(f"aten.{name}" for name in (*_MOVES, *_ONE_BY_ONE))
"""Operations without multiply-accumulates by the convention used here."""
