"""Pictures that are cropped, padded and stretched: what is kept, where it stands, what is said."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from vitc_inspect.common.fitting import (
    FITS,
    Fit,
    Size,
    fit_words,
    fitted,
    in_proportion,
    middle_of,
    whole_within,
)
from vitc_inspect.common.images import Picture, fit_sentence, image_array
from vitc_inspect.common.validation import MAX_SIDE

sides = st.integers(1, 90)
sizes = st.tuples(sides, sides)
large = st.integers(1, MAX_SIDE)
many_sizes = st.tuples(large, large)
fits = st.sampled_from(tuple(FITS))


def plain(size: Size, colour: tuple[int, int, int] = (250, 10, 10)) -> Image.Image:
    """A picture of one colour; its size is height and width."""
    return Image.new("RGB", size[::-1], colour)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@settings(deadline=None)
@given(sizes, sizes, fits)
def test_the_result_has_the_size_and_a_plain_picture_stays_plain(
    picture: Size, size: Size, fit: Fit
) -> None:
    found = fitted(plain(picture), size, fit)
    assert (found.height, found.width) == size
    assert np.abs(pixels(found) - [250, 10, 10]).max() <= 1


@settings(deadline=None)
@given(sizes, fits)
def test_a_picture_of_the_size_stays_as_it_is(size: Size, fit: Fit) -> None:
    noise = Image.effect_noise(size[::-1], 90).convert("RGB")
    assert np.array_equal(pixels(fitted(noise, size, fit)), pixels(noise))
    assert fit_words(size, size, fit) == ""


@given(many_sizes, many_sizes)
def test_the_middle_lies_in_the_picture_and_has_the_proportions_to_half_a_pixel(
    picture: Size, size: Size
) -> None:
    part = middle_of(picture, size)
    assert all(1 <= kept <= side for kept, side in zip(part, picture, strict=True))
    assert part[0] == picture[0] or part[1] == picture[1]
    (height, width), aspect = picture, Fraction(size[1], size[0])
    exact = min(Fraction(height), width / aspect), min(Fraction(width), height * aspect)
    assert all(
        kept == 1 or abs(kept - side) <= Fraction(501, 1000)
        for kept, side in zip(part, exact, strict=True)
    )


@given(many_sizes, many_sizes)
def test_the_whole_fills_the_size_in_one_direction_and_has_the_proportions_to_half_a_pixel(
    picture: Size, size: Size
) -> None:
    inner = whole_within(picture, size)
    assert all(1 <= side <= most for side, most in zip(inner, size, strict=True))
    assert inner[0] == size[0] or inner[1] == size[1]
    scale = min(Fraction(size[0], picture[0]), Fraction(size[1], picture[1]))
    assert all(
        side == 1 or abs(side - before * scale) <= Fraction(501, 1000)
        for side, before in zip(inner, picture, strict=True)
    )


@settings(deadline=None)
@given(sizes, sizes)
def test_padding_stands_around_the_whole_picture_and_is_its_mean(picture: Size, size: Size) -> None:
    image = plain(picture)
    left = plain((picture[0], picture[1] // 2), (10, 200, 30))
    image.paste(left, (0, 0))
    inner = whole_within(picture, size)
    found = pixels(fitted(image, size, "pad"))
    whole = pixels(image.resize(inner[::-1], Image.Resampling.BICUBIC))
    above, before = ((side - kept) // 2 for side, kept in zip(size, inner, strict=True))
    middle = (slice(above, above + inner[0]), slice(before, before + inner[1]))
    assert np.array_equal(found[middle], whole)
    outside = np.ones(size, bool)
    outside[middle] = False
    assert np.abs(found[outside] - whole.mean((0, 1))).max(initial=0) <= 0.5 + 1e-9
    # no side has more than a pixel more of a border than the one across
    assert size[0] - inner[0] - 2 * above in (0, 1)
    assert size[1] - inner[1] - 2 * before in (0, 1)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 40), st.booleans())
def test_what_is_cropped_away_is_the_same_at_both_ends(side: int, cut: int, wide: bool) -> None:
    """A picture with a bright middle square between two dark ends is fed as bright all over."""
    size = (side, side + 2 * cut) if wide else (side + 2 * cut, side)
    image = plain(size, (0, 0, 0))
    image.paste(plain((side, side), (255, 255, 255)), (cut, 0) if wide else (0, cut))
    assert middle_of(size, (side, side)) == (side, side)
    assert pixels(fitted(image, (side, side), "crop")).min() == 255


@pytest.mark.parametrize("size", [(40, 40), (20, 60), (61, 19)])
def test_a_stretched_picture_reaches_every_edge(size: Size) -> None:
    """A picture of four quarters has four quarters when it is stretched."""
    image = Image.new("RGB", (2, 2))
    image.putdata([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)])
    image = image.resize((80, 60), Image.Resampling.NEAREST)
    found = pixels(fitted(image, size, "stretch"))
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.abs(corners - pixels(image)[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 2


@given(many_sizes, many_sizes)
def test_proportions_are_those_of_the_picture_and_the_shorter_side_stays(
    picture: Size, size: Size
) -> None:
    found = in_proportion(picture, size)
    assert all(1 <= side <= MAX_SIDE for side in found)
    assert in_proportion(picture, found) == found or max(found) == MAX_SIDE
    if max(found) < MAX_SIDE:
        assert min(found) == min(size)
    short = min(Fraction(min(size), min(picture)), Fraction(MAX_SIDE, max(picture)))
    assert all(
        side == 1 or abs(side - before * short) <= Fraction(501, 1000)
        for side, before in zip(found, picture, strict=True)
    )


@pytest.mark.parametrize(
    ("picture", "size", "fit", "words"),
    [
        ((600, 512), (512, 512), "crop", "cropped to its middle 512×512 of 600×512 pixels"),
        (
            (600, 512),
            (224, 224),
            "crop",
            "cropped to its middle 512×512 of 600×512 pixels, then resized to 224×224",
        ),
        ((600, 512), (300, 256), "crop", "resized from 600×512 to 300×256 pixels"),
        ((600, 512), (300, 256), "pad", "resized from 600×512 to 300×256 pixels"),
        ((600, 512), (300, 256), "stretch", "resized from 600×512 to 300×256 pixels"),
        (
            (600, 512),
            (224, 224),  # 512 · 224 / 600 = 191.1
            "pad",
            "resized from 600×512 to 224×191 pixels, then padded to 224×224 with its mean colour",
        ),
        ((20, 30), (30, 30), "pad", "padded from 20×30 pixels to 30×30 with its mean colour"),
        (
            (600, 512),
            (224, 224),
            "stretch",
            "stretched from 600×512 to 224×224 pixels, which changes its proportions",
        ),
        ((7, 7), (7, 7), "crop", ""),
    ],
)
def test_what_was_done_is_said(picture: Size, size: Size, fit: Fit, words: str) -> None:
    assert fit_words(picture, size, fit) == words
    sentence = f"The image was {words} (height × width)." if words else ""
    assert fit_sentence(Picture(plain(picture)), size, fit) == sentence
    assert fit_sentence("ramp", size, fit) == ""


@settings(deadline=None)
@given(sizes, sizes, fits)
def test_what_is_said_is_what_is_done(picture: Size, size: Size, fit: Fit) -> None:
    words = fit_words(picture, size, fit)
    assert (words == "") == (picture == size)
    assume(words)
    assert f"{picture[0]}×{picture[1]} " in words
    verb = words.partition(" ")[0]
    assert (
        verb
        in {
            "crop": ("cropped", "resized"),
            "pad": ("resized", "padded"),
            "stretch": ("stretched", "resized"),
        }[fit]
    )
    noise = Image.effect_noise(picture[::-1], 90).convert("RGB")
    if words == fit_words(picture, size, "stretch") != "" and verb == "resized":
        whole = pixels(noise.resize(size[::-1], Image.Resampling.BICUBIC))
        assert np.array_equal(pixels(fitted(noise, size, "pad")), whole)


def test_a_way_to_fit_reaches_the_input_and_a_pattern_has_none() -> None:
    picture = Picture(Image.linear_gradient("L").rotate(90).resize((90, 30)).convert("RGB"))
    arrays = [image_array(picture, (32, 32), 3, fit) for fit in FITS]
    assert np.array_equal(arrays[0], image_array(picture, (32, 32), 3))
    assert all(array.shape == (3, 32, 32) for array in arrays)
    assert not any(np.array_equal(arrays[0], other) for other in arrays[1:])
    ramps = [image_array("ramp", (32, 32), 3, fit) for fit in FITS]
    assert all(np.array_equal(ramps[0], other) for other in ramps)
