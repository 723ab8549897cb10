"""Somebody's module as the page holds it: read from its file, given an input, run once.

Only the command line says which file that is; it can be read anew, and told when it has changed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import time

import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import FloatArray, Picture, image_array
from vitc_inspect.inspection.loading import load_module, made_ready, parse_shape, random_inputs
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.probes.reach import Reach, output_of, reach
from vitc_inspect.stem.memory import MEMORY_BUDGET
from vitc_inspect.tracing.hooks import KEEP_BYTES, KeptOutput
from vitc_inspect.tracing.rules import forget_rules

Module = nn.Module
"""What is read and run, by a name for those who import no torch."""
_SEEN = 640 * 2**10  # of one output, to be seen small; it is run again to be seen in full (bytes)
_LIBRARIES = ("site-packages", "dist-packages")
_OURS = "vitc_inspect"


class Source:
    """Where a module comes from: the command line's words, and the files they led to."""

    def __init__(self, text: str, device: torch.device) -> None:
        """Nothing is read yet.

        Args:
            text: `path/to/file.py:name` or `package.module:name`.
            device: Where the module is to be put.
        """
        self.text = text
        self._device = device
        self._before = frozenset(sys.modules)  # what was there is not the user's
        place = Path(text.rpartition(":")[0])
        self._folder = place.resolve().parent if place.is_file() else Path.cwd()
        self._files: dict[Path, tuple[int, int] | None] = {}
        self._named = place if place.is_file() or place.suffix == ".py" else None
        self.read_at = 0.0
        """When it was read last (seconds since 1970)."""

    def read(self) -> nn.Module:
        """Run the file, and what it imports from its own folder, and make the module.

        Returns:
            The module on its device, in evaluation mode.

        Raises:
            SpecError: As `load_module` and `made_ready`.
        """
        outdated = [name for name, _ in self._own_modules()]
        for name in outdated:
            del sys.modules[name]
        forget_rules(outdated)
        importlib.invalidate_caches()
        self.read_at = time()
        started = dict.fromkeys([self._named] if self._named else [])
        stamps = {path: _stamp(path) for path in (*started, *self._files)}
        try:
            # weights drawn from the same numbers each time, so that only an edit changes anything
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return made_ready(self.text, load_module(self.text), self._device)
        finally:
            own = {path for _, path in self._own_modules()} | set(stamps)
            self._files = {path: stamps.get(path, _stamp(path)) for path in own}

    @property
    def changed(self) -> bool:
        """Whether a file that was read is another now."""
        return any(_stamp(path) != stamp for path, stamp in self._files.items())

    def _own_modules(self) -> list[tuple[str, Path]]:
        """What was imported from the user's folder, by name, with its file."""
        found = []
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if name in self._before or name.partition(".")[0] == _OURS or not file:
                continue
            path = Path(file)
            own = path.suffix == ".py" and path.is_relative_to(self._folder)
            if own and not set(_LIBRARIES) & set(path.parts):
                found.append((name, path))
        return found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of a module, with all it takes to run it again."""

    module: nn.Module
    """The module."""
    by_place: tuple[Tensor, ...]
    """What its forward was given by place."""
    by_name: Mapping[str, Tensor]
    """What it was given by name."""
    image: Tensor | None
    """The one of them that can be seen, (b, c, h, w); None where none can."""
    pictured: bool
    """Whether it holds a picture, and not random numbers."""
    report: ModuleReport
    """What the run showed."""

    @property
    def bytes(self) -> int:
        """Memory of the inputs and the kept outputs (bytes)."""
        given = (*self.by_place, *self.by_name.values())
        kept = (row.call.kept for row in self.report.rows)
        inputs = sum(tensor.numel() * tensor.element_size() for tensor in given)
        return inputs + sum(each.bytes for each in kept if each)

    @property
    def array(self) -> FloatArray | None:
        """What the image holds for the first of the batch: (c, h, w)."""
        if self.image is None:
            return None
        array: FloatArray = self.image[0].detach().float().cpu().numpy()
        return array

    def output(self, call: int) -> KeptOutput | None:
        """What came out of one call, in full where there is room; the run is made again for it.

        Args:
            call: Place of the row in the report, from 0.
        """
        kept = self.report.rows[call].call.kept
        if kept is not None and kept.step == 1 and not kept.dropped:
            return kept
        return output_of(self.module, self.by_place, self.by_name, call=call) or kept

    def reach(self, call: int, place: tuple[int, ...]) -> Reach | None:
        """Which pixels move one place of a call's output; as `reach.reach`.

        Raises:
            SpecError: field "place".
        """
        if self.image is None:
            return None
        return reach(
            self.module, self.by_place, self.by_name, image=self.image, call=call, place=place
        )


def try_module(
    module: nn.Module,
    inputs: Sequence[str],
    picture: Picture | str | None,
    *,
    budget: int = MEMORY_BUDGET,
) -> Trial:
    """Run a module on what the texts describe, its first input a picture where it can be one.

    Args:
        module: The module.
        inputs: A shape each, as `--input` takes them.
        picture: A picture or the name of a test pattern; None for random numbers.
        budget: The most that the inputs may take (bytes).

    Returns:
        The trial, also when the forward raises.

    Raises:
        SpecError: field "input" or "module".
    """
    by_place, by_name = random_inputs(inputs, module, budget=budget)
    image, pictured = _image(inputs, by_place, by_name), False
    if image is not None and picture is not None and image.shape[1] in (1, 3):
        channels, height, width = image.shape[1:]
        array = torch.from_numpy(image_array(picture, (height, width), channels))
        image.copy_(array)  # (c, h, w) -> (b, c, h, w)
        pictured = True
    report = inspect_call(module, by_place, by_name, keep_bytes=2 * KEEP_BYTES, keep_each=_SEEN)
    return Trial(
        module=module,
        by_place=by_place,
        by_name=by_name,
        image=image,
        pictured=pictured,
        report=report,
    )


def with_sizes(inputs: Sequence[str], sizes: Sequence[str], *, budget: int) -> tuple[str, ...]:
    """The same inputs with other sizes; how many there are and their names stay.

    Args:
        inputs: As the command line gave them.
        sizes: A shape for each, `1,3,224,224`.
        budget: The most that they may take together (bytes); those of the command line may always.

    Raises:
        SpecError: field "input".
    """
    if len(sizes) != len(inputs):
        reason = f"the module gets {len(inputs)}, and {len(sizes)} came"
        raise SpecError("input", len(sizes), reason, f"Give {len(inputs)}")
    named = [f"{name}{sign}" for name, sign, _ in (text.rpartition("=") for text in inputs)]
    allowed = max(budget, sum(map(_bytes, inputs)))
    left = allowed
    for size in sizes:
        left -= 4 * prod(parse_shape(size))
        if left < 0:
            reason = f"more than {allowed / 2**20:,.0f} MiB of numbers"
            own = inputs[0].rpartition("=")[2]
            raise SpecError("input", size, reason, "Use a smaller shape", own)
    return tuple(name + size for name, size in zip(named, sizes, strict=True))


def _bytes(text: str) -> int:
    return 4 * prod(parse_shape(text.rpartition("=")[2]))


def _image(
    texts: Sequence[str], by_place: Sequence[Tensor], by_name: Mapping[str, Tensor]
) -> Tensor | None:
    """The first input, where it has the four axes of an image."""
    name = texts[0].rpartition("=")[0] if texts else ""
    first = by_name[name] if name else next(iter(by_place), None)
    if first is None or first.ndim != 4 or not first.is_floating_point():
        return None
    return first


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written; None where it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size
