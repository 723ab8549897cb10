"""Files that are read as pictures: every kind becomes RGB, and what is none is refused."""

from __future__ import annotations

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from tests.common.pictures import BLACK, BLUE, GREEN, PHOTO, RED, WHITE, colours, encoded
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import (
    MAX_PIXELS,
    SAMPLES,
    Picture,
    read_picture,
    sample_picture,
)


def pixels(picture: Picture) -> list[list[tuple[int, ...]]]:
    """Rows of the colours of a picture, which is RGB."""
    assert picture.image.mode == "RGB"
    return [[tuple(map(int, pixel)) for pixel in row] for row in np.asarray(picture.image)]


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(value, value, value) for value in values]


LAYERED = Image.fromarray(np.array([[[200, 0], [200, 255], [0, 51]]], dtype=np.uint8), "LA")


@pytest.mark.parametrize(
    ("content", "row", "notes"),
    [
        (encoded(colours((RED, GREEN, BLUE))), [RED, GREEN, BLUE], ()),
        (
            encoded(Image.fromarray(np.array([[0, 100, 255]], dtype=np.uint8))),
            grey(0, 100, 255),
            ("Greyscale was converted to RGB.",),
        ),
        (
            encoded(colours((RED, BLUE, RED)).quantize(2)),
            [RED, BLUE, RED],
            ("A palette was converted to RGB.",),
        ),
        (
            encoded(colours(((*RED, 255), (*RED, 0), (*RED, 51)))),
            [RED, WHITE, (255, 204, 204)],  # 51 of 255 is a fifth red over four fifths white
            (
                "RGBA was converted to RGB.",
                "Transparent parts were laid over white.",
            ),
        ),
        (
            encoded(LAYERED),
            grey(255, 200, 204),
            (
                "Greyscale with transparency was converted to RGB.",
                "Transparent parts were laid over white.",
            ),
        ),
        (
            encoded(colours((RED, BLUE, RED)).quantize(2), transparency=0),
            None,
            (
                "A palette was converted to RGB.",
                "Transparent parts were laid over white.",
            ),
        ),
        (
            encoded(Image.frombytes("CMYK", (2, 1), bytes((0, 0, 0, 0, 255, 0, 0, 0))), "TIFF"),
            [WHITE, (0, 255, 255)],  # no ink, and cyan
            ("CMYK was converted to RGB.",),
        ),
        (
            encoded(Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))),
            grey(0, 100, 255),  # 65535 / 255 = 257
            ("16-bit greyscale was scaled to 8 bits.",),
        ),
        (
            encoded(Image.fromarray(np.array([[0, 257 * 7, 65535]], dtype=np.uint16)), "TIFF"),
            grey(0, 7, 255),
            ("16-bit greyscale was scaled to 8 bits.",),
        ),
        (
            encoded(Image.fromarray(np.array([[-100, 155, 410]], dtype=np.int32)), "TIFF"),
            grey(0, 128, 255),  # from the least to the most: 255 of 510 is a half
            ("32-bit greyscale was scaled to 8 bits.",),
        ),
        (
            encoded(Image.fromarray(np.array([[-1, 0, np.nan, 1]], dtype=np.float32)), "TIFF"),
            None,
            ("Floating-point greyscale was scaled to 8 bits.",),
        ),
        (
            encoded(Image.fromarray(np.array([[True, False]]))),
            grey(255, 0),
            ("Black and white was converted to RGB.",),
        ),
        (encoded(colours((RED, GREEN)), "BMP"), [RED, GREEN], ()),
        (encoded(colours((RED, GREEN)), "WEBP", lossless=True), [RED, GREEN], ()),
    ],
    ids=[
        "RGB",
        "L",
        "P",
        "RGBA",
        "LA",
        "P with a transparent colour",
        "CMYK",
        "16-bit PNG",
        "16-bit TIFF",
        "32-bit TIFF",
        "float TIFF",
        "1-bit",
        "BMP",
        "WebP",
    ],
)
def test_every_kind_becomes_rgb_with_a_note(
    content: bytes, row: list[tuple[int, ...]] | None, notes: tuple[str, ...]
) -> None:
    picture = read_picture(content)
    assert picture.image.mode == "RGB"
    assert picture.notes == notes
    if row is not None:
        assert pixels(picture) == [row]


