"""A module loaded from a user's file, and one run of it with all that is needed to repeat it.

Only the command line chooses the file; it can be read again, and is checked for changes.
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
from vitc_inspect.common.fitting import Fit
from vitc_inspect.common.images import FloatArray, Picture, image_array
from vitc_inspect.inspection.loading import load_module, made_ready, parse_shape, random_inputs
from vitc_inspect.inspection.module_inspection import inspect_call
from vitc_inspect.inspection.module_report import ModuleReport
from vitc_inspect.probes.reach import Reach, output_of, reach
from vitc_inspect.stem.memory import MEMORY_BUDGET
from vitc_inspect.tracing.hooks import KEEP_BYTES, KeptOutput
from vitc_inspect.tracing.rules import forget_rules

Module = nn.Module
"""torch.nn.Module, for callers that do not import torch."""
FileStamps = dict[Path, tuple[int, int] | None]
"""By file, when it was modified (nanoseconds) and its size (bytes); None where there is none."""
_KEEP_EACH = 640 * 2**10  # of one output for thumbnails; a full view runs it again (bytes)
_LIBRARIES = ("site-packages", "dist-packages")
_OURS = "vitc_inspect"


class Source:
    """The file or package that a module is loaded from, and the user's files that it imports."""

    def __init__(self, text: str, device: torch.device) -> None:
        """Name the source without reading it.

        Args:
            text: `path/to/file.py:name` or `package.module:name`.
            device: Device for the module.
        """
        self.text = text
        self._device = device
        self._before = frozenset(sys.modules)  # imported before, so not the user's
        place = Path(text.rpartition(":")[0])
        self._folder = place.resolve().parent if place.is_file() else Path.cwd()
        self._files: FileStamps = {}
        self._named = place if place.is_file() or place.suffix == ".py" else None
        self.read_at = 0.0
        """When it was last read (seconds since the epoch)."""

    def read(self) -> nn.Module:
        """Run the file and its local imports, and create the module.

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
            # the same random weights each time, so that only an edit changes the result
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return made_ready(self.text, load_module(self.text), self._device)
        finally:
            own = {path for _, path in self._own_modules()} | set(stamps)
            self._files = {path: stamps.get(path, _stamp(path)) for path in own}

    @property
    def files(self) -> FileStamps:
        """The files that were read, as they were then."""
        return dict(self._files)

    def _own_modules(self) -> list[tuple[str, Path]]:
        """Name and file of each module imported from the user's folder."""
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


class LiveModule:
    """A module that lives in this process, with the inputs that its forward is given."""

    def __init__(
        self, module: nn.Module, by_place: Sequence[Tensor], by_name: Mapping[str, Tensor]
    ) -> None:
        """Keep a module, which is left as it is, and its inputs.

        Args:
            module: The module, in the mode in which it is to run.
            by_place, by_name: Tensors for its forward.

        Raises:
            SpecError: field "module" or "input".
        """
        if not isinstance(module, nn.Module):
            reason = "it is not a torch.nn.Module"
            raise SpecError("module", type(module).__name__, reason, "Pass a module")
        for value in (*by_place, *by_name.values()):
            if not isinstance(value, Tensor):
                reason = "the page shows a module on tensors alone"
                raise SpecError("input", type(value).__name__, reason, "Pass a tensor")
        self.text = type(module).__name__
        self.read_at = 0.0
        """When it was last looked at (seconds since the epoch)."""
        self.files: FileStamps = {}
        """No file is read."""
        self.by_place, self.by_name = tuple(by_place), dict(by_name)
        self._module = module

    @property
    def inputs(self) -> tuple[str, ...]:
        """Shapes of the inputs, as `--input` takes them."""
        named = ((f"{name}=", value) for name, value in self.by_name.items())
        given = (*(("", value) for value in self.by_place), *named)
        return tuple(name + ",".join(map(str, value.shape)) for name, value in given)

    def read(self) -> nn.Module:
        """The module as it is now."""
        self.read_at = time()
        return self._module

    def run(self) -> ModuleRun:
        """Run the module on its own inputs."""
        image = _image(self.inputs, self.by_place, self.by_name)
        return _run(self._module, self.by_place, self.by_name, image, pictured=False)


