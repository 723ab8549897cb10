"""Checks that need an accelerator: python -m benchmarks.device.

Runs every preset and model in three number formats, and checks event timing, peak memory,
synchronisation, TensorFloat-32, weights, a user's module and gradients. Prints a row for each check
and a table of times, in less than five minutes. Without an accelerator it runs the checks that a
CPU can. The exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.guard import reason_of
from vitc_inspect.inspection.module_inspection import inspect_module
from vitc_inspect.inspection.stem_inspection import PreparedRun, inspect_stem, inspect_vit, prepare
from vitc_inspect.inspection.stem_report import Report
from vitc_inspect.model.checkpoints import save_weights
from vitc_inspect.model.devices import (
    available_devices,
    device_title,
    full_precision,
    resolve_device,
)
from vitc_inspect.model.modules import build, build_stem
from vitc_inspect.probes.cells import probe_cell
from vitc_inspect.probes.gradients import token_field
from vitc_inspect.probes.timing import Timing, time_layers
from vitc_inspect.stem.memory import predicted_memory
from vitc_inspect.stem.prediction import predict
from vitc_inspect.stem.presets import PRESETS, Preset
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KEEP_BYTES, trace
from vitc_inspect.tracing.recorder import record_call

_DTYPES = ("float32", "bfloat16", "float16")
_SMALL = ("vit_p_1gf", "vit_c_1gf")  # what a CPU can check in a minute
_BUDGET = 16 * 2**30  # bytes that a run may be predicted to take
_WIDTH = 64  # of the user's module
_ALLOWED = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}  # of the largest number of a map


class NotHereError(Exception):
    """A check that this kind of device does not support."""


@dataclass(frozen=True)
class Row:
    """One check and its result."""

    check: str
    """Name of the check."""
    seen: str
    """The observation, in a few words."""
    passed: bool | None
    """None if the device does not support the check."""
    seconds: float
    """Duration (seconds)."""


@dataclass(frozen=True)
class Machine:
    """The device under test and the presets to run on it."""

    device: torch.device
    """The device."""
    presets: tuple[Preset, ...]
    """The presets to check."""

    @property
    def deepest(self) -> Preset:
        """The preset with the most convolutions."""
        return max(self.presets, key=lambda preset: len(preset.stem.convs))

    @property
    def name(self) -> str:
        """Name of the device, as an argument of inspect_stem."""
        return str(self.device)

    def wait(self) -> None:
        """Wait until all work of the device is finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def needs_cuda(self) -> None:
        """Leave a check that only CUDA supports."""
        if self.device.type != "cuda":
            raise NotHereError(f"not on {self.device.type}")


Seen = tuple[str, bool]
"""The observation, and whether it is as expected."""
Check = Callable[[Machine], Seen]


# ---- whether all agrees ------------------------------------------------------------------------


def agreement(dtype: str, *, whole: bool) -> Check:
    """Prediction and observation agree for all stems or models in one number format."""

    def check(machine: Machine) -> Seen:
        chosen = [preset for preset in machine.presets if preset.vit or not whole]
        faults: list[str] = []
        for preset in chosen:
            spec = preset.vit if whole else preset.stem
            report = inspected(spec, machine, dtype)
            where = report.device
            faults += [f"{preset.name} {each}" for each in report.disagreements]
            if torch.device(where).type != machine.device.type:
                faults.append(f"{preset.name} ran on {where}")
        return f"{len(chosen)} agree" if not faults else faults[0], not faults

    return check


def inspected(spec: StemSpec | ViTSpec | None, machine: Machine, dtype: str) -> Report:
    """Inspect a stem or a model on the device."""
    run = inspect_stem if isinstance(spec, StemSpec) else inspect_vit
    return run(  # type: ignore[operator,no-any-return]
        spec, device=machine.name, dtype=dtype, memory_budget=_BUDGET, keep_bytes=2**20
    )


def same_numbers(dtype: str) -> Check:
    """The tokens of each stem equal those of a CPU in float32, up to rounding."""

    def check(machine: Machine) -> Seen:
        worst = 0.0
        for preset in machine.presets:
            module = build_stem(preset.stem)
            image = random_image(preset.stem)
            with torch.inference_mode(), full_precision():
                expected = module(image)
                kind = getattr(torch, dtype)
                found = module.to(machine.device, kind)(image.to(machine.device, kind))
            worst = max(worst, apart(found, expected))
        return f"{worst:.0e} of the largest number apart", worst <= _ALLOWED[dtype]

    return check


def random_state(machine: Machine) -> Seen:
    """An inspection leaves the device's random state and the mode of modules unchanged."""
    machine.needs_cuda()
    before = torch.cuda.get_rng_state(machine.device)
    inspected(machine.deepest.stem, machine, "float32")
    return "as before", bool(torch.equal(before, torch.cuda.get_rng_state(machine.device)))


