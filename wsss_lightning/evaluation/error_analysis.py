"""Why a pixel is wrong: each wrong pixel has one cause.

Letters: k labels with background first, H W an image.
"""

from enum import IntEnum
from typing import Final

import torch
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage
from torch import Tensor

from wsss_lightning.ops.masks import IGNORE

BAND: Final = 0.01
"""Width of the boundary band on either side, in diagonals of the image: 6 pixels on VOC."""


class ErrorType(IntEnum):
    """What a pixel is; the first that holds is taken, from `UNLABELLED` on."""

    RIGHT = 0
    UNLABELLED = 1
    """The prediction abstains (IGNORE)."""
    TAG = 2
    """It names a class that the image does not show, or names nowhere one that it shows."""
    BOUNDARY = 3
    """Beside a true boundary."""
    MISSED = 4
    """A part of an object is called background."""
    SPILL = 5
    """Background is called a class that the image shows."""
    CONFUSED = 6
    """An object is called another class that the image shows."""


WRONG: Final = tuple(cause for cause in ErrorType if cause != ErrorType.RIGHT)


def causes(
    prediction: Integer[Tensor, "H W"], truth: Integer[Tensor, "H W"], band: float = BAND
) -> UInt8[Tensor, "H W"]:
    """The `ErrorType` of each pixel; IGNORE where the truth is not known.

    A whole class that was not found is an error of tags, not a missed part: no better map of the
    classes found would mend it. Next come boundaries, where annotators differ too.

    Args:
        prediction: labels, IGNORE where it abstains.
        truth: labels, IGNORE where not known.
        band: as of `near_boundary`.

    Source: our own; after the taxonomies of TIDE (Bolya et al. 2020) and Boundary IoU (Cheng et
    al. 2021).
    """
    known = truth != IGNORE
    invented = _is_absent_from(truth[known])[prediction.long()]
    unseen = _is_absent_from(prediction[known])[truth.long()]
    found = torch.full_like(truth, ErrorType.CONFUSED)
    found[truth == 0] = ErrorType.SPILL
    found[prediction == 0] = ErrorType.MISSED
    found[near_boundary(truth, band)] = ErrorType.BOUNDARY
    found[invented | unseen] = ErrorType.TAG
    found[prediction == IGNORE] = ErrorType.UNLABELLED
    found[prediction == truth] = ErrorType.RIGHT
    found[~known] = IGNORE
    return found.to(torch.uint8)


def near_boundary(truth: Integer[Tensor, "H W"], band: float) -> Bool[Tensor, "H W"]:
    """Pixels from which another label, known or not, lies within a square window.

    Unknown pixels count as another label: on VOC they are the ring around objects.

    Args:
        band: half the window's width, in diagonals of the image; at least one pixel is taken.
    """
    height, width = truth.shape
    size = 2 * max(1, round(band * (height**2 + width**2) ** 0.5)) + 1
    label = truth.cpu().numpy()
    # beyond the image lies what is at its edge
    highest = ndimage.maximum_filter(label, size, mode="nearest")
    lowest = ndimage.minimum_filter(label, size, mode="nearest")
    return torch.from_numpy(highest != lowest).to(truth.device)


def _is_absent_from(labels: Integer[Tensor, "n"]) -> Bool[Tensor, "256"]:
    """Of each label, whether it is not among these; background is in no tag, and never absent."""
    absent = torch.bincount(labels.long(), minlength=IGNORE + 1) == 0
    absent[0] = False
    return absent
