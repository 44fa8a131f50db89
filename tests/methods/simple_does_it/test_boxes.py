import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.methods.simple_does_it.boxes import (
    Prediction,
    clip_marginal,
    core,
    denoised,
    front_box,
    naive,
    paint_boxes,
    paint_cores,
    possible_labels,
    reset_small,
    small_segments,
    smaller,
    windows,
)
from wsss_lightning.ops.masks import IGNORE

X = IGNORE


def canvas(height: int, width: int) -> torch.Tensor:
    return torch.zeros(height, width, 3, dtype=torch.uint8)


def boxes_of(*boxes) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)


def labels_of(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8)


def painted(height, width, *boxes):
    return paint_boxes(boxes_of(*boxes), canvas(height, width)).tolist()


# painting


def test_a_box_fills_its_pixels_ends_excluded_and_all_else_is_background():
    assert painted(3, 4, (2, 1, 0, 3, 2)) == [[0, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]]


def test_of_nested_boxes_the_inner_is_in_front_whatever_their_order():
    outer, inner = (1, 0, 0, 4, 3), (2, 1, 1, 3, 2)
    expected = [[1, 1, 1, 1], [1, 2, 2, 1], [1, 1, 1, 1]]
    assert painted(3, 4, outer, inner) == painted(3, 4, inner, outer) == expected


def test_where_boxes_overlap_the_smaller_is_in_front():
    wide, narrow = (1, 0, 0, 3, 2), (2, 2, 0, 4, 2)
    assert painted(2, 4, wide, narrow) == painted(2, 4, narrow, wide) == [[1, 1, 2, 2]] * 2


def test_of_boxes_equally_large_the_later_is_in_front():
    first, second = (1, 0, 0, 2, 1), (2, 1, 0, 3, 1)
    assert painted(1, 3, first, second) == [[1, 2, 2]]
    assert painted(1, 3, second, first) == [[1, 1, 2]]


def test_boxes_that_touch_share_no_pixel():
    assert painted(1, 4, (1, 0, 0, 2, 1), (2, 2, 0, 4, 1)) == [[1, 1, 2, 2]]


def test_what_lies_outside_the_image_neither_shows_nor_counts():
    # of 100 pixels two are inside: fewer than the three of the other, so it is in front
    far, near = (1, -98, 0, 2, 1), (2, 0, 0, 3, 1)
    assert painted(1, 4, far, near) == [[1, 1, 2, 0]]
    assert painted(1, 4, (1, 9, 9, 12, 12), (2, -5, -5, -1, -1)) == [[0] * 4]


@pytest.mark.parametrize("box", [(1, 2, 0, 2, 2), (1, 3, 0, 1, 2), (1, 0, 1, 4, 1)])
def test_a_box_without_area_leaves_no_trace(box):
    assert painted(2, 4, box) == [[0] * 4] * 2
    blank = paint_cores(boxes_of(box), canvas(2, 4), 0.2, "side")
    assert not blank.any()
    assert not small_segments(blank, boxes_of(box), 0.5).any()


def test_an_image_without_boxes_is_background():
    assert painted(2, 2) == [[0, 0], [0, 0]]
    assert not paint_cores(boxes_of(), canvas(2, 2), 0.2, "side").any()
    assert (front_box(boxes_of(), 2, 2) == -1).all()


# inner boxes


def test_the_centre_by_side_takes_that_share_of_width_and_of_height():
    labels = paint_cores(boxes_of((3, 0, 0, 10, 5)), canvas(6, 10), 0.2, "side")
    expected = torch.full((6, 10), X)
    expected[5] = 0
    expected[2, 4:6] = 3  # margins of 0.4: 2 of 10 columns, 1 of 5 rows
    assert torch.equal(labels.long(), expected)


def test_the_centre_by_area_takes_that_share_of_the_pixels():
    labels = paint_cores(boxes_of((3, 0, 0, 100, 100)), canvas(100, 100), 0.25, "area")
    assert (labels == 3).sum() == 2500
    assert (labels[25:75, 25:75] == 3).all()
    by_side = paint_cores(boxes_of((3, 0, 0, 100, 100)), canvas(100, 100), 0.25, "side")
    assert (by_side == 3).sum() == 625


def test_a_box_in_front_hides_the_centre_of_the_one_behind():
    behind, front = (1, 0, 0, 5, 5), (2, 2, 2, 5, 5)
    labels = paint_cores(boxes_of(front, behind), canvas(5, 5), 0.2, "side")
    expected = torch.full((5, 5), X)
    expected[3, 3] = 2
    assert torch.equal(labels.long(), expected)


