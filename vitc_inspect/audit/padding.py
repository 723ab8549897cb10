"""The "same" padding of TensorFlow, Keras and Flax, and how far it shifts the tokens.

The shapes are those of PyTorch's usual padding, but the windows lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vitc_inspect.audit.stem_convs import pair
from vitc_inspect.tracing.dataflow import Flow, Step
from vitc_inspect.tracing.positions import TracedTensor


def padding_notes(flow: Flow) -> tuple[str, ...]:
    """Describe by how many pixels "same" padding shifts the centres of the convolutions' windows.

    Args:
        flow: The run of a module.

    Returns:
        One sentence, or nothing where no convolution on the way of the image is padded so, or
        where it moves nothing.

    Source:
        https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    moved = list(_moved_windows(flow))
    down, right = sum(each.down for each in moved), sum(each.right for each in moved)
    if not (down or right):
        return ()
    first = moved[0]
    convs = "A convolution" if len(moved) == 1 else f"{len(moved)} convolutions"
    way = _in_words(down, right)
    return (
        f'{convs} of stride {first.stride} and more pads as "same" does in Keras and Flax:'
        f" {first.before} before and {first.behind} behind, and not {first.usual} on each side."
        f" The shapes are equal; the centre of each place lies {way} of where PyTorch's padding"
        " puts it. With weights trained so it is right.",
    )


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """A convolution whose windows "same" padding moves."""

    stride: int
    """Its stride along the rows (pixels of its input)."""
    before: int
    """Padding above (pixels of its input)."""
    behind: int
    """Padding below (pixels of its input)."""
    usual: int
    """What PyTorch's usual padding has on each side (pixels of its input)."""
    down: int
    """By how much the centres are moved down (pixels of the image)."""
    right: int
    """By how much to the right (pixels of the image)."""


def _moved_windows(flow: Flow) -> Iterator[_Moved]:
    """Each convolution with a stride whose input was padded so by a function."""
    images = [known for step in flow.steps for known in step.sources if known.image is not None]
    image = next((known for known in images if len(known.shape) == 4), None)
    for step in flow.steps:
        if step.name != "conv2d" or image is None or not step.of_image:
            continue
        made = step.sources[0].step
        pad = flow.steps[made] if made is not None else None
        if pad is None or pad.name != "pad" or not pad.sources[0].in_map_order:
            continue
        sides = _sides(pad)
        before = pad.sources[0]
        axes = [_axis(step, before, image, axis, sides) for axis in (0, 1)] if sides else []
        if len(axes) == 2 and all(each is not None for each in axes):
            (first, down), (_, right) = axes  # type: ignore[misc]  # neither is None
            stride, low, high, usual = first
            yield _Moved(
                stride=stride, before=low, behind=high, usual=usual, down=down, right=right
            )


def _sides(pad: Step) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Padding (above, below) and (left, right); None for any other."""
    sides = pad.given.get("pad")
    if not isinstance(sides, (tuple, list)) or len(sides) != 4:
        return None
    left, right, above, below = map(int, sides)
    return (above, below), (left, right)


def _axis(
    conv: Step,
    before: TracedTensor,
    image: TracedTensor,
    axis: int,
    sides: tuple[tuple[int, int], ...],
) -> tuple[tuple[int, int, int, int], int] | None:
    """Stride, padding and usual padding along an axis, and by how many pixels centres move.

    None where the padding is not what "same" says.

        total = max((ceil(n / s) - 1) * s + k - n, 0), the smaller half before
    """
    stride, dilation = (pair(conv.given.get(name, 1))[axis] for name in ("stride", "dilation"))
    padding = conv.given.get("padding", 0)
    kernel = dilation * (conv.given["weight"][2 + axis] - 1) + 1
    if stride < 2 or (padding != "valid" and pair(padding) != (0, 0)):
        return None
    size = before.shape[2 + axis]
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    low = total // 2
    if sides[axis] != (low, total - low):
        return None
    usual = (kernel - 1) // 2 if stride < kernel else 0
    jump = image.shape[2 + axis] / size
    return (stride, low, total - low, usual), round(jump * (usual - low))


def _in_words(down: int, right: int) -> str:
    """A way in pixels, for example "15 px down and 15 px right"."""
    parts = [
        f"{abs(pixels)} px {word if pixels > 0 else other}"
        for pixels, word, other in ((down, "down", "up"), (right, "right", "left"))
        if pixels
    ]
    return " and ".join(parts)
