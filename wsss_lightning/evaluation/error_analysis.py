"""Types of pixel errors: each wrong pixel has exactly one.

Letters: n labels, H W an image.
"""

from enum import IntEnum
from typing import Final

import torch
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage
from torch import Tensor

from wsss_lightning.ops.masks import IGNORE

BAND: Final = 0.01
"""Width of the boundary band on either side, in image diagonals: 6 pixels on VOC."""


class ErrorType(IntEnum):
    """Type of a pixel: the first that applies, from `UNLABELLED` on."""

    RIGHT = 0
    UNLABELLED = 1
    """The prediction is IGNORE."""
    TAG = 2
    """The predicted class occurs nowhere in the image, or the true class nowhere in the
    prediction."""
    BOUNDARY = 3
    """Close to a true boundary."""
    MISSED = 4
    """Part of an object predicted as background."""
    SPILL = 5
    """Background predicted as a class that the image shows."""
    CONFUSED = 6
    """Part of an object predicted as another class that the image shows."""


WRONG: Final = tuple(kind for kind in ErrorType if kind != ErrorType.RIGHT)


def error_types(
    prediction: Integer[Tensor, "H W"], truth: Integer[Tensor, "H W"], band: float = BAND
) -> UInt8[Tensor, "H W"]:
    """The `ErrorType` of each pixel; IGNORE where the true label is unknown.

    A class that is missing altogether is an error of tags rather than a missed part, since better
    localisation of the other classes would not correct it. Boundaries come next, where annotators
    differ too.

    Args:
        prediction: labels; IGNORE: not labelled.
        truth: labels; IGNORE: unknown.
        band: width of the boundary band, in image diagonals (`near_boundary`).

    Source: our own, after the taxonomies of TIDE (Bolya et al. 2020) and Boundary IoU (Cheng et
    al. 2021).
    """
    known = truth != IGNORE
    invented = _is_absent_from(truth[known])[prediction.long()]
    overlooked = _is_absent_from(prediction[known])[truth.long()]
    types = torch.full_like(truth, ErrorType.CONFUSED)
    types[truth == 0] = ErrorType.SPILL
    types[prediction == 0] = ErrorType.MISSED
    types[near_boundary(truth, band)] = ErrorType.BOUNDARY
    types[invented | overlooked] = ErrorType.TAG
    types[prediction == IGNORE] = ErrorType.UNLABELLED
    types[prediction == truth] = ErrorType.RIGHT
    types[~known] = IGNORE
    return types.to(torch.uint8)


def near_boundary(truth: Integer[Tensor, "H W"], band: float) -> Bool[Tensor, "H W"]:
    """Whether a square window around a pixel holds another label.

    IGNORE counts as a label of its own: on VOC it forms the rim of objects.

    Args:
        truth: labels.
        band: half the side of the window, in image diagonals; at least one pixel.
    """
    height, width = truth.shape
    size = 2 * max(1, round(band * (height**2 + width**2) ** 0.5)) + 1
    label = truth.cpu().numpy()
    # labels at the border of the image continue beyond it
    highest = ndimage.maximum_filter(label, size, mode="nearest")
    lowest = ndimage.minimum_filter(label, size, mode="nearest")
    return torch.from_numpy(highest != lowest).to(truth.device)


def _is_absent_from(labels: Integer[Tensor, "n"]) -> Bool[Tensor, "256"]:
    """Whether each label 0 to 255 does not occur; False for background, which has no tag."""
    absent = torch.bincount(labels.long(), minlength=IGNORE + 1) == 0
    absent[0] = False
    return absent
