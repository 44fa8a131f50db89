import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wsss_lightning.ops.cam import (
    channel_weights,
    gather_present,
    grad_cam,
    max_normalise,
    normalise_jointly,
    one_hot,
    present,
    with_constant_background,
    with_power_background,
)


def test_background_is_always_present():
    tags = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    expected = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])[..., None, None]
    assert torch.equal(present(tags), expected)


def test_every_map_is_stretched_from_its_minimum_to_its_maximum():  # closed form
    cam = torch.tensor([[[1.0, 2.0], [5.0, 3.0]], [[-1.0, 0.0], [0.5, 0.25]]])
    expected = torch.tensor([[[0.0, 0.25], [1.0, 0.5]], [[0.0, 0.0], [1.0, 0.5]]])
    torch.testing.assert_close(max_normalise(cam, eps=0.0), expected)


@given(scale=st.floats(0.1, 1e3), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_scores_do_not_depend_on_the_scale_of_the_activation(scale, shape):
    cam = torch.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    torch.testing.assert_close(max_normalise(scale * cam, eps=1e-9), max_normalise(cam, eps=1e-9))


def test_normalisation_equals_that_of_the_official_seam_code():  # known answer V1
    cam = 2 * np.random.RandomState(0).rand(2, 3, 4, 5) - 0.5
    score = max_normalise(torch.from_numpy(cam).float())
    assert float(score.sum()) == pytest.approx(46.793575, abs=1e-4)
    expected = torch.tensor([0.418694, 0.651822, 0.494289, 0.413187, 0.243320])
    torch.testing.assert_close(score[0, 0, 0], expected, atol=1e-6, rtol=0)


def test_a_map_without_evidence_stays_zero():
    cam = torch.stack([torch.full((3, 3), -2.0), 1e-6 * torch.rand(3, 3), torch.ones(3, 3)])
    assert torch.equal(max_normalise(cam), torch.zeros(3, 3, 3))


@given(seed=st.integers(0, 1000), spread=st.floats(1e-3, 1e4))
def test_scores_lie_in_0_to_below_1(seed, spread):
    cam = spread * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    score = max_normalise(cam)
    assert float(score.min()) >= 0
    # so near to 1 that float32 may round to it
    assert float(score.max()) <= 1


@pytest.mark.parametrize(
    ("gradient", "weight"),
    [([0.86, 0.99, -0.22, 0.76], 0.5975), ([0.11, 0.34, -0.25, -0.44], -0.06)],
)
def test_a_channel_weighs_as_much_as_its_mean_gradient(gradient, weight):  # worked example
    found = channel_weights(torch.tensor(gradient).reshape(1, 1, 2, 2))
    torch.testing.assert_close(found, torch.tensor([[weight]]))


def test_grad_cam_adds_weighted_channels_and_drops_what_speaks_against():  # worked example
    gradient = torch.tensor([[0.86, 0.99, -0.22, 0.76], [0.11, 0.34, -0.25, -0.44]])
    activation = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 5.0, 0.0]])
    expected = torch.tensor([[0.5975, 0.0], [2 * 0.5975 - 5 * 0.06, 0.0]])
    found = grad_cam(activation.reshape(1, 2, 2, 2), gradient.reshape(1, 2, 2, 2))
    torch.testing.assert_close(found, expected[None])


def test_grad_cam_of_a_pooled_linear_head_is_the_cam_over_its_number_of_cells():
    layer, head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4, bias=False)
    activation = layer(torch.rand(2, 3, 7, 8))
    logits = head(activation.mean((-2, -1)))
    cam = torch.einsum("cd,bdhw->bchw", head.weight, activation)
    for c in range(4):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), activation, retain_graph=True)
        expected = cam[:, c].relu() / (5 * 6)
        torch.testing.assert_close(grad_cam(activation, gradient), expected)


def test_images_of_a_batch_do_not_mix_in_grad_cam():
    activation, gradient = torch.randn(2, 3, 5, 4, 4)
    whole = grad_cam(activation, gradient)
    for i in range(3):
        torch.testing.assert_close(
            grad_cam(activation[i : i + 1], gradient[i : i + 1]), whole[i : i + 1]
        )


def test_a_constant_background_goes_before_the_classes():
    score = torch.rand(2, 3, 4, 5)
    full = with_constant_background(score, 0.25)
    assert torch.equal(full[:, 0], torch.full((2, 4, 5), 0.25))
    assert torch.equal(full[:, 1:], score)


@pytest.mark.parametrize(("power", "tie"), [(1, 0.5), (4, 0.276), (16, 0.123), (32, 0.077)])
def test_a_power_background_ties_with_the_class_where_the_equation_says(power, tie):
    # methods.md 5: the score m with (1 - m) ** power = m
    score = torch.tensor([tie - 0.002, tie + 0.002]).reshape(1, 1, 2)
    assert with_power_background(score, power).argmax(0).tolist() == [[0, 1]]


def test_a_power_background_follows_the_strongest_class():
    score = torch.tensor([0.2, 0.6, 0.5]).reshape(3, 1, 1)
    full = with_power_background(score, 2)
    torch.testing.assert_close(full.flatten(), torch.tensor([0.16, 0.2, 0.6, 0.5]))


def test_scores_above_one_leave_no_background():
    full = with_power_background(torch.full((1, 1, 1), 1.2), 0.5)
    assert full.flatten().tolist() == pytest.approx([0.0, 1.2])


def test_an_image_without_tags_is_all_background():
    score = torch.zeros(0, 2, 3)
    assert torch.equal(with_power_background(score, 4), torch.ones(1, 2, 3))
    assert torch.equal(with_constant_background(score, 0.3), torch.full((1, 2, 3), 0.3))


def test_masking_by_the_strongest_class_is_that_of_the_official_code():  # V3
    cam = torch.from_numpy(np.random.RandomState(2).rand(2, 5, 6, 7).astype(np.float32))
    assert float(one_hot(cam).sum()) == pytest.approx(106.631126, abs=1e-4)


def test_ties_and_background_survive_the_masking():  # worked example
    cam = torch.tensor([0.1, 0.7, 0.7, 0.6]).view(1, 4, 1, 1)
    expected = torch.tensor([0.1, 0.7, 0.7, 0.0]).view(1, 4, 1, 1)
    assert torch.equal(one_hot(cam), expected)


def test_background_and_the_tagged_classes_are_gathered_in_order():
    maps = torch.arange(8.0).view(2, 4, 1, 1)
    chosen, here = gather_present(maps, torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]))
    assert chosen[0].flatten().tolist() == [0, 2, 3]
    assert here.flatten(1).tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (chosen * here)[1].flatten().tolist() == [4, 7, 0]


def test_images_without_tags_still_have_a_class_that_is_absent():
    chosen, here = gather_present(torch.ones(2, 4, 1, 1), torch.zeros(2, 3))
    assert chosen.shape == (2, 2, 1, 1)
    assert here.flatten(1).tolist() == [[1, 0], [1, 0]]


def test_maps_of_sub_categories_share_one_maximum_as_in_the_official_code():  # C1
    views = [np.random.RandomState(s).rand(200, 6, 7).astype(np.float32) for s in (30, 31)]
    maps = normalise_jointly(torch.from_numpy(sum(views)).unflatten(0, (20, 10)))
    assert float(maps.double().sum()) == pytest.approx(4335.12610, abs=1e-3)
    assert float(maps[3].max()) == pytest.approx(0.999995, abs=1e-6)
    assert float(maps.amax((-2, -1)).min()) == pytest.approx(0.760929, abs=1e-6)
