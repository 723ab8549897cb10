"""A stem read out of anybody's module: the convolutions that an image passes on its way to tokens.

What can be read as a `StemSpec` has all that stems of our own have: receptive fields, pixels that
nobody reads, costs, faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from math import prod
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.spec import Activation, ConvLayer, Norm, StemSpec
from vitc_inspect.tracing.dataflow import (
    ACTIVATIONS,
    COPIES,
    MOVES,
    NORMS,
    SCALINGS,
    SUMS,
    Flow,
    Known,
    Step,
    follow,
)
from vitc_inspect.tracing.module_tree import arguments_of


@dataclass(frozen=True, kw_only=True)
class TokenAxes:
    """How a map (b, d, h, w) stands in a tensor of tokens."""

    axis: int
    """Axis along which the tokens follow each other."""
    order: tuple[int, ...]
    """Cell of the map that became each token, counted row by row."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A convolution on the way, with what follows it."""

    name: str
    """Name of the convolution in the module; "" where its weight is no parameter."""
    layer: ConvLayer | None
    """The convolution with its norm and activation; None where a `ConvLayer` cannot say it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The part of a module that makes tokens of an image, as far as it can be read."""

    image: Known
    """The input that is the image."""
    map: Step
    """The step that gave the last map before the tokens."""
    tokens: Known | None
    """The tokens, before anything is done with them; None where the map is not made into any."""
    axes: TokenAxes | None
    """How the map stands in the tokens; None where they are mixed, and without tokens."""
    before: tuple[Step, ...]
    """Every step on the way from the image to the map, the map's own included."""
    links: tuple[Link, ...]
    """The convolutions in order; empty where the way branches or leads through other layers."""
    sequence: Mapping[int, int]
    """Tokens put before the image's, by the id of each tensor that the tokens alone become."""
    table: bool
    """Whether something else is added to each place of the map or of the tokens."""
    complete: bool
    """Whether the map becomes tokens or is what the module returns."""

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        rows, columns = self.map.outputs[0].shape[2:]
        return rows, columns

    @property
    def axes_in_rows(self) -> bool:
        """Whether the tokens follow each other row after row."""
        return self.axes is not None and self.axes.order == tuple(range(prod(self.grid_size)))

    @property
    def prefix(self) -> int | None:
        """Tokens put before the image's; None without tokens."""
        return max(self.sequence.values(), default=None)

    @property
    def width(self) -> int:
        """Channels of the map: numbers of a token."""
        return self.map.outputs[0].shape[1]

    def feeds(self, step: Step) -> bool:
        """Whether a function is given the map, or the tokens that were made of it."""
        return any(
            id(known) in self.sequence
            or (known.places is not None and known.places.origin == self.map.index)
            for known in step.sources
        )

    @cached_property
    def layers(self) -> tuple[ConvLayer, ...]:
        """The convolutions with norm and activation; empty where one is not to be described."""
        layers = tuple(link.layer for link in self.links if link.layer)
        return layers if len(layers) == len(self.links) else ()

    @cached_property
    def stem(self) -> StemSpec | None:
        """The stem; None where the way is no such chain, or comes out otherwise than it says."""
        if not self.layers:
            return None
        try:
            spec = StemSpec(
                image_size=self.image.shape[2:],  # type: ignore[arg-type]  # the image is 4-d
                in_channels=self.image.shape[1],
                convs=self.layers,
                class_token=bool(self.prefix),
                position_table=self.table,
            )
        except SpecError:
            return None
        return spec if (spec.grid_size, spec.embed_dim) == (self.grid_size, self.width) else None


