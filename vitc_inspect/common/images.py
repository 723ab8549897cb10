"""Sample images, test patterns, and safe decoding of image files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.validation import nearest, unreadable_reason

FloatArray = NDArray[np.float32]

MAX_PIXELS = 50_000_000
"""Most pixels of a file that is decoded, checked from its header."""

SAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "photo": "Photograph: Grace Hopper",
        "impulse": "Single bright pixel",
        "checkerboard": "Checkerboard",
        "edges": "Edges",
        "ramp": "Coordinate ramp",
    }
)
"""Titles of the built-in images by name."""

PATTERNS = tuple(name for name in SAMPLES if name != "photo")
"""Names of the test patterns, which are drawn at the requested size."""

_CHECK_SIDE = 8  # pixels of one square of the checkerboard
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Accepted file formats: those with the image size in a header."""
_FORMAT_NAMES = "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000 or PPM"
_BROKEN_FILE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
)
"""What Pillow raises for a broken file."""


@dataclass(frozen=True)
class Picture:
    """A decoded image, and notes on its conversion."""

    image: Image.Image
    """The image, mode RGB."""
    notes: tuple[str, ...] = ()
    """One sentence for each conversion."""


@cache
def sample_picture() -> Picture:
    """The photograph that ships with matplotlib: Rear Admiral Grace Hopper, public domain.

    Source:
        matplotlib's sample data; James S. Davis, U.S. Navy, 1984.
    """
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return read_picture(path)


def read_picture(source: str | Path | bytes) -> Picture:
    """Decode an image file to RGB, with notes on its conversion.

    Args:
        source: A path, or the content of a file.

    Returns:
        The picture with its notes.

    Raises:
        SpecError: field "image", when there is no such file, it cannot be read, it is not an image,
            it is truncated, or it has more than MAX_PIXELS pixels.
    """
    name = "the upload"
    if not isinstance(source, bytes):
        _check_file(str(source))
        source = Path(source)
        name = source.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = BytesIO(source) if isinstance(source, bytes) else source
            image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise SpecError(
            "image", name, f"it has more than {MAX_PIXELS:,} pixels", "Use a smaller image", "photo"
        ) from None
    except _BROKEN_FILE:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        reason = f"it is no {_FORMAT_NAMES} image" if size else "the file is empty"
        raise SpecError("image", name, reason, "Use a PNG or JPEG file", "photo") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            reason = f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}"
            raise SpecError("image", name, reason, "Use a smaller image", "photo")
        try:
            return picture_of(image)
        except _BROKEN_FILE:
            raise SpecError(
                "image", name, "the file is cut short or damaged", "Use a whole file", "photo"
            ) from None


def picture_of(image: Image.Image) -> Picture:
    """Convert an open image to RGB, with notes on its conversion.

    Args:
        image: An image of any mode, decoded or not.
    """
    # before decoding, which rotates a TIFF and drops the tag
    sideways = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    tiles: Any = getattr(image, "tile", None)  # how the file stores its pixels; empty once loaded
    deep = bool(tiles) and "16" in str(tiles[0][3]) and not image.mode.startswith("I")
    image.load()
    turned = ImageOps.exif_transpose(image)
    notes = ["The image was turned upright as its EXIF data says."] if sideways else []
    notes += ["16 bits a channel were reduced to 8."] if deep else []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"The first of {frames} frames is shown.")
    if turned.mode.startswith(("I", "F")):
        notes.append(f"{_MODES.get(turned.mode, turned.mode)} was scaled to 8 bits.")
        turned = _to_8_bits(turned)
    elif turned.mode != "RGB":
        notes.append(f"{_MODES.get(turned.mode, turned.mode)} was converted to RGB.")
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        if np.asarray(layer)[..., 3].min() < 255:
            notes.append("Transparent parts were laid over white.")
    return Picture(turned.convert("RGB"), tuple(notes))


def _check_file(path: str) -> None:
    """Raise a SpecError unless a path is that of a readable file."""
    reason = unreadable_reason(path)
    if not reason:
        return
    use = nearest(path, SAMPLES, alike=0.6) or "photo"
    fix = f"Save the picture and use its path, or use {use}" if "://" in path else f"Use {use}"
    raise SpecError("image", path, reason, fix, use)


