"""Opened pictures, cached by a hash of their content.

The browser keeps each picture; the server asks for it again when it is no longer cached.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder
from PIL import Image

from vitc_inspect.common.errors import SpecError
from vitc_inspect.common.images import SAMPLES, Picture, read_picture
from vitc_inspect.inspection.stem_inspection import read_input
from vitc_inspect.ui.cache import ByteCache

KEPT_SIDE = 1024
"""Longest side to which an opened picture is reduced (pixels)."""
MAX_FILE_BYTES = 8 * 2**20
"""Largest file that can be opened (bytes)."""
_PREFIX = "upload-"
_DATA = "data:image/png;base64,"


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

    def open_file(self, path: Path) -> tuple[str, Picture]:
        """Read a file and cache its picture.

        Returns:
            The key of the picture, and the picture, at most KEPT_SIDE pixels per side.

        Raises:
            SpecError: field "image".
        """
        picture = read_picture(path)
        image, notes = picture.image, picture.notes
        if max(image.size) > KEPT_SIDE:
            notes = (*notes, f"It was reduced to {KEPT_SIDE} pixels on its longer side.")
            image.thumbnail((KEPT_SIDE, KEPT_SIDE))
        return self._keep(Picture(image, notes))

    def open_data(self, address: str) -> tuple[str, Picture]:
        """Read a picture that `address_of` has written.

        Raises:
            SpecError: field "image", when it is not such an address.
        """
        if not address.startswith(_DATA) or len(address) > 2 * MAX_FILE_BYTES:
            raise SpecError("image", "upload", "the data is no PNG", "Open the file again", "photo")
        try:
            content = b64decode(address.removeprefix(_DATA), validate=True)
        except (Base64Error, ValueError):
            raise SpecError(
                "image", "upload", "the data is damaged", "Open the file again", "photo"
            ) from None
        picture = read_picture(content)
        picture.image.thumbnail((KEPT_SIDE, KEPT_SIDE))
        return self._keep(picture)

    def take_in(self, *, path: str, data: str) -> dict[str, Any]:
        """Cache a picture: an uploaded file, or one that the browser sends back.

        Args:
            path: Path of the uploaded file, which is deleted; empty for none.
            data: The picture as `address_of` wrote it, read only without a path.

        Returns:
            "key" by which it is found, "data" for the browser to keep, "notes" on what was done.

        Raises:
            SpecError: field "image".
        """
        if path:
            file = _uploaded(path)
            try:
                key, picture = self.open_file(file)
            finally:
                file.unlink(missing_ok=True)
        else:
            key, picture = self.open_data(data)
        return {"key": key, "data": address_of(picture.image), "notes": list(picture.notes)}

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

    def _keep(self, picture: Picture) -> tuple[str, Picture]:
        content = repr((picture.image.size, picture.notes)).encode() + picture.image.tobytes()
        key = _PREFIX + sha256(content).hexdigest()[:32]
        self._cache.put(key, StoredPicture(picture))
        return key, picture


def _uploaded(name: str) -> Path:
    """The path of an uploaded file; any other path is refused without reading it."""
    try:
        path = Path(name).resolve()
        uploaded = path.is_relative_to(Path(get_upload_folder()).resolve()) and path.is_file()
    except (OSError, ValueError):
        uploaded = False
    if not uploaded:
        raise SpecError("image", Path(name).name, "it was not uploaded", "Open a file", "photo")
    return path


def address_of(image: Image.Image) -> str:
    """Encode a picture losslessly as a data: URI for the browser to keep."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=3)
    return _DATA + b64encode(file.getvalue()).decode()
