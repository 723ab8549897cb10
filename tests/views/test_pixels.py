"""The frame around the image, and what is laid over it, read back from the pictures themselves."""

from __future__ import annotations

import itertools
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.strategies import stem_specs
from vitc_inspect.stem.notation import parse_stem
from vitc_inspect.stem.spec import StemSpec, patchify_stem
from vitc_inspect.views.pixels import (
    MOST_SIDE,
    colours_uri,
    frame_of,
    heat_uri,
    mosaic,
    opacity,
    photo_uri,
    reads_uri,
    runs,
    thinning,
)


def picture(address: str) -> Image.Image:
    kind, _, data = address.partition(";base64,")
    image = Image.open(BytesIO(b64decode(data, validate=True)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


def alphas(address: str) -> np.ndarray:
    return np.asarray(picture(address).convert("RGBA"))[..., 3]


@settings(deadline=None, derandomize=True, max_examples=60, database=None)
@given(spec=stem_specs(), width=st.integers(200, 900))
def test_the_frame_holds_the_image_and_is_no_wider_than_its_room(
    spec: StemSpec, width: int
) -> None:
    frame = frame_of(spec, width=width)
    height, columns = spec.image_size
    assert 1 <= frame.shown <= width
    assert frame.height / frame.unit <= 401  # of 400 pixels, as the width is rounded down
    assert frame.left < -frame.padding.left
    assert frame.left + frame.width > columns + frame.padding.right
    assert frame.top < -frame.padding.top
    assert frame.top + frame.height > height + frame.padding.bottom
    left, top, wide, high = map(float, frame.view_box.split())
    assert (left, top) == pytest.approx((frame.left, frame.top), rel=1e-3)
    assert (wide, high) == pytest.approx((frame.width, frame.height), rel=1e-5)


@pytest.mark.parametrize(
    ("stem", "padding", "cut"),
    [
        ("16x16/16:8", (0, 0, 0, 0), False),
        ("16x16/16p2:8", (2, 0, 2, 0), False),  # (64 + 4 - 16) // 16 = 3 leaves 14 of the right
        ("3x3/2:4, 3x3/2:8", (3, 0, 3, 0), False),
        ("63x63/1p31:8", (31, 31, 31, 31), False),
        ("99x99/1p49:8", (32, 32, 32, 32), True),  # half the side, and said to be less than read
    ],
)
def test_the_padding_that_is_read_is_drawn_up_to_half_the_image(
    stem: str, padding: tuple[int, ...], cut: bool
) -> None:
    frame = frame_of(parse_stem(stem, image_size=64), width=400)
    drawn = frame.padding
    assert (drawn.top, drawn.bottom, drawn.left, drawn.right) == padding
    assert frame.cut == cut


@pytest.mark.parametrize(
    ("size", "step"),
    [((1, 1), 1), ((512, 512), 1), ((513, 1), 2), ((1, 1024), 2), ((1025, 1), 3), ((16384, 1), 32)],
)
def test_thinned_pictures_have_at_most_so_many_pixels(size: tuple[int, int], step: int) -> None:
    assert thinning(size) == step
    assert len(range(0, max(size), step)) <= MOST_SIDE


def test_the_image_is_sent_as_it_is_fed() -> None:
    array = np.zeros((3, 40, 30), np.float32)
    array[0], array[1], array[2] = 1, -1, 0  # 255, 0 and 128
    image = picture(photo_uri(array))
    assert image.size == (30, 40)
    assert np.abs(np.asarray(image).reshape(-1, 3).mean(0) - (255, 0, 128)).max() < 4
    assert picture(photo_uri(np.zeros((1, 1100, 20), np.float32))).size == (7, 367)  # by 3


def test_heat_is_clear_at_0_and_darker_the_more() -> None:
    values = np.array([[0, 1e-9, 0.25, 0.5, 1.0]])
    (row,) = alphas(heat_uri(values, 1.0))
    assert row[0] == 0
    assert row[1] > 0  # what is small is not lost among what has none
    assert list(row) == sorted(row)
    assert row[-1] == 255
    assert (alphas(heat_uri(np.zeros((2, 3)), 0.0)) == 0).all()


def test_a_point_of_heat_outlives_thinning() -> None:
    values = np.zeros((1500, 700))
    values[1499, 698] = 2.0
    found = alphas(heat_uri(values, 2.0))
    assert found.shape == (500, 234)  # by 3
    assert np.argwhere(found).tolist() == [[499, 232]]


def test_pixels_are_as_opaque_as_tokens_read_them() -> None:
    found = alphas(reads_uri((0, 1, 2), (1, 1, 0, 4)))
    for (row, column), reads in {(0, 0): 0, (1, 0): 1, (1, 2): 0, (2, 1): 2, (2, 3): 8}.items():
        assert found[row, column] == round(255 * opacity(reads, 8))
    assert opacity(0, 8) == 0 < opacity(1, 8) < opacity(8, 8) == pytest.approx(0.7)


def test_more_counts_than_a_palette_has_stay_in_order() -> None:
    found = alphas(reads_uri(range(1, 31), range(1, 31))).astype(int)  # 1 to 900
    counts = np.outer(range(1, 31), range(1, 31)).ravel()
    ordered = found.ravel()[np.argsort(counts, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    assert ordered[-1] == round(255 * 0.7)


def test_colours_are_sent_a_pixel_each() -> None:
    colours = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    assert (np.asarray(picture(colours_uri(colours))) == colours).all()
    assert (np.asarray(picture(colours_uri(colours[:, ::-1]))) == colours[:, ::-1]).all()


def test_a_mosaic_of_patches_has_their_mean_colours_also_thinned() -> None:
    """Patches of one colour each, whose places in the grid tell the colour."""
    shades = np.arange(16, dtype=np.float32).reshape(1, 4, 4) / 8 - 1
    array = np.repeat(np.repeat(np.repeat(shades, 3, 0), 8, 1), 8, 2)
    spec = patchify_stem(8, 4, image_size=32)
    expected = np.round((shades[0] + 1) * 127.5)[..., None]
    assert np.abs(mosaic(array, spec, step=1) - expected).max() <= 1
    assert np.abs(mosaic(array, spec, step=2) - expected[::2, ::2]).max() <= 1


@settings(deadline=None, derandomize=True, database=None)
@given(values=st.lists(st.integers(0, 2), max_size=30))
def test_runs_put_together_are_the_values_and_neighbours_differ(values: list[int]) -> None:
    found = runs(values)
    assert [value for a, b, value in found for _ in range(a, b)] == values
    assert all(a[2] != b[2] for a, b in itertools.pairwise(found))
