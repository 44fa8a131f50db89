"""Outlines of objects along the edges of their pixels, simplified on request.

Coordinates are those of `objects`: the first pixel has the outline (0, 0), (1, 0), (1, 1), (0, 1).

Letters: n m points, h w a mask.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Integer
from scipy.spatial import cKDTree

from wsss_lightning.export.masks.objects import MaskObject

MIN_AREA_LEFT: Final = 0.5
"""A ring that would lose more of its area is not simplified; thin objects would vanish."""


class Polygon(NamedTuple):
    """An outline and its holes, which run in the opposite direction."""

    outer: Integer[np.ndarray, "_ 2"]
    holes: list[Integer[np.ndarray, "_ 2"]]


def outlines(pixels: Bool[np.ndarray, "h w"]) -> list[Polygon]:
    """Exact outlines of all connected parts of a mask.

    OpenCV joins the centres of boundary pixels. Of a mask in which each pixel is doubled, these
    centres lie a quarter of a pixel inside the corners of the original pixels, so that rounding
    gives the corners.
    """
    doubled = np.repeat(np.repeat(pixels.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour, (_, _, hole, parent) in zip(
        contours, [] if hierarchy is None else hierarchy[0].tolist(), strict=True
    ):
        if parent >= 0:
            continue
        holes = []
        while hole >= 0:
            holes.append(_corners(contours[hole]))
            hole = hierarchy[0][hole][0]
        polygons.append(Polygon(_corners(contour), holes))
    return polygons


def simplify(ring: Integer[np.ndarray, "n 2"], tolerance: float) -> Integer[np.ndarray, "m 2"]:
    """A ring with fewer corners, none of whose removed corners is farther than `tolerance` away.

    Args:
        ring: corners.
        tolerance: pixels; 0 keeps all corners.

    Source: Douglas and Peucker 1973, by OpenCV.
    """
    if tolerance <= 0:
        return ring
    simple = cv2.approxPolyDP(ring.astype(np.int32)[:, None], tolerance, closed=True)[:, 0]
    if len(simple) < 3 or abs(signed_area(simple)) < MIN_AREA_LEFT * abs(signed_area(ring)):
        return ring
    return simple.astype(ring.dtype)


def bridge(polygon: Polygon) -> Integer[np.ndarray, "n 2"]:
    """One ring that leaves out the holes: a slit of no width leads to each of them and back.

    Filled by the even-odd or the non-zero rule, it covers the polygon without its holes.
    """
    if not polygon.holes:
        return polygon.outer
    tree = cKDTree(polygon.outer)
    tours: dict[int, list[Integer[np.ndarray, "_ 2"]]] = {}
    for hole in polygon.holes:
        distances, nearest = tree.query(hole)
        start = int(distances.argmin())
        corner = int(nearest[start])
        tours.setdefault(corner, []).append(np.concatenate([hole[start:], hole[: start + 1]]))
    parts, begin = [], 0
    for corner in sorted(tours):
        parts.append(polygon.outer[begin : corner + 1])
        for tour in tours[corner]:
            parts += [tour, polygon.outer[corner : corner + 1]]
        begin = corner + 1
    return np.concatenate([*parts, polygon.outer[begin:]])


def rings_of(one: MaskObject, tolerance: float) -> list[Integer[np.ndarray, "_ 2"]]:
    """Rings of an object in its image, holes bridged; one for each connected part.

    Args:
        one: the object.
        tolerance: as in `simplify`.
    """
    shift = np.array([one.patch.left, one.patch.top])
    rings = []
    for polygon in outlines(one.patch.pixels):
        simple = Polygon(
            simplify(polygon.outer, tolerance), [simplify(h, tolerance) for h in polygon.holes]
        )
        rings.append(bridge(simple) + shift)
    return rings


def signed_area(ring: Integer[np.ndarray, "n 2"]) -> float:
    """Area of a ring in pixels; the sign is its direction."""
    x, y = ring.astype(float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _corners(contour: Integer[np.ndarray, "n 1 2"]) -> Integer[np.ndarray, "m 2"]:
    """Corners of the original pixels, without repeated points and points on straight edges."""
    points = (contour[:, 0].astype(np.int64) + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    # all edges are horizontal or vertical
    turns = (before[:, 0] == 0) != (after[:, 0] == 0)
    back = (before * after).sum(1) < 0
    return points[turns | back]
