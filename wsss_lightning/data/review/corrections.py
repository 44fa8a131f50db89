"""Applies a person's corrections to a pseudo mask.

Letters: H W an image.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from wsss_lightning.ops.masks import IGNORE

SUPERSAMPLING: Final = 4  # sub-pixels a side, so that a pixel counts if most of it is covered

Mask = UInt8[np.ndarray, "H W"]
Pixels = Bool[np.ndarray, "H W"]


def correct_mask(
    mask: Mask,
    corrections: Mapping[str, Any],
    labels: Mapping[str, int],
    tagged: Sequence[str],
    box_min_fill: float,
) -> Mask:
    """The mask after all corrections of its image.

    1. Pixels of rejected classes are ignored.
    2. Boxes (`keep_inside_boxes`): all objects of a class lie in its boxes, if it has any.
    3. Scribbles give their pixels their label, and regions ignore theirs, in the order in which
       they were drawn.
    4. All pixels of a rejected image are ignored.

    Args:
        mask: labels 0 to c and 255.
        corrections: `rejected` classes (empty: the image) and `shapes`, as
            `ImageState.corrections` returns them.
        labels: label of each class and of `background`.
        tagged: classes that the image shows.
        box_min_fill: smallest share of a box that its class fills, in [0, 1].

    Returns:
        A new mask.
    """
    if "" in corrections["rejected"]:
        return np.full_like(mask, IGNORE)
    corrected = mask.copy()
    for name in corrections["rejected"]:
        corrected[mask == labels[name]] = IGNORE
    boxes = defaultdict(list)
    for shape in corrections["shapes"]:
        if shape["kind"] == "box":
            boxes[labels[shape["class"]]].append(shape["box"])
    keep_inside_boxes(corrected, boxes, {labels[name] for name in tagged}, box_min_fill)
    for shape in corrections["shapes"]:
        if shape["kind"] == "ignore":
            corrected[polygon_pixels(shape["points"], mask.shape)] = IGNORE
        elif shape["kind"] == "scribble":
            stroke = stroke_pixels(shape["points"], shape["width"], mask.shape)
            corrected[stroke] = labels[shape["class"]]
    return corrected


def keep_inside_boxes(
    mask: Mask, boxes: Mapping[int, Sequence[Sequence[float]]], tagged: set[int], min_fill: float
) -> None:
    """Remove each class outside its boxes, in place, and ignore boxes that are nearly empty.

    A pixel outside the boxes of its class becomes background if no other class of the image can be
    there: each other tagged class has boxes, and the pixel is in none of them. Otherwise it is
    ignored. If less than `min_fill` of a box is of its class, background in the box is ignored,
    because most of it must be the object.

    Args:
        mask: labels 0 to c and 255.
        boxes: (x0, y0, x1, y1) of each class that has boxes, by label; ends exclusive.
        tagged: labels of the classes that the image shows.
        min_fill: share of a box, in [0, 1].
    """
    inside = {label: _union(of_class, mask.shape) for label, of_class in boxes.items()}
    before = mask.copy()
    for label, allowed in inside.items():
        outside = (before == label) & ~allowed
        possible = np.zeros(mask.shape, bool)
        for other in tagged - {label}:
            possible |= inside.get(other, True)
        mask[outside & possible] = IGNORE
        mask[outside & ~possible] = 0
    for label, of_class in boxes.items():
        for box in of_class:
            place = _box_slice(box, mask.shape)
            if before[place].size and np.mean(before[place] == label) < min_fill:
                mask[place][mask[place] == 0] = IGNORE


def polygon_pixels(points: Sequence[Sequence[float]], size: tuple[int, ...]) -> Pixels:
    """Pixels of which at least half is inside a polygon.

    Args:
        points: (x, y), pixels; the last is joined to the first.
        size: (H, W).
    """
    return _drawn(points, 0.0, size, lambda draw, xy, _: draw.polygon(xy, fill=1))


def stroke_pixels(points: Sequence[Sequence[float]], width: float, size: tuple[int, ...]) -> Pixels:
    """Pixels of which at least half is covered by a stroke with round ends and joints.

    The pixels that the points lie in are always covered, however thin the stroke.

    Args:
        points: (x, y), pixels; one point is a dot.
        width: pixels.
        size: (H, W).
    """

    def stroke(draw: Any, xy: list[tuple[float, float]], scaled: float) -> None:
        if len(xy) > 1:
            draw.line(xy, fill=1, width=max(1, round(scaled)))
        for x, y in xy:
            radius = scaled / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)

    covered = _drawn(points, width / 2, size, stroke, width)
    for x, y in points:
        if 0 <= x < size[1] and 0 <= y < size[0]:
            covered[int(y), int(x)] = True
    return covered


def _drawn(
    points: Sequence[Sequence[float]],
    margin: float,
    size: tuple[int, ...],
    draw: Any,
    width: float = 0.0,
) -> Pixels:
    """Pixels that a drawing covers by at least half; only its own part of the image is drawn."""
    height, width_px = size
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top = (max(0, int(np.floor(min(v) - margin - 1))) for v in (xs, ys))
    right = min(width_px, int(np.ceil(max(xs) + margin + 1)))
    bottom = min(height, int(np.ceil(max(ys) + margin + 1)))
    covered = np.zeros((height, width_px), bool)
    if right <= left or bottom <= top:
        return covered
    s = SUPERSAMPLING
    canvas = Image.new("L", ((right - left) * s, (bottom - top) * s))
    # Pillow counts from the centre of the first sub-pixel
    xy = [((x - left) * s - 0.5, (y - top) * s - 0.5) for x, y in points]
    draw(ImageDraw.Draw(canvas), xy, width * s)
    parts = np.asarray(canvas).reshape(bottom - top, s, right - left, s)
    covered[top:bottom, left:right] = parts.sum((1, 3), dtype=int) * 2 >= s * s
    return covered


def _union(boxes: Sequence[Sequence[float]], size: tuple[int, ...]) -> Pixels:
    inside = np.zeros(size, bool)
    for box in boxes:
        inside[_box_slice(box, size)] = True
    return inside


def _box_slice(box: Sequence[float], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a box, at the nearest borders of pixels."""
    x0, y0, x1, y1 = box
    left, right = sorted(min(max(int(np.floor(x + 0.5)), 0), size[1]) for x in (x0, x1))
    top, bottom = sorted(min(max(int(np.floor(y + 0.5)), 0), size[0]) for y in (y0, y1))
    return slice(top, bottom), slice(left, right)