# ---- clocks ------------------------------------------------------------------------------------


def layer_times(machine: Machine) -> Seen:
    """The times of the layers are positive and add up to about that of the whole."""
    timing = timed(machine.deepest.stem, machine, "float32")
    lows = [layer.spread.low for layer in timing.layers]  # what else runs here adds least to these
    share = sum(lows) / timing.hooked.low
    right = len(lows) == len(timing.prediction.layers) and min(lows) > 0
    return f"{len(lows)} layers, {share:.2f} of the whole", right and 0.3 <= share <= 1.2


def wall_clock(machine: Machine) -> Seen:
    """Event timing agrees with wall-clock time for a long run."""
    spec = machine.deepest.vit or machine.deepest.stem
    timing = timed(spec, machine, "float32")
    module, image = on_device(spec, machine, "float32")
    taken = []
    with torch.inference_mode():
        for _ in range(12):
            machine.wait()
            start = time.perf_counter()
            module(image)
            machine.wait()
            taken.append(time.perf_counter() - start)
    wall, own = statistics.quantiles(taken[2:], n=4)[0], timing.bare.low
    seen = f"{own * 1e3:.2f} ms, on the wall {wall * 1e3:.2f} ms"
    return seen, 0.25 <= own / wall <= 2  # another unit, or a run not waited for, is far outside


def timed(spec: StemSpec | ViTSpec, machine: Machine, dtype: str, rounds: int = 10) -> Timing:
    """The final result of a measurement."""
    *_, last = time_layers(spec, device=machine.name, dtype=dtype, rounds=rounds)  # type: ignore[arg-type]
    return last


# ---- memory and waiting ------------------------------------------------------------------------


def peak_memory(machine: Machine) -> Seen:
    """Peak memory exceeds that of the bare run by the kept copies, and stays below the estimate."""
    machine.needs_cuda()
    spec = machine.deepest.stem
    module, image = on_device(spec, machine, "float32")
    peaks = []
    for keep_bytes in (None, KEEP_BYTES):
        torch.cuda.reset_peak_memory_stats(machine.device)
        if keep_bytes is None:
            with torch.inference_mode():
                module(image)
        else:
            trace(module, image, keep_bytes=keep_bytes)
        peaks.append(torch.cuda.max_memory_allocated(machine.device))
    bare, looked = peaks
    predicted = predicted_memory(predict(spec), keep_bytes=KEEP_BYTES)
    mebibytes = [f"{each / 2**20:.0f}" for each in (bare, looked, predicted)]
    seen = f"bare {mebibytes[0]} MiB, inspected {mebibytes[1]}, predicted {mebibytes[2]}"
    return seen, looked <= bare + KEEP_BYTES + 2**20 and looked <= predicted


def waiting(machine: Machine) -> Seen:
    """Recording a module adds no synchronisation with the device."""
    machine.needs_cuda()
    counts = []
    for spec in sorted((preset.stem for preset in machine.presets), key=lambda s: len(s.convs)):
        module, image = on_device(spec, machine, "float32")
        marked = nn.Sequential(SyncMode("warn"), module, SyncMode("default"))
        trace(marked, image, keep_bytes=0)  # whatever is set up once
        traced = synchronisations(lambda m=marked, i=image: trace(m, i))  # type: ignore[misc]
        found = synchronisations(lambda m=marked, i=image: record_call(m, (i,)))  # type: ignore[misc]
        counts.append((traced, found))
    most = tuple(map(max, zip(*counts, strict=True)))
    return f"{most[0]} while traced, {most[1]} while recorded", most == (0, 0)


class SyncMode(nn.Module):
    """Turn torch's warnings about synchronisation on or off."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, image: Tensor) -> Tensor:
        """Return the image unchanged."""
        torch.cuda.set_sync_debug_mode(self.mode)
        return image


def synchronisations(run: Callable[[], object]) -> int:
    """Number of synchronisations with the device."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


# ---- exactness ---------------------------------------------------------------------------------


def short_factors(machine: Machine) -> Seen:
    """In full precision a convolution equals the matrix product that defines it."""
    draw = torch.Generator().manual_seed(0)
    image = torch.randn((1, 64, 56, 56), generator=draw)
    conv = nn.Conv2d(64, 128, 3, padding=1)
    with torch.inference_mode(), full_precision():
        columns = nn.functional.unfold(image.double(), 3, padding=1)  # (1, c 9, n)
        bias = conv.bias.double()[:, None] if conv.bias is not None else 0
        exact = conv.weight.double().flatten(1) @ columns + bias  # (1, 128, n)
        found = conv.to(machine.device)(image.to(machine.device)).flatten(2)
        rest = apart(found, exact)
    return f"{rest:.0e} of the largest number apart", rest < 1e-5


