"""Small pictures of known colours, and their files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The content of an image file."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(*rows: tuple[tuple[int, ...], ...]) -> Image.Image:
    """An image from its pixels."""
    return Image.fromarray(np.array(rows, dtype=np.uint8))


PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_of(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 0,
    interlaced: bool = False,
    rest: bytes = b"",
) -> bytes:
    """A PNG that says it has this size, whatever its other chunks; colour 0 is grey, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (rest or chunk(b"IDAT", b""))