def test_a_cmyk_photograph() -> None:
    picture = read_picture(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"))
    assert picture.notes == ("CMYK was converted to RGB.",)
    assert pixels(picture)[8][8] == WHITE


def test_a_floating_point_image_is_scaled_by_what_is_finite_in_it() -> None:
    values = np.array([[-1, 0, 1, np.inf, -np.inf]], dtype=np.float32)
    picture = read_picture(encoded(Image.fromarray(values), "TIFF"))
    assert pixels(picture) == [grey(0, 128, 255, 255, 0)]


def test_an_image_with_alpha_and_nothing_transparent_says_nothing_of_it() -> None:
    picture = read_picture(encoded(colours((RED, BLUE)).convert("RGBA")))
    assert pixels(picture) == [[RED, BLUE]]
    assert not any("Transparent" in note for note in picture.notes)


@pytest.mark.parametrize(
    ("orientation", "rows"),
    [  # what is stored is a row of red and blue
        (1, [[RED, BLUE]]),
        (2, [[BLUE, RED]]),  # mirrored
        (3, [[BLUE, RED]]),  # upside down
        (4, [[RED, BLUE]]),  # mirrored top to bottom
        (5, [[RED], [BLUE]]),
        (6, [[RED], [BLUE]]),  # turned a quarter clockwise: left goes up
        (7, [[BLUE], [RED]]),
        (8, [[BLUE], [RED]]),  # turned a quarter anticlockwise: left goes down
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_turns_the_pixels(
    orientation: int, rows: list[list[tuple[int, ...]]], kind: str
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture = read_picture(encoded(colours((RED, BLUE)), kind, exif=exif))
    assert pixels(picture) == rows
    turned = ("The image was turned upright as its EXIF data says.",)
    assert picture.notes == (() if orientation == 1 else turned)


def test_a_photograph_taken_upright_is_turned() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = Image.new("RGB", (32, 16), RED)
    stored.paste(BLUE, (16, 0, 32, 16))
    picture = read_picture(encoded(stored, "JPEG", quality=95, exif=exif))
    assert picture.image.size == (16, 32)
    top, bottom = picture.image.getpixel((8, 4)), picture.image.getpixel((8, 28))
    assert top == pytest.approx(RED, abs=4)
    assert bottom == pytest.approx(BLUE, abs=4)


@pytest.mark.parametrize(
    ("kind", "options", "notes"),
    [
        ("GIF", {}, ("A palette was converted to RGB.",)),
        ("WEBP", {"lossless": True}, ()),
        ("PNG", {}, ()),
        ("TIFF", {}, ()),
    ],
)
def test_the_first_frame_of_an_animation_is_shown(
    kind: str, options: dict[str, Any], notes: tuple[str, ...]
) -> None:
    first, *rest = (colours((colour, BLACK)) for colour in (RED, GREEN, BLUE))
    picture = read_picture(encoded(first, kind, save_all=True, append_images=rest, **options))
    assert pixels(picture) == [[RED, BLACK]]
    assert picture.notes == ("The first of 3 frames is shown.", *notes)


def test_a_path_and_its_content_give_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "tiny.png"
    path.write_bytes(encoded(colours((RED, GREEN), (BLUE, WHITE))))
    assert pixels(read_picture(path)) == pixels(read_picture(path.read_bytes()))
    assert pixels(read_picture(path)) == [[RED, GREEN], [BLUE, WHITE]]


def test_the_kind_is_read_from_the_content_and_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(colours((RED, GREEN)), "BMP"))
    assert pixels(read_picture(path)) == [[RED, GREEN]]


def test_the_photograph_that_is_always_there() -> None:
    picture = sample_picture()
    assert picture.image.mode == "RGB"
    assert picture.image.size == (512, 600)
    assert picture.notes == ()
    assert np.asarray(picture.image).std() > 30  # a picture of something


def refused(source: str | Path | bytes) -> SpecError:
    """The error that reading the file raises, which is always about the image."""
    with pytest.raises(SpecError) as caught:
        read_picture(source)
    assert caught.value.field == "image"
    assert caught.value.suggestion in SAMPLES
    return caught.value


def png(width: int, height: int, *, bits: int = 1, data: bytes = b"") -> bytes:
    """A greyscale PNG that says it has this size, whatever its data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


NO_IMAGE = (
    "it is no PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000 or PPM image."
    " Use a PNG or JPEG file."
)


CUT_SHORT = "the file is cut short or damaged. Use a whole file."


def cut(kind: str, share: float = 0.5) -> bytes:
    """The first part of a file that is otherwise good."""
    content = encoded(Image.fromarray(PHOTO), kind)
    assert read_picture(content)
    return content[: int(len(content) * share)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"It is a text, whatever its name.\n", NO_IMAGE),
        (b"", "the file is empty. Use a PNG or JPEG file."),
        (b"\x89PNG\r\n\x1a\n", NO_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NO_IMAGE),
        (cut("PNG"), CUT_SHORT),
        (cut("JPEG"), CUT_SHORT),
        (cut("BMP"), CUT_SHORT),
        (cut("PNG", 0.003), NO_IMAGE),
        (cut("JPEG", 0.003), NO_IMAGE),
        (png(8, 8, bits=8, data=b"no pixels"), CUT_SHORT),
    ],
    ids=[
        "text",
        "empty",
        "signature alone",
        "svg",
        "half a PNG",
        "half a JPEG",
        "half a BMP",
        "a PNG's first bytes",
        "a JPEG's first bytes",
        "a PNG of garbage",
    ],
)
def test_what_is_no_whole_image(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "note.png"
    path.write_bytes(content)
    assert str(refused(path)) == f"image = 'note.png': {complaint}"
    assert str(refused(content)) == f"image = 'the upload': {complaint}"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "there is no such file") for name in ("nope.png", "a\0b.png", "x" * 300 + ".png")),
        *((name, "it is a folder") for name in (".", "folder")),
        ("secret.png", "this user may not read it"),
    ],
)
def test_what_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("secret.png").touch()
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may read whatever there is
    error = refused(Path(name))
    assert error.value == name
    assert error.reason == reason
    assert error.fix == "Use photo"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("Impuls", "image = 'Impuls': there is no such file. Use impulse."),
        (
            "http://example.org/cat.png",
            "image = 'http://example.org/cat.png': it is an address, and only files are read."
            " Save the picture and use its path, or use photo.",
        ),
    ],
)
def test_what_was_meant_is_suggested(asked: str, sentence: str) -> None:
    assert str(refused(asked)) == sentence


def test_a_missing_file_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(refused(Path("nope.png"))) == (
        "image = 'nope.png': there is no such file. Use photo."
    )


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (13_000, 13_000, "13,000 x 13,000 pixels are more than 50,000,000"),
        (50_000_001, 1, "50,000,001 x 1 pixels are more than 50,000,000"),
        (20_000, 20_000, "it has more than 50,000,000 pixels"),  # Pillow itself refuses this one
        (2**31 - 1, 2**31 - 1, "it has more than 50,000,000 pixels"),
    ],
)
def test_a_file_with_too_many_pixels_is_refused_by_its_header(
    width: int, height: int, reason: str
) -> None:
    content = png(width, height)  # without one pixel: decoding it would say "cut short"
    assert len(content) < 100
    error = refused(content)
    assert error.reason == reason
    assert error.fix == "Use a smaller image"


def test_a_file_of_just_as_many_pixels_as_allowed_is_decoded() -> None:
    assert MAX_PIXELS == 10_000 * 5_000
    assert refused(png(10_000, 5_000)).reason == "the file is cut short or damaged"


def ico(content: bytes) -> bytes:
    """An icon of one entry, which says it is 16 pixels a side and holds this PNG."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(content), 6 + 16)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


def test_an_icon_does_not_smuggle_in_too_many_pixels() -> None:
    """An icon's own header says 16 x 16; the PNG in it has a header of its own."""
    assert refused(ico(png(13_000, 13_000))).reason == NO_IMAGE.partition(".")[0]


def tiff_with_an_empty_second_frame() -> bytes:
    content = encoded(Image.fromarray(PHOTO), "TIFF")
    (tags_at,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, tags_at)
    next_at = tags_at + 2 + 12 * tags
    return content[:next_at] + struct.pack("<I", len(content)) + content[next_at + 4 :] + bytes(6)


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(PHOTO), "AVIF").replace(b"av01", b"none"),
        tiff_with_an_empty_second_frame(),
        b"DDS " + struct.pack("<7I", 124, 0, 4, 4, 0, 0, 0) + bytes(96),
        b"BLP1" + struct.pack("<6I", 255, 0, 1, 1, 0, 0) + bytes(1200),
    ],
    ids=["AVIF", "TIFF", "DDS", "BLP"],
)
def test_decoders_that_fail_in_their_own_way(content: bytes) -> None:
    assert refused(content).reason in (
        "it is no PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, JPEG 2000 or PPM image",
        "the file is cut short or damaged",
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
@settings(deadline=None, derandomize=True, max_examples=80)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_raises_nothing_but_a_spec_error(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    content = bytearray(encoded(Image.fromarray(PHOTO[:16, :16]), kind))
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    content = content[: chance.choice((len(content), chance.randrange(len(content))))]
    try:
        picture = read_picture(bytes(content))
    except SpecError as error:
        complaint = error
    else:
        assert picture.image.mode == "RGB"
        return
    assert complaint.field == "image"
