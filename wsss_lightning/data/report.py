"""Statistics and conflicts of a split, from all of its images, masks and boxes.

Letters: H W an image, s the side of a thumbnail.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.mask_survey import MaskSurvey
from wsss_lightning.data.sources.masks import MaskContent
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

THUMBNAIL_SIDE: Final = 9
RARE: Final = 20  # a class with this many times fewer images than the most frequent one is rare


@dataclass(frozen=True)
class TrainTestScale:
    """Compares image sizes in training with those of whole images.

    Args:
        train_setting: name of the setting that gives `train_range`, for messages.
        train_range: smallest and largest longer side in training, pixels.
        test_setting: name of the setting that gives `long_side`, for messages.
        long_side: longer side of a whole image at scale 1, pixels; None: as in the file.
        scales: factors at which a whole image is processed.
    """

    train_setting: str
    train_range: tuple[float, float]
    test_setting: str
    long_side: int | None
    scales: Sequence[float]

    def warning(self, side: float) -> str:
        """Message if no scale of a whole image lies in the training range; else empty.

        Args:
            side: longer side of the images as in their files, pixels.
        """
        base, (low, high) = self.long_side or side, self.train_range
        if any(low <= scale * base <= high for scale in self.scales):
            return ""
        usual = min(self.scales, key=lambda scale: abs(scale - 1))
        return (
            f"whole images have a longer side of {base:.0f} pixels ({self.test_setting}), but "
            f"training images of {low:.0f} to {high:.0f} ({self.train_setting}); objects of other "
            f"sizes may not be recognised. {self.test_setting}={(low + high) / 2 / usual:.0f} lies "
            "in the training range"
        )


def median_long_side(dataset: VOCDataset, count: int = 50) -> float:
    """Median longer side of evenly spaced images of a split, pixels.

    Args:
        count: maximum number of images.
    """
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=int)
    return float(np.median([max(dataset.image_size(i)) for i in indices.tolist()]))


@dataclass
class ImageReport:
    """Contents of one image and its annotations.

    Args:
        name: name of the image.
        size: (H, W).
        digest: digest of the pixels; None if the image cannot be read.
        thumbnail: grey levels.
        tags, labels, boxed: classes 1 to c in tags, true mask and boxes; None: there is no mask or
            box.
        mask: content of the mask file; None if it is missing or cannot be read.
        pixels: number of pixels of each label 0 to c and 255.
        boxes: number of boxes.
        problems: reasons why training would refuse the image.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    digest: str | None = None
    thumbnail: UInt8[np.ndarray, "s s"] | None = None
    tags: frozenset[int] = frozenset()
    labels: frozenset[int] | None = None
    boxed: frozenset[int] | None = None
    mask: MaskContent | None = None
    pixels: Counter[int] = field(default_factory=Counter)
    boxes: int = 0
    problems: list[str] = field(default_factory=list)


def examine(dataset: VOCDataset, workers: int) -> Iterator[ImageReport]:
    """Decode every image of a split with its mask and boxes, in order.

    Args:
        workers: number of threads.
    """
    masks, boxes = dataset.has_masks(), dataset.has_boxes()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(lambda i: _examine_image(dataset, i, masks, boxes), range(len(dataset)))


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "s s"]:
    """Grey levels of a small version of an image, by which near-duplicates are found."""
    grey = image.convert("L")
    return np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX))


