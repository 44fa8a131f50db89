"""An image of a split.

Letters: H W an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from PIL import Image

from wsss_lightning.data.file_facts import Fact
from wsss_lightning.data.images import read_rgb
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten


@final
@dataclass
class SplitImage:
    """An image file and what is known about it.

    Args:
        name: path below the folder of images, without suffix.
        path: path of the file.
        fact: header and digest of the file.
        apply_orientation: whether the EXIF orientation is applied.
    """

    name: str
    path: Path
    fact: Fact
    apply_orientation: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as read."""
        header = self.fact.header
        return header.upright if self.apply_orientation else header.stored

    def read(self) -> Image.Image:
        """The image, RGB.

        Raises:
            InputError: as in `read_rgb`.
        """
        return read_rgb(self.path, self.apply_orientation)

    def check_mask_size(self, path: Path, size: tuple[int, ...]) -> None:
        """Check that a mask has the size of this image.

        Args:
            path: path of the mask.
            size: size of the mask, (H, W).

        Raises:
            InputError: the sizes differ.
        """
        height, width = self.size
        if size != (height, width):
            raise InputError(
                f"{path} is of {size[1]}x{size[0]} pixels, but its image {self.path.name} is "
                f"of {width}x{height}; make the mask from the image of that size."
            )


def notes_of_depth(images: Sequence[SplitImage]) -> list[str]:
    """A remark for the user about images with more than 8 bits a channel; none if all have 8."""
    deep = [image.name for image in images if image.fact.deep]
    return deep and [
        f"{len(deep)} images with 16 bits a channel are converted linearly to 8, 65535 to 255 "
        f"({shorten(deep)})"
    ]
