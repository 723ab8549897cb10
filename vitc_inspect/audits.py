"""Faults of anybody's module that keep every shape right, and promises that its parts break.

They are found by following one more run, and by a few runs of the part that makes the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite, isqrt, prod
from typing import Any

import torch
from torch import Tensor, nn

from vitc_inspect.diagnosis.contract import Contract, bias_fault, faults
from vitc_inspect.diagnosis.explanation import Explanation, by, explain
from vitc_inspect.errors import SpecError
from vitc_inspect.flow import (
    ACTIVATIONS,
    COPIES,
    MOVES,
    NORMS,
    SCALINGS,
    SUMS,
    Flow,
    Known,
    Places,
    Step,
    follow,
    output_of_step,
    tensors_of,
)
from vitc_inspect.reading import Reading, TokenAxes, last_axis, read, token_axes
from vitc_inspect.spec import StemSpec

_LINEAR = 1e-4  # of the largest number of a map: less is rounding
_LOCAL = (
    MOVES
    | COPIES
    | ACTIVATIONS
    | NORMS
    | SUMS
    | SCALINGS
    | {"conv2d", "max_pool2d", "avg_pool2d", "pad", "interpolate", "cat"}
)  # what reads no more than the numbers around each place
_PROMISES = frozenset({"stride", "width", "position table", "class token"})
_RIGHT = "x.flatten(2).transpose(1, 2), or einops' rearrange(x, 'b d h w -> b (h w) d')"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found."""

    faults: tuple[Explanation, ...]
    """Faults, those that stop a run before those that keep every shape right."""
    notes: tuple[str, ...]
    """What is odd and no fault, in sentences."""
    stem: StemSpec | None
    """The stem, where the module is a chain of convolutions that one can be read out of."""
    stem_layers: tuple[str, ...]
    """Names of the stem's convolutions in the module, in order; empty without a stem."""
    cause: Explanation | None
    """The fault that made the run raise, where it is one of them."""


