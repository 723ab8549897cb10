"""The public functions for stems: predict a stem or a whole model, run it, compare the two."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TypedDict, Unpack, get_args

import torch
from PIL import Image
from torch import Tensor, nn

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.fitting import Fit
from vitc_inspect.common.images import (
    PATTERNS,
    Picture,
    fit_sentence,
    image_array,
    picture_of,
    read_picture,
    sample_picture,
)
from vitc_inspect.common.validation import A_STEM, MAX_BYTES, check_choice, check_int, check_type
from vitc_inspect.inspection.stem_report import Report, StemRun
from vitc_inspect.model.checkpoints import load_weights
from vitc_inspect.model.devices import device_title, resolve_device
from vitc_inspect.model.modules import Init, build
from vitc_inspect.model.weight_matching import match_weights, put_weights
from vitc_inspect.probes.gradients import Statistics, batch_statistics
from vitc_inspect.probes.token_order import keeps_order
from vitc_inspect.stem.memory import MEMORY_BUDGET, check_memory
from vitc_inspect.stem.prediction import Dtype, predict
from vitc_inspect.stem.spec import StemSpec
from vitc_inspect.stem.vit import ViTSpec
from vitc_inspect.tracing.hooks import KEEP_BYTES, NormStatistics, image_statistics, trace


@dataclass(frozen=True, kw_only=True)
class PreparedRun(StemRun):
    """A stem or a model on its device with its input image, ready to run."""

    module: nn.Sequential
    """The stem or the model, in evaluation mode."""
    batch: Tensor
    """(1, in_channels, height, width): the image, on the module's device and in its dtype."""

    def normalising(self) -> AbstractContextManager[None]:
        """Context in which BatchNorm uses the chosen statistics."""
        return image_statistics(self.module) if self.norm_statistics == "image" else nullcontext()

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics by which each BatchNorm normalises this image; empty for the stored ones."""
        return batch_statistics(self.module, self.batch) if self.norm_statistics == "image" else {}

    @cached_property
    def keeps_order(self) -> bool:
        """Whether the layer "tokens" flattens the map in row-major order."""
        return keeps_order(self.module, self.prediction.spec)

    @property
    def bytes(self) -> int:
        """Memory held (bytes): the weights and two copies of the image."""
        item = self.batch.element_size()
        return self.prediction.params * item + self.input.size * (4 + item)


class RunOptions(TypedDict, total=False):
    """How a stem or a model is built and run; every option has a default."""

    device: str
    """ "auto", "cpu", "cuda", "cuda:1" or "mps"; by default "auto"."""
    dtype: Dtype
    """Number format of weights and image; by default "float32"."""
    seed: int
    """Start of the random weights; by default 0."""
    init: Init
    """How they are drawn, "torch" or "trunc_normal", as in `build_stem`; by default "torch"."""
    norm_statistics: NormStatistics
    """What BatchNorm normalises by: "image", the default, by the mean and variance of this very
    image, as in training; "stored" by those it stores, which in a fresh stem are 0 and 1."""
    fit: Fit
    """How a picture is brought to the image size: "crop", the default, takes its middle; "pad" all
    of it, with borders of its mean colour; "stretch" all of it, with other proportions."""
    weights: str | Path | None
    """Path of a file to take the weights from, as in `load_weights` and `match_weights`; None, the
    default, draws them from the seed. Of a whole model the file may lack the encoder, which is
    then drawn from the seed, and a note says so."""
    memory_budget: int
    """The most memory that the run may be predicted to take (bytes)."""
    keep_bytes: int
    """Budget for copies of outputs (bytes)."""


def inspect_stem(
    spec: StemSpec,
    image: str | Path | Image.Image | Picture | None = None,
    **options: Unpack[RunOptions],
) -> Report:
    """Predict a stem, run it with forward hooks, and compare the two.

    Args:
        spec: The stem.
        image: A Picture or a PIL image, the path of an image file, the name of a sample
            (images.SAMPLES), or None for the photograph.
        options: `device`, `dtype`, `seed`, `init`, `norm_statistics`, `fit`, `weights`,
            `memory_budget` and `keep_bytes`, as `RunOptions` describes them.

    Returns:
        The report. The same arguments give the same report.

    Raises:
        SpecError: field "device", "dtype", "seed", "init", "norm_statistics", "fit", "weights" or
            "image"; "image_size" or "conv2.out_channels" when the run would not fit in the budget.
    """
    check_type("spec", spec, StemSpec, A_STEM)
    return _inspect(spec, image, options)


def inspect_vit(
    vit: ViTSpec,
    image: str | Path | Image.Image | Picture | None = None,
    **options: Unpack[RunOptions],
) -> Report:
    """Predict a whole Vision Transformer, run it with forward hooks, and compare the two.

    Args:
        vit: The model.
        image, options: As in `inspect_stem`.

    Returns:
        The report, with a row for each layer of the stem and of every block; outputs are
        kept of the stem alone.

    Raises:
        SpecError: As `inspect_stem`.
    """
    check_type("vit", vit, ViTSpec, 'Use PRESETS["vit_c_4gf"].vit')
    return _inspect(vit, image, options)


def _inspect(
    spec: StemSpec | ViTSpec, image: str | Path | Image.Image | Picture | None, options: RunOptions
) -> Report:
    prepared = prepare(spec, image, **options)
    return inspect(prepared, keep_bytes=options.get("keep_bytes", KEEP_BYTES))


def prepare(
    spec: StemSpec | ViTSpec,
    image: str | Path | Image.Image | Picture | None = None,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    seed: int = 0,
    init: Init = "torch",
    norm_statistics: NormStatistics = "image",
    fit: Fit = "crop",
    weights: str | Path | None = None,
    memory_budget: int = MEMORY_BUDGET,
    keep_bytes: int = KEEP_BYTES,
) -> PreparedRun:
    """Build a stem or a whole Vision Transformer, and its input image.

    Args:
        spec: The stem, or the model.
        image, device, dtype, seed, init, norm_statistics, fit, weights, memory_budget, keep_bytes:
            As in `inspect_stem`.

    Returns:
        What `inspect` runs and the experiments of `probes` take.

    Raises:
        SpecError: As `inspect_stem`.
    """
    prediction = predict(spec, dtype=dtype)
    stem = prediction.spec
    check_choice("norm_statistics", norm_statistics, get_args(NormStatistics))
    check_choice("fit", fit, get_args(Fit))
    target = resolve_device(device)
    keep_bytes = check_int("keep_bytes", keep_bytes, 0, MAX_BYTES)
    memory_budget = check_int("memory_budget", memory_budget, 0, MAX_BYTES)
    check_memory(prediction, keep_bytes=keep_bytes, budget=memory_budget)
    picture = read_input(image)
    array = image_array(picture, stem.image_size, stem.in_channels, fit)
    module = build(spec, seed=seed, init=init)
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
    return PreparedRun(
        prediction=prediction,
        module=module.to(target, kind),
        batch=torch.from_numpy(array).to(target, kind).unsqueeze(0),  # (c, h, w) -> (1, c, h, w)
        input=array,
        image_notes=_image_notes(picture, stem.image_size, fit),
        run_notes=tuple(notes),
        weights=match.file if match else None,
        seed=int(seed),
        init=init,
        norm_statistics=norm_statistics,
    )


def inspect(prepared: PreparedRun, *, keep_bytes: int = KEEP_BYTES) -> Report:
    """Run a prepared model with forward hooks, and compare the result with its prediction.

    Args:
        prepared: From `prepare`.
        keep_bytes: Budget for copies of outputs (bytes).

    Returns:
        The report.
    """
    stem_layers = {layer.name for layer in prepared.prediction.layers if layer.block is None}
    with prepared.normalising():
        observed = trace(prepared.module, prepared.batch, keep_bytes=keep_bytes, keep=stem_layers)
    described = {field.name: getattr(prepared, field.name) for field in fields(StemRun)}
    return Report(
        **described,
        trace=observed,
        device=str(prepared.batch.device),
        device_title=device_title(prepared.batch.device),
    )


def _image_notes(picture: Picture | str, image_size: tuple[int, int], fit: Fit) -> tuple[str, ...]:
    """What was done to the image, in sentences."""
    if isinstance(picture, str):
        return ()
    said = fit_sentence(picture, image_size, fit)
    return (*picture.notes, *([said] if said else []))


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
    """Return the picture that an image argument names, or the name of a test pattern.

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