def cells(dtype: str) -> Check:
    """Output values of each convolution equal the sums of their products within the tolerance."""

    def check(machine: Machine) -> Seen:
        faults, count = [], 0
        for preset in machine.presets:
            bench = prepared(preset.stem, machine, dtype)
            for stage in preset.stem.stages:
                channels, rows, columns = stage.out_shape
                for place in ((0, 0, 0), (channels - 1, rows // 2, columns - 1)):
                    cell = probe_cell(bench.module, bench.batch, stage.name, *place)
                    count += 1
                    if not cell.agrees:
                        off = abs(cell.total - cell.observed)
                        says = f"{off:.1e} off, {cell.tolerance:.1e} allowed"
                        faults.append(f"{preset.name} {stage.name} {place}: {says}")
        return f"{count} agree" if not faults else f"{len(faults)} not: {faults[0]}", not faults

    return check


def gradients(machine: Machine) -> Seen:
    """A token's gradient lies in its receptive field and equals that of a CPU."""
    worst = 0.0
    for preset in machine.presets:
        module, image = build_stem(preset.stem), random_image(preset.stem)
        row, column = (side // 2 for side in preset.stem.grid_size)
        expected = token_field(module, image, row, column).heat
        module, image = module.to(machine.device), image.to(machine.device)
        found = token_field(module, image, row, column).heat
        if ((found != 0) & (expected == 0)).any():
            return f"{preset.name}: a pixel that is not read has a gradient", False
        worst = max(worst, float(abs(found - expected).max() / expected.max()))
    return f"{worst:.0e} of the largest apart, none outside the field", worst < 1e-3


# ---- weights and modules of others --------------------------------------------------------------


def weights(machine: Machine) -> Seen:
    """Weights saved from CPU and device give the same tokens on the device."""
    spec = machine.presets[0].stem
    module = build_stem(spec, seed=1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        names = ("cpu.safetensors", "cpu.pt", "device.safetensors", "device.pt")
        paths = [Path(folder, name) for name in names]
        save_weights(module, paths[0])
        torch.save(module.state_dict(), paths[1])
        module.to(machine.device)
        save_weights(module, paths[2])
        torch.save(module.state_dict(), paths[3])
        for path in paths:
            bench = prepare(spec, device=machine.name, weights=path)
            if any(each.device != bench.batch.device for each in bench.module.parameters()):
                return f"{path.name} stays on another device", False
            with torch.inference_mode():
                found.append(bench.module(bench.batch))
    same = all(torch.equal(each, found[0]) for each in found[1:])
    return f"{', '.join(names)} {'are one' if same else 'differ'}", same


class OwnModel(nn.Module):
    """A stem and a block as a user might write them; `scrambled` omits the transpose."""

    def __init__(self, *, scrambled: bool = False) -> None:
        super().__init__()
        self.scrambled = scrambled
        self.patches = nn.Conv2d(3, _WIDTH, 8, 8)
        self.pos_embed = nn.Parameter(torch.randn(1, 49, _WIDTH) * 0.02)
        self.block = nn.TransformerEncoderLayer(_WIDTH, 4, 2 * _WIDTH, batch_first=True)
        self.head = nn.Linear(_WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, 56, 56) -> (b, 10)"""
        maps = self.patches(images)
        if self.scrambled:
            tokens = maps.reshape(len(maps), 49, _WIDTH)
        else:
            tokens = maps.flatten(2).transpose(1, 2)
        return self.head(self.block(tokens + self.pos_embed).mean(dim=1))


def own_module(machine: Machine) -> Seen:
    """A correct module on the device has no fault, a faulty one has one, and all rows agree."""
    image = torch.randn(2, 3, 56, 56, device=machine.device)
    sound = inspect_module(OwnModel().eval().to(machine.device), image)
    broken = inspect_module(OwnModel(scrambled=True).eval().to(machine.device), image)
    found = (
        [fault.kind for fault in sound.faults],
        [fault.kind for fault in broken.faults],
        [*sound.disagreements, *broken.disagreements],
        [report.failure.message for report in (sound, broken) if report.failure],
    )
    right = found == ([], ["token order"], [], []) and sound.audited and broken.audited
    return f"sound {found[0]}, its twin {found[1]}" if right else str(found), right


def two_devices(machine: Machine) -> Seen:
    """The error for an image on another device than the module is explained."""
    if machine.device.type == "cpu":
        raise NotHereError("not on cpu")
    report = inspect_module(OwnModel().eval().to(machine.device), torch.randn(2, 3, 56, 56))
    kinds = [meaning.kind for meaning in report.explanations]
    return f"read as {kinds}", kinds[:1] == ["device"]


# ---- what several checks need ------------------------------------------------------------------


def random_image(spec: StemSpec) -> Tensor:
    """Normally distributed values with a fixed seed: (1, c, h, w)."""
    draw = torch.Generator().manual_seed(0)
    return torch.randn((1, spec.in_channels, *spec.image_size), generator=draw)


def on_device(
    spec: StemSpec | ViTSpec, machine: Machine, dtype: str
) -> tuple[nn.Sequential, Tensor]:
    """A stem or a model and an image for it, on the device."""
    kind = getattr(torch, dtype)
    stem = spec if isinstance(spec, StemSpec) else spec.stem
    module = build(spec)
    return module.to(machine.device, kind), random_image(stem).to(machine.device, kind)


def prepared(spec: StemSpec, machine: Machine, dtype: str) -> PreparedRun:
    """A stem and the photograph, on the device."""
    return prepare(spec, device=machine.name, dtype=dtype)  # type: ignore[arg-type]


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest value."""
    wide = expected.detach().cpu().double()
    rest = (found.detach().cpu().double() - wide).abs().max()
    return float(rest / wide.abs().max())


CHECKS: tuple[tuple[str, Check], ...] = (
    *((f"every stem agrees, {dtype}", agreement(dtype, whole=False)) for dtype in _DTYPES),
    *((f"every model agrees, {dtype}", agreement(dtype, whole=True)) for dtype in _DTYPES),
    *((f"tokens are those of a CPU, {dtype}", same_numbers(dtype)) for dtype in _DTYPES),
    ("random state", random_state),
    ("times of layers", layer_times),
    ("clock of the device", wall_clock),
    ("peak memory", peak_memory),
    ("waiting for the device", waiting),
    ("convolution = unfold, product", short_factors),
    *((f"cells are their sums, {dtype}", cells(dtype)) for dtype in _DTYPES),
    ("gradients", gradients),
    ("weights from a file", weights),
    ("a user's module", own_module),
    ("tensors on two devices", two_devices),
)
"""All checks by name."""


# ---- running and printing -----------------------------------------------------------------------


def run_checks(machine: Machine, checks: Sequence[tuple[str, Check]]) -> Iterator[Row]:
    """Run each check; one that raises counts as failed."""
    for name, check in checks:
        start = time.perf_counter()
        passed: bool | None
        try:
            seen, passed = check(machine)
        except NotHereError as reason:
            seen, passed = str(reason), None
        except Exception as error:  # noqa: BLE001  # a check that fails is what this looks for
            seen, passed = reason_of(error), False
        yield Row(name, seen, passed, time.perf_counter() - start)


def print_times(machine: Machine) -> None:
    """Median time of each preset's stem without hooks (ms)."""
    print("| stem, ms | " + " | ".join(_DTYPES) + " |")
    print("|---|" + "---|" * len(_DTYPES))
    for preset in machine.presets:
        medians = [timed(preset.stem, machine, dtype, rounds=5).bare.median for dtype in _DTYPES]
        print(f"| {preset.name} | " + " | ".join(f"{each * 1e3:.3f}" for each in medians) + " |")


def main(
    arguments: Sequence[str] | None = None, checks: Sequence[tuple[str, Check]] = CHECKS
) -> int:
    """Print a row for each check and a table of times; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: an accelerator)")
    parser.add_argument("--presets", help="names with commas between (default: all)")
    options = parser.parse_args(arguments)
    alone = options.device is None and available_devices() == ("cpu",)
    every = _SMALL if alone else tuple(PRESETS)
    names = options.presets.split(",") if options.presets else every
    unknown = [name for name in names if name not in PRESETS]
    if unknown:
        parser.error(f"no preset is called {unknown[0]}; there are {', '.join(PRESETS)}")
    try:
        device = resolve_device(options.device or "auto")
    except SpecError as error:
        parser.error(str(error))
    if alone:
        print("There is no accelerator here: what follows is what a CPU can check.")
    machine = Machine(device, tuple(PRESETS[name] for name in names))
    print(f"{device_title(device)} · {device} · torch {torch.__version__}\n")
    print("| check | seen | | seconds |\n|---|---|---|---|")
    rows = []
    for row in run_checks(machine, checks):
        word = {True: "✓", False: "✗ failed", None: "·"}[row.passed]
        print(f"| {row.check} | {row.seen} | {word} | {row.seconds:.1f} |", flush=True)
        rows.append(row)
    print()
    print_times(machine)
    failed = sum(row.passed is False for row in rows)
    print(f"\n{failed} of {len(rows)} checks failed." if failed else "\nNo check failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
