"""What every report offers to be shown: its rows, what it says in sentences, what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.recording import Failure, NeverCalled, SourceLine

Shape = tuple[int, ...]


class Row(Protocol):
    """One call of a layer or a function: what was predicted, and what was observed.

    Shapes have the batch in front.
    """

    @property
    def name(self) -> str:
        """Name of the layer or the function; "" for the whole module."""

    @property
    def kind(self) -> str:
        """Class of the layer, or "function"."""

    @property
    def inside(self) -> str:
        """Name of the module whose forward made the call; "" for the whole."""

    @property
    def turn(self) -> int:
        """1 at the first call of this layer, 2 at the second."""

    @property
    def is_function(self) -> bool:
        """Whether this is a function between layers."""

    @property
    def returned(self) -> bool:
        """False for a call that raised."""

    @property
    def in_shape(self) -> Shape | None:
        """Shape of the first input, or None without one."""

    @property
    def predicted_shape(self) -> Shape | None:
        """Shape that the output was predicted to have, or None without a prediction."""

    @property
    def out_shape(self) -> Shape | None:
        """Shape of the first output as it was observed, or None without one."""

    @property
    def verdict(self) -> str:
        """ "agrees", "differs", "raised", "not checked", "not predicted", "never ran" or, before
        the run, "predicted"."""

    @property
    def params(self) -> int:
        """Learned numbers: those observed; those predicted where nothing was observed."""

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates, likewise; None where they cannot be counted."""

    @property
    def bytes(self) -> int:
        """Size of all outputs, likewise."""

    @property
    def receptive_field(self) -> int | None:
        """Pixels that one position of the output sees along an axis; None where not predicted."""

    @property
    def stage(self) -> str | None:
        """Name of the stem's convolution that the layer belongs to; None elsewhere."""

    @property
    def made_by(self) -> tuple[str, str]:
        """What made the output, in two short lines, of which one may be empty."""

    @property
    def block(self) -> str | None:
        """Name of the block of the encoder that the layer belongs to: "block1", …, "head"."""

    @property
    def source(self) -> SourceLine | None:
        """The line that called the function, or None."""

    @property
    def overwritten_by(self) -> str | None:
        """What later wrote over the output in place, or None."""

    @property
    def overwritten_at(self) -> SourceLine | None:
        """The line that did, or None."""

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Why something could not be worked out of this call."""

    @property
    def kept(self) -> KeptOutput | None:
        """A copy of the output, or None."""


class Report(Protocol):
    """One inspection, of a stem or of any module."""

    @property
    def title(self) -> str:
        """What was run, on what and how, in a line."""

    @property
    def rows(self) -> Sequence[Row]:
        """Every call in order."""

    @property
    def batch(self) -> int:
        """First size of every shape, where shapes are shown without it; 0 shows them whole."""

    @property
    def params(self) -> int:
        """Learned numbers of the whole."""

    @property
    def never_called(self) -> Sequence[NeverCalled]:
        """Layers that were never called."""

    @property
    def failure(self) -> Failure | None:
        """How the forward pass raised, or None."""

    @property
    def faults(self) -> Sequence[Explanation]:
        """Faults that keep every shape right."""

    @property
    def ignored(self) -> Mapping[str, int]:
        """How many faults of each ignored kind there were."""

    def sentences(self, *, never_called: bool = True) -> Sequence[str]:
        """The totals, what is odd, and the verdict; with or without the layers never called."""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