@dataclass(frozen=True, kw_only=True)
class ModuleRun:
    """One run of a module, with everything needed to run it again."""

    module: nn.Module
    """The module."""
    by_place: tuple[Tensor, ...]
    """Positional arguments of its forward."""
    by_name: Mapping[str, Tensor]
    """Keyword arguments of its forward."""
    image: Tensor | None
    """The argument that is an image, (b, c, h, w); None if the first is not."""
    pictured: bool
    """Whether the image is a picture rather than random numbers."""
    report: ModuleReport
    """The report of the run."""

    @property
    def bytes(self) -> int:
        """Memory of the inputs and the kept outputs (bytes)."""
        given = (*self.by_place, *self.by_name.values())
        kept = (row.kept for row in self.report.rows)
        inputs = sum(tensor.numel() * tensor.element_size() for tensor in given)
        return inputs + sum(each.bytes for each in kept if each)

    @property
    def array(self) -> FloatArray | None:
        """The first image of the batch, (c, h, w)."""
        if self.image is None:
            return None
        array: FloatArray = self.image[0].detach().float().cpu().numpy()
        return array

    def output(self, call: int) -> KeptOutput | None:
        """The output of one call; the module runs again if only part of it was kept.

        Args:
            call: Index of the row in the report.
        """
        kept = self.report.rows[call].kept
        if kept is not None and kept.step == 1 and not kept.dropped:
            return kept
        return output_of(self.module, self.by_place, self.by_name, call=call) or kept

    def reach(self, call: int, place: tuple[int, ...]) -> Reach | None:
        """Measure which pixels affect one position of a call's output, as `reach` does.

        Raises:
            SpecError: field "place".
        """
        if self.image is None:
            return None
        return reach(
            self.module, self.by_place, self.by_name, image=self.image, call=call, place=place
        )


def run_module(
    module: nn.Module,
    inputs: Sequence[str],
    picture: Picture | str | None,
    *,
    fit: Fit = "crop",
    budget: int = MEMORY_BUDGET,
) -> ModuleRun:
    """Run a module on inputs of given shapes, the first filled with a picture if it is an image.

    Args:
        module: The module.
        inputs: Shapes of the inputs, as `--input` takes them.
        picture: A picture or the name of a test pattern; None for random numbers.
        fit: How a picture is brought to the size of the image.
        budget: Most memory for the inputs (bytes).

    Returns:
        The run, also when the forward raises.

    Raises:
        SpecError: field "input" or "module".
    """
    by_place, by_name = random_inputs(inputs, module, budget=budget)
    image, pictured = _image(inputs, by_place, by_name), False
    if image is not None and picture is not None and image.shape[1] in (1, 3):
        channels, height, width = image.shape[1:]
        array = torch.from_numpy(image_array(picture, (height, width), channels, fit))
        image.copy_(array)  # (c, h, w) -> (b, c, h, w)
        pictured = True
    return _run(module, by_place, by_name, image, pictured=pictured)


def _run(
    module: nn.Module,
    by_place: tuple[Tensor, ...],
    by_name: Mapping[str, Tensor],
    image: Tensor | None,
    *,
    pictured: bool,
) -> ModuleRun:
    """Run a module on inputs, and keep them with what came out."""
    report = inspect_call(
        module, by_place, by_name, keep_bytes=2 * KEEP_BYTES, keep_each=_KEEP_EACH
    )
    return ModuleRun(
        module=module,
        by_place=by_place,
        by_name=by_name,
        image=image,
        pictured=pictured,
        report=report,
    )


def with_sizes(inputs: Sequence[str], sizes: Sequence[str], *, budget: int) -> tuple[str, ...]:
    """Replace the sizes of inputs, keeping their number and names.

    Args:
        inputs: Inputs as given on the command line.
        sizes: A shape for each, `1,3,224,224`.
        budget: Most memory for all of them (bytes); the command line's own always fit.

    Raises:
        SpecError: field "input".
    """
    if len(sizes) != len(inputs):
        reason = f"the module takes {len(inputs)}, and {len(sizes)} were given"
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
    """The first input, if it has the four axes of an image."""
    name = texts[0].rpartition("=")[0] if texts else ""
    first = by_name[name] if name else next(iter(by_place), None)
    if first is None or first.ndim != 4 or not first.is_floating_point():
        return None
    return first


def have_changed(files: FileStamps) -> bool:
    """Whether one of the files is not as it was."""
    return any(_stamp(path) != stamp for path, stamp in files.items())


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time of modification and size of a file, or None if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
