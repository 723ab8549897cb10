"""Files of every kind made safe to look at, patterns drawn as promised, and no other errors."""

from __future__ import annotations

import os
import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import (
    MAX_PIXELS,
    PATTERNS,
    SAMPLES,
    Picture,
    crop_of,
    crop_sentence,
    image_array,
    read_picture,
    sample_picture,
    to_image,
)

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


def pixels(picture: Picture) -> list[list[tuple[int, ...]]]:
    """Rows of the colours of a picture, which is RGB."""
    assert picture.image.mode == "RGB"
    return [[tuple(map(int, pixel)) for pixel in row] for row in np.asarray(picture.image)]


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(value, value, value) for value in values]


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


def ico(content: bytes) -> bytes:
    """An icon of one entry, which says it is 16 pixels a side and holds this PNG."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(content), 6 + 16)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


# --- files that can be read ------------------------------------------------------------------

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


# --- files that cannot -----------------------------------------------------------------------

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
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


# --- what the stem is fed --------------------------------------------------------------------

SIZES = [(1, 1), (1, 7), (7, 1), (16, 16), (24, 40), (40, 24)]


@pytest.mark.parametrize("image", ["photo", *PATTERNS])
@pytest.mark.parametrize("in_channels", [1, 2, 3, 5])
@pytest.mark.parametrize("image_size", SIZES)
def test_shape_dtype_and_range(image: str, in_channels: int, image_size: tuple[int, int]) -> None:
    source = sample_picture() if image == "photo" else image
    array = image_array(source, image_size, in_channels)
    assert array.shape == (in_channels, *image_size)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.min() >= -1
    assert array.max() <= 1


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_any_picture_fits_any_size(taken: tuple[int, int], wanted: tuple[int, int]) -> None:
    array = image_array(Picture(Image.new("RGB", taken, GREEN)), wanted, 3)
    assert array.shape == (3, *wanted)
    assert (array == np.array([-1, 1, -1]).reshape(3, 1, 1)).all()


@pytest.mark.parametrize("image_size", SIZES)
def test_the_impulse_is_one_pixel(image_size: tuple[int, int]) -> None:
    (plane,) = image_array("impulse", image_size, 1)
    assert plane.sum() == 1
    assert plane[image_size[0] // 2, image_size[1] // 2] == 1


def test_the_ramp_tells_rows_in_red_and_columns_in_green() -> None:
    ramp = image_array("ramp", (5, 9), 3)
    assert ramp[:, 0, 0].tolist() == [-1, -1, 0]
    assert ramp[:, 0, -1].tolist() == [-1, 1, 0]
    assert ramp[:, -1, 0].tolist() == [1, -1, 0]
    assert ramp[:, -1, -1].tolist() == [1, 1, 0]
    assert ramp[:, 2, 4].tolist() == [0, 0, 0]
    assert ramp[0, :, 3].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert ramp[1, 3, :].tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]


def test_every_pixel_of_the_ramp_is_another_colour() -> None:
    ramp = image_array("ramp", (20, 30), 3)
    assert len(np.unique(ramp.reshape(3, -1), axis=1).T) == 20 * 30


def test_the_checkerboard_has_squares_of_8_pixels() -> None:
    (plane,) = image_array("checkerboard", (24, 40), 1)
    assert set(np.unique(plane)) == {-1, 1}
    for row, column in np.ndindex(3, 5):
        square = plane[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert (square == (1 if (row + column) % 2 else -1)).all()


def test_the_edges_run_upright_level_and_both_ways_aslant() -> None:
    (plane,) = image_array("edges", (64, 64), 1)
    assert set(np.unique(plane)) == {-1, 1}
    upright, level = plane[:32, :32], plane[:32, 32:]
    falling, rising = plane[32:, :32], plane[32:, 32:]
    assert (upright == upright[0]).all()
    assert (level == level[:, :1]).all()
    for quarter in (upright, level, falling, rising):
        assert 0.2 < (quarter == 1).mean() < 0.8
    assert (np.diff(falling, axis=0) >= 0).all()  # brighter downwards …
    assert (np.diff(falling, axis=1) <= 0).all()  # … and darker to the right
    assert (np.diff(rising, axis=0) >= 0).all()
    assert (np.diff(rising, axis=1) >= 0).all()


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_differ(name: str) -> None:
    others = [image_array(other, (32, 32), 3) for other in PATTERNS if other != name]
    assert not any(np.array_equal(image_array(name, (32, 32), 3), other) for other in others)


def test_channels_are_luminance_or_red_green_blue_in_turn() -> None:
    picture = read_picture(encoded(colours(((200, 100, 50),))))
    red, green, blue = (value / 127.5 - 1 for value in (200, 100, 50))

    def channels(count: int) -> list[float]:
        return image_array(picture, (1, 1), count)[:, 0, 0].tolist()

    luminance = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)  # ITU-R BT.601: 124
    assert channels(1) == pytest.approx([luminance / 127.5 - 1])
    assert channels(2) == pytest.approx([red, green])
    assert channels(3) == pytest.approx([red, green, blue])
    assert channels(5) == pytest.approx([red, green, blue, red, green])


@pytest.mark.parametrize(
    ("turned", "image_size"), [(False, (10, 10)), (True, (10, 10)), (False, (20, 20))]
)
def test_a_picture_is_cut_around_its_centre(turned: bool, image_size: tuple[int, int]) -> None:
    thirds = Image.new("RGB", (30, 10), GREEN)
    thirds.paste(RED, (0, 0, 10, 10))
    thirds.paste(BLUE, (20, 0, 30, 10))
    picture = Picture(thirds.rotate(90, expand=True) if turned else thirds)
    array = image_array(picture, image_size, 3)
    middle = array[:, 2:-2, 2:-2]  # an edge between two colours may bleed a little
    assert middle == pytest.approx(
        np.broadcast_to(np.array([-1, 1, -1]).reshape(3, 1, 1), middle.shape)
    )


@pytest.mark.parametrize("name", ["nope", "", "Ramp", "photo"])
def test_a_name_that_is_no_pattern(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        image_array(name, (8, 8), 3)
    assert caught.value.field == "image"
    assert caught.value.value == name


def test_the_name_suggested_for_a_pattern_is_one() -> None:
    with pytest.raises(SpecError) as caught:
        image_array("nope", (8, 8), 3)
    assert image_array(caught.value.suggestion, (8, 8), 3).shape == (3, 8, 8)


def round_trip(image: Image.Image, in_channels: int) -> Image.Image:
    return to_image(image_array(Picture(image), (image.height, image.width), in_channels))


@pytest.mark.parametrize("in_channels", [3, 4, 5])
def test_what_is_fed_can_be_shown_again(in_channels: int) -> None:
    image = Image.fromarray(PHOTO[:20, :30])
    assert np.array_equal(np.asarray(round_trip(image, in_channels)), PHOTO[:20, :30])


def test_every_value_of_a_byte_survives() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([values, values.T, 255 - values], axis=2))
    assert np.array_equal(np.asarray(round_trip(image, 3)), np.asarray(image))


@pytest.mark.parametrize("in_channels", [1, 2])
def test_fewer_than_three_channels_are_shown_as_grey(in_channels: int) -> None:
    image = Image.fromarray(PHOTO[:20, :30])
    expected = PHOTO[:20, :30, 0] if in_channels == 2 else np.asarray(image.convert("L"))
    shown = np.asarray(round_trip(image, in_channels))
    assert shown.shape == (20, 30, 3)
    for channel in range(3):
        assert np.array_equal(shown[..., channel], expected)


def test_values_out_of_range_are_clipped() -> None:
    array = np.array([[[-9, -1, 0, 1, 9]]], dtype=np.float32)
    assert np.asarray(to_image(array))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_every_sample_has_a_title() -> None:
    assert list(SAMPLES) == ["photo", "impulse", "checkerboard", "edges", "ramp"]
    assert all(SAMPLES.values())
    assert set(PATTERNS) == set(SAMPLES) - {"photo"}


@pytest.mark.parametrize(
    ("size", "image_size", "part"),
    [
        # (width, height) of the picture; (height, width) of the image and of what is kept
        ((800, 600), (224, 224), (600, 600)),
        ((600, 800), (224, 224), (600, 600)),
        ((800, 600), (240, 320), None),  # 600 / 800 = 240 / 320
        ((512, 600), (256, 192), (600, 450)),  # 600 · 192 / 256 = 450
        ((512, 600), (192, 256), (384, 512)),  # 512 · 192 / 256 = 384
        ((7, 7), (224, 224), None),
        ((512, 600), (1, 16_384), (1, 512)),
    ],
)
def test_what_is_cut_off_a_picture_is_said(size, image_size, part) -> None:
    picture = Picture(Image.new("RGB", size))
    assert crop_of(picture, image_size) == part
    says = crop_sentence(picture, image_size)
    if part is None:
        assert says == ""
    else:
        kept = f"its middle {part[0]}×{part[1]} of {size[1]}×{size[0]} pixels (height × width)"
        assert says == f"The image was cropped to {kept}."


def test_the_part_that_is_said_is_the_part_that_is_fed() -> None:
    """A picture whose middle square alone is bright is fed as bright all over."""
    dark = Image.new("RGB", (80, 60))
    dark.paste((255, 255, 255), (10, 0, 70, 60))
    picture = Picture(dark)
    assert crop_of(picture, (60, 60)) == (60, 60)
    assert image_array(picture, (60, 60), 3).min() == 1


def test_a_pattern_is_drawn_and_not_cropped() -> None:
    assert crop_of("ramp", (9, 40)) is None
    assert crop_sentence("ramp", (9, 40)) == ""
