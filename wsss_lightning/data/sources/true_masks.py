"""True masks of a split.

Letters: H W an image.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.file_facts import Fact
from wsss_lightning.data.mask_survey import MaskSurvey
from wsss_lightning.data.sources.masks import SUFFIXES, MaskReader
from wsss_lightning.data.sources.names import Companions, ImageIndex
from wsss_lightning.data.split_image import SplitImage
from wsss_lightning.errors import InputError


@final
class TrueMasks:
    """Masks of the same names as the images, in a folder of their own.

    Args:
        folder: folder of the masks.
        index: index of the images.
        reader: converts ids or colours to labels.
        split: named in messages.
    """

    def __init__(self, folder: Path, index: ImageIndex, reader: MaskReader, split: str) -> None:
        self.folder, self.reader, self.split = folder, reader, split
        self._files = Companions(folder, SUFFIXES, index)
        self._found: dict[str, Path | None] = {}  # file by image name
        self._facts: Mapping[Path, Fact | InputError] = {}

    def locate(self, images: Iterable[tuple[str, Path]]) -> list[Path]:
        """Find the masks of the split, and return those that exist.

        Args:
            images: name and file of each.
        """
        self._found = {name: self._files.find(name, path) for name, path in images}
        return [path for path in self._found.values() if path is not None]

    def set_facts(self, facts: Mapping[Path, Fact | InputError]) -> None:
        """Keep headers and digests of the masks that `locate` returned."""
        self._facts = {path: facts[path] for path in self._found.values() if path is not None}

    def find(self, image: SplitImage) -> Path | None:
        """The mask of an image; None if it is missing."""
        return self._found[image.name]

    def path(self, image: SplitImage) -> Path:
        """The mask of an image, or its usual path if it is missing."""
        return self.find(image) or self._files.expected(image.name)

    def any_exists(self) -> bool:
        """Whether any image of the split has a mask."""
        return any(path is not None for path in self._found.values())

    def fact(self, image: SplitImage) -> Fact | InputError | None:
        """Header and digest of a mask, or the error of a damaged one; None if it is missing."""
        path = self.find(image)
        return None if path is None else self._facts[path]

    def unused(self) -> list[str]:
        """Names of files in the folder that belong to no image of the split."""
        return self._files.unused(self._found)

    def check_exists(self, image: SplitImage) -> None:
        """Raise an `InputError` if an image has no mask."""
        if self.find(image) is not None:
            return
        path = self.path(image)
        if not self.any_exists():
            raise InputError(
                f"{path} is missing, and so are all masks of {self.split}; add them, or set "
                "`mask_dir` to their folder."
            )
        raise InputError(
            f"{path} is missing, but other masks of {self.split} exist; add it, or take "
            f"{image.name} off the list."
        )

    def read(self, image: SplitImage) -> UInt8[np.ndarray, "H W"]:
        """Labels of an image: 0 to c, and 255 ignored.

        Raises:
            InputError: the mask is missing, damaged, of another size, or holds invalid ids.
        """
        self.check_exists(image)
        path = self.path(image)
        mask = self.reader.read(path)
        image.check_mask_size(path, mask.shape)
        if (mask < 0).any():
            survey = MaskSurvey(self.reader, self.split)
            survey.add(self.reader.inspect(path), ())
            raise InputError(survey.problems()[0])
        return mask.astype(np.uint8)
