"""Sample images, test patterns, and safe decoding of image files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.fitting import Fit, fit_words, fitted
from vitc_inspect.common.image_conversion import to_rgb, upright
from vitc_inspect.common.image_headers import (
    MAX_FRAMES,
    ExcessError,
    buffer_bytes,
    check_content,
    check_exif,
    decoded_bytes,
    has_many_frames,
    reduced,
)
from vitc_inspect.common.validation import nearest, unreadable_reason

FloatArray = NDArray[np.float32]

MAX_PIXELS = 50_000_000
"""Most pixels of a file that is decoded, checked from its header."""
MAX_BYTES = 512 * 2**20
"""Most memory to decode a picture that is reduced, estimated from its header (bytes).

It is enough for 24 million pixels of every format, and for MAX_PIXELS of PNG and JPEG. Twice as
much may be taken for a picture that is not reduced.
"""
KEPT_SIDE = 1024
"""Longest side to which `decode` reduces a picture (pixels)."""

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
_OPENED = "the upload"  # where only the content of a file is known
_SAVE_ANEW = "Save it as a PNG or JPEG file"
_USE_A_PNG = "Use a PNG or JPEG file"
_BESIDE_BYTES = 256 * 2**20  # of EXIF data, of the picture and of threads, beside the decoder
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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width (pixels)."""
        return self.image.height, self.image.width


@cache
def sample_picture() -> Picture:
    """The photograph that ships with matplotlib: Rear Admiral Grace Hopper, public domain.

    Source:
        matplotlib's sample data; James S. Davis, U.S. Navy, 1984.
    """
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return read_picture(path)


def read_picture(source: str | Path | bytes, *, longest: int | None = None) -> Picture:
    """Decode an image file to RGB, with notes on its conversion.

    Args:
        source: A path, or the content of a file.
        longest: Longest side of the picture (pixels); a larger one is reduced while it is decoded,
            which takes less memory. None keeps every pixel.

    Returns:
        The picture with its notes.

    Raises:
        SpecError: field "image", when there is no such file, it cannot be read, it is not an image,
            it is truncated, it has more than MAX_PIXELS pixels, or decoding it would take more
            memory than MAX_BYTES, or than there is.
    """
    if isinstance(source, bytes):
        return _read(BytesIO(source), source, _OPENED, longest)
    _check_file(str(source))
    path = Path(source)
    if not path.stat().st_size:
        raise SpecError("image", path.name, "the file is empty", _USE_A_PNG, "photo")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return _read(file, content, path.name, longest)


def decode(data: bytes) -> Picture:
    """Decode an image file to a picture of at most KEPT_SIDE pixels on its longer side.

    Raises:
        SpecError: As `read_picture`.
    """
    return read_picture(data, longest=KEPT_SIDE)


def decode_alone(data: bytes) -> Picture:
    """Decode as `decode` does, in a process that does nothing else: with a limit of its memory.

    The limit ends what the header did not say. It holds for the whole process while this runs.

    Raises:
        SpecError: As `read_picture`.
    """
    with memory_limit(MAX_BYTES + _BESIDE_BYTES):
        return decode(data)


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process take some bytes more in a block, and raise MemoryError beyond (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    import resource  # which Windows does not have

    (used,) = (int(line.split()[1]) for line in status.read_text().splitlines() if "VmData" in line)
    before, highest = resource.getrlimit(resource.RLIMIT_DATA)
    limit = 1024 * used + more
    ends = [end for end in (limit, before, highest) if end != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(ends), highest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, highest))


def _read(file: BinaryIO, content: bytes | mmap, name: str, longest: int | None) -> Picture:
    """Decode an open file, whose content is also at hand without moving in it."""

    def refused(reason: str, fix: str) -> SpecError:
        return SpecError("image", name, reason, fix, "photo")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_content(content)
            image = Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError:
            reason = f"it has more than {MAX_PIXELS:,} pixels"
            raise refused(reason, "Use a smaller image") from None
        except MemoryError:
            raise refused("there is too little memory to open it", "Use a smaller image") from None
        except ExcessError as error:
            raise refused(str(error), _SAVE_ANEW) from None
        except _BROKEN_FILE:
            reason = f"it is no {_FORMAT_NAMES} image" if len(content) else "the file is empty"
            raise refused(reason, _USE_A_PNG) from None
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                reason = f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}"
                raise refused(reason, "Use a smaller image")
            try:
                return _decoded(image, content, longest, refused)
            except SpecError:
                raise
            except ExcessError as error:
                raise refused(str(error), _SAVE_ANEW) from None
            except MemoryError:
                reason = f"there is too little memory to decode its {width:,} x {height:,} pixels"
                raise refused(reason, "Use a smaller image") from None
            except _BROKEN_FILE:
                raise refused("the file is cut short or damaged", "Use a whole file") from None


