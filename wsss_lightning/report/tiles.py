"""Tiles: small images inside the page, and the same images in full size beside it."""

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsss_lightning.utils.files import write_atomically

TILE_SIZE = 176  # longer side of a tile, pixels
FULL_SIZE = 2000  # longer side of an image in full size, pixels
IMAGE_FILE = re.compile(r"[0-9a-f]{16}\.jpg")  # name of a stored image
RGB = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Tile:
    """An image of the page.

    Args:
        source: small image, as a data URL.
        caption: what it shows.
        numbers: scores of it; may be empty.
        full: name of its file in full size.
        size: width and height of the small image, pixels.
    """

    source: str
    caption: str
    numbers: str
    full: str
    size: tuple[int, int]


def make_tile(folder: Path, image: RGB, caption: str, numbers: str = "") -> Tile:
    """Store an image in full size, and make a tile of it.

    Args:
        folder: for images in full size; created with the first of them.
        image: image to show.
        caption: text below the tile.
        numbers: second line of this text.
    """
    full, _ = _jpeg(image, FULL_SIZE, quality=90)
    name = f"{hashlib.sha256(full).hexdigest()[:16]}.jpg"
    path = folder / name
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        write_atomically(path, lambda file: file.write(full))
    small, size = _jpeg(image, TILE_SIZE, quality=72)
    source = "data:image/jpeg;base64," + base64.b64encode(small).decode()
    return Tile(source, caption, numbers, name, size)


def remove_other_images(folder: Path, kept: set[str]) -> None:
    """Remove images of an earlier page, and the folder if it becomes empty.

    Args:
        folder: folder of images in full size.
        kept: names of files to keep.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if IMAGE_FILE.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _jpeg(pixels: RGB, side: int, quality: int) -> tuple[bytes, tuple[int, int]]:
    """An image of at most this longer side as JPEG, and its width and height."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue(), image.size
