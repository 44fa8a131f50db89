"""Signals of the quality of masks, and their agreement with true IoU."""

import numpy as np
import pytest
from scipy import ndimage, stats

from wsss_lightning.evaluation.quality import (
    combine,
    edge_evidence,
    expected_iou,
    largest_part,
    mask_iou,
    percentiles,
    rank_correlation,
    worst_found,
)

SIDE = 40
EMPTY = np.zeros((SIDE, SIDE), bool)


def disc(radius=10, row=20, column=20):
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def picture(mask, noise=10):
    """A bright object on a dark background, with noise."""
    grey = np.where(mask, 180, 70) + np.random.default_rng(0).integers(-noise, noise, mask.shape)
    return np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)


def test_the_true_contour_has_more_evidence_than_any_shifted_one():
    image = picture(disc())
    true = edge_evidence(image, disc())
    moved = [edge_evidence(image, disc(column=20 + shift)) for shift in (2, 4, 8)]
    assert true > max(moved)
    assert true > 0.85
    assert edge_evidence(image, disc(radius=5)) < true


def test_a_contour_that_ignores_the_image_has_evidence_of_about_a_half():
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert edge_evidence(noise, disc()) == pytest.approx(0.5, abs=0.06)


def test_contrast_does_not_change_the_evidence():
    image = picture(disc(), noise=10)
    faint = (image // 2).astype(np.uint8)
    assert edge_evidence(faint, disc()) == pytest.approx(edge_evidence(image, disc()), abs=0.03)


def test_a_mask_that_the_image_cuts_off_has_its_contour_there():
    image = picture(disc())
    everything = ~EMPTY  # nowhere an edge
    assert 0 < edge_evidence(image, everything) < 0.5


def test_an_empty_mask_has_no_signal():
    image = picture(disc())
    assert edge_evidence(image, EMPTY) == 0
    assert largest_part(EMPTY) == 0
    assert expected_iou(np.ones((SIDE, SIDE), np.float32), EMPTY) == 0
    assert mask_iou(EMPTY, EMPTY) == 0


def test_the_largest_part_is_a_share_of_the_pixels():
    mask = EMPTY.copy()
    mask[2:5, 2:5] = mask[10:11, 10:13] = True  # 9 and 3 pixels
    assert largest_part(mask) == pytest.approx(9 / 12)
    assert largest_part(disc()) == 1


def test_the_iou_of_two_masks():
    first, second = EMPTY.copy(), EMPTY.copy()
    first[0, :6], second[0, 4:12] = True, True
    assert mask_iou(first, second) == pytest.approx(2 / 12)


def test_certain_probabilities_expect_the_iou_itself():
    other = disc(column=24)
    assert expected_iou(other.astype(np.float32), disc()) == pytest.approx(mask_iou(other, disc()))


def test_the_expected_iou_of_a_constant_probability():
    # p everywhere, m of n pixels: p m / (m + p (n - m))
    n, m, p = SIDE**2, int(disc().sum()), 0.25
    probability = np.full((SIDE, SIDE), p, np.float32)
    assert expected_iou(probability, disc()) == pytest.approx(p * m / (m + p * (n - m)))


def test_percentiles_are_centred_and_share_ties():
    assert percentiles(np.array([3.0, 1.0, 2.0, 2.0])).tolist() == [0.875, 0.125, 0.5, 0.5]
    assert percentiles(np.array([7.0])).tolist() == [0.5]


def test_the_quality_is_the_weighted_mean_percentile():
    signals = {
        "consistency": np.array([0.1, 0.9]),  # counts three times
        "edge": np.array([0.8, 0.2]),
    }
    assert combine(signals) == pytest.approx([(3 * 0.25 + 0.75) / 4, (3 * 0.75 + 0.25) / 4])
    assert combine({"edge": np.arange(9.0) ** 3}).mean() == pytest.approx(0.5)


def test_a_signal_that_is_the_same_for_all_masks_changes_no_order():
    edge = np.array([0.3, 0.9, 0.1])
    both = combine({"edge": edge, "largest": np.ones(3)})
    assert np.argsort(both).tolist() == np.argsort(edge).tolist()


def test_the_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 9, 50).astype(float)  # with ties
    second = first + rng.normal(0, 4, 50)
    # Spearman's is Pearson's correlation of the ranks
    by_hand = np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1]
    assert rank_correlation(first.tolist(), second.tolist()) == pytest.approx(by_hand)
    assert rank_correlation(first.tolist(), (-first).tolist()) == pytest.approx(-1)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank_correlation([1, 2], [1, 2]))


def test_the_worst_fifth_is_compared_with_the_truly_worst():
    truth = [float(i) for i in range(10)]
    assert worst_found(truth, truth) == 1
    assert worst_found(truth[::-1], truth) == 0
    swapped = truth.copy()
    swapped[1], swapped[5] = truth[5], truth[1]
    assert worst_found(swapped, truth) == 0.5
    assert np.isnan(worst_found([1, 2], [1, 2]))


@pytest.mark.parametrize("damage", ["shifted", "eroded", "dilated", "noise"])
def test_a_perfect_mask_is_better_than_a_damaged_one(damage):
    image, true = picture(disc()), disc()
    damaged = {
        "shifted": disc(column=26),
        "eroded": ndimage.binary_erosion(true, iterations=4),
        "dilated": ndimage.binary_dilation(true, iterations=4),
        "noise": true ^ (np.random.default_rng(0).random(true.shape) < 0.1),
    }[damage]
    seen = ndimage.gaussian_filter(true.astype(np.float32), 2)
    signals = {
        "edge": [edge_evidence(image, mask) for mask in (true, damaged)],
        "largest": [largest_part(mask) for mask in (true, damaged)],
        "network": [expected_iou(seen, mask) for mask in (true, damaged)],
    }
    best, worse = combine({name: np.array(values) for name, values in signals.items()})
    assert best > worse