def _decoded(
    image: Image.Image,
    content: bytes | mmap,
    longest: int | None,
    refused: Callable[[str, str], SpecError],
) -> Picture:
    """Decode an image that was opened, unless that would take too much memory."""
    stored = image.size
    many = has_many_frames(image, content)
    whole = reduced(image, content, longest) if longest else stored
    size = _fitted(stored, longest) if longest else stored
    need = decoded_bytes(image, content, stored)
    budget = MAX_BYTES
    if not longest:
        need += buffer_bytes("RGB", *stored)
        budget *= 2
    if need > budget:
        reason = (
            f"decoding its {stored[0]:,} x {stored[1]:,} pixels takes about {need >> 20:,} MiB of"
            f" memory, and {budget >> 20:,} MiB is the most"
        )
        small = image.format in ("PNG", "JPEG", "GIF", "PPM")
        raise refused(reason, "Use a smaller image" if small else _SAVE_ANEW)
    picture = _converted(image, whole, size, many)
    if size == stored:
        return picture
    note = f"It was reduced to {longest} pixels on its longer side."
    return Picture(picture.image, (*picture.notes, note))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image: 2 to 8 where it is to be turned, else 1."""
    if image.format == "PNG":
        image.load()  # its EXIF data may stand behind its pixels
    exif = image.info.get("exif", b"")
    text = image.info.get("Raw profile type exif")
    if not exif and isinstance(text, str):
        exif = bytes.fromhex("".join(text.split("\n")[3:]))
    check_exif(exif)
    value: Any = image.getexif().get(ExifTags.Base.Orientation)
    return int(value) if value in range(2, 9) else 1


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height of a picture that fits in a square, as `Image.thumbnail` rounds them."""
    if max(size) <= longest:
        return size
    aspect = max(size) / min(size)
    exact = longest / aspect
    short = max(
        1, min(int(exact), ceil(exact), key=lambda n: abs(aspect - longest / n) if n else 0)
    )
    return (longest, short) if size[0] >= size[1] else (short, longest)


def picture_of(image: Image.Image) -> Picture:
    """Convert an open image to RGB, with notes on its conversion.

    Args:
        image: An image of any mode, decoded or not.
    """
    return _converted(image, image.size, image.size, False)


def _converted(
    image: Image.Image, whole: tuple[float, float], size: tuple[int, int], many_frames: bool
) -> Picture:
    """Decode and convert an image, with notes.

    Args:
        image: An image of any mode, decoded or not.
        whole: Width and height of the picture once it is decoded (pixels, not rounded).
        size: Width and height of the result before it is turned upright (pixels).
        many_frames: Whether there are too many frames to count them.
    """
    tiles: Any = getattr(image, "tile", None)  # how the file stores its pixels; empty once loaded
    deep = bool(tiles) and "16" in str(tiles[0][3]) and not image.mode.startswith("I")
    # before decoding, which turns a TIFF and drops the tag
    sideways = _orientation(image) != 1
    image.load()
    if image.format == "TIFF" and image.size != whole:
        whole, size = whole[::-1], size[::-1]
    notes = ["The image was turned upright as its EXIF data says."] if sideways else []
    notes += ["16 bits a channel were reduced to 8."] if deep else []
    frames = 1 if many_frames else getattr(image, "n_frames", 1)
    if many_frames:
        notes.append(f"The first of more than {MAX_FRAMES:,} frames is shown.")
    if frames > 1:
        notes.append(f"The first of {frames} frames is shown.")
    converted, said = to_rgb(image, whole, size)
    return Picture(upright(converted, _orientation(image)), (*notes, *said))


def _check_file(path: str) -> None:
    """Raise a SpecError unless a path is that of a readable file."""
    reason = unreadable_reason(path)
    if not reason:
        return
    use = nearest(path, SAMPLES, alike=0.6) or "photo"
    fix = f"Save the picture and use its path, or use {use}" if "://" in path else f"Use {use}"
    raise SpecError("image", path, reason, fix, use)


def image_array(
    picture: Picture | str, image_size: tuple[int, int], in_channels: int, fit: Fit = "crop"
) -> FloatArray:
    """Convert a picture or a test pattern to the input of a stem.

    Args:
        picture: A picture, or the name of a test pattern, which is drawn at that size.
        image_size: Height and width (pixels).
        in_channels: 1 gives luminance, 3 gives red, green, blue; any other number repeats
            red, green, blue in turn.
        fit: How a picture is brought to that size; see `fitting.Fit`.

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
    image = fitted(picture.image, image_size, fit).convert(mode)
    pixels = np.asarray(image, dtype=np.float32).reshape(height, width, -1) / 127.5 - 1
    return _cycle(np.moveaxis(pixels, 2, 0), in_channels)  # (h, w, c) -> (c, h, w)


def fit_sentence(picture: Picture | str, image_size: tuple[int, int], fit: Fit = "crop") -> str:
    """Say what `image_array` does to a picture; empty for nothing, and for a test pattern.

    >>> fit_sentence(Picture(Image.new("RGB", (512, 600))), (512, 512))
    'The image was cropped to its middle 512×512 of 600×512 pixels (height × width).'
    """
    words = "" if isinstance(picture, str) else fit_words(picture.size, image_size, fit)
    return f"The image was {words} (height × width)." if words else ""


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