def _examine_image(dataset: VOCDataset, i: int, masks: bool, boxes: bool) -> ImageReport:
    tags = frozenset((dataset.tags[i].nonzero().flatten() + 1).tolist())
    report = ImageReport(dataset.names[i], tags=tags)
    try:
        image = dataset.image(i)
        report.size = image.height, image.width
        report.digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        report.thumbnail = thumbnail(image)
    except InputError as error:
        report.problems.append(str(error))
        return report
    if masks:
        try:
            dataset.check_mask_exists(i)
            labels, counts = np.unique(dataset.mask(i), return_counts=True)
            report.mask = dataset.mask_reader.inspect(dataset.mask_path(i))
            report.pixels = Counter(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
            report.labels = frozenset(x for x in report.pixels if 0 < x < IGNORE)
        except InputError as error:
            report.problems.append(str(error))
    if boxes:
        try:
            rows = dataset.boxes(i)
            report.boxes, report.boxed = len(rows), frozenset(rows[:, 0].astype(int).tolist())
        except InputError as error:
            report.problems.append(str(error))
    return report


def survey_masks(dataset: VOCDataset, reports: Iterable[ImageReport]) -> MaskSurvey:
    """The survey of all masks of a split."""
    survey = MaskSurvey(dataset.mask_reader, dataset.split)
    for report in reports:
        if report.mask is not None:
            survey.add(report.mask, report.tags)
    return survey


def summary(reports: Sequence[ImageReport], classes: Sequence[str]) -> dict[str, Any]:
    """Statistics of a split, ready for JSON."""
    sizes = np.array([report.size for report in reports if report.digest] or [(0, 0)])
    names = {0: "background", **dict(enumerate(classes, start=1)), IGNORE: "ignored"}
    pixels, ids = Counter[int](), Counter[int]()
    masks = [report.mask for report in reports if report.mask is not None]
    for report in reports:
        pixels.update(report.pixels)
    for mask in masks:
        ids.update(mask.pixels.keys())
    total = sum(pixels.values())
    boxed = [report for report in reports if report.boxed is not None]
    num_tags = sum(len(report.tags) for report in reports)
    return {
        "images": len(reports),
        "tagged": sum(bool(report.tags) for report in reports),
        "tags_an_image": round(num_tags / max(1, len(reports)), 3),
        "images_of_class": {
            name: sum(c in report.tags for report in reports)
            for c, name in enumerate(classes, start=1)
        },
        "width": _range(sizes[:, 1]),
        "height": _range(sizes[:, 0]),
        "masks": len(masks),
        "mask_modes": dict(Counter(mask.mode for mask in masks)),
        "images_with_id": {masks[0].describe_one(key): ids[key] for key in sorted(ids)},
        "share_of_pixels": {names[k]: round(pixels[k] / total, 5) for k in sorted(pixels)},
        "ignored": round(pixels[IGNORE] / total, 5) if total else None,
        "boxes": sum(report.boxes for report in boxed) if boxed else None,
    }


def conflicts(reports: Iterable[ImageReport], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and message of each image whose tags, mask and boxes show different classes."""
    labels = ["background", *classes]

    def text(numbers: Iterable[int]) -> str:
        return ", ".join(labels[c] for c in sorted(numbers))

    for report in reports:
        tags, shown, boxed = report.tags, report.labels, report.boxed
        if shown is not None:
            if tags - shown:
                yield report.name, f"tagged {text(tags - shown)}, but its mask has no pixel"
            if shown - tags:
                yield report.name, f"its mask shows {text(shown - tags)} without a tag"
        if boxed is not None:
            if tags - boxed:
                yield report.name, f"tagged {text(tags - boxed)} without a box"
            if boxed - tags:
                yield report.name, f"has a box of {text(boxed - tags)} without the tag"


def rare_classes(tags: np.ndarray, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Classes without images, and rare classes with their number of images."""
    counts = dict(zip(classes, np.asarray(tags).sum(0).astype(int).tolist(), strict=True))
    most = max(counts.values(), default=0)
    none = [name for name, count in counts.items() if count == 0]
    return none, [f"{name} ({count})" for name, count in counts.items() if 0 < count * RARE < most]


def always_tagged(tags: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Classes that every image is tagged with, which a classifier cannot learn."""
    counts = np.asarray(tags).astype(bool).sum(0).tolist()
    return [n for n, count in zip(classes, counts, strict=True) if count == len(tags) > 0]


def _range(sides: np.ndarray) -> dict[str, int]:
    return {
        "least": int(sides.min()),
        "median": int(np.median(sides)),
        "most": int(sides.max()),
    }
