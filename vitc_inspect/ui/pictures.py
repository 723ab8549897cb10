"""Pictures opened in a browser, cached by a hash of their content.

A browser sends the content of a file in base64, so none is written. It keeps the decoded picture,
and the server asks for it again when it is no longer cached.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

from PIL import Image

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.fitting import Fit, in_proportion
from vitc_inspect.common.images import (
    KEPT_SIDE,
    SAMPLES,
    Picture,
    fit_sentence,
    image_array,
    to_image,
)
from vitc_inspect.inspection.stem_inspection import read_input
from vitc_inspect.ui.cache import ByteCache

MAX_FILE_BYTES = 8 * 2**20
"""Largest file that can be opened (bytes)."""
_ENCODED_BYTES = 4 * (MAX_FILE_BYTES // 3 + 1)  # of the largest file in base64
_PREFIX = "upload-"
_DATA_URI = "data:image/png;base64,"
_NAME = "the upload"  # in messages, since a browser sends the content alone


@dataclass(frozen=True)
class StoredPicture:
    """A picture in the cache."""

    picture: Picture
    """The picture with its notes."""

    @property
    def bytes(self) -> int:
        """Memory held: three bytes for each pixel."""
        return 3 * self.picture.image.width * self.picture.image.height


class MissingPicture(Exception):
    """The picture is not cached; the browser is asked to send it again."""


class PictureStore:
    """Opened pictures by the hash of their pixels, and the pictures given at the start."""

    def __init__(self, budget: int, own: Mapping[str, Picture]) -> None:
        """Start with the pictures given on the command line.

        Args:
            budget: Most memory for opened pictures (bytes).
            own: Pictures by name that are never dropped.
        """
        self._cache: ByteCache[str, StoredPicture] = ByteCache(budget)
        self._own = own

    def find(self, image: str) -> Picture | str:
        """Find the picture or test pattern with a name.

        Raises:
            MissingPicture: when it was opened in a browser and is not cached.
            SpecError: field "image", when it is neither opened nor a sample.
        """
        if image in self._own:
            return self._own[image]
        if image in SAMPLES:
            return read_input(image)
        stored = self._cache.get(image)
        if stored:
            return stored.picture
        if image.startswith(_PREFIX):
            raise MissingPicture
        raise SpecError(
            "image", image, f"it is not one of {', '.join(SAMPLES)}", "Use photo", "photo"
        )

    def keep(self, picture: Picture) -> str:
        """Cache a decoded picture, and return its key."""
        # without the notes, which it no longer has when a browser sends it again
        content = repr(picture.image.size).encode() + picture.image.tobytes()
        key = _PREFIX + sha256(content).hexdigest()[:32]
        self._cache.put(key, StoredPicture(picture))
        return key


def content_of(data: str) -> bytes:
    """Read the content of an image file that a browser sent, without decoding the image.

    Args:
        data: The content in base64, as it is or as a data: URI of any type.

    Raises:
        SpecError: field "image", when it is larger than MAX_FILE_BYTES or no base64.
    """
    encoded = data.partition(",")[2] if data.startswith("data:") else data
    if len(encoded) > _ENCODED_BYTES:  # before it takes memory
        raise _too_large(len(encoded) * 3 // 4)
    try:
        content = b64decode(encoded, validate=True)
    except ValueError:
        raise SpecError("image", _NAME, "it is no base64", "Open the file again", "photo") from None
    if len(content) > MAX_FILE_BYTES:
        raise _too_large(len(content))
    return content


def _too_large(size: int) -> SpecError:
    reason = f"its {size:,} bytes are more than {MAX_FILE_BYTES:,}"
    return SpecError("image", _NAME, reason, "Use a smaller file", "photo")


def opened(key: str, picture: Picture) -> dict[str, Any]:
    """Answer a browser that has opened a picture.

    Returns:
        "key" by which it is found, "data" for the browser to keep and to send again, "notes" on
        what was done.
    """
    return {"key": key, "data": address_of(picture.image), "notes": list(picture.notes)}


def address_of(image: Image.Image) -> str:
    """Encode a picture losslessly as a data: URI for the browser to keep."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=3)
    return _DATA_URI + b64encode(file.getvalue()).decode()


def fit_parts(picture: Picture | str, image_size: tuple[int, int], fit: Fit) -> dict[str, Any]:
    """Say how a picture was brought to the size of the input.

    Returns:
        "crop", a sentence that may be empty; "proportions", height and width (pixels) near that
        size that have the picture's proportions, or nothing where it has them or is a pattern.
    """
    if isinstance(picture, str):
        drawn = "A test pattern is drawn at the image size, so there is nothing to fit."
        return {"crop": "" if fit == "crop" else drawn, "proportions": []}
    proportions = in_proportion(picture.size, image_size)
    return {
        "crop": fit_sentence(picture, image_size, fit),
        "proportions": [] if proportions == image_size else list(proportions),
    }


def views_of(
    picture: Picture | str, image_size: tuple[int, int], in_channels: int, fit: Fit
) -> dict[str, Any]:
    """Draw a picture as it was opened and as it is fed, each with at most KEPT_SIDE pixels a side.

    Args:
        picture, image_size, in_channels, fit: As `image_array` takes them.

    Returns:
        "views", a list of titles and data: addresses; "crop", the sentence on what was done.
    """
    shrink = min(1.0, KEPT_SIDE / max(image_size))
    height, width = (max(1, round(side * shrink)) for side in image_size)
    fed = to_image(image_array(picture, (height, width), min(in_channels, 3), fit))
    shape = "×".join(map(str, (in_channels, *image_size)))
    views = [{"title": f"As the input: {shape}", "data": address_of(fed)}]
    if isinstance(picture, Picture):
        whole = f"{picture.image.height}×{picture.image.width}"
        opened = {"title": f"As it was opened: {whole} pixels", "data": address_of(picture.image)}
        views.append(opened)
    return {"views": views, "crop": fit_parts(picture, image_size, fit)["crop"]}
