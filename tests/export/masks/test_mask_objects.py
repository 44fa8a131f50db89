"""Objects of masks, and which of two overlapping objects is painted."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st

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


def test_small_parts_take_the_label_around_them_and_are_counted():
    mask = np.zeros((9, 12), np.uint8)
    mask[0, :3], mask[8, 11] = 1, 255  # small, and ignored
    mask[2:8, 2:10] = 2
    mask[3:5, 4], mask[5, 5:7] = 0, 3  # a hole and a speck that touch at a corner
    mask[6, 6] = 1  # a speck beside that speck
    kept, removed = remove_small(mask, 4)
    expected = np.zeros_like(mask)
    expected[2:8, 2:10], expected[8, 11] = 2, 255
    np.testing.assert_array_equal(kept, expected)
    assert removed >= 4
    assert remove_small(mask, 0)[1] == 0
    assert remove_small(np.full((2, 2), 3, np.uint8), 9)[0].tolist() == [[3, 3], [3, 3]]


@given(arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 1, 2, 255])))
def test_no_small_part_is_left_unless_ignored_pixels_surround_it(mask):
    kept, _ = remove_small(mask, 5)
    np.testing.assert_array_equal(kept == 255, mask == 255)
    for one in split_objects(kept, {}, merge=False):
        if one.label != 255 and one.patch.area < 5:
            inside = one.patch.canvas(*kept.shape) > 0
            grown = np.pad(inside, 1)
            edges = grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
            assert (kept[edges & ~inside] == 255).all()


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
