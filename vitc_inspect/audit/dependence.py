"""Check that each output depends on its own image, and on no other image of the batch.

The module runs again on other numbers. Parameters that are all zero get random numbers for it,
since many heads and branches start at zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitc_inspect.diagnosis.explanation import Explanation, explain
from vitc_inspect.tracing.dataflow import Flow, SavedParameters, Step, draw_weights
from vitc_inspect.tracing.function_kinds import RECURRENT
from vitc_inspect.tracing.module_tree import contents_of, evaluate
from vitc_inspect.tracing.positions import TracedTensor
from vitc_inspect.tracing.restore import ONE_AT_A_TIME, as_it_was, without_fast_path
from vitc_inspect.tracing.tensors import copied, tensors_of

_CHANGE = 1e-4  # of the largest number of an output: less is rounding
_WEIGHED = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "matmul", "multi_head_attention_forward", "einsum"}
)
_FRAMES = frozenset(
    {
        *("num_frames", "n_frames", "n_segment", "num_segments", "clip_len"),
        *("num_views", "n_views"),
    }
)
"""Attributes of modules that take the frames of a video as a batch, and mix them on purpose."""


def dependence(flow: Flow) -> Iterator[Explanation]:
    """Find an output that does not depend on the image, or depends on other images of the batch.

    Args:
        flow: The run of a module.

    Returns:
        One fault of kind "image" or "batch", or nothing; also nothing where the module cannot run
        on two images, or gives other numbers each time.
    """
    image = _image(flow)
    owners = contents_of(flow.module).layers.values()
    if image is None or flow.error or any(map(_has_frames, owners)):
        return
    pairs = _Pairs(flow, image)
    once, again = pairs.run(change=False), pairs.run(change=True)
    if once is None or again is None:
        yield from _of_fixed_batch(_Pairs(flow, image, more=0))
        return
    if [a.shape for a in once] != [b.shape for b in again]:
        return
    changes = [
        change
        for a, b, known in zip(once, again, flow.outputs, strict=False)
        if (change := _change(a, b, known.shape, pairs.images)) is not None
    ]
    if not changes:
        joined = any(a.ndim and not torch.equal(a, b) for a, b in zip(once, again, strict=True))
        cause = _cause(pairs, flow) if joined else None
        if cause and not cause.of_vectors:  # vectors of a bag of images are pooled on purpose
            yield _mixed(cause)
        elif not joined and any(map(_can_tell, once)) and pairs.never_changes():
            yield _unmoved(None, flow)
        return
    if not any(change.own for change in changes):
        if not any(change.others for change in changes) and pairs.never_changes():
            yield _unmoved(_cause(pairs, flow), flow)
        return
    if any(change.others for change in changes) and pairs.repeats(once):
        cause = _cause(pairs, flow)
        if cause is not None or not _normalises_the_batch(flow):
            yield _mixed(cause)


def _of_fixed_batch(pairs: _Pairs) -> Iterator[Explanation]:
    """Whether the output depends on the image, of a module that takes no other batch."""
    once = pairs.run(change=False)
    if once and any(each.is_floating_point() for each in once) and pairs.never_changes():
        yield _unmoved(None, pairs.flow)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What another first image of a batch changed in one output."""

    own: bool
    """Whether what belongs to the first image changed."""
    others: bool
    """Whether what belongs to the others did."""


def _change(a: Tensor, b: Tensor, before: tuple[int, ...], images: int) -> _Change | None:
    """Compare an output before and after; None where it cannot be said what belongs to whom.

    Args:
        a, b: The output for a batch, and for one with another first image.
        before: Its shape for a batch of one image less.
        images: Images of the batch.
    """
    if not (_can_tell(a) and _can_tell(b)):
        return None
    axes = [
        axis
        for axis, (now, then) in enumerate(zip(a.shape, before, strict=False))
        if now != then and now * (images - 1) == then * images
    ]
    if len(before) != a.ndim or len(axes) != 1:  # no batch, or a table of images by images
        return None
    changed = (a - b).abs().movedim(axes[0], 0).flatten(1)
    if not changed.numel():
        return None
    least = _CHANGE * float(torch.maximum(a.abs().max(), b.abs().max()))
    each = changed.amax(1)  # one number for each part of each image, as for its heads
    # an image's parts follow each other, or the first parts of all images come first
    ways = each.view(images, -1), each.view(-1, images).mT
    return _Change(own=bool(each.any()), others=all(bool((way[1:] > least).any()) for way in ways))


