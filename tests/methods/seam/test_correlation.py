import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsss_lightning.methods.seam.correlation import pixel_correlation, suppress_non_max_classes


def uniform(seed, *shape):
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape).astype(np.float32))


def whole_affinity(maps, features):
    """Equation 8 as it is written, with the affinity of all pixels in memory."""
    b, k, h, w = maps.shape
    unit = features / (features.norm(dim=1, keepdim=True) + 1e-5)
    unit = unit.view(b, -1, h * w)
    affinity = (unit.transpose(1, 2) @ unit).relu()
    affinity = affinity / (affinity.sum(1, keepdim=True) + 1e-5)
    return (maps.view(b, k, h * w) @ affinity).view(b, k, h, w)


def test_refined_maps_are_those_of_the_official_code():  # V4
    embed = uniform(3, 192, 195, 1, 1) - 0.5
    features = torch.nn.functional.conv2d(uniform(5, 1, 195, 6, 7), embed)
    refined = pixel_correlation(uniform(4, 1, 21, 6, 7), features, block_mib=256)
    assert float(refined.sum()) == pytest.approx(445.75391, abs=1e-3)
    torch.testing.assert_close(
        refined[0, 0, 0, :3], torch.tensor([0.527856, 0.521854, 0.525310]), atol=1e-6, rtol=0
    )
    assert float(refined[0, 20, 5, 6]) == pytest.approx(0.550664, abs=1e-6)
    assert float(refined.std()) == pytest.approx(0.039969, abs=1e-6)


# 4 bytes * 2 images * 30 pixels are 240 a column: blocks of 1, of 7 (which does not divide 30),
# and of all columns
@pytest.mark.parametrize("block_mib", [1e-9, 7.5 * 240 / 2**20, 1.0])
def test_blocks_of_any_size_give_the_maps_and_gradients_of_the_whole_affinity(block_mib):
    maps = torch.rand(2, 4, 5, 6, requires_grad=True)
    features = torch.randn(2, 3, 5, 6, requires_grad=True)
    weights = torch.randn(2, 4, 5, 6)
    expected = whole_affinity(maps, features)
    wanted = torch.autograd.grad((expected * weights).sum(), (maps, features))
    refined = pixel_correlation(maps, features, block_mib)
    found = torch.autograd.grad((refined * weights).sum(), (maps, features))
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_gradients_are_right():  # gradcheck
    maps = torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda m, f: pixel_correlation(m, f, block_mib=5 * 2 * 12 * 8 / 2**20), (maps, features)
    )


@given(seed=st.integers(0, 1000), h=st.integers(1, 7), w=st.integers(1, 7), k=st.integers(2, 5))
def test_labels_that_add_up_to_one_do_so_once_refined(seed, h, w, k):  # property
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, k, h, w, generator=generator).softmax(1)
    features = torch.randn(2, 4, h, w, generator=generator)
    refined = pixel_correlation(maps, features, block_mib=0.001)
    assert (refined >= 0).all()
    torch.testing.assert_close(refined.sum(1), torch.ones(2, h, w), atol=1e-4, rtol=0)


def test_pixels_that_are_alike_share_what_they_show():  # closed form
    red, green = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    features = torch.stack([red, red, green]).T.view(1, 2, 1, 3)
    maps = torch.tensor([1.0, 0.0, 0.5]).view(1, 1, 1, 3)
    refined = pixel_correlation(maps, features, block_mib=1)
    expected = torch.tensor([0.5, 0.5, 0.5]).view(1, 1, 1, 3)
    torch.testing.assert_close(refined, expected, atol=1e-4, rtol=0)


def test_a_pixel_that_is_like_none_shows_nothing():
    features = torch.zeros(1, 2, 1, 2)
    features[..., 0] = 1
    refined = pixel_correlation(torch.ones(1, 1, 1, 2), features, block_mib=1)
    expected = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(refined, expected, atol=1e-4, rtol=0)


def test_a_block_of_no_memory_is_refused():
    with pytest.raises(ValueError, match="block_mib must be > 0, got 0"):
        pixel_correlation(torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3), block_mib=0)


def test_each_class_is_stretched_to_its_maximum_and_background_is_what_is_left():  # closed form
    cam = torch.tensor([[[9.0, 9.0, 9.0]], [[4.0, 1.0, -1.0]], [[0.0, 5.0, -2.0]]])[None]
    expected = torch.tensor([[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])[None]
    torch.testing.assert_close(suppress_non_max_classes(cam), expected, atol=1e-4, rtol=0)


@given(seed=st.integers(0, 1000), k=st.integers(2, 6))
def test_one_class_a_pixel_is_left_and_labels_add_up_to_one(seed, k):  # property
    cam = torch.randn(2, k, 4, 5, generator=torch.Generator().manual_seed(seed))
    kept = suppress_non_max_classes(cam)
    torch.testing.assert_close(kept.sum(1), torch.ones(2, 4, 5))
    assert ((kept[:, 1:] > 0).sum(1) <= 1).all()


def test_what_is_refined_carries_no_gradient():
    assert not suppress_non_max_classes(torch.randn(1, 3, 2, 2, requires_grad=True)).requires_grad
