"""Images that the page shows: photos, and layers with transparency.

Letters: H W an image.
"""

import io
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from wsss_lightning.figures.overlays import label_colours
from wsss_lightning.ops.masks import IGNORE

MAX_SIDE: Final = 4096  # pixels of a photo, which the page stretches to its size
THUMBNAIL_SIDE: Final = 96
IGNORED: Final = (255, 255, 255, 160)  # of ignored pixels, RGBA
LEVELS: Final = 256


def photo(image: Image.Image, side: int = MAX_SIDE) -> bytes:
    """A JPEG whose longer side is at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    return _encoded(small, "JPEG", quality=92)


def mask_layer(mask: UInt8[np.ndarray, "H W"]) -> bytes:
    """A PNG in the colours of the labels, brighter at their borders; background is transparent."""
    colours = np.concatenate([label_colours(), np.full((256, 1), 255)], axis=1).astype(np.uint8)
    colours[0] = 0
    colours[IGNORE] = IGNORED
    pixels = colours[mask]
    edge = borders(mask) & (mask != 0)
    pixels[edge, :3] = (0.4 * pixels[edge, :3] + 0.6 * 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), "PNG")


def borders(mask: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels beside or above and below which there is another label."""
    edge = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        differs = np.diff(mask, axis=axis) != 0
        first, last = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        first[axis], last[axis] = (0, 1), (1, 0)
        edge |= np.pad(differs, first) | np.pad(differs, last)
    return edge


def heat_layer(score: Float[np.ndarray, "H W"]) -> bytes:
    """A PNG of a score map in [0, 1]: 0 is transparent, 0.5 green, 1 red."""
    level = np.linspace(0, 1, LEVELS)
    heat = [np.clip(1.5 - np.abs(4 * level - peak), 0, 1) for peak in (3.0, 2.0, 1.0)]
    opacity = np.clip(level / 0.3, 0, 1)
    colours = (255 * np.stack([*heat, opacity], axis=1)).round().astype(np.uint8)
    image = Image.fromarray((score * (LEVELS - 1)).round().astype(np.uint8))
    image.putpalette(colours[:, :3].tobytes())
    return _encoded(image, "PNG", transparency=colours[:, 3].tobytes())


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()
