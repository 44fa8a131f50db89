"""Pictures with an EXIF orientation, for tests."""

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
# how a picture must be stored so that each EXIF orientation shows it as it was
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(height: int = 12, width: int = 20) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:6, :8] = 255, 0, 0
    pixels[6:, 8:] = 0, 0, 255
    return Image.fromarray(pixels)


def save_turned(path, orientation: int, shown: Image.Image | None = None) -> None:
    """A file whose orientation shows the picture, whatever the order of its stored pixels."""
    shown = shown or picture()
    stored = shown if STORED[orientation] is None else shown.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    stored.save(path, exif=exif, **lossless)
