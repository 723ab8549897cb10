"""Reports as plain values, with one schema for stems and modules: docs/report.schema.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.prediction import Prediction
from vitc_inspect.tracing.recording import Failure, SourceLine, Value

SCHEMA_VERSION = 1
"""Raised when a key changes its name or its meaning."""
OF_A_STEM = ("device_title", "weights", "seed", "init", "norm_statistics", "first_not_finite")
"""Keys that are null in a report on a module."""


def report_dict(
    report: Any,
    *,
    target: str,
    prediction: Prediction | None,
    **of_a_stem: Any,
) -> dict[str, Any]:
    """Convert a report to plain values that JSON can hold.

    Args:
        report: The report, on a stem or on any module.
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


def _row(row: Any) -> dict[str, Any]:
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
