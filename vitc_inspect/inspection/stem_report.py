"""The report on a stem or a whole Vision Transformer: predicted and observed, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar

from vitc_inspect.common.images import FloatArray
from vitc_inspect.inspection.report_dict import report_dict
from vitc_inspect.model.modules import Init
from vitc_inspect.stem.notation import format_convs
from vitc_inspect.stem.prediction import ITEM_BYTES, LayerPrediction, Prediction
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.tracing.hooks import KeptOutput, LayerRecord, NormStatistics, Trace
from vitc_inspect.tracing.recording import Value
from vitc_inspect.views.report import Shape
from vitc_inspect.views.report_table import ReportMethods
from vitc_inspect.views.text import count, most_work, plural, tokens_sentence, unread

QUANTITIES = ("shape", "params", "macs", "bytes")
"""What is compared in each row; "shape" is that of the input and of the output."""


@dataclass(frozen=True, kw_only=True)
class StemRow:
    """One layer: the prediction, the observation, and whether they agree."""

    name: str
    """Name of the module."""
    predicted: LayerPrediction | None
    """None for a module that was not predicted."""
    observed: LayerRecord | None
    """None for a module that never ran, and before the run."""
    verdicts: Mapping[str, bool | None]
    """For each of QUANTITIES True or False; None where one side is missing; {} before the run."""
    made_by: tuple[str, str] = ("", "")
    """What made the output, in two short lines: "3×3/2", "bn relu"."""

    inside = ""
    """Every layer is called by the model itself."""
    turn = 1
    """Every layer is called once."""
    is_function = False
    returned = True
    source = overwritten_by = overwritten_at = None
    uncounted = unchecked = ()

    @property
    def kind(self) -> str:
        """Class of the module as observed, else as predicted."""
        if self.observed:
            return self.observed.kind
        return self.predicted.kind if self.predicted else ""

    @property
    def in_shape(self) -> Shape | None:
        """Shape of the input with the batch, as observed, else as predicted."""
        if self.observed:
            return self.observed.in_shape
        return (1, *self.predicted.in_shape) if self.predicted else None

    @property
    def predicted_shape(self) -> Shape | None:
        """Shape of the output with the batch, as predicted."""
        return (1, *self.predicted.out_shape) if self.predicted else None

    @property
    def out_shape(self) -> Shape | None:
        """Shape of the output with the batch, as observed."""
        return self.observed.out_shape if self.observed else None

    @property
    def params(self) -> int:
        """Number of parameters as observed, else as predicted."""
        return self._either.params

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates as observed, else as predicted."""
        return self._either.macs

    @property
    def bytes(self) -> int:
        """Size of the output as observed, else as predicted."""
        return self._either.bytes

    @property
    def _either(self) -> LayerRecord | LayerPrediction:
        """A row has at least one of the two."""
        either = self.observed or self.predicted
        assert either is not None
        return either

    @property
    def receptive_field(self) -> int | None:
        """Side of the receptive field of one output position (pixels of the image)."""
        return self.predicted.receptive_field if self.predicted else None

    @property
    def stage(self) -> str | None:
        """Name of the convolution that the layer belongs to; None after the flattening."""
        return self.predicted.stage if self.predicted else None

    @property
    def block(self) -> str | None:
        """Part of the encoder the layer belongs to: block1, …, head; None before the encoder."""
        return self.predicted.block if self.predicted else None

    @property
    def kept(self) -> KeptOutput | None:
        """A copy of the output, or None."""
        return self.observed.kept if self.observed else None

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The observed input tensor; empty if the layer never ran."""
        seen = self.observed
        if seen is None:
            return ()
        size = prod(seen.in_shape) * ITEM_BYTES[seen.dtype]
        return (Value(path="0", shape=seen.in_shape, dtype=seen.dtype, bytes=size),)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The observed output tensor; empty if the layer never ran."""
        seen = self.observed
        if seen is None:
            return ()
        return (Value(path="", shape=seen.out_shape, dtype=seen.dtype, bytes=seen.bytes),)

    @property
    def extremes(self) -> tuple[float | None, float | None]:
        """Minimum and maximum of the output; None if they were not requested."""
        return (self.observed.low, self.observed.high) if self.observed else (None, None)

    def predicted_dict(self) -> dict[str, Any] | None:
        """Return the prediction as plain values, with the batch; None without a prediction."""
        if self.predicted is None:
            return None
        fields = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(self.predicted).items()
            if key not in ("name", "kind")
        }
        shapes = {key: [1, *fields[key]] for key in ("in_shape", "out_shape")}
        return {**fields, **shapes, "rule": None}

    @property
    def agrees(self) -> bool:
        """Whether every quantity was predicted and observed, and the two are equal."""
        return all(self.verdicts.values())

    @property
    def verdict(self) -> str:
        """ "agrees", "differs", "not predicted", "never ran" or, before the run, "predicted"."""
        if not self.verdicts:
            return "predicted"
        if self.predicted is None:
            return "not predicted"
        if self.observed is None:
            return "never ran"
        return "agrees" if self.agrees else "differs"


