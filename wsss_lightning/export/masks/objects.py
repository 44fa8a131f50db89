"""Objects of an index mask, and masks painted from the objects of an annotation file.

All coordinates are in pixels with (0, 0) at the outer corner of the first pixel, so that pixel
(x, y) covers [x, x + 1] x [y, y + 1] and an image spans [0, W] x [0, H]. COCO, YOLO, CVAT, labelme
and Label Studio draw polygons in these coordinates.

Letters: c classes, H W an image, h w a part of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from pycocotools import mask as coco_mask

from wsss_lightning.ops.masks import IGNORE

IGNORED: Final = "ignored"
"""Class of ignored pixels in annotation files."""

Ring = Float[np.ndarray, "_ 2"] | Integer[np.ndarray, "_ 2"]
Overlap = Literal["later", "smallest"]


class Patch(NamedTuple):
    """Pixels of an object within a box, which lies within the image.

    Attributes:
        top: position in the image, pixels.
        left: position in the image, pixels.
        pixels: whether each pixel belongs to the object.
    """

    top: int
    left: int
    pixels: Bool[np.ndarray, "h w"]

    @staticmethod
    def around(full: Bool[np.ndarray, "H W"], top: int = 0, left: int = 0) -> "Patch":
        """The pixels of an object within their bounding box.

        Args:
            full: the object in its image, or in a part of it.
            top: position of the part.
            left: position of the part.
        """
        x, y, w, h = cv2.boundingRect(full.astype(np.uint8))
        return Patch(top + y, left + x, full[y : y + h, x : x + w])

    @property
    def place(self) -> tuple[slice, slice]:
        """The box as an index of an image."""
        h, w = self.pixels.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    @property
    def area(self) -> int:
        """Number of pixels of the object."""
        return int(np.count_nonzero(self.pixels))

    def canvas(self, height: int, width: int) -> UInt8[np.ndarray, "H W"]:
        """The object in its image: 1 inside, 0 outside."""
        full = np.zeros((height, width), np.uint8)
        full[self.place] = self.pixels
        return full


@dataclass(frozen=True)
class MaskObject:
    """An object of a mask: a connected component, or all pixels of a class.

    Args:
        label: 1 to c, or IGNORE.
        name: name of the class.
        patch: pixels of the object within its bounding box.
    """

    label: int
    name: str
    patch: Patch


@dataclass(frozen=True)
class ImageObjects:
    """An image and the objects of its mask, largest first.

    Args:
        name: path below the folder of images, without suffix.
        file: path of the image file.
        relative: path below the folder of images, with suffix and `/` between folders.
        mask: labels 0 to c and 255, after small objects were removed.
        objects: connected components or whole classes, without background.
    """

    name: str
    file: Path
    relative: str
    mask: UInt8[np.ndarray, "H W"]
    objects: list[MaskObject]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.mask.shape[1]


@dataclass(frozen=True)
class Region:
    """An object of an annotation file.

    Args:
        name: class, as written in the file.
        rings: polygons that the object is the union of; each is filled by the even-odd rule.
        pixels: the object itself, if the file holds pixels rather than polygons.
    """

    name: str
    rings: Sequence[Ring] = ()
    pixels: Patch | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of an annotation file.

    Args:
        source: file, and possibly the entry, for messages.
        files: ways in which the file names the image, the most reliable first.
        regions: objects in the order in which the tool draws them.
        size: (H, W) as annotated; None: the file does not say.
        normalised: coordinates are shares of width and height, in [0, 1].
    """

    source: str
    files: Sequence[str]
    regions: list[Region] = field(default_factory=list)
    size: tuple[int, int] | None = None
    normalised: bool = False


def remove_small(
    mask: UInt8[np.ndarray, "H W"], min_area: int
) -> tuple[UInt8[np.ndarray, "H W"], int]:
    """Give parts of less than `min_area` pixels the label that surrounds most of them.

    Parts of background are holes, and are filled. Ignored pixels stay, and are no surroundings.

    Args:
        mask: labels 0 to c and 255.
        min_area: pixels.

    Returns:
        The mask, and the number of parts that were removed.
    """
    kept, removed = mask.copy(), 0
    changed = min_area > 1
    while changed:  # parts that join may still be small; each round leaves fewer of them
        changed = False
        small = [
            patch
            for label in np.unique(kept[kept != IGNORE]).tolist()
            for patch in _components(kept == label, 8 if label else 4)
            if patch.area < min_area
        ]
        for patch in sorted(small, key=lambda patch: patch.area):
            around = _labels_around(kept, patch)
            if len(around):
                kept[patch.place][patch.pixels] = np.bincount(around).argmax()
                changed, removed = True, removed + 1
    return kept, removed


def _labels_around(mask: UInt8[np.ndarray, "H W"], patch: Patch) -> UInt8[np.ndarray, "_"]:
    """Labels of the pixels that share an edge with a part, without ignored ones."""
    rows, columns = patch.place
    top, left = max(rows.start - 1, 0), max(columns.start - 1, 0)
    window = mask[top : rows.stop + 1, left : columns.stop + 1]
    inside = np.zeros(window.shape, np.uint8)
    h, w = patch.pixels.shape
    y, x = rows.start - top, columns.start - left
    inside[y : y + h, x : x + w] = patch.pixels
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    around = window[(cv2.dilate(inside, cross) > 0) & (inside == 0)]
    return around[around != IGNORE]


