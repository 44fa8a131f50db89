"""Objects of masks, and which of two overlapping objects is painted."""

import numpy as np
import pytest
from facts import raises_naming

pytest.importorskip("cv2", reason="an extra: wsss-lightning[masks]")
pytest.importorskip("pycocotools", reason="an extra: wsss-lightning[masks]")

from wsss_lightning.export.masks.objects import (
    AnnotatedImage,
    Patch,
    Region,
    fill,
    paint,
    remove_small,
    split_objects,
)


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], float)


def test_pixels_that_touch_at_a_corner_are_one_object():
    mask = np.diag([1, 1, 0, 1, 2]).astype(np.uint8)
    objects = split_objects(mask, {1: "cat", 2: "dog"}, merge=False)
    assert [(one.name, one.patch.area) for one in objects] == [("cat", 2), ("cat", 1), ("dog", 1)]
    merged = split_objects(mask, {1: "cat", 2: "dog"}, merge=True)
    assert [(one.name, one.patch.area) for one in merged] == [("cat", 3), ("dog", 1)]


def test_small_objects_become_background_and_are_counted():
    mask = np.zeros((5, 9), np.uint8)
    mask[0, :3], mask[2:, 4:6], mask[4, 8] = 1, 2, 255
    kept, removed = remove_small(mask, 4)
    assert removed == 2
    assert np.unique(kept).tolist() == [0, 2]
    assert remove_small(mask, 0)[1] == 0


LARGE_LAST = [Region("cat", [square(1, 1, 2)]), Region("dog", [square(0, 0, 4)])]


@pytest.mark.parametrize(("overlap", "cats"), [("later", 0), ("smallest", 4)])
def test_the_later_or_the_smallest_object_wins(overlap, cats):
    image = AnnotatedImage("", [], LARGE_LAST)
    mask, contested = paint(image, {"cat": 1, "dog": 2}, 5, 6, overlap)
    assert ((mask == 1).sum(), (mask == 2).sum()) == (cats, 16 - cats)
    assert contested == 4


def test_objects_of_one_class_do_not_contest_pixels():
    image = AnnotatedImage("", [], [Region("a", [square(0, 0, 3)]), Region("b", [square(1, 1, 3)])])
    assert paint(image, {"a": 1, "b": 1}, 5, 5)[1] == 0


def test_polygons_are_clipped_to_the_image():
    inside = fill([square(-2, -2, 5), square(4, 3, 6)], 5, 6).canvas(5, 6)
    expected = np.zeros((5, 6), np.uint8)
    expected[:3, :3] = expected[3:, 4:] = 1
    np.testing.assert_array_equal(inside, expected)
    assert fill([square(7, 0, 2)], 5, 6).area == 0


def test_shares_of_the_size_become_pixels():
    image = AnnotatedImage("", [], [Region("a", [square(0.5, 0.5, 0.5)])], normalised=True)
    mask, _ = paint(image, {"a": 1}, 4, 8)
    assert np.argwhere(mask).min(0).tolist() == [2, 4]
    assert (mask == 1).sum() == 8


@pytest.mark.parametrize(
    ("ring", "facts"),
    [
        ([[0, 0], [1, 1]], [2, "three"]),
        ([[0, 0], [1, 1], [np.nan, 2]], ["finite"]),
        ([[0, 0], [1, 1], [1e9, 2]], ["1e+09", "6x5"]),
    ],
)
def test_polygons_without_area_or_far_outside_are_refused(ring, facts):
    with raises_naming(ValueError, *facts):
        fill([np.array(ring, float)], 5, 6)


def test_a_patch_is_the_box_around_an_object():
    full = np.zeros((5, 6), bool)
    full[2, 3:5] = True
    patch = Patch.around(full)
    assert (patch.top, patch.left, patch.pixels.tolist()) == (2, 3, [[True, True]])
    np.testing.assert_array_equal(patch.canvas(5, 6), full)
