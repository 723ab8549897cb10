"""Find faults by running on other images: unread pixels, convolutions that are one affine map.

Only the part of a module that makes the feature map runs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite, prod

import torch
from torch import Tensor

from vitc_inspect.audit.stem_finder import StemPath
from vitc_inspect.diagnosis.explanation import Explanation, by, explain
from vitc_inspect.model.devices import factor_rounding, full_precision
from vitc_inspect.tracing.dataflow import Flow, Step, output_of_step
from vitc_inspect.tracing.function_kinds import ACTIVATIONS, COPIES, MOVES, NORMS, SCALINGS, SUMS
from vitc_inspect.tracing.positions import TracedTensor

_ROUNDING = 1e-4  # of the largest number of a map: less is rounding
_LOCAL = (
    MOVES
    | COPIES
    | ACTIVATIONS
    | NORMS
    | SUMS
    | SCALINGS
    | {"conv2d", "linear", "max_pool2d", "avg_pool2d", "pad", "interpolate", "cat"}
)  # what reads no more than the numbers around each place, or along one axis
_MOST_NUMBERS = 2**26  # of all that is followed back to the image, which autograd keeps


class MapRunner:
    """The part of a module that turns an image into a map, run on other images."""

    def __init__(self, flow: Flow, image: TracedTensor, step: Step) -> None:
        self._flow, self._step = flow, step.index
        self.image: Tensor = flow.tensors[image.image or 0]

    @full_precision()
    def __call__(self, image: Tensor, *, grad: bool = False, drawn: bool = False) -> Tensor | None:
        """The map of another image; None where the run does not get that far."""
        instead = (self.image, image)
        return output_of_step(self._flow, self._step, image=instead, grad=grad, drawn=drawn)


def unread_pixels(flow: Flow, stem_path: StemPath | None) -> Iterator[Explanation]:
    """Find rows and columns that nothing reads and that no formula accounts for.

    Args:
        flow: The run of a module.
        stem_path: The way from the image to the tokens, where it was read.

    Returns:
        One fault of kind "unread pixels", or nothing.
    """
    if stem_path and stem_path.stem and (stem_path.complete or flow.error):
        return  # formulas say it
    found = _last_of_all(flow)
    if found is None:
        return
    make_map = MapRunner(flow, *found)
    image = make_map.image
    if not image.is_floating_point() or image.is_meta:
        return
    rows, columns = _without_gradient(make_map)
    if not (rows or columns) or len(rows) == image.shape[2]:
        return
    if _changes_nothing(make_map, rows, columns):
        yield _unread(image, rows, columns, bool(stem_path and stem_path.tokens))


def _without_gradient(make_map: MapRunner) -> tuple[list[int], list[int]]:
    """Rows and columns of the image that no number of the map has a gradient for."""
    with torch.inference_mode(False), torch.enable_grad():
        given = make_map.image.detach().clone().requires_grad_()
        maps = make_map(given, grad=True, drawn=True)
        if maps is None or not maps.requires_grad:
            return [], []
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(maps.shape, generator=draw).to(maps)
        try:
            (gradient,) = torch.autograd.grad(maps, given, direction, allow_unused=True)
        except RuntimeError:  # something was written to that autograd needs
            return [], []
    if gradient is None:
        return [], []
    unread = (gradient == 0).flatten(0, 1).all(dim=0)  # (h, w)
    rows, columns = (unread.all(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    return rows, columns


def _changes_nothing(make_map: MapRunner, rows: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether other numbers in these rows and columns leave the map as it is, to the last bit."""
    image = make_map.image
    other = image.detach().clone()
    draw = torch.Generator().manual_seed(1)
    # far beyond every number of the image, to pass whatever threshold kept a gradient at 0
    noise = torch.randn(image.shape, generator=draw).to(image) * 10 * (1 + image.abs().max())
    other[:, :, rows] += noise[:, :, rows]
    other[:, :, :, columns] += noise[:, :, :, columns]
    before, after = (make_map(each, drawn=True) for each in (image.detach().clone(), other))
    return before is not None and after is not None and torch.equal(before, after)


