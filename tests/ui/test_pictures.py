"""Opened pictures: kept by their pixels, asked for again where they are gone, refused otherwise."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from pathlib import Path

import pytest
from PIL import Image

from tests.common.pictures import encoded
from tests.ui.requests import START, call
from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import KEPT_SIDE, Picture, decode
from vitc_inspect.ui.pictures import (
    MAX_FILE_BYTES,
    MissingPicture,
    PictureStore,
    address_of,
    content_of,
)
from vitc_inspect.ui.server import Inspector


def sent(content: bytes, kind: str = "image/png") -> str:
    """A file as a browser sends it."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def put(store: PictureStore, data: str) -> tuple[str, Picture]:
    """Put a file that a browser sent into a store, as the server does it in three steps."""
    picture = decode(content_of(data))
    return store.keep(picture), picture


def test_a_picture_is_known_by_its_shape_as_well_as_its_bytes() -> None:
    store = PictureStore(2**24, {})
    noise = Image.effect_noise((64, 16), 80).convert("RGB")
    turned = Image.frombytes("RGB", (16, 64), noise.tobytes())
    keys = [put(store, address_of(image))[0] for image in (noise, turned, noise)]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def test_a_picture_that_was_dropped_is_asked_for_again() -> None:
    inspector = Inspector(in_process=True)
    image = Image.effect_noise((8, 8), 80).convert("RGB")
    key = call("open_picture", {"data": address_of(image)}, inspector)["key"]
    assert "totals" in call("predict", {**START, "image": key}, inspector)
    assert call("predict", {**START, "image": key}) == {"missing_picture": True}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_a_file_of_any_format_becomes_a_smaller_picture_with_its_notes(kind: str) -> None:
    wide = encoded(Image.new("RGBA", (3 * KEPT_SIDE, 10), (255, 0, 0, 128)), kind)
    key, picture = put(PictureStore(2**24, {}), sent(wide, "application/octet-stream"))
    assert picture.image.size == (KEPT_SIDE, 3)  # 3072×10 by 3
    assert picture.image.mode == "RGB"
    assert picture.notes[-1] == "It was reduced to 1024 pixels on its longer side."
    exact = encoded(Image.new("RGB", (KEPT_SIDE, 10)))
    other, kept = put(PictureStore(2**24, {}), sent(exact))
    assert (kept.image.size, kept.notes) == ((KEPT_SIDE, 10), ())
    assert key != other


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "RGB"])
def test_a_picture_that_was_converted_comes_back_under_its_key(mode: str) -> None:
    content = encoded(Image.effect_noise((1200, 40), 80).convert(mode))
    answer = call("open_picture", {"data": sent(content)})
    assert answer["notes"]
    store = PictureStore(2**24, {})
    assert put(store, answer["data"])[0] == answer["key"]


def test_what_the_browser_holds_gives_the_same_picture_back() -> None:
    store = PictureStore(2**24, {})
    noise = Image.effect_noise((20, 30), 80).convert("RGB")
    key, picture = put(store, address_of(noise))
    assert picture.image.tobytes() == noise.tobytes()
    found = store.find(key)
    assert isinstance(found, Picture)
    assert found.image.tobytes() == noise.tobytes()
    assert put(store, address_of(found.image))[0] == key


TOO_LARGE = f"are more than {MAX_FILE_BYTES:,}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "the file is empty"),
        ("data:", "the file is empty"),
        ("data:image/png;base64,", "the file is empty"),
        ("data:text/html;base64,PGI+", "it is no PNG, JPEG"),
        ("https://example.org/cat.png", "it is no base64"),
        ("data:image/png;base64,%%%", "it is no base64"),
        ("data:image/png;base64,é", "it is no base64"),
        ("data:image/png;base64,AAA", "it is no base64"),
        ("data:image/png;base64,A AA=", "it is no base64"),
        (sent(bytes(MAX_FILE_BYTES)), "it is no PNG, JPEG"),
        (sent(bytes(MAX_FILE_BYTES + 1)), f"its 8,388,609 bytes {TOO_LARGE}"),
        (sent(bytes(MAX_FILE_BYTES + 3)), TOO_LARGE),
        ("%" * 2 * MAX_FILE_BYTES, TOO_LARGE),  # before it is read
    ],
)
def test_data_that_is_no_picture_is_refused(data: str, reason: str) -> None:
    with pytest.raises(SpecError) as raised:
        put(PictureStore(2**24, {}), data)
    assert raised.value.field == "image"
    assert reason in raised.value.reason
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
    keys = [put(store, address_of(image))[0] for image in shades]
    with pytest.raises(MissingPicture):
        store.find(keys[0])
    assert all(isinstance(store.find(name), Picture) for name in (*keys[1:], "own"))


def test_no_file_is_read_written_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = tmp_path / "own.png"
    Image.new("RGB", (4, 4), (0, 0, 255)).save(own)
    answer = call("open_picture", {"data": sent(own.read_bytes())})
    assert answer["data"] == address_of(Image.new("RGB", (4, 4), (0, 0, 255)))
    assert "error" in call("open_picture", {"data": sent(b"no picture")})
    for field in ("path", "data", "file"):
        assert "error" in call("open_picture", {field: str(own)})
    assert list(tmp_path.iterdir()) == [own]
