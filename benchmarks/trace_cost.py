"""What it costs to look, against the bare forward pass: python -m benchmarks.trace_cost.

ViT_C-4GF at 224 pixels, on the CPU, in one process; `--batch 8` gives it eight images at once.
The ways of looking take turns, so that a machine that slows down slows all of them; medians, and
ratios to the bare forward. Needs fvcore and torchlens besides the development environment
(requirements-bench.txt).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
import torchinfo
import torchlens
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from vitc_inspect.guests import record_module
from vitc_inspect.model import build_vit
from vitc_inspect.prediction import predict
from vitc_inspect.presets import PRESETS
from vitc_inspect.tracing import trace

_ROUNDS = 40
_SLOW_ROUNDS = 5  # of what takes many times the forward pass


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

    def count() -> None:
        with torch.no_grad(), FlopCounterMode(display=False):
            module(image)

    quick: dict[str, Callable[[], object]] = {
        "bare forward": bare,
        "our trace": lambda: trace(module, image, keep_bytes=0),
        "our recording, with functions": lambda: record_module(module, image),
        "our inspection, stem's maps kept": lambda: trace(module, image, keep=stem_layers),
        "torchinfo": lambda: torchinfo.summary(module, input_data=image, verbose=0),
        "FlopCounterMode": count,
    }
    slow: dict[str, Callable[[], object]] = {
        "fvcore": lambda: FlopCountAnalysis(module, image).total(),
        "torchlens": lambda: torchlens.trace(module, image),
    }
    times: dict[str, list[float]] = {name: [] for name in (*quick, *slow)}
    for turn in range(_ROUNDS + 1):
        for name, look in (quick if turn > _SLOW_ROUNDS else {**quick, **slow}).items():
            start = time.perf_counter()
            look()
            if turn:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - start))
    base = statistics.median(times["bare forward"])
    print("| way of looking | median ms | middle half | ratio |")
    print("|---|---|---|---|")
    for name, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {middle / base:.2f} |")
    print(f"\nPrediction of the whole model: {_prediction_time(vit):.3f} ms")
    return 0


def _prediction_time(vit: object) -> float:
    taken = []
    for _ in range(300):
        start = time.perf_counter()
        predict(vit)  # type: ignore[arg-type]
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
