"""One inspection of a stem: what was predicted beside what hooks saw, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import (
    PATTERNS,
    FloatArray,
    Picture,
    crop_sentence,
    image_array,
    picture_of,
    read_picture,
    sample_picture,
)
from vitc_inspect.common.validation import A_STEM, MAX_BYTES, check_choice, check_int, check_type
from vitc_inspect.model.checkpoints import load_weights
from vitc_inspect.model.devices import device_title, resolve_device
from vitc_inspect.model.modules import Init, build_stem, build_vit
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.probes.gradients import Statistics, batch_statistics
from vitc_inspect.probes.token_order import keeps_order
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.notation import format_stem
from vitc_inspect.stem.prediction import Dtype, LayerPrediction, Prediction, predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import (
    KEEP_BYTES,
    LayerRecord,
    NormStatistics,
    Trace,
    image_statistics,
    trace,
)

QUANTITIES = ("shape", "params", "macs", "bytes")
"""What is compared in each row; "shape" is that of the input and of the output."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer: the prediction, the observation, and whether they agree."""

    name: str
    """Name of the module."""
    predicted: LayerPrediction | None
    """None for a module that nobody predicted."""
    observed: LayerRecord | None
    """None for a module that never ran."""
    verdicts: Mapping[str, bool | None]
    """For each of QUANTITIES True or False; None where one side is missing."""

    @property
    def agrees(self) -> bool:
        """Whether every quantity was predicted, observed and equal."""
        return all(self.verdicts.values())


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A stem or a model on its device with the image it is to look at, ready to run."""

    prediction: Prediction
    """What was worked out before anything was built."""
    module: nn.Sequential
    """The stem or the model, in evaluation mode."""
    batch: Tensor
    """(1, in_channels, height, width): the image, on the module's device and in its dtype."""
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

    def normalising(self) -> AbstractContextManager[None]:
        """A block in which BatchNorm normalises as chosen."""
        return image_statistics(self.module) if self.norm_statistics == "image" else nullcontext()

    @cached_property
    def statistics(self) -> Statistics:
        """What each BatchNorm normalises this image by, where that is not what it stores."""
        return batch_statistics(self.module, self.batch) if self.norm_statistics == "image" else {}

    @cached_property
    def keeps_order(self) -> bool:
        """Whether the layer "tokens" puts the rows of the map one after the other."""
        return keeps_order(self.module, self.prediction.spec)

    @property
    def bytes(self) -> int:
        """Memory held (bytes): the weights and the image twice."""
        item = self.batch.element_size()
        return self.prediction.params * item + self.input.size * (4 + item)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything one inspection found; every view is drawn from it."""

    prediction: Prediction
    """What was worked out before the run."""
    trace: Trace
    """What the hooks saw."""
    input: FloatArray
    """(in_channels, height, width): what the stem was fed."""
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
    """What BatchNorm normalised by: "image" its own mean and variance, "stored" those it stores."""
    device: str
    """Device of the run, for example "cpu"."""
    device_title: str
    """The device's own name."""

    @property
    def notes(self) -> tuple[str, ...]:
        """All that is to be known about the image and the run, in sentences."""
        return (*self.image_notes, *self.run_notes)

    @property
    def spec(self) -> StemSpec:
        """The stem."""
        return self.prediction.spec

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every predicted layer in order, then every observed call that was not predicted."""
        calls = list(self.trace.records)
        rows = []
        for layer in self.prediction.layers:
            record = next((call for call in calls if call.name == layer.name), None)
            if record:
                calls.remove(record)
            rows.append(_row(layer.name, layer, record))
        return (*rows, *(_row(call.name, None, call) for call in calls))

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Each quantity that differs or is missing, in a sentence; empty when all agree."""
        return tuple(
            f"{row.name}.{quantity}: {_say(verdict, quantity, row)}"
            for row in self.rows
            for quantity, verdict in row.verdicts.items()
            if not verdict
        )

    @property
    def first_not_finite(self) -> LayerRecord | None:
        """The first layer whose output has a value that is infinite or no number."""
        return next((call for call in self.trace.records if call.finite is False), None)

    @property
    def bytes(self) -> int:
        """Memory the report holds (bytes), nearly all of it kept outputs and the input."""
        return self.trace.kept_bytes + self.input.nbytes

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, the object that `--json` prints.

        Shapes are those of one image, without the batch; sizes are in pixels and bytes.
        """
        prediction = self.prediction
        return {
            **prediction_dict(prediction),
            "device": self.device,
            "device_title": self.device_title,
            "weights": self.weights,
            "seed": self.seed,
            "init": self.init,
            "norm_statistics": self.norm_statistics,
            "notes": list(self.notes),
            "first_not_finite": self.first_not_finite and self.first_not_finite.name,
            "layers": [_row_dict(row) for row in self.rows],
            "disagreements": list(self.disagreements),
        }


def inspect_stem(
    spec: StemSpec,
    image: str | Path | Image.Image | Picture | None = None,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    seed: int = 0,
    init: Init = "torch",
    norm_statistics: NormStatistics = "image",
    weights: str | Path | None = None,
    memory_budget: int = MEMORY_BUDGET,
    keep_bytes: int = KEEP_BYTES,
) -> Report:
    """Predict a stem, run it under hooks, and lay the two side by side.

    Args:
        spec: The stem.
        image: A Picture or a PIL image, the path of an image file, the name of a sample
            (images.SAMPLES), or None for the photograph.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        dtype: Number format of weights and image.
        seed: Start of the random weights.
        init: How they are drawn, "torch" or "trunc_normal", as in `build_stem`.
        norm_statistics: "image" lets BatchNorm normalise by the mean and variance of this very
            image, as in training; "stored" by those it stores, which in a fresh stem are 0 and 1.
        weights: The path of a file to take the weights from, as in `load_weights` and
            `match_weights`; None draws them from the seed.
        memory_budget: The most the run may be predicted to take (bytes).
        keep_bytes: Budget for copies of outputs (bytes).

    Returns:
        The report. The same arguments give the same report.

    Raises:
        SpecError: field "device", "dtype", "seed", "init", "norm_statistics", "weights" or
            "image"; "image_size" or "conv2.out_channels" when the run would not fit in the budget.
    """
    check_type("spec", spec, StemSpec, A_STEM)
    bench = prepare(
        spec,
        image,
        device=device,
        dtype=dtype,
        seed=seed,
        init=init,
        norm_statistics=norm_statistics,
        weights=weights,
        memory_budget=memory_budget,
        keep_bytes=keep_bytes,
    )
    return inspect(bench, keep_bytes=keep_bytes)


def inspect_vit(
    vit: ViTSpec,
    image: str | Path | Image.Image | Picture | None = None,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    seed: int = 0,
    init: Init = "torch",
    norm_statistics: NormStatistics = "image",
    weights: str | Path | None = None,
    memory_budget: int = MEMORY_BUDGET,
    keep_bytes: int = KEEP_BYTES,
) -> Report:
    """Predict a whole Vision Transformer, run it under hooks, and lay the two side by side.

    Args:
        vit: The model.
        image, device, dtype, seed, init, norm_statistics, memory_budget, keep_bytes: As in
            `inspect_stem`.
        weights: The same; what the file lacks of the encoder is drawn from the seed, and a
            note says so.

    Returns:
        The report, with a row for each layer of the stem and of every block; outputs are
        kept of the stem alone.

    Raises:
        SpecError: As `inspect_stem`.
    """
    check_type("vit", vit, ViTSpec, 'Use PRESETS["vit_c_4gf"].vit')
    bench = prepare(
        vit,
        image,
        device=device,
        dtype=dtype,
        seed=seed,
        init=init,
        norm_statistics=norm_statistics,
        weights=weights,
        memory_budget=memory_budget,
        keep_bytes=keep_bytes,
    )
    return inspect(bench, keep_bytes=keep_bytes)


def prepare(
    spec: StemSpec | ViTSpec,
    image: str | Path | Image.Image | Picture | None = None,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    seed: int = 0,
    init: Init = "torch",
    norm_statistics: NormStatistics = "image",
    weights: str | Path | None = None,
    memory_budget: int = MEMORY_BUDGET,
    keep_bytes: int = KEEP_BYTES,
) -> Bench:
    """Build a stem or a whole Vision Transformer and the image it is to look at.

    Args:
        spec: The stem, or the model.
        image, device, dtype, seed, init, norm_statistics, weights, memory_budget, keep_bytes: As
            in `inspect_stem`.

    Returns:
        What `inspect` runs and the experiments of `probes` take.

    Raises:
        SpecError: As `inspect_stem`.
    """
    prediction = predict(spec, dtype=dtype)
    stem = prediction.spec
    check_choice("norm_statistics", norm_statistics, get_args(NormStatistics))
    target = resolve_device(device)
    keep_bytes = check_int("keep_bytes", keep_bytes, 0, MAX_BYTES)
    memory_budget = check_int("memory_budget", memory_budget, 0, MAX_BYTES)
    check_memory(prediction, keep_bytes=keep_bytes, budget=memory_budget)
    picture = read_input(image)
    array = image_array(picture, stem.image_size, stem.in_channels)
    if isinstance(spec, StemSpec):
        module = build_stem(spec, seed=seed, init=init)
    else:
        module = build_vit(spec, seed=seed, init=init)
    match = None
    if weights is not None:
        match = match_weights(load_weights(weights), spec)
        put_weights(module, match)
    kind = getattr(torch, dtype)
    by_image = norm_statistics == "image"
    notes = [
        *(_spreadless(stem) if by_image else ()),
        *(match.notes if match else ()),
        *(_other_statistics(stem) if match and by_image else ()),
    ]
    return Bench(
        prediction=prediction,
        module=module.to(target, kind),
        batch=torch.from_numpy(array).to(target, kind).unsqueeze(0),  # (c, h, w) -> (1, c, h, w)
        input=array,
        image_notes=_image_notes(picture, stem.image_size),
        run_notes=tuple(notes),
        weights=match.file if match else None,
        seed=int(seed),
        init=init,
        norm_statistics=norm_statistics,
    )


def inspect(bench: Bench, *, keep_bytes: int = KEEP_BYTES) -> Report:
    """Run what was prepared under hooks, and lay the prediction beside it.

    Args:
        bench: From `prepare`.
        keep_bytes: Budget for copies of outputs (bytes).

    Returns:
        The report.
    """
    stem_layers = {layer.name for layer in bench.prediction.layers if layer.block is None}
    with bench.normalising():
        observed = trace(bench.module, bench.batch, keep_bytes=keep_bytes, keep=stem_layers)
    return Report(
        prediction=bench.prediction,
        trace=observed,
        input=bench.input,
        image_notes=bench.image_notes,
        run_notes=bench.run_notes,
        weights=bench.weights,
        seed=bench.seed,
        init=bench.init,
        norm_statistics=bench.norm_statistics,
        device=str(bench.batch.device),
        device_title=device_title(bench.batch.device),
    )


def _image_notes(picture: Picture | str, image_size: tuple[int, int]) -> tuple[str, ...]:
    """What was done to the image, in sentences."""
    if isinstance(picture, str):
        return ()
    cropped = crop_sentence(picture, image_size)
    return (*picture.notes, *([cropped] if cropped else []))


def _spreadless(spec: StemSpec) -> tuple[str, ...]:
    """A sentence for each BatchNorm whose map is a single position."""
    return tuple(
        f"{stage.norm_name} gets one value a channel, which has no spread:"
        " it used the statistics it stores."
        for stage in spec.stages
        if stage.conv.norm == "batch" and prod(stage.out_shape[1:]) == 1
    )


def _other_statistics(spec: StemSpec) -> tuple[str, ...]:
    """That a trained model in use would normalise otherwise."""
    if all(conv.norm != "batch" for conv in spec.convs):
        return ()
    return ("BatchNorm used the image's statistics; norm_statistics \"stored\" takes the file's.",)


def read_input(image: str | Path | Image.Image | Picture | None) -> Picture | str:
    """The picture an image argument stands for, or the name of a test pattern.

    Raises:
        SpecError: field "image".
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return picture_of(image)
    if image is None:
        return sample_picture()
    if not isinstance(image, (str, Path)):
        kind = type(image).__name__
        raise SpecError(
            "image", kind, "it is neither a name, a path nor a picture", "Use photo", "photo"
        )
    if image == "photo":
        return sample_picture()
    return image if isinstance(image, str) and image in PATTERNS else read_picture(image)