def _unread(
    image: Tensor, rows: Sequence[int], columns: Sequence[int], of_tokens: bool
) -> Explanation:
    """What is said of rows and columns that nothing reads."""
    height, width = image.shape[2:]
    sides = [
        (positions, side, word)
        for positions, side, word in ((rows, height, "row"), (columns, width, "column"))
        if positions
    ]
    lost = " and ".join(f"{len(positions)} of {side} {word}s" for positions, side, word in sides)
    which = ", ".join(_named(positions, word) for positions, _, word in sides)
    pixels = height * width - (height - len(rows)) * (width - len(columns))
    return explain(
        "unread pixels",
        f"{'No token' if of_tokens else 'Nothing'} reads {lost} of the image ({which}), and every"
        " shape is right.",
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


def _named(positions: Sequence[int], word: str) -> str:
    """Which rows or columns these are, the first and the last of many."""
    if len(positions) == 1:
        return f"{word} {positions[0]}"
    between = "to" if positions[-1] - positions[0] == len(positions) - 1 else "…"
    return f"{word}s {positions[0]} {between} {positions[-1]}"


def _last_of_all(flow: Flow) -> tuple[TracedTensor, Step] | None:
    """The image, and the last step before attention that all of it has to pass.

    What lies behind attention reads everything, and its gradient takes much memory.
    """
    last_use: dict[int, int] = {}
    images: dict[int, TracedTensor] = {}
    for step in flow.steps:
        for known in step.of_image:
            last_use[id(known)] = step.index
            if known.image is not None:
                images[id(known)] = known
    ends = {id(known) for known in flow.outputs}
    (image, *others) = images.values() or [None]
    if image is None or others or len(image.shape) != 4:
        return None
    found, numbers = None, 0
    waiting = {id(image)}  # what is made of the image and still to be used
    for step in flow.steps:
        if not step.of_image:
            continue
        numbers += sum(prod(known.shape) for known in step.outputs)
        if step.name not in _LOCAL or step.picks or numbers > _MOST_NUMBERS:
            break
        waiting |= {id(known) for known in step.outputs}
        waiting = {each for each in waiting if last_use.get(each, -1) > step.index or each in ends}
        if waiting <= {id(step.outputs[0])}:
            found = step
    return (image, found) if found else None


def affine_convolutions(
    flow: Flow, stem_path: StemPath, make_map: MapRunner
) -> Iterator[Explanation]:
    """Find convolutions that are one affine map although they do not form a plain chain.

    Args:
        flow: The run.
        stem_path: The way from the image to the map.
        make_map: Runs it.

    Returns:
        One fault of kind "linear", or nothing.
    """
    convs = _most_convolutions(stem_path)
    if stem_path.stem or convs < 2 or not all(map(_is_affine, stem_path.before)):
        return
    if maps_used_elsewhere(flow, stem_path) or _reads_windows(stem_path):
        return
    rest = _affine_rest(make_map)
    if rest is None or rest > _rounding(make_map.image):
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


def maps_used_elsewhere(flow: Flow, stem_path: StemPath) -> bool:
    """Whether a map before the tokens is read by anything besides the next convolution.

    Then the convolutions before and behind it cannot be one, as those that are added to what they
    read, or whose map goes on to a later layer.
    """
    *inner, _ = [known for step in stem_path.before for known in step.outputs]
    made = {id(known) for known in inner}
    readers = Counter(id(known) for step in flow.steps for known in step.of_image)
    readers.update(id(known) for known in flow.outputs)
    return any(readers[each] > 1 for each in made)


def _reads_windows(stem_path: StemPath) -> bool:
    """Whether a convolution reads pieces of the images as images of their own."""
    convs = [step for step in stem_path.before if step.name == "conv2d"]
    return any(step.of_image[0].shape[0] != stem_path.image.shape[0] for step in convs)


def _most_convolutions(stem_path: StemPath) -> int:
    """How many convolutions follow each other where the way to the tokens is longest."""
    behind: dict[int, int] = {}  # by the number of the step that they lead to
    for step in stem_path.before:
        most = max(
            (behind.get(known.step, 0) for known in step.of_image if known.step is not None),
            default=0,
        )
        behind[step.index] = most + (step.name == "conv2d")
    return behind[stem_path.map.index]


def _is_affine(step: Step) -> bool:
    """Whether a step, in evaluation mode, is affine in the image."""
    if step.name in SCALINGS:
        return len(step.of_image) == 1 and step.of_image[0] is step.sources[0]
    return step.name in MOVES | COPIES | SUMS | {"conv2d", "pad", "avg_pool2d", "batch_norm"}


def measured(
    fault: Explanation, flow: Flow, stem_path: StemPath, make_map: MapRunner
) -> Explanation | None:
    """Confirm by measurement a fault that says a plain chain of convolutions is one affine map.

    Args:
        fault: Any fault; one that says something else is left as it is.
        flow: The run.
        stem_path: The way from the image to the map.
        make_map: Runs it.

    Returns:
        The fault with what was measured; None where that contradicts it.
    """
    if fault.kind != "linear":
        return fault
    if maps_used_elsewhere(flow, stem_path):
        return None
    if fault.numbers["convolutions"] != len(stem_path.convs):
        return fault
    rest = _affine_rest(make_map)
    if rest is None:
        return fault
    if rest > _rounding(make_map.image):
        return None
    return replace(fault, because=f"{fault.because}; {_in_words(rest)}")


def _in_words(rest: float) -> str:
    """What was measured: how far the map is from being affine, as a share of it."""
    share = f"{rest:.0e} of f".replace("e-0", "e−") if rest else "0"
    return f"f(a + b) − f(a) − f(b) + f(0) is {share}"


def _rounding(image: Tensor) -> float:
    """How far from being affine a map may be by rounding alone, as a share of it."""
    return _ROUNDING + 4 * factor_rounding(image)


def _affine_rest(make_map: MapRunner) -> float | None:
    """How far a map is from being affine in the image: f(a + b) − f(a) − f(b) + f(0), over f."""
    image = make_map.image
    if image.is_meta or image.dtype not in (torch.float32, torch.float64):
        return None
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(image.shape, generator=draw).to(image) for _ in range(2))
    maps = [make_map(each) for each in (a + b, a, b, torch.zeros_like(image))]
    if any(each is None for each in maps):
        return None
    both, first, second, none = (each.cpu().double() for each in maps if each is not None)
    if torch.equal(first, none):  # a map that does not depend on the image yet
        return None
    largest = max(float(each.abs().max()) for each in (both, first, second, none))
    if not isfinite(largest):
        return None
    return float((both - first - second + none).abs().max()) / largest
