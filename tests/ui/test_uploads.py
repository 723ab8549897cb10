"""Opened pictures: kept by their pixels, asked for again where they are gone, refused otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from tests.ui.requests import START, call
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import Picture
from vitc_inspect.ui.server import Inspector
from vitc_inspect.ui.uploads import (
    KEPT_SIDE,
    MAX_FILE_BYTES,
    MissingPicture,
    PictureStore,
    address_of,
)


def test_a_picture_is_known_by_its_shape_as_well_as_its_bytes(tmp_path: Path) -> None:
    store = PictureStore(2**24, {})
    noise = Image.effect_noise((64, 16), 80).convert("RGB")
    turned = Image.frombytes("RGB", (16, 64), noise.tobytes())
    keys = [store.open_data(address_of(image))[0] for image in (noise, turned, noise)]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def test_a_picture_that_was_dropped_is_asked_for_again() -> None:
    inspector = Inspector(in_process=True)
    image = Image.effect_noise((8, 8), 80).convert("RGB")
    key = call("open_picture", {"data": address_of(image)}, inspector)["key"]
    assert "totals" in call("predict", {**START, "image": key}, inspector)
    assert call("predict", {**START, "image": key}) == {"missing_picture": True}


def test_a_file_becomes_a_smaller_picture_with_its_notes(tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("RGBA", (3 * KEPT_SIDE, 10), (255, 0, 0, 128)).save(file)
    key, picture = PictureStore(2**24, {}).open_file(file)
    assert picture.image.size == (KEPT_SIDE, 3)  # 3072×10 by 3
    assert picture.image.mode == "RGB"
    assert picture.notes[-1] == "It was reduced to 1024 pixels on its longer side."
    exact = tmp_path / "exact.png"
    Image.new("RGB", (KEPT_SIDE, 10)).save(exact)
    other, kept = PictureStore(2**24, {}).open_file(exact)
    assert (kept.image.size, kept.notes) == ((KEPT_SIDE, 10), ())
    assert key != other


def test_what_the_browser_holds_gives_the_same_picture_back() -> None:
    store = PictureStore(2**24, {})
    noise = Image.effect_noise((20, 30), 80).convert("RGB")
    key, picture = store.open_data(address_of(noise))
    assert picture.image.tobytes() == noise.tobytes()
    found = store.find(key)
    assert isinstance(found, Picture)
    assert found.image.tobytes() == noise.tobytes()
    assert store.open_data(address_of(found.image))[0] == key


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "the data is no PNG"),
        ("data:text/html;base64,PGI+", "the data is no PNG"),
        ("https://example.org/cat.png", "the data is no PNG"),
        ("data:image/png;base64," + "A" * 2 * MAX_FILE_BYTES, "the data is no PNG"),
        ("data:image/png;base64,%%%", "the data is damaged"),
        ("data:image/png;base64,é", "the data is damaged"),
        ("data:image/png;base64,AAA", "the data is damaged"),
    ],
)
def test_data_that_is_no_picture_is_refused(address: str, reason: str) -> None:
    with pytest.raises(SpecError) as raised:
        PictureStore(2**24, {}).open_data(address)
    assert (raised.value.field, raised.value.reason) == ("image", reason)
    assert PictureStore(2**24, {}).find(raised.value.suggestion) is not None


def test_names_are_of_the_programs_own_pictures_of_samples_and_of_opened_ones() -> None:
    own = Picture(Image.new("RGB", (2, 2)))
    store = PictureStore(2**24, {"cat.png": own, "ramp": own})
    assert store.find("cat.png") is own
    assert store.find("ramp") is own  # before a sample of the same name
    assert store.find("edges") == "edges"  # a pattern is drawn for the size at hand
    assert isinstance(store.find("photo"), Picture)
    with pytest.raises(MissingPicture):
        store.find("upload-0123")
    for name in ("cat", "/etc/passwd", ""):
        with pytest.raises(SpecError, match="it is not one of photo"):
            store.find(name)


def test_opened_pictures_keep_to_the_budget_and_own_ones_stay() -> None:
    own = Picture(Image.new("RGB", (100, 100)))
    store = PictureStore(2 * 3 * 8 * 8, {"own": own})
    shades = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(3)]
    keys = [store.open_data(address_of(image))[0] for image in shades]
    with pytest.raises(MissingPicture):
        store.find(keys[0])
    assert all(isinstance(store.find(name), Picture) for name in (*keys[1:], "own"))


def test_an_uploaded_file_is_taken_in_and_removed() -> None:
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "stripes-of-a-test.png"
    Image.new("RGB", (4, 4), (0, 0, 255)).save(file)
    answer = call("open_picture", {"path": str(file)})
    assert answer["data"] == address_of(Image.new("RGB", (4, 4), (0, 0, 255)))
    assert not file.exists()
    file.write_bytes(b"no picture")
    assert call("open_picture", {"path": str(file)})["error"]["field"] == "image"
    assert not file.exists()


@pytest.mark.parametrize("name", ["none.png", "a\x00b", "{folder}/../own.png", "{own}"])
def test_no_other_file_is_read_or_removed(name: str, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    Image.new("RGB", (4, 4)).save(own)
    path = name.format(folder=get_upload_folder(), own=own)
    answer = call("open_picture", {"path": path})
    assert "it was not uploaded" in answer["error"]["html"]
    assert own.exists()
