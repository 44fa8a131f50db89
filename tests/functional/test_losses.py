import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.functional.losses import tag_loss


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