def stem_of(
    module: nn.Module,
    inputs: Tensor | Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> StemSpec | None:
    """Read the stem of any module by running it once in evaluation mode.

    Args:
        module: Any module; it is left as it was.
        inputs: Arguments of its forward, an image (b, c, h, w) among them; or the image alone.
        kwargs: Its arguments by name.

    Returns:
        The stem: square convolutions, each fed by the one before, with norm and activation, from
        the image to the tokens or to the map that the module returns. None where the module is
        no such chain: where the way branches, pads in a function or passes any other layer.

    Raises:
        SpecError: field "module", for what is no module.
    """
    reading = read(follow(module, *arguments_of(inputs, kwargs)))
    return reading.stem if reading and reading.complete else None


def read(flow: Flow) -> Reading | None:
    """Find the way from an image to tokens in what a run showed.

    Args:
        flow: The run.

    Returns:
        The reading; None where no image goes through a convolution.
    """
    tokens, axes, maps = _tokens(flow)
    if maps is None:
        return None
    image, before = _way(flow, maps)
    if image is None:
        return None
    returned = any(known.places and known.places.origin == maps.index for known in flow.outputs)
    after = _after(flow, maps)
    sequence = _sequence(flow, tokens)
    return Reading(
        image=image,
        map=maps,
        tokens=tokens,
        axes=axes,
        before=before,
        links=_links(before, after),
        sequence=sequence,
        # of a run that raised it is not known, and a stem has one as a rule
        table=flow.error is not None or _has_table(flow, maps, sequence),
        complete=tokens is not None or returned,
    )


def _tokens(flow: Flow) -> tuple[Known | None, TokenAxes | None, Step | None]:
    """The first tokens made of a map, how it stands in them, and the step that gave the map.

    Without tokens the map that is returned, or else the last.
    """
    maps = [
        step
        for step in flow.steps
        if step.outputs[0].places and step.outputs[0].places.origin == step.index
    ]
    for known in _taken(flow):
        found = token_axes(known)
        if found is None or known.places is None:
            continue
        origin = flow.steps[int(known.places.origin)]
        # a map with the channels last may go on as a map, as in the blocks of ConvNeXt
        if len(known.shape) < 4 or origin is maps[-1]:
            return known, found if isinstance(found, TokenAxes) else None, origin
    returned = [
        flow.steps[known.places.origin]
        for known in flow.outputs
        if known.places and isinstance(known.places.origin, int) and known.places.origin >= 0
    ]
    return None, None, next(iter(returned or maps[::-1]), None)


def _taken(flow: Flow) -> Iterator[Known]:
    """Every tensor that something is done with that is more than moving and normalising it.

    Tokens that are only normalised and made a map again are the channels last for a norm.
    """
    for step in flow.steps:
        given, made = step.sources[0], step.outputs[0]
        cuts = step.name in MOVES and prod(made.shape) < prod(given.shape)
        if cuts or step.name not in MOVES | COPIES | NORMS | ACTIVATIONS:
            for known in step.of_image:
                others = [each for each in step.sources if each is not known]
                scaled = step.name in SUMS | SCALINGS
                # a number for each channel is what a norm written by hand has
                if not scaled or any(len(each.shape) > 1 for each in others):
                    yield known
    if flow.failed and flow.failed.name not in MOVES:
        yield from flow.failed.of_image
    yield from flow.outputs


STRANGERS = "one image gets tokens of others"
"""What `token_axes` says of tokens that are whole and in the wrong image."""


def token_axes(known: Known) -> TokenAxes | str | None:
    """Find out how a map stands in a tensor of tokens, by where its numbers come from.

    Args:
        known: A tensor whose places are known.

    Returns:
        The axes; in words, what is mixed where the numbers of cells or images are; None where the
        tensor is no sequence of tokens: where its sides are not those of (b, h w, d), or its rows
        are several cells in full, as in a merge of neighbours.
    """
    places = known.places
    if places is None or places.moved is None or len(places.shape) != 4:
        return None
    if not isinstance(places.origin, int) or places.origin < 0:
        return None
    batch, channels, rows, columns = places.shape
    cells = rows * columns
    moved = places.moved
    if tuple(moved.shape) == (batch, rows, columns, channels) and channels not in (rows, columns):
        moved = moved.flatten(1, 2)  # channels last, and two axes for the tokens
    elif tuple(moved.shape) == (batch * cells, channels):
        moved = moved.view(batch, cells, channels)
    elif batch == 1 and moved.ndim == 2:
        moved = moved[None]
    if moved.ndim != 3 or sorted(moved.shape) != sorted((batch, cells, channels)):
        return None
    if cells == 1 or not moved.numel():  # of no image nothing can be mixed
        return None
    image, cell = moved // (channels * cells), moved % cells
    mixed = "each token holds numbers of several cells"
    for order in permutations(range(3)):
        if tuple(moved.shape[axis] for axis in order) != (batch, cells, channels):
            continue
        whose, which = image.permute(order), cell.permute(order)  # (b, n, d)
        if not torch.equal(which, which[:1, :, :1].expand_as(which)):
            continue
        mixed = "each token holds numbers of several images"
        if torch.equal(whose, whose[:, :1, :1].expand_as(whose)):
            axis = max(0, order[1] - max(0, moved.ndim - places.moved.ndim))
            return TokenAxes(axis=axis, order=tuple(which[0, :, 0].tolist()))
    if not whole_cells(image, cell, channels, columns):
        return mixed
    strangers = not torch.equal(image, image[:, :1, :1].expand_as(image))
    return STRANGERS if strangers else None


def same_throughout(*numbers: Tensor) -> bool:
    """Whether numbers (b, n, d) do not change along the last axis."""
    return all(torch.equal(each, each[..., :1].expand_as(each)) for each in numbers)


def cells_in_full(image: Tensor, cell: Tensor, channels: int) -> Tensor | None:
    """The cells that each token holds all channels of, (b, n, cells); None where one has parts.

    Args:
        image, cell: Where each number comes from, (b, n, d).
        channels: Numbers of a cell.
    """
    many, left = divmod(cell.shape[2], channels)
    if left or not many or not same_throughout(image):
        return None
    ranked = cell.sort(dim=2).values  # (b, n, d)
    each = ranked[..., ::channels]  # (b, n, many)
    return each if torch.equal(ranked, each.repeat_interleave(channels, dim=2)) else None


def whole_cells(image: Tensor, cell: Tensor, channels: int, columns: int) -> bool:
    """Whether each token is one cell in full, or a rectangle of them, as a merge of neighbours is.

    Tokens of four cells have the sides of the map's own tokens, turned, where a map has four
    times as many cells as channels.

    Args:
        image, cell: Where each number comes from, (b, n, d).
        channels: Numbers of a cell.
        columns: Cells in a row of the map.
    """
    each = cells_in_full(image, cell, channels)
    if each is None:
        return False
    row, column = each // columns, each % columns
    height, width = (at.amax(dim=2) - at.amin(dim=2) + 1 for at in (row, column))
    return bool((height * width == each.shape[2]).all())


def _way(flow: Flow, end: Step) -> tuple[Known | None, tuple[Step, ...]]:
    """The image, and every step that it passes on its way; None for several images or none."""
    steps: dict[int, Step] = {}
    images: dict[int, Known] = {}
    waiting = [end]
    while waiting:
        step = waiting.pop()
        if step.index in steps:
            continue
        steps[step.index] = step
        for known in step.of_image:
            if known.step is not None:
                waiting.append(flow.steps[known.step])
            elif known.image is not None:
                images[known.image] = known
    (image, *others) = images.values() or [None]
    if image is None or others or len(image.shape) != 4:
        return None, ()
    return image, tuple(steps[index] for index in sorted(steps))


def _after(flow: Flow, maps: Step) -> tuple[Step, ...]:
    """What happens to the last map itself, one step after the other, while numbers stay in place.

    The norm and the activation behind the last convolution are among it. It ends where several
    functions read the map, since none of them stands between it and the others.
    """
    chain: list[Step] = []
    last = maps.outputs[0]
    readers = Counter(id(known) for step in flow.steps for known in set(step.of_image))
    for step in flow.steps[maps.index + 1 :]:
        if readers[id(last)] > 1:
            break
        if last in step.sources and step.outputs[0].places is not None:
            chain.append(step)
            last = step.outputs[0]
            if last.places is None or last.places.origin != maps.index:
                break
    return tuple(chain)


def _links(before: Sequence[Step], after: Sequence[Step]) -> tuple[Link, ...]:
    """The convolutions of a way without branches; nothing where it has others than these."""
    links: list[Link] = []
    group: list[Step] = []
    last: Known | None = None
    for step in before:
        if len(step.of_image) != 1 or (last is not None and step.of_image[0] is not last):
            return ()
        last = step.outputs[0]
        if step.name == "conv2d":
            if links:
                links[-1] = _closed(links[-1], group)
            elif not all(_keeps_image(each) for each in group):
                return ()
            links.append(_link(step))
            group = []
        else:
            group.append(step)
    if not links or group:
        return ()
    links[-1] = _closed(links[-1], _ending(after))
    return tuple(links)


def _keeps_image(step: Step) -> bool:
    """Whether a step before the first convolution leaves every pixel in its place."""
    return step.name in COPIES | SUMS | SCALINGS | {"batch_norm"} and (
        step.outputs[0].shape == step.of_image[0].shape
    )


def _ending(after: Sequence[Step]) -> list[Step]:
    """Norm and activation behind the last map: what comes before its numbers are moved for good.

    A position table that is added to the map is no part of the convolution's stage, and neither
    is what follows it.
    """
    kept: list[Step] = []
    for step in after:
        if step.name in SUMS | SCALINGS:
            break
        kept.append(step)
    # moves that are not undone are those that make tokens
    while kept and not kept[-1].outputs[0].at_home:
        at = max((i for i, step in enumerate(kept) if step.name in MOVES and _one(step).at_home))
        kept = kept[:at]
    return kept


def _one(step: Step) -> Known:
    return step.of_image[0]


def _link(step: Step) -> Link:
    """A convolution, as far as a ConvLayer can describe it."""
    weight = next((known.name for known in step.sources[1:2]), "")
    name = weight.rpartition(".")[0]
    return Link(name=name, layer=_conv_layer(step.given))


def _conv_layer(given: Mapping[str, Any]) -> ConvLayer | None:
    """The convolution that these arguments of a function describe; None for what is not square."""
    width, _, *kernel = given["weight"]
    stride, dilation = (_pair(given.get(name, 1)) for name in ("stride", "dilation"))
    padding = given.get("padding", 0)
    if padding == "same":
        reach = [step * (taps - 1) for taps, step in zip(kernel, dilation, strict=True)]
        padding = [span // 2 if span % 2 == 0 else -1 for span in reach]
    padding = _pair(0 if padding == "valid" else padding)
    if any(len(set(each)) > 1 for each in (kernel, stride, dilation, padding)):
        return None
    try:
        return ConvLayer(
            out_channels=width,
            kernel_size=kernel[0],
            stride=stride[0],
            padding=padding[0],
            dilation=dilation[0],
            groups=given.get("groups", 1),
            bias=given.get("bias") is not None,
        )
    except SpecError:
        return None


def _pair(value: Any) -> tuple[int, int]:
    """A number for each axis."""
    first, *rest = value if isinstance(value, (tuple, list)) else (value,)
    return (first, rest[0]) if rest else (first, first)


def _closed(link: Link, group: Sequence[Step]) -> Link:
    """A convolution with the norm and the activation behind it, where nothing else is there."""
    norm: Norm = "none"
    activation: Activation = "none"
    if link.layer is None:
        return link
    for step in group:
        if step.name in COPIES or (step.name in MOVES and len(step.outputs) == 1):
            continue
        found = _norm(step)
        if found and norm == activation == "none":
            norm = found
        elif step.name in get_args(Activation) and activation == "none":
            activation = step.name  # type: ignore[assignment]  # it is one of them
        else:
            return replace(link, layer=None)
    if group and not group[-1].outputs[0].at_home:
        return replace(link, layer=None)
    return replace(link, layer=replace(link.layer, norm=norm, activation=activation))


def _norm(step: Step) -> Norm | None:
    """The norm of a step, if it is one of those that a ConvLayer can have."""
    if step.name == "batch_norm":
        return "batch"
    if step.name == "layer_norm" and last_axis(_one(step)) == "channels":
        return "layer" if len(step.given["normalized_shape"]) == 1 else None
    return None


def last_axis(known: Known) -> str:
    """Which side of a map lies along the last axis of a tensor: "channels", "rows" or "columns".

    Args:
        known: The tensor; "" is the answer where its places are not known or it is no map.
    """
    places = known.places
    if places is None or len(known.shape) < 2 or len(places.shape) != 4:
        return ""
    line = places.numbers().flatten(0, -2)[0]
    _, channels, rows, columns = places.shape
    step = int(line[1] - line[0]) if len(line) > 1 else 1
    sides = {
        "channels": (channels, rows * columns),
        "rows": (rows, columns),
        "columns": (columns, 1),
    }  # how long each is, and how far one place of it is from the next
    return next((side for side, facts in sides.items() if facts == (len(line), step)), "")


def _has_table(flow: Flow, maps: Step, sequence: Mapping[int, int]) -> bool:
    """Whether something that is no image, and no vector, is added to the tokens or to their map."""
    for step in flow.steps:
        if step.name not in SUMS or len(step.sources) != 2:
            continue
        mine = [
            known
            for known in step.of_image
            if id(known) in sequence or (known.places and known.places.origin == maps.index)
        ]
        others = [known for known in step.sources if not known.of_image]
        if mine and others and sum(size > 1 for size in others[0].shape) > 1:
            return True
    return False


def _sequence(flow: Flow, tokens: Known | None) -> dict[int, int]:
    """What the tokens become until they are mixed with each other, and how many stand before."""
    if tokens is None or tokens.places is None:
        return {}
    cells = prod(tokens.places.shape[2:])
    numbers = prod(tokens.shape) // cells  # of one token, in all images
    before = {id(tokens): 0}
    for step in flow.steps:
        mine = [known for known in step.sources if id(known) in before]
        if not mine:
            continue
        made = step.outputs[0]
        joined = step.name in ("cat", "concat", "concatenate") and len(step.of_image) == 1
        if joined or prod(made.shape) == prod(mine[0].shape):
            before[id(made)] = prod(made.shape) // numbers - cells
    return before