def prediction_dict(prediction: Prediction) -> dict[str, Any]:
    """The stem, the encoder and the totals as plain values; FLOPs are two for each MAC."""
    spec, vit = prediction.spec, prediction.vit
    encoder = None
    if vit:
        fields = ("depth", "num_heads", "mlp_ratio", "attention", "num_classes")
        encoder = {field: getattr(vit, field) for field in fields}
    return {
        "stem": format_stem(spec),
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


def _row(name: str, predicted: LayerPrediction | None, observed: LayerRecord | None) -> Row:
    verdicts: dict[str, bool | None] = dict.fromkeys(QUANTITIES)
    if predicted and observed:
        shapes = (predicted.in_shape, predicted.out_shape)
        verdicts = {
            "shape": (observed.in_shape[1:], observed.out_shape[1:]) == shapes,
            "params": observed.params == predicted.params,
            "macs": None if observed.macs is None else observed.macs == predicted.macs,
            "bytes": observed.bytes == predicted.bytes,
        }
    return Row(name=name, predicted=predicted, observed=observed, verdicts=verdicts)


def _say(verdict: bool | None, quantity: str, row: Row) -> str:
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


def _row_dict(row: Row) -> dict[str, Any]:
    predicted = _plain(asdict(row.predicted)) if row.predicted else None
    kind = row.predicted.kind if row.predicted else None
    for key in ("name", "kind"):
        if predicted:
            del predicted[key]
    observed = None
    if row.observed:
        observed = {
            "kind": row.observed.kind,
            "in_shape": list(row.observed.in_shape[1:]),
            "out_shape": list(row.observed.out_shape[1:]),
            "dtype": row.observed.dtype,
            "params": row.observed.params,
            "macs": row.observed.macs,
            "bytes": row.observed.bytes,
            "low": _number(row.observed.low),
            "high": _number(row.observed.high),
        }
    return {
        "name": row.name,
        "kind": kind or (row.observed.kind if row.observed else None),
        "predicted": predicted,
        "observed": observed,
        "verdicts": dict(row.verdicts),
        "agrees": row.agrees,
    }


def _number(value: float | None) -> float | str | None:
    """A number as JSON can hold it: "inf", "-inf" and "nan" in words."""
    return value if value is None or isfinite(value) else str(value)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with lists for tuples, as JSON gives them back."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()
    }