@dataclass(frozen=True, kw_only=True)
class StemRun:
    """The inputs of a run: the prediction, the image, and the origin of the weights."""

    prediction: Prediction
    """What was worked out before the run."""
    input: FloatArray
    """(in_channels, height, width): the image in float32."""
    image_notes: tuple[str, ...]
    """What was done to the image, in sentences."""
    run_notes: tuple[str, ...]
    """What is odd about the run or a file of weights, in sentences."""
    weights: str | None
    """Name of the file that the weights are from; None where all are from the seed."""
    seed: int
    """Start of the random weights."""
    init: Init
    """How the random weights were drawn, as in `build_stem`."""
    norm_statistics: NormStatistics
    """What BatchNorm normalises by: "image" its own mean and variance, "stored" those it stores."""


@dataclass(frozen=True, kw_only=True)
class Report(StemRun, ReportMethods):
    """The result of one inspection; all views are drawn from it."""

    trace: Trace
    """What the hooks saw."""
    device: str
    """Device of the run, for example "cpu"."""
    device_title: str
    """The device's own name."""

    kind = "Sequential"
    """Class of the module."""
    batch = 1
    """A stem is run on one image; shapes are shown without the batch."""
    training = audited = False
    """Faults are looked for in other modules only: a stem that exists can be built and run."""
    failure = None
    faults = never_called = explanations = uncounted = unchecked = ()
    ignored: ClassVar[Mapping[str, int]] = MappingProxyType({})

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the image and the run, in sentences."""
        return (*self.image_notes, *self.run_notes)

    @property
    def spec(self) -> StemSpec:
        """The stem."""
        return self.prediction.spec

    @property
    def rows(self) -> tuple[StemRow, ...]:
        """Every predicted layer in order, then every observed call that was not predicted."""
        calls = list(self.trace.records)
        rows = []
        for row in rows_before_the_run(self.prediction):
            record = next((call for call in calls if call.name == row.name), None)
            if record:
                calls.remove(record)
            verdicts = _verdicts(row.predicted, record)
            rows.append(replace(row, observed=record, verdicts=verdicts))
        unforeseen = (
            StemRow(name=call.name, predicted=None, observed=call, verdicts=_verdicts(None, call))
            for call in calls
        )
        return (*rows, *unforeseen)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The image."""
        dtype = self.prediction.dtype
        size = self.input.size * ITEM_BYTES[dtype]
        return (Value(path="0", shape=(1, *self.input.shape), dtype=dtype, bytes=size),)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The output of the last layer."""
        last = [row for row in self.rows if row.observed][-1:]
        return last[0].outputs if last else ()

    @property
    def params(self) -> int:
        """Number of parameters of all layers."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(row.macs or 0 for row in self.rows)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """A sentence for each quantity that differs or is missing; empty if all agree."""
        return tuple(
            f"{row.name}.{quantity}: {_say(verdict, quantity, row)}"
            for row in self.rows
            for quantity, verdict in row.verdicts.items()
            if not verdict
        )

    @property
    def first_not_finite(self) -> LayerRecord | None:
        """The first layer whose output contains infinities or NaN."""
        return next((call for call in self.trace.records if call.finite is False), None)

    @property
    def not_finite(self) -> str:
        """Name the first layer whose output contains infinities or NaN; empty if there is none."""
        layer = self.first_not_finite
        if layer is None:
            return ""
        later = sum(call.finite is False for call in self.trace.records) - 1
        after = f", and {plural(later, 'layer')} after it too" if later else ""
        return (
            f"{layer.name} is the first layer with values that are not finite (least {layer.low},"
            f" largest {layer.high}){after}"
        )

    @property
    def bytes(self) -> int:
        """Memory held by the report (bytes), nearly all of it kept outputs and the input."""
        return self.trace.kept_bytes + self.input.nbytes

    @property
    def title(self) -> str:
        """The image, the device, the number format and the weights, on one line."""
        height, width = self.spec.image_size
        return (
            f"image {height}×{width}, {plural(self.spec.in_channels, 'channel')}; {self.device}"
            f" ({self.device_title}), {self.prediction.dtype}, {self._weights}"
        )

    @property
    def _weights(self) -> str:
        """Where the weights are from, and what BatchNorm normalised by where there is one."""
        source = f"weights of {self.weights}" if self.weights else f"seed {self.seed}"
        if self.init != "torch" and not self.weights:
            source = f"{source} ({self.init})"
        norms = any(conv.norm == "batch" for conv in self.spec.convs)
        by = {"image": "this image", "stored": "what it stores"}[self.norm_statistics]
        return f"{source}; BatchNorm by {by}" if norms else source

    def sentences(self, *, never_called: bool = True) -> tuple[str, ...]:
        """Anything unusual about the image and the run, the totals, and the verdict."""
        prediction = self.prediction
        return (
            *self.notes,
            f"{tokens_sentence(prediction)}, width {prediction.embed_dim},"
            f" stride {prediction.total_stride},"
            f" receptive field {prediction.receptive_field} px.",
            f"{count(prediction.stem_params)} params in the stem,{_with_rest(prediction)};"
            f" {count(prediction.macs)} MACs = {count(2 * prediction.macs)} FLOPs"
            " (bias, norm, activation and softmax not counted);"
            f" {count(prediction.activations)} activations.",
            *([f"{most_work(prediction)}."] if len(prediction.spec.convs) > 1 else []),
            *(f"{said}." for said in map(unread, prediction.layers) if said),
            *([f"{self.not_finite}."] if self.not_finite else []),
            *(self.disagreements or ("Every shape, parameter, MAC and byte is as predicted.",)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, as `--json` prints it; see docs/report.md."""
        return report_dict(
            self,
            target="vit" if self.prediction.vit else "stem",
            prediction=self.prediction,
            device_title=self.device_title,
            weights=self.weights,
            seed=self.seed,
            init=self.init,
            norm_statistics=self.norm_statistics,
            first_not_finite=self.first_not_finite and self.first_not_finite.name,
        )


