"""The fully connected CRF: mean field with a Gaussian and a bilateral kernel.

Letters: l labels, H W an image.
"""

import math
import numbers
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from wsss_lightning.errors import InputError

# least and usual values; a kernel narrower than 0.1 reaches no neighbour, and a width of 1e-9
# makes the lattice crash the process
_RANGES: Final[dict[str, tuple[float, str]]] = {
    "theta_alpha": (0.1, "50 to 120 pixels"),
    "theta_beta": (0.1, "3 to 13 levels"),
    "theta_gamma": (0.1, "1 to 3 pixels"),
    "w1": (0, "4 to 10"),
    "w2": (0, "3"),
    "iterations": (0, "10"),
}


@dataclass(frozen=True)
class CRFParameters:
    """Kernel widths and weights, named as in the paper.

    k(i, j) = w1 exp(-|p|^2 / 2 theta_alpha^2 - |I|^2 / 2 theta_beta^2) + w2 exp(-|p|^2 / 2
    theta_gamma^2), p the difference of positions in pixels and I that of colours in levels 0..255.

    Args:
        theta_alpha: width of the appearance kernel in space, pixels, 0.1 or more.
        theta_beta: its width in colour, levels, 0.1 or more.
        theta_gamma: width of the smoothness kernel, pixels, 0.1 or more.
        w1: weight of the appearance kernel; 0 leaves it out.
        w2: weight of the smoothness kernel; 0 leaves it out.
        iterations: of mean field; 0 leaves softmax(-unary).

    Raises:
        InputError: a width is below 0.1, a weight is negative, a value is not finite, or the
            number of iterations is not a whole one.

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
            lowest, usual = _RANGES[name]
            whole = name == "iterations"
            kind = numbers.Integral if whole else numbers.Real
            if not (isinstance(value, kind) and math.isfinite(value) and float(value) >= lowest):
                raise InputError(
                    f"crf.{name} is {value!r}; set a {'whole' if whole else 'finite'} number of "
                    f"{lowest} or more ({usual} is usual)."
                )


def unary_from_scores(
    score: Float[np.ndarray, "l H W"] | Float[Tensor, "l H W"],
) -> Float[np.ndarray, "l H W"]:
    """-log of the score, kept within [1e-5, 1].

    The scores of a pixel need not sum to 1: a common factor drops out in the first softmax.

    Source: `unary_from_softmax` of pydensecrf.
    """
    return -np.log(np.clip(_array(score), 1e-5, 1.0))


def unary_from_labels(
    labels: Integer[np.ndarray, "H W"] | Integer[Tensor, "H W"],
    num_labels: int,
    gt_prob: float,
    zero_unsure: bool = False,
) -> Float[np.ndarray, "l H W"]:
    """-log gt_prob for the given label; the others share the rest equally.

    The more labels, the stronger the unary: the wrong ones share the same 1 - gt_prob.

    Args:
        labels: 0 .. num_labels - 1, or 1 .. num_labels with `zero_unsure`.
        num_labels: of the result, 2 or more.
        gt_prob: probability that a label is right, within (0, 1).
        zero_unsure: 0 is no label but "unknown": all labels are equally probable there.

    Raises:
        InputError: `gt_prob`, `num_labels` or a label lies outside its range.

    Source: `unary_from_labels` of pydensecrf.
    """
    if not 0 < gt_prob < 1:
        raise InputError(f"gt_prob is {gt_prob}; set it within (0, 1) (0.7 is usual).")
    if num_labels < 2:
        raise InputError(f"num_labels is {num_labels}; a CRF chooses between 2 labels or more.")
    labels = np.asarray(labels).astype(np.int64)
    last = num_labels - (not zero_unsure)
    outside = labels[(labels < 0) | (labels > last)]
    if outside.size:
        raise InputError(
            f"the labels hold {outside[0]}, but lie in 0..{last}; set num_labels to match, or "
            "relabel what is ignored."
        )
    index = labels - int(zero_unsure)
    right = index == np.arange(num_labels)[:, None, None]
    probability = np.where(right, gt_prob, (1 - gt_prob) / (num_labels - 1))
    return -np.log(np.where(index < 0, 1 / num_labels, probability)).astype(np.float32)


def mean_field(
    image: UInt8[np.ndarray, "H W 3"],
    unary: Float[np.ndarray, "l H W"] | Float[Tensor, "l H W"],
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
        InputError: the image is not of uint8 RGB, sizes differ, the unary is not finite, or the
            library is absent.

    Source: Kraehenbuehl & Koltun 2011, algorithm 1; normalisation and lattice of pydensecrf.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        # cast to uint8, levels of a normalised image would wrap round
        raise InputError(
            f"the image is {image.dtype} of shape {image.shape}; give uint8 RGB (H W 3), levels "
            "0..255."
        )
    unary = _array(unary)
    if unary.shape[1:] != image.shape[:2]:
        raise InputError(
            f"the unary has {unary.shape[1:]} pixels, but the image {image.shape[:2]}; resize the "
            "scores to the image."
        )
    if not np.isfinite(unary).all():
        raise InputError(
            "the unary holds NaN or infinite values; clip scores before the logarithm."
        )
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
    model.setUnaryEnergy(np.ascontiguousarray(unary.reshape(labels, -1)))
    model.addPairwiseGaussian(sxy=parameters.theta_gamma, compat=parameters.w2)
    model.addPairwiseBilateral(
        sxy=parameters.theta_alpha,
        srgb=parameters.theta_beta,
        rgbim=np.array(image, np.uint8, order="C"),  # the library wants a writable copy
        compat=parameters.w1,
    )
    # copied: the library's buffer is laid out with labels fastest
    marginals = np.array(model.inference(parameters.iterations), np.float32, order="C")
    return marginals.reshape(unary.shape)


def _array(values: np.ndarray | Tensor) -> Float[np.ndarray, "l H W"]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values, np.float32)
