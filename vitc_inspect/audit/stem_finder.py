"""Find the stem of a module: the convolutions between the image and the tokens.

A stem that can be described by a `StemSpec` gets what a described stem gets: receptive fields,
unread pixels, costs, faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor, nn

from vitc_inspect.audit.stem_convs import StemConv, stem_convs
from vitc_inspect.audit.token_axes import TokenAxes, token_axes
from vitc_inspect.common.errors import SpecError
from vitc_inspect.stem.spec import ConvLayer, StemSpec
from vitc_inspect.tracing.dataflow import Flow, Step, follow
from vitc_inspect.tracing.function_kinds import ACTIVATIONS, COPIES, MOVES, NORMS, SCALINGS, SUMS
from vitc_inspect.tracing.module_tree import arguments_of
from vitc_inspect.tracing.positions import TracedTensor


@dataclass(frozen=True, kw_only=True)
class StemPath:
    """The part of a module that turns an image into tokens, as far as it is recognised."""

    image: TracedTensor
    """The input that is the image."""
    map: Step
    """The step that returned the last map before the tokens."""
    tokens: TracedTensor | None
    """The tokens, before anything is done with them; None where the map is not made into any."""
    axes: TokenAxes | None
    """Axes of the map in the tokens; None if they are mixed, or without tokens."""
    before: tuple[Step, ...]
    """Every step on the way from the image to the map, the map's own included."""
    convs: tuple[StemConv, ...]
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
        """Whether the tokens are in row-major order."""
        return self.axes is not None and self.axes.order == tuple(range(prod(self.grid_size)))

    @property
    def prefix(self) -> int | None:
        """Number of tokens before the image tokens; None without tokens."""
        return max(self.sequence.values(), default=None)

    @property
    def width(self) -> int:
        """Token width: channels of the map."""
        return self.map.outputs[0].shape[1]

    def feeds(self, step: Step) -> bool:
        """Whether a step reads the map, or the tokens made from it."""
        return any(
            id(known) in self.sequence
            or (known.positions is not None and known.positions.origin == self.map.index)
            for known in step.sources
        )

    @cached_property
    def layers(self) -> tuple[ConvLayer, ...]:
        """The convolutions with norm and activation; empty if `ConvLayer` cannot describe one."""
        layers = tuple(conv.layer for conv in self.convs if conv.layer)
        return layers if len(layers) == len(self.convs) else ()

    @cached_property
    def stem(self) -> StemSpec | None:
        """The stem; None if the path is not a plain chain, or its output has another size."""
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
        SpecError: field "module", if it is not a module.
    """
    stem_path = find_stem_path(follow(module, *arguments_of(inputs, kwargs)))
    return stem_path.stem if stem_path and stem_path.complete else None


def find_stem_path(flow: Flow) -> StemPath | None:
    """Find the path from the image to the tokens in a recorded data flow.

    Args:
        flow: The run.

    Returns:
        The path; None where no image goes through a convolution.
    """
    tokens, axes, maps = _tokens(flow)
    if maps is None:
        return None
    image, before = _way_to(flow, maps)
    if image is None:
        return None
    returned = any(
        known.positions and known.positions.origin == maps.index for known in flow.outputs
    )
    after = _after(flow, maps)
    sequence = _sequence(flow, tokens)
    return StemPath(
        image=image,
        map=maps,
        tokens=tokens,
        axes=axes,
        before=before,
        convs=stem_convs(before, after),
        sequence=sequence,
        # of a run that raised it is not known, and a stem has one as a rule
        table=flow.error is not None or _has_table(flow, maps, sequence),
        complete=tokens is not None or returned,
    )


def _tokens(flow: Flow) -> tuple[TracedTensor | None, TokenAxes | None, Step | None]:
    """The first tokens made of a map, how it stands in them, and the step that gave the map.

    Without tokens the map that is returned, or else the last.
    """
    maps = [
        step
        for step in flow.steps
        if step.outputs[0].positions and step.outputs[0].positions.origin == step.index
    ]
    for known in _taken(flow):
        found = token_axes(known)
        if found is None or known.positions is None:
            continue
        origin = flow.steps[int(known.positions.origin)]
        # a map with the channels last may go on as a map, as in the blocks of ConvNeXt
        if len(known.shape) < 4 or origin is maps[-1]:
            return known, found if isinstance(found, TokenAxes) else None, origin
    returned = [
        flow.steps[known.positions.origin]
        for known in flow.outputs
        if known.positions
        and isinstance(known.positions.origin, int)
        and known.positions.origin >= 0
    ]
    return None, None, next(iter(returned or maps[::-1]), None)


def _taken(flow: Flow) -> Iterator[TracedTensor]:
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


def _way_to(flow: Flow, end: Step) -> tuple[TracedTensor | None, tuple[Step, ...]]:
    """The image, and every step that it passes on its way; None for several images or none."""
    steps: dict[int, Step] = {}
    images: dict[int, TracedTensor] = {}
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
        if last in step.sources and step.outputs[0].positions is not None:
            chain.append(step)
            last = step.outputs[0]
            if last.positions is None or last.positions.origin != maps.index:
                break
    return tuple(chain)


def _has_table(flow: Flow, maps: Step, sequence: Mapping[int, int]) -> bool:
    """Whether something that is no image, and no vector, is added to the tokens or to their map."""
    for step in flow.steps:
        if step.name not in SUMS or len(step.sources) != 2:
            continue
        mine = [
            known
            for known in step.of_image
            if id(known) in sequence or (known.positions and known.positions.origin == maps.index)
        ]
        others = [known for known in step.sources if not known.of_image]
        if mine and others and sum(size > 1 for size in others[0].shape) > 1:
            return True
    return False


def _sequence(flow: Flow, tokens: TracedTensor | None) -> dict[int, int]:
    """Number of prefix tokens of each tensor that the tokens become until they are mixed."""
    if tokens is None or tokens.positions is None:
        return {}
    cells = prod(tokens.positions.shape[2:])
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
