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

from PIL import ExifTags, Image, ImageOps

from wsss_lightning.errors import InputError

# Pillow recognises them by content. Others are left out: some start a program (EPS).
FORMATS: Final = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
TAIL: Final = 1 << 10  # bytes; cameras append a few to a JPEG
# besides the usual, what Pillow's readers raise on damaged files
_FROM_DAMAGE = (struct.error, zlib.error, IndexError, OverflowError, MemoryError)


class Header(NamedTuple):
    """Size of an image, and how it must be turned to be upright.

    Attributes:
        height: of the pixels as they are stored.
        width: of the pixels as they are stored.
        orientation: EXIF orientation, 1 to 8; 1 is upright. From 5 on, height and width swap.
    """

    height: int
    width: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """(H, W) without the orientation applied."""
        return self.height, self.width

    @property
    def upright(self) -> tuple[int, int]:
        """(H, W) with the orientation applied, as image viewers show the picture."""
        return (self.width, self.height) if self.orientation >= 5 else self.stored


def header_of(image: Image.Image) -> Header:
    """Header of an opened image.

    Pillow turns TIFF files upright by itself, so their orientation is always 1 here.
    """
    orientation = 1
    if image.format == "PNG":
        # PNG's own method would decode all pixels, to look for EXIF behind them
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    elif image.format != "TIFF":
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return Header(image.height, image.width, orientation if orientation in range(1, 9) else 1)


def upright(image: Image.Image) -> Image.Image:
    """The picture as image viewers show it: its EXIF orientation applied and removed."""
    return ImageOps.exif_transpose(image) if header_of(image).orientation != 1 else image


def read_header(path: Path) -> Header:
    """Header of an image file; pixels are not decoded.

    Raises:
        InputError: the file is absent or is not an image.
    """
    with opened(path) as image:
        return header_of(image)


def read_rgb(path: Path, turn: bool = True) -> Image.Image:
    """The picture of an image file, RGB with 8 bits a channel.

    Args:
        path: of the file.
        turn: apply its EXIF orientation.

    Raises:
        InputError: the file is absent, damaged, or holds more than 8 bits a channel.
    """
    with opened(path) as image:
        if image.mode[0] in "IF":
            # Pillow would clip such levels to 255: a white picture
            raise InputError(
                f"{path} holds more than 8 bits a channel (mode {image.mode}); save it with 8."
            )
        return (upright(image) if turn else image).convert("RGB")


@contextmanager
def opened(path: Path, file: io.BytesIO | None = None) -> Iterator[Image.Image]:
    """An image file whose pixels are decoded on demand, inside the block.

    Args:
        path: of the file; errors name it.
        file: its content, where it was read before.

    Raises:
        InputError: the file is absent, damaged or larger than Pillow's limit of pixels, at once or
            where pixels are decoded.
    """
    try:
        with Image.open(path if file is None else file, formats=_formats()) as image:
            _check_pixels(path, image)
            yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; add it, or take it off the list.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} claims far more than {_most_pixels()} pixels ({error}); cut it into smaller "
            "images, or take it off the list."
        ) from error
    # what Pillow's readers let through on damaged files
    except (OSError, SyntaxError, ValueError, EOFError, *_FROM_DAMAGE) as error:
        raise InputError(
            f"{path} cannot be read as an image ({error}); replace it, or take it off the list."
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those that this build of Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_whole(content: bytes) -> bool:
    """Whether a JPEG or PNG ends as it must; False where that cannot be told."""
    tail = content[-TAIL:]
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in tail
    return content.startswith(b"\x89PNG") and b"IEND" in tail


def _check_pixels(path: Path, image: Image.Image) -> None:
    """Before any pixel is decoded: a file of a few bytes can claim gigabytes of them."""
    if image.width * image.height > _most_pixels():
        raise InputError(
            f"{path} has {image.width}x{image.height} pixels, but at most {_most_pixels()} are "
            "read; cut it into smaller images, or take it off the list."
        )


def _most_pixels() -> int:
    return Image.MAX_IMAGE_PIXELS or 89_478_485
