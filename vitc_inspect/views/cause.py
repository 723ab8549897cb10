"""Say why an image gives as many tokens as it does: the sizes on the way, and what divides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.stem.spec import ConvLayer

_MOST_SIZES = 9  # of a chain; of more the middle is left out
_MOST_WINDOWS = 2  # convolutions whose formula a sentence has

How = Literal["exact", "up", "down", "window", "same"]
"""What a convolution does to a side: divides it by the stride, exactly or rounding up or down;
neither, so that only the formula says it; or nothing."""


@dataclass(frozen=True)
class Step:
    """What one convolution does to the height and the width of its input."""

    name: str
    """The convolution."""
    conv: ConvLayer
    """Its settings."""
    before: tuple[int, int]
    """Height and width of its input."""
    after: tuple[int, int]
    """Height and width of its output."""

    @property
    def ways(self) -> set[How]:
        """What it does to its two sides."""
        pairs = zip(self.before, self.after, strict=True)
        return {_how(before, after, self.conv.stride) for before, after in pairs}

    @property
    def how(self) -> How:
        """What it does to both sides together."""
        for ways, how in _TOGETHER:
            if self.ways <= ways:
                return how
        return "window"


_TOGETHER: Sequence[tuple[frozenset[How], How]] = (
    (frozenset({"same"}), "same"),
    (frozenset({"exact"}), "exact"),
    (frozenset({"exact", "up"}), "up"),
    (frozenset({"exact", "down"}), "down"),
)


def steps(prediction: Prediction) -> list[Step]:
    """What each convolution of the stem does to height and width, first to last."""
    convs = {stage.name: stage.conv for stage in prediction.spec.stages}
    return [
        Step(layer.name, convs[layer.name], _sides(layer.in_shape), _sides(layer.out_shape))
        for layer in prediction.layers
        if layer.name in convs and layer.kind == "conv"
    ]


def sizes_on_the_way(prediction: Prediction) -> str:
    """Write the sizes from the image to the grid of tokens; one that stays is written once.

    >>> from vitc_inspect import PRESETS, StemSpec, predict
    >>> sizes_on_the_way(predict(PRESETS["vit_c_4gf"].stem))
    '224 → 112 → 56 → 28 → 14'
    >>> sizes_on_the_way(predict(PRESETS["vitpose_b"].stem))
    'rows 256 → 16, columns 192 → 12'
    """
    sizes = [prediction.spec.image_size, *(step.after for step in steps(prediction))]
    rows, columns = (_chain(side) for side in zip(*sizes, strict=True))
    return rows if rows == columns else f"rows {rows}, columns {columns}"


def cause_sentence(prediction: Prediction) -> str:
    """Say what makes the image's sides those of the grid of tokens, without a full stop.

    >>> from vitc_inspect import PRESETS, predict
    >>> cause_sentence(predict(PRESETS["vit_c_4gf"].stem))
    'each stride of 2 halves both sides'
    >>> cause_sentence(predict(PRESETS["vit_p_4gf"].stem))
    'the stride of 16 divides both sides by 16'
    >>> cause_sentence(predict(PRESETS["pit_s"].stem))
    'a 16×16 window every 8 pixels fits ⌊(224 − 16) / 8⌋ + 1 = 27 times into each side'
    """
    changing = [step for step in steps(prediction) if step.how != "same"]
    if not changing:
        return "no convolution has a stride above 1, so both sides stay"
    dividing = [step for step in changing if step.how != "window"]
    if {"up", "down"} <= {step.how for step in dividing}:
        dividing = [step for step in dividing if step.how != "down"]
    windows = [step for step in changing if step not in dividing]
    parts = [_division(dividing)] if dividing else []
    parts += [_window(step, alone=len(changing) == 1) for step in windows[:_MOST_WINDOWS]]
    if len(windows) > _MOST_WINDOWS:
        parts.append(f"{len(windows) - _MOST_WINDOWS} more as the table says")
    return "; ".join(parts)


def step_label(step: Step) -> str:
    """What a convolution does to the sides, for an arrow: "÷ 2"; empty where they stay.

    >>> from vitc_inspect import PRESETS, predict
    >>> [step_label(step) for step in steps(predict(PRESETS["table3_s2"].stem))]
    ['÷ 2', '÷ 2', '', '÷ 4', '']
    """
    if step.how == "same":
        return ""
    if step.how == "window":
        changes = {after - before for before, after in zip(step.before, step.after, strict=True)}
        if step.conv.stride > 1 or len(changes) > 1:
            return f"stride {step.conv.stride}"
        return f"{changes.pop():+d}".replace("-", "− ").replace("+", "+ ")
    rounding = {"exact": "", "up": ", up", "down": ", down"}[step.how]
    return f"÷ {step.conv.stride}{rounding}"


def size_formula(before: int, conv: ConvLayer) -> str:
    """The formula of the output's size along one side, with its numbers.

    >>> from vitc_inspect.stem.spec import conv_layer
    >>> size_formula(224, conv_layer(8, 3, 2))
    '⌊(224 + 2·1 − 3) / 2⌋ + 1'
    """
    span = conv.dilation * (conv.kernel_size - 1) + 1
    padded = f"{before} + 2·{conv.padding}" if conv.padding else f"{before}"
    if conv.stride == 1:
        return f"{padded} − {span} + 1"
    return f"⌊({padded} − {span}) / {conv.stride}⌋ + 1"


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    _, height, width = shape
    return height, width


def _how(before: int, after: int, stride: int) -> How:
    """What happens to one side."""
    if stride == 1:
        return "same" if after == before else "window"
    if after * stride == before:
        return "exact"
    if after == -(-before // stride):
        return "up"
    return "down" if after == before // stride else "window"


def _chain(sizes: Sequence[int]) -> str:
    kept = [size for at, size in enumerate(sizes) if at == 0 or size != sizes[at - 1]]
    words = [f"{size:,}" for size in kept]
    if len(words) > _MOST_SIZES:
        words = [*words[: _MOST_SIZES - 3], "…", *words[-2:]]
    return " → ".join(words)


def _division(dividing: Sequence[Step]) -> str:
    """That strides divide both sides, all of them exactly or rounding the same way."""
    strides = [step.conv.stride for step in dividing]
    ways = {step.how for step in dividing} - {"exact"}
    rounding = f", rounding {ways.pop()}" if ways else ""
    if len(set(strides)) > 1:
        *first, last = map(str, strides)
        return f"strides of {', '.join(first)} and {last} divide both sides by {prod(strides)}" + (
            rounding
        )
    which = "the" if len(strides) == 1 else "each"
    verb = "halves both sides" if strides[0] == 2 else f"divides both sides by {strides[0]}"
    return f"{which} stride of {strides[0]} {verb}{rounding}"


def _window(step: Step, *, alone: bool) -> str:
    """How often a window fits, with the formula; what a stride of 1 takes off or adds."""
    conv, (before, _), (after, _) = step.conv, step.before, step.after
    span = conv.dilation * (conv.kernel_size - 1) + 1
    if conv.stride == 1:
        verb = "adds" if after > before else "takes"
        off = "to" if after > before else "off"
        return f"{step.name} {verb} {abs(after - before)} {off} both sides"
    formula = f"{size_formula(before, conv)} = {after:,} times"
    if before == step.before[1]:
        into = "into each side"
    else:
        columns = f"{size_formula(step.before[1], conv)} = {step.after[1]:,}"
        into = f"into the rows and {columns} into the columns"
    name = "a" if alone else f"{step.name}: a"
    return f"{name} {span}×{span} window every {conv.stride} pixels fits {formula} {into}"
