import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.ops.losses import (
    cross_refinement_loss,
    equivariance_loss,
    min_pooling_loss,
    tag_loss,
)


def test_a_logit_of_085_is_a_probability_of_070():  # worked example
    loss = tag_loss(torch.tensor([[0.85]]), torch.tensor([[1.0]]))
    assert math.exp(-float(loss)) == pytest.approx(0.70, abs=0.005)


@given(seed=st.integers(0, 1000), spread=st.floats(0.01, 30))
def test_tag_loss_is_the_multilabel_soft_margin(seed, spread):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(4, 5, generator=generator)
    tags = (torch.rand(4, 5, generator=generator) < 0.3).float()
    torch.testing.assert_close(tag_loss(logits, tags), F.multilabel_soft_margin_loss(logits, tags))


def test_a_network_that_knows_nothing_pays_log_two():  # closed form
    loss = tag_loss(torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    assert float(loss) == pytest.approx(math.log(2))


def test_a_sure_and_wrong_network_gets_a_finite_loss_and_gradient():
    logits = torch.tensor([[500.0, -500.0]], requires_grad=True)
    loss = tag_loss(logits, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(500)
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5, -0.5]]))


def test_the_gradient_of_the_tag_loss_is_right():  # gradcheck
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    tags = (torch.rand(3, 4) < 0.5).double()
    assert torch.autograd.gradcheck(lambda x: tag_loss(x, tags), logits)


# SEAM


def uniform(seed, *shape):
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape).astype(np.float32))


def test_min_pooling_is_that_of_the_official_code():  # V2
    assert float(min_pooling_loss(uniform(1, 2, 3, 8, 8) - 0.3)) == pytest.approx(
        0.230568, abs=1e-6
    )


def test_min_pooling_is_the_mean_of_the_quarter_where_the_strongest_class_is_weakest():
    first = torch.tensor([[0.9, 0.1, 0.8, 0.7], [0.2, 0.9, 0.9, 0.9]])
    second = torch.tensor([[0.0, 0.3, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0]])
    loss = min_pooling_loss(torch.stack([first, second])[None])
    assert float(loss) == pytest.approx((0.3 + 0.2) / 2)


def test_er_counts_absent_classes_whether_they_are_given_or_not():
    full, small = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    full[:, 2] = small[:, 2] = 0
    given = equivariance_loss(full, small, 3)
    torch.testing.assert_close(given, (full - small).abs().mean())
    torch.testing.assert_close(equivariance_loss(full[:, :2], small[:, :2], 3), given)


def test_ecr_is_the_mean_of_the_largest_errors():  # closed form
    cam = torch.tensor([[[0.0, 0.0]], [[1.0, 0.2]], [[0.5, 0.4]]])[None]
    # one-hot: background 0 and 0.6, first class 1 and 0, second 0 and 0.4
    refined = torch.tensor([[[0.5, 0.6]], [[0.0, 0.1]], [[0.0, 0.0]]])[None]
    for fraction, expected in ((1 / 6, 1.0), (0.5, (1 + 0.5 + 0.4) / 3), (1.0, 2.0 / 6)):
        found = cross_refinement_loss(cam, refined, fraction + 1e-6, num_labels=3)
        assert float(found) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.9])
def test_ecr_counts_absent_labels_whether_they_are_given_or_not(fraction):
    cam, refined = torch.rand(2, 7, 4, 5), torch.rand(2, 7, 4, 5)
    cam[:, 3:] = refined[:, 3:] = 0
    given = cross_refinement_loss(cam, refined, fraction, 7)
    fewer = cross_refinement_loss(cam[:, :3], refined[:, :3], fraction, 7)
    torch.testing.assert_close(fewer, given)


def test_ecr_teaches_the_refined_map_and_not_the_cam():
    cam = torch.rand(1, 3, 4, 5, requires_grad=True)
    refined = torch.rand(1, 3, 4, 5, requires_grad=True)
    cross_refinement_loss(cam, refined, 0.2, 3).backward()
    assert cam.grad is None
    assert int((refined.grad != 0).sum()) == int(3 * 4 * 5 * 0.2)


@given(seed=st.integers(0, 1000), fraction=st.floats(0.01, 1))
def test_the_losses_of_seam_lie_between_zero_and_one(seed, fraction):  # property
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 2, 4, 3, 5, generator=generator)
    for loss in (
        min_pooling_loss(a),
        equivariance_loss(a, b, 4),
        cross_refinement_loss(a, b, fraction, 4),
    ):
        assert 0 <= float(loss) <= 1
    assert float(equivariance_loss(a, a, 4)) == 0