def test_every_box_has_a_pixel_of_its_class_however_small():
    assert paint_cores(boxes_of((1, 1, 0, 2, 1)), canvas(1, 3), 0.2, "side").tolist() == [[0, 1, 0]]


def test_an_inner_share_of_one_is_the_box_itself():
    boxes = boxes_of((1, 0, 0, 7, 5), (2, 3, 1, 9, 4))
    for of in ("side", "area"):
        same = paint_cores(boxes, canvas(6, 9), 1.0, of)
        assert torch.equal(same, paint_boxes(boxes, canvas(6, 9)))


BOXES = st.lists(st.tuples(st.integers(1, 3), *[st.integers(-3, 12)] * 4), max_size=5).map(
    lambda found: boxes_of(*found)
)


@given(boxes=BOXES)
def test_each_pixel_shows_the_smallest_box_that_covers_it(boxes):  # an independent reference
    height, width = 8, 9
    expected = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            best = None
            for label, x0, y0, x1, y1 in boxes.int().tolist():
                if x0 <= x < x1 and y0 <= y < y1:
                    area = (min(x1, width) - max(x0, 0)) * (min(y1, height) - max(y0, 0))
                    if best is None or area <= best:
                        best, expected[y, x] = area, label
    assert (paint_boxes(boxes, canvas(height, width)).numpy() == expected).all()


@given(boxes=BOXES, inner=st.floats(0.05, 1), of=st.sampled_from(["side", "area"]))
def test_centres_are_labelled_as_boxes_are_and_the_same_pixels_are_background(boxes, inner, of):
    full = paint_boxes(boxes, canvas(8, 9))
    part = paint_cores(boxes, canvas(8, 9), inner, of)
    assert torch.equal(part == 0, full == 0)
    labelled = (part != 0) & (part != X)
    assert torch.equal(part[labelled], full[labelled])
    for window in windows(boxes, 8, 9):
        centre = core(window, inner, of)
        assert window.rows.start <= centre.rows.start <= centre.rows.stop <= window.rows.stop


# clipping


MARGINAL = torch.tensor([[0.1, 0.0, 0.0], [0.7, 0.5, 1.0], [0.2, 0.5, 0.0]])[:, None]
IN_TWO_BOXES = boxes_of((2, 0, 0, 1, 1), (2, 2, 0, 3, 1))


def test_a_label_is_possible_in_a_box_of_its_own_or_in_any():
    own = possible_labels(IN_TWO_BOXES, 3, 1, 3, class_wise=True).int().tolist()
    assert own == [[[1, 1, 1]], [[0, 0, 0]], [[1, 0, 1]]]
    any_box = possible_labels(IN_TWO_BOXES, 3, 1, 3, class_wise=False).int().tolist()
    assert any_box == [[[1, 1, 1]], [[1, 0, 1]], [[1, 0, 1]]]


def test_probability_of_impossible_classes_is_dropped_and_the_rest_scaled_up():
    possible = possible_labels(IN_TWO_BOXES, 3, 1, 3, class_wise=True)
    expected = torch.tensor([[1 / 3, 1.0, 1.0], [0, 0, 0], [2 / 3, 0, 0]])[:, None]
    torch.testing.assert_close(clip_marginal(MARGINAL, possible, fold=False), expected)


def test_folded_it_goes_to_the_classes_that_are_possible():
    possible = possible_labels(IN_TWO_BOXES, 3, 1, 3, class_wise=True)
    expected = torch.tensor([[0.1, 1.0, 0.0], [0, 0, 0], [0.9, 0, 1.0]])[:, None]
    torch.testing.assert_close(clip_marginal(MARGINAL, possible, fold=True), expected)


def test_folded_it_is_shared_in_proportion_to_what_the_possible_classes_had():
    possible = possible_labels(boxes_of((1, 0, 0, 1, 1), (2, 0, 0, 1, 1)), 4, 1, 1, class_wise=True)
    marginal = torch.tensor([0.1, 0.1, 0.3, 0.5])[:, None, None]
    found = clip_marginal(marginal, possible, fold=True).flatten()
    torch.testing.assert_close(found, torch.tensor([0.1, 0.225, 0.675, 0.0]), atol=1e-5, rtol=0)


@given(boxes=BOXES, class_wise=st.booleans(), fold=st.booleans(), seed=st.integers(0, 99))
def test_clipped_probabilities_sum_to_one_and_are_zero_where_impossible(
    boxes, class_wise, fold, seed
):
    generator = torch.Generator().manual_seed(seed)
    marginal = (4 * torch.randn(4, 8, 9, generator=generator)).softmax(0)
    possible = possible_labels(boxes, 4, 8, 9, class_wise)
    clipped = clip_marginal(marginal, possible, fold)
    torch.testing.assert_close(clipped.sum(0), torch.ones(8, 9))
    assert not clipped[~possible].any()
    assert (clipped >= 0).all()


