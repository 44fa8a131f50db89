"""The fully connected CRF: mean field with a Gaussian and a bilateral kernel.

Letters: l labels, H W an image.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8

from wsss_lightning.errors import InputError


@dataclass(frozen=True)
class CRFParameters:
    """Kernel widths and weights, named as in the paper.

    k(i, j) = w1 exp(-|p|^2 / 2 theta_alpha^2 - |I|^2 / 2 theta_beta^2) + w2 exp(-|p|^2 / 2
    theta_gamma^2), p the difference of positions in pixels and I that of colours in levels 0..255.

    Args:
        theta_alpha: width of the appearance kernel in space, pixels.
        theta_beta: its width in colour, levels.
        theta_gamma: width of the smoothness kernel, pixels.
        w1: weight of the appearance kernel.
        w2: weight of the smoothness kernel.
        iterations: of mean field; 0 leaves softmax(-unary).

    Raises:
        InputError: a width is not positive, a weight or the number of iterations is negative, or a
            value is not finite.

    Source: Kraehenbuehl & Koltun 2011, eq. 3.
    """

    theta_alpha: float
    theta_beta: float
    theta_gamma: float
    w1: float
    w2: float
    iterations: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low = "above 0" if name.startswith("theta") else "0 or above"
            if not math.isfinite(value) or value < 0 or (value == 0 and name.startswith("theta")):
                raise InputError(f"crf.{name} is {value}; set a finite number {low}.")


def unary_from_scores(score: Float[np.ndarray, "l H W"]) -> Float[np.ndarray, "l H W"]:
    """-log of the score, kept within [1e-5, 1].

    The scores of a pixel need not sum to 1: a common factor drops out in the first softmax.

    Source: `unary_from_softmax` of pydensecrf.
    """
    return -np.log(np.clip(score, 1e-5, 1.0)).astype(np.float32)


def unary_from_labels(
    labels: Integer[np.ndarray, "H W"], num_labels: int, confidence: float, zero_unsure: bool
) -> Float[np.ndarray, "l H W"]:
    """-log confidence for the given label, the rest shared equally by the others.

    Args:
        labels: 0 .. num_labels - 1.
        confidence: probability that a label is right, within (0, 1).
        zero_unsure: label 0 means unknown; all labels are equally probable there, and it is no
            label itself, so the result has num_labels - 1.

    Source: `unary_from_labels` of pydensecrf.
    """
    if not 0 < confidence < 1:
        raise InputError(f"the confidence of labels is {confidence}; set it within (0, 1).")
    count = num_labels - 1 if zero_unsure else num_labels
    wrong = (1 - confidence) / (count - 1)
    unary = np.full((count, *labels.shape), -np.log(wrong), np.float32)
    shifted = labels.astype(np.int64) - int(zero_unsure)
    known = shifted >= 0
    rows, columns = np.nonzero(known)
    unary[shifted[known], rows, columns] = -np.log(confidence)
    unary[:, ~known] = -np.log(1 / count)
    return unary


def mean_field(
    image: UInt8[np.ndarray, "H W 3"],
    unary: Float[np.ndarray, "l H W"],
    parameters: CRFParameters,
) -> Float[np.ndarray, "l H W"]:
    """Q <- softmax(-unary + sum_m w_m D^-1/2 K_m D^-1/2 Q), `iterations` times.

    The Potts model charges different labels (mu is 1 for them), which adds w K Q for the own label.
    Kernels hold the self term; they are filtered on the permutohedral lattice.

    Args:
        image: RGB, levels 0..255.
        unary: energy of each label, -log of its probability.

    Returns:
        Marginals in [0, 1], sum 1 over l.

    Raises:
        InputError: sizes differ, the unary is not finite, or the library is absent.

    Source: Kraehenbuehl & Koltun 2011, algorithm 1; normalisation and lattice of pydensecrf.
    """
    if unary.shape[1:] != image.shape[:2]:
        raise InputError(
            f"the unary is of {unary.shape[1:]} pixels, the image of {image.shape[:2]}; resize the "
            "scores to the image."
        )
    if not np.isfinite(unary).all():
        raise InputError("the unary holds NaN or infinite values; clip scores before the logarithm.")
    if len(unary) == 1:
        return np.ones(unary.shape, np.float32)
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise InputError(
            "The CRF needs pydensecrf, which is not installed; pip install 'wsss-lightning[crf]' "
            "(it is compiled, and needs a C++ compiler and Python below 3.13), or choose "
            "refine=none."
        ) from error
    labels, height, width = unary.shape
    model = densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(np.ascontiguousarray(unary.reshape(labels, -1), np.float32))
    model.addPairwiseGaussian(sxy=parameters.theta_gamma, compat=parameters.w2)
    model.addPairwiseBilateral(
        sxy=parameters.theta_alpha,
        srgb=parameters.theta_beta,
        rgbim=np.array(image, np.uint8, order="C"),  # the library wants a writable copy
        compat=parameters.w1,
    )
    marginals = model.inference(parameters.iterations)
    return np.asarray(marginals, np.float32).reshape(unary.shape)
