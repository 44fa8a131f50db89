"""Corrections of masks, against masks that are written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.data.review.corrections import (
    correct_mask,
    keep_inside_boxes,
    polygon_pixels,
    stroke_pixels,
)

LABELS = {"background": 0, "cat": 1, "dog": 2}


def mask_of(text: str) -> np.ndarray:
    """`.` background, x ignored, digits labels."""
    values = {".": 0, "x": 255} | {str(i): i for i in range(10)}
    return np.array([[values[c] for c in line] for line in text.split()], np.uint8)


def box(name, *corners):
    return {"kind": "box", "class": name, "size": [6, 4], "box": list(corners)}


def region(*points):
    return {"kind": "ignore", "class": "", "size": [6, 4], "points": list(points)}


def scribble(name, *points, width=1.0):
    points = list(points)
    return {"kind": "scribble", "class": name, "size": [6, 4], "points": points, "width": width}


def corrected(mask, *shapes, rejected=(), tagged=("cat", "dog"), fill=0.0):
    corrections = {"rejected": list(rejected), "shapes": list(shapes)}
    return correct_mask(mask, corrections, LABELS, tagged, fill)


MASK = mask_of("1122.. 1122.. ..22.. ......")


def test_without_corrections_the_mask_stays_and_is_a_copy():
    same = corrected(MASK)
    assert (same == MASK).all()
    assert same is not MASK


def test_a_rejected_image_is_ignored_whatever_was_drawn_on_it():
    assert (corrected(MASK, scribble("cat", [1, 1]), rejected=["", "cat"]) == 255).all()


def test_a_rejected_class_is_ignored_and_the_others_stay():
    expected = mask_of("11xx.. 11xx.. ..xx.. ......")
    assert (corrected(MASK, rejected=["dog"]) == expected).all()


def test_a_region_is_ignored_and_later_strokes_are_drawn_over_it():
    square = region([0, 0], [3, 0], [3, 2], [0, 2])
    assert (corrected(MASK, square) == mask_of("xxx2.. xxx2.. ..22.. ......")).all()
    stroke = scribble("dog", [0.5, 0.5], [2.5, 0.5])
    assert (corrected(MASK, square, stroke) == mask_of("2222.. xxx2.. ..22.. ......")).all()
    assert (corrected(MASK, stroke, square) == mask_of("xxx2.. xxx2.. ..22.. ......")).all()


def test_a_scribble_of_background_takes_pixels_from_a_class():
    stroke = scribble("background", [2.5, 0.5], [2.5, 2.5])
    assert (corrected(MASK, stroke) == mask_of("11.2.. 11.2.. ...2.. ......")).all()


def test_outside_its_boxes_a_class_becomes_background_if_nothing_else_can_be_there():
    cut = corrected(MASK, box("dog", 2, 1, 6, 4), tagged=["dog"])
    assert (cut == mask_of("11.... 1122.. ..22.. ......")).all()


def test_outside_its_boxes_a_class_is_ignored_where_another_class_may_be():
    # cats have no box, so they may be anywhere
    cut = corrected(MASK, box("dog", 2, 1, 6, 4))
    assert (cut == mask_of("11xx.. 1122.. ..22.. ......")).all()
    # cats are in their box only
    cut = corrected(MASK, box("dog", 2, 1, 6, 4), box("cat", 0, 0, 3, 3))
    assert (cut == mask_of("11x... 1122.. ..22.. ......")).all()


def test_a_class_may_be_in_any_of_its_boxes():
    both = corrected(MASK, box("dog", 2, 0, 3, 3), box("dog", 3, 0, 4, 3), tagged=["dog"])
    assert (both == MASK).all()


def test_background_in_a_box_that_its_class_barely_fills_is_ignored():
    wide = box("dog", 2, 0, 6, 4)  # 6 of 16 pixels
    assert (corrected(MASK, wide, fill=0.3) == MASK).all()
    expected = mask_of("1122xx 1122xx ..22xx ..xxxx")
    assert (corrected(MASK, wide, fill=0.4) == expected).all()


def test_corners_may_come_in_any_order_and_lie_outside():
    mask = MASK.copy()
    keep_inside_boxes(mask, {2: [(9, 4, 1.6, -3)]}, {2}, 0.0)
    assert (mask == MASK).all()


@given(st.floats(-2, 12), st.floats(-2, 9), st.floats(0.5, 9), st.floats(0.5, 9))
def test_a_rectangle_covers_the_pixels_whose_centres_it_holds(x, y, w, h):
    covered = polygon_pixels([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], (8, 10))
    ys, xs = np.mgrid[:8, :10] + 0.5
    distance = np.minimum.reduce([xs - x, x + w - xs, ys - y, y + h - ys])
    assert covered[distance > 1e-6].all()
    assert not covered[distance < -1e-6].any()


def test_a_loop_that_crosses_itself_has_no_hole():
    # twice around the same square
    corners = [[1, 1], [5, 1], [5, 4], [1, 4]]
    assert (polygon_pixels(corners * 2, (6, 7)) == polygon_pixels(corners, (6, 7))).all()
    bow_tie = [[0, 0], [6, 6], [6, 0], [0, 6]]
    assert polygon_pixels(bow_tie, (6, 6))[1:5, 0].all()
    assert not polygon_pixels(bow_tie, (6, 6))[0, 2:4].any()


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 16)), min_size=1, max_size=4),
    st.floats(1, 6),
)
def test_a_stroke_covers_the_pixels_within_half_its_width(points, width):
    covered = stroke_pixels(points, width, (16, 20))
    ys, xs = np.mgrid[:16, :20] + 0.5
    distance = np.full(xs.shape, np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = ((xs - ax) * (bx - ax) + (ys - ay) * (by - ay)) / length if length else 0
        t = np.clip(t, 0, 1)
        nearest = np.hypot(xs - ax - t * (bx - ax), ys - ay - t * (by - ay))
        distance = np.minimum(distance, nearest)
    touched = np.zeros_like(covered)
    for x, y in points:  # the pixels of the points count, however thin the stroke
        if x < 20 and y < 16:
            touched[int(y), int(x)] = True
    assert covered[distance < width / 2 - 1e-6].all()
    assert not covered[(distance > width / 2 + 1e-6) & ~touched].any()


@pytest.mark.parametrize("point", [(0.2, 0.2), (5.9, 3.9)])
def test_a_thin_dot_marks_the_pixel_it_lies_in(point):
    covered = stroke_pixels([point], 0.1, (4, 6))
    assert covered.sum() == 1
    assert covered[int(point[1]), int(point[0])]
