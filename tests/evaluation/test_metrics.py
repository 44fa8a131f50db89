import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from facts import raises_naming
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import (
    Confusion,
    TagMetrics,
    ThresholdCurve,
    iou,
    is_held_out,
    miou,
    precision_recall,
    score_parts,
)
from wsss_lightning.ops.cam import with_constant_background
from wsss_lightning.ops.masks import IGNORE

K = 4


def labels(seed: int, shape: tuple[int, ...], *values: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).choice(values, shape)).long()


def confusion(prediction: torch.Tensor, truth: torch.Tensor, k: int = K) -> torch.Tensor:
    metric = Confusion(k)
    metric.update(prediction, truth)
    return metric.compute()


def naive_iou(prediction: np.ndarray, truth: np.ndarray, k: int) -> list[float]:
    """By sets of pixels; pixels of unknown truth are in none."""
    known = truth != IGNORE
    values = []
    for label in range(k):
        true, found = (truth == label) & known, (prediction == label) & known
        values.append((true & found).sum() / (true | found).sum() if true.any() else math.nan)
    return values


def official_masks() -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and truth of the known answer V8."""
    truth = np.random.RandomState(10).choice([0, 1, 2, 15, 255], (40, 50))
    other = np.random.RandomState(11).choice([0, 1, 2, 15], (40, 50))
    right = (np.random.RandomState(12).rand(40, 50) < 0.6) & (truth < 255)
    return torch.from_numpy(np.where(right, truth, other)), torch.from_numpy(truth)


def test_iou_equals_that_of_the_official_evaluators():  # known answer V8
    matrix = confusion(*official_masks(), k=21)
    values = iou(matrix)
    shown = [0, 1, 2, 15]
    expected = torch.tensor([0.569767, 0.574468, 0.529520, 0.551859], dtype=torch.float64)
    torch.testing.assert_close(values[shown], expected, atol=1e-6, rtol=0)
    assert miou(matrix) == pytest.approx(0.556404, abs=1e-6)
    assert float(values.nan_to_num(0).mean()) == pytest.approx(0.105982, abs=1e-6)


@given(seed=st.integers(0, 10_000), shape=st.tuples(st.integers(1, 5), st.integers(1, 12)))
def test_iou_equals_that_of_sets_of_pixels(seed, shape):  # independent reference
    prediction = labels(seed, shape, 0, 1, 2, 3, IGNORE)
    truth = labels(seed + 1, shape, 0, 1, 3, IGNORE)
    values = naive_iou(prediction.numpy(), truth.numpy(), K)
    matrix = confusion(prediction, truth)
    np.testing.assert_allclose(iou(matrix), values)
    expected = np.nanmean(values) if not np.isnan(values).all() else math.nan
    assert miou(matrix) == pytest.approx(expected, nan_ok=True)


def test_rows_are_true_and_columns_predicted_labels():  # worked example
    truth = torch.tensor([0, 0, 1, 1, 1, 2, IGNORE, IGNORE])
    prediction = torch.tensor([0, 1, 1, IGNORE, 1, 0, 0, IGNORE])
    expected = [[1, 1, 0, 0], [0, 2, 0, 1], [1, 0, 0, 0]]
    matrix = confusion(prediction, truth, k=3)
    assert matrix.tolist() == expected
    assert matrix.dtype == torch.int64


def test_who_abstains_misses():
    truth = torch.tensor([1, 1, 1, 1])
    sure = confusion(torch.tensor([1, 1, 0, 0]), truth)
    unsure = confusion(torch.tensor([1, 1, IGNORE, IGNORE]), truth)
    assert float(iou(sure)[1]) == float(iou(unsure)[1]) == 0.5


def test_a_label_that_is_predicted_but_never_true_does_not_count_by_itself():
    matrix = confusion(torch.tensor([0, 0, 3, 3]), torch.tensor([0, 0, 0, 1]))
    assert iou(matrix).isnan().tolist() == [False, False, True, True]
    # its pixels are misses of the labels they show
    assert miou(matrix) == pytest.approx((2 / 3 + 0) / 2)


def test_a_square_matrix_serves_as_well():
    matrix = confusion(labels(0, (5, 5), 0, 1, 2), labels(1, (5, 5), 0, 1, 2))
    torch.testing.assert_close(iou(matrix[:, :K]), iou(matrix), equal_nan=True)


def test_all_ignored_is_no_number():
    assert math.isnan(miou(confusion(torch.zeros(3).long(), torch.full((3,), IGNORE))))


def test_matrices_of_many_thresholds_are_scored_at_once():
    matrices = torch.stack(
        [confusion(labels(i, (9,), 0, 1), labels(9, (9,), 0, 1)) for i in (1, 2)]
    )
    torch.testing.assert_close(iou(matrices)[1], iou(matrices[1]), equal_nan=True)


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_any_partition_into_updates_counts_the_same(seed, cuts):
    truth, prediction = (labels(seed + i, (60,), 0, 1, 2, 3, IGNORE) for i in (0, 1))
    whole, together = confusion(prediction, truth), Confusion(K)
    edges = [0, *sorted(cuts), 60]
    processes = []
    for start, end in itertools.pairwise(edges):
        together.update(prediction[start:end], truth[start:end])
        processes.append(confusion(prediction[start:end], truth[start:end]))
    assert torch.equal(together.compute(), whole)
    assert torch.equal(torch.stack(processes).sum(0), whole)


def test_masks_of_bytes_and_of_any_rank_count_alike():
    truth, prediction = (labels(i, (2, 3, 4), 0, 1, 2, IGNORE) for i in (0, 1))
    expected = confusion(prediction.flatten(), truth.flatten())
    assert torch.equal(confusion(prediction.to(torch.uint8), truth.to(torch.uint8)), expected)
    assert torch.equal(confusion(prediction.int(), truth), expected)


def test_an_earlier_result_does_not_change_with_later_updates():
    metric = Confusion(K)
    metric.update(torch.tensor([1]), torch.tensor([1]))
    earlier = metric.compute()
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert int(earlier.sum()) == 1
    assert int(metric.compute().sum()) == 2


def test_counting_goes_on_after_inference_mode():
    confused, curve = Confusion(K), ThresholdCurve(K, 11)
    with torch.inference_mode():
        for metric in (confused, curve):
            metric.reset()
    confused.update(torch.tensor([1]), torch.tensor([1]))
    curve.update(torch.rand(3, 1, 1), torch.zeros(1, 1).long())
    assert int(confused.compute().sum()) == int(curve.counts.sum()) == 1


def test_a_reset_forgets_and_states_move_between_processes():
    metric = Confusion(K)
    metric.update(torch.tensor([1, 2]), torch.tensor([1, 1]))
    assert torch.equal(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())
    metric.reset()
    metric.update(torch.tensor([0]), torch.tensor([0]))
    assert int(metric.compute().sum()) == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "facts"),
    [
        (5, 0, ["prediction", 5, 0, 3, 255]),
        (4, 0, ["prediction", 4]),
        (0, 4, ["truth", 4]),
        (0, -1, ["truth", -1, "num_classes"]),
    ],
)
def test_labels_that_do_not_exist_are_refused(prediction, truth, facts):
    with raises_naming(InputError, *facts):
        Confusion(K).update(torch.tensor([prediction]), torch.tensor([truth]))


def levels(thresholds: int) -> st.SearchStrategy:
    """Scores on and beside thresholds, stored in eight bits, and any others."""
    on = st.integers(0, thresholds - 1).map(lambda i: np.float32(i / (thresholds - 1)))
    below = on.map(lambda x: np.nextafter(x, np.float32(0)))
    above = on.map(lambda x: np.nextafter(x, np.float32(1)))
    stored = st.integers(0, 255).map(lambda i: np.float32(i) / np.float32(255))
    return st.one_of(*(s.map(float) for s in (on, below, above, stored)), st.floats(0, 1, width=32))


def seed_mask(score, background_score):
    return with_constant_background(score, background_score).argmax(dim=-3)


@given(thresholds=st.sampled_from([2, 4, 11, 61, 101]), data=st.data())
def test_the_curve_equals_seeds_evaluated_at_every_threshold(thresholds, data):  # reference
    size = data.draw(st.integers(1, 8))
    values = st.lists(levels(thresholds), min_size=3 * size, max_size=3 * size)
    score = torch.tensor(data.draw(values)).reshape(3, size, 1)
    kinds = st.lists(st.sampled_from([0, 1, 2, 3, IGNORE]), min_size=size, max_size=size)
    truth = torch.tensor(data.draw(kinds)).reshape(size, 1)
    curve = ThresholdCurve(K, thresholds)
    curve.update(score, truth)
    for threshold, found in zip(curve.thresholds.tolist(), curve.compute(), strict=True):
        expected = confusion(seed_mask(score, threshold), truth)
        assert torch.equal(found, expected[:, :K])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_curve_is_exact_in_every_precision(dtype):
    steps = torch.arange(101, dtype=torch.float64) / 100
    score = torch.stack([steps, steps.flip(0), steps.roll(7)]).to(dtype).reshape(3, 1, 101)
    truth = labels(0, (1, 101), 0, 1, 2, 3)
    curve = ThresholdCurve(K, 101)
    curve.update(score, truth)
    for threshold, found in zip(curve.thresholds.tolist(), curve.compute(), strict=True):
        assert torch.equal(found, confusion(seed_mask(score, threshold), truth)[:, :K])


def test_a_batch_counts_like_its_images():
    score, truth = torch.rand(3, 3, 4, 5), labels(0, (3, 4, 5), 0, 1, 2, 3, IGNORE)
    batch, single = ThresholdCurve(K, 21), ThresholdCurve(K, 21)
    batch.update(score, truth)
    for i in range(3):
        single.update(score[i], truth[i].to(torch.uint8))
    assert torch.equal(batch.compute(), single.compute())
    assert batch.counts.dtype == torch.int64


def test_thresholds_are_the_decimals_they_look_like():
    assert ThresholdCurve(K, 101).thresholds.tolist() == [i / 100 for i in range(101)]


def test_the_best_threshold_is_the_lowest_of_those_with_the_highest_miou():
    curve = ThresholdCurve(2, 11)
    # background up to 0.42, class from 0.67: every threshold between is perfect
    curve.update(torch.tensor([[[0.1, 0.42, 0.67, 0.9]]]), torch.tensor([[0, 0, 1, 1]]))
    assert curve.best() == (0.5, 1.0)


def test_parts_of_a_split_may_be_added_after_they_were_scored():
    score, truth = torch.rand(2, 3, 6, 6), labels(0, (2, 6, 6), 0, 1, 2, 3)
    whole, first, second = (ThresholdCurve(K, 11) for _ in range(3))
    whole.update(score, truth)
    first.update(score[0], truth[0])
    second.update(score[1], truth[1])
    assert not torch.equal(first.compute(), whole.compute())
    first.counts += second.counts
    assert torch.equal(first.compute(), whole.compute())
    assert first.best() == whole.best()


def test_a_curve_of_one_threshold_is_refused():
    with raises_naming(InputError, "thresholds", 1, 2):
        ThresholdCurve(K, 1)


def test_scores_of_too_few_classes_are_refused():
    with raises_naming(InputError, 2, 4, 3):
        ThresholdCurve(K, 11).update(torch.rand(2, 1, 1), torch.zeros(1, 1).long())


def test_true_labels_that_do_not_exist_are_refused():
    with raises_naming(InputError, "truth", 7):
        ThresholdCurve(K, 11).update(torch.rand(3, 1, 1), torch.full((1, 1), 7))


def test_precision_and_recall_count_objects_and_their_classes():  # worked example
    # true background, first and second class; called background, first, second
    matrix = torch.tensor([[90, 6, 4], [5, 20, 5], [10, 0, 10]])
    precision, recall = precision_recall(matrix)
    assert float(precision) == pytest.approx(30 / (6 + 4 + 20 + 5 + 10))
    assert float(recall) == pytest.approx(30 / (5 + 20 + 5 + 10 + 10))


def test_precision_of_nothing_is_not_a_number():
    precision, recall = precision_recall(torch.tensor([[5, 0], [5, 0]]))
    assert precision.isnan()
    assert float(recall) == 0


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("seeds/train/miou", ("seeds", "train", "miou")),
        ("round_1/segmentation/val/miou", ("round_1/segmentation", "val", "miou")),
        ("seeds/train/iou_tv/monitor", ("seeds", "train", "iou_tv/monitor")),
        ("round_2/crf/val/iou_[/x]", ("round_2/crf", "val", "iou_[/x]")),
        ("crf/val/iou_a/iou_b", ("crf", "val", "iou_a/iou_b")),
    ],
)
def test_a_scores_key_is_told_apart_whatever_its_class_is_called(key, parts):
    assert score_parts(key) == parts


@pytest.mark.parametrize("share", [0.05, 0.07, 0.1, 0.3, 0.4, 0.5])
def test_just_the_share_of_the_images_that_was_asked_for_is_held_out(share):
    percent = round(100 * share)
    held_out = [is_held_out(i, share) for i in range(500)]
    for n in range(1, 501):
        assert sum(held_out[:n]) == -(-n * percent // 100)


def test_nothing_is_held_out_where_nothing_is_asked_for():
    assert not any(is_held_out(i, 0) for i in range(10))


# tags


def test_classes_that_the_split_lacks_count_in_no_mean():  # closed form
    metric = TagMetrics(3)
    tags = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]])
    probability = torch.tensor([[0.9, 0.7, 0.2], [0.8, 0.1, 0.6], [0.7, 0.1, 0.3], [0.1, 0.6, 0.4]])
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(probability[part], tags[part])
    # class 0: right at ranks 1 and 3; class 2: at 1 and 2
    assert float(metric.compute()["map"]) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    # class 0: 2 right, 1 wrong; class 2: 1 right, 1 missed
    assert float(metric.compute()["f1"]) == pytest.approx((4 / 5 + 2 / 3) / 2)


@pytest.mark.parametrize("classes", [1, 3])
def test_figures_of_tags_are_no_number_where_nothing_is_tagged(classes):
    metric = TagMetrics(classes)
    metric.update(torch.rand(4, classes), torch.zeros(4, classes).long())
    assert all(value.isnan() for value in metric.compute().values())
    metric.reset()  # which forgets
    metric.update(torch.tensor([[0.9] * classes]), torch.ones(1, classes).long())
    assert [float(value) for value in metric.compute().values()] == [1, 1]


def test_figures_of_a_single_class_are_the_binary_ones():  # closed form
    metric = TagMetrics(1)
    metric.update(torch.tensor([[0.9], [0.8], [0.2]]), torch.tensor([[0], [1], [1]]))
    found = metric.compute()
    assert float(found["map"]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert float(found["f1"]) == pytest.approx(2 / 4)


def test_no_threshold_is_best_where_no_pixel_is_labelled():
    curve = ThresholdCurve(K, 11)
    curve.update(torch.rand(K - 1, 2, 2), torch.full((2, 2), IGNORE))
    assert all(value != value for value in curve.best())
