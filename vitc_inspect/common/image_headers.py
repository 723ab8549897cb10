"""What the header of an image file says of the memory that decoding it takes, before it is decoded.

Pillow looks at the number of pixels alone. What its decoders hold beside them, and the values that
a TIFF or EXIF directory lists, is worked out here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from PIL import ExifTags, Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

MAX_FRAMES = 1000
"""Most frames that are counted where a file must be read to the end for it."""
_HEAD = 16 * 2**20  # bytes of a file that are searched
_LISTED_BYTES = 32 * 2**20  # most that the values of one directory may take
_LISTS_TOO_MUCH = "its EXIF data or TIFF tags list more than the file holds"
_MOST_SCANS = 500  # of a JPEG; a progressive one has about ten
_MOST_COMMENT = 2**20  # bytes
_COUNTED_BYTES = 512 * 2**20  # most that is read to count frames
_LISTED_NUMBERS = 500_000  # most numbers of one directory: Pillow makes an object of each
_LISTED_FRACTIONS = 10_000  # likewise, of larger objects
_VALUE_BYTES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16), 8),
}
"""Size of a value by its TIFF type (bytes)."""
_NUMBERS = frozenset(_VALUE_BYTES) - {1, 2, 7}  # of the others Pillow makes one object
_FRACTIONS = (5, 10)
_ENTRY_BYTES = 500  # of an entry in Pillow, beside its value
_TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
_EXIF_SEGMENT = re.compile(rb"\xff\xe1(..)Exif\0\0", re.DOTALL)
_ADDRESS_BYTES = 8  # of a row: Pillow keeps the address of each
_ROW_BYTES = 16  # of a pixel of one row: this row and the last, of 16 bits with transparency
_WEBP_BYTES = 16  # of a pixel: two canvases, the frame as bytes, Pillow's image; measured
_AVIF_BYTES = 13  # of a pixel: planes of 16 bits, the frame as bytes, Pillow's image
_ALPHA_BYTES = 7  # of a pixel of AVIF with transparency, beside the above
_SAMPLE_BYTES = 5  # of a sample of JPEG 2000: OpenJPEG's 32 bits, and 8 bits of a tile
_SKIPPED_ROWS = 255  # by one code of a BMP's run-length encoding; Pillow fills them
_START_OF_TILE, _COD, _COC = 0x90, 0x52, 0x53  # markers of JPEG 2000
_TILE_WIDTH, _TILE_LENGTH, _ROWS_PER_STRIP = 322, 323, 278  # tags of TIFF
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL = 258, 277


class ExcessError(ValueError):
    """A file that asks for far more memory or time than its picture needs; the message is why."""


def check_content(content: Any) -> None:
    """Refuse a file that would take much memory or time to be opened, before it is opened.

    A TIFF or EXIF directory may list far more than the file holds, because its entries may share
    their bytes and Pillow copies them for each. Pillow joins the parts of a GIF's comment one by
    one, and libjpeg goes through the whole picture for each scan of a JPEG.

    Args:
        content: The content of the file: bytes, or a file that is mapped to memory.

    Raises:
        ExcessError: saying what is too much.
    """
    head = content[:_HEAD]
    if head[:2] in (b"II", b"MM"):
        next(_directories(content, 0), 0)
    elif head[:2] == b"\xff\xd8":
        found = _EXIF_SEGMENT.finditer(head)  # which Pillow joins
        ends = ((each.end(), each.start() + 2 + int.from_bytes(each[1])) for each in found)
        check_exif(b"".join(head[start:end] for start, end in ends))
        scans = head.count(b"\xff\xda")
        if scans > _MOST_SCANS:
            raise ExcessError(f"its {scans:,} scans are more than {_MOST_SCANS:,}")
    elif head[:4] == b"GIF8":
        for match in re.finditer(b"!\xfe", head):
            if _blocks_end(head, match.end()) - match.end() > _MOST_COMMENT:
                raise ExcessError(f"it has a comment of more than {_MOST_COMMENT:,} bytes")
    elif head[4:8] == b"ftyp":  # the EXIF data of an AVIF may stand anywhere
        check_exif(head)


def _blocks_end(content: bytes, at: int) -> int:
    """Where a GIF's blocks end, or where they are too long for a comment."""
    last = min(len(content), at + 2 * _MOST_COMMENT)
    while at < last and content[at]:
        at += 1 + content[at]
    return at


