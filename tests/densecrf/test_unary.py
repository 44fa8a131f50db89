import math

import pytest
import torch
from facts import raises_naming

from wsss_lightning.densecrf.unary import unary_from_labels, unary_from_scores


def test_scores_become_energies_and_zeros_stay_finite():
    score = torch.tensor([0.0, 0.5, 1.0, 1.2]).view(4, 1, 1)
    expected = torch.tensor([-math.log(1e-5), math.log(2), 0, 0])
    torch.testing.assert_close(unary_from_scores(score).flatten(), expected)


def test_energies_of_scores_equal_the_librarys():
    utils = pytest.importorskip("pydensecrf.utils", reason="the reference is an extra")
    score = torch.rand(3, 5, 6).softmax(0)
    expected = utils.unary_from_softmax(score.numpy())
    torch.testing.assert_close(unary_from_scores(score).flatten(1), torch.from_numpy(expected))


def test_hard_labels_become_energies():  # methods.md 5, pitfall d
    two = unary_from_labels(torch.tensor([[0, 1]]), 2, gt_prob=0.7)
    expected = torch.tensor([[0.357, 1.204], [1.204, 0.357]])
    torch.testing.assert_close(two[:, 0], expected, atol=5e-4, rtol=0)
    unsure = unary_from_labels(torch.tensor([[0, 2]]), 2, gt_prob=0.7, zero_unsure=True)
    expected = torch.tensor([[0.693, 1.204], [0.693, 0.357]])
    torch.testing.assert_close(unsure[:, 0], expected, atol=5e-4, rtol=0)


@pytest.mark.parametrize("zero_unsure", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_energies_of_hard_labels_equal_the_librarys(zero_unsure, dtype):
    utils = pytest.importorskip("pydensecrf.utils", reason="the reference is an extra")
    labels = torch.randint(0, 4, (6, 7))
    count = 3 if zero_unsure else 4
    expected = utils.unary_from_labels(labels.numpy(), count, gt_prob=0.6, zero_unsure=zero_unsure)
    found = unary_from_labels(labels.to(dtype), count, 0.6, zero_unsure)
    torch.testing.assert_close(found.flatten(1), torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("labels", "num_labels", "gt_prob", "facts"),
    [
        ([[0, 255]], 3, 0.7, [255, "0..2", "num_labels"]),
        ([[-1, 0]], 3, 0.7, [-1]),
        ([[0, 0]], 3, 1.0, ["gt_prob", "1.0", "(0, 1)"]),
        ([[0, 0]], 1, 0.7, ["num_labels", 1, 2]),
    ],
)
def test_labels_that_mean_nothing_are_refused(labels, num_labels, gt_prob, facts):
    with raises_naming(ValueError, *facts):
        unary_from_labels(torch.tensor(labels), num_labels, gt_prob)
