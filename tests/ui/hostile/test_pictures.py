"""Pictures that are none, damaged, or far larger than their files, opened in a running app."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib
from base64 import b64encode
from typing import Any

import pytest
from PIL import Image

from tests.common.bombs import BOMBS, END
from tests.common.pictures import chunk, encoded, png_of
from tests.ui.hostile.client import MARK, Client, resident, sentence_of
from tests.ui.hostile.ordinary import still_right

GOOD = encoded(Image.new("RGB", (64, 64), (0, 90, 0)))
JPEG = encoded(Image.new("RGB", (64, 64), (0, 90, 0)), "JPEG")


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", content)
    return file.getvalue()


def damaged(content: bytes, seed: int) -> bytes:
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(20):
        changed[rng.randrange(8, len(changed))] = rng.randrange(256)
    return bytes(changed)


def webp_of(size: int) -> bytes:
    content = bytearray(encoded(Image.new("RGB", (64, 64)), "WEBP"))
    struct.pack_into("<I", content, 4, size)
    return bytes(content)


FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "one byte": (b"\x89", "it is no PNG"),
    "NUL bytes": (bytes(100_000), "it is no PNG"),
    "text": (b"hello " * 1000, "it is no PNG"),
    "HTML": (MARK.encode() * 100, "it is no PNG"),
    "an SVG with a script": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "no PNG"),
    "an SVG of entities": (b'<!DOCTYPE a [<!ENTITY b "c">]><svg>&b;</svg>', "it is no PNG"),
    "a PDF": (b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>", "it is no PNG"),
    "PostScript that runs a program": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "no PNG",
    ),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(200), "it is no PNG"),
    "a pickle": (b"\x80\x04cposix\nsystem\n(S'true'\ntR.", "it is no PNG"),
    "an archive": (zipped(GOOD), "it is no PNG"),
    "a compressed picture": (gzip.compress(GOOD), "it is no PNG"),
    "a video": (b"\0\0\0\x18ftypmp42" + bytes(200), "it is no PNG"),
    "a start alone": (GOOD[:8], "it is no PNG"),
    "a header alone": (png_of(8, 8, rest=END), "cut short or damaged"),
    "half of a PNG": (encoded(Image.effect_noise((64, 64), 50))[:1500], "cut short or damaged"),
    "half of a JPEG": (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], "cut short"),
    "a wrong sum": (GOOD.replace(b"IDAT", b"IDAT")[:-16] + bytes(16), ""),
    "no pixels at all": (png_of(0, 0), "it is no PNG"),
    "4 billion pixels": (png_of(65_535, 65_535), "pixels"),
    "a negative size": (png_of(2**32 - 1, 2**32 - 1), "pixels"),
    "a bit depth of 255": (png_of(8, 8, bits=255), "it is no PNG"),
    "a colour of no kind": (png_of(8, 8, colour=9), "it is no PNG"),
    "a chunk of 4 GiB": (GOOD[:33] + b"\xff\xff\xff\xffIDAT" + GOOD[41:], ""),
    "a thousand chunks": (png_of(8, 8, rest=chunk(b"tEXt", b"a\0b") * 1000 + END), "cut short"),
    "a text that unpacks to 100 MB": (
        png_of(8, 8, rest=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9)) + END),
        "",
    ),
    "pixels that unpack to 100 MB": (
        png_of(8, 8, rest=chunk(b"IDAT", zlib.compress(bytes(10**8), 9)) + END),
        "",
    ),
    "7000 × 7000 with transparency": (
        png_of(7000, 7000, colour=6, rest=chunk(b"IDAT", zlib.compress(bytes(10**6))) + END),
        "cut short or damaged",
    ),
    "two pictures": (GOOD + JPEG, ""),
    "a picture and a program": (GOOD + b"#!/bin/sh\nreboot\n" * 1000, ""),
    "a JPEG of no size": (JPEG.replace(b"\0\x40\0\x40", b"\0\0\0\0", 1), ""),
    "a JPEG of the most size": (JPEG.replace(b"\0\x40\0\x40", b"\xff\xff\xff\xff", 1), "pixels"),
    "a GIF of no frame": (b"GIF89a" + bytes(7) + b";", ""),
    "a WebP of another length": (webp_of(2**32 - 1), ""),
    "a TIFF that leads to itself": (b"II*\0" + struct.pack("<LHL", 8, 0, 8), "no PNG"),
    "a TIFF beyond its end": (b"II*\0" + struct.pack("<L", 2**32 - 1), "it is no PNG"),
    "a BMP of a negative height": (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 8, -(2**31), 1, 24, *[0] * 6),
        "",
    ),
    "damaged PNG 1": (damaged(GOOD, 1), ""),
    "damaged PNG 2": (damaged(GOOD, 2), ""),
    "damaged JPEG 1": (damaged(JPEG, 1), ""),
    "damaged JPEG 2": (damaged(JPEG, 2), ""),
    **{f"bomb: {name}": bomb for name, bomb in BOMBS.items()},
}
"""By what they are, files, and a part of the sentence about each; empty for any, or none."""


def address(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


def opens(stems: Client) -> None:
    """Check that a picture is opened, and that a stem runs on it."""
    answer = stems.call("open_picture", {"data": address(GOOD)})
    assert answer["key"].startswith("upload-"), answer
    still_right(stems, image=answer["key"])


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES)
def test_a_file(stems: Client, content: bytes, said: str) -> None:
    answer = stems.call("open_picture", {"data": address(content)})
    assert "error" in answer or said == ""
    assert "error" not in answer or said in sentence_of(answer)
    opens(stems)


DATA: dict[str, tuple[Any, str]] = {
    "nothing": (None, "the file is empty"),
    "a number": (12345, "it is no base64"),
    "a list": ([1, 2, 3], "it is no base64"),
    "an object": ({"path": "/etc/passwd", "url": "file:///etc/passwd"}, "it is no base64"),
    "a path": ("/etc/passwd", "it is no"),
    "an address": ("http://169.254.169.254/latest/meta-data", "it is no base64"),
    "a file's address": ("file:///etc/passwd", "it is no base64"),
    "an address of data without any": ("data:", "the file is empty"),
    "data without a comma": ("data:image/png;base64", "the file is empty"),
    "a text as data": ("data:text/html,<script>alert(1)</script>", "it is no base64"),
    "signs beside base64": (address(GOOD).replace("A", "\n"), "it is no base64"),
    "half of a character": ("\ud800", "it is no base64"),
    "base64 for addresses": (b64encode(b"\xff" * 30).decode().replace("/", "_"), "it is no base64"),
    "base64 cut short": (address(GOOD)[:-3], "it is no base64"),
    "8 MiB and one byte": (b64encode(bytes(8 * 2**20 + 1)).decode(), "8,388,609 bytes"),
    "8 MiB of NUL bytes": (b64encode(bytes(8 * 2**20)).decode(), "it is no PNG"),
    "HTML": (MARK, "it is no base64"),
}


@pytest.mark.parametrize(("data", "said"), DATA.values(), ids=DATA)
def test_what_is_no_file(stems: Client, data: Any, said: str) -> None:
    assert said in sentence_of(stems.call("open_picture", {"data": data}))
    opens(stems)


def test_many_pictures_take_no_more_than_their_cache(stems: Client) -> None:
    """Forty of 7 MB each once they are decoded; the cache has 64 MiB."""
    before = resident(stems.app.pid)
    for number in range(40):
        picture = encoded(Image.new("RGB", (1500, 1500), (number, 0, 0)), "GIF")
        assert "error" not in stems.call("open_picture", {"data": address(picture)})
    assert resident(stems.app.pid) - before < 200
    opens(stems)
