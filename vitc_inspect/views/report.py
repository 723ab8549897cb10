"""The protocols that every report and its rows implement for the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.tracing.hooks import KeptOutput
from vitc_inspect.tracing.recording import Failure, NeverCalled, SourceLine

Shape = tuple[int, ...]


class Row(Protocol):
    """One call of a layer or a function, predicted and observed.

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
        """Name of the module whose forward made the call; "" for the whole module."""

    @property
    def turn(self) -> int:
        """Which call of this layer it is, counted from 1."""

    @property
    def is_function(self) -> bool:
        """Whether this is a function between layers."""

    @property
    def returned(self) -> bool:
        """Whether the call returned; False if it raised."""

    @property
    def in_shape(self) -> Shape | None:
        """Shape of the first input, or None if there is none."""

    @property
    def predicted_shape(self) -> Shape | None:
        """Predicted shape of the output, or None without a prediction."""

    @property
    def out_shape(self) -> Shape | None:
        """Observed shape of the first output, or None if there is none."""

    @property
    def verdict(self) -> str:
        """ "agrees", "differs", "raised", "not checked", "not predicted", "never ran" or, before
        the run, "predicted"."""

    @property
    def params(self) -> int:
        """Number of parameters as observed, else as predicted."""

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates as observed, else as predicted; None if they cannot be counted."""

    @property
    def bytes(self) -> int:
        """Size of all outputs (bytes) as observed, else as predicted."""

    @property
    def receptive_field(self) -> int | None:
        """Side of the receptive field of one output position (pixels); None if not predicted."""

    @property
    def stage(self) -> str | None:
        """Name of the stem's convolution that the layer belongs to, or None."""

    @property
    def made_by(self) -> tuple[str, str]:
        """What made the output, as two short lines, one of which may be empty."""

    @property
    def block(self) -> str | None:
        """Name of the encoder block that the layer belongs to: "block1", …, "head"."""

    @property
    def source(self) -> SourceLine | None:
        """The line that called the function, or None."""

    @property
    def overwritten_by(self) -> str | None:
        """What later overwrote the output in place, or None."""

    @property
    def overwritten_at(self) -> SourceLine | None:
        """The line that overwrote the output, or None."""

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Why something about this call could not be computed."""

    @property
    def kept(self) -> KeptOutput | None:
        """A copy of the output, or None."""


class Report(Protocol):
    """One inspection, of a stem or of any module."""

    @property
    def title(self) -> str:
        """The module or stem, its input and its device, on one line."""

    @property
    def rows(self) -> Sequence[Row]:
        """Every call, in order."""

    @property
    def batch(self) -> int:
        """Batch size to omit from shapes; 0 shows whole shapes."""

    @property
    def params(self) -> int:
        """Number of parameters of the whole module."""

    @property
    def never_called(self) -> Sequence[NeverCalled]:
        """Layers that were never called."""

    @property
    def failure(self) -> Failure | None:
        """Where and how the forward pass raised, or None."""

    @property
    def faults(self) -> Sequence[Explanation]:
        """Faults that leave every shape correct."""

    @property
    def ignored(self) -> Mapping[str, int]:
        """Number of faults of each ignored kind."""

    def sentences(self, *, never_called: bool = True) -> Sequence[str]:
        """Return the totals, anything unusual, and the verdict."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
