"""Pictures that are decoded smaller: as if they were decoded whole and then reduced."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.common.pictures import encoded
from vitc_inspect.common.images import KEPT_SIDE, decode, read_picture, sample_picture


def photograph(width: int, height: int) -> Image.Image:
    return sample_picture().image.resize((width, height), Image.Resampling.BICUBIC)


def differences(content: bytes) -> tuple[float, float]:
    """How far the colours are from those of a whole picture that is reduced: mean and 99 %."""
    whole = read_picture(content).image
    whole.thumbnail((KEPT_SIDE, KEPT_SIDE))
    small = decode(content).image
    assert small.size == whole.size
    apart = np.abs(np.asarray(small, dtype=float) - np.asarray(whole, dtype=float))
    return float(apart.mean()), float(np.quantile(apart, 0.99))


@pytest.mark.parametrize("size", [(1500, 1300), (2101, 2302), (40, 4500)])
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {"compress_level": 1}),
        ("PNG", "L", {"compress_level": 1}),
        ("PNG", "RGBA", {"compress_level": 1}),
        ("TIFF", "CMYK", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("BMP", "P", {}),
        ("WEBP", "RGB", {"lossless": True, "method": 0}),
    ],
)
def test_a_picture_is_the_same_as_if_it_was_reduced_afterwards(
    kind: str, mode: str, options: dict[str, Any], size: tuple[int, int]
) -> None:
    assert differences(encoded(photograph(*size).convert(mode), kind, **options)) == (0, 0)


@pytest.mark.parametrize("size", [(1500, 1300), (2101, 2302)])
@pytest.mark.parametrize(
    ("kind", "options", "apart"),
    [
        ("JPEG", {"quality": 90}, 6),
        ("JPEG", {"quality": 90, "progressive": True}, 6),
        ("JPEG2000", {}, 16),  # a wavelet is sharper at edges than a mean
        ("JPEG2000", {"tile_size": (512, 512)}, 16),
    ],
)
def test_what_the_format_decodes_smaller_differs_by_about_one_level_of_255(
    kind: str, options: dict[str, Any], apart: int, size: tuple[int, int]
) -> None:
    mean, most = differences(encoded(photograph(*size), kind, **options))
    assert mean < 1.5
    assert most <= apart


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_reduced_picture_is_turned_as_a_whole_one(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(photograph(1600, 1200), kind, exif=exif)
    mean, _ = differences(content)
    assert mean < 1
    assert decode(content).image.size == ((1024, 768) if orientation < 5 else (768, 1024))
    assert decode(content).notes[:-1] == read_picture(content).notes


def test_a_picture_that_is_small_enough_is_not_touched() -> None:
    image = photograph(1024, 700)
    picture = decode(encoded(image))
    assert picture.image.tobytes() == image.tobytes()
    assert picture.notes == ()


def test_values_of_16_bits_are_scaled_by_the_whole_picture() -> None:
    ramp = np.linspace(0, 1, 2000 * 1500, dtype=np.float32).reshape(1500, 2000)
    for values in (ramp - 0.5, (65535 * ramp).astype(np.uint16), (10**6 * ramp).astype(np.int32)):
        assert differences(encoded(Image.fromarray(values), "TIFF")) == (0, 0)


def test_a_decoded_picture_can_be_sent_to_another_process() -> None:
    for content in (encoded(photograph(300, 200)), encoded(photograph(300, 200).convert("L"))):
        picture = decode(content)
        again = pickle.loads(pickle.dumps(picture))
        assert again.image.tobytes() == picture.image.tobytes()
        assert again.notes == picture.notes