def _can_tell(output: Tensor) -> bool:
    """Whether an output is of numbers that other images would change."""
    return output.is_floating_point() and not output.is_meta and bool(output.isfinite().all())


class _Pairs:
    """Runs on a batch whose first image is exchanged; on one of as many as were given, all are."""

    def __init__(self, flow: Flow, image: Tensor, *, more: int = 1) -> None:
        self.flow, self._image, self._more = flow, image, more
        self.images = len(image) + more  # one more shows which axis of an output is theirs
        # noise, since the images of a batch may be equal
        self.batch = self._noise(0)

    def _noise(self, seed: int) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        shape = (self.images, *self._image.shape[1:])
        scale = self._image.float().std() if self._image.numel() > 1 else 1.0
        noise = torch.randn(shape, generator=draw).to(self._image.device) * (scale + 0.1)
        return (noise + self._image.float().mean()).to(self._image.dtype)

    def instead(self, images: Tensor) -> dict[int, Tensor]:
        """Replacements for the input tensors."""
        before, many = len(self._image), len(images)
        instead = {
            id(tensor): torch.cat([tensor] * -(-many // before))[:many]
            for tensor in self.flow.tensors
            if tensor.ndim and len(tensor) == before != many
        }
        return {**instead, id(self._image): images}

    def run(self, *, change: bool, redrawn: int | None = None) -> list[Tensor] | None:
        """The outputs for the batch; None where the module does not run on it."""
        images = self.batch.clone()
        if change:
            # the first, since a recurrent layer hands it on to those behind it
            changed = slice(1) if self._more else slice(None)
            images[changed] = 3 * self._noise(1)[changed]
        return outputs_again(self.flow, self.instead(images), redrawn=redrawn)

    def repeats(self, outputs: Sequence[Tensor]) -> bool:
        """Whether a second run on the same images gives the same."""
        again = self.run(change=False)
        return again is not None and all(map(torch.equal, outputs, again))

    def never_changes(self) -> bool:
        """Whether no other images change an output, whatever the weights are."""
        for redrawn in (1, 2, 3):
            first = self.run(change=False, redrawn=redrawn)
            last = self.run(change=True, redrawn=redrawn)
            if first is None or last is None:
                return False
            if not all(map(torch.equal, first, last)):
                return False
            if not all(bool(each.isfinite().all()) for each in first if each.is_floating_point()):
                return False
        return True


def outputs_again(
    flow: Flow, instead: Mapping[int, Tensor], *, redrawn: int | None = None
) -> list[Tensor] | None:
    """Run a module on other tensors, in evaluation mode, with all-zero weights drawn at random.

    Args:
        flow: Another run of the module, which is left as it was.
        instead: Tensors in the place of some of the inputs, by the id of each.
        redrawn: Draws all weights from this seed; None draws those that are all zero.

    Returns:
        Every tensor that it returns, detached; None where it raises.
    """
    module, contents = flow.module, contents_of(flow.module)
    with ONE_AT_A_TIME, torch.inference_mode(False), as_it_was(contents) as parameters:
        given, named = copied((tuple(flow.inputs), dict(flow.kwargs)), dict(instead))
        with torch.no_grad(), without_fast_path():
            draw_weights(contents.parameters, redrawn)
            try:
                evaluate(module, contents)
                with SavedParameters(parameters):
                    return [each.detach() for each in tensors_of(module(*given, **named))]
            except Exception:  # noqa: BLE001  # it is the user's code, on what it was not made for
                return None


def _image(flow: Flow) -> Tensor | None:
    """The only input of four axes or more, where something learned weighs its numbers."""
    found = [
        tensor
        for tensor in flow.tensors
        if tensor.ndim in (4, 5) and tensor.is_floating_point() and tensor.numel()
    ]
    weighs = any(
        step.name in _WEIGHED and step.of_image and any(each.name for each in step.sources)
        for step in flow.steps
    )
    if len(found) != 1 or found[0].is_meta or not weighs:
        return None
    return found[0]


def _has_frames(owner: nn.Module) -> bool:
    return not _FRAMES.isdisjoint(vars(owner))


# ---- why ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Cause:
    """A step that takes the images of a batch for something else."""

    what: str
    """What it does, after "the images: "."""
    fix: str
    """What to do."""
    of_vectors: bool = False
    """Whether it is given one vector of each image, and no tokens any more."""


def _cause(pairs: _Pairs, flow: Flow) -> _Cause | None:
    """The first step that mixes along the axis of the images; None where none is known to."""
    more = torch.cat([pairs.batch, pairs.batch[:1]])
    other = flow.again(pairs.instead(more))
    for step, there in zip(flow.steps, other.steps, strict=False):
        if step.name != there.name or len(step.of_image) != len(there.of_image):
            return None
        found = _mixes(step, there)
        if found:
            return found
    return None


_TURN = "Bring the images to the axis where they are expected"
_BATCH_FIRST = "Pass batch_first=True to the layer, or give it (tokens, images, width)."


def _mixes(step: Step, there: Step) -> _Cause | None:
    """What a step does along the axis of the images, given the same step for more images."""
    for known, other in zip(step.of_image[:1], there.of_image[:1], strict=True):
        if len(known.shape) != len(other.shape):
            return None
        axes = {
            axis for axis, (a, b) in enumerate(zip(known.shape, other.shape, strict=True)) if a != b
        }
        many = len(known.shape)
        inside = f" in {step.layer}" if step.layer else ""
        if step.name == "multi_head_attention_forward" and axes == {0} and many == 3:
            return _Cause(what=f"attention{inside} runs across the batch", fix=_BATCH_FIRST)
        if step.name in RECURRENT and axes == {0} and many == 3:
            what = f"the recurrent layer{inside} runs across the batch"
            return _Cause(what=what, fix=_BATCH_FIRST)
        if step.name == "scaled_dot_product_attention" and axes == {many - 2}:
            return _Cause(
                what="attention runs across the batch",
                fix=f"{_TURN}: (images, heads, tokens, width).",
            )
        if step.name in ("softmax", "mean", "sum"):
            dims = step.given.get("dim")
            dims = dims if isinstance(dims, (tuple, list)) else (dims,)
            if {dim % many for dim in dims if isinstance(dim, int)} & axes:
                return _Cause(
                    what=f"{step.name} is taken over the batch",
                    fix=f"{_TURN}, or take another axis.",
                    of_vectors=many <= 2,
                )
        if step.name == "layer_norm":
            last = len(step.given["normalized_shape"])
            if axes & set(range(many - last, many)):
                return _Cause(what="LayerNorm is taken over the batch", fix=f"{_TURN}.")
    return None


def _normalises_the_batch(flow: Flow) -> bool:
    """Whether a BatchNorm takes the statistics of the batch in evaluation mode too, as is asked."""
    return any(
        step.name == "batch_norm" and step.of_image and step.given.get("training")
        for step in flow.steps
    )


def _unmoved(cause: _Cause | None, flow: Flow) -> Explanation:
    why = f": {cause.what}, so that no token meets the others of its image" if cause else ""
    known: TracedTensor | None = flow.outputs[0] if flow.outputs else None
    never = "" if known is None or known.of_image else " Nothing that is returned is made of it."
    return explain(
        "image",
        f"The output does not depend on the image{why}. Other pixels leave it as it is, to the"
        f" last bit, and every shape is right.{never}",
        cause.fix
        if cause
        else "Follow the image from layer to layer: what it becomes is dropped"
        " or multiplied by zero before the output.",
        because="the module was run on other images, also with other weights",
        likelihood="certain",
        numbers={},
    )


def _mixed(cause: _Cause | None) -> Explanation:
    why = f": {cause.what}" if cause else ""
    return explain(
        "batch",
        f"The output for one image depends on the other images of its batch{why}. Every shape is"
        " right.",
        cause.fix
        if cause
        else "Look for a layer, a sum or a reshape that takes the axis of the"
        " images for that of the tokens.",
        because="with another first image in the batch, what belongs to the others changes",
        likelihood="certain" if cause else "likely",
        numbers={},
    )
