"""What training will see of a data set: counts, sizes, masks, conflicts and duplicates.

Letters: n, m images, H W an image.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.mask_survey import MaskSurvey
from wsss_lightning.data.sources.masks import MaskContent
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE

SIDE = 9  # of the thumbnails that are compared, which have 2 * 8 * 9 differences
EVEN = 2  # levels: smaller differences are noise
ALIKE = 0.8  # cosine of the differences' signs, of two pictures of one photo
NEAR_LEVELS = 12.0  # of 255, mean difference of their thumbnails
FLAT = 4.0  # levels: all pictures without contrast look the same
RARE = 20  # times fewer images than the most frequent class has


@dataclass(frozen=True)
class TrainTestScale:
    """In which sizes a network learns, and in which it sees whole images.

    Args:
        learns: key of the configuration that holds `learnt`.
        learnt: least and greatest longer side in training, pixels.
        sees: key that holds `long_side`.
        long_side: longer side of a whole image at scale 1; None: as it is.
        scales: of a whole image.
    """

    learns: str
    learnt: tuple[float, float]
    sees: str
    long_side: int | None
    scales: Sequence[float]

    def complaint(self, side: float) -> str:
        """What is wrong where images of this longer side are seen as none was learnt; or ""."""
        base, (low, high) = self.long_side or side, self.learnt
        if any(low <= scale * base <= high for scale in self.scales):
            return ""
        usual = min(self.scales, key=lambda scale: abs(scale - 1))
        return (
            f"images are seen with a longer side of {base:.0f} pixels ({self.sees}), but learnt "
            f"with {low:.0f} to {high:.0f} ({self.learns}); objects of another size may not be "
            f"told apart. {self.sees}={(low + high) / 2 / usual:.0f} is a size that was learnt"
        )


def median_long_side(read: VOCDataset, count: int = 50) -> float:
    """Median longer side of images of a split, pixels.

    Args:
        count: how many headers to read, at most.
    """
    some = np.linspace(0, len(read) - 1, min(count, len(read)), dtype=int)
    return float(np.median([max(read.image_size(i)) for i in some.tolist()]))


@dataclass
class ImageReport:
    """One image.

    Args:
        size: (H, W).
        digest: of its pixels; None where it cannot be read.
        thumbnail: grey levels.
        tags, labels, boxed: classes 1..c by tags, true mask and boxes; None: there is none.
        mask: content of the mask file; None where there is none, or it cannot be read.
        pixels: of each label 0..c and 255.
        boxes: how many.
        wrong: what training would refuse.
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
    wrong: list[str] = field(default_factory=list)


def examine(read: VOCDataset, workers: int) -> Iterator[ImageReport]:
    """Every image of a split, decoded in full with its mask and boxes, in order.

    Args:
        workers: threads.
    """
    masks, boxes = read.has_masks(), read.has_boxes()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(lambda i: _look(read, i, masks, boxes), range(len(read)))


def _look(read: VOCDataset, i: int, masks: bool, boxes: bool) -> ImageReport:
    seen = ImageReport(
        read.names[i], tags=frozenset((read.tags[i].nonzero().flatten() + 1).tolist())
    )
    try:
        picture = read.image(i)
        seen.size = picture.height, picture.width
        seen.digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
        grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        seen.thumbnail = np.asarray(grey)
    except InputError as error:
        seen.wrong.append(str(error))
        return seen
    if masks:
        try:
            read.check_mask_exists(i)
            labels, counts = np.unique(read.mask(i), return_counts=True)
            seen.mask = read.mask_reader.inspect(read.mask_path(i))
            seen.pixels = Counter(dict(zip(labels.tolist(), counts.tolist(), strict=True)))
            seen.labels = frozenset(x for x in seen.pixels if 0 < x < IGNORE)
        except InputError as error:
            seen.wrong.append(str(error))
    if boxes:
        try:
            found = read.boxes(i)
            seen.boxes, seen.boxed = len(found), frozenset(found[:, 0].astype(int).tolist())
        except InputError as error:
            seen.wrong.append(str(error))
    return seen


def survey_masks(read: VOCDataset, seen: Iterable[ImageReport]) -> MaskSurvey:
    """All masks of a split that were examined, held against tags and VOC's colours."""
    survey = MaskSurvey(read.mask_reader, read.split)
    for one in seen:
        if one.mask is not None:
            survey.add(one.mask, one.tags)
    return survey


def summary(seen: Sequence[ImageReport], classes: Sequence[str]) -> dict[str, Any]:
    """Counts of a split, ready for JSON."""
    sizes = np.array([one.size for one in seen if one.digest] or [(0, 0)])
    names = {0: "background", **dict(enumerate(classes, start=1)), IGNORE: "ignored"}
    pixels, ids = Counter[int](), Counter[int]()
    masks = [one.mask for one in seen if one.mask is not None]
    for one in seen:
        pixels.update(one.pixels)
    for mask in masks:
        ids.update(mask.pixels.keys())
    total = sum(pixels.values())
    boxed = [one for one in seen if one.boxed is not None]
    return {
        "images": len(seen),
        "tagged": sum(bool(one.tags) for one in seen),
        "tags_an_image": round(sum(len(one.tags) for one in seen) / max(1, len(seen)), 3),
        "images_of_class": {
            name: sum(c in one.tags for one in seen) for c, name in enumerate(classes, start=1)
        },
        "width": _range(sizes[:, 1]),
        "height": _range(sizes[:, 0]),
        "masks": len(masks),
        "mask_modes": dict(Counter(mask.mode for mask in masks)),
        "images_with_id": {masks[0].describe_one(key): ids[key] for key in sorted(ids)},
        "share_of_pixels": {names[k]: round(pixels[k] / total, 5) for k in sorted(pixels)},
        "ignored": round(pixels[IGNORE] / total, 5) if total else None,
        "boxes": sum(one.boxes for one in boxed) if boxed else None,
    }


