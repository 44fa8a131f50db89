import math

import numpy as np
import pytest
import torch
from facts import assert_names, raises_naming
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wsss_lightning.evaluation.metrics import miou
from wsss_lightning.report.verdict import (
    compare,
    dataset_miou,
    describe,
    draw_weights,
    estimate,
    resampled_miou,
)

STILL = np.zeros((2, 50))  # images that change nothing


def counts(seed: int, images: int = 12, labels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (images, labels, labels + 1))


def test_every_resample_has_as_many_images():
    weights = draw_weights(30, resamples=20)
    assert weights.shape == (20, 30)
    assert (weights.sum(1) == 30).all()
    assert not (weights[0] == weights[1]).all()


@given(seed=st.integers(0, 1000))
def test_counts_are_added_up_before_they_are_divided(seed):
    matrices = counts(seed)
    drawn = draw_weights(len(matrices), resamples=3, seed=seed)
    values = resampled_miou(drawn, matrices)
    for weights, value in zip(drawn, values, strict=True):
        repeated = np.repeat(matrices, weights.astype(int), axis=0).sum(0)
        assert value == pytest.approx(miou(torch.from_numpy(repeated)))


def test_labels_that_no_drawn_image_shows_do_not_count():
    matrix = np.array([[[8.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 9.0, 0.0]]])
    # 8 / (10 + 9 - 8) and 9 / (10 + 9 - 9)
    assert dataset_miou(matrix).tolist() == pytest.approx([(8 / 11 + 9 / 10) / 2])
    assert math.isnan(dataset_miou(np.zeros((1, 3, 4)))[0])


def test_over_seeds_alone_the_interval_is_that_of_students_test():  # independent reference
    first, second = [0.50, 0.56, 0.53], [0.41, 0.43, 0.48]
    found = compare(first, second, (STILL, STILL), paired=False)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.difference == pytest.approx(0.09)


def test_runs_that_share_a_network_are_compared_pair_by_pair():
    first, second = [0.50, 0.60, 0.70], [0.48, 0.585, 0.675]
    apart = compare(first, second, (STILL, STILL), paired=False)
    together = compare(first, second, (STILL, STILL), paired=True)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (together.low, together.high) == pytest.approx(tuple(expected))
    assert together.decided
    assert not apart.decided
    with raises_naming(ValueError, 3, 2):
        compare(first, second[:2], (STILL, STILL), paired=True)


def test_images_widen_the_interval_unless_both_methods_feel_the_same():
    first, second = [0.50, 0.52, 0.51], [0.40, 0.42, 0.41]
    rng = np.random.default_rng(0)
    common = 0.2 * rng.standard_normal((1, 500)).repeat(3, 0)
    own = 0.2 * rng.standard_normal((1, 500)).repeat(3, 0)
    assert compare(first, second, (common, common), paired=False).decided
    found = compare(first, second, (common, own), paired=False)
    assert not found.decided
    half = stats.norm.ppf(0.975) * math.hypot(0.2, 0.2)
    assert found.high - found.difference == pytest.approx(half, rel=0.1)


@given(values=st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4))
def test_turned_round_a_comparison_is_its_mirror_image(values):
    one = compare(values[:2], values[2:], (STILL, STILL), paired=False)
    other = compare(values[2:], values[:2], (STILL, STILL), paired=False)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.decided, one.more_runs) == (other.decided, other.more_runs)


def test_one_run_decides_nothing():
    found = compare([0.6], [0.3], (STILL[:1], STILL[:1]), paired=False)
    assert not found.decided
    assert found.low is None
    assert estimate([0.6], None).low is None
    words = describe("SEAM", "CAM", found)
    assert_names(words, "SEAM", "CAM", "undecided", "30.0", "mIoU", "2 seeds")


