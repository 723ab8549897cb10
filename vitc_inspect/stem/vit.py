"""Specification of a whole Vision Transformer: a stem and an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import (
    A_STEM,
    MAX_CHANNELS,
    check_choice,
    check_int,
    check_number,
    check_type,
)
from vitc_inspect.stem.spec import StemSpec

Attention = Literal["softmax", "linear"]

MAX_DEPTH = 256
"""Most blocks of an encoder."""


@dataclass(frozen=True, kw_only=True)
class ViTSpec:
    """A stem, `depth` pre-norm transformer blocks, a final norm and a classifier.

    Every ViTSpec can be built and run.
    """

    stem: StemSpec
    """The stem."""
    depth: int
    """Number of transformer blocks."""
    num_heads: int
    """Attention heads of each block; must divide the token width."""
    mlp_ratio: float
    """Hidden width of each MLP divided by the token width."""
    attention: Attention = "softmax"
    """"softmax" compares every token with every other; "linear" sums keys and values first."""
    num_classes: int = 1000
    """Outputs of the classifier."""

    def __post_init__(self) -> None:
        check_type("stem", self.stem, StemSpec, A_STEM)
        bounds = {"depth": MAX_DEPTH, "num_heads": MAX_CHANNELS, "num_classes": MAX_CHANNELS}
        for field, high in bounds.items():
            object.__setattr__(self, field, check_int(field, getattr(self, field), 1, high))
        check_choice("attention", self.attention, get_args(Attention))
        width = self.stem.embed_dim
        if width % self.num_heads:
            heads = max(n for n in range(1, self.num_heads) if width % n == 0)
            reason = f"it does not divide the token width {width}"
            raise SpecError("num_heads", self.num_heads, reason, f"Use {heads}", heads)
        object.__setattr__(self, "mlp_ratio", _check_ratio(self.mlp_ratio, width))

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.stem.embed_dim // self.num_heads

    @property
    def hidden_dim(self) -> int:
        """Hidden width of each MLP."""
        return round(self.stem.embed_dim * self.mlp_ratio)


def _check_ratio(given: Any, width: int) -> float:
    """Return the ratio if it gives an integer hidden width of 1 to MAX_CHANNELS."""
    ratio = check_number("mlp_ratio", given, 4)
    hidden = width * ratio
    if not 1 <= hidden <= MAX_CHANNELS:
        size = f"{hidden:,.0f}" if abs(hidden) < 10**15 else f"{hidden:.1e}"
        reason = f"the hidden layer would have {size} numbers, not 1 to {MAX_CHANNELS:,}"
        raise SpecError("mlp_ratio", ratio, reason, "Use 1", 1)
    if abs(hidden - round(hidden)) > 1e-6:
        near = max(1, round(ratio))
        near = near if width * near <= MAX_CHANNELS else 1
        reason = f"{ratio:g} times the token width {width} is {hidden:g}, not a whole number"
        raise SpecError("mlp_ratio", ratio, reason, f"Use {near}", near)
    return ratio