def split_objects(
    mask: UInt8[np.ndarray, "H W"], names: Mapping[int, str], merge: bool
) -> list[MaskObject]:
    """Objects of a mask, largest first, so that none hides a smaller one.

    Args:
        mask: labels 0 to c and 255.
        names: class of each label; others have their number.
        merge: one object for each label. Otherwise one for each connected component, where pixels
            that touch at a corner are connected.
    """
    objects = []
    for label in np.unique(mask[mask > 0]).tolist():
        own = mask == label
        patches = [Patch.around(own)] if merge else _components(own, 8)
        name = names.get(label, str(label))
        objects += [MaskObject(label, name, patch) for patch in patches]
    return sorted(objects, key=lambda one: -one.patch.area)


def _components(pixels: Bool[np.ndarray, "H W"], connectivity: int) -> list[Patch]:
    """Connected components of 4 or 8 neighbours."""
    count, ids, boxes, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=connectivity
    )
    patches = []
    for i in range(1, count):
        x, y, w, h = boxes[i, :4].tolist()
        patches.append(Patch(y, x, ids[y : y + h, x : x + w] == i))
    return patches


def fill(rings: Sequence[Ring], height: int, width: int) -> Patch:
    """Pixels of a union of polygons, each filled by the even-odd rule, clipped to the image.

    A polygon along the edges of pixels gives exactly these pixels.

    Raises:
        ValueError: a polygon has less than three points, a coordinate that is no finite number, or
            one that lies more than the image's size outside.
    """
    for ring in rings:
        _check_ring(ring, height, width)
    if not rings:
        return Patch(0, 0, np.zeros((0, 0), bool))
    corners = np.concatenate(rings)
    left, top = np.floor(corners.min(axis=0)).clip(0, [width, height]).astype(int).tolist()
    right, bottom = np.ceil(corners.max(axis=0)).clip(0, [width, height]).astype(int).tolist()
    if right <= left or bottom <= top:
        return Patch(0, 0, np.zeros((0, 0), bool))
    # lists of three points or more are polygons to pycocotools; two points would be a box
    flat = [(np.asarray(ring, float) - [left, top]).ravel().tolist() for ring in rings]
    encoded = coco_mask.merge(coco_mask.frPyObjects(flat, bottom - top, right - left))
    return Patch(top, left, coco_mask.decode(encoded) > 0)


def _check_ring(ring: Ring, height: int, width: int) -> None:
    if len(ring) < 3:
        raise ValueError(f"a polygon has {len(ring)} points, but needs three or more")
    if not np.isfinite(ring).all():
        raise ValueError("a polygon has a coordinate that is no finite number")
    size = np.array([width, height])
    is_far = ((ring < -size - 1) | (ring > 2 * size + 1)).any(1)
    if is_far.any():
        x, y = ring[is_far][0]
        raise ValueError(
            f"a polygon has the point ({x:g}, {y:g}), far outside of the image of "
            f"{width}x{height} pixels"
        )


def paint(
    image: AnnotatedImage,
    labels: Mapping[str, int],
    height: int,
    width: int,
    overlap: Overlap = "later",
) -> tuple[UInt8[np.ndarray, "H W"], int]:
    """Mask of an annotated image.

    Args:
        image: its objects.
        labels: label of each name that the objects have; IGNORE for ignored pixels.
        height: pixels.
        width: pixels.
        overlap: where objects overlap, the `later` one wins, or the `smallest`.

    Returns:
        The mask, and the number of pixels that objects of different labels cover.

    Raises:
        ValueError: as `fill`, or an object's pixels are of another size than the image.
    """
    scale = np.array([width, height] if image.normalised else [1, 1])
    painted: list[tuple[int, Patch]] = []
    for region in image.regions:
        patch = region.pixels
        if patch is None:
            rings = [np.asarray(ring, float) * scale for ring in region.rings]
            patch = fill(rings, height, width)
        painted.append((labels[region.name], patch))
    if overlap == "smallest":
        painted.sort(key=lambda one: -one[1].area)
    mask = np.zeros((height, width), np.uint8)
    covered, contested = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for label, patch in painted:
        place, inside = patch.place, patch.pixels
        contested[place] |= inside & covered[place] & (mask[place] != label)
        covered[place] |= inside
        mask[place][inside] = label
    return mask, int(np.count_nonzero(contested))


def label_names(classes: Sequence[str], keep_ignored: bool) -> dict[int, str]:
    """Class of each label that is exported, background excluded.

    Args:
        classes: names of labels 1 to c.
        keep_ignored: ignored pixels are a class too.
    """
    names = dict(enumerate(classes, start=1))
    return {**names, IGNORE: IGNORED} if keep_ignored else names


def exported(mask: UInt8[np.ndarray, "H W"], keep_ignored: bool) -> UInt8[np.ndarray, "H W"]:
    """The mask that an export holds: ignored pixels are background unless they are kept."""
    return mask if keep_ignored else np.where(mask == IGNORE, 0, mask).astype(np.uint8)
