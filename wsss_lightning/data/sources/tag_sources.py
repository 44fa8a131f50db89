"""Tags of a split, from annotations, boxes, masks or a table.

Letters: c classes, n images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.sources.annotations import Annotations
from wsss_lightning.data.sources.box_sources import BoxSource
from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.sources.tags import read_csv, read_npy
from wsss_lightning.data.sources.true_masks import TrueMasks
from wsss_lightning.data.split_image import SplitImage
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten

Refuse = Callable[[Iterable[str], str], None]
"""Raises an `InputError` about the images of these names, or records the reason to skip them."""
Retags = Mapping[str, Mapping[str, Mapping[str, bool]]]
"""Corrections of tags: {split: {image: {class: whether the image shows it}}}."""


def tags_of_images(
    indices_of: Callable[[SplitImage], Iterable[int]],
    images: Sequence[SplitImage],
    num_classes: int,
    refuse: Refuse,
) -> tuple[list[SplitImage], Float[Tensor, "n c"]]:
    """Images that can be used, and their multi-hot tags.

    Args:
        indices_of: classes of an image, from 0.
        images: images of the split.
        num_classes: c.
        refuse: called for images whose annotation cannot be used.
    """
    tags = torch.zeros(len(images), num_classes)
    used = []
    for i, image in enumerate(images):
        try:
            tags[i, list(indices_of(image))] = 1
            used.append(i)
        except InputError as error:
            refuse([image.name], str(error))
    return [images[i] for i in used], tags[used]


def indices_from_xml(image: SplitImage, annotations: Annotations, classes: ClassNames) -> list[int]:
    """Classes of all objects, from 0, difficult ones included.

    Args:
        image: an image of the split.
        annotations: annotations of the split.
        classes: classes of the dataset.
    """
    path = annotations.path(image)
    indices = (classes.require(box.name, path) for box in annotations.read(image).boxes)
    return [index for index in indices if index is not None]


def indices_from_boxes(image: SplitImage, boxes: BoxSource) -> list[int]:
    """Classes of all boxes, from 0."""
    return [int(label) - 1 for label in boxes.read(image)[:, 0]]


def indices_from_mask(image: SplitImage, masks: TrueMasks) -> list[int]:
    """Classes with at least one pixel, from 0."""
    return [int(label) - 1 for label in np.unique(masks.read(image)) if 0 < label < IGNORE]


def tags_of_table(
    path: Path,
    images: Sequence[SplitImage],
    index: ImageIndex,
    classes: ClassNames,
    split: str,
    refuse: Refuse,
) -> tuple[list[SplitImage], Float[Tensor, "n c"]]:
    """Images that the table lists, and their multi-hot tags.

    Args:
        path: path of a .csv, .tsv or .npy file.
        images: images of the split.
        index: index of all images.
        classes: classes of the dataset.
        split: named in messages.
        refuse: called for images that the table lacks.

    Raises:
        InputError: the file is missing, of another kind, or cannot be used.
    """
    if path.suffix.lower() not in (".csv", ".tsv", ".npy"):
        raise InputError(
            f"`tags` is {path.name}; set it to xml, masks, boxes, or a .csv, .tsv or .npy file "
            "below `root`."
        )
    if not path.is_file():
        raise InputError(f"{path} is missing; set `tags=FILE` to the file of tags.")
    read = read_npy if path.suffix.lower() == ".npy" else read_csv
    table = read(path, index, classes)
    absent = [image.name for image in images if image.name not in table.tags]
    if absent:
        others = (
            f" It has tags of {len(table.missing)} images that are not in {index.folder} "
            f"({shorten(table.missing)})."
            if table.missing
            else ""
        )
        refuse(
            absent,
            f"{path} has no tags for {len(absent)} images of {split} ({shorten(absent)}); add "
            f"them, or take these images off the list.{others}",
        )
    used = [image for image in images if image.name in table.tags]
    tags = np.zeros((len(used), len(classes.names)), np.float32)
    for row, image in zip(tags, used, strict=True):
        row[:] = table.tags[image.name]
    return used, torch.from_numpy(tags)


def retag(
    tags: Float[Tensor, "n c"],
    names: Sequence[str],
    classes: ClassNames,
    corrected: Mapping[str, Mapping[str, bool]],
) -> None:
    """Correct the tags of some images, in place.

    Args:
        tags: multi-hot.
        names: names of the images.
        classes: classes of the dataset.
        corrected: {image: {class: whether the image shows it}}.

    Raises:
        InputError: there is no such image or class.
    """
    rows = {name: i for i, name in enumerate(names)}
    unknown = [name for name in corrected if name not in rows]
    if unknown:
        raise InputError(
            f"`retags` names {len(unknown)} images that the split does not have "
            f"({shorten(unknown)}); {did_you_mean(unknown[0], rows)}"
        )
    for name, shown in corrected.items():
        for word, present in shown.items():
            index = classes.require(word, "`retags`")
            if index is not None:
                tags[rows[name], index] = float(present)
