import pytest
import torch

from wsss_lightning.densecrf.exact import mean_field, normalised
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(80, 13, 3, w1=10, w2=3, iterations=1)


def test_a_normalised_kernel_is_symmetric_and_holds_the_self_term():
    feature = torch.rand(20, 3, dtype=torch.float64)
    kernel = normalised(feature)
    torch.testing.assert_close(kernel, kernel.T)
    assert (kernel.diagonal() > 0).all()
    root = (-((feature[:, None] - feature) ** 2).sum(-1) / 2).exp().sum(1).sqrt()
    # K 1 = D 1, so D^-1/2 K D^-1/2 keeps D^1/2
    torch.testing.assert_close(kernel @ root, root)


def test_an_image_whose_kernel_would_not_fit_is_refused():
    with pytest.raises(InputError, match=r"image must .*16384.*200x100.*native or torch"):
        mean_field([torch.zeros(200, 100, 3, dtype=torch.uint8)], [torch.zeros(2, 200, 100)], PSA)