def check_exif(exif: bytes) -> None:
    """Refuse EXIF data, as `check_content` does a file."""
    listed = 0
    for match in _TIFF.finditer(exif):
        listed += next(_directories(exif, match.start()), 0)
        if listed > _LISTED_BYTES:
            raise ExcessError(_LISTS_TOO_MUCH)


def _directories(content: Any, start: int) -> Iterator[int]:
    """The bytes that each directory of a TIFF's chain takes when Pillow reads it.

    Raises:
        ExcessError: when these are more than any camera or scanner writes.
    """
    order = "<" if content[start : start + 2] == b"II" else ">"
    big = b"+" in content[start + 2 : start + 4]
    address, length, fields = ("Q", "Q", "HHQ8x") if big else ("L", "H", "HHL4x")
    entry = struct.Struct(order + fields)
    at = _number(order + address, content, start + (8 if big else 4))
    seen = set()
    while at and at not in seen:
        seen.add(at)
        first = start + at + struct.calcsize(length)
        end = first + entry.size * _number(order + length, content, start + at)
        table = content[first:end]
        listed = list(entry.iter_unpack(table[: len(table) // entry.size * entry.size]))
        # of a value that goes beyond the file nothing is read
        sizes = (min(count * _VALUE_BYTES.get(kind, 0), len(content)) for _, kind, count in listed)
        size = sum(sizes) + _ENTRY_BYTES * len(listed)
        numbers = sum(count for _, kind, count in listed if kind in _NUMBERS)
        fractions = sum(count for _, kind, count in listed if kind in _FRACTIONS)
        if size > _LISTED_BYTES or numbers > _LISTED_NUMBERS or fractions > _LISTED_FRACTIONS:
            raise ExcessError(_LISTS_TOO_MUCH)
        yield size
        at = _number(order + address, content, end)


def _number(form: str, content: Any, at: int) -> int:
    """The number at a place of a file; 0 beyond its end."""
    part = content[at : at + struct.calcsize(form)]
    return int(struct.unpack(form, part)[0]) if len(part) == struct.calcsize(form) else 0


def has_many_frames(image: Image.Image, content: Any) -> bool:
    """Whether counting the frames of a file may take seconds, since it is read to the end."""
    if image.format == "GIF":  # a comma begins a frame, after a block that ends with 0
        return bool(content[:_HEAD].count(b"\0,") > MAX_FRAMES)
    if image.format != "TIFF":
        return False
    sizes = list(islice(_directories(content, 0), MAX_FRAMES + 1))
    return len(sizes) > MAX_FRAMES or sum(sizes) > _COUNTED_BYTES


def reduced(image: Image.Image, content: Any, longest: int) -> tuple[float, float]:
    """Have an image decoded smaller, where its format can, and both sides stay twice too large.

    Args:
        image: The image, opened and not loaded.
        content: The content of its file.
        longest: Longest side that is needed (pixels).

    Returns:
        Width and height of the whole picture once it is loaded (pixels), not rounded.
    """
    width, height = image.size
    share = 2 * longest / max(width, height)
    if share >= 1:
        return width, height
    if image.format in ("JPEG", "MPO"):
        wanted = max(1, int(share * width)), max(1, int(share * height))
        drafted = image.draft(None, wanted)
        return drafted[1][2:] if drafted else image.size
    if isinstance(image, Jpeg2KImageFile):
        halvings = min(int(1 / share).bit_length() - 1, _Codestream.read(content).halvings)
        image.reduce = halvings
        return width / 2**halvings, height / 2**halvings
    return width, height


def decoded_bytes(image: Image.Image, content: Any, stored: tuple[int, int]) -> int:
    """Estimate the most memory that decoding takes, from what the file's header says.

    Args:
        image: The image, opened and not loaded.
        content: The content of its file.
        stored: Width and height in the file, of which `reduced` may have made less (pixels).

    Returns:
        Memory of the decoder and of Pillow's image (bytes).
    """
    width, height = image.size
    pixels = width * height
    buffer = buffer_bytes(image.mode, width, height) + _ROW_BYTES * width
    if image.format in ("JPEG", "MPO"):
        return buffer + _coefficient_bytes(image, stored)
    if image.format == "WEBP":
        return max(buffer, _WEBP_BYTES * pixels)
    if image.format == "AVIF":
        return buffer + pixels * (_AVIF_BYTES + _ALPHA_BYTES * (image.mode == "RGBA"))
    if image.format == "TIFF":
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1  # while it is decoded
        return int(buffer * (1 + turned) + _chunk_bytes(image))
    if image.format == "BMP" and "rle" in str(getattr(image, "tile", "")):
        return buffer + 2 * pixels + _SKIPPED_ROWS * width
    if isinstance(image, Jpeg2KImageFile):
        halvings = image.reduce if isinstance(image.reduce, int) else 0  # else it is a method
        return _Codestream.read(content).decoded_bytes(image.mode, halvings)
    return buffer


def buffer_bytes(mode: str, width: int, height: int) -> int:
    """Memory of an image in Pillow (bytes)."""
    pixel = 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4
    return height * (max(4, width * pixel) + _ADDRESS_BYTES)


def _coefficient_bytes(image: Image.Image, stored: tuple[int, int]) -> int:
    """Memory of a JPEG's coefficients (bytes), which libjpeg holds if there are several scans.

    Whether a file that is not progressive has several is known when it is decoded.
    """
    layers = getattr(image, "layer", [])  # of each component: its number, sampling across and down
    across = max((layer[1] for layer in layers), default=1)
    down = max((layer[2] for layer in layers), default=1)
    share = sum(layer[1] * layer[2] for layer in layers) / max(1, across * down)
    width, height = stored
    return int(2 * share * (width + 32) * (height + 32))


def _chunk_bytes(image: Image.Image) -> int:
    """Memory of one strip or tile of a TIFF, which may be larger than the image (bytes)."""
    tags = getattr(image, "tag_v2", {})
    if "raw" in str(getattr(image, "tile", "")[:1]):
        return 0
    width, height = image.size
    across = tags.get(_TILE_WIDTH)
    down = tags.get(_TILE_LENGTH) if across else min(height, tags.get(_ROWS_PER_STRIP, height))
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,))) * int(tags.get(_SAMPLES_PER_PIXEL, 1))
    return int(across or width) * int(down or height) * int(max(4, bits // 8))


@dataclass(frozen=True)
class _Codestream:
    """What the header of a JPEG 2000 codestream says; that of the file around it may say less."""

    width: int
    height: int
    tile: tuple[int, int]  # width and height (pixels)
    components: int
    halvings: int  # how often it can be decoded at half the size

    @classmethod
    def read(cls, content: Any) -> _Codestream:
        """Read the markers SIZ, COD and COC (ISO/IEC 15444-1, A.5 and A.6).

        Raises:
            ValueError: when there are none.
        """
        head = content[:_HEAD]
        at = head.find(b"\xff\x4f\xff\x51") + 2
        if at < 2:
            raise ValueError("there is no codestream")
        right, bottom, left, top, *tile = struct.unpack_from(">6L", head, at + 6)
        (components,) = struct.unpack_from(">H", head, at + 38)
        halvings = []
        while head[at : at + 1] == b"\xff" and head[at + 1] != _START_OF_TILE:
            if head[at + 1] == _COD:
                halvings.append(head[at + 9])
            if head[at + 1] == _COC:
                halvings.append(head[at + (6 if components < 257 else 7)])
            at += 2 + int.from_bytes(head[at + 2 : at + 4])
        width, height = right - left, bottom - top
        size = min(tile[0], width), min(tile[1], height)
        return cls(width, height, size, components, min(halvings, default=0))

    def decoded_bytes(self, mode: str, halvings: int) -> int:
        """Memory of the decoder, and of the image (bytes)."""
        buffer = buffer_bytes(mode, self.width >> halvings, self.height >> halvings)
        samples = self.tile[0] * self.tile[1] * self.components >> 2 * halvings
        return buffer + _SAMPLE_BYTES * samples
