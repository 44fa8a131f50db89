"""Sources of the boxes of a split: XML annotations, a table, or instance masks.

Letters: c classes, n boxes, H W an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.sources.annotations import Annotations
from wsss_lightning.data.sources.boxes import (
    BoxTable,
    RawBox,
    boxes_of_instances,
    clip_and_round,
    exceeds_image,
    read_coco,
    read_csv,
)
from wsss_lightning.data.sources.masks import SUFFIXES, read_ids
from wsss_lightning.data.sources.names import ClassNames, Companions, ImageIndex
from wsss_lightning.data.sources.true_masks import TrueMasks
from wsss_lightning.data.split_image import SplitImage
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

TOLERANCE: Final = 2  # pixels that a box may exceed its image by rounding in a tool


class BoxCounts(NamedTuple):
    """Number of boxes in a split.

    Attributes:
        boxes: number of boxes that are used.
        clipped: number of these boxes that exceeded their image.
        tags_without_box: tags whose class has no box in the image.
        empty: objects of a COCO file without height or width, which are left out.
    """

    boxes: int
    clipped: int
    tags_without_box: int
    empty: int


class BoxSource(ABC):
    """Boxes of images."""

    @abstractmethod
    def path(self, image: SplitImage) -> Path:
        """The file that holds the boxes of an image, or its usual path if it is missing."""

    @abstractmethod
    def read(self, image: SplitImage) -> Float[np.ndarray, "n 5"]:
        """Label 1 to c, x0, y0, x1, y1 in whole pixels inside the image, ends exclusive.

        Raises:
            InputError: a file is missing or damaged, or a box is invalid.
        """

    @abstractmethod
    def problems(self, image: SplitImage) -> list[str]:
        """A message for each invalid box of an image."""

    @abstractmethod
    def annotated_sizes(self, image: SplitImage) -> set[tuple[int, int]]:
        """Sizes (H, W) on which the boxes may have been drawn; empty if unknown."""

    def check_file(self) -> None:
        """Raise an `InputError` if the boxes of all images are in one file that is invalid."""
        return

    def num_clipped(self, image: SplitImage) -> int:
        """Number of boxes that exceed the image."""
        return 0

    def num_empty(self) -> int:
        """Number of objects without height or width, over all images."""
        return 0


def count_boxes(
    source: BoxSource, images: Sequence[SplitImage], tags: Float[Tensor, "n c"]
) -> BoxCounts:
    """Count the boxes of images with these tags.

    Args:
        source: source of the boxes.
        images: images of the split.
        tags: multi-hot tags of the images.
    """
    boxes = clipped = without_box = 0
    for image, vector in zip(images, tags, strict=True):
        labels = source.read(image)[:, 0].astype(int).tolist()
        boxes += len(labels)
        clipped += source.num_clipped(image)
        without_box += len(set((vector.nonzero().flatten() + 1).tolist()) - set(labels))
    return BoxCounts(boxes, clipped, without_box, source.num_empty())


class DrawnBoxes(BoxSource):
    """Boxes that files hold as numbers.

    Args:
        classes: classes of the dataset.
    """

    def __init__(self, classes: ClassNames) -> None:
        self.classes = classes

    @abstractmethod
    def raw(self, image: SplitImage) -> list[RawBox]:
        """Boxes as the file holds them."""

    @abstractmethod
    def stated_size(self, image: SplitImage) -> tuple[int, int] | None:
        """(H, W) of the image according to the file of boxes; None if it does not say."""

    def read(self, image: SplitImage) -> Float[np.ndarray, "n 5"]:
        rows = []
        for box in self._fitting(image):
            label = self._label(box, image)
            if label is not None:
                rows.append((label, *(clip_and_round(box, *image.size) or ())))
        return np.array(rows, np.float32).reshape(-1, 5)

    def problems(self, image: SplitImage) -> list[str]:
        try:
            boxes = self._fitting(image)
        except InputError as error:
            return [str(error)]
        messages = []
        for box in boxes:
            try:
                self._label(box, image)
            except InputError as error:
                messages.append(str(error))
        return messages

    def annotated_sizes(self, image: SplitImage) -> set[tuple[int, int]]:
        try:
            if not self.path(image).is_file():
                return set()
            size = self.stated_size(image)
            if size is not None:
                return {size}
            boxes = self.raw(image)
        except InputError:  # reported where the boxes are used
            return set()
        header = image.fact.header
        fitting = {
            (height, width)
            for height, width in (header.upright, header.stored)
            if not any(exceeds_image(b, height + TOLERANCE, width + TOLERANCE) for b in boxes)
        }
        return fitting if boxes and len(fitting) == 1 else set()

    def num_clipped(self, image: SplitImage) -> int:
        path = self.path(image)
        return sum(
            exceeds_image(box, *image.size)
            for box in self._fitting(image)
            if self.classes.require(box.name, path) is not None
        )

    def _fitting(self, image: SplitImage) -> list[RawBox]:
        """Boxes as the file holds them, drawn on an image of this size."""
        boxes = self.raw(image)
        size = self.stated_size(image)
        if boxes and size is not None and size != image.size:
            height, width = image.size
            raise InputError(
                f"{self.path(image)} says that {image.name} is of {size[1]}x{size[0]} pixels, "
                f"but {image.path.name} is of {width}x{height}: the boxes belong to an image of "
                "another size. Scale the boxes, or restore the image that was annotated."
            )
        return boxes

    def _label(self, box: RawBox, image: SplitImage) -> int | None:
        """Label of a box; None for a class that is left out."""
        path, (height, width) = self.path(image), image.size
        index = self.classes.require(box.name, path)
        if index is None:
            return None
        subject = f"{path} has a {box.name}"
        if box.where:
            subject += f" in {image.name} ({box.where})"
        if box.corners is None:
            raise InputError(
                f"{subject} without a box in numbers ({box.numbers}); give all four as numbers."
            )
        if clip_and_round(box, height, width) is None:
            raise InputError(
                f"{subject} whose box ({box.numbers}) holds no pixel of the image of "
                f"{width}x{height}; correct the box, or remove it."
            )
        return index + 1


@final
class XmlBoxes(DrawnBoxes):
    """Boxes of XML annotations.

    Args:
        classes: classes of the dataset.
        annotations: annotations of the split.
        difficult: keep objects that are marked as difficult.
    """

    def __init__(self, classes: ClassNames, annotations: Annotations, difficult: bool) -> None:
        super().__init__(classes)
        self.annotations, self.difficult = annotations, difficult

    def path(self, image: SplitImage) -> Path:
        return self.annotations.path(image)

    def raw(self, image: SplitImage) -> list[RawBox]:
        boxes = self.annotations.read(image).boxes
        return [box for box in boxes if self.difficult or not box.difficult]

    def stated_size(self, image: SplitImage) -> tuple[int, int] | None:
        return self.annotations.read(image).size


@final
class TableBoxes(DrawnBoxes):
    """Boxes of all images in one file: COCO's JSON, or CSV.

    Args:
        classes: classes of the dataset.
        file: file that holds the boxes.
        index: index of all images.
        names: names of the images of the split.
        split: named in messages.
        allow_unlisted: images without an entry have no object.
        notes: list that remarks for the user are added to when the file is read.
    """

    READERS: Final = {".json": read_coco, ".csv": read_csv}

    def __init__(
        self,
        classes: ClassNames,
        file: Path,
        index: ImageIndex,
        names: Sequence[str],
        split: str,
        allow_unlisted: bool,
        notes: list[str],
    ) -> None:
        super().__init__(classes)
        self.file, self.index, self.names, self.split = file, index, list(names), split
        self.allow_unlisted, self.notes = allow_unlisted, notes

    def path(self, image: SplitImage) -> Path:
        return self.file

    def raw(self, image: SplitImage) -> list[RawBox]:
        return self._table.boxes.get(image.name, [])

    def stated_size(self, image: SplitImage) -> tuple[int, int] | None:
        return self._table.sizes.get(image.name)

    def check_file(self) -> None:
        _ = self._table

    def num_empty(self) -> int:
        return self._table.num_empty

    @cached_property
    def _table(self) -> BoxTable:
        """The contents of the file, by the names of the images."""
        if self.file.suffix.lower() not in self.READERS:
            raise InputError(
                f"`boxes` is {self.file.name}; set it to xml, masks, or a .json (COCO) or .csv "
                "file below `root`."
            )
        if not self.file.is_file():
            raise InputError(f"{self.file} is missing; set `boxes=FILE` to the file of boxes.")
        table = self.READERS[self.file.suffix.lower()](self.file)
        names = frozenset(self.names)
        name_of = {text: self.index.name(text, names) for text in table.boxes}
        missing = [text for text in table.boxes if not self.index.find(text)]
        boxes: dict[str, list[RawBox]] = {}
        for text, name in name_of.items():
            if name is not None:
                boxes.setdefault(name, []).extend(table.boxes[text])
        sizes = {n: size for text, size in table.sizes.items() if (n := name_of[text]) is not None}
        if missing:
            self.notes.append(
                f"{self.file.name} has boxes of {len(missing)} images that are not in "
                f"{self.index.folder} ({shorten(missing)})"
            )
            self._check_unlisted(set(boxes), missing)
        return BoxTable(boxes, sizes, table.num_empty)

    def _check_unlisted(self, listed: set[str], missing: Sequence[str]) -> None:
        """Reject images without an entry that the file may list under another name."""
        unlisted = [name for name in self.names if name not in listed]
        if unlisted and self.allow_unlisted:
            raise InputError(
                f"{self.file} has no entry for {len(unlisted)} images of {self.split} "
                f"({shorten(unlisted)}), but has boxes of images that are not in "
                f"{self.index.folder} ({shorten(missing)}); write the names as in that folder."
            )


@final
class InstanceBoxes(BoxSource):
    """Bounding boxes of the instances in instance masks; true masks give their classes.

    Args:
        folder: folder of the instance masks.
        index: index of the images.
        masks: true masks of the split.
    """

    def __init__(self, folder: Path, index: ImageIndex, masks: TrueMasks) -> None:
        self.folder, self._index, self.masks = folder, index, masks

    @cached_property
    def _files(self) -> Companions:
        return Companions(self.folder, SUFFIXES, self._index)

    def path(self, image: SplitImage) -> Path:
        return self._files.path(image.name, image.path)

    def annotated_sizes(self, image: SplitImage) -> set[tuple[int, int]]:
        return set()  # the true mask has the same size

    def read(self, image: SplitImage) -> Float[np.ndarray, "n 5"]:
        path = self.path(image)
        instances = read_ids(path)
        image.check_mask_size(path, instances.shape)
        mask = self.masks.read(image)
        try:
            return boxes_of_instances(instances, mask).astype(np.float32)
        except ValueError as error:
            raise InputError(
                f"{path} does not fit the mask of its image: {error}; correct one of them."
            ) from error

    def problems(self, image: SplitImage) -> list[str]:
        try:
            self.read(image)
        except InputError as error:
            return [str(error)]
        return []
