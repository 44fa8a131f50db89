"""Image files: headers, orientation and pixels, read safely by Pillow.

Letters: H W an image.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from wsss_lightning.errors import InputError

# Pillow detects the format by content. Others are excluded: some run a program (EPS).
FORMATS: Final = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
DEEPEST: Final = 65_535  # the highest level of 16 bits
TAIL: Final = 1 << 10  # bytes searched for the end marker; cameras append a few to a JPEG
# errors of Pillow's readers on damaged files, besides the documented ones
_DAMAGE_ERRORS = (struct.error, zlib.error, IndexError, OverflowError, MemoryError)


class Header(NamedTuple):
    """Size and orientation of an image.

    Attributes:
        height: as stored, pixels.
        width: as stored, pixels.
        orientation: EXIF orientation, 1 to 8; 1 is upright, 5 to 8 swap height and width.
        deep: whether a channel has more than 8 bits, which are converted linearly to 8.
    """

    height: int
    width: int
    orientation: int = 1
    deep: bool = False

    @property
    def stored(self) -> tuple[int, int]:
        """(H, W) without the orientation applied."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """(H, W) with the orientation applied, as in image viewers."""
        return (self.width, self.height) if self.orientation >= 5 else self.stored


def header_of(image: Image.Image) -> Header:
    """Header of an opened image.

    Pillow applies the orientation of TIFF files itself, so it is always 1 here.
    """
    orientation = 1
    if image.format == "PNG":
        # PNG's own method would decode all pixels to find EXIF data after them
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    elif image.format != "TIFF":
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    return Header(image.height, image.width, orientation, _is_deep(image))


def upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied, as in image viewers."""
    return ImageOps.exif_transpose(image) if header_of(image).orientation != 1 else image


def read_header(path: Path) -> Header:
    """Read the header of an image file without decoding pixels.

    Raises:
        InputError: the file is missing or no image.
    """
    with opened(path) as image:
        return header_of(image)


def read_rgb(path: Path, apply_orientation: bool = True) -> Image.Image:
    """Read an image as RGB with 8 bits a channel.

    Args:
        path: path of the file.
        apply_orientation: apply its EXIF orientation.

    Raises:
        InputError: the file is missing, damaged, or has levels outside of 16 bits.
    """
    with opened(path) as image:
        return rgb_of(image, str(path), apply_orientation)


def rgb_of(image: Image.Image, name: str, apply_orientation: bool = True) -> Image.Image:
    """Convert an image to RGB with 8 bits a channel.

    Levels of 16 bits are converted linearly: 65535 becomes 255. Transparency is dropped, so that a
    transparent pixel has its stored colour.

    Args:
        image: image of any mode.
        name: name of the image, for messages.
        apply_orientation: apply its EXIF orientation.

    Raises:
        InputError: levels are outside of 16 bits.
    """
    if apply_orientation:
        image = upright(image)
    if image.mode[0] in "IF":
        # Pillow would clip such levels to 255, which gives a white image
        image = _to_8_bits(image, name)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    levels = np.asarray(image)
    low, high = levels.min(), levels.max()
    if image.mode == "F" or low < 0 or high > DEEPEST:
        raise InputError(
            f"{name} has levels {low} to {high} (mode {image.mode}), but levels of 8 bits (0 to "
            f"255) or of 16 bits (0 to {DEEPEST}) are read; save it with one of these."
        )
    return Image.fromarray(
        ((levels.astype(np.uint32) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8)
    )


def _is_deep(image: Image.Image) -> bool:
    """Whether a channel has more than 8 bits.

    Pillow opens colour images of 16 bits with 8; only their undecoded tiles tell.
    """
    return image.mode[0] == "I" or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


@contextmanager
def opened(path: Path, file: io.BytesIO | None = None) -> Iterator[Image.Image]:
    """Open an image file; pixels are decoded on demand inside the block.

    Args:
        path: path of the file; errors name it.
        file: its content, if already read.

    Raises:
        InputError: the file is missing, damaged or larger than Pillow's limit of pixels. Damage may
            be noticed only when pixels are decoded.
    """
    try:
        with Image.open(path if file is None else file, formats=_formats()) as image:
            _check_pixels(path, image)
            yield image
    except InputError:
        raise
    except UnidentifiedImageError as error:  # its message may hold the address of an object
        raise InputError(
            f"{path} cannot be read as an image (unknown format); replace it, or take it off the "
            "list."
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; add it, or take it off the list.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} claims far more than {_most_pixels()} pixels ({error}); cut it into smaller "
            "images, or take it off the list."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, *_DAMAGE_ERRORS) as error:
        raise InputError(
            f"{path} cannot be read as an image ({error}); replace it, or take it off the list."
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """Formats that this build of Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_intact(content: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; False for other formats."""
    tail = content[-TAIL:]
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    return content.startswith(b"\x89PNG") and b"IEND" in tail


def _check_pixels(path: Path, image: Image.Image) -> None:
    """Refuse huge images before decoding: a file of a few bytes can claim gigabytes of pixels."""
    if image.width * image.height > _most_pixels():
        raise InputError(
            f"{path} has {image.width}x{image.height} pixels, but at most {_most_pixels()} are "
            "read; cut it into smaller images, or take it off the list."
        )


def _most_pixels() -> int:
    return Image.MAX_IMAGE_PIXELS or 89_478_485