def image_array(
    picture: Picture | str, image_size: tuple[int, int], in_channels: int
) -> FloatArray:
    """Convert a picture or a test pattern to the input of a stem.

    Args:
        picture: A picture, which is cropped to the aspect of `image_size` and resized; or the
            name of a test pattern, drawn at that size.
        image_size: Height and width (pixels).
        in_channels: 1 gives luminance, 3 gives red, green, blue; any other number repeats
            red, green, blue in turn.

    Returns:
        (in_channels, height, width), from -1 to 1; a single bright pixel is 1 on 0.

    Raises:
        SpecError: field "image", when there is no pattern of that name.
    """
    if isinstance(picture, str):
        planes = _pattern(picture, image_size)
        return _cycle(planes, in_channels)
    height, width = image_size
    mode = "L" if in_channels == 1 else "RGB"
    fitted = ImageOps.fit(picture.image, (width, height), Image.Resampling.BICUBIC).convert(mode)
    pixels = np.asarray(fitted, dtype=np.float32).reshape(height, width, -1) / 127.5 - 1
    return _cycle(np.moveaxis(pixels, 2, 0), in_channels)  # (h, w, c) -> (c, h, w)


def crop_of(picture: Picture | str, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the size of the centre crop that `image_array` takes of a picture.

    Args:
        picture: As in `image_array`.
        image_size: Height and width after resizing (pixels).

    Returns:
        Height and width of the crop (pixels of the picture); None if it is the whole picture, and
        for a test pattern.

    >>> crop_of(Picture(Image.new("RGB", (800, 600))), (224, 224))
    (600, 600)
    """
    if isinstance(picture, str):
        return None
    width, height = picture.image.size
    aspect = image_size[1] / image_size[0]
    part = (
        max(1, round(min(height, width / aspect))),
        max(1, round(min(width, height * aspect))),
    )
    return None if part == (height, width) else part


def crop_sentence(picture: Picture | str, image_size: tuple[int, int]) -> str:
    """Describe the crop of a picture; empty if it is not cropped."""
    part = crop_of(picture, image_size)
    if part is None or isinstance(picture, str):
        return ""
    width, height = picture.image.size
    return (
        f"The image was cropped to its middle {part[0]}×{part[1]} of {height}×{width} pixels"
        " (height × width)."
    )


def to_image(array: FloatArray) -> Image.Image:
    """Convert an input of a stem to an image: the first three channels as RGB, or one as grey.

    Args:
        array: (channels, height, width), from -1 to 1.

    Returns:
        The picture, mode RGB.
    """
    planes = array[:3] if len(array) >= 3 else np.repeat(array[:1], 3, axis=0)
    pixels = np.clip((planes + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return Image.fromarray(np.moveaxis(pixels, 0, 2))


def _cycle(planes: FloatArray, count: int) -> FloatArray:
    """Repeat planes to `count` channels: (p, h, w) -> (count, h, w)."""
    cycled: FloatArray = np.ascontiguousarray(planes[np.arange(count) % len(planes)])
    return cycled


def _pattern(name: str, image_size: tuple[int, int]) -> FloatArray:
    """Draw a test pattern (channels, height, width)."""
    height, width = image_size
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    across = columns / max(1, width - 1)
    down = rows / max(1, height - 1)
    if name == "impulse":
        plane = np.zeros((height, width), np.float32)
        plane[height // 2, width // 2] = 1
        return plane[None]
    if name == "checkerboard":
        odd = (rows // _CHECK_SIDE + columns // _CHECK_SIDE) % 2
        return np.stack([2 * odd - 1]).astype(np.float32)
    if name == "edges":  # one per quarter: vertical, horizontal and two diagonal
        upright, level = across > 0.25, down > 0.25
        falling, rising = down - across > 0.5, across + down > 1.5
        left, top = across < 0.5, down < 0.5
        bright = np.where(top, np.where(left, upright, level), np.where(left, falling, rising))
        return np.where(bright, np.float32(1), np.float32(-1))[None]
    if name == "ramp":  # red is the row, green the column
        planes = np.zeros((3, height, width), np.float32)
        planes[0], planes[1] = 2 * down - 1, 2 * across - 1
        return planes
    raise SpecError("image", name, f"it is not one of {', '.join(PATTERNS)}", "Use ramp", "ramp")


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


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey values with more than 8 bits: 16-bit ones by 257, others by their range."""
    values = np.asarray(image, dtype=np.float64)
    low, high = (0.0, 65535.0) if image.mode != "F" and _is_16_bit(values) else _range(values)
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.nan_to_num(scaled).round().clip(0, 255).astype(np.uint8))


def _is_16_bit(values: NDArray[Any]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 65535)


def _range(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
