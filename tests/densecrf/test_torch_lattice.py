import torch

from wsss_lightning.densecrf.exact import normalised
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.torch_lattice import features, kernel, mean_field

NARROW = CRFParameters(4, 40, 1.5, w1=3, w2=2, iterations=2)


def image(height=5, width=6):
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)


def test_gradients_of_the_unary_are_right():
    picture = image()
    unary = torch.rand(3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: mean_field([picture], [u], NARROW)[0], unary)


def test_the_filter_is_positive_and_near_to_the_whole_kernel():
    for feature in features(image(), NARROW):
        found = kernel(feature, torch.zeros(30, dtype=torch.long), factor=2.0)(torch.eye(30))
        assert (found >= 0).all()
        assert (found - 2 * normalised(feature)).abs().mean() < 0.03


def test_images_of_a_batch_do_not_touch():
    feature, _ = features(image(), NARROW)
    both = kernel(
        torch.cat([feature, feature]), torch.tensor([0, 1]).repeat_interleave(30), factor=1.0
    )
    value = torch.cat([torch.rand(30, 2), torch.zeros(30, 2)])
    assert both(value)[:30].abs().min() > 0
    assert (both(value)[30:] == 0).all()


def test_results_do_not_vary_from_run_to_run():
    pictures, unaries = [image(40, 50)], [torch.rand(3, 40, 50)]
    first, second = (mean_field(pictures, unaries, NARROW)[0] for _ in range(2))
    assert torch.equal(first, second)
