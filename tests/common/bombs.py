"""Files whose decoding would take too much memory or time, by what they are, and why not."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.common.pictures import chunk, encoded, png_of

LISTS = "its EXIF data or TIFF tags list more than the file holds"
PIXELS = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
END = chunk(b"IEND", b"")
BASE = (
    *((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
    *((273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)),
)
"""The tags of a TIFF of 8 × 8 pixels."""


def tiff(*entries: tuple[int, int, int, int], rest: bytes = b"") -> bytes:
    """A TIFF of one directory: tag, type, count and value or place of each entry."""
    listed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<LH", 8, len(entries))
    return head + listed + bytes(4) + rest


SHARED = tiff(
    *BASE,
    *((1000 + number, 7, 100_000, 100) for number in range(5000)),
    rest=bytes(100_000),
)
"""Five thousand tags of the same 100 kB: half a gigabyte."""


TILED = tiff(
    *(*BASE[:3], (259, 3, 1, 8), BASE[4]),
    *((322, 4, 1, 20_000), (323, 4, 1, 20_000), (324, 4, 1, 8), (325, 4, 1, 9)),
)
"""A compressed TIFF of 8 × 8 pixels in a tile of 20,000 × 20,000."""


def jpeg_with(exif: bytes) -> bytes:
    content = encoded(Image.new("L", (8, 8)), "JPEG")
    parts = [b"Exif\0\0" + exif[at : at + 60_000] for at in range(0, len(exif), 60_000)]
    segments = [b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts]
    return content[:2] + b"".join(segments) + content[2:]


def jpeg_of_scans(count: int) -> bytes:
    content = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def bmp_of_runs(width: int) -> bytes:
    sizes = (40, width, 1, 1, 8, 1, 0, 0, 0, 256, 0)
    head = (
        b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + struct.pack("<IiiHHIIiiII", *sizes)
    )
    return head + bytes(1024) + b"\0\2\0\xff" * 10 + b"\0\1"  # each skips 255 rows


def jpeg_2000_of(side: int) -> bytes:
    """A file of 64 x 64 pixels by its first header, and of more by that of its codestream."""
    content = bytearray(encoded(Image.new("RGB", (64, 64)), "JPEG2000"))
    at = content.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">2L", content, at + 8, side, side)
    struct.pack_into(">2L", content, at + 24, side, side)
    return bytes(content)


GIF = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2D\1\0"
RAW_PROFILE = b"Raw profile type exif\0\nexif\n  1\n" + SHARED.hex().encode()

_NAMES = (
    *("TIFF tags", "TIFF fractions", "EXIF of a JPEG", "EXIF of a PNG", "EXIF behind pixels"),
    *("EXIF as text", "EXIF of a WebP", "EXIF of an AVIF", "scans", "comment", "BMP runs"),
    *("JPEG 2000 of two sizes", "TIFF tile", "one column", "one row", "WebP", "no pixels"),
    *("no columns", "profile"),
)
_FILES = (
    (SHARED, LISTS),
    (tiff(*BASE, (282, 5, 100_000, 200), rest=bytes(800_000)), LISTS),
    (jpeg_with(SHARED), LISTS),
    (png_of(8, 8, bits=8, rest=chunk(b"eXIf", SHARED) + PIXELS + END), LISTS),
    (png_of(8, 8, bits=8, rest=PIXELS + chunk(b"eXIf", SHARED) + END), LISTS),
    (png_of(8, 8, bits=8, rest=chunk(b"tEXt", RAW_PROFILE) + PIXELS + END), LISTS),
    (encoded(Image.new("RGB", (8, 8)), "WEBP", exif=b"Exif\0\0" + SHARED), LISTS),
    (encoded(Image.new("RGB", (64, 64)), "AVIF", exif=SHARED), LISTS),
    (jpeg_of_scans(1000), "scans are more than 500"),
    (GIF + b"!\xfe" + (b"\xff" + bytes(255)) * 5000 + b"\0" + FRAME + b";", "it has a comment"),
    (bmp_of_runs(50_000_000), "decoding its 50,000,000 x 1 pixels takes about"),
    (jpeg_2000_of(60_000), "MiB of memory, and 512 MiB is the most"),
    (
        TILED,
        "takes about 1,525 MiB of memory, and 512 MiB is the most",  # 4 · 20,000² bytes
    ),
    (png_of(1, 50_000_000, bits=8), "takes about 572 MiB"),  # (4 + 8) · 50,000,000 bytes
    (png_of(50_000_000, 1, bits=8, colour=6), "MiB is the most"),
    (encoded(Image.new("RGB", (7000, 7000)), "WEBP", method=0), "takes about 747 MiB"),
    (png_of(0, 0, bits=8, rest=PIXELS + END), "it is no PNG"),
    (png_of(0, 8, bits=8, rest=PIXELS + END), ""),
    (
        png_of(8, 8, bits=8, rest=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7)))),
        "it is no PNG",
    ),
)
BOMBS = dict(zip(_NAMES, _FILES, strict=True))
"""By what they are, files, and a part of the reason why each is refused."""