# small segments


def test_a_segment_of_exactly_half_its_box_stays_and_one_pixel_less_is_reset():
    boxes = boxes_of((1, 0, 0, 4, 2))
    half, less = labels_of([1, 1, 0, 0], [1, 1, 0, 0]), labels_of([1, 1, 0, 0], [1, 0, 0, 0])
    full = paint_boxes(boxes, canvas(2, 4))
    kept, where = reset_small(half, boxes, full, 0.5)
    assert torch.equal(kept, half)
    assert not where.any()
    mended, where = reset_small(less, boxes, full, 0.5)
    assert torch.equal(mended, full)
    assert where.all()


@pytest.mark.parametrize("size", [(10, 10), (7, 13), (25, 40), (3, 100)])
def test_a_segment_of_exactly_the_least_share_is_large_enough_at_every_share(size):
    height, width = size
    area = height * width
    for pixels in range(area + 1):
        labels = (torch.arange(area) < pixels).view(size).to(torch.uint8)
        for percent in {math.floor(100 * pixels / area), math.ceil(100 * pixels / area)}:
            small = small_segments(labels, boxes_of((1, 0, 0, width, height)), percent / 100)
            assert bool(small) == (100 * pixels < percent * area)


def test_only_the_class_of_the_box_fills_it_but_whichever_box_its_pixels_belong_to():
    other = labels_of([2, 2, 2, 2])
    assert small_segments(other, boxes_of((1, 0, 0, 4, 1)), 0.5).tolist() == [True]
    twins = boxes_of((1, 0, 0, 3, 1), (1, 1, 0, 4, 1))
    assert small_segments(labels_of([0, 1, 1, 0]), twins, 0.5).tolist() == [False, False]


def test_a_reset_box_leaves_the_smaller_box_in_front_of_it_alone():
    large, small = (1, 0, 0, 4, 3), (2, 1, 1, 3, 3)
    boxes = boxes_of(large, small)
    found = labels_of([0, 0, 0, 0], [0, 2, 2, 0], [0, 0, 2, 0])  # three quarters of the small one
    initial = paint_boxes(boxes, canvas(3, 4))
    mended, where = reset_small(found, boxes, initial, 0.5)
    assert mended.tolist() == [[1, 1, 1, 1], [1, 2, 2, 1], [1, 0, 2, 1]]
    assert where.sum() == 8


def test_a_small_segment_in_front_is_reset_without_the_box_behind():
    large, small = (1, 0, 0, 4, 3), (2, 1, 1, 3, 3)
    boxes = boxes_of(large, small)
    found = labels_of([1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 2, 1])
    mended, _ = reset_small(found, boxes, paint_boxes(boxes, canvas(3, 4)), 0.5)
    assert mended.tolist() == [[1, 1, 1, 1], [1, 2, 2, 1], [0, 2, 2, 1]]


def test_reset_means_the_initial_label_be_it_ignored():
    boxes = boxes_of((1, 0, 0, 5, 1))
    initial = paint_cores(boxes, canvas(1, 5), 0.2, "side")
    mended, _ = reset_small(labels_of([0, 0, 0, 0, 1]), boxes, initial, 0.5)
    assert mended.tolist() == [[X, X, 1, X, X]]


@given(boxes=BOXES, min_fill=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_is_not_reset_stays_and_what_is_has_its_initial_label(boxes, min_fill, seed):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (8, 9), np.uint8))
    initial = paint_boxes(boxes, canvas(8, 9))
    mended, where = reset_small(labels, boxes, initial, min_fill)
    assert torch.equal(mended[~where], labels[~where])
    assert torch.equal(mended[where], initial[where])
    assert not (where & (initial == 0)).any()


# rules of relabelling


def seen(labels, boxes, initial=None, sure=0.9, num_labels=4) -> Prediction:
    """A prediction that gives these labels, with this probability."""
    image = canvas(*labels.shape)
    given = labels == torch.arange(num_labels)[:, None, None]
    marginal = torch.where(given, sure, (1 - sure) / (num_labels - 1))
    return Prediction(
        image, marginal, boxes, paint_boxes(boxes, image) if initial is None else initial
    )


def no_crf(image, unary):
    return (-unary).softmax(0)


def mend(
    prediction, refine=no_crf, class_wise=True, fold=False, min_fill=0.5, label_confidence=0.9
):
    return denoised(prediction, refine, class_wise, fold, min_fill, label_confidence)


