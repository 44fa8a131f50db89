"""Outlines and holes of objects, against a naive rule for the centre of each pixel."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_masks import difficult_mask, iou, naive_fill

pytest.importorskip("cv2", reason="an extra: wsss-lightning[masks]")
pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[masks]")

from wsss_lightning.export.masks.objects import AnnotatedImage, Region, fill, paint, split_objects
from wsss_lightning.export.masks.polygons import (
    Polygon,
    bridge,
    outlines,
    rings_of,
    signed_area,
    simplify,
)

shapes = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
bits = arrays.arrays(bool, shapes)
labels = arrays.arrays(np.uint8, shapes, elements=st.integers(0, 3))


@given(bits)
def test_outlines_cover_exactly_the_pixels_of_a_mask(pixels):
    inside = np.zeros_like(pixels)
    for polygon in outlines(pixels):
        inside ^= naive_fill(bridge(polygon), *pixels.shape)
    np.testing.assert_array_equal(inside, pixels)


@given(labels)
def test_objects_painted_from_their_exact_polygons_are_the_mask(mask):
    for merge in (False, True):
        painted = np.zeros_like(mask)
        for one in split_objects(mask, {}, merge):
            patch = fill(rings_of(one, 0), *mask.shape)
            assert not painted[patch.place][patch.pixels].any()
            painted[patch.place][patch.pixels] = one.label
        np.testing.assert_array_equal(painted, mask)


@given(bits)
def test_holes_run_against_their_outline(pixels):
    """So that the non-zero rule of browsers leaves them out too."""
    for polygon in outlines(pixels):
        outer = signed_area(polygon.outer)
        assert all(signed_area(hole) * outer < 0 for hole in polygon.holes)
        area = abs(outer) - sum(abs(signed_area(hole)) for hole in polygon.holes)
        assert area == abs(signed_area(bridge(polygon)))


def test_the_outline_of_a_pixel_is_its_four_corners():
    pixels = np.zeros((3, 4), bool)
    pixels[1, 2] = True
    ((outer, holes),) = outlines(pixels)
    assert sorted(outer.tolist()) == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert holes == []


def test_no_removed_corner_is_farther_from_the_polygon_than_the_tolerance():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    y, x = np.mgrid[:60, :60]
    disc = (x - 30) ** 2 + (y - 30) ** 2 < 25**2
    ((ring, _),) = outlines(disc)
    for tolerance in (0.8, 1.5, 3.0):
        simple = simplify(ring, tolerance)
        assert len(simple) < len(ring)
        assert max(distance(point, simple) for point in ring) <= tolerance + 1e-9
    assert len(simplify(ring, 0.8)) > len(simplify(ring, 3.0))
    assert len(angle) > len(simplify(ring, 0.8))
    np.testing.assert_array_equal(simplify(ring, 0), ring)


def distance(point: np.ndarray, ring: np.ndarray) -> float:
    """From a point to the nearest edge."""
    start, edge = ring, np.roll(ring, -1, axis=0) - ring
    along = ((point - start) * edge).sum(1) / (edge**2).sum(1)
    nearest = start + along.clip(0, 1)[:, None] * edge
    return float(np.hypot(*(point - nearest).T).min())


def test_thin_and_small_objects_survive_a_large_tolerance():
    y, x = np.mgrid[:40, :56]
    stripe = (abs(x - y - 5) < 2).astype(np.uint8)
    arc = ((abs(np.hypot(x - 20, y - 20) - 15) < 1.5) & (x < 28)).astype(np.uint8)
    for mask in (difficult_mask(0), stripe, arc):
        for one in split_objects(mask, {}, False):
            patch = fill(rings_of(one, 5.0), *mask.shape)
            assert patch.area >= 0.45 * one.patch.area


def test_a_tolerance_of_a_pixel_keeps_most_of_a_mask():
    mask = difficult_mask(0)
    regions = [Region(str(one.label), rings_of(one, 1.0)) for one in split_objects(mask, {}, False)]
    named = {str(label): label for label in range(4)}
    assert iou(paint(AnnotatedImage("", [], regions), named, *mask.shape)[0], mask) > 0.9


@given(
    arrays.arrays(float, (5, 2), elements=st.floats(-4, 20, width=16)),
)
def test_polygons_of_any_coordinates_are_filled_like_the_centres_of_pixels(ring):
    """But for pixels whose centre is within a fifth of a pixel of an edge: pycocotools rounds."""
    patch = fill([ring], 12, 14)
    expected = naive_fill(ring, 12, 14)
    differs = patch.canvas(12, 14).astype(bool) != expected
    for y, x in np.argwhere(differs):
        edges = np.roll(ring, -1, axis=0) - ring
        kept = ring[(edges != 0).any(1)]
        assert len(kept) == 0 or distance(np.array([x + 0.5, y + 0.5]), kept) < 0.71


def test_a_bridge_leads_to_the_nearest_corner_and_back():
    outer = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    hole = np.array([[1, 1], [1, 3], [3, 3], [3, 1]])
    ring = bridge(Polygon(outer, [hole])).tolist()
    assert ring == [[0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1], [0, 0], [9, 0], [9, 9], [0, 9]]
