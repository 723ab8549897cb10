"""Reports as plain values, with one schema for stems and modules: docs/report.schema.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any, Protocol

from vitc_inspect.diagnosis import Explanation
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.tracing.recording import Failure, SourceLine, Value
from vitc_inspect.views.report import Report, Row

SCHEMA_VERSION = 1
"""Raised when a key changes its name or its meaning."""
OF_A_STEM = ("device_title", "weights", "seed", "init", "norm_statistics", "first_not_finite")
"""Keys that are null in a report on a module."""


class PlainRow(Row, Protocol):
    """What `report_dict` needs of a row besides what views show."""

    @property
    def inputs(self) -> Sequence[Value]:
        """Every input tensor."""

    @property
    def outputs(self) -> Sequence[Value]:
        """Every output tensor."""

    @property
    def uncounted(self) -> Sequence[str]:
        """Names of functions whose MACs could not be counted."""

    @property
    def verdicts(self) -> Mapping[str, bool | None]:
        """Whether prediction and observation agree, by quantity."""

    @property
    def extremes(self) -> tuple[float | None, float | None]:
        """Minimum and maximum of the output for the first image, if known."""

    def predicted_dict(self) -> dict[str, Any] | None:
        """Return the prediction as plain values, or None."""


class PlainReport(Report, Protocol):
    """What `report_dict` needs of a report besides what views show."""

    @property
    def rows(self) -> Sequence[PlainRow]:
        """Every call, in order."""

    @property
    def kind(self) -> str:
        """Class of the module."""

    @property
    def device(self) -> str:
        """Device of the run."""

    @property
    def training(self) -> bool:
        """Whether the module was in training mode."""

    @property
    def inputs(self) -> Sequence[Value]:
        """Inputs of the whole module."""

    @property
    def outputs(self) -> Sequence[Value]:
        """Outputs of the whole module."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates that could be counted."""

    @property
    def uncounted(self) -> Sequence[str]:
        """Names of functions that the MACs leave out."""

    @property
    def unchecked(self) -> Sequence[str]:
        """What could not be checked."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on anything unusual."""

    @property
    def disagreements(self) -> Sequence[str]:
        """Each quantity that differs, in a sentence."""

    @property
    def audited(self) -> bool:
        """Whether faults were looked for."""

    @property
    def explanations(self) -> Sequence[Explanation]:
        """Explanations of the failure."""


def report_dict(
    report: PlainReport,
    *,
    target: str,
    prediction: Prediction | None,
    **of_a_stem: Any,
) -> dict[str, Any]:
    """Convert a report to plain values that JSON can hold.

    Args:
        report: The report.
        target: "stem", "vit" or "module".
        prediction: Of the stem or the model; of a module that of the stem in it, or None.
        of_a_stem: Values of `OF_A_STEM`; None for a module.

    Returns:
        One object. Shapes have the batch in front; sizes are in pixels and bytes.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "kind": report.kind,
        "title": report.title,
        "device": report.device,
        **dict.fromkeys(OF_A_STEM),
        **of_a_stem,
        "training": report.training,
        "inputs": _values(report.inputs),
        "outputs": _values(report.outputs),
        "params": report.params,
        "macs": report.macs,
        "flops": 2 * report.macs,
        "uncounted": list(report.uncounted),
        "unchecked": list(report.unchecked),
        "rows": [_row(row) for row in report.rows],
        "never_called": [
            {**asdict(layer), "not_reached": layer.not_reached} for layer in report.never_called
        ],
        "notes": list(report.notes),
        "disagreements": list(report.disagreements),
        "audited": report.audited,
        "faults": [fault.to_dict() for fault in report.faults],
        "ignored": dict(report.ignored),
        "stem": prediction and _prediction(prediction),
        "failure": _failure(report.failure),
        "explanations": [meaning.to_dict() for meaning in report.explanations],
    }


def _row(row: PlainRow) -> dict[str, Any]:
    low, high = row.extremes
    return {
        "name": row.name,
        "kind": row.kind,
        "inside": row.inside,
        "turn": row.turn,
        "inputs": _values(row.inputs),
        "outputs": _values(row.outputs),
        "raised": not row.returned,
        "params": row.params,
        "macs": row.macs,
        "bytes": row.bytes,
        "low": _number(low),
        "high": _number(high),
        "uncounted": list(row.uncounted),
        "unchecked": list(row.unchecked),
        "source": _line(row.source),
        "overwritten_by": row.overwritten_by,
        "overwritten_at": _line(row.overwritten_at),
        "predicted": row.predicted_dict(),
        "verdicts": dict(row.verdicts),
        "verdict": row.verdict,
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    """The stem, the encoder and the totals as they were predicted, of one image."""
    spec, vit = prediction.spec, prediction.vit
    encoder = None
    if vit:
        fields = ("depth", "num_heads", "mlp_ratio", "attention", "num_classes")
        encoder = {field: getattr(vit, field) for field in fields}
    return {
        "notation": format_stem(spec),
        "image_size": list(spec.image_size),
        "in_channels": spec.in_channels,
        "class_token": spec.class_token,
        "position_table": spec.position_table,
        "encoder": encoder,
        "dtype": prediction.dtype,
        "embed_dim": prediction.embed_dim,
        "grid_size": list(prediction.grid_size),
        "num_patches": prediction.num_patches,
        "num_prefix_tokens": prediction.num_prefix_tokens,
        "seq_len": prediction.seq_len,
        "total_stride": prediction.total_stride,
        "receptive_field": prediction.receptive_field,
        "params": prediction.params,
        "stem_params": prediction.stem_params,
        "macs": prediction.macs,
        "stem_macs": prediction.stem_macs,
        "flops": 2 * prediction.macs,
        "activations": prediction.activations,
        "bytes": prediction.bytes,
    }


def _values(values: Sequence[Value]) -> list[dict[str, Any]]:
    return [{**asdict(value), "shape": list(value.shape)} for value in values]


def _line(source: SourceLine | None) -> dict[str, Any] | None:
    return asdict(source) if source else None


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {**asdict(failure), "operands": _values(failure.operands)}


def _number(value: float | None) -> float | str | None:
    """A number as JSON can hold it: "inf", "-inf" and "nan" in words."""
    return value if value is None or isfinite(value) else str(value)
