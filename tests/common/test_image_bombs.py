"""Files whose decoding would take too much memory or time: each is refused in one sentence."""

from __future__ import annotations

import re
import struct

import pytest
from PIL import Image

from tests.common.bombs import BASE, BOMBS, END, FRAME, GIF, PIXELS, bmp_of_runs, jpeg_of_scans
from tests.common.pictures import encoded, png_of
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import decode, read_picture


@pytest.mark.parametrize(("content", "reason"), BOMBS.values(), ids=BOMBS)
def test_what_would_take_too_much_is_refused(content: bytes, reason: str) -> None:
    for read in (decode, read_picture):
        if read is read_picture and re.search("one|572|747|50,000,000|is the most", reason):
            continue  # a picture that is not reduced may take twice as much
        with pytest.raises(SpecError) as caught:
            read(content)
        assert caught.value.field == "image"
        assert reason in caught.value.reason
        assert caught.value.fix


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (GIF + FRAME * 1000 + b";", "The first of 1000 frames is shown."),
        (GIF + FRAME * 100_000 + b";", "The first of more than 1,000 frames is shown."),
    ],
)
def test_frames_are_counted_up_to_a_bound(content: bytes, note: str) -> None:
    assert decode(content).notes[0] == note


def test_directories_of_a_tiff_are_counted_up_to_a_bound() -> None:
    size = 2 + 12 * len(BASE) + 4
    one = struct.pack("<H", len(BASE)) + b"".join(struct.pack("<HHLL", *entry) for entry in BASE)
    count = 20_000
    places = [*(8 + size * number for number in range(1, count)), 0]
    content = (
        b"II*\0" + struct.pack("<L", 8) + b"".join(one + struct.pack("<L", at) for at in places)
    )
    assert decode(content).notes[0] == "The first of more than 1,000 frames is shown."


def test_what_is_close_to_a_bomb_is_decoded() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a long description " * 300
    comment = "!" * 6000
    for content in (
        encoded(Image.new("RGB", (64, 64)), "JPEG", exif=exif, comment=comment),
        encoded(Image.new("RGB", (64, 64)), "PNG", exif=exif),
        encoded(Image.new("RGB", (64, 64)), "AVIF", exif=exif),
        encoded(Image.new("P", (64, 64)), "GIF", comment=comment),
        encoded(Image.new("RGB", (64, 3000)), "TIFF", tiffinfo={278: 1}),
        jpeg_of_scans(100),
        bmp_of_runs(100),
        png_of(8, 8, bits=8, rest=PIXELS + END),
    ):
        assert decode(content).image.mode == "RGB"
