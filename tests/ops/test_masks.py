import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.ops.masks import IGNORE, pseudo_mask


def test_a_pseudo_mask_shows_the_most_probable_label_and_ignores_the_unsure():
    marginal = torch.tensor([[0.7, 0.25, 0.5], [0.2, 0.6, 0.5], [0.1, 0.15, 0.0]])[:, None]
    assert pseudo_mask(marginal, 0.6).tolist() == [[0, 1, IGNORE]]
    assert pseudo_mask(marginal, 0.6).dtype == torch.uint8


def test_a_probability_equal_to_the_confidence_counts():
    marginal = torch.tensor([0.75, 0.25]).reshape(2, 1, 1)
    assert pseudo_mask(marginal, 0.75).tolist() == [[0]]


@given(seed=st.integers(0, 1000), labels=st.integers(1, 90))
def test_no_confidence_asked_ignores_nothing(seed, labels):
    generator = torch.Generator().manual_seed(seed)
    marginal = torch.rand(labels, 3, 4, generator=generator).softmax(0)
    mask = pseudo_mask(marginal, 0.0)
    assert torch.equal(mask.long(), marginal.argmax(0))


@given(seed=st.integers(0, 1000), low=st.floats(0, 1), high=st.floats(0, 1))
def test_more_confidence_only_ignores_more(seed, low, high):
    low, high = sorted((low, high))
    generator = torch.Generator().manual_seed(seed)
    marginal = torch.rand(3, 4, 4, generator=generator).softmax(0)
    loose, strict = pseudo_mask(marginal, low), pseudo_mask(marginal, high)
    kept = strict != IGNORE
    assert torch.equal(strict[kept], loose[kept])
