"""Small pictures of known colours, and their files."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

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


PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