def test_so_many_more_seeds_would_decide():
    first, second = [0.50, 0.54], [0.44, 0.48]
    found = compare(first, second, (STILL, STILL), paired=False)
    assert not found.decided
    count = 2 + found.more_runs
    half = {
        n: stats.t.ppf(0.975, 2 * (n - 1)) * math.sqrt(2 * 0.0008 / n) for n in (count - 1, count)
    }
    assert half[count] < 0.06 < half[count - 1]
    words = describe("A", "B", found)
    assert_names(words, f"{found.more_runs} more")


def test_more_seeds_are_counted_from_what_each_method_has():  # independent reference
    first, second = [0.48, 0.46, 0.49, 0.52, 0.40, 0.51], [0.45, 0.46]
    found = compare(first, second, (STILL, STILL), paired=False)
    assert not found.decided

    def decides(more: int) -> bool:
        sizes, variances = (6 + more, 2 + more), (np.var(first, ddof=1), np.var(second, ddof=1))
        deviations = [math.sqrt(variance) for variance in variances]
        means = np.mean(first), np.mean(second)
        test = stats.ttest_ind_from_stats(
            means[0], deviations[0], sizes[0], means[1], deviations[1], sizes[1], equal_var=False
        )
        return test.pvalue < 0.05

    assert [decides(more) for more in range(found.more_runs + 1)] == [
        *[False] * found.more_runs,
        True,
    ]


def test_a_difference_of_nothing_is_never_decided():
    found = compare([0.5, 0.54], [0.5, 0.54], (STILL, STILL), paired=False)
    assert found.more_runs is None
    assert_names(describe("A", "B", found), "0.0")


def test_a_hundred_seeds_that_would_not_decide_are_said_not_to():
    first, second = [0.500, 0.540], [0.499, 0.539]
    found = compare(first, second, (STILL, STILL), paired=False)
    assert found.more_runs is None
    assert not found.too_few_images
    words = describe("A", "B", found)
    assert_names(words, 0.1, 100)
    test = stats.ttest_ind_from_stats(
        0.520, np.std(first, ddof=1), 100, 0.519, np.std(second, ddof=1), 100, equal_var=False
    )
    assert test.pvalue > 0.05


def test_too_few_images_are_said_to_be_too_few():
    moved = 0.01 * np.random.default_rng(0).standard_normal((1, 2000)).repeat(2, 0)
    draws = (moved, np.zeros_like(moved))
    few = compare([0.511, 0.519], [0.501, 0.509], draws, paired=False)
    assert few.more_runs is None
    assert few.too_few_images
    assert_names(describe("A", "B", few), "images", "seeds")
    enough = compare([0.51, 0.56], [0.48, 0.53], draws, paired=False)  # 3 points
    assert not enough.decided
    assert not enough.too_few_images
    assert enough.more_runs is not None


def test_a_decision_is_told_in_points_with_its_interval():
    found = compare([0.50, 0.51, 0.52], [0.40, 0.41, 0.42], (STILL, STILL), paired=False)
    half = 100 * (found.high - found.difference)
    ends = f"{10 - half:.1f} to {10 + half:.1f}"
    facts = ("10.0", "mIoU", "95 %", ends, "3 seeds")
    assert_names(describe("A", "B", found), "A", "better", "B", *facts)
    back = compare([0.40, 0.41, 0.42], [0.50, 0.51, 0.52], (STILL, STILL), paired=False)
    assert_names(describe("B", "A", back), "B", "worse", "A", *facts)


@pytest.mark.parametrize("seeds", [2, 4])
def test_where_there_is_no_winner_one_is_named_in_at_most_one_of_twenty(simulation, seeds):
    rng, trials = np.random.default_rng(seeds), 150
    weights = draw_weights(40, 100)
    named = np.zeros(3)
    for _ in range(trials):
        named += simulation.judge(*simulation.experiment(rng, 0.0, seeds, 40, 0.15, weights))
    ours, images_alone, _ = named / trials
    assert ours < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert images_alone > 0.2  # what counting images alone would claim


def test_an_interval_ends_where_miou_does():
    found = compare([0.1, 0.9], [0.2, 0.8], (STILL, STILL), paired=False, level=0.99)
    assert (found.low, found.high) == (-1.0, 1.0)
    assert not found.decided
