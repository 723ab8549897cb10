"""Cost of tracing relative to the bare forward pass: python -m benchmarks.trace_cost.

Runs ViT_C-4GF at 224 pixels on the CPU in one process, `--batch 8` with eight images at once. The
tools take turns in a different order each round, so that a slower machine and side effects of one
tool affect all alike; the table has medians and ratios to the bare forward pass. torchlens runs
last, since from its first use it wraps every function of torch, which would slow down all others.
Needs fvcore and torchlens besides the development environment (requirements-bench.txt).
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from vitc_inspect.model.modules import build_vit
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS
from vitc_inspect.tracing.hooks import trace
from vitc_inspect.tracing.recorder import record_module

_ROUNDS = 40
_SLOW_ROUNDS = 5  # of what takes many times the forward pass

_Ways = dict[str, Callable[[], object]]


def main() -> int:
    """Print a table of medians (ms), their spread, and ratios."""
    parser = argparse.ArgumentParser(description="What it costs to look at a model.")
    parser.add_argument("--batch", type=int, default=1, help="images at once (default: 1)")
    batch = parser.parse_args().batch
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    vit = PRESETS["vit_c_4gf"].vit
    assert vit
    stem_layers = {layer.name for layer in predict(vit).layers if layer.block is None}
    module, image = build_vit(vit), torch.randn(batch, 3, 224, 224)

    def bare() -> None:
        with torch.inference_mode():
            module(image)

    def empty_function_mode() -> None:
        with torch.inference_mode(), _empty_hooks(module), _EmptyMode():
            module(image)

    def count() -> None:
        with torch.no_grad(), FlopCounterMode(display=False):
            module(image)

    def torchlens() -> None:
        import torchlens

        torchlens.trace(module, image)

    quick: _Ways = {
        "bare forward": bare,
        "our trace": lambda: trace(module, image, keep_bytes=0),
        "our inspection, stem's maps kept": lambda: trace(module, image, keep=stem_layers),
        "our recording, with functions": lambda: record_module(module, image),
        "hooks and a function mode that do nothing": empty_function_mode,
        "torchinfo": lambda: torchinfo.summary(module, input_data=image, verbose=0),
        "FlopCounterMode": count,
    }
    slow: _Ways = {"fvcore": lambda: FlopCountAnalysis(module, image).total()}
    times = {
        **_in_turns({**quick, **slow}, _SLOW_ROUNDS),
        **_in_turns(quick, _ROUNDS),
        **_in_turns({"torchlens": torchlens}, _SLOW_ROUNDS),
    }
    base = statistics.median(times["bare forward"])
    print("| way of looking | median ms | middle half | ratio |")
    print("|---|---|---|---|")
    for name in (*quick, *slow, "torchlens"):
        low, middle, high = statistics.quantiles(times[name], n=4)
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {middle / base:.2f} |")
    print(f"\nPrediction of the whole model: {_prediction_time(vit):.3f} ms")
    return 0


def _in_turns(ways: _Ways, rounds: int) -> dict[str, list[float]]:
    """Times of each tool (ms); the first round is a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    shuffler = random.Random(0)
    for turn in range(rounds + 1):
        for name, look in shuffler.sample(list(ways.items()), len(ways)):
            start = time.perf_counter()
            look()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


class _EmptyMode(TorchFunctionMode):
    """Intercepts every function and does nothing else."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def _empty_hooks(module: nn.Module) -> Iterator[None]:
    """Hooks before and after each layer that do nothing."""
    handles = []
    for layer in module.modules():
        handles.append(layer.register_forward_pre_hook(lambda *_: None, with_kwargs=True))
        handles.append(layer.register_forward_hook(lambda *_: None, always_call=True))
    yield
    for handle in handles:
        handle.remove()


def _prediction_time(vit: object) -> float:
    taken = []
    for _ in range(300):
        start = time.perf_counter()
        predict(vit)  # type: ignore[arg-type]
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
