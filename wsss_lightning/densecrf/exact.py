"""Mean field with full kernel matrices, which the lattice approximates; for small images.

Letters: n images, l labels, m pixels, d features, H W an image.
"""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.torch_lattice import features
from wsss_lightning.errors import InputError

MAX_PIXELS: Final = 128 * 128  # the kernel matrix takes 2 GiB


def mean_field(
    images: Sequence[UInt8[Tensor, "_ _ 3"]],
    unaries: Sequence[Float[Tensor, "_ _ _"]],
    parameters: CRFParameters,
) -> list[Tensor]:
    """Marginals of each image, computed in double precision; see `densecrf.mean_field`.

    Raises:
        InputError: an image has more than MAX_PIXELS pixels.
    """
    return [_one(image, unary, parameters) for image, unary in zip(images, unaries, strict=True)]


def _one(
    image: UInt8[Tensor, "H W 3"], unary: Float[Tensor, "l H W"], p: CRFParameters
) -> Float[Tensor, "l H W"]:
    labels, height, width = unary.shape
    if height * width > MAX_PIXELS:
        raise InputError(
            f"image must have at most {MAX_PIXELS} pixels for the engine exact, got "
            f"{height}x{width}; choose the engine native or torch"
        )
    energy = -unary.double().reshape(labels, -1)
    appearance, smoothness = features(image, p)
    kernel = normalised(appearance.double()) * p.w1 + normalised(smoothness.double()) * p.w2
    marginal = energy.softmax(0)
    for _ in range(p.iterations):
        marginal = (energy + marginal @ kernel).softmax(0)
    return marginal.reshape(unary.shape).to(unary.dtype)


def normalised(feature: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    """D^-1/2 K D^-1/2 with K = exp(-|f_i - f_j|^2 / 2) and D = diag(K 1), self term included."""
    squared = torch.cdist(feature, feature, compute_mode="donot_use_mm_for_euclid_dist").square_()
    kernel = squared.mul_(-0.5).exp_()
    root = kernel.sum(1).rsqrt()
    return kernel.mul_(root[:, None]).mul_(root)
