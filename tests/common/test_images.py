"""Pictures and test patterns as the array that a stem is fed, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.common.pictures import BLUE, GREEN, PHOTO, RED, colours, encoded
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import (
    PATTERNS,
    SAMPLES,
    Picture,
    image_array,
    read_picture,
    sample_picture,
    to_image,
)

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