def test_naive_labels_are_the_prediction():
    labels = labels_of([3, 0, 2], [1, 1, 0])
    assert torch.equal(naive(seen(labels, boxes_of()), no_crf), labels)


def test_denoised_labels_are_clipped_and_reset_where_too_little_is_left():
    boxes = boxes_of((1, 0, 0, 3, 1), (2, 4, 0, 8, 1))
    labels = labels_of([1, 1, 0, 1, 2, 0, 0, 0, 2])
    expected = [[1, 1, 0, 0, 2, 2, 2, 2, 0]]  # of the second box a quarter was found
    assert mend(seen(labels, boxes)).tolist() == expected


def test_a_class_that_may_not_be_gives_way_to_the_likelier_of_those_that_may():
    marginal = torch.tensor([[0.1], [0.3], [0.6]])[:, None]  # one pixel, in a box of class 1
    boxes = boxes_of((1, 0, 0, 1, 1))
    prediction = Prediction(canvas(1, 1), marginal, boxes, labels_of([1]))
    assert mend(prediction, class_wise=True).tolist() == [[1]]
    assert mend(prediction, class_wise=False, min_fill=0).tolist() == [[2]]


def test_what_is_taken_for_another_class_is_an_object_still_if_that_is_folded():
    marginal = torch.tensor([[0.2], [0.1], [0.7]])[:, None]
    prediction = Prediction(canvas(1, 1), marginal, boxes_of((1, 0, 0, 1, 1)), labels_of([1]))
    assert mend(prediction, min_fill=0, fold=False).tolist() == [[0]]
    assert mend(prediction, min_fill=0, fold=True).tolist() == [[1]]


def test_the_crf_may_not_leak_over_the_edge_of_a_box():
    boxes = boxes_of((1, 1, 0, 3, 1))

    def flood(image, unary):  # all is the last of the labels
        marginal = torch.full_like(unary, 0.1)
        marginal[-1] = 0.9
        return marginal

    assert mend(seen(labels_of([0, 1, 0, 0]), boxes), flood).tolist() == [[0, 1, 1, 0]]


def test_the_crf_sees_the_reset_label_and_only_labels_that_are_possible_somewhere():
    told = []

    def listen(image, unary):
        told.append((-unary).exp())
        return no_crf(image, unary)

    boxes = boxes_of((2, 0, 0, 2, 1))
    mend(seen(labels_of([0, 0, 0]), boxes), listen, label_confidence=0.75)
    expected = torch.tensor([[[0.25, 0.25, 1.0]], [[0.75, 0.75, 1e-5]]])
    torch.testing.assert_close(told[0], expected)


def test_pixels_reset_to_ignored_stay_ignored_and_are_even_for_the_crf():
    boxes = boxes_of((1, 0, 0, 5, 1))
    initial = paint_cores(boxes, canvas(1, 5), 0.2, "side")
    told = []

    def listen(image, unary):
        told.append((-unary).exp())
        return no_crf(image, unary)

    labels = mend(seen(labels_of([0, 0, 0, 0, 1]), boxes, initial), listen)
    assert labels.tolist() == [[X, X, 1, X, X]]
    torch.testing.assert_close(told[0][:, 0, 0], torch.tensor([0.5, 0.5]))


def test_an_image_without_boxes_is_relabelled_as_background():
    assert not mend(seen(labels_of([1, 2, 0]), boxes_of())).any()


def test_the_smaller_of_prediction_and_boxes_is_kept_class_by_class():
    boxes = boxes_of((1, 0, 0, 4, 1), (2, 5, 0, 7, 1))
    # 1 was found smaller than its box, 2 larger
    labels = labels_of([1, 1, 0, 0, 2, 2, 2, 2])
    assert smaller(seen(labels, boxes), no_crf).tolist() == [[1, 1, 0, 0, 0, 2, 2, 0]]


def test_a_tie_goes_to_the_prediction_and_a_class_that_was_not_found_keeps_its_boxes():
    boxes = boxes_of((1, 0, 0, 2, 1), (2, 3, 0, 5, 1))
    labels = labels_of([0, 1, 1, 0, 0])
    assert smaller(seen(labels, boxes), no_crf).tolist() == [[0, 1, 1, 2, 2]]


def test_a_predicted_class_without_a_box_is_dropped_and_the_smaller_region_is_in_front():
    boxes = boxes_of((1, 0, 0, 4, 1), (2, 1, 0, 3, 1))
    labels = labels_of([1, 3, 1, 1, 3])
    assert smaller(seen(labels, boxes), no_crf).tolist() == [[1, 2, 2, 1, 0]]
