"""Cost of a model by part, and how it scales with the sequence length, in integers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import MAX_SIDE
from vitc_inspect.stem import arithmetic
from vitc_inspect.stem.prediction import LayerPrediction, Prediction, predict
from vitc_inspect.stem.spec import StemSpec, patchify_stem
from vitc_inspect.stem.vit import Attention, ViTSpec


@dataclass(frozen=True, kw_only=True)
class Share:
    """Cost of one part of a model."""

    name: str
    """conv1, …, proj, tokens, attention, MLP, head."""
    parts: int
    """Number of equal parts in this share: the blocks for attention and MLP, else 1."""
    macs: int
    """Multiply-accumulates for one image."""
    params: int
    """Number of parameters."""
    activations: int
    """Elements of the outputs of convolutions and matrix products."""


@dataclass(frozen=True, kw_only=True)
class StemCost:
    """Cost of a stem relative to a transformer block and to patchify."""

    macs: int
    """Multiply-accumulates of the stem for one image."""
    patchify_macs: int | None
    """MACs of a patchify stem of equal stride and width; None if none fits the image."""
    block_macs: int | None
    """MACs of one transformer block of the model; None for a stem alone."""

    @property
    def blocks(self) -> float | None:
        """Cost of the stem in transformer blocks."""
        return self.macs / self.block_macs if self.block_macs else None

    @property
    def extra_macs(self) -> int | None:
        """MACs beyond those of patchify; negative if the stem costs less."""
        return None if self.patchify_macs is None else self.macs - self.patchify_macs


@dataclass(frozen=True, kw_only=True)
class LengthTerms:
    """MACs after the stem as a polynomial in the sequence length n.

    macs(n) = constant + linear * n + quadratic * n^2
    """

    constant: int
    """MACs that do not depend on the length: the classifier."""
    linear: int
    """MACs per token: linear layers, and all of linear attention."""
    quadratic: int
    """MACs per pair of tokens: the two products of softmax attention."""

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for a sequence of `tokens` tokens."""
        return self.constant + self.linear * tokens + self.quadratic * tokens**2

    @property
    def crossover(self) -> int | None:
        """Smallest length at which the n² term is at least the linear one, or None."""
        return -(-self.linear // self.quadratic) if self.quadratic else None


@dataclass(frozen=True, kw_only=True)
class ScalePoint:
    """Cost of a model at one image size or stride."""

    at: int
    """Height of the image, or total stride (pixels)."""
    tokens: int
    """Sequence length."""
    softmax_macs: int
    """Multiply-accumulates with softmax attention, stem included."""
    linear_macs: int
    """Multiply-accumulates with linear attention, stem included."""


def shares(prediction: Prediction) -> tuple[Share, ...]:
    """Split the cost of a model into its stages, attention, MLP and head.

    Args:
        prediction: The stem or the model.

    Returns:
        The parts in the order of the forward pass; they sum to the totals.
    """
    parts: dict[str, list[LayerPrediction]] = {}
    for layer in prediction.layers:
        parts.setdefault(_part_of(layer), []).append(layer)
    depth = prediction.vit.depth if prediction.vit else 0
    return tuple(
        Share(
            name=name,
            parts=depth if name in ("attention", "MLP") else 1,
            macs=sum(layer.macs for layer in layers),
            params=sum(layer.params for layer in layers),
            activations=sum(layer.activations for layer in layers),
        )
        for name, layers in parts.items()
    )


def stem_cost(prediction: Prediction) -> StemCost:
    """Compare a stem with one block of its model and with patchify.

    Args:
        prediction: The stem or the model.

    Returns:
        MACs of the stem, of patchify and of one block.

    Source:
        Xiao et al. 2021, arXiv:2106.14881, section 4: the stem costs about one block.

    >>> from vitc_inspect.stem.presets import PRESETS
    >>> cost = stem_cost(predict(PRESETS["vit_c_4gf"].vit))
    >>> round(cost.blocks, 2), cost.extra_macs
    (1.36, 377524224)
    """
    spec = prediction.spec
    patchify = None
    with suppress(SpecError):  # a stride longer than the image, or than a kernel may be
        twin = patchify_stem(
            prediction.total_stride,
            prediction.embed_dim,
            image_size=spec.image_size,
            in_channels=spec.in_channels,
        )
        patchify = predict(twin).macs
    block = sum(layer.macs for layer in prediction.layers if layer.block == "block1")
    return StemCost(
        macs=prediction.stem_macs, patchify_macs=patchify, block_macs=block if block else None
    )


def length_terms(vit: ViTSpec, *, attention: Attention | None = None) -> LengthTerms:
    """Return the MACs of encoder and head as a polynomial in the sequence length.

    Args:
        vit: The model.
        attention: Overrides the attention of the model.

    Returns:
        The coefficients; `macs(seq_len)` and the stem's MACs add up to `predict(vit).macs`.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, Table 1; Katharopoulos et al. 2020,
        arXiv:2006.16236, section 3.2.
    """
    width, hidden = vit.stem.embed_dim, vit.hidden_dim
    # qkv, out, fc1 and fc2, for one token
    each = arithmetic.linear_macs(1, width, 4 * width) + arithmetic.linear_macs(
        1, width, 2 * hidden
    )
    pairs = 0
    if (attention or vit.attention) == "softmax":
        pairs = arithmetic.softmax_attention_macs(1, width)
    else:
        each += arithmetic.linear_attention_macs(1, width, vit.head_dim)
    return LengthTerms(
        constant=arithmetic.linear_macs(1, width, vit.num_classes),
        linear=vit.depth * each,
        quadratic=vit.depth * pairs,
    )


def at_image_sizes(vit: ViTSpec, heights: range) -> tuple[ScalePoint, ...]:
    """Return the cost of a model at other image sizes of the same aspect.

    Args:
        vit: The model.
        heights: Heights of the image (pixels); the width follows in proportion.

    Returns:
        A point for each height that the stem accepts.
    """
    return tuple(_points(vit, ((height, _scaled(vit.stem, height)) for height in heights)))


def at_total_strides(vit: ViTSpec, strides: range) -> tuple[ScalePoint, ...]:
    """Return the cost of an encoder after patchify stems of other strides.

    Args:
        vit: The model.
        strides: Patch sides (pixels).

    Returns:
        A point for each stride that fits the image.
    """
    stem = vit.stem

    def patchify(stride: int) -> StemSpec | None:
        if stride > min(stem.image_size):
            return None
        return patchify_stem(
            stride,
            stem.embed_dim,
            image_size=stem.image_size,
            in_channels=stem.in_channels,
            class_token=stem.class_token,
            position_table=stem.position_table,
        )

    return tuple(_points(vit, ((stride, patchify(stride)) for stride in strides)))


def tokens_at(stem: StemSpec, height: int) -> int | None:
    """Return the sequence length at another image size of the same aspect.

    Args:
        stem: The stem.
        height: Height of the image (pixels); the width follows in proportion.

    Returns:
        Tokens, or None if the image is too small for the stem.
    """
    other = _scaled(stem, height)
    return other.seq_len if other else None


def heights_that_fit(stem: StemSpec) -> tuple[int, int]:
    """Return the image sizes for which the position table has the right length.

    Args:
        stem: The stem, at the image size of its position table.

    Returns:
        Smallest and largest height (pixels) with the same number of tokens, the width in
        proportion; every height between them fits too.
    """
    here = stem.image_size[0]
    low = high = here
    while tokens_at(stem, low - 1) == stem.seq_len:
        low -= 1
    while high < MAX_SIDE and tokens_at(stem, high + 1) == stem.seq_len:
        high += 1
    return low, high


def _part_of(layer: LayerPrediction) -> str:
    """The part of the model that a layer is counted in."""
    if layer.stage:
        return layer.stage
    if layer.block is None:
        return "tokens"
    if layer.block == "head":
        return "head"
    return "attention" if layer.name.endswith(("norm1", "qkv", "attend", "out")) else "MLP"


def _scaled(stem: StemSpec, height: int) -> StemSpec | None:
    """The stem at another height, with the width in proportion; None if it cannot be built."""
    whole, width = stem.image_size
    with suppress(SpecError):
        return replace(stem, image_size=(height, max(1, round(width * height / whole))))
    return None


def _points(vit: ViTSpec, stems: Iterator[tuple[int, StemSpec | None]]) -> Iterator[ScalePoint]:
    softmax = length_terms(vit, attention="softmax")
    linear = length_terms(vit, attention="linear")
    for at, stem in stems:
        if stem is None:
            continue
        own, tokens = sum(stage.macs for stage in stem.stages), stem.seq_len
        yield ScalePoint(
            at=at,
            tokens=tokens,
            softmax_macs=own + softmax.macs(tokens),
            linear_macs=own + linear.macs(tokens),
        )
