"""Conversion of an image of any mode to RGB, block by block, so that it takes little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BLOCK_PIXELS = 2**20  # of a block, about
_GAP = 2.0  # how much larger than the result the picture is after averaging, as in `thumbnail`
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets an image upright by its EXIF orientation."""
_MODES = {
    "1": "Black and white",
    "L": "Greyscale",
    "P": "A palette",
    "LA": "Greyscale with transparency",
    "RGBA": "RGBA",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "LAB",
    "HSV": "HSV",
    "I": "32-bit greyscale",
    "F": "Floating-point greyscale",
    "I;16": "16-bit greyscale",
    "I;16B": "16-bit greyscale",
    "I;16L": "16-bit greyscale",
}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as its EXIF orientation says."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(
    image: Image.Image, whole: tuple[float, float], size: tuple[int, int]
) -> tuple[Image.Image, list[str]]:
    """Convert a loaded image to RGB, and make it smaller as `Image.thumbnail` would.

    Args:
        image: An image of any mode.
        whole: Width and height of what it shows (pixels of `image`, not rounded).
        size: Width and height of the result (pixels).

    Returns:
        The image over white, mode RGB; and a sentence for each conversion.
    """
    deep = image.mode.startswith(("I", "F"))
    limits = _limits(image) if deep else (0.0, 255.0)
    across = int(whole[0] / size[0] / _GAP) or 1
    down = int(whole[1] / size[1] / _GAP) or 1
    averaged = Image.new("RGB", (-(-image.width // across), -(-image.height // down)))
    transparent = False
    for left, top, block in _blocks(image, across, down):
        if deep:
            block = _to_8_bits(block, limits)
        if block.has_transparency_data:
            block = block.convert("RGBA")
            transparent = transparent or block.getchannel("A").getextrema()[0] != 255
            block = Image.alpha_composite(Image.new("RGBA", block.size, "white"), block)
        block = block.convert("RGB").reduce((across, down))
        averaged.paste(block, (left // across, top // down))
    notes = []
    if image.mode != "RGB":
        done = "scaled to 8 bits" if deep else "converted to RGB"
        notes.append(f"{_MODES.get(image.mode, image.mode)} was {done}.")
    if transparent:
        notes.append("Transparent parts were laid over white.")
    box = (0, 0, whole[0] / across, whole[1] / down)
    if averaged.size == size == box[2:]:
        return averaged, notes
    return averaged.resize(size, Image.Resampling.BICUBIC, box), notes


def _blocks(
    image: Image.Image, across: int = 1, down: int = 1
) -> Iterator[tuple[int, int, Image.Image]]:
    """Cut an image into blocks of whole groups of pixels: left, top, block."""
    width = across * max(1, min(image.width, _BLOCK_PIXELS) // across)
    height = down * max(1, min(image.height, _BLOCK_PIXELS // width) // down)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            corner = min(left + width, image.width), min(top + height, image.height)
            yield left, top, image.crop((left, top, *corner))


def _limits(image: Image.Image) -> tuple[float, float]:
    """The values that become 0 and 255: of 16 bits their range, of others the least and most."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    if image.mode == "I":
        low, high = map(float, image.getextrema())  # type: ignore[arg-type]  # of one channel
        return (0.0, 65535.0) if low >= 0 and high <= 65535 else (low, high)
    ends: list[float] = []
    for _, _, block in _blocks(image):
        values = np.asarray(block)
        finite = values[np.isfinite(values)]
        ends += [float(finite.min()), float(finite.max())] if finite.size else []
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _to_8_bits(image: Image.Image, limits: tuple[float, float]) -> Image.Image:
    """Scale grey values with more than 8 bits."""
    low, high = limits
    values: NDArray[Any] = np.asarray(image, dtype=np.float64)
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.nan_to_num(scaled).round().clip(0, 255).astype(np.uint8))
