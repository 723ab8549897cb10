"""Memory that decoding a picture takes, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.common.pictures import chunk, encoded, png_of

SIDE = 5000
MOST = 256
"""MiB beside the process before: of 25 million pixels, whose RGBA alone takes 95."""

PROGRAM = """
import json, resource, sys
from pathlib import Path
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import decode_alone
from PIL import Image

def peak():  # of this program alone: ru_maxrss also counts what its parent held when it started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10

Image.init()
data = Path(sys.argv[1]).read_bytes()
before = peak()
try:
    said = list(decode_alone(data).image.size)
except SpecError as error:
    said = str(error)
print(json.dumps([said, peak() - before]))
"""


def decoded(content: bytes, folder: Path) -> tuple[Any, int]:
    """The size or the complaint of a file, and the most memory that decoding it took (MiB)."""
    path = folder / "picture"
    path.write_bytes(content)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    answer, mebibytes = json.loads(said.stdout)
    return answer, mebibytes


def flat(mode: str, kind: str, **options: Any) -> Callable[[], bytes]:
    """A large file of one colour."""
    return lambda: encoded(Image.new(mode, (SIDE, SIDE), 3), kind, **options)


def ramp(mode: str, kind: str, side: int = SIDE, **options: Any) -> Callable[[], bytes]:
    """A large file of a gradient."""
    return lambda: encoded(
        Image.linear_gradient("L").resize((side, side)).convert(mode), kind, **options
    )


def interlaced() -> bytes:
    pixels = chunk(b"IDAT", zlib.compress(bytes(4 * SIDE * SIDE + 16 * SIDE)))
    return png_of(SIDE, SIDE, bits=8, colour=6, interlaced=True, rest=pixels)


def deep() -> bytes:
    return encoded(Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(flat("RGBA", "PNG"), id="PNG RGBA"),
        pytest.param(flat("P", "PNG", transparency=3), id="PNG palette"),
        pytest.param(deep, id="PNG 16 bits"),
        pytest.param(interlaced, id="PNG interlaced"),
        pytest.param(ramp("RGB", "JPEG"), id="JPEG"),
        pytest.param(ramp("RGB", "JPEG", progressive=True, subsampling=0), id="progressive JPEG"),
        pytest.param(ramp("CMYK", "JPEG"), id="CMYK JPEG"),
        pytest.param(flat("P", "GIF"), id="GIF"),
        pytest.param(flat("RGBA", "TIFF", compression="tiff_lzw"), id="TIFF strips"),
        pytest.param(flat("F", "TIFF", compression="tiff_adobe_deflate"), id="TIFF floats"),
        pytest.param(flat("L", "BMP"), id="BMP"),
        pytest.param(flat("L", "PPM"), id="PPM"),
        pytest.param(ramp("RGB", "WEBP", 3000, method=0), id="WebP"),
        pytest.param(ramp("RGB", "AVIF", 3000, speed=10), id="AVIF"),
        pytest.param(ramp("RGB", "JPEG2000", 3000), id="JPEG 2000"),
    ],
)
def test_a_large_file_takes_what_its_decoder_needs_and_little_more(
    content: Callable[[], bytes], tmp_path: Path
) -> None:
    said, mebibytes = decoded(content(), tmp_path)
    assert said == [1024, 1024]
    assert mebibytes < MOST


def test_a_small_file_of_49_million_pixels_takes_a_quarter_of_what_it_did(tmp_path: Path) -> None:
    content = encoded(Image.new("RGBA", (7000, 7000), (255, 0, 0, 128)))
    assert len(content) < 250_000
    said, mebibytes = decoded(content, tmp_path)
    assert said == [1024, 1024]
    assert mebibytes < 350  # 187 of them for the pixels; it took 936


def test_what_the_header_does_not_say_ends_at_the_limit_of_the_process(tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "decode_alone(data).image.size", "(lambda: Image.new('RGB', (8, 8)).size)()"
    ).replace(
        "try:",
        "from vitc_inspect.common.images import memory_limit\n"
        "try:\n"
        "    with memory_limit(64 * 2**20):\n"
        "        bytearray(2**30)\n"
        "except MemoryError:\n"
        "    bytearray(2**28)  # which is allowed again\n"
        "else:\n"
        "    raise SystemExit('it was not ended')\n"
        "try:",
    )
    empty = tmp_path / "empty"
    empty.touch()
    command = [sys.executable, "-c", program, str(empty)]
    assert subprocess.run(command, capture_output=True, timeout=100, check=False).returncode == 0
