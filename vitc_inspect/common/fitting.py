"""How a picture is brought to the size of an input: cropped, padded or stretched; and in words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from PIL import Image, ImageOps, ImageStat

from vitc_inspect.common.validation import MAX_SIDE

Fit = Literal["crop", "pad", "stretch"]
"""How a picture is brought to a size.

"crop" takes the largest part of its middle that has the proportions of that size; "pad" takes all
of it and fills the borders with its mean colour; "stretch" takes all of it and changes its
proportions.
"""

FITS: Mapping[Fit, str] = MappingProxyType(
    {
        "crop": "crop to its middle",
        "pad": "pad with its mean colour",
        "stretch": "stretch to the size",
    }
)
"""Titles of the ways to fit a picture."""

Size = tuple[int, int]
"""Height and width (pixels)."""


def fitted(image: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """Bring an image to a size.

    Args:
        image: An image, mode RGB.
        size: Height and width of the result (pixels).
        fit: How; see `Fit`.

    Returns:
        The image, mode RGB. The borders of "pad" have the mean of the picture, which changes the
        mean of no channel, as black would: BatchNorm and the colours of the maps depend on it.
    """
    height, width = size
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.BICUBIC)
    inner = whole_within((image.height, image.width), size)
    whole = image.resize(inner[::-1], Image.Resampling.BICUBIC)
    mean = tuple(round(value) for value in ImageStat.Stat(whole).mean)
    canvas = Image.new("RGB", (width, height), mean)
    canvas.paste(whole, ((width - inner[1]) // 2, (height - inner[0]) // 2))
    return canvas


def middle_of(picture: Size, size: Size) -> Size:
    """The size of the largest part of a picture that has the proportions of a size (pixels).

    >>> middle_of((600, 800), (224, 224))
    (600, 600)
    """
    (height, width), aspect = picture, size[1] / size[0]
    return (
        max(1, round(min(height, width / aspect))),
        max(1, round(min(width, height * aspect))),
    )


def whole_within(picture: Size, size: Size) -> Size:
    """The largest size with the proportions of a picture that lies within a size (pixels).

    >>> whole_within((600, 800), (224, 224))
    (168, 224)
    """
    scale = min(most / side for most, side in zip(size, picture, strict=True))
    height, width = (
        min(most, max(1, round(side * scale))) for most, side in zip(size, picture, strict=True)
    )
    return height, width


def in_proportion(picture: Size, size: Size) -> Size:
    """The size with the proportions of a picture whose shorter side is that of a size (pixels).

    No side is longer than MAX_SIDE. It is how torchvision's `Resize` takes a single number.

    >>> in_proportion((600, 800), (224, 256))
    (224, 299)
    """
    scale = min(min(size) / min(picture), MAX_SIDE / max(picture))
    height, width = (max(1, round(side * scale)) for side in picture)
    return height, width


def fit_words(picture: Size, size: Size, fit: Fit) -> str:
    """What is done to a picture to bring it to a size, after "it was"; empty for nothing.

    >>> fit_words((600, 512), (224, 224), "crop")
    'cropped to its middle 512×512 of 600×512 pixels, then resized to 224×224'
    >>> fit_words((600, 512), (224, 224), "pad")
    'resized from 600×512 to 224×191 pixels, then padded to 224×224 with its mean colour'
    """
    inner, part = whole_within(picture, size), middle_of(picture, size)
    was, becomes = _by(picture), _by(size)
    if fit == "crop" and part != picture:
        then = "" if part == size else f", then resized to {becomes}"
        return f"cropped to its middle {_by(part)} of {was} pixels{then}"
    if fit == "pad" and inner != size:
        padded = f"to {becomes} with its mean colour"
        if inner == picture:
            return f"padded from {was} pixels {padded}"
        return f"resized from {was} to {_by(inner)} pixels, then padded {padded}"
    if fit == "stretch" and inner != size:
        return f"stretched from {was} to {becomes} pixels, which changes its proportions"
    return "" if picture == size else f"resized from {was} to {becomes} pixels"


def _by(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