def conflicts(seen: Iterable[ImageReport], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and words of each image whose tags, mask and boxes tell different classes."""
    told = ["background", *classes]

    def words(labels: Iterable[int]) -> str:
        return ", ".join(told[c] for c in sorted(labels))

    for one in seen:
        if one.labels is not None:
            if one.tags - one.labels:
                yield one.name, f"tagged {words(one.tags - one.labels)}, but its mask has no pixel"
            if one.labels - one.tags:
                yield one.name, f"its mask shows {words(one.labels - one.tags)} without a tag"
        if one.boxed is not None:
            if one.tags - one.boxed:
                yield one.name, f"tagged {words(one.tags - one.boxed)} without a box"
            if one.boxed - one.tags:
                yield one.name, f"has a box of {words(one.boxed - one.tags)} without the tag"


def difference_signs(levels: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "_"]:
    """1 where grey levels rise to the right or downwards, -1 where they fall, 0 where even.

    That survives another size or codec. Source: dHash (N. Krawetz, "Kind of Like That", 2013), in
    both directions, and without the bits that noise decides.
    """
    steps = np.concatenate([np.diff(levels, axis=axis).ravel() for axis in (0, 1)])
    return np.where(np.abs(steps) > EVEN, np.sign(steps), 0).astype(np.float32)


def same_pixels(seen: Sequence[ImageReport]) -> list[list[str]]:
    """Names of images whose pixels are equal, in groups."""
    groups = defaultdict(list)
    for one in seen:
        if one.digest is not None:
            groups[one.digest].append(one.name)
    return [names for names in groups.values() if len(names) > 1]


def near_duplicates(
    first: Sequence[ImageReport], second: Sequence[ImageReport]
) -> list[tuple[str, str]]:
    """Pairs of images, one of each, that are likely the same photo, or its mirror image.

    Equal ones are left out.
    """
    sides = [[one for one in part if _telling(one)] for part in (first, second)]
    if not all(sides):
        return []
    grey = [_thumbnails(part) for part in sides]
    found = set()
    for others in (grey[1], grey[1][:, :, ::-1]):
        signs = _signs(others).T
        for start in range(0, len(grey[0]), 2048):
            alike = _signs(grey[0][start : start + 2048]) @ signs
            for i, j in np.argwhere(alike >= ALIKE):
                one, other = sides[0][start + i], sides[1][j]
                apart = float(np.abs(grey[0][start + i] - others[j]).mean())
                if one.digest != other.digest and apart <= NEAR_LEVELS:
                    found.add((one.name, other.name))
    return sorted(found)


def _thumbnails(part: Sequence[ImageReport]) -> Float32[np.ndarray, "n s s"]:
    return np.stack([one.thumbnail for one in part if one.thumbnail is not None]).astype(np.float32)


def _signs(thumbnails: Float32[np.ndarray, "n s s"]) -> Float32[np.ndarray, "n _"]:
    """Of unit length, a row an image."""
    signs = np.stack([difference_signs(one) for one in thumbnails])
    return signs / np.maximum(np.linalg.norm(signs, axis=1, keepdims=True), 1)


def _telling(one: ImageReport) -> bool:
    return one.thumbnail is not None and float(one.thumbnail.std()) > FLAT


def rare_classes(tags: np.ndarray, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Classes without an image, and those with far fewer than the most frequent one."""
    counts = dict(zip(classes, np.asarray(tags).sum(0).astype(int).tolist(), strict=True))
    most = max(counts.values(), default=0)
    none = [name for name, count in counts.items() if count == 0]
    return none, [f"{name} ({count})" for name, count in counts.items() if 0 < count * RARE < most]


def always_tagged(tags: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Classes that every image is tagged with: no classifier can learn what tells them apart."""
    counts = np.asarray(tags).astype(bool).sum(0).tolist()
    return [n for n, count in zip(classes, counts, strict=True) if count == len(tags) > 0]


def shared_files(first: VOCDataset, second: VOCDataset) -> list[str]:
    """Names of images of the second split that are in the first too, by name or byte for byte."""
    if first.split == second.split:
        return []
    names, digests = set(first.names), {first.digest(i) for i in range(len(first))}
    return [n for i, n in enumerate(second.names) if n in names or second.digest(i) in digests]


def _range(sides: np.ndarray) -> dict[str, int]:
    return {
        "least": int(sides.min()),
        "median": int(np.median(sides)),
        "most": int(sides.max()),
    }
