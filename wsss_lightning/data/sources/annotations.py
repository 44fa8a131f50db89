"""XML annotations of a split, each parsed once."""

from functools import cached_property
from pathlib import Path
from typing import final

from wsss_lightning.data.sources.boxes import Annotation, read_xml
from wsss_lightning.data.sources.names import Companions, ImageIndex
from wsss_lightning.data.split_image import SplitImage


@final
class Annotations:
    """Annotations in VOC's XML, one file an image.

    Args:
        folder: folder of the files.
        index: index of the images.
    """

    def __init__(self, folder: Path, index: ImageIndex) -> None:
        self.folder, self._index = folder, index
        self._parsed: dict[str, Annotation] = {}

    @cached_property
    def _files(self) -> Companions:
        return Companions(self.folder, (".xml",), self._index)

    def path(self, image: SplitImage) -> Path:
        """The file of an image, or its usual path if it is missing."""
        return self._files.path(image.name, image.path)

    def read(self, image: SplitImage) -> Annotation:
        """Objects of an image.

        Raises:
            InputError: as in `read_xml`.
        """
        if image.name not in self._parsed:
            self._parsed[image.name] = read_xml(self.path(image))
        return self._parsed[image.name]
