"""A model's parts, as its author states them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import MAX_CHANNELS, MAX_SIDE, check_all, check_int, check_pair
from vitc_inspect.diagnosis.grids import MAX_TOKENS
from vitc_inspect.stem.spec import MAX_CONVS, ConvLayer, StemSpec, conv_names

_CONVS = 'Use parse_stem("16x16/16:768").convs'


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A model's parts, as its author states them; None means not known."""

    image_size: tuple[int, int] | None = None
    """Height and width of the image (pixels)."""
    in_channels: int | None = None
    """Channels of the image; None is read as 3."""
    patch_size: int | None = None
    """Pixels from one token to the next, as the model states it; it may be wrong."""
    strides: tuple[int, ...] | None = None
    """Stride of each convolution (pixels of its input); omit it if `convs` is given."""
    convs: tuple[ConvLayer, ...] | None = None
    """The stem's convolutions in order."""
    names: tuple[str, ...] | None = None
    """Names of the convolutions; None means conv1, …, proj."""
    embed_dim: int | None = None
    """Token width; omit it if `convs` is given."""
    num_prefix_tokens: int | None = None
    """Tokens before the image tokens."""
    table_length: int | None = None
    """Entries of the position table (tokens)."""
    table_width: int | None = None
    """Width of the position table."""
    num_patches: int | None = None
    """Image tokens that the position table was built for, as the model states it."""
    num_heads: int | None = None
    """Attention heads of a block."""

    def __post_init__(self) -> None:
        ranges = {
            "in_channels": (1, MAX_CHANNELS),
            "patch_size": (1, MAX_SIDE),
            "embed_dim": (1, MAX_CHANNELS),
            "table_length": (1, MAX_TOKENS),
            "num_patches": (1, MAX_TOKENS),
            "table_width": (1, MAX_CHANNELS),
            "num_heads": (1, MAX_CHANNELS),
            "num_prefix_tokens": (0, MAX_TOKENS),
        }
        for name, (least, most) in ranges.items():
            if getattr(self, name) is not None:
                self._keep(name, check_int(name, getattr(self, name), least, most))
        if self.image_size is not None:
            self._keep("image_size", check_pair("image_size", self.image_size))
        if self.convs is not None:
            self._keep("convs", check_all("convs", self.convs, ConvLayer, _CONVS))
        if self.names is not None:
            self._keep("names", check_all("names", self.names, str, 'Use ("conv1", "proj")'))
        for twice, own in (("strides", self.strides), ("embed_dim", self.embed_dim)):
            if self.convs is not None and own is not None:
                reason = "the convolutions were given, and say it themselves"
                raise SpecError(twice, own, reason, "Leave it out")
        if self.names is not None and len(self.names) != len(self.convs or ()):
            reason = f"there are {len(self.convs or ())} convolutions"
            raise SpecError("names", self.names, reason, "Give as many names")
        if self.strides is not None:
            strides = check_all("strides", self.strides, object, "Use (2, 2, 2, 2)")
            check_int("strides", len(strides), 0, MAX_CONVS)
            kept = tuple(check_int("strides", stride, 1, MAX_SIDE) for stride in strides)
            self._keep("strides", kept)

    def _keep(self, name: str, value: Any) -> None:
        """Set a field of this frozen dataclass to its checked value."""
        object.__setattr__(self, name, value)

    @property
    def all_strides(self) -> tuple[int, ...] | None:
        """Stride of each convolution (pixels of its input), if known."""
        return self.strides if self.convs is None else tuple(c.stride for c in self.convs)

    @property
    def conv_names(self) -> tuple[str, ...]:
        """Names of the convolutions."""
        return conv_names(len(self.convs or ())) if self.names is None else self.names

    @property
    def width(self) -> int | None:
        """Token width, if known."""
        return self.convs[-1].out_channels if self.convs else self.embed_dim

    @property
    def stem(self) -> StemSpec | None:
        """The stem, if the image size and the convolutions are known.

        Raises:
            SpecError: when the convolutions cannot be built for the image.
        """
        if self.image_size is None or not self.convs:
            return None
        return StemSpec(
            image_size=self.image_size,
            in_channels=3 if self.in_channels is None else self.in_channels,
            convs=self.convs,
            class_token=bool(self.num_prefix_tokens),
        )

    @property
    def grid_size(self) -> tuple[int, int] | None:
        """Rows and columns of the token grid: from the convolutions, else by division."""
        stem, strides = self.stem, self.all_strides
        if stem:
            return stem.grid_size
        step = prod(strides) if strides else self.patch_size
        if self.image_size is None or step is None:
            return None
        return self.image_size[0] // step, self.image_size[1] // step
