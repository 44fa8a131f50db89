"""Applies a person's corrections to a pseudo mask.

Letters: H W an image.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from wsss_lightning.ops.masks import IGNORE

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
    """Pixels whose centre is inside a polygon, which may cross itself (non-zero winding).

    Args:
        points: (x, y), pixels; the last is joined to the first.
        size: (H, W).
    """
    height, width = size
    x, y = np.asarray(points, float).T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    windings = np.zeros((height, width + 1), np.int32)
    for row in _between(y.min(), y.max(), height):
        centre = row + 0.5
        crosses = (y <= centre) != (next_y <= centre)
        slope = (next_x - x)[crosses] / (next_y - y)[crosses]
        at = x[crosses] + (centre - y[crosses]) * slope
        first = np.clip(np.ceil(at - 0.5), 0, width).astype(int)  # pixel to the right of the edge
        np.add.at(windings[row], first, np.where((next_y > y)[crosses], 1, -1))
    return windings[:, :-1].cumsum(axis=1) != 0


def stroke_pixels(points: Sequence[Sequence[float]], width: float, size: tuple[int, ...]) -> Pixels:
    """Pixels whose centre is at most half a width from a line through points, and the points' own.

    Args:
        points: (x, y), pixels; one point is a dot.
        width: pixels; at least 1 is drawn, so that no stroke has gaps.
        size: (H, W).
    """
    covered = np.zeros(size, bool)
    radius = max(width, 1.0) / 2
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[-1]], strict=True):
        rows = _between(min(ay, by) - radius, max(ay, by) + radius, size[0])
        columns = _between(min(ax, bx) - radius, max(ax, bx) + radius, size[1])
        y = np.arange(rows.start, rows.stop)[:, None] + 0.5 - ay
        x = np.arange(columns.start, columns.stop)[None] + 0.5 - ax
        dx, dy = bx - ax, by - ay
        along = np.clip((x * dx + y * dy) / ((dx * dx + dy * dy) or 1.0), 0, 1)
        near = np.hypot(x - along * dx, y - along * dy) <= radius
        covered[rows.start : rows.stop, columns.start : columns.stop] |= near
        if 0 <= ay < size[0] and 0 <= ax < size[1]:
            covered[int(ay), int(ax)] = True
    return covered


def _between(low: float, high: float, length: int) -> range:
    """Numbers of the rows or columns that touch an interval."""
    start = min(max(int(np.floor(low)), 0), length)
    return range(start, min(max(int(np.ceil(high)), start), length))


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