def audit_module(
    module: nn.Module, inputs: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Audit:
    """Look for faults in any module that takes an image.

    The module runs once in evaluation mode, and where its convolutions have to be asked, up to
    their last map a few times more. It is left as it was.

    Args:
        module: Any module.
        inputs: Arguments of its forward.
        kwargs: Its arguments by name.

    Returns:
        The faults that were found; none is a guess from names alone.

    Raises:
        SpecError: field "module", for what is no module.
    """
    kwargs = kwargs or {}
    flow = follow(module, inputs, kwargs)
    reading = read(flow)
    found: list[Explanation] = []
    stem = None
    if reading:
        stem = reading.stem
        run = _Runs(module, inputs, kwargs, reading)
        found += _broken_promises(module, flow, reading, run)
        found += _order(flow)
        found += _unread(reading, run)
        found += _linear(reading, run)
        found += _first_without_class_token(flow, reading)
        found += _bias(flow, reading)
    elif flow.error is None:
        found += _cut_table_of_patches(module, flow)
    found += _width_normed(flow)
    if _may_have_counted_wrong(flow) and not any(fault.kind in _PROMISES for fault in found):
        found = [*_stated_promises(module), *found]
    if flow.error:
        # a run that raised speaks for itself; its faults must not say that all went well
        words = ", and every shape is right"
        found = [replace(each, sentence=each.sentence.replace(words, "")) for each in found]
    whole = reading is not None and reading.complete and stem is not None
    return Audit(
        faults=tuple(found),
        notes=_notes(flow),
        stem=stem if whole else None,
        stem_layers=tuple(link.name for link in reading.links) if whole and reading else (),
        cause=_cause(found, flow, reading),
    )


def _cause(found: Sequence[Explanation], flow: Flow, reading: Reading | None) -> Explanation | None:
    """The fault that the function which raised ran into."""
    if reading is None or flow.failed is None or not _takes_tokens(flow.failed, reading):
        return None
    kinds = {"stride"} if flow.failed.name in MOVES else {"width"}
    if flow.failed.name in SUMS:
        kinds = {"position table", "class token", "width"}
    return next((fault for fault in found if fault.kind in kinds), None)


def _takes_tokens(step: Step, reading: Reading) -> bool:
    """Whether a function is given the map or the tokens that were made of it."""
    return any(
        id(known) in reading.sequence
        or (known.places is not None and known.places.origin == reading.map.index)
        for known in step.sources
    )


class _Runs:
    """The part of a module that makes the map of tokens, to be run on other images."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[Any],
        kwargs: Mapping[str, Any],
        reading: Reading,
    ) -> None:
        self._module, self._inputs, self._kwargs = module, inputs, kwargs
        self._step = reading.map.index
        self.image: Tensor = tensors_of((inputs, kwargs))[reading.image.image or 0]

    def __call__(self, image: Tensor, *, grad: bool = False) -> Tensor | None:
        """The map of another image; None where the run does not get that far."""
        return output_of_step(
            self._module,
            self._inputs,
            self._kwargs,
            self._step,
            image=(self.image, image),
            grad=grad,
        )


# ---- what the parts promise each other ------------------------------------------------------


def _broken_promises(
    module: nn.Module, flow: Flow, reading: Reading, run: _Runs
) -> Iterator[Explanation]:
    """What convolutions, tokens, position table and attributes say of each other."""
    stem = reading.stem
    table = _table(module, flow, reading)
    known: dict[str, Any] = dict(
        image_size=reading.image.shape[2:],
        in_channels=reading.image.shape[1],
        convs=reading.layers if stem else None,
        names=tuple(link.name or "a convolution" for link in reading.links) if stem else None,
        strides=None if stem else _steps(reading),
        embed_dim=None if stem else reading.width,
        num_prefix_tokens=table.prefix if table else reading.prefix,
        table_length=table.length if table else None,
        table_width=table.width if table else None,
        patch_size=_stated_patch(module, reading)
        if stem and _makes_tokens(flow, reading)
        else None,
    )
    wanted = set(_PROMISES)
    if stem and (reading.complete or flow.error):
        wanted |= {"unread pixels", "linear"}
        wanted |= {"activation"} if reading.tokens else set()
    try:
        found = faults(Contract(**known))
    except SpecError:  # larger than any stem of ours
        found = ()
    for fault in found:
        if table and fault.kind in ("position table", "class token"):
            named = f"{table.name}, the position table, has"
            told = fault.sentence.replace("The position table has", named)
            fault = replace(fault, sentence=told)
            if table.length == 1 and "pos" not in table.name.rpartition(".")[2].lower():
                guess = "; that it is meant for places is a guess"
                fault = replace(fault, likelihood="likely", because=fault.because + guess)
        if fault.kind not in wanted:
            continue
        whole = fault.kind == "linear" and fault.numbers["convolutions"] == len(reading.links)
        proven = _measured(fault, _affine_rest(run)) if whole else fault
        if proven:
            yield proven
    yield from _stated_width(module, flow, reading)


def _makes_tokens(flow: Flow, reading: Reading) -> bool:
    """Whether the map becomes tokens, or was to become some when the run raised."""
    failed = flow.failed
    return reading.tokens is not None or (
        failed is not None and failed.name in MOVES and _takes_tokens(failed, reading)
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A learned table that is added to the tokens."""

    name: str
    length: int
    width: int
    prefix: int


def _table(module: nn.Module, flow: Flow, reading: Reading) -> _Table | None:
    """The learned table that does not fit the tokens, or is cut or stretched to fit; else None.

    A table that is reckoned and not learned, as one of sines, may be cut: the place of a token in
    it is that of its number.
    """
    learned = {name for name, _ in module.named_parameters()}
    steps = [*flow.steps, *([flow.failed] if flow.failed else [])]
    whole = {
        known.places.origin
        for known in _tables_added(steps, reading)
        if known.places and prod(known.shape) == prod(known.places.shape)
    }
    for step in steps:
        if step.name not in SUMS:
            continue
        tokens = next((each for each in step.sources if id(each) in reading.sequence), None)
        for known in step.sources:
            places = known.places
            if tokens is None or known.of_image or places is None:
                continue
            width = places.shape[-1]
            length = prod(places.shape[:-1])
            prefix = reading.sequence[id(tokens)]
            name = str(places.origin)
            if length == 1 and (whole - {name} or _is_no_place(name)):
                continue
            fails = step is flow.failed
            if not fails and (name not in learned or (length > 1 and not _cut(known, steps))):
                continue
            return _Table(name=name, length=length, width=width, prefix=prefix)
    return None


def _tables_added(steps: Sequence[Step], reading: Reading) -> Iterator[Known]:
    """Every learned table of several entries that is added to the tokens."""
    for step in steps:
        if step.name in SUMS and any(id(each) in reading.sequence for each in step.sources):
            for known in step.sources:
                if known.places and not known.of_image and prod(known.places.shape[:-1]) > 1:
                    yield known


def _is_no_place(name: str) -> bool:
    """Whether a learned vector is, by its name, one that every token is to get."""
    words = ("type", "mask", "bias", "scale", "gamma", "beta", "cls", "class", "token", "seg")
    return any(word in name.rpartition(".")[2].lower() for word in words)


def _cut(table: Known, steps: Sequence[Step]) -> bool:
    """Whether the first entries of a table are used, and never those behind them."""
    assert table.places is not None
    origin, width = table.places.origin, table.places.shape[-1]
    length = prod(table.places.shape[:-1])
    uses = torch.zeros(length, dtype=torch.int64)
    for step in steps:
        if step.name in MOVES:
            continue
        for known in step.sources:
            if known.places and known.places.origin == origin:
                entries = known.places.numbers().flatten() // width
                uses += torch.bincount(entries, minlength=length)
    used = int((uses > 0).sum())
    return used < length and bool((uses[:used] > 0).all())


def _cut_table_of_patches(module: nn.Module, flow: Flow) -> Iterator[Explanation]:
    """A table that is cut for patches that no convolution makes: pixels moved, then nn.Linear."""
    linear = (step for step in flow.steps if step.name == "linear")
    patch, image = next(filter(None, map(_patch_of, linear)), (0, ()))
    learned = {name for name, _ in module.named_parameters()}
    for step in flow.steps if patch else ():
        tokens = next((each.shape for each in step.of_image if len(each.shape) == 3), None)
        if step.name not in SUMS or tokens is None:
            continue
        cells = prod(side // patch for side in image[2:])
        for known in step.sources:
            places = known.places
            if known.of_image or places is None or places.origin not in learned:
                continue
            length = prod(places.shape[:-1])
            if prod(known.shape[:-1]) != tokens[1] or not _cut(known, flow.steps):
                continue
            try:
                told = faults(
                    Contract(
                        image_size=image[2:],  # type: ignore[arg-type]  # the image is 4-d
                        in_channels=image[1],
                        strides=(patch,),
                        embed_dim=tokens[2],
                        num_prefix_tokens=tokens[1] - cells,
                        table_length=length,
                        table_width=tokens[2],
                    )
                )
            except SpecError:  # larger than any stem of ours, or fewer tokens than cells
                return
            named = f"{places.origin}, the position table, has"
            for fault in told:
                if fault.kind == "position table":
                    words = fault.sentence.replace("The position table has", named)
                    yield replace(fault, sentence=words)
            return


def _patch_of(step: Step) -> tuple[int, tuple[int, ...]] | None:
    """Side of the square patches of an image that a step is given as (b, n, d), and its shape.

    None where it is given anything else; the first patch has to be the image's first corner.
    """
    known = step.sources[0]
    places = known.places
    if places is None or places.origin != -1 or places.moved is None:
        return None
    if len(places.shape) != 4 or len(known.shape) != 3 or prod(known.shape) != prod(places.shape):
        return None
    _, channels, height, width = places.shape
    numbers = known.shape[2] // channels
    side = isqrt(numbers)
    if side < 1 or side * side * channels != known.shape[2] or height % side or width % side:
        return None
    pixels = set((places.moved[0, 0] % (height * width)).tolist())
    corner = [row * width + column for row in range(side) for column in range(side)]
    return (side, places.shape) if pixels == set(corner) else None


def _steps(reading: Reading) -> tuple[int, ...] | None:
    """The stride that gives this grid by division; None where none does."""
    (height, width), (rows, columns) = reading.image.shape[2:], reading.grid_size
    step = height // rows if rows else 0
    return (step,) if step and (height // step, width // step) == (rows, columns) else None


def _may_have_counted_wrong(flow: Flow) -> bool:
    """Whether the run raised where a wrong number of tokens would have made it raise.

    Layers of channels do not ask how many there are, unless they mix tokens; then the error's own
    text has the number.
    """
    raised = flow.failed.name if flow.failed else ""
    return flow.error is not None and raised not in ("linear", "conv2d", "layer_norm")


def _stated_promises(module: nn.Module) -> Iterator[Explanation]:
    """What the attributes and parameters say of each other by themselves, before anything runs.

    Only where the convolutions of a module with a patch_size feed each other by their channels.
    """
    for owner in module.modules():
        patch = _whole(_stated(owner, "patch_size"))
        convs = [layer for layer in owner.modules() if isinstance(layer, nn.Conv2d)]
        strides = [_whole(conv.stride) for conv in convs]
        feeds = all(a.out_channels == b.in_channels for a, b in pairwise(convs))
        if patch is None or not convs or not feeds or None in strides:
            continue
        if patch in (prod(filter(None, strides)), *(conv.kernel_size[0] for conv in convs)):
            continue
        names = ("image_size", "img_size")
        image = next((size for name in names if (size := _pair(_stated(owner, name)))), None)
        try:
            found = faults(
                Contract(image_size=image, patch_size=patch, strides=tuple(filter(None, strides)))
            )
        except SpecError:  # larger than any stem of ours
            continue
        yield from (fault for fault in found if fault.kind == "stride")
        return


def _pair(value: Any) -> tuple[int, int] | None:
    """A height and a width, where a value can be them."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = len(pair) == 2 and all(_whole(side) for side in pair)
    return (pair[0], pair[1]) if whole else None


def _owners(module: nn.Module, reading: Reading) -> list[tuple[str, nn.Module]]:
    """The modules around the last convolution, the innermost first, containers left out."""
    if not reading.links or not reading.links[-1].name:
        return []
    layers = dict(module.named_modules())
    owners = []
    name = reading.links[-1].name
    while name:
        name = name.rpartition(".")[0]
        owner = layers.get(name)
        if owner is not None and not isinstance(owner, (nn.Sequential, nn.ModuleList)):
            owners.append((name, owner))
    return owners


def _stated_patch(module: nn.Module, reading: Reading) -> int | None:
    """What `patch_size` around the last convolution says, where it speaks of all the strides.

    One that is the kernel of a first convolution whose windows overlap is the side of these; one
    that is right for the convolutions beside it says nothing of those elsewhere.
    """
    for name, owner in _owners(module, reading):
        patch = _whole(_stated(owner, "patch_size"))
        if patch is None:
            continue
        start = f"{name}." if name else ""
        pairs = list(zip(reading.links, reading.layers, strict=True))
        beside = [conv for link, conv in pairs if link.name.startswith(start)]
        direct = [
            conv
            for link, conv in pairs
            if link.name.startswith(start) and "." not in link.name.removeprefix(start)
        ]
        fits = any(prod(conv.stride for conv in convs) == patch for convs in (beside, direct))
        first = pairs[0][1]
        if fits or (first.kernel_size == patch and first.stride < patch):
            return None
        return patch
    return None


def _stated(owner: nn.Module, attribute: str) -> Any:
    """What an attribute says; None where there is none, or where the user's property raises."""
    try:
        return getattr(owner, attribute, None)
    except Exception:  # noqa: BLE001  # it is the user's code
        return None


def _whole(value: Any) -> int | None:
    """A whole number, or the one that a pair says twice."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _stated_width(module: nn.Module, flow: Flow, reading: Reading) -> Iterator[Explanation]:
    """What the module beside the last convolution says of the width, against its channels.

    A width that some other layer has may be that of a later stage, unless the run raised where
    the tokens met it.
    """
    met: set[int] = set()
    if flow.failed and _takes_tokens(flow.failed, reading):
        met = {size for known in flow.failed.sources for size in known.shape}
    widths = {size for parameter in module.parameters() for size in parameter.shape}
    for name, owner in _owners(module, reading)[:1]:
        for attribute in ("embed_dim", "hidden_dim", "hidden_size"):
            stated, width = _whole(_stated(owner, attribute)), reading.width
            if stated is None or stated == width or (stated in widths - met):
                continue
            field = f"{name}.{attribute}" if name else attribute
            last = reading.links[-1].name
            yield explain(
                "width",
                f"{last} gives tokens of {width} numbers, and {field} says {stated}.",
                f"Let {last} have {stated} output channels.",
                f"Or set {attribute} to {width}.",
                because="the channels of the last convolution are the numbers of a token",
                likelihood="certain",
                numbers={"embed_dim": stated, "out_channels": width},
            )


# ---- the order of the tokens ----------------------------------------------------------------


def _order(flow: Flow) -> Iterator[Explanation]:
    """Maps that are made into tokens otherwise than rows first.

    One that is also made into tokens rows first is read both ways on purpose, as in scans.
    """
    made = list(_made_tokens(flow))
    by_rows = {
        known.places.origin
        for known, found in made
        if known.places and isinstance(found, TokenAxes) and found.order == _in_rows(known.places)
    }
    for known, found in made:
        places = known.places
        if places is None:
            continue
        _, channels, rows, columns = places.shape
        of_map = f"{channels}×{rows}×{columns} map"
        numbers = {"rows": rows, "columns": columns, "embed_dim": channels}
        if not isinstance(found, TokenAxes):
            yield explain(
                "token order",
                f"{_maker(known, flow)} makes {rows * columns} tokens of the {of_map} with the"
                f" numbers in the order they have in memory: {found}, and every shape is right.",
                f"Move the channels to the end first: {_RIGHT}.",
                because="the places of the numbers were followed through the module",
                likelihood="certain",
                numbers=numbers,
            )
            return
        by_columns = tuple(r * columns + c for c in range(columns) for r in range(rows))
        if min(rows, columns) > 1 and found.order == by_columns and places.origin not in by_rows:
            yield explain(
                "token order",
                f"The {of_map} becomes tokens column after column: token 1 is the cell in row 1,"
                " column 0. Position tables, pretrained weights and whatever resizes a table"
                " reckon with row after row.",
                f"Take the rows first: {_RIGHT}.",
                because="the places of the numbers were followed through the module",
                likelihood="likely",
                numbers=numbers,
            )
            return


def _made_tokens(flow: Flow) -> Iterator[tuple[Known, TokenAxes | str]]:
    """Everything that is used as tokens of a map, with how the map stands in it."""
    seen: set[int] = set()
    for step in (*flow.steps, None):
        ends = flow.outputs if step is None else () if step.name in MOVES else step.sources
        for known in ends:
            if not known.of_image or known.places is None or id(known.places) in seen:
                continue
            seen.add(id(known.places))
            found = token_axes(known)
            if found is not None:
                yield known, found


def _in_rows(places: Places) -> tuple[int, ...]:
    """The cells of a map, row after row."""
    return tuple(range(prod(places.shape[2:])))


def _maker(known: Known, flow: Flow) -> str:
    """The function that last gave a tensor its sides; what only turns them can mix nothing."""
    made = last = flow.steps[known.step or 0]
    while made.name in MOVES | COPIES | NORMS | ACTIVATIONS and made.sources[0].step is not None:
        if made.name in ("reshape", "view", "flatten", "unflatten"):
            return made.name
        made = flow.steps[made.sources[0].step]
    return last.name


def _first_without_class_token(flow: Flow, reading: Reading) -> Iterator[Explanation]:
    """A classifier that takes the first token where no class token was put first."""
    if reading.tokens is None or reading.axes is None or reading.prefix != 0:
        return
    cells = prod(reading.grid_size)
    tokens = {id(reading.tokens)}
    parts: list[bool] = []
    for step in flow.steps:
        mine = [known for known in step.sources if id(known) in tokens]
        if not mine:
            continue
        made = step.outputs[0]
        if step.name in ("getitem", "select") and len(made.shape) < len(mine[0].shape):
            parts.append(_is_first(step) and prod(mine[0].shape) == cells * prod(made.shape))
        elif len(made.shape) == 3 and made.shape[reading.axes.axis] == cells:
            tokens.add(id(made))
    if parts == [True]:
        yield explain(
            "class token",
            f"The first of the {cells} image tokens is handed on alone, and no class token was put"
            " before them: the classifier gets the token of the image's corner.",
            "Put the class token first: torch.cat((cls.expand(len(x), -1, -1), x), dim=1).",
            "Or take the mean of the tokens: x.mean(dim=1).",
            because="the tokens are as many as the cells of the map",
            likelihood="likely",
            numbers={"tokens": cells},
        )


def _is_first(step: Step) -> bool:
    """Whether a function takes what stands first along one axis."""
    index = step.given["index"]
    places = index if isinstance(index, tuple) else (index,)
    return [place for place in places if type(place) is int] == [0]


# ---- experiments on the part that makes the map ---------------------------------------------


def _unread(reading: Reading, run: _Runs) -> Iterator[Explanation]:
    """Rows and columns that no window reaches, where no formula says so."""
    image = run.image
    if reading.stem or not reading.complete or not image.is_floating_point() or image.is_meta:
        return
    if not all(step.name in _LOCAL for step in reading.before):
        return  # attention reads everything, and its gradient takes much memory
    with torch.inference_mode(False), torch.enable_grad():
        given = image.detach().clone().requires_grad_()
        maps = run(given, grad=True)
        if maps is None or not maps.requires_grad:
            return
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(maps.shape, generator=draw).to(maps)
        try:
            (gradient,) = torch.autograd.grad(maps, given, direction, allow_unused=True)
        except RuntimeError:  # something was written to that autograd needs
            return
    if gradient is None:
        return
    unread = gradient == 0  # (b, c, h, w)
    rows = unread.flatten(0, 1).all(dim=2).all(dim=0).nonzero().flatten().tolist()
    columns = unread.flatten(0, 1).all(dim=1).all(dim=0).nonzero().flatten().tolist()
    height, width = image.shape[2:]
    if not (rows or columns) or len(rows) == height:
        return
    other = image.detach().clone()
    # far beyond every number of the image, to pass whatever threshold kept a gradient at 0
    noise = torch.randn(image.shape, generator=draw).to(image) * 10 * (1 + image.abs().max())
    other[:, :, rows] += noise[:, :, rows]
    other[:, :, :, columns] += noise[:, :, :, columns]
    before, after = run(image.detach().clone()), run(other)
    if before is None or after is None or not torch.equal(before, after):
        return
    lost = [
        f"{len(places)} of {side} {word}s"
        for places, side, word in ((rows, height, "row"), (columns, width, "column"))
        if places
    ]
    pixels = height * width - (height - len(rows)) * (width - len(columns))
    yield explain(
        "unread pixels",
        f"No token reads {' and '.join(lost)} of the image, and every shape is right.",
        f"Crop or resize the image to {by((height - len(rows), width - len(columns)))} pixels, or"
        " pad until the last window ends at its border.",
        f"Leave it so if {pixels:,} pixels of {height * width:,} do not matter.",
        because="other numbers in them leave the map as it is, to the last bit",
        likelihood="certain",
        numbers={
            "unread_rows": len(rows),
            "unread_columns": len(columns),
            "unread_pixels": pixels,
        },
    )


def _linear(reading: Reading, run: _Runs) -> Iterator[Explanation]:
    """Convolutions that are one affine map, where they are no plain chain."""
    convs = _most_convolutions(reading)
    if reading.stem or convs < 2 or not all(map(_is_affine, reading.before)):
        return
    rest = _affine_rest(run)
    if rest is None or rest > _LINEAR:
        return
    yield explain(
        "linear",
        f"The {convs} convolutions before the tokens have no activation between them, so they"
        " are one affine map, and a single convolution does the same.",
        "Follow every convolution but the last with norm and activation, as in the paper: bn relu.",
        because=_in_words(rest),
        likelihood="certain",
        numbers={"convolutions": convs},
    )


def _most_convolutions(reading: Reading) -> int:
    """How many convolutions follow each other where the way to the tokens is longest."""
    behind: dict[int, int] = {}  # by the number of the step that they lead to
    for step in reading.before:
        most = max(
            (behind.get(known.step, 0) for known in step.of_image if known.step is not None),
            default=0,
        )
        behind[step.index] = most + (step.name == "conv2d")
    return behind[reading.map.index]


def _measured(fault: Explanation, rest: float | None) -> Explanation | None:
    """A fault of linearity with what was measured; None where the measurement contradicts it."""
    if rest is None:
        return fault
    if rest > _LINEAR:
        return None
    return replace(fault, because=f"{fault.because}; {_in_words(rest)}")


def _in_words(rest: float) -> str:
    share = f"{rest:.0e} of f".replace("e-0", "e−") if rest else "0"
    return f"f(a + b) − f(a) − f(b) + f(0) is {share}"


def _affine_rest(run: _Runs) -> float | None:
    """How far a map is from being affine in the image: f(a + b) − f(a) − f(b) + f(0), over f."""
    image = run.image
    if image.is_meta or image.dtype not in (torch.float32, torch.float64):
        return None
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(image.shape, generator=draw).to(image) for _ in range(2))
    maps = [run(each) for each in (a + b, a, b, torch.zeros_like(image))]
    if any(each is None for each in maps):
        return None
    both, first, second, none = (each.double() for each in maps if each is not None)
    if torch.equal(first, none):  # a map that does not depend on the image yet
        return None
    largest = max(float(each.abs().max()) for each in (both, first, second, none))
    if not isfinite(largest):
        return None
    return float((both - first - second + none).abs().max()) / largest


def _is_affine(step: Step) -> bool:
    """Whether a step, in evaluation mode, is affine in the image."""
    if step.name in SCALINGS:
        return len(step.of_image) == 1 and step.of_image[0] is step.sources[0]
    return step.name in MOVES | COPIES | SUMS | {"conv2d", "pad", "avg_pool2d", "batch_norm"}


# ---- single layers --------------------------------------------------------------------------


def _bias(flow: Flow, reading: Reading) -> Iterator[Explanation]:
    """Convolutions on the way to the tokens whose bias goes to a BatchNorm and nowhere else."""
    readers: dict[int, list[Step]] = {}
    for step in flow.steps:
        for known in step.sources:
            readers.setdefault(id(known), []).append(step)
    names: dict[str, int] = {}
    if not reading.complete and flow.error is None:
        return
    for step in reading.before:
        if step.name != "conv2d" or step.given.get("bias") is None:
            continue
        after = readers.get(id(step.outputs[0]), [])
        if [each.name for each in after] == ["batch_norm"]:
            name = step.sources[1].name.rpartition(".")[0] or "a convolution"
            names[name] = step.given["bias"][0]
    if names:
        yield bias_fault(list(names), sum(names.values()))


def _width_normed(flow: Flow) -> Iterator[Explanation]:
    """A LayerNorm that was meant for channels and gets a map as it is."""
    for step in flow.steps:
        if step.name != "layer_norm" or len(step.given["normalized_shape"]) != 1:
            continue
        known = step.of_image[0] if step.of_image else step.sources[0]
        of_map = known.places is not None and known.places.origin != -1 and len(known.shape) == 4
        if known.places is None or not of_map or last_axis(known) != "columns":
            continue
        _, channels, rows, columns = known.places.shape
        name = next((each.name for each in step.sources[1:] if each.name), "")
        layer = name.rpartition(".")[0] or "layer_norm"
        yield explain(
            "norm",
            f"{layer} normalises the last axis of a map of {channels}×{rows}×{columns}, which is"
            f" the width of the image: {columns} neighbours in a row, and not the {channels}"
            " channels.",
            f"Use nn.GroupNorm(1, {channels}), or bring the channels to the end for the norm:"
            " x.permute(0, 2, 3, 1).",
            because="nn.LayerNorm normalises the last axis, whatever it holds",
            likelihood="certain",
            numbers={"channels": channels, "columns": columns},
        )
        return


def _notes(flow: Flow) -> tuple[str, ...]:
    """What is odd about the run and may be meant."""
    if not flow.changed:
        return ()
    return (
        f"The forward writes to {', '.join(flow.changed)} in evaluation mode too, so that two runs"
        " on one image may differ; here it was put back. Write to it only while self.training.",
    )