def rows_before_the_run(prediction: Prediction) -> tuple[StemRow, ...]:
    """Return a row for each predicted layer, without observations."""
    stages = {stage.name: format_convs([stage.conv]) for stage in prediction.spec.stages}
    pooled = "1st token" if prediction.num_prefix_tokens else "mean"
    made_by = {**_MADE_BY, "head": (pooled, "linear")}
    if prediction.vit:
        encoder = (plural(prediction.vit.depth, "block"), prediction.vit.attention)

    def made(layer: LayerPrediction) -> tuple[str, str]:
        if layer.stage:
            size, *words = stages[layer.stage].split(" ")
            return size.partition(":")[0], " ".join(words)
        if layer.block and layer.block != "head":
            return encoder
        return made_by[layer.block or layer.kind]

    return tuple(
        StemRow(name=layer.name, predicted=layer, observed=None, verdicts={}, made_by=made(layer))
        for layer in prediction.layers
    )


_MADE_BY = {
    "tokens": ("flatten", "by rows"),
    "class_token": ("prepend", "1 token"),
    "pos_embed": ("add", "positions"),
}


def _verdicts(
    predicted: LayerPrediction | None, observed: LayerRecord | None
) -> dict[str, bool | None]:
    """For each of QUANTITIES whether the two agree; None where one side is missing."""
    if predicted is None or observed is None:
        return dict.fromkeys(QUANTITIES)
    shapes = ((1, *predicted.in_shape), (1, *predicted.out_shape))
    return {
        "shape": (observed.in_shape, observed.out_shape) == shapes,
        "params": observed.params == predicted.params,
        "macs": None if observed.macs is None else observed.macs == predicted.macs,
        "bytes": observed.bytes == predicted.bytes,
    }


def _say(verdict: bool | None, quantity: str, row: StemRow) -> str:
    """Why a quantity did not agree."""
    if row.predicted is None:
        return "observed, not predicted"
    if row.observed is None:
        return "predicted, never observed"
    if verdict is None:
        return "predicted, could not be observed"
    if quantity == "shape":
        foreseen = f"{row.predicted.in_shape} -> {row.predicted.out_shape}"
        seen = f"{row.observed.in_shape[1:]} -> {row.observed.out_shape[1:]}"
    else:
        foreseen, seen = (getattr(side, quantity) for side in (row.predicted, row.observed))
    return f"predicted {foreseen}, observed {seen}"


def _with_rest(prediction: Prediction) -> str:
    """The params of the whole, and what it has besides the convolutions."""
    spec, vit = prediction.spec, prediction.vit
    parts = [
        *(["class token"] if spec.class_token else []),
        *(["position table"] if spec.position_table else []),
        *([plural(vit.depth, "block"), "classifier"] if vit else []),
    ]
    without = "" if spec.position_table else " and no position table"
    if not parts:
        return " which has no class token and no position table"
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f" {count(prediction.params)} with {listed}{without}"
